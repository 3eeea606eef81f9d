"""The training data of an estimator, after all checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Samples:
    """Checked training data of N samples.

    x          inputs (N, …)
    targets    class numbers int64 (N,), yes-or-no labels uint8 (N, k), or numbers float64 (N, k)
    weights    sample weights float64 (N,), or None if all are 1; a sample with weight 2 counts as two samples
    factors    float64 (N,), the class weight of each sample, or None if all are 1
    """

    x: Array
    targets: Array
    weights: Array | None = None
    factors: Array | None = None

    def subset(self, index: Array) -> Samples:
        """Return copies of some samples; ``index`` has their indices, or is a mask (N,) of bools."""
        weights, factors = (None if one is None else one[index] for one in (self.weights, self.factors))
        return Samples(self.x[index], self.targets[index], weights, factors)

    def present(self) -> Samples:
        """Return the samples whose weight is not 0; ``weights`` becomes None if all remaining weights are 1."""
        if self.weights is None:
            return self
        found = self if self.weights.all() else self.subset(self.weights > 0)
        assert found.weights is not None
        return Samples(found.x, found.targets, None, found.factors) if (found.weights == 1).all() else found

    @property
    def loss_weights(self) -> Array | None:
        """The weight of each sample in the loss, float64 (N,): sample weight times class weight; None if all are 1."""
        if self.weights is None or self.factors is None:
            return self.factors if self.weights is None else self.weights
        return np.multiply(self.weights, self.factors)
