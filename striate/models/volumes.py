"""Networks for volumes and video clips (N, C, D, H, W)."""

from __future__ import annotations

from striate.arguments import explained
from striate.graph.value import Value
from striate.models.block import Stem
from striate.nn.activation import ReLU
from striate.nn.container import Sequential
from striate.nn.convolution import Conv3d
from striate.nn.linear import Linear
from striate.nn.module import Module
from striate.nn.normalization import BatchNorm3d
from striate.nn.pooling import GlobalAveragePool
from striate.nn.shaping import Flatten


class VolumeBlock(Module):
    """Residual block of two 3×3×3 convolutions: y = relu(conv2(conv1(x)) + shortcut(x))

    x has ``inputs`` channels. Each convolution is normalized and has ``outputs`` channels; conv1 has the ``stride`` and
    ends with a ReLU. The shortcut is x itself or, if the shape changes, a normalized 1×1×1 convolution
    (``downsample``).
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        first = Conv3d(inputs, outputs, 3, stride, 1, bias=False, init="he")
        self.conv1 = Sequential(first, BatchNorm3d(outputs), ReLU())
        self.conv2 = Sequential(Conv3d(outputs, outputs, 3, 1, 1, bias=False, init="he"), BatchNorm3d(outputs))
        same = inputs == outputs and stride == 1
        shortcut = Conv3d(inputs, outputs, 1, stride, bias=False, init="he")
        self.downsample = None if same else Sequential(shortcut, BatchNorm3d(outputs))
        self.relu = ReLU()

    def forward(self, x: Value) -> Value:
        return self.relu(self.conv2(self.conv1(x)) + (x if self.downsample is None else self.downsample(x)))


@explained
def resnet18_3d(channels: int = 1, classes: int = 10, *, stem: str = "small", width: int = 64) -> Sequential:
    """ResNet-18 for volumes and clips (N, C, D, H, W): four stages of two blocks, by default of 64 to 512 channels.

    ``width`` is the number of channels of the first stage; each further stage has twice as many. ``stem`` is "small", a
    3×3×3 convolution, or "imagenet", a 3×7×7 convolution with stride 1×2×2 for video clips. The structure is that of
    torchvision's ``r3d_18``. Tran et al., arXiv:1711.11248.
    """
    clips = Stem.of(stem) is Stem.IMAGENET
    kernel, stride, padding = ((3, 7, 7), (1, 2, 2), (1, 3, 3)) if clips else (3, 1, 1)
    first = Conv3d(channels, width, kernel, stride, padding, bias=False, init="he")
    layers: dict[str, Module] = {"stem": Sequential(first, BatchNorm3d(width), ReLU())}
    inputs = width
    for stage in range(4):
        outputs = width << stage
        blocks = [VolumeBlock(inputs, outputs, 2 if stage else 1), VolumeBlock(outputs, outputs, 1)]
        layers[f"layer{stage + 1}"] = Sequential(*blocks)
        inputs = outputs
    return Sequential({**layers, "avgpool": GlobalAveragePool(), "flatten": Flatten(), "fc": Linear(inputs, classes)})
