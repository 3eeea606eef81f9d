"""Residual networks (ResNet), with the parameter names of torchvision.

He et al., arXiv:1512.03385, arXiv:1603.05027.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from striate.arguments import explained
from striate.graph.value import Value
from striate.models.block import FITTED, SLOPE, NormPlacement, Stem, Style
from striate.nn.container import Sequential
from striate.nn.convolution import Conv2d
from striate.nn.linear import Linear
from striate.nn.module import Module
from striate.nn.normalization import BatchNorm2d
from striate.nn.pooling import GlobalAveragePool, MaxPool2d
from striate.nn.shaping import Flatten


class BasicBlock(Module):
    """Residual block of two 3×3 convolutions: y = act(conv2(act(conv1(x))) + shortcut(x))

    x has ``inputs`` channels. Each convolution is normalized and has ``width`` outputs; conv1 has the ``stride``.
    ``style`` determines the activation act, and where normalization is applied. The shortcut is x itself or, if the
    shape changes, a 1×1 convolution with its normalization (``downsample``).
    """

    portable: ClassVar[bool] = True
    expansion = 1

    def __init__(self, style: Style, inputs: int, width: int, stride: int) -> None:
        self.style = style
        self.conv1, self.bn1 = style.pair(inputs, width, 3, stride)
        self.relu = style.act()
        self.conv2, self.bn2 = style.pair(width, width, 3)
        self.downsample = _shortcut(style, inputs, width, stride)

    def forward(self, x: Value) -> Value:
        y = self.relu(self.style.mapped(self.conv1, self.bn1, x))
        y = self.style.mapped(self.conv2, self.bn2, y)
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(Module):
    """Residual block of three convolutions: y = act(conv3(act(conv2(act(conv1(x))))) + shortcut(x))

    conv1 is 1×1 and reduces the ``inputs`` channels of x to ``width``, conv2 is 3×3 and has the ``stride``, and conv3
    is 1×1 and has 4 · ``width`` outputs. Each is normalized. ``style`` and the shortcut are as in ``BasicBlock``.
    """

    portable: ClassVar[bool] = True
    expansion = 4

    def __init__(self, style: Style, inputs: int, width: int, stride: int) -> None:
        self.style = style
        self.conv1, self.bn1 = style.pair(inputs, width, 1)
        self.conv2, self.bn2 = style.pair(width, width, 3, stride)
        self.conv3, self.bn3 = style.pair(width, self.expansion * width, 1)
        self.relu = style.act()
        self.downsample = _shortcut(style, inputs, self.expansion * width, stride)

    def forward(self, x: Value) -> Value:
        y = self.relu(self.style.mapped(self.conv1, self.bn1, x))
        y = self.relu(self.style.mapped(self.conv2, self.bn2, y))
        y = self.style.mapped(self.conv3, self.bn3, y)
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class PreactivationBlock(Module):
    """Preactivation residual block: y = conv2(act(bn2(conv1(act(bn1(x)))))) + shortcut(x)

    x has ``inputs`` channels. Both convolutions are 3×3 and have ``width`` outputs; conv1 has the ``stride``. bn1 and
    bn2 are batch normalizations. ``style`` determines the activation act and the initializer. The shortcut is x itself
    or, if the shape changes, a 1×1 convolution of act(bn1(x)).
    """

    portable: ClassVar[bool] = True
    expansion = 1

    def __init__(self, style: Style, inputs: int, width: int, stride: int) -> None:
        same = inputs == width and stride == 1
        self.bn1 = BatchNorm2d(inputs)
        self.conv1 = Conv2d(inputs, width, 3, stride, 1, bias=False, init=style.init)
        self.bn2 = BatchNorm2d(width)
        self.conv2 = Conv2d(width, width, 3, 1, 1, bias=False, init=style.init)
        self.relu = style.act()
        self.downsample = None if same else Conv2d(inputs, width, 1, stride, bias=False, init=style.init)

    def forward(self, x: Value) -> Value:
        entered = self.relu(self.bn1(x))
        y = self.conv2(self.relu(self.bn2(self.conv1(entered))))
        return y + (x if self.downsample is None else self.downsample(entered))


Block = type[BasicBlock] | type[Bottleneck] | type[PreactivationBlock]


def residual_network(
    style: Style, stem: Stem, channels: int, classes: int, block: Block, widths: Sequence[int], blocks: Sequence[int]
) -> Sequential:
    """Return a ResNet: a stem, stages of residual blocks, the mean over positions, and a linear layer.

    ``stem`` chooses the first layers, and ``style`` the activation, normalization and initializer. ``block`` is the
    class of the blocks, such as ``BasicBlock``. Stage i has ``blocks[i]`` blocks of the width ``widths[i]``. A block
    has as many output channels as its width, or 4 times as many for ``Bottleneck``. The first block of each stage has
    stride 2, except in the first stage.
    """
    layers: dict[str, Module] = {}
    kernel, stride = (7, 2) if stem is Stem.IMAGENET else (3, 1)
    first = style.norm is NormPlacement.BLOCK_START or block is PreactivationBlock
    layers["conv1"] = Conv2d(
        channels, widths[0], kernel, stride, kernel // 2, bias=style.bias and block is not PreactivationBlock,
        init=style.init,
    )  # fmt: skip
    # The stem does not begin with a normalization, since the data are standardized.
    if not first and style.norm is not NormPlacement.NONE:
        layers["bn1"] = BatchNorm2d(widths[0])
    if block is not PreactivationBlock:
        layers["relu"] = style.act()
    if stem is Stem.IMAGENET:
        layers["maxpool"] = MaxPool2d(3, 2, 1)
    inputs = widths[0]
    for stage, (width, count) in enumerate(zip(widths, blocks)):
        parts: list[Module] = []
        for index in range(count):
            parts.append(block(style, inputs, width, 2 if stage and not index else 1))
            inputs = block.expansion * width
        layers[f"layer{stage + 1}"] = Sequential(*parts)
    if block is PreactivationBlock:
        layers |= {"bn": BatchNorm2d(inputs), "relu": style.act()}
    return Sequential({**layers, "avgpool": GlobalAveragePool(), "flatten": Flatten(), "fc": Linear(inputs, classes)})


def _shortcut(style: Style, inputs: int, outputs: int, stride: int) -> Sequential | None:
    """Return the convolution of a shortcut; None if the shape stays the same."""
    if inputs == outputs and stride == 1:
        return None
    return Sequential(*style.convolution(inputs, outputs, 1, stride))


@explained
def resnet20(
    channels: int = 3,
    classes: int = 10,
    *,
    activation: str = "leaky_relu",
    norm: str = "before_activation",
    negative_slope: float = SLOPE,
    init: str = FITTED,
) -> Sequential:
    """ResNet-20 for small images: three stages of three basic blocks, with 16, 32 and 64 channels.

    ``activation``, ``norm``, ``negative_slope`` and ``init`` are explained in ``block.Style.of``.
    """
    style = Style.of(activation, norm, negative_slope, init)
    return residual_network(style, Stem.SMALL, channels, classes, BasicBlock, (16, 32, 64), (3, 3, 3))


_WIDTHS = (64, 128, 256, 512)


@explained
def resnet18(
    channels: int = 3,
    classes: int = 10,
    *,
    stem: str = "small",
    activation: str = "leaky_relu",
    norm: str = "before_activation",
    negative_slope: float = SLOPE,
    init: str = FITTED,
) -> Sequential:
    """ResNet-18 for images: four stages of two basic blocks, with 64, 128, 256 and 512 channels.

    ``stem`` is "small", a 3×3 convolution for images of up to about 64 pixels, or "imagenet", a 7×7 convolution of
    stride 2 and a max pooling. torchvision's network is ``resnet18(stem="imagenet", activation="relu")``.
    ``activation``, ``norm``, ``negative_slope`` and ``init`` are explained in ``block.Style.of``.
    """
    style = Style.of(activation, norm, negative_slope, init)
    return residual_network(style, Stem.of(stem), channels, classes, BasicBlock, _WIDTHS, (2, 2, 2, 2))


@explained
def resnet34(
    channels: int = 3,
    classes: int = 10,
    *,
    stem: str = "small",
    activation: str = "relu",
    norm: str = "before_activation",
    negative_slope: float = SLOPE,
    init: str = FITTED,
) -> Sequential:
    """ResNet-34 for images: stages of 3, 4, 6 and 3 basic blocks, with 64, 128, 256 and 512 channels.

    The options are those of ``resnet18``; ``activation`` is "relu" by default.
    """
    style = Style.of(activation, norm, negative_slope, init)
    return residual_network(style, Stem.of(stem), channels, classes, BasicBlock, _WIDTHS, (3, 4, 6, 3))


@explained
def resnet50(
    channels: int = 3,
    classes: int = 10,
    *,
    stem: str = "small",
    activation: str = "relu",
    norm: str = "before_activation",
    negative_slope: float = SLOPE,
    init: str = FITTED,
) -> Sequential:
    """ResNet-50 for images: stages of 3, 4, 6 and 3 bottleneck blocks, with 256, 512, 1024 and 2048 channels.

    The options are those of ``resnet18``; ``activation`` is "relu" by default.
    """
    style = Style.of(activation, norm, negative_slope, init)
    return residual_network(style, Stem.of(stem), channels, classes, Bottleneck, _WIDTHS, (3, 4, 6, 3))


@explained
def preact_resnet18(
    channels: int = 3,
    classes: int = 10,
    *,
    stem: str = "small",
    activation: str = "relu",
    negative_slope: float = SLOPE,
    init: str = FITTED,
) -> Sequential:
    """ResNet-18 for images, with blocks that begin with normalization and activation. He et al., arXiv:1603.05027.

    It has four stages of two blocks, with 64, 128, 256 and 512 channels. The options are those of ``resnet18``, without
    ``norm``.
    """
    style = Style.of(activation, "before_activation", negative_slope, init)
    return residual_network(style, Stem.of(stem), channels, classes, PreactivationBlock, _WIDTHS, (2, 2, 2, 2))
