"""Where a model is wrong: the confusion matrix, and the mistakes with the largest loss."""

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
    """counts[t, p] (C, C): the number of samples of class t that were predicted as p."""

    counts: npt.NDArray[np.int64]
    classes: tuple[str, ...]

    @property
    def accuracy(self) -> float:
        """Share of the diagonal, 0 to 1."""
        return float(np.trace(self.counts) / max(int(self.counts.sum()), 1))

    @property
    def recalls(self) -> npt.NDArray[np.float64]:
        """For each class the share of its samples that were predicted rightly; NaN for a class without samples."""
        return _shares(self.counts.diagonal(), self.counts.sum(axis=1))

    @property
    def precisions(self) -> npt.NDArray[np.float64]:
        """For each class the share of its predictions that were right; NaN for a class that was never predicted."""
        return _shares(self.counts.diagonal(), self.counts.sum(axis=0))

    def most_confused(self, count: int = 5) -> list[tuple[str, str, int]]:
        """(true class, predicted class, how often), the most frequent mistakes first."""
        options.whole_number("count", count, 1)
        wrong = self.counts - np.diag(self.counts.diagonal())
        order = np.argsort(-wrong, axis=None, kind="stable")[:count]
        places = [divmod(int(place), len(self.classes)) for place in order]
        return [(self.classes[t], self.classes[p], int(wrong[t, p])) for t, p in places if wrong[t, p]]

    def to_json(self) -> dict[str, object]:
        """Plain numbers, lists and objects."""
        return {"classes": list(self.classes), "counts": self.counts.tolist(), "accuracy": self.accuracy}


@dataclass(frozen=True, eq=False)
class Mistake:
    """A sample that was predicted wrongly: its index in the data set, its picture as the data set has it, the true and
    the predicted class with their probabilities, and the loss −log p(true)."""

    index: int
    image: Array
    label: str
    predicted: str
    probability: float  # of the predicted class
    probability_of_label: float
    loss: float


def _shares(part: Array, whole: Array) -> npt.NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        return part / whole


def _log_probabilities(model: Module, dataset: Dataset) -> npt.NDArray[np.float64]:
    """(N, C) in the order of the data set."""
    require_model(model)
    require_classes(dataset, "dataset")
    found: list[Array] = []
    for x, _, _ in batches(dataset, _TOGETHER, shuffle=False):
        logits = np.asarray(model(x))
        if logits.ndim != 2 or logits.shape[1] < len(dataset.classes):
            raise ShapeError(
                f"the model has outputs of shape {logits.shape}, but {dataset.name} has {len(dataset.classes)} "
                f"classes\n  help: a model that ends with {len(dataset.classes)} outputs, or other data"
            )
        found.append(log_softmax(logits))
    return np.concatenate(found)


def _names(dataset: Dataset, outputs: int) -> tuple[str, ...]:
    """Names of all classes that the model can predict, which may be more than the data set has."""
    return (*dataset.classes, *(str(number) for number in range(len(dataset.classes), outputs)))


def confusion(model: Module, dataset: Dataset) -> Confusion:
    """How often each class is predicted as each class.

    Raises ``ShapeError`` for a model with fewer outputs than classes.
    """
    found = _log_probabilities(model, dataset)
    size = found.shape[1]
    pairs = dataset.labels * size + found.argmax(axis=1)
    counts = np.bincount(pairs, minlength=size * size).reshape(size, size)
    return Confusion(counts.astype(np.int64), _names(dataset, size))


def worst_mistakes(model: Module, dataset: Dataset, count: int = 16) -> list[Mistake]:
    """The wrong predictions with the largest loss −log p(true), the worst first; fewer where there are fewer.

    Raises ``OptionError`` for a count below 1, ``ShapeError`` as ``confusion``.
    """
    options.whole_number("count", count, 1)
    found = _log_probabilities(model, dataset)
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
