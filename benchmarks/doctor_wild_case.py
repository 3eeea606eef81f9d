"""A case from a public report and its healthy control, and the data splits and loops that such cases use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from doctor_case import Case, Own
from doctor_wild_material import numbers_of

from striate import nn, optim
from striate.data import Dataset
from striate.doctor import Setup

Array = np.ndarray[Any, Any]


Pair = tuple[Dataset, Dataset]


GITHUB = "https://github.com/"


@dataclass(frozen=True)
class Wild:
    """A case from a public report, the address of the report, and the same training without the fault."""

    source: str
    case: Case
    control: Case


def pair(
    source: str, name: str, network: str, fault: Setup, well: Setup, expected: tuple[str, ...], *,
    metric: str = "accuracy", truth: Dataset | None = None, by_hand: Callable[[Setup], Setup] | None = None,
) -> Wild:  # fmt: skip
    """Return a case trained by ``st.Trainer``, and its control."""
    case = Case(name, network, fault, expected, metric, truth, by_hand)
    return Wild(source, case, Case(f"control of: {name}", network, well, metric=metric))


def own(
    source: str, name: str, network: str, fault: Setup, well: Setup, expected: tuple[str, ...], data: Own, *,
    good: Own | None = None, cured: Own | None = None, metric: str = "accuracy",
    by_hand: Callable[[Setup], Setup] | None = None,
) -> Wild:  # fmt: skip
    """Return a case trained by a hand-written loop, with a custom loss or numeric targets, and its control."""
    case = Case(name, network, fault, expected, metric, None, by_hand, data, cured)
    return Wild(source, case, Case(f"control of: {name}", network, well, metric=metric, own=good or data))


def loop(model: nn.Module, loss: nn.Loss, optimizer: optim.Optimizer | None = None, epochs: int = 6) -> Setup:
    """Return the setup for a hand-written training loop, by default with Adam and 6 epochs."""
    return Setup(model, loss, optimizer or optim.Adam(lr=3e-3), epochs=epochs, seed=4, batch_size=32)


def binary(data: Pair, threshold: float, score: str = "accuracy") -> Own:
    """Return the data for a hand-written loop, with the labels 0 and 1 as floats (N, 1)."""
    (x, y), (held_x, held_y) = numbers_of(data[0]), numbers_of(data[1])
    return Own(x, y, held_x, held_y, score, threshold)


def tail(data: Dataset, share: float) -> Pair:
    """Split off the last fraction ``share`` of the data for validation, in their given order."""
    cutoff = round(len(data) * (1 - share))
    return data.subset(np.arange(cutoff)), data.subset(np.arange(cutoff, len(data)))


def mixed_tail(data: Dataset, share: float) -> Pair:
    """Split off a fraction ``share`` of the data for validation, after shuffling."""
    return tail(data.subset(np.random.default_rng(61).permutation(len(data))), share)


def in_order(data: Dataset) -> Dataset:
    """Return the data sorted by class."""
    return data.subset(np.argsort(data.labels, kind="stable"))
