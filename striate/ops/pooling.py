"""Maximum and average pooling over sliding windows, in one to three dimensions, and their gradients."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from striate.codegen.launch import KernelSpec, Launch, Operand
from striate.codegen.storage import spatial
from striate.errors import GraphError, OptionError
from striate.graph.onnx import Attribute, OnnxWriter
from striate.graph.op import Gradients, Kind, Needed, PositionSets, Purpose, Sample, Values, register
from striate.graph.value import Array, DType, TensorType, Value
from striate.ops import kernels
from striate.ops.anchor import Anchor, LoweringContext
from striate.ops.comparison import greater, less, where
from striate.ops.elementary import power
from striate.ops.kernels.geometry import Part, forward_part, gradient_parts
from striate.ops.reduction import mean
from striate.ops.requirement import place, require_floats, require_positions, shape_error
from striate.ops.shaping import expanded
from striate.ops.unbatched import over_samples, position_axes
from striate.ops.window import (
    LARGEST,
    Padding,
    Pairs,
    PerAxis,
    Sizes,
    Windowed,
    brief,
    cropped,
    onnx_pads,
    padded,
    padding_pairs,
    per_axis,
    positions,
    reach,
    require_geometry,
    stride_text,
    tap_slices,
    taps,
    times,
    window_count,
    window_positions,
)
from striate.options import flag, number, whole_number

MOST_UNROLLED = 32
"""The most taps of a window, or positions modulo the strides, for which a kernel is unrolled; above this it loops."""

if TYPE_CHECKING:
    from striate.ops.kernels.large_pooling import LargeMaxGradient
    from striate.ops.kernels.pooling import Prologue, Window


@dataclass(frozen=True)
class Pooling(Windowed, Anchor):
    """Base class of pooling operations and their gradients (abstract).

    ``kernel``, ``stride``, ``padding`` and ``dilation`` have one entry for each spatial axis. With ``ceil_mode``, an
    incomplete last window counts too.
    """

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
        """Whether the forward kernel loops over the taps of a window, because there are too many to unroll."""
        return math.prod(self.kernel) > MOST_UNROLLED

    def scatters_widely(self, size: Sizes) -> bool:
        """Return whether the gradient's kernel loops over windows, because there are too many cases to unroll.

        Otherwise its code is unrolled over the windows that contain a position. Which windows these are depends on the
        position modulo the stride. ``size`` holds the spatial sizes of x.
        """
        residues = math.prod(min(step, length) for step, length in zip(self.stride, size, strict=True))
        return self.large or residues > MOST_UNROLLED

    def windows_of(self, size: Sizes) -> Part:
        """Return which input positions each window contains, as a ``Part``, the kernels' description of such sets.

        ``size`` holds the spatial sizes of the input.
        """
        counts = spatial(self.output_sizes(size))
        return forward_part(spatial(self.kernel), spatial(self.stride), self._before(), spatial(self.dilation), counts)

    def holders_of(self, size: Sizes) -> tuple[Part, ...]:
        """Return which windows contain each input position: one ``Part`` per residue of the position modulo the stride.

        A ``Part`` is the kernels' description of such sets; ``size`` holds the spatial sizes of the input.
        """
        return gradient_parts(
            spatial(self.kernel), spatial(self.stride), self._before(), spatial(self.dilation), spatial(size)
        )

    def onnx_attributes(self) -> Mapping[str, Attribute | None]:
        return {
            "kernel_shape": self.kernel, "strides": self.stride, "pads": onnx_pads(self.padding),
            "ceil_mode": int(self.ceil_mode),
        }  # fmt: skip

    def output_sizes(self, size: Sizes) -> Sizes:
        """Return the number of windows along each spatial axis, for an input with the spatial sizes ``size``."""
        return window_count(self, size, self.kernel, self.stride, self.padding, self.dilation, self.ceil_mode)

    def pooled(self, x: TensorType) -> TensorType:
        """Return the type of the output y for an input of type x.

        Raises ``DTypeError`` unless x is of floats, ``OptionError`` for invalid options, and ``ShapeError`` for a wrong
        number of axes, a window larger than the padded input, or a window that would contain only padding.
        """
        require_floats(self, [x])
        require_positions(self, x)
        require_geometry(
            self, x.rank - 2, kernel=self.kernel, stride=self.stride, padding=self.padding, dilation=self.dilation
        )
        size = positions(x)
        count = self.output_sizes(size)
        if not all(map(self._reaches, range(len(size)), count, size)):
            raise shape_error(self, f"a window holds only padding for {x}", "use less padding, or less dilation")
        return x.with_shape((*x.shape[:2], *count))

    def _reaches(self, axis: int, count: int, length: int) -> bool:
        """Return whether each of the ``count`` windows along an axis of ``length`` has a tap inside the input."""
        stride, (before, _) = self.stride[axis], self.padding[axis]
        taps, apart = self.kernel[axis], self.dilation[axis]
        last = (count - 1) * stride - before
        if count < 1 or last >= length or before > (taps - 1) * apart:
            return count < 1
        # The first tap inside the input of a window that begins before it is at the window's start modulo the dilation.
        early = min(count, -(-before // stride))
        return apart <= length or all((p * stride - before) % apart < length for p in range(early))

    def overhang(self, size: Sizes) -> Sizes:
        """Return by how many positions the last window along each axis exceeds the padded input.

        This is 0 without ``ceil_mode``. ``size`` holds the spatial sizes of the unpadded input.
        """
        count, span = self.output_sizes(size), reach(self.kernel, self.dilation)
        return tuple(
            max(0, (n - 1) * s + r - (length + before + after))
            for n, s, r, length, (before, after) in zip(count, self.stride, span, size, self.padding, strict=True)
        )

    def scatter(self, sent: Iterator[Array], size: Sizes, like: Array) -> Array:
        """Add the gradients of the taps to the input positions that they read, in NumPy; return (N, C, *size).

        ``sent`` yields the gradient of each tap, (N, C, windows…), in the order of the taps; ``like`` is an array of
        the same shape and dtype. ``size`` holds the spatial sizes of the input.
        """
        shape = (*like.shape[:2], *size)
        target = padded(np.zeros(shape, like.dtype), self.padding, extra=self.overhang(size))
        for (_, tap), values in zip(taps(self.kernel), sent, strict=True):
            target[tap_slices(tap, like.shape[2:], self.stride, self.dilation)] += values
        return cropped(target, self.padding, size)


def entering(context: LoweringContext, x: Value) -> tuple[Prologue | None, tuple[Value, ...], tuple[Operand, ...]]:
    """Return how a kernel obtains its input x: (prologue, operands before, operands after).

    The operands are those from which the kernel obtains x, placed before or after the operands of the fused epilogue.
    If x is read from memory, the result is (None, (x,), ()). If a prologue computes x in the kernel, the result is
    (prologue, (), the operands of the prologue).
    """
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

    x (N, C, positions…) → (y, index), both (N, C, windows…). ``index`` is the number of the tap k, in row-major order
    over the window, at which the first maximum was found: uint8, or int32 if the window has more than 255 taps. Padding
    is never the maximum. NaN counts as larger than every number.
    """

    title: ClassVar[str] = "max pool"

    @property
    def index_dtype(self) -> DType:
        """The dtype of the output ``index``: uint8 for up to 255 taps in a window, else int32."""
        return DType.uint8 if np.prod(self.kernel) <= 255 else DType.int32

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        y = self.pooled(inputs[0])
        return y, y.with_dtype(self.index_dtype)

    def positions_read(self, types: Sequence[TensorType], number: int, positions: PositionSets) -> PositionSets | None:
        return window_positions(positions, self.kernel, self.stride, self.padding, self.dilation)

    def accepts_prologue(self) -> bool:
        """Return whether elementwise work on the input may be fused as a prologue: only if windows do not overlap."""
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
        for x, kernel, stride, padding, dilation, ceil_mode in _examples(random):
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
        for x, kernel, stride, padding, dilation, ceil_mode in _examples(random):
            y, index = MaxPooling(stride, padding, kernel, dilation, ceil_mode).reference(x)
            op = cls(stride, padding, kernel, dilation, ceil_mode, x.shape[2:])
            yield Sample(op, (random.standard_normal(y.shape), index), differentiable=(False, False))


@dataclass(frozen=True)
class Averaging(Pooling):
    """Base class of average pooling and its gradient (abstract).

    ``count_include_pad`` counts the zeros of the padding as elements. ``divisor_override``, unless None, divides the
    sum of every window in place of its number of elements.
    """

    count_include_pad: bool
    divisor_override: int | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.divisor_override == 0:
            raise OptionError(f"{place(self)}: divisor_override must not be 0")

    def window(self, size: Sizes) -> Window:
        """Return the description of the windows and their divisors that the kernels of average pooling take.

        ``size`` holds the spatial sizes of the input.
        """
        after = spatial([after for _, after in self.padding], 0)
        kernel, stride = spatial(self.kernel), spatial(self.stride)
        return kernels.pooling.Window(
            kernel, stride, self._before(), after, spatial(size), self.count_include_pad, self.divisor_override or 0
        )

    @property
    def geometry(self) -> tuple[Sizes, Pairs, Sizes, Sizes, bool, bool]:
        """The options that average pooling and its gradient have in common, in the order of their constructors."""
        return self.stride, self.padding, self.kernel, self.dilation, self.ceil_mode, self.count_include_pad

    def areas(self, size: Sizes) -> Array:
        """Return the divisor of each window's sum, an array (windows…) for an input with the spatial sizes ``size``.

        The divisor is ``divisor_override``, or if that is None, the number of positions in the window. Positions in the
        padding count only with ``count_include_pad``; those beyond the padding, which a window can reach with
        ``ceil_mode``, never count.
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

    x (N, C, positions…) → y (N, C, windows…). Padding counts as 0; the area of a window is its divisor, from ``areas``.
    """

    title: ClassVar[str] = "average pool"

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (self.pooled(inputs[0]),)

    def positions_read(self, types: Sequence[TensorType], number: int, positions: PositionSets) -> PositionSets | None:
        return window_positions(positions, self.kernel, self.stride, self.padding, self.dilation)

    def accepts_prologue(self) -> bool:
        """Return whether elementwise work on the input may be fused as a prologue: only if windows do not overlap."""
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
        for x, kernel, stride, padding, dilation, ceil_mode in _examples(random):
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

    Gradient of ``AveragePooling``: dy (N, C, windows…) → dx (N, C, *size).
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


def _examples(random: np.random.Generator) -> Iterator[tuple[Array, Sizes, Sizes, Pairs, Sizes, bool]]:
    """Yield test cases: (x, kernel, stride, padding, dilation, ceil_mode)."""
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
    """Return (stride, padding, kernel, dilation) with one entry for each spatial axis of the batch x.

    ``stride`` None means the kernel size. Raises ``ShapeError`` or ``OptionError`` where PyTorch raises an error.
    """
    require_positions(what, x.type)
    rank = x.type.rank - 2
    if isinstance(kernel_size, Sequence) and len(kernel_size) == rank + 1:
        raise shape_error(
            what,
            f"a window of {times(kernel_size)} needs an input (N, C, {', '.join('DHW'[-rank - 1 :])}), got {x.type}",
            "give grey images their channel axis, x[:, None]",
        )
    kernel, spread = per_axis("kernel_size", kernel_size, rank), per_axis("dilation", dilation, rank)
    strides = kernel if stride is None else per_axis("stride", stride, rank)
    pairs = padding_pairs(padding, kernel, strides, spread)
    require_half(what, kernel, pairs)
    return strides, pairs, kernel, spread


def require_half(what: str, kernel: Sizes, padding: Pairs) -> None:
    """Raise ``OptionError`` if a padding exceeds half the kernel size, so that a window could contain only padding.

    ``what`` is the function or layer that the error names.
    """
    if any(max(pair) > size // 2 for pair, size in zip(padding, kernel, strict=True)):
        shown = tuple(before if before == after else (before, after) for before, after in padding)
        raise OptionError(
            f"{what}: padding={brief(shown)} is more than half of kernel_size={brief(kernel)}\n"
            "  help: st.ops.pad(x, pad) pads by any number"
        )


def refuse_indices(what: str, return_indices: object) -> None:
    """Raise ``OptionError`` unless ``return_indices`` is False, the only value that is supported."""
    if return_indices is not False:
        raise OptionError(
            f"{what}: return_indices={return_indices!r}; only False is supported\n"
            "  help: leave it out; the gradient reaches the maxima without their places"
        )


def max_pool(
    input: Value,
    kernel_size: PerAxis,
    stride: PerAxis | None = None,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Value:
    """Return the largest element of every window, or NaN if it contains NaN; padding is never the maximum.

    ``input`` is (N, C, positions…) with one to three spatial axes, or one sample (C, positions…), in float32 or
    float64; the result is (N, C, windows…). A sample is recognized by the number of entries in an option such as
    ``kernel_size=(3, 3)``, or by having two axes. ``stride`` is ``kernel_size`` by default, and ``dilation`` is the
    distance between the elements of a window; with ``ceil_mode``, incomplete windows at the end count too. If several
    elements are the largest, the first one gets the gradient. Raises ShapeError for another number of axes and a window
    larger than the padded input, DTypeError for another dtype, and OptionError for invalid options, such as padding
    above half the kernel size or ``return_indices=True``, which is not supported.
    """
    refuse_indices("max_pool", return_indices)
    rounds_up = flag("max_pool: ceil_mode", ceil_mode)

    def of_batch(x: Value) -> Value:
        return MaxPooling(*_geometry("max_pool", x, kernel_size, stride, padding, dilation), rounds_up)(x)[0]

    return over_samples(of_batch, input, position_axes(input.type, kernel_size, stride, padding, dilation))


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

    ``input`` is (N, C, positions…) with one to three spatial axes, or one sample (C, positions…), in float32 or
    float64; the result is (N, C, windows…). A sample is recognized by the number of entries in an option such as
    ``kernel_size=(3, 3)``, or by having two axes. ``stride`` is ``kernel_size`` by default; with ``ceil_mode``,
    incomplete windows at the end count too. Unless it is None, ``divisor_override`` divides every sum in place of the
    number of elements. Raises ShapeError for another number of axes and a window larger than the padded input,
    DTypeError for another dtype, and OptionError for invalid options, such as padding above half the kernel size or a
    divisor of 0.
    """
    rounds_up = flag("avg_pool: ceil_mode", ceil_mode)
    counts = flag("avg_pool: count_include_pad", count_include_pad)
    divisor = None if divisor_override is None else require_divisor("avg_pool", divisor_override)

    def of_batch(x: Value) -> Value:
        geometry = _geometry("avg_pool", x, kernel_size, stride, padding, 1)
        return AveragePooling(*geometry, rounds_up, counts, divisor_override=divisor)(x)

    return over_samples(of_batch, input, position_axes(input.type, kernel_size, stride, padding))


def lp_pool(
    input: Value, norm_type: float, kernel_size: PerAxis, stride: PerAxis | None = None, ceil_mode: bool = False
) -> Value:
    """Return (Σ xᵖ)^(1/p) over every window, for p = ``norm_type`` > 0: the sum for p = 1, the 2-norm for p = 2.

    Shapes, dtypes and windows are those of ``avg_pool`` without padding. The result is NaN where Σ xᵖ is negative and p
    is not 1; the gradient is 0 where Σ xᵖ is 0 and p is not 1. As in PyTorch, the sum of an incomplete window
    (``ceil_mode``) is scaled up to the full number of taps. Raises the same errors as ``avg_pool``, and OptionError
    unless p > 0.
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
