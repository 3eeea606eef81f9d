"""Pixel shuffle and its inverse, which move channels to pixels and back (Shi et al., 2016), and channel shuffle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from striate.codegen.launch import Launch
from striate.codegen.storage import PLAIN, InputLayout
from striate.errors import OptionError
from striate.graph.onnx import OnnxWriter
from striate.graph.op import Gradients, Kind, Needed, PositionSets, Sample, Values, register
from striate.graph.reshape import reshape
from striate.graph.value import Array, TensorType, Value
from striate.ops import kernels
from striate.ops.anchor import Algorithm, Anchor, LoweringContext
from striate.ops.indexing import swapaxes
from striate.ops.requirement import place, shape_error
from striate.ops.shaping import expanded
from striate.ops.unbatched import over_samples
from striate.options import whole_number

LARGEST_FACTOR = 1024


@dataclass(frozen=True)
class PixelMove(Anchor):
    """Base class of pixel shuffle, (N, C · factor², H, W) → (N, C, H · factor, W · factor), and its inverse (abstract).

    Element [n, c · factor² + i · factor + j, h, w] of the array with more channels is element
    [n, c, h · factor + i, w · factor + j] of the array with more positions, for 0 ≤ i, j < factor.
    """

    kind: ClassVar[Kind] = Kind.GATHER
    factor: int

    def __post_init__(self) -> None:
        if not 1 <= self.factor <= LARGEST_FACTOR:
            raise OptionError(f"{place(self)}: factor={self.factor}; expected a number from 1 to {LARGEST_FACTOR}")

    def input_layouts(
        self, inputs: Sequence[TensorType], blocks: Sequence[int], algorithm: Algorithm
    ) -> tuple[InputLayout, ...]:
        return (InputLayout((PLAIN,)),)

    def output_layouts(self, inputs: Sequence[TensorType], blocks: Sequence[int]) -> tuple[int, ...]:
        return (PLAIN,)

    def sizes(self, x: TensorType) -> tuple[int, int, int]:
        """Return (C, H, W) of an input (N, C, H, W); raise ``ShapeError`` for another number of axes."""
        if x.rank != 4:
            raise shape_error(self, f"expected an input (N, C, H, W), got {x}", "st.ops.reshape(x, shape) adds an axis")
        _, channels, height, width = x.concrete(1)
        return channels, height, width

    def launch(self, context: LoweringContext, small: Value, large: Value) -> list[Launch]:
        """Return, as a list of one item, the kernel launch that computes the output of the node in ``context``.

        Of the node's input and output, ``small`` is the one with fewer positions, (N, C · factor², H, W), and ``large``
        is the other one, (N, C, H · factor, W · factor).
        """
        (x,), (y,) = context.node.inputs, context.node.outputs
        _, height, width = self.sizes(small.type)
        a, b = context.storage(small), context.storage(large)
        kernel = kernels.resampling.ShuffledPixels(
            x.dtype, large.type.channels, height, width, self.factor, (*a.strides[:2], *a.strides[3:]), a.origin,
            (*b.strides[:2], *b.strides[3:]), b.origin, small is x,
        )  # fmt: skip
        return [
            Launch(self.words(), context.node.path, kernel, (y, x), (y.type.samples, 0) if y.type.samples else (1, 1))
        ]


@register
@dataclass(frozen=True)
class PixelShuffle(PixelMove):
    """y[n, c, h · factor + i, w · factor + j] = x[n, c · factor² + i · factor + j, h, w]

    x (N, C · factor², H, W) → y (N, C, H · factor, W · factor), for 0 ≤ i, j < factor.
    """

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        (x,) = inputs
        channels, height, width = self.sizes(x)
        if channels % self.factor**2:
            raise shape_error(
                self,
                f"the number of channels, {channels}, is not a multiple of {self.factor}² = {self.factor**2}: {x}",
                f"give the convolution before it a multiple of {self.factor**2} channels",
            )
        return (x.with_shape((x.shape[0], channels // self.factor**2, height * self.factor, width * self.factor)),)

    def positions_read(self, types: Sequence[TensorType], number: int, positions: PositionSets) -> PositionSets | None:
        return tuple(frozenset(p // self.factor for p in axis) for axis in positions)

    def lower(self, context: LoweringContext) -> list[Launch]:
        return self.launch(context, context.node.inputs[0], context.node.outputs[0])

    def reference(self, x: Array) -> Array:
        n, channels, height, width = x.shape
        f = self.factor
        parts = x.reshape(n, channels // f**2, f, f, height, width).transpose(0, 1, 4, 2, 5, 3)
        return np.ascontiguousarray(parts).reshape(n, channels // f**2, height * f, width * f)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        return (PixelUnshuffle(self.factor)(expanded(output_gradients[0], outputs[0])),)

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        return [to.add("DepthToSpace", *inputs, blocksize=self.factor, mode="CRD")]

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for factor, shape in ((2, (2, 12, 3, 5)), (3, (1, 153, 1, 2)), (1, (2, 3, 2, 2)), (2, (1, 4, 1, 1))):
            yield Sample(cls(factor), (random.standard_normal(shape),))


@register
@dataclass(frozen=True)
class PixelUnshuffle(PixelMove):
    """y[n, c · factor² + i · factor + j, h, w] = x[n, c, h · factor + i, w · factor + j]

    x (N, C, H · factor, W · factor) → y (N, C · factor², H, W), for 0 ≤ i, j < factor; the inverse of ``PixelShuffle``.
    """

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        (x,) = inputs
        channels, height, width = self.sizes(x)
        if height % self.factor or width % self.factor:
            raise shape_error(
                self,
                f"{height}×{width} pixels do not divide into squares of {self.factor}×{self.factor}: {x}",
                "st.ops.pad(x, pad)",
            )
        return (x.with_shape((x.shape[0], channels * self.factor**2, height // self.factor, width // self.factor)),)

    def positions_read(self, types: Sequence[TensorType], number: int, positions: PositionSets) -> PositionSets | None:
        return tuple(frozenset(p * self.factor + i for p in axis for i in range(self.factor)) for axis in positions)

    def lower(self, context: LoweringContext) -> list[Launch]:
        return self.launch(context, context.node.outputs[0], context.node.inputs[0])

    def reference(self, x: Array) -> Array:
        n, channels, height, width = x.shape
        f = self.factor
        parts = x.reshape(n, channels, height // f, f, width // f, f).transpose(0, 1, 3, 5, 2, 4)
        return np.ascontiguousarray(parts).reshape(n, channels * f**2, height // f, width // f)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        return (PixelShuffle(self.factor)(expanded(output_gradients[0], outputs[0])),)

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        channels, height, width = self.sizes(types[0])
        f = self.factor
        parts = to.add("Reshape", inputs[0], to.integers(0, channels, height // f, f, width // f, f))  # 0 keeps N
        moved = to.add("Transpose", parts, perm=(0, 1, 3, 5, 2, 4))
        return [to.add("Reshape", moved, to.integers(0, channels * f**2, height // f, width // f))]

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for factor, shape in ((2, (2, 3, 6, 10)), (3, (1, 17, 3, 6)), (1, (2, 3, 2, 2)), (2, (1, 1, 2, 2))):
            yield Sample(cls(factor), (random.standard_normal(shape),))


def pixel_shuffle(input: Value, upscale_factor: int) -> Value:
    """Return y[n, c, h · r + i, w · r + j] = x[n, c · r² + i · r + j, h, w] for r = ``upscale_factor``, 0 ≤ i, j < r.

    ``input`` is x (N, C · r², H, W) of any dtype, and y is (N, C, H · r, W · r); N may be missing from both. Raises
    ShapeError for another number of axes or if r² does not divide the channels, and OptionError unless r is a whole
    number from 1 to 1,024.
    """
    op = PixelShuffle(whole_number("pixel_shuffle: upscale_factor", upscale_factor, 1, LARGEST_FACTOR))
    return over_samples(op, input, 2)


def pixel_unshuffle(input: Value, downscale_factor: int) -> Value:
    """Return y[n, c · r² + i · r + j, h, w] = x[n, c, h · r + i, w · r + j] for r = ``downscale_factor``, 0 ≤ i, j < r.

    ``input`` is x (N, C, H · r, W · r) of any dtype, and y is (N, C · r², H, W); N may be missing from both. The
    function is the inverse of ``pixel_shuffle``. Raises ShapeError for another number of axes or if r does not divide H
    and W, and OptionError unless r is a whole number from 1 to 1,024.
    """
    op = PixelUnshuffle(whole_number("pixel_unshuffle: downscale_factor", downscale_factor, 1, LARGEST_FACTOR))
    return over_samples(op, input, 2)


def channel_shuffle(input: Value, groups: int) -> Value:
    """Return y[n, k · groups + g, p] = x[n, g · C / groups + k, p]: the channels of the groups, interleaved.

    ``input`` is x (N, C, positions…), or one sample (C, H, W), of any dtype, and y has the shape of x. Channel k of
    group g, 0 ≤ k < C / groups, becomes channel k · groups + g, as in ShuffleNet (Zhang and others, 2018). Raises
    ShapeError for fewer than three axes and if ``groups`` does not divide C, and OptionError unless ``groups`` is a
    whole number of at least 1.
    """
    count = whole_number("channel_shuffle: groups", groups, 1)
    if input.type.rank < 3:
        raise shape_error("channel_shuffle", f"expected (N, C, positions…), got {input.type}", "x[None] adds an axis")

    def of_batch(x: Value) -> Value:
        channels = x.type.channels
        if channels % count:
            raise shape_error(
                "channel_shuffle", f"{count} groups do not divide {channels} channels", "choose a divisor of C"
            )
        parts = reshape(x, (x.shape[0], count, channels // count, *x.shape[2:]))
        return reshape(swapaxes(parts, 1, 2), x.shape)

    return over_samples(of_batch, input, 2) if input.type.rank == 3 and not input.type.batched else of_batch(input)
