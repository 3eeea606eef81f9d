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

    def __init__(self, loss: Loss) -> None:
        self._loss = loss
        self._total = 0.0
        self._weight = 0.0

    def add(self, value: float, target: Array, weights: Array | None = None) -> None:
        """Add the loss ``value`` of a batch, with its targets and its samples' weights (N,) (None: all 1)."""
        total, weight = self._loss.totals(value, target, weights)
        self._total += total
        self._weight += weight

    @property
    def value(self) -> float:
        """The loss of the batches so far; NaN if the weights of all samples are 0."""
        return self._total / self._weight if self._weight else math.nan
