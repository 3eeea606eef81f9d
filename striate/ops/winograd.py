"""Winograd's minimal filtering for stride-1 convolutions: fewer multiplications, by transforming small tiles.

    Y = Aᵀ [ (G g Gᵀ) ⊙ (Bᵀ d B) ] A        (Winograd 1980; Lavin and Gray 2015, arXiv:1509.09308)

F(m, r) computes m outputs of an r-tap filter from m + r − 1 products. It evaluates polynomials at the points 0, ±1, ½,
−2 and ∞: with −2 in place of ±2 the transforms' largest entries, and so the rounding error, are about half as large.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from striate.codegen.kernel import LANES, Index, Kernel
from striate.codegen.microkernel import multiply_accumulate
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

    def with_plain_filter(self) -> Transforms:
        """The same products with the rows of G as powers alone; Aᵀ has their scales, which a sum meets once."""
        scales = [next(entry for entry in row if entry) for row in self.filter]
        plain = [[entry / scale for entry in row] for row, scale in zip(self.filter, scales, strict=True)]
        output = [[entry * scale for entry, scale in zip(row, scales, strict=True)] for row in self.output]
        return Transforms(_frozen(output), _frozen(plain), self.input)


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


def transform_input(k: Kernel, d: Sequence[Any]) -> list[Any]:
    """Bᵀ d for tiles of six points, in 16 operations where the matrix has 26 entries.

    Row j holds the coefficients of M(x) / (x − a_j), the last those of M(x) = x (x² − 1)(x − ½)(x + 2). With
    t = d₃ − d₁ and u = d₄ − d₂, which x² − 1 divides out of, every row is u or t and little more.
    """
    d0, d1, d2, d3, d4, d5 = d
    half, three_halves, two = (k.constant_like(d0, number) for number in (-0.5, 1.5, 2.0))
    t, u = k.sub(d3, d1), k.sub(d4, d2)
    return [
        k.fma(three_halves, t, k.add(k.sub(d0, d2), u)),
        k.fma(three_halves, k.add(d2, d3), k.add(u, t)),
        k.fma(three_halves, k.sub(d3, d2), k.sub(u, t)),
        k.fma(two, t, u),
        k.fma(half, t, u),
        k.fma(three_halves, u, k.sub(k.sub(d5, d3), t)),
    ]


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
    A chunk is (output block, block of input channels). Operands: weights (O, C, 3, 3), packed.
    """

    dtype: DType
    filters: int
    channels: int
    tile: int
    taps: int
    transposed: bool
    streamed: bool  # filters that no cache holds are written past the caches

    @property
    def summed(self) -> int:
        """Channels that are summed over."""
        return self.filters if self.transposed else self.channels

    @property
    def per_position(self) -> int:
        """Packed elements of one position of the tile, padded so that positions do not share cache sets."""
        return self.summed * LANES + PADDING

    @property
    def per_block(self) -> int:
        """Packed elements of one output block."""
        n = self.tile + self.taps - 1
        return n * n * self.per_position

    @property
    def chunks(self) -> int:
        """Output blocks times blocks of 16 channels."""
        outputs = self.channels if self.transposed else self.filters
        return -(-outputs // LANES) * -(-self.summed // BLOCK)

    def write(self, k: Kernel) -> None:
        several = -(-self.summed // BLOCK)
        out, first = k.idiv(k.chunk, several), k.imul(k.imod(k.chunk, several), BLOCK)
        with k.loop(first, k.imin(k.iadd(first, BLOCK), self.summed)) as into:
            self._transform(k, out, into.index)

    def _transform(self, k: Kernel, out: Index, into: Index) -> None:
        """U of one input channel and 16 output channels."""
        dtype, r = self.dtype, self.taps
        t = transforms(self.tile, r)
        n = self.tile + r - 1
        outputs = self.channels if self.transposed else self.filters
        step = r * r if self.transposed else self.channels * r * r
        other = self.channels * r * r if self.transposed else r * r
        count = k.imin(LANES, k.isub(outputs, k.imul(out, LANES))) if outputs % LANES else LANES
        corner = k.offset(k.operand(0), k.iadd(k.imul(k.imul(out, LANES), step), k.imul(into, other)), dtype)
        taps = [
            [k.load_strided(k.offset(corner, h * r + w, dtype), dtype, step, count) for w in range(r)]
            for h in range(r)
        ]  # fmt: skip
        if self.transposed:
            taps = [row[::-1] for row in taps[::-1]]
        columns = [apply(k, t.filter, [taps[h][w] for h in range(r)]) for w in range(r)]
        target = k.offset(k.operand(1), k.iadd(k.imul(out, self.per_block), k.imul(into, LANES)), dtype)
        for i in range(n):
            for j, value in enumerate(apply(k, t.filter, [columns[w][i] for w in range(r)])):
                place = k.offset(target, (i * n + j) * self.per_position, dtype)
                if self.streamed:
                    k.stream(value, place, dtype)
                else:
                    k.store(value, place, dtype, 64)


@dataclass(frozen=True)
class WinogradConvolution(KernelSpec):
    """A chunk (a group of samples): transform the input, then for each output block multiply and transform back.

    for turn: V = Bᵀ d B;  for output block: for position: for batch: M = Σ_c U ⊙ V;  Y = Aᵀ M A → region

    V and M lie in the thread's scratch, V as [batch][position][input block][tile][16], as the products read it, M as
    [batch][position][tile][16].
    Operands: x, packed filters, then the region's.
    """

    source: Storage
    before: tuple[int, int]
    tile: int
    taps: int
    together: int  # tiles whose products stay in registers: a batch
    turn: int  # batches of a sample group that are transformed at a time
    groups: int  # sample groups of the region's domain that one chunk takes
    parts: int  # shares of the output blocks
    apart: bool  # V is an operand, in the place of x: ``WinogradInput`` has written it
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
    def per_position(self) -> int:
        """Elements from position to position of V."""
        return self.source.blocks * self.together * BLOCK + PADDING

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
        return self.n * self.n * self.per_position

    @property
    def per_product(self) -> int:
        """Elements from position to position of M."""
        return self.together * LANES + PADDING

    @property
    def kept(self) -> int:
        """Batches that a chunk keeps at a time."""
        return self.groups * self.turn

    @property
    def scratch_bytes(self) -> int:
        """Bytes of thread scratch: V, where it does not lie apart, and M."""
        v = 0 if self.apart else self.per_batch
        return self.kept * (v + self.n * self.n * self.per_product) * self.source.dtype.numpy.itemsize

    def groups_of(self, k: Kernel, several: Index) -> tuple[Index, Index]:
        """First and past-the-last sample group that chunks of this number take."""
        per, group = self.region.domain.groups
        total = k.imul(per, k.idiv(k.iadd(k.n, group - 1), group)) if group else per
        first = k.imul(several, self.groups)
        return first, k.imin(k.iadd(first, self.groups), total)

    def write(self, k: Kernel) -> None:
        domain, dtype = self.region.domain, self.source.dtype
        several, part = k.idiv(k.chunk, self.parts), k.imod(k.chunk, self.parts)
        first_group, last_group = self.groups_of(k, several)
        transformed = k.scratch
        if self.apart:
            transformed = k.offset(k.operand(0), k.imul(several, self.kept * self.per_batch), dtype)
        blocks = -(-domain.blocks // self.parts)
        start = k.imul(part, blocks)
        stop = k.imin(k.iadd(start, blocks), domain.blocks)
        writer = RegionWriter(k, self.region, 2)

        def turn(first_tile: Index) -> None:
            with k.loop(first_group, first_group if self.apart else last_group) as number:
                first, _, last_tile = self.tiles(k, number.index, first_tile)
                own = k.offset(k.scratch, k.imul(k.isub(number.index, first_group), self.turn * self.per_batch), dtype)
                with k.loop(first_tile, last_tile) as tile:
                    turned = k.isub(tile.index, first_tile)
                    self.transform(k, own, first, tile.index, turned, (0, self.source.blocks))
            batches = k.imul(k.isub(last_group, first_group), self.turn) if self.kept > 1 else 1
            first, _, last_tile = self.tiles(k, first_group, first_tile)
            with k.loop(start, stop) as block:
                self._multiply(k, transformed, block.index, batches, (first, last_tile))
                with k.loop(first_group, last_group) as number:
                    products = self._products(k, k.imul(k.isub(number.index, first_group), self.turn))
                    self._block(k, writer, products, number.index, block.index, first_tile)

        turns = -(-self.batches // self.turn)
        if turns > 1:
            with k.loop(0, turns * self.turn * self.together, self.turn * self.together) as at:
                turn(at.index)
        else:
            turn(0)
        with k.loop(start, stop) as block, k.loop(first_group, last_group) as number:
            first, last = samples_of(k, domain, number.index)
            with k.loop(first, last) as sample:
                writer.begin_block(sample.index, block.index)
                writer.end_block()

    def tiles(self, k: Kernel, number: Index, first_tile: Index) -> tuple[Index, Index, Index]:
        """(first sample, past the last, past the last tile of the turn) of a sample group."""
        rows, columns = self.grid
        first, last = samples_of(k, self.region.domain, number)
        tiles = k.imul(k.isub(last, first), rows * columns)
        return first, last, k.imin(k.iadd(first_tile, self.turn * self.together), tiles)

    def _products(self, k: Kernel, batch: Index) -> Any:
        """M of a batch."""
        before = 0 if self.apart else self.kept * self.per_batch
        where = k.iadd(before, k.imul(batch, self.n * self.n * self.per_product))
        return k.offset(k.scratch, where, self.source.dtype)

    def _block(
        self, k: Kernel, writer: RegionWriter, products: Any, number: Index, block: Index, first_tile: Index
    ) -> None:
        """Y of one output block of a sample group's turn; sums go on where the turn before left them."""
        first, _, last_tile = self.tiles(k, number, first_tile)
        index = k.iadd(k.imul(number, self.region.domain.blocks), block)
        writer.begin_chunk()
        if not isinstance(first_tile, int):
            with k.when(k.compare(first_tile, ">", 0)):
                writer.resume_chunk(index)
        with k.loop(first_tile, last_tile) as tile:
            turned = k.isub(tile.index, first_tile)
            batch, place = k.idiv(turned, self.together), k.imod(turned, self.together)
            where = k.iadd(k.imul(batch, self.n * self.n * self.per_product), k.imul(place, LANES))
            self._backward(k, writer, block, first, tile.index, k.offset(products, where, self.source.dtype))
        writer.end_chunk(index)

    def _decode(self, k: Kernel, first: Index, tile: Index) -> tuple[Index, Index, Index]:
        """(sample, row, column) of a tile."""
        rows, columns = self.grid
        inside = k.imod(tile, rows * columns)
        return k.iadd(first, k.idiv(tile, rows * columns)), k.idiv(inside, columns), k.imod(inside, columns)

    def transform(
        self, k: Kernel, own: Any, first: Index, tile: Index, turned: Index, blocks: tuple[Index, Index]
    ) -> None:
        """V of one tile, the ``turned``-th of its turn, for a range of input blocks."""
        dtype, n = self.source.dtype, self.n
        sample, row, column = self._decode(k, first, tile)
        s = self.source.strides
        where = k.iadd(
            self.source.origin, k.imul(sample, s[0]),
            k.imul(row, self.tile * s[3]), k.imul(column, self.tile * s[4]),
            -self.before[0] * s[3] - self.before[1] * s[4],
        )  # fmt: skip
        corner = k.offset(k.operand(0), where, dtype)
        batch, place = k.idiv(turned, self.together), k.imod(turned, self.together)
        target = k.offset(own, k.iadd(k.imul(batch, self.per_batch), k.imul(place, BLOCK)), dtype)
        with k.loop(*blocks) as block:
            image = k.offset(corner, k.imul(block.index, s[1]), dtype)
            out = k.offset(target, k.imul(block.index, self.together * BLOCK), dtype)
            columns = [
                transform_input(k, [k.load(k.offset(image, i * s[3] + j * s[4], dtype), dtype, 64) for i in range(n)])
                for j in range(n)
            ]
            for i in range(n):
                for j, value in enumerate(transform_input(k, [columns[c][i] for c in range(n)])):
                    k.store(value, k.offset(out, (i * n + j) * self.per_position, dtype), dtype, 64)

    def _fetch(self, k: Kernel, first: Index, next_tile: Index, number: Index) -> None:
        """Asks for the pixels of one of the tiles to be transformed next, while there is nothing but arithmetic."""
        s, dtype = self.source.strides, self.source.dtype
        block, place = k.idiv(number, self.together), k.imod(number, self.together)
        sample, row, column = self._decode(k, first, k.iadd(next_tile, place))
        where = k.iadd(
            self.source.origin, k.imul(sample, s[0]), k.imul(block, s[1]),
            k.imul(row, self.tile * s[3]), k.imul(column, self.tile * s[4]),
        )  # fmt: skip
        exists = k.compare(sample, "<", self.region.domain.samples or k.n)
        with k.when(k.both(k.compare(number, "<", self.source.blocks * self.together), exists)):
            for i in range(self.tile):
                for j in range(self.tile):
                    k.prefetch(k.offset(k.operand(0), k.iadd(where, i * s[3] + j * s[4]), dtype))

    def _multiply(
        self, k: Kernel, transformed: Any, block: Index, batches: Index, upcoming: tuple[Index, Index]
    ) -> None:
        """M[batch][position][tile][16] = Σ_c V[batch][position][tile][c] · U[position][c][16].

        The filters of a position serve all batches before those of the next are read.
        """
        dtype = self.source.dtype
        positions = self.n * self.n
        per_position = self.source.channels * LANES + PADDING
        filters = k.offset(k.operand(1), k.imul(block, positions * per_position), dtype)
        with k.loop(0, positions) as position:
            if self.kept == 1 and not self.apart:
                self._fetch(k, *upcoming, k.iadd(k.imul(block, positions), position.index))
            u = k.offset(filters, k.imul(position.index, per_position), dtype)
            with k.loop(0, batches) as batch:
                before = k.iadd(k.imul(batch.index, self.per_batch), k.imul(position.index, self.per_position))
                out = k.offset(self._products(k, batch.index), k.imul(position.index, self.per_product), dtype)
                self._sum(k, k.offset(transformed, before, dtype), u, out)

    def _sum(self, k: Kernel, v: Any, u: Any, out: Any) -> None:
        """M[tile][16] = Σ_c V[tile][c] · U[c][16] of one position and batch."""
        dtype = self.source.dtype
        sums = [k.constant(0, dtype) for _ in range(self.together)]
        whole, rest = divmod(self.source.channels, BLOCK)

        def step(v: Any, u: Any, sums: list[Any], count: int) -> list[Any]:
            return multiply_accumulate(
                k, sums,
                [lambda c=c: k.load(k.offset(u, c * LANES, dtype), dtype, 64) for c in range(count)],
                [lambda c, t=t: k.broadcast(k.offset(v, t * BLOCK + c, dtype), dtype) for t in range(self.together)],
            )  # fmt: skip

        def blocks(first: Index, last: Index) -> list[Any]:
            with k.loop(first, last, carry=sums) as at:
                moved = k.offset(u, k.imul(at.index, BLOCK * LANES), dtype)
                at.carry = step(k.offset(v, k.imul(at.index, self.together * BLOCK), dtype), moved, at.carry, BLOCK)
            return at.result

        places = [k.offset(out, t * LANES, dtype) for t in range(self.together)]
        head = whole % SUMMED_APART or min(whole, SUMMED_APART)
        found = blocks(0, head) if head else sums
        if rest:
            at = k.offset(v, whole * self.together * BLOCK, dtype)
            found = step(at, k.offset(u, whole * BLOCK * LANES, dtype), found, rest)
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
        dtype, n, m = self.source.dtype, self.n, self.tile
        matrix = transforms(m, self.taps).output
        sample, row, column = self._decode(k, first, tile)
        step = self.per_product
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


@dataclass(frozen=True)
class WinogradInput(KernelSpec):
    """V = Bᵀ d B as a phase of its own: where channels are many, it is computed once, not by every chunk.

    A chunk is (sample groups that are convolved together, input block). Operands: x, V as
    [chunk of the convolution][batch][position][input block][tile][16].
    """

    convolution: WinogradConvolution

    @property
    def chunks(self) -> tuple[int, int]:
        """(per, group) of the chunks."""
        whole = replace(self.convolution, parts=self.convolution.source.blocks)
        return whole.chunks

    @property
    def buffer(self) -> tuple[int, int, int]:
        """(fixed, per_group, group) of the bytes of V."""
        c = self.convolution
        per, group = replace(c, parts=1).chunks
        size = per * c.kept * c.per_batch * c.source.dtype.numpy.itemsize
        return (0, size, group) if group else (size, 0, 1)

    def write(self, k: Kernel) -> None:
        c = self.convolution
        several, block = k.idiv(k.chunk, c.source.blocks), k.imod(k.chunk, c.source.blocks)
        first_group, last_group = c.groups_of(k, several)
        chunk = k.offset(k.operand(1), k.imul(several, c.kept * c.per_batch), c.source.dtype)
        with k.loop(first_group, last_group) as number:
            first, _, tiles = c.tiles(k, number.index, 0)
            before = k.imul(k.isub(number.index, first_group), c.turn * c.per_batch)
            own = k.offset(chunk, before, c.source.dtype)
            with k.loop(0, tiles) as tile:
                c.transform(k, own, first, tile.index, tile.index, (block, k.iadd(block, 1)))


def _edges(k: Kernel, index: Index, count: int, size: int, tile: int) -> list[tuple[Any, int]]:
    """(condition, pixels) of the tiles along an axis: whole ones, and a cut last one."""
    rest = size - (count - 1) * tile
    if rest == tile:
        return [(True, tile)]
    if count == 1:
        return [(True, rest)]
    return [(k.compare(index, "<", count - 1), tile), (k.compare(index, "==", count - 1), rest)]
