"""Computes the outputs of every layer for given pictures, and the shapes of these outputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from striate.graph.value import Array, DType, N, TensorType, Value
from striate.insight.layers import Layers
from striate.insight.sample import require_layers, require_model, require_shape
from striate.nn.module import Module
from striate.tracing import Trace, active_trace


def feature_maps(model: Module, images: npt.ArrayLike, layers: str | Sequence[str] = "*") -> dict[str, Array]:
    """Return the outputs of layers for images (N, C, H, W), as a dict by name in the order in which the layers run.

    Each output is (N, channels, positions…). ``layers`` is a pattern such as ``"conv*"``, the name of a block
    (``"features"``), or a list of these; ``striate.insight.layers`` explains the names. This works for every model:
    sequences, blocks, subclasses with their own ``forward``, and models from files. Layers compute as in prediction:
    with running statistics and without dropout. Raises ``OptionError`` for an unknown layer; the message lists the
    known ones.

    >>> feature_maps(model, images)["0"].shape
    (8, 16, 28, 28)
    """
    require_model(model)
    wanted = require_layers(layers)

    def watched(x: Value) -> dict[str, Value]:
        return Layers(active_trace("feature_maps"), model(x)).chosen(wanted)

    found: dict[str, Array] = model.computed(("feature maps", wanted), {"x": model.as_input(images)}, watched)
    return {name: np.asarray(array) for name, array in found.items()}


def layer_shapes(model: Module, shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return the shape of every layer's output for one sample of the shape ``shape``, as a dict by name.

    Neither ``shape``, such as (3, 32, 32), nor the results have an axis for samples. No output is computed.
    """
    require_model(model)
    sizes = require_shape(shape)
    with Trace() as trace:
        x = trace.input("x", TensorType(model.dtype or DType.float32, (N, *sizes)))
        return {name: value.type.concrete(1)[1:] for name, value in Layers(trace, model(x)).values.items()}
