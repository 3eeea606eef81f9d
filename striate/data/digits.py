"""The 1,797 handwritten digits that come with the package.

"Optical Recognition of Handwritten Digits" by E. Alpaydin and C. Kaynak (1998), UCI Machine Learning Repository,
https://doi.org/10.24432/C50P49, CC BY 4.0; see NOTICE.md beside this file.
"""

from __future__ import annotations

from importlib.resources import files

import numpy as np

from striate.data.dataset import Dataset, Split

CLASSES = tuple("0123456789")


def load_digits(split: Split | str = Split.TRAIN) -> Dataset:
    """Load the digits as pictures (N, 1, 8, 8) uint8, 0 … 255: 1,442 to train on or 355 held out.

    Each digit has the same share in both parts. Which sample is in which part never changes. The pixels of the
    original, from 0 (paper) to 16 (ink), are scaled by 255/16, so that they have the usual range.

    >>> load_digits("test")
    Dataset('digits', 355 × (1, 8, 8) uint8, 10 classes)
    """
    held_out = Split.parse(split) is Split.TEST
    with files("striate.data").joinpath("digits.npz").open("rb") as stream, np.load(stream, allow_pickle=False) as file:
        chosen = file["held_out"] == held_out
        ink = file["images"][chosen, np.newaxis].astype(np.uint16)
        labels = file["labels"][chosen]
    return Dataset(((ink * 255 + 8) // 16).astype(np.uint8), labels, CLASSES, "digits")
