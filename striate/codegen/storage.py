"""Where the elements of an array lie in memory.

An array (N, C, D, H, W) (missing spatial axes count as 1) is stored as

    [n][channel block][d][h][w][channel within the block]

with ``block`` = 16 adjacent channels (blocked: one vector is 16 channels of one pixel) or 1 (planar: plain NumPy
order). A halo of pixels may surround every plane; its contents are undefined unless its producer was asked for zeros.
The channels that only pad the last block are always undefined.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from striate.dtypes import DType

BLOCK, PLAIN = 16, 1
"""The possible channel blocks."""

Three = tuple[int, int, int]
Halo = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
NO_HALO: Halo = ((0, 0), (0, 0), (0, 0))


@dataclass(frozen=True)
class Storage:
    """Strides in elements for (n, channel block, d, h, w); ``origin`` is the offset of channel 0, pixel (0, 0, 0)."""

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
        """Number of channel blocks."""
        return -(-self.channels // self.block)

    @property
    def pixels(self) -> int:
        """Positions of one channel."""
        return math.prod(self.sizes)

    @property
    def bytes_per_sample(self) -> int:
        """Bytes that one sample takes, halo and padding included."""
        return self.per_sample * self.dtype.numpy.itemsize

    def shifted(self, channel: int) -> Storage:
        """The same memory seen from a later channel (a multiple of the block)."""
        moved = self.origin + channel // self.block * self.strides[1]
        return Storage(
            self.dtype, self.block, self.channels - channel, self.sizes, self.halo, self.strides, moved, self.per_sample
        )


def make_storage(dtype: DType, block: int, channels: int, sizes: tuple[int, int, int], halo: Halo = NO_HALO) -> Storage:
    """Dense storage with the given halo."""
    depth, height, width = (size + before + after for size, (before, after) in zip(sizes, halo, strict=True))
    w = block
    h = w * width
    d = h * height
    plane = d * depth
    total = plane * -(-channels // block)
    origin = halo[0][0] * d + halo[1][0] * h + halo[2][0] * w
    return Storage(dtype, block, channels, sizes, halo, (total, plane, d, h, w), origin, total)


def spatial(values: Sequence[int], fill: int = 1) -> Three:
    """Values of the spatial axes, padded to three with leading ones of ``fill``."""
    if len(values) > 3:
        raise ValueError(f"more than three spatial axes: {tuple(values)}")
    d, h, w = (*(fill,) * (3 - len(values)), *values)
    return d, h, w


def joined_spatial(values: Sequence[int]) -> Three:
    """Values of the spatial axes as three; the first of more than three are joined into one."""
    extra = max(0, len(values) - 2)
    return spatial((math.prod(values[:extra]), *values[extra:]) if extra > 1 else values)


def three_pairs(before: Sequence[int], after: Sequence[int]) -> Halo:
    """A halo from its widths before and after each of the three spatial axes."""
    d, h, w = zip(before, after, strict=True)
    return d, h, w


@dataclass(frozen=True)
class InputLayout:
    """What an operation reads of one input: acceptable channel blocks, the best first, and a halo of zeros."""

    blocks: tuple[int, ...]
    halo: Halo = NO_HALO
