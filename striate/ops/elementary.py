"""Powers, trigonometric functions, erf, expm1, log1p and rounding; ``arithmetic`` has exp, log and √.

Each class defines its function in three methods: ``reference`` computes it in NumPy, ``gradient`` builds the graph of
its gradient, and ``emit`` writes its machine code for one vector of 16 elements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar

import numpy as np

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import Vector
from striate.graph.elementwise import Binary, Elementwise, elementwise
from striate.graph.notation import ATOM, Expression
from striate.graph.onnx import OnnxWriter
from striate.graph.op import Gradients, Needed, Sample, Values, register
from striate.graph.operand import constant
from striate.graph.value import Array, TensorType, Value, operators
from striate.ops.arithmetic import Operand, Positive, exp, log, sqrt
from striate.ops.comparison import equal, greater_equal, logical_and, where

_erf: Callable[[Array], Array] = np.vectorize(math.erf, otypes=[np.float64])
_erfc: Callable[[Array], Array] = np.vectorize(math.erfc, otypes=[np.float64])


@register
@dataclass(frozen=True)
class Expm1(Elementwise):
    """y = eˣ − 1, without loss of digits for x near 0"""

    fractional: ClassVar[bool] = True

    def reference(self, x: Array) -> Array:
        return np.expm1(x)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (y,), (dy,) = outputs, output_gradients
        return (dy * (y + 1),)

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        one = to.constant(np.ones((), types[0].dtype.numpy))
        return [to.add("Sub", to.add("Exp", inputs[0]), one)]

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.expm1(x)


@register
@dataclass(frozen=True)
class Log1p(Positive):
    """y = ln(1 + x), without loss of digits for x near 0"""

    def reference(self, x: Array) -> Array:
        return np.log1p(x)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (dy,) = inputs, output_gradients
        return (dy / (1 + x),)

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        one = to.constant(np.ones((), types[0].dtype.numpy))
        return [to.add("Log", to.add("Add", inputs[0], one))]

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.log1p(x)


@register
@dataclass(frozen=True)
class Sin(Elementwise):
    """y = sin x"""

    onnx_operator: ClassVar[str] = "Sin"
    fractional: ClassVar[bool] = True

    def reference(self, x: Array) -> Array:
        return np.sin(x)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (dy,) = inputs, output_gradients
        return (dy * Cos()(x),)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.sin(x)


@register
@dataclass(frozen=True)
class Cos(Elementwise):
    """y = cos x"""

    onnx_operator: ClassVar[str] = "Cos"
    fractional: ClassVar[bool] = True

    def reference(self, x: Array) -> Array:
        return np.cos(x)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (dy,) = inputs, output_gradients
        return (-(dy * Sin()(x)),)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.cos(x)


@register
@dataclass(frozen=True)
class Tan(Elementwise):
    """y = tan x"""

    onnx_operator: ClassVar[str] = "Tan"
    fractional: ClassVar[bool] = True

    def reference(self, x: Array) -> Array:
        return np.tan(x)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (y,), (dy,) = outputs, output_gradients
        return (dy * (1 + y * y),)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.tan(x)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape in ((2, 3, 4, 1), (3, 17), (1, 1)):
            yield Sample(cls(), (random.uniform(-1.2, 1.2, shape),))


@register
@dataclass(frozen=True)
class Erf(Elementwise):
    """y = erf x = 2/√π ∫₀ˣ e^(−t²) dt"""

    onnx_operator: ClassVar[str] = "Erf"
    fractional: ClassVar[bool] = True

    def reference(self, x: Array) -> Array:
        return _erf(x).astype(x.dtype)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (dy,) = inputs, output_gradients
        return (dy * exp(-(x * x)) * (2 / math.sqrt(math.pi)),)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.erf(x)


@register
@dataclass(frozen=True)
class NormalCdf(Elementwise):
    """y = Φ(x) = ½ (1 + erf(x / √2)): the probability that a standard normal variable is below x"""

    fractional: ClassVar[bool] = True

    def reference(self, x: Array) -> Array:
        return (0.5 * _erfc(-x / math.sqrt(2))).astype(x.dtype)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (dy,) = inputs, output_gradients
        return (dy * normal_density(x),)

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        root, half, one = (to.constant(np.array(number, types[0].dtype.numpy)) for number in (math.sqrt(0.5), 0.5, 1))
        error = to.add("Erf", to.add("Mul", inputs[0], root))
        return [to.add("Mul", to.add("Add", error, one), half)]

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.normal_cdf(x)

    def notation(self, *operands: Expression) -> Expression:
        return Expression(f"Φ({operands[0].text})")


def normal_density(x: Value) -> Value:
    """Return the density of the standard normal distribution at each element of x, e^(−x²/2) / √(2π)."""
    return exp(x * x * -0.5) * (1 / math.sqrt(2 * math.pi))


@register
@dataclass(frozen=True)
class Power(Binary):
    """y = xᵇ; NaN where x is negative and b is not a whole number"""

    onnx_operator: ClassVar[str] = "Pow"
    fractional: ClassVar[bool] = True

    def reference(self, x: Array, b: Array) -> Array:
        return np.power(x, b)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x, b), (y,), (dy,) = inputs, outputs, output_gradients
        zero = constant(0.0, dy.dtype)
        by_x = by_b = None
        if needed[0]:  # x⁰ is 1 for every x, also for 0
            by_x = where(equal(b, 0), zero, dy * b * elementwise(Power(), x, b - 1))
        if needed[1]:  # at x = 0, ln x is −∞
            flat = logical_and(equal(x, 0), greater_equal(b, 0))
            by_b = where(flat, zero, dy * y * log(x))
        return by_x, by_b

    def emit(self, k: Kernel, x: Vector, b: Vector) -> Vector:
        return k.power(x, b)

    def notation(self, *operands: Expression) -> Expression:
        x, b = operands
        return Expression(f"{x.within(ATOM)}^{b.within(ATOM)}")

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape in ((5, 3, 4, 7), (2, 17), (1, 1)):
            yield Sample(cls(), (0.2 + 2 * random.random(shape), 2 * random.standard_normal(shape)))
        x, whole = random.standard_normal((3, 16, 2)), random.integers(-2, 5, (3, 16, 2)).astype(np.float64)
        x = np.where(np.abs(x) < 0.1, 0.5, x)
        yield Sample(cls(), (x, whole), differentiable=(True, False))


@dataclass(frozen=True)
class Rounding(Elementwise):
    """Base class of functions that round to a whole number (abstract); their gradient is 0."""

    fractional: ClassVar[bool] = True

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        return (None,)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape in ((5, 3, 4, 7), (2, 17)):
            yield Sample(cls(), (3 * random.standard_normal(shape),))
        yield Sample(cls(), (np.array([[0.5, 1.5, -0.5, -1.5, 2.0, 1e20]]),), differentiable=(False,))


@register
@dataclass(frozen=True)
class Floor(Rounding):
    """y = the largest whole number ≤ x; the gradient is 0"""

    onnx_operator: ClassVar[str] = "Floor"

    def reference(self, x: Array) -> Array:
        return np.floor(x)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.floor(x)


@register
@dataclass(frozen=True)
class Ceil(Rounding):
    """y = the smallest whole number ≥ x; the gradient is 0"""

    onnx_operator: ClassVar[str] = "Ceil"

    def reference(self, x: Array) -> Array:
        return np.ceil(x)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.ceil(x)


@register
@dataclass(frozen=True)
class Round(Rounding):
    """y = x rounded to the nearest whole number, ties to even; the gradient is 0"""

    onnx_operator: ClassVar[str] = "Round"

    def reference(self, x: Array) -> Array:
        return np.rint(x)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.round(x)


def expm1(x: Value) -> Value:
    """Return y = eˣ − 1 for each element of x, without loss of digits for x near 0.

    x has any shape and is float32 or float64; other dtypes raise DTypeError.
    """
    return elementwise(Expm1(), x)


def log1p(x: Value) -> Value:
    """Return y = ln(1 + x) for each element of x, without loss of digits for x near 0.

    The result is −inf at −1 and NaN below −1. x has any shape and is float32 or float64; other dtypes raise DTypeError.
    """
    return elementwise(Log1p(), x)


def sin(x: Value) -> Value:
    """Return the sine of each element of x, an angle in radians; NaN where |x| > 2⁴⁵.

    x has any shape and is float32 or float64; other dtypes raise DTypeError.
    """
    return elementwise(Sin(), x)


def cos(x: Value) -> Value:
    """Return the cosine of each element of x, an angle in radians; NaN where |x| > 2⁴⁵.

    x has any shape and is float32 or float64; other dtypes raise DTypeError.
    """
    return elementwise(Cos(), x)


def tan(x: Value) -> Value:
    """Return the tangent of each element of x, an angle in radians; NaN where |x| > 2⁴⁵.

    x has any shape and is float32 or float64; other dtypes raise DTypeError.
    """
    return elementwise(Tan(), x)


def erf(x: Value) -> Value:
    """Return the error function of each element of x, 2/√π ∫₀ˣ e^(−t²) dt; it lies in [−1, 1].

    x has any shape and is float32 or float64; other dtypes raise DTypeError.
    """
    return elementwise(Erf(), x)


def floor(x: Value) -> Value:
    """Return the largest whole number ≤ x for each element of x, in the dtype of x; the gradient is 0.

    x has any shape and is float32 or float64; other dtypes raise DTypeError.
    """
    return elementwise(Floor(), x)


def ceil(x: Value) -> Value:
    """Return the smallest whole number ≥ x for each element of x, in the dtype of x; the gradient is 0.

    x has any shape and is float32 or float64; other dtypes raise DTypeError.
    """
    return elementwise(Ceil(), x)


def round(x: Value) -> Value:
    """Return each element of x rounded to the nearest whole number, ties to even; the gradient is 0.

    x has any shape and is float32 or float64; other dtypes raise DTypeError.
    """
    return elementwise(Round(), x)


def square(x: Value) -> Value:
    """Return y = x² for each element of x.

    x has any shape and any dtype but bool, which raises DTypeError.
    """
    return x * x


def reciprocal(x: Value) -> Value:
    """Return y = 1 / x for each element of x: ±inf at ±0.

    x has any shape and is float32 or float64; other dtypes raise DTypeError.
    """
    return 1.0 / x


def rsqrt(x: Value) -> Value:
    """Return y = 1 / √x for each element of x: inf at 0, NaN below 0.

    x has any shape and is float32 or float64; other dtypes raise DTypeError.
    """
    return 1.0 / sqrt(x)


_MOST_FACTORS = 16
"""The largest whole exponent for which a power is computed by multiplications."""


def power(x: Operand, exponent: Operand) -> Value:
    """Return x to the power of ``exponent``, elementwise; shapes broadcast as in NumPy.

    At least one operand is an array of float32 or float64; the other has the same dtype or is a number. As in NumPy, a
    negative x with an exponent that is not whole gives NaN, and x = 0 with a negative exponent gives ±inf. If the
    exponent is a whole number from 1 to 16, x may also be an array of integers. The gradient with respect to the
    exponent is 0 where x is 0 and the exponent is not negative. Raises ShapeError if the shapes do not broadcast, and
    DTypeError for other dtypes or if the dtypes differ.
    """
    if isinstance(x, Value) and isinstance(exponent, Real) and not isinstance(exponent, bool):
        number = float(exponent)
        if number in (-1.0, -0.5):
            return reciprocal(x) if number == -1 else rsqrt(x)
        if number == 0.5:
            return sqrt(x)
        if number.is_integer() and 1 <= number <= _MOST_FACTORS:
            return _product(x, int(number))
    return elementwise(Power(), x, exponent)


def _product(x: Value, factors: int) -> Value:
    if factors == 1:
        return x
    half = _product(x, factors // 2)
    return half * half * x if factors % 2 else half * half


operators.update(power=power)
