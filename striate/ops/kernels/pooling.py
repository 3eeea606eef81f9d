"""The kernels of pooling: over windows in the forward pass, over positions and their windows in the backward pass.

Both iterate over *parts* (see ``geometry``). The single part of the forward pass says which inputs a window contains.
The parts of the gradient say, for each residue of a position modulo the stride, which windows contain the position, and
at which tap. Positions outside the array are clamped to it and their values replaced, so nothing outside is read.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import Condition, Index, Pointer, Vector
from striate.codegen.launch import KernelSpec
from striate.codegen.region import Domain, Region
from striate.codegen.region_writer import RegionWriter, samples_of
from striate.codegen.storage import Storage, Three
from striate.dtypes import DType
from striate.ops.kernels.geometry import Part

COLUMNS = 4
"""The number of neighbouring outputs of a row that one tile computes."""


Position = tuple[Index, Index, Index]


@dataclass(frozen=True)
class Prologue:
    """Elementwise work that computes the input of the windows on the fly, so that it need not be stored in memory.

    ``region`` is this work, which runs over the positions of the input; its value number ``value`` is the input.
    """

    region: Region
    value: int


@dataclass(frozen=True)
class Window:
    """The windows of average pooling and their divisors.

    A window has ``kernel`` positions along each axis. If ``override`` is not 0, it is the divisor. Otherwise, the
    divisor is the number of positions of the window in x or, with ``count_include_pad``, in x and its padding. x has
    the sizes ``size``. The padding has ``before`` and ``after`` positions along each axis, and neighbouring windows are
    ``stride`` apart.
    """

    kernel: Three
    stride: Three
    before: Three
    after: Three
    size: Three  # of x
    count_include_pad: bool
    override: int = 0  # the divisor of every window, if it is not 0

    @property
    def constant(self) -> int:
        """The divisor of the averages, if it is the same for all windows; else 0."""
        if self.override:
            return self.override
        total = 1
        for axis in range(3):
            found = {self._axis(axis, p) for p in range(self.windows(axis))}
            if len(found) != 1:
                return 0
            total *= found.pop()
        return total

    def windows(self, axis: int) -> int:
        """Return the largest possible number of windows along an axis, including an incomplete last window."""
        length = self.size[axis] + self.before[axis] + self.after[axis]
        return max(1, -(-(length - self.kernel[axis]) // self.stride[axis]) + 1)

    def _axis(self, axis: int, p: int) -> int:
        start = p * self.stride[axis] - self.before[axis]
        stop = min(start + self.kernel[axis], self.size[axis] + self.after[axis])
        if not self.count_include_pad:
            start, stop = max(start, 0), min(stop, self.size[axis])
        return stop - start

    def area(self, k: Kernel, position: Position) -> Index:
        """Emit the number of positions that the average over one window counts: its divisor.

        ``position`` is the (d, h, w) index of the window. Whether positions in the padding count depends on
        ``count_include_pad``.
        """
        total: Index = 1
        for axis, p in enumerate(position):
            start = k.iadd(k.imul(p, self.stride[axis]), -self.before[axis])
            stop = k.imin(k.iadd(start, self.kernel[axis]), self.size[axis] + self.after[axis])
            if not self.count_include_pad:
                start, stop = k.imax(start, 0), k.imin(stop, self.size[axis])
            total = k.imul(total, k.isub(stop, start))
        return total

    def divided(self, k: Kernel, total: Vector, position: Position, dtype: DType) -> Vector:
        """Emit ``total`` divided by the divisor of one window; ``dtype`` is that of ``total``.

        ``position`` is the (d, h, w) index of the window.
        """
        if self.constant:
            return k.mul(total, k.constant(1 / self.constant, dtype))
        area = k.splat(k.convert(k.as_index(self.area(k, position)), dtype.computed))
        return k.div(total, area)


def place_of(k: Kernel, part: Part, axis: int, p: Index, tap: Index) -> Index:
    """Emit the input position, along axis number ``axis``, that tap number ``tap`` of window number ``p`` reads.

    ``part`` describes the windows and their taps.
    """
    span = part.spans[axis]
    return k.iadd(k.imul(p, part.step[axis]), span.first, k.imul(tap, span.stride))


def offset(k: Kernel, storage: Storage, n: Index, block: Index, position: Sequence[Index]) -> Index:
    """Emit the offset in elements of the vector at sample ``n``, channel block ``block`` and a (d, h, w) position.

    ``storage`` is the memory layout of the array.
    """
    steps = zip((n, block, *position), storage.strides, strict=True)
    return k.iadd(storage.origin, *(k.imul(index, stride) for index, stride in steps))


class _Reader:
    """Emits the addresses of the taps of one part in an array of sizes ``limits``, clamped to the array."""

    def __init__(self, k: Kernel, part: Part, storage: Storage, limits: Three) -> None:
        self.k, self.part, self.storage, self.limits = k, part, storage, limits
        self.checked = [low < 0 or high >= limit for (low, high), limit in zip(part.reach(), limits, strict=True)]

    def taps(self) -> list[Three]:
        """Return the taps of the part in row-major order, each as its index along each axis."""
        d, h, w = (range(span.count) for span in self.part.spans)
        return list(itertools.product(d, h, w))

    def filter_tap(self, tap: Three, kernel: Three) -> int:
        """Return the row-major number, in the whole window of size ``kernel``, of a tap of this part."""
        number = 0
        for span, at, size in zip(self.part.spans, tap, kernel, strict=True):
            number = number * size + span.tap + at * span.hop
        return number

    def place(self, positions: Position, tap: Three) -> tuple[Index, Condition | bool, list[Index]]:
        """Emit (offset in elements, whether the tap is inside the array, its coordinates), clamped to the array.

        The offset does not include the sample and the block of channels.
        """
        k = self.k
        where: Index = self.storage.origin
        inside: Condition | bool = True
        coordinates: list[Index] = []
        for axis in range(3):
            at = place_of(k, self.part, axis, positions[axis], tap[axis])
            if self.checked[axis]:
                limit = self.limits[axis]
                inside = k.both(inside, k.both(k.compare(at, ">=", 0), k.compare(at, "<", limit)))
                at = k.imin(k.imax(at, 0), limit - 1)
            coordinates.append(at)
            where = k.iadd(where, k.imul(at, self.storage.strides[2 + axis]))
        return where, inside, coordinates


class Pixels:
    """Emits the vectors of the input at given positions, by loads from memory or by the prologue that computes them.

    ``source`` is the memory layout of the input, and ``first_operand`` the number of the prologue's first operand.
    """

    def __init__(self, k: Kernel, source: Storage, prologue: Prologue | None, first_operand: int) -> None:
        self.k, self.source, self.prologue = k, source, prologue
        self.writer = RegionWriter(k, prologue.region, first_operand) if prologue else None
        self.base: Pointer | None = None

    def begin(self, n: Index, block: Index) -> None:
        """Select sample ``n`` and the block of 16 channels number ``block``, from which ``load`` then reads."""
        if self.writer:
            self.writer.begin_block(n, block)
        else:
            s = self.source.strides
            where = self.k.iadd(self.k.imul(n, s[0]), self.k.imul(block, s[1]))
            self.base = self.k.offset(self.k.operand(0), where, self.source.dtype)

    def load(self, where: Index, at: Sequence[Index], ahead: int = 0) -> Vector:
        """Emit the vector at the coordinates ``at``; ``where`` is its offset in memory, in elements.

        The vector ``ahead`` rows further down is prefetched, unless ``ahead`` is 0.
        """
        if self.writer and self.prologue:
            d, h, w = at
            return self.writer.value_at(self.prologue.value, d, h, w, ahead)
        place = self.k.offset(self.base, where, self.source.dtype)
        if ahead:
            self.k.prefetch(self.k.offset(place, ahead * self.source.strides[3], self.source.dtype))
        return self.k.load(place, self.source.dtype)


def opened(
    k: Kernel, source: Storage, region: Region, prologue: Prologue | None, outputs: int = 0
) -> tuple[RegionWriter, Pixels, int]:
    """Return (epilogue writer, reader of x, number of the first operand after x) for a kernel over windows.

    ``source`` is the memory layout of x. The operands of the kernel are x, ``outputs`` arrays that it writes itself,
    then those of the epilogue ``region``, the fused elementwise work. With a ``prologue``, elementwise work that
    computes x, there is no operand x, and the operands of the prologue come last.
    """
    first = 0 if prologue else 1
    writer = RegionWriter(k, region, first + outputs)
    return writer, Pixels(k, source, prologue, first + outputs + region.operands), first


Emit = Callable[[Part, Index, Index, Position, int], list[Vector]]
"""``emit(part, n, block, position, columns)`` emits the vectors of ``columns`` neighbouring outputs of a row."""


def singly(k: Kernel, emit: Callable[[Part, Index, Index, Position], Vector]) -> Emit:
    """Return a function for ``walk`` that emits the outputs of a row one by one, with ``emit``.

    ``emit(part, n, block, position)`` emits the vector of one output.
    """

    def emit_all(part: Part, n: Index, block: Index, at: Position, columns: int) -> list[Vector]:
        return [emit(part, n, block, (at[0], at[1], k.iadd(at[2], column))) for column in range(columns)]

    return emit_all


def walk(
    k: Kernel,
    writer: RegionWriter,
    domain: Domain,
    parts: tuple[Part, ...],
    emit: Emit,
    begin: Callable[[Index, Index], None] | None = None,
    enter: Callable[[Index, Index], None] | None = None,
) -> None:
    """Write the loop nest of a kernel: ``emit`` computes every output, and elementwise work runs on the results.

    The loops run over the positions of ``parts``; ``domain`` has the numbers of samples and channels. ``emit(part, n,
    block, position, columns)`` emits the vectors of ``columns`` neighbouring outputs of a row, and ``writer`` writes
    the fused elementwise work. ``begin(n, block)`` is called before the positions of each sample and block of 16
    channels, and ``enter(d, h)`` before those of each row.
    """
    group, block = k.idiv(k.chunk, domain.blocks), k.imod(k.chunk, domain.blocks)
    first, last = samples_of(k, domain, group)
    writer.begin_chunk()
    if domain.sample_major:
        writer.begin_block(0, block)
        with k.loop(first, last) as n:
            if begin:
                begin(n.index, block)
            if enter:
                enter(0, 0)
            writer.row(0, n.index)
            writer.tile(0, [(0, 0)], [emit(parts[0], n.index, block, (0, 0, 0), 1)])
        writer.end_block()
    else:
        with k.loop(first, last) as n:
            writer.begin_block(n.index, block)
            if begin:
                begin(n.index, block)
            for _, alike in itertools.groupby(parts, key=lambda part: part.sizes):
                _positions(k, writer, list(alike), n.index, block, emit, enter)
            writer.end_block()
    writer.end_chunk(k.iadd(k.imul(group, domain.blocks), block))


def _positions(
    k: Kernel,
    writer: RegionWriter,
    parts: list[Part],
    n: Index,
    block: Index,
    emit: Emit,
    enter: Callable[[Index, Index], None] | None,
) -> None:
    """Write loops over all positions of parts of equal sizes, row by row.

    The parts take turns after each row, so that the input rows that they share are still in the L1 cache.
    """
    depth, height, width = parts[0].sizes

    def place(part: Part, axis: int, index: Index) -> Index:
        return k.iadd(part.start[axis], k.imul(index, part.spread[axis]))

    tile = min(COLUMNS, width)
    with k.loop(0, depth) as d, k.loop(0, height) as h:
        for part in parts:
            if enter:
                enter(d.index, h.index)
            writer.row(place(part, 0, d.index), place(part, 1, h.index))
            for first, last, step in ((0, width // tile * tile, tile), (width // tile * tile, width, width % tile)):
                if last > first:
                    with k.loop(first, last, step) as w:
                        vectors = emit(part, n, block, (d.index, h.index, w.index), step)
                        values = [[vector] for vector in vectors]
                        writer.tile(place(part, 2, w.index), [(0, j * part.spread[2]) for j in range(step)], values)


@dataclass(frozen=True)
class MaxWindows(KernelSpec):
    """The kernel of max pooling: y is the maximum of each window, and index is the number of the tap at the maximum.

    A tap is one element of the window. ``part`` (see ``geometry``) has the windows; ``source`` and ``index`` are the
    memory layouts of x and of the index. Operands: x, index, then those of ``region``, the fused elementwise work. With
    a ``prologue``, elementwise work that computes x, there is no operand x, and the operands of the prologue come last.
    """

    source: Storage
    index: Storage
    part: Part
    kernel: Three
    region: Region
    prologue: Prologue | None = None

    def write(self, k: Kernel) -> None:
        writer, pixels, index = opened(k, self.source, self.region, self.prologue, 1)
        reader = _Reader(k, self.part, self.source, self.source.sizes)
        dtype, itype = self.source.dtype, self.index.dtype

        def emit(part: Part, n: Index, block: Index, at: Position) -> Vector:
            best: Vector | None = None
            number: Vector | None = None
            found: Condition | bool = False
            for tap in reader.taps():
                where, inside, coordinates = reader.place(at, tap)
                if inside is False:
                    continue
                x = pixels.load(where, coordinates, part.step[1])
                this = k.constant(reader.filter_tap(tap, self.kernel), itype)
                if best is None:
                    best = x if inside is True else k.choose(inside, x, k.constant(-math.inf, dtype))
                    number, found = this, inside
                    continue
                take = k.both(k.not_less_equal(x, best), k.negation(k.is_nan(best)))  # the first NaN is the maximum
                if found is not True:
                    take = k.either(take, k.splat(k.negation(found)))
                if inside is not True:
                    take = k.both(take, k.splat(inside))
                best = k.select(take, x, best)
                number = k.select(take, this, number)
                found = k.either(found, inside)
            k.store(number, k.offset(k.operand(index), offset(k, self.index, n, block, at), itype), itype)
            assert best is not None  # no window lies entirely in the padding
            return best

        walk(k, writer, self.region.domain, (self.part,), singly(k, emit), pixels.begin)


@dataclass(frozen=True)
class AverageWindows(KernelSpec):
    """The kernel of average pooling: y is the sum over each window, divided by the window's divisor.

    ``part`` (see ``geometry``) has the windows, ``window`` their divisors, and ``source`` is the memory layout of x.
    Operands: x, then those of ``region``, the fused elementwise work. With a ``prologue``, elementwise work that
    computes x, there is no operand x, and the operands of the prologue come last.
    """

    source: Storage
    part: Part
    window: Window
    region: Region
    prologue: Prologue | None = None

    def write(self, k: Kernel) -> None:
        writer, pixels, _ = opened(k, self.source, self.region, self.prologue)
        reader = _Reader(k, self.part, self.source, self.source.sizes)
        dtype = self.source.dtype

        def emit(part: Part, n: Index, block: Index, at: Position) -> Vector:
            values: list[Vector] = []
            for tap in reader.taps():
                where, inside, coordinates = reader.place(at, tap)
                if inside is False:
                    continue
                x = pixels.load(where, coordinates, part.step[1])
                values.append(x if inside is True else k.choose(inside, x, k.constant(0, dtype)))
            return self.window.divided(k, k.tree(k.add, values), at, dtype)

        walk(k, writer, self.region.domain, (self.part,), singly(k, emit), pixels.begin)


@dataclass(frozen=True)
class WindowGradient(KernelSpec):
    """The kernel of the gradients of pooling: dx sums the contributions of all windows that contain a position.

    In max pooling, which has an ``index``, a window contributes dy to the position of its maximum. In average pooling,
    a window contributes dy divided by the window's divisor to all its positions. ``parts`` (see ``geometry``) say which
    windows contain a position, and ``arriving`` is the memory layout of dy. Operands: dy, the index in max pooling,
    then those of ``region``, the fused elementwise work.
    """

    arriving: Storage
    index: Storage | None
    parts: tuple[Part, ...]
    kernel: Three
    window: Window | None
    region: Region

    def write(self, k: Kernel) -> None:
        writer = RegionWriter(k, self.region, 2 if self.index else 1)
        dtype = self.arriving.dtype
        readers = {part: _Reader(k, part, self.arriving, self.arriving.sizes) for part in self.parts}

        def emit(part: Part, n: Index, block: Index, at: Position) -> Vector:
            reader = readers[part]
            s = self.arriving.strides
            base = k.iadd(k.imul(n, s[0]), k.imul(block, s[1]))
            arrived: list[Vector] = []
            for tap in reader.taps():
                where, inside, coordinates = reader.place(at, tap)
                if inside is False:
                    continue
                dy = k.load(k.offset(k.operand(0), k.iadd(base, where), dtype), dtype)
                if self.index:
                    dy = self._chosen(k, reader, tap, dy, n, block, coordinates)
                elif self.window:
                    dy = self.window.divided(k, dy, (coordinates[0], coordinates[1], coordinates[2]), dtype)
                arrived.append(dy if inside is True else k.choose(inside, dy, k.constant(0, dtype)))
            return k.tree(k.add, arrived) if arrived else k.constant(0, dtype)

        walk(k, writer, self.region.domain, self.parts, singly(k, emit))

    def _chosen(
        self, k: Kernel, reader: _Reader, tap: Three, dy: Pointer, n: Index, block: Index, coordinates: list[Index]
    ) -> Vector:
        assert self.index
        where = offset(k, self.index, n, block, coordinates)
        number = k.load(k.offset(k.operand(1), where, self.index.dtype), self.index.dtype)
        this = k.constant(reader.filter_tap(tap, self.kernel), self.index.dtype)
        return k.select(k.builder.icmp_unsigned("==", number, this), dy, k.constant(0, self.arriving.dtype))
