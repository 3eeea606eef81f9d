"""Transforms that erase boxes of a sample, or time intervals of a signal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from striate.data.augment.draft import Draft, Work
from striate.data.augment.keys import Draws
from striate.data.augment.transform import FillOption, Transform, checked_fill, interval, probability, sizes
from striate.errors import OptionError
from striate.options import number, whole_number


class Erasing(Transform):
    """Abstract base of transforms that fill boxes of a sample with ``value``.

    ``value`` is one number, a sequence with one for each channel, or "mean": the mean of each channel over the data.
    """

    value: FillOption

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", checked_fill(f"{type(self).__name__}: value", self.value))

    @property
    def boxes(self) -> int:
        """The number of boxes that are filled in each sample."""
        return 1

    @property
    def work(self) -> Work:
        return Work(boxes=self.boxes)

    @property
    def fills(self) -> tuple[FillOption, ...]:
        return (self.value,) * self.boxes


class SeveralErasing(Erasing):
    """Base of transforms whose option ``count``, from 1 to 64, is the number of boxes (abstract)."""

    count: int

    def __post_init__(self) -> None:
        super().__post_init__()
        whole_number(f"{type(self).__name__}: count", self.count, 1, 64)

    @property
    def boxes(self) -> int:
        return self.count


@dataclass(frozen=True)
class RandomErasing(Erasing):
    """Fill a random rectangle of a picture with probability ``p`` (Zhong and others, 2017, arXiv:1708.04896).

    scale  (low, high) of the rectangle's area as a share of the picture; the area is uniformly distributed
    ratio  (low, high) of height / width, whose logarithm is uniformly distributed; a rectangle that would not fit is
           made smaller
    value  one number, a sequence with one for each channel, or "mean": the means of the channels over the data

    Raises ``OptionError`` for options out of range and, in ``check``, for samples that are not pictures.
    """

    p: float = 0.5
    scale: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)
    value: FillOption = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        probability("RandomErasing", self.p)
        interval("RandomErasing: scale", self.scale, 0, 1)
        interval("RandomErasing: ratio", self.ratio, 1e-3, 1e3)

    def apply(self, draft: Draft, draws: Draws) -> None:
        size = np.array(draft.sizes)[:, np.newaxis]
        chosen = draws.happens(self.p)
        area = draws.uniform(*self.scale) * size.prod()
        ratio = np.exp(draws.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
        wanted = np.round(np.stack([np.sqrt(area * ratio), np.sqrt(area / ratio)])).astype(np.int64)
        extent = np.minimum(wanted, size) * chosen
        start = np.stack([draws.whole(size[axis] - extent[axis] + 1) for axis in range(2)])
        draft.erase(start, start + extent)


@dataclass(frozen=True)
class Cutout(SeveralErasing):
    """Fill ``count`` boxes of ``size`` around random elements (DeVries and Taylor, 2017, arXiv:1708.04552).

    A box is cut off where it extends beyond the sample. ``size`` is one number for all axes, or one for each; ``value``
    is one number, a sequence with one for each channel, or "mean": the mean of each channel over the data. For signals,
    pictures and volumes, not for tables. Raises ``OptionError`` for options out of range, and in ``check`` if ``size``
    would always erase the whole sample.
    """

    ranks: ClassVar[tuple[int, ...]] = (1, 2, 3)
    size: int | tuple[int, ...] = 8
    count: int = 1
    value: FillOption = 0.0

    def check(self, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> tuple[int, ...]:
        shape = super().check(shape, dtype)
        boxes = sizes("Cutout: size", self.size, len(shape) - 1, 1)
        if all(box >= 2 * size for box, size in zip(boxes, shape[1:], strict=True)):
            raise OptionError(f"{self} erases whole samples of {shape}\n  help: a size below {min(shape[1:])}")
        return shape

    def apply(self, draft: Draft, draws: Draws) -> None:
        size = np.array(draft.sizes)[:, np.newaxis]
        box = np.array(sizes("Cutout: size", self.size, len(draft.sizes), 1))[:, np.newaxis]
        for _ in range(self.count):
            start = np.stack([draws.whole(one) for one in draft.sizes]) - box // 2
            draft.erase(np.clip(start, 0, size), np.clip(start + box, 0, size))


@dataclass(frozen=True)
class RandomMask(SeveralErasing):
    """Fill ``count`` intervals of a signal, in all channels; each has a random length of up to ``length`` time steps.

    A ``length`` below 1 is a fraction of the signal. These are the time masks of SpecAugment (Park and others, 2019,
    arXiv:1904.08779). ``value`` is one number, a sequence with one for each channel, or "mean": the mean of each
    channel over the data. Raises ``OptionError`` for options out of range and, in ``check``, for samples that are not
    signals or have fewer than ``length`` time steps.
    """

    ranks: ClassVar[tuple[int, ...]] = (1,)
    length: float = 0.1
    count: int = 1
    value: FillOption = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        number("RandomMask: length", self.length, 0)

    def check(self, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> tuple[int, ...]:
        shape = super().check(shape, dtype)
        if self.length > shape[1]:
            raise OptionError(
                f"{self}: the signals have only {shape[1]} time steps\n  help: length=0.1, a tenth of them"
            )
        return shape

    def apply(self, draft: Draft, draws: Draws) -> None:
        (size,) = draft.sizes
        most = round(self.length * size) if self.length < 1 else int(self.length)
        for _ in range(self.count):
            extent = draws.whole(most + 1)
            start = draws.whole(size - extent + 1)[np.newaxis]
            draft.erase(start, start + extent)
