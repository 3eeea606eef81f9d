"""Class weights that compensate for classes of different sizes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from striate.data.dataset import Dataset, require_classes


def balanced_weights(dataset: Dataset) -> npt.NDArray[np.float64]:
    """Return class weights that let every class contribute equally to the loss: w[c] = N / (C · n_c)

    N is the number of samples, n_c that of class c, and C the number of classes that have samples. The weight of a
    class without samples is 1. The result is a float64 array with one element per class, for
    ``nn.CrossEntropyLoss(weight=train.balanced_weights(train_set))``. Raises ``OptionError`` for data without class
    labels.
    """
    require_classes(dataset)
    counts = np.bincount(dataset.labels, minlength=len(dataset.classes))
    present = int((counts > 0).sum())
    return np.where(counts > 0, len(dataset) / (present * np.maximum(counts, 1)), 1.0)
