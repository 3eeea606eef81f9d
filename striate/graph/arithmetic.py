"""The elementwise operations behind the operators ``+ - * /`` of values, which are arrays that a graph computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import Vector
from striate.graph.elementwise import Binary, Elementwise, elementwise
from striate.graph.notation import DIFFERENCE, PRODUCT, QUOTIENT, SUM, Expression, infix, prefix
from striate.graph.onnx import OnnxWriter
from striate.graph.op import Gradients, Needed, Sample, Values, register
from striate.graph.value import Array, DType, TensorType, Value, operators


@register
@dataclass(frozen=True)
class Add(Binary):
    """y = a + b"""

    onnx_operator: ClassVar[str] = "Add"
    arithmetic: ClassVar[bool] = True

    def reference(self, a: Array, b: Array) -> Array:
        return a + b

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (dy,) = output_gradients
        return dy, dy

    def emit(self, k: Kernel, a: Vector, b: Vector) -> Vector:
        return k.add(a, b)

    def notation(self, *operands: Expression) -> Expression:
        a, b = operands
        return infix(" + ", SUM, a, b, regroups=True)


@register
@dataclass(frozen=True)
class Subtract(Binary):
    """y = a − b"""

    onnx_operator: ClassVar[str] = "Sub"
    arithmetic: ClassVar[bool] = True

    def reference(self, a: Array, b: Array) -> Array:
        return a - b

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (dy,) = output_gradients
        return dy, (-dy if needed[1] else None)

    def emit(self, k: Kernel, a: Vector, b: Vector) -> Vector:
        return k.sub(a, b)

    def notation(self, *operands: Expression) -> Expression:
        a, b = operands
        return infix(" − ", DIFFERENCE, a, b)


@register
@dataclass(frozen=True)
class Later(Binary):
    """y = a, computed in the loop that computes b

    The numbers do not depend on b. The compiler's pass ``recompute`` inserts this operation to choose the loop of the
    backward pass in which a is computed again.
    """

    arithmetic: ClassVar[bool] = True

    def result_dtype(self, inputs: Sequence[TensorType]) -> DType:
        return inputs[0].dtype

    def reference(self, a: Array, b: Array) -> Array:
        return a

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (dy,) = output_gradients
        return dy, None

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        return [inputs[0]]

    def emit(self, k: Kernel, a: Vector, b: Vector) -> Vector:
        return a

    def notation(self, *operands: Expression) -> Expression:
        return operands[0]


@register
@dataclass(frozen=True)
class Multiply(Binary):
    """y = a · b"""

    onnx_operator: ClassVar[str] = "Mul"
    arithmetic: ClassVar[bool] = True

    def reference(self, a: Array, b: Array) -> Array:
        return a * b

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (a, b), (dy,) = inputs, output_gradients
        return (dy * b if needed[0] else None), (dy * a if needed[1] else None)

    def emit(self, k: Kernel, a: Vector, b: Vector) -> Vector:
        return k.mul(a, b)

    def notation(self, *operands: Expression) -> Expression:
        a, b = operands
        if b.text.startswith("1 / "):
            return Expression(f"{a.within(PRODUCT)}{b.text[1:]}", PRODUCT)  # a · (1 / b) is a / b
        return infix(" · ", PRODUCT, a, b, regroups=True)


@register
@dataclass(frozen=True)
class Divide(Binary):
    """y = a / b"""

    onnx_operator: ClassVar[str] = "Div"
    fractional: ClassVar[bool] = True
    arithmetic: ClassVar[bool] = True

    def reference(self, a: Array, b: Array) -> Array:
        return a / b

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (_, b), (y,), (dy,) = inputs, outputs, output_gradients
        return (dy / b if needed[0] else None), (-(dy * y / b) if needed[1] else None)

    def emit(self, k: Kernel, a: Vector, b: Vector) -> Vector:
        return k.div(a, b)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape in ((5, 3, 4, 7), (2, 17)):
            yield Sample(cls(), (random.standard_normal(shape), 1.5 + random.random(shape)))

    def notation(self, *operands: Expression) -> Expression:
        a, b = operands
        return infix(" / ", QUOTIENT, a, b)


@register
@dataclass(frozen=True)
class MultiplyAdd(Elementwise):
    """y = a · b + c, rounded once"""

    fractional: ClassVar[bool] = True
    arity: ClassVar[int] = 3

    arithmetic: ClassVar[bool] = True

    def reference(self, a: Array, b: Array, c: Array) -> Array:
        return np.asarray(a.astype(np.longdouble) * b + c).astype(a.dtype)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (a, b, _), (dy,) = inputs, output_gradients
        return (dy * b if needed[0] else None), (dy * a if needed[1] else None), dy

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        a, b, c = inputs
        return [to.add("Add", to.add("Mul", a, b), c)]

    def emit(self, k: Kernel, a: Vector, b: Vector, c: Vector) -> Vector:
        return k.fma(a, b, c)

    def notation(self, *operands: Expression) -> Expression:
        a, b, c = operands
        return infix(" + ", SUM, infix(" · ", PRODUCT, a, b, regroups=True), c, regroups=True)


@register
@dataclass(frozen=True)
class Negative(Elementwise):
    """y = −x"""

    onnx_operator: ClassVar[str] = "Neg"
    fractional: ClassVar[bool] = True
    arithmetic: ClassVar[bool] = True

    def reference(self, x: Array) -> Array:
        return -x

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (dy,) = output_gradients
        return (-dy,)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.neg(x)

    def notation(self, *operands: Expression) -> Expression:
        return prefix("−", operands[0])


def _binary(op: Binary) -> Callable[[object, object], Value]:
    return lambda a, b: elementwise(op, a, b)


def _negated(x: object) -> Value:
    return elementwise(Negative(), x)


operators.update(
    add=_binary(Add()),
    subtract=_binary(Subtract()),
    multiply=_binary(Multiply()),
    divide=_binary(Divide()),
    negative=_negated,
)
