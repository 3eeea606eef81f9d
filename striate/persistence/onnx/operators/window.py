"""Convolution and pooling of ONNX."""

from __future__ import annotations

import math

from striate import ops
from striate.graph.value import Value
from striate.ops.window import Pairs
from striate.persistence.onnx.call import Call, Operand, operator


def padding(call: Call, size: tuple[int, ...], kernel: list[int], strides: list[int], dilations: list[int]) -> Pairs:
    """(before, after) for each axis of positions, from ``pads`` or ``auto_pad``."""
    mode = call.choice("auto_pad", "NOTSET", ("NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"))
    if mode == "VALID":
        return ((0, 0),) * len(kernel)
    if mode == "NOTSET":
        pads = call.ints("pads") or [0] * (2 * len(kernel))
        if len(pads) != 2 * len(kernel):
            raise call.error(f"{len(pads)} paddings for {len(kernel)} axes of positions")
        return tuple(zip(pads[: len(kernel)], pads[len(kernel) :]))
    found: list[tuple[int, int]] = []
    for length, taps, step, spread in zip(size, kernel, strides, dilations):
        total = max(0, (math.ceil(length / step) - 1) * step + (taps - 1) * spread + 1 - length)
        small, large = total // 2, total - total // 2
        found.append((small, large) if mode == "SAME_UPPER" else (large, small))
    return tuple(found)


def positions(call: Call, x: Value) -> tuple[int, ...]:
    """The sizes of the axes of positions."""
    if x.type.rank < 3:
        raise call.error(f"its input {x.type} has no axes of positions")
    return x.type.concrete(1)[2:]


def _steps(call: Call, name: str, rank: int) -> list[int]:
    found = call.ints(name) or [1] * rank
    if len(found) != rank:
        raise call.error(f"{len(found)} {name} for {rank} axes of positions")
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
def max_pool(call: Call) -> Operand:
    if call.count > 1:
        raise call.error("the places of the maxima, its second output, are not computed")
    x, kernel = call.value(0), _kernel(call)
    size = positions(call, x)
    strides, dilations = _steps(call, "strides", len(size)), _steps(call, "dilations", len(size))
    pairs = padding(call, size, kernel, strides, dilations)
    return ops.max_pool(x, kernel, strides, pairs, dilations, bool(call.int("ceil_mode")))


@operator("AveragePool")
def average_pool(call: Call) -> Operand:
    x, kernel = call.value(0), _kernel(call)
    size = positions(call, x)
    strides, dilations = _steps(call, "strides", len(size)), _steps(call, "dilations", len(size))
    if any(step != 1 for step in dilations):
        raise call.error("a dilated average is not computed")
    pairs = padding(call, size, kernel, strides, dilations)
    return ops.avg_pool(x, kernel, strides, pairs, bool(call.int("ceil_mode")), bool(call.int("count_include_pad")))


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
    return ops.max(x, tuple(range(2, 2 + len(positions(call, x)))), keepdims=True)


@operator("GlobalLpPool")
def global_lp_pool(call: Call) -> Operand:
    x, p = call.value(0), call.int("p", 2)
    if p not in (1, 2):
        raise call.error(f"p={p}; 1 and 2 are computed")
    powers = abs(x) if p == 1 else x * x
    total = ops.sum(powers, tuple(range(2, 2 + len(positions(call, x)))), keepdims=True)
    return total if p == 1 else ops.sqrt(total)
