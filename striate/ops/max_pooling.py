"""Maximum pooling over sliding windows, in one to three dimensions, and its gradient."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, overload

import numpy as np

from striate.codegen.launch import KernelSpec, Launch
from striate.codegen.storage import spatial
from striate.errors import GraphError
from striate.graph.elementwise import cast
from striate.graph.onnx import OnnxWriter
from striate.graph.op import Composite, Gradients, Needed, PositionSets, Purpose, Sample, Values, register
from striate.graph.value import Array, DType, TensorType, Value
from striate.ops import kernels
from striate.ops.anchor import LoweringContext
from striate.ops.elementary import floor
from striate.ops.extremes import Positions
from striate.ops.pooling import Pooling, entering, examples, window_geometry
from striate.ops.requirement import shape_error
from striate.ops.shaping import expanded
from striate.ops.unbatched import over_samples, position_axes
from striate.ops.window import (
    Padding,
    PerAxis,
    Sizes,
    Windowed,
    padded,
    positions,
    reach,
    tap_slices,
    taps,
    window_positions,
)
from striate.options import flag

if TYPE_CHECKING:
    from striate.ops.kernels.large_pooling import LargeMaxGradient


@register
@dataclass(frozen=True)
class MaxPooling(Pooling):
    """y[n, c, p] = max_k x[n, c, p · stride + k · dilation − before]

    x (N, C, positions…) → (y, index), both (N, C, windows…). k runs over the elements of window p, and ``before`` is
    the padding before each axis of x. ``index`` is the number of the window's first maximum among the elements of the
    window, counted from 0 in row-major order. Its dtype is uint8, or int32 for windows of more than 255 elements.
    Padding is never the maximum. NaN counts as larger than every number.
    """

    title: ClassVar[str] = "max pool"

    @property
    def index_dtype(self) -> DType:
        """The dtype of the output ``index``: uint8 if a window has up to 255 elements, else int32."""
        return DType.uint8 if np.prod(self.kernel) <= 255 else DType.int32

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        y = self.pooled(inputs[0])
        return y, y.with_dtype(self.index_dtype)

    def positions_read(self, types: Sequence[TensorType], number: int, positions: PositionSets) -> PositionSets | None:
        return window_positions(positions, self.kernel, self.stride, self.padding, self.dilation)

    def accepts_prologue(self) -> bool:
        """Return whether elementwise operations on the input may be fused: only if the windows do not overlap."""
        return all(step >= span for step, span in zip(self.stride, reach(self.kernel, self.dilation), strict=True))

    def lower(self, context: LoweringContext) -> list[Launch]:
        (x,), (_, index) = context.node.inputs, context.node.outputs
        part = self.windows_of(positions(x.type))
        prologue, given, more = entering(context, x)
        source, numbers = context.storage(x), context.storage(index)
        kernel = (
            kernels.large_pooling.LargeMaxWindows(source, numbers, part, context.region, prologue)
            if self.large
            else kernels.pooling.MaxWindows(source, numbers, part, spatial(self.kernel), context.region, prologue)
        )
        operands = (*given, index, *context.region_operands, *more)
        return [Launch("max pooling", context.node.path, kernel, operands, context.domain.chunks)]

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        return [to.add("MaxPool", *inputs, **self.onnx_attributes(), dilations=self.dilation), ""]

    def reference(self, x: Array) -> tuple[Array, Array]:
        size: Sizes = x.shape[2:]
        count, extra = self.output_sizes(size), self.overhang(size)
        source = padded(x, self.padding, -np.inf, extra)
        real = padded(np.ones(x.shape, bool), self.padding, 0, extra)
        where = [tap_slices(tap, count, self.stride, self.dilation) for _, tap in taps(self.kernel)]
        values, valid = np.stack([source[s] for s in where]), np.stack([real[s] for s in where])
        y = values.max(axis=0)
        largest = valid & ((values == y) | np.isnan(values))
        return y, np.argmax(largest, axis=0).astype(self.index_dtype.numpy)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Gradients, needed: Needed) -> Gradients:
        (x,), (y, index), (dy, _) = inputs, outputs, output_gradients
        if dy is None:
            return (None,)
        size = positions(x.type)
        rule = MaxPoolingGradient(self.stride, self.padding, self.kernel, self.dilation, self.ceil_mode, size)
        return (rule(expanded(dy, y), index),)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for x, kernel, stride, padding, dilation, ceil_mode in examples(random):
            yield Sample(cls(stride, padding, kernel, dilation, ceil_mode), (x,))


@register
@dataclass(frozen=True)
class MaxPoolingGradient(Pooling):
    """dx[n, c, i] = Σ dy[n, c, p] over the windows p whose first maximum is at position i

    Gradient of ``MaxPooling``. Inputs: dy and the ``index`` of the forward pass, both (N, C, windows…). ``size`` holds
    the spatial sizes of dx.
    """

    size: Sizes

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        dy, index = inputs
        x = dy.with_shape((*dy.shape[:2], *self.size))
        y = self.pooled(x)
        if y != dy or index.shape != dy.shape:
            raise shape_error(
                self, f"pooling returns {y}; got dy {dy}, index {index}", "give the shapes of the forward pass"
            )
        return (x,)

    def lower(self, context: LoweringContext) -> list[Launch]:
        dy, index = context.node.inputs
        arriving, numbers = context.storage(dy), context.storage(index)
        operands = (dy, index, *context.region_operands)
        kernel: KernelSpec
        scratch = 0
        if self.scatters_widely(self.size):
            large: LargeMaxGradient = kernels.large_pooling.LargeMaxGradient(
                arriving, numbers, self.windows_of(self.size), context.region
            )
            kernel, scratch = large, large.scratch_bytes
        else:
            parts = self.holders_of(self.size)
            kernel = kernels.pooling.WindowGradient(
                arriving, numbers, parts, spatial(self.kernel), None, context.region
            )
        return [Launch("max pooling gradient", context.node.path, kernel, operands, context.domain.chunks, scratch)]

    def reference(self, dy: Array, index: Array) -> Array:
        return self.scatter((np.where(index == k, dy, 0) for k, _ in taps(self.kernel)), self.size, dy)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        raise GraphError(f"{self}: second derivatives of max pooling are not implemented")

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for x, kernel, stride, padding, dilation, ceil_mode in examples(random):
            y, index = MaxPooling(stride, padding, kernel, dilation, ceil_mode).reference(x)
            op = cls(stride, padding, kernel, dilation, ceil_mode, x.shape[2:])
            yield Sample(op, (random.standard_normal(y.shape), index), differentiable=(False, False))


@register
@dataclass(frozen=True)
class PositionedMaxPooling(Windowed, Composite):
    """y[n, c, p] = max_k x[n, c, p · stride + k · dilation − before], and the position of the maximum in x

    x (N, C, positions…) → (y, position), both (N, C, windows…). k runs over the elements of window p, and ``before`` is
    the padding before each axis of x. ``position`` is the row-major index of the window's first maximum in its channel
    of x, in int64. Padding is never the maximum. NaN counts as larger than every number.
    """

    title: ClassVar[str] = "max pool"
    kernel: Sizes
    dilation: Sizes
    ceil_mode: bool

    @property
    def purpose(self) -> Purpose:
        return Purpose.WINDOW

    @property
    def pooling(self) -> MaxPooling:
        """The ``MaxPooling`` with the same options; its second output is an index in the window, not in x."""
        return MaxPooling(self.stride, self.padding, self.kernel, self.dilation, self.ceil_mode)

    def label(self, inputs: Sequence[TensorType]) -> str:
        return self.pooling.label(inputs)

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        y, _ = self.pooling.infer(*inputs)
        return y, y.with_dtype(DType.int64)

    def expand(self, *inputs: Value) -> tuple[Value, ...]:
        y, tap = self.pooling(*inputs)
        size, windows = positions(inputs[0].type), positions(y.type)
        rest = cast(tap, DType.float64)  # exact for integers up to 2⁵³
        total: Value | None = None
        for axis in reversed(range(len(size))):
            whole = floor((rest + 0.5) * (1 / self.kernel[axis])) if axis else None
            own = rest if whole is None else rest - whole * self.kernel[axis]
            start = Positions(windows[axis], math.prod(windows[axis + 1 :]))(tap) * self.stride[axis]
            place = (start + own * self.dilation[axis] - self.padding[axis][0]) * math.prod(size[axis + 1 :])
            total = place if total is None else total + place
            rest = rest if whole is None else whole
        assert total is not None
        return y, cast(total, DType.int64)

    def reference(self, x: Array) -> tuple[Array, Array]:
        y, number = self.pooling.reference(x)
        total = np.zeros(y.shape, np.int64)
        tap = np.unravel_index(number, self.kernel)
        for axis, window in enumerate(np.indices(y.shape)[2:]):
            place = window * self.stride[axis] + tap[axis] * self.dilation[axis] - self.padding[axis][0]
            total = total * x.shape[2 + axis] + place
        return y, total

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Gradients, needed: Needed) -> Gradients:
        y, tap = self.pooling(*inputs)  # which the pass that simplifies merges with that of the expansion
        return self.pooling.gradient(inputs, (y, tap), (output_gradients[0], None), needed)

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        """Export as MaxPool; return the names of the two outputs.

        MaxPool of ONNX counts the positions through all samples and channels. A node Mod turns them into positions in
        one channel. ``inputs`` are the names of the inputs in the ONNX graph, and ``types`` their types.
        """
        y, index = to.add_outputs(2, "MaxPool", *inputs, **self.pooling.onnx_attributes(), dilations=self.dilation)
        size = np.array(math.prod(positions(types[0])), np.int64)
        return [y, to.add("Mod", index, to.constant(size))]

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for x, kernel, stride, padding, dilation, ceil_mode in examples(random):
            yield Sample(cls(stride, padding, kernel, dilation, ceil_mode), (x,))


@overload
def max_pool(
    input: Value,
    kernel_size: PerAxis,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
    return_indices: Literal[False] = False,
) -> Value: ...


@overload
def max_pool(
    input: Value,
    kernel_size: PerAxis,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
    *,
    return_indices: Literal[True],
) -> tuple[Value, Value]: ...


def max_pool(
    input: Value,
    kernel_size: PerAxis,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Value | tuple[Value, Value]:
    """Return the largest element of every window, or NaN if it contains NaN; padding is never the maximum.

    ``input`` is a batch (N, C, positions…) with one to three spatial axes, or one sample (C, positions…), in float32 or
    float64; the result is (N, C, windows…) or (C, windows…). ``stride`` is ``kernel_size`` by default, and ``dilation``
    is the distance between the elements of a window. With ``ceil_mode``, there may be incomplete windows at the end of
    an axis. If several elements are the largest, the first one gets the gradient.

    With ``return_indices``, the result is (maxima, indices). ``indices`` is int64 and has the shape of the maxima. Each
    index is the row-major number of the maximum among the positions of its channel in ``input``; ``max_unpool`` takes
    these indices. They have no gradient.

    If an option such as ``kernel_size=(3, 3)`` is a sequence, its length is the number of spatial axes; otherwise an
    input of two axes is one sample (C, L), and any other input is a batch. Raises ShapeError for another number of axes
    and for a window larger than the padded input, DTypeError for another dtype, and OptionError for invalid options,
    such as padding above half the kernel size.
    """
    rounds_up = flag("max_pool: ceil_mode", ceil_mode)
    indices = flag("max_pool: return_indices", return_indices)
    rank = position_axes(input.type, kernel_size, stride, padding, dilation)

    def of_batch(x: Value) -> tuple[Value, Value]:
        geometry = window_geometry("max_pool", x, kernel_size, stride, padding, dilation)
        return (PositionedMaxPooling if indices else MaxPooling)(*geometry, rounds_up)(x)

    y, place = over_samples(of_batch, input, rank)
    return (y, place) if indices else y
