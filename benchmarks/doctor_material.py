"""Data and networks for the doctor's benchmark."""

from __future__ import annotations

import functools
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import striate as st
from striate import nn
from striate.data import Dataset, load_digits, load_mnist

Array = np.ndarray[Any, Any]


# Data


def cut(dataset: Dataset, count: int, seed: int) -> Dataset:
    """Return ``count`` random samples of a data set."""
    return dataset.subset(np.random.default_rng(seed).permutation(len(dataset))[:count])


@functools.cache
def mnist() -> tuple[Dataset, Dataset]:
    """Return 1,500 digits of MNIST for training and 1,000 for validation."""
    return cut(load_mnist("train"), 1500, 11), cut(load_mnist("test"), 1000, 12)


@functools.cache
def cifar() -> tuple[Dataset, Dataset]:
    """Return 2,000 pictures of CIFAR-10 for training and 600 for validation."""

    def part(archive: zipfile.ZipFile, split: str, each: int) -> Dataset:
        names = [name for name in archive.namelist() if f"/{split}/" in name and name.endswith(".jpg")]
        classes = sorted({name.split("/")[-2] for name in names})
        images: list[Array] = []
        labels: list[int] = []
        for label, kind in enumerate(classes):
            for name in sorted(one for one in names if one.split("/")[-2] == kind)[:each]:
                images.append(np.asarray(Image.open(io.BytesIO(archive.read(name)))).transpose(2, 0, 1))
                labels.append(label)
        return Dataset(np.stack(images), np.array(labels), tuple(classes), "cifar10")

    with zipfile.ZipFile(Path(os.environ["STRIATE_DATA"]) / "cifar10.zip") as archive:
        train, test = part(archive, "train", 200), part(archive, "test", 60)
    return cut(train, len(train), 13), cut(test, len(test), 14)


@functools.cache
def digits() -> tuple[Dataset, Dataset]:
    """Return the digits that come with the package: 1,442 for training and 355 for validation."""
    return load_digits("train"), load_digits("test")


def _signals(count: int, seed: int) -> Dataset:
    """Return noisy signals of two sensors, (N, 2, 64), in four classes by the shape of their wave.

    Phase, frequency and amplitude are random.
    """
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, count)
    time_of = np.arange(64) / 64
    phase, cycles, loud = (
        random.random((count, 1)),
        random.uniform(2, 4, (count, 1)),
        random.uniform(0.7, 1.3, (count, 1)),
    )
    turn = (time_of[None] * cycles + phase) % 1
    shapes = np.stack([np.sin(2 * np.pi * turn), np.sign(turn - 0.5), 2 * turn - 1, np.sin(2 * np.pi * 4 * turn)])
    wave = loud * shapes[labels, np.arange(count)]
    both = np.stack([wave, np.roll(wave, 5, axis=1) * 0.5], axis=1) + random.normal(0, 0.25, (count, 2, 64))
    return Dataset(both.astype(np.float32), labels, ("sine", "square", "saw", "fast"), "signals")


@functools.cache
def signals() -> tuple[Dataset, Dataset]:
    """Return 1,200 generated signals of two sensors for training and 600 for validation, in four classes."""
    return _signals(1200, 21), _signals(600, 22)


def _table(count: int, seed: int, features: int = 16, classes: int = 4) -> Dataset:
    """Return normally distributed features (N, 16), whose class is decided by a fixed random network."""
    teacher = np.random.default_rng(5)
    inner, outer = teacher.normal(0, 0.5, (features, 24)), teacher.normal(0, 1, (24, classes))
    x = np.random.default_rng(seed).normal(0, 1, (count, features))
    scores = np.tanh(x @ inner) @ outer + 1.5 * (x[:, :classes])
    return Dataset(x.astype(np.float32), scores.argmax(axis=1), tuple("abcdefgh"[:classes]), "table")


@functools.cache
def table() -> tuple[Dataset, Dataset]:
    """Return a generated table of 1,200 rows for training and one of 600 rows for validation, in four classes."""
    return _table(1200, 31), _table(600, 32)


# Networks


def mlp(
    classes: int, widths: tuple[int, ...], act: Callable[[], nn.Module] = nn.ReLU, init: Any = "he"
) -> nn.Sequential:
    """Build an MLP with the given widths of hidden layers."""
    layers: list[nn.Module] = [nn.Flatten()]
    for width in widths:
        layers += [nn.Linear(None, width, init=init), act()]
    return nn.Sequential(*layers, nn.Linear(None, classes))


def cnn(
    classes: int, channels: tuple[int, ...], act: Callable[[], nn.Module] = nn.ReLU, init: Any = "he",
    norm: Callable[[], nn.Module] | None = None, pool_every: int = 1,
) -> nn.Sequential:  # fmt: skip
    """Build a CNN of 3×3 convolutions with pooling after every ``pool_every``-th, and a linear layer."""
    layers: list[nn.Module] = []
    for place, width in enumerate(channels):
        layers.append(nn.Conv2d(None, width, 3, padding=1, init=init))
        layers += [norm()] if norm else []
        layers.append(act())
        layers += [nn.MaxPool2d(2)] if (place + 1) % pool_every == 0 else []
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(None, classes))


def conv1d(
    classes: int, channels: tuple[int, ...], act: Callable[[], nn.Module] = nn.ReLU, init: Any = "he",
    norm: Callable[[], nn.Module] | None = None,
) -> nn.Sequential:  # fmt: skip
    """Build a CNN of one-dimensional convolutions, each with pooling, and a linear layer."""
    layers: list[nn.Module] = []
    for width in channels:
        layers.append(nn.Conv1d(None, width, 5, padding=2, init=init))
        layers += [norm()] if norm else []
        layers += [act(), nn.MaxPool1d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(None, classes))


def residual(classes: int, width: int = 16, blocks: int = 2) -> nn.Sequential:
    """Build a small residual network with batch normalization."""

    def block() -> nn.Module:
        return nn.Sequential(
            nn.Residual(nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
            )), nn.ReLU(),
        )  # fmt: skip

    return nn.Sequential(
        nn.Conv2d(None, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        *(block() for _ in range(blocks)), nn.GlobalAveragePool(), nn.Flatten(), nn.Linear(None, classes),
    )  # fmt: skip


class SoftmaxInside(nn.Module):
    """A network whose ``forward`` ends with softmax, which is not visible as a layer."""

    def __init__(self, classes: int) -> None:
        self.body = conv1d(classes, (12, 24))

    def forward(self, x: Any) -> Any:
        return st.ops.softmax(self.body(x))


class Forgetful(nn.Module):
    """A network with a block that ``forward`` calls only if ``whole`` is set."""

    def __init__(self, classes: int, whole: bool = False) -> None:
        self.whole = whole
        self.stem = nn.Conv2d(None, 8, 3, stride=4, padding=1, init="he")
        self.block = nn.Conv2d(8, 32, 3, padding=1, init="he")
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(None, classes)

    def forward(self, x: Any) -> Any:
        x = st.ops.relu(self.stem(x))
        if self.whole:
            x = st.ops.relu(self.block(x))
        return self.fc(self.flatten(x))


class Comparing(nn.Module):
    """A network with a comparison as activation, whose derivative is 0; ``smooth`` uses tanh instead."""

    def __init__(self, classes: int, smooth: bool = False) -> None:
        self.smooth = smooth
        self.flatten = nn.Flatten()
        self.hidden = nn.Linear(None, 12)
        self.out = nn.Linear(12, classes)

    def forward(self, x: Any) -> Any:
        h = self.hidden(self.flatten(x))
        return self.out(st.ops.tanh(h) if self.smooth else st.ops.cast(st.ops.greater(h, 0), "float32"))


# Faults that are planted


def relabelled(dataset: Dataset, labels: Array) -> Dataset:
    """Return a data set with the same inputs and these labels."""
    return Dataset(dataset.images, labels, dataset.classes, dataset.name)


def mixed(labels: Array, seed: int = 4) -> Array:
    return np.random.default_rng(seed).permutation(labels)


def noisy(dataset: Dataset, share: float) -> Dataset:
    """Return the data set with a fraction ``share`` of the labels replaced by random ones."""
    random = np.random.default_rng(8)
    drawn = random.integers(0, len(dataset.classes), len(dataset))
    return relabelled(dataset, np.where(random.random(len(dataset)) < share, drawn, dataset.labels))


def last(model: nn.Sequential, init: Any) -> nn.Sequential:
    """Replace the last layer, a ``Linear``, by one with the initialization ``init``, and return the model."""
    last = model[len(model) - 1]
    assert isinstance(last, nn.Linear)
    setattr(model, str(len(model) - 1), nn.Linear(None, last.out_features, init=init))
    return model


def momentum(model: nn.Module, momentum: float, eps: float | None = None) -> nn.Module:
    """Set momentum, and ε if given, of all batch normalizations, and return the model."""
    for _, layer in model.named_modules():
        if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            layer.momentum = momentum
            layer.eps = layer.eps if eps is None else eps
    return model


def biased(model: nn.Sequential, number: float, kinds: tuple[type, ...]) -> nn.Sequential:
    """Set the initial biases of all layers of these classes to ``number``."""

    def constant(shape: tuple[int, ...], fan_in: int, random: np.random.Generator) -> Array:
        return np.full(shape, number)

    layers = [layer for _, layer in model.named_modules() if isinstance(layer, kinds)]
    for layer in layers:
        layer.parameter("bias").init = constant
    return model


def normalized_mlp(classes: int, widths: tuple[int, ...], act: Callable[[], nn.Module]) -> nn.Sequential:
    """Build an MLP with batch normalization before each activation."""
    layers: list[nn.Module] = [nn.Flatten()]
    for width in widths:
        layers += [nn.Linear(None, width), nn.BatchNorm1d(width), act()]
    return nn.Sequential(*layers, nn.Linear(None, classes))


def normalized_cnn() -> nn.Sequential:
    """Build a CNN of 16 and 32 filters for ten classes, with batch normalization before each ReLU."""
    return cnn(10, (16, 32), nn.ReLU, "he", lambda: nn.BatchNorm2d(None))


def with_inputs(data: tuple[Dataset, Dataset], change: Callable[[Array], Array]) -> tuple[Dataset, Dataset]:
    """Return both data sets with inputs replaced by ``change(inputs)``."""
    ours, theirs = (Dataset(change(one.images), one.labels, one.classes, one.name) for one in data)
    return ours, theirs


def bytes_to_floats(images: Array) -> Array:
    """Convert bytes to float32 from 0 to 1."""
    return images.astype(np.float32) / 255
