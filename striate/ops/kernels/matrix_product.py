"""The kernel of matrix products with a fused epilogue, which reads the right matrices in panels (``panels``).

A tile is the product of several rows of the left matrix and one or a few panels; its sums stay in registers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import LANES, Index, Pointer, Vector, vector_type
from striate.codegen.launch import KernelSpec
from striate.codegen.region import Region
from striate.codegen.region_writer import RegionWriter, Rows
from striate.dtypes import DType
from striate.ops.kernels.panels import Matrices, dot, unravelled

STRIP = 512
"""The most products that are added up in one register, because the rounding error of a sum grows with its length."""


UNROLLED = 4
"""Steps along the summed axis in one iteration of a loop."""


@dataclass(frozen=True)
class MatrixProduct(KernelSpec):
    """The kernel of a matrix product, C[b][m][n] = Σ_k A[b][m][k] · B[b][k][n], with fused elementwise work.

        left         the strides of A
        panels       the strides of the packed B along the batch axes, in elements; a panel is 16 columns of B
        batch        the sizes of the batch axes of C; that of N is 0
        rows         the number of rows of C, or 0 if they are the N samples
        depth        the number of products in a sum
        columns      the number of columns of C
        tile         (rows, panels) of a tile, whose sums are in registers together
        group        the number of indices of axis 0 in a chunk
        row_part     the number of rows in a chunk, if there are batch axes
        column_part  the number of panels in a chunk

    A chunk, the unit of work of a thread, is ``group`` indices of axis 0 of C, one index of each other batch axis, and
    ``row_part`` rows and ``column_part`` panels of each matrix. If there are no batch axes, axis 0 of C are its rows.
    Operands: A, the panels of B, then those of ``region``, the fused elementwise work.
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
        """The pair (number of parts of the rows, number of parts of the panels) into which chunks divide each matrix.

        A chunk is the unit of work of a thread, and a panel is 16 columns. Without batch axes, the first number is 1.
        """
        across = -(-self.blocks // self.column_part)
        return (-(-self.rows // self.row_part) if self.batch else 1), across

    @property
    def blocks(self) -> int:
        """The number of panels, 16 columns each, of one matrix."""
        return -(-self.columns // LANES)

    @property
    def chunks(self) -> tuple[int, int]:
        """The number of chunks as a pair (per, group).

        A chunk is the unit of work of a thread. There are ``per`` chunks in all if group is 0, else ``per`` for every
        ``group`` samples, and as many for an incomplete last group.
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
            *unravelled(k, k.chunk, (*inner, down, across)),
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
            left = k.offset(k.operand(0), dot(k, at, self.left.batch), self.dtype)
            right = k.offset(k.operand(1), dot(k, at, self.panels), self.dtype)
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

    The first factor is one element, the second a vector of 16, both of the dtype ``dtype``; ``step`` and all offsets
    are in elements. Returns the new sums.
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
