"""Transforms that move elements: crops, flips, shifts, rotations and others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from striate.data.augment.draft import Border, Draft, Work
from striate.data.augment.keys import Draws
from striate.data.augment.transform import (
    KINDS,
    FillOption,
    Transform,
    around,
    checked_border,
    checked_fill,
    interval,
    probability,
    sizes,
)
from striate.errors import OptionError
from striate.options import number, whole_number

Array = npt.NDArray[Any]
_MOVED = (Border.CONSTANT, Border.EDGE, Border.REFLECT, Border.WRAP)
_RESAMPLED = (Border.CONSTANT, Border.EDGE, Border.REFLECT)


@dataclass(frozen=True)
class RandomCrop(Transform):
    """Cut a window of ``size`` at a random position, after padding both ends of each axis by ``padding`` elements.

    size          one number for all spatial axes, or one for each; None: the size of the samples
    padding       one number for all spatial axes, or one for each; 4 is usual for pictures of 32×32
    padding_mode  "constant" fills with ``fill``; "edge" repeats the outermost elements, "reflect" mirrors the sample
                  without repeating its outermost elements, "wrap" continues with the elements from the opposite end
    fill          one number, a sequence with one for each channel, or "mean": the means of the channels over the data

    For signals, pictures and volumes. Raises ``OptionError`` for an invalid option and, in ``check``, for a window that
    is larger than the padded sample, and for "reflect" with a padding that is not smaller than the sample.
    """

    ranks: ClassVar[tuple[int, ...]] = (1, 2, 3)
    size: int | tuple[int, ...] | None = None
    padding: int | tuple[int, ...] = 0
    padding_mode: str = "constant"
    fill: FillOption = 0.0

    def __post_init__(self) -> None:
        checked_border("RandomCrop", self.padding_mode, _MOVED)
        object.__setattr__(self, "fill", checked_fill("RandomCrop: fill", self.fill))

    @property
    def border(self) -> tuple[Border, FillOption] | None:
        padded = any(self.padding) if isinstance(self.padding, Sequence) else self.padding
        return (Border(self.padding_mode), self.fill) if padded else None

    def check(self, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> tuple[int, ...]:
        channels, *given = super().check(shape, dtype)
        window, padding = self._window(given), sizes("RandomCrop: padding", self.padding, len(given), 0)
        for size, wanted, pad in zip(given, window, padding, strict=True):
            if wanted > size + 2 * pad:
                raise OptionError(
                    f"RandomCrop(size={self.size}, padding={self.padding}): a window of {wanted} does not fit into "
                    f"{size} elements{f' and {pad} of padding at both ends' if pad else ''}\n"
                    f"  help: padding={math.ceil((wanted - size) / 2)} or more, or a smaller size"
                )
            if self.padding_mode == "reflect" and pad >= max(size, 2):
                raise OptionError(
                    f"RandomCrop(padding={self.padding}): {size} elements have a mirror image of {size - 1} at most\n"
                    '  help: a smaller padding, or padding_mode="edge"'
                )
        return (channels, *window)

    def apply(self, draft: Draft, draws: Draws) -> None:
        padding = sizes("RandomCrop: padding", self.padding, len(draft.sizes), 0)
        for axis, (size, pad) in enumerate(zip(self._window(draft.sizes), padding, strict=True)):
            draft.crop(axis, draws.whole(draft.sizes[axis] + 2 * pad - size + 1) - pad, size)

    def _window(self, given: Sequence[int]) -> tuple[int, ...]:
        return tuple(given) if self.size is None else sizes("RandomCrop: size", self.size, len(given), 1)


@dataclass(frozen=True)
class RandomFlip(Transform):
    """Reverse a spatial axis with probability ``p``; axis −1 is the last one, the width of a picture.

    For signals, pictures and volumes. Raises ``OptionError`` for an invalid option and, in ``check``, for an axis that
    the samples do not have.
    """

    ranks: ClassVar[tuple[int, ...]] = (1, 2, 3)
    p: float = 0.5
    axis: int = -1

    def __post_init__(self) -> None:
        probability(type(self).__name__, self.p)
        whole_number(f"{type(self).__name__}: axis", self.axis, -3, -1)

    def check(self, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> tuple[int, ...]:
        shape = super().check(shape, dtype)
        if -self.axis > len(shape) - 1:
            raise OptionError(f"{self}: {KINDS[len(shape) - 1]} have no axis {self.axis}\n  help: axis=-1 is the last")
        return shape

    def apply(self, draft: Draft, draws: Draws) -> None:
        draft.flip(len(draft.sizes) + self.axis, draws.happens(self.p))


@dataclass(frozen=True)
class RandomHorizontalFlip(RandomFlip):
    """Exchange left and right with probability ``p``, for pictures and volumes."""

    ranks: ClassVar[tuple[int, ...]] = (2, 3)


@dataclass(frozen=True)
class RandomVerticalFlip(RandomFlip):
    """Exchange top and bottom with probability ``p``, for pictures and volumes."""

    ranks: ClassVar[tuple[int, ...]] = (2, 3)
    axis: int = -2


@dataclass(frozen=True)
class AlternatingFlip(Transform):
    """Exchange left and right of each picture or volume in every second epoch.

    A random draw decides once for each sample whether it is mirrored in the even or in the odd epochs. A network thus
    sees both versions of every sample in two successive epochs; with ``RandomHorizontalFlip``, it sees the same version
    twice in half of all cases. Jordan, arXiv:2404.00498.
    """

    ranks: ClassVar[tuple[int, ...]] = (2, 3)

    def apply(self, draft: Draft, draws: Draws) -> None:
        odd = draft.keys.lasting().draws(0).happens(0.5)
        draft.flip(len(draft.sizes) - 1, odd ^ bool(draft.keys.epoch % 2))


@dataclass(frozen=True)
class RandomShift(Transform):
    """Shift a signal (C, L) by a random number of time steps, from −``steps`` to ``steps``.

    ``steps`` below 1 is a fraction of the length. ``padding_mode`` says what fills the gap: the number ``fill``
    ("constant"), the outermost value ("edge"), the mirror image ("reflect") or the opposite end of the signal ("wrap").
    Raises ``OptionError`` for options out of range and, in ``check``, for signals that are not longer than the largest
    shift.
    """

    ranks: ClassVar[tuple[int, ...]] = (1,)
    steps: float = 0.1
    padding_mode: str = "constant"
    fill: FillOption = 0.0

    def __post_init__(self) -> None:
        number("RandomShift: steps", self.steps, 0)
        checked_border("RandomShift", self.padding_mode, _MOVED)
        object.__setattr__(self, "fill", checked_fill("RandomShift: fill", self.fill))

    @property
    def border(self) -> tuple[Border, FillOption]:
        return Border(self.padding_mode), self.fill

    def check(self, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> tuple[int, ...]:
        shape = super().check(shape, dtype)
        if self._reach(shape[1]) >= max(2, shape[1]):
            raise OptionError(
                f"{self}: the signals have only {shape[1]} time steps\n  help: steps=0.1, a tenth of them"
            )
        return shape

    def apply(self, draft: Draft, draws: Draws) -> None:
        reach = self._reach(draft.sizes[0])
        draft.crop(0, draws.whole(2 * reach + 1) - reach, draft.sizes[0])

    def _reach(self, length: int) -> int:
        return round(self.steps * length) if self.steps < 1 else int(self.steps)


@dataclass(frozen=True)
class RandomResizedCrop(Transform):
    """Cut a window of random area and proportions out of a picture, and resize it to ``size`` by linear interpolation.

    size   (height, width) or one number for both; None: the size of the samples
    scale  (low, high) of the window's area as a share of the picture; the area is uniformly distributed
    ratio  (low, high) of width / height, whose logarithm is uniformly distributed; a window that would not fit is made
           smaller

    As in torchvision, but without antialiasing. Raises ``OptionError`` for options out of range and, in ``check``, for
    samples that are not pictures.
    """

    size: int | tuple[int, int] | None = None
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        interval("RandomResizedCrop: scale", self.scale, 1e-6, 1)
        interval("RandomResizedCrop: ratio", self.ratio, 1e-3, 1e3)

    @property
    def work(self) -> Work:
        return Work(affine=True)

    def check(self, shape: tuple[int, ...], dtype: np.dtype[np.generic]) -> tuple[int, ...]:
        channels, *given = super().check(shape, dtype)
        return (channels, *self._window(given))

    def apply(self, draft: Draft, draws: Draws) -> None:
        height, width = draft.sizes
        rows, columns = self._window(draft.sizes)
        area = draws.uniform(*self.scale) * (height * width)
        ratio = np.exp(draws.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
        w, h = np.minimum(np.sqrt(area * ratio), width), np.minimum(np.sqrt(area / ratio), height)
        left, top = draws.uniform() * (width - w), draws.uniform() * (height - h)
        matrix = np.zeros((len(draft), 2, 3))
        matrix[:, 0, 0], matrix[:, 1, 1] = w / columns, h / rows
        matrix[:, 0, 2], matrix[:, 1, 2] = left + 0.5 * w / columns - 0.5, top + 0.5 * h / rows - 0.5
        draft.resample(matrix, (rows, columns))

    def _window(self, given: Sequence[int]) -> tuple[int, int]:
        rows, columns = given if self.size is None else sizes("RandomResizedCrop: size", self.size, 2, 1)
        return rows, columns


@dataclass(frozen=True)
class RandomAffine(Transform):
    """Rotate, shift, scale and shear a picture about its centre, with linear interpolation.

    degrees       the angle: one number d for −d … d, or (low, high); positive angles turn counter-clockwise
    translate     the largest shifts as shares of width and height, each from 0 to 1; None: no shift
    scale         (low, high) of the factor by which the picture is enlarged; None: 1
    shear         the angle in degrees by which rows are shifted against each other, given like ``degrees``; None: 0
    padding_mode  "constant" fills with ``fill``, "edge" repeats the outermost pixels, "reflect" mirrors the picture
    fill          one number, a sequence with one for each channel, or "mean": the means of the channels over the data

    As in torchvision, with ``interpolation=BILINEAR``. Raises ``OptionError`` for options out of range and, in
    ``check``, for samples that are not pictures.
    """

    degrees: float | tuple[float, float] = 0.0
    translate: tuple[float, float] | None = None
    scale: tuple[float, float] | None = None
    shear: float | tuple[float, float] | None = None
    padding_mode: str = "constant"
    fill: FillOption = 0.0

    def __post_init__(self) -> None:
        name = type(self).__name__
        around(f"{name}: degrees", self.degrees, 0, -360, 360)
        if self.translate is not None:
            shares = tuple(number(f"{name}: translate", one, 0, 1) for one in self.translate)
            if len(shares) != 2:
                raise OptionError(f"{name}: translate={shares!r}; expected shares of width and height: (0.1, 0.1)")
        if self.scale is not None:
            interval(f"{name}: scale", self.scale, 0.01, 100)
        if self.shear is not None:
            around(f"{name}: shear", self.shear, 0, -80, 80)
        checked_border(name, self.padding_mode, _RESAMPLED)
        object.__setattr__(self, "fill", checked_fill(f"{name}: fill", self.fill))

    @property
    def work(self) -> Work:
        return Work(affine=True)

    @property
    def border(self) -> tuple[Border, FillOption]:
        return Border(self.padding_mode), self.fill

    def apply(self, draft: Draft, draws: Draws) -> None:
        height, width = draft.sizes
        angle = draws.uniform(*around("degrees", self.degrees, 0, -360, 360))
        shear = 0.0 if self.shear is None else draws.uniform(*around("shear", self.shear, 0, -80, 80))
        scale = 1.0 if self.scale is None else draws.uniform(*self.scale)
        across, down = (0.0, 0.0) if self.translate is None else self.translate
        x = draws.uniform(-across, across) * width if across else 0.0
        y = draws.uniform(-down, down) * height if down else 0.0
        draft.resample(about_centre(len(draft), (height, width), angle, scale, shear, x, y))


@dataclass(frozen=True)
class RandomRotation(RandomAffine):
    """Rotate a picture about its centre by a random angle.

    ``degrees`` is one number d for angles from −d to d, or (low, high). The other options and the errors are those of
    ``RandomAffine``.
    """

    degrees: float | tuple[float, float] = 15.0


def about_centre(
    count: int,
    size: tuple[int, int],
    degrees: float | Array,
    scale: float | Array = 1.0,
    shear: float | Array = 0.0,
    x: float | Array = 0.0,
    y: float | Array = 0.0,
) -> Array:
    """Return matrices (count, 2, 3) that map pixels of the result to positions in a picture.

    The picture is sheared, scaled and rotated counter-clockwise about its centre, then shifted by (x, y) pixels.
    ``size`` is the (height, width) of the picture; angles are in degrees. An array has one number for each of the
    ``count`` matrices.
    """
    height, width = size
    angle, slope = np.radians(degrees), np.tan(np.radians(shear))
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    matrix = np.zeros((count, 2, 3))
    # The inverse of rotation · scale · shear, where y points down.
    matrix[:, 0, 0], matrix[:, 0, 1] = cos - slope * sin, -sin - slope * cos
    matrix[:, 1, 0], matrix[:, 1, 1] = sin, cos
    centre = (width - 1) / 2, (height - 1) / 2
    for row in range(2):
        matrix[:, row, 2] = centre[row] - matrix[:, row, 0] * (centre[0] + x) - matrix[:, row, 1] * (centre[1] + y)
    return matrix
