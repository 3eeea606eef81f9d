"""The weight gradient in transformed tiles, for 3×3 as F(3×3, 4×4): the taps are the outputs, dy's tiles the filters.

    dW[o, c] = Aᵀ [ Σ_tiles (G dy Gᵀ)[o] ⊙ (Bᵀ x B)[c] ] A

The sum over tiles stays in transformed form, one matrix product a position, and is transformed back once at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from striate.codegen.kernel import LANES, Index, Kernel
from striate.codegen.microkernel import sum_of_outer_products
from striate.codegen.phase import KernelSpec
from striate.codegen.storage import BLOCK, Storage
from striate.dtypes import DType
from striate.ops.winograd import PADDING, Matrix, apply, transforms


@dataclass(frozen=True)
class WinogradWeightGradient(KernelSpec):
    """A chunk is (share of the samples, range of output blocks, range of input blocks).

    for tiles in batches: V = Bᵀ x B, W = G dy Gᵀ;  for position, output block, input block: M += Wᵀ V

    V and W lie in the thread's scratch as [position][tile][channel], in bfloat16 as [position][two tiles][channel][2].
    Operands: x, dy, M as [share][output block][input block][position][16 input channels][16 output channels].
    """

    source: Storage
    arriving: Storage
    operands: DType  # of V and W
    before: tuple[int, int]
    shares: int
    outs: int  # output blocks of one range
    intos: int  # input blocks of one range
    together: int  # tiles of one batch
    tile: int
    taps: int
    samples: int  # 0: the run-time N

    @property
    def sums(self) -> DType:
        """What tiles are transformed and products added up in."""
        return self.operands.computed

    @property
    def paired(self) -> int:
        """Tiles that lie beside each other."""
        return 2 if self.operands is DType.bfloat16 else 1

    @property
    def points(self) -> int:
        """Products of one tile."""
        return (self.tile + self.taps - 1) ** 2

    @property
    def ranges(self) -> tuple[int, int]:
        """Number of ranges of output and of input blocks."""
        return -(-self.arriving.blocks // self.outs), -(-self.source.blocks // self.intos)

    @property
    def chunks(self) -> int:
        """Number of chunks."""
        outs, intos = self.ranges
        return self.shares * outs * intos

    @property
    def rows_of_v(self) -> int:
        """Elements from tile to tile of V."""
        return self.intos * BLOCK + PADDING

    @property
    def rows_of_w(self) -> int:
        """Elements from tile to tile of W."""
        return self.outs * BLOCK + PADDING

    @property
    def scratch_bytes(self) -> int:
        """Bytes of thread scratch."""
        return self.points * self.together * (self.rows_of_v + self.rows_of_w) * self.operands.numpy.itemsize

    @property
    def per_pair(self) -> int:
        """Elements of M for one output and input block."""
        return self.points * BLOCK * LANES

    @property
    def grid(self) -> tuple[int, int]:
        """Tiles along each axis of dy."""
        _, height, width = self.arriving.sizes
        return -(-height // self.tile), -(-width // self.tile)

    def write(self, k: Kernel) -> None:
        dtype = self.sums
        outs, intos = self.ranges
        share, unit = k.idiv(k.chunk, outs * intos), k.imod(k.chunk, outs * intos)
        first_out = k.imul(k.idiv(unit, intos), self.outs)
        first_into = k.imul(k.imod(unit, intos), self.intos)
        last_out = k.imin(k.iadd(first_out, self.outs), self.arriving.blocks)
        last_into = k.imin(k.iadd(first_into, self.intos), self.source.blocks)
        total: Index = self.samples or k.n
        first = k.idiv(k.imul(total, share), self.shares)
        last = k.idiv(k.imul(total, k.iadd(share, 1)), self.shares)
        rows, columns = self.grid
        tiles = k.imul(k.isub(last, first), rows * columns)
        w = k.offset(k.scratch, self.points * self.together * self.rows_of_v, self.operands)
        pairs = self.arriving.blocks * self.source.blocks
        sums = k.offset(k.operand(2), k.imul(k.imul(share, pairs), self.per_pair), dtype)

        def each_pair(body: Any) -> None:
            with k.loop(first_out, last_out) as out, k.loop(first_into, last_into) as into:
                number = k.iadd(k.imul(out.index, self.source.blocks), into.index)
                body(out.index, into.index, k.offset(sums, k.imul(number, self.per_pair), dtype))

        def clear(_out: Index, _into: Index, place: Any) -> None:
            with k.loop(0, self.per_pair, LANES) as at:
                k.store(k.constant(0, dtype), k.offset(place, at.index, dtype), dtype, 64)

        each_pair(clear)
        with k.loop(0, tiles, self.together) as batch:
            count = k.imin(self.together, k.isub(tiles, batch.index))
            with k.loop(0, count, self.paired) as tile:
                self._transform(k, first, k.iadd(batch.index, tile.index), tiles, tile.index, w, (first_out, last_out),
                                (first_into, last_into))  # fmt: skip
            with k.loop(0, self.points) as position:

                def multiply(out: Index, into: Index, place: Any, position: Index = position.index) -> None:
                    self._multiply(k, position, count, k.isub(out, first_out), k.isub(into, first_into), w, place)

                each_pair(multiply)

    def _transform(
        self, k: Kernel, first: Index, tile: Index, tiles: Index, place: Index, w: Any, outs: tuple[Index, Index],
        intos: tuple[Index, Index],
    ) -> None:  # fmt: skip
        """V and W of one tile, or of a pair; the last may be without a second, and dy's then counts as zero."""
        t = transforms(self.taps, self.tile)
        places = [tile]
        exists: Any = True
        if self.paired == 2:
            places.append(k.imin(k.iadd(tile, 1), k.isub(tiles, 1)))
            exists = k.compare(k.iadd(tile, 1), "<", tiles)
        at = [self._decode(k, first, tile) for tile in places]
        self._tiles(k, self.source, k.operand(0), self.before, t.input, at, intos, k.scratch, place, self.rows_of_v)
        self._tiles(k, self.arriving, k.operand(1), (0, 0), t.filter, at, outs, w, place, self.rows_of_w, exists)

    def _decode(self, k: Kernel, first: Index, tile: Index) -> tuple[Index, Index, Index]:
        """(sample, row, column) of a tile."""
        rows, columns = self.grid
        inside = k.imod(tile, rows * columns)
        return k.iadd(first, k.idiv(tile, rows * columns)), k.idiv(inside, columns), k.imod(inside, columns)

    def _tiles(
        self, k: Kernel, storage: Storage, array: Any, before: tuple[int, int], matrix: Matrix,
        at: Sequence[tuple[Index, Index, Index]], blocks: tuple[Index, Index], target: Any, place: Index, row: int,
        exists: Any = True,
    ) -> None:  # fmt: skip
        dtype = storage.dtype
        s = storage.strides
        size, points = len(matrix[0]), len(matrix)
        corners: list[Any] = []
        for sample, line, column in at:
            where = k.iadd(
                storage.origin, k.imul(sample, s[0]), k.imul(line, self.tile * s[3]), k.imul(column, self.tile * s[4]),
                -before[0] * s[3] - before[1] * s[4],
            )  # fmt: skip
            corners.append(k.offset(array, where, dtype))
        with k.loop(*blocks) as block:
            inside = k.imul(k.isub(block.index, blocks[0]), BLOCK * self.paired)
            out = k.offset(target, k.iadd(k.imul(place, row), inside), self.operands)
            halves: list[list[list[Any]]] = []
            for corner in corners:
                image = k.offset(corner, k.imul(block.index, s[1]), dtype)
                pixels = [[k.offset(image, i * s[3] + j * s[4], dtype) for i in range(size)] for j in range(size)]
                halves.append([apply(k, matrix, [k.load(p, dtype, 64) for p in column]) for column in pixels])
            for i in range(points):
                rows = [apply(k, matrix, [half[c][i] for c in range(size)]) for half in halves]
                for j in range(points):
                    to = k.offset(out, (i * points + j) * self.together * row, self.operands)
                    if self.paired == 1:
                        k.store(rows[0][j], to, self.operands, 64)
                    else:
                        second = k.choose(exists, rows[1][j], k.constant(0, self.sums))
                        k.store_pairs(rows[0][j], second, to)

    def _multiply(self, k: Kernel, position: Index, count: Index, out: Index, into: Index, w: Any, place: Any) -> None:
        """M[position] += Σ_t W[t][16 o] · V[t][c], for 16 input channels c."""
        dtype = self.sums
        operands, paired = self.operands, self.paired
        first_v = k.iadd(k.imul(position, self.together * self.rows_of_v), k.imul(into, BLOCK * paired))
        first_w = k.iadd(k.imul(position, self.together * self.rows_of_w), k.imul(out, BLOCK * paired))
        v, w = k.offset(k.scratch, first_v, operands), k.offset(w, first_w, operands)
        target = k.offset(place, k.imul(position, BLOCK * LANES), dtype)
        places = [k.offset(target, c * LANES, dtype) for c in range(BLOCK)]
        start = [k.constant(0, dtype) for _ in places]  # a batch is summed by itself first: less rounding
        with k.loop(0, count, paired, carry=start) as tile:
            arrived = k.offset(w, k.imul(tile.index, self.rows_of_w), operands)
            x = k.offset(v, k.imul(tile.index, self.rows_of_v), operands)
            tile.carry = sum_of_outer_products(k, operands, tile.carry, arrived, x, range(0, BLOCK * paired, paired))
        for p, value in zip(places, tile.result, strict=True):
            k.store(k.add(k.load(p, dtype, 64), value), p, dtype, 64)


@dataclass(frozen=True)
class WinogradUnpack(KernelSpec):
    """dW = Aᵀ M A, M added over the shares in order. A chunk is (output block, input block). Operands: M, dw."""

    gradient: WinogradWeightGradient

    def write(self, k: Kernel) -> None:
        g = self.gradient
        dtype = g.sums
        filters, depth = g.arriving.channels, g.source.channels
        out, into = k.idiv(k.chunk, g.source.blocks), k.imod(k.chunk, g.source.blocks)
        matrix = transforms(g.taps, g.tile).output
        size = g.tile + g.taps - 1
        per_share = g.arriving.blocks * g.source.blocks * g.per_pair
        base = k.offset(k.operand(0), k.imul(k.chunk, g.per_pair), dtype)
        first = k.imul(into, BLOCK)
        lanes = k.imin(LANES, k.isub(filters, k.imul(out, LANES)))
        kept = [k.local(k.constant(0, dtype).type, "tap") for _ in range(g.taps * g.taps)]
        with k.loop(0, k.imin(BLOCK, k.isub(depth, first))) as channel:
            mine = k.offset(base, k.imul(channel.index, LANES), dtype)

            def total(position: int, mine: Any = mine) -> Any:
                place = k.offset(mine, position * BLOCK * LANES, dtype)
                value = k.load(place, dtype, 64)
                for share in range(1, g.shares):
                    value = k.add(value, k.load(k.offset(place, share * per_share, dtype), dtype, 64))
                return value

            half = [apply(k, matrix, [total(i * size + j) for i in range(size)]) for j in range(size)]
            for i in range(g.taps):
                for j, value in enumerate(apply(k, matrix, [half[c][i] for c in range(size)])):
                    k.builder.store(value, kept[i * g.taps + j], align=64)
            with k.loop(0, lanes) as lane:
                o = k.iadd(k.imul(out, LANES), lane.index)
                index = k.imul(k.iadd(k.imul(o, depth), first, channel.index), g.taps * g.taps)
                target = k.offset(k.operand(1), index, dtype)
                for tap, slot in enumerate(kept):
                    value = k.load_scalar(k.offset(slot, lane.index, dtype), dtype)
                    k.store_scalar(value, k.offset(target, tap, dtype))
