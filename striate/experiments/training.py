"""Training for all experiments: train a network, evaluate it, and measure its gradients and units."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from striate.data import Dataset, Standardizer, batches
from striate.errors import NonFiniteError
from striate.experiments.measurement import Array
from striate.nn.loss import CrossEntropyLoss
from striate.nn.module import Module
from striate.nn.standardization import Standardization
from striate.optim import SGD, Optimizer
from striate.step import TrainingStep

_NO_UPDATE = SGD(lr=0.0)


@dataclass
class Trained:
    """A network after its training. ``losses`` by epoch, ``steps`` by step.

    ``broke`` says that the numbers overflowed and the training ended there.
    """

    model: Module
    step: TrainingStep
    losses: list[float] = field(default_factory=list[float])
    steps: list[float] = field(default_factory=list[float])
    broke: bool = False

    def accuracy(self, dataset: Dataset) -> float:
        """The share of right predictions, 0 to 1; outputs that are not finite count as wrong."""
        right = 0
        for x, y, _ in batches(dataset, 512, shuffle=False):
            logits = np.asarray(self.model(x))
            right += int(((logits.argmax(axis=1) == y) & np.isfinite(logits).all(axis=1)).sum())
        return right / len(dataset)


def prepared(model: Module, train_set: Dataset, seed: int, standardized: bool = True) -> Module:
    """The same model after initializing its weights from ``seed`` and, if ``standardized``, adding a standardizer.

    The standardizer is fitted to the images of ``train_set``.
    """
    model.initialize(seed)
    if standardized:
        fit = Standardizer.fit(train_set.images)
        model.standardizer = Standardization(fit.mean, fit.sigma, fit.epsilon)
    return model


def train(
    model: Module, train_set: Dataset, rule: Optimizer, *, seed: int, epochs: int, batch_size: int = 32
) -> Trained:
    """Trains for some epochs. A training that breaks down ends there, with the model of the last good step."""
    step = TrainingStep(model, CrossEntropyLoss(), rule, seed=seed, capacity=batch_size)
    trained = Trained(model, step)
    try:
        for epoch in range(epochs):
            before = len(trained.steps)
            for x, y, _ in batches(train_set, batch_size, seed=seed, epoch=epoch):
                trained.steps.append(step(x, y))
            trained.losses.append(float(np.mean(trained.steps[before:])))
    except NonFiniteError:
        trained.broke = True
    return trained


def gradient_norms(model: Module, dataset: Dataset, seed: int, samples: int = 256) -> dict[str, float]:
    """√Σg² of each weight of a linear map or convolution, in the order of the layers, over one batch; no update."""
    step = TrainingStep(model, CrossEntropyLoss(), _NO_UPDATE, seed=seed)
    chosen = dataset.images[:samples], dataset.labels[:samples]
    return {
        name: float(np.linalg.norm(gradient.astype(np.float64)))
        for name, gradient in step.gradients(*chosen).items()
        if gradient.ndim > 1
    }


def firing(model: Module, dataset: Dataset, seed: int, layers: list[str]) -> dict[str, Array]:
    """For each of the layers and each of its units, the share of the data set for which its output is positive.

    A unit of a ReLU whose share is 0 never fires: it is dead, and no gradient reaches its weights.
    """
    step = TrainingStep(model, CrossEntropyLoss(), _NO_UPDATE, seed=seed)
    watch = step.watch("*")
    for x, y, _ in batches(dataset, 512, shuffle=False):
        step.gradients(x, y)
    shares = watch.firing()
    watch.close()
    return {layer: np.asarray(shares[layer]) for layer in layers}
