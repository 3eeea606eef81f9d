"""Weights of the samples of a batch: a weight of 2 is the sample twice, and 0 is as if it were absent."""

from __future__ import annotations

import numpy as np

from striate.errors import DataError, ShapeError
from striate.graph.array import unmasked
from striate.graph.value import Array
from striate.nn.loss import Loss


def checked_weights(weight: object, n: int) -> Array:
    """(N,) float64: finite numbers of 0 or more that are not all 0; raises ``ShapeError`` or ``DataError``."""
    given = unmasked(weight, "weight")
    if given.shape != (n,):
        raise ShapeError(
            f"{n} samples but sample weights of shape {given.shape}\n  help: give one weight for each sample"
        )
    if given.dtype.kind not in "fiub":
        raise DataError(f"sample weights are {given.dtype}, not real numbers\n  help: np.asarray(x, np.float32)")
    weights = given.astype(np.float64)
    wrong = ~(np.isfinite(weights) & (weights >= 0))
    if wrong.any():
        place = int(wrong.argmax())
        raise DataError(
            f"the sample weight at index {place} is {weights[place]:g}; expected finite numbers of 0 or more"
        )
    if not weights.any():
        raise DataError(f"all {n} sample weights are 0, so there is nothing to learn from")
    return weights


def coefficients(weights: Array, loss: Loss, target: Array) -> Array:
    """c (N,) float64, so that the loss of the batch is Σ_n c_n Σ_p l_np over the items p of each sample

    c_n = s_n / Σ s_m w_m for a mean whose divisor is Σ w_m without sample weights, and s_n for a sum.
    """
    divisor = 1.0 if loss.reduction == "sum" else float((weights * loss.sample_shares(target)).sum())
    if not divisor:
        raise DataError("no sample of this batch has both a sample weight and a class weight above 0")
    return weights / divisor
