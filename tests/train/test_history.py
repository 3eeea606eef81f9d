"""The history of a training as text."""

from __future__ import annotations

from striate.train.history import Epoch, History


def test_a_history_says_how_far_it_is() -> None:
    epochs = [Epoch(1, 0.5, 1.0, 10.0, 0.4, 0.9), Epoch(2, 0.25, 1.5, 10.0, 0.5, 0.85)]
    assert repr(History()) == "History of no epochs"
    assert repr(History(epochs, finished=True)) == (
        "History of 2 epochs in 2.5 s: loss 0.2500, held-out accuracy 85.00 %, best 90.00 % in epoch 1"
    )
