"""Write the part of the kernel that moves elements: element i of the result is element sign · i + offset of the source.

This holds along each axis. In every function, ``s`` is the ``Sample`` that writes the code of the kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from striate.codegen.lanes import LANES, Index
from striate.data.augment.draft import Border
from striate.data.augment.sample import Sample
from striate.data.augment.specification import AXES

WRAPS = 1 << 20
"""A multiple of the length that is added to indices before the remainder, so that they are not negative."""


def move(s: Sample) -> None:
    """Write kernel code that moves all elements of a sample from the data set to the addresses from ``s.target``.

    The addresses are in the batch. If the kernel goes on to change the elements, they are in scratch memory instead,
    and the elements become float32. ``s`` writes the code.
    """
    k, spec = s.k, s.spec
    depth, height, width = spec.size
    signs, offsets = ([s.int_at(2 * axis + part) for axis in range(AXES)] for part in (0, 1))
    length = s.source[2]
    forward = k.compare(signs[2], ">", 0)
    # The elements from a to b - 1 of a row lie inside of the source.
    ahead, behind = k.isub(0, offsets[2]), k.iadd(k.isub(offsets[2], length), 1)
    a = k.imin(k.imax(k.choose(forward, ahead, behind), 0), width)
    end = k.choose(forward, k.iadd(ahead, length), k.iadd(offsets[2], 1))
    b = k.imax(k.imin(end, width), a)
    with k.loop(0, s.channels) as channels, k.loop(0, depth) as depths:
        plane, inside = placed(s, 0, depths.index, signs, offsets)
        with k.loop(0, height) as rows:
            line, within = placed(s, 1, rows.index, signs, offsets)
            inside_row = k.both(inside, within)
            to = s.target(channels.index, k.imul(k.iadd(k.imul(depths.index, height), rows.index), width))
            constant = s.filled(spec.fill, channels.index, s.moved)
            with k.when(k.negation(inside_row)):
                s.fill_run(to, width, constant, s.moved)
            with k.when(inside_row):
                base = k.iadd(k.imul(k.iadd(k.imul(channels.index, s.source[0]), plane), s.source[1]), line)
                source = k.offset(s.data, k.imul(base, length), spec.dtype)
                for start, stop in ((0, a), (b, width)):
                    with k.loop(start, stop) as loop:
                        place = k.iadd(k.imul(signs[2], loop.index), offsets[2])
                        outside(s, source, k.offset(to, loop.index, s.moved), place, constant)
                count = k.isub(b, a)
                to = k.offset(to, a, s.moved)
                first = k.iadd(k.imul(signs[2], a), offsets[2])
                with k.when(forward):
                    copy(s, k.offset(source, first, spec.dtype), to, count)
                with k.when(k.negation(forward)):
                    copy_reversed(s, k.offset(source, first, spec.dtype), to, count)


def placed(s: Sample, axis: int, index: Index, signs: Sequence[Index], offsets: Sequence[Index]) -> tuple[Index, Any]:
    """Return the source index for the index ``index`` of the result along an axis, and whether that index exists.

    The source index is sign · index + offset, where sign and offset are the elements ``axis`` of ``signs`` and
    ``offsets``. If this number lies outside of the source, the index of the element that the border repeats is returned
    instead. A constant border repeats no element: the nearest index in the source is then returned, and the second
    result is false. ``s`` writes the code.
    """
    k, size = s.k, s.source[axis]
    if size == 1 and s.spec.border is not Border.CONSTANT:
        return 0, True
    place = k.iadd(k.imul(signs[axis], index), offsets[axis])
    if s.spec.border is Border.CONSTANT:
        inside = k.both(k.compare(place, ">=", 0), k.compare(place, "<", size))
        return k.imin(k.imax(place, 0), size - 1), inside
    return bordered(s, place, size), True


def bordered(s: Sample, place: Index, size: int) -> Index:
    """Return the index, from 0 to ``size`` − 1, of the element that is used for index ``place``, which may lie outside.

    The border rule of the transforms decides which element is used; for a constant border, it is the nearest element.
    ``s`` writes the kernel code that computes the index.
    """
    k = s.k
    match s.spec.border:
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


def outside(s: Sample, source: Any, to: Any, place: Index, constant: Any) -> None:
    """Write kernel code that stores one border element at the address ``to``; ``s`` writes the code.

    ``place`` is the element's index, which lies outside of a row of the source, and ``source`` is the address of the
    row. The stored value is an element of the row or, for a constant border, lane 0 of the vector ``constant``.
    """
    k, spec = s.k, s.spec
    if spec.border is Border.CONSTANT:
        k.store_scalar(k.lane(constant, 0), to)
        return
    found = k.load_scalar(k.offset(source, bordered(s, place, s.source[2]), spec.dtype), spec.dtype)
    k.store_scalar(k.convert(found, s.moved), to)


def copy(s: Sample, source: Any, to: Any, count: Index) -> None:
    """Write a kernel loop that copies ``count`` adjacent elements from address ``source`` to address ``to``.

    The elements are converted from the dtype of the data set to the dtype ``s.moved``. ``s`` writes the code.
    """
    k, dtype = s.k, s.spec.dtype

    def vector(i: Index) -> None:
        found = k.load(k.offset(source, i, dtype), dtype)
        k.store(k.convert(found, s.moved), k.offset(to, i, s.moved), s.moved)

    def scalar(i: Index) -> None:
        found = k.load_scalar(k.offset(source, i, dtype), dtype)
        k.store_scalar(k.convert(found, s.moved), k.offset(to, i, s.moved))

    s.run(count, vector, scalar)


def copy_reversed(s: Sample, source: Any, to: Any, count: Index) -> None:
    """Write a kernel loop that copies ``count`` adjacent elements in reverse order to address ``to``.

    ``source`` is the address of the last element, which comes first in the result. The elements are converted from the
    dtype of the data set to the dtype ``s.moved``. ``s`` writes the code.
    """
    k, dtype = s.k, s.spec.dtype

    def vector(i: Index) -> None:
        found = k.load(k.offset(source, k.isub(1 - LANES, i), dtype), dtype)
        turned = k.permuted({0: found}, [(0, LANES - 1 - lane) for lane in range(LANES)])
        k.store(k.convert(turned, s.moved), k.offset(to, i, s.moved), s.moved)

    def scalar(i: Index) -> None:
        found = k.load_scalar(k.offset(source, k.isub(0, i), dtype), dtype)
        k.store_scalar(k.convert(found, s.moved), k.offset(to, i, s.moved))

    s.run(count, vector, scalar)
