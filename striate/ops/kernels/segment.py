"""The kernel of ``ops.segment.SegmentSum``: sums over segments of a vector."""

from __future__ import annotations

from dataclasses import dataclass

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import LANES, Index, Vector
from striate.codegen.launch import KernelSpec
from striate.dtypes import DType

_TILE = 4
"""Vectors that are summed in parallel, so that the additions do not wait for each other."""


@dataclass(frozen=True)
class SegmentSums(KernelSpec):
    """The kernel that computes y[i] = Σ x over the segment that contains i. Sums are accumulated in float64.

    ``bounds`` are increasing: segment s holds the elements from bounds[s] to bounds[s + 1] − 1. A chunk, the unit of
    work of a thread, is one segment. Operands: x, y.
    """

    bounds: tuple[int, ...]
    dtype: DType

    def write(self, k: Kernel) -> None:
        table = k.table(self.bounds, DType.int64)
        start = k.look_up(table, k.chunk, DType.int64)
        count = k.isub(k.look_up(table, k.iadd(k.chunk, 1), DType.int64), start)
        x, y = (k.offset(k.operand(number), start, self.dtype) for number in (0, 1))
        whole, tiles = k.idiv(count, LANES), k.idiv(count, LANES * _TILE)
        rest = k.imod(count, LANES)

        def load(vector: Index) -> Vector:
            return k.convert(k.load(k.offset(x, k.imul(vector, LANES), self.dtype), self.dtype), DType.float64)

        with k.loop(0, tiles, carry=[k.constant(0, DType.float64)] * _TILE) as tile:
            first = k.imul(tile.index, _TILE)
            tile.carry = [k.add(total, load(k.iadd(first, i))) for i, total in enumerate(tile.carry)]
        with k.loop(k.imul(tiles, _TILE), whole, carry=[k.tree(k.add, tile.result)]) as vector:
            vector.carry = [k.add(vector.carry[0], load(vector.index))]
        last = k.imul(whole, LANES)
        tail = k.convert(k.load_masked(k.offset(x, last, self.dtype), self.dtype, rest), DType.float64)
        total = k.convert(k.splat(k.add_lanes(k.add(vector.result[0], tail))), self.dtype)
        with k.loop(0, whole) as vector:
            k.store(total, k.offset(y, k.imul(vector.index, LANES), self.dtype), self.dtype)
        k.store_masked(total, k.offset(y, last, self.dtype), self.dtype, rest)
