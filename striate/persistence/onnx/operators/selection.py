"""ONNX operators for triangular matrices, centre crops, one-hot codes, and cumulative sums."""

from __future__ import annotations

from typing import cast

import numpy as np

from striate import ops
from striate.graph.value import Batch, Value
from striate.persistence.onnx.call import Call, Operand, folded, operator, require_small, shape_of
from striate.persistence.onnx.tensors import element_of


def _size(call: Call, x: Operand, axis: int) -> int:
    """Return the size of an axis; raises ``ModelFileError`` for N, which is unknown during tracing."""
    size = shape_of(x)[axis]
    if isinstance(size, Batch):
        raise call.error(f"along axis {axis}, the samples, which are counted only when the program runs")
    return size


@operator("CenterCropPad")
def center_crop_pad(call: Call) -> Operand:
    """Return x (operand 0), cropped or padded with zeros at both ends to the sizes in operand 1.

    The attribute ``axes`` lists the axes that get these sizes; without it, all axes do. Raises ``ModelFileError`` for a
    negative size, and if axis 0, the samples, is one of the axes.
    """
    x = call.value(0)
    rank = x.type.rank
    axes = [call.axis(axis, rank) for axis in call.ints("axes") or range(rank)]
    for axis, wanted in zip(axes, call.wholes(1), strict=True):
        size = _size(call, x, axis)
        if wanted < 0:
            raise call.error(f"size {wanted} of axis {axis} is negative")
        more = wanted - size
        before = more // 2 if more > 0 else -(-more // 2)
        x = ops.pad(x, [*(0, 0) * (rank - 1 - axis), before, more - before]) if more else x
    return x


@operator("Trilu")
def trilu(call: Call) -> Operand:
    """Return x (operand 0) with zeros below diagonal number k of the last two axes, the upper triangle.

    k is operand 1, by default 0. If the attribute ``upper`` is 0, the zeros are above the diagonal instead.
    """
    x = call.value(0)
    rows, columns = (_size(call, x, axis) for axis in (x.type.rank - 2, x.type.rank - 1))
    require_small(call, (rows, columns))
    k = int(call.number(1, 0) or 0)
    ones = np.ones((rows, columns), bool)
    kept = np.triu(ones, k) if call.int("upper", 1) else np.tril(ones, k)
    return ops.where(call.captured(kept), x, 0)


@operator("EyeLike")
@folded("EyeLike")
def eye_like(call: Call) -> Operand:
    x = call.operand(0)
    rows, columns = (_size(call, x, axis) for axis in range(2))
    require_small(call, (rows, columns))
    found = call.int("dtype")
    dtype = element_of(found, str(call.node)).numpy if found else x.dtype.numpy if isinstance(x, Value) else x.dtype
    return np.eye(rows, columns, call.int("k")).astype(dtype)


def _marked(call: Call, places: Value, count: int, axis: int) -> Value:
    """Return a bool value that is true along a new ``axis`` of ``count`` elements at the given places, from 0."""
    along = np.arange(count, dtype=places.dtype.numpy).reshape(-1, *(1,) * (places.type.rank - axis))
    return ops.equal(ops.unsqueeze(places, axis), call.captured(along))


@operator("OneHot")
def one_hot(call: Call) -> Operand:
    """Return the one-hot code of the class numbers x (operand 0) along a new axis.

    Operand 1 is the size of the new axis, and operand 2 is ``values`` (2,). The code is ``values[1]`` at the class
    number and ``values[0]`` elsewhere. A negative number counts from the end of the axis; a number beyond the axis
    gives ``values[0]`` everywhere. Raises ``ModelFileError`` for ``values`` of another shape.
    """
    x, depth, values = call.value(0), int(call.number(1) or 0), call.captured(call.known(2))
    if values.shape != (2,):
        raise call.error(f"values of shape {values.shape}; expected those for 0 and for 1")
    off, on = call.known(2).tolist()
    require_small(call, [depth])
    axis = call.axis(call.int("axis", -1), x.type.rank + 1)
    places = ops.where(ops.less(x, 0), x + depth, x)
    return ops.cast(_marked(call, places, depth, axis), values.dtype) * (on - off) + off


@operator("Hardmax")
def hardmax(call: Call) -> Operand:
    """Return an array that is 1 at the first maximum of x (operand 0) along an axis, and 0 elsewhere.

    The axis is the attribute ``axis``. Raises ``ModelFileError`` for axis 0, the samples; before opset 13, for every
    axis but the last.
    """
    x = call.value(0)
    axis = call.axis(call.int("axis", -1 if call.opset >= 13 else 1), x.type.rank)
    if call.opset < 13 and axis != x.type.rank - 1:
        raise call.error("over several axes; over the last one it is computed")
    return ops.cast(_marked(call, ops.argmax(x, axis), _size(call, x, axis), axis), x.dtype)


@operator("CumSum")
def cumulative_sum(call: Call) -> Operand:
    """Return the cumulative sums of x (operand 0) along the axis in operand 1.

    Sums of integers are exact up to 2⁵³.
    """
    x = call.value(0)
    axis = call.axis(int(cast("float", call.number(1))), x.type.rank)
    size = _size(call, x, axis)
    require_small(call, (size, size))
    ones = np.triu(np.ones((size, size)), 1 if call.int("exclusive") else 0)
    ones = ones.T if call.int("reverse") else ones
    triangle = call.captured(ones) if x.dtype.is_float else call.trace.capture(np.ascontiguousarray(ones))
    last = ops.moveaxis(x if x.dtype.is_float else ops.cast(x, "float64"), axis, -1)
    flat = ops.reshape(last, (1, size)) if last.type.rank == 1 else last
    found = ops.cast(ops.reshape(ops.matmul(flat, triangle), last.shape), x.dtype.value)
    return ops.moveaxis(found, -1, axis)
