"""Base class of layers for a fixed number of spatial axes.

Such layers also take one sample without the N axis.
"""

from __future__ import annotations

from typing import Any, ClassVar, cast

import numpy as np

from striate.graph.value import Array, Value
from striate.nn.module import Module
from striate.ops.unbatched import over_samples


class Ranked(Module):
    """Base class of layers over (N, C, spatial axes…) that also accept one sample (C, spatial axes…) (abstract).

    Subclasses write ``forward`` for batches. If the layer is called on an array with one axis fewer, it returns the
    result for that sample, as PyTorch does. In a traced function, a value with one axis fewer is one sample too, unless
    the size of its axis 0 is the symbolic N.
    """

    rank: ClassVar[int]
    """The number of spatial axes: 1 for (N, C, L), 2 for (N, C, H, W), 3 for (N, C, D, H, W)."""

    def __call__(self, *inputs: Any, training: bool = False, **named: Any) -> Any:
        if len(inputs) == 1 and isinstance(inputs[0], np.ndarray) and inputs[0].ndim == self.rank + 1:
            result = super().__call__(inputs[0][None], training=training)
            several = isinstance(result, tuple)  # such as maxima and their positions
            return tuple(one[0] for one in cast("tuple[Array, ...]", result)) if several else result[0]
        return super().__call__(*inputs, training=training, **named)

    def traced_forward(self, inputs: tuple[Any, ...]) -> Any:
        if len(inputs) == 1 and isinstance(inputs[0], Value):
            return over_samples(self.forward, inputs[0], self.rank)
        return super().traced_forward(inputs)
