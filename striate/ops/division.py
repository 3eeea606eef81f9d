"""Division with and without rounding, and the remainder: the operators ``/``, ``//`` and ``%`` of values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import Vector
from striate.graph.arithmetic import Divide
from striate.graph.elementwise import Binary, elementwise
from striate.graph.notation import PRODUCT, Expression, infix
from striate.graph.onnx import OnnxWriter
from striate.graph.op import Gradients, Needed, Sample, Values, register
from striate.graph.value import Array, TensorType, Value, operators
from striate.ops.comparison import less, where
from striate.ops.elementary import ceil, floor
from striate.options import choice


@dataclass(frozen=True)
class WholeDivision(Binary):
    """Base class of floor division and remainder (abstract)."""

    fractional: ClassVar[bool] = True

    def parts(self, k: Kernel, a: Vector, b: Vector) -> tuple[Vector, Vector]:
        """Write the code that computes the quotient ⌊a / b⌋ and the remainder a − b · ⌊a / b⌋ of two vectors.

        ``k`` is the kernel to which the code is added. If the exact a / b is just below a whole number, the computed
        a / b may be rounded up to that number. The code then corrects the quotient and the remainder.
        """
        quotient = k.floor(k.div(a, b))
        zero, one = k.constant_like(a, 0.0), k.constant_like(a, 1.0)
        # A finite number divided by infinity is 0, and 0 · ∞ would make the remainder NaN.
        rest = k.select(k.compared(quotient, "==", zero), a, k.fma(k.neg(quotient), b, a))
        opposite = k.greater(zero, k.mul(rest, b))
        whole = k.select(opposite, k.sub(quotient, one), quotient)
        # If a is ±∞, the remainder is NaN. In NumPy the quotient is NaN too, unless b is 0.
        defined = k.select(k.is_nan(rest), rest, whole)
        return k.select(k.compared(b, "==", zero), whole, defined), k.select(opposite, k.add(rest, b), rest)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape in ((5, 3, 4, 7), (2, 17), (1, 1)):
            a, b = 5 * random.standard_normal(shape), random.choice([-1.5, -0.7, 0.7, 2.0], shape)
            yield Sample(cls(), (a, b))


@register
@dataclass(frozen=True)
class FloorDivide(WholeDivision):
    """y = ⌊a / b⌋"""

    def reference(self, a: Array, b: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.floor_divide(a, b)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        return None, None

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str] | None:
        return [to.add("Floor", to.add("Div", *inputs))] if types[0].dtype.is_float else None

    def emit(self, k: Kernel, a: Vector, b: Vector) -> Vector:
        return self.parts(k, a, b)[0]

    def notation(self, *operands: Expression) -> Expression:
        return Expression(f"⌊{operands[0].within(PRODUCT)} / {operands[1].within(PRODUCT + 1)}⌋")


@register
@dataclass(frozen=True)
class Remainder(WholeDivision):
    """y = a − b · ⌊a / b⌋, which has the sign of b"""

    def reference(self, a: Array, b: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.remainder(a, b)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (a, b), (dy,) = inputs, output_gradients
        return dy, (-(dy * floor(a / b)) if needed[1] else None)

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        if not types[0].dtype.is_float:
            return [to.add("Mod", *inputs)]
        a, b = inputs
        return [to.add("Sub", a, to.add("Mul", to.add("Floor", to.add("Div", a, b)), b))]

    def emit(self, k: Kernel, a: Vector, b: Vector) -> Vector:
        return self.parts(k, a, b)[1]

    def notation(self, *operands: Expression) -> Expression:
        return infix(" mod ", PRODUCT, operands[0], operands[1])


Operand = Value | float


def divide(a: Operand, b: Operand, rounding_mode: str | None = None) -> Value:
    """Return a / b, elementwise; shapes broadcast as in NumPy.

    a and b are both float32 or both float64, but a Python number or an array of bools takes the dtype of the other
    operand. With the ``rounding_mode`` None, the quotient is not rounded. "floor" rounds down, as ``floor_divide``
    does, and "trunc" rounds towards 0. Rounded quotients have no gradient. Raises ShapeError if the shapes do not
    broadcast, DTypeError for other combinations of dtypes, and OptionError for another rounding mode.
    """
    if rounding_mode is not None:
        choice("divide: rounding_mode", rounding_mode, ("floor", "trunc"))
    if rounding_mode == "floor":
        return floor_divide(a, b)
    quotient = elementwise(Divide(), a, b)
    if rounding_mode is None:
        return quotient
    return where(less(quotient, 0.0), ceil(quotient), floor(quotient))


def floor_divide(a: Operand, b: Operand) -> Value:
    """Return ⌊a / b⌋, the same as ``a // b``, elementwise; shapes broadcast as in NumPy.

    a and b are both float32 or both float64, but a Python number or an array of bools takes the dtype of the other
    operand. Where b is 0, the result is ±∞, or NaN if a is 0 too. There is no gradient. Raises ShapeError if the shapes
    do not broadcast, and DTypeError for other combinations of dtypes.
    """
    return elementwise(FloorDivide(), a, b)


def remainder(a: Operand, b: Operand) -> Value:
    """Return a − b · ⌊a / b⌋, the same as ``a % b``, elementwise; the result has the sign of b.

    a and b are both float32 or both float64, but a Python number or an array of bools takes the dtype of the other
    operand. Shapes broadcast as in NumPy. The result is NaN where b is 0 or a is infinite. Raises ShapeError if the
    shapes do not broadcast, and DTypeError for other combinations of dtypes.
    """
    return elementwise(Remainder(), a, b)


operators.update(floor_divide=floor_divide, remainder=remainder)
