"""A batch in parts: their gradients are accumulated, so that one update equals that of the whole batch."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from striate.graph.value import Array
from striate.nn.loss import Loss
from striate.step.memory import StepMemory


def parts_of(arrays: Mapping[str, Array], count: int) -> list[dict[str, Array]]:
    """The rows of the arrays in ``count`` parts of nearly equal size, the larger ones first; at most one part a row."""
    n = len(next(iter(arrays.values())))
    if min(count, n) == 1:
        return [dict(arrays)]
    split = {name: np.array_split(array, min(count, n)) for name, array in arrays.items()}
    return [dict(zip(split, rows, strict=True)) for rows in zip(*split.values(), strict=True)]


class Sum:
    """Σ w g / Σ w over the parts of a batch, of the gradients and of the loss

    w is the divisor of each part's mean: the number of its targets, or the sum of their weights. The gradients of
    summed losses are added, and so are those of weighted samples, whose coefficients contain the divisor of the whole
    batch. A part in which no target has a weight adds nothing.
    """

    def __init__(self, loss: Loss, memory: StepMemory, weighted: bool) -> None:
        self._loss, self._memory = loss, memory
        self._adds = weighted or loss.reduction == "sum"
        self._gradients = np.zeros_like(memory.gradients.flat)
        self._total = 0.0
        self._weight = 0.0

    def add(self, target: Array) -> None:
        """Takes the gradients and the loss that are in memory, and the part's targets."""
        weight = 1.0 if self._adds else self._loss.mean_weight(target)
        if weight:
            self._gradients += self._memory.gradients.flat * self._gradients.dtype.type(weight)
            self._total += float(self._memory.loss) * weight
            self._weight += weight

    def finish(self) -> None:
        """Writes the gradients and the loss of the whole batch into memory."""
        divisor = 1.0 if self._adds else self._weight
        self._memory.gradients.flat[...] = self._gradients / self._gradients.dtype.type(divisor or math.nan)
        self._memory.loss[...] = self._total / (divisor or math.nan)
