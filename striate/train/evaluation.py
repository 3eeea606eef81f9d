"""Evaluation: how well a model predicts a data set."""

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
from striate.graph.value import dtype_of
from striate.nn.loss import Loss, LossFunction, as_loss, loss_of_measured_targets
from striate.nn.module import Module
from striate.options import require_instance
from striate.train.epoch_loss import EpochLoss
from striate.train.numerals import number_text, score_text
from striate.train.tta import Averaged, Views, averaged

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ClassResult:
    """The result of one class: the number of its samples, and how many of them were predicted correctly."""

    name: str
    correct: int
    count: int

    @property
    def accuracy(self) -> float | None:
        """The fraction of correct predictions, from 0 to 1; None for a class without samples."""
        return self.correct / self.count if self.count else None


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The loss of a model over all samples of a data set, and accuracy or errors.

    For class labels: ``correct`` of ``count`` predictions are right, over all samples and for each of ``classes``; for
    labels of positions, over the positions that are not ignored. ``cross_entropy`` is the mean cross entropy in nats,
    without class weights and label smoothing. ``loss`` is the value of the given loss function; if none was given, it
    equals ``cross_entropy``.

    For measured targets: ``mean_error`` is the mean of |prediction − target|, and ``r2`` the fraction of the targets'
    variance that is explained, 1 − mean squared error / variance. ``accuracy`` and ``cross_entropy`` are then NaN; they
    are also NaN if the loss function does not define them.
    """

    loss: float
    correct: int
    count: int
    classes: tuple[ClassResult, ...]
    cross_entropy: float
    mean_error: float | None = None
    r2: float | None = None

    @property
    def accuracy(self) -> float:
        """The fraction of correct predictions, from 0 to 1; NaN without class labels."""
        return self.correct / self.count if self.count else math.nan

    def __repr__(self) -> str:
        """Return ``Evaluation: loss 0.0356, accuracy 98.87 % (351 of 355)``; the other numbers are attributes."""
        score = score_text(self.accuracy if self.count else None, self.mean_error)
        score += f" ({self.correct:,} of {self.count:,})" if self.count else ""
        score += "" if self.r2 is None else f", R² {self.r2:.4f}"
        return f"Evaluation: loss {number_text(self.loss)}" + (f", {score}" if score else "")

    def to_json(self) -> dict[str, object]:
        """Return the results as a dictionary of plain numbers and lists."""
        found: dict[str, object] = {"loss": self.loss}
        if self.count:
            found |= {"accuracy": self.accuracy, "correct": self.correct, "count": self.count}
        if self.mean_error is not None:
            found |= {"mean_error": self.mean_error, "r2": self.r2}
        if not self.classes:
            return found
        return found | {
            "cross_entropy": self.cross_entropy,
            "classes": [
                {"name": one.name, "accuracy": one.accuracy, "correct": one.correct, "count": one.count}
                for one in self.classes
            ],
        }


def log_softmax(logits: Array) -> Array:
    """Return log(e^z_i / Σ_j e^z_j) along axis 1 of ``logits`` (N, C), in float64."""
    z = logits.astype(np.float64)
    z = z - z.max(axis=1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=1, keepdims=True))


def evaluate(
    model: Module,
    dataset: Dataset,
    batch_size: int = 256,
    *,
    loss: Loss | LossFunction | None = None,
    after_batch: Callable[[int], None] = lambda count: None,
    tta: Views | str = "",
) -> Evaluation:
    """Predict a data set with ``model(x)`` and compare with its targets; the model is not changed.

    Prediction uses running statistics and no dropout. ``loss`` is the loss function that training minimizes; its value
    is that over the whole set, whatever the batch size (see ``EpochLoss``). The default is the mean cross entropy, or
    for measured targets the mean squared error. ``after_batch`` is called with the number of samples of each batch.
    Classes of the model and of the data are matched by name. ``tta`` averages the predictions over views of each
    sample, such as "flip" or "flip crop:4" (see ``train.Views``).

    Raises ``DataError`` for a class that the model does not know, ``ShapeError`` for outputs that are not one number
    per class, and ``OptionError`` for anything that is not a model, a data set, a loss or a batch size.
    """
    require_instance("model", model, Module, "nn.Sequential(…)")
    require_dataset(dataset)
    dataset = dataset.with_classes(model.classes)
    chosen = None if loss is None else as_loss(loss)
    by_class = dataset.is_classification and (chosen is None or chosen.takes_labels)
    answering = averaged(model, tta, probabilities=by_class)
    if by_class:
        return _by_class(answering, dataset, batch_size, chosen, after_batch)
    return _by_target(answering, dataset, batch_size, chosen or loss_of_measured_targets(), after_batch)


def _by_class(
    model: Module | Averaged,
    dataset: Dataset,
    batch_size: int,
    loss: Loss | None,
    after_batch: Callable[[int], None],
) -> Evaluation:
    """Return loss and accuracy for samples with one class label each."""
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


def _by_target(
    model: Module | Averaged,
    dataset: Dataset,
    batch_size: int,
    loss: Loss,
    after_batch: Callable[[int], None],
) -> Evaluation:
    """Return the evaluation for targets other than one class label per sample.

    It has the loss, and the accuracy over positions or the errors of measured targets.
    """
    own = EpochLoss(loss)
    right = seen = 0
    errors, squares, targets = Running(), Running(), Running()
    for x, y, _ in batches(dataset, batch_size, shuffle=False):
        outputs = np.asarray(model(x))
        target = loss.target(y, len(y), outputs.dtype)
        loss.check_shape(target.shape, outputs.shape, dtype_of(target.dtype))
        own.add(float(loss(outputs, target)), target)
        classes = len(dataset.classes) if dataset.is_classification else 0
        if loss.takes_labels or (
            outputs.ndim == 2 and outputs.shape[1] >= classes > 1
        ):  # also for a user's own loss function
            labels = target.argmax(axis=1) if target.dtype.kind == "f" else target
            counted = np.ones(labels.shape, bool) if loss.ignored is None else labels != loss.ignored
            right += int(((outputs.argmax(axis=1) == labels) & counted).sum())
            seen += int(counted.sum())
        elif loss.predicts_targets:
            difference = outputs.astype(np.float64) - target
            errors.add(np.abs(difference))
            squares.add(np.square(difference))
            targets.add(target.astype(np.float64))
        after_batch(len(y))
    entropy = own.value if loss.is_plain_cross_entropy else math.nan
    if not loss.predicts_targets:
        return Evaluation(own.value, right, seen, (), entropy)
    variance = targets.variance
    r2 = 1 - squares.mean / variance if variance > 0 else math.nan
    return Evaluation(own.value, 0, 0, (), entropy, errors.mean, r2)


class Running:
    """The mean and variance of numbers that arrive in parts, merged without loss of precision."""

    def __init__(self) -> None:
        self._count = 0
        self.mean = 0.0
        self._squares = 0.0

    def add(self, numbers: Array) -> None:
        """Add an array of numbers."""
        count, mean = self._count + numbers.size, float(numbers.mean())
        apart = mean - self.mean
        self._squares += float(np.square(numbers - mean).sum()) + apart**2 * self._count * numbers.size / count
        self.mean += apart * numbers.size / count
        self._count = count

    @property
    def variance(self) -> float:
        """The biased variance of all numbers so far; NaN if there are none."""
        return self._squares / self._count if self._count else math.nan
