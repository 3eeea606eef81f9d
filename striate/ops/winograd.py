"""Winograd's minimal filtering for stride-1 convolutions: fewer multiplications, by transforming small tiles.

    Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A        (Winograd 1980; Lavin and Gray 2015, arXiv:1509.09308)

F(m, r) computes m outputs of an r-tap filter from m + r − 1 products. It evaluates polynomials at the points 0, ±1, ½,
−2 and ∞: with −2 in place of ±2 the transforms' largest entries, and so the rounding error, are about half as large.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from striate.codegen.kernel import LANES, Index, Kernel
from striate.codegen.microkernel import sum_of_products
from striate.codegen.phase import KernelSpec
from striate.codegen.region import Region, RegionWriter, samples_of
from striate.codegen.storage import BLOCK, Storage
from striate.dtypes import DType

Matrix = tuple[tuple[Fraction, ...], ...]
PADDING = 16
"""Elements between rows that would else lie a power of two apart and evict each other from the cache."""

SUMMED_APART = 4
"""Input blocks whose products are summed before they join the others: less rounding with many channels."""

POINTS = (Fraction(0), Fraction(1), Fraction(-1), Fraction(1, 2), Fraction(-2))


@dataclass(frozen=True)
class Transforms:
    """The matrices of F(m, r): ``output`` Aᵀ (m, n), ``filter`` G (n, r), ``input`` Bᵀ (n, n), n = m + r − 1."""

    output: Matrix
    filter: Matrix
    input: Matrix


@functools.cache
def transforms(m: int, r: int) -> Transforms:
    """F(m, r) by Toom and Cook: row j belongs to point j, the last to infinity.

    With f_j = Π (a_j − a_k):  Aᵀ[i, j] = a_jⁱ,  G[j, k] = a_jᵏ / f_j,  and Bᵀ inverts M[t, j] = a_jᵗ / f_j, so that
    Σ_j Aᵀ[i, j] G[j, k] Bᵀ[j, l] = 1 where l = i + k, else 0.
    """
    n = m + r - 1
    points = POINTS[: n - 1]
    f = [_product(a - b for b in points if b != a) for a in points]
    output = [[a**i for a in points] + [Fraction(i == m - 1)] for i in range(m)]
    filter = [[a**k / fj for k in range(r)] for a, fj in zip(points, f, strict=True)]
    filter.append([Fraction(k == r - 1) for k in range(r)])
    square = [[a**t / fj for a, fj in zip(points, f, strict=True)] + [Fraction(t == n - 1)] for t in range(n)]
    return Transforms(_frozen(output), _frozen(filter), _frozen(_inverse(square)))


def _product(factors: Any) -> Fraction:
    total = Fraction(1)
    for factor in factors:
        total *= factor
    return total


def _frozen(rows: Sequence[Sequence[Fraction]]) -> Matrix:
    return tuple(tuple(row) for row in rows)


def _inverse(matrix: list[list[Fraction]]) -> list[list[Fraction]]:
    """Gauss and Jordan in exact fractions."""
    n = len(matrix)
    rows = [[*row, *(Fraction(i == j) for j in range(n))] for i, row in enumerate(matrix)]
    for column in range(n):
        pivot = next(row for row in range(column, n) if rows[row][column])
        rows[column], rows[pivot] = rows[pivot], rows[column]
        rows[column] = [entry / rows[column][column] for entry in rows[column]]
        for row in range(n):
            if row != column and rows[row][column]:
                factor = rows[row][column]
                rows[row] = [a - factor * b for a, b in zip(rows[row], rows[column], strict=True)]
    return [row[n:] for row in rows]


def apply(k: Kernel, matrix: Matrix, x: Sequence[Any]) -> list[Any]:
    """matrix · x for vectors x. Two rows that differ in the signs of some entries share their common sums."""
    done: dict[int, Any] = {}
    for i, row in enumerate(matrix):
        for j in range(i + 1, len(matrix)):
            other = matrix[j]
            if j in done or i in done or any(abs(a) != abs(b) for a, b in zip(row, other, strict=True)):
                continue
            even = [a if a == b else Fraction(0) for a, b in zip(row, other, strict=True)]
            odd = [a if a != b else Fraction(0) for a, b in zip(row, other, strict=True)]
            if sum(map(bool, even)) and sum(map(bool, odd)) and sum(map(bool, row)) > 2:
                e, o = _combine(k, even, x), _combine(k, odd, x)
                done[i], done[j] = k.add(e, o), k.sub(e, o)
    return [done[i] if i in done else _combine(k, row, x) for i, row in enumerate(matrix)]


def _combine(k: Kernel, row: Sequence[Fraction], x: Sequence[Any]) -> Any:
    """Σ row[l] · x[l]: entries of ±1 are added, the others multiplied in."""
    total: Any = None
    for entry, value in sorted(zip(row, x, strict=True), key=lambda pair: abs(pair[0]) != 1):
        if entry == 0:
            continue
        if total is None:
            total = value if entry == 1 else k.neg(value) if entry == -1 else k.mul(value, _number(k, value, entry))
        elif abs(entry) == 1:
            total = k.add(total, value) if entry == 1 else k.sub(total, value)
        else:
            total = k.fma(value, _number(k, value, entry), total)
    return total


def _number(k: Kernel, like: Any, entry: Fraction) -> Any:
    return k.constant_like(like, float(entry))


@dataclass(frozen=True)
class WinogradPack(KernelSpec):
    """U = G g Gᵀ for 16 output channels at a time: [output block][position][input channel][16].

    ``transposed`` packs for the input gradient: lanes are input channels, and the filter is turned by 180°.
    In bfloat16 the two channels of a pair lie beside each other: [output block][position][input pair][16][2].
    A chunk is (output block, input channel or pair). Operands: weights (O, C, 3, 3), packed.
    """

    dtype: DType
    operands: DType
    filters: int
    channels: int
    tile: int
    taps: int
    transposed: bool

    @property
    def summed(self) -> int:
        """Channels that are summed over."""
        return self.filters if self.transposed else self.channels

    @property
    def per_position(self) -> int:
        """Packed elements of one position of the tile, padded so that positions do not share cache sets."""
        return self.summed * LANES + PADDING * self.together

    @property
    def per_block(self) -> int:
        """Packed elements of one output block."""
        n = self.tile + self.taps - 1
        return n * n * self.per_position

    @property
    def together(self) -> int:
        """Input channels that one chunk transforms."""
        return 2 if self.operands is DType.bfloat16 else 1

    @property
    def chunks(self) -> int:
        """Chunks of one output block."""
        return self.summed // self.together

    def write(self, k: Kernel) -> None:
        n = self.tile + self.taps - 1
        out, into = k.idiv(k.chunk, self.chunks), k.imul(k.imod(k.chunk, self.chunks), self.together)
        points = [self._transformed(k, out, k.iadd(into, channel)) for channel in range(self.together)]
        for position in range(n * n):
            where = k.iadd(k.imul(out, self.per_block), position * self.per_position, k.imul(into, LANES))
            place = k.offset(k.operand(1), where, self.operands)
            if self.together == 2:
                k.store_pairs(points[0][position], points[1][position], place)
            else:
                k.store(points[0][position], place, self.operands, 64)

    def _transformed(self, k: Kernel, out: Index, into: Index) -> list[Any]:
        """All points of one input channel."""
        dtype, r = self.dtype, self.taps
        t = transforms(self.tile, r)
        outputs = self.channels if self.transposed else self.filters
        step = r * r if self.transposed else self.channels * r * r
        other = self.channels * r * r if self.transposed else r * r
        count = k.imin(LANES, k.isub(outputs, k.imul(out, LANES)))
        corner = k.offset(k.operand(0), k.iadd(k.imul(k.imul(out, LANES), step), k.imul(into, other)), dtype)
        taps = [
            [k.load_strided(k.offset(corner, h * r + w, dtype), dtype, step, count) for w in range(r)]
            for h in range(r)
        ]  # fmt: skip
        if self.transposed:
            taps = [row[::-1] for row in taps[::-1]]
        columns = [apply(k, t.filter, [taps[h][w] for h in range(r)]) for w in range(r)]
        rows = range(self.tile + r - 1)
        return [value for i in rows for value in apply(k, t.filter, [columns[w][i] for w in range(r)])]


@dataclass(frozen=True)
class WinogradConvolution(KernelSpec):
    """A chunk (a group of samples): transform the input, then for each output block multiply and transform back.

    for tile: V = Bᵀ d B;  for output block: for tiles in blocks: M = Σ_c U ⊙ V;  Y = Aᵀ M A → region

    V and M lie in the thread's scratch, V as [tiles of a block together][position][tile][channel].
    Operands: x, packed filters, then the region's.
    """

    source: Storage
    operands: DType  # of U and V
    before: tuple[int, int]
    tile: int
    taps: int
    together: int  # tiles whose products stay in registers
    groups: int  # sample groups of the region's domain that one chunk takes
    parts: int  # shares of the output blocks
    region: Region

    @property
    def n(self) -> int:
        """Points of a tile along one axis."""
        return self.tile + self.taps - 1

    @property
    def grid(self) -> tuple[int, int]:
        """Tiles along each axis."""
        _, height, width = self.region.domain.sizes
        return -(-height // self.tile), -(-width // self.tile)

    @property
    def channels(self) -> int:
        """Elements from tile to tile of V: the input channels, up to whole blocks, and padding."""
        return self.source.blocks * BLOCK + PADDING

    @property
    def batches(self) -> int:
        """Most blocks of tiles in one sample group."""
        rows, columns = self.grid
        samples = self.region.domain.group
        return -(-samples * rows * columns // self.together)

    @property
    def chunks(self) -> tuple[int, int]:
        """(per, group) of the chunks."""
        domain = self.region.domain
        per, group = domain.groups
        if group:
            return per * self.parts, group * self.groups
        return -(-per // self.groups) * self.parts, 0

    @property
    def per_batch(self) -> int:
        """Elements of V for one block of tiles."""
        return self.n * self.n * self.together * self.channels

    @property
    def scratch_bytes(self) -> int:
        """Bytes of thread scratch."""
        products = self.n * self.n * self.together * LANES * self.sums.numpy.itemsize
        return self.groups * self.batches * self.per_batch * self.operands.numpy.itemsize + products

    @property
    def sums(self) -> DType:
        """What products are added up in."""
        return self.operands.computed

    def write(self, k: Kernel) -> None:
        domain = self.region.domain
        several, part = k.idiv(k.chunk, self.parts), k.imod(k.chunk, self.parts)
        per, group = domain.groups
        total = k.imul(per, k.idiv(k.iadd(k.n, group - 1), group)) if group else per
        first_group = k.imul(several, self.groups)
        last_group = k.imin(k.iadd(first_group, self.groups), total)
        per_group = self.batches * self.per_batch
        products = k.offset(k.scratch, self.groups * per_group, self.operands)
        rows, columns = self.grid

        def samples(number: Index) -> tuple[Index, Index, Index, Any]:
            """(first sample, past the last, tiles, V) of a sample group."""
            first, last = samples_of(k, domain, number)
            own = k.offset(k.scratch, k.imul(k.isub(number, first_group), per_group), self.operands)
            return first, last, k.imul(k.isub(last, first), rows * columns), own

        with k.loop(first_group, last_group) as number:
            first, _, tiles, own = samples(number.index)
            with k.loop(0, tiles) as tile:
                self._forward(k, own, first, tile.index)
        writer = RegionWriter(k, self.region, 2)
        blocks = -(-domain.blocks // self.parts)
        start = k.imul(part, blocks)
        with k.loop(start, k.imin(k.iadd(start, blocks), domain.blocks)) as block:
            with k.loop(first_group, last_group) as number:
                first, last, tiles, own = samples(number.index)
                writer.begin_chunk()
                with k.loop(0, tiles, self.together) as batch:
                    self._multiply(k, own, block.index, batch.index, products)
                    stop = k.imin(k.iadd(batch.index, self.together), tiles)
                    with k.loop(batch.index, stop) as tile:
                        place = k.isub(tile.index, batch.index)
                        mine = k.offset(products, k.imul(place, LANES), self.sums)
                        self._backward(k, writer, block.index, first, tile.index, mine)
                with k.loop(first, last) as sample:
                    writer.begin_block(sample.index, block.index)
                    writer.end_block()
                writer.end_chunk(k.iadd(k.imul(number.index, domain.blocks), block.index))

    def _decode(self, k: Kernel, first: Index, tile: Index) -> tuple[Index, Index, Index]:
        """(sample, row, column) of a tile."""
        rows, columns = self.grid
        inside = k.imod(tile, rows * columns)
        return k.iadd(first, k.idiv(tile, rows * columns)), k.idiv(inside, columns), k.imod(inside, columns)

    def _forward(self, k: Kernel, own: Any, first: Index, tile: Index) -> None:
        """V of one tile, for all input channels."""
        dtype, n = self.source.dtype, self.n
        matrix = transforms(self.tile, self.taps).input
        sample, row, column = self._decode(k, first, tile)
        s = self.source.strides
        where = k.iadd(
            self.source.origin, k.imul(sample, s[0]),
            k.imul(row, self.tile * s[3]), k.imul(column, self.tile * s[4]),
            -self.before[0] * s[3] - self.before[1] * s[4],
        )  # fmt: skip
        corner = k.offset(k.operand(0), where, dtype)
        batch, place = k.idiv(tile, self.together), k.imod(tile, self.together)
        target = k.offset(
            own, k.iadd(k.imul(batch, self.per_batch), k.imul(place, self.channels)), self.operands
        )  # fmt: skip
        with k.loop(0, self.source.blocks) as block:
            image = k.offset(corner, k.imul(block.index, s[1]), dtype)
            out = k.offset(target, k.imul(block.index, LANES), self.operands)
            columns = [
                apply(k, matrix, [k.load(k.offset(image, i * s[3] + j * s[4], dtype), dtype, 64) for i in range(n)])
                for j in range(n)
            ]
            for i in range(n):
                for j, value in enumerate(apply(k, matrix, [columns[c][i] for c in range(n)])):
                    position = (i * n + j) * self.together * self.channels
                    k.store(value, k.offset(out, position, self.operands), self.operands, 64)

    def _multiply(self, k: Kernel, own: Any, block: Index, first_tile: Index, products: Any) -> None:
        """M[position][tile][16] = Σ_c V[position][tile][c] · U[position][c][16]."""
        dtype, operands = self.sums, self.operands
        summed = self.source.channels
        positions = self.n * self.n
        per_position = summed * LANES + PADDING * (2 if operands is DType.bfloat16 else 1)
        filters = k.offset(k.operand(1), k.imul(block, positions * per_position), operands)
        batch = k.idiv(first_tile, self.together)
        inputs = k.offset(own, k.imul(batch, self.per_batch), operands)
        with k.loop(0, positions) as position:
            v = k.offset(inputs, k.imul(position.index, self.together * self.channels), operands)
            u = k.offset(filters, k.imul(position.index, per_position), operands)
            sums = [k.constant(0, dtype) for _ in range(self.together)]
            whole, rest = divmod(summed, BLOCK)

            def step(v: Any, u: Any, sums: list[Any], count: int) -> list[Any]:
                return sum_of_products(
                    k, operands, sums, u, v, [t * self.channels for t in range(self.together)], count
                )

            def blocks(first: Index, last: Index) -> list[Any]:
                with k.loop(first, last, carry=sums) as at:
                    moved = k.offset(u, k.imul(at.index, BLOCK * LANES), operands)
                    at.carry = step(k.offset(v, k.imul(at.index, BLOCK), operands), moved, at.carry, BLOCK)
                return at.result

            out = k.offset(products, k.imul(position.index, self.together * LANES), dtype)
            places = [k.offset(out, t * LANES, dtype) for t in range(self.together)]
            head = whole % SUMMED_APART or min(whole, SUMMED_APART)
            found = blocks(0, head) if head else sums
            if rest:
                found = step(
                    k.offset(v, whole * BLOCK, operands), k.offset(u, whole * BLOCK * LANES, operands), found, rest
                )  # fmt: skip
            for place, value in zip(places, found, strict=True):
                k.store(value, place, dtype, 64)
            if whole > head:
                with k.loop(head, whole, SUMMED_APART) as more:
                    found = blocks(more.index, k.iadd(more.index, SUMMED_APART))
                    for place, value in zip(places, found, strict=True):
                        k.store(k.add(k.load(place, dtype, 64), value), place, dtype, 64)

    def _backward(
        self, k: Kernel, writer: RegionWriter, block: Index, first: Index, tile: Index, products: Any
    ) -> None:
        """Y = Aᵀ M A of one tile, and the region on its pixels."""
        dtype, n, m = self.sums, self.n, self.tile
        matrix = transforms(m, self.taps).output
        sample, row, column = self._decode(k, first, tile)
        step = self.together * LANES
        half = [
            apply(k, matrix, [k.load(k.offset(products, (i * n + j) * step, dtype), dtype, 64) for i in range(n)])
            for j in range(n)
        ]
        pixels = [apply(k, matrix, [half[j][i] for j in range(n)]) for i in range(m)]
        writer.begin_block(sample, block)
        writer.row(0, k.imul(row, m))
        rows, columns = self.grid
        _, height, width = self.region.domain.sizes
        for inner_row, heights in _edges(k, row, rows, height, m):
            for inner_column, widths in _edges(k, column, columns, width, m):
                with k.when(k.both(inner_row, inner_column)):
                    places = [(i, j) for i in range(heights) for j in range(widths)]
                    writer.tile(k.imul(column, m), places, [[pixels[i][j]] for i, j in places])


def _edges(k: Kernel, index: Index, count: int, size: int, tile: int) -> list[tuple[Any, int]]:
    """(condition, pixels) of the tiles along an axis: whole ones, and a cut last one."""
    rest = size - (count - 1) * tile
    if rest == tile:
        return [(True, tile)]
    if count == 1:
        return [(True, rest)]
    return [(k.compare(index, "<", count - 1), tile), (k.compare(index, "==", count - 1), rest)]
