"""The specification of the kernel for a list of transforms, and the layout of the parameters that it reads.

The parameters are two tables, one of integers and one of floats, with a row for each sample of the batch; ``Columns``
describes their columns.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from striate.codegen.lanes import LANES
from striate.codegen.launch import KernelSpec
from striate.data.augment.draft import Border, Fill
from striate.dtypes import DType

F32 = DType.float32
AXES = 3


@dataclass(frozen=True)
class Specification(KernelSpec):
    """The specification of a kernel that applies one list of transforms to samples of one shape.

    source  the shape (C, D, H, W) of a sample in the data set
    size    the sizes (D, H, W) of a sample in the batch
    dtype   the dtype of the data set and of the batch, uint8 or float32
    border  the rule for values outside of a sample
    fill    the value of each channel outside of a sample, if ``border`` is constant
    boxes   for each box to fill, the value of each channel in the box

    ``affine``, ``colour``, ``tone`` and ``noise`` say which steps the kernel performs, see ``draft.Work``. Operands:
    the data set (N, C, D, H, W); the indices of the samples, int64 (B,); the tables ``ints`` int32 (B, I) and
    ``floats`` float32 (B, F), with the columns of ``Columns``; the batch (B, C, D′, H′, W′).
    """

    source: tuple[int, int, int, int]
    size: tuple[int, int, int]
    dtype: DType
    border: Border
    fill: Fill
    affine: bool = False
    colour: bool = False
    tone: bool = False
    noise: bool = False
    boxes: tuple[Fill, ...] = ()

    @property
    def computes(self) -> bool:
        """Whether the kernel computes new values in float32, rather than only moving elements and filling boxes."""
        return self.affine or self.colour or self.tone or self.noise

    @property
    def plane(self) -> int:
        """The number of elements of a channel in the batch."""
        return math.prod(self.size)

    @property
    def stride(self) -> int:
        """The distance between channels in scratch memory, in elements; it leaves room for a vector past the end."""
        return -(-self.plane // LANES) * LANES + LANES

    @property
    def thread_scratch(self) -> int:
        """The number of bytes of scratch memory that a thread needs."""
        return 4 * self.source[0] * self.stride if self.computes else 0

    @property
    def columns(self) -> Columns:
        """The meanings of the columns of the operands ``ints`` and ``floats``."""
        return Columns(self.affine, 3 if self.source[0] == 3 else 1, self.boxes)


@dataclass(frozen=True)
class Columns:
    """The columns of the two tables of parameters, ``ints`` and ``floats``; numbers in parentheses count columns.

    ints    sign and offset of each axis D, H, W (6); two words of random numbers (2); start D, H, W and stop D, H, W of
            each box (6 each)
    floats  rows of the affine map (6, only with ``affine``); the colour matrix (``colours``²); the factor of the mean
            grey value (1); solarize, posterize, stretch (3); the standard deviation of noise (1)

    ``affine`` says whether pictures are resampled, and ``colours`` is the number of rows of the colour matrix: 3 for
    pictures of 3 channels, else 1. ``boxes`` has the fill of each box.
    """

    affine: bool
    colours: int
    boxes: tuple[Fill, ...]

    words = 2 * AXES

    def box(self, number: int) -> int:
        """Return the first column of box ``number`` in the table ``ints``."""
        return self.words + 2 + 2 * AXES * number

    @property
    def ints(self) -> int:
        """The number of columns of the table of integer parameters."""
        return self.box(len(self.boxes))

    @property
    def colour(self) -> int:
        """The first column of the colour matrix in the table ``floats``."""
        return 6 if self.affine else 0

    @property
    def grey(self) -> int:
        """The column, in the table ``floats``, of the factor with which the mean grey value is added."""
        return self.colour + self.colours**2

    @property
    def tone(self) -> int:
        """The column of the threshold of solarization in ``floats``; posterization and contrast stretch follow."""
        return self.grey + 1

    @property
    def noise(self) -> int:
        """The column of the standard deviation of noise in the table ``floats``."""
        return self.tone + 3

    @property
    def floats(self) -> int:
        """The number of columns of the table of float parameters."""
        return self.noise + 1
