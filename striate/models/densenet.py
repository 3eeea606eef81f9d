"""DenseNet, with the parameter names of torchvision. Huang et al., arXiv:1608.06993."""

from __future__ import annotations

from collections.abc import Sequence

from striate.arguments import explained
from striate.graph.value import Value
from striate.models.block import Stem
from striate.nn.activation import ReLU
from striate.nn.container import Sequential
from striate.nn.convolution import Conv2d
from striate.nn.linear import Linear
from striate.nn.module import Module
from striate.nn.normalization import BatchNorm2d
from striate.nn.pooling import AvgPool2d, GlobalAveragePool, MaxPool2d
from striate.nn.random import Dropout
from striate.nn.shaping import Flatten
from striate.ops.indexing import concat


class DenseLayer(Module):
    """Layer of a dense block: y = conv2(relu(norm2(conv1(relu(norm1(x))))))

    x has ``inputs`` channels; conv1 is 1×1 with 4 · ``growth`` outputs, conv2 is 3×3 with ``growth`` outputs. The image
    size stays the same. ``dropout`` is the probability of the dropout that is applied to y in training; 0: none.
    """

    def __init__(self, inputs: int, growth: int, dropout: float) -> None:
        self.norm1 = BatchNorm2d(inputs)
        self.relu1 = ReLU()
        self.conv1 = Conv2d(inputs, 4 * growth, 1, bias=False, init="he")
        self.norm2 = BatchNorm2d(4 * growth)
        self.relu2 = ReLU()
        self.conv2 = Conv2d(4 * growth, growth, 3, padding=1, bias=False, init="he")
        self.dropout = Dropout(dropout) if dropout else None

    def forward(self, x: Value) -> Value:
        y = self.conv1(self.relu1(self.norm1(x)))
        y = self.conv2(self.relu2(self.norm2(y)))
        return y if self.dropout is None else self.dropout(y)


class DenseBlock(Module):
    """Block of ``count`` layers, each of which reads x and the outputs of all earlier layers: [x, y₁, …, y_count]

    The block returns x and all outputs y₁, …, joined along the channels. x has ``inputs`` channels and each output has
    ``growth`` channels, so the result has inputs + count · growth channels. ``dropout`` is the dropout probability
    after each layer.
    """

    def __init__(self, count: int, inputs: int, growth: int, dropout: float) -> None:
        for number in range(count):
            setattr(self, f"denselayer{number + 1}", DenseLayer(inputs + number * growth, growth, dropout))

    def forward(self, x: Value) -> Value:
        features = [x]
        for layer in self.children():
            features.append(layer(concat(features) if len(features) > 1 else x))
        return concat(features)


def _transition(inputs: int) -> Sequential:
    """Return the layers between two dense blocks, which halve channels and size."""
    convolution = Conv2d(inputs, inputs // 2, 1, bias=False, init="he")
    return Sequential({"norm": BatchNorm2d(inputs), "relu": ReLU(), "conv": convolution, "pool": AvgPool2d(2)})


def _densenet(
    stem: Stem, channels: int, classes: int, growth: int, blocks: Sequence[int], width: int, dropout: float
) -> Sequential:
    """Return a DenseNet with dense blocks of ``blocks`` layers, which starts with ``width`` channels."""
    features: dict[str, Module] = {}
    kernel, stride = (7, 2) if stem is Stem.IMAGENET else (3, 1)
    features["conv0"] = Conv2d(channels, width, kernel, stride, kernel // 2, bias=False, init="he")
    features |= {"norm0": BatchNorm2d(width), "relu0": ReLU()}
    if stem is Stem.IMAGENET:
        features["pool0"] = MaxPool2d(3, 2, 1)
    for number, count in enumerate(blocks, 1):
        features[f"denseblock{number}"] = DenseBlock(count, width, growth, dropout)
        width += count * growth
        if number < len(blocks):
            features[f"transition{number}"] = _transition(width)
            width //= 2
    features["norm5"] = BatchNorm2d(width)
    return Sequential(
        {
            "features": Sequential(features), "relu": ReLU(), "pool": GlobalAveragePool(), "flatten": Flatten(),
            "classifier": Linear(width, classes),
        }
    )  # fmt: skip


@explained
def densenet121(channels: int = 3, classes: int = 10, *, stem: str = "small", dropout: float = 0.0) -> Sequential:
    """DenseNet-121 for images: blocks of 6, 12, 24 and 16 layers, each of which adds 32 channels.

    ``stem`` is "small", a 3×3 convolution for images of up to about 64 pixels, or "imagenet", a 7×7 convolution of
    stride 2 and a max pooling. ``dropout`` is the dropout probability after each layer of a block.
    """
    return _densenet(Stem.of(stem), channels, classes, 32, (6, 12, 24, 16), 64, dropout)


@explained
def densenet_small(channels: int = 3, classes: int = 10, *, growth: int = 12, dropout: float = 0.0) -> Sequential:
    """DenseNet for small images: three blocks of 6 layers, each of which adds ``growth`` channels.

    ``dropout`` is the dropout probability after each layer of a block.
    """
    return _densenet(Stem.SMALL, channels, classes, growth, (6, 6, 6), 2 * growth, dropout)
