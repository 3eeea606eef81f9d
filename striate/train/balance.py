"""Class weights that make up for classes of different sizes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from striate.data.dataset import Dataset, require_classes


def balanced_weights(dataset: Dataset) -> npt.NDArray[np.float64]:
    """w[c] = N / (C · n_c) for C classes of n_c samples: every class counts as much as any other

    Classes without samples are not counted among the C; their weight is 1. For
    ``nn.CrossEntropyLoss(weight=train.balanced_weights(train_set))``.
    """
    require_classes(dataset)
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    present = int((counts > 0).sum())
    return np.where(counts > 0, len(dataset) / (present * np.maximum(counts, 1)), 1.0)
