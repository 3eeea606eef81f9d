"""Networks that are one chain of layers."""

from __future__ import annotations

from striate import options
from striate.models.block import FITTED, SLOPE, Style
from striate.nn.container import Sequential
from striate.nn.convolution import Conv2d
from striate.nn.linear import Linear
from striate.nn.module import Module
from striate.nn.pooling import MaxPool2d
from striate.nn.shaping import Flatten


def first_cnn(
    channels: int = 1,
    classes: int = 10,
    *,
    filters: int = 16,
    kernel: int = 5,
    activation: str = "tanh",
    negative_slope: float = SLOPE,
    init: str = "xavier",
) -> Sequential:
    """f(x) = tanh(x ⊗ W₁ + b₁) W_out + b_out: one hidden layer of filters."""
    style = Style.of(activation, "none", negative_slope, init)
    return Sequential(Conv2d(channels, filters, kernel, init=style.init), style.act(), Flatten(), Linear(None, classes))


def lenet5(
    channels: int = 1,
    classes: int = 10,
    *,
    activation: str = "leaky_relu",
    norm: str = "before_activation",
    negative_slope: float = SLOPE,
    init: str = FITTED,
) -> Sequential:
    """LeNet with batch normalization: two 5×5 convolutions (16, 32), each pooled, then 128 hidden units.

    LeCun et al., 1998, has the structure; on 28×28 the first linear layer reads 32·7·7 = 1568 features.
    """
    style = Style.of(activation, norm, negative_slope, init)
    layers: list[Module] = []
    for inputs, outputs in ((channels, 16), (16, 32)):
        layers += [*style.convolution(inputs, outputs, 5), style.act(), MaxPool2d(2)]
    layers += [Flatten(), *style.linear(None, 128), style.act(), Linear(128, classes)]
    return Sequential(*layers)


def vgg_small(
    channels: int = 3,
    classes: int = 10,
    *,
    activation: str = "leaky_relu",
    norm: str = "before_activation",
    negative_slope: float = SLOPE,
    init: str = FITTED,
) -> Sequential:
    """Six 3×3 convolutions (32, 32, 64, 64, 128, 128), pooled after every second. After arXiv:1409.1556."""
    style = Style.of(activation, norm, negative_slope, init)
    layers: list[Module] = []
    inputs = channels
    for outputs in (32, 64, 128):
        layers += [*style.convolution(inputs, outputs, 3), style.act()]
        layers += [*style.convolution(outputs, outputs, 3), style.act(), MaxPool2d(2)]
        inputs = outputs
    return Sequential(*layers, Flatten(), Linear(None, classes))


def mlp(
    channels: int = 1,
    classes: int = 10,
    *,
    depth: int = 12,
    width: int = 64,
    activation: str = "leaky_relu",
    norm: str = "before_activation",
    negative_slope: float = SLOPE,
    init: str = FITTED,
) -> Sequential:
    """``depth`` hidden layers of ``width`` units on the flattened picture, without convolutions.

    Deep and narrow: with a sigmoid and without normalization its first layers receive next to no gradient.
    ``channels`` are those of the picture; the number of its pixels is inferred.
    """
    options.whole_number("mlp: depth", depth, 1)
    options.whole_number("mlp: width", width, 1)
    style = Style.of(activation, norm, negative_slope, init)
    layers: list[Module] = [Flatten()]
    for level in range(depth):
        layers += [*style.linear(width if level else None, width), style.act()]
    return Sequential(*layers, Linear(width, classes))
