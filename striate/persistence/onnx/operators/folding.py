"""ONNX operators on arrays that do not depend on the model's input, computed with NumPy while the graph is built.

Exporters use such operators to compute shapes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from striate.graph.value import Array, Value
from striate.persistence.onnx.call import Call, Operand, Samples, folded, operator, require_small, shape_of, size_of
from striate.persistence.onnx.tensors import KINDS, TensorReader, element_of


def shape_array(sizes: list[object]) -> Array:
    """Return a list of ints and multiples of N (``Samples``) as a vector.

    Its dtype is int64, or object if there are multiples of N.
    """
    if any(isinstance(size, Samples) for size in sizes):
        found = np.empty(len(sizes), object)
        found[:] = sizes
        return found
    return np.array(sizes, np.int64)


_NUMBERS = {"value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64}


@operator("Constant")
@folded("Constant")
def constant(call: Call) -> Operand:
    attributes = call.node.attributes
    tensor = call.tensor("value")
    if tensor is not None:
        return TensorReader(None).array(tensor)
    for name, dtype in _NUMBERS.items():
        if name in attributes:
            return np.array(attributes[name], dtype)
    raise call.error("its value is not numbers")


@operator("Shape")
@folded("Shape")
def shape(call: Call) -> Operand:
    sizes = [size_of(dim) for dim in shape_of(call.operand(0))]
    rank = len(sizes)
    start, stop = call.int("start"), call.int("end", rank)
    start, stop = (min(max(place + rank if place < 0 else place, 0), rank) for place in (start, stop))
    return shape_array(sizes[start:stop])


@operator("Size")
@folded("Size")
def size(call: Call) -> Operand:
    found: Any = 1
    for dim in shape_of(call.operand(0)):
        found = cast("Any", size_of(dim)) * found
    return shape_array([found]).reshape(())


@operator("ConstantOfShape")
@folded("ConstantOfShape")
def constant_of_shape(call: Call) -> Operand:
    sizes = call.wholes(0)
    require_small(call, sizes)
    tensor = call.tensor("value")
    value: Array = np.zeros(1, np.float32) if tensor is None else TensorReader(None).array(tensor)
    return np.full(sizes, value.reshape(-1)[0], value.dtype)


@operator("Range")
@folded("Range")
def range_(call: Call) -> Operand:
    start, stop, step = (call.known(place).reshape(-1)[0] for place in range(3))
    if step == 0:
        raise call.error("its step is 0")
    count = max(0, math.ceil((float(stop) - float(start)) / float(step)))
    require_small(call, [count])
    return (start + np.arange(count) * step).astype(call.known(0).dtype)


@folded("Gather")
def gather(call: Call) -> Operand:
    data, places = call.known(0), call.known(1)
    axis = call.axis(call.int("axis"), data.ndim)
    size = data.shape[axis]
    if places.size and not (-size <= places.min() and places.max() < size):
        raise call.error(f"a place beyond the {size} of axis {axis}")
    require_small(call, (*data.shape[:axis], *places.shape, *data.shape[axis + 1 :]))
    return np.take(data, places, axis)


@folded("Concat")
def concat(call: Call) -> Operand:
    parts = [call.known(place) for place in range(len(call.operands))]
    require_small(call, [sum(part.size for part in parts)])
    if any(part.dtype == object for part in parts):
        parts = [part.astype(object) for part in parts]
    return np.concatenate(parts, call.int("axis"))


@folded("Unsqueeze")
def unsqueeze(call: Call) -> Operand:
    data, axes = call.known(0), call.axes(1) or []
    rank = data.ndim + len(axes)
    chosen = sorted(call.axis(axis, rank) for axis in axes)
    for axis in chosen:
        data = np.expand_dims(data, axis)
    return data


@folded("Squeeze")
def squeeze(call: Call) -> Operand:
    data, axes = call.known(0), call.axes(1)
    chosen = None if axes is None else tuple(call.axis(axis, data.ndim) for axis in axes)
    if chosen is not None and any(data.shape[axis] != 1 for axis in chosen):
        raise call.error(f"axes {axes} of shape {data.shape} are not all of size 1")
    return np.squeeze(data, chosen)


@folded("Reshape")
def reshape(call: Call) -> Operand:
    data, sizes = call.known(0), call.wholes(1)
    if not call.int("allowzero"):
        sizes = [data.shape[place] if size == 0 and place < data.ndim else size for place, size in enumerate(sizes)]
    known = math.prod(size for size in sizes if size != -1)
    fits = data.size == known if -1 not in sizes else sizes.count(-1) == 1 and known and data.size % known == 0
    if not fits or len(sizes) > 32 or any(size < -1 for size in sizes):
        raise call.error(f"shape {data.shape} does not become {sizes}")
    return data.reshape(sizes)


@folded("Slice")
def slice_(call: Call) -> Operand:
    data = call.known(0)
    index = [slice(None)] * data.ndim
    for axis, start, stop, step in slices(call, data.ndim):
        index[axis] = slice(start, stop, step)
    return data[tuple(index)]


def slices(call: Call, rank: int) -> list[tuple[int, int, int | None, int]]:
    """Return what a Slice node selects as a list of (axis, start, stop, step), with the meaning of Python's slices.

    ``rank`` is the number of axes of operand 0. The starts, stops and axes are attributes before opset 10; from then
    on, they and the steps are operands. Raises ``ModelFileError`` if the lists differ in length or a step is 0.
    """
    if call.opset < 10:
        starts, stops = call.ints("starts") or [], call.ints("ends") or []
        axes = call.ints("axes") or list(range(len(starts)))
        steps = [1] * len(starts)
    else:
        starts, stops = call.wholes(1), call.wholes(2)
        axes = call.wholes(3) if call.given(3) else list(range(len(starts)))
        steps = call.wholes(4) if call.given(4) else [1] * len(starts)
    if not len(starts) == len(stops) == len(axes) == len(steps) or 0 in steps:
        raise call.error(f"starts {starts}, ends {stops}, axes {axes} and steps {steps} do not fit")
    found: list[tuple[int, int, int | None, int]] = []
    for axis, start, stop, step in zip(axes, starts, stops, steps):
        size = shape_of(call.operand(0))[call.axis(axis, rank)]
        below = step < 0 and isinstance(size, int) and stop < -size
        found.append((call.axis(axis, rank), start, None if below else stop, step))
    return found


@folded("Transpose")
def transpose(call: Call) -> Operand:
    data = call.known(0)
    order = call.ints("perm") or list(reversed(range(data.ndim)))
    if sorted(order) != list(range(data.ndim)):
        raise call.error(f"axes {order} are not those of shape {data.shape}")
    return np.transpose(data, order)


@folded("Clip")
def clip(call: Call) -> Operand:
    data = call.known(0)
    for place, function in ((1, np.maximum), (2, np.minimum)):
        if call.given(place):
            data = function(data, call.known(place))
    return data


@folded("Mod")
def mod(call: Call) -> Operand:
    a, b = call.known(0), call.known(1)
    if not np.all(b):
        raise call.error("it divides by 0")
    return np.asarray(np.fmod(a, b) if call.int("fmod") else np.mod(a, b))


@folded("Pad")
def pad(call: Call) -> Operand:
    data, numbers = call.known(0), call.wholes(1)
    axes = [call.axis(axis, data.ndim) for axis in call.wholes(3)] if call.given(3) else list(range(data.ndim))
    if len(numbers) != 2 * len(axes):
        raise call.error(f"{len(numbers)} paddings for {len(axes)} axes")
    widths = [(0, 0)] * data.ndim
    for place, axis in enumerate(axes):
        widths[axis] = (numbers[place], numbers[place + len(axes)])
    if any(min(pair) < 0 for pair in widths):
        raise call.error("a known array is cropped by a padding below 0")
    require_small(call, [size + before + after for size, (before, after) in zip(data.shape, widths)])
    mode = call.choice("mode", "constant", ("constant", "reflect", "edge", "wrap"))
    if mode == "constant":
        return np.pad(data, widths, constant_values=call.number(2, 0.0) or 0)
    return np.pad(data, widths, "reflect" if mode == "reflect" else "edge" if mode == "edge" else "wrap")


@folded("Identity", "Dropout")
def identity(call: Call) -> Operand:
    return call.known(0)


@folded("Cast")
def cast_(call: Call) -> Operand:
    data, element = call.known(0), element_of(call.int("to"), "its target")
    if data.dtype == object:
        return data
    if element.value == "bfloat16":
        return data.astype(np.float32)
    with np.errstate(all="ignore"):
        return data.astype(KINDS[call.int("to")].numpy)


@folded("Expand")
def expand(call: Call) -> Operand:
    data, sizes = call.known(0), call.wholes(1)
    try:
        target = np.broadcast_shapes(data.shape, tuple(sizes))
    except ValueError as error:
        raise call.error(f"shape {data.shape} does not expand to {sizes}") from error
    require_small(call, target)
    return np.broadcast_to(data, target)


@folded("Tile")
def tile(call: Call) -> Operand:
    data, counts = call.known(0), call.wholes(1)
    if len(counts) != data.ndim:
        raise call.error(f"{len(counts)} repeats for {data.ndim} axes")
    require_small(call, [size * count for size, count in zip(data.shape, counts)])
    return np.tile(data, counts)


@folded("Where")
def where(call: Call) -> Operand:
    condition, a, b = (call.known(place) for place in range(3))
    kinds = object if object in (a.dtype, b.dtype) else np.result_type(a, b)
    return np.where(condition.astype(bool), a.astype(kinds), b.astype(kinds))


def _elementwise(function: Callable[..., Any]) -> Callable[[Call], Operand]:
    def computed(call: Call) -> Operand:
        arrays = [call.known(place) for place in range(len(call.operands))]
        try:
            require_small(call, np.broadcast_shapes(*(array.shape for array in arrays)))
        except ValueError as error:
            raise call.error(f"shapes {', '.join(str(array.shape) for array in arrays)} do not broadcast") from error
        with np.errstate(all="ignore"):
            return np.asarray(function(*arrays))

    return computed


def _divided(a: Array, b: Array) -> Array:
    if object in (a.dtype, b.dtype):
        return a // b
    if a.dtype.kind == "f":
        return a / b
    if not np.all(b):
        return np.zeros(np.broadcast_shapes(a.shape, b.shape), a.dtype)
    return (np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))).astype(a.dtype)  # towards 0


def _least(*arrays: Array) -> Array:
    return np.minimum.reduce(np.broadcast_arrays(*arrays))


def _greatest(*arrays: Array) -> Array:
    return np.maximum.reduce(np.broadcast_arrays(*arrays))


def _power(a: Array, b: Array) -> Array:
    return np.power(a, b).astype(a.dtype)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": _divided, "Neg": np.negative, "Abs": np.abs,
    "Equal": np.equal, "Greater": np.greater, "GreaterOrEqual": np.greater_equal, "Less": np.less,
    "LessOrEqual": np.less_equal, "And": np.logical_and, "Or": np.logical_or, "Not": np.logical_not,
    "Floor": np.floor, "Ceil": np.ceil, "Sqrt": np.sqrt, "Min": _least,
    "Max": _greatest, "Pow": _power,
    "Exp": np.exp, "Log": np.log, "Reciprocal": np.reciprocal, "Sign": np.sign,
}  # fmt: skip
for _name, _function in _FUNCTIONS.items():
    folded(_name)(_elementwise(_function))


@folded("ReduceProd", "ReduceSum", "ReduceMax", "ReduceMin")
def reduce(call: Call) -> Operand:
    data, axes = call.known(0), call.axes(1)
    if axes is None and call.int("noop_with_empty_axes"):
        return data
    function = {"ReduceProd": np.prod, "ReduceSum": np.sum, "ReduceMax": np.max, "ReduceMin": np.min}[
        call.node.operator
    ]
    chosen = None if not axes else tuple(call.axis(axis, data.ndim) for axis in axes)
    if data.size == 0 and call.node.operator in ("ReduceMax", "ReduceMin"):
        raise call.error("the maximum of no numbers")
    found = function(data, axis=chosen, keepdims=bool(call.int("keepdims", 1)))
    return np.asarray(found, data.dtype)


def all_known(operands: list[Operand | None]) -> bool:
    """Return whether all operands are arrays (or omitted), so that NumPy can compute the operator during tracing."""
    return not any(isinstance(operand, Value) for operand in operands)
