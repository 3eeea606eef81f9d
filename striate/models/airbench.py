"""A network for small pictures that learns in few epochs. Jordan, arXiv:2404.00498 ("94% on CIFAR-10 in 3.29 seconds").

The architecture is that of airbench94, which follows the ResNet-9 of Page (DAWNBench). It leaves out the shortcuts.
"""

from __future__ import annotations

from striate import options
from striate.arguments import explained
from striate.graph.value import Value
from striate.nn.activation import GELU
from striate.nn.container import Sequential
from striate.nn.convolution import Conv2d
from striate.nn.linear import Linear
from striate.nn.module import Module
from striate.nn.normalization import BatchNorm2d
from striate.nn.pooling import AdaptiveMaxPool2d, MaxPool2d
from striate.nn.shaping import Flatten
from striate.nn.whitening import Whitening2d

STATISTICS_MOMENTUM = 0.4
"""The share of the last batch in the running statistics: large, since a training has few steps."""


class Block(Module):
    """Two 3×3 convolutions and a max pooling: y = gelu(norm2(conv2(gelu(norm1(pool(conv1(x)))))))

    x is (N, ``inputs``, H, W), and y is (N, ``outputs``, ⌊H/2⌋, ⌊W/2⌋). At first, each convolution copies its input to
    its first output channels (Dirac initialization). The normalizations learn a shift, but no scale.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        self.conv1 = Conv2d(inputs, outputs, 3, padding="same", bias=False, init="dirac")
        self.pool = MaxPool2d(2)
        self.norm1 = _shifting(outputs)
        self.conv2 = Conv2d(outputs, outputs, 3, padding="same", bias=False, init="dirac")
        self.norm2 = _shifting(outputs)
        self.activation = GELU()

    def forward(self, x: Value) -> Value:
        x = self.activation(self.norm1(self.pool(self.conv1(x))))
        return self.activation(self.norm2(self.conv2(x)))


class Scale(Module):
    """Multiply by a constant: y = ``factor`` · x"""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def forward(self, x: Value) -> Value:
        return x * self.factor


@explained
def airbench(channels: int = 3, classes: int = 10, *, width: int = 64, scale: float = 1 / 9) -> Sequential:
    """Network for small pictures that learns in few epochs: three blocks of convolutions.

    The blocks have ``width``, 4 · width and 4 · width channels. A block is a 3×3 convolution with max pooling and a
    second 3×3 convolution, each normalized and followed by GELU. Before the blocks, a 2×2 convolution whitens patches
    of the pictures. ``nn.fit_whitening(model, images)`` computes the filters of this convolution from training
    pictures. The logits are multiplied by ``scale``. After Jordan, arXiv:2404.00498.
    """
    options.whole_number("airbench: width", width, 1)
    options.number("airbench: scale", scale, above=0)
    whitening = Whitening2d(channels, 2)
    return Sequential(
        {
            "whitening": whitening,
            "activation": GELU(),
            "block1": Block(whitening.out_channels, width),
            "block2": Block(width, 4 * width),
            "block3": Block(4 * width, 4 * width),
            "pool": AdaptiveMaxPool2d(1),
            "flatten": Flatten(),
            "linear": Linear(4 * width, classes, bias=False),
            "scale": Scale(scale),
        }
    )


def _shifting(channels: int) -> BatchNorm2d:
    """Return a batch normalization whose scale γ stays 1."""
    norm = BatchNorm2d(channels, momentum=STATISTICS_MOMENTUM)
    norm.parameter("weight").requires_grad = False
    return norm
