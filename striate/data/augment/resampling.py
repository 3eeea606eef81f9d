"""Write the part of the augmentation kernel that resamples pictures.

Pixel (x, y) of the result is at matrix · (x, y, 1) in the source. In every function, ``s`` is the ``Sample`` that
writes the code of the kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from striate.codegen.lanes import LANES, Index
from striate.data.augment.draft import Border
from striate.data.augment.sample import Sample
from striate.data.augment.specification import F32
from striate.dtypes import DType


def resample(s: Sample) -> None:
    """Write kernel code that computes all pixels of a resampled picture, in scratch memory.

    ``s`` writes the code. Pixel (x, y) is interpolated linearly at position A · (x, y, 1) of the source; the affine map
    A (2, 3) is among the parameters of the sample.
    """
    k, spec = s.k, s.spec
    _, height, width = spec.size
    across = [s.float_at(column) for column in range(3)]
    down = [s.float_at(column) for column in range(3, 6)]
    lanes = k.load(k.table(range(LANES), F32), F32)
    with k.loop(0, height) as rows:
        y = k.splat(k.convert(k.as_index(rows.index), F32))
        offsets = [k.add(k.mul(line[1], y), line[2]) for line in (across, down)]
        with k.loop(0, width, LANES) as blocks:
            x = k.add(k.splat(k.convert(k.as_index(blocks.index), F32)), lanes)
            places = [k.add(k.mul(line[0], x), offset) for line, offset in zip((across, down), offsets)]
            interpolate(s, places, k.iadd(k.imul(rows.index, width), blocks.index))


def interpolate(s: Sample, places: Sequence[Any], element: Index) -> None:
    """Write kernel code that computes 16 adjacent pixels by linear interpolation, in every channel.

    ``places`` are two vectors of 16 lanes: x and y of the pixels' positions in the source. The results are stored in
    scratch memory, in each channel from index ``element``. The code is added to the kernel that ``s`` writes.
    """
    k, spec = s.k, s.spec
    width = s.source[2]
    columns, fraction_x = neighbours(s, places[0], width)
    lines, fraction_y = neighbours(s, places[1], s.source[1])
    corners: list[tuple[list[Index], Any]] = []
    for line, in_height in lines:
        for column, in_width in columns:
            place = k.add(k.mul(line, k.constant(width, DType.int32)), column)
            numbers = [k.convert(k.lane(place, lane), DType.int64) for lane in range(LANES)]
            inside = None if in_width is None else k.builder.and_(in_height, in_width)
            corners.append((numbers, inside))
    with k.loop(0, s.channels) as channels:
        source = k.offset(s.data, k.imul(channels.index, s.source[1] * width), spec.dtype)
        constant = s.filled(spec.fill, channels.index, F32)
        values: list[Any] = []
        for numbers, inside in corners:
            found = k.gathered([k.offset(source, number, spec.dtype) for number in numbers], spec.dtype)
            value = k.convert(found, F32)
            values.append(value if inside is None else k.select(inside, value, constant))
        top, bottom = (k.add(left, k.mul(fraction_x, k.sub(right, left))) for left, right in (values[:2], values[2:]))
        k.store(k.add(top, k.mul(fraction_y, k.sub(bottom, top))), s.scratch(channels.index, element), F32)


def neighbours(s: Sample, place: Any, size: int) -> tuple[list[tuple[Any, Any]], Any]:
    """Return the two elements nearest to each position along an axis, and the weight of the second one.

    ``place`` is a vector of positions, and ``size`` the number of elements of the axis. Each of the two elements is
    returned as a pair of vectors (index, inside). ``index``, int32, always lies on the axis: beyond an end, it is the
    index of the element that the border repeats or, for a constant border, of the nearest element. For a constant
    border, ``inside`` says which elements lie on the axis; for other borders, it is None. ``s`` writes the code.
    """
    k = s.k
    last = k.constant(size - 1, F32)
    zero, one = k.constant(0, F32), k.constant(1, F32)

    def limited(x: Any, low: Any, high: Any) -> Any:
        return k.min(k.max(x, low), high)

    if s.spec.border is Border.CONSTANT:
        place = limited(place, k.constant(-2, F32), k.constant(size + 1, F32))
        first = k.floor(place)
        found: list[tuple[Any, Any]] = []
        for index in (first, k.add(first, one)):
            inside = k.builder.and_(k.compared(index, ">=", zero), k.compared(index, "<=", last))
            found.append((k.convert(limited(index, zero, last), DType.int32), inside))
        return found, k.sub(place, first)
    if s.spec.border is Border.REFLECT and size > 1:
        period, inverse = k.constant(2 * (size - 1), F32), k.constant(1 / (2 * (size - 1)), F32)
        place = k.abs(place)
        place = k.sub(place, k.mul(period, k.floor(k.mul(place, inverse))))
        place = k.min(place, k.sub(period, place))
    place = limited(place, zero, last)
    first = k.floor(place)
    indices = [k.convert(index, DType.int32) for index in (first, k.min(k.add(first, one), last))]
    return [(index, None) for index in indices], k.sub(place, first)
