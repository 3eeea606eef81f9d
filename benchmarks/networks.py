"""The four benchmark networks: their work in floating-point operations, their data and their weights.

    lenet5     conv 5×5 1→16, conv 5×5 16→32, each BN, leaky 0.1, max-pool 2; linear 1568→128, BN, leaky; linear 10
    vgg_small  six 3×3 conv+BN+leaky of 32, 32, pool, 64, 64, pool, 128, 128, pool; linear 2048→10
    resnet20   3×3 stem of 16, then three basic blocks each of 16, 32, 64; global average; linear 10
    resnet18   3×3 stem of 64, then two basic blocks each of 64, 128, 256, 512; global average; linear 10

If a residual block changes the shape, its shortcut is a 1×1 convolution with BN. All activations are leaky ReLU 0.1.
``twins`` has the same networks in PyTorch.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from striate.nn import Module

Array = NDArray[Any]
Shape = tuple[int, ...]

CLASSES = 10


@dataclass(frozen=True)
class Contraction:
    """A convolution or linear layer, with the multiply-adds of its forward pass for one sample.

    ``first`` says that it reads the network's input, whose gradient is not needed.
    """

    multiply_adds: int
    first: bool = False

    @property
    def flops(self) -> int:
        """The floating-point operations of a training step for one sample, with direct convolution.

        They are the operations of the forward pass, the weight gradient, and (except in the first layer) the input
        gradient.
        """
        return 2 * self.multiply_adds * (2 if self.first else 3)


@dataclass(frozen=True)
class Network:
    """A benchmark network; ``striate.models`` has a function of the same name."""

    name: str
    title: str
    batch: int
    sample: Shape
    contractions: tuple[Contraction, ...]

    def work(self, batch: int | None = None) -> float:
        """Return the work of one training step in GFLOP (10⁹ floating-point operations).

        ``batch`` is the number of samples; None is the batch size of the benchmark.
        """
        return sum(c.flops for c in self.contractions) * (batch or self.batch) / 1e9

    def multiply_adds(self) -> int:
        """Return the multiply-adds of the forward pass for one sample."""
        return sum(c.multiply_adds for c in self.contractions)


def convolution(inputs: int, outputs: int, kernel: int, size: int, first: bool = False) -> Contraction:
    """Return a square convolution whose *output* has size × size positions."""
    return Contraction(inputs * outputs * kernel**2 * size**2, first)


def linear(inputs: int, outputs: int) -> Contraction:
    """Return a linear layer with this many inputs and outputs."""
    return Contraction(inputs * outputs)


def residual(widths: tuple[int, ...], blocks: int, size: int) -> Iterator[Contraction]:
    """Yield the convolutions and the linear layer of a residual network for size × size pictures with 3 channels."""
    before = widths[0]
    yield convolution(3, before, 3, size, first=True)
    for stage, width in enumerate(widths):
        size //= 2 if stage else 1
        for _ in range(blocks):
            yield convolution(before, width, 3, size)
            yield convolution(width, width, 3, size)
            if before != width:
                yield convolution(before, width, 1, size)
            before = width
    yield linear(before, CLASSES)


LENET = (convolution(1, 16, 5, 28, first=True), convolution(16, 32, 5, 14), linear(1568, 128), linear(128, CLASSES))
VGG = (
    convolution(3, 32, 3, 32, first=True),
    convolution(32, 32, 3, 32),
    convolution(32, 64, 3, 16),
    convolution(64, 64, 3, 16),
    convolution(64, 128, 3, 8),
    convolution(128, 128, 3, 8),
    linear(2048, CLASSES),
)
NETWORKS: dict[str, Network] = {
    network.name: network
    for network in (
        Network("lenet5", "LeNet with BN", 128, (1, 28, 28), LENET),
        Network("vgg_small", "VGG-small", 128, (3, 32, 32), VGG),
        Network("resnet20", "ResNet-20", 128, (3, 32, 32), tuple(residual((16, 32, 64), 3, 32))),
        Network("resnet18", "ResNet-18", 64, (3, 32, 32), tuple(residual((64, 128, 256, 512), 2, 32))),
    )
}


def add_networks(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--networks`` to a parser."""
    parser.add_argument(
        "--networks",
        nargs="+",
        default=list(NETWORKS),
        choices=list(NETWORKS),
        metavar="NAME",
        help=f"of {', '.join(NETWORKS)} (all)",
    )


# Data and weights


def batches(network: Network, batch: int, seed: int, dtype: str = "float32") -> Iterator[tuple[Array, Array]]:
    """Yield random batches (x, y) without end, drawn from a pool of four batches."""
    random = np.random.default_rng(seed)
    pool = random.standard_normal((4 * batch, *network.sample)).astype(dtype)
    labels = random.integers(0, CLASSES, 4 * batch)
    while True:
        rows = random.choice(4 * batch, batch, replace=False)
        yield pool[rows], labels[rows]


def initial_state(shapes: Mapping[str, Shape], seed: int = 0) -> dict[str, Array]:
    """Return the initial weights of both frameworks in float64, which depend only on names, shapes and seed.

    Weights of convolutions and linear layers are drawn from N(0, 2 / fan_in). BN starts near the identity but not at
    it, so that the comparison covers γ, β and the running statistics.
    """
    state: dict[str, Array] = {}
    for name, shape in sorted(shapes.items()):
        random = np.random.default_rng([seed, *name.encode()])
        if name.endswith("num_batches_tracked"):
            state[name] = np.zeros(shape, np.int64)
        elif len(shape) > 1:
            state[name] = random.standard_normal(shape) * math.sqrt(2 / math.prod(shape[1:]))
        elif name.endswith(("weight", "running_var")):
            state[name] = random.uniform(0.8, 1.2, shape)
        else:
            state[name] = random.uniform(-0.1, 0.1, shape)
    return state


def striate_model(network: Network, dtype: str = "float32", seed: int = 0) -> Module:
    """Build the network in striate, with the weights of ``initial_state``."""
    from striate import models  # imported here, so that PyTorch's workers are measured without striate

    model: Module = getattr(models, network.name)().to(dtype)
    model.infer(network.sample)
    shapes = {name: array.shape for name, array in model.state_dict().items()}
    model.load_state_dict(initial_state(shapes, seed))
    return model
