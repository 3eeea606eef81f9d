"""A bounded sample of a data set, and numbers about it that several rules use."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.data.dataset import Dataset
from striate.data.standardizer import Standardizer
from striate.locks import cached_property

Array = npt.NDArray[Any]

MOST_SAMPLES = 1_000
MOST_NUMBERS = 4_000_000
_DETAIL = 256  # numbers of a sample that distances are computed from
NEIGHBOURS = 5
DIFFERENT = 0.3
_CHUNK = 1 << 22


@dataclass(frozen=True, eq=False)
class Sample:
    """Inputs ``x`` float32 (n, …) after the standardizer, labels ``y`` (n,), their ``index`` (n,) in the data."""

    dataset: Dataset
    x: Array
    y: Array
    index: Array
    standardizer: Standardizer | None

    @classmethod
    def of(cls, dataset: Dataset, standardizer: Standardizer | None) -> Sample:
        """At most 1,000 samples and 4 million numbers, drawn evenly, and the same ones for the same data."""
        if not dataset.is_classification:  # no rule reads other targets
            dataset = replace(dataset, labels=np.zeros(len(dataset), np.int64), classes=())
        size = max(1, dataset.images[0].size)
        count = max(1, min(len(dataset), MOST_SAMPLES, MOST_NUMBERS // size))
        random = np.random.Generator(np.random.Philox(key=[count, len(dataset)]))
        index = np.sort(random.permutation(len(dataset))[:count])
        raw = dataset.images[index]
        fits = standardizer is not None and raw.ndim >= 2 and len(standardizer.mean) == raw.shape[1]
        x = standardizer.transform(raw) if fits and standardizer is not None else raw.astype(np.float32)
        return cls(dataset, x, dataset.labels[index], index, standardizer if fits else None)

    def part(self, chosen: Array) -> Sample:
        """The samples at these places of this sample."""
        return Sample(self.dataset, self.x[chosen], self.y[chosen], self.index[chosen], self.standardizer)

    @property
    def raw(self) -> Array:
        """(n, …) the same samples as they are in the data set, without the standardizer."""
        return self.dataset.images[self.index]

    @property
    def features(self) -> int:
        """The number of columns or channels."""
        return int(self.x.shape[1])

    @property
    def is_table(self) -> bool:
        """Whether samples are rows (N, D), not pictures or signals."""
        return self.x.ndim == 2

    @cached_property
    def by_feature(self) -> Array:
        """(features, numbers): all values of each column or channel."""
        return np.moveaxis(self.x, 1, 0).reshape(self.features, -1)

    @cached_property
    def means(self) -> Array:
        """Mean of each feature, float64."""
        return self.by_feature.mean(axis=1, dtype=np.float64)

    @cached_property
    def stds(self) -> Array:
        """Standard deviation of each feature, float64."""
        return self.by_feature.std(axis=1, dtype=np.float64)

    @cached_property
    def constant(self) -> Array:
        """(features,) whether a feature has the same value in every sample of the whole data set."""
        found = self.by_feature.min(axis=1) == self.by_feature.max(axis=1)
        if found.any():  # a feature that rarely varies may be constant in a sample
            images = self.dataset.images
            rows = max(1, _CHUNK // max(1, images[0].size))
            candidates = np.flatnonzero(found)
            for start in range(0, len(images), rows):
                part = images[start : start + rows][:, candidates]
                first = images[:1, candidates].reshape(1, len(candidates), -1)[..., :1]
                same = (part.reshape(len(part), len(candidates), -1) == first).all(axis=(0, 2))
                found[candidates] &= same
                candidates = candidates[same]
                if not len(candidates):
                    break
        return found

    @cached_property
    def is_discrete(self) -> bool:
        """Whether this is a table of few different numbers, where equal rows are no surprise."""
        if not self.is_table:
            return False
        rows = np.ascontiguousarray(self.raw)
        different = len({row.tobytes() for row in rows})
        columns = [len(np.unique(column)) for column in rows.T[:64]]
        return max(columns) < max(2, DIFFERENT * different)

    @cached_property
    def class_shares(self) -> Array:
        """(C,) share of each class in the whole data set."""
        counts = np.bincount(self.dataset.labels, minlength=len(self.dataset.classes))
        return counts / counts.sum()

    @cached_property
    def entropy(self) -> float:
        """Entropy of the labels in nats: the loss of the best constant prediction, ln C for equal classes."""
        shares = self.class_shares[self.class_shares > 0]
        return float(-(shares * np.log(shares)).sum())

    @cached_property
    def chance(self) -> float:
        """Probability that two samples drawn at random have the same label."""
        return float(np.square(self.class_shares).sum())

    @cached_property
    def flat(self) -> Array:
        """(n, d ≤ 256) float32: each sample reduced to few numbers."""
        return coarse(self.x, _DETAIL)

    @cached_property
    def centre(self) -> tuple[Array, Array]:
        """Mean (d,) of ``flat``, and its scale: that of each column of a table, else the largest of all."""
        std = self.flat.std(axis=0)
        scale = np.where(std > 0, std, 1) if self.is_table else np.asarray(max(float(std.max()), 1e-12))
        return self.flat.mean(axis=0), scale

    @cached_property
    def points(self) -> Array:
        """(n, d ≤ 256) float32: ``flat`` with mean 0 and a common scale."""
        mean, scale = self.centre
        return (self.flat - mean) / scale

    @cached_property
    def neighbours(self) -> Array:
        """(n, 5): indices of the nearest other samples, within this sample."""
        return nearest(self.points, self.points, NEIGHBOURS, itself=True)

    def agreement(self, labels: Array) -> float:
        """Mean share of the nearest neighbours that have the label of their sample."""
        return float((labels[self.neighbours] == labels[:, None]).mean())

    def standard_error(self) -> float:
        """Standard error of ``agreement`` for random labels: twice that of independent pairs, since pairs overlap."""
        return 2 * float(np.sqrt(self.chance * (1 - self.chance) / (len(self.y) * NEIGHBOURS))) + 1e-9


def coarse(x: Array, detail: int) -> Array:
    """(n, about ``detail`` numbers): positions are averaged over blocks until a sample is small enough."""
    while x.ndim > 2 and x[0].size > detail:
        axis = 2 + int(np.argmax(x.shape[2:]))
        size = x.shape[axis]
        if size < 2:
            break
        half = x[(slice(None),) * axis + (slice(0, size - size % 2),)]
        shape = (*half.shape[:axis], size // 2, 2, *half.shape[axis + 1 :])
        x = half.reshape(shape).mean(axis=axis + 1)
    return x.reshape(len(x), -1).astype(np.float32)


def nearest(points: Array, others: Array, count: int, itself: bool = False) -> Array:
    """(n, count): indices of the nearest ``others``; ``itself`` excludes the same index."""
    squares = np.square(others).sum(axis=1)
    distance = squares[None] - 2 * points @ others.T  # + |point|², the same for all others
    if itself:
        np.fill_diagonal(distance, np.inf)
    count = min(count, distance.shape[1] - 1)
    return np.argpartition(distance, count, axis=1)[:, :count] if count > 0 else np.zeros((len(points), 0), np.int64)
