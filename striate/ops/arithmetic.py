"""Arithmetic and other elementwise functions that are not activations.

Each operation defines its math once: ``reference`` in NumPy, ``gradient`` as graph values, ``emit`` over one vector.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar
from typing import cast as cast_type

import numpy as np

from striate.codegen.kernel import Kernel, Vector
from striate.graph.arithmetic import (
    Add,
    Binary,
    Divide,
    Elementwise,
    Multiply,
    Negative,
    Subtract,
    constant,
    elementwise,
)
from striate.graph.arithmetic import cast as cast_to
from striate.graph.notation import ATOM, Expression, call
from striate.graph.onnx import OnnxWriter
from striate.graph.op import Gradients, Needed, Sample, Values, register
from striate.graph.value import Array, TensorType, Value, dtype_of, operators
from striate.ops.comparison import greater, greater_equal, less_equal, logical_and, where
from striate.options import number


@dataclass(frozen=True)
class Positive(Elementwise):
    """Base of functions of positive numbers (abstract)."""

    fractional: ClassVar[bool] = True

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape in ((2, 3, 4, 1), (3, 17), (1, 1)):
            yield Sample(cls(), (0.5 + 3 * random.random(shape),))


@register
@dataclass(frozen=True)
class Exp(Elementwise):
    """y = eˣ"""

    onnx_operator: ClassVar[str] = "Exp"
    fractional: ClassVar[bool] = True

    def reference(self, x: Array) -> Array:
        return np.exp(x)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (y,), (dy,) = outputs, output_gradients
        return (dy * y,)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.exp(x)


@register
@dataclass(frozen=True)
class Log(Positive):
    """y = ln x"""

    onnx_operator: ClassVar[str] = "Log"

    def reference(self, x: Array) -> Array:
        return np.log(x)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (dy,) = inputs, output_gradients
        return (dy / x,)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.log(x)

    def notation(self, *operands: Expression) -> Expression:
        return call("ln", operands, {})


@register
@dataclass(frozen=True)
class Sqrt(Positive):
    """y = √x"""

    onnx_operator: ClassVar[str] = "Sqrt"
    arithmetic: ClassVar[bool] = True
    deviation: ClassVar[bool] = True

    def reference(self, x: Array) -> Array:
        return np.sqrt(x)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (y,), (dy,) = outputs, output_gradients
        return (dy * 0.5 / y,)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.sqrt(x)

    def notation(self, *operands: Expression) -> Expression:
        (x,) = operands
        return Expression(f"√{x.text}" if x.strength == ATOM and len(x.text) <= 2 else f"√({x.text})")


@register
@dataclass(frozen=True)
class CosinePi(Elementwise):
    """y = cos(πx)"""

    def reference(self, x: Array) -> Array:
        return np.cos(np.pi * x)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (dy,) = inputs, output_gradients
        return (dy * CosinePi()(x - 0.5) * -np.pi,)  # sin(πx) = cos(π(x − ½))

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        return [to.add("Cos", to.add("Mul", inputs[0], to.constant(np.array(np.pi, types[0].dtype.numpy))))]

    def emit(self, k: Kernel, x: Vector) -> Vector:
        half = k.round(k.mul(x, k.constant_like(x, 0.5)))
        return k.cos_pi(k.abs(k.fma(k.constant_like(x, -2.0), half, x)))  # cos(πx) has period 2 and is even


@register
@dataclass(frozen=True)
class Abs(Elementwise):
    """y = |x|; dx = 0 at 0"""

    onnx_operator: ClassVar[str] = "Abs"
    fractional: ClassVar[bool] = True

    def reference(self, x: Array) -> Array:
        return np.abs(x)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (dy,) = inputs, output_gradients
        return (dy * sign(x),)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.abs(x)

    def notation(self, *operands: Expression) -> Expression:
        return Expression(f"|{operands[0].text}|")


@register
@dataclass(frozen=True)
class Sign(Elementwise):
    """y = −1 where x < 0, 1 where x > 0, 0 at 0, NaN at NaN; dx = 0"""

    onnx_operator: ClassVar[str] = "Sign"

    def reference(self, x: Array) -> Array:
        return np.sign(x)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        return (None,)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        zero, one, below = (k.constant_like(x, number) for number in (0, 1, -1))
        positive = k.select(k.compared(x, ">", zero), one, x)  # 0 and NaN stay
        return k.select(k.compared(x, "<", zero), below, positive)


def _share(first: Value, second: Value, dy: Value) -> Value:
    """The share of the gradient: 1 where the first condition holds, 0 where the second does, ½ where neither does."""
    half = constant(0.5, dy.dtype)
    return where(first, 1.0, where(second, 0.0, half))


@register
@dataclass(frozen=True)
class Maximum(Binary):
    """y = max(a, b); NaN where either operand is; equal operands share the gradient"""

    onnx_operator: ClassVar[str] = "Max"
    fractional: ClassVar[bool] = True

    def reference(self, a: Array, b: Array) -> Array:
        return np.maximum(a, b)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (a, b), (dy,) = inputs, output_gradients
        larger = _share(greater(a, b), greater(b, a), dy)
        return (dy * larger if needed[0] else None), (dy * (1 - larger) if needed[1] else None)

    def emit(self, k: Kernel, a: Vector, b: Vector) -> Vector:
        return k.max(a, b)

    def notation(self, *operands: Expression) -> Expression:
        return call("max", operands, {})


@register
@dataclass(frozen=True)
class Minimum(Binary):
    """y = min(a, b); NaN where either operand is; equal operands share the gradient"""

    onnx_operator: ClassVar[str] = "Min"
    fractional: ClassVar[bool] = True

    def reference(self, a: Array, b: Array) -> Array:
        return np.minimum(a, b)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (a, b), (dy,) = inputs, output_gradients
        smaller = _share(greater(b, a), greater(a, b), dy)
        return (dy * smaller if needed[0] else None), (dy * (1 - smaller) if needed[1] else None)

    def emit(self, k: Kernel, a: Vector, b: Vector) -> Vector:
        return k.min(a, b)

    def notation(self, *operands: Expression) -> Expression:
        return call("min", operands, {})


@register
@dataclass(frozen=True)
class Clamp(Elementwise):
    """y = min(max(x, a), b); dx = dy where a ≤ x ≤ b, else 0"""

    fractional: ClassVar[bool] = True
    letters: ClassVar[Mapping[str, str]] = {"a": "low", "b": "high"}
    low: float = -math.inf
    high: float = math.inf

    def reference(self, x: Array) -> Array:
        return np.minimum(np.maximum(x, self.low), self.high).astype(x.dtype)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (dy,) = inputs, output_gradients
        inside = logical_and(greater_equal(x, self.low), less_equal(x, self.high))
        return (where(inside, dy, constant(0.0, dy.dtype)),)

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        limits = (to.constant(np.array(limit, types[0].dtype.numpy)) for limit in (self.low, self.high))
        return [to.add("Clip", inputs[0], *limits)]

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.min(k.max(x, k.constant_like(x, self.low)), k.constant_like(x, self.high))

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for low, high in ((-0.5, 1.0), (-math.inf, 0.3), (0.0, math.inf), (1.0, -1.0)):
            yield Sample(cls(low, high), (random.standard_normal((3, 17, 2, 1)),))


Operand = Value | float


def exp(x: Value) -> Value:
    """y = eˣ. Any shape; float32 or float64."""
    return elementwise(Exp(), x)


def log(x: Value) -> Value:
    """y = ln x; −inf at 0, NaN below. Any shape; float32 or float64."""
    return elementwise(Log(), x)


def sqrt(x: Value) -> Value:
    """y = √x; NaN below 0. Any shape; float32 or float64."""
    return elementwise(Sqrt(), x)


def abs(x: Value) -> Value:
    """y = |x|. Any shape; float32 or float64."""
    return elementwise(Abs(), x)


def sign(x: Value) -> Value:
    """−1 where x < 0, 0 at 0, 1 where x > 0, NaN at NaN. Its gradient is 0. Any shape; numbers."""
    return elementwise(Sign(), x)


def maximum(a: Operand, b: Operand) -> Value:
    """The larger of a and b, elementwise; shapes broadcast; NaN where either is NaN. Raises ShapeError, DTypeError."""
    return elementwise(Maximum(), a, b)


def minimum(a: Operand, b: Operand) -> Value:
    """The smaller of a and b, elementwise; shapes broadcast; NaN where either is NaN. Raises ShapeError, DTypeError."""
    return elementwise(Minimum(), a, b)


def clip(x: Value, min: Operand | None = None, max: Operand | None = None) -> Value:
    """x limited to [min, max], numbers or arrays, either of which may be None; where min > max, it is max.

    The gradient passes where x is within the limits, at the limits too; beyond, an array of limits receives it. NaN
    stays NaN. Any shape; float32 or float64. Raises OptionError for limits that are NaN or no numbers.
    """
    if not isinstance(min, Value | np.ndarray) and not isinstance(max, Value | np.ndarray):
        return elementwise(Clamp(_limit("min", min, -math.inf), _limit("max", max, math.inf)), x)
    if min is not None:
        x = where(greater_equal(x, min), x, maximum(x, min))  # the maximum alone would share the gradient of a tie
    return x if max is None else where(less_equal(x, max), x, minimum(x, max))


def _limit(name: str, value: object, otherwise: float) -> float:
    if value is None or value in (-math.inf, math.inf):
        return otherwise if value is None else float(cast_type("float", value))
    return number(f"clip: {name}", value)


def add(a: Operand, b: Operand) -> Value:
    """a + b; shapes broadcast as in NumPy. Raises ShapeError, DTypeError."""
    return elementwise(Add(), a, b)


def subtract(a: Operand, b: Operand) -> Value:
    """a − b; shapes broadcast as in NumPy. Raises ShapeError, DTypeError."""
    return elementwise(Subtract(), a, b)


def multiply(a: Operand, b: Operand) -> Value:
    """a · b, elementwise; shapes broadcast as in NumPy. Raises ShapeError, DTypeError."""
    return elementwise(Multiply(), a, b)


def divide(a: Operand, b: Operand) -> Value:
    """a / b, elementwise; shapes broadcast as in NumPy. Raises ShapeError, DTypeError."""
    return elementwise(Divide(), a, b)


def negative(x: Value) -> Value:
    """−x."""
    return elementwise(Negative(), x)


def cast(x: Value, dtype: object) -> Value:
    """x in another dtype: a name ("float32"), a NumPy dtype or a DType. Raises OptionError for an unknown dtype."""
    return cast_to(x, dtype_of(dtype))


operators.update(abs=abs, sqrt=sqrt, cast=cast)  # abs(x) and x ** 0.5
