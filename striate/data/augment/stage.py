"""``InputStage``: the batches of a training, augmented by compiled kernels.

    indices of a batch ─▶ random parameters of each sample, a function of (seed, epoch, sample)
                       ─▶ kernel: reads the samples from the data set, augments them, writes the batch
                       ─▶ the same for the partners of MixUp and CutMix, then a kernel that mixes both

Every sample is computed by itself, so neither the number of threads nor the size of a batch changes a bit of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from striate.data.augment.draft import Fill
from striate.data.augment.function import Lambda
from striate.data.augment.keys import Keys
from striate.data.augment.mix_kernel import MixKernel
from striate.data.augment.mixing import Mixer, Mixture
from striate.data.augment.native import Blender
from striate.data.augment.segment import Segment, Table, full_box, spatial
from striate.data.augment.text import parsed
from striate.data.augment.transform import MEAN, Transform
from striate.data.dataset import Dataset, require_dataset
from striate.data.loader import Batch, index_batches
from striate.dtypes import DType
from striate.errors import DataError, OptionError
from striate.options import seed as checked_seed

Array = npt.NDArray[Any]
_BLOCK = 2048
"""The number of samples whose parameters are drawn together, so that NumPy's cost for each call is spread."""
_PARTNER, _CHOICE = 1 << 20, (1 << 20) + 1  # streams of random numbers that belong to no transform
_MEASURED = 1024


@dataclass(frozen=True)
class Tables:
    """The random parameters of B samples.

    ``parts`` has, in the order of the transforms, a ``Table`` for all consecutive transforms that one kernel applies,
    and an array of random seeds (B, 2) for each ``Lambda``.
    """

    parts: tuple[Table | Array, ...]

    def at(self, chosen: slice | Array) -> Tables:
        """Return the parameters of some of the samples; ``chosen`` is a slice, or an array of their indices."""
        return Tables(tuple(one.part(chosen) if isinstance(one, Table) else one[chosen] for one in self.parts))


@dataclass(frozen=True)
class _Pairs:
    """The partners of some samples: their indices and parameters, and how they are mixed."""

    partners: Array
    tables: Tables
    mixture: Mixture


class InputStage:
    """Makes the batches of a data set, with every sample augmented at random.

    dataset     uint8 or float32 samples of any kind; batches have the same dtype
    transforms  a list of transforms such as ``[RandomCrop(padding=4), RandomHorizontalFlip()]``, or the text
                "crop:4 flip" (see ``parsed``); () does not change the samples
    seed        the random numbers of a sample are a function of the seed, the epoch and the index of the sample
    pool        the indices of the samples that may be partners of ``MixUp`` and ``CutMix``; None: all

    Raises ``OptionError`` for transforms that do not fit the samples or each other, such as a crop after ``MixUp``.

    >>> from striate.data import load_digits
    >>> stage = InputStage(load_digits("train"), "crop:1 flip", seed=0)
    >>> x, y = stage.batch(np.arange(32), epoch=0)
    >>> x.shape, x.dtype
    ((32, 1, 8, 8), dtype('uint8'))
    """

    def __init__(
        self,
        dataset: Dataset,
        transforms: Sequence[Transform] | str = (),
        *,
        seed: int = 0,
        pool: Array | None = None,
    ) -> None:
        require_dataset(dataset)
        self.dataset = dataset
        self.transforms = checked_transforms(transforms)
        self.seed = checked_seed(seed)
        self._pool = np.arange(len(dataset)) if pool is None else checked_indices(pool, len(dataset))
        if not len(self._pool):
            raise OptionError("pool is empty: MixUp and CutMix need a partner for each sample")
        means = _means(dataset.images) if any(_asks_for_means(one) for one in self.transforms) else ()
        shape, dtype = dataset.images.shape[1:], dataset.images.dtype
        self._parts: list[Segment | tuple[int, Lambda]] = []
        self._mixers: list[tuple[int, Mixer]] = []
        pending: list[tuple[int, Transform]] = []
        for stream, one in enumerate(self.transforms):
            if not one.whole_samples:
                pending.append((stream, one))
                continue
            shape = self._add_segment(pending, shape, dtype, means)
            pending = []
            one.check(shape, dtype)
            if isinstance(one, Lambda):
                self._parts.append((stream, one))
            elif isinstance(one, Mixer):
                self._mixers.append((stream, one))
        self.shape = self._add_segment(pending, shape, dtype, means)
        """The shape (C, …) of the samples in a batch."""
        self._blender = None
        if self._mixers:
            _require_mixable(dataset, self._mixers[0][1])
            channels, *sizes = (1, *self.shape) if len(self.shape) == 1 else self.shape
            self._blender = Blender(MixKernel((channels, *spatial(sizes)), DType(dtype.name)))

    def _add_segment(
        self, pending: Sequence[tuple[int, Transform]], shape: tuple[int, ...], dtype: np.dtype[Any], means: Fill
    ) -> tuple[int, ...]:
        if not pending and self._parts:
            return shape
        if pending and self._mixers:
            raise OptionError(
                f"{pending[0][1]} after {self._mixers[0][1]}: mixed samples cannot be augmented\n"
                "  help: MixUp and CutMix are the last of the list"
            )
        streams, transforms = [stream for stream, _ in pending], [one for _, one in pending]
        segment = Segment(transforms, streams, shape, dtype, means)
        self._parts.append(segment)
        return segment.result

    @property
    def mixes(self) -> bool:
        """Whether ``MixUp`` or ``CutMix`` mixes labels; class numbers then become float32 (B, classes) in batches."""
        return bool(self._mixers)

    def batch(self, indices: npt.ArrayLike, epoch: int) -> tuple[Array, Array]:
        """Return the augmented samples (B, …) with these indices, and their labels or targets.

        In another ``epoch``, the same samples get other random changes.

        Raises ``DataError`` for indices that are not whole numbers from 0 to the number of samples − 1.
        """
        rows = checked_indices(indices, len(self.dataset))
        return self._made(rows, *self._drawn(rows, epoch))

    def batches(
        self,
        batch_size: int,
        *,
        seed: int | None = None,
        epoch: int = 0,
        shuffle: bool = True,
        first: int = 0,
        share: tuple[int, int] = (0, 1),
    ) -> Iterator[Batch]:
        """Iterate over the batches of an epoch, in the order of ``data.batches``.

        The options and errors are those of ``data.batches``, except that ``seed=None`` is the seed of the stage.
        ``seed`` determines only the order; the random changes follow from the seed of the stage.
        """
        chosen = self.seed if seed is None else seed
        count = len(self.dataset)
        parts = index_batches(count, batch_size, seed=chosen, epoch=epoch, shuffle=shuffle, first=first, share=share)
        return self._iterated(parts, epoch, max(1, _BLOCK // batch_size))

    def _iterated(self, parts: Sequence[Array], epoch: int, together: int) -> Iterator[Batch]:
        for start in range(0, len(parts), together):
            block = parts[start : start + together]
            tables, pairs = self._drawn(np.concatenate(block), epoch)
            place = 0
            for rows in block:
                chosen = slice(place, place + len(rows))
                place += len(rows)
                own = None if pairs is None else _part(pairs, chosen)
                x, y = self._made(rows, tables.at(chosen), own)
                yield Batch(x, y, rows)

    # Random parameters

    def _drawn(self, rows: Array, epoch: int) -> tuple[Tables, _Pairs | None]:
        keys = Keys(self.seed, epoch, rows)
        tables = self.tables(keys)
        if not self._mixers:
            return tables, None
        partners = self._pool[keys.draws(_PARTNER).whole(len(self._pool))]
        chosen = keys.draws(_CHOICE).whole(len(self._mixers))
        sizes = self.shape[1:]
        found = [mixer.mixture(keys.draws(stream), sizes) for stream, mixer in self._mixers]
        place = np.arange(len(rows))
        mixture = Mixture(
            np.stack([one.share for one in found])[chosen, place],
            np.stack([one.starts for one in found], axis=1)[:, chosen, place],
            np.stack([one.stops for one in found], axis=1)[:, chosen, place],
            np.stack([one.label for one in found])[chosen, place],
        )
        return tables, _Pairs(partners, self.tables(Keys(self.seed, epoch, rows, role=1)), mixture)

    def tables(self, keys: Keys) -> Tables:
        """Return the random parameters of all transforms for the samples whose random numbers ``keys`` determines."""
        parts: list[Table | Array] = []
        for part in self._parts:
            if isinstance(part, Segment):
                parts.append(part.table(keys))
            else:
                draws = keys.draws(part[0])
                parts.append(np.stack([draws.bits(), draws.bits()], axis=1))
        return Tables(tuple(parts))

    # Samples

    def _made(self, rows: Array, tables: Tables, pairs: _Pairs | None) -> tuple[Array, Array]:
        x, y = self._augmented(rows, tables), self.dataset.labels[rows]
        if pairs is None:
            return x, y
        assert self._blender is not None
        mixture = pairs.mixture
        boxes = full_box(mixture.starts, mixture.stops)
        (places,) = np.nonzero((mixture.share < 1) | (mixture.label < 1))
        others = self._augmented(pairs.partners[places], pairs.tables.at(places))
        shares = mixture.share[places].astype(np.float32)
        shape = self._blender.spec.size
        self._blender.mix(x.reshape(-1, *shape), others.reshape(-1, *shape), places, boxes[places], shares)
        return x, self._mixed_labels(y, self.dataset.labels[pairs.partners], mixture.label)

    def _augmented(self, rows: Array, tables: Tables) -> Array:
        data = self.dataset.images
        for part, table in zip(self._parts, tables.parts, strict=True):
            if isinstance(part, Segment):
                data = part.batch(data, rows, cast("Table", table))
                rows = np.arange(len(data))
            else:
                part[1].on_batch(data, cast("Array", table))
        return data

    def _mixed_labels(self, own: Array, other: Array, weight: Array) -> Array:
        if not self.dataset.is_classification:
            weight = weight.reshape(-1, *(1,) * (own.ndim - 1))
            return (weight * own + (1 - weight) * other).astype(np.float32)
        soft = np.zeros((len(own), len(self.dataset.classes)))
        place = np.arange(len(own))
        soft[place, own] += weight
        soft[place, other] += 1 - weight
        return soft.astype(np.float32)


def _part(pairs: _Pairs, chosen: slice) -> _Pairs:
    one = pairs.mixture
    mixture = Mixture(one.share[chosen], one.starts[:, chosen], one.stops[:, chosen], one.label[chosen])
    return _Pairs(pairs.partners[chosen], pairs.tables.at(chosen), mixture)


def checked_indices(given: npt.ArrayLike, count: int) -> npt.NDArray[np.int64]:
    """Return the given indices of samples as int64 (B,), after checking them.

    Raises ``DataError`` for anything but a vector of integers from 0 to ``count`` − 1.
    """
    found = np.asarray(given)
    if found.ndim != 1 or (found.size and found.dtype.kind not in "iu"):
        raise DataError(f"expected indices (B,) of samples, whole numbers, not {found.dtype} of shape {found.shape}")
    if found.size and not 0 <= int(found.min()) <= int(found.max()) < count:
        wrong = found[(found < 0) | (found >= count)][0]
        raise DataError(f"no sample {wrong}; the {count} samples are 0 … {count - 1}")
    return found.astype(np.int64)


def checked_transforms(given: Sequence[Transform] | str) -> tuple[Transform, ...]:
    """Return a list of transforms, or the transforms that a text names, as a tuple.

    Raises ``OptionError`` for anything else.
    """
    if isinstance(given, str):
        return parsed(given)
    if isinstance(given, Sequence):
        found = tuple(cast("Sequence[object]", given))
        wrong = next((one for one in found if not isinstance(one, Transform)), None)
        if wrong is None:
            return cast("tuple[Transform, ...]", found)
        raise OptionError(
            f"augment: {wrong!r:.200} is not a transform\n"
            "  help: a list such as [augment.RandomCrop(padding=4), augment.Lambda(function)]"
        )
    raise OptionError(f"augment={given!r:.200}; expected a list of transforms, or text such as 'crop:4 flip'")


def _asks_for_means(transform: Transform) -> bool:
    """Return whether a transform fills with "mean"."""
    border = transform.border
    return MEAN in transform.fills or (border is not None and border[1] == MEAN)


def _means(images: Array) -> Fill:
    """Return the means of the channels over up to about 1,024 samples that are evenly distributed over the data."""
    some = images[:: max(1, len(images) // _MEASURED)]
    axes = tuple(range(1, some.ndim - 1))
    return tuple(np.mean([sample.mean(axis=axes, dtype=np.float64) for sample in some], axis=0).tolist())


def _require_mixable(dataset: Dataset, mixer: Mixer) -> None:
    if not dataset.is_classification and dataset.labels.dtype.kind != "f":
        raise OptionError(
            f"{mixer} mixes class numbers (N,) or measured targets, and the labels of {dataset.name} are "
            f"{dataset.labels.dtype} {dataset.labels.shape[1:]}\n  help: train without it"
        )
