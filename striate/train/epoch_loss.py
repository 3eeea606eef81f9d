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

    def __init__(self, loss: Loss, total: float = 0.0, weight: float = 0.0) -> None:
        self._loss = loss
        self.total = total
        """Σ w·l so far."""
        self.weight = weight
        """Σ w so far."""

    def add(self, value: float, target: Array, weights: Array | None = None) -> None:
        """Takes the loss of a batch, its targets, and the weights of its samples."""
        total, weight = self._loss.totals(value, target, weights)
        self.total += total
        self.weight += weight

    @property
    def value(self) -> float:
        """The loss so far; NaN where no sample has a weight."""
        return self.total / self.weight if self.weight else math.nan
