"""U-Net, which predicts a class for every pixel. Ronneberger et al., arXiv:1505.04597."""

from __future__ import annotations

from striate import options
from striate.arguments import explained
from striate.graph.value import Value
from striate.nn.activation import ReLU
from striate.nn.container import ModuleList, Sequential
from striate.nn.convolution import Conv2d, ConvTranspose2d
from striate.nn.module import Module
from striate.nn.normalization import BatchNorm2d
from striate.nn.pooling import MaxPool2d
from striate.ops.indexing import concat


def _double(inputs: int, outputs: int) -> Sequential:
    """Return two 3×3 convolutions, each with batch normalization and ReLU."""
    return Sequential(
        Conv2d(inputs, outputs, 3, padding=1, bias=False, init="he"), BatchNorm2d(outputs), ReLU(),
        Conv2d(outputs, outputs, 3, padding=1, bias=False, init="he"), BatchNorm2d(outputs), ReLU(),
    )  # fmt: skip


class UNet(Module):
    """U-Net: (N, C, H, W) → (N, classes, H, W), the scores of the classes for every pixel

    C is ``channels``. Pairs of convolutions alternate with ``depth`` max poolings of 2×2 pixels, and then with as many
    transposed convolutions, which restore the size. The pair after a transposed convolution reads the output of this
    layer and the output of the earlier pair at the same size. H and W must be multiples of 2^depth. ``width`` is the
    number of channels at full size; it doubles with each pooling. Unlike in the published network, the convolutions are
    normalized and padded, so the output has the size of the input.
    """

    def __init__(self, channels: int, classes: int, width: int, depth: int) -> None:
        widths = [width << level for level in range(depth + 1)]
        self.down = ModuleList(_double(inputs, outputs) for inputs, outputs in zip([channels, *widths], widths))
        self.pool = MaxPool2d(2)
        self.up = ModuleList(ConvTranspose2d(wide, narrow, 2, 2) for wide, narrow in zip(widths[:0:-1], widths[-2::-1]))
        self.join = ModuleList(_double(2 * narrow, narrow) for narrow in widths[-2::-1])
        self.head = Conv2d(width, classes, 1)

    def forward(self, x: Value) -> Value:
        kept: list[Value] = []
        for level, double in enumerate(self.down):
            x = double(self.pool(x) if level else x)
            kept.append(x)
        for up, join, skip in zip(self.up, self.join, kept[-2::-1]):
            x = join(concat([skip, up(x)]))
        return self.head(x)


@explained
def unet(channels: int = 3, classes: int = 2, *, width: int = 32, depth: int = 4) -> UNet:
    """Return a U-Net, which predicts the scores of the classes for every pixel. Ronneberger et al., arXiv:1505.04597.

    It has ``width`` channels at full size, and twice as many after each of its ``depth`` poolings. Raises
    ``OptionError`` unless width ≥ 1 and 1 ≤ depth ≤ 8.
    """
    options.whole_number("unet: width", width, 1)
    options.whole_number("unet: depth", depth, 1, 8)
    return UNet(channels, classes, width, depth)
