"""Experiment M4: a linear layer needs C·H·W input features, a number that striate infers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from striate.errors import ShapeError
from striate.experiments import drawing
from striate.experiments.experiment import Experiment, Size, Work
from striate.experiments.measurement import Form, Measurement, Quantity
from striate.experiments.prediction import Prediction
from striate.experiments.training import prepared, train
from striate.nn.activation import ReLU
from striate.nn.container import Sequential
from striate.nn.convolution import Conv2d
from striate.nn.linear import Linear
from striate.nn.pooling import MaxPool2d
from striate.nn.shaping import Flatten
from striate.optim import SGD

NETWORKS = 6
FLAT, FULL, SHUFFLED = "Flatten + Linear", "full-size convolution", "shuffled features"
INFERENCE = f"{NETWORKS} random networks"


def random_front(random: np.random.Generator, shape: tuple[int, ...]) -> tuple[Sequential, tuple[int, int, int]]:
    """Return two random convolutions for inputs of ``shape`` (C, H, W), and the shape of their output.

    A max pooling follows them if it fits. The output shape is computed from kernels, strides and paddings,
    independently of striate.
    """
    layers: list[Conv2d | MaxPool2d] = []
    channels, height, width = shape
    for _ in range(2):
        kernel = (int(random.integers(1, 4)), int(random.integers(1, 4)))
        stride, padding = int(random.integers(1, 3)), int(random.integers(0, 2))
        outputs = int(random.integers(1, 9))
        layers.append(Conv2d(channels, outputs, kernel, stride=stride, padding=padding))
        channels = outputs
        height = (height + 2 * padding - kernel[0]) // stride + 1
        width = (width + 2 * padding - kernel[1]) // stride + 1
    if min(height, width) >= 2:
        layers.append(MaxPool2d(2))
        height, width = height // 2, width // 2
    return Sequential(*layers), (channels, height, width)


def front(work: Work) -> list[Conv2d | ReLU | MaxPool2d]:
    """Return the convolutional layers of the trained networks; their outputs have the shape (8, H', W')."""
    layer = Conv2d(work.shape[0], 8, work.kernel, padding=work.kernel // 2, init="he")
    return [layer, ReLU(), MaxPool2d(2)]


def mismatch(work: Work) -> str:
    """Return the error message for a linear layer with a wrong number of input features."""
    layers = [*front(work), Flatten(), Linear(100, work.classes)]
    try:
        Sequential(*layers).infer(work.shape)
    except ShapeError as error:
        return f"{type(error).__name__} {error}"
    return ""


class Flattening(Experiment):
    """Checks inferred feature counts, and compares flattening with a convolution as large as its input.

    It also checks the error message for a wrong number of features.
    """

    name = "M4"
    title = "Flattening"
    equation = "(N, C, H, W) → (N, C·H·W)"
    setup = (
        f"{NETWORKS} networks a seed of arbitrary kernels, strides, paddings and pools: are the features that "
        "Linear(None, …) infers those that a pencil counts and NumPy's reshape gives? Then one network is trained "
        "(SGD, learning rate 0.01, momentum 0.9) and its Flatten and Linear are replaced by a convolution as large as "
        "its input, with the same weights; and by a linear map with features and weights in another order."
    )
    data = "mnist"
    size = Size(seeds=3, samples=2000, held_out=2000, epochs=4)
    usual_seconds = 1
    quantities = (
        Quantity("right"),
        Quantity("features", Form.COUNT, spread=False),
        Quantity("difference", Form.POWER, spread=False),
        Quantity("accuracy"),
    )
    predictions = (
        Prediction(
            "All features are inferred right, for every kernel, stride and padding.",
            lambda found: found.low(INFERENCE, "right") == 1,
            lambda found: f"{found.short(INFERENCE, 'right')} of {NETWORKS} networks a seed",
        ),
        Prediction(
            "Flatten and Linear are the same map as a convolution whose filters are as large as the input: the outputs "
            "differ by less than 0.001.",
            lambda found: found.high(FULL, "difference") < 1e-3,
            lambda found: f"at most {Form.POWER.text(found.high(FULL, 'difference'))}",
        ),
        Prediction(
            "The order of the features means nothing to a linear map: with both in another order less than 0.001.",
            lambda found: found.high(SHUFFLED, "difference") < 1e-3,
            lambda found: f"at most {Form.POWER.text(found.high(SHUFFLED, 'difference'))}",
        ),
        Prediction(
            "A wrong number is refused with the layer, the way of the shapes, the product C·H·W and the cure.",
            lambda found: all(bool(part) for part in found.arrays["error says"]),
            lambda found: (
                "path, trail, product, cure: "
                + ", ".join("yes" if part else "no" for part in found.arrays["error says"])
            ),
        ),
    )

    def measure(self, work: Work) -> Measurement:
        found = Measurement(self.quantities)
        for setting, seed in work.runs([INFERENCE, FLAT]):
            if setting == INFERENCE:
                found.add(INFERENCE, right=self.inferred(work, seed))
            else:
                self.compare(found, work, seed)
        message = mismatch(work)
        found.remarks.append(f"A guessed number of features, Linear(100, …), is answered so:\n\n{message}")
        features = math.prod(found.arrays["maps"].shape)
        said = ('at "4" Linear', "→", f"= {features}, not 100", f"help: Linear({features}, ")
        found.arrays["error says"] = np.array([part in message for part in said])
        return found

    def inferred(self, work: Work, seed: int) -> float:
        """Return the share of six random networks whose inferred number of features is right.

        Right means equal to the number computed by ``random_front`` and to the number in the actual outputs. ``seed``
        determines the networks.
        """
        random = np.random.Generator(np.random.Philox(key=seed))
        right = 0
        for _ in range(NETWORKS):
            layers, (channels, height, width) = random_front(random, work.shape)
            network = Sequential(*layers, Flatten(), Linear(None, 3)).initialize(seed)
            network.infer(work.shape)
            last = list(network)[-1]
            assert isinstance(last, Linear)
            maps = np.asarray(layers(work.held_out.images[:2].astype(np.float32)))
            right += last.in_features == channels * height * width == maps.reshape(2, -1).shape[1]
        return right / NETWORKS

    def compare(self, found: Measurement, work: Work, seed: int) -> None:
        """Train a network, compute its last two layers in two other ways, and record how the outputs differ.

        The two layers, flatten and linear, are replaced first by a convolution whose filters are as large as its input,
        then by a linear layer whose features are in another order. The numbers are added to ``found``. ``seed``
        determines the initial weights and the training samples.
        """
        train_set, images = work.samples(seed), work.held_out.images
        parts = front(work)
        model = Sequential(*parts, Flatten(), Linear(None, work.classes))
        prepared(model, train_set, seed)
        done = train(model, train_set, SGD(lr=0.01, momentum=0.9), seed=seed, epochs=work.size.epochs)
        weight, bias = (np.array(dict(model.named_parameters())[f"4.{name}"]) for name in ("weight", "bias"))
        body = Sequential(dict(model.named_modules())["standardizer"], *parts)
        some = images[:256].astype(np.float32)
        maps, wanted = np.asarray(body(some)), np.asarray(model(some))
        found.add(FLAT, features=weight.shape[1], accuracy=done.accuracy(work.held_out))

        full = Conv2d(maps.shape[1], work.classes, maps.shape[2:])
        full.weight, full.bias = weight.reshape(work.classes, *maps.shape[1:]), bias  # pyright: ignore[reportAttributeAccessIssue]
        outputs = np.asarray(full(maps))[:, :, 0, 0]
        found.add(FULL, difference=float(np.abs(outputs - wanted).max()), features=weight.shape[1])

        order = np.random.Generator(np.random.Philox(key=seed)).permutation(weight.shape[1])
        linear = Linear(weight.shape[1], work.classes)
        linear.weight, linear.bias = weight[:, order], bias  # pyright: ignore[reportAttributeAccessIssue]
        outputs = np.asarray(linear(maps.reshape(len(maps), -1)[:, order]))
        found.add(SHUFFLED, difference=float(np.abs(outputs - wanted).max()), features=weight.shape[1])
        if seed == 0:
            found.arrays |= {"image": some[0].mean(axis=0), "maps": maps[0], "weight": weight}

    def draw(self, found: Measurement, figure: Any) -> None:
        maps, image = found.arrays["maps"], found.arrays["image"]
        channels, height, width = maps.shape
        top, bottom = figure.subfigures(2, 1, height_ratios=(1.7, 1))
        first, second = top.subfigures(1, 2, width_ratios=(1, 2.1))
        left = first.subplots()
        drawing.picture(left, image)
        left.set_title(f"x: (1, {image.shape[0]}, {image.shape[1]})", fontsize=10)
        scale = maps.max() or 1.0
        columns = -(-channels // 2)
        for number, (one, part) in enumerate(zip(second.subplots(2, columns).ravel(), maps)):
            drawing.picture(one, part / scale, "magma", 0, 1)
            one.set_title(f"channel {number}", fontsize=9, color=drawing.COLOURS[number])
        strip = bottom.subplots()
        flat = maps.reshape(-1) / scale
        strip.vlines(np.arange(flat.size), 0, flat, linewidth=0.6, color=_by_channel(channels, height * width))
        for number in range(channels):
            start = number * height * width
            strip.axvspan(start, start + height * width, ymin=-0.0, ymax=0.035, color=drawing.COLOURS[number])
        strip.set_xlim(-2, flat.size + 1)
        strip.set_ylim(0, 1.02)
        strip.set_xticks([number * height * width for number in range(channels + 1)])
        strip.set_xlabel("place c·H·W + h·W + w in the row of features")
        strip.set_ylabel("feature")
        strip.set_title(
            f"Flattened: ({channels}, {height}, {width}) → {channels}·{height}·{width} = {flat.size} features"
        )


def _by_channel(channels: int, size: int) -> list[str]:
    return [drawing.COLOURS[number % len(drawing.COLOURS)] for number in range(channels) for _ in range(size)]
