"""Convolution in one, two and three dimensions, and its gradients with respect to x and w.

    y[n, o, p] = Σ_c Σ_k w[o, c, k] · x[n, c, p · stride + k · dilation − before]

The filter is not flipped (a cross-correlation), as in PyTorch. x is (N, C, positions…) and w is (O, C / groups, taps…),
where a tap is one element of the filter's window, and ``before`` is the padding before the first position. With groups,
the output channels of a group depend only on the input channels of the same group. The convolution and its two
gradients are three bilinear operations. The gradient of each operation with respect to either of its operands is one of
the other two operations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from striate.codegen.launch import Launch
from striate.codegen.options import CompileOptions
from striate.codegen.storage import BLOCK, PLAIN, InputLayout, spatial
from striate.dtypes import DType
from striate.errors import quantity
from striate.graph.notation import PRODUCT, Expression, infix
from striate.graph.onnx import Attribute
from striate.graph.op import Direction, Gradients, Kind, Needed, PositionSets, Sample, Values, register
from striate.graph.reshape import reshape
from striate.graph.value import Array, Shape, TensorType, Value
from striate.ops import kernels
from striate.ops.anchor import Algorithm, Anchor, LoweringContext
from striate.ops.kernels.geometry import Geometry
from striate.ops.padding import without_zeros
from striate.ops.requirement import require_floats, require_positions, shape_error
from striate.ops.shaping import expanded, filled
from striate.ops.unbatched import is_sample, over_samples
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
    require_geometry,
    stride_text,
    tap_slices,
    taps,
    times,
    window_count,
    window_positions,
)


def _fixed(shape: Shape) -> Sizes:
    return tuple(dim for dim in shape if isinstance(dim, int))


@dataclass(frozen=True)
class Convolutional(Windowed, Anchor):
    """Base class of convolution and its two gradients (abstract).

    ``dilation`` has one entry for each spatial axis; ``groups`` is the number of groups into which both the input and
    the output channels are divided.
    """

    kind: ClassVar[Kind] = Kind.CONTRACTION
    letters: ClassVar[Mapping[str, str]] = {"stride": "stride", "dilation": "dilation", "before": "padding"}
    has_epilogue: ClassVar[bool] = True
    upwards: ClassVar[bool] = False
    """Whether this is a transposed convolution: its forward pass is the input gradient of a convolution."""
    dilation: Sizes
    groups: int

    def geometry_of(self, x: TensorType, w: TensorType, y: TensorType) -> Geometry:
        """Return the sizes and options of the convolution of x with w that returns y.

        x, w and y are the types of the input, the weights and the output. The result has three spatial axes; leading
        axes that x lacks have size 1.
        """
        size, count, (filters, depth, *kernel) = x.concrete(1)[2:], y.concrete(1)[2:], w.concrete(1)
        return Geometry(
            filters, depth, self.groups, spatial(kernel), spatial(self.stride),
            spatial([before for before, _ in self.padding], 0), spatial(self.dilation), spatial(size), spatial(count),
        )  # fmt: skip

    def geometry(self, inputs: Sequence[TensorType]) -> Geometry:
        """Return the sizes and options of the convolution, on three spatial axes.

        ``inputs`` are the types of both inputs. A gradient returns the geometry of the convolution of which it is the
        gradient.
        """
        raise NotImplementedError

    def algorithm(self, inputs: Sequence[TensorType], stored: Sequence[DType], options: CompileOptions) -> Algorithm:
        return kernels.algorithm.choose(self.geometry(inputs), self.direction, stored[0], options)

    def input_layouts(
        self, inputs: Sequence[TensorType], blocks: Sequence[int], algorithm: Algorithm
    ) -> tuple[InputLayout, ...]:
        g = self.geometry(inputs)
        choice = kernels.algorithm
        halo = choice.read_halo(g, self.direction, choice.form_of(algorithm))
        return InputLayout(choice.acceptable(inputs[0].channels), halo), InputLayout((PLAIN,))

    def lower(self, context: LoweringContext) -> list[Launch]:
        return kernels.convolution.lower_convolution(
            context, self.geometry([x.type for x in context.node.inputs]), self.direction
        )

    def output_type(self, x: TensorType, w: TensorType) -> TensorType:
        """Return the type of the convolution's output y for an input x and weights w.

        Raises ``ShapeError``, ``DTypeError`` or ``OptionError`` if x, w and the options do not fit together.
        """
        require_floats(self, [x, w])
        require_positions(self, x)
        rank = x.rank - 2
        require_geometry(self, rank, stride=self.stride, padding=self.padding, dilation=self.dilation)
        if w.rank != x.rank or w.batched:
            raise shape_error(
                self,
                f"a filter bank for {x} has {quantity(x.rank, 'axis')} (out, in / groups, taps…), got {w}",
                f"Conv{rank}d takes inputs with {quantity(rank, 'spatial axis')}",
            )
        (channels, *size), (filters, depth, *kernel) = _fixed(x.shape[1:]), _fixed(w.shape)
        if self.groups < 1 or channels % self.groups or filters % self.groups:
            raise shape_error(
                self,
                f"{channels} input and {filters} output channels do not split into {self.groups} groups",
                "choose groups that divide both",
            )
        if channels != depth * self.groups:
            last = size[-1] == depth * self.groups
            raise shape_error(
                self,
                f"its filters take {quantity(depth * self.groups, 'channel')}, but its input has {channels}: {x}",
                "the channels seem to be on the last axis; move them to axis 1, as in x.transpose(0, 3, 1, 2)"
                if last
                else f"in_channels={channels}, or None to have it inferred",
            )
        if 0 in kernel:
            raise shape_error(self, f"its filters have no taps: {w}", "a kernel size of at least 1")
        count = window_count(self, tuple(size), tuple(kernel), self.stride, self.padding, self.dilation)
        return x.with_shape((x.shape[0], filters, *count))

    def on_empty(self, *inputs: Value) -> tuple[Value, ...]:
        """Return zeros, the value of a sum over 0 samples, 0 channels or 0 positions."""
        return tuple(filled(0.0, type) for type in self.infer(*(value.type for value in inputs)))

    def input_gradient(self, dy: Value, w: Value, x: Shape) -> Value:
        """Return the gradient ∂L/∂x of the loss L from dy = ∂L/∂y and the weights w of a convolution.

        The argument ``x`` is the shape of the convolution's input x.
        """
        size = _fixed(x[2:])
        return ConvolutionInputGradient(self.stride, self.padding, self.dilation, self.groups, size)(dy, w)

    def weight_gradient(self, x: Value, dy: Value, w: Shape) -> Value:
        """Return the gradient ∂L/∂w of the loss L from the input x of a convolution and dy = ∂L/∂y.

        The argument ``w`` is the shape of the convolution's weights w.
        """
        kernel = _fixed(w[2:])
        return ConvolutionWeightGradient(self.stride, self.padding, self.dilation, self.groups, kernel)(x, dy)

    def work_text(self, types: Sequence[TensorType]) -> str:
        weights = next((type for type in types if not type.batched and type.rank > 2), None)
        if weights is None:
            return ""
        filters, depth, *taps = weights.concrete(1)
        kernel = times(taps) if len(taps) > 1 else f"{taps[0]} tap{'s' * (taps[0] > 1)}"
        ends = depth * self.groups, filters
        return f"{'→'.join(map(str, reversed(ends) if self.upwards else ends))} channels, {kernel}"

    def reads_bfloat16(self, inputs: Sequence[Value], value: Value) -> bool:
        """Whether the kernel can read ``value``, one of ``inputs``, if it is stored in memory as bfloat16.

        Kernels can read only the first input as bfloat16. Each group must have an even number of channels, unless
        ``is_lanewise`` is true.
        """
        return value is inputs[0] and (value.type.channels // self.groups % 2 == 0 or self.is_lanewise(inputs))

    def is_lanewise(self, inputs: Sequence[Value]) -> bool:
        """Whether each of 16 output channels that the kernel computes at once reads only the inputs of its own group.

        This is the case if the groups have few channels. Otherwise, all 16 output channels read the same input
        channels, with weights of 0 for those of other groups.
        """
        transposed = self.direction is Direction.INPUT_GRADIENT
        groups = kernels.grouped.grouping(self.geometry([value.type for value in inputs]), transposed)
        return isinstance(groups, kernels.grouped.Lanewise)

    def forward(self, x: Value, w: Value) -> Value:
        """Return the convolution of x with w, with the stride, padding, dilation and groups of this operation."""
        return Convolution(self.stride, self.padding, self.dilation, self.groups)(x, w)


def _grouped(array: Array, groups: int, axis: int) -> Array:
    """Return the array with axis ``axis`` split into two axes: (groups, channels of a group)."""
    shape = array.shape
    return array.reshape(*shape[:axis], groups, shape[axis] // groups, *shape[axis + 1 :])


@register
@dataclass(frozen=True)
class Convolution(Convolutional):
    """y[n, o, p] = Σ_c Σ_k w[o, c, k] · x[n, c, p · stride + k · dilation − before]

    x is (N, C, positions…), w (O, C / groups, taps…) and y (N, O, positions…). The sums run over the channels c of the
    group of o and over the elements (taps) k of the filter; ``before`` is the padding before each axis.
    """

    title: ClassVar[str] = "conv"
    onnx_operator: ClassVar[str] = "Conv"
    onnx_takes_bias: ClassVar[bool] = True

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (self.output_type(*inputs),)

    def geometry(self, inputs: Sequence[TensorType]) -> Geometry:
        """Return the sizes and options of the convolution, on three spatial axes, from the types of x and w."""
        x, w = inputs
        return self.geometry_of(x, w, self.output_type(x, w))

    def reference(self, x: Array, w: Array) -> Array:
        kernel = w.shape[2:]
        count = window_count(self, x.shape[2:], kernel, self.stride, self.padding, self.dilation)
        source = padded(x, self.padding)
        filters = _grouped(w, self.groups, 0)
        y = np.zeros((x.shape[0], self.groups, filters.shape[1], *count), x.dtype)
        for _, tap in taps(kernel):
            seen = _grouped(source[tap_slices(tap, count, self.stride, self.dilation)], self.groups, 1)
            y += np.einsum("goc,ngc...->ngo...", filters[(..., *tap)], seen)
        return y.reshape(x.shape[0], w.shape[0], *count)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x, w), dy = inputs, expanded(output_gradients[0], outputs[0])
        dx = self.input_gradient(dy, w, x.shape) if needed[0] else None
        dw = self.weight_gradient(x, dy, w.shape) if needed[1] else None
        return dx, dw

    def onnx_attributes(self) -> Mapping[str, Attribute | None]:
        pads = onnx_pads(self.padding)
        return {"strides": self.stride, "pads": pads, "dilations": self.dilation, "group": self.groups}

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for op, x, w, _ in _examples(random):
            yield Sample(op, (x, w))

    def positions_read(self, types: Sequence[TensorType], number: int, positions: PositionSets) -> PositionSets | None:
        kernel = _fixed(types[1].shape[2:])
        return None if number else window_positions(positions, kernel, self.stride, self.padding, self.dilation)

    def notation(self, *operands: Expression) -> Expression:
        x, w = operands
        return infix(" ⊗ ", PRODUCT, x, w)

    def label(self, inputs: Sequence[TensorType]) -> str:
        filters, depth, *kernel = _fixed(inputs[1].shape)
        groups = f", {self.groups} groups" if self.groups > 1 else ""
        sizes = f"{times(kernel)}, {depth * self.groups} → {filters}"
        return f"{self.title} {sizes}{stride_text(self.stride)}{groups}"


@register
@dataclass(frozen=True)
class ConvolutionInputGradient(Convolutional):
    """dx[n, c, p · stride + k · dilation − before] += w[o, c, k] · dy[n, o, p] for all o, k, p

    The gradient of a convolution with respect to its input x. Inputs: dy (N, O, positions…), the gradient with respect
    to its output, and the weights w (O, C / groups, taps…). ``before`` is the padding before each axis. ``size`` is the
    size of x along each spatial axis. It must be given because, with a stride above 1, inputs of several sizes have the
    same output size.
    """

    direction: ClassVar[Direction] = Direction.INPUT_GRADIENT
    size: Sizes

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        dy, w = inputs
        channels = _fixed(w.shape)[1] * self.groups if w.rank > 1 else 0
        x = dy.with_shape((dy.shape[:1] or (1,)) + (channels, *self.size))
        _require_output(self, self.output_type(x, w), dy)
        return (x,)

    def geometry(self, inputs: Sequence[TensorType]) -> Geometry:
        """Return the sizes and options of the convolution, on three spatial axes, from the types of dy and w."""
        dy, w = inputs
        (x,) = self.infer(dy, w)
        return self.geometry_of(x, w, dy)

    def reference(self, dy: Array, w: Array) -> Array:
        kernel, count = w.shape[2:], dy.shape[2:]
        channels = w.shape[1] * self.groups
        target = padded(np.zeros((dy.shape[0], channels, *self.size), dy.dtype), self.padding)
        arriving, filters = _grouped(dy, self.groups, 1), _grouped(w, self.groups, 0)
        for _, tap in taps(kernel):
            sent = np.einsum("goc,ngo...->ngc...", filters[(..., *tap)], arriving)
            target[tap_slices(tap, count, self.stride, self.dilation)] += sent.reshape(dy.shape[0], channels, *count)
        return cropped(target, self.padding, self.size)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (dy, w), g = inputs, expanded(output_gradients[0], outputs[0])
        return (self.forward(g, w) if needed[0] else None), (
            self.weight_gradient(g, dy, w.shape) if needed[1] else None
        )

    def positions_read(self, types: Sequence[TensorType], number: int, positions: PositionSets) -> PositionSets | None:
        if number:
            return None
        axes = zip(positions, types[1].concrete(1)[2:], self.stride, self.padding, self.dilation, strict=True)
        return tuple(
            frozenset((i + before - k * d) // s for i in axis for k in range(taps) if (i + before - k * d) % s == 0)
            for axis, taps, s, (before, _), d in axes
        )

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for op, x, w, y in _examples(random):
            dx = cls(op.stride, op.padding, op.dilation, op.groups, x.shape[2:])
            yield Sample(dx, (random.standard_normal(y.shape), w))


@register
@dataclass(frozen=True)
class ConvolutionWeightGradient(Convolutional):
    """dw[o, c, k] = Σ_n Σ_p dy[n, o, p] · x[n, c, p · stride + k · dilation − before]

    The gradient of a convolution with respect to its weights w. Inputs: x (N, C, positions…) and dy (N, O, positions…),
    the gradient with respect to its output. ``before`` is the padding before each axis, and ``size`` the kernel size.
    """

    has_epilogue: ClassVar[bool] = False
    direction: ClassVar[Direction] = Direction.WEIGHT_GRADIENT
    size: Sizes

    def reads_bfloat16(self, inputs: Sequence[Value], value: Value) -> bool:
        return True  # products of two pixels are added at a time, for any number of channels

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        x, dy = inputs
        require_positions(self, x)
        require_positions(self, dy)
        w = x.with_shape((_fixed(dy.shape[1:])[0], _fixed(x.shape[1:])[0] // self.groups, *self.size))
        _require_output(self, self.output_type(x, w), dy)
        return (w,)

    def geometry(self, inputs: Sequence[TensorType]) -> Geometry:
        """Return the sizes and options of the convolution, on three spatial axes, from the types of x and dy."""
        x, dy = inputs
        (w,) = self.infer(x, dy)
        return self.geometry_of(x, w, dy)

    def algorithm(self, inputs: Sequence[TensorType], stored: Sequence[DType], options: CompileOptions) -> Algorithm:
        x, dy = stored
        both = x if x is dy else x.computed  # bfloat16 is multiplied only if both inputs are stored in it
        return kernels.algorithm.choose(self.geometry(inputs), self.direction, both, options)

    def input_layouts(
        self, inputs: Sequence[TensorType], blocks: Sequence[int], algorithm: Algorithm
    ) -> tuple[InputLayout, ...]:
        g = self.geometry(inputs)
        choice = kernels.algorithm
        halo, arriving = choice.weight_gradient_halos(g, choice.form_of(algorithm))
        return InputLayout(choice.acceptable(g.depth * g.groups), halo), InputLayout((BLOCK,), arriving)

    def output_layouts(self, inputs: Sequence[TensorType], blocks: Sequence[int]) -> tuple[int, ...]:
        return (PLAIN,)

    def lower(self, context: LoweringContext) -> list[Launch]:
        return kernels.convolution.lower_weight_gradient(context, self.geometry([x.type for x in context.node.inputs]))

    def reference(self, x: Array, dy: Array) -> Array:
        count = dy.shape[2:]
        source = padded(x, self.padding)
        arriving = _grouped(dy, self.groups, 1)
        positions = math.prod(count)
        arriving = arriving.reshape(*arriving.shape[:3], positions)
        dw = np.zeros((self.groups, arriving.shape[2], x.shape[1] // self.groups, *self.size), x.dtype)
        for _, tap in taps(self.size):
            seen = _grouped(source[tap_slices(tap, count, self.stride, self.dilation)], self.groups, 1)
            dw[(..., *tap)] = np.einsum("ngop,ngcp->goc", arriving, seen.reshape(*seen.shape[:3], positions))
        return dw.reshape(dy.shape[1], x.shape[1] // self.groups, *self.size)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x, dy), g = inputs, expanded(output_gradients[0], outputs[0])
        return (self.input_gradient(dy, g, x.shape) if needed[0] else None), (self.forward(x, g) if needed[1] else None)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for op, x, w, y in _examples(random):
            dw = cls(op.stride, op.padding, op.dilation, op.groups, w.shape[2:])
            yield Sample(dw, (x, random.standard_normal(y.shape)))


def _require_output(op: Convolutional, expected: TensorType, dy: TensorType) -> None:
    if expected != dy:
        raise shape_error(
            op,
            f"the convolution returns {expected}, but its gradient is {dy}",
            "give the size used in the forward pass",
        )


def _examples(random: np.random.Generator) -> Iterator[tuple[Convolution, Array, Array, Array]]:
    """Yield examples (operation, x, w, y) for the tests, many of them with odd or extreme sizes."""
    zero, one = (0, 0), (1, 1)
    cases: list[tuple[Sizes, Sizes, Sizes, Pairs, Sizes, int]] = [
        # x (N, C, positions…), w, stride, padding, dilation, groups
        ((2, 3, 5, 4), (17, 3, 3, 3), (1, 1), (one, one), (1, 1), 1),
        ((2, 17, 3, 3), (1, 17, 1, 1), (1, 1), (zero, zero), (1, 1), 1),
        ((2, 1, 1, 1), (3, 1, 1, 1), (1, 1), (zero, zero), (1, 1), 1),  # one pixel
        ((3, 3, 1, 1), (2, 3, 3, 3), (1, 1), (one, one), (1, 1), 1),  # one pixel surrounded by zeros
        ((2, 18, 1, 2), (50, 18, 1, 2), (1, 1), (zero, zero), (1, 1), 1),  # one pixel of four output blocks
        ((3, 17, 5, 7), (33, 17, 3, 3), (1, 1), (one, one), (1, 1), 1),  # Winograd tiles, partial at the edges
        ((2, 17, 9, 11), (18, 17, 3, 3), (2, 2), (one, one), (1, 1), 1),  # with stride 2, partial at the edges
        ((2, 16, 17, 16), (33, 16, 3, 3), (2, 2), ((0, 0), (0, 1)), (1, 1), 1),
        ((1, 17, 11, 9), (16, 17, 5, 5), (2, 2), ((2, 1), (2, 2)), (1, 1), 1),  # five taps with stride 2
        ((2, 17, 9), (18, 17, 3), (1,), (one,), (1,), 1),  # tiles along one axis
        ((1, 16, 13), (17, 16, 5), (1,), ((2, 1),), (1,), 1),
        ((2, 16, 19), (17, 16, 7), (2,), ((3, 2),), (1,), 1),
        ((2, 17, 2, 5, 7), (16, 17, 3, 3, 3), (1, 1, 1), (one, one, one), (1, 1, 1), 1),  # tiles over three planes
        ((1, 16, 1, 9, 8), (16, 16, 1, 3, 3), (1, 2, 2), ((0, 1), one, one), (1, 1, 1), 1),
        ((1, 1, 9, 7), (3, 1, 5, 2), (2, 3), ((2, 1), (0, 3)), (1, 1), 1),  # asymmetric
        ((2, 3, 7, 5), (3, 3, 1, 2), (3, 3), (zero, zero), (1, 1), 1),  # stride larger than the kernel
        ((1, 2, 7, 8), (3, 2, 3, 2), (1, 2), ((2, 2), (1, 0)), (2, 3), 1),  # dilation
        ((2, 3, 9, 13), (17, 3, 5, 7), (4, 3), ((1, 2), (2, 0)), (1, 1), 1),  # gradients in loops over residues
        ((1, 17, 11, 12), (3, 17, 3, 4), (4, 6), (one, (3, 2)), (2, 3), 1),  # residues without taps
        ((2, 3, 4, 5), (3, 1, 3, 3), (1, 1), (one, one), (1, 1), 3),  # depthwise
        ((1, 3, 4, 4), (6, 1, 2, 3), (2, 1), (zero, one), (1, 1), 3),  # depthwise, two filters each
        ((2, 6, 4, 3), (4, 3, 3, 3), (1, 1), (one, one), (1, 1), 2),  # two groups of three channels
        ((2, 35, 5, 4), (35, 1, 3, 3), (2, 1), (one, one), (1, 2), 35),  # depthwise, three blocks
        ((1, 18, 3, 5), (54, 1, 3, 2), (1, 2), (one, zero), (1, 1), 18),  # three filters each, several blocks
        ((2, 19, 1, 1), (38, 1, 1, 1), (1, 1), (zero, zero), (1, 1), 19),  # one pixel, two filters each
        ((2, 40, 4, 3), (40, 4, 3, 1), (1, 1), (one, zero), (1, 1), 10),  # ten groups of four channels
        ((1, 24, 3, 4), (48, 2, 2, 3), (1, 2), (one, one), (1, 1), 12),  # two channels, four filters each
        ((2, 66, 3, 2), (66, 3, 1, 2), (1, 1), (zero, one), (1, 1), 22),  # groups of three that no block divides
        ((1, 60, 3, 3), (36, 20, 3, 3), (1, 1), (one, one), (1, 1), 3),  # bands of blocks, the last one partial
        ((2, 32, 4, 5), (64, 16, 1, 3), (1, 2), (zero, one), (1, 1), 2),  # groups of whole blocks
        (
            (1, 18, 9, 7),
            (18, 1, 7, 6),
            (4, 3),
            ((3, 3), (2, 3)),
            (1, 1),
            18,
        ),  # depthwise in loops over residues and taps
        ((1, 17, 37), (17, 1, 33), (1,), ((16, 16),), (1,), 17),  # more taps than are unrolled
        ((1, 18, 3, 4, 2), (18, 1, 3, 2, 2), (2, 1, 1), (one, one, zero), (1, 2, 1), 18),
        ((2, 3, 9), (5, 3, 3), (2,), (one,), (1,), 1),
        ((3, 17, 5), (1, 17, 2), (1,), ((0, 1),), (2,), 1),
        ((2, 3, 21), (5, 3, 14), (9,), ((4, 1),), (1,), 1),
        ((1, 2, 4, 5, 6), (3, 2, 2, 3, 2), (2, 3, 2), (one, one, zero), (1, 1, 1), 1),
        ((1, 2, 3, 4, 3), (3, 2, 2, 3, 1), (1, 2, 1), (one, one, zero), (1, 1, 1), 1),
    ]
    for x_shape, w_shape, stride, padding, dilation, groups in cases:
        op = Convolution(stride, padding, dilation, groups)
        x, w = random.standard_normal(x_shape), random.standard_normal(w_shape)
        yield op, x, w, op.reference(x, w)


def conv(
    input: Value,
    weight: Value,
    bias: Value | None = None,
    stride: PerAxis = 1,
    padding: Padding = 0,
    dilation: PerAxis = 1,
    groups: int = 1,
) -> Value:
    """Return y[n, o, p] = Σ_c Σ_k w[o, c, k] · x[n, c, p · stride + k · dilation − before] + b[o].

    This is a convolution as in PyTorch: the filter is not flipped. The input x (N, C, positions…) has one to three
    spatial axes, the weight w is (O, C / groups, taps…), where taps… is the kernel size, and the bias b is (O,), or
    None for 0. The result y is (N, O, positions…). One sample (C, positions…) gives (O, positions…). All arrays are
    float32, or all are float64. The sums run over the channels c of the group of o, and over the elements k of the
    kernel.

    ``stride``, ``padding`` and ``dilation`` are one number for all axes or one for each. ``padding`` is the number of
    zeros before each axis (``before`` in the equation) and after it. It may also be a pair (before, after) for each
    axis, "valid" (no padding), or "same", which keeps the size of the input and requires stride 1. For a kernel of even
    size, "same" adds one zero more after the input than before it.

    Raises ShapeError if channels or groups do not match, or if a kernel is larger than the padded input; DTypeError for
    other dtypes or if the dtypes differ; and OptionError for invalid options, such as a stride of 0.

        edges = st.ops.conv(pictures, sobel, padding="same")
    """
    (groups,) = per_axis("groups", groups, 1)
    rank = weight.type.rank - 2
    if not 1 <= rank <= 3:
        raise shape_error(
            "conv",
            f"its filters are {weight.type}",
            "the filters are (out, in / groups, taps…), with 1 to 3 spatial axes",
        )
    if input.type.rank != rank + 2 and not is_sample(input.type, rank):
        raise shape_error(
            "conv",
            f"filters {weight.type} for an input {input.type}",
            f"filters with {quantity(rank, 'spatial axis')} need an input (N, C, positions…) with as many; "
            "give grey images their channel axis, x[:, None]",
        )
    strides, dilations = per_axis("stride", stride, rank), per_axis("dilation", dilation, rank)
    pairs = padding_pairs(padding, _fixed(weight.shape[2:]), strides, dilations)

    def of_batch(x: Value) -> Value:
        x, zeros = without_zeros(x)
        total = tuple((b + c, a + d) for (b, a), (c, d) in zip(pairs, zeros or ((0, 0),) * rank, strict=True))
        y = Convolution(strides, total, dilations, groups)(x, weight)
        return y if bias is None else y + channel_vector("conv", bias, y)

    return over_samples(of_batch, input, rank)


def channel_vector(what: str, vector: Value, like: Value) -> Value:
    """Return a vector (C,), such as a bias, reshaped to (1, C, 1…) so that it broadcasts to ``like``.

    ``like`` has the shape (N, C, …). Raises ``ShapeError`` if ``like`` has fewer than two axes or the vector does not
    have one entry for each channel. ``what`` is the function that the error names.
    """
    if like.type.rank < 2:
        raise shape_error(what, f"expected (N, C) or (N, C, positions…), got {like.type}", "add axis 1: x[:, None]")
    if vector.shape != like.shape[1:2]:
        raise shape_error(
            what, f"expected one number for each of the {like.shape[1]} channels, got {vector.type}", "give shape (C,)"
        )
    return reshape(vector, (1, *vector.shape, *(1,) * (like.type.rank - 2)))
