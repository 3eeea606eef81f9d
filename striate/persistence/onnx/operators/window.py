"""ONNX's convolutions and pooling operators."""

from __future__ import annotations

import math

import numpy as np

from striate import ops
from striate.graph.elementwise import cast
from striate.graph.value import DType, Value
from striate.ops.extremes import Positions
from striate.ops.unpooling import Unpooling
from striate.ops.window import Pairs
from striate.persistence.onnx.call import Call, Operand, Result, operator


def padding(call: Call, size: tuple[int, ...], kernel: list[int], strides: list[int], dilations: list[int]) -> Pairs:
    """Return the padding (before, after) of each spatial axis, from the node's attribute ``pads`` or ``auto_pad``.

    ``size`` are the sizes of the spatial axes of the input, and ``kernel`` those of the window; ``strides`` and
    ``dilations`` have one number for each spatial axis. Raises ``ModelFileError`` for a wrong number of paddings.
    """
    mode = call.choice("auto_pad", "NOTSET", ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"))
    if mode == "VALID":
        return ((0, 0),) * len(kernel)
    if mode == "NOTSET":
        pads = call.ints("pads") or [0] * (2 * len(kernel))
        if len(pads) != 2 * len(kernel):
            raise call.error(f"{len(pads)} paddings for {len(kernel)} spatial axes")
        return tuple(zip(pads[: len(kernel)], pads[len(kernel) :]))
    found: list[tuple[int, int]] = []
    for length, taps, step, spread in zip(size, kernel, strides, dilations):
        total = max(0, (math.ceil(length / step) - 1) * step + (taps - 1) * spread + 1 - length)
        small, large = total // 2, total - total // 2
        found.append((small, large) if mode == "SAME_UPPER" else (large, small))
    return tuple(found)


def positions(call: Call, x: Value) -> tuple[int, ...]:
    """Return the sizes of the spatial axes of x; raises ``ModelFileError`` if its rank is below 3."""
    if x.type.rank < 3:
        raise call.error(f"its input {x.type} has no spatial axes")
    return x.type.concrete(1)[2:]


def _steps(call: Call, name: str, rank: int) -> list[int]:
    found = call.ints(name) or [1] * rank
    if len(found) != rank:
        raise call.error(f"{len(found)} {name} for {rank} spatial axes")
    return found


@operator("Conv")
def conv(call: Call) -> Operand:
    x, w = call.value(0), call.value(1)
    size, kernel = positions(call, x), list(w.type.concrete(1)[2:])
    if len(kernel) != len(size):
        raise call.error(f"its filters {w.type} have another number of axes than its input {x.type}")
    strides, dilations = _steps(call, "strides", len(size)), _steps(call, "dilations", len(size))
    pairs = padding(call, size, kernel, strides, dilations)
    return ops.conv(x, w, call.optional(2), strides, pairs, dilations, call.int("group", 1))


@operator("MaxPool")
def max_pool(call: Call) -> Result:
    """Return the max pooling of x (operand 0) and, if the node has a second output, the indices of the maxima.

    An index (int64) is the position of an element in the flattened x. If the attribute ``storage_order`` is 1, the
    spatial axes are flattened in column-major order. Raises ``ModelFileError`` if indices are requested for windows
    that are padded by more than half their size.
    """
    x, kernel = call.value(0), _kernel(call)
    size = positions(call, x)
    strides, dilations = _steps(call, "strides", len(size)), _steps(call, "dilations", len(size))
    pairs = padding(call, size, kernel, strides, dilations)
    whole, pairs = _padded(x, kernel, pairs, float(np.finfo(x.dtype.numpy).min))
    ceil_mode = bool(call.int("ceil_mode"))
    if call.count == 1:
        return ops.max_pool(whole, kernel, strides, pairs, dilations, ceil_mode)
    if whole is not x:
        raise call.error("positions of maxima with a padding of more than half the window are not computed")
    y, place = ops.max_pool(x, kernel, strides, pairs, dilations, ceil_mode, return_indices=True)
    if call.int("storage_order"):
        place = _column_major(place, size)
    start = _planes(y) * math.prod(size)
    return y, cast(cast(place, DType.float64) + start, DType.int64)


def _planes(x: Value) -> Value:
    """Return the number n · C + c of the channel of each element, in the shape of x, as float64."""
    _, channels, *rest = x.type.concrete(1)
    return Positions(0, 0)(x) * channels + Positions(channels, math.prod(rest))(x)


def _column_major(place: Value, size: tuple[int, ...]) -> Value:
    """Convert row-major indices into arrays of shape ``size`` to column-major ones."""
    rest, total, apart = cast(place, DType.float64), None, math.prod(size)
    for length in reversed(size):
        apart //= length
        whole = ops.floor_divide(rest, float(length))
        own = (rest - whole * length) * apart
        total, rest = own if total is None else total + own, whole
    return place if total is None else cast(total, DType.int64)


@operator("MaxUnpool")
def max_unpool(call: Call) -> Operand:
    """Return the max unpooling of x (operand 0): an array with the elements of x at the indices in operand 1, else 0.

    An index is a position in the flattened output; of this, only the position within the channel is used. A larger
    ``output_shape`` (operand 2) adds zeros at the end of each axis. Raises ``ModelFileError`` for shapes that do not
    fit.
    """
    x, index, kernel = call.value(0), call.value(1), _kernel(call)
    size, rank = positions(call, x), len(kernel)
    strides, pads = _steps(call, "strides", len(size)), call.ints("pads") or [0] * (2 * rank)
    if len(size) != rank or len(pads) != 2 * rank or index.shape != x.shape:
        raise call.error(f"its input {x.type}, indices {index.type} and options do not fit")
    full = tuple(
        (count - 1) * step - before - after + taps
        for count, step, taps, before, after in zip(size, strides, kernel, pads[:rank], pads[rank:])
    )
    if min(full) < 1:
        raise call.error(f"its output would have {full} positions")
    within = ops.remainder(cast(index, DType.float64), float(math.prod(full)))
    y = Unpooling(full)(x, cast(within, DType.int64))
    if not call.given(2):
        return y
    more = [dim - length for dim, length in zip(call.sizes(2)[2:], full) if isinstance(dim, int)]
    if len(more) != rank or min(more) < 0:
        raise call.error(f"output_shape {call.sizes(2)} for an output of {full} positions")
    return ops.pad(y, [number for after in reversed(more) for number in (0, after)]) if any(more) else y


def _padded(x: Value, kernel: list[int], pairs: Pairs, value: float) -> tuple[Value, Pairs]:
    """Pad x explicitly with ``value`` if a padding exceeds half the window, as ``ops.max_pool`` refuses it.

    Returns the (padded) input and the padding that is left for the pooling operation.
    """
    if all(max(pair) <= taps // 2 for pair, taps in zip(pairs, kernel)):
        return x, pairs
    flat = [number for pair in reversed(pairs) for number in pair]
    return ops.pad(x, flat, "constant", value), ((0, 0),) * len(pairs)


@operator("AveragePool")
def average_pool(call: Call) -> Operand:
    """Return the average pooling of x (operand 0), which may be dilated and padded by any amount."""
    x, kernel = call.value(0), _kernel(call)
    size = positions(call, x)
    strides, dilations = _steps(call, "strides", len(size)), _steps(call, "dilations", len(size))
    pairs = padding(call, size, kernel, strides, dilations)
    ceil_mode, counted = bool(call.int("ceil_mode")), bool(call.int("count_include_pad"))
    plain = all(step == 1 for step in dilations)
    if plain and all(max(pair) <= taps // 2 for pair, taps in zip(pairs, kernel)):
        return ops.avg_pool(x, kernel, strides, pairs, ceil_mode, counted)
    counts = np.ones((), np.float64)
    beyond: list[tuple[int, int]] = []
    for length, taps, step, spread, (before, after) in zip(size, kernel, strides, dilations, pairs):
        free = before + length + after - (taps - 1) * spread - 1
        windows = (math.ceil if ceil_mode else math.floor)(free / step) + 1
        if ceil_mode and (windows - 1) * step >= length + before:
            windows -= 1  # a window that starts in the padding after the input is dropped
        at = np.arange(windows)[:, None] * step - before + np.arange(taps) * spread
        low, high = (-before, length + after) if counted else (0, length)
        counts = counts[..., None] * ((at >= low) & (at < high)).sum(axis=1)
        beyond.append((before, max(0, (windows - 1) * step + (taps - 1) * spread + 1 - before - length)))
    channels = x.type.concrete(1)[1]
    ones = call.captured(np.ones((channels, 1, *kernel), np.float32))
    total = ops.conv(x, ones, None, strides, tuple(beyond), dilations, channels)
    return total / call.captured(np.maximum(counts, 1)[None, None])


@operator("LpPool")
def lp_pool(call: Call) -> Operand:
    x, kernel = call.value(0), _kernel(call)
    size = positions(call, x)
    strides, dilations = _steps(call, "strides", len(size)), _steps(call, "dilations", len(size))
    if call.int("ceil_mode"):
        raise call.error("incomplete windows are not computed")
    pairs = padding(call, size, kernel, strides, dilations)
    p, channels = call.int("p", 2), x.type.concrete(1)[1]
    powers = ops.abs(x) if p == 1 else ops.square(x) if p == 2 else ops.power(ops.abs(x), float(p))
    ones = call.captured(np.ones((channels, 1, *kernel), np.float32))
    total = ops.conv(powers, ones, None, strides, pairs, dilations, channels)
    return total if p == 1 else ops.sqrt(total) if p == 2 else ops.power(total, 1 / p)


@operator("ConvTranspose")
def conv_transpose(call: Call) -> Operand:
    """Return the transposed convolution of x (operand 0) with filters w (operand 1) and a bias (operand 2, optional).

    The attributes ``pads``, ``output_shape`` or ``auto_pad`` say how much is cut off at both ends of each spatial axis.
    """
    x, w = call.value(0), call.value(1)
    size, kernel = positions(call, x), list(w.type.concrete(1)[2:])
    rank = len(size)
    strides, dilations = _steps(call, "strides", rank), _steps(call, "dilations", rank)
    more = call.ints("output_padding") or [0] * rank
    full = [
        (length - 1) * step + (taps - 1) * spread + 1 + extra
        for length, step, taps, spread, extra in zip(size, strides, kernel, dilations, more)
    ]
    mode = call.choice("auto_pad", "NOTSET", ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"))
    target = call.ints("output_shape")
    if target is None and mode.startswith("SAME"):
        target = [length * step for length, step in zip(size, strides)]
    if target is not None:
        cuts = [whole - kept for whole, kept in zip(full, target[-rank:])]
        small = [max(0, cut) // 2 for cut in cuts]
        before = small if mode == "SAME_UPPER" else [max(0, cut) - one for cut, one in zip(cuts, small)]
        pairs = tuple((one, cut - one) for one, cut in zip(before, cuts))
    else:
        pads = call.ints("pads") or [0] * (2 * rank)
        pairs = tuple(zip(pads[:rank], pads[rank:]))
    groups = call.int("group", 1)
    y = ops.conv_transpose(x, w, None, strides, 0, 0, groups, dilations)
    cut = [number for (first, last), extra in reversed(list(zip(pairs, more))) for number in (-first, extra - last)]
    y = ops.pad(y, cut) if any(cut) else y
    bias = call.optional(2)
    return y if bias is None else y + ops.reshape(bias, (1, *bias.shape, *(1,) * rank))


def _kernel(call: Call) -> list[int]:
    found = call.ints("kernel_shape")
    if not found:
        raise call.error("its attribute kernel_shape is missing")
    return found


@operator("GlobalAveragePool")
def global_average_pool(call: Call) -> Operand:
    positions(call, call.value(0))
    return ops.global_avg_pool(call.value(0))


@operator("GlobalMaxPool")
def global_max_pool(call: Call) -> Operand:
    x = call.value(0)
    positions(call, x)
    return ops.global_max_pool(x)


@operator("GlobalLpPool")
def global_lp_pool(call: Call) -> Operand:
    x, p = call.value(0), call.int("p", 2)
    if p not in (1, 2):
        raise call.error(f"p={p}; 1 and 2 are computed")
    powers = abs(x) if p == 1 else x * x
    total = ops.sum(powers, tuple(range(2, 2 + len(positions(call, x)))), keepdims=True)
    return total if p == 1 else ops.sqrt(total)
