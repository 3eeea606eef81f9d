"""The kernel that packs the weights of a convolution into the order in which the direct form reads them.

    [output block][part][input block][tap][input channel][16 output channels]

In bfloat16, whose instructions take input channels in pairs, the order is
[…][input channels / 2][16 output channels][2].
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import LANES, Index, Vector
from striate.codegen.launch import KernelSpec
from striate.codegen.storage import BLOCK, Three
from striate.dtypes import DType
from striate.ops.kernels.direct import MOST_UNROLLED
from striate.ops.kernels.geometry import Part
from striate.ops.kernels.grouped import Banded, Lanewise

SQUARE = 8
"""Rows and columns of the squares that are transposed in registers."""


@dataclass(frozen=True)
class Pack(KernelSpec):
    """The kernel that packs weights (O, C / groups, taps…) from NumPy's order into that of the direct form.

    With ``transposed``, it packs for the input gradient: the lanes are then input channels c, and the sums run over the
    output channels o. ``filters`` is O, ``depth`` is C / groups, and ``parts`` (see ``geometry``) are the sets of
    output positions whose taps are packed together; ``grouping`` says which input channels an output block (16 output
    channels) reads (None: all). ``operands`` is the dtype of the packed weights, ``channels`` the number of channels
    that each output block sums over, and ``inner`` the number of channels in an input block. A chunk, the unit of work
    of a thread, is one output block. Operands: weights, packed weights.
    """

    dtype: DType
    operands: DType  # of the packed weights
    filters: int
    depth: int
    groups: int
    kernel: Three
    parts: tuple[Part, ...]
    transposed: bool
    channels: int  # that are summed over, per output block
    inner: int  # channels of an input block: 16, or 1 for planar inputs; lanewise, those of a group
    grouping: Banded | Lanewise | None

    @property
    def outputs(self) -> int:
        """The number of channels that become lanes: O or, if ``transposed``, the number C of input channels."""
        return self.depth * self.groups if self.transposed else self.filters

    @property
    def per_block(self) -> int:
        """The number of packed elements of one block of 16 output channels."""
        taps = sum(part.taps for part in self.parts)
        return -(-self.channels // self.inner) * self.inner * taps * LANES

    @property
    def _is_matrix(self) -> bool:
        """Whether the weights are one matrix (O, C), as those of a linear layer, that keeps its dtype."""
        return self.groups == 1 and math.prod(self.kernel) == 1 and self.dtype is self.operands

    def write(self, k: Kernel) -> None:
        for operand in (0, 1):
            k.operand(operand)  # loaded before the index arithmetic
        if not self._is_matrix:
            self._write(k, 0)
            return
        whole, rest = divmod(self.outputs, LANES)
        with k.when(k.compare(k.chunk, "<", whole)):
            self._write(k, self._matrix(k))
        if rest:
            with k.when(k.compare(k.chunk, "==", whole)):
                self._write(k, 0)

    def _matrix(self, k: Kernel) -> int:
        """Emit the packing of a full output block of a matrix; return how many summed channels are packed.

        Without ``transposed``, squares of the matrix are transposed in registers; the channels beyond are left.
        """
        dtype, packed = self.dtype, k.offset(k.operand(1), k.imul(k.chunk, self.per_block), self.dtype)
        first = k.imul(k.chunk, LANES)
        if self.transposed:
            row = k.offset(k.operand(0), first, dtype)
            with k.loop(0, self.channels) as o:
                values = k.load(k.offset(row, k.imul(o.index, self.depth), dtype), dtype)
                k.store(values, k.offset(packed, k.imul(o.index, LANES), dtype), dtype, 64)
            return self.channels
        corner = k.offset(k.operand(0), k.imul(first, self.depth), dtype)
        count = self.channels // SQUARE * SQUARE
        with k.loop(0, count, SQUARE) as c:
            for half in range(0, LANES, SQUARE):
                at = [k.offset(corner, k.iadd(c.index, (half + i) * self.depth), dtype) for i in range(SQUARE)]
                columns = k.transposed([k.load(row, dtype, lanes=SQUARE) for row in at])
                target = k.offset(packed, k.iadd(k.imul(c.index, LANES), half), dtype)
                for i, column in enumerate(columns):
                    k.store(column, k.offset(target, i * LANES, dtype), dtype, 32)
        return count

    def _write(self, k: Kernel, first: int) -> None:
        """Emit the packing of an output block one element at a time, from summed channel ``first`` on."""
        base = k.imul(k.chunk, self.per_block)
        first_lane = k.imul(k.chunk, LANES)
        paired = 2 if self.operands is DType.bfloat16 else 1
        start = 0
        for part in self.parts:
            if not part.taps:
                continue
            with k.loop(first, self.channels) as channel:
                where = k.iadd(
                    base, start,
                    k.imul(k.idiv(channel.index, self.inner), part.taps * self.inner * LANES),
                    k.imul(k.idiv(k.imod(channel.index, self.inner), paired), paired * LANES),
                    k.imod(channel.index, paired),
                )  # fmt: skip
                counts = [span.count for span in part.spans]
                if part.taps <= MOST_UNROLLED:
                    for number, taps in enumerate(itertools.product(*map(range, counts))):
                        self._lanes(k, first_lane, channel.index, where, number, self._tap(k, part, taps))
                else:
                    with k.loop(0, counts[0]) as d, k.loop(0, counts[1]) as h, k.loop(0, counts[2]) as w:
                        at = (d.index, h.index, w.index)
                        number = k.iadd(k.imul(k.iadd(k.imul(at[0], counts[1]), at[1]), counts[2]), at[2])
                        self._lanes(k, first_lane, channel.index, where, number, self._tap(k, part, at))
            start += -(-self.channels // self.inner) * self.inner * part.taps * LANES

    def _tap(self, k: Kernel, part: Part, at: tuple[Index, ...]) -> Index:
        """Emit the row-major number, in the whole filter, of the tap of this part with the index ``at``."""
        tap: Index = 0
        for span, one, size in zip(part.spans, at, self.kernel, strict=True):
            tap = k.iadd(k.imul(tap, size), span.tap, k.imul(one, span.hop))
        return tap

    def _lanes(self, k: Kernel, first_lane: Index, channel: Index, where: Index, number: Index, tap: Index) -> None:
        """Emit the packing of 16 lanes for one summed channel and one tap.

        Lanes without a channel, and lanes of another group than the summed channel, become 0.

        The tap is number ``tap`` of the whole filter, and number ``number`` of its part.
        """
        source, packed = k.operand(0), k.operand(1)
        outputs = self.outputs
        group_outputs = outputs // self.groups
        group_inputs = self.filters // self.groups if self.transposed else self.depth
        taps = math.prod(self.kernel)
        paired = 2 if self.operands is DType.bfloat16 else 1
        target = k.offset(packed, k.iadd(where, k.imul(number, self.inner * LANES)), self.operands)
        with k.loop(0, LANES) as lane:
            out = k.iadd(first_lane, lane.index)
            place = k.offset(target, k.imul(lane.index, paired), self.operands)
            k.store_scalar(k.constant_like(_scalar(k, self.dtype), 0.0), place, self.operands)
            summed = channel
            if isinstance(self.grouping, Lanewise):
                summed = k.iadd(k.imul(k.idiv(out, group_outputs), group_inputs), channel)
            elif self.grouping:
                summed = k.iadd(k.imul(self.grouping.first(k, k.chunk), BLOCK), channel)
            same = k.compare(k.idiv(out, group_outputs), "==", k.idiv(summed, group_inputs))
            inside = k.compare(out, "<", outputs)
            with k.when(k.both(inside, same)):
                o, c = (summed, out) if self.transposed else (out, summed)
                index = k.iadd(k.imul(k.iadd(k.imul(o, self.depth), k.imod(c, self.depth)), taps), tap)
                value = k.load_scalar(k.offset(source, index, self.dtype), self.dtype)
                k.store_scalar(value, place, self.operands)


def _scalar(k: Kernel, dtype: DType) -> Vector:
    return k.lane(k.constant(0, dtype), 0)
