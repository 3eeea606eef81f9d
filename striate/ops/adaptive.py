"""Adaptive pooling: averages and maxima over windows that are chosen so that the output has a given size.

The size of the output need not divide the size of the input. "Positions" are the elements along the spatial axes.
``windows`` is the number of windows along each spatial axis, and so the size of the output.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, overload

import numpy as np

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import Index
from striate.codegen.launch import Launch
from striate.errors import GraphError, OptionError
from striate.graph.elementwise import cast
from striate.graph.onnx import OnnxWriter
from striate.graph.op import Gradients, Kind, Needed, PositionSets, Purpose, Sample, Values, register
from striate.graph.value import Array, DType, TensorType, Value
from striate.ops import kernels
from striate.ops.anchor import Anchor, LoweringContext
from striate.ops.average_pooling import AveragePooling, global_avg_pool
from striate.ops.axis_map import AxisMap, Row, Run, Scalar, Terms, transposed
from striate.ops.mapped import Mapped, Maps, rows_read, three_axes
from striate.ops.max_pooling import PositionedMaxPooling
from striate.ops.requirement import require_floats, require_positions, shape_error
from striate.ops.shaping import expanded, filled
from striate.ops.unbatched import over_samples, position_axes
from striate.ops.window import LARGEST, Sizes, positions, times
from striate.options import flag, whole_number

AdaptiveSizes = int | None | Sequence[int | None]


@dataclass(frozen=True)
class AdaptiveAxis(AxisMap):
    """The linear map along one axis in which y[p] is the mean of window p of x.

    Window p holds the elements i with ⌊p · size / windows⌋ ≤ i < ⌈(p + 1) · size / windows⌉. Neighbouring windows share
    at most one element. ``size`` is the size of x along the axis, and ``windows`` is the size of y.
    """

    windows: int

    @property
    def count(self) -> int:
        return self.windows

    @property
    def most(self) -> int:
        return -(-self.size // max(1, self.windows)) + 1

    @property
    def most_transposed(self) -> int:
        return -(-self.windows // self.size) + 1

    def span(self, p: int) -> tuple[int, int]:
        """Return the range of the elements of window p: (first, one past the last)."""
        return p * self.size // self.windows, -(-(p + 1) * self.size // self.windows)

    def row(self, p: int) -> Row:
        first, stop = self.span(p)
        return tuple((i, 1 / (stop - first)) for i in range(first, stop))

    def range(self, k: Kernel, p: Index) -> tuple[Index, Index]:
        """Write the code that computes ``span(p)`` in a kernel; return its two results: (first, one past the last)."""
        start = k.idiv(k.imul(p, self.size), self.windows)
        return start, k.idiv(k.iadd(k.imul(p, self.size), self.size + self.windows - 1), self.windows)

    def holders(self, k: Kernel, i: Index) -> tuple[Index, Index]:
        """Write the code that finds the windows that contain element i; return the range (first, one past the last)."""
        first = k.idiv(k.imul(i, self.windows), self.size)
        return first, k.idiv(k.iadd(k.imul(i, self.windows), self.windows + self.size - 1), self.size)

    def _share(self, k: Kernel, p: Index, dtype: DType) -> Scalar:
        start, stop = self.range(k, p)
        length = k.convert(k.as_index(k.isub(stop, start)), dtype)
        return k.div(k.constant_like(length, 1), length)

    def terms(self, k: Kernel, p: Index, dtype: DType) -> Terms:
        return Run(*self.range(k, p), share=self._share(k, p, dtype))

    def transposed_terms(self, k: Kernel, i: Index, dtype: DType) -> Terms:
        return Run(*self.holders(k, i), weight=lambda p: self._share(k, p, dtype))


def _axes(size: Sizes, windows: Sizes) -> tuple[AdaptiveAxis, ...]:
    return tuple(AdaptiveAxis(length, count) for length, count in zip(size, windows, strict=True))


@dataclass(frozen=True)
class AdaptiveAveraging(Mapped):
    """Base class of adaptive average pooling and its gradient (abstract).

    ``windows`` is the number of windows along each spatial axis.
    """

    windows: Sizes

    def label(self, inputs: Sequence[TensorType]) -> str:
        return f"{self.title} to {times(self.windows)}"


@register
@dataclass(frozen=True)
class AdaptiveAveragePooling(AdaptiveAveraging):
    """y[n, c, p] = mean of x[n, c, i] over all i with ⌊p · size / windows⌋ ≤ i < ⌈(p + 1) · size / windows⌉

    x is (N, C, positions…). Along each spatial axis, p is the index of a window, and i the index of an element of x;
    ``size`` is the size of x, and ``windows`` is the size of y.
    """

    title: ClassVar[str] = "adaptive average pool"

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        _require_adaptive(self, inputs[0], self.windows)
        return (self.mapped(inputs[0]),)

    def maps(self, size: Sizes) -> Maps:
        return _axes(size, self.windows)

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        """Export as AveragePool if ``windows`` divides the size of x on every axis, else as matrix products.

        In the second case, x is multiplied along each axis by a constant matrix (size, windows), which holds the
        weights of the means. ``inputs`` are the names of the inputs in the ONNX graph; the result holds the name of the
        output.
        """
        size = positions(types[0])
        if all(length % count == 0 for length, count in zip(size, self.windows, strict=True)):
            kernel = [length // count for length, count in zip(size, self.windows, strict=True)]
            return [to.add("AveragePool", inputs[0], kernel_shape=kernel, strides=kernel)]
        x, rank = inputs[0], types[0].rank
        for axis, one in enumerate(self.maps(size), 2):
            shares = np.zeros((one.size, one.count), types[0].dtype.numpy)
            for p in range(one.count):
                for i, share in one.row(p):
                    shares[i, p] = share
            order = [*range(axis), *range(axis + 1, rank), axis]
            back = [order.index(place) for place in range(rank)]
            x = to.add(
                "Transpose", to.add("MatMul", to.add("Transpose", x, perm=order), to.constant(shares)), perm=back
            )
        return [x]

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), dy = inputs, expanded(output_gradients[0], outputs[0])
        return (AdaptiveAveragePoolingGradient(self.windows, positions(x.type))(dy),)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape, windows in _EXAMPLES:
            yield Sample(cls(windows), (random.standard_normal(shape),))


@register
@dataclass(frozen=True)
class AdaptiveAveragePoolingGradient(AdaptiveAveraging):
    """dx[n, c, i] = Σ_p dy[n, c, p] / (size of window p), over the windows p that contain position i

    dx and dy are the gradients with respect to the input and the output of adaptive average pooling. ``size`` is the
    size of the input along each spatial axis.
    """

    title: ClassVar[str] = "adaptive average pool gradient"
    size: Sizes

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (_input_of(self, inputs[0], self.windows, self.size),)

    def maps(self, size: Sizes) -> Maps:
        return tuple(map(transposed, _axes(self.size, self.windows)))

    def on_empty(self, *inputs: Value) -> tuple[Value, ...]:
        """Return a gradient of zeros if dy has no elements: without windows, the loss does not depend on the input."""
        return (filled(0.0, self.infer(inputs[0].type)[0]),)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        return (AdaptiveAveragePooling(self.windows)(expanded(output_gradients[0], outputs[0])),)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape, windows in _EXAMPLES:
            yield Sample(cls(windows, shape[2:]), (random.standard_normal((*shape[:2], *windows)),))


@dataclass(frozen=True)
class AdaptiveMaximum(Anchor):
    """Base class of adaptive max pooling and its gradient (abstract).

    ``windows`` is the number of windows along each spatial axis.
    """

    kind: ClassVar[Kind] = Kind.WINDOW
    has_epilogue: ClassVar[bool] = True
    windows: Sizes

    @property
    def purpose(self) -> Purpose:
        return Purpose.WINDOW

    def label(self, inputs: Sequence[TensorType]) -> str:
        return f"{self.title} to {times(self.windows)}"

    def reads_bfloat16(self, inputs: Sequence[Value], value: Value) -> bool:
        return True


@register
@dataclass(frozen=True)
class AdaptiveMaxPooling(AdaptiveMaximum):
    """y[n, c, p] = maximum of x[n, c, i] over all i with ⌊p · size / windows⌋ ≤ i < ⌈(p + 1) · size / windows⌉

    x is (N, C, positions…). Along each spatial axis, p is the index of a window, and i the index of an element of x;
    ``size`` is the size of x, and ``windows`` is the size of y. The second output holds the position of the first
    maximum of each window, as a row-major index into the positions of x. It is int32 and has the shape of y. NaN counts
    as larger than every number.
    """

    title: ClassVar[str] = "adaptive max pool"

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        (x,) = inputs
        _require_adaptive(self, x, self.windows)
        y = x.with_shape((*x.shape[:2], *self.windows))
        return y, y.with_dtype(DType.int32)

    def positions_read(self, types: Sequence[TensorType], number: int, positions: PositionSets) -> PositionSets | None:
        return rows_read(_axes(types[0].concrete(1)[2:], self.windows), positions)

    def lower(self, context: LoweringContext) -> list[Launch]:
        (x,), (_, index) = context.node.inputs, context.node.outputs
        axes = _axes(positions(x.type), self.windows)
        source, numbers = context.storage(x), context.storage(index)
        kernel = kernels.adaptive.AdaptiveMaxWindows(source, numbers, three_axes(axes), context.region)
        operands = (x, index, *context.region_operands)
        return [Launch(self.title, context.node.path, kernel, operands, context.domain.chunks)]

    def reference(self, x: Array) -> tuple[Array, Array]:
        y = np.empty((*x.shape[:2], *self.windows), x.dtype)
        index = np.empty(y.shape, np.int32)
        places = np.arange(np.prod(x.shape[2:])).reshape(x.shape[2:])
        axes = _axes(x.shape[2:], self.windows)
        for p in itertools.product(*map(range, self.windows)):
            window = tuple(slice(*axis.span(one)) for axis, one in zip(axes, p, strict=True))
            held = x[(..., *window)].reshape(*x.shape[:2], places[window].size)
            first = np.argmax(held, axis=-1)  # the first NaN, if the window contains NaN
            y[(..., *p)] = np.take_along_axis(held, first[..., None], -1)[..., 0]
            index[(..., *p)] = places[window].ravel()[first]
        return y, index

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str] | None:
        """Export as MaxPool if ``windows`` divides the size of x on every axis, else reduce one axis after the other.

        In the second case, the elements of each window are gathered, padded to the longest window by repeating their
        last element, and reduced by ReduceMax. Returns the names of the two outputs. Only MaxPool exports the indices;
        in the second case, their name is "".
        """
        size, x = positions(types[0]), inputs[0]
        if all(length % count == 0 for length, count in zip(size, self.windows, strict=True)):
            kernel = [length // count for length, count in zip(size, self.windows, strict=True)]
            y, flat = to.add_outputs(2, "MaxPool", x, kernel_shape=kernel, strides=kernel)
            place = to.add("Mod", flat, to.constant(np.array(math.prod(size), np.int64)))
            return [y, to.cast(place, DType.int32)]
        for axis, (length, count) in enumerate(zip(size, self.windows, strict=True), 2):
            bounds = [(p * length // count, -(-(p + 1) * length // count)) for p in range(count)]
            longest = max(end - start for start, end in bounds)
            taken = [[min(start + tap, end - 1) for tap in range(longest)] for start, end in bounds]
            windows = to.add("Gather", x, to.constant(np.array(taken)), axis=axis)
            x = to.add("ReduceMax", windows, to.integers(axis + 1), keepdims=0)
        return [x, ""]

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Gradients, needed: Needed) -> Gradients:
        (x,), (y, index), (dy, _) = inputs, outputs, output_gradients
        if dy is None:
            return (None,)
        return (AdaptiveMaxPoolingGradient(self.windows, positions(x.type))(expanded(dy, y), index),)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape, windows in _EXAMPLES:
            yield Sample(cls(windows), (random.standard_normal(shape),))


@register
@dataclass(frozen=True)
class AdaptiveMaxPoolingGradient(AdaptiveMaximum):
    """dx[n, c, i] = Σ_p dy[n, c, p], over the windows p whose first maximum is at position i

    dx and dy are the gradients with respect to the input and the output of adaptive max pooling. Inputs: dy and the
    indices that the forward pass returned. ``size`` is the size of the forward input along each spatial axis.
    """

    title: ClassVar[str] = "adaptive max pool gradient"
    size: Sizes

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        dy, index = inputs
        if index.shape != dy.shape:
            raise shape_error(self, f"got dy {dy}, index {index}", "give the shapes of the forward pass")
        return (_input_of(self, dy, self.windows, self.size),)

    def lower(self, context: LoweringContext) -> list[Launch]:
        dy, index = context.node.inputs
        axes = _axes(self.size, self.windows)
        arriving, numbers = context.storage(dy), context.storage(index)
        kernel = kernels.adaptive.AdaptiveMaxGradient(arriving, numbers, three_axes(axes), context.region)
        operands = (dy, index, *context.region_operands)
        return [Launch(self.title, context.node.path, kernel, operands, context.domain.chunks)]

    def on_empty(self, *inputs: Value) -> tuple[Value, ...]:
        """Return a gradient of zeros if dy has no elements: without windows, the loss does not depend on the input."""
        return (filled(0.0, self.infer(*(value.type for value in inputs))[0]),)

    def reference(self, dy: Array, index: Array) -> Array:
        dx = np.zeros((*dy.shape[:2], int(np.prod(self.size))), dy.dtype)
        n, c = np.indices(dy.shape[:2])
        for p in itertools.product(*map(range, self.windows)):
            np.add.at(dx, (n, c, index[(..., *p)]), dy[(..., *p)])
        return dx.reshape(*dy.shape[:2], *self.size)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        raise GraphError(f"{self}: second derivatives of max pooling are not implemented")

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape, windows in _EXAMPLES:
            _, index = AdaptiveMaxPooling(windows).reference(random.standard_normal(shape))
            op = cls(windows, shape[2:])
            yield Sample(op, (random.standard_normal(index.shape), index), differentiable=(False, False))


_EXAMPLES: list[tuple[tuple[int, ...], Sizes]] = [
    ((2, 3, 7, 5), (3, 2)),
    ((1, 17, 5, 9), (4, 9)),
    ((2, 1, 3, 2), (5, 7)),  # more windows than elements
    ((1, 3, 1, 1), (1, 1)),
    ((2, 3, 10), (3,)),
    ((1, 2, 17, 23), (2, 1)),  # large windows
    ((1, 2, 3, 5, 4), (2, 3, 3)),
]


def _require_adaptive(op: Anchor, x: TensorType, windows: Sizes) -> None:
    require_floats(op, [x])
    require_positions(op, x)
    if x.rank - 2 != len(windows):
        raise shape_error(op, f"{len(windows)} sizes for {x}", "give one size for each spatial axis")
    if 0 in x.shape[2:]:
        raise shape_error(op, f"there are no positions in {x}", "use larger images")


def _input_of(op: Anchor, dy: TensorType, windows: Sizes, size: Sizes) -> TensorType:
    """Return the type of the gradient dx of an input with ``size`` positions, from that of dy.

    Raises ``ShapeError`` if the forward pass could not have returned an output of the type of dy.
    """
    x = dy.with_shape((*dy.shape[:2], *size))
    _require_adaptive(op, x, windows)
    if dy.shape[2:] != windows:
        raise shape_error(op, f"pooling to {windows} does not return {dy}", "give the shape of the forward pass")
    return x


def output_sizes(what: str, output_size: AdaptiveSizes, rank: int) -> tuple[int | None, ...]:
    """Return ``output_size`` as a tuple with one entry for each of ``rank`` spatial axes.

    A single number, or None, applies to all axes. An entry of None, which stands for the size of the input, stays None.
    Raises ``OptionError`` if the number of entries is not ``rank``, and for entries that are neither None nor whole
    numbers of 0 or more. ``what`` is the function or layer that the error names.
    """
    given: tuple[object, ...] = (output_size,) * rank
    if isinstance(output_size, Sequence) and not isinstance(output_size, str | bytes):
        given = tuple(output_size)
    if len(given) != rank:
        raise OptionError(f"{what}: output_size must be one number or {rank}, one for each axis, not {output_size!r}")
    return tuple(None if one is None else whole_number(f"{what}: output_size", one, 0, LARGEST) for one in given)


def _windows(what: str, x: TensorType, output_size: AdaptiveSizes) -> Sizes:
    require_positions(what, x)
    sizes = positions(x)
    given = output_sizes(what, output_size, len(sizes))
    return tuple(size if one is None else one for one, size in zip(given, sizes, strict=True))


def adaptive_avg_pool(input: Value, output_size: AdaptiveSizes) -> Value:
    """Return the means of windows, chosen so that the output has ``output_size`` positions along each spatial axis.

    ``input`` is a batch (N, C, positions…) with one to three spatial axes, or one sample (C, positions…), in float32 or
    float64. Only the sizes of the spatial axes change. ``output_size`` is one number for all axes or one for each; None
    keeps the size of the input. Along an axis of ``size`` elements, output p is the mean of the elements i with
    ⌊p · size / output_size⌋ ≤ i < ⌈(p + 1) · size / output_size⌉. If ``output_size`` is a sequence, its length is the
    number of spatial axes; otherwise an input of two axes is one sample (C, L), and any other input is a batch. Raises
    ShapeError for another number of axes or an axis of size 0, DTypeError for another dtype, and OptionError for an
    ``output_size`` of another form.
    """

    def of_batch(x: Value) -> Value:
        windows, size = _windows("adaptive_avg_pool", x.type, output_size), positions(x.type)
        _require_adaptive(AdaptiveAveragePooling(windows), x.type, windows)
        if all(count == 1 for count in windows):
            return global_avg_pool(x)
        if _divides(size, windows):
            return AveragePooling(*_equal(size, windows), False, True)(x)
        return AdaptiveAveragePooling(windows)(x)

    return over_samples(of_batch, input, position_axes(input.type, output_size))


@overload
def adaptive_max_pool(input: Value, output_size: AdaptiveSizes, return_indices: Literal[False] = False) -> Value: ...


@overload
def adaptive_max_pool(
    input: Value, output_size: AdaptiveSizes, return_indices: Literal[True]
) -> tuple[Value, Value]: ...


def adaptive_max_pool(
    input: Value, output_size: AdaptiveSizes, return_indices: bool = False
) -> Value | tuple[Value, Value]:
    """Return the maxima of windows, chosen so that the output has ``output_size`` positions along each spatial axis.

    Shapes, dtypes, windows and ``output_size`` are as in ``adaptive_avg_pool``. The maximum of a window that contains
    NaN is NaN. If several elements of a window are the largest, the first one receives the gradient. With
    ``return_indices``, the result is (maxima, indices). ``indices`` (int64, in the shape of the maxima) holds the
    row-major index of each maximum among the positions of its channel. Raises the same errors as ``adaptive_avg_pool``.
    """

    def of_batch(x: Value) -> tuple[Value, Value]:
        windows, size = _windows("adaptive_max_pool", x.type, output_size), positions(x.type)
        _require_adaptive(AdaptiveMaxPooling(windows), x.type, windows)
        if _divides(size, windows):
            return PositionedMaxPooling(*_equal(size, windows), False)(x)
        y, place = AdaptiveMaxPooling(windows)(x)
        return y, cast(place, DType.int64)

    indices = flag("adaptive_max_pool: return_indices", return_indices)
    y, place = over_samples(of_batch, input, position_axes(input.type, output_size))
    return (y, place) if indices else y


def global_max_pool(input: Value) -> Value:
    """Return the maximum of each channel over all positions: (N, C, positions…) → (N, C, 1…).

    The input has one to three spatial axes and is float32 or float64. The maximum of a channel that contains NaN is
    NaN. If several elements are the largest, the first one receives the gradient. Raises ShapeError for another number
    of axes or an axis of size 0, and DTypeError for another dtype.
    """
    require_positions("global_max_pool", input.type)
    return adaptive_max_pool(input, 1)


def _divides(size: Sizes, windows: Sizes) -> bool:
    return all(count and length % count == 0 for length, count in zip(size, windows, strict=True))


def _equal(size: Sizes, windows: Sizes) -> tuple[Sizes, tuple[tuple[int, int], ...], Sizes, Sizes]:
    """Return (stride, padding, kernel, dilation) of ordinary pooling if ``windows`` divides ``size``."""
    kernel = tuple(length // count for length, count in zip(size, windows, strict=True))
    return kernel, ((0, 0),) * len(kernel), kernel, (1,) * len(kernel)
