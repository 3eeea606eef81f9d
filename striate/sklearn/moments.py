"""The weighted mean and standard deviation of features, in which a sample with weight 2 counts as two samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from striate.data.dataset import chunks

Array = npt.NDArray[Any]
_CONSTANT = 1e-6
"""A standard deviation below this share of the mean is rounding of float32; such a feature counts as constant."""


def moments(x: Array, weights: Array | None) -> tuple[Array, Array]:
    """Return the mean and the standard deviation of each feature or channel, float64 (C,).

    ``x`` is (N, C, …) and ``weights`` (N,), or None if all weights are 1. The standard deviation of a constant feature
    is given as 1.
    """
    weights = np.ones(len(x)) if weights is None else weights
    positions = x[0, 0].size
    total = weights.sum() * positions
    mean, variance = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    for start, chunk in chunks(x):
        wide = chunk.reshape(len(chunk), x.shape[1], positions).astype(np.float64)
        mean += weights[start : start + len(chunk)] @ wide.sum(axis=2)
    mean /= total
    for start, chunk in chunks(x):
        wide = chunk.reshape(len(chunk), x.shape[1], positions) - mean[:, None]
        variance += weights[start : start + len(chunk)] @ np.square(wide).sum(axis=2)
    sigma = np.sqrt(variance / total)
    return mean, np.where(sigma > _CONSTANT * np.abs(mean), sigma, 1.0)
