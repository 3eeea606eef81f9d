"""Data, networks and losses for the cases from public reports."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from doctor_material import cut, signals

import striate as st
from striate import nn
from striate.data import Dataset, load_digits, load_mnist

Array = np.ndarray[Any, Any]


# Data


@functools.cache
def handwriting() -> tuple[Dataset, Dataset]:
    """Return 1,200 digits of MNIST for training and 600 for validation, different from those of the judged part."""
    return cut(load_mnist("train"), 1200, 51), cut(load_mnist("test"), 600, 52)


@functools.cache
def small_digits() -> tuple[Dataset, Dataset]:
    """Return the digits of the package, split at random into 1,200 for training and 597 for validation."""
    one, two = load_digits("train"), load_digits("test")
    images, labels = np.concatenate([one.images, two.images]), np.concatenate([one.labels, two.labels])
    order = np.random.default_rng(53).permutation(len(images))
    train, held_out = order[:1200], order[1200:]
    return (
        Dataset(images[train], labels[train], one.classes, "digits"),
        Dataset(images[held_out], labels[held_out], one.classes, "digits"),
    )


def _blobs(count: int, classes: int, seed: int, spread: float) -> Dataset:
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(54).normal(0, 1, (classes, 10))
    labels = random.integers(0, classes, count)
    x = centres[labels] + random.normal(0, spread, (count, 10))
    return Dataset(x.astype(np.float32), labels, tuple(f"c{k}" for k in range(classes)), "blobs")


def blobs(classes: int = 4, spread: float = 0.7) -> tuple[Dataset, Dataset]:
    """Return rows of ten numbers around one centre per class: 1,000 for training and 500 for validation."""
    return _blobs(1000, classes, 55, spread), _blobs(500, classes, 56, spread)


def _lamps(count: int, seed: int) -> Dataset:
    """Return 16×16 colour pictures of a reddish, yellowish or bluish lamp on brown ground."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, count)
    colours = np.array([[190, 90, 60], [180, 160, 60], [110, 110, 170]], np.float64)
    images = np.array([120, 95, 60], np.float64)[None, :, None, None] + random.normal(0, 18, (count, 3, 16, 16))
    rows, columns = random.integers(2, 9, count), random.integers(2, 9, count)
    for i, (row, column, label) in enumerate(zip(rows, columns, labels, strict=True)):
        tint = colours[label] + random.normal(0, 12, 3)
        images[i, :, row : row + 5, column : column + 5] = tint[:, None, None] + random.normal(0, 18, (3, 5, 5))
    return Dataset(images.clip(0, 255).astype(np.uint8), labels, ("red", "yellow", "blue"), "lamps")


@functools.cache
def lamps() -> tuple[Dataset, Dataset]:
    """Return 800 pictures of lamps for training and 400 for validation."""
    return _lamps(800, 57), _lamps(400, 58)


def _recording(seed: int, moments: int) -> tuple[Array, Array]:
    """Return a long recording (1, T) of a process that switches between states, and its state at each time."""
    random = np.random.default_rng(seed)
    lengths = random.integers(150, 400, moments // 150)
    states = np.repeat(random.integers(0, 3, len(lengths)), lengths)[:moments]
    pace = np.array([0.15, 0.35, 0.7])[states]
    wave = np.sin(np.cumsum(pace + random.normal(0, 0.15, moments))) + 1.4 * random.normal(0, 1, moments)
    drift = np.cumsum(random.normal(0, 0.05, moments))
    return (wave + 0.3 * (drift - drift.mean())).astype(np.float32)[None], states


def windows(seed: int, moments: int, stride: int, length: int = 48) -> Dataset:
    """Return windows of ``length`` moments of a generated recording, in temporal order."""
    wave, states = _recording(seed, moments)
    starts = np.arange(0, moments - length, stride)
    images = np.stack([wave[:, start : start + length] for start in starts])
    return Dataset(images, states[starts + length // 2], ("slow", "middle", "fast"), "recording")


def two_of(data: tuple[Dataset, Dataset], names: tuple[str, str] = ("no", "yes")) -> tuple[Dataset, Dataset]:
    """Return the data with two classes: label 1 for the first two classes, 0 for the others."""
    first, second = (Dataset(one.images, (one.labels < 2).astype(np.int64), names, one.name) for one in data)
    return first, second


def as_floats(data: tuple[Dataset, Dataset], scale: float = 1 / 255) -> tuple[Dataset, Dataset]:
    """Return the pictures multiplied by ``scale``, as float32."""
    ours, theirs = (changed(one, lambda x: x.astype(np.float32) * np.float32(scale)) for one in data)
    return ours, theirs


def changed(dataset: Dataset, change: Callable[[Array], Array]) -> Dataset:
    """Return the data set with the inputs ``change(inputs)`` and the same labels."""
    return Dataset(change(dataset.images), dataset.labels, dataset.classes, dataset.name)


def rare(dataset: Dataset, label: int, every: int) -> Dataset:
    """Return the data set with only every ``every``-th sample of the class ``label``."""
    of_class = np.flatnonzero(dataset.labels == label)
    keep = np.ones(len(dataset), bool)
    keep[of_class] = np.arange(len(of_class)) % every == 0
    return dataset.subset(keep)


@functools.cache
def bits() -> tuple[Dataset, Dataset]:
    """Return the generated signals with two classes: sine and square against the others."""
    return two_of(signals())


def numbers_of(dataset: Dataset) -> tuple[Array, Array]:
    """Return x, and the labels as a float column (N, 1), for a loss with one output."""
    return dataset.images.astype(np.float32), dataset.labels[:, None].astype(np.float32)


def houses(seed: int, count: int, scale: float = 1.0) -> tuple[Array, Array]:
    """Return generated houses: eight standardized properties (N, 8), and prices (N, 1) multiplied by ``scale``."""
    random = np.random.default_rng(seed)
    x = random.normal(0, 1, (count, 8))
    price = 180 + 60 * x[:, 0] + 25 * np.tanh(2 * x[:, 1]) + 20 * x[:, 2] * x[:, 3] + random.normal(0, 8, count)
    return x.astype(np.float32), (price[:, None] * scale).astype(np.float32)


def sums(seed: int, count: int) -> tuple[Array, Array]:
    """Return random pairs of numbers (N, 2) and their sums (N, 1)."""
    x = np.random.default_rng(seed).uniform(-2, 2, (count, 2))
    return x.astype(np.float32), x.sum(axis=1, keepdims=True).astype(np.float32)


# Losses that users write


class BinaryCrossEntropy(nn.Loss):
    """−mean (y log p + (1 − y) log(1 − p)) for probabilities p of shape (N, 1)"""

    def forward(self, p: Any, y: Any) -> Any:
        small = 1e-6
        kept = st.ops.minimum(st.ops.maximum(p, small), 1 - small)
        return -st.ops.mean(y * st.ops.log(kept) + (1.0 - y) * st.ops.log(1.0 - kept))

    def target(self, y: Any, n: int, dtype: Any) -> Array:
        return np.asarray(y, dtype).reshape(n, 1)


class BinaryCrossEntropyOfScores(BinaryCrossEntropy):
    """mean (max(p, 0) − p y + log(1 + e^−|p|)) for logits p of shape (N, 1)"""

    def forward(self, p: Any, y: Any) -> Any:
        return st.ops.mean(st.ops.maximum(p, 0.0) - p * y + st.ops.log(1.0 + st.ops.exp(-st.ops.abs(p))))


class SquaredError(BinaryCrossEntropy):
    """mean (p − y)²"""

    def forward(self, p: Any, y: Any) -> Any:
        return st.ops.mean((p - y) * (p - y))


# Networks


def head(*layers: nn.Module) -> nn.Sequential:
    """Build a small classifier of rows: Linear(None, 24), ReLU, and the given layers."""
    return nn.Sequential(nn.Linear(None, 24, init="he"), nn.ReLU(), *layers)


class SoftmaxInForward(nn.Module):
    """A network whose ``forward`` ends with softmax, unless ``plain`` is set."""

    def __init__(self, classes: int, plain: bool = False) -> None:
        self.plain = plain
        self.flatten = nn.Flatten()
        self.hidden = nn.Linear(None, 48, init="he")
        self.out = nn.Linear(48, classes)

    def forward(self, x: Any) -> Any:
        scores = self.out(st.ops.relu(self.hidden(self.flatten(x))))
        return scores if self.plain else st.ops.softmax(scores)


class LogSoftmaxInForward(SoftmaxInForward):
    """A network whose ``forward`` ends with log softmax, which is harmless: the softmax of both is equal."""

    def forward(self, x: Any) -> Any:
        return st.ops.log_softmax(self.out(st.ops.relu(self.hidden(self.flatten(x)))))


@dataclass(frozen=True)
class Holder:
    """An object with a list of layers that is not a module, since ``nn.Module`` refuses lists as attributes."""

    layers: list[nn.Module]


class Listed(nn.Module):
    """A network that does not register its hidden layers, since they are in a list; ``known`` uses Sequential."""

    def __init__(self, classes: int, width: int = 6, known: bool = False) -> None:
        layers: list[nn.Module] = [nn.Flatten(), nn.Linear(None, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh()]
        if known:
            self.body = nn.Sequential(*layers)
        else:
            self.held = Holder(layers)
        self.known = known
        self.out = nn.Linear(width, classes)

    def forward(self, x: Any) -> Any:
        for layer in list(self.body) if self.known else self.held.layers:
            x = layer(x)
        return self.out(x)


class Rounding(nn.Module):
    """A network with hard decisions as activation; ``soft`` uses a sigmoid instead."""

    def __init__(self, classes: int, soft: bool = False) -> None:
        self.soft = soft
        self.flatten = nn.Flatten()
        self.first, self.last = nn.Linear(None, 16), nn.Linear(16, classes)

    def forward(self, x: Any) -> Any:
        h = self.first(self.flatten(x))
        return self.last(st.ops.sigmoid(h) if self.soft else st.ops.cast(st.ops.greater(h, 0.0 * h), "float32"))


def started(model: nn.Module, init: Any) -> nn.Module:
    """Set the initialization of the weights of all linear maps and convolutions."""
    for _, layer in model.named_modules():
        for name, parameter in layer.own_state().items():
            if parameter.learned and name == "weight" and len(parameter.shape) > 1:
                parameter.init = init
    return model


def normal(std: float, mean: float = 0.0) -> Callable[..., Array]:
    """Return an initialization by a normal distribution that ignores the number of inputs."""

    def init(shape: tuple[int, ...], fan_in: int, random: np.random.Generator) -> Array:
        return random.normal(mean, std, shape)

    return init


def constant(number: float) -> Callable[..., Array]:
    """Return an initialization with one number everywhere."""

    def init(shape: tuple[int, ...], fan_in: int, random: np.random.Generator) -> Array:
        return np.full(shape, number)

    return init
