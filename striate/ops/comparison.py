"""Comparisons, logical functions and ``where``: elementwise operations with bools.

In memory, a bool is one byte, 0 or 1. If the operations that compute and read a bool are fused into one loop, the bool
stays in a register and is never stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import Condition, Vector
from striate.errors import DTypeError
from striate.graph.elementwise import Binary, Elementwise, elementwise
from striate.graph.notation import COMPARISON, Expression, infix
from striate.graph.onnx import OnnxWriter
from striate.graph.op import Gradients, Needed, Sample, Values, place, register, same_dtype
from striate.graph.operand import constant
from striate.graph.value import Array, DType, TensorType, Value, operators


@dataclass(frozen=True)
class Comparison(Binary):
    """Base class of elementwise comparisons of two arrays a and b (abstract).

    The result is a bool and has no gradient. A comparison with NaN is false, except that NaN ≠ b and a ≠ NaN are true.
    """

    sign: ClassVar[str]
    written_sign: ClassVar[str]
    compare: ClassVar[Callable[[Array, Array], Any]]

    def result_dtype(self, inputs: Sequence[TensorType]) -> DType:
        same_dtype(self, inputs)
        return DType.bool

    def reference(self, a: Array, b: Array) -> Array:
        return np.asarray(type(self).compare(a, b))

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        return None, None

    def emit(self, k: Kernel, a: Vector, b: Vector) -> Vector:
        return k.truth(k.compared(a, self.sign, b))

    def notation(self, *operands: Expression) -> Expression:
        a, b = operands
        return infix(f" {self.written_sign} ", COMPARISON, a, b)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape in ((5, 3, 4, 7), (2, 17), (3, 16, 1, 5), (1, 1)):
            a, b = (random.integers(-2, 3, shape) / 2 for _ in range(2))
            yield Sample(cls(), (a, b), differentiable=(False, False))
        yield Sample(cls(), tuple(random.integers(-2, 3, (2, 17)) for _ in range(2)))


@register
@dataclass(frozen=True)
class Greater(Comparison):
    """y = [a > b], a bool; false where a or b is NaN"""

    onnx_operator: ClassVar[str] = "Greater"
    sign: ClassVar[str] = ">"
    written_sign: ClassVar[str] = ">"
    compare: ClassVar[Callable[[Array, Array], Any]] = np.greater


@register
@dataclass(frozen=True)
class GreaterEqual(Comparison):
    """y = [a ≥ b], a bool; false where a or b is NaN"""

    onnx_operator: ClassVar[str] = "GreaterOrEqual"
    sign: ClassVar[str] = ">="
    written_sign: ClassVar[str] = "≥"
    compare: ClassVar[Callable[[Array, Array], Any]] = np.greater_equal


@register
@dataclass(frozen=True)
class Less(Comparison):
    """y = [a < b], a bool; false where a or b is NaN"""

    onnx_operator: ClassVar[str] = "Less"
    sign: ClassVar[str] = "<"
    written_sign: ClassVar[str] = "<"
    compare: ClassVar[Callable[[Array, Array], Any]] = np.less


@register
@dataclass(frozen=True)
class LessEqual(Comparison):
    """y = [a ≤ b], a bool; false where a or b is NaN"""

    onnx_operator: ClassVar[str] = "LessOrEqual"
    sign: ClassVar[str] = "<="
    written_sign: ClassVar[str] = "≤"
    compare: ClassVar[Callable[[Array, Array], Any]] = np.less_equal


@register
@dataclass(frozen=True)
class Equal(Comparison):
    """y = [a = b], a bool; false where a or b is NaN"""

    onnx_operator: ClassVar[str] = "Equal"
    sign: ClassVar[str] = "=="
    written_sign: ClassVar[str] = "="
    compare: ClassVar[Callable[[Array, Array], Any]] = np.equal


@register
@dataclass(frozen=True)
class NotEqual(Comparison):
    """y = [a ≠ b], a bool; true where a or b is NaN"""

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        return [to.add("Not", to.add("Equal", *inputs))]

    sign: ClassVar[str] = "!="
    written_sign: ClassVar[str] = "≠"
    compare: ClassVar[Callable[[Array, Array], Any]] = np.not_equal


@dataclass(frozen=True)
class Predicate(Elementwise):
    """Base class of elementwise tests of a number, such as isnan (abstract); the result is a bool without gradient."""

    fractional: ClassVar[bool] = True

    def result_dtype(self, inputs: Sequence[TensorType]) -> DType:
        self.require_numbers(inputs[0])
        return DType.bool

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        return (None,)

    def holds(self, k: Kernel, x: Vector) -> Condition:
        """Write the code that tests each element of a vector x; return one bit for each element.

        ``k`` is the kernel to which the code is added.
        """
        raise NotImplementedError

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.truth(self.holds(k, x))

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape in ((5, 3, 4, 7), (2, 17)):
            x = random.standard_normal(shape)
            x.flat[:4] = np.nan, np.inf, -np.inf, 0.0
            yield Sample(cls(), (x,), differentiable=(False,))


@register
@dataclass(frozen=True)
class IsFinite(Predicate):
    """y = [x is a finite number], a bool; false for NaN and ±∞"""

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        return [to.add("Not", to.add("Or", to.add("IsNaN", *inputs), to.add("IsInf", *inputs)))]

    def reference(self, x: Array) -> Array:
        return np.asarray(np.isfinite(x))

    def holds(self, k: Kernel, x: Vector) -> Condition:
        return k.is_finite(x)


@register
@dataclass(frozen=True)
class IsNan(Predicate):
    """y = [x is NaN], a bool"""

    onnx_operator: ClassVar[str] = "IsNaN"

    def reference(self, x: Array) -> Array:
        return np.asarray(np.isnan(x))

    def holds(self, k: Kernel, x: Vector) -> Condition:
        return k.is_nan(x)


@register
@dataclass(frozen=True)
class IsInf(Predicate):
    """y = [|x| = ∞], a bool"""

    onnx_operator: ClassVar[str] = "IsInf"

    def reference(self, x: Array) -> Array:
        return np.asarray(np.isinf(x))

    def holds(self, k: Kernel, x: Vector) -> Condition:
        return k.compared(k.abs(x), "==", k.constant_like(x, np.inf))


def _require_bools(op: Elementwise, inputs: Sequence[TensorType]) -> None:
    """Raise ``DTypeError`` if one of the inputs that are conditions is not of dtype bool."""
    wrong = next((x for x in inputs[: op.conditions] if x.dtype is not DType.bool), None)
    if wrong is not None:
        raise DTypeError(
            f"{place(op)}: a condition is a bool, got {wrong}\n"
            "  help: st.ops.not_equal(x, 0), or a comparison such as st.ops.greater(x, 0)"
        )


@dataclass(frozen=True)
class Logical(Elementwise):
    """Base class of elementwise functions of one or two bools, with a bool as result and no gradient (abstract)."""

    def result_dtype(self, inputs: Sequence[TensorType]) -> DType:
        _require_bools(self, inputs)
        return DType.bool

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        return (None,) * len(inputs)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape in ((5, 3, 4, 7), (2, 17), (3, 16, 1, 5), (1, 1)):
            yield Sample(cls(), tuple(random.random(shape) < 0.5 for _ in range(cls.arity)))


@register
@dataclass(frozen=True)
class LogicalAnd(Logical):
    """y = a and b; all are bools"""

    onnx_operator: ClassVar[str] = "And"
    arity: ClassVar[int] = 2
    conditions: ClassVar[int] = 2

    def reference(self, a: Array, b: Array) -> Array:
        return np.asarray(np.logical_and(a, b))

    def emit(self, k: Kernel, a: Vector, b: Vector) -> Vector:
        return k.truth(k.both(k.holds(a), k.holds(b)))


@register
@dataclass(frozen=True)
class LogicalOr(Logical):
    """y = a or b; all are bools"""

    onnx_operator: ClassVar[str] = "Or"
    arity: ClassVar[int] = 2
    conditions: ClassVar[int] = 2

    def reference(self, a: Array, b: Array) -> Array:
        return np.asarray(np.logical_or(a, b))

    def emit(self, k: Kernel, a: Vector, b: Vector) -> Vector:
        return k.truth(k.either(k.holds(a), k.holds(b)))


@register
@dataclass(frozen=True)
class LogicalXor(Logical):
    """y = a xor b, true where exactly one of the bools a and b is true"""

    onnx_operator: ClassVar[str] = "Xor"
    arity: ClassVar[int] = 2
    conditions: ClassVar[int] = 2

    def reference(self, a: Array, b: Array) -> Array:
        return np.asarray(np.logical_xor(a, b))

    def emit(self, k: Kernel, a: Vector, b: Vector) -> Vector:
        a_holds, b_holds = k.holds(a), k.holds(b)
        return k.truth(k.both(k.either(a_holds, b_holds), k.negation(k.both(a_holds, b_holds))))


@register
@dataclass(frozen=True)
class LogicalNot(Logical):
    """y = not x; both are bools"""

    onnx_operator: ClassVar[str] = "Not"
    conditions: ClassVar[int] = 1

    def reference(self, x: Array) -> Array:
        return np.asarray(np.logical_not(x))

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.truth(k.negation(k.holds(x)))


@register
@dataclass(frozen=True)
class Where(Elementwise):
    """y = a where c is true, else b; c is a bool"""

    onnx_operator: ClassVar[str] = "Where"
    arity: ClassVar[int] = 3
    conditions: ClassVar[int] = 1

    def result_dtype(self, inputs: Sequence[TensorType]) -> DType:
        _require_bools(self, inputs)
        same_dtype(self, inputs[1:])
        return inputs[1].dtype

    def reference(self, c: Array, a: Array, b: Array) -> Array:
        return np.where(c, a, b)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (c, _, _), (dy,) = inputs, output_gradients
        zero = constant(0.0, dy.dtype)
        return (
            None,
            (elementwise(Where(), c, dy, zero) if needed[1] else None),
            (elementwise(Where(), c, zero, dy) if needed[2] else None),
        )

    def emit(self, k: Kernel, c: Vector, a: Vector, b: Vector) -> Vector:
        return k.select(k.holds(c), a, b)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape in ((2, 3, 4, 1), (3, 17), (1, 1)):
            a, b = random.standard_normal(shape), random.standard_normal(shape)
            yield Sample(cls(), (random.random(shape) < 0.5, a, b))

    def notation(self, *operands: Expression) -> Expression:
        condition, a, b = operands
        return Expression(f"({a.text} where {condition.text}, else {b.text})")


Operand = Value | float


def greater(a: Operand, b: Operand) -> Value:
    """Return whether a > b, elementwise, as bools; false where a or b is NaN.

    a and b have the same dtype, but a Python number or an array of bools takes the dtype of the other operand. Shapes
    broadcast as in NumPy. The result has dtype bool and no gradient. Raises ShapeError if the shapes do not broadcast,
    and DTypeError for other combinations of dtypes.
    """
    return elementwise(Greater(), a, b)


def greater_equal(a: Operand, b: Operand) -> Value:
    """Return whether a ≥ b, elementwise, as bools; false where a or b is NaN.

    a and b have the same dtype, but a Python number or an array of bools takes the dtype of the other operand. Shapes
    broadcast as in NumPy. The result has dtype bool and no gradient. Raises ShapeError if the shapes do not broadcast,
    and DTypeError for other combinations of dtypes.
    """
    return elementwise(GreaterEqual(), a, b)


def less(a: Operand, b: Operand) -> Value:
    """Return whether a < b, elementwise, as bools; false where a or b is NaN.

    a and b have the same dtype, but a Python number or an array of bools takes the dtype of the other operand. Shapes
    broadcast as in NumPy. The result has dtype bool and no gradient. Raises ShapeError if the shapes do not broadcast,
    and DTypeError for other combinations of dtypes.
    """
    return elementwise(Less(), a, b)


def less_equal(a: Operand, b: Operand) -> Value:
    """Return whether a ≤ b, elementwise, as bools; false where a or b is NaN.

    a and b have the same dtype, but a Python number or an array of bools takes the dtype of the other operand. Shapes
    broadcast as in NumPy. The result has dtype bool and no gradient. Raises ShapeError if the shapes do not broadcast,
    and DTypeError for other combinations of dtypes.
    """
    return elementwise(LessEqual(), a, b)


def equal(a: Operand, b: Operand) -> Value:
    """Return whether a = b, elementwise, as bools; false where a or b is NaN.

    a and b have the same dtype, but a Python number or an array of bools takes the dtype of the other operand. Shapes
    broadcast as in NumPy. The result has dtype bool and no gradient. Raises ShapeError if the shapes do not broadcast,
    and DTypeError for other combinations of dtypes.
    """
    return elementwise(Equal(), a, b)


def not_equal(a: Operand, b: Operand) -> Value:
    """Return whether a ≠ b, elementwise, as bools; true where a or b is NaN.

    a and b have the same dtype, but a Python number or an array of bools takes the dtype of the other operand. Shapes
    broadcast as in NumPy. The result has dtype bool and no gradient. Raises ShapeError if the shapes do not broadcast,
    and DTypeError for other combinations of dtypes.
    """
    return elementwise(NotEqual(), a, b)


def logical_and(a: Value, b: Value) -> Value:
    """Return a bool for each element: whether a and b are both true.

    Shapes broadcast as in NumPy. Raises ShapeError if the shapes do not broadcast, and DTypeError for operands that are
    not arrays of bools.
    """
    return elementwise(LogicalAnd(), a, b)


def logical_or(a: Value, b: Value) -> Value:
    """Return a bool for each element: whether at least one of a and b is true.

    Shapes broadcast as in NumPy. Raises ShapeError if the shapes do not broadcast, and DTypeError for operands that are
    not arrays of bools.
    """
    return elementwise(LogicalOr(), a, b)


def logical_xor(a: Value, b: Value) -> Value:
    """Return a bool for each element: whether exactly one of a and b is true.

    Shapes broadcast as in NumPy. Raises ShapeError if the shapes do not broadcast, and DTypeError for operands that are
    not arrays of bools.
    """
    return elementwise(LogicalXor(), a, b)


def logical_not(x: Value) -> Value:
    """Return the negation of each element of x, an array of bools; other dtypes raise DTypeError."""
    return elementwise(LogicalNot(), x)


def isfinite(x: Value) -> Value:
    """Return a bool for each element of x: whether it is finite, that is, neither NaN nor ±∞.

    x has any shape and is float32 or float64; other dtypes raise DTypeError. There is no gradient.
    """
    return elementwise(IsFinite(), x)


def isnan(x: Value) -> Value:
    """Return a bool for each element of x: whether it is NaN.

    x has any shape and is float32 or float64; other dtypes raise DTypeError. There is no gradient.
    """
    return elementwise(IsNan(), x)


def isinf(x: Value) -> Value:
    """Return a bool for each element of x: whether it is ∞ or −∞.

    x has any shape and is float32 or float64; other dtypes raise DTypeError. There is no gradient.
    """
    return elementwise(IsInf(), x)


def where(condition: Value, a: Operand, b: Operand) -> Value:
    """Return a where ``condition`` is true, else b, elementwise; shapes broadcast as in NumPy.

    a and b have the same dtype, but a Python number or an array of bools takes the dtype of the other operand. The
    gradient of an element goes to the operand that was chosen for it. Raises ShapeError if the shapes do not broadcast,
    and DTypeError for other combinations of dtypes and for a condition that is not bool. ``not_equal(x, 0)`` converts
    numbers to bools.
    """
    return elementwise(Where(), condition, a, b)


operators.update(
    greater=greater, greater_equal=greater_equal, less=less, less_equal=less_equal, equal=equal, not_equal=not_equal
)
