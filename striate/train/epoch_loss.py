"""The loss of an epoch, computed from the losses of its batches."""

from __future__ import annotations

import math

from striate.graph.value import Array
from striate.nn.loss import Loss


class EpochLoss:
    """The weighted mean Σ w·l / Σ w of the loss over all samples, which does not depend on the batch size.

    w is the weight of a sample in the loss: 1, or the weight of its class. With ``reduction="sum"`` it is the sum
    divided by the number of samples, so that data sets of different sizes can be compared.
    """

    def __init__(self, loss: Loss, total: float = 0.0, weight: float = 0.0) -> None:
        self._loss = loss
        self.total = total
        """Σ w·l so far."""
        self.weight = weight
        """Σ w so far."""

    def add(self, value: float, target: Array, weights: Array | None = None) -> None:
        """Add the loss ``value`` of a batch, with its targets and its samples' weights (N,) (None: all 1)."""
        total, weight = self._loss.totals(value, target, weights)
        self.total += total
        self.weight += weight

    @property
    def value(self) -> float:
        """The loss of the batches so far; NaN if the weights of all samples are 0."""
        return self.total / self.weight if self.weight else math.nan
