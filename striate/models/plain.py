"""Networks that are a single sequence of layers. Their options are explained in ``block.Style.of``."""

from __future__ import annotations

from striate import options
from striate.arguments import explained
from striate.models.block import FITTED, SLOPE, Style
from striate.nn.container import Sequential
from striate.nn.convolution import Conv2d
from striate.nn.linear import Linear
from striate.nn.module import Module
from striate.nn.pooling import MaxPool2d
from striate.nn.shaping import Flatten


@explained
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
    """A network with one hidden layer of filters: y = tanh(x ∗ W₁ + b₁) W_out + b_out

    ∗ is the convolution, whose output is flattened. ``filters`` is the number of filters, ``kernel`` their size in
    pixels, and ``activation`` names another activation in place of tanh. ``negative_slope`` and ``init`` are explained
    in ``block.Style.of``.
    """
    style = Style.of(activation, "none", negative_slope, init)
    return Sequential(Conv2d(channels, filters, kernel, init=style.init), style.act(), Flatten(), Linear(None, classes))


@explained
def lenet5(
    channels: int = 1,
    classes: int = 10,
    *,
    activation: str = "leaky_relu",
    norm: str = "before_activation",
    negative_slope: float = SLOPE,
    init: str = FITTED,
) -> Sequential:
    """LeNet-5 with batch normalization, for small grey images.

    Two 5×5 convolutions with 16 and 32 filters, each followed by max pooling, then 128 hidden units. After LeCun et
    al., 1998. The number of features before the first linear layer is inferred: 32·7·7 = 1568 for images of 28×28
    pixels. ``activation``, ``norm``, ``negative_slope`` and ``init`` are explained in ``block.Style.of``.
    """
    style = Style.of(activation, norm, negative_slope, init)
    layers: list[Module] = []
    for inputs, outputs in ((channels, 16), (16, 32)):
        layers += [*style.convolution(inputs, outputs, 5), style.act(), MaxPool2d(2)]
    layers += [Flatten(), *style.linear(None, 128), style.act(), Linear(128, classes)]
    return Sequential(*layers)


@explained
def vgg_small(
    channels: int = 3,
    classes: int = 10,
    *,
    activation: str = "leaky_relu",
    norm: str = "before_activation",
    negative_slope: float = SLOPE,
    init: str = FITTED,
) -> Sequential:
    """Small VGG: six 3×3 convolutions, with a max pooling after every second one.

    The convolutions have 32, 32, 64, 64, 128 and 128 filters. After Simonyan and Zisserman, arXiv:1409.1556.
    ``activation``, ``norm``, ``negative_slope`` and ``init`` are explained in ``block.Style.of``.
    """
    style = Style.of(activation, norm, negative_slope, init)
    layers: list[Module] = []
    inputs = channels
    for outputs in (32, 64, 128):
        layers += [*style.convolution(inputs, outputs, 3), style.act()]
        layers += [*style.convolution(outputs, outputs, 3), style.act(), MaxPool2d(2)]
        inputs = outputs
    return Sequential(*layers, Flatten(), Linear(None, classes))


@explained
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
    """Multilayer perceptron: ``depth`` hidden layers of ``width`` units on the flattened image.

    The default network is deep and narrow. With a sigmoid and without normalization, almost no gradient reaches its
    first layers. ``channels`` has no effect, because the number of inputs is inferred. ``activation``, ``norm``,
    ``negative_slope`` and ``init`` are explained in ``block.Style.of``.
    """
    options.whole_number("mlp: depth", depth, 1)
    options.whole_number("mlp: width", width, 1)
    style = Style.of(activation, norm, negative_slope, init)
    layers: list[Module] = [Flatten()]
    for level in range(depth):
        layers += [*style.linear(width if level else None, width), style.act()]
    return Sequential(*layers, Linear(width, classes))
