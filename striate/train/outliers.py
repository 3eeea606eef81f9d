"""A warning about data that are far from the data to which the model's standardizer was fitted."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from striate.data.standardizer import standardizer_of
from striate.nn.module import Module

Array = npt.NDArray[Any]


def outlier_warning(model: Module, images: Array, name: str) -> str | None:
    """Return a warning if data lie beyond ±50 standard deviations of the training data, else None.

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
