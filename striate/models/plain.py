"""Networks that are one chain of layers."""

from __future__ import annotations

from striate.models.block import Style
from striate.nn.activation import Tanh
from striate.nn.container import Sequential
from striate.nn.convolution import Conv2d
from striate.nn.initialization import xavier
from striate.nn.linear import Linear
from striate.nn.module import Module
from striate.nn.pooling import MaxPool2d
from striate.nn.shaping import Flatten


def first_cnn(channels: int = 1, classes: int = 10, *, filters: int = 16, kernel: int = 5) -> Sequential:
    """f(x) = tanh(x ⊗ W₁ + b₁) W_out + b_out: one hidden layer of filters."""
    return Sequential(Conv2d(channels, filters, kernel, init=xavier), Tanh(), Flatten(), Linear(None, classes))


def lenet5(
    channels: int = 1, classes: int = 10, *, activation: str = "leaky_relu", norm: str = "before_activation"
) -> Sequential:
    """LeNet with batch normalization: two 5×5 convolutions (16, 32), each pooled, then 128 hidden units.

    LeCun et al., 1998, has the structure; on 28×28 the first linear layer reads 32·7·7 = 1568 features.
    """
    style = Style.of(activation, norm)
    layers: list[Module] = []
    for inputs, outputs in ((channels, 16), (16, 32)):
        layers += [*style.convolution(inputs, outputs, 5), style.act(), MaxPool2d(2)]
    layers += [Flatten(), *style.linear(None, 128), style.act(), Linear(128, classes)]
    return Sequential(*layers)


def vgg_small(
    channels: int = 3, classes: int = 10, *, activation: str = "leaky_relu", norm: str = "before_activation"
) -> Sequential:
    """Six 3×3 convolutions (32, 32, 64, 64, 128, 128), pooled after every second. After arXiv:1409.1556."""
    style = Style.of(activation, norm)
    layers: list[Module] = []
    inputs = channels
    for outputs in (32, 64, 128):
        layers += [*style.convolution(inputs, outputs, 3), style.act()]
        layers += [*style.convolution(outputs, outputs, 3), style.act(), MaxPool2d(2)]
        inputs = outputs
    return Sequential(*layers, Flatten(), Linear(None, classes))
