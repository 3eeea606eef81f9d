"""The kernels of matrix products that are summed over several axes, such as the weight gradient of a linear layer.

The sum over the outermost axis is divided into shares, whose partial sums are added in a fixed order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import LANES, Index, Pointer, Vector
from striate.codegen.launch import KernelSpec
from striate.dtypes import DType
from striate.ops.kernels.panels import Matrices, dot, panel_row, unravelled

SUMMED = 128
"""The most products that are added up in ``dtype``, before their sum is added to the total in float64.

The limit is lower than that of ``matrix_product``, because there may be millions of samples to sum over, and the
rounding errors do not cancel if all products are similar.
"""


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
    """Return ``terms`` after joining neighbouring axes that can be traversed with one stride in A and one in B.

    Axes of size 1 are left out, unless all axes have size 1.
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
        """The number of panels (16 columns each) of all matrices of C; if axis 0 is N, the number for one sample."""
        return math.prod(size for size in self.batch if size) * self.blocks

    @property
    def per_sample(self) -> bool:
        """Whether every sample has its own matrices: axis 0 of the result is then the batch axis."""
        return bool(self.batch) and self.batch[0] == 0

    @property
    def per_unit(self) -> int:
        """The number of float64 partial sums of one panel (16 columns of the result)."""
        return self.rows * LANES

    @property
    def scratch_bytes(self) -> int:
        """The number of bytes of scratch memory for each thread, which holds packed elements of B."""
        return SUMMED * LANES * self.dtype.numpy.itemsize

    @property
    def inner(self) -> int:
        """The number of products that each index of the outermost summed axis adds to one element of C."""
        return math.prod(term.size for term in self.terms[1:])

    def write(self, k: Kernel) -> None:
        share = 0 if self.shares == 1 else k.idiv(k.chunk, self.units)
        unit = k.chunk if self.per_sample else k.imod(k.chunk, self.units)
        number, block = k.idiv(unit, self.blocks), k.imod(unit, self.blocks)
        inner = self.batch[1:]
        places = [k.idiv(number, math.prod(inner)), *unravelled(k, number, inner)] if self.batch else []
        left = k.offset(k.operand(0), dot(k, places, self.left.batch), self.dtype)
        where = k.iadd(dot(k, places, self.right.batch), k.imul(block, LANES * self.right.column))
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

    A share is a part of the outermost summed axis. C is in NumPy's order. A chunk, the unit of work of a thread, is one
    panel (16 columns) of one matrix. Operands: partial sums, C.
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
