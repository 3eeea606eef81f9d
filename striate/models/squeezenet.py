"""SqueezeNet 1.1, with the parameter names of torchvision. Iandola et al., arXiv:1602.07360."""

from __future__ import annotations

from striate.arguments import explained
from striate.graph.value import Value
from striate.models.block import Stem
from striate.nn.activation import ReLU
from striate.nn.container import Sequential
from striate.nn.convolution import Conv2d
from striate.nn.module import Module
from striate.nn.pooling import GlobalAveragePool, MaxPool2d
from striate.nn.random import Dropout
from striate.nn.shaping import Flatten
from striate.ops.indexing import concat


class Fire(Module):
    """Fire module: y = [relu(expand1x1(s)), relu(expand3x3(s))] with s = relu(squeeze(x))

    squeeze is a 1×1 convolution from ``inputs`` to ``squeezed`` channels. The other two convolutions have ``expanded``
    output channels each, and [ ] joins the channels of both.
    """

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        self.squeeze = Conv2d(inputs, squeezed, 1, init="he")
        self.squeeze_activation = ReLU()
        self.expand1x1 = Conv2d(squeezed, expanded, 1, init="he")
        self.expand1x1_activation = ReLU()
        self.expand3x3 = Conv2d(squeezed, expanded, 3, padding=1, init="he")
        self.expand3x3_activation = ReLU()

    def forward(self, x: Value) -> Value:
        s = self.squeeze_activation(self.squeeze(x))
        return concat([self.expand1x1_activation(self.expand1x1(s)), self.expand3x3_activation(self.expand3x3(s))])


@explained
def squeezenet1_1(channels: int = 3, classes: int = 10, *, stem: str = "small", dropout: float = 0.5) -> Sequential:
    """SqueezeNet 1.1 for images: a convolution, eight fire modules, and three max poolings.

    With ``stem="small"``, the first convolution keeps the size; with "imagenet", it has stride 2. ``dropout`` is the
    dropout probability before the last convolution.
    """
    first = Stem.of(stem) is Stem.IMAGENET

    def pool() -> MaxPool2d:
        return MaxPool2d(3, 2, ceil_mode=True)

    features = Sequential(
        Conv2d(channels, 64, 3, 2 if first else 1, 0 if first else 1, init="he"), ReLU(), pool(),
        Fire(64, 16, 64), Fire(128, 16, 64), pool(),
        Fire(128, 32, 128), Fire(256, 32, 128), pool(),
        Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256),
    )  # fmt: skip
    classifier = Sequential(Dropout(dropout), Conv2d(512, classes, 1), ReLU(), GlobalAveragePool())
    return Sequential({"features": features, "classifier": classifier, "flatten": Flatten()})
