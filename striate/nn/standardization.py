"""Standardization of the data, as a layer of the model."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from striate.errors import OptionError, ShapeError
from striate.graph.reshape import reshape
from striate.graph.value import Array, Value, shape_text
from striate.nn.kind import LayerKind
from striate.nn.module import Module
from striate.options import number


class Standardization(Module):
    """Standardize each feature or channel with fixed numbers: y = (x − μ) / σ

    x (N, C, spatial axes…) → y of the same shape. ``mean`` μ and ``sigma`` σ (C,) were computed from the training data
    and are not learned. ``epsilon`` is the small number that was added when σ was computed; the layer keeps it, but
    does not compute with it. Raises ``OptionError`` unless μ and σ are finite and σ is positive, and ``ShapeError`` for
    an input with another number of channels.
    """

    layer_kind: ClassVar[LayerKind] = LayerKind.STANDARDIZATION
    mean: Value
    sigma: Value

    def __init__(self, mean: Array, sigma: Array, epsilon: float = 0.0) -> None:
        if np.ndim(mean) != 1 or np.shape(mean) != np.shape(sigma):
            raise OptionError(f"mean {np.shape(mean)} and sigma {np.shape(sigma)} must be one number for each channel")
        self.register_buffer("mean", mean)
        self.register_buffer("sigma", sigma)
        if not (np.isfinite(mean).all() and np.isfinite(sigma).all() and np.min(sigma) > 0):
            raise OptionError("mean and sigma must be finite, and sigma positive")
        self.epsilon = number("Standardization: epsilon", epsilon, 0)

    def forward(self, x: Value) -> Value:
        (count,) = self.parameter("mean").sizes
        if x.type.rank < 2 or x.shape[1] != count:
            raise ShapeError(
                f"data of shape {shape_text(x.shape)}, "
                f"but the standardizer was fitted on {count} features or channels\n"
                "  help: give the same channels or features as in training; one sample as a batch of one, x[None]"
            )
        sizes = (1, count, *(1,) * (x.type.rank - 2))
        return (x - reshape(self.mean, sizes)) / reshape(self.sigma, sizes)

    def extra_repr(self) -> str:
        return f"{self.parameter('mean').shape[0]}"
