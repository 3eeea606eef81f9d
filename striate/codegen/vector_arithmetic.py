"""Arithmetic of vectors in kernels: constants, elementwise functions, comparisons, and moves between lanes."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from striate.codegen import ir, vector_error_function, vector_math, vector_power, vector_trigonometry
from striate.codegen.control import Control
from striate.codegen.ir import I1, I8, I32, I64
from striate.codegen.lanes import ELEMENTS, LANES, Index, lane_number, vector_type
from striate.dtypes import DType


@functools.cache
def _splat_parts(element: ir.Type, lanes: int) -> tuple[ir.Value, ir.Value]:
    """Return an undefined vector of these elements, and the shuffle mask that copies lane 0 into every lane."""
    return ir.undefined(ir.VectorType(element, lanes)), ir.zero(ir.VectorType(I32, lanes))


_TRANSPOSING = tuple(
    (ir.vector(I32, low), ir.vector(I32, high))
    for low, high in (
        ((0, 8, 1, 9, 4, 12, 5, 13), (2, 10, 3, 11, 6, 14, 7, 15)),
        ((0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15)),
        ((0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15)),
    )
)
"""The lanes of two vectors of 8 lanes that the low and the high result of each step of a transposition takes."""

_ASCENDING = ir.vector(I64, range(LANES))
"""The vector 0, 1, 2, …, 15."""


def _integral(type: ir.Type) -> bool:
    return isinstance(ir.element_of(type), ir.IntType)


class VectorArithmetic(Control):
    """The base class of ``Kernel`` that computes with vectors in registers.

    A method that "returns a + b" writes the instructions that compute a + b, and returns the LLVM value of the result.
    """

    def splat(self, scalar: Any, lanes: int = LANES) -> Any:
        """Return a vector of ``lanes`` lanes with ``scalar`` in every lane."""
        undefined, zeros = _splat_parts(scalar.type, lanes)
        first = self.builder.insert_element(undefined, scalar, lane_number(0))
        return self.builder.shuffle_vector(first, undefined, zeros)

    def filled(self, x: Any) -> Any:
        """Return a vector of ``LANES`` lanes: first those of ``x``, which may have fewer, and then zeros."""
        count = x.type.count
        if count == LANES:
            return x
        order = ir.vector(I32, [*range(count), *[count] * (LANES - count)])
        return self.builder.shuffle_vector(x, self.constant_like(x, 0), order)

    def mask(self, count: Index) -> Any:
        """Return the mask (a bool for each lane) that is true in the first ``count`` lanes."""
        if isinstance(count, int):
            return ir.vector(I1, [int(lane < count) for lane in range(LANES)])
        return self.builder.icmp_signed("<", _ASCENDING, self.splat(count))

    def lane_is(self, number: Index) -> Any:
        """Return the mask that is true only in lane ``number``, and false everywhere if there is no such lane."""
        return self.builder.icmp_signed("==", _ASCENDING, self.splat(self.as_index(number)))

    def constant(self, number: float, dtype: DType, lanes: int = LANES) -> Any:
        """Return a vector of ``lanes`` lanes with ``number`` in every lane, as ``dtype`` (as float32 for bfloat16)."""
        return ir.splat(vector_type(dtype, lanes), float(number) if dtype.computed.is_float else int(number))

    def constant_like(self, x: Any, number: float) -> Any:
        """Return a constant of the type of ``x``: ``number``, or a vector with ``number`` in every lane."""
        return ir.splat(x.type, int(number) if _integral(x.type) else float(number))

    def add(self, a: Any, b: Any) -> Any:
        """Return a + b in each lane; integers wrap around."""
        return self.builder.add(a, b) if _integral(a.type) else self.builder.fadd(a, b)

    def sub(self, a: Any, b: Any) -> Any:
        """Return a − b in each lane; integers wrap around."""
        return self.builder.sub(a, b) if _integral(a.type) else self.builder.fsub(a, b)

    def mul(self, a: Any, b: Any) -> Any:
        """Return a · b in each lane; integers wrap around."""
        return self.builder.mul(a, b) if _integral(a.type) else self.builder.fmul(a, b)

    def div(self, a: Any, b: Any) -> Any:
        """Return a / b in each lane; both must be of a float type."""
        return self.builder.fdiv(a, b)

    def neg(self, a: Any) -> Any:
        """Return −a in each lane; a must be of a float type."""
        return self.builder.fneg(a)

    def add_exactly(self, a: Any, b: Any) -> tuple[Any, Any]:
        """Return (s, e): the rounded sum s = a + b and its rounding error e, so s + e = a + b exactly.

        The algorithm is Knuth's two-sum (1969).
        """
        total = self.add(a, b)
        second = self.sub(total, a)
        return total, self.add(self.sub(a, self.sub(total, second)), self.sub(b, second))

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """Return a · b + c in each lane, rounded only once; all three must be of a float type."""
        return self.builder.intrinsic("llvm.fma", a, b, c)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """Return a · b + c in each lane, for floats; rounded once if the processor can do so, otherwise twice.

        Use this method for sums of products. On a processor without the instruction (x86-64-v2), this method is much
        faster than ``fma``, which calls a function for each lane.
        """
        return self.builder.intrinsic("llvm.fmuladd", a, b, c)

    def abs(self, a: Any) -> Any:
        """Return |a| in each lane; a must be of a float type."""
        return self.builder.intrinsic("llvm.fabs", a)

    def sqrt(self, a: Any) -> Any:
        """Return √a in each lane, correctly rounded."""
        return self.builder.intrinsic("llvm.sqrt", a)

    def round(self, a: Any) -> Any:
        """Return the nearest whole number in each lane, as a float; ties go to the even number."""
        return self.builder.intrinsic("llvm.roundeven", a)

    def floor(self, a: Any) -> Any:
        """Return the largest whole number ≤ a in each lane, as a float."""
        return self.builder.intrinsic("llvm.floor", a)

    def ceil(self, a: Any) -> Any:
        """Return the smallest whole number ≥ a in each lane, as a float."""
        return self.builder.intrinsic("llvm.ceil", a)

    def exp(self, a: Any) -> Any:
        """Return eᵃ in each lane; ``vector_math`` states the accuracy."""
        return vector_math.exp(self.builder, a)

    def log(self, a: Any) -> Any:
        """Return ln a in each lane; ``vector_math`` states the accuracy."""
        return vector_math.log(self.builder, a)

    def expm1(self, a: Any) -> Any:
        """Return eᵃ − 1 in each lane, accurate near 0; ``vector_math`` states the accuracy."""
        return vector_math.expm1(self.builder, a)

    def log1p(self, a: Any) -> Any:
        """Return ln(1 + a) in each lane, accurate near 0; ``vector_math`` states the accuracy."""
        return vector_math.log1p(self.builder, a)

    def power(self, a: Any, b: Any) -> Any:
        """Return aᵇ in each lane; ``vector_power`` states the accuracy and the special cases."""
        return vector_power.power(self.builder, a, b)

    def sin(self, a: Any) -> Any:
        """Return sin a in each lane (NaN beyond ±2⁴⁵); ``vector_trigonometry`` states the accuracy."""
        return vector_trigonometry.sin(self.builder, a)

    def cos(self, a: Any) -> Any:
        """Return cos a in each lane (NaN beyond ±2⁴⁵); ``vector_trigonometry`` states the accuracy."""
        return vector_trigonometry.cos(self.builder, a)

    def tan(self, a: Any) -> Any:
        """Return tan a in each lane (NaN beyond ±2⁴⁵); ``vector_trigonometry`` states the accuracy."""
        return vector_trigonometry.tan(self.builder, a)

    def erf(self, a: Any) -> Any:
        """Return the error function erf a in each lane; ``vector_error_function`` states the accuracy."""
        return vector_error_function.erf(self.builder, a)

    def normal_cdf(self, a: Any) -> Any:
        """Return Φ(a), the distribution function of a standard normal variable, in each lane.

        ``vector_error_function`` states the accuracy.
        """
        return vector_error_function.normal_cdf(self.builder, a)

    def tanh(self, a: Any) -> Any:
        """Return tanh a in each lane; ``vector_math`` states the accuracy."""
        return vector_math.tanh(self.builder, a)

    def sigmoid(self, a: Any) -> Any:
        """Return 1 / (1 + e⁻ᵃ) in each lane; ``vector_math`` states the accuracy."""
        return vector_math.sigmoid(self.builder, a)

    def cos_pi(self, a: Any) -> Any:
        """Return cos(πa) in each lane, only for 0 ≤ a ≤ 1; ``vector_math`` states the accuracy."""
        return vector_math.cos_pi(self.builder, a)

    def max(self, a: Any, b: Any) -> Any:
        """Return max(a, b) in each lane; NaN if either is NaN."""
        larger = self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)
        return self.builder.select(self.builder.fcmp_unordered("uno", a, a), a, larger)

    def min(self, a: Any, b: Any) -> Any:
        """Return min(a, b) in each lane; NaN if either is NaN."""
        smaller = self.builder.select(self.builder.fcmp_ordered("<", a, b), a, b)
        return self.builder.select(self.builder.fcmp_unordered("uno", a, a), a, smaller)

    def greater(self, a: Any, b: Any) -> Any:
        """Return the condition a > b in each lane, false for NaN; both must be of a float type."""
        return self.builder.fcmp_ordered(">", a, b)

    def compared(self, a: Any, sign: str, b: Any) -> Any:
        """Return the condition a ``sign`` b in each lane, for floats, integers or bools.

        ``sign`` is "<", "<=", "==", "!=", ">=" or ">". If a or b is NaN, only ``!=`` holds.
        """
        if _integral(a.type):
            unsigned = ir.element_of(a.type) == I8  # uint8, and bools
            return (self.builder.icmp_unsigned if unsigned else self.builder.icmp_signed)(sign, a, b)
        return (self.builder.fcmp_unordered if sign == "!=" else self.builder.fcmp_ordered)(sign, a, b)

    def holds(self, x: Any) -> Any:
        """Return ``x``, bools loaded from memory (bytes that are 0 or 1), as an LLVM condition (type i1)."""
        return self.builder.icmp_unsigned("!=", x, self.constant_like(x, 0))

    def truth(self, condition: Any) -> Any:
        """Return an LLVM condition (type i1) as bools in the form of memory: bytes that are 0 or 1."""
        return ir.Truth(self.builder.zext(condition, ir.like(condition.type, I8)), condition)

    def not_less_equal(self, a: Any, b: Any) -> Any:
        """Return the condition not (a ≤ b) in each lane; unlike a > b, it is true for NaN."""
        return self.builder.fcmp_unordered(">", a, b)

    def is_finite(self, a: Any) -> Any:
        """Return in each lane whether |a| < ∞, which is false for NaN."""
        return self.builder.fcmp_ordered("<", self.abs(a), self.constant_like(a, math.inf))

    def is_wide(self, a: Any) -> bool:
        """Return whether the elements of ``a``, a vector or scalar, are float64."""
        return ir.element_of(a.type) is ir.DOUBLE

    def is_nan(self, a: Any) -> Any:
        """Return in each lane whether a is NaN."""
        return self.builder.fcmp_unordered("uno", a, a)

    def choose(self, condition: Any, a: Any, b: Any) -> Any:
        """Return a if the condition holds, else b; the condition is a single bool for all lanes.

        If the condition is a Python bool, no instruction is written.
        """
        if isinstance(condition, bool):
            return a if condition else b
        return self.builder.select(condition, a, b)

    def select(self, condition: Any, a: Any, b: Any) -> Any:
        """Return a in the lanes where the condition holds, and b in the other lanes."""
        return self.builder.select(condition, a, b)

    def convert(self, x: Any, dtype: DType) -> Any:
        """Return ``x``, a vector or scalar, converted to ``dtype``.

        uint8 is unsigned; int32 and int64 are signed. Conversion to bool gives x ≠ 0.
        """
        if dtype is DType.bool:
            return self.truth(self.compared(x, "!=", self.constant_like(x, 0)))
        source, target = ir.element_of(x.type), ELEMENTS[dtype]
        type = ir.like(x.type, target)
        if source == target:
            return x
        if isinstance(source, ir.IntType) and isinstance(target, ir.IntType):
            if source.width > target.width:
                return self.builder.trunc(x, type)
            return self.builder.zext(x, type) if source.width == 8 else self.builder.sext(x, type)
        if isinstance(source, ir.IntType):
            if isinstance(x, ir.Truth):  # LLVM would make integers of the mask and convert them: two instructions more
                return self.select(x.condition, ir.splat(type, 1.0), ir.splat(type, 0.0))
            return self.builder.uitofp(x, type) if source.width == 8 else self.builder.sitofp(x, type)
        if isinstance(target, ir.IntType):
            return self.builder.fptoui(x, type) if target.width == 8 else self.builder.fptosi(x, type)
        return self.builder.fpext(x, type) if target is ir.DOUBLE else self.builder.fptrunc(x, type)

    def add_lanes(self, x: Any) -> Any:
        """Return the sum of all lanes as a scalar; the order of additions is fixed."""
        return self.fold_lanes(x, self.add)

    def tree(self, combine: Callable[[Any, Any], Any], values: Sequence[Any]) -> Any:
        """Return ``values`` combined by ``combine(a, b)`` in a balanced binary tree.

        A tree has a smaller rounding error than a chain, and many independent instructions.
        """
        level = list(values)
        while len(level) > 1:
            pairs = [combine(a, b) for a, b in zip(level[::2], level[1::2], strict=False)]
            level = pairs + level[len(pairs) * 2 :]
        return level[0]

    def fold_lanes(self, x: Any, combine: Callable[[Any, Any], Any]) -> Any:
        """Return all lanes of ``x`` combined by ``combine(a, b)`` into a scalar, in a fixed order."""
        return self.fold_lanes_together([x], lambda a, b: [combine(a[0], b[0])])[0]

    def fold_lanes_together(self, xs: Sequence[Any], combine: Callable[[list[Any], list[Any]], list[Any]]) -> list[Any]:
        """Combine all lanes of each of several vectors into a scalar, in a fixed order; return the scalars.

        ``combine`` takes two lists and returns a list. Each of these lists has one value for every vector.
        """
        folded, width = list(xs), LANES
        undefined = ir.undefined(folded[0].type)
        while width > 1:
            width //= 2
            moved = ir.vector(I32, [(lane + width) % LANES for lane in range(LANES)])
            folded = combine(folded, [self.builder.shuffle_vector(x, undefined, moved) for x in folded])
        return [self.builder.extract_element(x, lane_number(0)) for x in folded]

    def lane(self, x: Any, number: int) -> Any:
        """Return lane ``number`` of the vector ``x`` as a scalar."""
        return self.builder.extract_element(x, lane_number(number))

    def transposed(self, rows: Sequence[Any]) -> list[Any]:
        """Return the columns of the matrix whose rows are 8 vectors of 8 lanes, each as a vector."""
        (low, high), *others = _TRANSPOSING
        shuffled = self.builder.shuffle_vector
        pairs = [shuffled(rows[i], rows[i + 1], order) for i in (0, 2, 4, 6) for order in (low, high)]
        (low, high), halves = others
        quads = [
            shuffled(pairs[i + j], pairs[i + j + 2], order) for i in (0, 4) for j in (0, 1) for order in (low, high)
        ]
        return [shuffled(quads[j], quads[j + 4], order) for order in halves for j in range(4)]

    def permuted(self, vectors: Mapping[int, Any], lanes: Sequence[tuple[int, int] | None]) -> Any:
        """Return a vector whose lanes are picked from several vectors.

        If ``lanes[i]`` is (number, j), lane i of the result is lane j of ``vectors[number]``. If ``lanes[i]`` is None,
        lane i is undefined.
        """
        first, *others = sorted({lane[0] for lane in lanes if lane})
        made = vectors[first]
        where = [lane[1] if lane and lane[0] == first else None for lane in lanes]
        if not others and any(place not in (None, i) for i, place in enumerate(where)):
            made = self._shuffled(made, ir.undefined(made.type), where)
        for number in others:
            mask = [LANES + lane[1] if lane and lane[0] == number else place for place, lane in zip(where, lanes)]
            made = self._shuffled(made, vectors[number], mask)
            where = [None if place is None else i for i, place in enumerate(mask)]
        return made

    def _shuffled(self, a: Any, b: Any, mask: Sequence[int | None]) -> Any:
        """Return a vector whose lane i is lane ``mask[i]`` of the 32 lanes of a and b; None means any lane."""
        numbers = [i if place is None else place for i, place in enumerate(mask)]
        return self.builder.shuffle_vector(a, b, ir.vector(I32, numbers))
