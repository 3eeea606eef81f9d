"""Arithmetic and activations of ONNX."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast as cast_type

import numpy as np

from striate import ops
from striate.graph.value import DType, Value
from striate.persistence.onnx.call import Call, Operand, operator
from striate.persistence.onnx.tensors import element_of

Unary = Callable[[Value], Value]


def paired(call: Call, first: int = 0, second: int = 1) -> tuple[Operand | float, Operand | float]:
    """Two operands; one known number among them becomes a constant, if the other has at least as many axes."""
    a, b = call.operand(first), call.operand(second)
    if (
        isinstance(b, np.ndarray)
        and isinstance(a, Value)
        and b.size == 1
        and b.ndim <= a.type.rank
        and a.dtype.is_float
    ):
        return a, _float(call, b)
    if (
        isinstance(a, np.ndarray)
        and isinstance(b, Value)
        and a.size == 1
        and a.ndim <= b.type.rank
        and b.dtype.is_float
    ):
        return _float(call, a), b
    return call.value(first), call.value(second)


def _float(call: Call, number: np.ndarray) -> float:
    if number.dtype == object:
        raise call.error("N, the number of samples, is used as a number, which is known only when the program runs")
    return float(number.reshape(-1)[0])


def _binary(function: Callable[..., Value]) -> Callable[[Call], Value]:
    return lambda call: function(*paired(call))


for _name, _function in {
    "Add": ops.add, "Sub": ops.subtract, "Mul": ops.multiply, "Div": ops.divide,
}.items():  # fmt: skip
    operator(_name)(_binary(_function))


def _unary(function: Unary) -> Callable[[Call], Value]:
    return lambda call: function(call.value(0))


def _reciprocal(x: Value) -> Value:
    return 1.0 / x


_SINGLE: dict[str, Unary] = {
    "Neg": ops.negative, "Abs": ops.abs, "Exp": ops.exp, "Log": ops.log, "Sqrt": ops.sqrt, "Relu": ops.relu,
    "Tanh": ops.tanh, "Sigmoid": ops.sigmoid, "Reciprocal": _reciprocal,
}  # fmt: skip
for _name, _single in _SINGLE.items():
    operator(_name)(_unary(_single))


@operator("LeakyRelu")
def leaky_relu(call: Call) -> Operand:
    return ops.leaky_relu(call.value(0), call.float("alpha", 0.01))


@operator("HardSigmoid")
def hard_sigmoid(call: Call) -> Operand:
    scaled = call.value(0) * call.float("alpha", 0.2) + call.float("beta", 0.5)
    return ops.maximum(ops.minimum(scaled, 1.0), 0.0)


@operator("HardSwish")
def hard_swish(call: Call) -> Operand:
    x = call.value(0)
    return x * ops.maximum(ops.minimum(x / 6.0 + 0.5, 1.0), 0.0)


@operator("PRelu")
def p_relu(call: Call) -> Operand:
    x, slope = call.value(0), call.value(1)
    return ops.maximum(x, 0.0) + slope * ops.minimum(x, 0.0)


@operator("Clip")
def clip(call: Call) -> Operand:
    """Bounds are attributes before opset 11, inputs from then on; each may be left out."""
    x = call.value(0)
    if call.opset < 11:
        least = call.float("min") if "min" in call.node.attributes else None
        most = call.float("max") if "max" in call.node.attributes else None
    else:
        least, most = (None if not call.given(place) else _bound(call, place) for place in (1, 2))
    if least is not None:
        x = ops.maximum(x, least)
    return x if most is None else ops.minimum(x, most)


def _bound(call: Call, place: int) -> Value | float:
    found = call.operand(place)
    return found if isinstance(found, Value) else float(call.number(place) or 0.0)


def _extreme(function: Callable[..., Value]) -> Callable[[Call], Value]:
    def computed(call: Call) -> Value:
        found: Operand = call.operand(0)
        for place in range(1, len(call.operands)):
            other = call.operand(place)
            known = isinstance(other, np.ndarray) and other.size == 1 and isinstance(found, Value)
            found = function(
                found if isinstance(found, Value) else call.captured(found),
                _float(call, cast_type("np.ndarray", other)) if known else call.value(place),
            )
        return found if isinstance(found, Value) else call.captured(found)

    return computed


operator("Max")(_extreme(ops.maximum))
operator("Min")(_extreme(ops.minimum))


@operator("Sum")
def sum_of(call: Call) -> Operand:
    total = call.value(0)
    for place in range(1, len(call.operands)):
        total = total + call.value(place)
    return total


@operator("Mean")
def mean_of(call: Call) -> Operand:
    total = call.value(0)
    for place in range(1, len(call.operands)):
        total = total + call.value(place)
    return total / float(len(call.operands)) if len(call.operands) > 1 else total


@operator("Pow")
def power(call: Call) -> Operand:
    x, exponent = call.value(0), call.number(1)
    assert exponent is not None
    return x**exponent


@operator("Identity")
def identity(call: Call) -> Operand:
    return call.operand(0)


@operator("Cast")
def cast(call: Call) -> Operand:
    """Floats of any size become those of the model."""
    x, element = call.value(0), element_of(call.int("to"), "its target")
    if element.value in ("float16", "bfloat16", "float32", "float64"):
        return ops.cast(x, call.dtype)
    if element.value in ("int32", "int64") and x.dtype in (DType.int32, DType.int64, DType.uint8):
        return ops.cast(x, DType[element.value])
    raise call.error(f"{x.type} is cast to {element.value}; values are cast to floats only")


@operator("Dropout")
def dropout(call: Call) -> Operand:
    """Random when the model trains, as its layer was; the mask, its second output, is not read."""
    x = call.value(0)
    ratio = call.float("ratio", 0.5) if call.opset < 12 else call.number(1, 0.5)
    if not call.trace.training or not ratio or call.count > 1:
        return x
    key, stream = call.trace.key()
    return ops.dropout(x, key, ratio, stream)
