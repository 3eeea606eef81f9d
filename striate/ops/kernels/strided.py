"""The kernel of the input gradient of a convolution with a large stride.

It loops over the residues of the position modulo the stride. The kernels in ``direct`` have separate code for each
residue, which would be too much code here: with a stride of 7, there are 49 residues in two dimensions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import LANES, Index, Pointer, Vector
from striate.codegen.region_writer import RegionWriter
from striate.ops.kernels.direct import DirectConvolution
from striate.ops.kernels.geometry import Residues

MOST_PARTS = 8
"""The most residues for which the kernels in ``direct`` are used: those of a stride of 2 in three dimensions."""


@dataclass(frozen=True)
class _Taps:
    """The taps that reach a position of x along one axis, as indices in a kernel.

    There are ``count`` taps, ``Residues.hop`` apart, starting with ``first``, which reads dy at position ``place``.
    """

    first: Index
    count: Index
    place: Index


def _taps(k: Kernel, axis: Residues, position: Index) -> _Taps:
    """Emit the taps that reach ``position``: ``Residues.first`` and ``Residues.span`` computed at run time."""
    shifted = k.iadd(position, axis.before)
    first = k.imod(k.imul(k.idiv(shifted, axis.common), axis.inverse), axis.hop)
    reached = k.imax(k.isub(1, k.imod(shifted, axis.common)), 0)  # 1 for multiples of ``common``, else 0
    count = k.imul(k.idiv(k.isub(axis.kernel + axis.hop - 1, first), axis.hop), reached)
    # The quotient may be negative, and division rounds down only for numbers of 0 or more.
    more = (axis.hop - 1) * axis.dilation // axis.stride + 1
    moved = k.isub(k.iadd(shifted, more * axis.stride), k.imul(first, axis.dilation))
    return _Taps(first, count, k.isub(k.idiv(moved, axis.stride), more))


@dataclass(frozen=True)
class StridedGradient(DirectConvolution):
    """The kernel of dx[i] = Σ_c Σ_k w[k][c] · dy[c][(i + before − k · dilation) / stride].

    The sum is over the taps k for which the quotient is whole; ``residues`` describe these taps along each axis. The
    positions of a row with the same residue modulo the stride have the same taps; ``columns`` of them are computed at a
    time. The weights are packed as a single part. Operands: dy, the packed weights, and then those of the region.
    """

    residues: tuple[Residues, Residues, Residues]
    columns: int

    @property
    def taps(self) -> int:
        return math.prod(axis.kernel for axis in self.residues)

    def write_image(self, k: Kernel, writer: RegionWriter, image: Pointer, weights: Pointer) -> None:
        dtype = self.source.dtype
        depth, height, width = self.residues
        strides = self.source.strides[2:]
        with k.loop(0, depth.size) as d, k.loop(0, height.size) as h:
            planes, rows = _taps(k, depth, d.index), _taps(k, height, h.index)
            writer.row(d.index, h.index)
            with k.loop(0, width.count) as start:
                taps = (planes, rows, _taps(k, width, start.index))
                places = (k.imul(one.place, stride) for one, stride in zip(taps, strides, strict=True))
                corner = k.offset(image, k.iadd(*places), dtype)
                row = k.iadd(k.imul(planes.first, height.kernel), rows.first)
                number = k.iadd(k.imul(row, width.kernel), taps[2].first)
                filters = k.offset(weights, k.imul(number, self.inner * LANES), self.factors)
                for begin, end, step in self._runs(k, start.index):
                    with k.loop(begin, end, step) as column:
                        x = k.offset(corner, k.imul(column.index, strides[2]), dtype)
                        sums = self._sums(k, taps, x, filters, [j * strides[2] for j in range(step)])
                        at = k.iadd(start.index, k.imul(column.index, width.stride))
                        spread = [(0, j * width.stride) for j in range(step)]
                        writer.tile(at, spread, [[value] for value in sums])

    def _runs(self, k: Kernel, start: Index) -> list[tuple[Index, Index, int]]:
        """Return (first, last + 1, step) for loops over tiles of ``step`` positions that cover those of a residue.

        The number of positions differs by at most 1 between residues.
        """
        width = self.residues[2]
        least, most = width.positions(width.count - 1), width.positions(0)
        tile = min(self.columns, least)
        whole = least // tile * tile
        runs: list[tuple[Index, Index, int]] = [(0, whole, tile)]
        if least > whole:
            runs.append((whole, least, least - whole))
        if most > least:
            count = k.idiv(k.isub(width.size + width.stride - 1, start), width.stride)
            runs.append((least, count, 1))
        return runs

    def _sums(
        self, k: Kernel, taps: Sequence[_Taps], corner: Pointer, weights: Pointer, offsets: Sequence[int]
    ) -> list[Vector]:
        """Emit the sums of one tile, over the blocks of input channels, the taps, and the channels of a block."""
        dtype = self.source.dtype

        def add(x: Pointer, w: Pointer, sums: list[Vector], channels: int) -> list[Vector]:
            def along(axis: int, x: Pointer, w: Pointer, sums: list[Vector]) -> list[Vector]:
                if axis == 3:
                    return self.products(k, x, w, offsets, sums, channels)
                residues = self.residues[axis]
                inside = math.prod(other.kernel for other in self.residues[axis + 1 :])
                hop = residues.hop * inside * self.inner * LANES
                back = residues.apart * self.source.strides[2 + axis]
                with k.loop(0, taps[axis].count, carry=sums) as tap:
                    earlier = k.offset(x, k.imul(tap.index, -back), dtype)
                    tap.carry = along(axis + 1, earlier, k.offset(w, k.imul(tap.index, hop), self.factors), tap.carry)
                return tap.result

            return along(0, x, w, sums)

        zeros = [k.constant(0, dtype) for _ in offsets]
        most = math.prod(axis.most for axis in self.residues)
        return self.over_inputs(k, corner, weights, zeros, self.taps, most, add)
