"""Networks for signals (N, C, L): time series of C channels and L steps."""

from __future__ import annotations

from striate.arguments import explained
from striate.graph.value import Value
from striate.nn.activation import ReLU
from striate.nn.container import Sequential
from striate.nn.convolution import Conv1d
from striate.nn.linear import Linear
from striate.nn.module import Module
from striate.nn.normalization import BatchNorm1d
from striate.nn.pooling import GlobalAveragePool, MaxPool1d
from striate.nn.shaping import Flatten
from striate.ops.indexing import concat


def _convolution(inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[Module]:
    """Return a convolution that keeps the length (divided by its stride), with its normalization."""
    padding: int | str = "same" if stride == 1 else kernel // 2
    return [Conv1d(inputs, outputs, kernel, stride, padding, bias=False, init="he"), BatchNorm1d(outputs)]


@explained
def fcn(channels: int = 1, classes: int = 10, *, width: int = 128) -> Sequential:
    """Fully convolutional network for time series, with kernels of 8, 5 and 3 steps.

    The convolutions have ``width``, 2 · ``width`` and ``width`` channels and are followed by the mean over all steps.
    Wang et al., arXiv:1611.06455.
    """
    return Sequential(
        *_convolution(channels, width, 8), ReLU(), *_convolution(width, 2 * width, 5), ReLU(),
        *_convolution(2 * width, width, 3), ReLU(), GlobalAveragePool(), Flatten(), Linear(width, classes),
    )  # fmt: skip


class SignalBlock(Module):
    """Residual block for signals: y = relu(c₃(relu(c₂(relu(c₁(x))))) + shortcut(x))

    The convolutions c₁, c₂, c₃ have kernels of 8, 5 and 3 steps and ``outputs`` channels; each is normalized. The
    shortcut is x or, if ``inputs`` ≠ ``outputs``, a convolution of x with a kernel of 1 step. In both cases the
    shortcut is normalized.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        self.body = Sequential(
            *_convolution(inputs, outputs, 8), ReLU(), *_convolution(outputs, outputs, 5), ReLU(),
            *_convolution(outputs, outputs, 3),
        )  # fmt: skip
        self.shortcut = Sequential(*_convolution(inputs, outputs, 1)) if inputs != outputs else BatchNorm1d(outputs)
        self.relu = ReLU()

    def forward(self, x: Value) -> Value:
        return self.relu(self.body(x) + self.shortcut(x))


@explained
def resnet1d(channels: int = 1, classes: int = 10, *, width: int = 64) -> Sequential:
    """ResNet for time series: three residual blocks of ``width``, 2 · ``width`` and 2 · ``width`` channels.

    Wang et al., arXiv:1611.06455.
    """
    blocks = [SignalBlock(channels, width), SignalBlock(width, 2 * width), SignalBlock(2 * width, 2 * width)]
    return Sequential(*blocks, GlobalAveragePool(), Flatten(), Linear(2 * width, classes))


class InceptionModule(Module):
    """Parallel convolutions: y = relu(norm([c₁₀(b), c₂₀(b), c₄₀(b), c₁(max(x))])) with b = c₁(x)

    cₖ is a convolution with a kernel of k steps and ``width`` channels; the two c₁ are different layers. max is max
    pooling over 3 steps, and [ ] joins the channels. x has ``inputs`` channels; if there is only one, b is x.
    """

    def __init__(self, inputs: int, width: int) -> None:
        narrow = width if inputs > 1 else 1
        self.bottleneck = Conv1d(inputs, narrow, 1, bias=False, init="he") if inputs > 1 else None
        self.conv10, self.conv20, self.conv40 = (
            Conv1d(narrow, width, kernel, padding="same", bias=False, init="he") for kernel in (10, 20, 40)
        )
        self.pool = MaxPool1d(3, 1, 1)
        self.conv_pool = Conv1d(inputs, width, 1, bias=False, init="he")
        self.norm = BatchNorm1d(4 * width)
        self.relu = ReLU()

    def forward(self, x: Value) -> Value:
        b = x if self.bottleneck is None else self.bottleneck(x)
        parts = [self.conv10(b), self.conv20(b), self.conv40(b), self.conv_pool(self.pool(x))]
        return self.relu(self.norm(concat(parts)))


class InceptionBlock(Module):
    """Residual block of three inception modules: y = relu(m₃(m₂(m₁(x))) + norm(c₁(x)))

    m₁, m₂ and m₃ are ``InceptionModule`` layers with 4 · ``width`` output channels. c₁ is a convolution with a kernel
    of 1 step. x has ``inputs`` channels, and y has 4 · ``width`` channels.
    """

    def __init__(self, inputs: int, width: int) -> None:
        self.body = Sequential(
            InceptionModule(inputs, width), InceptionModule(4 * width, width), InceptionModule(4 * width, width)
        )
        self.shortcut = Sequential(*_convolution(inputs, 4 * width, 1))
        self.relu = ReLU()

    def forward(self, x: Value) -> Value:
        return self.relu(self.body(x) + self.shortcut(x))


@explained
def inception_time(channels: int = 1, classes: int = 10, *, width: int = 32) -> Sequential:
    """InceptionTime for time series: two blocks of three inception modules each.

    The modules have 4 · ``width`` channels. This is one of the networks of the published ensemble. Fawaz et al.,
    arXiv:1909.04939.
    """
    return Sequential(
        InceptionBlock(channels, width), InceptionBlock(4 * width, width), GlobalAveragePool(), Flatten(),
        Linear(4 * width, classes),
    )  # fmt: skip
