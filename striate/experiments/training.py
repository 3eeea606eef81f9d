"""Train and evaluate the networks of experiments, and measure their gradients and units."""

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
    """A network after its training: ``losses`` are the mean losses of the epochs, ``steps`` the losses of the steps.

    ``step`` is the training step that trained it. ``broke`` is true if the training ended early because a number
    overflowed.
    """

    model: Module
    step: TrainingStep
    losses: list[float] = field(default_factory=list[float])
    steps: list[float] = field(default_factory=list[float])
    broke: bool = False

    def accuracy(self, dataset: Dataset) -> float:
        """Return the share of correct predictions (0 to 1); outputs that are not finite count as wrong."""
        right = 0
        for x, y, _ in batches(dataset, 512, shuffle=False):
            logits = np.asarray(self.model(x))
            right += int(((logits.argmax(axis=1) == y) & np.isfinite(logits).all(axis=1)).sum())
        return right / len(dataset)


def prepared(model: Module, train_set: Dataset, seed: int, standardized: bool = True) -> Module:
    """Initialize the model's weights from ``seed``, add a standardizer if ``standardized``, and return the model.

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
    """Train with cross-entropy for ``epochs`` epochs; ``rule`` is the optimizer.

    ``seed`` determines the order of the samples and dropout, and ``batch_size`` is the number of samples in a step.
    If a loss or gradient is not finite, the training ends, and the model keeps the weights of the step before.
    """
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
    """Return ‖g‖ = √Σg² for each weight of a linear map or convolution, by name, with g its gradient for one batch.

    The batch is the first ``samples`` samples of the data set, and the loss is cross entropy. The weights are not
    updated. ``seed`` determines the values of weights that have none yet, and dropout.
    """
    step = TrainingStep(model, CrossEntropyLoss(), _NO_UPDATE, seed=seed)
    chosen = dataset.images[:samples], dataset.labels[:samples]
    return {
        name: float(np.linalg.norm(gradient.astype(np.float64)))
        for name, gradient in step.gradients(*chosen).items()
        if gradient.ndim > 1
    }


def firing(model: Module, dataset: Dataset, seed: int, layers: list[str]) -> dict[str, Array]:
    """Return how often each unit of the given layers is positive over a data set, as shares from 0 to 1, by layer.

    A ReLU unit with share 0 is dead: no gradient reaches its weights. ``layers`` are paths of layers. ``seed``
    determines the values of weights that have none yet, and dropout.
    """
    step = TrainingStep(model, CrossEntropyLoss(), _NO_UPDATE, seed=seed)
    watch = step.watch("*")
    for x, y, _ in batches(dataset, 512, shuffle=False):
        step.gradients(x, y)
    shares = watch.firing()
    watch.close()
    return {layer: np.asarray(shares[layer]) for layer in layers}
