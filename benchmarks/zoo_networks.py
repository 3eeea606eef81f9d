"""Networks that nobody tuned: ten fixed ones, and any number of random ones that a seed determines.

A network is a list of layers that belongs to no framework: names of classes that ``torch.nn`` and ``striate.nn`` both
have, with their arguments. ``built`` makes it in either framework. ``Sketch`` adds layers one by one, and keeps the
shape of the last output and the multiply-adds so far.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from networks import CLASSES, NETWORKS, Contraction, Network, Shape

Layers = list["Layer"]

ACTIVATIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("ReLU", {}), ("LeakyReLU", {"negative_slope": 0.1}), ("ReLU6", {}), ("SiLU", {}), ("GELU", {}), ("Tanh", {}),
    ("ELU", {}), ("Hardswish", {}), ("Sigmoid", {}), ("Mish", {}), ("Softplus", {}), ("PReLU", {}),
)  # fmt: skip
IN_PLACE = {"ReLU", "LeakyReLU", "ReLU6", "SiLU", "ELU", "Hardswish", "Mish"}
"""Activations that a careful user of PyTorch computes in place."""


@dataclass(frozen=True)
class Layer:
    """A layer: the name of its class, positional arguments, keyword arguments, and the layers of its branches."""

    kind: str
    arguments: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    branches: tuple[Layers, ...] = ()


@dataclass(frozen=True)
class ZooNetwork(Network):
    """A benchmark network that is defined by the list of its layers."""

    layers: Layers = field(default_factory=Layers)


class Sketch:
    """A network under construction, for samples of shape (C, *size); methods add layers and return the sketch."""

    def __init__(self, channels: int, *size: int) -> None:
        self.channels, self.size = channels, size
        self.sample: Shape = (channels, *size)
        self.layers: Layers = []
        self.contractions: list[Contraction] = []

    @property
    def rank(self) -> int:
        """The number of spatial axes."""
        return len(self.size)

    def branch(self) -> Sketch:
        """Return a sketch of a branch that starts from the present shape; its work counts for this network."""
        made = Sketch(self.channels, *self.size)
        made.contractions = self.contractions
        return made

    def conv(
        self, channels: int, kernel: int, stride: int = 1, *, groups: int = 1, dilation: int = 1, bias: bool = False
    ) -> Sketch:
        """Add a convolution that keeps the size for an odd kernel and stride 1."""
        around = dilation * (kernel - 1) // 2
        options = {"stride": stride, "padding": around, "dilation": dilation, "groups": groups, "bias": bias}
        layer = Layer(f"Conv{self.rank}d", (self.channels, channels, kernel), options)
        self.size = tuple((s + 2 * around - dilation * (kernel - 1) - 1) // stride + 1 for s in self.size)
        depth = self.channels // groups
        work = depth * channels * kernel**self.rank * math.prod(self.size)
        self.contractions.append(Contraction(work, first=not self.contractions))
        self.layers.append(layer)
        self.channels = channels
        return self

    def linear(self, units: int, bias: bool = True) -> Sketch:
        """Add a linear layer, after ``flatten`` if there are spatial axes."""
        if self.size:
            self.layers.append(Layer("Flatten"))
            self.channels, self.size = self.channels * math.prod(self.size), ()
        self.contractions.append(Contraction(self.channels * units, first=not self.contractions))
        self.layers.append(Layer("Linear", (self.channels, units), {"bias": bias}))
        self.channels = units
        return self

    def norm(self, kind: str = "BatchNorm") -> Sketch:
        """Add a normalization: "BatchNorm", "GroupNorm", "InstanceNorm" or "none"."""
        if kind == "GroupNorm":
            groups = max(g for g in range(1, 33) if self.channels % g == 0)
            self.layers.append(Layer("GroupNorm", (groups, self.channels)))
        elif kind != "none":
            options = {"affine": True} if kind == "InstanceNorm" else {}
            self.layers.append(Layer(f"{kind}{max(1, self.rank)}d", (self.channels,), options))
        return self

    def act(self, number: int = 0) -> Sketch:
        """Add activation number ``number`` of ``ACTIVATIONS``."""
        name, options = ACTIVATIONS[number]
        self.layers.append(Layer(name, (), dict(options)))
        return self

    def pool(self, kernel: int = 2, kind: str = "Max") -> Sketch:
        """Add a pooling with disjoint windows of size ``kernel``, unless the picture is smaller than a window."""
        if min(self.size) >= kernel:
            self.layers.append(Layer(f"{kind}Pool{self.rank}d", (kernel,)))
            self.size = tuple(s // kernel for s in self.size)
        return self

    def residual(self, body: Sketch, shortcut: Sketch | None) -> Sketch:
        """Add a residual block of two branches that end with the same shape."""
        self.layers.append(Layer("Residual", (), {}, (body.layers, *([shortcut.layers] if shortcut else []))))
        self.channels, self.size = body.channels, body.size
        return self

    def dense(self, body: Sketch) -> Sketch:
        """Join the input and the output of ``body`` along the channels."""
        self.layers.append(Layer("Concat", (), {}, ([Layer("Identity")], body.layers)))
        self.channels += body.channels
        return self

    def head(self) -> Sketch:
        """Add a global average pooling, if there are spatial axes, and a linear layer with one output per class."""
        if self.size:
            self.layers.append(Layer(f"AdaptiveAvgPool{self.rank}d", (1,)))
            self.size = (1,) * self.rank
        return self.linear(CLASSES)

    def network(self, name: str, title: str, batch: int) -> ZooNetwork:
        """Return the finished network, with this name and title and the batch size ``batch``."""
        return ZooNetwork(name, title, batch, self.sample, tuple(self.contractions), self.layers)


def built(layers: Sequence[Layer], nn: Any) -> Any:
    """Return the layers as a ``Sequential`` of ``nn``, which is ``torch.nn`` or ``striate.nn``."""
    torch = nn.__name__ == "torch.nn"

    def one(layer: Layer) -> Any:
        branches = [built(branch, nn) for branch in layer.branches]
        if layer.kind in ("Residual", "Concat"):
            made: Callable[..., Any] = _torch_branches(layer.kind) if torch else getattr(nn, layer.kind)
            return made(*branches)
        options = layer.options | ({"inplace": True} if torch and layer.kind in IN_PLACE else {})
        return getattr(nn, layer.kind)(*layer.arguments, **options)

    return nn.Sequential(*map(one, layers))


def _torch_branches(kind: str) -> Callable[..., Any]:
    import torch  # imported here, so that striate's workers are measured without PyTorch

    class Residual(torch.nn.Module):
        def __init__(self, body: Any, shortcut: Any = None) -> None:
            super().__init__()
            self.body, self.shortcut = body, shortcut

        def forward(self, x: Any) -> Any:
            return self.body(x) + (x if self.shortcut is None else self.shortcut(x))

    class Concat(torch.nn.Sequential):
        def forward(self, x: Any) -> Any:
            return torch.cat([branch(x) for branch in self], 1)

    return {"Residual": Residual, "Concat": Concat}[kind]


# Ten networks of kinds that people bring


def _separable() -> ZooNetwork:
    s = Sketch(3, 32, 32).conv(32, 3).norm().act()
    for channels, stride in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1)):
        s.conv(s.channels, 3, stride, groups=s.channels).norm().act().conv(channels, 1).norm().act()
    return s.head().network("separable", "depthwise-separable, 32–256 channels", 64)


def _odd() -> ZooNetwork:
    s = Sketch(5, 30, 27).conv(17, 3).norm().act(5).conv(34, 5, 2).norm().act(5).conv(34, 3).norm().act(5)
    return s.head().network("odd", "17 and 34 channels, 5×5 of stride 2, tanh", 50)


def _perceptron() -> ZooNetwork:
    s = Sketch(784).linear(256).act().linear(256).act().linear(CLASSES)
    return s.network("mlp", "MLP 784-256-256-10", 128)


def _narrow_vgg() -> ZooNetwork:
    s = Sketch(3, 28, 28)
    for channels in (24, 48, 96):
        s.conv(channels, 3).norm().act(1).conv(channels, 3).norm().act(1).pool()
    return s.head().network("vgg_24", "VGG of 24, 48, 96 channels", 100)


def _signal() -> ZooNetwork:
    s = Sketch(9, 128).conv(64, 7).norm().act().conv(128, 5).norm().act().conv(64, 3).norm().act()
    return s.head().network("signal", "1-D, kernels 7, 5, 3", 128)


def _volume() -> ZooNetwork:
    s = Sketch(1, 32, 32, 32)
    for channels in (16, 32, 64):
        s.conv(channels, 3).norm().act().pool()
    return s.head().network("volume", "3-D, 16–64 channels", 8)


def _basic(s: Sketch, channels: int, stride: int, norm: str = "BatchNorm", act: int = 0) -> None:
    body = s.branch().conv(channels, 3, stride).norm(norm).act(act).conv(channels, 3).norm(norm)
    same = channels == s.channels and stride == 1
    s.residual(body, None if same else s.branch().conv(channels, 1, stride).norm(norm)).act(act)


def _stem() -> ZooNetwork:
    s = Sketch(3, 128, 128).conv(32, 7, 2).norm().act().pool()
    for channels, stride in ((32, 1), (64, 2), (128, 2)):
        _basic(s, channels, stride)
    return s.head().network("stem", "7×7 stem of stride 2, 32–128 channels", 8)


def _small_batch() -> ZooNetwork:
    s = Sketch(3, 32, 32).conv(16, 3).norm().act(1)
    for channels in (16, 32, 64):
        for block in range(3):
            _basic(s, channels, 2 if channels != 16 and block == 0 else 1, act=1)
    return s.head().network("resnet20_8", "ResNet-20 with 8 images", 8)


def _pictures() -> ZooNetwork:
    s = Sketch(3, 64, 64)
    for channels in (32, 64, 128, 256):
        s.conv(channels, 3).norm().act().pool()
    return s.head().network("vgg_64", "32–256 channels, 64×64", 16)


def _digits() -> ZooNetwork:
    s = Sketch(1, 8, 8).conv(16, 3).norm().act().conv(32, 3).norm().act().pool()
    return s.head().network("digits", "digits, 16–32 channels", 32)


FIXED: tuple[Callable[[], ZooNetwork], ...] = (
    _separable, _odd, _perceptron, _narrow_vgg, _signal, _volume, _stem, _small_batch, _pictures, _digits,
)  # fmt: skip


def fixed() -> dict[str, ZooNetwork]:
    """Return the ten fixed networks, by name."""
    return {network.name: network for network in (make() for make in FIXED)}


KNOWN: dict[str, Network] = {**NETWORKS, **fixed()}
"""The four benchmark networks and the ten fixed ones, by name."""
GROUPS = {"four": tuple(NETWORKS), "zoo": tuple(name for name in KNOWN if name not in NETWORKS)}


def add_known_networks(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--networks`` with the names of ``KNOWN`` and ``GROUPS``; ``chosen`` reads it."""
    parser.add_argument(
        "--networks", nargs="+", default=["four"], choices=[*GROUPS, *KNOWN], metavar="NAME",
        help=f"of {', '.join(KNOWN)}, or all of the four or of the zoo (four)",
    )  # fmt: skip


def chosen(names: Sequence[str]) -> Iterator[Network]:
    """Yield networks by name, and those of a group in its place."""
    for name in names:
        yield from (KNOWN[each] for each in GROUPS.get(name, (name,)))


# Random networks


LEAST, MOST = 0.02, 8.0
"""GFLOP of a training step: less is all overhead, and more takes PyTorch longer than half a second."""


def drawn(count: int, seed: int) -> dict[str, ZooNetwork]:
    """Return ``count`` random networks by name, alternating between all kinds."""
    found: dict[str, ZooNetwork] = {}
    for number in range(count):
        kind = tuple(KINDS)[number % len(KINDS)]
        attempt = 0
        while True:
            random = np.random.default_rng([seed, number, attempt])
            network = _draw(f"{kind}-{number}", KINDS[kind], random)
            if LEAST <= network.work() <= MOST:
                break
            attempt += 1
        found[network.name] = network
    return found


class _Draw:
    """Random choices of one network."""

    def __init__(self, random: np.random.Generator) -> None:
        self.random = random
        self.act = int(random.integers(len(ACTIVATIONS))) if random.random() < 0.5 else int(random.integers(2))
        self.norm = str(random.choice(["BatchNorm", "GroupNorm", "InstanceNorm", "none"], p=[0.7, 0.12, 0.08, 0.1]))

    def whole(self, low: int, high: int) -> int:
        """Return a whole number in [low, high], with small ones as likely as large ones."""
        return round(math.exp(self.random.uniform(math.log(low), math.log(high))))

    def one(self, *options: int) -> int:
        """Return one of the options."""
        return int(self.random.choice(options))

    def follow(self, s: Sketch) -> Sketch:
        """Add this network's normalization and activation."""
        return s.norm(self.norm if self.norm != "InstanceNorm" or math.prod(s.size) > 1 else "none").act(self.act)


def _draw(name: str, kind: Callable[[_Draw], Sketch], random: np.random.Generator) -> ZooNetwork:
    draw = _Draw(random)
    sketch = kind(draw)
    channels, *size = sketch.sample
    batch = draw.whole(1, 256)
    norms = {"BatchNorm": "BN", "GroupNorm": "GN", "InstanceNorm": "IN", "none": "no norm"}
    widths = [layer.arguments[1] for layer in _convolutions(sketch.layers)] or [sketch.channels]
    extent = "×".join(map(str, size)) or "features"
    title = (
        f"{name}: {batch}×{channels}×{extent}, {min(widths)}–{max(widths)} channels, {norms[draw.norm]}, "
        f"{ACTIVATIONS[draw.act][0]}"
    )
    return sketch.head().network(name, title, batch)


def _convolutions(layers: Sequence[Layer]) -> list[Layer]:
    found: list[Layer] = []
    for layer in layers:
        if layer.kind.startswith(("Conv", "Linear")):
            found.append(layer)
        for branch in layer.branches:
            found += _convolutions(branch)
    return found


def _plain(draw: _Draw) -> Sketch:
    side = draw.whole(8, 128)
    s = Sketch(draw.one(1, 3, 3, 4, 5), side, max(4, side + draw.one(-3, 0, 0, 5)))
    width = draw.whole(3, 96)
    for _ in range(draw.one(2, 3, 4)):
        for _ in range(draw.one(1, 2)):
            draw.follow(s.conv(width, draw.one(3, 3, 3, 5, 1)))
        s.pool(2, str(draw.random.choice(["Max", "Avg"])))
        width = min(512, round(width * draw.random.uniform(1.2, 2.2)))
    return s


def _residual(draw: _Draw) -> Sketch:
    side = draw.whole(12, 96)
    s = Sketch(3, side, side)
    width = draw.whole(8, 128)
    draw.follow(s.conv(width, 3))
    for stage in range(draw.one(2, 3)):
        for block in range(draw.one(1, 2)):
            _basic(s, width, 2 if stage and not block else 1, draw.norm, draw.act)
        width = min(512, round(width * draw.random.uniform(1.3, 2.1)))
    return s


def _bottleneck(draw: _Draw) -> Sketch:
    side, groups = draw.whole(14, 112), draw.one(1, 1, 2, 4, 8)
    s = Sketch(3, side, side)
    inner = groups * draw.whole(3, 24)
    draw.follow(s.conv(2 * inner, 3, draw.one(1, 2)))
    for stage in range(draw.one(2, 3)):
        for block in range(2):
            stride = 2 if stage and not block else 1
            body = draw.follow(s.branch().conv(inner, 1))
            draw.follow(body.conv(inner, 3, stride, groups=groups)).conv(4 * inner, 1).norm(draw.norm)
            same = s.channels == 4 * inner and stride == 1
            shortcut = None if same else s.branch().conv(4 * inner, 1, stride).norm(draw.norm)
            s.residual(body, shortcut).act(draw.act)
        inner = min(128, groups * round(inner / groups * draw.random.uniform(1.3, 2.1)))
    return s


def _depthwise(draw: _Draw) -> Sketch:
    side = draw.whole(16, 160)
    s = Sketch(3, side, side)
    width, kernel, multiplier = draw.whole(8, 64), draw.one(3, 3, 5, 7), draw.one(1, 1, 1, 2)
    draw.follow(s.conv(width, 3, draw.one(1, 2)))
    for _ in range(draw.one(3, 4, 5)):
        if min(s.size) < 2:
            break
        draw.follow(s.conv(s.channels * multiplier, kernel, draw.one(1, 2), groups=s.channels))
        width = min(384, round(width * draw.random.uniform(1, 1.9)))
        draw.follow(s.conv(width, 1))
    return s


def _dense(draw: _Draw) -> Sketch:
    side, growth = draw.whole(8, 64), draw.whole(4, 40)
    s = Sketch(3, side, side)
    draw.follow(s.conv(2 * growth, 3))
    for stage in range(draw.one(2, 3)):
        if stage:
            draw.follow(s.conv(max(3, s.channels // 2), 1)).pool(2, "Avg")
        for _ in range(draw.one(2, 3, 4)):
            body = draw.follow(s.branch())
            s.dense(body.conv(growth, 3))
    return draw.follow(s)


def _perceptrons(draw: _Draw) -> Sketch:
    s = Sketch(draw.whole(4, 1024))
    draw.norm = "BatchNorm" if draw.random.random() < 0.3 else "none"
    for _ in range(draw.one(1, 2, 3, 4)):
        draw.follow(s.linear(draw.whole(16, 1024)))
    return s


def _signals(draw: _Draw) -> Sketch:
    s = Sketch(draw.whole(1, 24), draw.whole(32, 1000))
    width = draw.whole(8, 192)
    for _ in range(draw.one(2, 3, 4)):
        draw.follow(s.conv(width, draw.one(3, 5, 7, 9, 11), draw.one(1, 1, 2), dilation=draw.one(1, 1, 2, 4)))
        if draw.random.random() < 0.5:
            s.pool()
        width = min(512, round(width * draw.random.uniform(0.8, 1.8)))
    return s


def _volumes(draw: _Draw) -> Sketch:
    side = draw.whole(6, 40)
    s = Sketch(draw.one(1, 1, 2, 4), side, side, max(4, side // draw.one(1, 2)))
    width = draw.whole(4, 48)
    for _ in range(draw.one(2, 3)):
        draw.follow(s.conv(width, draw.one(3, 3, 5), draw.one(1, 1, 2))).pool()
        width = min(256, round(width * draw.random.uniform(1.2, 2.2)))
    return s


def _stems(draw: _Draw) -> Sketch:
    side = draw.whole(48, 224)
    s = Sketch(draw.one(1, 3, 3, 4), side, side)
    width = draw.whole(8, 72)
    draw.follow(s.conv(width, draw.one(5, 7, 11), draw.one(2, 2, 3, 4))).pool()
    for _ in range(draw.one(1, 2, 3)):
        draw.follow(s.conv(width, draw.one(3, 5), draw.one(1, 2), dilation=draw.one(1, 1, 2)))
        width = min(384, round(width * draw.random.uniform(1.2, 2.2)))
    return s


def _grouped(draw: _Draw) -> Sketch:
    side, groups = draw.whole(8, 64), draw.one(2, 3, 4, 8, 16)
    width = groups * draw.whole(1, 24)
    s = Sketch(3, side, side)
    draw.follow(s.conv(width, 3))
    for _ in range(draw.one(2, 3, 4)):
        draw.follow(s.conv(groups * draw.whole(1, 24), draw.one(3, 3, 5), draw.one(1, 1, 2), groups=groups))
    return s


KINDS: dict[str, Callable[[_Draw], Sketch]] = {
    "plain": _plain, "residual": _residual, "bottleneck": _bottleneck, "depthwise": _depthwise, "dense": _dense,
    "mlp": _perceptrons, "signal": _signals, "volume": _volumes, "stem": _stems, "grouped": _grouped,
}  # fmt: skip
