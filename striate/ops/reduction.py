"""Sums, means, moments and maxima over axes.

The operations keep reduced axes as axes of size 1; the functions may drop them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from striate.codegen.kernel import Kernel, Vector
from striate.graph.arithmetic import constant, elementwise, reshape
from striate.graph.notation import PRODUCT, Expression
from striate.graph.op import Gradients, Kind, Needed, Node, Op, Sample, Values, register
from striate.graph.value import Array, DType, Shape, TensorType, Value
from striate.ops.arithmetic import Greater
from striate.ops.requirement import require_floats, shape_error
from striate.ops.shaping import expanded


@dataclass(frozen=True)
class Reduction(Op):
    """Base of reductions over ``axes``, which stay as axes of size 1 (abstract)."""

    kind: ClassVar[Kind] = Kind.REDUCTION
    partials: ClassVar[int] = 1
    neutral: ClassVar[float] = 0.0
    axes: tuple[int, ...]

    def partial(self, k: Kernel, vectors: Sequence[Vector]) -> list[Vector]:
        """What a tile of vectors adds to the partial sums: ``partials`` vectors of float64."""
        raise NotImplementedError

    def merge(self, k: Kernel, a: Vector, b: Vector) -> Vector:
        """Two partial sums joined."""
        return k.add(a, b)

    def finish(self, k: Kernel, sums: Sequence[Vector], count: Vector) -> list[Vector]:
        """The outputs as float64, from the joined partial sums and the number of elements."""
        return list(sums)

    def reduced(self, x: TensorType) -> TensorType:
        """The type of x with the axes shrunk to 1."""
        require_floats(self, [x])
        if list(self.axes) != sorted(set(self.axes)) or any(not 0 <= axis < x.rank for axis in self.axes):
            raise shape_error(self, f"axes {self.axes} do not exist in {x}", "name each axis once, in order, from 0")
        return x.with_shape(tuple(1 if axis in self.axes else dim for axis, dim in enumerate(x.shape)))

    def elements(self, x: TensorType) -> tuple[int, bool]:
        """(elements over the axes but N, whether N is among them)."""
        known = math.prod(dim for axis in self.axes if isinstance(dim := x.shape[axis], int))
        return known, x.batched and 0 in self.axes

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (self.reduced(inputs[0]),)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        yield Sample(cls((0, 2, 3)), (random.standard_normal((3, 17, 2, 5)),))
        yield Sample(cls((1,)), (random.standard_normal((2, 3, 4)),))
        yield Sample(cls((0,)), (random.standard_normal((5, 3)),))
        yield Sample(cls((0, 1, 2)), (random.standard_normal((1, 1, 1)),))
        yield Sample(cls((2, 3, 4)), (random.standard_normal((2, 3, 1, 2, 3)),))


def reduction_of(node: Node) -> Reduction:
    """The reduction that a node of that kind applies."""
    assert isinstance(node.op, Reduction)
    return node.op


@register
@dataclass(frozen=True)
class Sum(Reduction):
    """y = Σ x over the axes"""

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

    Where several elements are the largest they share the gradient.
    """

    neutral: ClassVar[float] = -math.inf

    def partial(self, k: Kernel, vectors: Sequence[Vector]) -> list[Vector]:
        return [k.convert(k.tree(k.max, vectors), DType.float64)]

    def merge(self, k: Kernel, a: Vector, b: Vector) -> Vector:
        return k.max(a, b)

    def reference(self, x: Array) -> Array:
        return np.max(x, axis=self.axes, keepdims=True)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (y,), (dy,) = inputs, outputs, output_gradients
        largest = 1 - elementwise(Greater(), y, x)
        return (largest * (dy / Sum(self.axes)(largest)),)


@register
@dataclass(frozen=True)
class Moments(Reduction):
    """μ = (1/n) Σ x, σ² = (1/n) Σ (x − μ)² over the axes

    Returns (mean, biased variance). Computed in float64 whatever x's dtype, so that a large mean costs no accuracy.
    """

    results: ClassVar[tuple[str, ...]] = ("mean", "variance")
    partials: ClassVar[int] = 2

    def partial(self, k: Kernel, vectors: Sequence[Vector]) -> list[Vector]:
        """Σx and Σx² of a tile, by way of its deviations from its first element s:

        Σx = T·s + Σ(x − s),   Σx² = Σ(x − s)² + s·(Σx + Σ(x − s)),   the outer sums in float64.
        """
        wide = DType.float64
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

    def finish(self, k: Kernel, sums: Sequence[Vector], count: Vector) -> list[Vector]:
        mean = k.div(sums[0], count)
        variance = k.sub(k.div(sums[1], count), k.mul(mean, mean))
        return [mean, k.max(variance, k.constant_like(variance, 0.0))]

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        small = self.reduced(inputs[0])
        return small, small

    def reference(self, x: Array) -> tuple[Array, Array]:
        wide = x.astype(np.float64)
        mean = np.mean(wide, axis=self.axes, keepdims=True)
        variance = np.mean((wide - mean) ** 2, axis=self.axes, keepdims=True)
        return mean.astype(x.dtype), variance.astype(x.dtype)

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

    Reads the size of x alone; it differs from a constant because N is known only when the program runs.
    """

    kind: ClassVar[Kind] = Kind.SIZE

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (self.reduced(inputs[0]).with_shape(()),)

    def reference(self, x: Array) -> Array:
        return np.asarray(math.prod(x.shape[axis] for axis in self.axes), x.dtype)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        return (None,)

    def known_result(self, inputs: Sequence[TensorType]) -> Expression:
        count, batched = self.elements(inputs[0])
        if not batched:
            return Expression(str(count))
        return Expression("N") if count == 1 else Expression(f"{count}·N", PRODUCT)


Axis = int | tuple[int, ...] | None


def _axes(what: str, x: Value, axis: Axis) -> tuple[int, ...]:
    rank = x.type.rank
    chosen = tuple(range(rank)) if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
    if any(not -rank <= one < rank for one in chosen):
        raise shape_error(what, f"axis {axis} does not exist in {x.type}", f"axes run from 0 to {rank - 1}")
    return tuple(sorted({one % rank for one in chosen}))


def _dropped(x: Value, axes: tuple[int, ...], keepdims: bool) -> Value:
    shape: Shape = tuple(dim for axis, dim in enumerate(x.shape) if axis not in axes)
    return x if keepdims else reshape(x, shape)


def numel(x: Value, axis: Axis = None) -> Value:
    """The number of elements over the axes, as a scalar of x's dtype; a constant unless it depends on N."""
    axes = _axes("numel", x, axis)
    sizes = [x.shape[one] for one in axes]
    known = [size for size in sizes if isinstance(size, int)]
    return constant(math.prod(known), x.dtype) if len(known) == len(sizes) else Numel(axes)(x)


def sum(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """Σ x over one axis, several, or all. Float in, the same float out; raises ShapeError for an axis x lacks."""
    axes = _axes("sum", x, axis)
    return _dropped(Sum(axes)(x) if axes else x, axes, keepdims)


def mean(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """(1/n) Σ x over one axis, several, or all. Float in, the same float out; raises ShapeError for a missing axis."""
    axes = _axes("mean", x, axis)
    return _dropped(Sum(axes)(x) / numel(x, axes) if axes else x, axes, keepdims)


def moments(x: Value, axis: Axis = None, keepdims: bool = False) -> tuple[Value, Value]:
    """Mean and biased variance (1/n) Σ (x − μ)² over one axis, several, or all; raises ShapeError."""
    axes = _axes("moments", x, axis)
    average, variance = Moments(axes)(x)
    return _dropped(average, axes, keepdims), _dropped(variance, axes, keepdims)


def max(x: Value, axis: Axis = None, keepdims: bool = False) -> Value:
    """The largest element over one axis, several, or all; NaN where there is one. Raises ShapeError."""
    axes = _axes("max", x, axis)
    return _dropped(Max(axes)(x) if axes else x, axes, keepdims)
