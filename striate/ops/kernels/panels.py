"""The operands of matrix products: strides of matrices in memory, and the kernel that packs them into panels.

A panel is 16 columns of the right matrix, one row after another: [k][16].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import LANES, Index, Pointer
from striate.codegen.launch import KernelSpec
from striate.dtypes import DType


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


def dot(k: Kernel, indices: Sequence[Index], strides: Sequence[int]) -> Index:
    """Emit Σ index · stride over some axes: the offset in elements of the element with these indices."""
    return k.iadd(0, *(k.imul(index, stride) for index, stride in zip(indices, strides, strict=True)))


def unravelled(k: Kernel, number: Index, sizes: Sequence[int]) -> list[Index]:
    """Emit the index of an element along each axis, from its row-major ``number`` in an array of these ``sizes``."""
    found: list[Index] = []
    for size in reversed(sizes):
        found.insert(0, k.imod(number, size))
        number = k.idiv(number, size)
    return found


@dataclass(frozen=True)
class PackPanels(KernelSpec):
    """The kernel that packs matrices into panels of 16 columns, [batch…][panel][k][16].

    ``source`` has the strides of the matrices, which have ``depth`` rows (index k) and ``columns`` columns. In the last
    panel, lanes without a column are undefined. ``batch`` are the sizes of the batch axes, 0 for N. A chunk, the unit
    of work of a thread, is one panel. Operands: the matrices, the panels.
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

        A chunk, the unit of work of a thread, is one panel. There are ``per`` panels in all if group is 0, or ``per``
        panels for each sample (group 1) if axis 0 is N.
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
        places = [k.idiv(number, math.prod(inner)), *unravelled(k, number, inner)] if self.batch else []
        where = k.iadd(dot(k, places, self.source.batch), k.imul(block, LANES * self.source.column))
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

    The elements, of the dtype ``dtype``, begin at the address ``source`` and are ``step`` elements apart; ``target`` is
    the address of the row.
    """
    if step == 1:
        row = k.load_masked(source, dtype, count)
    else:
        row = k.load_strided(source, dtype, step, count)
    k.store(row, target, dtype, 64)
