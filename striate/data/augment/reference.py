"""The NumPy reference of ``SampleKernel``: the same arithmetic in the same order, one sample at a time.

Results are equal bit for bit, except for noise. Noise is computed with NumPy's logarithm and cosine, which differ from
the kernel's by a few units in the last place of float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from striate.codegen.lanes import LANES
from striate.data.augment.draft import GREY, Border, Fill
from striate.data.augment.kernel import SampleKernel
from striate.data.augment.specification import AXES
from striate.dtypes import DType
from striate.ops.random import mix

Array = npt.NDArray[Any]


def augmented(spec: SampleKernel, data: Array, rows: Array, ints: Array, floats: Array) -> Array:
    """Return the batch (B, C, D′, H′, W′) that the kernel with the specification ``spec`` computes.

    The other parameters are the operands that the kernel reads: the data set ``data`` (N, C, D, H, W), the indices
    ``rows`` (B,) of the samples to augment, and the tables ``ints`` and ``floats`` of their parameters; see
    ``Specification``.
    """
    batch = np.empty((len(rows), spec.source[0], *spec.size), spec.dtype.numpy)
    for place, row in enumerate(rows):
        sample = data[row].reshape(spec.source)
        batch[place] = _one(spec, sample, ints[place], floats[place])
    return batch


def _one(spec: SampleKernel, sample: Array, ints: Array, floats: Array) -> Array:
    columns = spec.columns
    y = _resampled(spec, sample, floats[:6]) if spec.affine else _moved(spec, sample, ints)
    if spec.colour:
        gain = floats[columns.colour : columns.grey]
        shift = floats[columns.grey] * _mean_grey(y)
        if columns.colours == 1:
            y = gain[0] * y + shift
        else:
            y = np.stack(
                [gain[3 * i] * y[0] + gain[3 * i + 1] * y[1] + gain[3 * i + 2] * y[2] + shift for i in range(3)]
            )
    if spec.tone:
        y = _toned(y, *floats[columns.tone : columns.noise])
    if spec.noise:
        y = y + floats[columns.noise] * _normal(ints[columns.words : columns.words + 2], y.shape)
    if spec.computes and spec.dtype is DType.uint8:
        y = np.clip(np.rint(y), 0, 255)
    y = y.astype(spec.dtype.numpy)
    for number, fill in enumerate(spec.boxes):
        first = columns.box(number)
        box = tuple(slice(ints[first + axis], ints[first + AXES + axis]) for axis in range(AXES))
        y[(slice(None), *box)] = _constants(fill, spec.dtype)
    return y


def _constants(fill: Fill, dtype: DType) -> Array:
    """Return the constants of the channels with the shape (C, 1, 1, 1)."""
    numbers = np.round(fill) if dtype is DType.uint8 else fill
    return np.array(numbers, dtype.numpy).reshape(-1, 1, 1, 1)


def _moved(spec: SampleKernel, sample: Array, ints: Array) -> Array:
    """Return the sample with its elements moved, as float32 if it is computed with."""
    y = sample
    inside = np.ones((1, 1, 1), bool)
    for axis in range(AXES):
        size = spec.source[1 + axis]
        place = ints[2 * axis] * np.arange(spec.size[axis]) + ints[2 * axis + 1]
        match spec.border:
            case Border.REFLECT:
                period = max(1, 2 * (size - 1))
                place = np.abs(place) % period
                place = np.minimum(place, period - place) if size > 1 else np.zeros_like(place)
            case Border.WRAP:
                place = place % size
            case Border.CONSTANT:
                within = (place >= 0) & (place < size)
                inside = inside & np.moveaxis(within[:, np.newaxis, np.newaxis], 0, axis)
            case Border.EDGE:
                pass
        y = np.take(y, np.clip(place, 0, size - 1), axis=1 + axis)
    dtype = DType.float32 if spec.computes else spec.dtype
    return np.where(inside, y.astype(dtype.numpy), _constants(spec.fill, dtype))


def _resampled(spec: SampleKernel, sample: Array, matrix: Array) -> Array:
    """Return the picture resampled at matrix · (x, y, 1) by linear interpolation, as float32."""
    _, height, width = spec.size
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, np.newaxis]
    columns, fraction_x = _neighbours(spec, matrix[0] * x + (matrix[1] * y + matrix[2]), spec.source[3])
    lines, fraction_y = _neighbours(spec, matrix[3] * x + (matrix[4] * y + matrix[5]), spec.source[2])
    constant = _constants(spec.fill, DType.float32)[:, 0]
    corners = [
        np.where(in_height & in_width, sample[:, 0, line, column].astype(np.float32), constant)
        for line, in_height in lines
        for column, in_width in columns
    ]
    top, bottom = (left + fraction_x * (right - left) for left, right in (corners[:2], corners[2:]))
    return (top + fraction_y * (bottom - top))[:, np.newaxis]


def _neighbours(spec: SampleKernel, place: Array, size: int) -> tuple[list[tuple[Array, Array]], Array]:
    """Return the two nearest indices of each position with the condition that they exist, and the second's share."""
    if spec.border is Border.CONSTANT:
        place = np.clip(place, -2, size + 1)
    elif spec.border is Border.REFLECT and size > 1:
        period, inverse = np.float32(2 * (size - 1)), np.float32(1 / (2 * (size - 1)))
        place = np.abs(place)
        place = place - period * np.floor(place * inverse)
        place = np.minimum(place, period - place)
    if spec.border is not Border.CONSTANT:
        place = np.clip(place, 0, size - 1)
    first = np.floor(place)
    second = first + 1 if spec.border is Border.CONSTANT else np.minimum(first + 1, size - 1)
    found = [
        (np.clip(index, 0, size - 1).astype(np.int64), (index >= 0) & (index <= size - 1)) for index in (first, second)
    ]
    return found, place - first


def _mean_grey(y: Array) -> np.float32:
    """Return the mean grey value, summed in the order of the kernel's lanes."""
    planes = y.reshape(len(y), -1)
    if len(y) == 3:
        grey = np.zeros(planes.shape[1:], np.float32)
        for weight, plane in zip(GREY, planes, strict=True):
            grey = grey + np.float32(weight) * plane
        planes = grey[np.newaxis]
    padded = np.pad(planes, ((0, 0), (0, -planes.shape[1] % LANES))).reshape(-1, LANES)
    lanes = np.cumsum(padded, axis=0, dtype=np.float32)[-1]
    while len(lanes) > 1:
        lanes = lanes[: len(lanes) // 2] + lanes[len(lanes) // 2 :]
    return lanes[0] * np.float32(1 / planes.size)


def _toned(y: Array, threshold: np.float32, step: np.float32, stretch: np.float32) -> Array:
    y = np.clip(y, 0, 255)
    y = np.where(y >= threshold, 255 - y, y)
    if step > 0:
        y = np.floor(y * (np.float32(1) / step)) * step
    if stretch > 0:
        low, high = (reduced(y, axis=(1, 2, 3), keepdims=True) for reduced in (np.min, np.max))
        wide = high > low
        y = np.where(wide, (y - low) * (np.float32(255) / np.where(wide, high - low, np.float32(255))), y)
    return y


def _normal(words: Array, shape: tuple[int, ...]) -> Array:
    """Return a normal number for each element, float32."""
    first, second = (words[number : number + 1].view(np.uint32) for number in (0, 1))
    element = 2 * np.arange(np.prod(shape), dtype=np.uint32)
    drawn = [(mix((first, second), element + np.uint32(number)) >> 8).astype(np.float32) for number in (0, 1)]
    u = (drawn[0] + np.float32(1)) * np.float32(2.0**-24)
    angle = drawn[1] * np.float32(2 * np.pi * 2.0**-24)
    return (np.sqrt(np.float32(-2) * np.log(u)) * np.cos(angle)).reshape(shape)
