"""Regions: elementwise work that is fused into the loop that computes its operands.

A region is a straight-line program over vectors of 16 lanes: loads, operations, stores and running sums. An elementwise
kernel runs a region on every tile (a few vectors) of a domain, the iteration space. A convolution or a pooling runs a
region on each tile of its result, which the region reads as an ``AnchorResult``. In both cases, the method ``emit`` of
an elementwise operation writes the instructions of this operation.

    domain     iteration space                lanes of a vector
    BLOCKED    n, channel block, d, h, w      16 channels of a pixel
    PLANAR     n, channel, d, h, w            16 pixels of a line
    FLAT       all elements in memory order   16 neighbouring elements

n is the sample, and d, h and w are the position in depth, height and width.
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
        FLAT     one loop over all elements in memory order; the lanes are 16 neighbouring elements

    n is the sample, and d, h and w are the position in depth, height and width.
    """

    BLOCKED = "blocked"
    PLANAR = "planar"
    FLAT = "flat"


@dataclass(frozen=True)
class Domain:
    """The iteration space of a region (fused elementwise work).

    ``space`` says how its loops are nested. ``samples`` is the size of axis 0, or 0 if axis 0 is the batch size N,
    which is known at run time. ``channels`` is the number of channels, and ``sizes`` are depth, height and width.
    """

    space: Space
    samples: int
    channels: int
    sizes: tuple[int, int, int]

    @property
    def sample_major(self) -> bool:
        """Whether vectors that are processed together belong to several samples instead of several pixels.

        This is the case if channels are in blocks of 16 and each sample has only one pixel.
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
        """The number of samples in a chunk (part) of the work.

        It depends only on the domain and not on the number of threads.
        """
        if self.space is Space.FLAT:
            return max(1, FLAT_CHUNK // max(1, self.pixels))
        return 64 if self.sample_major else max(1, -(-256 // self.pixels))

    @property
    def groups(self) -> tuple[int, int]:
        """The number of groups of samples, as a pair (per, group).

        There are ``per`` groups if group is 0, else per · ⌈N / group⌉ for a batch of N samples.
        """
        if self.space is Space.FLAT and self.samples:
            return -(-self.pixels * self.samples // FLAT_CHUNK), 0
        return (-(-self.samples // self.group), 0) if self.samples else (1, self.group)

    @property
    def chunks(self) -> tuple[int, int]:
        """The number of chunks (parts) of the work, as a pair (per, group).

        There are ``per`` chunks if group is 0, else per · ⌈N / group⌉ for a batch of N samples.
        """
        per, group = self.groups
        return per * (1 if self.space is Space.FLAT else self.blocks), group


LINE = 64
"""The size of a cache line in bytes."""


@dataclass(frozen=True)
class Load:
    """An instruction of a region (fused elementwise work): load a vector from an operand.

    The vector is at the current position (n, channel block, d, h, w) of the loops: sample, block of 16 channels, depth,
    height and width.

        operand      the number of the operand, from 0, and ``dtype`` the type of its elements
        strides      distances in elements along (n, channel block, d, h, w); 0 repeats the operand along that axis
        origin       the offset in elements of the operand's element at position (0, 0, 0, 0, 0)
        lanes        whether each lane has an element of its own; otherwise all lanes share one
        limit        the number of channels if reading a full last block would go past the end of the array, else 0
        lane_stride  the distance in elements between neighbouring lanes
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
    """An instruction of a region (fused elementwise work): apply ``op`` to the values of earlier instructions.

    ``op`` is an elementwise operation. ``arguments`` are the numbers of the instructions that compute its operands.
    ``dtype`` is None, except for operations that depend on the position, such as random numbers; for them, it is the
    dtype of the result. ``code`` is a digest of the operation's code if the operation is defined outside striate, else
    "".
    """

    op: Any
    arguments: tuple[int, ...]
    dtype: DType | None = None  # of the result, if the operation depends on the position (random numbers)
    code: str = ""  # a digest of the operation's code, if it is defined outside striate


@dataclass(frozen=True)
class AnchorResult:
    """An instruction of a region (fused elementwise work): a result of the loop around it.

    The value is output number ``output`` of the operation (such as a convolution) into whose loop the region is fused.
    """

    output: int


@dataclass(frozen=True)
class Number:
    """An instruction of a region (fused elementwise work): a constant.

    The value is ``number``, of type ``dtype``, in every lane.
    """

    number: float
    dtype: DType


@dataclass(frozen=True)
class ElementCount:
    """An instruction of a region (fused elementwise work): a number of elements.

    A reduction combines this number of elements into each result. The number is ``per_sample`` · N for N samples if
    ``batched``, else ``per_sample``. Every lane of the value is this number, as ``dtype``.
    """

    per_sample: int
    batched: bool
    dtype: DType


Instruction = Load | Apply | AnchorResult | Number | ElementCount


@dataclass(frozen=True)
class Store:
    """A store of a region (fused elementwise work): write the value of an instruction to an operand.

    ``value`` is the number of the instruction, and ``operand`` is the number of the operand. ``dtype`` is the type of
    the elements in memory. ``strides``, ``origin`` and ``lane_stride`` are as in ``Load``. ``halo`` is the width of the
    padding around each plane, which is filled with zeros. ``exact`` is False if the array includes the padding channels
    of an incomplete last block. ``streams`` says whether the store bypasses the caches.
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
    """A reduction in a region (fused elementwise work): add the value of an instruction to running sums.

    ``value`` is the number of the instruction, and ``dtype`` the type of its value. ``reduction`` is the operation,
    such as a sum. Each chunk (part) of the work writes its sums, as float64, to operand number ``operand``. With
    ``per_sample``, each sample has sums of its own. With ``everything``, the channels are summed too, except the
    padding channels of an incomplete last block.
    """

    reduction: Any
    value: int
    operand: int
    per_sample: bool
    everything: bool
    dtype: DType  # of the value

    @property
    def partials(self) -> int:
        """The number of float64 vectors of 16 lanes that the running sums occupy."""
        return self.reduction.partials(self.dtype)


@dataclass(frozen=True)
class Region:
    """Elementwise work as a straight-line program, which runs on one tile (a few vectors) of a domain.

    ``domain`` is the iteration space. The values of ``instructions`` are numbered in order, from 0; ``stores`` and
    ``accumulations`` (sums over the domain) refer to these numbers.
    """

    domain: Domain
    instructions: tuple[Instruction, ...] = ()
    stores: tuple[Store, ...] = ()
    accumulations: tuple[Accumulate, ...] = ()

    @property
    def operands(self) -> int:
        """The number of operands (arrays) that this elementwise work reads and writes."""
        used = [i.operand for i in self.instructions if isinstance(i, Load)]
        used += [s.operand for s in self.stores] + [a.operand for a in self.accumulations]
        return max(used, default=-1) + 1
