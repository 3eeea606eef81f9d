"""Average and power-average pooling over sliding windows, in one to three dimensions, and their gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from striate.codegen.launch import Launch
from striate.codegen.storage import spatial
from striate.errors import OptionError
from striate.graph.onnx import OnnxWriter
from striate.graph.op import Gradients, Needed, PositionSets, Sample, Values, register
from striate.graph.value import Array, TensorType, Value
from striate.ops import kernels
from striate.ops.anchor import LoweringContext
from striate.ops.comparison import greater, less, where
from striate.ops.elementary import power
from striate.ops.pooling import Pooling, entering, examples, window_geometry
from striate.ops.reduction import mean
from striate.ops.requirement import place, require_positions, shape_error
from striate.ops.shaping import expanded
from striate.ops.unbatched import over_samples, position_axes
from striate.ops.window import (
    LARGEST,
    Padding,
    Pairs,
    PerAxis,
    Sizes,
    padded,
    per_axis,
    positions,
    reach,
    tap_slices,
    taps,
    window_positions,
)
from striate.options import flag, number, whole_number

if TYPE_CHECKING:
    from striate.ops.kernels.pooling import Window


@dataclass(frozen=True)
class Averaging(Pooling):
    """Base class of average pooling and its gradient (abstract).

    The sum of a window is divided by ``divisor_override`` or, if that is None, by the number of elements in the window.
    With ``count_include_pad``, the zeros of the padding count as elements.
    """

    count_include_pad: bool
    divisor_override: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.divisor_override == 0:
            raise OptionError(f"{place(self)}: divisor_override must not be 0")

    def window(self, size: Sizes) -> Window:
        """Return the windows and their divisors in the form that the kernels of average pooling take.

        ``size`` holds the spatial sizes of the input.
        """
        after = spatial([after for _, after in self.padding], 0)
        kernel, stride = spatial(self.kernel), spatial(self.stride)
        return kernels.pooling.Window(
            kernel, stride, self._before(), after, spatial(size), self.count_include_pad, self.divisor_override or 0
        )

    @property
    def geometry(self) -> tuple[Sizes, Pairs, Sizes, Sizes, bool, bool]:
        """The options that average pooling and its gradient share, in the order of the arguments of both classes."""
        return self.stride, self.padding, self.kernel, self.dilation, self.ceil_mode, self.count_include_pad

    def areas(self, size: Sizes) -> Array:
        """Return the divisor of each window's sum, an array (windows…) for an input with the spatial sizes ``size``.

        The divisor is ``divisor_override``, or if that is None, the number of positions in the window. Positions in the
        padding count only with ``count_include_pad``. With ``ceil_mode``, a window can reach beyond the padding;
        positions there never count.
        """
        if self.divisor_override is not None:
            return np.full(self.output_sizes(size), self.divisor_override)
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
    """y[n, c, p] = (1 / area) Σ_k x[n, c, p · stride + k − before]

    x (N, C, positions…) → y (N, C, windows…). The sum is over the elements k of window p; ``before`` is the number of
    zeros that are padded before x. ``area`` is the divisor of the window, as ``areas`` returns it.
    """

    title: ClassVar[str] = "average pool"

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (self.pooled(inputs[0]),)

    def positions_read(self, types: Sequence[TensorType], number: int, positions: PositionSets) -> PositionSets | None:
        return window_positions(positions, self.kernel, self.stride, self.padding, self.dilation)

    def accepts_prologue(self) -> bool:
        """Return whether elementwise operations on the input may be fused: only if the windows do not overlap."""
        return all(step >= span for step, span in zip(self.stride, reach(self.kernel, self.dilation), strict=True))

    def lower(self, context: LoweringContext) -> list[Launch]:
        (x,) = context.node.inputs
        size = positions(x.type)
        prologue, given, more = entering(context, x)
        form = kernels.large_pooling.LargeAverageWindows if self.large else kernels.pooling.AverageWindows
        kernel = form(context.storage(x), self.windows_of(size), self.window(size), context.region, prologue)
        operands = (*given, *context.region_operands, *more)
        return [Launch("average pooling", context.node.path, kernel, operands, context.domain.chunks)]

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        counted = int(self.count_include_pad or self.divisor_override is not None)
        y = to.add("AveragePool", *inputs, **self.onnx_attributes(), count_include_pad=counted)
        if self.divisor_override is None:
            return [y]
        sizes = positions(types[0])
        areas = replace(self, count_include_pad=True, divisor_override=None).areas(sizes)
        scale = np.asarray(areas / self.divisor_override, types[0].dtype.numpy)
        return [to.add("Mul", y, to.constant(scale))]

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
        return (AveragePoolingGradient(*self.geometry, positions(x.type), divisor_override=self.divisor_override)(dy),)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for x, kernel, stride, padding, dilation, ceil_mode in examples(random):
            if all(d == 1 for d in dilation):
                for include in (True, False):
                    yield Sample(cls(stride, padding, kernel, dilation, ceil_mode, include), (x,))
                if ceil_mode:
                    op = cls(stride, padding, kernel, dilation, ceil_mode, False, divisor_override=-3)
                    yield Sample(op, (x,))


@register
@dataclass(frozen=True)
class AveragePoolingGradient(Averaging):
    """dx[n, c, i] = Σ dy[n, c, p] / area[p] over the windows p that contain position i

    Gradient of ``AveragePooling``: dy (N, C, windows…) → dx (N, C, *size). ``area`` holds the divisors of the windows,
    as ``areas`` returns them.
    """

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
        return (AveragePooling(*self.geometry, divisor_override=self.divisor_override)(g),)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for sample in AveragePooling.samples(random):
            (x,), op = sample.arrays, sample.op
            assert isinstance(op, AveragePooling)
            dy = random.standard_normal((*x.shape[:2], *op.output_sizes(x.shape[2:])))
            yield Sample(cls(*op.geometry, x.shape[2:], divisor_override=op.divisor_override), (dy,))


def avg_pool(
    input: Value,
    kernel_size: PerAxis,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Value:
    """Return the mean of every window; the zeros of the padding count only with ``count_include_pad``.

    ``input`` is a batch (N, C, positions…) with one to three spatial axes, or one sample (C, positions…), in float32 or
    float64; the result is (N, C, windows…) or (C, windows…). ``stride`` is ``kernel_size`` by default. With
    ``ceil_mode``, there may be incomplete windows at the end of an axis. ``divisor_override``, unless None, is the
    number by which every window's sum is divided, in place of the number of elements. If an option such as
    ``kernel_size=(3, 3)`` is a sequence, its length is the number of spatial axes; otherwise an input of two axes is
    one sample (C, L), and any other input is a batch. Raises ShapeError for another number of axes and for a window
    larger than the padded input, DTypeError for another dtype, and OptionError for invalid options, such as padding
    above half the kernel size.
    """
    rounds_up = flag("avg_pool: ceil_mode", ceil_mode)
    counts = flag("avg_pool: count_include_pad", count_include_pad)
    divisor = None if divisor_override is None else require_divisor("avg_pool", divisor_override)

    def of_batch(x: Value) -> Value:
        geometry = window_geometry("avg_pool", x, kernel_size, stride, padding, 1)
        return AveragePooling(*geometry, rounds_up, counts, divisor_override=divisor)(x)

    return over_samples(of_batch, input, position_axes(input.type, kernel_size, stride, padding))


def lp_pool(
    input: Value, norm_type: float, kernel_size: PerAxis, stride: PerAxis | None = None, ceil_mode: bool = False
) -> Value:
    """Return (Σ xᵖ)^(1/p) over every window, for p = ``norm_type`` > 0: the sum for p = 1, the 2-norm for p = 2.

    Shapes, dtypes and windows are those of ``avg_pool`` without padding. If p is not 1, the result is NaN where Σ xᵖ is
    negative, and the gradient is 0 where Σ xᵖ is 0. With ``ceil_mode``, the sum of an incomplete window is multiplied
    by (size of a full window) / (size of this window), as in PyTorch. Raises the same errors as ``avg_pool``, and
    OptionError for p ≤ 0.
    """
    p = number("lp_pool: norm_type", norm_type, above=0.0)
    rank = position_axes(input.type, kernel_size, stride)
    taps = math.prod(per_axis("kernel_size", kernel_size, rank))
    total = avg_pool(input if p == 1 else power(input, p), kernel_size, stride, 0, ceil_mode) * taps
    if p == 1:
        return total
    positive = greater(total, 0.0)
    root = power(where(positive, total, 1.0), 1 / p)
    return where(positive, root, where(less(total, 0.0), math.nan, total - total))


def require_divisor(what: str, divisor: object) -> int:
    """Return ``divisor`` as an int; raise ``OptionError`` unless it is a whole number other than 0.

    ``what`` is the function or layer that the error names.
    """
    found = whole_number(f"{what}: divisor_override", divisor, -LARGEST, LARGEST)
    if found == 0:
        raise OptionError(f"{what}: divisor_override=0; expected a number that a sum can be divided by")
    return found


def global_avg_pool(input: Value) -> Value:
    """Return the mean of each channel over all positions: (N, C, positions…) → (N, C, 1…).

    The input has one to three spatial axes and is float32 or float64. Raises ShapeError for another number of axes or
    an axis of size 0, and DTypeError for another dtype.
    """
    require_positions("global_avg_pool", input.type)
    if 0 in input.shape[2:]:
        raise shape_error("global_avg_pool", f"the mean of 0 positions is undefined: {input.type}", "use larger images")
    return mean(input, tuple(range(2, input.type.rank)), keepdims=True)
