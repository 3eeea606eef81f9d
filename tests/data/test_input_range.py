"""Inputs unlike the training data are recognized, and those like them are not."""

from __future__ import annotations

import json

import numpy as np

from striate.data import load_digits
from striate.data.input_range import InputRange


def test_pictures_inverted_or_in_another_range() -> None:
    random = np.random.default_rng(0)
    pictures = random.integers(0, 90, (200, 1, 12, 12)).astype(np.uint8)
    pictures[:, :, 3:8, 3:8] += 120
    usual = InputRange.of(pictures[:150], (12, 12))
    again = InputRange.from_json(json.loads(json.dumps(usual.to_json())))
    assert again == usual
    assert InputRange.from_json({"low": []}) is None
    assert not usual.unlike(pictures[150:])
    (text,) = usual.unlike(255 - pictures[:1]).values()
    assert text.startswith("its mean is 18")
    assert text.endswith("; with light and dark exchanged it would fit")
    assert list(usual.unlike(np.concatenate([pictures[:2], pictures[:1] // 30]))) == [2]
    assert not usual.unlike(np.zeros((2, 3, 12, 12), np.uint8))  # other channels: they are not compared


def test_signals_and_features_and_digits_of_the_held_out_part() -> None:
    random = np.random.default_rng(1)
    signals = random.normal(0, 1, (100, 2, 40)).astype(np.float32)
    usual = InputRange.of(signals[:60])
    assert not usual.unlike(signals[60:])
    signals[70, 1] += 5
    signals[71, 0] *= 20
    found = usual.unlike(signals[60:])
    assert list(found) == [10, 11]
    assert found[10].startswith("its mean of channel 1 is ")
    features = InputRange.of(np.linspace(0, 1, 50)[:, None])
    assert features.unlike(np.array([[-0.5], [0.5], [2.5]])) == {2: "feature 0 is 2.5, theirs are 0 to 1"}
    assert not InputRange.of(load_digits("train").images).unlike(load_digits("test").images)
