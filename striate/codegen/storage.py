"""How the elements of an array are laid out in memory.

An array of shape (N, C, D, H, W) is stored as

    [n][channel block][d][h][w][channel within the block]

Missing spatial axes have the size 1. A *blocked* array has 16 channels per block, so one vector is 16 channels of one
pixel. A *planar* array has 1 channel per block, which is NumPy's order. A *halo* of pixels may surround every plane.
The contents of the halo are undefined unless the layout promises zeros. If the last block is incomplete, the contents
of its padding channels are undefined.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from striate.dtypes import DType

BLOCK, PLAIN = 16, 1
"""The possible numbers of channels per block."""

Three = tuple[int, int, int]
Halo = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
NO_HALO: Halo = ((0, 0), (0, 0), (0, 0))


@dataclass(frozen=True)
class Storage:
    """The memory layout of one array, [n][channel block][d][h][w][channel within the block].

    n is the sample, and d, h and w are the position in depth, height and width.

        dtype       the type of the elements in memory
        block       channels per block: 16, or 1 for NumPy order
        channels    the number of channels, and ``sizes`` depth, height and width, without halo
        halo        the widths of the padding before and after each spatial axis
        strides     distances in elements along (n, channel block, d, h, w)
        origin      the offset in elements of channel 0, pixel (0, 0, 0) of a sample
        per_sample  elements of one sample, halo and padding channels included
    """

    dtype: DType
    block: int
    channels: int
    sizes: tuple[int, int, int]
    halo: Halo
    strides: tuple[int, int, int, int, int]
    origin: int
    per_sample: int

    @property
    def blocks(self) -> int:
        """The number of channel blocks."""
        return -(-self.channels // self.block)

    @property
    def pixels(self) -> int:
        """The number of positions in one channel, without the halo (padding pixels)."""
        return math.prod(self.sizes)

    @property
    def bytes_per_sample(self) -> int:
        """The number of bytes that one sample occupies, halo and padding channels included."""
        return self.per_sample * self.dtype.numpy.itemsize

    def shifted(self, channel: int) -> Storage:
        """Return the layout of the channels from ``channel`` on, in the same memory.

        ``channel`` must be a multiple of the number of channels per block.
        """
        moved = self.origin + channel // self.block * self.strides[1]
        return Storage(
            self.dtype, self.block, self.channels - channel, self.sizes, self.halo, self.strides, moved, self.per_sample
        )


def make_storage(dtype: DType, block: int, channels: int, sizes: tuple[int, int, int], halo: Halo = NO_HALO) -> Storage:
    """Return the layout of a contiguous array, with a halo (padding pixels) around every plane.

    ``block`` is 16 for blocks of channels, or 1 for NumPy order; ``sizes`` are depth, height and width without the
    halo.
    """
    depth, height, width = (size + before + after for size, (before, after) in zip(sizes, halo, strict=True))
    w = block
    h = w * width
    d = h * height
    plane = d * depth
    total = plane * -(-channels // block)
    origin = halo[0][0] * d + halo[1][0] * h + halo[2][0] * w
    return Storage(dtype, block, channels, sizes, halo, (total, plane, d, h, w), origin, total)


def spatial(values: Sequence[int], fill: int = 1) -> Three:
    """Return spatial values, such as strides or sizes, as three values (d, h, w).

    Missing leading axes get the value ``fill``. Raises ``ValueError`` for more than three values.
    """
    if len(values) > 3:
        raise ValueError(f"more than three spatial axes: {tuple(values)}")
    d, h, w = (*(fill,) * (3 - len(values)), *values)
    return d, h, w


def joined_spatial(values: Sequence[int]) -> Three:
    """Return spatial sizes as three sizes (d, h, w); missing leading axes get the size 1.

    If there are more than three sizes, h and w are the last two, and d is the product of the others.
    """
    extra = max(0, len(values) - 2)
    return spatial((math.prod(values[:extra]), *values[extra:]) if extra > 1 else values)


def three_pairs(before: Sequence[int], after: Sequence[int]) -> Halo:
    """Return a halo (padding widths) as ((d₀, d₁), (h₀, h₁), (w₀, w₁)).

    ``before`` and ``after`` have the widths in pixels before and after the three spatial axes (d, h, w).
    """
    d, h, w = zip(before, after, strict=True)
    return d, h, w


@dataclass(frozen=True)
class InputLayout:
    """The memory layouts in which an operation can read one of its inputs.

    ``blocks`` lists the acceptable numbers of channels per block, the best one first. ``halo`` is the width of the zero
    padding that must surround each plane in memory.
    """

    blocks: tuple[int, ...]
    halo: Halo = NO_HALO
