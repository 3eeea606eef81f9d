"""The base of layers with a fixed number of axes of positions. They also take one sample without axis 0."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from striate.graph.value import Value
from striate.nn.module import Module
from striate.ops.unbatched import over_samples


class Ranked(Module):
    """Base of layers over (N, C, positions…) that also take one sample (C, positions…), as in PyTorch (abstract).

    ``forward`` is written for batches. Called on an array with one axis fewer, the layer returns the result of that
    sample. Inside a traced function this holds for values whose axis 0 is a number; an axis 0 of N always counts
    samples, so a layer of a model that is called on arrays sees batches only.
    """

    rank: ClassVar[int]
    """The number of axes of positions: 1 for (N, C, L), 2 for (N, C, H, W), 3 for (N, C, D, H, W)."""

    def __call__(self, *inputs: Any, training: bool = False, **named: Any) -> Any:
        if len(inputs) == 1 and isinstance(inputs[0], np.ndarray) and inputs[0].ndim == self.rank + 1:
            return super().__call__(inputs[0][None], training=training)[0]
        return super().__call__(*inputs, training=training, **named)

    def traced_forward(self, inputs: tuple[Any, ...]) -> Any:
        if len(inputs) == 1 and isinstance(inputs[0], Value):
            return over_samples(self.forward, inputs[0], self.rank)
        return super().traced_forward(inputs)
