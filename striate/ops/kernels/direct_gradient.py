"""The kernels of the weight gradient of a convolution in direct form.

They multiply the inputs x by the gradients dy with respect to the outputs, and sum over samples and pixels.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import LANES, Index, Pointer, Vector
from striate.codegen.launch import KernelSpec
from striate.codegen.microkernel import lanes_of, last_apart
from striate.codegen.storage import BLOCK, Storage, Three
from striate.dtypes import DType
from striate.ops.kernels.direct import MOST_UNROLLED
from striate.ops.kernels.geometry import Part
from striate.ops.kernels.grouped import Banded, Lanewise, Row, Table
from striate.ops.kernels.packing import SQUARE

LONG_MAP = 4096
"""The largest number of pixels of dy in one sample whose products are added in a single sum.

For more pixels, the products are added in strips (``STRIP``), and the sums of the strips in float64."""

STRIP = 512
"""The number of products of a strip, which are added in registers.

Their sum is then added to the float64 sums in memory. Shorter sums have a smaller rounding error."""


SAMPLES = 128
"""The number of samples that are added in registers if dy has one pixel, as in a linear layer.

Their sum is then added to the float64 sums in memory. A linear layer may sum over millions of samples, and if all
products are similar, rounding errors do not cancel."""


Item = TypeVar("Item")

TapPlace = tuple[int, Row | None]
"""Where the input of a (channel, tap) pair lies: its offset from position step·q of x, in elements.

In lanewise kernels, the second entry says in which block and lane each lane's input lies; otherwise it is None."""


@dataclass(frozen=True)
class ShortSums:
    """How the last block of output channels is summed if it has fewer than 16 channels.

    Its sums are in ``accumulators`` vectors of ``lanes`` lanes each.
    """

    lanes: int
    accumulators: int


@dataclass(frozen=True)
class WeightGradient(KernelSpec):
    """The kernel dw[tap][c][16 o] = Σ_n Σ_q dy[n, q][16 o] · x[n, c][step·q + offset(tap)].

    The sums are over the samples n and the output positions q; "16 o" are the 16 output channels of a block. The
    samples are divided into ``shares``, each with its own sums, so that several threads have work; ``Unpack`` adds the
    shares. A chunk, the unit of work of a thread, is one share, ``outs`` output blocks (16 output channels each) and
    one input block (up to 16 input channels). The sums of a few (channel, tap) pairs, at most ``accumulators``, are in
    registers during the loop over all pixels. If ``paired``, x and dy are pairs of bfloat16 pixels (see
    ``direct_pairs``), and the loop is over pairs of pixels.

    ``source`` and ``arriving`` are the memory layouts of x and dy, ``part`` (see ``geometry``) has the taps of each
    output position, and ``grouping`` says which input channels an output block reads (None: all). ``input_blocks`` is
    the number of input blocks that it reads. ``table`` locates the inputs of the output block whose code is being
    written, if ``grouping`` is ``Lanewise``. If ``short`` is given, the last output block, which is not full, has code
    of its own, with shorter vectors. ``samples`` is the number of samples, or 0 if it is the run-time N. Operands: x,
    dy, partial sums as [share][output block][input block][c][tap][16].
    """

    source: Storage
    arriving: Storage
    part: Part
    shares: int
    outs: int  # output blocks of one chunk
    input_blocks: int  # input blocks that each output block reads
    grouping: Banded | Lanewise | None
    accumulators: int  # the largest number of sums in registers
    samples: int  # 0 means the run-time N
    paired: bool = False
    table: Table | None = None  # lanewise: the inputs of the output blocks whose code is being written
    short: ShortSums | None = None
    lanes: int = LANES  # of the vectors in the code that is being written
    filled: int = 0  # channels of the input block in the code that is being written; 0 means all of a block

    @property
    def sums(self) -> DType:
        """The dtype of the sums in registers."""
        return DType.float32 if self.paired else self.source.dtype.computed

    @property
    def is_long(self) -> bool:
        """Whether dy has so many pixels per sample that a single sum over them would be inaccurate."""
        return math.prod(self.part.sizes) > LONG_MAP

    @property
    def kept(self) -> DType:
        """The dtype of the partial sums in memory: float64 if very many products are added, else ``sums``."""
        return DType.float64 if self.is_long or self.has_one_pixel else self.sums

    @property
    def has_one_pixel(self) -> bool:
        """Whether dy has one pixel per sample, as in a linear layer."""
        return math.prod(self.part.sizes) == 1

    @property
    def channels(self) -> int:
        """The number of input channels in a chunk, the unit of work of a thread.

        It is 16, one input block, unless the input is in NumPy's order: then it is the number of all input channels. If
        ``grouping`` is ``Lanewise``, it is the number of channels of a group.
        """
        if isinstance(self.grouping, Lanewise):
            return self.grouping.inputs
        return self.source.channels if self.source.block == 1 else BLOCK

    @property
    def per_unit(self) -> int:
        """The number of partial sums for one block of output channels and one block of input channels.

        There is one for each input channel, tap and output channel, including the lanes that only fill up a block.
        """
        return self.channels * self.part.taps * LANES

    def write(self, k: Kernel) -> None:
        dtype = self.kept
        ranges = self.arriving.blocks // self.outs
        share, unit = k.idiv(k.chunk, ranges * self.input_blocks), k.imod(k.chunk, ranges * self.input_blocks)
        first_out, into = k.imul(k.idiv(unit, self.input_blocks), self.outs), k.imod(unit, self.input_blocks)
        total: Index = self.samples or k.n
        first = k.idiv(k.imul(total, share), self.shares)
        last = k.idiv(k.imul(total, k.iadd(share, 1)), self.shares)
        inside = into
        if self.grouping:
            into = k.iadd(into, self.grouping.first(k, first_out))
        where = k.iadd(self.source.origin, k.imul(into, self.source.strides[1]))
        x = k.offset(k.operand(0), where, self.source.dtype)

        def own(out: Index) -> tuple[Pointer, Pointer]:
            """Return the addresses of dy and of the sums of an output block."""
            where = k.iadd(self.arriving.origin, k.imul(out, self.arriving.strides[1]))
            dy = k.offset(k.operand(1), where, self.arriving.dtype)
            pair = k.iadd(k.imul(k.iadd(k.imul(share, self.arriving.blocks), out), self.input_blocks), inside)
            return dy, k.offset(k.operand(2), k.imul(pair, self.per_unit), dtype)

        with k.loop(first_out, k.iadd(first_out, self.outs)) as out, k.loop(0, self.per_unit, LANES) as at:
            k.store(k.constant(0, dtype), k.offset(own(out.index)[1], at.index, dtype), dtype, 64)
        batch = max(1, 1024 // math.prod(self.part.sizes))

        def sweep(form: WeightGradient) -> None:
            with k.loop(first, last, batch) as some:
                stop = k.imin(k.iadd(some.index, batch), last)
                for low, high, here in form._out_ranges(k, first_out):
                    with k.loop(low, high) as out:
                        dy, sums = own(out.index)
                        if self.part.taps <= MOST_UNROLLED:
                            for pairs in here._pair_groups():
                                here._sweep(k, x, dy, sums, some.index, stop, pairs)
                        else:
                            here._sweep_in_loops(k, x, dy, sums, some.index, stop)

        if isinstance(self.grouping, Lanewise):
            self.grouping.each(k, first_out, lambda reading: sweep(replace(self, table=reading.table)))
            return
        if self.source.block != BLOCK:
            sweep(self)
            return
        for channels, chosen in last_apart(k, into, self.source.blocks, self.source.channels % BLOCK or BLOCK):
            with k.when(chosen):
                sweep(replace(self, filled=channels))

    def _out_ranges(self, k: Kernel, first: Index) -> list[tuple[Index, Index, WeightGradient]]:
        """Return the ranges of the output blocks of a chunk, from ``first`` on, each with the kernel that computes it.

        The ends are exclusive. Usually there is one range; if vectors are shorter in the last block, it is separate.
        """
        stop = k.iadd(first, self.outs)
        if not self.short:
            return [(first, stop, self)]
        final = self.arriving.blocks - 1
        whole = replace(self, short=None)
        shorter = replace(whole, lanes=self.short.lanes, accumulators=self.short.accumulators)
        if not final:
            return [(first, stop, shorter)]
        return [(first, k.imin(stop, final), whole), (k.imax(first, final), stop, shorter)]

    def _sweep_in_loops(self, k: Kernel, x: Pointer, dy: Pointer, sums: Pointer, first: Index, last: Index) -> None:
        """Write the code for all pixels of some samples and all (channel, tap) pairs, as loops over taps.

        It is used if there are too many taps to unroll: it loops over the planes and rows of taps, and over a few taps
        of a row at a time.
        """
        spans, strides = self.part.spans, self.source.strides[2:]
        depth, height, row = (span.count for span in spans)
        channels = self.filled or self.channels
        together = min(row, max(1, self.accumulators // channels))
        with k.loop(0, depth) as d, k.loop(0, height) as h:
            for start, stop in ((0, row // together * together), (row // together * together, row)):
                taps = min(together, stop - start)
                if not taps:
                    continue
                with k.loop(start, stop, taps) as w:
                    at = (d.index, h.index, w.index)
                    steps = [k.imul(i, s.stride * st) for i, s, st in zip(at, spans, strides, strict=True)]
                    moved = k.offset(x, k.iadd(*steps), self.source.dtype)
                    number = k.iadd(k.imul(k.iadd(k.imul(d.index, height), h.index), row), w.index)
                    kept = k.offset(sums, k.imul(number, LANES), self.kept)
                    pairs = [(c, (0, 0, tap)) for tap in range(taps) for c in range(channels)]
                    for some in evenly(pairs, self.accumulators):
                        self._sweep(k, moved, dy, kept, first, last, some)

    def _pair_groups(self) -> list[list[tuple[int, Three]]]:
        """Return the (channel, tap) pairs in groups whose sums fit into the registers.

        If possible, a group has all taps of a row, because they read the same rows of x.
        """
        counts = [span.count for span in self.part.spans]
        channels = self.filled or self.channels
        depth, height, row = counts
        taps: list[Three] = list(itertools.product(range(depth), range(height), range(row)))
        if channels * row <= self.accumulators or self.source.block == 1:
            pairs = [(c, tap) for tap in taps for c in range(channels)]
            return evenly(pairs, self.accumulators)
        per = self.accumulators // row
        if per * row < min(channels, self.accumulators) * 3 // 4 or not per:
            # With few registers, groups of channels of one tap use more of them.
            some = evenly(list(range(channels)), self.accumulators)
            return [[(c, tap) for c in together] for tap in taps for together in some]
        groups: list[list[tuple[int, Three]]] = []
        for first in range(0, len(taps), row):
            for some in evenly(list(range(channels)), per):
                groups.append([(c, tap) for tap in taps[first : first + row] for c in some])
        return groups

    def _sweep(
        self,
        k: Kernel,
        x: Pointer,
        dy: Pointer,
        sums: Pointer,
        first: Index,
        last: Index,
        pairs: list[tuple[int, Three]],
    ) -> None:
        """Write the code for all pixels of samples ``first`` to ``last`` − 1 and some (channel, tap) pairs."""
        part = self.part
        _, _, sd, sh, sw = self.source.strides
        depth, height, width = part.sizes
        # The distance from one channel to the next. In lanewise kernels, all channels are loaded from the same address.
        apart = self.source.strides[1] if self.source.block == 1 else 0 if self.table else 1
        offsets = [
            c * apart
            + sum((s.first + j * s.stride) * st for s, j, st in zip(part.spans, tap, (sd, sh, sw), strict=True))
            for c, tap in pairs
        ]
        rows_of = [self.table[c] for c, _ in pairs] if self.table else [None for _ in pairs]
        places = list(zip(offsets, rows_of, strict=True))
        zero = [k.constant(0, self.sums, self.lanes) for _ in pairs]

        def rows(
            n: Index, plane: Index, lines: tuple[Index, Index], columns: tuple[Index, Index], carry: list[Vector]
        ) -> list[Vector]:
            with k.loop(*lines, carry=carry) as line:
                line.carry = self._row(k, x, dy, (n, plane, line.index), columns, places, line.carry)
            return line.result

        def keep(values: Sequence[Vector]) -> None:
            counts = [span.count for span in part.spans]
            for (c, tap), value in zip(pairs, values, strict=True):
                number = (tap[0] * counts[1] + tap[1]) * counts[2] + tap[2]
                place = k.offset(sums, (c * part.taps + number) * LANES, self.kept)
                total = k.add(k.load(place, self.kept, 64, self.lanes), k.convert(value, self.kept))
                k.store(total, place, self.kept, 64)

        def samples(first: Index, last: Index) -> None:
            with k.loop(first, last, carry=zero) as n:
                with k.loop(0, depth, carry=n.carry) as plane:
                    plane.carry = rows(n.index, plane.index, (0, height), (0, width), plane.carry)
                n.carry = plane.result
            keep(n.result)

        if self.has_one_pixel:
            with k.loop(first, last, SAMPLES) as some:
                samples(some.index, k.imin(k.iadd(some.index, SAMPLES), last))
            return
        if not self.is_long:
            samples(first, last)
            return
        across = min(width, STRIP)
        down = STRIP // across
        with k.loop(first, last) as n, k.loop(0, depth) as plane:
            with k.loop(0, height, down) as top, k.loop(0, width, across) as left:
                lines = top.index, k.imin(k.iadd(top.index, down), height)
                columns = left.index, k.imin(k.iadd(left.index, across), width)
                keep(rows(n.index, plane.index, lines, columns, zero))

    def _row(
        self, k: Kernel, x: Pointer, dy: Pointer, at: tuple[Index, Index, Index], columns: tuple[Index, Index],
        places: list[TapPlace], carry: list[Vector],
    ) -> list[Vector]:  # fmt: skip
        """Write the code that adds the products of the pixels ``columns`` of one row; return the new sums."""
        part = self.part
        sn, _, sd, sh, sw = self.source.strides
        an, _, ad, ah, aw = self.arriving.strides
        place = _dot(k, at, (sn, part.step[0] * sd, part.step[1] * sh))
        xrow = k.offset(x, place, self.source.dtype)
        drow = k.offset(dy, _dot(k, at, (an, ad, ah)), self.arriving.dtype)
        with k.loop(*columns, carry=carry) as column:
            pixel = k.offset(xrow, k.imul(column.index, part.step[2] * sw), self.source.dtype)
            arrived = k.offset(drow, k.imul(column.index, aw), self.arriving.dtype)
            column.carry = self._products(k, pixel, arrived, places, column.carry)
        return column.result

    def _products(
        self, k: Kernel, pixel: Pointer, arrived: Vector, places: list[TapPlace], sums: list[Vector]
    ) -> list[Vector]:
        """Write the code that adds the products of one pixel, or of one pair of pixels; return the new sums."""
        dtype = self.source.dtype
        g = k.load_pairs(arrived) if self.paired else k.load(arrived, self.arriving.dtype, 64, self.lanes)

        def add_product(offset: int, row: Row | None, acc: Vector) -> Vector:
            place = k.offset(pixel, offset, dtype)
            if row is not None:
                return k.multiply_add(lanes_of(k, dtype, place, row, self.source.strides[1]), g, acc)
            if self.paired:
                return k.dot(k.broadcast_pair(place), g, acc)
            return k.multiply_add(k.broadcast(place, dtype, self.lanes), g, acc)

        return [add_product(offset, row, acc) for (offset, row), acc in zip(places, sums, strict=True)]


def _dot(k: Kernel, indices: tuple[Index, Index, Index], strides: tuple[int, int, int]) -> Index:
    """Return Σ index · stride as an index of the kernel."""
    return k.iadd(*(k.imul(index, stride) for index, stride in zip(indices, strides, strict=True)))


def evenly(items: list[Item], most: int) -> list[list[Item]]:
    """Return the items in lists of at most ``most`` items.

    All lists have the same length, except that the last one may be shorter.
    """
    count = max(1, -(-len(items) // most))
    size = -(-len(items) // count)
    return [items[i : i + size] for i in range(0, len(items), size)]


@dataclass(frozen=True)
class Unpack(KernelSpec):
    """The kernel that adds the shares of a weight gradient in order and writes dw (O, C/groups, taps).

    A share is the partial sums over some of the samples, and ``gradient`` is the kernel that wrote them. ``filters`` is
    O, and ``depth`` is C/``groups``. A chunk, the unit of work of a thread, is one block of 16 output channels and one
    block of input channels. Operands: partial sums, dw.
    """

    gradient: WeightGradient
    filters: int
    depth: int
    groups: int

    def write(self, k: Kernel) -> None:
        g = self.gradient
        dtype, kept = g.sums, g.kept
        units = g.arriving.blocks * g.input_blocks
        out, into = k.idiv(k.chunk, g.input_blocks), k.imod(k.chunk, g.input_blocks)
        base = k.offset(k.operand(0), k.imul(k.chunk, g.per_unit), kept)
        taps = g.part.taps
        lanewise = isinstance(g.grouping, Lanewise)  # channels are then numbered within the group of each lane
        limit = self.depth if lanewise else g.source.channels
        if isinstance(g.grouping, Banded):
            into = k.iadd(into, g.grouping.first(k, out))
        first = k.imul(into, g.channels)
        count = k.imin(g.channels, k.isub(limit, first))

        def total_of(where: Index, lanes: int = LANES) -> Vector:
            """Return the sum over the shares of the vector that begins at element ``where`` of a share."""
            start = k.load(k.offset(base, where, kept), kept, 64, lanes)
            with k.loop(1, g.shares, carry=[start]) as share:
                more = k.offset(base, k.iadd(where, k.imul(share.index, units * g.per_unit)), kept)
                share.carry = [k.add(share.carry[0], k.load(more, kept, 64, lanes))]
            return k.convert(share.result[0] if g.shares > 1 else start, dtype)

        def squares() -> Index:
            """Write the code for full squares of a matrix dw (O, C); return the number of channels it covers."""
            covered = k.imul(k.idiv(count, SQUARE), SQUARE)
            with k.loop(0, covered, SQUARE) as c:
                for half in range(0, LANES, SQUARE):
                    places = [k.iadd(k.imul(k.iadd(c.index, i), LANES), half) for i in range(SQUARE)]
                    rows = k.transposed([total_of(place, SQUARE) for place in places])
                    corner = k.iadd(k.imul(k.iadd(k.imul(out, LANES), half), self.depth), first, c.index)
                    for i, row in enumerate(rows):
                        k.store(row, k.offset(k.operand(1), k.iadd(corner, i * self.depth), dtype), dtype)
            return covered

        whole, rest = divmod(self.filters, LANES)
        if self.groups > 1 or taps > 1:
            self._elements(k, (0, count), (out, first), total_of)
            return
        with k.when(k.compare(out, "<", whole)):
            self._elements(k, (squares(), count), (out, first), total_of)
        if rest:
            with k.when(k.compare(out, "==", whole)):
                self._elements(k, (0, count), (out, first), total_of)

    def _elements(
        self, k: Kernel, channels: tuple[Index, Index], at: tuple[Index, Index], total_of: Callable[[Index], Vector]
    ) -> None:
        """Write the code that stores dw one element at a time, for a range of the channels of an input block.

        ``at`` is (number of the output block, first channel of the input block), and ``total_of`` returns the sum of
        the vector that begins at an element of a share.
        """
        g, (out, first) = self.gradient, at
        dtype, taps = g.sums, g.part.taps
        group_outputs = self.filters // self.groups
        lanewise = isinstance(g.grouping, Lanewise)
        with k.loop(*channels) as channel, k.loop(0, taps) as tap:
            total = total_of(k.imul(k.iadd(k.imul(channel.index, taps), tap.index), LANES))
            spill = k.local(total.type)
            k.builder.store(total, spill, align=64)
            c = k.iadd(first, channel.index)
            with k.loop(0, LANES) as lane:
                o = k.iadd(k.imul(out, LANES), lane.index)
                inside = k.compare(o, "<", self.filters)
                mine = True
                if not lanewise and self.groups > 1:
                    mine = k.compare(k.idiv(o, group_outputs), "==", k.idiv(c, self.depth))
                with k.when(k.both(inside, mine)):
                    index = k.iadd(k.imul(k.iadd(k.imul(o, self.depth), k.imod(c, self.depth)), taps), tap.index)
                    value = k.load_scalar(k.offset(spill, lane.index, dtype), dtype)
                    k.store_scalar(value, k.offset(k.operand(1), index, dtype))
