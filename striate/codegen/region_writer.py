"""Writes the code of a region (fused elementwise work, see ``region.py``) into a kernel.

A *tile* is a small group of vectors that are processed together; a *block* is a block of 16 channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from striate.codegen import ir
from striate.codegen.kernel import Kernel
from striate.codegen.lanes import LANES, Index, vector_type
from striate.codegen.region import (
    LINE,
    Accumulate,
    AnchorResult,
    Apply,
    Domain,
    ElementCount,
    Instruction,
    Load,
    Number,
    Region,
    Space,
    Store,
)
from striate.codegen.storage import NO_HALO
from striate.dtypes import DType


@dataclass
class Place:
    """The position of a vector in the iteration space, for operations whose result depends on it, such as dropout.

    ``n`` is the sample, ``channel`` the channel of the first lane, and ``pixel`` the row-major index of the first
    lane's pixel in the sample. ``domain`` is the iteration space, and ``dtype`` is the dtype of the result.
    """

    n: Index
    channel: Index
    pixel: Index
    domain: Domain
    dtype: DType


def sample_major(region: Region) -> Region:
    """Return ``region`` with its strides changed so that the loop over lines becomes a loop over samples.

    Every image must have only one pixel. Vectors of several samples are then processed together.
    """

    def turn(item: Any) -> Any:
        if isinstance(item, Load | Store):
            n, block, *_ = item.strides
            return replace(item, strides=(0, block, 0, n, 0))
        return item

    return replace(
        region,
        instructions=tuple(turn(item) for item in region.instructions),
        stores=tuple(turn(item) for item in region.stores),
    )


class Rows(Enum):
    """The axis along which the rows of a tile (vectors that are processed together) follow one another.

    The rows are usually lines of pixels. In a matrix product, they can also be channels or samples.
    """

    HEIGHT = "height"
    CHANNELS = "channels"
    SAMPLES = "samples"


def along(region: Region, rows: Rows) -> Region:
    """Return ``region`` with its strides changed so that the loop over lines becomes a loop over the axis ``rows``.

    The region is fused elementwise work in the space PLANAR. Every image must have only one line. ``rows`` is CHANNELS
    or SAMPLES.
    """

    def turn(item: Any) -> Any:
        if isinstance(item, Load | Store):
            n, c, d, _, w = item.strides
            return replace(item, strides=(n, 0, d, c, w) if rows is Rows.CHANNELS else (0, c, d, n, w))
        return item

    return replace(
        region,
        instructions=tuple(turn(item) for item in region.instructions),
        stores=tuple(turn(item) for item in region.stores),
    )


class RegionWriter:
    """Writes a region (fused elementwise work) into a kernel.

    Each method writes code, and its docstring says what this code does when the kernel runs. For a chunk (part) of the
    work, call the methods in this order:

        begin_chunk
            begin_block         for each sample and each block of channels
                row             for each line of pixels
                    tile        for each tile (group of vectors) of the line
            end_block
        end_chunk

    Operand i of the region is operand ``first_operand`` + i of the kernel ``k``. ``rows`` is the axis along which the
    rows of a tile follow one another.
    """

    def __init__(self, k: Kernel, region: Region, first_operand: int, rows: Rows = Rows.HEIGHT) -> None:
        self.k = k
        self.rows = rows
        self.region = sample_major(region) if region.domain.sample_major else region
        if rows is not Rows.HEIGHT:
            self.region = along(region, rows)
        self._around = [store for store in region.stores if store.halo != NO_HALO]  # with the original strides
        self.first = first_operand
        self.sums: dict[int, list[Any]] = {}
        self._fixed: dict[int, Any] = {}
        self._rows: dict[int, Any] = {}
        self._bases: dict[int, Any] = {}

    # -- the walk -----------------------------------------------------------------------------------------------

    def begin_chunk(self) -> None:
        """Allocate the running sums, and set the sums over all samples of the chunk (part of the work) to 0."""
        for number, item in enumerate(self.region.accumulations):
            self.sums[number] = [self.k.local(vector_type(DType.float64)) for _ in range(item.partials)]
            if not item.per_sample:
                self._clear(number)

    def resume_chunk(self, index: Index) -> None:
        """Continue the running sums of a chunk (part of the work) from the sums that ``end_chunk(index)`` stored.

        Call it after ``begin_chunk``. Sums of single samples are not affected.
        """
        k = self.k
        for number, item in enumerate(self.region.accumulations):
            if not item.per_sample:
                for slot, place in zip(self.sums[number], self._partials(item, index), strict=True):
                    k.builder.store(k.load(place, DType.float64, 64), slot, align=64)

    def begin_block(self, n: Index, block: Index) -> None:
        """Begin with channel block ``block`` of sample ``n``: load the values that are the same in the whole block."""
        self.n, self.block = n, block
        for number, item in enumerate(self.region.accumulations):
            if item.per_sample:
                self._clear(number)
        self._fixed.clear()
        self._bases = {id(item): self._pointer(item) for item in (*self._loads(), *self.region.stores)}
        for number, item in enumerate(self.region.instructions):
            if isinstance(item, Load) and not any(item.strides[2:]):
                self._fixed[number] = self._read(item, self._bases[id(item)], LANES)
            elif isinstance(item, Number):
                self._fixed[number] = self.k.constant(item.number, item.dtype)
            elif isinstance(item, ElementCount):
                self._fixed[number] = self._element_count(item)
            elif isinstance(item, Apply) and not item.dtype and all(a in self._fixed for a in item.arguments):
                self._fixed[number] = item.op.emit(self.k, *(self._fixed[a] for a in item.arguments))

    def fetch(self, n: Index, block: Index, place: tuple[Index, Index, Index], rows: int, columns: int) -> None:
        """Prefetch the operands of ``rows`` × ``columns`` pixels of sample ``n`` and channel block ``block``.

        ``place`` is (plane, line, column) of the first pixel. The destinations of stores are prefetched too, unless the
        stores bypass the caches.
        """
        k = self.k
        self.n, self.block = n, block
        for item in (*self._loads(), *self.region.stores):
            if not item.strides[4] or (isinstance(item, Store) and item.streams):
                continue
            apart = max(1, LINE // (LANES * item.dtype.numpy.itemsize))  # pixels per cache line
            where = k.iadd(*(k.imul(at, stride) for at, stride in zip(place, item.strides[2:], strict=True)))
            pixel = k.offset(self._pointer(item), where, item.dtype)
            for row in range(rows):
                for column in range(0, columns, apart):
                    address = k.offset(pixel, row * item.strides[3] + column * item.strides[4], item.dtype)
                    k.prefetch(address, write=isinstance(item, Store))

    def row(self, d: Index, h: Index) -> None:
        """Begin with line ``h`` of plane ``d``: compute the address of the line's first pixel in every operand."""
        k = self.k
        self.d, self.h = d, h
        self._rows = {}
        for item in (*self._loads(), *self.region.stores):
            where = k.iadd(k.imul(d, item.strides[2]), k.imul(h, item.strides[3]))
            self._rows[id(item)] = k.offset(self._bases[id(item)], where, item.dtype)

    def tile(
        self, w: Index, places: Sequence[tuple[int, int]], anchors: Sequence[Sequence[Any]], count: Index = LANES
    ) -> None:
        """Run the region (fused elementwise work) on the vectors of one tile.

        ``places`` has the position of each vector as (row, column), relative to the current line and column ``w``.
        ``anchors[i]`` are the outputs, at position i, of the operation into whose loop the region is fused. ``anchors``
        is empty if the region has a loop of its own. In planar and flat iteration spaces, only the first ``count``
        lanes of each vector exist.
        """
        k, region = self.k, self.region
        results: list[list[Any]] = []
        for index, (row, column) in enumerate(places):
            values: list[Any] = []
            for number, item in enumerate(region.instructions):
                values.append(
                    self._value(number, item, values, w, row, column, anchors[index] if anchors else (), count)
                )
            results.append(values)
        for item in region.stores:
            for (row, column), values in zip(places, results, strict=True):
                pointer = self._at(item, w, row, column)
                limit = count
                if item.exact and region.domain.space is Space.BLOCKED:
                    limit = k.imin(LANES, k.isub(region.domain.channels, k.imul(self.block, LANES)))
                if item.lane_stride != 1:
                    k.store_strided(values[item.value], pointer, item.dtype, item.lane_stride, limit)
                elif isinstance(limit, int) and limit == LANES:
                    aligned = 64 if region.domain.space is Space.BLOCKED and not item.exact else 0
                    if aligned and item.streams:
                        k.stream(values[item.value], pointer, item.dtype)
                    else:
                        k.store(values[item.value], pointer, item.dtype, aligned)
                else:
                    k.store_masked(values[item.value], pointer, item.dtype, limit)
        if region.domain.sample_major:
            self._zero_turned(len(places))
        for number, item in enumerate(region.accumulations):
            vectors = [self._counted(item, values[item.value], count) for values in results]
            self._merge(item, self.sums[number], item.reduction.partial(k, vectors))

    def value_at(self, number: int, d: Index, h: Index, w: Index, ahead: int) -> Any:
        """Run the region (fused elementwise work) at pixel (d, h, w), and return the value of instruction ``number``.

        A kernel calls this method to compute an element of its input instead of loading it from memory. The operands at
        the pixel ``ahead`` lines below are prefetched; 0 means no prefetching.
        """
        self.row(d, h)
        for item in self._loads():
            if item.strides[3] and ahead:
                self.k.prefetch(self.k.offset(self._at(item, w, 0, 0), ahead * item.strides[3], item.dtype))
        values: list[Any] = []
        for index, item in enumerate(self.region.instructions[: number + 1]):
            values.append(self._value(index, item, values, w, 0, 0, (), LANES))
        return values[number]

    def end_block(self) -> None:
        """End a block of channels of a sample: write its sums, and the zeros around its planes."""
        k = self.k
        for number, item in enumerate(self.region.accumulations):
            if item.per_sample:
                self._flush(number, k.iadd(k.imul(self.n, self.region.domain.blocks), self.block))
        if not self.region.domain.sample_major:
            for item in self._around:
                zero_halo(k, self._bases[id(item)], item, self.region.domain.sizes)

    def end_rows(self, first: Index, last: Index) -> None:
        """Write zeros around the planes of channels ``first`` to ``last`` − 1.

        Call it instead of ``end_block`` if the rows of the tiles are channels (``Rows.CHANNELS``).
        """
        k = self.k
        stores = [store for store in self.region.stores if store.halo != NO_HALO]
        for item, original in zip(stores, self._around, strict=True):
            with k.loop(first, last) as channel:
                plane = k.offset(self._bases[id(item)], k.imul(channel.index, original.strides[1]), item.dtype)
                zero_halo(k, plane, original, self.region.domain.sizes)

    def _zero_turned(self, samples: int) -> None:
        """Write zeros around the planes if the rows of a tile are samples, each with a plane of its own."""
        k = self.k
        stores = [store for store in self.region.stores if store.halo != NO_HALO]
        for item, original in zip(stores, self._around, strict=True):
            with k.loop(0, samples) as sample:
                pixel = k.offset(self._rows[id(item)], k.imul(sample.index, original.strides[0]), item.dtype)
                zero_halo(k, pixel, original, self.region.domain.sizes)

    def end_chunk(self, index: Index) -> None:
        """Write the running sums of the chunk (part of the work) to memory, as partial sums number ``index``."""
        for number, item in enumerate(self.region.accumulations):
            if not item.per_sample:
                self._flush(number, index)

    # -- parts --------------------------------------------------------------------------------------------------

    def _loads(self) -> list[Load]:
        return [item for item in self.region.instructions if isinstance(item, Load)]

    def _pointer(self, item: Load | Store) -> Any:
        k = self.k
        channel = k.imul(self.block, item.strides[1])
        if isinstance(item, Load) and item.split:
            inside = k.imod(self.block, LANES)
            channel = k.iadd(k.imul(k.idiv(self.block, LANES), item.strides[1]), inside)
        where = k.iadd(k.imul(self.n, item.strides[0]), channel, item.origin)
        return k.offset(k.operand(self.first + item.operand), where, item.dtype)

    def _at(self, item: Load | Store, w: Index, row: int, column: int) -> Any:
        k = self.k
        step = item.strides[4] * (1 if self.region.domain.space is Space.BLOCKED else LANES)
        pointer = k.offset(self._rows[id(item)], k.imul(w, step), item.dtype)
        return k.offset(pointer, row * item.strides[3] + column * step, item.dtype)

    def _read(self, item: Load, pointer: Any, count: Index) -> Any:
        k = self.k
        if not item.lanes:
            return k.broadcast(pointer, item.dtype)
        if item.lane_stride != 1:
            existing = count
            if item.limit and item.limit % LANES:
                existing = k.imin(LANES, k.isub(item.limit, k.imul(self.block, LANES)))
            return k.load_strided(pointer, item.dtype, item.lane_stride, existing)
        if item.limit and item.limit % LANES:
            return k.load_masked(pointer, item.dtype, k.imin(LANES, k.isub(item.limit, k.imul(self.block, LANES))))
        return k.load_masked(pointer, item.dtype, count)

    def _value(
        self, number: int, item: Instruction, values: list[Any], w: Index, row: int, column: int,
        anchors: Sequence[Any], count: Index,
    ) -> Any:  # fmt: skip
        if number in self._fixed:
            return self._fixed[number]
        if isinstance(item, AnchorResult):
            return anchors[item.output]
        if isinstance(item, Load):
            return self._read(item, self._at(item, w, row, column), count)
        assert isinstance(item, Apply)
        arguments = [values[argument] for argument in item.arguments]
        if item.dtype:
            return item.op.emit_at(self.k, self._place(w, row, column, item.dtype), *arguments)
        return item.op.emit(self.k, *arguments)

    def _place(self, w: Index, row: int, column: int, dtype: DType) -> Place:
        k, domain = self.k, self.region.domain
        _, height, width = domain.sizes
        step = 1 if domain.space is Space.BLOCKED else LANES
        if domain.sample_major:
            return Place(k.iadd(self.h, row), k.imul(self.block, LANES), 0, domain, dtype)
        if self.rows is not Rows.HEIGHT:
            pixel = k.imul(k.iadd(w, column), LANES)
            if self.rows is Rows.CHANNELS:
                return Place(self.n, k.iadd(self.h, row), pixel, domain, dtype)
            return Place(k.iadd(self.h, row), self.block, pixel, domain, dtype)
        line = k.iadd(k.imul(self.d, height), self.h, row)
        pixel = k.iadd(k.imul(line, width), k.imul(k.iadd(w, column), step))
        channel = k.imul(self.block, LANES) if domain.space is Space.BLOCKED else self.block
        return Place(self.n, channel, pixel, domain, dtype)

    def _element_count(self, item: ElementCount) -> Any:
        k = self.k
        total = k.as_index(k.imul(k.n, item.per_sample) if item.batched else item.per_sample)
        return k.splat(k.convert(total, item.dtype))

    def _counted(self, item: Accumulate, vector: Any, count: Index) -> Any:
        """Return the vector with the reduction's neutral element (0 for a sum) in the padding lanes."""
        k, domain = self.k, self.region.domain
        if domain.space is Space.BLOCKED:
            if not item.everything or domain.channels % LANES == 0:
                return vector
            count = k.isub(domain.channels, k.imul(self.block, LANES))
        if isinstance(count, int) and count >= LANES:
            return vector
        return k.select(k.mask(count), vector, k.constant_like(vector, item.reduction.neutral))

    def _clear(self, number: int) -> None:
        item = self.region.accumulations[number]
        for slot in self.sums[number]:
            self.k.builder.store(self.k.constant(item.reduction.neutral, DType.float64), slot, align=64)

    def _merge(self, item: Accumulate, slots: Sequence[Any], increments: Sequence[Any]) -> None:
        k = self.k
        before = [k.builder.load(slot, vector_type(DType.float64), align=64) for slot in slots]
        for slot, merged in zip(slots, item.reduction.merge(k, before, increments), strict=True):
            k.builder.store(merged, slot, align=64)

    def _flush(self, number: int, index: Index) -> None:
        k, item = self.k, self.region.accumulations[number]
        for slot, place in zip(self.sums[number], self._partials(item, index), strict=True):
            k.store(k.builder.load(slot, vector_type(DType.float64), align=64), place, DType.float64, 64)

    def _partials(self, item: Accumulate, index: Index) -> list[Any]:
        """Return the addresses of the vectors of partial sums number ``index``."""
        k, count = self.k, item.partials
        base = k.offset(k.operand(self.first + item.operand), k.imul(index, count * LANES), DType.float64)
        return [k.offset(base, position * LANES, DType.float64) for position in range(count)]


def zero_halo(k: Kernel, pixel_zero: Any, store: Store, sizes: tuple[int, int, int]) -> None:
    """Append code to a kernel that writes zeros around one plane, or a stack of planes.

    ``pixel_zero`` is the address of pixel (0, 0, 0). ``store`` has the widths of the halo (the border to be zeroed) and
    the strides; ``sizes`` are depth, height and width without the halo.
    """
    depth, height, width = sizes
    (d0, d1), (h0, h1), (w0, w1) = store.halo
    d, h, w = store.strides[2:]
    row = width + w0 + w1

    def run(first: Index, pixels: int) -> None:
        """Write zeros to ``pixels`` consecutive pixels, from offset ``first`` on."""
        if pixels * w % LANES == 0:
            with k.loop(0, pixels * w, LANES) as at:
                where = k.iadd(first, at.index)
                k.store(k.constant(0, store.dtype), k.offset(pixel_zero, where, store.dtype), store.dtype)
        else:
            with k.loop(0, pixels * w) as at:
                zero = ir.IntType(8 * store.dtype.numpy.itemsize)(0)
                k.store_scalar(zero, k.offset(pixel_zero, k.iadd(first, at.index), store.dtype))

    whole = (height + h0 + h1) * row
    if d0:
        run(-d0 * d - h0 * h - w0 * w, d0 * whole)
    if d1:
        run(depth * d - h0 * h - w0 * w, d1 * whole)
    with k.loop(0, depth) as plane:
        base = k.imul(plane.index, d)
        if h0:
            run(k.iadd(base, -h0 * h - w0 * w), h0 * row)
        if h1:
            run(k.iadd(base, height * h - w0 * w), h1 * row)
        if w0 or w1:
            with k.loop(0, height) as line:
                start = k.iadd(base, k.imul(line.index, h))
                if w0:
                    run(k.iadd(start, -w0 * w), w0)
                if w1:
                    run(k.iadd(start, width * w), w1)


def samples_of(k: Kernel, domain: Domain, group: Index) -> tuple[Index, Index]:
    """Return the samples of group number ``group`` as (first sample, one past the last sample).

    The samples of the iteration space ``domain`` are divided into groups of ``domain.group`` samples.
    """
    total: Index = domain.samples or k.n
    if domain.samples == 1:
        return 0, 1
    first = k.imul(group, domain.group)
    if domain.group == 1:
        return first, k.iadd(first, 1)
    return first, k.imin(k.iadd(first, domain.group), total)
