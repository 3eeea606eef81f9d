"""MobileNets and EfficientNet, with the parameter names of torchvision.

Sandler et al., arXiv:1801.04381; Howard et al., arXiv:1905.02244; Tan and Le, arXiv:1905.11946.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from striate.arguments import explained
from striate.graph.value import Value
from striate.models.block import Stem
from striate.nn.activation import Activation, Hardsigmoid, Hardswish, ReLU, ReLU6, Sigmoid, SiLU
from striate.nn.container import Sequential
from striate.nn.convolution import Conv2d
from striate.nn.linear import Linear
from striate.nn.module import Module
from striate.nn.normalization import BatchNorm2d
from striate.nn.pooling import GlobalAveragePool
from striate.nn.random import Dropout, DropPath
from striate.nn.shaping import Flatten

Act = Callable[[], Activation]
"""A function that returns a new activation layer."""


def divisible(channels: float, by: int = 8) -> int:
    """Return the multiple of ``by`` that is nearest to ``channels``, but at least ``by``.

    If this multiple is below 90 % of ``channels``, the next larger multiple is returned.
    """
    rounded = max(by, int(channels + by / 2) // by * by)
    return rounded + by if rounded < 0.9 * channels else rounded


def _convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, act: Act | None = None, eps: float = 1e-5
) -> Sequential:
    """Return a convolution that keeps the size (divided by its stride), its normalization and activation."""
    convolution = Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False, init="he")
    layers: list[Module] = [convolution, BatchNorm2d(outputs, eps=eps)]
    return Sequential(*layers, act()) if act else Sequential(*layers)


class SqueezeExcitation(Module):
    """Scale every channel of each sample by a learned function of all channels: y = x · s

    s = gate(fc2(act(fc1(mean(x))))), with the mean over the positions. ``act`` and ``gate`` are classes of activation
    layers, such as ``ReLU``. fc1 has ``squeezed`` outputs, and fc2 has ``channels``, the number of channels of x. Hu et
    al., arXiv:1709.01507.
    """

    portable: ClassVar[bool] = True

    def __init__(self, channels: int, squeezed: int, act: Act, gate: Act) -> None:
        self.avgpool = GlobalAveragePool()
        self.fc1 = Conv2d(channels, squeezed, 1)
        self.fc2 = Conv2d(squeezed, channels, 1)
        self.activation = act()
        self.scale_activation = gate()

    def forward(self, x: Value) -> Value:
        weight = self.fc2(self.activation(self.fc1(self.avgpool(x))))
        return x * self.scale_activation(weight)


class InvertedResidual(Module):
    """Inverted residual block: y = x + project(depthwise(expand(x))), or without x if the shape changes

    ``parts`` are all layers of expand, depthwise and project, in this order. ``same`` says whether the shape stays the
    same. ``name`` is the attribute that contains these layers, as in torchvision: "conv" in MobileNetV2, "block" in
    later networks. ``drop`` is the probability that a sample skips the layers in training. If the shape changes, no
    sample skips them.
    """

    portable: ClassVar[bool] = True

    def __init__(self, name: str, parts: list[Module], same: bool, drop: float = 0.0) -> None:
        setattr(self, name, Sequential(*parts))
        self.same = same
        self.stochastic_depth = DropPath(drop) if drop else None

    def forward(self, x: Value) -> Value:
        y = next(iter(self.children()))(x)
        if not self.same:
            return y
        return x + (y if self.stochastic_depth is None else self.stochastic_depth(y))


def _head(features: list[Module], width: int, classifier: Sequential) -> Sequential:
    """Return a network of features, the mean over positions, and a classifier."""
    return Sequential(
        {
            "features": Sequential(*features), "avgpool": GlobalAveragePool(), "flatten": Flatten(),
            "classifier": classifier,
        }
    )  # fmt: skip


@explained
def mobilenet_v2(
    channels: int = 3, classes: int = 10, *, stem: str = "small", multiplier: float = 1.0, dropout: float = 0.2
) -> Sequential:
    """MobileNetV2 for images, with seventeen inverted residual blocks. Sandler et al., arXiv:1801.04381.

    All numbers of channels are multiplied by ``multiplier``. ``stem="imagenet"`` has the published strides. With
    "small", for images of 32 × 32 pixels, the first convolution and the first block of stride 2 have stride 1 instead.
    ``dropout`` is the dropout probability before the last linear layer.
    """
    small = Stem.of(stem) is Stem.SMALL
    inputs = divisible(32 * multiplier)
    features: list[Module] = [_convolution(channels, inputs, 3, 1 if small else 2, act=ReLU6)]
    table = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
    for expansion, width, count, stride in table:
        outputs = divisible(width * multiplier)
        for index in range(count):
            step = 1 if index or (small and width == 24) else stride
            inner = inputs * expansion
            parts: list[Module] = [_convolution(inputs, inner, 1, act=ReLU6)] if expansion > 1 else []
            parts.append(_convolution(inner, inner, 3, step, inner, ReLU6))
            parts += _convolution(inner, outputs, 1)
            features.append(InvertedResidual("conv", parts, step == 1 and inputs == outputs))
            inputs = outputs
    last = divisible(1280 * max(1.0, multiplier))
    features.append(_convolution(inputs, last, 1, act=ReLU6))
    return _head(features, last, Sequential(Dropout(dropout), Linear(last, classes)))


@dataclass(frozen=True)
class _Row:
    """A block of MobileNetV3.

    Its kernel size, the channels inside and after it, whether it has squeeze-and-excitation, its activation and stride.
    """

    kernel: int
    inner: int
    outputs: int
    excites: bool
    act: Act
    stride: int


_SMALL = (
    _Row(3, 16, 16, True, ReLU, 2), _Row(3, 72, 24, False, ReLU, 2), _Row(3, 88, 24, False, ReLU, 1),
    _Row(5, 96, 40, True, Hardswish, 2), _Row(5, 240, 40, True, Hardswish, 1), _Row(5, 240, 40, True, Hardswish, 1),
    _Row(5, 120, 48, True, Hardswish, 1), _Row(5, 144, 48, True, Hardswish, 1), _Row(5, 288, 96, True, Hardswish, 2),
    _Row(5, 576, 96, True, Hardswish, 1), _Row(5, 576, 96, True, Hardswish, 1),
)  # fmt: skip


@explained
def mobilenet_v3_small(
    channels: int = 3, classes: int = 10, *, stem: str = "small", dropout: float = 0.2
) -> Sequential:
    """MobileNetV3-Small for images: eleven inverted residual blocks, most with squeeze-and-excitation.

    ``stem="imagenet"`` has the published strides. With "small", for images of 32 × 32 pixels, the first convolution and
    the first block have stride 1 instead of 2. ``dropout`` is the dropout probability before the last linear layer.
    """
    small = Stem.of(stem) is Stem.SMALL
    inputs, eps = 16, 1e-3
    features: list[Module] = [_convolution(channels, inputs, 3, 1 if small else 2, act=Hardswish, eps=eps)]
    for number, row in enumerate(_SMALL):
        stride = 1 if small and number == 0 else row.stride
        parts: list[Module] = []
        if row.inner != inputs:
            parts.append(_convolution(inputs, row.inner, 1, act=row.act, eps=eps))
        parts.append(_convolution(row.inner, row.inner, row.kernel, stride, row.inner, row.act, eps))
        if row.excites:
            parts.append(SqueezeExcitation(row.inner, divisible(row.inner / 4), ReLU, Hardsigmoid))
        parts.append(_convolution(row.inner, row.outputs, 1, eps=eps))
        features.append(InvertedResidual("block", parts, stride == 1 and inputs == row.outputs))
        inputs = row.outputs
    features.append(_convolution(inputs, 6 * inputs, 1, act=Hardswish, eps=eps))
    hidden = Sequential(Linear(6 * inputs, 1024), Hardswish(), Dropout(dropout), Linear(1024, classes))
    return _head(features, 1024, hidden)


_EFFICIENT = (
    (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3), (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)  # fmt: skip
"""Expansion, kernel size, stride, channels, and number of blocks of each stage of EfficientNet-B0."""


@explained
def efficientnet_b0(
    channels: int = 3, classes: int = 10, *, stem: str = "small", dropout: float = 0.2, drop_path: float = 0.2
) -> Sequential:
    """EfficientNet-B0 for images: sixteen inverted residual blocks with squeeze-and-excitation and SiLU.

    ``stem="imagenet"`` has the published strides. With "small", for images of 32 × 32 pixels, the first convolution and
    the first block of stride 2 have stride 1 instead. ``dropout`` is the dropout probability before the last linear
    layer. In training, a sample skips block i = 0, 1, …, 15 with probability ``drop_path`` · i / 16 (stochastic depth),
    unless the block changes the shape.
    """
    small = Stem.of(stem) is Stem.SMALL
    inputs, number, total = 32, 0, sum(row[-1] for row in _EFFICIENT)
    features: list[Module] = [_convolution(channels, inputs, 3, 1 if small else 2, act=SiLU)]
    for stage, (expansion, kernel, stride, outputs, count) in enumerate(_EFFICIENT):
        blocks: list[Module] = []
        for index in range(count):
            step = 1 if index or (small and stage == 1) else stride
            inner = inputs * expansion
            parts: list[Module] = [_convolution(inputs, inner, 1, act=SiLU)] if expansion > 1 else []
            parts.append(_convolution(inner, inner, kernel, step, inner, SiLU))
            parts.append(SqueezeExcitation(inner, max(1, inputs // 4), SiLU, Sigmoid))
            parts.append(_convolution(inner, outputs, 1))
            drop = drop_path * number / total
            blocks.append(InvertedResidual("block", parts, step == 1 and inputs == outputs, drop))
            inputs, number = outputs, number + 1
        features.append(Sequential(*blocks))
    features.append(_convolution(inputs, 4 * inputs, 1, act=SiLU))
    return _head(features, 4 * inputs, Sequential(Dropout(dropout), Linear(4 * inputs, classes)))
