"""A bounded sample of a data set, and statistics of it that several rules of the doctor use."""

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
_DETAIL = 256  # about as many numbers of a sample are used for distances
NEIGHBOURS = 5
DIFFERENT = 0.3
_CHUNK = 1 << 22


@dataclass(frozen=True, eq=False)
class Sample:
    """The samples of a data set that the rules examine, standardized if the model has a fitting standardizer.

    dataset       the data set that the samples were drawn from
    x             inputs, float32 (n, D), (n, C, L) or (n, C, H, W), after the standardizer
    y             labels (n,)
    index         indices (n,) of the samples in the data set
    standardizer  the standardizer that was applied; None if the model has none, or if it is for
                  another number of channels
    """

    dataset: Dataset
    x: Array
    y: Array
    index: Array
    standardizer: Standardizer | None

    @classmethod
    def of(cls, dataset: Dataset, standardizer: Standardizer | None) -> Sample:
        """Draw samples of a data set without replacement: at most 1,000, with at most 4 million elements in all.

        The choice depends only on the length of the data set and the number of samples drawn, so that it is repeatable.
        Targets that are not class numbers are replaced by zeros.
        """
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
        """Return a ``Sample`` with only some of the samples; ``chosen`` has their indices, or is a mask."""
        return Sample(self.dataset, self.x[chosen], self.y[chosen], self.index[chosen], self.standardizer)

    @property
    def raw(self) -> Array:
        """The same samples as they are stored in the data set, before the standardizer; shape (n, …)."""
        return self.dataset.images[self.index]

    @property
    def features(self) -> int:
        """The number of features: columns of a table, or channels of signals and pictures (axis 1 of ``x``)."""
        return int(self.x.shape[1])

    @property
    def is_table(self) -> bool:
        """Whether the samples are rows of a table, ``x`` of shape (n, D), and not signals or pictures."""
        return self.x.ndim == 2

    @cached_property
    def by_feature(self) -> Array:
        """All values of each feature (column or channel), over samples and positions: (features, values)."""
        return np.moveaxis(self.x, 1, 0).reshape(self.features, -1)

    @cached_property
    def means(self) -> Array:
        """Mean of each feature over samples and positions, float64 (features,)."""
        return self.by_feature.mean(axis=1, dtype=np.float64)

    @cached_property
    def stds(self) -> Array:
        """Standard deviation of each feature over samples and positions, float64 (features,)."""
        return self.by_feature.std(axis=1, dtype=np.float64)

    @cached_property
    def constant(self) -> Array:
        """Whether each feature (column or channel) is constant: bool (features,).

        A feature is constant if it has the same value in all samples and positions. All samples of ``dataset`` are
        compared, not only those that were drawn.
        """
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
        """Whether this is a table with few different values in each column, where equal rows are expected.

        That is so if each of the first 64 columns has fewer distinct values than 0.3 times the number of distinct rows.
        """
        if not self.is_table:
            return False
        rows = np.ascontiguousarray(self.raw)
        different = len({row.tobytes() for row in rows})
        columns = [len(np.unique(column)) for column in rows.T[:64]]
        return max(columns) < max(2, DIFFERENT * different)

    @cached_property
    def class_shares(self) -> Array:
        """The share of each class among the labels of the whole data set, float64 (C,), with sum 1."""
        counts = np.bincount(self.dataset.labels, minlength=len(self.dataset.classes))
        return counts / counts.sum()

    @cached_property
    def entropy(self) -> float:
        """Entropy of the labels in nats: ln C for C classes of the same size.

        It is also the cross entropy of the best constant prediction.
        """
        shares = self.class_shares[self.class_shares > 0]
        return float(-(shares * np.log(shares)).sum())

    @cached_property
    def chance(self) -> float:
        """The probability that two samples drawn at random have the same label."""
        return float(np.square(self.class_shares).sum())

    @cached_property
    def flat(self) -> Array:
        """Each sample as a vector, float32 (n, d).

        Signals and pictures are averaged over blocks of positions until about 256 numbers are left; a table keeps all
        of its columns.
        """
        return coarse(self.x, _DETAIL)

    @cached_property
    def centre(self) -> tuple[Array, Array]:
        """The mean (d,) of ``flat``, and the scale by which it is divided before distances are computed.

        The scale of a table is the standard deviation of each column (1 for constant columns). The scale of signals and
        pictures is one number, the largest standard deviation of all positions.
        """
        std = self.flat.std(axis=0)
        scale = np.where(std > 0, std, 1) if self.is_table else np.asarray(max(float(std.max()), 1e-12))
        return self.flat.mean(axis=0), scale

    @cached_property
    def points(self) -> Array:
        """The vectors between which distances are computed, float32 (n, d).

        They are ``flat`` minus its mean, divided by the scale (see ``centre``).
        """
        mean, scale = self.centre
        return (self.flat - mean) / scale

    @cached_property
    def neighbours(self) -> Array:
        """The indices of the 5 nearest other samples of each sample: (n, 5).

        Distances are Euclidean, between ``points``.
        """
        return nearest(self.points, self.points, NEIGHBOURS, itself=True)

    def agreement(self, labels: Array) -> float:
        """Return how often the nearest neighbours of a sample have the same label as the sample, from 0 to 1.

        The result is the mean, over all samples, of the share of a sample's 5 ``neighbours`` that have the label of the
        sample. ``labels`` (n,) are the labels to compare.
        """
        return float((labels[self.neighbours] == labels[:, None]).mean())

    def standard_error(self) -> float:
        """Return the standard error of ``agreement`` for labels that are assigned at random.

        It is twice the standard error for 5 n independent pairs, with n the number of samples, since the pairs of
        neighbours are not independent.
        """
        return 2 * float(np.sqrt(self.chance * (1 - self.chance) / (len(self.y) * NEIGHBOURS))) + 1e-9


def coarse(x: Array, detail: int) -> Array:
    """Reduce each sample to about ``detail`` numbers and flatten it: float32 (n, d).

    The longest spatial axis is halved, by averaging pairs, until a sample is small enough. Channels and columns are
    never averaged, so d may exceed ``detail``.
    """
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
    """Return, for each of the points (n, d), the indices of the ``count`` nearest ``others`` (m, d): (n, count).

    Distances are Euclidean, and the indices of a point are in no particular order. With ``itself=True`` the two arrays
    must be the same, and a point is not its own neighbour. If m ≤ ``count``, only m − 1 neighbours are returned.
    """
    squares = np.square(others).sum(axis=1)
    distance = squares[None] - 2 * points @ others.T  # + |point|², the same for all others
    if itself:
        np.fill_diagonal(distance, np.inf)
    count = min(count, distance.shape[1] - 1)
    return np.argpartition(distance, count, axis=1)[:, :count] if count > 0 else np.zeros((len(points), 0), np.int64)
