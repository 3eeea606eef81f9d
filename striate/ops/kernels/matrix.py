"""The kernels of matrix products: packing into panels, products with an epilogue, and products summed over batch axes.

A panel is 16 columns of the right matrix, one row after another: [k][16]. A tile is the product of several rows of the
left matrix and one or a few panels; its sums stay in registers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import LANES, Index, Pointer, Vector, vector_type
from striate.codegen.launch import KernelSpec
from striate.codegen.region import Region
from striate.codegen.region_writer import RegionWriter, Rows
from striate.dtypes import DType

STRIP = 512
"""The most products that are added up in one register, because the rounding error of a sum grows with its length."""

SUMMED = 128
"""The same limit for sums over samples, of which there may be millions.

It is lower, because the rounding errors do not cancel if all products are similar.
"""

UNROLLED = 4
"""Steps along the summed axis in one iteration of a loop."""


@dataclass(frozen=True)
class Matrices:
    """The strides of an operand's matrices, in elements: along the batch axes, between rows, and between columns.

    ``row`` is the distance between neighbouring rows, and ``column`` that between neighbouring columns. The stride of a
    batch axis is 0 if the operand is broadcast along it.
    """

    batch: tuple[int, ...]
    row: int
    column: int

    def transposed(self) -> Matrices:
        """Return the strides of the transposed matrices in the same memory."""
        return Matrices(self.batch, self.column, self.row)


def _dot(k: Kernel, indices: Sequence[Index], strides: Sequence[int]) -> Index:
    return k.iadd(0, *(k.imul(index, stride) for index, stride in zip(indices, strides, strict=True)))


def _unravelled(k: Kernel, number: Index, sizes: Sequence[int]) -> list[Index]:
    """Emit the indices along axes of the given sizes from the row-major number of an element."""
    found: list[Index] = []
    for size in reversed(sizes):
        found.insert(0, k.imod(number, size))
        number = k.idiv(number, size)
    return found


@dataclass(frozen=True)
class PackPanels(KernelSpec):
    """The kernel that packs matrices into panels of 16 columns, [batch…][panel][k][16].

    ``source`` has the strides of the matrices, which have ``depth`` rows (index k) and ``columns`` columns; lanes after
    the last column are undefined. ``batch`` are the sizes of the batch axes, 0 for N. A chunk, the unit of work of a
    thread, is one panel. Operands: the matrices, the panels.
    """

    dtype: DType
    source: Matrices
    batch: tuple[int, ...]  # sizes of the batch axes; that of N is 0
    depth: int
    columns: int

    @property
    def blocks(self) -> int:
        """The number of panels, 16 columns each, of one matrix."""
        return -(-self.columns // LANES)

    @property
    def chunks(self) -> tuple[int, int]:
        """The number of chunks as a pair (per, group).

        It is ``per`` panels in all if group is 0, or ``per`` panels for each sample (group 1) if axis 0 is N.
        """
        symbolic = bool(self.batch) and self.batch[0] == 0
        return math.prod(size for size in self.batch if size) * self.blocks, 1 if symbolic else 0

    @property
    def panel_strides(self) -> tuple[int, ...]:
        """The strides of the packed matrices along each batch axis, in elements; 0 for axes of size 1."""
        each = self.blocks * self.depth * LANES
        inner = [math.prod(self.batch[axis + 1 :]) for axis in range(len(self.batch))]
        return tuple(each * count if size != 1 else 0 for count, size in zip(inner, self.batch, strict=True))

    def write(self, k: Kernel) -> None:
        number, block = k.idiv(k.chunk, self.blocks), k.imod(k.chunk, self.blocks)
        inner = self.batch[1:]
        places = [k.idiv(number, math.prod(inner)), *_unravelled(k, number, inner)] if self.batch else []
        where = k.iadd(_dot(k, places, self.source.batch), k.imul(block, LANES * self.source.column))
        source = k.offset(k.operand(0), where, self.dtype)
        target = k.offset(k.operand(1), k.imul(k.chunk, self.depth * LANES), self.dtype)
        count = LANES
        if self.columns % LANES:
            count = k.imin(LANES, k.isub(self.columns, k.imul(block, LANES)))
        with k.loop(0, self.depth) as row:
            panel_row(k, self.dtype, k.offset(source, k.imul(row.index, self.source.row), self.dtype),
                      self.source.column, count, k.offset(target, k.imul(row.index, LANES), self.dtype))  # fmt: skip


def panel_row(k: Kernel, dtype: DType, source: Pointer, step: int, count: Index, target: Pointer) -> None:
    """Emit code that copies ``count`` elements to one row of a panel.

    The elements, of the dtype ``dtype``, are read from ``source`` on, at a distance of ``step`` elements; ``target`` is
    the address of the row.
    """
    if step == 1:
        row = k.load_masked(source, dtype, count)
    else:
        row = k.load_strided(source, dtype, step, count)
    k.store(row, target, dtype, 64)


@dataclass(frozen=True)
class MatrixProduct(KernelSpec):
    """The kernel of a matrix product, C[b][m][n] = Σ_k A[b][m][k] · B[b][k][n], with a fused epilogue.

        left         the strides of A
        panels       the strides of the packed B along the batch axes, in elements
        batch        the sizes of the batch axes of C; that of N is 0
        rows         the number of rows of C, or 0 if they are the N samples
        depth        the number of products in a sum
        columns      the number of columns of C
        tile         (rows, panels) of a tile
        group        the number of indices of axis 0 in a chunk
        row_part     the number of rows in a chunk, if there are batch axes
        column_part  the number of panels in a chunk

    A chunk, the unit of work of a thread, is ``group`` indices of axis 0 of C, one index of each other batch axis, and
    ``row_part`` rows and ``column_part`` panels of each matrix. If there are no batch axes, axis 0 of C are its rows.
    Operands: A, the panels of B, then those of the epilogue, ``region``.
    """

    dtype: DType
    left: Matrices
    panels: tuple[int, ...]  # elements from one matrix to the next along the batch axes
    batch: tuple[int, ...]  # sizes of the batch axes of the result; that of N is 0
    rows: int  # of the result; 0 if they are the N samples
    depth: int
    columns: int
    tile: tuple[int, int]  # rows and panels
    group: int  # indices of axis 0 in a chunk
    row_part: int  # rows in a chunk, if there are batch axes
    column_part: int  # panels in a chunk
    region: Region

    @property
    def parts(self) -> tuple[int, int]:
        """(number of parts of the rows, number of parts of the panels) into which chunks divide a matrix."""
        across = -(-self.blocks // self.column_part)
        return (-(-self.rows // self.row_part) if self.batch else 1), across

    @property
    def blocks(self) -> int:
        """The number of panels, 16 columns each, of one matrix."""
        return -(-self.columns // LANES)

    @property
    def chunks(self) -> tuple[int, int]:
        """The number of chunks as a pair (per, group).

        It is ``per`` if group is 0, else ``per`` for every ``group`` samples; the last group may have fewer samples.
        """
        first = self.batch[0] if self.batch else self.rows
        per = math.prod(self.batch[1:]) * math.prod(self.parts)
        return (per, self.group) if not first else (per * -(-first // self.group), 0)

    def write(self, k: Kernel) -> None:
        kinds = {0: Rows.SAMPLES, 1: Rows.CHANNELS}
        writer = RegionWriter(k, self.region, 2, kinds.get(len(self.batch), Rows.HEIGHT))
        writer.begin_chunk()
        down, across = self.parts
        inner = self.batch[1:]
        number, *rest = [
            k.idiv(k.chunk, math.prod(inner) * down * across),
            *_unravelled(k, k.chunk, (*inner, down, across)),
        ]
        *places, row_part, column_part = rest
        first = k.imul(number, self.group)
        total: Index = (self.batch[0] if self.batch else self.rows) or k.n
        last = k.imin(k.iadd(first, self.group), total)
        panels = k.imul(column_part, self.column_part), k.imul(k.iadd(column_part, 1), self.column_part)
        if not self.batch:
            writer.begin_block(0, 0)
            self._matrix(k, writer, 0, k.operand(0), k.operand(1), (first, last), panels)
            return
        start = k.imul(row_part, self.row_part)
        rows = (start, k.imin(k.iadd(start, self.row_part), self.rows))
        with k.loop(first, last) as sample:
            at = [sample.index, *places]
            left = k.offset(k.operand(0), _dot(k, at, self.left.batch), self.dtype)
            right = k.offset(k.operand(1), _dot(k, at, self.panels), self.dtype)
            writer.begin_block(sample.index, places[0] if places else 0)
            self._matrix(k, writer, places[1] if len(places) > 1 else 0, left, right, rows, panels)
            if len(self.batch) == 1:
                writer.end_rows(*rows)
            else:
                writer.end_block()

    def _matrix(
        self, k: Kernel, writer: RegionWriter, plane: Index, left: Pointer, right: Pointer,
        rows: tuple[Index, Index], panels: tuple[Index, Index],
    ) -> None:  # fmt: skip
        """Emit the product for a range of rows and a range of panels of one matrix; both ranges exclude their end."""
        whole = self.columns // LANES
        wide = self.tile[1]
        first = panels[0]
        last = k.imin(panels[1], whole)
        middle = k.iadd(first, k.imul(k.idiv(k.imax(k.isub(last, first), 0), wide), wide))

        def run(block: Index, many: int, count: int) -> None:
            here = k.offset(right, k.imul(block, self.depth * LANES), self.dtype)
            for start, stop, step in self._runs(k, *rows):
                with k.loop(start, stop, step) as row:
                    line = k.offset(left, k.imul(row.index, self.left.row), self.dtype)
                    sums = self._sums(k, line, here, step, many)
                    writer.row(plane, row.index)
                    places = [(r, c) for r in range(step) for c in range(many)]
                    writer.tile(block, places, [[value] for value in sums], count)

        if whole >= wide:
            with k.loop(first, middle, wide) as block:
                run(block.index, wide, LANES)
        if wide > 1 and whole:
            with k.loop(middle, last) as block:
                run(block.index, 1, LANES)
        if self.columns % LANES:
            with k.when(k.compare(panels[1], ">", whole)):
                run(whole, 1, self.columns % LANES)

    def _runs(self, k: Kernel, first: Index, last: Index) -> Iterator[tuple[Index, Index, int]]:
        """Yield (first, last + 1, step) for loops over tiles of ``step`` rows that together cover the rows.

        If the number of rows is known, only the last part of the rows can end with an incomplete tile.
        """
        tall = self.tile[0]
        middle = k.iadd(first, k.imul(k.idiv(k.isub(last, first), tall), tall))
        yield first, middle, tall
        if not self.rows:
            for step in (4, 1):
                if step < tall:
                    end = k.iadd(middle, k.imul(k.idiv(k.isub(last, middle), step), step))
                    yield middle, end, step
                    middle = end
        elif self.rows % tall:
            yield middle, last, self.rows % tall

    def _sums(self, k: Kernel, line: Pointer, panel: Pointer, rows: int, panels: int) -> list[Vector]:
        """Emit the sums of one tile: ``rows`` rows of A times ``panels`` panels of B, in row-major order."""
        zeros = [k.constant(0, self.dtype) for _ in range(rows * panels)]

        def add(start: Index, count: int, sums: list[Vector]) -> list[Vector]:
            here = k.offset(panel, k.imul(start, LANES), self.dtype)
            along = k.offset(line, k.imul(start, self.left.column), self.dtype)
            apart = [p * self.depth * LANES for p in range(panels)]
            offsets = [r * self.left.row for r in range(rows)]
            return steps(k, self.dtype, along, self.left.column, here, offsets, apart, count, sums)

        whole, rest = divmod(self.depth, STRIP)
        if whole + (rest > 0) <= 1:
            return add(0, self.depth, zeros)
        slots = [k.local(vector_type(self.dtype)) for _ in zeros]
        for slot in slots:
            k.builder.store(k.constant(0, self.dtype), slot, align=64)

        def keep(values: Sequence[Vector]) -> None:
            for slot, value in zip(slots, values, strict=True):
                total = k.add(k.builder.load(slot, vector_type(self.dtype), align=64), value)
                k.builder.store(total, slot, align=64)

        with k.loop(0, whole) as strip:
            keep(add(k.imul(strip.index, STRIP), STRIP, zeros))
        if rest:
            keep(add(whole * STRIP, rest, zeros))
        return [k.builder.load(slot, vector_type(self.dtype), align=64) for slot in slots]


def steps(
    k: Kernel, dtype: DType, line: Pointer, step: int, panel: Pointer, offsets: Sequence[int], panels: Sequence[int],
    count: int, sums: list[Vector],
) -> list[Vector]:  # fmt: skip
    """Emit sums[r, p] += Σ_i line[offsets[r] + step · i] · panel[panels[p] + 16 · i] over 0 ≤ i < ``count``.

    The first factor is one element, the second a vector of 16, both of the dtype ``dtype``; all offsets are in
    elements. Returns the new sums.
    """

    def body(here: Pointer, rows: Pointer, many: int, carry: list[Vector]) -> list[Vector]:
        for i in range(many):
            columns = [k.load(k.offset(here, p + i * LANES, dtype), dtype, 64) for p in panels]
            found: list[Vector] = []
            for r, offset in enumerate(offsets):
                x = k.broadcast(k.offset(rows, offset + i * step, dtype), dtype)
                for p, column in enumerate(columns):
                    found.append(k.multiply_add(x, column, carry[r * len(panels) + p]))
            carry = found
        return carry

    whole = count // UNROLLED
    if whole:
        with k.loop(0, whole * UNROLLED, UNROLLED, carry=sums) as at:
            here = k.offset(panel, k.imul(at.index, LANES), dtype)
            at.carry = body(here, k.offset(line, k.imul(at.index, step), dtype), UNROLLED, at.carry)
        sums = at.result
    done = whole * UNROLLED
    rest = count - done
    return body(k.offset(panel, done * LANES, dtype), k.offset(line, done * step, dtype), rest, sums) if rest else sums


@dataclass(frozen=True)
class Term:
    """One axis that is summed over, with its strides ``left`` and ``right`` in the operands A and B, in elements.

    If ``batched``, the axis is N joined with others: it has ``size`` indices for each of the N samples.
    """

    size: int
    batched: bool
    left: int
    right: int


def joined_terms(terms: Sequence[Term]) -> tuple[Term, ...]:
    """Return ``terms`` with those neighbouring axes joined that a single stride traverses in both operands.

    Axes of size 1 are left out.
    """
    found: list[Term] = []
    for term in terms:
        if term.size == 1 and not term.batched and found:
            continue
        last = found[-1] if found else None
        if last and last.size == 1 and not last.batched:
            found[-1] = term
        elif last and (last.left, last.right) == (term.left * term.size, term.right * term.size):
            found[-1] = Term(last.size * term.size, last.batched, term.left, term.right)
        else:
            found.append(term)
    return tuple(found)


Step = Callable[[Index, Index, Index, list[Vector]], list[Vector]]
"""Emits the work for one product: (row of the packed strip, offset in A, offset in B, carry) → carry."""


@dataclass(frozen=True)
class MatrixSum(KernelSpec):
    """The kernel of products that are summed over several axes: C[b][m][n] = Σ A[…][m] · B[…][n].

    ``terms`` are the summed axes; the outermost of them is divided into ``shares``. ``left`` and ``right`` are the
    strides of A and B along the batch axes of C, which have the sizes ``batch`` (0 for N). Each matrix C[b] has
    ``rows`` × ``columns`` elements; a panel is 16 of the columns, and the sums of ``tile`` rows of a panel are in
    registers together. A chunk, the unit of work of a thread, is one panel for one share and one index of the batch
    axes. Strips of at most ``SUMMED`` products are summed in ``dtype``, and the sums of the strips are added in
    float64. Operands: A, B, and the partial sums [share][b][panel][m][16] in float64, which ``AddShares`` adds up.
    """

    dtype: DType
    terms: tuple[Term, ...]
    left: Matrices  # rows are m
    right: Matrices  # columns are n
    batch: tuple[int, ...]  # sizes of the kept batch axes; that of N is 0
    rows: int
    columns: int
    shares: int
    tile: int

    @property
    def blocks(self) -> int:
        """The number of panels, 16 columns each, of one matrix of the result."""
        return -(-self.columns // LANES)

    @property
    def units(self) -> int:
        """The number of panels of all matrices of C; if axis 0 is N, the number for one sample."""
        return math.prod(size for size in self.batch if size) * self.blocks

    @property
    def per_sample(self) -> bool:
        """Whether axis 0 of the result is N, so that every sample has its own matrices."""
        return bool(self.batch) and self.batch[0] == 0

    @property
    def per_unit(self) -> int:
        """The number of float64 partial sums of one panel."""
        return self.rows * LANES

    @property
    def scratch_bytes(self) -> int:
        """The number of bytes of scratch memory for each thread: it holds the packed strip of B in use."""
        return SUMMED * LANES * self.dtype.numpy.itemsize

    @property
    def inner(self) -> int:
        """The number of products in one element of C for each index of the outermost summed axis."""
        return math.prod(term.size for term in self.terms[1:])

    def write(self, k: Kernel) -> None:
        share = 0 if self.shares == 1 else k.idiv(k.chunk, self.units)
        unit = k.chunk if self.per_sample else k.imod(k.chunk, self.units)
        number, block = k.idiv(unit, self.blocks), k.imod(unit, self.blocks)
        inner = self.batch[1:]
        places = [k.idiv(number, math.prod(inner)), *_unravelled(k, number, inner)] if self.batch else []
        left = k.offset(k.operand(0), _dot(k, places, self.left.batch), self.dtype)
        where = k.iadd(_dot(k, places, self.right.batch), k.imul(block, LANES * self.right.column))
        right = k.offset(k.operand(1), where, self.dtype)
        kept = k.offset(k.operand(2), k.imul(k.chunk, self.per_unit), DType.float64)
        count: Index = LANES
        if self.columns % LANES:
            count = k.imin(LANES, k.isub(self.columns, k.imul(block, LANES)))
        with k.loop(0, self.per_unit, LANES) as at:
            zero = k.constant(0, DType.float64)
            k.store(zero, k.offset(kept, at.index, DType.float64), DType.float64, 64)
        outer = self.terms[0]
        total: Index = k.imul(k.n, outer.size) if outer.batched else outer.size
        first = k.idiv(k.imul(total, share), self.shares)
        last = k.idiv(k.imul(total, k.iadd(share, 1)), self.shares)
        if self.inner <= SUMMED:
            together = SUMMED // self.inner
            with k.loop(first, last, together) as some:
                stop = k.imin(k.iadd(some.index, together), last)
                self._strip(k, left, right, count, kept, self.terms, (some.index, stop))
            return

        def within(terms: Sequence[Term], a: Pointer, b: Pointer, start: Index, stop: Index) -> None:
            """Emit loops over all summed axes but the last, along which strips are summed."""
            term, *rest = terms
            if not rest:
                with k.loop(start, stop, SUMMED) as some:
                    end = k.imin(k.iadd(some.index, SUMMED), stop)
                    self._strip(k, a, b, count, kept, (term,), (some.index, end))
                return
            with k.loop(start, stop) as at:
                here = k.offset(a, k.imul(at.index, term.left), self.dtype)
                there = k.offset(b, k.imul(at.index, term.right), self.dtype)
                within(rest, here, there, 0, rest[0].size)

        within(self.terms, left, right, first, last)

    def _strip(
        self, k: Kernel, left: Pointer, right: Pointer, count: Index, kept: Pointer, terms: tuple[Term, ...],
        bounds: tuple[Index, Index],
    ) -> None:  # fmt: skip
        """Emit the packing of a strip of B, and the addition of its products to all rows of the partial sums."""
        dtype = self.dtype
        inner = [term.size for term in terms[1:]]
        start = bounds[0]

        def walk(body: Step, carry: list[Vector]) -> list[Vector]:
            """Emit loops over all products of the strip, with ``body`` inside; return the loop-carried values."""

            def level(axis: int, row: Index, a: Index, b: Index, values: list[Vector]) -> list[Vector]:
                if axis == len(terms):
                    return body(row, a, b, values)
                span = bounds if axis == 0 else (0, terms[axis].size)
                with k.loop(*span, carry=values) as at:
                    own = k.isub(at.index, start) if axis == 0 else at.index
                    moved = k.iadd(row, k.imul(own, math.prod(inner[axis:])))
                    here, there = k.imul(at.index, terms[axis].left), k.imul(at.index, terms[axis].right)
                    at.carry = level(axis + 1, moved, k.iadd(a, here), k.iadd(b, there), at.carry)
                return at.result

            return level(0, 0, 0, 0, carry)

        def pack(row: Index, a: Index, b: Index, carry: list[Vector]) -> list[Vector]:
            target = k.offset(k.scratch, k.imul(row, LANES), dtype)
            panel_row(k, dtype, k.offset(right, b, dtype), self.right.column, count, target)
            return carry

        walk(pack, [])
        whole = self.rows // self.tile * self.tile
        for first, last, step in ((0, whole, self.tile), (whole, self.rows, self.rows - whole)):
            if first == last:
                continue
            with k.loop(first, last, step) as at:
                lines = k.offset(left, k.imul(at.index, self.left.row), dtype)

                def add(row: Index, a: Index, b: Index, carry: list[Vector], lines: Pointer = lines) -> list[Vector]:
                    column = k.load(k.offset(k.scratch, k.imul(row, LANES), dtype), dtype, 64)
                    here = k.offset(lines, a, dtype)
                    return [
                        k.multiply_add(k.broadcast(k.offset(here, r * self.left.row, dtype), dtype), column, total)
                        for r, total in enumerate(carry)
                    ]

                sums = walk(add, [k.constant(0, dtype) for _ in range(step)])
                for r, value in enumerate(sums):
                    place = k.offset(kept, k.imul(k.iadd(at.index, r), LANES), DType.float64)
                    total = k.add(k.load(place, DType.float64, 64), k.convert(value, DType.float64))
                    k.store(total, place, DType.float64, 64)


@dataclass(frozen=True)
class AddShares(KernelSpec):
    """The kernel that adds the partial sums of a ``MatrixSum`` over its shares, in order, and stores the result C.

    C is in NumPy's order. A chunk, the unit of work of a thread, is one panel of one matrix. Operands: partial sums, C.
    """

    sums: MatrixSum

    def write(self, k: Kernel) -> None:
        s = self.sums
        number, block = k.idiv(k.chunk, s.blocks), k.imod(k.chunk, s.blocks)
        base = k.offset(k.operand(0), k.imul(k.chunk, s.per_unit), DType.float64)
        where = k.iadd(k.imul(number, s.rows * s.columns), k.imul(block, LANES))
        target = k.offset(k.operand(1), where, s.dtype)
        count: Index = LANES
        if s.columns % LANES:
            count = k.imin(LANES, k.isub(s.columns, k.imul(block, LANES)))
        with k.loop(0, s.rows) as row:
            start = k.load(k.offset(base, k.imul(row.index, LANES), DType.float64), DType.float64, 64)
            total = start
            if s.shares > 1:
                with k.loop(1, s.shares, carry=[start]) as share:
                    place = k.iadd(k.imul(row.index, LANES), k.imul(share.index, s.units * s.per_unit))
                    more = k.load(k.offset(base, place, DType.float64), DType.float64, 64)
                    share.carry = [k.add(share.carry[0], more)]
                total = share.result[0]
            place = k.offset(target, k.imul(row.index, s.columns), s.dtype)
            k.store_masked(k.convert(total, s.dtype), place, s.dtype, count)
