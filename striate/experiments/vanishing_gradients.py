"""Experiment M5: in a chain of sigmoids, the gradients of the first layers vanish."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from striate.experiments import drawing
from striate.experiments.experiment import Experiment, Size, Work
from striate.experiments.measurement import Form, Measurement, Quantity
from striate.experiments.networks import deep
from striate.experiments.prediction import Prediction
from striate.experiments.training import gradient_norms, prepared, train
from striate.nn.activation import ReLU, Sigmoid, Tanh
from striate.nn.module import Module
from striate.optim import SGD

DEPTH, WIDTH = 12, 64


class Setting(NamedTuple):
    """One of the compared networks: activation, initialization, batch normalization, and number of hidden layers."""

    activation: Callable[[], Module]
    init: str
    normalized: str = "none"
    depth: int = DEPTH


SETTINGS = {
    "sigmoid, Xavier start": Setting(Sigmoid, "xavier"),
    "sigmoid, with batch norm": Setting(Sigmoid, "xavier", "between"),
    "sigmoid, 2 layers only": Setting(Sigmoid, "xavier", depth=2),
    "tanh, PyTorch's start": Setting(Tanh, "torch"),
    "tanh, Xavier start": Setting(Tanh, "xavier"),
    "ReLU, PyTorch's start": Setting(ReLU, "torch"),
    "ReLU, He start": Setting(ReLU, "he"),
}
SIGMOID, NORMALIZED, SHALLOW, TANH, TANH_XAVIER, RELU, RELU_HE = SETTINGS
COLOURS = dict(
    zip(SETTINGS, (drawing.RED, drawing.GREEN, "#e9a09b", drawing.PURPLE, "#c3a9d8", drawing.BLUE, drawing.SKY))
)


def _ratio(found: Measurement, setting: str) -> str:
    return found.short(setting, "first to last")


def _ratio_and_accuracy(found: Measurement, setting: str) -> str:
    return f"{_ratio(found, setting)}, accuracy {found.short(setting, 'accuracy')}"


class VanishingGradients(Experiment):
    """Compares ‖∂L/∂W₁‖ / ‖∂L/∂W₁₂‖ before training, and the final accuracy, of networks with 12 hidden layers.

    L is the loss, and W₁ and W₁₂ are the weights of the first and the last hidden layer.
    """

    name = "M5"
    title = "Vanishing gradients"
    equation = "∂L/∂W₁ carries Π σ′(aₗ), and σ′(a) = σ(a)(1 − σ(a)) ≤ 0.25"
    setup = (
        f"{DEPTH} hidden layers of {WIDTH} units on the digits; SGD, learning rate 0.01, momentum 0.9, batches of 32. "
        f"Measured before the first step: the gradient's norm at the first hidden layer's weights over that at the "
        f"last one's; for each layer passed, the {DEPTH - 1}th root of it. After training: held-out accuracy."
    )
    data = "digits"
    size = Size(seeds=3, samples=1442, held_out=355, epochs=20)
    usual_seconds = 26
    quantities = (
        Quantity("first to last", Form.POWER),
        Quantity("a layer", Form.PLAIN, spread=False),
        Quantity("accuracy"),
    )
    predictions = (
        Prediction(
            "Twelve sigmoids: the first layer's gradient is below a ten-thousandth of the last one's, at most about "
            "a quarter (0.30) survives each layer, and the network stays at chance (below 20 %).",
            lambda found: (
                found.median(SIGMOID, "first to last") < 1e-4
                and found.median(SIGMOID, "a layer") <= 0.30
                and found.median(SIGMOID, "accuracy") < 0.2
            ),
            lambda found: (
                f"{_ratio(found, SIGMOID)}, {found.short(SIGMOID, 'a layer')} a layer, "
                f"accuracy {found.short(SIGMOID, 'accuracy')}"
            ),
            "3e-7, 0.26 a layer, chance",
        ),
        Prediction(
            "tanh suffers too: with PyTorch's default start the ratio is below 0.2 and the network learns badly "
            "(below 70 %).",
            lambda found: found.median(TANH, "first to last") < 0.2 and found.median(TANH, "accuracy") < 0.7,
            lambda found: _ratio_and_accuracy(found, TANH),
            "0.04",
        ),
        Prediction(
            "Batch normalization between linear map and sigmoid brings the ratio above 0.3 and accuracy above 90 %.",
            lambda found: (
                found.median(NORMALIZED, "first to last") > 0.3 and found.median(NORMALIZED, "accuracy") > 0.9
            ),
            lambda found: _ratio_and_accuracy(found, NORMALIZED),
            "about 1, 94–97 %",
            condition="sigmoid chains vanish only without normalization",
        ),
        Prediction(
            "Two sigmoid layers learn well (above 90 %): it takes depth.",
            lambda found: found.median(SHALLOW, "accuracy") > 0.9,
            lambda found: _ratio_and_accuracy(found, SHALLOW),
            condition="only deep chains vanish",
        ),
        Prediction(
            "With Xavier's start tanh does not vanish: ratio above 0.3, accuracy above 90 %.",
            lambda found: (
                found.median(TANH_XAVIER, "first to last") > 0.3 and found.median(TANH_XAVIER, "accuracy") > 0.9
            ),
            lambda found: _ratio_and_accuracy(found, TANH_XAVIER),
            "0.86",
            condition="tanh vanishes only from a start that is too small for it",
        ),
        Prediction(
            "The activation alone is no cure: ReLU with PyTorch's default start vanishes too (below 0.05), "
            "with He's start not (above 0.3).",
            lambda found: found.median(RELU, "first to last") < 0.05 and found.median(RELU_HE, "first to last") > 0.3,
            lambda found: f"PyTorch's {_ratio_and_accuracy(found, RELU)}; He's {_ratio_and_accuracy(found, RELU_HE)}",
            "1e-3; He's not",
            condition="a start that is too small makes ReLU vanish as well",
        ),
    )

    def measure(self, work: Work) -> Measurement:
        found = Measurement(self.quantities)
        for name, seed in work.runs(list(SETTINGS)):
            setting = SETTINGS[name]
            train_set = work.samples(seed)
            network = deep(
                setting.activation,
                depth=setting.depth,
                width=WIDTH,
                init=setting.init,
                normalized=setting.normalized,
                classes=work.classes,
            )
            model = prepared(network, train_set, seed)
            norms = list(gradient_norms(model, train_set, seed).values())[:-1]  # the last is the output layer's
            ratio = norms[0] / norms[-1] if norms[-1] else 0.0
            done = train(model, train_set, SGD(lr=0.01, momentum=0.9), seed=seed, epochs=work.size.epochs)
            found.add(
                name,
                first_to_last=ratio,
                a_layer=ratio ** (1 / (setting.depth - 1)),
                accuracy=done.accuracy(work.held_out),
            )
            if setting.depth == DEPTH:
                former = found.arrays.get(name, np.empty((0, DEPTH)))
                found.arrays[name] = np.vstack([former, np.array(norms) / norms[-1]])
        return found

    def draw(self, found: Measurement, figure: Any) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
        layers = np.arange(1, DEPTH + 1)
        for name, curves in found.arrays.items():
            drawing.band(left, layers, curves.min(0), np.median(curves, 0), curves.max(0), COLOURS[name], name)
        left.plot(layers, 0.25 ** (DEPTH - layers), ":", color=drawing.GREY, linewidth=1.4)
        left.annotate("¼ a layer", (3, 0.25 ** (DEPTH - 3)), (1.5, 4e-5), color=drawing.GREY, fontsize=9)
        left.set_yscale("log")
        left.set_xticks(layers)
        left.grid(axis="y")
        left.set_xlabel("hidden layer (1 is next to the image)")
        left.set_ylabel("gradient norm, relative to layer 12")
        left.set_title("Before the first step: what reaches each layer")
        left.legend(fontsize=8, loc="lower right")
        names = found.settings
        drawing.bars(right, found, "accuracy", names, colours=[COLOURS[name] for name in names], chance=0.1)
        right.set_xlabel("held-out accuracy, %")
        right.set_title("After training")
