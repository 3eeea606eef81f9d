"""Gradient accumulation: a batch is computed in parts, with one update for the whole batch."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from striate.graph.value import Array
from striate.nn.loss import Loss
from striate.step.memory import StepMemory


def parts_of(arrays: Mapping[str, Array], count: int) -> list[dict[str, Array]]:
    """Split the samples of a batch into ``count`` parts of nearly equal size, larger parts first.

    There are at most as many parts as samples. The parts are views, with all arrays split alike along axis 0.
    """
    n = len(next(iter(arrays.values())))
    if min(count, n) == 1:
        return [dict(arrays)]
    split = {name: np.array_split(array, min(count, n)) for name, array in arrays.items()}
    return [dict(zip(split, rows, strict=True)) for rows in zip(*split.values(), strict=True)]


class Sum:
    """Adds up the gradients g and the losses of the parts of a batch: Σ w g / Σ w, over all parts.

    w is the divisor of the mean loss of a part: the number of its targets, or the sum of their class weights. A part
    with w = 0 adds nothing. With sample weights (``weighted``), and for a loss with ``reduction="sum"``, the result is
    Σ g. The gradients and the loss of each part are read from ``memory``.
    """

    def __init__(self, loss: Loss, memory: StepMemory, weighted: bool) -> None:
        self._loss, self._memory = loss, memory
        self._adds = weighted or loss.reduction == "sum"
        self._gradients = np.zeros_like(memory.gradients.flat)
        self._total = 0.0
        self._weight = 0.0

    def add(self, target: Array) -> None:
        """Add the gradients and the loss of the part of the batch that the step has just computed.

        ``target`` is the target of that part.
        """
        weight = 1.0 if self._adds else self._loss.mean_weight(target)
        if weight:
            with np.errstate(all="ignore"):  # the update refuses what is not finite
                self._gradients += self._memory.gradients.flat * self._gradients.dtype.type(weight)
            self._total += float(self._memory.loss) * weight
            self._weight += weight

    def finish(self) -> None:
        """Write the gradients and the loss of the whole batch to ``memory``, the memory of the training step."""
        divisor = 1.0 if self._adds else self._weight
        with np.errstate(all="ignore"):
            self._memory.gradients.flat[...] = self._gradients / self._gradients.dtype.type(divisor or math.nan)
            self._memory.loss[...] = self._total / (divisor or math.nan)
