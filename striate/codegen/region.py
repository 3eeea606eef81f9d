"""Regions: elementwise work that is fused into the loop that computes its operands.

A region is a straight-line program over vectors of 16 lanes: loads, operations, stores and running sums. An elementwise
kernel runs it on every tile of a domain (an iteration space). A convolution or a pooling runs it on each tile that it
finishes; its result is the region's ``AnchorResult``. So the code of an elementwise operation is written once (its
``emit``), for kernels of its own, fused loops, and the edges of arrays.

    domain     iteration space                lanes of a vector
    BLOCKED    n, channel block, d, h, w      16 channels of a pixel
    PLANAR     n, channel, d, h, w            16 pixels of a line
    FLAT       all elements in memory order   16 neighbours
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from striate.codegen.lanes import LANES
from striate.codegen.storage import NO_HALO, Halo
from striate.dtypes import DType

FLAT_CHUNK = 16384
"""Elements of a flat domain per chunk: 64 KiB of float32, less than the L2 cache, but ample work for one chunk."""


class Space(Enum):
    """How the loops of a domain (an iteration space) are nested, and what the 16 lanes of a vector are.

    BLOCKED  loops over n, channel block, d, h, w; the lanes are 16 channels of a pixel
    PLANAR   loops over n, channel, d, h, w; the lanes are 16 pixels of a line
    FLAT     one loop over all elements in memory order; the lanes are 16 neighbours
    """

    BLOCKED = "blocked"
    PLANAR = "planar"
    FLAT = "flat"


@dataclass(frozen=True)
class Domain:
    """The iteration space of a region (fused elementwise work).

    ``samples`` is the size of axis 0, or 0 if axis 0 is the batch size N, which is known at run time. ``channels`` is
    the number of channels, and ``sizes`` are depth, height and width.
    """

    space: Space
    samples: int
    channels: int
    sizes: tuple[int, int, int]

    @property
    def sample_major(self) -> bool:
        """Whether a tile (vectors processed together) covers several samples instead of several pixels.

        This is the case for blocked images of one pixel.
        """
        return self.space is Space.BLOCKED and self.pixels == 1

    @property
    def blocks(self) -> int:
        """The number of blocks of 16 channels (BLOCKED), or of channels (PLANAR and FLAT)."""
        return -(-self.channels // LANES) if self.space is Space.BLOCKED else self.channels

    @property
    def pixels(self) -> int:
        """The number of positions in one sample and channel: depth · height · width."""
        depth, height, width = self.sizes
        return depth * height * width

    @property
    def group(self) -> int:
        """The number of samples in a chunk of work, chosen so that the work outweighs the overhead of a chunk.

        It depends only on the shape, so that the order of sums does not depend on the number of threads.
        """
        if self.space is Space.FLAT:
            return max(1, FLAT_CHUNK // max(1, self.pixels))
        return 64 if self.sample_major else max(1, -(-256 // self.pixels))

    @property
    def groups(self) -> tuple[int, int]:
        """The number of sample groups as a pair (per, group).

        It is ``per`` if group is 0, else per · ⌈N / group⌉.
        """
        if self.space is Space.FLAT and self.samples:
            return -(-self.pixels * self.samples // FLAT_CHUNK), 0
        return (-(-self.samples // self.group), 0) if self.samples else (1, self.group)

    @property
    def chunks(self) -> tuple[int, int]:
        """The number of chunks of work as a pair (per, group).

        It is ``per`` if group is 0, else per · ⌈N / group⌉.
        """
        per, group = self.groups
        return per * (1 if self.space is Space.FLAT else self.blocks), group


LINE = 64
"""The size of a cache line in bytes."""


@dataclass(frozen=True)
class Load:
    """An instruction of a region: load a vector from an operand at the current position of the loops.

    operand      the number of the operand, from 0, and ``dtype`` the type of its elements
    strides      distances in elements along (n, channel block, d, h, w); 0 repeats the operand along that axis
    origin       the offset in elements of the operand's first element
    lanes        whether each lane has an element of its own; otherwise all lanes share one
    limit        the number of channels if reading a full last block would go past the end of the array, else 0
    lane_stride  the distance in elements between neighbouring lanes; it differs from 1 if the array and the
                 domain have different layouts
    split        whether the array is stored in blocks of channels, but the loops run over single channels
    """

    operand: int
    dtype: DType
    strides: tuple[int, int, int, int, int]
    origin: int
    lanes: bool
    limit: int = 0
    lane_stride: int = 1
    split: bool = False  # a blocked array read channel by channel


@dataclass(frozen=True)
class Apply:
    """An instruction of a region: apply the operation ``op`` to earlier values.

    ``op`` is an elementwise operation. ``arguments`` are the numbers of the instructions that compute its operands.
    ``dtype`` is that of the result if the operation depends on the position (random numbers), else None. ``code`` is a
    digest of the operation's code if it is defined outside striate, else "".
    """

    op: Any
    arguments: tuple[int, ...]
    dtype: DType | None = None  # of the result, if the operation depends on the position (random numbers)
    code: str = ""  # a digest of the operation's code, if it is defined outside striate


@dataclass(frozen=True)
class AnchorResult:
    """An instruction of a region: its value is a result of the kernel into which the region is fused.

    ``output`` is the index of that result.
    """

    output: int


@dataclass(frozen=True)
class Number:
    """An instruction of a region: its value is ``number``, of type ``dtype``, in every lane."""

    number: float
    dtype: DType


@dataclass(frozen=True)
class ElementCount:
    """An instruction of a region: its value is the number of elements that a reduction combines into each result.

    The number is ``per_sample`` · N if ``batched``, else ``per_sample``; every lane of the value has it, as ``dtype``.
    """

    per_sample: int
    batched: bool
    dtype: DType


Instruction = Load | Apply | AnchorResult | Number | ElementCount


@dataclass(frozen=True)
class Store:
    """A store of a region: write the value of instruction number ``value`` to operand number ``operand``.

    ``dtype`` is the type of the elements in memory. ``strides``, ``origin`` and ``lane_stride`` are as in ``Load``. If
    there is a ``halo`` (padding pixels around each plane), it is filled with zeros. If ``exact``, the array has no
    channels that pad the last block, which is therefore stored with a mask. ``streams`` says whether the store bypasses
    the caches.
    """

    value: int
    operand: int
    dtype: DType
    strides: tuple[int, int, int, int, int]
    origin: int
    halo: Halo = NO_HALO
    exact: bool = False  # the array has no padding channels, so the store of the last block must be masked
    streams: bool = False  # bypass the caches: for arrays that no cache would keep until they are read
    lane_stride: int = 1  # the distance between neighbouring lanes


@dataclass(frozen=True)
class Accumulate:
    """A reduction in a region: add the value of instruction number ``value`` to running sums.

    ``reduction`` is the operation, such as a sum. Each chunk of work writes its sums, as float64, to operand number
    ``operand``. ``per_sample`` keeps the samples separate. With ``everything``, the channels are summed too, without
    the lanes that only pad the last channel block. ``dtype`` is that of the value.
    """

    reduction: Any
    value: int
    operand: int
    per_sample: bool
    everything: bool
    dtype: DType  # of the value

    @property
    def partials(self) -> int:
        """The number of float64 vectors that hold the running sums."""
        return self.reduction.partials(self.dtype)


@dataclass(frozen=True)
class Region:
    """Elementwise work as a straight-line program, which runs on one tile (a few vectors) of a domain.

    The values of ``instructions`` are numbered in order; stores and accumulations refer to these numbers.
    """

    domain: Domain
    instructions: tuple[Instruction, ...] = ()
    stores: tuple[Store, ...] = ()
    accumulations: tuple[Accumulate, ...] = ()

    @property
    def operands(self) -> int:
        """The number of operands that the region reads and writes."""
        used = [i.operand for i in self.instructions if isinstance(i, Load)]
        used += [s.operand for s in self.stores] + [a.operand for a in self.accumulations]
        return max(used, default=-1) + 1
