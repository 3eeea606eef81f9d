"""The history of a training as text."""

from __future__ import annotations

import pytest

from striate.train.history import Epoch, History
from striate.train.numerals import number_text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0.03561, "0.0356"), (0.0, "0.0000"), (12345.6, "12345.6000"), (2.1e33, "2.1e+33"), (3e-7, "3e-07"), (None, "–"),
     (float("nan"), "nan")],
)  # fmt: skip
def test_losses_are_short(number: float | None, text: str) -> None:
    assert number_text(number) == text


def test_a_history_says_how_far_it_is() -> None:
    epochs = [Epoch(1, 0.5, 1.0, 10.0, 0.4, 0.9), Epoch(2, 0.25, 1.5, 10.0, 0.5, 0.85)]
    assert repr(History()) == "History of no epochs"
    assert repr(History(epochs, finished=True)) == (
        "History of 2 epochs in 2.5 s: loss 0.2500, held-out accuracy 85.00 %, best 90.00 % in epoch 1"
    )
