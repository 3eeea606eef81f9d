"""Residual networks of basic blocks. He et al., arXiv:1512.03385."""

from __future__ import annotations

from collections.abc import Sequence

from striate.models.block import FITTED, SLOPE, NormPlacement, Style
from striate.nn.container import Residual, Sequential
from striate.nn.linear import Linear
from striate.nn.module import Module
from striate.nn.pooling import GlobalAveragePool
from striate.nn.shaping import Flatten


def basic_block(style: Style, inputs: int, outputs: int, stride: int) -> list[Module]:
    """y = act(conv(act(conv(x))) + shortcut(x)), each conv with its normalization

    The shortcut is x itself, or a 1×1 convolution with its normalization where the shape changes.
    """
    body = Sequential(
        *style.convolution(inputs, outputs, 3, stride), style.act(), *style.convolution(outputs, outputs, 3)
    )
    same = inputs == outputs and stride == 1
    shortcut = None if same else Sequential(*style.convolution(inputs, outputs, 1, stride))
    return [Residual(body, shortcut), style.act()]


def residual_network(style: Style, channels: int, classes: int, widths: Sequence[int], blocks: int) -> Sequential:
    """3×3 stem, ``blocks`` basic blocks of each width (the first of a new width with stride 2), mean, linear."""
    # Nothing has to be normalized at the start of the stem: the data are standardized.
    layers: dict[str, Module] = {"stem": Sequential(*_stem(style, channels, widths[0]), style.act())}
    inputs = widths[0]
    for stage, outputs in enumerate(widths):
        for index in range(blocks):
            stride = 2 if stage and not index else 1
            layers[f"stage{stage + 1}_{index + 1}"] = Sequential(*basic_block(style, inputs, outputs, stride))
            inputs = outputs
    return Sequential({**layers, "pool": GlobalAveragePool(), "flatten": Flatten(), "fc": Linear(inputs, classes)})


def _stem(style: Style, channels: int, width: int) -> list[Module]:
    layers = style.convolution(channels, width, 3)
    return layers[1:] if style.norm is NormPlacement.BLOCK_START else layers


def resnet20(
    channels: int = 3,
    classes: int = 10,
    *,
    activation: str = "leaky_relu",
    norm: str = "before_activation",
    negative_slope: float = SLOPE,
    init: str = FITTED,
) -> Sequential:
    """16, 32 and 64 channels, three basic blocks each."""
    return residual_network(Style.of(activation, norm, negative_slope, init), channels, classes, (16, 32, 64), 3)


def resnet18(
    channels: int = 3,
    classes: int = 10,
    *,
    activation: str = "leaky_relu",
    norm: str = "before_activation",
    negative_slope: float = SLOPE,
    init: str = FITTED,
) -> Sequential:
    """64, 128, 256 and 512 channels, two basic blocks each, with a 3×3 stem for small images."""
    return residual_network(Style.of(activation, norm, negative_slope, init), channels, classes, (64, 128, 256, 512), 2)
