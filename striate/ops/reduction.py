"""Reductions over axes: sums, means, moments (mean and variance) and maxima.

The operations keep the reduced axes with size 1; the functions drop them unless ``keepdims`` is True.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import Vector
from striate.graph.elementwise import elementwise
from striate.graph.notation import PRODUCT, Expression
from striate.graph.onnx import OnnxWriter
from striate.graph.op import Gradients, Kind, Needed, Node, Op, Sample, Values, register
from striate.graph.operand import constant
from striate.graph.reshape import reshape
from striate.graph.value import Array, DType, Shape, TensorType, Value, operators
from striate.ops.arithmetic import Maximum, Minimum
from striate.ops.comparison import greater, where
from striate.ops.requirement import Axes, require_axes, require_floats, shape_error
from striate.ops.shaping import expanded, filled
from striate.options import flag


@dataclass(frozen=True)
class Reduction(Op):
    """Base class of reductions over ``axes``; these axes have size 1 in the output (abstract).

    A kernel reduces each tile of vectors to float64 vectors (``partial``), combines these (``merge``), and finally
    computes the outputs from them (``finish``).
    """

    kind: ClassVar[Kind] = Kind.REDUCTION
    neutral: ClassVar[float] = 0.0
    empty_result: ClassVar[float] = 0.0
    """The result over 0 elements."""
    axes: tuple[int, ...]

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str] | None:
        if not self.onnx_operator:
            return None
        return [to.add(self.onnx_operator, inputs[0], to.integers(*self.axes), keepdims=1)]

    def partials(self, dtype: DType) -> int:
        """Return how many float64 vectors a partial result consists of, for elements of this dtype."""
        return 1

    def partial(self, k: Kernel, vectors: Sequence[Vector]) -> list[Vector]:
        """Emit code that reduces a tile of vectors to float64 vectors, as many as ``partials`` returns."""
        raise NotImplementedError

    def merge(self, k: Kernel, a: Sequence[Vector], b: Sequence[Vector]) -> list[Vector]:
        """Emit code that combines two partial results a and b into one; by default, their sum."""
        return [k.add(one, other) for one, other in zip(a, b, strict=True)]

    def finish(self, k: Kernel, sums: Sequence[Vector], count: Vector) -> list[Vector]:
        """Emit the outputs, in float64, from the complete partial result ``sums`` of ``count`` elements."""
        return list(sums)

    def channels_together(self, x: TensorType) -> int:
        """Return how many neighbouring channels share one result, as in group normalization; 1 by default."""
        return 1

    def reduced(self, x: TensorType) -> TensorType:
        """Return the type of x with size 1 on the reduced axes.

        Raises ``DTypeError`` unless x has a floating-point dtype, and ``ShapeError`` for an axis that x does not have.
        """
        require_floats(self, [x])
        if list(self.axes) != sorted(set(self.axes)) or any(not 0 <= axis < x.rank for axis in self.axes):
            raise shape_error(self, f"axes {self.axes} do not exist in {x}", "name each axis once, in order, from 0")
        return x.with_shape(tuple(1 if axis in self.axes else dim for axis, dim in enumerate(x.shape)))

    def elements(self, x: TensorType) -> tuple[int, bool]:
        """Return (product of the sizes of the reduced axes, whether the symbolic N is one of them).

        N, which is known only when the program runs, is left out of the product.
        """
        known = math.prod(dim for axis in self.axes if isinstance(dim := x.shape[axis], int))
        return known, x.batched and 0 in self.axes

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (self.reduced(inputs[0]),)

    def on_empty(self, *inputs: Value) -> tuple[Value, ...]:
        """Return outputs filled with ``empty_result``, the result over no elements."""
        return tuple(filled(self.empty_result, type) for type in self.infer(*(x.type for x in inputs)))

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        yield Sample(cls((0, 2, 3)), (random.standard_normal((3, 17, 2, 5)),))
        yield Sample(cls((1,)), (random.standard_normal((2, 3, 4)),))
        yield Sample(cls((0,)), (random.standard_normal((5, 3)),))
        yield Sample(cls((0, 1, 2)), (random.standard_normal((1, 1, 1)),))
        yield Sample(cls((2, 3, 4)), (random.standard_normal((2, 3, 1, 2, 3)),))


def reduction_of(node: Node) -> Reduction:
    """Return the operation of ``node``, which must be a ``Reduction``."""
    assert isinstance(node.op, Reduction)
    return node.op


@register
@dataclass(frozen=True)
class Sum(Reduction):
    """y = Σ x over the axes

    The axes keep size 1. Each tile of vectors is summed in the dtype of x, and the sums of the tiles are added in
    float64.
    """

    onnx_operator: ClassVar[str] = "ReduceSum"

    def partial(self, k: Kernel, vectors: Sequence[Vector]) -> list[Vector]:
        return [k.convert(k.tree(k.add, vectors), DType.float64)]

    def reference(self, x: Array) -> Array:
        return np.sum(x, axis=self.axes, keepdims=True, dtype=np.float64).astype(x.dtype)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (dy,) = inputs, output_gradients
        return (expanded(dy, x),)

    def notation(self, *operands: Expression) -> Expression:
        return Expression(f"Σ_p {operands[0].within(PRODUCT)}", PRODUCT)

    def label(self, inputs: Sequence[TensorType]) -> str:
        return "sum"


@register
@dataclass(frozen=True)
class Max(Reduction):
    """y = max x over the axes; NaN where any element is NaN

    The axes keep size 1. If several elements are the largest, the gradient is divided equally among them. Where y is
    NaN, the gradient is NaN too. The maximum of 0 elements is −inf.
    """

    onnx_operator: ClassVar[str] = "ReduceMax"
    neutral: ClassVar[float] = -math.inf
    empty_result: ClassVar[float] = -math.inf

    def partial(self, k: Kernel, vectors: Sequence[Vector]) -> list[Vector]:
        return [k.convert(k.tree(k.max, vectors), DType.float64)]

    def merge(self, k: Kernel, a: Sequence[Vector], b: Sequence[Vector]) -> list[Vector]:
        return [k.max(one, other) for one, other in zip(a, b, strict=True)]

    def reference(self, x: Array) -> Array:
        return np.max(x, axis=self.axes, keepdims=True, initial=-np.inf)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (y,), (dy,) = inputs, outputs, output_gradients
        return (shared_gradient(self.axes, greater(y, x), y, dy),)


def shared_gradient(axes: tuple[int, ...], others: Value, y: Value, dy: Value) -> Value:
    """Return the gradient of an array whose maximum or minimum over the axes is y; dy is the gradient of y.

    The elements that equal y get equal shares of dy. ``others`` is true for the other elements, which get 0. The
    gradient is NaN where y is NaN.
    """
    extreme = where(others, constant(0.0, y.dtype), 1.0)  # also where x is NaN
    bounded = elementwise(Minimum(), elementwise(Maximum(), y, -1.0), 1.0)
    return extreme * (dy / Sum(axes)(extreme) + (bounded - bounded))


@register
@dataclass(frozen=True)
class Moments(Reduction):
    """μ = (1/n) Σ x, σ² = (1/n) Σ (x − μ)² over the axes

    Returns (mean, biased variance) of the n elements, both with size 1 on the axes; NaN over 0 elements. A variance
    that exceeds the range of x's dtype is NaN too, because infinity would silently make the output of a batch
    normalization 0.

    A large mean does not reduce the accuracy. For float32, Σx and Σx² are accumulated in float64, where the squares are
    exact. For float64, each sum is two numbers, the second of which collects the rounding errors of the first (Ogita,
    Rump and Oishi, 2005).
    """

    results: ClassVar[tuple[str, ...]] = ("mean", "variance")
    empty_result: ClassVar[float] = math.nan

    def partials(self, dtype: DType) -> int:
        return 4 if dtype is DType.float64 else 2

    def partial(self, k: Kernel, vectors: Sequence[Vector]) -> list[Vector]:
        """Emit Σx and Σx² over a tile of T vectors, lane by lane.

        For float32, Σx = T·s + Σ(x − s) and Σx² = Σ(x − s)² + s·(Σx + Σ(x − s)), where s is the first vector of the
        tile. Σ(x − s) and Σ(x − s)² are computed in float32, and everything else in float64. For float64, each sum is
        followed by its rounding error, so there are four vectors.
        """
        wide = DType.float64
        if k.is_wide(vectors[0]):
            parts = [self._compensated(k, x) for x in vectors]
            return functools.reduce(lambda a, b: self.merge(k, a, b), parts)
        first = vectors[0]
        shift = k.convert(first, wide)
        if len(vectors) == 1:
            return [shift, k.mul(shift, shift)]
        deviations = [k.sub(x, first) for x in vectors[1:]]
        deviation = k.convert(k.tree(k.add, deviations), wide)
        square = k.mul(deviations[0], deviations[0])
        for d in deviations[1:]:
            square = k.fma(d, d, square)
        total = k.fma(k.constant_like(shift, len(vectors)), shift, deviation)
        return [total, k.fma(shift, k.add(total, deviation), k.convert(square, wide))]

    def _compensated(self, k: Kernel, x: Vector) -> list[Vector]:
        """Emit (x, 0, x², the rounding error of x²): the sums of one vector, each followed by its rounding error."""
        square = k.mul(x, x)
        return [x, k.constant_like(x, 0.0), square, k.fma(x, x, k.neg(square))]

    def merge(self, k: Kernel, a: Sequence[Vector], b: Sequence[Vector]) -> list[Vector]:
        if len(a) == 2:
            return super().merge(k, a, b)
        merged: list[Vector] = []
        for place in (0, 2):
            total, error = k.add_exactly(a[place], b[place])
            merged += [total, k.add(error, k.add(a[place + 1], b[place + 1]))]
        return merged

    def finish(self, k: Kernel, sums: Sequence[Vector], count: Vector) -> list[Vector]:
        if len(sums) == 4:
            return self._finish_compensated(k, sums, count)
        mean = k.div(sums[0], count)
        variance = k.sub(k.div(sums[1], count), k.mul(mean, mean))
        return [mean, _within(k, k.max(variance, k.constant_like(variance, 0.0)), DType.float32)]

    def _finish_compensated(self, k: Kernel, sums: Sequence[Vector], count: Vector) -> list[Vector]:
        """Emit the mean Σx / n and the variance (Σx² − (Σx)² / n) / n from sums with their rounding errors.

        The difference takes the rounding errors of both terms into account.
        """
        sum, sum_error, squares, squares_error = sums
        total, rest = k.add_exactly(sum, sum_error)
        product = k.mul(total, total)
        product_error = k.fma(total, total, k.neg(product))
        product_error = k.fma(k.mul(total, k.constant_like(total, 2.0)), rest, product_error)
        share = k.div(product, count)
        share_error = k.div(k.add(k.fma(k.neg(share), count, product), product_error), count)
        deviations, error = k.add_exactly(squares, k.neg(share))
        deviations = k.add(deviations, k.add(error, k.sub(squares_error, share_error)))
        variance = k.max(k.div(deviations, count), k.constant_like(total, 0.0))
        # Leave the error out where the sum is infinite: there it is NaN.
        mean = k.div(k.select(k.is_finite(sum), total, sum), count)
        return [mean, _within(k, variance, DType.float64)]

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        axes = to.integers(*self.axes)
        mean = to.add("ReduceMean", inputs[0], axes, keepdims=1)
        centred = to.add("Sub", inputs[0], mean)
        return [mean, to.add("ReduceMean", to.add("Mul", centred, centred), axes, keepdims=1)]

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        small = self.reduced(inputs[0])
        return small, small

    def reference(self, x: Array) -> tuple[Array, Array]:
        mean, wide = average_and_variance(x.astype(np.float64), self.axes)
        variance = wide.astype(x.dtype)
        return mean.astype(x.dtype), np.where(np.isinf(variance), np.nan, variance)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Gradients, needed: Needed) -> Gradients:
        (x,), (mean, _), (dmean, dvariance) = inputs, outputs, output_gradients
        count = numel(x, self.axes)
        found = None if dmean is None else dmean / count
        if dvariance is not None:
            spread = (x - mean) * (dvariance * 2 / count)
            found = spread if found is None else spread + found
        return (None if found is None else expanded(found, x),)


@register
@dataclass(frozen=True)
class Numel(Reduction):
    """y = the number of elements over the axes, as a scalar

    The number depends only on the shape of x. It is not a constant if N is known only when the program runs. The result
    has the dtype of x.
    """

    kind: ClassVar[Kind] = Kind.SIZE

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (self.reduced(inputs[0]).with_shape(()),)

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        sizes = to.shape(tuple(types[0].shape[axis] for axis in self.axes))
        return [to.cast(to.add("ReduceProd", sizes, keepdims=0), types[0].dtype)]

    def on_empty(self, *inputs: Value) -> tuple[Value, ...]:
        (x,) = inputs
        known, batched = self.elements(x.type)
        if not batched or not known:
            return (constant(known, x.dtype),)
        return (Numel((0,))(filled(0.0, x.type.with_shape(x.shape[:1]))) * known,)

    def reference(self, x: Array) -> Array:
        return np.asarray(math.prod(x.shape[axis] for axis in self.axes), x.dtype)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        return (None,)

    def known_result(self, inputs: Sequence[TensorType]) -> Expression:
        count, batched = self.elements(inputs[0])
        if not batched:
            return Expression(str(count))
        return Expression("N") if count == 1 else Expression(f"{count}·N", PRODUCT)


def average_and_variance(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Return (mean, biased variance) of x over the axes, in NumPy; the axes keep size 1. NaN over no elements."""
    count = np.float64(math.prod(x.shape[axis] for axis in axes))
    average = np.sum(x, axis=axes, keepdims=True) / count
    return average, np.sum((x - average) ** 2, axis=axes, keepdims=True) / count


def _within(k: Kernel, variance: Vector, dtype: DType) -> Vector:
    """Emit the variance, replaced by NaN where it exceeds the largest number of ``dtype``."""
    largest = k.constant_like(variance, float(np.finfo(dtype.numpy).max))
    return k.select(k.greater(variance, largest), k.constant_like(variance, math.nan), variance)


def reduction(op: Reduction, x: Value) -> Value:
    """Return op(x), or x itself if ``op`` has no axes; raise the errors of ``op`` in both cases."""
    op.infer(x.type)
    return op(x) if op.axes else x


def dropped(x: Value, axes: tuple[int, ...], keepdims: bool) -> Value:
    """Return x without the reduced axes ``axes``, which have size 1; with ``keepdims``, return x as it is."""
    flag("keepdims", keepdims)
    shape: Shape = tuple(dim for axis, dim in enumerate(x.shape) if axis not in axes)
    return x if keepdims else reshape(x, shape)


def numel(x: Value, axis: Axes = None) -> Value:
    """Return the number of elements of x over one axis, several axes, or all (None), as a scalar of x's dtype.

    x is float32 or float64. The result is a constant unless it depends on N and N is known only at run time. Raises
    DTypeError for another dtype, ShapeError for an axis that x does not have, and OptionError for axes that are not
    whole numbers.
    """
    axes = require_axes("numel", x.type, axis)
    sizes = [x.shape[one] for one in axes]
    known = [size for size in sizes if isinstance(size, int)]
    return constant(math.prod(known), x.dtype) if len(known) == len(sizes) else Numel(axes)(x)


def sum(x: Value, axis: Axes = None, keepdims: bool = False) -> Value:
    """Return Σ x over one axis, several axes, or all (None); the sum of no elements is 0.

    x is float32 or float64, and the result has its dtype. Reduced axes are dropped, or keep size 1 with ``keepdims``.
    Raises ShapeError for an axis that x does not have, DTypeError for another dtype, and OptionError for axes that are
    not whole numbers.
    """
    axes = require_axes("sum", x.type, axis)
    return dropped(reduction(Sum(axes), x), axes, keepdims)


def mean(x: Value, axis: Axes = None, keepdims: bool = False) -> Value:
    """Return the mean (1/n) Σ x of the n elements over one axis, several axes, or all (None); NaN if n = 0.

    x is float32 or float64, and the result has its dtype. Reduced axes are dropped, or keep size 1 with ``keepdims``.
    Raises ShapeError for an axis that x does not have, DTypeError for another dtype, and OptionError for axes that are
    not whole numbers.
    """
    axes = require_axes("mean", x.type, axis)
    return dropped(reduction(Sum(axes), x) / numel(x, axes) if axes else reduction(Sum(axes), x), axes, keepdims)


def moments(x: Value, axis: Axes = None, keepdims: bool = False) -> tuple[Value, Value]:
    """Return the mean μ = (1/n) Σ x and the biased variance (1/n) Σ (x − μ)² over some or all axes.

    ``axis`` is one axis, a tuple of axes, or None for all, and n is the number of elements over these axes. x is
    float32 or float64, and both results have its dtype; for n = 0, they are NaN. Reduced axes are dropped, or keep size
    1 with ``keepdims``. Raises ShapeError for an axis that x does not have, DTypeError for another dtype, and
    OptionError for axes that are not whole numbers.
    """
    axes = require_axes("moments", x.type, axis)
    average, variance = Moments(axes)(x)
    return dropped(average, axes, keepdims), dropped(variance, axes, keepdims)


def max(x: Value, axis: Axes = None, keepdims: bool = False) -> Value:
    """Return the largest element over one axis, several axes, or all (None); NaN if an element is NaN.

    x is float32 or float64. Reduced axes are dropped, or keep size 1 with ``keepdims``. If several elements are the
    largest, the gradient is divided equally among them. Raises ShapeError for an axis that x does not have or that has
    size 0, DTypeError for another dtype, and OptionError for axes that are not whole numbers. If N is known only at run
    time and is then 0, the maximum over the samples is −∞.
    """
    axes = require_axes("max", x.type, axis)
    if any(x.shape[one] == 0 for one in axes):
        raise shape_error("max", f"the maximum of 0 elements is undefined: {x.type} over axes {axes}", "give elements")
    return dropped(reduction(Max(axes), x), axes, keepdims)


operators.update(sum=sum, mean=mean, max=max)
