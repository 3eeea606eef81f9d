"""The loss of an epoch, from the losses of its batches."""

from __future__ import annotations

import math

from striate.graph.value import Array
from striate.nn.loss import Loss


class EpochLoss:
    """Σ w·l / Σ w over the samples of all batches, so that it does not depend on how they were batched.

    w is the weight that the loss gives to a sample: 1, or the weight of its class. With ``reduction="sum"`` it is the
    sum divided by the number of samples, so that sets of different sizes can be compared.
    """

    def __init__(self, loss: Loss) -> None:
        self._loss = loss
        self._total = 0.0
        self._weight = 0.0

    def add(self, value: float, target: Array, weights: Array | None = None) -> None:
        """Takes the loss of a batch, its targets, and the weights of its samples."""
        total, weight = self._loss.totals(value, target, weights)
        self._total += total
        self._weight += weight

    @property
    def value(self) -> float:
        """The loss so far; NaN where no sample has a weight."""
        return self._total / self._weight if self._weight else math.nan
