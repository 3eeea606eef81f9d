"""The kernel that augments one sample: it reads the sample from the data set and writes it into the batch.

    gather + crop, flip, shift │ or resample at arbitrary positions → colour → tone → noise → boxes → round and store

If elements only move, they are copied from the data set to the batch, in vectors where they are adjacent. Otherwise the
sample is computed in float32, in scratch memory that stays in the cache, and rounded once. There is one chunk for each
sample, so the result does not depend on the number of threads. ``reference.py`` computes the same with NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from striate.codegen.kernel import LANES, Index, Kernel
from striate.codegen.launch import KernelSpec
from striate.codegen.words import Word, lanes_of_words
from striate.data.augment.draft import GREY, Border, Fill
from striate.dtypes import DType
from striate.ops.random import mix

F32 = DType.float32
AXES = 3


@dataclass(frozen=True)
class SampleKernel(KernelSpec):
    """The kernel for one list of transforms and one shape of samples.

    source, size  shapes (C, D, H, W) of a sample in the data set, and (D, H, W) in the batch
    dtype         uint8 or float32, of both
    border        what lies outside of a sample; ``fill`` has the constant for each channel
    affine, …     what is done, see ``draft.Work``; ``boxes`` has the fill of each box for each channel

    Operands: the data set (N, C, D, H, W); the indices of the samples, int64 (B,); the columns ``ints`` int32 (B, I)
    and ``floats`` float32 (B, F) of ``Columns``; the batch (B, C, D′, H′, W′).
    """

    source: tuple[int, int, int, int]
    size: tuple[int, int, int]
    dtype: DType
    border: Border
    fill: Fill
    affine: bool = False
    colour: bool = False
    tone: bool = False
    noise: bool = False
    boxes: tuple[Fill, ...] = ()

    @property
    def computes(self) -> bool:
        """Whether samples are computed in float32, rather than only moved."""
        return self.affine or self.colour or self.tone or self.noise

    @property
    def plane(self) -> int:
        """The number of elements of a channel in the batch."""
        return math.prod(self.size)

    @property
    def stride(self) -> int:
        """The distance of two channels in scratch memory, in elements; whole vectors may be written past a row."""
        return -(-self.plane // LANES) * LANES + LANES

    @property
    def thread_scratch(self) -> int:
        """The number of bytes of scratch memory that a thread needs."""
        return 4 * self.source[0] * self.stride if self.computes else 0

    @property
    def columns(self) -> Columns:
        """The places of the parameters."""
        return Columns(self.affine, 3 if self.source[0] == 3 else 1, self.boxes)

    def write(self, k: Kernel) -> None:
        _Writer(k, self).write()


@dataclass(frozen=True)
class Columns:
    """The columns of the parameters of a sample.

    ints    sign and offset of each axis D, H, W (6); two words of random numbers (2); start D, H, W and stop D, H, W of
            each box (6 each)
    floats  rows of the affine map (6, only with ``affine``); the colour matrix (``colours``²), the factor of the mean
            grey value (1); solarize, posterize, stretch (3); the standard deviation of noise (1)
    """

    affine: bool
    colours: int
    boxes: tuple[Fill, ...]

    words = 2 * AXES

    def box(self, number: int) -> int:
        """Return the first column of a box in ``ints``."""
        return self.words + 2 + 2 * AXES * number

    @property
    def ints(self) -> int:
        return self.box(len(self.boxes))

    @property
    def colour(self) -> int:
        return 6 if self.affine else 0

    @property
    def grey(self) -> int:
        return self.colour + self.colours**2

    @property
    def tone(self) -> int:
        return self.grey + 1

    @property
    def noise(self) -> int:
        return self.tone + 3

    @property
    def floats(self) -> int:
        return self.noise + 1


class _Writer:
    """Writes the body of a ``SampleKernel``."""

    def __init__(self, k: Kernel, spec: SampleKernel) -> None:
        self.k, self.spec, self.columns = k, spec, spec.columns
        self.channels, *self.source = spec.source
        self.sample = k.chunk
        volume = math.prod(spec.source)
        rows = k.operand(1)
        row = k.load_scalar(k.offset(rows, self.sample, DType.int64), DType.int64)
        self.data = k.offset(k.operand(0), k.imul(row, volume), spec.dtype)
        self.batch = k.offset(k.operand(4), k.imul(self.sample, self.channels * spec.plane), spec.dtype)
        self.ints = k.offset(k.operand(2), k.imul(self.sample, self.columns.ints), DType.int32)
        self.floats = k.offset(k.operand(3), k.imul(self.sample, self.columns.floats), F32)

    def write(self) -> None:
        spec = self.spec
        if spec.affine:
            self.resample()
        else:
            self.move()
        if spec.colour:
            self.colour()
        if spec.tone:
            self.tone()
        if spec.noise:
            self.noise()
        if spec.computes:
            self.store()
        for number, fill in enumerate(spec.boxes):
            self.erase(number, fill)

    # Parameters and planes

    def int_at(self, column: int) -> Index:
        found = self.k.load_scalar(self.k.offset(self.ints, column, DType.int32), DType.int32)
        return self.k.convert(found, DType.int64)

    def float_at(self, column: int) -> Any:
        """Return a parameter in every lane of a vector."""
        return self.k.broadcast(self.k.offset(self.floats, column, F32), F32)

    def scratch(self, channel: Index, element: Index = 0) -> Any:
        k = self.k
        return k.offset(k.scratch, k.iadd(k.imul(channel, self.spec.stride), element), F32)

    def target(self, channel: Index, element: Index = 0) -> Any:
        """Return the address to which elements are moved: in scratch memory if they are computed with, else final."""
        return self.scratch(channel, element) if self.spec.computes else self.final(channel, element)

    def final(self, channel: Index, element: Index = 0) -> Any:
        k = self.k
        return k.offset(self.batch, k.iadd(k.imul(channel, self.spec.plane), element), self.spec.dtype)

    @property
    def moved(self) -> DType:
        return F32 if self.spec.computes else self.spec.dtype

    def filled(self, fill: Fill, channel: Index, dtype: DType) -> Any:
        """Return the constant of a channel in every lane."""
        k = self.k
        numbers = [round(one) for one in fill] if dtype is DType.uint8 else fill
        if len(set(numbers)) == 1:
            return k.constant(numbers[0], dtype)
        table = k.table(numbers, dtype)
        return k.broadcast(k.offset(table, channel, dtype), dtype)

    # Runs of adjacent elements; the count is only known when the kernel runs

    def run(self, count: Index, vector: Callable[[Index], None], scalar: Callable[[Index], None]) -> None:
        """Write ``vector(i)`` for whole vectors of a run and ``scalar(i)`` for each element of a short one.

        The last vector ends at the end of the run and may repeat elements of the one before it.
        """
        k = self.k
        full = k.idiv(count, LANES)
        with k.loop(0, full) as loop:
            vector(k.imul(loop.index, LANES))
        with k.when(k.compare(count, ">", k.imul(full, LANES))):
            long = k.compare(count, ">=", LANES)
            with k.when(long):
                vector(k.isub(count, LANES))
            with k.when(k.negation(long)), k.loop(0, count) as loop:
                scalar(loop.index)

    def fill_run(self, pointer: Any, count: Index, value: Any, dtype: DType) -> None:
        k = self.k
        first = k.lane(value, 0)
        self.run(
            count,
            lambda i: k.store(value, k.offset(pointer, i, dtype), dtype),
            lambda i: k.store_scalar(first, k.offset(pointer, i, dtype)),
        )

    # Moving elements: element i of the result lies at sign · i + offset

    def move(self) -> None:
        k, spec = self.k, self.spec
        depth, height, width = spec.size
        signs, offsets = ([self.int_at(2 * axis + part) for axis in range(AXES)] for part in (0, 1))
        length = self.source[2]
        forward = k.compare(signs[2], ">", 0)
        # The elements from a to b - 1 of a row lie inside of the source.
        ahead, behind = k.isub(0, offsets[2]), k.iadd(k.isub(offsets[2], length), 1)
        a = k.imin(k.imax(k.choose(forward, ahead, behind), 0), width)
        end = k.choose(forward, k.iadd(ahead, length), k.iadd(offsets[2], 1))
        b = k.imax(k.imin(end, width), a)
        with k.loop(0, self.channels) as channels, k.loop(0, depth) as depths:
            plane, inside = self.placed(0, depths.index, signs, offsets)
            with k.loop(0, height) as rows:
                line, within = self.placed(1, rows.index, signs, offsets)
                inside_row = k.both(inside, within)
                to = self.target(channels.index, k.imul(k.iadd(k.imul(depths.index, height), rows.index), width))
                constant = self.filled(spec.fill, channels.index, self.moved)
                with k.when(k.negation(inside_row)):
                    self.fill_run(to, width, constant, self.moved)
                with k.when(inside_row):
                    base = k.iadd(k.imul(k.iadd(k.imul(channels.index, self.source[0]), plane), self.source[1]), line)
                    source = k.offset(self.data, k.imul(base, length), spec.dtype)
                    for start, stop in ((0, a), (b, width)):
                        with k.loop(start, stop) as loop:
                            self.outside(source, k.offset(to, loop.index, self.moved), loop.index, signs, offsets,
                                         constant)  # fmt: skip
                    count = k.isub(b, a)
                    to = k.offset(to, a, self.moved)
                    first = k.iadd(k.imul(signs[2], a), offsets[2])
                    with k.when(forward):
                        self.copy(k.offset(source, first, spec.dtype), to, count)
                    with k.when(k.negation(forward)):
                        self.copy_reversed(k.offset(source, first, spec.dtype), to, count)

    def placed(self, axis: int, index: Index, signs: Sequence[Index], offsets: Sequence[Index]) -> tuple[Index, Any]:
        """Return the index of the source along an axis, and the condition that there is one.

        The index is valid in any case.
        """
        k, size = self.k, self.source[axis]
        if size == 1 and self.spec.size[axis] == 1:
            return 0, True
        place = k.iadd(k.imul(signs[axis], index), offsets[axis])
        if self.spec.border is Border.CONSTANT:
            inside = k.both(k.compare(place, ">=", 0), k.compare(place, "<", size))
            return k.imin(k.imax(place, 0), size - 1), inside
        return self.bordered(place, size), True

    def bordered(self, place: Index, size: int) -> Index:
        """Return the index inside of an axis that stands for an index outside of it."""
        k = self.k
        match self.spec.border:
            case Border.REFLECT:
                if size == 1:
                    return 0
                period = 2 * (size - 1)
                folded = k.imod(k.imax(place, k.isub(0, place)), period)
                return k.imin(folded, k.isub(period, folded))
            case Border.WRAP:
                return k.imod(k.iadd(place, size * WRAPS), size)
            case _:
                return k.imin(k.imax(place, 0), size - 1)

    def outside(
        self, source: Any, to: Any, index: Index, signs: Sequence[Index], offsets: Sequence[Index], constant: Any
    ) -> None:
        """Write one element of a row that lies outside of the source."""
        k, spec = self.k, self.spec
        if spec.border is Border.CONSTANT:
            k.store_scalar(k.lane(constant, 0), to)
            return
        place = self.bordered(k.iadd(k.imul(signs[2], index), offsets[2]), self.source[2])
        found = k.load_scalar(k.offset(source, place, spec.dtype), spec.dtype)
        k.store_scalar(k.convert(found, self.moved), to)

    def copy(self, source: Any, to: Any, count: Index) -> None:
        """Copy ``count`` adjacent elements."""
        k, dtype = self.k, self.spec.dtype

        def vector(i: Index) -> None:
            found = k.load(k.offset(source, i, dtype), dtype)
            k.store(k.convert(found, self.moved), k.offset(to, i, self.moved), self.moved)

        def scalar(i: Index) -> None:
            found = k.load_scalar(k.offset(source, i, dtype), dtype)
            k.store_scalar(k.convert(found, self.moved), k.offset(to, i, self.moved))

        self.run(count, vector, scalar)

    def copy_reversed(self, source: Any, to: Any, count: Index) -> None:
        """Copy ``count`` elements in reverse order; ``source`` is the address of the one that comes first."""
        k, dtype = self.k, self.spec.dtype

        def vector(i: Index) -> None:
            found = k.load(k.offset(source, k.isub(1 - LANES, i), dtype), dtype)
            turned = k.permuted({0: found}, [(0, LANES - 1 - lane) for lane in range(LANES)])
            k.store(k.convert(turned, self.moved), k.offset(to, i, self.moved), self.moved)

        def scalar(i: Index) -> None:
            found = k.load_scalar(k.offset(source, k.isub(0, i), dtype), dtype)
            k.store_scalar(k.convert(found, self.moved), k.offset(to, i, self.moved))

        self.run(count, vector, scalar)

    # Resampling: pixel (x, y) of the result lies at matrix · (x, y, 1)

    def resample(self) -> None:
        k, spec = self.k, self.spec
        _, height, width = spec.size
        across = [self.float_at(column) for column in range(3)]
        down = [self.float_at(column) for column in range(3, 6)]
        lanes = k.load(k.table(range(LANES), F32), F32)
        with k.loop(0, height) as rows:
            y = k.splat(k.convert(k.as_index(rows.index), F32))
            offsets = [k.add(k.mul(line[1], y), line[2]) for line in (across, down)]
            with k.loop(0, width, LANES) as blocks:
                x = k.add(k.splat(k.convert(k.as_index(blocks.index), F32)), lanes)
                places = [k.add(k.mul(line[0], x), offset) for line, offset in zip((across, down), offsets)]
                self.interpolate(places, k.iadd(k.imul(rows.index, width), blocks.index))

    def interpolate(self, places: Sequence[Any], element: Index) -> None:
        """Interpolate 16 pixels of every channel at positions (x, y) and write them to ``element`` on."""
        k, spec = self.k, self.spec
        width = self.source[2]
        columns, fraction_x = self.neighbours(places[0], width)
        lines, fraction_y = self.neighbours(places[1], self.source[1])
        corners: list[tuple[list[Index], Any]] = []
        for line, in_height in lines:
            for column, in_width in columns:
                place = k.add(k.mul(line, k.constant(width, DType.int32)), column)
                numbers = [k.convert(k.lane(place, lane), DType.int64) for lane in range(LANES)]
                inside = None if in_width is None else k.builder.and_(in_height, in_width)
                corners.append((numbers, inside))
        with k.loop(0, self.channels) as channels:
            source = k.offset(self.data, k.imul(channels.index, self.source[1] * width), spec.dtype)
            constant = self.filled(spec.fill, channels.index, F32)
            values: list[Any] = []
            for numbers, inside in corners:
                found = k.gathered([k.offset(source, number, spec.dtype) for number in numbers], spec.dtype)
                value = k.convert(found, F32)
                values.append(value if inside is None else k.select(inside, value, constant))
            top, bottom = (
                k.add(left, k.mul(fraction_x, k.sub(right, left))) for left, right in (values[:2], values[2:])
            )
            k.store(k.add(top, k.mul(fraction_y, k.sub(bottom, top))), self.scratch(channels.index, element), F32)

    def neighbours(self, place: Any, size: int) -> tuple[list[tuple[Any, Any]], Any]:
        """Return the two nearest elements of each position along an axis, and the share of the second one.

        An element is its index, int32 and always valid, and the condition that the index was inside of the axis (None
        where it always is).
        """
        k = self.k
        last = k.constant(size - 1, F32)
        zero, one = k.constant(0, F32), k.constant(1, F32)

        def limited(x: Any, low: Any, high: Any) -> Any:
            return k.min(k.max(x, low), high)

        if self.spec.border is Border.CONSTANT:
            place = limited(place, k.constant(-2, F32), k.constant(size + 1, F32))
            first = k.floor(place)
            found: list[tuple[Any, Any]] = []
            for index in (first, k.add(first, one)):
                inside = k.builder.and_(k.compared(index, ">=", zero), k.compared(index, "<=", last))
                found.append((k.convert(limited(index, zero, last), DType.int32), inside))
            return found, k.sub(place, first)
        if self.spec.border is Border.REFLECT and size > 1:
            period, inverse = k.constant(2 * (size - 1), F32), k.constant(1 / (2 * (size - 1)), F32)
            place = k.abs(place)
            place = k.sub(place, k.mul(period, k.floor(k.mul(place, inverse))))
            place = k.min(place, k.sub(period, place))
        place = limited(place, zero, last)
        first = k.floor(place)
        indices = [k.convert(index, DType.int32) for index in (first, k.min(k.add(first, one), last))]
        return [(index, None) for index in indices], k.sub(place, first)

    # Computing in scratch memory

    def colour(self) -> None:
        """y = M x + t μ, where μ is the mean grey value of the sample."""
        k, colours = self.k, self.columns.colours
        shift = k.mul(self.float_at(self.columns.grey), self.mean_grey())
        gain = [self.float_at(self.columns.colour + number) for number in range(colours**2)]
        if colours == 1:
            with k.loop(0, self.channels) as channels, k.loop(0, self.spec.plane, LANES) as loop:
                place = self.scratch(channels.index, loop.index)
                k.store(k.add(k.mul(gain[0], k.load(place, F32)), shift), place, F32)
            return
        with k.loop(0, self.spec.plane, LANES) as loop:
            places = [self.scratch(channel, loop.index) for channel in range(3)]
            values = [k.load(place, F32) for place in places]
            for row, place in enumerate(places):
                total = k.mul(gain[3 * row], values[0])
                for column in (1, 2):
                    total = k.add(total, k.mul(gain[3 * row + column], values[column]))
                k.store(k.add(total, shift), place, F32)

    def mean_grey(self) -> Any:
        """Return the mean grey value μ of the sample in every lane: the mean over pixels, and over channels unless 3.

        The sum of each lane is added up in order of the elements, and then those of the lanes in a tree.
        """
        k, spec = self.k, self.spec
        zero = k.constant(0, F32)

        def masked(value: Any, element: Index) -> Any:
            return k.select(k.mask(k.isub(spec.plane, element)), value, zero)

        if self.columns.colours == 3:
            with k.loop(0, spec.plane, LANES, carry=[zero]) as loop:
                grey = zero
                for channel, weight in enumerate(GREY):
                    value = k.load(self.scratch(channel, loop.index), F32)
                    grey = k.add(grey, k.mul(k.constant(weight, F32), value))
                loop.carry = [k.add(loop.carry[0], masked(grey, loop.index))]
            total, count = loop.result[0], spec.plane
        else:
            with k.loop(0, self.channels, carry=[zero]) as channels:
                with k.loop(0, spec.plane, LANES, carry=channels.carry) as loop:
                    value = k.load(self.scratch(channels.index, loop.index), F32)
                    loop.carry = [k.add(loop.carry[0], masked(value, loop.index))]
                channels.carry = loop.result
            total, count = channels.result[0], spec.plane * self.channels
        return k.mul(k.splat(k.add_lanes(total)), k.constant(1 / count, F32))

    def tone(self) -> None:
        """Solarize, posterize and stretch the contrast of pictures from 0 to 255."""
        k, first = self.k, self.columns.tone
        threshold, step, stretch = (self.float_at(first + number) for number in range(3))
        zero, most = k.constant(0, F32), k.constant(255, F32)
        posterizes = k.compared(step, ">", zero)
        inverse = k.div(k.constant(1, F32), k.select(posterizes, step, k.constant(1, F32)))
        stretches = k.compared(stretch, ">", zero)
        with k.loop(0, self.channels) as channels:
            with k.loop(0, self.spec.plane, LANES, carry=[most, zero]) as loop:
                place = self.scratch(channels.index, loop.index)
                value = k.min(k.max(k.load(place, F32), zero), most)
                value = k.select(k.compared(value, ">=", threshold), k.sub(most, value), value)
                value = k.select(posterizes, k.mul(k.floor(k.mul(value, inverse)), step), value)
                k.store(value, place, F32)
                mask = k.mask(k.isub(self.spec.plane, loop.index))
                loop.carry = [
                    k.min(loop.carry[0], k.select(mask, value, most)), k.max(loop.carry[1], k.select(mask, value, zero))
                ]  # fmt: skip
            low = k.splat(k.fold_lanes(loop.result[0], k.min))
            high = k.splat(k.fold_lanes(loop.result[1], k.max))
            wide = k.builder.and_(k.compared(high, ">", low), stretches)
            factor = k.div(most, k.select(wide, k.sub(high, low), most))
            with k.loop(0, self.spec.plane, LANES) as loop:
                place = self.scratch(channels.index, loop.index)
                value = k.load(place, F32)
                k.store(k.select(wide, k.mul(k.sub(value, low), factor), value), place, F32)

    def noise(self) -> None:
        """Add normal numbers (Box and Muller, 1958), from two random words for each element."""
        k, words = self.k, self.columns.words
        first, second = (k.load_scalar(k.offset(self.ints, words + i, DType.int32), DType.int32) for i in (0, 1))
        rows = Word(k, first), Word(k, second)
        sigma = self.float_at(self.columns.noise)
        with k.loop(0, self.channels) as channels, k.loop(0, self.spec.plane, LANES) as loop:
            number_of_first = k.imul(k.iadd(k.imul(channels.index, self.spec.plane), loop.index), 2)
            drawn: list[Any] = []
            for number in (0, 1):
                element = lanes_of_words(k, k.iadd(number_of_first, number), 2)
                drawn.append(k.convert((mix(rows, element) >> 8).value, F32))
            place = self.scratch(channels.index, loop.index)
            u = k.mul(k.add(drawn[0], k.constant(1, F32)), k.constant(2.0**-24, F32))
            angle = k.mul(drawn[1], k.constant(2 * math.pi * 2.0**-24, F32))
            normal = k.mul(k.sqrt(k.mul(k.constant(-2, F32), k.log(u))), k.cos(angle))
            k.store(k.add(k.load(place, F32), k.mul(sigma, normal)), place, F32)

    # The batch

    def store(self) -> None:
        """Write the computed sample into the batch; bytes are rounded to the nearest and limited to 0 … 255."""
        k, spec = self.k, self.spec

        def stored(value: Any) -> Any:
            if spec.dtype is F32:
                return value
            return k.convert(k.min(k.max(k.round(value), k.constant(0, F32)), k.constant(255, F32)), spec.dtype)

        with k.loop(0, self.channels) as channels:
            for element in range(0, spec.plane, LANES) if spec.plane < LANES else ():
                value = stored(k.load(self.scratch(channels.index, element), F32))
                for lane in range(spec.plane - element):
                    k.store_scalar(k.lane(value, lane), self.final(channels.index, element + lane))
            if spec.plane >= LANES:
                self.run(
                    spec.plane,
                    lambda i: k.store(
                        stored(k.load(self.scratch(channels.index, i), F32)), self.final(channels.index, i), spec.dtype
                    ),
                    lambda i: None,
                )

    def erase(self, number: int, fill: Fill) -> None:
        """Fill one box of the sample in the batch."""
        k, spec = self.k, self.spec
        first = self.columns.box(number)
        starts, stops = ([self.int_at(first + AXES * part + axis) for axis in range(AXES)] for part in (0, 1))
        count = k.isub(stops[2], starts[2])
        with (
            k.loop(0, self.channels) as channels,
            k.loop(starts[0], stops[0]) as depths,
            k.loop(starts[1], stops[1]) as rows,
        ):
            row = k.iadd(k.imul(depths.index, spec.size[1]), rows.index)
            to = self.final(channels.index, k.iadd(k.imul(row, spec.size[2]), starts[2]))
            self.fill_run(to, count, self.filled(fill, channels.index, spec.dtype), spec.dtype)


WRAPS = 1 << 20
"""A multiple of the length that is added to indices before the remainder, so that they are not negative."""
