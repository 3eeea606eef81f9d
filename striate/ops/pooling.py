"""Maximum and average over sliding windows, in one to three dimensions, and their gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from striate.codegen.launch import KernelSpec, Launch, Operand
from striate.codegen.storage import spatial
from striate.errors import GraphError
from striate.graph.onnx import Attribute, OnnxWriter
from striate.graph.op import Gradients, Kind, Needed, Positions, Purpose, Sample, Values, register
from striate.graph.value import Array, DType, Shape, TensorType, Value
from striate.ops import kernels
from striate.ops.anchor import Anchor, LoweringContext
from striate.ops.kernels.geometry import Part, forward_part, gradient_parts
from striate.ops.reduction import mean
from striate.ops.requirement import require_floats, require_positions, shape_error
from striate.ops.shaping import expanded
from striate.ops.window import (
    Padding,
    Pairs,
    PerAxis,
    Sizes,
    Windowed,
    cropped,
    onnx_pads,
    padded,
    padding_pairs,
    per_axis,
    reach,
    require_geometry,
    stride_text,
    tap_slices,
    taps,
    times,
    window_count,
    window_positions,
)
from striate.options import flag

MOST_UNROLLED = 32
"""The largest number of taps, or of residues modulo the strides, for which a kernel has separate code for each."""

if TYPE_CHECKING:
    from striate.ops.kernels.large_pooling import LargeMaxGradient
    from striate.ops.kernels.pooling import Prologue, Window


def _positions(shape: Shape) -> Sizes:
    return tuple(dim for dim in shape[2:] if isinstance(dim, int))


@dataclass(frozen=True)
class Pooling(Windowed, Anchor):
    """Base of pooling operations (abstract). ``ceil_mode`` also counts the last, incomplete window."""

    kind: ClassVar[Kind] = Kind.WINDOW
    letters: ClassVar[Mapping[str, str]] = {"stride": "stride", "dilation": "dilation", "before": "padding"}
    has_epilogue: ClassVar[bool] = True
    kernel: Sizes
    dilation: Sizes
    ceil_mode: bool

    def reads_bfloat16(self, inputs: Sequence[Value], value: Value) -> bool:
        return True

    def _before(self) -> tuple[int, int, int]:
        return spatial([before for before, _ in self.padding], 0)

    @property
    def purpose(self) -> Purpose:
        return Purpose.WINDOW

    def label(self, inputs: Sequence[TensorType]) -> str:
        return f"{self.title or self.words()} {times(self.kernel)}{stride_text(self.stride)}"

    @property
    def large(self) -> bool:
        """Whether the forward pass loops over the taps of a window."""
        return math.prod(self.kernel) > MOST_UNROLLED

    def scatters_widely(self, size: Sizes) -> bool:
        """Whether the gradient loops over windows. Otherwise the windows that hold a position are unrolled: they depend
        on the position modulo the stride."""
        residues = math.prod(min(step, length) for step, length in zip(self.stride, size, strict=True))
        return self.large or residues > MOST_UNROLLED

    def windows_of(self, size: Sizes) -> Part:
        """Which inputs each window holds."""
        counts = spatial(self.output_sizes(size))
        return forward_part(spatial(self.kernel), spatial(self.stride), self._before(), spatial(self.dilation), counts)

    def holders_of(self, size: Sizes) -> tuple[Part, ...]:
        """Which windows hold each input."""
        return gradient_parts(
            spatial(self.kernel), spatial(self.stride), self._before(), spatial(self.dilation), spatial(size)
        )

    def onnx_attributes(self) -> Mapping[str, Attribute | None]:
        return {
            "kernel_shape": self.kernel, "strides": self.stride, "pads": onnx_pads(self.padding),
            "ceil_mode": int(self.ceil_mode),
        }  # fmt: skip

    def output_sizes(self, size: Sizes) -> Sizes:
        """Number of windows along every axis of positions."""
        return window_count(self, size, self.kernel, self.stride, self.padding, self.dilation, self.ceil_mode)

    def pooled(self, x: TensorType) -> TensorType:
        """The type of y for an input; raises ``ShapeError``, also where a window would hold only padding."""
        require_floats(self, [x])
        require_positions(self, x)
        require_geometry(
            self, x.rank - 2, kernel=self.kernel, stride=self.stride, padding=self.padding, dilation=self.dilation
        )
        size = _positions(x.shape)
        count = self.output_sizes(size)
        for axis, n in enumerate(count):
            if not all(np.any(self.inside(axis, np.arange(n)[:, None], size[axis]), axis=1)):
                raise shape_error(
                    self, f"a window holds only padding for {x}", "use padding of at most half the kernel"
                )
        return x.with_shape((*x.shape[:2], *count))

    def inside(self, axis: int, window: Array, length: int) -> Array:
        """Whether each tap of each window lies inside the input: (windows, taps of this axis)."""
        start = window * self.stride[axis] - self.padding[axis][0]
        position = start + np.arange(self.kernel[axis]) * self.dilation[axis]
        return (position >= 0) & (position < length)

    def overhang(self, size: Sizes) -> Sizes:
        """How far the last windows reach beyond the padded input (only with ``ceil_mode``)."""
        count, span = self.output_sizes(size), reach(self.kernel, self.dilation)
        return tuple(
            max(0, (n - 1) * s + r - (length + before + after))
            for n, s, r, length, (before, after) in zip(count, self.stride, span, size, self.padding, strict=True)
        )

    def scatter(self, sent: Iterator[Array], size: Sizes, like: Array) -> Array:
        """Adds what every tap contributes to its position in an input of ``size``."""
        shape = (*like.shape[:2], *size)
        target = padded(np.zeros(shape, like.dtype), self.padding, extra=self.overhang(size))
        for (_, tap), values in zip(taps(self.kernel), sent, strict=True):
            target[tap_slices(tap, like.shape[2:], self.stride, self.dilation)] += values
        return cropped(target, self.padding, size)


def entering(context: LoweringContext, x: Value) -> tuple[Prologue | None, tuple[Value, ...], tuple[Operand, ...]]:
    """How the windows read x, computed on entry or from memory; then the operands before and after the region's."""
    if context.prologue is None:
        return None, (x,), ()
    return (
        kernels.pooling.Prologue(context.prologue, len(context.prologue.instructions) - 1),
        (),
        context.prologue_operands,
    )


@register
@dataclass(frozen=True)
class MaxPooling(Pooling):
    """y[n, c, p] = max_k x[n, c, p · stride + k · dilation − before]

    Returns (y, index): the number of the tap that held the first maximum, uint8 (int32 for more than 255 taps).
    Padding is never the maximum. NaN is larger than every number.
    """

    title: ClassVar[str] = "max pool"

    @property
    def index_dtype(self) -> DType:
        """The dtype of the number of a tap."""
        return DType.uint8 if np.prod(self.kernel) <= 255 else DType.int32

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        y = self.pooled(inputs[0])
        return y, y.with_dtype(self.index_dtype)

    def positions_read(self, types: Sequence[TensorType], number: int, positions: Positions) -> Positions | None:
        return window_positions(positions, self.kernel, self.stride, self.padding, self.dilation)

    def accepts_prologue(self) -> bool:
        """Whether elementwise work on the input may run in the window's loop: only if no position is read twice."""
        return all(step >= span for step, span in zip(self.stride, reach(self.kernel, self.dilation), strict=True))

    def lower(self, context: LoweringContext) -> list[Launch]:
        (x,), (_, index) = context.node.inputs, context.node.outputs
        part = self.windows_of(_positions(x.shape))
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
        size = _positions(x.shape)
        rule = MaxPoolingGradient(self.stride, self.padding, self.kernel, self.dilation, self.ceil_mode, size)
        return (rule(expanded(dy, y), index),)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for x, kernel, stride, padding, dilation, ceil_mode in _examples(random):
            yield Sample(cls(stride, padding, kernel, dilation, ceil_mode), (x,))


@register
@dataclass(frozen=True)
class MaxPoolingGradient(Pooling):
    """dx[n, c, i] = Σ dy[n, c, p] over the windows p whose first maximum is at position i"""

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
        for x, kernel, stride, padding, dilation, ceil_mode in _examples(random):
            y, index = MaxPooling(stride, padding, kernel, dilation, ceil_mode).reference(x)
            op = cls(stride, padding, kernel, dilation, ceil_mode, x.shape[2:])
            yield Sample(op, (random.standard_normal(y.shape), index), differentiable=(False, False))


@dataclass(frozen=True)
class Averaging(Pooling):
    """Base of average pooling and its gradient (abstract)."""

    count_include_pad: bool

    def window(self, size: Sizes) -> Window:
        """The windows and their divisors, as the kernels of average pooling take them."""
        after = spatial([after for _, after in self.padding], 0)
        kernel, stride = spatial(self.kernel), spatial(self.stride)
        return kernels.pooling.Window(kernel, stride, self._before(), after, spatial(size), self.count_include_pad)

    def areas(self, size: Sizes) -> Array:
        """The divisor of each window's sum: (windows…).

        ``count_include_pad`` counts the padding too, but never positions beyond it, which ``ceil_mode`` reaches.
        """
        area = np.ones((), np.int64)
        for axis, (n, length, (_, after)) in enumerate(zip(self.output_sizes(size), size, self.padding, strict=True)):
            start = np.arange(n) * self.stride[axis] - self.padding[axis][0]
            stop = np.minimum(start + self.kernel[axis], length + after)
            if not self.count_include_pad:
                start, stop = np.maximum(start, 0), np.minimum(stop, length)
            area = area[..., None] * (stop - start)
        return area


@register
@dataclass(frozen=True)
class AveragePooling(Averaging):
    """y[n, c, p] = (1 / area) Σ_k x[n, c, p · stride + k − before]"""

    title: ClassVar[str] = "average pool"

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (self.pooled(inputs[0]),)

    def positions_read(self, types: Sequence[TensorType], number: int, positions: Positions) -> Positions | None:
        return window_positions(positions, self.kernel, self.stride, self.padding, self.dilation)

    def accepts_prologue(self) -> bool:
        """Whether elementwise work on the input may run in the window's loop: only if no position is read twice."""
        return all(step >= span for step, span in zip(self.stride, reach(self.kernel, self.dilation), strict=True))

    def lower(self, context: LoweringContext) -> list[Launch]:
        (x,) = context.node.inputs
        size = _positions(x.shape)
        prologue, given, more = entering(context, x)
        form = kernels.large_pooling.LargeAverageWindows if self.large else kernels.pooling.AverageWindows
        kernel = form(context.storage(x), self.windows_of(size), self.window(size), context.region, prologue)
        operands = (*given, *context.region_operands, *more)
        return [Launch("average pooling", context.node.path, kernel, operands, context.domain.chunks)]

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        counted = int(self.count_include_pad)
        return [to.add("AveragePool", *inputs, **self.onnx_attributes(), count_include_pad=counted)]

    def reference(self, x: Array) -> Array:
        size: Sizes = x.shape[2:]
        count = self.output_sizes(size)
        source = padded(x, self.padding, extra=self.overhang(size))
        total = np.zeros((*x.shape[:2], *count), np.float64)
        for _, tap in taps(self.kernel):
            total += source[tap_slices(tap, count, self.stride, self.dilation)]
        return (total / self.areas(size)).astype(x.dtype)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), dy = inputs, expanded(output_gradients[0], outputs[0])
        geometry = (self.stride, self.padding, self.kernel, self.dilation, self.ceil_mode, self.count_include_pad)
        return (AveragePoolingGradient(*geometry, _positions(x.shape))(dy),)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for x, kernel, stride, padding, dilation, ceil_mode in _examples(random):
            if all(d == 1 for d in dilation):
                for include in (True, False):
                    yield Sample(cls(stride, padding, kernel, dilation, ceil_mode, include), (x,))


@register
@dataclass(frozen=True)
class AveragePoolingGradient(Averaging):
    """dx[n, c, i] = Σ dy[n, c, p] / area[p] over the windows p that hold position i"""

    size: Sizes

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        (dy,) = inputs
        x = dy.with_shape((*dy.shape[:2], *self.size))
        y = self.pooled(x)
        if y != dy:
            raise shape_error(self, f"pooling returns {y}; got dy {dy}", "give the shape of the forward pass")
        return (x,)

    def lower(self, context: LoweringContext) -> list[Launch]:
        (dy,) = context.node.inputs
        arriving, window = context.storage(dy), self.window(self.size)
        kernel = (
            kernels.large_pooling.LargeAverageGradient(arriving, window, context.region)
            if self.scatters_widely(self.size)
            else kernels.pooling.WindowGradient(
                arriving, None, self.holders_of(self.size), spatial(self.kernel), window, context.region
            )
        )
        operands = (dy, *context.region_operands)
        return [Launch("average pooling gradient", context.node.path, kernel, operands, context.domain.chunks)]

    def reference(self, dy: Array) -> Array:
        share = (dy / self.areas(self.size)).astype(dy.dtype)
        return self.scatter((share for _ in taps(self.kernel)), self.size, dy)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        g = expanded(output_gradients[0], outputs[0])
        geometry = (self.stride, self.padding, self.kernel, self.dilation, self.ceil_mode, self.count_include_pad)
        return (AveragePooling(*geometry)(g),)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for sample in AveragePooling.samples(random):
            (x,), op = sample.arrays, sample.op
            assert isinstance(op, AveragePooling)
            geometry = (op.stride, op.padding, op.kernel, op.dilation, op.ceil_mode, op.count_include_pad)
            dy = random.standard_normal((*x.shape[:2], *op.output_sizes(x.shape[2:])))
            yield Sample(cls(*geometry, x.shape[2:]), (dy,))


def _examples(random: np.random.Generator) -> Iterator[tuple[Array, Sizes, Sizes, Pairs, Sizes, bool]]:
    """(x, kernel, stride, padding, dilation, ceil_mode)"""
    zero, one = (0, 0), (1, 1)
    cases: list[tuple[Sizes, Sizes, Sizes, Pairs, Sizes, bool]] = [
        ((2, 3, 4, 6), (2, 2), (2, 2), (zero, zero), (1, 1), False),
        ((1, 17, 5, 4), (3, 2), (2, 1), (one, zero), (1, 1), False),  # windows overlap
        ((2, 1, 1, 1), (1, 1), (1, 1), (zero, zero), (1, 1), False),  # one pixel
        ((1, 3, 1, 1), (3, 3), (2, 2), (one, one), (1, 1), False),  # one pixel surrounded by padding
        ((2, 3, 7, 5), (2, 1), (3, 2), (zero, zero), (1, 1), False),  # stride larger than the kernel
        ((1, 3, 6, 7), (3, 2), (2, 3), (one, (0, 1)), (1, 1), True),  # incomplete windows, asymmetric
        ((2, 2, 7, 6), (2, 3), (1, 2), (zero, one), (3, 2), False),  # dilation
        ((2, 3, 8), (3,), (2,), (one,), (1,), True),
        ((2, 3, 14, 9), (6, 7), (3, 1), ((3, 2), (2, 3)), (1, 1), True),  # large windows
        ((1, 17, 13, 12), (6, 6), (2, 3), ((2, 2), (3, 0)), (2, 2), False),
        ((2, 2, 9, 40), (1, 35), (1, 9), (zero, (7, 17)), (1, 1), True),  # a large window, one row high
        ((1, 2, 20, 21), (2, 3), (9, 8), (one, zero), (1, 1), False),  # large strides
        ((1, 3, 6, 7), (6, 7), (6, 7), (zero, zero), (1, 1), False),  # one large window
        ((1, 2, 3, 4, 5), (2, 2, 3), (1, 2, 2), (zero, zero, one), (1, 1, 1), False),
    ]
    for shape, kernel, stride, padding, dilation, ceil_mode in cases:
        yield random.standard_normal(shape), kernel, stride, padding, dilation, ceil_mode


def _geometry(
    what: str, x: Value, kernel_size: PerAxis, stride: PerAxis | None, padding: Padding, dilation: PerAxis
) -> tuple[Sizes, Pairs, Sizes, Sizes]:
    rank = x.type.rank - 2
    if isinstance(kernel_size, Sequence) and len(kernel_size) == rank + 1:
        raise shape_error(
            what,
            f"a window of {times(kernel_size)} needs an input (N, C, {', '.join('DHW'[-rank - 1 :])}), got {x.type}",
            "give one image as a batch of one, x[None]; give grey images their channel axis, x[:, None]",
        )
    kernel, spread = per_axis("kernel_size", kernel_size, rank), per_axis("dilation", dilation, rank)
    strides = kernel if stride is None else per_axis("stride", stride, rank)
    return strides, padding_pairs(padding, kernel, strides, spread), kernel, spread


def max_pool(
    input: Value,
    kernel_size: PerAxis,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
) -> Value:
    """The largest element of every window; NaN where the window holds one; padding is never the maximum.

    x (N, C, positions…) → (N, C, windows…); float32 or float64. ``stride`` is ``kernel_size`` unless given;
    ``ceil_mode`` also counts incomplete windows at the end. Raises ShapeError, DTypeError, OptionError.
    """
    require_positions("max_pool", input.type)
    y, _ = MaxPooling(
        *_geometry("max_pool", input, kernel_size, stride, padding, dilation), flag("max_pool: ceil_mode", ceil_mode)
    )(input)
    return y


def avg_pool(
    input: Value,
    kernel_size: PerAxis,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Value:
    """The mean of every window; ``count_include_pad`` says whether zeros of the padding count.

    x (N, C, positions…) → (N, C, windows…); float32 or float64. ``stride`` is ``kernel_size`` unless given.
    Raises ShapeError, DTypeError, OptionError.
    """
    require_positions("avg_pool", input.type)
    geometry = _geometry("avg_pool", input, kernel_size, stride, padding, 1)
    return AveragePooling(
        *geometry,
        flag("avg_pool: ceil_mode", ceil_mode),
        flag("avg_pool: count_include_pad", count_include_pad),
    )(input)


def global_avg_pool(input: Value) -> Value:
    """The mean over all positions: (N, C, positions…) → (N, C, 1…); float32 or float64. Raises ShapeError."""
    require_positions("global_avg_pool", input.type)
    if 0 in input.shape[2:]:
        raise shape_error("global_avg_pool", f"the mean of 0 positions is undefined: {input.type}", "use larger images")
    return mean(input, tuple(range(2, input.type.rank)), keepdims=True)
