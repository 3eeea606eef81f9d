"""How well a model predicts a data set."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.data.dataset import Dataset, require_dataset
from striate.data.loader import batches
from striate.errors import ShapeError
from striate.nn.loss import Loss
from striate.nn.module import Module
from striate.options import require_instance
from striate.train.epoch_loss import EpochLoss

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ClassResult:
    """One class: the number of its samples, and of those that were predicted correctly."""

    name: str
    correct: int
    count: int

    @property
    def accuracy(self) -> float | None:
        """From 0 to 1; None for a class without samples."""
        return self.correct / self.count if self.count else None


@dataclass(frozen=True)
class Evaluation:
    """The loss, and the share of correct predictions (0 to 1), over all samples and class by class.

    ``cross_entropy`` is the mean cross entropy without class weights and label smoothing, in nats; ``loss`` is that of
    the loss function that was given, and the same as ``cross_entropy`` where none was.
    """

    loss: float
    correct: int
    count: int
    classes: tuple[ClassResult, ...]
    cross_entropy: float

    @property
    def accuracy(self) -> float:
        """From 0 to 1."""
        return self.correct / self.count

    def to_json(self) -> dict[str, object]:
        """Plain numbers, lists and objects."""
        return {
            "loss": self.loss,
            "cross_entropy": self.cross_entropy,
            "accuracy": self.accuracy,
            "correct": self.correct,
            "count": self.count,
            "classes": [
                {"name": one.name, "accuracy": one.accuracy, "correct": one.correct, "count": one.count}
                for one in self.classes
            ],
        }


def log_softmax(logits: Array) -> Array:
    """log(e^z_i / Σ_j e^z_j) of (N, C) in float64."""
    z = logits.astype(np.float64)
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def evaluate(
    model: Module,
    dataset: Dataset,
    batch_size: int = 256,
    *,
    loss: Loss | None = None,
    after_batch: Callable[[int], None] = lambda count: None,
) -> Evaluation:
    """Predicts a data set with ``model(x)``: running statistics, no dropout, nothing changed.

    ``loss`` is the loss function that training minimizes; its value over the whole set is the one that training would
    report, whatever the batch size (see ``EpochLoss``). Without it the loss is the mean cross entropy.
    ``after_batch`` is called with the number of samples of each batch. Raises ``ShapeError`` for a model whose outputs
    are not one number for each class, ``OptionError`` for what is not a model, a data set, a loss or a batch size.
    """
    require_instance("model", model, Module, "nn.Sequential(…)")
    require_dataset(dataset)
    if loss is not None:
        require_instance("loss", loss, Loss, "nn.CrossEntropyLoss()")
    classes = len(dataset.classes)
    right, seen = np.zeros(classes, np.int64), np.bincount(dataset.labels, minlength=classes)
    entropies: list[float] = []
    own = None if loss is None or loss.is_plain_cross_entropy else EpochLoss(loss)
    for x, y, _ in batches(dataset, batch_size, shuffle=False):
        logits = np.asarray(model(x))
        if logits.ndim != 2 or logits.shape[1] < classes:
            raise ShapeError(
                f"the model gives outputs of shape {logits.shape}, but {dataset.name} has {classes} classes\n"
                f"  help: a model that ends with {classes} outputs, or other data"
            )
        entropies += (-log_softmax(logits)[np.arange(len(y)), y]).tolist()
        if loss is not None and own is not None:
            own.add(float(loss(logits, loss.target(y, len(y), logits.dtype))), y)
        right += np.bincount(y[logits.argmax(axis=1) == y], minlength=classes)
        after_batch(len(y))
    results = tuple(
        ClassResult(name, int(correct), int(count))
        for name, correct, count in zip(dataset.classes, right, seen, strict=True)
    )
    entropy = math.fsum(entropies) / len(dataset)
    value = entropy if own is None else own.value
    return Evaluation(value, int(right.sum()), len(dataset), results, entropy)
