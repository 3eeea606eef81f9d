"""A case of the doctor's benchmark: a healthy training, or one with a planted fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from striate import nn, optim
from striate.data import Dataset, Standardizer
from striate.doctor import Setup

Array = np.ndarray[Any, Any]
SEED = 3


@dataclass(frozen=True)
class Own:
    """The data of a hand-written training loop: x and y for training, ``held_x`` and ``held_y`` for the metric.

    score      "accuracy" or "balanced" (mean accuracy of both classes) for labels 0 and 1,
               or "loss", the mean squared error divided by the variance of the targets
    threshold  an output above it means label 1
    """

    x: Array
    y: Array
    held_x: Array
    held_y: Array
    score: str = "loss"
    threshold: float = 0.0


@dataclass(frozen=True)
class Case:
    """A training with a fault, or a healthy one if ``expected``, the accepted findings, is empty.

    ``metric`` is "accuracy", "balanced", "loss" or "honesty" (how well validation predicts the accuracy on ``truth``);
    ``truth`` replaces the validation set for judging; ``by_hand`` is the remedy if the doctor's cannot be applied
    automatically.
    """

    name: str
    network: str
    setup: Setup
    expected: tuple[str, ...] = ()
    metric: str = "accuracy"
    truth: Dataset | None = None
    by_hand: Callable[[Setup], Setup] | None = None
    own: Own | None = None  # the data of a hand-written training loop
    cured_own: Own | None = None  # its data after the remedy, if that changes them
    data: str = ""

    @property
    def data_name(self) -> str:
        """The name of the training data, for the table."""
        return self.data or (self.setup.train_set.name if self.setup.train_set else "numbers")


def training(
    model: nn.Module, data: tuple[Dataset, Dataset], optimizer: optim.Optimizer | None = None, *,
    standardize: bool = True, loss: nn.Loss | None = None, epochs: int = 3, batch_size: int = 32, shuffle: bool = True,
    seed: int = SEED,
) -> Setup:  # fmt: skip
    """Return a setup for a training, with default values for everything that is not given."""
    train_set, validation = data
    if standardize:
        model.standardizer = Standardizer.fit(train_set.images)
    rule = optimizer or optim.SGD(lr=0.02, momentum=0.9)
    return Setup(model, loss or nn.CrossEntropyLoss(), rule, train_set, validation, batch_size, epochs, seed, shuffle)


def regression() -> Own:
    """Return data for the regression y = sin 2x₁ + x₂ x₃ + noise, with the last quarter held out."""
    random = np.random.default_rng(6)
    x = random.normal(0, 1, (1600, 6))
    y = np.sin(2 * x[:, :1]) + x[:, 1:2] * x[:, 2:3] + random.normal(0, 0.1, (1600, 1))
    x, y = x.astype(np.float32), y.astype(np.float32)
    return Own(x[:1200], y[:1200], x[1200:], y[1200:])


def numbers_setup(model: nn.Module, optimizer: optim.Optimizer | None = None) -> Setup:
    """Return the setup for a regression: mean squared error, 6 epochs, and by default SGD with momentum."""
    return Setup(model, nn.MSELoss(), optimizer or optim.SGD(lr=0.02, momentum=0.9), epochs=6, seed=SEED)
