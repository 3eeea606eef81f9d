"""``Draft``: the parameters of the changes of each sample in a batch, collected from all transforms.

The transforms only draw numbers. All geometric transforms of a sample compose into one map from the pixels of the
result to the source, so that a picture is resampled once; all changes of colour compose into one matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.data.augment.keys import Keys

Array = npt.NDArray[Any]
Fill = tuple[float, ...]
GREY = (0.299, 0.587, 0.114)
"""The weights of red, green and blue in the grey value of a pixel (ITU-R BT.601, as in torchvision)."""


class Border(Enum):
    """The values outside of a sample: a constant, the nearest element, the mirror image or the opposite end."""

    CONSTANT = "constant"
    EDGE = "edge"
    REFLECT = "reflect"
    WRAP = "wrap"


@dataclass(frozen=True)
class Work:
    """The steps, besides moving elements, that the augmentation kernel performs for a list of transforms.

    affine   whether pictures are resampled at arbitrary positions
    colour   whether channels are mixed by a matrix
    tone     whether pictures are solarized, posterized or stretched to full contrast (autocontrast)
    noise    whether normal numbers are added
    boxes    the number of boxes that are filled
    """

    affine: bool = False
    colour: bool = False
    tone: bool = False
    noise: bool = False
    boxes: int = 0

    def __or__(self, other: Work) -> Work:
        return Work(
            self.affine or other.affine, self.colour or other.colour, self.tone or other.tone,
            self.noise or other.noise, self.boxes + other.boxes,
        )  # fmt: skip


class Draft:
    """The random parameters with which B samples are augmented; each transform changes them, one after the other.

    ``keys`` are the keys of the B samples' random numbers. ``shape`` is the shape (C, sizes…) of a sample in the data
    set. ``work`` has the steps that all transforms together need. The attribute ``sizes`` has the current spatial
    sizes, which change when a sample is cropped.
    """

    def __init__(self, keys: Keys, shape: Sequence[int], work: Work) -> None:
        count = len(keys)
        self.keys, self.work = keys, work
        self.channels, *sizes = shape
        self.sizes = list(sizes)
        rank = len(sizes)
        self.sign = np.ones((rank, count), np.int64)
        self.offset = np.zeros((rank, count), np.int64)
        self.matrix = np.tile(np.eye(2, 3), (count, 1, 1)) if work.affine else None
        size = 3 if self.channels == 3 else 1
        self.gain = np.tile(np.eye(size), (count, 1, 1))
        self.grey = np.zeros(count)
        self.solarize = np.full(count, np.inf)
        self.posterize = np.zeros(count)
        self.stretch = np.zeros(count, bool)
        self.noise = np.zeros(count)
        self.noise_words = (np.zeros(count, np.uint32), np.zeros(count, np.uint32))
        self.boxes: list[tuple[Array, Array]] = []  # starts and stops, int64 (rank, B)

    def __len__(self) -> int:
        return len(self.keys)

    # Geometry: the current element i lies at sign · i + offset of the source, or at matrix · (x, y, 1)

    def crop(self, axis: int, start: Array, size: int) -> None:
        """Keep ``size`` elements of spatial axis ``axis``, counted from 0, from index ``start`` (B,) on.

        Indices below 0 and beyond the end are filled by the rule of the transforms' ``border``.
        """
        if self.matrix is None:
            self.offset[axis] += self.sign[axis] * start
        else:
            self.matrix[:, :, 2] += self.matrix[:, :, 1 - axis] * start[:, np.newaxis]
        self.sizes[axis] = size

    def flip(self, axis: int, chosen: Array) -> None:
        """Reverse spatial axis ``axis``, counted from 0, of the samples where ``chosen``, bool (B,), is true."""
        last = self.sizes[axis] - 1
        if self.matrix is None:
            self.offset[axis] += np.where(chosen, self.sign[axis] * last, 0)
            self.sign[axis] *= np.where(chosen, -1, 1)
        else:
            column = self.matrix[:, :, 1 - axis]
            self.matrix[:, :, 2] += np.where(chosen[:, np.newaxis], column * last, 0)
            column *= np.where(chosen, -1, 1)[:, np.newaxis]

    def resample(self, matrix: Array, sizes: tuple[int, int] | None = None) -> None:
        """Take pixel (x, y) of the result from position ``matrix`` (B, 2, 3) · (x, y, 1) in the current picture.

        ``sizes`` is the new (height, width); None keeps the current one.
        """
        assert self.matrix is not None
        outer, inner = self.matrix, matrix
        composed = np.empty_like(outer)
        for row in range(2):
            for column in range(3):
                composed[:, row, column] = (
                    outer[:, row, 0] * inner[:, 0, column] + outer[:, row, 1] * inner[:, 1, column]
                )
            composed[:, row, 2] += outer[:, row, 2]
        self.matrix = composed
        if sizes is not None:
            self.sizes = list(sizes)

    # Colour: y = gain · x + grey · μ, where μ is the mean grey value of the sample

    def scale(self, factor: Array) -> None:
        """Multiply all elements of the samples by ``factor`` (B,)."""
        self.gain *= factor[:, np.newaxis, np.newaxis]
        self.grey *= factor

    def contrast(self, factor: Array) -> None:
        """Multiply the difference of each element from the mean grey value of its sample by ``factor`` (B,)."""
        mean = self._grey_gain() + self.grey  # the mean grey value of the current sample is this times μ
        self.gain *= factor[:, np.newaxis, np.newaxis]
        self.grey = factor * self.grey + (1 - factor) * mean

    def recolour(self, matrix: Array) -> None:
        """Multiply the colours x by ``matrix`` M (B, 3, 3), which must not change grey values: wᵀ M = wᵀ, M 1 = 1.

        The result is y = M x. w are the weights of red, green and blue in the grey value, and 1 is the vector (1, 1,
        1).
        """
        composed = np.zeros_like(self.gain)
        for k in range(3):
            composed += matrix[:, :, k : k + 1] * self.gain[:, k : k + 1, :]
        self.gain = composed

    def _grey_gain(self) -> Array:
        """Return the factor by which the colour matrix multiplies the grey value, (B,)."""
        if self.gain.shape[1] == 1:
            return self.gain[:, 0, 0]
        return (np.array(GREY)[:, np.newaxis] * self.gain).sum(axis=(1, 2))

    def erase(self, starts: Array, stops: Array) -> None:
        """Fill a box of each sample, from index ``starts`` (inclusive) to ``stops`` (exclusive), both int64 (rank, B).

        ``rank`` is the number of spatial axes. Where start and stop are equal, nothing is filled.
        """
        self.boxes.append((starts, stops))
