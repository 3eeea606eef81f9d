"""Layer, group, instance and RMS normalization, whose statistics are computed within each sample."""

from __future__ import annotations

import math
from typing import ClassVar

from striate.errors import OptionError, quantity
from striate.graph.value import Value, shape_text
from striate.nn.foreign import ForeignLayer
from striate.nn.module import Module
from striate.nn.normalization import ChannelNormalization, Normalization
from striate.nn.parameter import Parameter
from striate.nn.ranked import Ranked
from striate.nn.trail import layer_error
from striate.ops.reduction import mean, moments
from striate.ops.sample_normalization import (
    channel_layer_norm,
    checked_sizes,
    group_norm,
    instance_norm,
    layer_norm,
    local_response_norm,
    rms_norm,
)
from striate.options import flag, number, whole_number
from striate.tracing import active_trace, current_trace


class LayerNorm(Normalization):
    """Layer normalization: y = (x − μ) / √(σ² + ε) · γ + β, with statistics over the last axes.

    x is (N, …, *normalized_shape); the mean μ and the biased variance σ² are over the axes of ``normalized_shape``,
    which is also the shape of γ and β. ε is ``eps``. ``elementwise_affine=False`` omits both γ and β, and
    ``bias=False`` omits β. For the channels of (N, C, H, W) use ``LayerNorm2d``. Ba et al., 2016; options as in
    PyTorch.
    """

    weight: Value | None
    bias: Value | None

    def __init__(
        self,
        normalized_shape: int | tuple[int, ...],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        self.normalized_shape = checked_sizes("LayerNorm", normalized_shape)
        self.eps = number("LayerNorm: eps", eps, 0.0)
        self.elementwise_affine = flag("LayerNorm: elementwise_affine", elementwise_affine)
        shifted = flag("LayerNorm: bias", bias) and elementwise_affine
        self.register_parameter("weight", Parameter(self.normalized_shape, "ones") if elementwise_affine else None)
        self.register_parameter("bias", Parameter(self.normalized_shape, "zeros") if shifted else None)

    def forward(self, x: Value) -> Value:
        return layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def torch_layer(self) -> ForeignLayer:
        options = {
            "normalized_shape": self.normalized_shape, "eps": self.eps, "elementwise_affine": self.elementwise_affine,
            "bias": not self.elementwise_affine or "bias" in self.own_state(),
        }  # fmt: skip
        return ForeignLayer("LayerNorm", options)

    def extra_repr(self) -> str:
        parts = [shape_text(self.normalized_shape) if len(self.normalized_shape) > 1 else str(*self.normalized_shape)]
        parts += [f"eps={self.eps:g}"] if self.eps != 1e-5 else []
        parts += ["elementwise_affine=False"] if not self.elementwise_affine else []
        parts += ["bias=False"] if self.elementwise_affine and "bias" not in self.own_state() else []
        return ", ".join(parts)


class LayerNorm2d(Normalization):
    """Layer normalization over the channels of each position: y = (x − μ) / √(σ² + ε) · γ + β

    x is (N, C, H, W); (N, C) and (N, C, spatial axes…) are accepted as well. μ and σ² are the mean and the biased
    variance over the channels, ε is ``eps``, C is ``num_channels``, and γ and β are (C,). ConvNeXt uses this layer (Liu
    et al., 2022); the name and the default of ``eps`` are torchvision's.
    """

    weight: Value
    bias: Value

    def __init__(self, num_channels: int, eps: float = 1e-6) -> None:
        self.num_channels = whole_number("LayerNorm2d: num_channels", num_channels, 1)
        self.eps = number("LayerNorm2d: eps", eps, 0.0)
        self.register_parameter("weight", Parameter((self.num_channels,), "ones"))
        self.register_parameter("bias", Parameter((self.num_channels,), "zeros"))

    def forward(self, x: Value) -> Value:
        return channel_layer_norm(x, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        return f"{self.num_channels}" + (f", eps={self.eps:g}" if self.eps != 1e-6 else "")


class RMSNorm(Normalization):
    """Root mean square normalization: y = x / √(mean x² + ε) · γ. Zhang and Sennrich, 2019.

    The mean is over the last axes of each sample, whose sizes are ``normalized_shape``. γ has the shape
    ``normalized_shape``; ``elementwise_affine=False`` omits it. ε is ``eps``; with ``eps=None``, it is the machine
    epsilon of the dtype of x, as in PyTorch.
    """

    weight: Value | None

    def __init__(
        self, normalized_shape: int | tuple[int, ...], eps: float | None = None, elementwise_affine: bool = True
    ) -> None:
        self.normalized_shape = checked_sizes("RMSNorm", normalized_shape)
        self.given_eps = None if eps is None else number("RMSNorm: eps", eps, 0.0)
        self.eps = 2.0**-23 if self.given_eps is None else self.given_eps
        self.elementwise_affine = flag("RMSNorm: elementwise_affine", elementwise_affine)
        self.register_parameter("weight", Parameter(self.normalized_shape, "ones") if elementwise_affine else None)

    def forward(self, x: Value) -> Value:
        return rms_norm(x, self.normalized_shape, self.weight, self.given_eps)

    def torch_layer(self) -> ForeignLayer:
        options = {
            "normalized_shape": self.normalized_shape, "eps": self.given_eps,
            "elementwise_affine": self.elementwise_affine,
        }  # fmt: skip
        return ForeignLayer("RMSNorm", options)

    def extra_repr(self) -> str:
        parts = [shape_text(self.normalized_shape) if len(self.normalized_shape) > 1 else str(*self.normalized_shape)]
        parts += [f"eps={self.given_eps:g}"] if self.given_eps is not None else []
        parts += ["elementwise_affine=False"] if not self.elementwise_affine else []
        return ", ".join(parts)


class GroupNorm(Normalization):
    """Group normalization: y = (x − μ) / √(σ² + ε) · γ + β, with statistics of each group of channels.

    x is (N, C, spatial axes…) or (N, C), where C is ``num_channels``. The channels are split into ``num_groups``
    groups. Each group of each sample has its own mean μ and biased variance σ², over the channels of the group and all
    positions. ε is ``eps``. γ and β are (C,); ``affine=False`` omits both, and ``bias=False`` omits β. Raises
    ``OptionError`` unless ``num_groups`` divides ``num_channels``. Wu and He, 2018; options as in PyTorch.
    """

    weight: Value | None
    bias: Value | None

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, *, bias: bool = True
    ) -> None:
        self.num_groups = whole_number("GroupNorm: num_groups", num_groups, 1)
        self.num_channels = whole_number("GroupNorm: num_channels", num_channels, 1)
        if self.num_channels % self.num_groups:
            raise OptionError(
                f"GroupNorm: num_groups={num_groups} does not divide num_channels={num_channels}\n"
                "  help: choose a divisor, or 1"
            )
        self.eps = number("GroupNorm: eps", eps, 0.0)
        self.affine = flag("GroupNorm: affine", affine)
        self.register_parameter("weight", Parameter((self.num_channels,), "ones") if affine else None)
        shifted = flag("GroupNorm: bias", bias) and affine
        self.register_parameter("bias", Parameter((self.num_channels,), "zeros") if shifted else None)

    def forward(self, x: Value) -> Value:
        if x.type.rank >= 2 and x.shape[1] != self.num_channels:
            raise layer_error(
                current_trace(),
                self.where(),
                f"its input has {quantity(x.shape[1], 'channel')}",
                [f"expected {self.num_channels} on axis 1, got {shape_text(x.shape)}"],
                f"GroupNorm({self.num_groups}, {x.shape[1]})",
            )
        return group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def torch_layer(self) -> ForeignLayer:
        options = {
            "num_groups": self.num_groups, "num_channels": self.num_channels, "eps": self.eps, "affine": self.affine,
            **self.unshifted(self.affine),
        }  # fmt: skip
        return ForeignLayer("GroupNorm", options)

    def extra_repr(self) -> str:
        parts = [str(self.num_groups), str(self.num_channels)]
        parts += [f"eps={self.eps:g}"] if self.eps != 1e-5 else []
        parts += ["affine=False"] if not self.affine else []
        parts += ["bias=False"] if self.unshifted(self.affine) else []
        return ", ".join(parts)


class InstanceNorm(Ranked, ChannelNormalization):
    """Instance normalization: y = (x − μ) / √(σ² + ε) · γ + β (abstract).

    μ and σ² are the mean and the biased variance of each channel of each sample, over its positions; ε is ``eps``. C is
    ``num_features``; if that is None, C is the number of channels of the first input. With ``track_running_stats``,
    training also updates running statistics by running ← (1 − momentum) · running + momentum · batch, where batch is
    the average of the statistics over the samples. Prediction then normalizes with the running statistics.
    ``momentum=None`` never updates them. γ and β (C,) exist only with ``affine=True``; ``bias=False`` omits β. Raises
    ``ShapeError`` for inputs with a single position. Ulyanov et al., 2016; options as in PyTorch.
    """

    defaults: ClassVar[tuple[bool, bool]] = (False, False)

    def __init__(
        self,
        num_features: int | None,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        bias: bool = True,
    ) -> None:
        ChannelNormalization.__init__(self, num_features, eps, momentum, affine, track_running_stats, bias)

    def forward(self, x: Value) -> Value:
        trace = active_trace(type(self).__name__)
        if x.type.rank != self.rank + 2:
            raise layer_error(
                trace,
                self.where(),
                f"its input {shape_text(x.shape)} has {quantity(x.type.rank, 'axis')}",
                [f"expected (N, C, positions…) with {quantity(self.rank, 'spatial axis')}, or one such sample"],
                "InstanceNorm1d for (N, C, L), InstanceNorm2d for (N, C, H, W), InstanceNorm3d for (N, C, D, H, W)",
            )
        self.require_features(trace, x)
        if not self.by_batch(trace):
            mean, variance = self.running_mean, self.running_var
            return instance_norm(x, mean, variance, self.weight, self.bias, use_input_stats=False, eps=self.eps)
        y = instance_norm(x, None, None, self.weight, self.bias, eps=self.eps)
        if trace.training and self.track_running_stats:
            self._track(x)
        return y

    def _track(self, x: Value) -> None:
        """Update the running statistics with means and unbiased variances, averaged over the samples."""
        axes, count = tuple(range(2, x.type.rank)), math.prod(x.type.concrete(1)[2:])
        average, variance = moments(x, axes)
        share = 0.0 if self.momentum is None else self.momentum  # like PyTorch, which then never updates them
        for name, statistic in (("running_mean", average), ("running_var", variance * (count / (count - 1)))):
            running = self.running_mean if name == "running_mean" else self.running_var
            self.assign(name, running * (1.0 - share) + mean(statistic, 0) * share)

    def torch_layer(self) -> ForeignLayer:
        options = {
            "num_features": self.num_features, "eps": self.eps, "momentum": self.momentum, "affine": self.affine,
            "track_running_stats": self.track_running_stats, **self.unshifted(self.affine),
        }  # fmt: skip
        return ForeignLayer(f"InstanceNorm{self.rank}d", options)


class InstanceNorm1d(InstanceNorm):
    """Instance normalization of (N, C, L) or one sample (C, L).

    See the base class ``InstanceNorm`` for equation and options.
    """

    rank: ClassVar[int] = 1


class InstanceNorm2d(InstanceNorm):
    """Instance normalization of (N, C, H, W) or one sample (C, H, W).

    See the base class ``InstanceNorm`` for equation and options.
    """

    rank: ClassVar[int] = 2


class InstanceNorm3d(InstanceNorm):
    """Instance normalization of (N, C, D, H, W) or one sample (C, D, H, W).

    See the base class ``InstanceNorm`` for equation and options.
    """

    rank: ClassVar[int] = 3


class LocalResponseNorm(Module):
    """Normalize across neighbouring channels: y[c] = x[c] / (k + α / size · Σ_j x[j]²)^β

    The sum is over the ``size`` channels j around channel c; channels that do not exist count as 0. α is ``alpha``, and
    β is ``beta``. x is (N, C, spatial axes…). Krizhevsky et al., 2012.
    """

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        self.size = whole_number("LocalResponseNorm: size", size, 1)
        self.alpha = number("LocalResponseNorm: alpha", alpha)
        self.beta = number("LocalResponseNorm: beta", beta)
        self.k = number("LocalResponseNorm: k", k)

    def forward(self, x: Value) -> Value:
        return local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def torch_layer(self) -> ForeignLayer:
        options = {"size": self.size, "alpha": self.alpha, "beta": self.beta, "k": self.k}
        return ForeignLayer("LocalResponseNorm", options)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha:g}, beta={self.beta:g}, k={self.k:g}"
