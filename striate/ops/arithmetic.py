"""Arithmetic and other elementwise functions that are not activations.

Each operation defines its math once: ``reference`` in NumPy, ``gradient`` as graph values, ``emit`` over one vector.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

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
from striate.graph.notation import ATOM, COMPARISON, Expression, call, infix
from striate.graph.op import Gradients, Needed, Sample, Values, register
from striate.graph.value import Array, Value, dtype_of, operators


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
        return (dy * (greater(x, 0) - greater(-x, 0)),)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.abs(x)

    def notation(self, *operands: Expression) -> Expression:
        return Expression(f"|{operands[0].text}|")


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
        larger = (1 + greater(a, b) - greater(b, a)) * 0.5  # 1, ½ or 0
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
        smaller = (1 + greater(b, a) - greater(a, b)) * 0.5
        return (dy * smaller if needed[0] else None), (dy * (1 - smaller) if needed[1] else None)

    def emit(self, k: Kernel, a: Vector, b: Vector) -> Vector:
        return k.min(a, b)

    def notation(self, *operands: Expression) -> Expression:
        return call("min", operands, {})


@register
@dataclass(frozen=True)
class Greater(Binary):
    """y = 1 where a > b, else 0 (also where either is NaN)"""

    fractional: ClassVar[bool] = True

    def reference(self, a: Array, b: Array) -> Array:
        return (a > b).astype(a.dtype)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        return None, None

    def emit(self, k: Kernel, a: Vector, b: Vector) -> Vector:
        return k.select(k.greater(a, b), k.constant_like(a, 1.0), k.constant_like(a, 0.0))

    def notation(self, *operands: Expression) -> Expression:
        a, b = operands
        return infix(" > ", COMPARISON, a, b)


@register
@dataclass(frozen=True)
class IsFinite(Elementwise):
    """y = 1 where x is a finite number, 0 where it is NaN or infinite"""

    fractional: ClassVar[bool] = True

    def reference(self, x: Array) -> Array:
        return np.isfinite(x).astype(x.dtype)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        return (None,)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.select(k.is_finite(x), k.constant_like(x, 1.0), k.constant_like(x, 0.0))


@register
@dataclass(frozen=True)
class Where(Elementwise):
    """y = a where c > 0, else b; c holds 0 and 1"""

    fractional: ClassVar[bool] = True
    arity: ClassVar[int] = 3

    def reference(self, c: Array, a: Array, b: Array) -> Array:
        return np.where(c > 0, a, b)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (c, _, _), (dy,) = inputs, output_gradients
        zero = constant(0.0, dy.dtype)
        return (
            None,
            (elementwise(Where(), c, dy, zero) if needed[1] else None),
            (elementwise(Where(), c, zero, dy) if needed[2] else None),
        )

    def emit(self, k: Kernel, c: Vector, a: Vector, b: Vector) -> Vector:
        return k.select(k.greater(c, k.constant_like(c, 0.0)), a, b)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape in ((2, 3, 4, 1), (3, 17), (1, 1)):
            a, b = random.standard_normal(shape), random.standard_normal(shape)
            condition = random.integers(0, 2, shape).astype(np.float64)
            yield Sample(cls(), (condition, a, b), differentiable=(False, True, True))

    def notation(self, *operands: Expression) -> Expression:
        condition, a, b = operands
        return Expression(f"({a.text} where {condition.text}, else {b.text})")


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


def maximum(a: Operand, b: Operand) -> Value:
    """The larger of a and b, elementwise; shapes broadcast; NaN where either is NaN. Raises ShapeError, DTypeError."""
    return elementwise(Maximum(), a, b)


def minimum(a: Operand, b: Operand) -> Value:
    """The smaller of a and b, elementwise; shapes broadcast; NaN where either is NaN. Raises ShapeError, DTypeError."""
    return elementwise(Minimum(), a, b)


def greater(a: Operand, b: Operand) -> Value:
    """1 where a > b, else 0, in the operands' dtype; shapes broadcast. Raises ShapeError, DTypeError."""
    return elementwise(Greater(), a, b)


def isfinite(x: Value) -> Value:
    """1 where x is a finite number, 0 where it is NaN or infinite, in x's dtype."""
    return elementwise(IsFinite(), x)


def where(condition: Value, a: Operand, b: Operand) -> Value:
    """a where the condition (0 or 1, as ``greater`` returns it) is 1, else b; shapes broadcast. Raises ShapeError."""
    return elementwise(Where(), condition, a, b)


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


operators.update(abs=abs, sqrt=sqrt)  # abs(x) and x ** 0.5
