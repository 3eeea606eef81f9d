"""The reductions min, argmax, argmin, logsumexp, any, all and prod over one or several axes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import Vector
from striate.codegen.region_writer import Place
from striate.codegen.words import element_words
from striate.graph.elementwise import cast as cast_to
from striate.graph.onnx import OnnxWriter
from striate.graph.op import Composite, Gradients, Kind, Needed, Op, Sample, Values, register
from striate.graph.operand import constant
from striate.graph.reshape import reshape
from striate.graph.value import Array, Batch, DType, TensorType, Value, operators
from striate.ops.arithmetic import exp, log, minimum
from striate.ops.comparison import equal, greater, isfinite, isnan, logical_or, not_equal, where
from striate.ops.elementary import floor
from striate.ops.reduction import Max, Reduction, Sum, dropped, reduction, shared_gradient
from striate.ops.requirement import N_STAYS, Axes, require_axes, require_axis, require_floats, shape_error
from striate.ops.shaping import product
from striate.options import flag


@register
@dataclass(frozen=True)
class Min(Reduction):
    """y = min x over the axes; NaN where any element is NaN

    Reduced axes are kept with size 1. If several elements are the smallest, the gradient is divided equally among them.
    Where y is NaN, the gradient is NaN. The minimum of 0 elements is ∞.
    """

    onnx_operator: ClassVar[str] = "ReduceMin"
    neutral: ClassVar[float] = math.inf
    empty_result: ClassVar[float] = math.inf

    def partial(self, k: Kernel, vectors: Sequence[Vector]) -> list[Vector]:
        return [k.convert(k.tree(k.min, vectors), DType.float64)]

    def merge(self, k: Kernel, a: Sequence[Vector], b: Sequence[Vector]) -> list[Vector]:
        return [k.min(one, other) for one, other in zip(a, b, strict=True)]

    def reference(self, x: Array) -> Array:
        return np.min(x, axis=self.axes, keepdims=True, initial=np.inf)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (y,), (dy,) = inputs, outputs, output_gradients
        return (shared_gradient(self.axes, greater(x, y), y, dy),)


@register
@dataclass(frozen=True)
class Prod(Reduction):
    """y = Π x over the axes; 1 for 0 elements

    Reduced axes are kept with size 1. The derivative with respect to an element is the product of all other elements.
    """

    title: ClassVar[str] = "product"
    onnx_operator: ClassVar[str] = "ReduceProd"
    neutral: ClassVar[float] = 1.0
    empty_result: ClassVar[float] = 1.0

    def partial(self, k: Kernel, vectors: Sequence[Vector]) -> list[Vector]:
        return [k.tree(k.mul, [k.convert(x, DType.float64) for x in vectors])]

    def merge(self, k: Kernel, a: Sequence[Vector], b: Sequence[Vector]) -> list[Vector]:
        return [k.mul(one, other) for one, other in zip(a, b, strict=True)]

    def reference(self, x: Array) -> Array:
        with np.errstate(over="ignore"):
            return np.prod(x, axis=self.axes, keepdims=True, dtype=np.float64).astype(x.dtype)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (dy,) = inputs, output_gradients
        zero = equal(x, 0)
        filled = where(zero, constant(1.0, x.dtype), x)
        rest = Prod(self.axes)(filled)  # the product of the elements that are not 0
        zeros = Sum(self.axes)(cast_to(zero, x.dtype))
        nothing = constant(0.0, x.dtype)
        of_zero = where(equal(zeros, 1), rest, nothing)
        of_others = where(equal(zeros, 0), rest, nothing) / filled
        return (dy * where(zero, of_zero, of_others),)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for axes, shape in (((0, 2), (3, 17, 5)), ((1,), (2, 3, 4)), ((0, 1), (5, 3)), ((3,), (2, 3, 1, 18))):
            yield Sample(cls(axes), (random.choice([-1.5, -0.5, 0.5, 1.0, 2.0], shape),))
        some = random.choice([-1.5, 0.0, 0.5, 2.0], (3, 4, 6))
        yield Sample(cls((2,)), (some,), differentiable=(False,))


@register
@dataclass(frozen=True)
class Positions(Op):
    """y = the index of each element along an axis, counted from 0, as float64

    y has the shape of the input x, whose elements are not read. ``size`` is the size of the axis. ``apart`` is the
    distance of neighbouring elements along the axis in row-major order, which is the product of the later sizes. If
    both are 0, the axis is axis 0, whose size may be known only at run time.
    """

    kind: ClassVar[Kind] = Kind.RANDOM
    size: int
    apart: int

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        (x,) = inputs
        if x.rank < 2:
            raise shape_error(self, f"expected an array of two axes or more, got {x}", "reshape (N,) to (N, 1)")
        return (x.with_dtype(DType.float64),)

    def emit_at(self, k: Kernel, place: Place) -> Vector:
        """Write the code that computes, for one vector of elements, their indices along the axis; return the indices.

        ``k`` is the kernel to which the code is added, and ``place`` says where in the array the elements are.
        """
        if not self.size:
            return k.splat(k.convert(k.as_index(place.n), DType.float64))
        element = element_words(k, place)
        return k.convert(element.divided(self.apart).modulo(self.size).value, DType.float64)

    def reference(self, x: Array) -> Array:
        if not self.size:
            rows = np.arange(x.shape[0], dtype=np.float64)
            return np.array(np.broadcast_to(rows.reshape(-1, *(1,) * (x.ndim - 1)), x.shape))
        element = np.arange(math.prod(x.shape[1:]))
        return np.array(np.broadcast_to((element // self.apart % self.size).reshape(x.shape[1:]), x.shape), np.float64)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        return (None,)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for size, apart, shape in (
            (0, 0, (3, 17, 2)), (17, 1, (2, 17)), (17, 10, (3, 17, 2, 5)), (5, 1, (3, 17, 2, 5)), (3, 4, (1, 2, 3, 4)),
        ):  # fmt: skip
            yield Sample(cls(size, apart), (random.standard_normal(shape),))


@dataclass(frozen=True)
class ExtremePlace(Composite):
    """Base class of argmax and argmin (abstract): the index of the first largest or smallest element, as int64.

    The search is along ``axis``, which is kept with size 1. If there is a NaN, the result is the index of the first
    NaN. Along axis 0 of a batch of N = 0 samples, the result is 0. There is no gradient.
    """

    least: ClassVar[float]  # a number that is never the extreme if there are others
    axis: int

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        (x,) = inputs
        require_floats(self, [x])
        if not 0 <= self.axis < x.rank or not x.rank >= 2:
            raise shape_error(self, f"axis {self.axis} does not exist in {x}", f"axes run from 0 to {x.rank - 1}")
        return (TensorType(DType.int64, tuple(1 if one == self.axis else dim for one, dim in enumerate(x.shape))),)

    def extreme(self, x: Value) -> Value:
        """Return the largest or the smallest element along the axis, which is kept with size 1."""
        raise NotImplementedError

    def first(self, x: Value) -> Value:
        """Return the index of the first largest or smallest element of x, as the operation does, for any dtype of x.

        The operation itself takes only floats. This method compares integers exactly.
        """
        if x.dtype.is_float:
            return self(x)
        if x.dtype is not DType.int64:
            return self(cast_to(x, DType.float64))
        # float64 cannot represent every int64. So compare x // 2³² first, and the rest where this quotient is extreme.
        # Rounding x to float64 may make the quotient too large by one: it still never decreases as x grows.
        high = minimum(floor(cast_to(x, DType.float64) * 2.0**-32), 2.0**31 - 1)
        rest = cast_to(x - cast_to(high, DType.int64) * 2**32, DType.float64)
        return self(where(equal(high, self.extreme(high)), rest, self.least))

    def expand(self, *inputs: Value) -> tuple[Value, ...]:
        (x,) = inputs
        size, apart = (x.shape[self.axis], product(x.shape[self.axis + 1 :])) if self.axis else (0, 0)
        candidates = logical_or(equal(x, self.extreme(x)), isnan(x))
        places = where(candidates, Positions(cast(int, size), apart)(x), math.inf)
        first = Min((self.axis,))(places)
        return (cast_to(where(isfinite(first), first, 0.0), DType.int64),)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        return (None,)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for axis, shape in ((1, (2, 17)), (0, (5, 3)), (1, (2, 17, 3, 2)), (3, (2, 3, 1, 18)), (1, (1, 1))):
            yield Sample(cls(axis), (random.integers(-3, 4, shape) / 2,), differentiable=(False,))


@register
@dataclass(frozen=True)
class ArgMax(ExtremePlace):
    """y = the index of the first largest element along an axis, kept with size 1; NaN counts as largest"""

    least: ClassVar[float] = -math.inf

    def extreme(self, x: Value) -> Value:
        return Max((self.axis,))(x)

    def reference(self, x: Array) -> Array:
        return np.argmax(x, axis=self.axis, keepdims=True) if x.shape[self.axis] else np.zeros(_kept(x, self.axis), int)

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        return [to.add("ArgMax", *inputs, axis=self.axis, keepdims=1)]


@register
@dataclass(frozen=True)
class ArgMin(ExtremePlace):
    """y = the index of the first smallest element along an axis, kept with size 1; NaN counts as smallest"""

    least: ClassVar[float] = math.inf

    def extreme(self, x: Value) -> Value:
        return Min((self.axis,))(x)

    def reference(self, x: Array) -> Array:
        return np.argmin(x, axis=self.axis, keepdims=True) if x.shape[self.axis] else np.zeros(_kept(x, self.axis), int)

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        return [to.add("ArgMin", *inputs, axis=self.axis, keepdims=1)]


def _kept(x: Array, axis: int) -> tuple[int, ...]:
    return tuple(1 if one == axis else size for one, size in enumerate(x.shape))


@register
@dataclass(frozen=True)
class LogSumExp(Composite):
    """y = ln Σ eˣ over the axes, which are kept with size 1; −∞ for 0 elements"""

    axes: tuple[int, ...]

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (Sum(self.axes).infer(*inputs)[0],)

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        return [to.add("ReduceLogSumExp", inputs[0], to.integers(*self.axes), keepdims=1)]

    def expand(self, *inputs: Value) -> tuple[Value, ...]:
        (x,) = inputs
        largest = Max(self.axes)(x)
        shift = where(isfinite(largest), largest, 0.0)
        return (log(Sum(self.axes)(exp(x - shift))) + shift,)

    def reference(self, x: Array) -> Array:
        with np.errstate(all="ignore"):
            largest = np.max(x, axis=self.axes, keepdims=True, initial=-np.inf)
            shift = np.where(np.isfinite(largest), largest, 0).astype(np.float64)
            total = np.sum(np.exp(x - shift), axis=self.axes, keepdims=True)
            return np.asarray(np.log(total) + shift, x.dtype)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (y,), (dy,) = inputs, outputs, output_gradients
        return (dy * exp(x - where(equal(y, -math.inf), constant(0.0, y.dtype), y)),)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for axes, shape in (((1,), (2, 17, 3)), ((0, 2), (3, 5, 2)), ((0, 1), (2, 33)), ((2,), (2, 3, 18))):
            yield Sample(cls(axes), (random.standard_normal(shape) * 3,))


def min(x: Value, axis: Axes = None, keepdims: bool = False) -> Value:
    """Return the smallest element of x over one axis, several axes, or all (None).

    The result is NaN if any element is NaN. With ``keepdims``, reduced axes remain with size 1. x is float32 or
    float64. If several elements are the smallest, the gradient is divided equally among them. Raises DTypeError for
    another dtype, ShapeError for an axis that x does not have or that has size 0, and OptionError for axes that are not
    whole numbers. If the number of samples N is 0 at run time, the result over axis 0 is ∞.
    """
    axes = require_axes("min", x.type, axis)
    if 0 in [x.shape[one] for one in axes]:
        raise shape_error("min", f"the minimum of 0 elements is undefined: {x.type} over axes {axes}", "give elements")
    return dropped(reduction(Min(axes), x), axes, keepdims)


def prod(x: Value, axis: Axes = None, keepdims: bool = False) -> Value:
    """Return the product of the elements of x over one axis, several axes, or all (None).

    The result for 0 elements is 1. With ``keepdims``, reduced axes remain with size 1. x is float32 or float64. The
    gradient is also correct where elements are 0. Raises DTypeError for another dtype, ShapeError for an axis that x
    does not have, and OptionError for axes that are not whole numbers.
    """
    axes = require_axes("prod", x.type, axis)
    return dropped(reduction(Prod(axes), x), axes, keepdims)


def logsumexp(x: Value, axis: Axes = None, keepdims: bool = False) -> Value:
    """Return ln Σ eˣ over one axis, several axes, or all (None), without overflow; −∞ for 0 elements.

    With ``keepdims``, reduced axes remain with size 1. x is float32 or float64. Raises DTypeError for another dtype,
    ShapeError for an axis that x does not have, and OptionError for axes that are not whole numbers.
    """
    op = LogSumExp(require_axes("logsumexp", x.type, axis))
    op.infer(x.type)
    return dropped(op(x) if op.axes else x, op.axes, keepdims)


def argmax(x: Value, axis: int | None = None, keepdims: bool = False) -> Value:
    """Return the index of the first largest element along an axis, as int64; NaN counts as largest.

    With ``axis=None``, the result is the row-major index among all elements. With ``keepdims``, the axis remains with
    size 1. x has any dtype. There is no gradient. Raises ShapeError for an axis that x does not have or that has size
    0, and for ``axis=None`` if x is a batch whose number of samples N is known only at run time. Raises OptionError
    unless ``axis`` is a whole number or None. If N is 0 at run time, the result along axis 0 is 0.
    """
    return _place("argmax", ArgMax, x, axis, keepdims)


def argmin(x: Value, axis: int | None = None, keepdims: bool = False) -> Value:
    """Return the index of the first smallest element along an axis, as int64; NaN counts as smallest.

    With ``axis=None``, the result is the row-major index among all elements. With ``keepdims``, the axis remains with
    size 1. x has any dtype. There is no gradient. Raises ShapeError for an axis that x does not have or that has size
    0, and for ``axis=None`` if x is a batch whose number of samples N is known only at run time. Raises OptionError
    unless ``axis`` is a whole number or None. If N is 0 at run time, the result along axis 0 is 0.
    """
    return _place("argmin", ArgMin, x, axis, keepdims)


def _place(what: str, kind: type[ExtremePlace], x: Value, axis: int | None, keepdims: bool) -> Value:
    flag(f"{what}: keepdims", keepdims)
    if axis is None:
        if x.type.batched:
            raise shape_error(what, f"an element of {x.type} has no number while N is unknown; give an axis", N_STAYS)
        shape = (1,) * x.type.rank if keepdims else ()
        flat = reshape(x, (1, x.type.size()))
        return reshape(_place(what, kind, flat, 1, True), shape)
    at = require_axis(what, x.type, axis)
    size = x.shape[at]
    if size == 0:
        raise shape_error(what, f"there is no place among 0 elements: {x.type} over axis {at}", "give elements")
    kept = 1 if isinstance(x.shape[0], Batch) and at else 0
    sizes = (product(x.shape[kept:at]), size, product(x.shape[at + 1 :]))
    if 2 <= x.type.rank <= 5:
        found = kind(at).first(x)
    elif at == 0:
        found = kind(0).first(reshape(x, (size, product(x.shape[1:]))))
    else:
        found = kind(kept + 1).first(reshape(x, (*x.shape[:kept], *sizes)))
    shape = [1 if one == at else dim for one, dim in enumerate(x.shape)]
    return reshape(found, tuple(dim for one, dim in enumerate(shape) if keepdims or one != at))


def any(x: Value, axis: Axes = None, keepdims: bool = False) -> Value:
    """Return a bool: whether any element of x over one axis, several axes, or all (None) is not 0.

    NaN counts as not 0. The result for 0 elements is false. With ``keepdims``, reduced axes remain with size 1. x has
    any dtype. There is no gradient. Raises ShapeError for an axis that x does not have, and OptionError for axes that
    are not whole numbers.
    """
    axes = require_axes("any", x.type, axis)
    found = reduction(Max(axes), _truth(x))
    return dropped(greater(found, 0), axes, keepdims)


def all(x: Value, axis: Axes = None, keepdims: bool = False) -> Value:
    """Return a bool: whether all elements of x over one axis, several axes, or all (None) are not 0.

    NaN counts as not 0. The result for 0 elements is true. With ``keepdims``, reduced axes remain with size 1. x has
    any dtype. There is no gradient. Raises ShapeError for an axis that x does not have, and OptionError for axes that
    are not whole numbers.
    """
    axes = require_axes("all", x.type, axis)
    found = reduction(Min(axes), _truth(x))
    return dropped(greater(found, 0), axes, keepdims)


def _truth(x: Value) -> Value:
    """Return 1 where x is not 0, else 0, as float32."""
    return cast_to(x if x.dtype is DType.bool else not_equal(x, 0), DType.float32)


operators.update(min=min)
