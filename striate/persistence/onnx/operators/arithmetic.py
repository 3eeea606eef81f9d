"""ONNX's elementwise operators: arithmetic, comparisons, activations, casts and dropout."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast as cast_type

import numpy as np

from striate import ops
from striate.graph.value import DType, Value
from striate.persistence.element import Element
from striate.persistence.onnx.call import Call, Operand, operator
from striate.persistence.onnx.tensors import element_of

Unary = Callable[[Value], Value]


def paired(call: Call, first: int = 0, second: int = 1) -> tuple[Value | float, Value | float]:
    """Return two operands of a call, number ``first`` and number ``second``, for a binary operation.

    A constant of one element becomes a float if the other operand is a floating-point value of the graph of at least
    the same rank. Otherwise both are returned as values of the graph.
    """
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


def _divided(a: Value | float, b: Value | float) -> Value:
    """Return a / b; for integers, rounded towards 0."""
    if not isinstance(a, Value) or not isinstance(b, Value) or a.dtype.is_float:
        return ops.divide(a, b)
    quotient = ops.cast(a, DType.float64) / ops.cast(b, DType.float64)  # exact below 2⁵³
    return ops.cast(ops.sign(quotient) * ops.floor(ops.abs(quotient)), a.dtype)


_PAIRED: dict[str, Callable[..., Value]] = {
    "Add": ops.add, "Sub": ops.subtract, "Mul": ops.multiply, "Div": _divided, "Pow": ops.power,
    "Greater": ops.greater, "GreaterOrEqual": ops.greater_equal, "Less": ops.less, "LessOrEqual": ops.less_equal,
    "Equal": ops.equal, "And": ops.logical_and, "Or": ops.logical_or, "Xor": ops.logical_xor,
}  # fmt: skip
for _name, _function in _PAIRED.items():
    operator(_name)(_binary(_function))


def _unary(function: Unary) -> Callable[[Call], Value]:
    return lambda call: function(call.value(0))


_SINGLE: dict[str, Unary] = {
    "Neg": ops.negative, "Abs": ops.abs, "Exp": ops.exp, "Log": ops.log, "Sqrt": ops.sqrt, "Relu": ops.relu,
    "Tanh": ops.tanh, "Sigmoid": ops.sigmoid, "Reciprocal": ops.reciprocal, "Sin": ops.sin, "Cos": ops.cos,
    "Tan": ops.tan, "Erf": ops.erf, "Floor": ops.floor, "Ceil": ops.ceil, "Round": ops.round, "Sign": ops.sign,
    "IsNaN": ops.isnan, "Not": ops.logical_not, "HardSwish": ops.hardswish, "Mish": ops.mish,
    "Softplus": ops.softplus, "Softsign": ops.softsign,
}  # fmt: skip
for _name, _single in _SINGLE.items():
    operator(_name)(_unary(_single))


@operator("LeakyRelu")
def leaky_relu(call: Call) -> Operand:
    return ops.leaky_relu(call.value(0), call.float("alpha", 0.01))


@operator("HardSigmoid")
def hard_sigmoid(call: Call) -> Operand:
    return ops.clip(call.value(0) * call.float("alpha", 0.2) + call.float("beta", 0.5), 0.0, 1.0)


@operator("PRelu")
def p_relu(call: Call) -> Operand:
    x, slope = call.value(0), call.value(1)
    return ops.where(ops.less(x, 0.0), x * slope, x)


@operator("Elu")
def elu(call: Call) -> Operand:
    return ops.elu(call.value(0), call.float("alpha", 1.0))


@operator("Celu")
def celu(call: Call) -> Operand:
    return ops.celu(call.value(0), call.float("alpha", 1.0))


_SELU = (1.6732632, 1.050701)
"""SELU's constants α and γ, to float32's precision."""


@operator("Selu")
def selu(call: Call) -> Operand:
    x, alpha, gamma = call.value(0), call.float("alpha", _SELU[0]), call.float("gamma", _SELU[1])
    near = math.isclose(alpha, _SELU[0], rel_tol=1e-6) and math.isclose(gamma, _SELU[1], rel_tol=1e-6)
    return ops.selu(x) if near else ops.elu(x, alpha) * gamma


@operator("Swish")
def swish(call: Call) -> Operand:
    x, alpha = call.value(0), call.float("alpha", 1.0)
    return ops.silu(x) if alpha == 1 else x * ops.sigmoid(x * alpha)


@operator("Gelu")
def gelu(call: Call) -> Operand:
    return ops.gelu(call.value(0), call.choice("approximate", "none", ("none", "tanh")))


@operator("ThresholdedRelu")
def thresholded_relu(call: Call) -> Operand:
    return ops.threshold(call.value(0), call.float("alpha", 1.0), 0.0)


@operator("Shrink")
def shrink(call: Call) -> Operand:
    x, limit, bias = call.value(0), call.float("lambd", 0.5), call.float("bias")
    above = ops.where(ops.greater(x, limit), x - bias, 0.0)
    return ops.where(ops.less(x, -limit), x + bias, above)


@operator("IsInf")
def is_inf(call: Call) -> Operand:
    x = call.value(0)
    found = ops.isinf(x)
    if not call.int("detect_negative", 1):
        found = ops.logical_and(found, ops.greater(x, 0.0))
    return found if call.int("detect_positive", 1) else ops.logical_and(found, ops.less(x, 0.0))


@operator("Where")
def where(call: Call) -> Operand:
    known = not any(isinstance(call.operand(place), Value) for place in (1, 2))
    a, b = (call.value(1), call.value(2)) if known else paired(call, 1, 2)
    return ops.where(call.value(0), a, b)


@operator("Mod")
def mod(call: Call) -> Operand:
    """Return the remainder of a / b, where a and b are operands 0 and 1.

    The remainder has the sign of b, or the sign of a if the attribute ``fmod`` is set.
    """
    a, b = call.value(0), call.value(1)
    if not a.dtype.is_float:  # integers below 2⁵³ are exact in float64
        return ops.cast(_mod(call, ops.cast(a, DType.float64), ops.cast(b, DType.float64)), a.dtype)
    return _mod(call, a, b)


def _mod(call: Call, a: Value, b: Value) -> Value:
    if not call.int("fmod"):
        return ops.remainder(a, b)
    quotient = a / b
    whole = ops.where(ops.less(quotient, 0.0), ops.ceil(quotient), ops.floor(quotient))
    return a - whole * b


@operator("Clip")
def clip(call: Call) -> Operand:
    """Return x (operand 0) limited to [min, max]; either bound may be omitted.

    The bounds are attributes before opset 11, and operands 1 and 2 from then on.
    """
    x = call.value(0)
    if call.opset < 11:
        least = call.float("min") if "min" in call.node.attributes else None
        most = call.float("max") if "max" in call.node.attributes else None
    else:
        least, most = (None if not call.given(place) else _bound(call, place) for place in (1, 2))
    return ops.clip(x, least, most)


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


@operator("Identity")
def identity(call: Call) -> Operand:
    return call.operand(0)


@operator("Cast")
def cast(call: Call) -> Operand:
    """Return x (operand 0) converted to the type that the attribute ``to`` names.

    Any float type becomes the model's dtype; int32, int64, uint8 and bool are kept. Raises ``ModelFileError`` for other
    types.
    """
    return _cast(call, call.value(0), element_of(call.int("to"), "its target"))


@operator("CastLike")
def cast_like(call: Call) -> Operand:
    x, like = call.operand(0), call.operand(1)
    element = Element(str(like.dtype.value if isinstance(like, Value) else like.dtype.name))
    if not isinstance(x, Value):
        return x.astype(np.float32 if element is Element.bfloat16 else element.numpy)
    return _cast(call, x, element)


def _cast(call: Call, x: Value, element: Element) -> Value:
    if element.value in ("float16", "bfloat16", "float32", "float64"):
        return ops.cast(x, call.dtype)
    if element is Element.bool:
        return x if x.dtype is DType.bool else ops.not_equal(x, 0.0 if x.dtype.is_float else 0)
    if element.value in ("int32", "int64", "uint8"):
        return ops.cast(x, DType[element.value])
    raise call.error(f"{x.type} is cast to {element.value}\n  known: floats, int32, int64, uint8, bool")


@operator("Dropout")
def dropout(call: Call) -> Operand:
    """Return x (operand 0) after dropout if the model is being trained, and x unchanged otherwise.

    The probability is the attribute ``ratio`` before opset 12, and operand 1 from then on. Files that use the
    operator's second output, the mask, are not supported.
    """
    x = call.value(0)
    ratio = call.float("ratio", 0.5) if call.opset < 12 else call.number(1, 0.5)
    if not call.trace.training or not ratio or call.count > 1:
        return x
    key, stream = call.trace.key()
    return ops.dropout(x, key, ratio, stream)
