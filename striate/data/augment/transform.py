"""``Transform``, the base class of augmentations, and the checks of options that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np

from striate.data.augment.draft import Border, Draft, Fill, Work
from striate.data.augment.keys import Draws
from striate.errors import OptionError
from striate.options import choice, number, whole_number

KINDS = {0: "tables (D,)", 1: "signals (C, L)", 2: "pictures (C, H, W)", 3: "volumes (C, D, H, W)"}
MEAN = "mean"
FillOption = float | str | Sequence[float]


@dataclass(frozen=True)
class Transform:
    """Base of augmentations (abstract): an immutable description of a random change of a sample.

    ``check`` refuses samples that do not fit, and returns the shape of the result. ``apply`` draws random numbers for
    many samples at once and changes the parameters of these samples in a ``Draft``; a kernel then computes the samples.
    """

    ranks: ClassVar[tuple[int, ...]] = (2,)
    """The numbers of spatial axes of the samples that the transform takes."""
    whole_samples: ClassVar[bool] = False
    """Whether the transform runs on finished samples (``Lambda``, ``MixUp``, ``CutMix``) instead of in the draft."""

    @property
    def work(self) -> Work:
        """The steps that the compiled kernel needs for this transform."""
        return Work()

    @property
    def border(self) -> tuple[Border, FillOption] | None:
        """The rule for values outside of the samples, and the fill that ``Border.CONSTANT`` uses.

        None if the transform reads no values outside.
        """
        return None

    @property
    def fills(self) -> tuple[FillOption, ...]:
        """The fill of each box that the transform erases; () if it erases none."""
        return ()

    def check(self, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> tuple[int, ...]:
        """Return the shape (C, sizes…) of the result for samples of ``shape`` and ``dtype``.

        Raises ``OptionError`` for samples to which the transform cannot be applied.
        """
        rank = len(shape) - 1
        if rank not in self.ranks:
            name, given = type(self).__name__, KINDS.get(rank, "arrays")
            usable = " and ".join(KINDS[one] for one in self.ranks)
            raise OptionError(
                f"{name} is for {usable}, and the samples are {given} of shape {shape}\n"
                f"  help: {_ALTERNATIVES.get(rank, 'train without it')}"
            )
        return shape

    def apply(self, draft: Draft, draws: Draws) -> None:
        """Draw random numbers for all samples of ``draft``, and change the parameters of each sample accordingly."""
        raise NotImplementedError


_ALTERNATIVES = {
    0: "for tables GaussianNoise, RandomScaling, MixUp",
    1: "for signals RandomShift, RandomScaling, GaussianNoise, RandomMask, RandomCrop, RandomFlip, MixUp, CutMix",
    2: "for pictures RandomCrop, RandomHorizontalFlip, RandomRotation, ColorJitter, RandomErasing, and others",
    3: "for volumes RandomCrop, RandomFlip, RandomScaling, GaussianNoise, RandomErasing, MixUp, CutMix",
}


def probability(transform: str, p: object) -> float:
    """Return ``p`` as a float; raises ``OptionError``, which names the transform, unless 0 ≤ p ≤ 1."""
    return number(f"{transform}: p", p, 0, 1)


def interval(name: str, given: object, least: float, most: float) -> tuple[float, float]:
    """Return the option ``given``, a pair of numbers, as floats (low, high).

    Raises ``OptionError``, which names the option ``name``, unless least ≤ low ≤ high ≤ most.
    """
    if isinstance(given, Sequence) and not isinstance(given, str) and len(cast("Sequence[object]", given)) == 2:
        low, high = (number(name, one, least, most) for one in cast("Sequence[object]", given))
        if low <= high:
            return low, high
    raise OptionError(f"{name}={given!r}; expected two numbers (low, high) from {least:g} to {most:g}, low ≤ high")


def around(name: str, given: object, centre: float, least: float, most: float) -> tuple[float, float]:
    """Return the option ``given``, a pair (low, high) or one number x ≥ 0, as an interval (low, high).

    One number means centre − x … centre + x, where an end below ``least`` is replaced by ``least``. Raises
    ``OptionError``, which names the option ``name``, for a pair outside of ``least`` … ``most``, and for
    centre + x > ``most``.
    """
    if isinstance(given, Sequence):
        return interval(name, cast("Sequence[object]", given), least, most)
    reach = number(name, given, 0, most - centre)
    return max(least, centre - reach), centre + reach


def sizes(name: str, given: object, rank: int, least: int) -> tuple[int, ...]:
    """Return the option ``given`` as ``rank`` whole numbers, one for each spatial axis; one number stands for all axes.

    Raises ``OptionError``, which names the option ``name``, for another count of numbers, or for a number below
    ``least``.
    """
    if isinstance(given, Sequence) and not isinstance(given, str):
        several = tuple(whole_number(name, one, least) for one in cast("Sequence[object]", given))
        if len(several) != rank:
            raise OptionError(f"{name}={given!r}; expected {rank} whole numbers, one for each axis, or one for all")
        return several
    return (whole_number(name, given, least),) * rank


def checked_border(name: str, mode: object, modes: Sequence[Border]) -> Border:
    """Return the border with the name ``mode``.

    Raises ``OptionError``, which names the transform ``name``, unless the border is one of ``modes``.
    """
    return Border(choice(f"{name}: padding mode", mode, [one.value for one in modes]))


def checked_fill(name: str, fill: object) -> FillOption:
    """Return the option ``fill``: a number, a tuple with one number for each channel, or "mean".

    Raises ``OptionError``, which names the option ``name``, for anything else.
    """
    if fill == MEAN:
        return MEAN
    if isinstance(fill, Sequence) and not isinstance(fill, str):
        return tuple(number(name, one) for one in cast("Sequence[object]", fill))
    return number(name, fill)


def channel_fill(fill: FillOption, channels: int, means: Fill, largest: float) -> Fill:
    """Return one number for each channel, with which the channel is filled.

    ``fill`` is the option that gives the numbers; "mean" stands for ``means``. ``channels`` is the number of channels.
    ``largest`` is the largest value of the samples: 255 for uint8, infinity for floats. Raises ``OptionError`` for a
    wrong count of numbers and, for uint8, for numbers outside of 0 … 255.
    """
    if isinstance(fill, str):
        return means
    numbers = tuple(fill) if isinstance(fill, Sequence) else (fill,) * channels
    if len(numbers) != channels:
        raise OptionError(f"fill={fill!r} has {len(numbers)} numbers, and the samples have {channels} channels")
    if largest < np.inf and not all(0 <= one <= largest for one in numbers):
        raise OptionError(f"fill={fill!r}; samples of bytes are filled with numbers from 0 to {largest:g}")
    return numbers
