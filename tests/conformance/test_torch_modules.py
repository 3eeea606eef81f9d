"""PyTorch's samples of its modules, run through ``nn``: state keys and outputs agree in float64."""

from __future__ import annotations

from typing import Any

import pytest

from striate import nn, settings

ABSENT: dict[str, tuple[str, ...]] = {
    "attention and embeddings are no part of convolutional networks": (
        "TransformerEncoder", "TransformerEncoderLayer", "TransformerDecoderLayer", "Transformer",
        "MultiheadAttention", "Embedding",
    ),
    "recurrent networks are not built here": ("RNNCell", "GRUCell", "LSTMCell", "RNN", "GRU", "LSTM", "CTCLoss"),
    "every layer here infers its channels from None": (
        "LazyConv1d", "LazyConv2d", "LazyConv3d", "LazyConvTranspose1d", "LazyConvTranspose2d", "LazyConvTranspose3d",
    ),
    "rare in convolutional networks": (
        "Bilinear", "FractionalMaxPool2d", "FractionalMaxPool3d", "LinearCrossEntropyLoss",
    ),
}  # fmt: skip
"""Reason → modules that striate does not have."""

EXCLUSIONS: dict[str, dict[str, tuple[str, ...]]] = {
    "training on no samples is a mistake": {"with N = 0": ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d")},
    "a negative weight of a class is a mistake": {"not negative": ("MultiMarginLoss", "CrossEntropyLoss")},
    "an array of shape () has no axes, as in NumPy": {"does not exist in": ("Softmax", "LogSoftmax", "Softmin")},
}  # fmt: skip
"""Reason → words of the refusal → modules."""


def _judged(first: int | None) -> int:
    """Run the first ``first`` samples of each module (None: all), in training and evaluation.

    Returns how many passed.
    """
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("expecttest", reason="expecttest, which PyTorch's samples need, is not installed")
    torch_modules: Any = pytest.importorskip("tests.conformance.torch_modules")
    failed: list[str] = []
    absent: set[str] = set()
    needed: set[tuple[str, str, str]] = set()
    passed = 0
    for info in torch_modules.modules():
        name = info.name.removeprefix("nn.")
        if name not in nn.__all__:
            absent.add(name)
            continue
        for training in (True, False) if info.train_and_eval_differ else (False,):
            for sample in torch_modules.samples(info, training)[:first]:
                if sample.forward_input is None:
                    continue
                problem = torch_modules.outcome(name, sample, training)
                passed += problem is None
                listed = [
                    (reason, words, name)
                    for reason, refusals in EXCLUSIONS.items()
                    for words, names in refusals.items()
                    if problem is not None and problem.startswith("refused: ") and words in problem and name in names
                ]
                needed |= set(listed)
                failed += [] if problem is None or listed else [f"{name}, training={training}: {problem}"]
    assert not failed, "\n".join(failed)
    assert absent == {name for names in ABSENT.values() for name in names}
    if first is None:
        exclusions = {
            (reason, words, name)
            for reason, refusals in EXCLUSIONS.items()
            for words, names in refusals.items()
            for name in names
        }
        assert not exclusions - needed, "exclusions that nothing needs"
    return passed


@pytest.mark.slow
def test_samples_pass_or_are_refused_with_a_reason(kept_settings: settings.Settings) -> None:
    settings.override(engine=settings.Engine.REFERENCE)
    assert _judged(None) > 450


@pytest.mark.slow
def test_the_first_samples_pass_compiled() -> None:
    assert _judged(3) > 200
