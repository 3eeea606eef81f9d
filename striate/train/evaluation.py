"""Evaluate a model on a data set: loss, accuracy, errors, and the results of each class."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.data.dataset import Dataset, require_dataset
from striate.distributed import communicator_of
from striate.errors import ShapeError
from striate.graph.value import dtype_of
from striate.nn.element_loss import loss_of_labels
from striate.nn.loss import Loss, LossFunction, as_loss, loss_of_classes, loss_of_measured_targets
from striate.nn.module import Module
from striate.options import require_instance
from striate.step import checked_weights
from striate.train.epoch_loss import HeldOutLoss
from striate.train.metrics import areas, calibration_error, top_hits
from striate.train.numerals import number_text, score_text
from striate.train.ranks import Predictor, predicted
from striate.train.tta import Views, averaged

Array = npt.NDArray[Any]
_MOST_SCORES = 20_000_000  # numbers of scores that are kept to rank them
_MOST_CONFUSED = 1000  # classes up to which a confusion matrix is counted
_MOST_LISTED = 100  # classes up to which ``to_json`` includes it


@dataclass(frozen=True)
class ClassResult:
    """The result of one class, or of one yes-or-no label.

    name       the name of the class or label
    count      the number of its samples
    correct    how many of them were predicted correctly
    predicted  how many samples, of any class, were predicted as this class
    auc        the area under the ROC curve for this class against all others; None if it is undefined or not computed
    average_precision
               the area under the precision-recall curve of this class (see ``train.metrics``); None if it is undefined
               or not computed
    """

    name: str
    correct: int
    count: int
    predicted: int = 0
    auc: float | None = None
    average_precision: float | None = None

    @property
    def accuracy(self) -> float | None:
        """The fraction of the class's samples that are predicted correctly (recall); None if it has no samples."""
        return self.correct / self.count if self.count else None

    @property
    def precision(self) -> float | None:
        """The fraction of the predictions of this class that are correct; None if it was never predicted."""
        return self.correct / self.predicted if self.predicted else None

    @property
    def f1(self) -> float | None:
        """The harmonic mean of precision and recall; None for a class that has no samples and is never predicted."""
        total = self.count + self.predicted
        return 2 * self.correct / total if total else None


@dataclass(frozen=True)
class TargetResult:
    """The errors of one measured target.

    name        the name of the target
    mean_error  the mean of |prediction − target|
    rmse        the root of the mean of (prediction − target)²
    r2          1 − mean squared error / variance of the target; None if all targets are equal
    """

    name: str
    mean_error: float
    rmse: float
    r2: float | None


@dataclass(frozen=True, repr=False)
class Evaluation:
    """The loss of a model over all samples of a data set, and accuracy or errors.

    For class labels: ``correct`` of ``count`` predictions are right, and ``classes`` has the results of each class.
    With a class label per position (segmentation), ``count`` is the number of positions whose label is not ignored;
    with several yes-or-no labels per sample, ``count`` is the number of labels of all samples. ``top5`` is the fraction
    of samples whose class is among the five classes with the highest scores; None for up to five classes.
    ``cross_entropy`` is the mean cross entropy in nats, without class weights and label smoothing. ``loss`` is the
    value of the given loss function; if none was given and the samples have no weights, it equals ``cross_entropy``.
    ``confusion`` counts the samples of each class (row) by the predicted class (column); None above 1,000 classes.
    ``calibration_error`` is the expected difference between the probability of the predicted class and the share of
    correct predictions (see ``train.metrics``). With several yes-or-no labels, ``exact`` is the fraction of samples
    whose labels are all right.

    For measured targets: ``mean_error`` is the mean of |prediction − target|, ``rmse`` the root of the mean squared
    error, and ``r2`` the fraction of the targets' variance that is explained, 1 − mean squared error / variance; for
    targets (N, k), ``r2`` is the mean over the k columns. ``targets`` has the errors of each column. ``accuracy`` and
    ``cross_entropy`` are NaN for measured targets, and for a loss function from which they cannot be computed.
    """

    loss: float
    correct: int
    count: int
    classes: tuple[ClassResult, ...]
    cross_entropy: float
    mean_error: float | None = None
    r2: float | None = None
    top5: float | None = None
    confusion: npt.NDArray[np.int64] | None = field(default=None, compare=False)
    calibration_error: float | None = None
    exact: float | None = None
    rmse: float | None = None
    targets: tuple[TargetResult, ...] = ()

    @property
    def f1(self) -> float | None:
        """The macro average: the mean F1 of the classes that have samples; None if there are none."""
        return _mean([one.f1 for one in self.classes if one.count])

    @property
    def auc(self) -> float | None:
        """The mean area under the ROC curve, over the classes for which it is defined; None if there are none."""
        return _mean([one.auc for one in self.classes])

    @property
    def average_precision(self) -> float | None:
        """The mean average precision (mAP), over the classes for which it is defined; None if there are none."""
        return _mean([one.average_precision for one in self.classes])

    @property
    def balanced_accuracy(self) -> float | None:
        """The mean recall of the classes that have samples; None if there are none."""
        return _mean([one.accuracy for one in self.classes])

    @property
    def accuracy(self) -> float:
        """The fraction of correct predictions, from 0 to 1; NaN if ``count`` is 0, as for measured targets."""
        return self.correct / self.count if self.count else math.nan

    def __repr__(self) -> str:
        """Return loss and accuracy as text, such as ``Evaluation: loss 0.0356, accuracy 98.87 % (351 of 355)``."""
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
            found |= {"mean_error": self.mean_error, "rmse": self.rmse, "r2": self.r2}
            found |= {"targets": [asdict(one) for one in self.targets]} if len(self.targets) > 1 else {}
        if not self.classes:
            return found
        if self.top5 is not None:
            found["top5"] = self.top5
        if not math.isnan(self.cross_entropy):
            found["cross_entropy"] = self.cross_entropy
        if self.calibration_error is not None:
            found["calibration_error"] = self.calibration_error
        if self.exact is not None:
            found["exact"] = self.exact
        if self.confusion is not None and len(self.classes) <= _MOST_LISTED:
            found["confusion"] = self.confusion.tolist()
        return found | {
            "f1": self.f1,
            "auc": self.auc,
            "average_precision": self.average_precision,
            "balanced_accuracy": self.balanced_accuracy,
            "classes": [
                {
                    "name": one.name, "accuracy": one.accuracy, "correct": one.correct, "count": one.count,
                    "predicted": one.predicted, "precision": one.precision, "f1": one.f1, "auc": one.auc,
                    "average_precision": one.average_precision,
                }
                for one in self.classes
            ],
        }  # fmt: skip


def _mean(values: list[float | None]) -> float | None:
    """Return the mean of the values that are not None; None if there are none."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def log_softmax(logits: Array) -> Array:
    """Return the logarithm of the softmax, log(e^z_i / Σ_j e^z_j), of the logits z (N, C) along axis 1, in float64."""
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
    sample_weight: Array | None = None,
    communicator: object = None,
) -> Evaluation:
    """Predict a data set with ``model(x)`` and compare with its targets; the model is not changed.

    Prediction uses running statistics and no dropout. ``loss`` is the loss function of the training; its value over the
    whole set does not depend on ``batch_size``. The default is the mean cross entropy for classes, the binary cross
    entropy for several yes-or-no labels, and the mean squared error for measured targets. ``after_batch`` is called
    with the number of samples of each batch. Classes of the model and of the data are matched by name. ``tta`` averages
    the predictions over views of each sample, such as "flip" or "flip crop:4" (see ``train.Views``). ``sample_weight``
    (N,) weights the samples in ``loss``, as in training; all other measures count every sample once.

    ``communicator`` is a communicator of mpi4py, whose ranks (processes) take turns to predict a batch. All ranks must
    call this function. Every rank returns the evaluation of the whole data set, bit for bit as a single process
    computes it.

    Raises ``DataError`` for a class that the model does not know, ``ShapeError`` for outputs that are not one number
    per class, and ``OptionError`` for an argument that is not a model, a data set, a loss or a batch size.
    ``sample_weight`` with a loss that cannot be computed for each sample raises ``OptionError`` too.
    """
    require_instance("model", model, Module, "nn.Sequential(…)")
    require_dataset(dataset)
    dataset = dataset.with_classes(model.classes)
    chosen = None if loss is None else as_loss(loss)
    weights = None if sample_weight is None else checked_weights(sample_weight, len(dataset))
    by_class = dataset.is_classification and (chosen is None or chosen.takes_labels)
    answering: Predictor = averaged(model, tta, probabilities=by_class)
    outputs = predicted(answering, dataset, batch_size, communicator_of(communicator))
    if by_class:
        if chosen is None and weights is not None:
            chosen = loss_of_classes()
        return _by_class(outputs, dataset, chosen, after_batch, weights)
    if chosen is None and dataset.labels.ndim == 2 and dataset.labels.dtype == np.uint8:
        chosen = loss_of_labels()
    chosen = chosen or loss_of_measured_targets()
    return _by_target(outputs, dataset, chosen, after_batch, model.classes, weights)


def _by_class(
    predictions: Iterable[tuple[Array, Array, Array]],
    dataset: Dataset,
    loss: Loss | None,
    after_batch: Callable[[int], None],
    weights: Array | None,
) -> Evaluation:
    """Return loss and accuracy for samples with one class label each; ``predictions`` are those of ``predicted``."""
    classes = len(dataset.classes)
    right, seen = np.zeros(classes, np.int64), np.bincount(dataset.labels, minlength=classes)
    named, hits = np.zeros(classes, np.int64), 0
    confusion = np.zeros((classes, classes), np.int64) if classes <= _MOST_CONFUSED else None
    confidences, rights = list[Array](), list[Array]()
    scores: list[Array] | None = [] if len(dataset) * classes <= _MOST_SCORES else None
    entropies: list[float] = []
    plain = loss is None or (loss.is_plain_cross_entropy and weights is None)
    own = None if loss is None or plain else HeldOutLoss(loss, weights)
    for logits, y, indices in predictions:
        if logits.ndim != 2 or logits.shape[1] < classes:
            raise ShapeError(
                f"the model gives outputs of shape {logits.shape}, but {dataset.name} has {classes} classes\n"
                f"  help: a model that ends with {classes} outputs, or other data"
            )
        shares = log_softmax(logits)
        entropies += (-shares[np.arange(len(y)), y]).tolist()
        if loss is not None and own is not None:
            own.add_outputs(logits, loss.target(y, len(y), logits.dtype), indices)
        answers = logits.argmax(axis=1)
        right += np.bincount(y[answers == y], minlength=classes)
        named += np.bincount(answers, minlength=classes)[:classes]
        confidences.append(np.exp(shares.max(axis=1)))
        rights.append(answers == y)
        if confusion is not None:
            known = answers < classes
            np.add.at(confusion, (y[known], answers[known]), 1)
        hits += top_hits(logits, y, 5) if classes > 5 else 0
        if scores is not None:
            scores.append(shares[:, :classes].astype(np.float32))
        after_batch(len(y))
    ranked = [(None, None)] * classes if scores is None else _areas(np.concatenate(scores), dataset.labels)
    results = tuple(
        ClassResult(name, int(correct), int(count), int(answered), *pair)
        for name, correct, count, answered, pair in zip(dataset.classes, right, seen, named, ranked, strict=True)
    )
    calibration = calibration_error(np.concatenate(confidences), np.concatenate(rights))
    entropy = math.fsum(entropies) / len(dataset)
    value = entropy if own is None else own.value
    top5 = hits / len(dataset) if classes > 5 else None
    return Evaluation(
        value, int(right.sum()), len(dataset), results, entropy, top5=top5, confusion=confusion,
        calibration_error=None if math.isnan(calibration) else calibration,
    )  # fmt: skip


def _areas(scores: Array, labels: Array) -> list[tuple[float | None, float | None]]:
    """Return the area under the ROC curve and the average precision of each class, from scores (N, C)."""
    return [areas(scores[:, place], labels == place) for place in range(scores.shape[1])]


def _by_target(
    predictions: Iterable[tuple[Array, Array, Array]],
    dataset: Dataset,
    loss: Loss,
    after_batch: Callable[[int], None],
    label_names: tuple[str, ...],
    weights: Array | None,
) -> Evaluation:
    """Return the evaluation for targets other than one class label per sample.

    It has the loss, and the accuracy over positions or yes-or-no labels, or the errors of measured targets.
    """
    own = HeldOutLoss(loss, weights)
    right = seen = 0
    errors = Running()
    columns: list[tuple[Running, Running, Running]] = []  # errors, their squares and targets, of each column (N, k)
    logits: list[Array] = []
    several = loss.decides and dataset.labels.ndim == 2 and dataset.labels.dtype.kind in "iu"
    for outputs, y, indices in predictions:
        target = loss.target(y, len(y), outputs.dtype)
        loss.check_shape(target.shape, outputs.shape, dtype_of(target.dtype))
        own.add_outputs(outputs, target, indices)
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
            wide = target.astype(np.float64)
            pairs = [(difference, wide)] if wide.ndim != 2 else list(zip(difference.T, wide.T))
            columns = columns or [(Running(), Running(), Running()) for _ in pairs]
            for (sizes, squares, targets), (apart, own_target) in zip(columns, pairs):
                sizes.add(np.abs(apart))
                squares.add(np.square(apart))
                targets.add(own_target)
        elif several:
            logits.append(outputs)
        after_batch(len(y))
    entropy = own.value if loss.is_plain_cross_entropy and weights is None else math.nan
    if logits:
        return _by_label(own.value, np.concatenate(logits), dataset.labels > 0, label_names)
    if not columns:  # classes, or targets that the loss makes of them
        return Evaluation(own.value, right, seen, (), entropy)
    results = tuple(
        TargetResult(
            label_names[place] if place < len(label_names) else f"target {place}", sizes.mean, math.sqrt(squares.mean),
            1 - squares.mean / targets.variance if targets.variance > 0 else None,
        )
        for place, (sizes, squares, targets) in enumerate(columns)
    )  # fmt: skip
    shares = _mean([one.r2 for one in results])
    rmse = math.sqrt(math.fsum(squares.mean for _, squares, _ in columns) / len(columns))
    return Evaluation(
        own.value, 0, 0, (), entropy, errors.mean, math.nan if shares is None else shares, rmse=rmse, targets=results
    )


def _by_label(loss: float, logits: Array, labels: npt.NDArray[np.bool_], names: tuple[str, ...]) -> Evaluation:
    """Return the evaluation of yes-or-no labels (N, k); a logit above 0 predicts yes."""
    answers = logits > 0
    results = tuple(
        ClassResult(
            names[place] if place < len(names) else f"label {place}", int((answers & labels)[:, place].sum()),
            int(labels[:, place].sum()), int(answers[:, place].sum()), *areas(logits[:, place], labels[:, place]),
        )
        for place in range(labels.shape[1])
    )  # fmt: skip
    right = answers == labels
    return Evaluation(loss, int(right.sum()), labels.size, results, math.nan, exact=float(right.all(axis=1).mean()))


class Running:
    """The mean and variance of numbers that arrive in several arrays, merged without loss of precision."""

    def __init__(self) -> None:
        self._count = 0
        self.mean = 0.0
        self._squares = 0.0

    def add(self, numbers: Array) -> None:
        """Include the elements of a non-empty array of any shape in the mean and the variance."""
        count, mean = self._count + numbers.size, float(numbers.mean())
        apart = mean - self.mean
        self._squares += float(np.square(numbers - mean).sum()) + apart**2 * self._count * numbers.size / count
        self.mean += apart * numbers.size / count
        self._count = count

    @property
    def variance(self) -> float:
        """The biased variance of all numbers so far; NaN if there are none."""
        return self._squares / self._count if self._count else math.nan
