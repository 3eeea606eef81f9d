"""Tiny trainings with and without a fault: clouds of points, and networks of a few units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from striate import nn, optim
from striate.data import Dataset, Standardizer
from striate.doctor import Findings, Setup
from striate.errors import NonFiniteError
from striate.train import Trainer

Array = np.ndarray[Any, Any]
FEATURES = 6


def clouds(count: int = 320, seed: int = 0, classes: int = 4) -> Dataset:
    """Return random points around one centre per class."""
    random = np.random.default_rng(seed)
    centres = 2.5 * np.random.default_rng(99).normal(0, 1, (classes, FEATURES))
    labels = random.integers(0, classes, count)
    x = centres[labels] + random.normal(0, 1, (count, FEATURES))
    return Dataset(x.astype(np.float32), labels, tuple("abcdefgh"[:classes]), "clouds")


def standardized(count: int = 320, seed: int = 0) -> Dataset:
    """Return the clouds with mean 0 and standard deviation 1."""
    return with_inputs(clouds(count, seed), Standardizer.fit(clouds().images).transform)


def with_inputs(dataset: Dataset, change: Callable[[Array], Array]) -> Dataset:
    """Return the data set with changed inputs."""
    return Dataset(change(dataset.images), dataset.labels, dataset.classes, dataset.name)


def with_labels(dataset: Dataset, labels: Array) -> Dataset:
    """Return the data set with other labels."""
    return Dataset(dataset.images, labels, dataset.classes, dataset.name)


def mlp(*widths: int, act: Callable[[], nn.Module] = nn.ReLU, init: Any = "he", classes: int = 4) -> nn.Sequential:
    """Build an MLP with the given widths of hidden layers."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(None, width, init=init), act()]
    return nn.Sequential(*layers, nn.Linear(None, classes))


def normalized(*widths: int, momentum: float = 0.1, eps: float = 1e-5) -> nn.Sequential:
    """Build an MLP with batch normalization before each activation."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(None, width), nn.BatchNorm1d(width, eps, momentum), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(None, 4))


def setup_of(model: nn.Module, **options: Any) -> Setup:
    """Return a usual setup for a model; ``options`` replace its fields."""
    given: dict[str, Any] = {
        "loss": nn.CrossEntropyLoss(), "optimizer": optim.SGD(lr=0.05, momentum=0.9), "train_set": standardized(),
        "validation": standardized(200, 1), "batch_size": 16, "epochs": 3, "seed": 1, **options,
    }  # fmt: skip
    return Setup(model, **given).anew()


def trained(setup: Setup) -> tuple[Findings, float, Trainer]:
    """Train, and return the findings and the validation accuracy."""
    assert setup.train_set is not None
    trainer = Trainer(
        setup.model, setup.loss, setup.optimizer, seed=setup.seed, batch_size=setup.batch_size, shuffle=setup.shuffle,
        progress=False, recompute_statistics=setup.recompute_statistics,
    )  # fmt: skip
    try:
        trainer.fit(setup.train_set, setup.validation, epochs=setup.epochs)
    except NonFiniteError:
        assert trainer.findings
    held_out = setup.validation or standardized(200, 1)
    return trainer.findings, trainer.evaluate(held_out).accuracy, trainer
