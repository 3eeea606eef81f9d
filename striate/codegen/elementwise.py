"""Kernels that only run a region: elementwise kernels over a whole domain, and the kernel that finishes reductions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from striate.codegen.kernel import LANES, Index, Kernel
from striate.codegen.launch import KernelSpec
from striate.codegen.region import FLAT_CHUNK, Domain, Region, Space
from striate.codegen.region_writer import RegionWriter, samples_of
from striate.dtypes import DType

TILE = 4
"""Vectors that a kernel handles together: enough independent work to hide the latency of loads and additions."""


@dataclass(frozen=True)
class ElementwiseKernel(KernelSpec):
    """Runs a region over its domain.

    for chunk (samples, block): for n: for d: for h: for w in tiles: region
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
    """``body(index, tile)`` for whole tiles, then ``body(index, 1)`` for the rest."""
    whole = k.imul(k.idiv(k.isub(last, first), tile), tile)
    middle = k.iadd(first, whole)
    if not (isinstance(whole, int) and whole == 0):
        with k.loop(first, middle, tile) as at:
            body(at.index, tile)
    if not (isinstance(middle, int) and isinstance(last, int) and middle >= last):
        with k.loop(middle, last) as at:
            body(at.index, 1)


def _columns(k: Kernel, writer: RegionWriter, domain: Domain) -> None:
    """All vectors of a row: tiles, one smaller tile, and in the planar domain the masked rest."""
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
    """A reduction to finish: its partial sums lie as [group][block][partials][16] float64.

    Each result has ``count`` elements per sample if ``batched``, otherwise ``count`` in total.
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
class FinalizeReduction(KernelSpec):
    """Adds the partial sums of reductions in a fixed order, then runs a region on the results.

    Operands: the partial sums of each reduction, then those of the region. A chunk is one vector of channels.
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
class StridedReduction(KernelSpec):
    """A reduction over any axes of a plain array: slow but general, for reductions that cannot be fused.

    Operands: x, then the outputs. A chunk is one sample if the result has the axis N; otherwise there is one chunk.
    """

    reduction: Any
    dtype: DType
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    batched: bool

    def write(self, k: Kernel) -> None:
        sizes: list[Index] = list(self.shape)
        if self.batched:
            sizes[0] = k.n
        kept = [axis for axis in range(len(self.shape)) if axis not in self.axes]
        count: Index = 1
        for axis in self.axes:
            count = k.imul(count, sizes[axis])
        x = k.operand(0)
        total: Index = 1
        strides: list[Index] = []
        for size in reversed(sizes):
            strides.insert(0, total)
            total = k.imul(total, size)

        def outputs(axes: list[int], read: Index, written: Index) -> None:
            if axes:
                axis, *rest = axes
                own = self.batched and axis == 0
                with k.loop(k.chunk if own else 0, k.iadd(k.chunk, 1) if own else sizes[axis]) as at:
                    where = k.iadd(k.imul(written, sizes[axis]), at.index)
                    outputs(rest, k.iadd(read, k.imul(at.index, strides[axis])), where)
                return
            partials = self.reduction.partials(self.dtype)
            neutral = [k.constant(self.reduction.neutral, DType.float64) for _ in range(partials)]
            sums = reduced(list(self.axes), read, neutral)
            number = k.splat(k.convert(k.as_index(count), DType.float64))
            for position, result in enumerate(self.reduction.finish(k, sums, number)):
                scalar = k.lane(k.convert(result, self.dtype), 0)
                k.store_scalar(scalar, k.offset(k.operand(1 + position), written, self.dtype))

        def reduced(axes: list[int], read: Index, carry: list[Any]) -> list[Any]:
            if axes:
                axis, *rest = axes
                with k.loop(0, sizes[axis], carry=carry) as at:
                    at.carry = reduced(rest, k.iadd(read, k.imul(at.index, strides[axis])), at.carry)
                return at.result
            element = k.broadcast(k.offset(x, read, self.dtype), self.dtype)
            parts = self.reduction.partial(k, [element])
            return self.reduction.merge(k, carry, parts)

        outputs(kept, 0, 0)


__all__ = ["ElementwiseKernel", "FinalizeReduction", "PendingReduction", "StridedReduction"]
