"""Convolution layers for 1, 2 and 3 spatial axes, and the transposed convolutions."""

from __future__ import annotations

import math
from typing import ClassVar

from striate.errors import OptionError, quantity
from striate.graph.value import Value, shape_text
from striate.nn.foreign import ForeignLayer, symmetric
from striate.nn.initialization import Initializer, bias_initializer
from striate.nn.kind import LayerKind
from striate.nn.parameter import Parameter
from striate.nn.ranked import Ranked
from striate.nn.trail import layer_error
from striate.ops.convolution import conv
from striate.ops.padding import pad
from striate.ops.transposed_convolution import conv_transpose, output_paddings
from striate.ops.window import (
    Padding,
    PerAxis,
    Sizes,
    brief,
    padding_pairs,
    per_axis,
    reach,
    times,
    windows_that_fit,
)
from striate.options import choice, flag
from striate.tracing import current_trace

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class FilterBank(Ranked):
    """Base class of layers with learned filters: convolutions and transposed convolutions (abstract).

    The arguments are the options of ``Convolution``. With ``in_channels=None``, the first input gives the number of
    input channels. Raises ``OptionError`` for invalid options, such as groups that do not divide the channels.
    """

    layer_kind: ClassVar[LayerKind] = LayerKind.LINEAR
    weight: Value
    bias: Value | None

    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        kernel_size: PerAxis,
        stride: PerAxis,
        dilation: PerAxis,
        groups: int,
        bias: bool,
        init: str | Initializer,
    ) -> None:
        name = type(self).__name__
        self.in_channels = None if in_channels is None else per_axis(f"{name}: in_channels", in_channels, 1)[0]
        self.out_channels = per_axis(f"{name}: out_channels", out_channels, 1)[0]
        self.kernel_size = per_axis(f"{name}: kernel_size", kernel_size, self.rank)
        self.stride = per_axis(f"{name}: stride", stride, self.rank)
        self.dilation = per_axis(f"{name}: dilation", dilation, self.rank)
        self.groups = per_axis(f"{name}: groups", groups, 1)[0]
        if self.out_channels % self.groups or (self.in_channels or 0) % self.groups:
            raise OptionError(
                f"{name}: groups={groups} must divide in_channels={in_channels} and "
                f"out_channels={out_channels}\n  help: groups=in_channels is a depthwise convolution"
            )
        self.register_parameter("weight", Parameter(self.weight_shape(self.in_channels), init))
        has_bias = flag(f"{name}: bias", bias)
        self.register_parameter("bias", Parameter((self.out_channels,), bias_initializer(init)) if has_bias else None)
        self._know_fan_in()

    def weight_shape(self, in_channels: int | None) -> tuple[int | None, ...]:
        """Return the shape of the weight of a layer with ``in_channels`` input channels.

        If ``in_channels`` is None, the size that depends on it is None.
        """
        raise NotImplementedError

    def channels_of(self, weight_shape: tuple[int | None, ...]) -> int | None:
        """Return the number of input channels of a layer whose weight has the shape ``weight_shape``.

        The result is None if the size in ``weight_shape`` from which it follows is None.
        """
        raise NotImplementedError

    def _know_fan_in(self) -> None:
        within = self.parameter("weight").shape[1]
        if within is not None and self.bias_parameter is not None:
            self.bias_parameter.fan_in = within * math.prod(self.kernel_size)

    def _know(self, in_channels: int | None) -> None:
        vars(self)["in_channels"] = in_channels
        self.parameter("weight").shape = self.weight_shape(in_channels)
        self._know_fan_in()

    @property
    def bias_parameter(self) -> Parameter | None:
        """The ``Parameter`` of the bias; None if the layer has no bias."""
        return self._parameters.get("bias")

    def infer_sizes(self, x: Value) -> None:
        """If ``in_channels`` is None, set it to the number of channels of the input x.

        ``in_channels`` stays None if x has the wrong number of axes, or if ``groups`` does not divide its channels.
        """
        if self.in_channels is not None or x.type.rank != self.rank + 2 or x.type.channels % self.groups:
            return
        trace = current_trace()
        if trace is not None:
            trace.undo.append(self._forget)
        self._know(x.type.channels)

    def _forget(self) -> None:
        if self.parameter("weight").array is None:
            self._know(None)

    def forget_inputs(self) -> None:
        if self.groups != 1:
            super().forget_inputs()
        self._know(None)
        for parameter in self._parameters.values():
            parameter.initial = None
            parameter.forget()
        self.invalidate()

    def adopt_sizes(self) -> None:
        if self.in_channels is None:
            vars(self)["in_channels"] = self.channels_of(self.parameter("weight").shape)
        self._know_fan_in()

    def require(self, x: Value) -> None:
        """Raise ``ShapeError`` unless the input x has the number of axes and of channels that the layer expects."""
        trace, channels, expected = current_trace(), self.in_channels, self.expected_input()
        if x.type.rank != self.rank + 2:
            cure, positions = f"give an input with {self.rank + 2} axes", x.type.rank - 2
            if x.type.rank == self.rank + 1:
                cure = "give one sample as a batch of one, x[None]; give grey images their channel axis, x[:, None]"
            elif 1 <= positions <= 3:
                cure = f"use a layer for {positions} {'axis' if positions == 1 else 'axes'} of positions, or {cure}"
            raise layer_error(
                trace,
                self.where(),
                f"its input {shape_text(x.shape)} has {quantity(x.type.rank, 'axis')}, not {self.rank + 2}",
                [f"expected {expected}"],
                cure,
            )
        given = x.type.concrete(0)[1:]
        if channels is not None and given[0] != channels:
            if given[-1] == channels:
                order = ", ".join(str(axis) for axis in (0, self.rank + 1, *range(1, self.rank + 1)))
                last = f"with {quantity(channels, 'channel')} on the last axis"
                what = f"its input {shape_text(x.shape)} looks channels-last, {last}"
                cure = f"x.transpose({order}) puts the channels on axis 1"
            else:
                what = f"its input has {quantity(given[0], 'channel')}"
                cure = f"{type(self).__name__}({given[0]}, {self.out_channels}, …), or None to have it inferred"
            raise layer_error(trace, self.where(), what, [f"expected {expected}, got {shape_text(x.shape)}"], cure)
        if channels is None and given[0] % self.groups:
            raise layer_error(
                trace,
                self.where(),
                f"the {quantity(given[0], 'channel')} of its input do not split into {self.groups} groups",
                [f"got {shape_text(x.shape)}"],
                "choose groups that divide the number of channels",
            )

    def expected_input(self) -> str:
        """Return the expected shape of inputs as text, such as ``(N, 3, H, W)``."""
        positions = ("L",) if self.rank == 1 else ("H", "W") if self.rank == 2 else ("D", "H", "W")
        return f"(N, {self.in_channels or 'C'}, {', '.join(positions)})"

    def foreign_options(self, padding: Sizes) -> dict[str, object]:
        """Return the keyword arguments that create the equivalent layer of ``torch.nn``.

        The argument ``padding`` is the given one; all others are the options of this layer.
        """
        return {
            "in_channels": self.in_channels, "out_channels": self.out_channels, "kernel_size": self.kernel_size,
            "stride": self.stride, "padding": padding, "dilation": self.dilation, "groups": self.groups,
            "bias": self.bias_parameter is not None,
        }  # fmt: skip

    def described(self, *options: str) -> str:
        """Return the options of the layer as text, as ``repr`` shows them.

        ``options`` are further texts, such as "padding=1", to insert after the stride.
        """
        parts = [str(self.in_channels), str(self.out_channels), f"kernel_size={brief(self.kernel_size)}"]
        parts += [f"stride={brief(self.stride)}"] if any(s != 1 for s in self.stride) else []
        parts += options
        parts += [f"dilation={brief(self.dilation)}"] if any(d != 1 for d in self.dilation) else []
        parts += [f"groups={self.groups}"] if self.groups != 1 else []
        parts += ["bias=False"] if self.bias_parameter is None else []
        return ", ".join(parts)


class Convolution(FilterBank):
    """y[n, o, p] = Σ_c Σ_k w[o, c, k] · x[n, c, p·stride + k·dilation − padding] + b[o] (abstract)

    n counts samples, o output channels, c the input channels in the group of o, p output positions, and k positions in
    the kernel. x (N, C, spatial axes…) → y (N, O, spatial axes…), or one sample (C, …) → (O, …), float32 or float64.
    The weight w is (O, C / groups, kernel sizes…), the bias b (O,), as in PyTorch; the filter is not flipped. C is
    ``in_channels``; if that is None, C is the number of channels of the first input. O is ``out_channels``.
    ``kernel_size``, ``stride`` and ``dilation`` are each a number for all axes, or one number per axis. ``padding`` is
    a number, one number per axis, (before, after) per axis, "same" or "valid". ``padding_mode`` is "zeros", "reflect",
    "replicate" or "circular"; all but "zeros" pad with elements of the input. ``init`` is an initializer of the
    weights, or its name. Raises ``OptionError`` for invalid options, such as groups that do not divide the channels,
    and ``ShapeError`` for inputs with another number of axes or channels, or smaller than the kernel.
    """

    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        kernel_size: PerAxis,
        stride: PerAxis = 1,
        padding: Padding = 0,
        dilation: PerAxis = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        init: str | Initializer = "torch",
    ) -> None:
        name = type(self).__name__
        self.padding_mode = choice(f"{name}: padding_mode", padding_mode, PADDING_MODES)
        super().__init__(in_channels, out_channels, kernel_size, stride, dilation, groups, bias, init)
        self.padding = padding
        options = (self.kernel_size, self.stride, self.dilation)
        self.padding_pairs = padding_pairs(padding, *options, f"{name}: padding")

    def weight_shape(self, in_channels: int | None) -> tuple[int | None, ...]:
        within = None if in_channels is None else in_channels // self.groups
        return self.out_channels, within, *self.kernel_size

    def channels_of(self, weight_shape: tuple[int | None, ...]) -> int | None:
        return None if weight_shape[1] is None else weight_shape[1] * self.groups

    def forward(self, x: Value) -> Value:
        self.require(x)
        self.infer_sizes(x)
        padding = self.padding_pairs
        if self.padding_mode != "zeros" and any(map(any, padding)):
            x = pad(x, [number for pair in reversed(padding) for number in pair], self.padding_mode)
            padding = ((0, 0),) * self.rank
        return conv(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def require(self, x: Value) -> None:
        super().require(x)
        given = x.type.concrete(0)[2:]
        counts = windows_that_fit(given, self.kernel_size, self.stride, self.padding_pairs, self.dilation)
        if min(counts) < 1:
            window = reach(self.kernel_size, self.dilation)
            room = tuple(size + sum(pair) for size, pair in zip(given, self.padding_pairs))
            looks_last = self.in_channels is None and given[-1] in (1, 3)
            raise layer_error(
                current_trace(),
                self.where(),
                f"its window of {times(window)} is larger than its input of {times(given)}"
                + (f", {times(room)} with padding" if room != given else ""),
                [f"expected {self.expected_input()}, got {shape_text(x.shape)}"],
                "the array looks channels-last; put the channels on axis 1"
                if looks_last
                else "use a smaller kernel, more padding, or less pooling before it",
            )

    def multiply_adds(self, inputs: tuple[Value, ...], output: Value) -> int:
        weight = self.parameter("weight")
        return output.type.size(1) * math.prod(size or 0 for size in weight.shape[1:])

    def torch_layer(self) -> ForeignLayer | None:
        padding = symmetric(self.padding_pairs)
        if padding is None:
            return None
        return ForeignLayer(f"Conv{self.rank}d", {**self.foreign_options(padding), "padding_mode": self.padding_mode})

    def extra_repr(self) -> str:
        parts = [f"padding={self.padding!r}"] if self.padding not in (0, "valid") else []
        parts += [f"padding_mode={self.padding_mode!r}"] if self.padding_mode != "zeros" else []
        return self.described(*parts)


class ConvolutionTranspose(FilterBank):
    """y[n, o, i·stride + k·dilation − padding] += w[c, o, k] · x[n, c, i] for all c, k, i; plus b[o] (abstract)

    n counts samples, o output channels, c the input channels in the group of o, i input positions, and k positions in
    the kernel. x (N, C, spatial axes…) → y (N, O, spatial axes…), or one sample (C, …) → (O, …), float32 or float64.
    The weight w is (C, O / groups, kernel sizes…), the bias b (O,), as in PyTorch. C is ``in_channels``; if that is
    None, C is the number of channels of the first input. O is ``out_channels``. ``kernel_size``, ``stride``,
    ``padding``, ``output_padding`` and ``dilation`` are each a number for all axes, or one number per axis. Along each
    axis the output has (size − 1) · stride − 2 · padding + dilation · (kernel_size − 1) + output_padding + 1 positions.
    ``padding_mode`` must be "zeros"; ``init`` is an initializer of the weights, or its name. Raises ``OptionError`` for
    invalid options, such as an ``output_padding`` that is at least as large as both stride and dilation, and
    ``ShapeError`` for inputs with another number of axes or channels.
    """

    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        kernel_size: PerAxis,
        stride: PerAxis = 1,
        padding: PerAxis = 0,
        output_padding: PerAxis = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: PerAxis = 1,
        padding_mode: str = "zeros",
        *,
        init: str | Initializer = "torch",
    ) -> None:
        name = type(self).__name__
        choice(f"{name}: padding_mode", padding_mode, ("zeros",))
        super().__init__(in_channels, out_channels, kernel_size, stride, dilation, groups, bias, init)
        if isinstance(padding, str):
            raise OptionError(
                f"{name}: padding={padding!r}; a transposed convolution takes whole numbers\n"
                "  help: padding=kernel_size // 2 with a stride of 1 keeps the size"
            )
        self.padding = per_axis(f"{name}: padding", padding, self.rank, least=0)
        self.output_padding = output_paddings(output_padding, self.stride, self.dilation)

    def weight_shape(self, in_channels: int | None) -> tuple[int | None, ...]:
        return in_channels, self.out_channels // self.groups, *self.kernel_size

    def channels_of(self, weight_shape: tuple[int | None, ...]) -> int | None:
        return weight_shape[0]

    def forward(self, x: Value) -> Value:
        self.require(x)
        self.infer_sizes(x)
        return conv_transpose(
            x, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation
        )

    def multiply_adds(self, inputs: tuple[Value, ...], output: Value) -> int:
        weight = self.parameter("weight")
        return inputs[0].type.size(1) * math.prod(size or 0 for size in weight.shape[1:])

    def torch_layer(self) -> ForeignLayer:
        options = {**self.foreign_options(self.padding), "output_padding": self.output_padding}
        return ForeignLayer(f"ConvTranspose{self.rank}d", options)

    def extra_repr(self) -> str:
        parts = [f"padding={brief(self.padding)}"] if any(self.padding) else []
        parts += [f"output_padding={brief(self.output_padding)}"] if any(self.output_padding) else []
        return self.described(*parts)


class Conv1d(Convolution):
    """Convolution along one spatial axis: (N, C, L) → (N, O, L′).

    See the base class ``Convolution`` for equation and options.
    """

    rank = 1


class Conv2d(Convolution):
    """Convolution of images: (N, C, H, W) → (N, O, H′, W′).

    See the base class ``Convolution`` for equation and options.
    """

    rank = 2


class Conv3d(Convolution):
    """Convolution of volumes: (N, C, D, H, W) → (N, O, D′, H′, W′).

    See the base class ``Convolution`` for equation and options.
    """

    rank = 3


class ConvTranspose1d(ConvolutionTranspose):
    """Transposed convolution along one spatial axis: (N, C, L) → (N, O, L′).

    The layer computes what ``Conv1d`` computes in its backward pass, to get the gradient of its input from that of its
    output. See the base class ``ConvolutionTranspose`` for equation and options.
    """

    rank = 1


class ConvTranspose2d(ConvolutionTranspose):
    """Transposed convolution of images: (N, C, H, W) → (N, O, H′, W′).

    The layer computes what ``Conv2d`` computes in its backward pass, to get the gradient of its input from that of its
    output. See the base class ``ConvolutionTranspose`` for equation and options.
    """

    rank = 2


class ConvTranspose3d(ConvolutionTranspose):
    """Transposed convolution of volumes: (N, C, D, H, W) → (N, O, D′, H′, W′).

    The layer computes what ``Conv3d`` computes in its backward pass, to get the gradient of its input from that of its
    output. See the base class ``ConvolutionTranspose`` for equation and options.
    """

    rank = 3
