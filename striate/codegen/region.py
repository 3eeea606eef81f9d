"""Regions: elementwise work fused into whatever loop computes its operands.

A region is a straight-line program over vectors: loads, operations, stores and running sums. An elementwise kernel runs
it on every tile of a domain. A convolution or a pooling runs it on each tile that it finishes, and its result is the
region's ``AnchorResult``. So elementwise mathematics is written once (an operation's ``emit``) and reused alone, fused,
and in tails.

    domain     one iteration space            lanes of a vector
    BLOCKED    n, channel block, d, h, w      16 channels of a pixel
    PLANAR     n, channel, d, h, w            16 pixels of a row
    FLAT       one run of elements            16 neighbours
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from striate.codegen.kernel import LANES
from striate.codegen.storage import NO_HALO, Halo
from striate.dtypes import DType

FLAT_CHUNK = 16384
"""Elements of a flat domain that one chunk takes: 64 KiB of float32, small against L2, large against a hand-out."""


class Space(Enum):
    """How a domain is iterated over."""

    BLOCKED = "blocked"
    PLANAR = "planar"
    FLAT = "flat"


@dataclass(frozen=True)
class Domain:
    """An iteration space; ``samples`` is 0 where axis 0 is the run-time N."""

    space: Space
    samples: int
    channels: int
    sizes: tuple[int, int, int]

    @property
    def sample_major(self) -> bool:
        """Whether samples take the place of rows: images of one pixel are walked sample by sample in tiles."""
        return self.space is Space.BLOCKED and self.pixels == 1

    @property
    def blocks(self) -> int:
        """Channel blocks (BLOCKED) or channels (PLANAR)."""
        return -(-self.channels // LANES) if self.space is Space.BLOCKED else self.channels

    @property
    def pixels(self) -> int:
        """Positions of one sample and channel."""
        depth, height, width = self.sizes
        return depth * height * width

    @property
    def group(self) -> int:
        """Samples per chunk, so that a chunk has enough work to outweigh its overhead. It depends only on the shape."""
        if self.space is Space.FLAT:
            return max(1, FLAT_CHUNK // max(1, self.pixels))
        return 64 if self.sample_major else max(1, -(-256 // self.pixels))

    @property
    def groups(self) -> tuple[int, int]:
        """(per, group): the number of sample groups is ``per`` where group is 0, else per · ceil(N / group)."""
        if self.space is Space.FLAT and self.samples:
            return -(-self.pixels * self.samples // FLAT_CHUNK), 0
        return (-(-self.samples // self.group), 0) if self.samples else (1, self.group)

    @property
    def chunks(self) -> tuple[int, int]:
        """(per, group) of all chunks."""
        per, group = self.groups
        return per * (1 if self.space is Space.FLAT else self.blocks), group


LINE = 64
"""Bytes of a cache line."""


@dataclass(frozen=True)
class Load:
    """Loads a vector from an operand at the current position.

    Strides of 0 repeat the operand. ``lanes`` says whether each lane has its own element or all share one.
    ``limit`` is the number of channels if reading a full last block would go past the end of the array, otherwise 0.
    ``lane_stride`` is the distance between neighbouring lanes; it is not 1 if the layouts of array and domain differ.
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
    """An operation on earlier values of the region."""

    op: Any
    arguments: tuple[int, ...]
    dtype: DType | None = None  # of the result, if the operation depends on the position (random numbers)
    code: str = ""  # a digest of the operation's code if it is defined outside striate


@dataclass(frozen=True)
class AnchorResult:
    """A result of the kernel that the region is fused into."""

    output: int


@dataclass(frozen=True)
class Number:
    """A constant."""

    number: float
    dtype: DType


@dataclass(frozen=True)
class ElementCount:
    """``per_sample`` · N (or ``per_sample`` alone where not batched), as a number."""

    per_sample: int
    batched: bool
    dtype: DType


Instruction = Load | Apply | AnchorResult | Number | ElementCount


@dataclass(frozen=True)
class Store:
    """Writes a value of the region; where ``halo`` is given, zeros go around each plane."""

    value: int
    operand: int
    dtype: DType
    strides: tuple[int, int, int, int, int]
    origin: int
    halo: Halo = NO_HALO
    exact: bool = False  # an array of exactly its channels: the last block must be masked
    streams: bool = False  # bypassing the caches: for arrays that no cache would keep until they are read
    lane_stride: int = 1  # the distance between neighbouring lanes


@dataclass(frozen=True)
class Accumulate:
    """Adds a value to the running sums of a reduction; partial sums go to an operand as float64.

    ``per_sample`` keeps samples separate; ``everything`` also sums over channels, without the lanes after the last one.
    """

    reduction: Any
    value: int
    operand: int
    per_sample: bool
    everything: bool
    dtype: DType  # of the value

    @property
    def partials(self) -> int:
        """How many vectors of float64 hold the sums."""
        return self.reduction.partials(self.dtype)


@dataclass(frozen=True)
class Region:
    """Straight-line work on one tile."""

    domain: Domain
    instructions: tuple[Instruction, ...] = ()
    stores: tuple[Store, ...] = ()
    accumulations: tuple[Accumulate, ...] = ()

    @property
    def operands(self) -> int:
        """How many operands it reads and writes."""
        used = [i.operand for i in self.instructions if isinstance(i, Load)]
        used += [s.operand for s in self.stores] + [a.operand for a in self.accumulations]
        return max(used, default=-1) + 1
