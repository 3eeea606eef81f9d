"""Kernels for elementwise work and for reductions.

A *region* is elementwise work on vectors of 16 lanes: loads, operations, stores and running sums (see ``region.py``). A
kernel runs once for each *chunk*, a part of the work, and stores its sums as *partial sums*. A second kernel combines
the partial sums of all chunks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import LANES, Index
from striate.codegen.launch import KernelSpec
from striate.codegen.region import FLAT_CHUNK, Domain, Region, Space
from striate.codegen.region_writer import RegionWriter, samples_of
from striate.dtypes import DType

TILE = 4
"""Vectors that a kernel processes together: enough independent work to hide the latency of loads and additions."""

PLAIN_CHUNK = 16384
"""The number of elements of a plain reduction that one chunk reads."""

_ASSUMED_SAMPLES = 16
"""The batch size N that is assumed for the size of chunks that read all samples: N is known only at run time."""


@dataclass(frozen=True)
class ElementwiseKernel(KernelSpec):
    """A kernel that runs a region (fused elementwise work) over every element of its domain, the iteration space.

    A chunk of work is one channel, or one block of 16 channels, of a group of samples. If the domain has no channels, a
    chunk is a range of neighbouring elements.
    """

    region: Region

    def write(self, k: Kernel) -> None:
        domain = self.region.domain
        writer = RegionWriter(k, self.region, 0)
        writer.begin_chunk()
        if domain.space is Space.FLAT:
            self._flat(k, writer)
            return
        blocks = domain.blocks
        group, block = k.idiv(k.chunk, blocks), k.imod(k.chunk, blocks)
        first, last = samples_of(k, domain, group)
        if domain.sample_major:
            writer.begin_block(0, block)
            _run(k, first, last, TILE, lambda n, rows: _rows(writer, n, rows))
            writer.end_block()
        else:
            depth, height, _ = domain.sizes
            with k.loop(first, last) as sample:
                writer.begin_block(sample.index, block)
                with k.loop(0, depth) as plane, k.loop(0, height) as line:
                    writer.row(plane.index, line.index)
                    _columns(k, writer, domain)
                writer.end_block()
        writer.end_chunk(k.chunk)

    def _flat(self, k: Kernel, writer: RegionWriter) -> None:
        domain = self.region.domain
        if domain.samples:
            start = k.imul(k.chunk, FLAT_CHUNK)
            count = k.imin(FLAT_CHUNK, k.isub(domain.samples * domain.pixels, start))
            writer.begin_block(k.chunk, 0)
        else:
            first = k.imul(k.chunk, domain.group)
            samples = k.imin(domain.group, k.isub(k.n, first))
            count = k.imul(samples, domain.pixels)
            writer.begin_block(first, 0)
        writer.row(0, 0)
        whole = k.idiv(count, LANES)
        _run(k, 0, whole, TILE, lambda w, many: writer.tile(w, [(0, j) for j in range(many)], ()))
        rest = k.isub(count, k.imul(whole, LANES))
        with k.when(k.compare(rest, ">", 0)):
            writer.tile(whole, [(0, 0)], (), rest)
        writer.end_block()
        writer.end_chunk(k.chunk)


def _rows(writer: RegionWriter, n: Index, rows: int) -> None:
    writer.row(0, n)
    writer.tile(0, [(row, 0) for row in range(rows)], ())


def _run(k: Kernel, first: Index, last: Index, tile: int, body: Any) -> None:
    """Call ``body(index, tile)`` for every whole tile, then ``body(index, 1)`` for each remaining index."""
    whole = k.imul(k.idiv(k.isub(last, first), tile), tile)
    middle = k.iadd(first, whole)
    if not (isinstance(whole, int) and whole == 0):
        with k.loop(first, middle, tile) as at:
            body(at.index, tile)
    if not (isinstance(middle, int) and isinstance(last, int) and middle >= last):
        with k.loop(middle, last) as at:
            body(at.index, 1)


def _columns(k: Kernel, writer: RegionWriter, domain: Domain) -> None:
    """Write the region for all vectors of one line of pixels.

    These are whole tiles, one smaller tile and, in a planar domain, the masked rest.
    """
    width = domain.sizes[2]
    vectors, rest = (width, 0) if domain.space is Space.BLOCKED else divmod(width, LANES)
    tile = min(TILE, vectors) or 1
    if vectors // tile:
        with k.loop(0, vectors // tile * tile, tile) as at:
            writer.tile(at.index, [(0, column) for column in range(tile)], ())
    if vectors % tile:
        writer.tile(vectors // tile * tile, [(0, column) for column in range(vectors % tile)], ())
    if rest:
        writer.tile(vectors, [(0, 0)], (), rest)


@dataclass(frozen=True)
class PendingReduction:
    """A reduction whose partial sums are to be combined into its results.

    The partial sums are stored as [group][block][partials][16] float64, where ``partials`` is the number of vectors
    that the reduction needs: 1 for a sum, 2 or 4 for moments.

        reduction   the operation, such as a sum or moments (mean and variance)
        dtype       the dtype of the operand and of the results
        everything  whether each result combines all channels
        per_sample  whether each sample has a result of its own
        blocks      the number of blocks of 16 channels
        groups      a pair (per, group): there are ``per`` groups of samples if group is 0, else per · ⌈N / group⌉
                    for N samples
        count       the number of elements that each result combines
        batched     whether ``count`` is the number for one sample, to be multiplied by N
    """

    reduction: Any
    dtype: DType
    everything: bool
    per_sample: bool
    blocks: int
    groups: tuple[int, int]
    count: int
    batched: bool


@dataclass(frozen=True)
class ChannelMerge(KernelSpec):
    """A kernel that combines the partial sums of all channels of a group, and stores the result for each channel.

    Group normalization uses this kernel. There are ``channels`` channels, and each group has ``together`` consecutive
    channels. The only operand has the partial sums of the operation ``reduction``, [sample][block][partials][16]
    float64, with 16 channels per block. ``partials`` is the number of vectors that the operation needs. The results
    replace the partial sums. ``dtype`` is the dtype of the array that is reduced. A chunk (part) of the work is one
    sample.
    """

    reduction: Any
    dtype: DType
    channels: int
    together: int

    def write(self, k: Kernel) -> None:
        partials = self.reduction.partials(self.dtype)
        sample = k.imul(k.chunk, -(-self.channels // LANES) * partials * LANES)

        def places(channel: Index) -> list[Any]:
            block, lane = k.idiv(channel, LANES), k.imod(channel, LANES)
            first = k.iadd(sample, k.imul(block, partials * LANES), lane)
            return [k.offset(k.operand(0), k.iadd(first, j * LANES), DType.float64) for j in range(partials)]

        neutral = [k.constant(self.reduction.neutral, DType.float64) for _ in range(partials)]
        with k.loop(0, self.channels, self.together) as group:
            last = k.iadd(group.index, self.together)
            with k.loop(group.index, last, carry=neutral) as at:
                at.carry = self.reduction.merge(k, at.carry, [k.broadcast(p, DType.float64) for p in places(at.index)])
            with k.loop(group.index, last) as channel:
                for total, place in zip(at.result, places(channel.index), strict=True):
                    k.store_scalar(k.lane(total, 0), place)


@dataclass(frozen=True)
class FinalizeReduction(KernelSpec):
    """A kernel that combines the partial sums of ``reductions``, then runs ``region`` on the results.

    A region is fused elementwise work. The partial sums are added in a fixed order. The operands of the kernel are the
    partial sums of each reduction, then the operands of the region. A chunk (part) of the work is one vector of 16
    results. If each sample has results of its own, a chunk is one vector of 16 results for each sample of a group.
    """

    reductions: tuple[PendingReduction, ...]
    region: Region

    def write(self, k: Kernel) -> None:
        domain = self.region.domain
        writer = RegionWriter(k, self.region, len(self.reductions))
        writer.begin_chunk()
        if domain.space is Space.BLOCKED:  # samples stay separate: one partial sum per (sample, block)
            group, block = k.idiv(k.chunk, domain.blocks), k.imod(k.chunk, domain.blocks)
            first, last = samples_of(k, domain, group)
            writer.begin_block(0, block)
            with k.loop(first, last) as sample:
                index = k.iadd(k.imul(sample.index, domain.blocks), block)
                writer.row(0, sample.index)
                writer.tile(0, [(0, 0)], [self._anchors(k, index)])
            writer.end_block()
        else:
            writer.begin_block(0, 0)
            writer.row(0, 0)
            size = domain.pixels * domain.samples
            count = LANES if size % LANES == 0 else k.imin(LANES, k.isub(size, k.imul(k.chunk, LANES)))
            writer.tile(k.chunk, [(0, 0)], [self._anchors(k, k.chunk)], count)
            writer.end_block()
        writer.end_chunk(k.chunk)

    def _anchors(self, k: Kernel, index: Index) -> list[Any]:
        results: list[Any] = []
        for operand, item in enumerate(self.reductions):
            sums = self._sums(k, operand, item, index)
            count = k.imul(k.n, item.count) if item.batched else item.count
            number = k.splat(k.convert(k.as_index(count), DType.float64))
            finished = item.reduction.finish(k, sums, number)
            results.extend(k.convert(value, item.dtype) for value in finished)
        return results

    def _sums(self, k: Kernel, operand: int, item: PendingReduction, index: Index) -> list[Any]:
        partials = item.reduction.partials(item.dtype)
        base = k.operand(operand)

        def read(place: Index) -> list[Any]:
            start = k.offset(base, k.imul(place, partials * LANES), DType.float64)
            return [k.load(k.offset(start, j * LANES, DType.float64), DType.float64, 64) for j in range(partials)]

        if item.per_sample:
            return read(index)
        per, group = item.groups
        groups = k.imul(k.idiv(k.iadd(k.n, group - 1), group), per) if group else per
        first, step = (0, 1) if item.everything else (index, item.blocks)
        stop = k.imul(groups, item.blocks)
        zero = [k.constant(item.reduction.neutral, DType.float64) for _ in range(partials)]
        with k.loop(first, stop, step, carry=zero) as at:
            at.carry = item.reduction.merge(k, at.carry, read(at.index))
        if not item.everything:
            return at.result
        merged = k.fold_lanes_together(at.result, lambda a, b: item.reduction.merge(k, a, b))
        return [k.splat(total) for total in merged]


@dataclass(frozen=True)
class PlainReduction(KernelSpec):
    """A kernel that reduces any axes of an array x in NumPy (row-major) order.

    ``reduction`` is the operation, such as a sum, and ``axes`` are the axes of x that it reduces. ``shape`` and
    ``dtype`` are those of x. With ``batched``, axis 0 of x is the batch axis, whose size N is known at run time. The
    operands of the kernel are x, then the outputs. A chunk (part) of the work is a few results. If the result has the
    batch axis, all results of a chunk belong to the same sample.
    """

    reduction: Any
    dtype: DType
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    batched: bool

    @property
    def per_sample(self) -> bool:
        """Whether the result has the batch axis N."""
        return self.batched and 0 not in self.axes

    @property
    def chunks(self) -> tuple[int, int]:
        """The number of chunks (parts) of the work as a pair (per, group).

        There are ``per`` chunks if group is 0; group 1 means ``per`` chunks for each sample.
        """
        return -(-self._units // self._units_of_chunk), int(self.per_sample)

    @property
    def _fixed(self) -> list[_Run]:
        """The axes except N, merged where possible, with their strides in x and in the result."""
        runs: list[_Run] = []
        read = written = 1
        for axis in range(len(self.shape) - 1, int(self.batched) - 1, -1):
            size, kept = self.shape[axis], axis not in self.axes
            if size != 1 and runs and runs[0].kept is kept:
                runs[0] = _Run(runs[0].size * size, kept, runs[0].read, runs[0].written)
            elif size != 1:
                runs.insert(0, _Run(size, kept, read, written))
            read *= size
            written *= size if kept else 1
        return runs

    @property
    def _columns(self) -> bool:
        """Whether a vector holds neighbouring results (the last axis is kept), not elements to be summed."""
        return bool(self._fixed) and self._fixed[-1].kept

    @property
    def _outer(self) -> list[_Run]:
        """The kept axes except N, and except the last axis if its positions are the lanes of the vectors."""
        runs = self._fixed[:-1] if self._columns else self._fixed
        return [run for run in runs if run.kept]

    @property
    def _vectors(self) -> int:
        """The number of vectors of results along the last axis, or 1 if the last axis is reduced."""
        return -(-self._fixed[-1].size // LANES) if self._columns else 1

    @property
    def _units(self) -> int:
        """The number of results of one sample, or of vectors of results if the last axis is kept."""
        return math.prod(run.size for run in self._outer) * self._vectors

    @property
    def _units_of_chunk(self) -> int:
        elements = math.prod(run.size for run in self._fixed if not run.kept) * (LANES if self._columns else 1)
        if self.batched and not self.per_sample:
            elements *= _ASSUMED_SAMPLES
        return max(1, min(self._units, PLAIN_CHUNK // max(1, elements)))

    def write(self, k: Kernel) -> None:
        per, _ = self.chunks
        sample: Index = k.idiv(k.chunk, per) if self.per_sample else 0
        read = k.imul(sample, math.prod(self.shape[1:]))
        written = k.imul(sample, math.prod(run.size for run in self._fixed if run.kept))
        start = k.imul(k.imod(k.chunk, per), self._units_of_chunk) if per > 1 else 0
        stop = k.imin(self._units, k.iadd(start, self._units_of_chunk)) if per > 1 else self._units
        with k.loop(start, stop) as at:
            self._unit(k, at.index, read, written)

    def _unit(self, k: Kernel, unit: Index, read: Index, written: Index) -> None:
        """Write the code for one result, or one vector of results, of the sample that begins at ``read``."""
        count: Index = LANES
        if self._columns:
            vector = k.imul(k.imod(unit, self._vectors), LANES)
            unit, width = k.idiv(unit, self._vectors), self._fixed[-1].size
            read, written = k.iadd(read, vector), k.iadd(written, vector)
            count = LANES if width % LANES == 0 else k.imin(LANES, k.isub(width, vector))
        for run in reversed(self._outer):
            index = k.imod(unit, run.size)
            unit = k.idiv(unit, run.size)
            read = k.iadd(read, k.imul(index, run.read))
            written = k.iadd(written, k.imul(index, run.written))
        partials = self.reduction.partials(self.dtype)
        neutral = [k.constant(self.reduction.neutral, DType.float64) for _ in range(partials)]
        reduced = [run for run in self._fixed if not run.kept]
        number: Index = math.prod(run.size for run in reduced)
        if self.batched and not self.per_sample:
            number = k.imul(k.n, number)
            with k.loop(0, k.n, carry=neutral) as at:
                row = k.iadd(read, k.imul(at.index, math.prod(self.shape[1:])))
                at.carry = self._reduced(k, reduced, row, at.carry, count)
            sums = at.result
        else:
            sums = self._reduced(k, reduced, read, neutral, count)
        if not self._columns:
            merged = k.fold_lanes_together(sums, lambda a, b: self.reduction.merge(k, a, b))
            sums = [k.splat(total) for total in merged]
        width = k.splat(k.convert(k.as_index(number), DType.float64))
        for position, result in enumerate(self.reduction.finish(k, sums, width)):
            place = k.offset(k.operand(1 + position), written, self.dtype)
            if self._columns:
                k.store_masked(k.convert(result, self.dtype), place, self.dtype, count)
            else:
                k.store_scalar(k.lane(k.convert(result, self.dtype), 0), place, self.dtype)

    def _reduced(self, k: Kernel, runs: list[_Run], read: Index, carry: list[Any], count: Index) -> list[Any]:
        """Return the sums over the axes ``runs`` of the elements from offset ``read`` on, merged into ``carry``."""
        if not runs or (len(runs) == 1 and not self._columns):
            return self._along(k, runs[0].size if runs else 1, read, carry, count)
        run, *inner = runs
        with k.loop(0, run.size, carry=carry) as at:
            place = k.iadd(read, k.imul(at.index, run.read))
            at.carry = self._reduced(k, inner, place, at.carry, count)
        return at.result

    def _along(self, k: Kernel, size: int, read: Index, carry: list[Any], count: Index) -> list[Any]:
        """Merge elements of the last axis into the sums ``carry``.

        If the last axis is kept, this is one vector of ``count`` neighbouring elements, one for each result; otherwise
        all ``size`` elements of the axis, in tiles of vectors.
        """

        def merged(carry: list[Any], vectors: list[Any]) -> list[Any]:
            return self.reduction.merge(k, carry, self.reduction.partial(k, vectors))

        def place(element: Index) -> Any:
            return k.offset(k.operand(0), k.iadd(read, element), self.dtype)

        if self._columns:
            return merged(carry, [k.load_masked(place(0), self.dtype, count)])
        tile = TILE * LANES
        whole, rest = size // tile * tile, size % LANES
        with k.loop(0, whole, tile, carry=carry) as at:
            loads = [k.load(place(k.iadd(at.index, j * LANES)), self.dtype) for j in range(TILE)]
            at.carry = merged(at.carry, loads)
        carry = at.result
        for first in range(whole, size - rest, LANES):
            carry = merged(carry, [k.load(place(first), self.dtype)])
        if rest:
            last = k.load_masked(place(size - rest), self.dtype, rest)
            neutral = k.constant_like(last, self.reduction.neutral)
            carry = merged(carry, [k.select(k.mask(rest), last, neutral)])
        return carry


@dataclass(frozen=True)
class _Run:
    """One or several merged axes of a plain array.

    size     the number of positions
    kept     whether the result has these axes
    read     the stride in x, in elements
    written  the stride in the result, in elements
    """

    size: int
    kept: bool
    read: int
    written: int


__all__ = ["ChannelMerge", "ElementwiseKernel", "FinalizeReduction", "PendingReduction", "PlainReduction"]
