"""Convolution layers for 1, 2 and 3 axes of positions."""

from __future__ import annotations

import math
from typing import ClassVar

from striate.errors import OptionError, unknown_option
from striate.graph.value import Value, shape_text
from striate.nn.foreign import ForeignLayer, onnx_pads, symmetric
from striate.nn.initialization import Initializer, bias_initializer
from striate.nn.kind import LayerKind
from striate.nn.parameter import Parameter
from striate.nn.ranked import Ranked
from striate.nn.trail import layer_error
from striate.ops.convolution import conv
from striate.ops.window import Padding, PerAxis, brief, padding_pairs, per_axis, reach, times, windows_that_fit
from striate.options import flag
from striate.tracing import current_trace

PADDING_MODES = ("zeros",)


class Convolution(Ranked):
    """y[n, o, p] = Σ_c Σ_k w[o, c, k] · x[n, c, p·stride + k·dilation − padding] + b[o] (abstract)

    x (N, C, positions…) → y (N, O, positions…), or one sample (C, positions…) → (O, positions…); weight
    (O, C / groups, taps…), bias (O,), as in PyTorch. The filter is not flipped. ``in_channels=None`` is inferred.
    ``padding`` is a number, one per axis, pairs (before, after), "same" or "valid". Raises ``ShapeError`` for inputs of
    another rank or channel count, or smaller than the window.
    """

    layer_kind: ClassVar[LayerKind] = LayerKind.LINEAR
    weight: Value
    bias: Value | None

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
        if padding_mode not in PADDING_MODES:
            raise unknown_option("padding_mode", padding_mode, PADDING_MODES)
        self.in_channels = None if in_channels is None else per_axis("in_channels", in_channels, 1)[0]
        self.out_channels = per_axis("out_channels", out_channels, 1)[0]
        self.kernel_size = per_axis("kernel_size", kernel_size, self.rank)
        self.stride = per_axis("stride", stride, self.rank)
        self.dilation = per_axis("dilation", dilation, self.rank)
        self.groups = per_axis("groups", groups, 1)[0]
        self.padding = padding
        self.padding_pairs = padding_pairs(padding, self.kernel_size, self.stride, self.dilation)
        if out_channels % self.groups or (in_channels or 0) % self.groups:
            raise OptionError(f"groups={groups} must divide in_channels={in_channels} and out_channels={out_channels}")
        within = None if in_channels is None else in_channels // self.groups
        self.register_parameter("weight", Parameter((self.out_channels, within, *self.kernel_size), init))
        has_bias = flag(f"{type(self).__name__}: bias", bias)
        self.register_parameter("bias", Parameter((self.out_channels,), bias_initializer(init)) if has_bias else None)
        self._know_fan_in()

    def _know_fan_in(self) -> None:
        within = self.parameter("weight").shape[1]
        if within is not None and self.bias_parameter is not None:
            self.bias_parameter.fan_in = within * math.prod(self.kernel_size)

    @property
    def bias_parameter(self) -> Parameter | None:
        """The bias, if the layer has one."""
        return self._parameters.get("bias")

    def infer_sizes(self, x: Value) -> None:
        """Sets the number of input channels from the input if it was None."""
        if self.in_channels is not None or x.type.rank != self.rank + 2:
            return
        channels = int(x.type.concrete(1)[1])
        if channels % self.groups:
            return
        parameter = self.parameter("weight")
        trace = current_trace()
        if trace is not None:
            trace.undo.append(self._forget)
        self.__dict__["in_channels"] = channels
        parameter.shape = (self.out_channels, channels // self.groups, *self.kernel_size)
        self._know_fan_in()

    def _forget(self) -> None:
        parameter = self.parameter("weight")
        if parameter.array is None:
            self.__dict__["in_channels"] = None
            parameter.shape = (self.out_channels, None, *self.kernel_size)

    def forget_inputs(self) -> None:
        if self.groups != 1:
            super().forget_inputs()
        self.__dict__["in_channels"] = None
        self.parameter("weight").shape = (self.out_channels, None, *self.kernel_size)
        for parameter in self._parameters.values():
            parameter.array = parameter.initial = None
        self.invalidate()

    def adopt_sizes(self) -> None:
        within = self.parameter("weight").shape[1]
        if self.in_channels is None and within is not None:
            self.__dict__["in_channels"] = within * self.groups
        self._know_fan_in()

    def forward(self, x: Value) -> Value:
        self._require(x)
        self.infer_sizes(x)
        return conv(x, self.weight, self.bias, self.stride, self.padding_pairs, self.dilation, self.groups)

    def _require(self, x: Value) -> None:
        trace, channels = current_trace(), self.in_channels
        positions = ("L",) if self.rank == 1 else ("H", "W") if self.rank == 2 else ("D", "H", "W")
        expected = f"(N, {channels or 'C'}, {', '.join(positions)})"
        if x.type.rank != self.rank + 2:
            lacks = x.type.rank == self.rank + 1
            raise layer_error(
                trace,
                self.where(),
                f"its input {shape_text(x.shape)} has {x.type.rank} axes, not {self.rank + 2}",
                [f"expected {expected}"],
                "give one sample as a batch of one, x[None]; give grey images their channel axis, x[:, None]"
                if lacks
                else f"use a layer for {x.type.rank - 2} axes of positions, or an input with {self.rank + 2} axes",
            )
        given = x.type.concrete(0)[1:]
        if channels is not None and given[0] != channels:
            if given[-1] == channels:
                order = ", ".join(str(axis) for axis in (0, self.rank + 1, *range(1, self.rank + 1)))
                what = f"its input {shape_text(x.shape)} looks channels-last, with {channels} channels on the last axis"
                cure = f"x.transpose({order}) puts the channels on axis 1"
            else:
                what = f"its input has {given[0]} channels"
                cure = f"{type(self).__name__}({given[0]}, {self.out_channels}, …), or None to have it inferred"
            raise layer_error(trace, self.where(), what, [f"expected {expected}, got {shape_text(x.shape)}"], cure)
        counts = windows_that_fit(given[1:], self.kernel_size, self.stride, self.padding_pairs, self.dilation)
        if min(counts) < 1:
            window = reach(self.kernel_size, self.dilation)
            room = [size + sum(pair) for size, pair in zip(given[1:], self.padding_pairs)]
            looks_last = channels is None and given[-1] in (1, 3)
            raise layer_error(
                trace,
                self.where(),
                f"its window of {times(window)} is larger than its input of {times(given[1:])}"
                + (f", {times(room)} with padding" if tuple(room) != given[1:] else ""),
                [f"expected {expected}, got {shape_text(x.shape)}"],
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
        options = {
            "in_channels": self.in_channels, "out_channels": self.out_channels, "kernel_size": self.kernel_size,
            "stride": self.stride, "padding": padding, "dilation": self.dilation, "groups": self.groups,
            "bias": self.bias_parameter is not None,
        }  # fmt: skip
        return ForeignLayer(f"Conv{self.rank}d", options)

    def onnx_node(self) -> ForeignLayer:
        options = {
            "kernel_shape": self.kernel_size, "strides": self.stride, "dilations": self.dilation, "group": self.groups,
            "pads": onnx_pads(self.padding_pairs),
        }  # fmt: skip
        return ForeignLayer("Conv", options, ("weight", "bias"))

    def extra_repr(self) -> str:
        parts = [str(self.in_channels), str(self.out_channels), f"kernel_size={brief(self.kernel_size)}"]
        parts += [f"stride={brief(self.stride)}"] if any(s != 1 for s in self.stride) else []
        parts += [f"padding={self.padding!r}"] if self.padding not in (0, "valid") else []
        parts += [f"dilation={brief(self.dilation)}"] if any(d != 1 for d in self.dilation) else []
        parts += [f"groups={self.groups}"] if self.groups != 1 else []
        parts += ["bias=False"] if self.bias_parameter is None else []
        return ", ".join(parts)


class Conv1d(Convolution):
    """Convolution over (N, C, L)."""

    rank = 1


class Conv2d(Convolution):
    """Convolution over (N, C, H, W)."""

    rank = 2


class Conv3d(Convolution):
    """Convolution over (N, C, D, H, W)."""

    rank = 3
