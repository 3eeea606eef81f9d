"""Arithmetic, exp, log, √, absolute values and limits: elementwise functions that are not activations.

Each class defines its function in three methods: ``reference`` computes it in NumPy, ``gradient`` builds the graph of
its gradient, and ``emit`` writes its machine code for one vector of 16 elements.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar

import numpy as np

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import Vector
from striate.errors import OptionError
from striate.graph.arithmetic import Add, Multiply, Negative, Subtract
from striate.graph.elementwise import Binary, Elementwise, elementwise
from striate.graph.elementwise import cast as cast_to
from striate.graph.notation import ATOM, Expression, call
from striate.graph.onnx import OnnxWriter
from striate.graph.op import Gradients, Needed, Sample, Values, register
from striate.graph.operand import constant
from striate.graph.value import Array, TensorType, Value, dtype_of, operators
from striate.ops.comparison import greater, greater_equal, less_equal, logical_and, where
from striate.options import number


@dataclass(frozen=True)
class Positive(Elementwise):
    """Base class of functions that are tested with positive numbers only, such as log and √ (abstract)."""

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
    """y = |x|; the gradient is 0 at 0"""

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
    """y = −1 where x < 0, 1 where x > 0, 0 at 0, NaN at NaN; the gradient is 0"""

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
    """Return the fraction of the gradient dy that an operand of a maximum or minimum receives.

    It has the dtype of dy. It is 1 where the condition ``first`` holds, 0 where ``second`` holds, and ½ where neither
    does (a tie).
    """
    half = constant(0.5, dy.dtype)
    return where(first, 1.0, where(second, 0.0, half))


@register
@dataclass(frozen=True)
class Maximum(Binary):
    """y = max(a, b); NaN where a or b is NaN; where a = b, each receives half of the gradient"""

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
    """y = min(a, b); NaN where a or b is NaN; where a = b, each receives half of the gradient"""

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
    """y = min(max(x, a), b); dx = dy where a ≤ x ≤ b, else 0

    a is ``low`` and b is ``high``. dx and dy are the gradients with respect to x and y.
    """

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
    """Return y = eˣ for each element of x.

    x has any shape and is float32 or float64; other dtypes raise DTypeError.
    """
    return elementwise(Exp(), x)


def log(x: Value) -> Value:
    """Return the natural logarithm of each element of x: −inf at 0, NaN below 0.

    x has any shape and is float32 or float64; other dtypes raise DTypeError.
    """
    return elementwise(Log(), x)


def sqrt(x: Value) -> Value:
    """Return the square root of each element of x: NaN below 0.

    x has any shape and is float32 or float64; other dtypes raise DTypeError.
    """
    return elementwise(Sqrt(), x)


def abs(x: Value) -> Value:
    """Return the absolute value of each element of x; its gradient is 0 at 0.

    x has any shape and is float32 or float64; other dtypes raise DTypeError.
    """
    return elementwise(Abs(), x)


def sign(x: Value) -> Value:
    """Return the sign of each element of x: −1, 0 or 1, and NaN for NaN.

    x has any shape and any dtype but bool, which raises DTypeError. The gradient is 0.
    """
    return elementwise(Sign(), x)


def maximum(a: Operand, b: Operand) -> Value:
    """Return the larger of a and b, elementwise; NaN where a or b is NaN.

    a and b are both float32 or both float64, but a Python number or an array of bools takes the dtype of the other
    operand. Shapes broadcast as in NumPy. Where a = b, each receives half of the gradient. Raises ShapeError if the
    shapes do not broadcast, and DTypeError for other combinations of dtypes.
    """
    return elementwise(Maximum(), a, b)


def minimum(a: Operand, b: Operand) -> Value:
    """Return the smaller of a and b, elementwise; NaN where a or b is NaN.

    a and b are both float32 or both float64, but a Python number or an array of bools takes the dtype of the other
    operand. Shapes broadcast as in NumPy. Where a = b, each receives half of the gradient. Raises ShapeError if the
    shapes do not broadcast, and DTypeError for other combinations of dtypes.
    """
    return elementwise(Minimum(), a, b)


def clip(x: Value, min: Operand | None = None, max: Operand | None = None) -> Value:
    """Return x limited to the range from ``min`` to ``max``, elementwise.

    Either limit is a number, an array whose shape broadcasts with x, or None for no limit. Where min > max, the result
    is max. NaN stays NaN. Where min ≤ x ≤ max, the gradient goes to x. Elsewhere, it goes to the limit that applies, if
    this limit is an array. x has any shape and is float32 or float64. Raises ShapeError if the shapes do not broadcast,
    DTypeError for other dtypes or if the dtypes differ, and OptionError for a limit that is NaN or neither a number nor
    an array.
    """
    if not isinstance(min, Value | np.ndarray) and not isinstance(max, Value | np.ndarray):
        return elementwise(Clamp(_limit("min", min, -math.inf), _limit("max", max, math.inf)), x)
    if min is not None:
        x = where(greater_equal(x, min), x, maximum(x, min))  # the maximum alone would share the gradient of a tie
    return x if max is None else where(less_equal(x, max), x, minimum(x, max))


def _limit(name: str, value: object, otherwise: float) -> float:
    if value is None:
        return otherwise
    if isinstance(value, Real) and not isinstance(value, bool) and value == value:  # not NaN
        return float(value) if value in (-math.inf, math.inf) else number(f"clip: {name}", value)
    raise OptionError(f"clip: {name}={value!r}; expected a number, ±inf, an array or None")


def add(a: Operand, b: Operand) -> Value:
    """Return a + b, elementwise; shapes broadcast as in NumPy.

    a and b have the same dtype, but a Python number or an array of bools takes the dtype of the other operand. Raises
    ShapeError if the shapes do not broadcast, and DTypeError for other combinations of dtypes or if both are bool.
    """
    return elementwise(Add(), a, b)


def subtract(a: Operand, b: Operand) -> Value:
    """Return a − b, elementwise; shapes broadcast as in NumPy.

    a and b have the same dtype, but a Python number or an array of bools takes the dtype of the other operand. Raises
    ShapeError if the shapes do not broadcast, and DTypeError for other combinations of dtypes or if both are bool.
    """
    return elementwise(Subtract(), a, b)


def multiply(a: Operand, b: Operand) -> Value:
    """Return the product a · b, elementwise; shapes broadcast as in NumPy.

    a and b have the same dtype, but a Python number or an array of bools takes the dtype of the other operand. Raises
    ShapeError if the shapes do not broadcast, and DTypeError for other combinations of dtypes or if both are bool.
    """
    return elementwise(Multiply(), a, b)


def negative(x: Value) -> Value:
    """Return −x, elementwise.

    x has any shape and is float32 or float64; other dtypes raise DTypeError.
    """
    return elementwise(Negative(), x)


def cast(x: Value, dtype: object) -> Value:
    """Return x converted to another dtype: a name such as "float32", a NumPy dtype, or a DType.

    x has any shape and dtype. The gradient is converted back to the dtype of x. Raises OptionError for an unknown
    dtype.
    """
    return cast_to(x, dtype_of(dtype))


operators.update(abs=abs, sqrt=sqrt, cast=cast)  # abs(x) and x ** 0.5
