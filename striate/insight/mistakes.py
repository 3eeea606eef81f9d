"""Finds where a model is wrong: the confusion matrix, and the mistakes with the largest loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from striate import options
from striate.data.dataset import Dataset, require_classes
from striate.data.loader import batches
from striate.errors import ShapeError
from striate.graph.value import Array
from striate.insight.sample import require_model
from striate.nn.module import Module
from striate.train.evaluation import log_softmax

_TOGETHER = 256


@dataclass(frozen=True)
class Confusion:
    """A confusion matrix: ``counts[t, p]`` samples of class t were predicted as class p.

    ``counts`` is int64 (C, C), and ``classes`` are the names of the C classes.
    """

    counts: npt.NDArray[np.int64]
    classes: tuple[str, ...]

    @property
    def accuracy(self) -> float:
        """The share of samples that were predicted correctly, from 0 to 1; 0 without samples."""
        return float(np.trace(self.counts) / max(int(self.counts.sum()), 1))

    @property
    def recalls(self) -> npt.NDArray[np.float64]:
        """The share of each class's samples that were predicted correctly; NaN for a class without samples."""
        return _shares(self.counts.diagonal(), self.counts.sum(axis=1))

    @property
    def precisions(self) -> npt.NDArray[np.float64]:
        """The share of each class's predictions that were correct; NaN for a class never predicted."""
        return _shares(self.counts.diagonal(), self.counts.sum(axis=0))

    def most_confused(self, count: int = 5) -> list[tuple[str, str, int]]:
        """Return the ``count`` most frequent mistakes as (true class, predicted class, number of samples).

        The most frequent is first. Pairs of classes that were never confused are left out.
        """
        options.whole_number("count", count, 1)
        wrong = self.counts - np.diag(self.counts.diagonal())
        order = np.argsort(-wrong, axis=None, kind="stable")[:count]
        places = [divmod(int(place), len(self.classes)) for place in order]
        return [(self.classes[t], self.classes[p], int(wrong[t, p])) for t, p in places if wrong[t, p]]

    def to_json(self) -> dict[str, object]:
        """Return the class names, counts and accuracy as a dict of lists and numbers, which JSON can represent."""
        return {"classes": list(self.classes), "counts": self.counts.tolist(), "accuracy": self.accuracy}


@dataclass(frozen=True, eq=False)
class Mistake:
    """A sample that was predicted wrongly.

    index                 its index in the data set
    image                 its input, as stored in the data set
    label, predicted      names of the true and of the predicted class
    probability           predicted probability of the predicted class
    probability_of_label  predicted probability of the true class
    loss                  cross entropy −log p(true class), in nats
    """

    index: int
    image: Array
    label: str
    predicted: str
    probability: float  # of the predicted class
    probability_of_label: float
    loss: float


def _shares(part: Array, whole: Array) -> npt.NDArray[np.float64]:
    """Return part / whole; NaN where both are 0."""
    with np.errstate(invalid="ignore"):
        return part / whole


def _predicted(model: Module, dataset: Dataset) -> tuple[Dataset, npt.NDArray[np.float64]]:
    """Return the data set with its labels as indices into the model's classes, and log probabilities (N, C)."""
    require_model(model)
    require_classes(dataset, "dataset")
    dataset = dataset.with_classes(model.classes)
    found: list[Array] = []
    for x, _, _ in batches(dataset, _TOGETHER, shuffle=False):
        logits = np.asarray(model(x))
        if logits.ndim != 2 or logits.shape[1] < len(dataset.classes):
            raise ShapeError(
                f"the model has outputs of shape {logits.shape}, but {dataset.name} has {len(dataset.classes)} "
                f"classes\n  help: a model that ends with {len(dataset.classes)} outputs, or other data"
            )
        found.append(log_softmax(logits))
    return dataset, np.concatenate(found)


def _names(dataset: Dataset, outputs: int) -> tuple[str, ...]:
    """Return the names of all classes that the model can predict; numbers where the data set has no name."""
    return (*dataset.classes, *(str(number) for number in range(len(dataset.classes), outputs)))


def confusion(model: Module, dataset: Dataset) -> Confusion:
    """Return the confusion matrix of a model's predictions for a data set.

    Classes of the model and of the data are matched by name. Raises ``ShapeError`` for a model with fewer outputs than
    the data set has classes, ``DataError`` for a class that the model does not know, and ``OptionError`` for a data set
    without class labels.
    """
    dataset, found = _predicted(model, dataset)
    size = found.shape[1]
    pairs = dataset.labels * size + found.argmax(axis=1)
    counts = np.bincount(pairs, minlength=size * size).reshape(size, size)
    return Confusion(counts.astype(np.int64), _names(dataset, size))


def worst_mistakes(model: Module, dataset: Dataset, count: int = 16) -> list[Mistake]:
    """Return the ``count`` wrong predictions with the largest loss −log p(true class), worst first.

    The list is shorter if there are fewer mistakes. Raises ``OptionError`` for a count below 1; the other errors
    are those of ``confusion``.
    """
    options.whole_number("count", count, 1)
    dataset, found = _predicted(model, dataset)
    names = _names(dataset, found.shape[1])
    predicted = found.argmax(axis=1)
    loss = -found[np.arange(len(dataset)), dataset.labels]
    wrong = np.flatnonzero(predicted != dataset.labels)
    worst = wrong[np.argsort(-loss[wrong], kind="stable")[:count]]
    return [
        Mistake(
            index=int(i),
            image=dataset.images[i],
            label=names[int(dataset.labels[i])],
            predicted=names[int(predicted[i])],
            probability=float(np.exp(found[i, predicted[i]])),
            probability_of_label=float(np.exp(-loss[i])),
            loss=float(loss[i]),
        )
        for i in worst
    ]
