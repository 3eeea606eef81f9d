"""The kernels of the weight gradient of a convolution by Winograd's minimal filtering.

    dW[o, c] = Aᵀ [ Σ_tiles (G dy Gᵀ)[o] ⊙ (Bᵀ x B)[c] ] A

Compared with the forward pass, the taps take the place of the outputs, and tiles of dy take the place of the filters:
3×3 taps are computed by F(3×3, 4×4). The sum over tiles is computed in transformed form, as one matrix product for each
position (entry of a transformed tile), and is transformed back once at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import LANES, Condition, Index, Pointer, Vector
from striate.codegen.launch import KernelSpec
from striate.codegen.microkernel import last_apart, sum_of_outer_products
from striate.codegen.storage import BLOCK, Storage, Three
from striate.dtypes import DType
from striate.ops.kernels.direct_gradient import evenly
from striate.ops.kernels.winograd.convolution import corner_of, lines_apart, place_of
from striate.ops.kernels.winograd.tiles import PADDING, Form, Tiling
from striate.ops.kernels.winograd.transforms import Transform, apply, transform_both, transform_by

TILES_PER_SHARE = 16
"""The least number of tiles for which a share pays: clearing, writing and reading its sums takes as long as the
products of some 8 tiles."""

Rows = Iterator[tuple[tuple[int, ...], Iterator[list[Vector]]]]


@dataclass(frozen=True)
class WinogradWeightGradient(KernelSpec):
    """The kernel of the weight gradient of a convolution by Winograd's minimal filtering.

        for tiles in batches: V = Bᵀ x B, W = G dy Gᵀ;  for position, output block, input block: M += Wᵀ V

    A position is an entry of a transformed tile. A chunk, the unit of work of a thread, is one share of the tiles, one
    range of ``outs`` output blocks and one range of ``intos`` input blocks (16 channels each). If there are few tiles,
    they make fewer shares than ``shares``, and the chunks of the missing shares do nothing. Each plane of the filter
    has input blocks of its own, so there are ``planes`` · ``source.blocks`` input blocks. ``source`` and ``arriving``
    are the memory layouts of x and dy, and ``before`` is the padding before each axis of x. A batch has ``together``
    tiles. The sums of ``accumulators`` input channels are in registers at a time. ``form`` has the sizes of the tiles,
    and ``operands`` is the dtype of V and W. ``samples`` is 0 if it is the run-time N.

    V and W are in the thread's scratch memory as [position][block][tile][16], in bfloat16 as […][pair of tiles][16][2].
    M is [position][16 input channels][16 output channels] for each output block and input block. If there are several
    shares, M is an operand [share][output block][input block]…, which ``WinogradUnpack`` adds up. If there is only one
    share, M is in scratch memory, and this kernel transforms it back. Operands: x, dy, and M or dW.
    """

    source: Storage
    arriving: Storage
    operands: DType  # of V and W
    before: Three
    shares: int
    outs: int  # output blocks of one range
    intos: int  # input blocks of one range
    together: int  # tiles of one batch
    accumulators: int  # input channels whose sums stay in registers
    form: Tiling
    samples: int  # 0: the run-time N
    last_lanes: int = LANES  # of the vectors of products for the last output block
    last_accumulators: int = 0  # the same as ``accumulators``, for that block

    @property
    def points(self) -> int:
        """The number of products of one tile: one for each position (entry of a transformed tile)."""
        return self.form.positions

    @property
    def input_blocks(self) -> int:
        """The number of blocks of input channels over all planes of the filter."""
        return self.form.planes * self.source.blocks

    @property
    def ranges(self) -> tuple[int, int]:
        """The pair (number of ranges of output blocks, number of ranges of input blocks); a block is 16 channels.

        A chunk, the unit of work of a thread, computes one range of each.
        """
        return -(-self.arriving.blocks // self.outs), -(-self.input_blocks // self.intos)

    @property
    def chunks(self) -> int:
        """The number of chunks, the units of work of a thread.

        There is one for each share of the tiles, range of output blocks and range of input blocks; a block is 16
        channels.
        """
        outs, intos = self.ranges
        return self.shares * outs * intos

    @property
    def per_v(self) -> int:
        """The distance in elements between neighbouring positions of V, the transformed tiles of x.

        A position is an entry of a transformed tile.
        """
        return self.intos * self.together * BLOCK + PADDING * self.paired

    @property
    def per_w(self) -> int:
        """The distance in elements between neighbouring positions of W, the transformed tiles of dy.

        A position is an entry of a transformed tile.
        """
        return self.outs * self.together * BLOCK + PADDING * self.paired

    @property
    def scratch_bytes(self) -> int:
        """The number of bytes of scratch memory for each thread."""
        sums = self.outs * self.intos * self.per_pair if self.finishes else 0
        transformed = self.points * (self.per_v + self.per_w) * self.operands.numpy.itemsize
        return transformed + sums * self.sums.numpy.itemsize

    @property
    def sums(self) -> DType:
        """The dtype in which products are accumulated."""
        return self.operands.computed

    @property
    def paired(self) -> int:
        """The number of tiles that are interleaved: 2 in bfloat16, else 1."""
        return 2 if self.operands is DType.bfloat16 else 1

    @property
    def finishes(self) -> bool:
        """Whether the kernel sums over all tiles and computes dW, because the tiles are not divided into shares."""
        return self.shares == 1

    @property
    def per_pair(self) -> int:
        """The number of elements of M, the sums of products, for 16 output channels and 16 input channels."""
        return self.form.entries * BLOCK * LANES

    @property
    def grid(self) -> Three:
        """The number of tiles along each axis of dy."""
        return self.form.grid(self.arriving.sizes)

    def division(self, k: Kernel) -> tuple[Index, Index]:
        """Emit (number of tiles of all samples, number of shares that have tiles), which depend only on N.

        The second number is at least 1. If it is above 1, it is even or ``shares``, so that two threads have equal
        work.
        """
        tiles = k.imul(self.samples or k.n, math.prod(self.grid))
        pairs = k.idiv(k.iadd(tiles, 2 * TILES_PER_SHARE - 1), 2 * TILES_PER_SHARE)
        return tiles, k.imin(self.shares, k.imax(1, k.imul(pairs, 2)))

    def write(self, k: Kernel) -> None:
        outs, intos = self.ranges
        tiles, shares = self.division(k)
        share = k.idiv(k.chunk, outs * intos)
        with k.when(k.compare(share, "<", shares)):
            low, high = (k.idiv(k.imul(tiles, number), shares) for number in (share, k.iadd(share, 1)))
            self._share(k, share, low, high)

    def _share(self, k: Kernel, share: Index, low: Index, high: Index) -> None:
        """Emit the sums over one share of the tiles, numbers ``low`` to ``high`` − 1, for the ranges of the chunk."""
        dtype = self.sums
        outs, intos = self.ranges
        unit = k.imod(k.chunk, outs * intos)
        first_out = k.imul(k.idiv(unit, intos), self.outs)
        first_into = k.imul(k.imod(unit, intos), self.intos)
        last_out = k.imin(k.iadd(first_out, self.outs), self.arriving.blocks)
        last_into = k.imin(k.iadd(first_into, self.intos), self.input_blocks)
        w = k.offset(k.scratch, self.points * self.per_v, self.operands)
        if self.finishes:
            sums = k.offset(w, self.points * self.per_w, self.operands)
        else:
            pairs = self.arriving.blocks * self.input_blocks
            sums = k.offset(k.operand(2), k.imul(k.imul(share, pairs), self.per_pair), dtype)

        def each_pair(body: Callable[[Index, Index, Pointer], None]) -> None:
            with k.loop(first_out, last_out) as out, k.loop(first_into, last_into) as into:
                number = k.iadd(k.imul(out.index, self.input_blocks), into.index)
                if self.finishes:
                    number = k.iadd(k.imul(k.isub(out.index, first_out), self.intos), k.isub(into.index, first_into))
                body(out.index, into.index, k.offset(sums, k.imul(number, self.per_pair), dtype))

        def clear(_out: Index, _into: Index, place: Pointer) -> None:
            with k.loop(0, self.per_pair, LANES) as at:
                k.store(k.constant(0, dtype), k.offset(place, at.index, dtype), dtype, 64)

        each_pair(clear)
        with k.loop(low, high, self.together) as batch:
            count = k.imin(self.together, k.isub(high, batch.index))
            with k.loop(0, count, self.paired) as tile:
                self._transform(k, (k.iadd(batch.index, tile.index), high), tile.index, w,
                                (first_out, last_out), (first_into, last_into))  # fmt: skip
            with k.loop(0, self.form.entries) as position:

                def multiply(out: Index, into: Index, place: Pointer, position: Index = position.index) -> None:
                    row, column = k.isub(out, first_out), k.isub(into, first_into)
                    number = k.iadd(k.imul(k.iadd(k.imul(position, self.outs), row), self.intos), column)
                    upcoming = k.iadd(batch.index, self.together)
                    self._fetch(k, number, (upcoming, high), (first_out, last_out), (first_into, last_into))
                    rest = self.source.channels % BLOCK or BLOCK
                    for lanes, short in last_apart(k, out, self.arriving.blocks, self.last_lanes):
                        own = k.imod(into, self.source.blocks)
                        for channels, partial in last_apart(k, own, self.source.blocks, rest):
                            with k.when(k.both(short, partial)):
                                self._multiply(k, position, count, (row, column), w, place, (lanes, channels))

                each_pair(multiply)
        if self.finishes:
            each_pair(lambda out, into, place: self.finish(k, out, into, place, k.operand(2)))

    def finish(self, k: Kernel, out: Index, into: Index, sums: Pointer, dw: Pointer) -> None:
        """Emit dW = Aᵀ M A for 16 output channels and 16 input channels, from M added over the shares of the tiles.

        The shares are added in order. ``out`` and ``into`` are the numbers of the blocks of 16 output and 16 input
        channels. ``sums`` is the address of the first share of M, and ``dw`` that of dW (O, C, planes, taps, taps) in
        NumPy's order.
        """
        dtype, (tall, broad) = self.sums, self.form.axes
        taps = self.form.taps
        filters, depth = self.arriving.channels, self.source.channels
        per_share = self.arriving.blocks * self.input_blocks * self.per_pair
        plane = k.idiv(into, self.source.blocks)
        first = k.imul(k.imod(into, self.source.blocks), BLOCK)
        lanes = k.imin(LANES, k.isub(filters, k.imul(out, LANES)))
        kept = [k.local(k.constant(0, dtype).type) for _ in range(taps)]
        added = [k.local(k.constant(0, dtype).type) for _ in range(self.form.entries * (not self.finishes))]
        shares = self.division(k)[1]
        with k.loop(0, k.imin(BLOCK, k.isub(depth, first))) as channel:
            mine = k.offset(sums, k.imul(channel.index, LANES), dtype)
            if not self.finishes:
                for position, slot in enumerate(added):
                    k.builder.store(k.load(k.offset(mine, position * BLOCK * LANES, dtype), dtype, 64), slot, align=64)
                with k.loop(1, shares) as share:
                    other = k.offset(mine, k.imul(share.index, per_share), dtype)
                    for position, slot in enumerate(added):
                        place = k.offset(other, position * BLOCK * LANES, dtype)
                        value = k.add(k.load(slot, dtype, 64), k.load(place, dtype, 64))
                        k.builder.store(value, slot, align=64)

            def total(position: int) -> Vector:
                place = k.offset(mine, position * BLOCK * LANES, dtype) if self.finishes else added[position]
                return k.load(place, dtype, 64)

            down, across = tall.gradient.output, broad.gradient.output
            rows, columns = range(tall.filters), range(broad.filters)
            half = [apply(k, down, [total(i * broad.filters + j) for i in rows]) for j in columns]
            for i in range(tall.taps):
                for j, value in enumerate(apply(k, across, [half[column][i] for column in columns])):
                    k.builder.store(value, kept[i * broad.taps + j], align=64)
            with k.loop(0, lanes) as lane:
                o = k.iadd(k.imul(out, LANES), lane.index)
                pair = k.iadd(k.imul(o, depth), first, channel.index)
                target = k.offset(dw, k.imul(k.iadd(k.imul(pair, self.form.planes), plane), taps), dtype)
                for tap, slot in enumerate(kept):
                    value = k.load_scalar(k.offset(slot, lane.index, dtype), dtype)
                    k.store_scalar(value, k.offset(target, tap, dtype))

    def _fetch(
        self, k: Kernel, number: Index, upcoming: tuple[Index, Index], outs: tuple[Index, Index],
        intos: tuple[Index, Index],
    ) -> None:  # fmt: skip
        """Emit prefetches of a few of the pixels that are transformed next, while the core computes products.

        ``upcoming`` is (next tile, last tile + 1). Only a few pixels are prefetched at a time, because a core can have
        about 20 cache lines in flight and requests no others until they arrive.
        """
        next_tile, tiles = upcoming
        form = self.form
        height, width = form.outputs
        strides = form.height.stride, form.width.stride
        newest = form.planes - 1 - self.before[0]  # the tiles before have read the other planes
        sources = ((self.source, 0, intos, strides, newest), (self.arriving, 1, outs, (1, 1), 0))
        rows = height * max(self.intos, self.outs) * self.together  # of tiles of dy
        share = -(-rows // (form.entries * self.outs * self.intos))
        with k.loop(0, share) as item:
            at = k.iadd(k.imul(number, share), item.index)
            tile, row = k.iadd(next_tile, k.imod(at, self.together)), k.idiv(at, self.together)
            line, block = k.imod(row, height), k.idiv(row, height)
            with k.when(k.compare(tile, "<", tiles)):
                place = place_of(k, self.grid, 0, tile)
                for storage, operand, (low, high), (tall, broad), plane in sources:
                    own, s = k.iadd(low, block), storage.strides
                    with k.when(k.compare(own, "<", high)):
                        channels = k.imod(own, storage.blocks)
                        where = k.iadd(plane * s[2], k.imul(channels, s[1]), k.imul(line, tall * s[3]))
                        corner = corner_of(k, storage, k.operand(operand), place, (height * tall, width * broad))
                        pixel = k.offset(corner, where, storage.dtype)
                        for i in range(tall):
                            for j in range(0, width * broad, lines_apart(storage.dtype)):
                                k.prefetch(k.offset(pixel, i * s[3] + j * s[4], storage.dtype))

    def _transform(
        self, k: Kernel, tile: tuple[Index, Index], place: Index, w: Pointer, outs: tuple[Index, Index],
        intos: tuple[Index, Index],
    ) -> None:  # fmt: skip
        """Emit V = Bᵀ x B and W = G dy Gᵀ for one tile or, in bfloat16, for a pair of tiles.

        ``tile`` is (number of the tile, last tile + 1). If the last pair has no second tile, the first tile is read in
        its place, and its dy counts as zero. ``place`` is the number of the tile within its batch.
        """
        number, tiles = tile
        at = [place_of(k, self.grid, 0, number)]
        exists: Condition | bool = True
        if self.paired == 2:
            exists = k.compare(k.iadd(number, 1), "<", tiles)
            at.append(place_of(k, self.grid, 0, k.imin(k.iadd(number, 1), k.isub(tiles, 1))))
        form = self.form
        x = [corner_of(k, self.source, k.operand(0), each, form.steps, self.before) for each in at]
        dy = [corner_of(k, self.arriving, k.operand(1), each, form.outputs) for each in at]
        v = k.offset(k.scratch, k.imul(place, BLOCK), self.operands)
        w = k.offset(w, k.imul(place, BLOCK), self.operands)
        height, width = (transform_by(k, axis.gradient.filter) for axis in form.axes)
        self._tiles(k, self.source, x, form.input_transforms(k), intos, v, self.per_v)
        self._tiles(k, self.arriving, dy, (height, width), outs, w, self.per_w, exists)

    def _tiles(
        self, k: Kernel, storage: Storage, corners: Sequence[Pointer], transforms: tuple[Transform, Transform],
        blocks: tuple[Index, Index], target: Pointer, per_position: int, exists: Condition | bool = True,
    ) -> None:  # fmt: skip
        """Emit the transforms of one tile or a pair of tiles, for a range of blocks of channels.

        The first pixels of the tiles are at ``corners``, and the result is stored at ``target``. If ``exists`` is
        false, the second tile of the pair counts as zero.
        """
        dtype, s = storage.dtype, storage.strides
        columns = len(transforms[1][0])
        with k.loop(*blocks) as block:
            own = k.isub(block.index, blocks[0])
            out = k.offset(target, k.imul(own, self.together * BLOCK), self.operands)

            def tile(corner: Pointer, block: Index = block.index) -> Rows:
                plane, channels = k.idiv(block, storage.blocks), k.imod(block, storage.blocks)
                image = k.offset(corner, k.iadd(k.imul(plane, s[2]), k.imul(channels, s[1])), dtype)

                def pixel(i: int, j: int) -> Vector:
                    return k.load(k.offset(image, i * s[3] + j * s[4], dtype), dtype, 64)

                return transform_both(k, transforms, pixel)

            for parts in zip(*map(tile, corners), strict=True):
                for i, *rows in zip(parts[0][0], *(lines for _, lines in parts), strict=True):
                    for j, values in enumerate(zip(*rows, strict=True)):
                        place = k.offset(out, (i * columns + j) * per_position, self.operands)
                        if self.paired == 1:
                            k.store(values[0], place, self.operands, 64)
                        else:
                            k.store_pairs(values[0], k.choose(exists, values[1], k.constant(0, self.sums)), place)

    def _multiply(
        self, k: Kernel, filter: Index, count: Index, pair: tuple[Index, Index], w: Pointer, place: Pointer,
        sizes: tuple[int, int],
    ) -> None:  # fmt: skip
        """Emit M[filter] += Σ_position Σ_t W[position][t][16 o] · V[position][t][c] for some channels c of a block.

        ``pair`` is (output block, input block), counted from the first of the chunk, and ``sizes`` (lanes, input
        channels) are the numbers of output channels o and of input channels c that are computed.
        V are the transformed tiles of x, and W those of dy. The sum runs over the ``count`` tiles t, and over the
        positions that share entry ``filter`` of M, usually one. ``place`` is the address of M.
        """
        dtype, operands, paired = self.sums, self.operands, self.paired
        step = self.together * BLOCK
        v = k.offset(k.scratch, k.imul(pair[1], step), operands)
        w = k.offset(w, k.imul(pair[0], step), operands)
        lanes, inputs = sizes
        accumulators = self.accumulators if lanes == LANES else self.last_accumulators
        target = k.offset(place, k.imul(filter, BLOCK * LANES), dtype)
        rows, columns = self._positions(k, filter)
        for channels in evenly(list(range(inputs)), accumulators):
            places = [k.offset(target, c * LANES, dtype) for c in channels]
            offsets = [c * paired for c in channels]

            def products(position: Index, sums: list[Vector], offsets: list[int] = offsets) -> list[Vector]:
                mine = k.offset(w, k.imul(position, self.per_w), operands)
                seen = k.offset(v, k.imul(position, self.per_v), operands)
                with k.loop(0, count, paired, carry=sums) as tile:
                    arrived = k.offset(mine, k.imul(tile.index, BLOCK), operands)
                    x = k.offset(seen, k.imul(tile.index, BLOCK), operands)
                    tile.carry = sum_of_outer_products(k, operands, tile.carry, arrived, x, offsets)
                return tile.result

            found = [k.constant(0, dtype, lanes) for _ in places]  # each batch is summed by itself, which rounds less
            if self.form.positions == self.form.entries:
                found = products(filter, found)
            else:
                with k.loop(*rows, carry=found) as row:
                    with k.loop(*columns, carry=row.carry) as column:
                        position = k.iadd(k.imul(row.index, self.form.width.points), column.index)
                        column.carry = products(position, column.carry)
                    row.carry = column.result
                found = row.result
            for p, value in zip(places, found, strict=True):
                k.store(k.add(k.load(p, dtype, 64, lanes), value), p, dtype, 64)

    def _positions(self, k: Kernel, filter: Index) -> tuple[tuple[Index, Index], tuple[Index, Index]]:
        """Emit the ranges of rows and columns of the positions whose products are added into entry ``filter`` of M.

        This is one position, except that several positions share the last row or column of the filter.
        """
        height, width = self.form.axes

        def points_of(number: Index, form: Form) -> tuple[Index, Index]:
            last = k.idiv(k.iadd(number, 1), form.filters)  # 1 for the last filter
            return number, k.iadd(number, 1, k.imul(last, form.points - form.filters))

        return points_of(k.idiv(filter, width.filters), height), points_of(k.imod(filter, width.filters), width)


@dataclass(frozen=True)
class WinogradUnpack(KernelSpec):
    """The kernel that adds the shares of a ``WinogradWeightGradient`` and transforms the sum back to dW.

    ``gradient`` is the kernel that wrote the shares. Each share M is the sum over some of the tiles. A chunk, the unit
    of work of a thread, is one block of 16 output channels and one of 16 input channels. Operands: M, dW.
    """

    gradient: WinogradWeightGradient

    def write(self, k: Kernel) -> None:
        g = self.gradient
        out, into = k.idiv(k.chunk, g.input_blocks), k.imod(k.chunk, g.input_blocks)
        g.finish(k, out, into, k.offset(k.operand(0), k.imul(k.chunk, g.per_pair), g.sums), k.operand(1))
