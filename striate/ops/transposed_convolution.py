"""Transposed convolution in one, two and three dimensions: the input gradient of a convolution, used as a layer.

    y[n, o, i · stride + k · dilation − before] += w[c, o, k] · x[n, c, i]    for all c, k, i

x is (N, C, positions…) and w is (C, O / groups, taps…), as in PyTorch. ``before`` is the padding at the start of an
axis, by which y is cropped. Dumoulin and Visin, "A guide to convolution arithmetic for deep learning",
arXiv:1603.07285.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from striate.errors import OptionError, quantity
from striate.graph.notation import PRODUCT, Expression, infix
from striate.graph.onnx import OnnxWriter
from striate.graph.op import Sample, register
from striate.graph.value import TensorType, Value
from striate.ops.convolution import ConvolutionInputGradient, channel_vector
from striate.ops.padding import pad
from striate.ops.requirement import place, shape_error
from striate.ops.unbatched import is_sample, over_samples
from striate.ops.window import Pairs, PerAxis, Sizes, onnx_pads, per_axis, reach, stride_text, times


@register
@dataclass(frozen=True)
class TransposedConvolution(ConvolutionInputGradient):
    """y[n, o, i · stride + k · dilation − before] += w[c, o, k] · x[n, c, i] for all c, k, i

    Inputs: x (N, C, positions…) and the filters w (C, O / groups, taps…). ``before`` is the padding at the start of an
    axis, by which y is cropped, and ``size`` holds the spatial sizes of y.
    """

    title: ClassVar[str] = "transposed conv"
    upwards: ClassVar[bool] = True

    def notation(self, *operands: Expression) -> Expression:
        x, w = operands
        return infix(" ⊗ᵀ ", PRODUCT, x, w)

    def label(self, inputs: Sequence[TensorType]) -> str:
        channels, depth, *kernel = inputs[1].concrete(1)
        groups = f", {self.groups} groups" if self.groups > 1 else ""
        return f"{self.title} {times(kernel)}, {channels} → {depth * self.groups}{stride_text(self.stride)}{groups}"

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str] | None:
        x, w = types
        kernel = w.concrete(1)[2:]
        least = least_sizes(x.concrete(1)[2:], kernel, self.stride, self.padding, self.dilation)
        attributes = {
            "kernel_shape": kernel, "strides": self.stride, "dilations": self.dilation, "group": self.groups,
            "pads": onnx_pads(self.padding),
            "output_padding": tuple(size - one for size, one in zip(self.size, least, strict=True)),
        }  # fmt: skip
        return [to.add("ConvTranspose", *inputs, **attributes)]

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        zero, one = (0, 0), (1, 1)
        cases: list[tuple[Sizes, Sizes, Sizes, Pairs, Sizes, int, Sizes]] = [
            # x (N, C, positions…), w, stride, padding, dilation, groups, output padding
            ((2, 3, 4, 5), (3, 17, 3, 2), (2, 2), (one, zero), (1, 1), 1, (1, 0)),
            ((1, 18, 3, 2), (18, 1, 4, 4), (2, 3), (one, (1, 0)), (1, 1), 18, (0, 1)),  # depthwise
            ((2, 4, 1, 1), (4, 3, 1, 3), (1, 1), (zero, zero), (1, 2), 2, (0, 0)),  # one pixel
            ((3, 17, 5), (17, 3, 2), (3,), (zero,), (1,), 1, (2,)),  # stride larger than the kernel
            ((1, 2, 2, 3, 2), (2, 3, 2, 2, 1), (2, 1, 2), (zero, one, zero), (1, 2, 1), 1, (1, 0, 0)),
        ]
        for x, w, stride, padding, dilation, groups, more in cases:
            least = least_sizes(x[2:], w[2:], stride, padding, dilation)
            size = tuple(a + b for a, b in zip(least, more, strict=True))
            op = cls(stride, padding, dilation, groups, size)
            yield Sample(op, (random.standard_normal(x), random.standard_normal(w)))


def least_sizes(size: Sizes, kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes) -> Sizes:
    """Return the output sizes without output padding: (size − 1) · stride + reach − before − after along each axis.

    ``size`` holds the spatial sizes of the input. The reach is the number of positions that a filter spans, dilation ·
    (kernel − 1) + 1.
    """
    spans = reach(kernel, dilation)
    return tuple(
        (n - 1) * s + span - before - after
        for n, s, span, (before, after) in zip(size, stride, spans, padding, strict=True)
    )


def conv_transpose(
    input: Value,
    weight: Value,
    bias: Value | None = None,
    stride: PerAxis = 1,
    padding: PerAxis = 0,
    output_padding: PerAxis = 0,
    groups: int = 1,
    dilation: PerAxis = 1,
) -> Value:
    """Return the transposed convolution y[n, o, i · stride + k · dilation − padding] += w[c, o, k] · x[n, c, i].

    Each element of y is the sum of its products over all c, k and i, plus b[o]. ``input`` is x (N, C, positions…) with
    one to three spatial axes, or one sample (C, positions…); ``weight`` is w (C, O / groups, taps…), and ``bias`` is b
    (O,), by default 0. The result is (N, O, positions…), or (O, positions…) for one sample; all have the same dtype,
    float32 or float64. Along each axis, if x has ``size`` positions, the output has (size − 1) · stride − 2 · padding +
    dilation · (taps − 1) + output_padding + 1 positions.

    Raises ShapeError if the channels do not match or the output would have no positions, DTypeError for other dtypes or
    if the dtypes differ, and OptionError for invalid options, such as an output padding of max(stride, dilation) or
    more.

        larger = st.ops.conv_transpose(features, filters, stride=2, padding=1, output_padding=1)
    """
    (groups,) = per_axis("groups", groups, 1)
    rank = weight.type.rank - 2
    if not 1 <= rank <= 3:
        raise shape_error(
            "conv_transpose",
            f"its filters are {weight.type}",
            "the filters are (in, out / groups, taps…), with 1 to 3 spatial axes",
        )
    if input.type.rank != rank + 2 and not is_sample(input.type, rank):
        raise shape_error(
            "conv_transpose",
            f"filters {weight.type} for an input {input.type}",
            f"filters with {quantity(rank, 'spatial axis')} need an input (N, C, positions…) with as many",
        )
    strides, dilations = per_axis("stride", stride, rank), per_axis("dilation", dilation, rank)
    paddings = per_axis("padding", padding, rank, least=0)
    more = output_paddings(output_padding, strides, dilations)
    kernel = tuple(dim for dim in weight.shape[2:] if isinstance(dim, int))

    def of_batch(x: Value) -> Value:
        y = _transposed(x, weight, kernel, strides, paddings, more, dilations, groups)
        return y if bias is None else y + channel_vector("conv_transpose", bias, y)

    return over_samples(of_batch, input, rank)


def output_paddings(output_padding: PerAxis, stride: Sizes, dilation: Sizes) -> Sizes:
    """Return ``output_padding``, one number or one for each axis, as a tuple with one number for each axis.

    Raises ``OptionError`` unless the output padding of each axis is smaller than the larger of its stride and dilation.
    """
    more = per_axis("output_padding", output_padding, len(stride), least=0)
    if any(one >= max(s, d) for one, s, d in zip(more, stride, dilation, strict=True)):
        raise OptionError(
            f"{place('conv_transpose')}: output_padding={more} must be smaller than the larger of stride={stride} "
            f"and dilation={dilation}\n  help: it selects among the sizes that a convolution with that stride "
            "reduces to the same size; st.ops.pad adds further zeros"
        )
    return more


def _transposed(
    x: Value, w: Value, kernel: Sizes, stride: Sizes, padding: Sizes, more: Sizes, dilation: Sizes, groups: int
) -> Value:
    channels, given = x.type.channels, x.type.concrete(1)[2:]
    if w.type.samples != channels or w.type.batched:
        last = given[-1] == w.type.samples
        raise shape_error(
            "conv_transpose",
            f"its filters take {quantity(w.shape[0], 'channel')}, but its input has {channels}: {x.type}",
            "the channels seem to be on the last axis; move them to axis 1, as in x.transpose(0, 3, 1, 2)"
            if last
            else f"in_channels={channels}, or None to have it inferred",
        )
    if channels % groups:
        raise shape_error(
            "conv_transpose",
            f"{channels} input channels do not split into {groups} groups",
            "choose groups that divide the numbers of channels",
        )
    if 0 in kernel:
        raise shape_error("conv_transpose", f"its filters have no taps: {w.type}", "a kernel size of at least 1")
    # Output padding first restores positions at the end that the padding would cut off; positions beyond are zeros.
    pairs = tuple((p, max(0, p - one)) for p, one in zip(padding, more, strict=True))
    size = least_sizes(given, kernel, stride, pairs, dilation)
    beyond = tuple(max(0, one - p) for p, one in zip(padding, more, strict=True))
    inside = tuple(n + min(one, s - 1) for n, one, s in zip(size, beyond, stride, strict=True))
    if min(inside) < 1:
        window = times(reach(kernel, dilation))
        raise shape_error(
            "conv_transpose",
            f"padding={padding} leaves no positions of an input of {times(given)} under a window of {window}",
            "use less padding, or a larger input",
        )
    y = TransposedConvolution(stride, pairs, dilation, groups, inside)(x, w)
    rest = tuple(n + one - done for n, one, done in zip(size, beyond, inside, strict=True))
    return pad(y, [number for one in reversed(rest) for number in (0, one)]) if any(rest) else y
