"""The kernels of pooling with large windows, which loop over the taps; the kernels in ``pooling`` unroll them.

A loop covers only the taps that lie inside the array. Along the last axis, however, several neighbouring windows share
one loop, in which the taps outside the row or the window are masked. Sums of ``SEGMENT`` elements are added up in
float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import LANES, Condition, Index, Vector, vector_type
from striate.codegen.launch import KernelSpec
from striate.codegen.region import Region
from striate.codegen.region_writer import RegionWriter
from striate.codegen.storage import Storage, Three
from striate.dtypes import DType
from striate.ops.kernels.geometry import Part, every_position
from striate.ops.kernels.pooling import Pixels, Position, Prologue, Window, offset, opened, place_of, walk

SEGMENT = 64
"""The number of elements that are summed in their own precision before this sum is added to a float64 total."""

Range = tuple[Index, Index]
Body = Callable[[tuple[Index, ...], list[Vector]], list[Vector]]
"""``body(indices, carry)`` writes the innermost body of nested loops and returns the loop-carried values."""


Terms = Callable[[tuple[Index, ...]], list[Vector]]


def nested(k: Kernel, ranges: Sequence[Range], carry: list[Vector], body: Body) -> list[Vector]:
    """Write a loop nest over all of ``ranges``, the last one innermost; return the final loop-carried values.

    A range is (start, stop), and ``carry`` holds the first loop-carried values. ``body(indices, carry)`` writes the
    innermost body and returns the values for the next iteration.
    """

    def enter(indices: tuple[Index, ...], carry: list[Vector]) -> list[Vector]:
        if len(indices) == len(ranges):
            return body(indices, carry)
        start, stop = ranges[len(indices)]
        with k.loop(start, stop, carry=carry) as loop:
            loop.carry = enter((*indices, loop.index), loop.carry)
        return loop.result

    return enter((), list(carry))


def _sums(k: Kernel, ranges: Sequence[Range], columns: int, dtype: DType, terms: Terms) -> list[Vector]:
    """Write a loop nest that sums terms(indices)[column] over all ranges; return one float64 sum for each column."""
    *outer, (start, stop) = ranges

    def row(indices: tuple[Index, ...], totals: list[Vector]) -> list[Vector]:
        with k.loop(start, stop, SEGMENT, carry=totals) as segment:
            end = k.imin(k.iadd(segment.index, SEGMENT), stop)
            zeros = [k.constant(0, dtype)] * columns
            with k.loop(segment.index, end, carry=zeros) as tap:
                new = terms((*indices, tap.index))
                tap.carry = [k.add(total, one) for total, one in zip(tap.carry, new, strict=True)]
            wide = [k.convert(total, DType.float64) for total in tap.result]
            segment.carry = [k.add(total, one) for total, one in zip(segment.carry, wide, strict=True)]
        return segment.result

    return nested(k, outer, [k.constant(0, DType.float64)] * columns, row)


@dataclass(frozen=True)
class _Taps:
    """Emits the ranges of the taps that lie inside an array, and loads at these taps.

    Along an axis, tap t of window p is at position p · step + first + t · dilation; ``limits`` are the array's sizes.
    """

    k: Kernel
    part: Part
    limits: Three

    def inside(self, axis: int) -> bool:
        """Return whether all taps of all windows lie inside the array along this axis."""
        low, high = self.part.reach()[axis]
        return low >= 0 and high < self.limits[axis]

    def place(self, axis: int, p: Index, tap: Index) -> Index:
        """Emit the position along an axis that a tap of window p reads."""
        return place_of(self.k, self.part, axis, p, tap)

    def first(self, axis: int, p: Index) -> Index:
        """Emit the number of the first tap of window p that lies inside the array along an axis."""
        k, span = self.k, self.part.spans[axis]
        if self.inside(axis):
            return 0
        before = k.isub(0, self.place(axis, p, 0))
        return k.idiv(k.imax(k.iadd(before, span.stride - 1), 0), span.stride)

    def stop(self, axis: int, p: Index) -> Index:
        """Emit the number of the last tap of window p that lies inside the array along an axis, plus 1."""
        k, span = self.k, self.part.spans[axis]
        if self.inside(axis):
            return span.count
        room = k.isub(self.limits[axis] - 1, self.place(axis, p, 0))
        return k.imin(k.iadd(k.idiv(k.imax(room, 0), span.stride), 1), span.count)

    def ranges(self, at: Position, columns: int) -> list[Range]:
        """Emit the range of taps along each axis that at least one of ``columns`` neighbouring windows has inside."""
        d, h, w = at
        last = self.k.iadd(w, columns - 1)
        return [
            (self.first(0, d), self.stop(0, d)),
            (self.first(1, h), self.stop(1, h)),
            (self.first(2, last), self.stop(2, w)),
        ]

    def number(self, taps: Sequence[Index]) -> Index:
        """Emit the number of a tap in row-major order over the window, from its index along each axis."""
        k, (_, height, width) = self.k, (span.count for span in self.part.spans)
        return k.iadd(k.imul(k.iadd(k.imul(taps[0], height), taps[1]), width), taps[2])

    def load(self, pixels: Pixels, at: Position, taps: Sequence[Index], columns: int, otherwise: float) -> list[Vector]:
        """Load the vectors at one tap of ``columns`` neighbouring windows; ``otherwise`` beyond the ends of a row."""
        k, source = self.k, pixels.source
        d, h = (self.place(axis, at[axis], taps[axis]) for axis in (0, 1))
        found: list[Vector] = []
        for column in range(columns):
            w, inside = self.place(2, k.iadd(at[2], column), taps[2]), True
            if columns > 1 and not self.inside(2):
                limit = self.limits[2]
                inside = k.both(k.compare(w, ">=", 0), k.compare(w, "<", limit))
                w = k.imin(k.imax(w, 0), limit - 1)
            steps = (k.imul(index, stride) for index, stride in zip((d, h, w), source.strides[2:], strict=True))
            x = pixels.load(k.iadd(source.origin, *steps), (d, h, w))
            found.append(k.choose(inside, x, k.constant(otherwise, source.dtype)))
        return found


@dataclass(frozen=True)
class LargeMaxWindows(KernelSpec):
    """The kernel of max pooling with large windows: like ``pooling.MaxWindows``, but with loops over the taps.

    Fields and operands are those of ``pooling.MaxWindows``.
    """

    source: Storage
    index: Storage
    part: Part
    region: Region
    prologue: Prologue | None = None

    def write(self, k: Kernel) -> None:
        writer, pixels, first = opened(k, self.source, self.region, self.prologue, 1)
        taps = _Taps(k, self.part, self.source.sizes)
        dtype, itype = self.source.dtype, self.index.dtype

        def splat(number: Index) -> Vector:
            return k.splat(k.convert(k.as_index(number), itype))

        def emit(part: Part, n: Index, block: Index, at: Position, columns: int) -> list[Vector]:
            ranges = taps.ranges(at, columns)

            def body(indices: tuple[Index, ...], carry: list[Vector]) -> list[Vector]:
                best, numbers = carry[:columns], carry[columns:]
                this = splat(taps.number(indices))
                for column, x in enumerate(taps.load(pixels, at, indices, columns, -math.inf)):
                    larger = k.not_less_equal(x, best[column])
                    take = k.both(larger, k.negation(k.is_nan(best[column])))  # the first NaN is the maximum
                    best[column] = k.select(take, x, best[column])
                    numbers[column] = k.select(take, this, numbers[column])
                return best + numbers

            # If all elements are -∞, the maximum is at the first tap inside the array.
            starts = [(ranges[0][0], ranges[1][0], taps.first(2, k.iadd(at[2], j))) for j in range(columns)]
            numbers = [splat(taps.number(start)) for start in starts]
            found = nested(k, ranges, [k.constant(-math.inf, dtype)] * columns + numbers, body)
            for column, number in enumerate(found[columns:]):
                place = offset(k, self.index, n, block, (at[0], at[1], k.iadd(at[2], column)))
                k.store(number, k.offset(k.operand(first), place, itype), itype)
            return found[:columns]

        walk(k, writer, self.region.domain, (self.part,), emit, pixels.begin)


@dataclass(frozen=True)
class LargeAverageWindows(KernelSpec):
    """The kernel of average pooling with large windows.

    It computes the same as ``pooling.AverageWindows`` from the same operands, but with loops over the taps.
    """

    source: Storage
    part: Part
    window: Window
    region: Region
    prologue: Prologue | None = None

    def write(self, k: Kernel) -> None:
        writer, pixels, _ = opened(k, self.source, self.region, self.prologue)
        taps = _Taps(k, self.part, self.source.sizes)
        dtype = self.source.dtype

        def emit(part: Part, n: Index, block: Index, at: Position, columns: int) -> list[Vector]:
            def terms(indices: tuple[Index, ...]) -> list[Vector]:
                return taps.load(pixels, at, indices, columns, 0)

            totals = _sums(k, taps.ranges(at, columns), columns, dtype, terms)
            means = [
                self.window.divided(k, total, (at[0], at[1], k.iadd(at[2], column)), DType.float64)
                for column, total in enumerate(totals)
            ]
            return [k.convert(mean, dtype.computed) for mean in means]

        walk(k, writer, self.region.domain, (self.part,), emit, pixels.begin)


@dataclass(frozen=True)
class LargeAverageGradient(KernelSpec):
    """The kernel of the gradient of average pooling with large windows: dx = Σ dy / divisor.

    It sums over the windows that contain a position; ``window`` describes them and their divisors. ``arriving`` is the
    memory layout of dy. Operands: dy, then those of ``region``, the fused elementwise work.
    """

    arriving: Storage
    window: Window
    region: Region

    def write(self, k: Kernel) -> None:
        writer = RegionWriter(k, self.region, 1)
        arriving, window = self.arriving, self.window
        dtype = arriving.dtype
        pixels = Pixels(k, arriving, None, 1)

        def holders(axis: int, first: Index, last: Index) -> Range:
            """Emit the range of windows along an axis that contain one of the positions ``first`` to ``last``."""
            stride, before = window.stride[axis], window.before[axis]
            start = k.imax(k.iadd(first, before - window.kernel[axis] + stride), 0)
            stop = k.iadd(k.idiv(k.iadd(last, before), stride), 1)
            return k.idiv(start, stride), k.imin(stop, arriving.sizes[axis])

        def emit(part: Part, n: Index, block: Index, at: Position, columns: int) -> list[Vector]:
            d, h, w = at
            ranges = [holders(0, d, d), holders(1, h, h), holders(2, w, k.iadd(w, columns - 1))]

            def terms(indices: tuple[Index, ...]) -> list[Vector]:
                steps = (k.imul(p, stride) for p, stride in zip(indices, arriving.strides[2:], strict=True))
                dy = pixels.load(k.iadd(arriving.origin, *steps), indices)
                share = window.divided(k, dy, (indices[0], indices[1], indices[2]), dtype)
                start = k.isub(k.imul(indices[2], window.stride[2]), window.before[2])
                shares: list[Vector] = []
                for column in range(columns):
                    tap = k.isub(k.iadd(w, column), start)
                    held = k.both(k.compare(tap, ">=", 0), k.compare(tap, "<", window.kernel[2]))
                    shares.append(k.choose(held if columns > 1 else True, share, k.constant(0, dtype)))
                return shares

            return [k.convert(total, dtype.computed) for total in _sums(k, ranges, columns, dtype, terms)]

        walk(k, writer, self.region.domain, (every_position(self.region.domain.sizes),), emit, pixels.begin)


@dataclass(frozen=True)
class LargeMaxGradient(KernelSpec):
    """The kernel of the gradient of max pooling with large windows.

    dx at a position is Σ dy over the windows whose maximum is at this position. Every window adds its dy to one element
    of a plane in the thread's scratch memory, so the work does not grow with the size of the window. ``region``, the
    fused elementwise work, runs on the finished plane. ``part`` (see ``geometry``) has the positions that each window
    covers; ``arriving`` and ``index`` are the memory layouts of dy and of the index of each maximum. Operands: dy,
    index, then those of the region.
    """

    arriving: Storage
    index: Storage
    part: Part
    region: Region

    @property
    def scratch_bytes(self) -> int:
        """The number of bytes of scratch memory for each thread: one plane of 16 channels."""
        return self.region.domain.pixels * LANES * self.arriving.dtype.computed.numpy.itemsize

    def write(self, k: Kernel) -> None:
        domain, arriving = self.region.domain, self.arriving
        writer = RegionWriter(k, self.region, 2)
        dtype = arriving.dtype.computed
        taps = _Taps(k, self.part, domain.sizes)
        _, height, width = domain.sizes
        _, high, wide = (span.count for span in self.part.spans)
        values, numbers = k.local(vector_type(dtype)), k.local(vector_type(self.index.dtype))

        def scatter(n: Index, block: Index) -> None:
            with k.loop(0, domain.pixels * LANES, LANES) as at:
                k.store(k.constant(0, dtype), k.offset(k.scratch, at.index, dtype), dtype, 64)
            lanes = k.imin(LANES, k.isub(domain.channels, k.imul(block, LANES)))
            depth, rows, columns = arriving.sizes
            with k.loop(0, depth) as d, k.loop(0, rows) as h, k.loop(0, columns) as w:
                send(n, block, lanes, (d.index, h.index, w.index))

        def send(n: Index, block: Index, lanes: Index, p: tuple[Index, ...]) -> None:
            """Emit the addition of the dy of window p, channel by channel, to the plane in scratch memory."""
            place = offset(k, arriving, n, block, p)
            k.store(k.load(k.offset(k.operand(0), place, arriving.dtype), arriving.dtype), values, dtype)
            place, itype = offset(k, self.index, n, block, p), self.index.dtype
            k.store(k.load(k.offset(k.operand(1), place, itype), itype), numbers, itype)
            with k.loop(0, lanes) as lane:
                number = k.convert(k.load_scalar(k.offset(numbers, lane.index, itype), itype), DType.int64)
                row = k.idiv(number, wide)
                tap = (k.idiv(row, high), k.imod(row, high), k.imod(number, wide))
                d, h, w = (taps.place(axis, p[axis], tap[axis]) for axis in range(3))
                target = k.iadd(k.imul(k.iadd(k.imul(k.iadd(k.imul(d, height), h), width), w), LANES), lane.index)
                held: Condition | bool = True
                for place, size in zip((d, h, w), domain.sizes, strict=True):
                    held = k.both(held, k.both(k.compare(place, ">=", 0), k.compare(place, "<", size)))
                with k.when(held):  # always true for an index from the forward pass
                    cell = k.offset(k.scratch, target, dtype)
                    arrived = k.load_scalar(k.offset(values, lane.index, dtype), dtype)
                    k.store_scalar(k.add(k.load_scalar(cell, dtype), arrived), cell)

        def emit(part: Part, n: Index, block: Index, at: Position, columns: int) -> list[Vector]:
            d, h, w = at
            pixel = k.imul(k.iadd(k.imul(k.iadd(k.imul(d, height), h), width), w), LANES)
            return [
                k.load(k.offset(k.scratch, k.iadd(pixel, column * LANES), dtype), dtype, 64)
                for column in range(columns)
            ]

        walk(k, writer, domain, (every_position(domain.sizes),), emit, scatter)
