"""Recognize data that are unlike the data to which a model's standardizer was fitted."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from striate.data.standardizer import standardizer_of
from striate.nn.module import Module

Array = npt.NDArray[Any]
_FAINT = 0.1


def outlier_warning(model: Module, images: Array, name: str) -> str | None:
    """Return a warning if ``images`` lie beyond ±50 standard deviations of the training data, else None.

    Predictions for such data mean little. Returns None for models without a standardizer, too. ``name`` begins the
    text, as in ``mnist: feature 0: x = 9e4 in sample 3 is x̂ = 812 (2 samples beyond ±50), far from the training
    data``.
    """
    standardizer = standardizer_of(model)
    if standardizer is None or images.ndim < 2 or images.shape[1] != len(standardizer.mean):
        return None
    found = standardizer.outliers(images)
    if not found:
        return None
    others = len(found) - 1
    more = f", and {others} more feature{'s' if others > 1 else ''}" if others else ""
    return f"{name}: {found[0]}{more}, far from the training data"


def faint_samples(model: Module, images: Array) -> list[int]:
    """Return the indices of the pictures (N, C, H, W) with less than a tenth of the training data's contrast.

    The contrast of a channel is its standard deviation over the positions, divided by σ of the model's standardizer;
    the contrast of a picture is the largest contrast of its channels. It is small for uniform pictures, and for nearly
    black ones, such as 12-bit pictures in 16-bit files. Returns [] for models without a standardizer.
    """
    standardizer = standardizer_of(model)
    if standardizer is None or images.ndim < 3 or images.shape[1] != len(standardizer.mean):
        return []
    spread = images.reshape(*images.shape[:2], -1).std(axis=2, dtype=np.float64) / standardizer.sigma
    return np.flatnonzero(spread.max(axis=1) < _FAINT).tolist()
