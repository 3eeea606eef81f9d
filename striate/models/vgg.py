"""VGG with batch normalization and the parameter names of torchvision.

Simonyan and Zisserman, arXiv:1409.1556.
"""

from __future__ import annotations

from collections.abc import Sequence

from striate.arguments import explained
from striate.models.block import Stem
from striate.nn.activation import ReLU
from striate.nn.container import Sequential
from striate.nn.convolution import Conv2d
from striate.nn.linear import Linear
from striate.nn.module import Module
from striate.nn.normalization import BatchNorm2d
from striate.nn.pooling import AdaptiveAvgPool2d, MaxPool2d
from striate.nn.random import Dropout
from striate.nn.shaping import Flatten


def _vgg(stages: Sequence[int], stem: Stem, channels: int, classes: int, dropout: float) -> Sequential:
    """Return a VGG: 3×3 convolutions in five stages, each with max pooling, then linear layers.

    ``stages`` are the numbers of convolutions; the stages have 64, 128, 256, 512 and 512 channels.
    """
    layers: list[Module] = []
    inputs = channels
    for width, count in zip((64, 128, 256, 512, 512), stages):
        for _ in range(count):
            layers += [Conv2d(inputs, width, 3, padding=1, init="he"), BatchNorm2d(width), ReLU()]
            inputs = width
        layers.append(MaxPool2d(2, 2))
    features = Sequential(*layers)
    if stem is Stem.SMALL:  # after five poolings, 32 × 32 pixels have become a single position
        head = {"flatten": Flatten(), "classifier": Linear(None, classes)}
        return Sequential({"features": features, **head})
    classifier = Sequential(
        Linear(512 * 7 * 7, 4096), ReLU(), Dropout(dropout), Linear(4096, 4096), ReLU(), Dropout(dropout),
        Linear(4096, classes),
    )  # fmt: skip
    return Sequential(
        {"features": features, "avgpool": AdaptiveAvgPool2d(7), "flatten": Flatten(), "classifier": classifier}
    )


@explained
def vgg11_bn(channels: int = 3, classes: int = 10, *, stem: str = "small", dropout: float = 0.5) -> Sequential:
    """VGG-11 for images: eight convolutions, each with batch normalization.

    With ``stem="imagenet"``, three linear layers follow, as published. The first two of them have 4096 units each, and
    ``dropout`` is the dropout probability after these two layers. With "small", for images of at least 32 × 32 pixels,
    there is one linear layer and no dropout.
    """
    return _vgg((1, 1, 2, 2, 2), Stem.of(stem), channels, classes, dropout)


@explained
def vgg16_bn(channels: int = 3, classes: int = 10, *, stem: str = "small", dropout: float = 0.5) -> Sequential:
    """VGG-16 for images: thirteen convolutions, each with batch normalization.

    The options are those of ``vgg11_bn``.
    """
    return _vgg((2, 2, 3, 3, 3), Stem.of(stem), channels, classes, dropout)
