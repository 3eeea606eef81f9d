"""Sample weights: a sample with weight 2 counts twice, and one with weight 0 does not count."""

from __future__ import annotations

import numpy as np

from striate.errors import DataError, ShapeError
from striate.graph.array import unmasked
from striate.graph.value import Array
from striate.nn.loss import Loss


def checked_weights(weight: object, n: int, *, part: bool = False) -> Array:
    """Return sample weights as an array (N,) float64, where N = ``n``.

    They must be finite numbers of at least 0, and not all 0 unless the samples are ``part`` of a larger batch. Raises
    ``ShapeError`` for another shape, and ``DataError`` for other numbers.
    """
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
    if not weights.any() and not part:
        raise DataError(f"all {n} sample weights are 0, so there is nothing to learn from")
    return weights


def coefficients(weights: Array, loss: Loss, target: Array) -> Array:
    """Return coefficients c (N,) float64 such that the loss of the batch is Σ_n c_n Σ_p l_np.

    l_np is the loss of item p (such as a pixel) of sample n, s_n is the weight of sample n, and ``target`` is the
    target of the batch. c_n = s_n for a loss with ``reduction="sum"``; for a mean, c_n = s_n / Σ_m s_m w_m, where w_m
    is the number of items of sample m, or the sum of their class weights. Raises ``DataError`` if this divisor is 0.
    """
    divisor = 1.0 if loss.reduction == "sum" else float((weights * loss.sample_shares(target)).sum())
    if not divisor:
        raise DataError("no sample of this batch has both a sample weight and a class weight above 0")
    return weights / divisor
