"""A warning about new data that are far from what the model's standardizer was fitted on."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from striate.data.standardizer import standardizer_of
from striate.nn.module import Module

Array = npt.NDArray[Any]


def outlier_warning(model: Module, images: Array, name: str) -> str | None:
    """``mnist: feature 0: x = 9e4 in sample 3 is x̂ = 812 (2 samples beyond ±50), far from the training data``

    None for data within ±50 σ, and for models without a standardizer. Predictions for outliers mean little.
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
