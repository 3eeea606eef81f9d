"""The loss of an epoch or of a data set, computed from the losses of its batches."""

from __future__ import annotations

import copy
import math

import numpy as np

from striate.errors import OptionError
from striate.graph.value import Array
from striate.nn.loss import Loss
from striate.step.sample_weights import coefficients


class EpochLoss:
    """The weighted mean Σ w·l / Σ w of the loss over all samples, which does not depend on the batch size.

    l is the loss of a sample. Its weight w is the number of its targets, such as pixels; with class weights, w is the
    sum of the class weights of these targets. If sample weights are given, w is multiplied by the weight of the sample.
    For a loss with ``reduction="sum"``, the value is the sum over all samples divided by their number, so that data
    sets of different sizes can be compared. ``total`` and ``weight`` are Σ w·l and Σ w so far, which begin above 0 if
    an interrupted epoch is continued.
    """

    def __init__(self, loss: Loss, total: float = 0.0, weight: float = 0.0) -> None:
        self._loss = loss
        self.total = total
        """Σ w·l so far."""
        self.weight = weight
        """Σ w so far."""

    def add(self, value: float, target: Array, weights: Array | None = None) -> None:
        """Add the loss ``value`` of a batch with the targets ``target``.

        ``weights`` (N,) are the sample weights of the batch; None: all are 1.
        """
        self.add_totals(*self._loss.totals(value, target, weights))

    def add_totals(self, total: float, weight: float) -> None:
        """Add a batch, given its sums ``total`` Σ w·l and ``weight`` Σ w, as ``Loss.totals`` returns them."""
        self.total += total
        self.weight += weight

    @property
    def value(self) -> float:
        """The loss of the batches so far; NaN if the weights of all samples are 0."""
        return self.total / self.weight if self.weight else math.nan


class HeldOutLoss(EpochLoss):
    """The loss of a model over a held-out data set, computed from its outputs batch by batch.

    ``weights`` (N,) are the weights of all samples; None: all are 1.
    """

    def __init__(self, loss: Loss, weights: Array | None = None) -> None:
        super().__init__(loss)
        self._weights = weights
        self._each = loss
        if weights is not None:
            self._each = copy.deepcopy(loss)
            self._each.reduction = "none"

    def add_outputs(self, outputs: Array, target: Array, indices: Array) -> None:
        """Add the loss of a batch: its outputs, its targets, and the indices of its samples.

        Raises ``OptionError`` if there are weights, but the loss cannot be computed for each sample.
        """
        if self._weights is None:
            self.add(float(self._loss(outputs, target)), target)
            return
        weights = self._weights[indices]
        if not weights.any():
            return
        losses = np.asarray(self._each(outputs, target), np.float64)
        if losses.shape[:1] != (len(target),):
            raise OptionError(
                f"{self._loss!r} has no loss of each sample, so held-out samples cannot be weighted\n"
                "  help: validation_weight=None, or a loss such as nn.CrossEntropyLoss() or nn.MSELoss()"
            )
        totals = losses.reshape(len(target), -1).sum(axis=1)
        self.add(float((coefficients(weights, self._loss, target) * totals).sum()), target, weights)
