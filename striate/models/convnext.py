"""ConvNeXt, with the parameter names of torchvision. Liu et al., arXiv:2201.03545."""

from __future__ import annotations

import numpy as np

from striate.arguments import explained
from striate.graph.value import Value
from striate.models.block import Stem
from striate.nn.activation import GELU
from striate.nn.container import Sequential
from striate.nn.convolution import Conv2d
from striate.nn.linear import Linear
from striate.nn.module import Module
from striate.nn.parameter import Parameter
from striate.nn.pooling import GlobalAveragePool
from striate.nn.random import DropPath
from striate.nn.sample_normalization import LayerNorm, LayerNorm2d
from striate.nn.shaping import Flatten, Identity
from striate.ops.indexing import permute


class Permute(Module):
    """Reorder the axes: axis i of the output is axis ``axes[i]`` of the input."""

    def __init__(self, *axes: int) -> None:
        self.axes = axes

    def forward(self, x: Value) -> Value:
        return permute(x, self.axes)


class ConvNeXtBlock(Module):
    """Residual block of ConvNeXt: y = x + γ · linear(gelu(linear(norm(depthwise 7×7(x)))))

    x and y are (N, ``width``, H, W). The normalization and the linear layers act on the channels of each position. γ is
    a learned parameter for each channel (``layer_scale``), which starts at ``scale``; ``drop`` is the probability that
    a sample skips the block in training.
    """

    layer_scale: Value

    def __init__(self, width: int, scale: float, drop: float) -> None:
        self.block = Sequential(
            Conv2d(width, width, 7, padding=3, groups=width), Permute(0, 2, 3, 1), LayerNorm(width, eps=1e-6),
            Linear(width, 4 * width), GELU(), Linear(4 * width, width), Permute(0, 3, 1, 2),
        )  # fmt: skip
        self.register_parameter("layer_scale", Parameter(np.full((width, 1, 1), scale)))
        self.stochastic_depth = DropPath(drop) if drop else Identity()

    def forward(self, x: Value) -> Value:
        return x + self.stochastic_depth(self.block(x) * self.layer_scale)


@explained
def convnext_tiny(
    channels: int = 3, classes: int = 10, *, stem: str = "small", scale: float = 1e-6, drop_path: float = 0.1
) -> Sequential:
    """ConvNeXt-T for images: 3, 3, 9 and 3 blocks of 96, 192, 384 and 768 channels.

    The first convolution covers patches without overlap: 2×2 pixels for ``stem="small"``, 4×4 for "imagenet". ``scale``
    is the initial γ of the blocks. In training, a sample skips a block with a probability that grows linearly from 0 at
    the first block to ``drop_path`` at the last block.
    """
    patch = 4 if Stem.of(stem) is Stem.IMAGENET else 2
    widths, depths = (96, 192, 384, 768), (3, 3, 9, 3)
    features: list[Module] = [Sequential(Conv2d(channels, 96, patch, patch), LayerNorm2d(96))]
    number, total = 0, sum(depths) - 1
    for stage, (width, depth) in enumerate(zip(widths, depths)):
        blocks: list[Module] = []
        for _ in range(depth):
            blocks.append(ConvNeXtBlock(width, scale, drop_path * number / total))
            number += 1
        features.append(Sequential(*blocks))
        if stage < 3:
            features.append(Sequential(LayerNorm2d(width), Conv2d(width, widths[stage + 1], 2, 2)))
    head = Sequential(LayerNorm2d(768), Flatten(), Linear(768, classes))
    return Sequential({"features": Sequential(*features), "avgpool": GlobalAveragePool(), "classifier": head})
