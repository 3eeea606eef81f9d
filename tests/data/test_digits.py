from __future__ import annotations

import hashlib

import numpy as np

from striate.data import load_digits


def test_every_digit_is_in_one_part() -> None:
    train, test = load_digits("train"), load_digits("test")
    assert (len(train), len(test)) == (1442, 355)
    assert train.images.shape == (1442, 1, 8, 8)
    assert train.images.dtype == np.uint8
    assert (train.images.min(), train.images.max()) == (0, 255)
    assert train.classes == test.classes == tuple("0123456789")
    share = np.bincount(test.labels) / (np.bincount(test.labels) + np.bincount(train.labels))
    assert ((share > 0.19) & (share < 0.21)).all()


def test_the_split_never_changes() -> None:
    held_out = load_digits("test")
    digest = hashlib.sha256(held_out.images.tobytes() + held_out.labels.astype(np.uint8).tobytes()).hexdigest()
    assert digest == "456fd9dc824d7276c4f2e6050cb266724fa2adbde5655f567145616f5f454c9e"


def test_ink_is_sixteenths_of_white() -> None:
    assert set(np.unique(load_digits("train").images)) == {round(ink * 255 / 16 + 1e-9) for ink in range(17)}
