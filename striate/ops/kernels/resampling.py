"""The kernels of linear maps along the spatial axes (see ``ops.axis_map``): padding, resampling and adaptive averages.

``Picked`` is for maps in which each output is at most one input with the weight 1, as in padding; ``Weighted`` is for
all other maps. ``PlainPad`` pads any axis of an array in NumPy's order. ``ShuffledPixels`` is the pixel shuffle.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import LANES, Condition, Index, Vector
from striate.codegen.launch import KernelSpec
from striate.codegen.region import Region
from striate.codegen.storage import Storage
from striate.dtypes import DType
from striate.ops.axis_map import AxisMap, Entry, Run, Scalar, Terms
from striate.ops.kernels.geometry import Part, every_position
from striate.ops.kernels.pooling import Position, Prologue, opened, walk

Maps = tuple[AxisMap | None, AxisMap | None, AxisMap | None]
"""The linear maps along the axes D, H and W; None for an axis that does not change."""

LONG = 64
"""Sums of more terms than this are accumulated in float64."""


@dataclass(frozen=True)
class Mapped(KernelSpec):
    """Base class of the kernels that apply linear maps along the spatial axes (abstract).

    ``maps`` are the maps along D, H and W; None is an axis that does not change. ``source`` is the memory layout of x.
    Operands: x, then those of ``region``, the fused elementwise work. With a ``prologue``, elementwise work that
    computes x, there is no operand x, and the operands of the prologue come last.
    """

    source: Storage
    maps: Maps
    region: Region
    prologue: Prologue | None

    @property
    def summed(self) -> DType:
        """The dtype in which the kernel sums and multiplies by weights."""
        most = math.prod(1 if axis is None else axis.most for axis in self.maps)
        return DType.float64 if most > LONG else self.source.dtype.computed

    def write(self, k: Kernel) -> None:
        writer, pixels, _ = opened(k, self.source, self.region, self.prologue)
        rows: list[Terms] = []

        def terms(axis: int, p: Index) -> Terms:
            found = self.maps[axis]
            return [Entry(p)] if found is None else found.terms(k, p, self.summed)

        def enter(d: Index, h: Index) -> None:
            rows[:] = [terms(0, d), terms(1, h)]

        def load(at: Sequence[Index]) -> Vector:
            steps = (k.imul(place, stride) for place, stride in zip(at, self.source.strides[2:], strict=True))
            return pixels.load(k.iadd(self.source.origin, *steps), at)

        def emit(part: Part, n: Index, block: Index, at: Position, columns: int) -> list[Vector]:
            places = (k.iadd(at[2], column) for column in range(columns))
            return [self.vector(k, [*rows, terms(2, p)], load) for p in places]

        sizes = self.region.domain.sizes
        walk(k, writer, self.region.domain, (every_position(sizes),), emit, pixels.begin, enter)

    def vector(self, k: Kernel, rows: Sequence[Terms], load: Callable[[Sequence[Index]], Vector]) -> Vector:
        """Emit the output vector of one position.

        ``rows`` has, for each axis, the terms (input position and weight) that the map of the axis sums at this
        position. ``load`` loads x at an input position.
        """
        raise NotImplementedError


@dataclass(frozen=True)
class Picked(Mapped):
    """The kernel of maps without sums: y[p] = x[i] if position p has the single term i, and ``fill`` if it has none."""

    fill: float

    def vector(self, k: Kernel, rows: Sequence[Terms], load: Callable[[Sequence[Index]], Vector]) -> Vector:
        inside: Condition | bool = True
        places: list[Index] = []
        for row in rows:
            assert not isinstance(row, Run)
            (entry,) = row
            inside = k.both(inside, entry.exists)
            places.append(entry.place)
        return k.choose(inside, load(places), k.constant(self.fill, self.source.dtype))


@dataclass(frozen=True)
class Weighted(Mapped):
    """The kernel of general linear maps: y[p] = Σ weight · x[i] over the terms of position p along all axes."""

    def vector(self, k: Kernel, rows: Sequence[Terms], load: Callable[[Sequence[Index]], Vector]) -> Vector:
        dtype = self.summed
        zero = k.constant(0, dtype)

        def weighed(x: Vector, weight: Scalar | None) -> Vector:
            return x if weight is None else k.mul(x, k.splat(weight))

        def total(at: tuple[Index, ...]) -> Vector:
            """Emit the sum over the axes from number ``len(at)`` on, at the positions ``at`` along the axes before."""
            if len(at) == len(rows):
                return k.convert(load(at), dtype)
            row = rows[len(at)]
            if isinstance(row, Run):
                with k.loop(row.first, row.stop, carry=[zero]) as loop:
                    weight = row.weight(loop.index) if row.weight else None
                    loop.carry = [k.add(loop.carry[0], weighed(total((*at, loop.index)), weight))]
                return weighed(loop.result[0], row.share)
            terms = [k.choose(entry.exists, weighed(total((*at, entry.place)), entry.weight), zero) for entry in row]
            return k.tree(k.add, terms)

        return k.convert(total(()), self.source.dtype.computed)


@dataclass(frozen=True)
class PlainPad(KernelSpec):
    """The kernel that pads an array in NumPy's order with ``fill`` along any axis, or crops it. Operands: y, x.

    A chunk, the unit of work of a thread, is one index along axis 0 of y. The arrays have at least two axes: the caller
    adds one to a vector. ``shape`` is the shape of x, and ``padding`` has a pair (before, after) for each axis.
    ``strides`` are the strides of x, ``origin`` is the offset of its first element, and ``result`` are the strides of
    y, all in elements.
    """

    dtype: DType
    shape: tuple[int, ...]  # of x; the first may be anything where axis 0 is not padded
    padding: tuple[tuple[int, int], ...]
    strides: tuple[int, ...]  # of x
    origin: int
    result: tuple[int, ...]  # strides of y
    fill: float

    def write(self, k: Kernel) -> None:
        rank = len(self.shape)

        def rows(axis: int, inside: Condition | bool, read: Index, written: Index) -> None:
            size, (before, after) = self.shape[axis], self.padding[axis]
            if axis == rank - 1:
                with k.when(inside):
                    self._fill(k, written, max(0, before))
                    kept = size + min(0, before) + min(0, after)
                    self._copy(k, k.iadd(read, max(0, -before)), k.iadd(written, max(0, before)), kept)
                    self._fill(k, k.iadd(written, max(0, before) + kept), max(0, after))
                if inside is not True:
                    with k.when(k.negation(inside)):
                        self._fill(k, written, before + size + after)
                return
            first, last = (k.chunk, k.iadd(k.chunk, 1)) if axis == 0 else (0, before + size + after)
            with k.loop(first, last) as at:
                place = k.iadd(at.index, -before)
                held = inside
                if before > 0 or after > 0:
                    held = k.both(held, k.both(k.compare(place, ">=", 0), k.compare(place, "<", size)))
                to = k.iadd(written, k.imul(at.index, self.result[axis]))
                rows(axis + 1, held, k.iadd(read, k.imul(place, self.strides[axis])), to)

        rows(0, True, self.origin, 0)

    def _fill(self, k: Kernel, where: Index, count: int) -> None:
        self._run(k, count, lambda at, many: self._put(k, k.constant(self.fill, self.dtype), k.iadd(where, at), many))

    def _copy(self, k: Kernel, read: Index, written: Index, count: int) -> None:
        def move(at: Index, many: int) -> None:
            x = k.load_masked(k.offset(k.operand(1), k.iadd(read, at), self.dtype), self.dtype, many)
            self._put(k, x, k.iadd(written, at), many)

        self._run(k, count, move)

    def _put(self, k: Kernel, x: Vector, where: Index, many: int) -> None:
        k.store_masked(x, k.offset(k.operand(0), where, self.dtype), self.dtype, many)

    def _run(self, k: Kernel, count: int, body: Callable[[Index, int], None]) -> None:
        whole = count // LANES * LANES
        if whole:
            with k.loop(0, whole, LANES) as at:
                body(at.index, LANES)
        if count > whole:
            body(whole, count - whole)


@dataclass(frozen=True)
class ShuffledPixels(KernelSpec):
    """The kernel of pixel shuffle and its inverse: copies (N, C · f², H, W) ↔ (N, C, H · f, W · f) with f = ``factor``.

    ``channels`` is C; ``height`` and ``width`` are H and W. ``many_channels`` and ``many_positions`` are the strides of
    the two arrays along (n, c, h, w), and ``…_origin`` the offsets of their first elements, all in elements. With
    ``forward``, x is the array of many channels and y the one of many positions; otherwise it is the reverse. A chunk,
    the unit of work of a thread, is one sample. Operands: y, x.
    """

    dtype: DType
    channels: int
    height: int
    width: int
    factor: int
    many_channels: tuple[int, int, int, int]
    many_channels_origin: int
    many_positions: tuple[int, int, int, int]
    many_positions_origin: int
    forward: bool

    def write(self, k: Kernel) -> None:
        f, (n, c, h, w), (big_n, big_c, big_h, big_w) = self.factor, self.many_channels, self.many_positions
        start = k.iadd(k.imul(k.chunk, n), self.many_channels_origin)
        big_start = k.iadd(k.imul(k.chunk, big_n), self.many_positions_origin)
        with k.loop(0, self.channels) as channel, k.loop(0, f) as i, k.loop(0, f) as j, k.loop(0, self.height) as row:
            number = k.iadd(k.imul(k.iadd(k.imul(channel.index, f), i.index), f), j.index)
            here = k.iadd(start, k.imul(number, c), k.imul(row.index, h))
            line = k.iadd(k.imul(row.index, f), i.index)
            there = k.iadd(big_start, k.imul(channel.index, big_c), k.imul(line, big_h), k.imul(j.index, big_w))
            with k.loop(0, self.width) as column:
                a, b = k.iadd(here, k.imul(column.index, w)), k.iadd(there, k.imul(column.index, f * big_w))
                read, written = (a, b) if self.forward else (b, a)
                x = k.load_scalar(k.offset(k.operand(1), read, self.dtype), self.dtype)
                k.store_scalar(x, k.offset(k.operand(0), written, self.dtype), self.dtype)
