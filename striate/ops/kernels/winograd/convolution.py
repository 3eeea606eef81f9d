"""The kernels of Winograd convolution: transform the input tiles, multiply position by position, transform back.

    V = Bᵀ d B;   M[position] = V[position] · U[position];   Y = Aᵀ M A → epilogue

A position is an entry of a transformed tile, d a tile of the input, and U the transformed filters (``WinogradPack``).
``WinogradConvolution`` does all of this for a few tiles at a time, in the cache of one core. If U alone fills that
cache, ``wide.WideWinogradConvolution`` is used instead.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import LANES, Condition, Index, Pointer, Vector
from striate.codegen.launch import KernelSpec
from striate.codegen.microkernel import last_apart, sum_of_products
from striate.codegen.region import Region
from striate.codegen.region_writer import RegionWriter, samples_of
from striate.codegen.storage import BLOCK, Storage, Three
from striate.dtypes import DType
from striate.ops.kernels.winograd.tiles import PADDING, Tiling
from striate.ops.kernels.winograd.transforms import transform_both, transform_by

Line = tuple[int, list[Vector]]
"""(the number of a row within a tile, the vectors of its pixels)."""

SUMMED_APART = 4
"""The number of input blocks that are summed by themselves before this sum is added to the total, against rounding."""

FETCHED_AT_ONCE = 16
"""Pixels that are prefetched at a time, because a core can have about 20 cache lines in flight."""

FINISHED_AT_ONCE = 16
"""Pixels for which the epilogue runs at a time; more would need more registers than there are."""


@dataclass(frozen=True)
class TileConvolution(KernelSpec):
    """Base class of the kernels of Winograd convolution (abstract).

    Tiles are multiplied in batches of ``together``. V, the transformed input, is stored in the order in which the
    products read it: [batch][position][plane][input block][tile][16], where a position is an entry of a transformed
    tile, and 16 are the channels of a block. M, the products, are [batch][position][tile][16]. ``operands`` is the
    dtype of U (the transformed filters) and V, ``source`` the memory layout of the input, ``form`` has the sizes of the
    tiles, ``before`` is the padding before each axis, and ``region`` the fused elementwise work.
    """

    source: Storage
    operands: DType  # of U and V
    before: Three
    form: Tiling
    together: int  # tiles whose products stay in registers: a batch
    region: Region

    @property
    def sums(self) -> DType:
        """The dtype in which products are accumulated."""
        return self.operands.computed

    @property
    def grid(self) -> Three:
        """The number of tiles along each axis of the output."""
        return self.form.grid(self.region.domain.sizes)

    @property
    def batches(self) -> int:
        """The largest number of batches of tiles in one group of samples."""
        return -(-self.region.domain.group * math.prod(self.grid) // self.together)

    @property
    def per_position(self) -> int:
        """The distance in elements between neighbouring positions (entries of a tile) of V, the transformed input."""
        return self.form.planes * self.source.blocks * self.together * BLOCK + PADDING

    @property
    def per_batch(self) -> int:
        """The number of elements of V, the transformed input, for one batch of tiles."""
        return self.form.positions * self.per_position

    @property
    def per_product(self) -> int:
        """The distance in elements between neighbouring positions (entries of a tile) of M, the products."""
        return self.together * LANES + PADDING

    @property
    def per_filter(self) -> int:
        """The distance in elements between neighbouring positions (entries) of U, the transformed filters."""
        return self.form.planes * self.source.channels * LANES + PADDING * (2 if self.operands is DType.bfloat16 else 1)

    @property
    def product_bytes(self) -> int:
        """The size in bytes of M, the products, for one batch of tiles and one block of 16 output channels."""
        return self.form.positions * self.per_product * self.sums.numpy.itemsize

    def filter_of(self, k: Kernel, position: Index) -> Index:
        """Emit the number of the entry of the transformed filter that multiplies entry ``position`` of V.

        V is the transformed input. The two entries have the same number, unless several entries of V share an entry of
        the filter.
        """
        height, width = self.form.axes
        if self.form.positions == self.form.entries:
            return position
        i, j = k.idiv(position, width.points), k.imod(position, width.points)
        return k.iadd(k.imul(k.imin(i, height.filters - 1), width.filters), k.imin(j, width.filters - 1))

    def tiles_of(self, k: Kernel, number: Index) -> tuple[Index, Index]:
        """Emit (first sample, number of tiles) of the group of samples number ``number``."""
        first, last = samples_of(k, self.region.domain, number)
        return first, k.imul(k.isub(last, first), math.prod(self.grid))

    def transform(
        self, k: Kernel, batch: Pointer, first: Index, tile: Index, place: Index, blocks: tuple[Index, Index]
    ) -> None:
        """Emit the transform V = Bᵀ d B of one input tile d, for a range of blocks of input channels.

        ``tile`` is the number of the tile in its group of samples, and ``first`` the first sample of the group.
        ``batch`` is the address of V for the batch that contains the tile, and ``place`` the number of the tile in this
        batch. ``blocks`` is (first, one past the last block).
        """
        dtype, operands = self.source.dtype, self.operands
        points = self.form.width.points
        s = self.source.strides
        corner = corner_of(
            k, self.source, k.operand(0), place_of(k, self.grid, first, tile), self.form.steps, self.before
        )
        target = k.offset(batch, k.imul(place, BLOCK), operands)
        with k.loop(0, self.form.planes) as plane, k.loop(*blocks) as block:
            image = k.offset(corner, k.iadd(k.imul(plane.index, s[2]), k.imul(block.index, s[1])), dtype)
            summed = k.iadd(k.imul(plane.index, self.source.blocks), block.index)
            out = k.offset(target, k.imul(summed, self.together * BLOCK), operands)

            def pixel(i: int, j: int, image: Pointer = image) -> Vector:
                return k.load(k.offset(image, i * s[3] + j * s[4], dtype), dtype, 64)

            for numbers, rows in transform_both(k, self.form.input_transforms(k), pixel):
                for i, row in zip(numbers, rows, strict=True):
                    for j, value in enumerate(row):
                        k.store(value, k.offset(out, (i * points + j) * self.per_position, operands), operands, 64)

    def multiply(self, k: Kernel, v: Pointer, u: Pointer, out: Pointer, lanes: int = LANES) -> None:
        """Emit the products of one position for a batch of tiles: M[tile][16] = Σ_c V[tile][c] · U[c][16].

        A position is an entry of a transformed tile. ``v``, ``u`` and ``out`` are the addresses, at this position, of
        the transformed input V, the transformed filters U, and M. Only the first ``lanes`` output channels are
        computed; M is 0 for the others.
        """
        dtype, operands = self.sums, self.operands
        places = [k.offset(out, t * LANES, dtype) for t in range(self.together)]
        runs, planes = self.form.planes, 1
        if self.source.channels % BLOCK == 0:  # the blocks of neighbouring planes follow each other
            runs, planes = planes, runs
        self._run(k, v, u, places, planes, lanes, more=False)
        with k.loop(1, runs) as plane:
            seen = k.offset(v, k.imul(plane.index, self.source.blocks * self.together * BLOCK), operands)
            filters = k.offset(u, k.imul(plane.index, self.source.channels * LANES), operands)
            self._run(k, seen, filters, places, planes, lanes, more=True)

    def _run(
        self, k: Kernel, v: Pointer, u: Pointer, places: Sequence[Pointer], planes: int, lanes: int, more: bool
    ) -> None:
        """Emit the sums over the channels of ``planes`` planes; ``more`` adds them to what is stored at ``places``."""
        dtype, operands = self.sums, self.operands
        sums = [k.constant(0, dtype, lanes) for _ in range(self.together)]
        whole, rest = divmod(planes * self.source.channels, BLOCK)
        tiles = range(0, self.together * BLOCK, BLOCK)

        def add(found: list[Vector]) -> None:
            for place, value in zip(places, found, strict=True):
                k.store(k.add(k.load(place, dtype, 64, lanes), value), place, dtype, 64)

        def blocks(first: Index, last: Index) -> list[Vector]:
            with k.loop(first, last, carry=sums) as at:
                some = k.offset(v, k.imul(at.index, self.together * BLOCK), operands)
                moved = k.offset(u, k.imul(at.index, BLOCK * LANES), operands)
                at.carry = sum_of_products(k, operands, at.carry, moved, some, tiles, BLOCK)
            return at.result

        head = whole % SUMMED_APART or min(whole, SUMMED_APART)
        found = blocks(0, head) if head else sums
        if rest:
            last = k.offset(v, whole * self.together * BLOCK, operands)
            found = sum_of_products(k, operands, found, k.offset(u, whole * BLOCK * LANES, operands), last, tiles, rest)
        if more:
            add(found)
        else:
            for place, value in zip(places, found, strict=True):
                k.store(k.filled(value), place, dtype, 64)
        if whole > head:
            with k.loop(head, whole, SUMMED_APART) as some:
                add(blocks(some.index, k.iadd(some.index, SUMMED_APART)))

    def finish(
        self, k: Kernel, writer: RegionWriter, block: Index, first: Index, tile: Index, products: Pointer
    ) -> None:
        """Emit the output Y = Aᵀ M A of one tile from its products M, and the fused elementwise work on its pixels.

        ``tile`` is the number of the tile in its group of samples, and ``first`` the first sample of the group.
        ``products`` is the address of M, ``block`` the number of the block of 16 output channels, and ``writer`` writes
        the elementwise work.
        """
        dtype, (tall, broad) = self.sums, self.form.axes
        sample, depth, row, column = place_of(k, self.grid, first, tile)
        step = self.per_product

        def product(i: int, j: int) -> Vector:
            return k.load(k.offset(products, (i * broad.points + j) * step, dtype), dtype, 64)

        writer.begin_block(sample, block)
        writer.row(depth, k.imul(row, tall.tile))
        _, rows, columns = self.grid
        _, height, width = self.region.domain.sizes
        transforms = transform_by(k, tall.transforms.output), transform_by(k, broad.transforms.output)
        for numbers, lines in transform_both(k, transforms, product):
            for some in _few(zip(numbers, lines, strict=True), max(1, FINISHED_AT_ONCE // broad.tile)):
                for inner_row, heights in _edges(k, row, rows, height, tall.tile):
                    for inner_column, widths in _edges(k, column, columns, width, broad.tile):
                        places = [(i, j) for i, _ in some if i < heights for j in range(widths)]
                        if places:
                            with k.when(k.both(inner_row, inner_column)):
                                values = [[pixels[j]] for i, pixels in some if i < heights for j in range(widths)]
                                writer.tile(k.imul(column, broad.tile), places, values)

    def fetch_finish(
        self, k: Kernel, writer: RegionWriter, block: Index, first: Index, tiles: tuple[Index, Index], number: Index
    ) -> None:
        """Emit prefetches of a share of the memory that the epilogue of a batch of tiles will read and write.

        The epilogue, which ``writer`` writes, is the fused elementwise work. The method is called before the products
        of each position (entry of a tile), so that the share arrives while the core multiplies. ``number`` is the
        number of the position; it selects the share. ``tiles`` is (first tile of the batch, one past the last tile),
        ``first`` is the first sample of the group, and ``block`` the number of the block of 16 output channels.
        """
        height, width = (form.tile for form in self.form.axes)
        rounds = max(1, self.form.positions // self.together)
        rows = -(-height // min(height, rounds))
        tile = k.iadd(tiles[0], k.imod(number, self.together))
        line = k.imul(k.idiv(number, self.together), rows)
        with k.when(k.both(k.compare(tile, "<", tiles[1]), k.compare(line, "<", height))):
            sample, depth, row, column = place_of(k, self.grid, first, tile)
            writer.fetch(sample, block, (depth, k.iadd(k.imul(row, height), line), k.imul(column, width)), rows, width)

    def close(self, k: Kernel, writer: RegionWriter, number: Index, block: Index) -> None:
        """Emit the end of the fused elementwise work for each sample of a group and one block of 16 output channels.

        ``number`` is the number of the group of samples, and ``block`` that of the block. ``writer`` writes this end:
        it fills the halos (borders of zeros) of the arrays that the elementwise work stores.
        """
        first, last = samples_of(k, self.region.domain, number)
        with k.loop(first, last) as sample:
            writer.begin_block(sample.index, block)
            writer.end_block()


@dataclass(frozen=True)
class WinogradConvolution(TileConvolution):
    """The kernel of Winograd convolution for filters that fit into the cache of a core.

        for batch of tiles: V = Bᵀ d B;  for output block: for position: M = V · U;  then Y = Aᵀ M A

    d are the input tiles, U the transformed filters and Y the output tiles; a position is an entry of a transformed
    tile. A chunk, the unit of work of a thread, is one group of samples and one of ``shares`` parts of the output
    blocks (16 channels each). V and M of one batch are in the thread's scratch memory. Operands: x, the packed filters
    U, then those of ``region``, the fused elementwise work.
    """

    shares: int
    last_lanes: int = LANES  # of the vectors of products for the last output block

    @property
    def chunks(self) -> tuple[int, int]:
        """The number of chunks as a pair (per, group).

        A chunk is the unit of work of a thread. There are ``per`` chunks in all if group is 0, else ``per`` for every
        ``group`` samples, and as many for an incomplete last group.
        """
        per, group = self.region.domain.groups
        return per * self.shares, group

    @property
    def scratch_bytes(self) -> int:
        """The number of bytes of scratch memory for each thread."""
        return self.per_batch * self.operands.numpy.itemsize + self.product_bytes

    def write(self, k: Kernel) -> None:
        domain = self.region.domain
        number, share = k.idiv(k.chunk, self.shares), k.imod(k.chunk, self.shares)
        blocks = -(-domain.blocks // self.shares)
        start = k.imul(share, blocks)
        stop = k.imin(k.iadd(start, blocks), domain.blocks)
        first, tiles = self.tiles_of(k, number)
        products = k.offset(k.scratch, self.per_batch, self.operands)
        writer = RegionWriter(k, self.region, 2)

        def batch(first_tile: Index) -> None:
            last_tile = k.imin(k.iadd(first_tile, self.together), tiles)
            with k.loop(first_tile, last_tile) as tile:
                place = k.isub(tile.index, first_tile)
                self.transform(k, k.scratch, first, tile.index, place, (0, self.source.blocks))
            with k.loop(start, stop) as block:
                self._multiply(k, writer, block.index, products, first, (first_tile, last_tile))
                index = k.iadd(k.imul(number, domain.blocks), block.index)
                writer.begin_chunk()
                if self.batches > 1:
                    with k.when(k.compare(first_tile, ">", 0)):
                        writer.resume_chunk(index)
                with k.loop(first_tile, last_tile) as tile:
                    place = k.imul(k.isub(tile.index, first_tile), LANES)
                    self.finish(k, writer, block.index, first, tile.index, k.offset(products, place, self.sums))
                writer.end_chunk(index)

        if self.batches > 1:
            with k.loop(0, tiles, self.together) as at:
                batch(at.index)
        else:
            batch(0)
        with k.loop(start, stop) as block:
            self.close(k, writer, number, block.index)

    def _multiply(
        self, k: Kernel, writer: RegionWriter, block: Index, products: Pointer, first: Index, tiles: tuple[Index, Index]
    ) -> None:
        """Emit the products of one batch of tiles for one block of output channels, with prefetches in between.

        M[position][tile][16] = Σ_c V[position][tile][c] · U[position][c][16], stored at ``products``.
        """
        positions = self.form.positions
        filters = k.offset(k.operand(1), k.imul(block, self.form.entries * self.per_filter), self.operands)
        with k.loop(0, positions) as position:
            self._fetch(k, first, tiles[1], k.iadd(k.imul(block, positions), position.index))
            self.fetch_finish(k, writer, block, first, tiles, position.index)
            v = k.offset(k.scratch, k.imul(position.index, self.per_position), self.operands)
            u = k.offset(filters, k.imul(self.filter_of(k, position.index), self.per_filter), self.operands)
            out = k.offset(products, k.imul(position.index, self.per_product), self.sums)
            for lanes, chosen in last_apart(k, block, self.region.domain.blocks, self.last_lanes):
                with k.when(chosen):
                    self.multiply(k, v, u, out, lanes)

    def _fetch(self, k: Kernel, first: Index, next_tile: Index, number: Index) -> None:
        """Emit prefetches of some pixels of the tiles that are transformed next, while the core computes products.

        ``number`` counts the products since the beginning of the batch, and selects the tile, the rows and the block.
        """
        s, dtype = self.source.strides, self.source.dtype
        tall, broad = (form.step for form in self.form.axes)
        rows = max(1, min(tall, FETCHED_AT_ONCE // broad))
        parts = tall // rows
        place, number = k.imod(number, self.together), k.idiv(number, self.together)
        part, block = k.imod(number, parts), k.idiv(number, parts)
        sample, depth, row, column = place_of(k, self.grid, first, k.iadd(next_tile, place))
        newest = self.form.planes - 1 - self.before[0]  # the tiles before have read the other planes
        where = k.iadd(
            self.source.origin, k.imul(sample, s[0]), k.imul(block, s[1]), k.imul(k.iadd(depth, newest), s[2]),
            k.imul(k.iadd(k.imul(row, tall), k.imul(part, rows)), s[3]), k.imul(column, broad * s[4]),
        )  # fmt: skip
        exists = k.compare(sample, "<", self.region.domain.samples or k.n)
        with k.when(k.both(k.compare(block, "<", self.source.blocks), exists)):
            for i in range(rows):
                for j in range(0, broad, lines_apart(dtype)):
                    k.prefetch(k.offset(k.operand(0), k.iadd(where, i * s[3] + j * s[4]), dtype))


def place_of(k: Kernel, grid: Three, first: Index, tile: Index) -> tuple[Index, Index, Index, Index]:
    """Emit (sample, plane, row, column) of tile number ``tile``, in a grid of tiles over the samples from ``first`` on.

    Rows and columns count in tiles.
    """
    _, rows, columns = grid
    sample, inside = k.idiv(tile, math.prod(grid)), k.imod(tile, math.prod(grid))
    plane, line = k.idiv(inside, rows * columns), k.imod(inside, rows * columns)
    return k.iadd(first, sample), plane, k.idiv(line, columns), k.imod(line, columns)


def corner_of(
    k: Kernel, storage: Storage, array: Pointer, place: tuple[Index, Index, Index, Index], steps: tuple[int, int],
    before: Three = (0, 0, 0),
) -> Pointer:  # fmt: skip
    """Emit the address of the first pixel of a tile in the first block of channels.

    ``place`` is (sample, plane, row, column) of the tile, ``steps`` the distance between tiles along the height and the
    width in pixels, and ``before`` the padding before the array along each axis.
    """
    s = storage.strides
    sample, plane, row, column = place
    where = k.iadd(
        storage.origin, k.imul(sample, s[0]), k.imul(plane, s[2]), k.imul(row, steps[0] * s[3]),
        k.imul(column, steps[1] * s[4]), -sum(b * stride for b, stride in zip(before, s[2:], strict=True)),
    )  # fmt: skip
    return k.offset(array, where, storage.dtype)


def _few(lines: Iterator[Line], count: int) -> Iterator[list[Line]]:
    """Yield the lines in lists of ``count``; the last list may be shorter."""
    while some := list(itertools.islice(lines, count)):
        yield some


def _edges(k: Kernel, index: Index, count: int, size: int, tile: int) -> list[tuple[Condition | bool, int]]:
    """Return (condition, pixels) for the tiles along an axis: one entry for whole tiles, one for a partial last tile.

    The condition holds at run time if tile ``index`` of ``count`` is of this kind; ``pixels`` is its size.
    """
    rest = size - (count - 1) * tile
    if rest == tile:
        return [(True, tile)]
    if count == 1:
        return [(True, rest)]
    return [(k.compare(index, "<", count - 1), tile), (k.compare(index, "==", count - 1), rest)]


def lines_apart(dtype: DType) -> int:
    """Return how many pixels of the dtype, each with a block of 16 channels, fill one cache line of 64 bytes.

    The result is at least 1.
    """
    return max(1, 64 // (BLOCK * dtype.numpy.itemsize))
