"""Experiment M10: batch normalization, for inputs of shape (N, D) and (N, C, H, W)."""

from __future__ import annotations

from typing import Any

import numpy as np

from striate.experiments import drawing
from striate.experiments.experiment import Experiment, Size, Work
from striate.experiments.measurement import Array, Form, Measurement, Quantity
from striate.experiments.prediction import Prediction
from striate.experiments.training import prepared, train
from striate.nn.activation import ReLU
from striate.nn.container import Sequential
from striate.nn.convolution import Conv2d
from striate.nn.linear import Linear
from striate.nn.module import Module
from striate.nn.normalization import BatchNorm, BatchNorm1d, BatchNorm2d
from striate.nn.pooling import MaxPool2d
from striate.nn.shaping import Flatten
from striate.optim import SGD

RATES = (0.01, 0.1, 1.0)
FLAT, MAPS = "MLP", "CNN"
TITLES = {FLAT: "MLP: statistics over B of (B, D)", MAPS: "CNN: over B, H, W of (B, C, H, W)"}
BATCH = 64


def name_of(structure: str, normalized: bool, rate: float) -> str:
    """Return the name of a setting: "MLP + BN, lr 0.1" for structure "MLP", with normalization, at rate 0.1."""
    return f"{structure}{' + BN' if normalized else ''}, lr {rate:g}"


SETTINGS = tuple(
    name_of(structure, normalized, rate) for structure in (FLAT, MAPS) for normalized in (False, True) for rate in RATES
)


def network(structure: str, normalized: bool, work: Work) -> Sequential:
    """Build the MLP (four hidden layers of 100 units) or the CNN (convolutions of 8 and 16 filters), by ``structure``.

    If ``normalized``, each linear layer or convolution is followed by batch normalization, before the ReLU.
    """
    layers: list[Module] = []
    if structure == FLAT:
        layers.append(Flatten())
        for _ in range(4):
            layers.append(Linear(None, 100, bias=not normalized))
            layers += [BatchNorm1d(100), ReLU()] if normalized else [ReLU()]
        return Sequential(*layers, Linear(None, work.classes))
    for count in (8, 16):
        layers.append(Conv2d(None, count, work.kernel, padding=work.kernel // 2, bias=not normalized))
        layers += [BatchNorm2d(count), ReLU(), MaxPool2d(2)] if normalized else [ReLU(), MaxPool2d(2)]
    return Sequential(*layers, Flatten(), Linear(None, work.classes))


def first_norm(model: Sequential, images: Array) -> tuple[BatchNorm, Array, Array]:
    """Return the first normalization layer, and its float64 input and output for ``images`` in training mode."""
    layers = list(model)
    place = next(index for index, layer in enumerate(layers) if isinstance(layer, BatchNorm))
    standardized = np.asarray(dict(model.named_modules())["standardizer"](images.astype(np.float32)))
    x = np.asarray(Sequential(*layers[:place])(standardized), np.float64)
    y = np.asarray(Sequential(*layers[: place + 1])(standardized, training=True), np.float64)
    layer = layers[place]
    assert isinstance(layer, BatchNorm)
    return layer, x, y


def recount(model: Sequential, images: Array) -> float:
    """Return the largest difference between the output of the first BN layer and that of its equation in NumPy.

    Both use μ and σ of this batch of images.
    """
    layer, x, y = first_norm(model, images)
    axes, shape = (0, *range(2, x.ndim)), (1, -1, *(1,) * (x.ndim - 2))
    mean, variance = x.mean(axis=axes, keepdims=True), x.var(axis=axes, keepdims=True)
    gamma, beta = (layer.parameter(name).data.astype(np.float64).reshape(shape) for name in ("weight", "bias"))
    return float(np.abs(y - ((x - mean) / np.sqrt(variance + layer.eps) * gamma + beta)).max())


def batch_means(model: Sequential, images: Array) -> Array:
    """Return μ of the first BN layer's input per channel, for up to 24 batches of the images.

    The result has shape (batches + 1, C); its last row is the layer's running mean.
    """
    rows: list[Array] = []
    size = min(BATCH, len(images))
    for start in range(0, len(images) - size + 1, size):
        _, x, _ = first_norm(model, images[start : start + size])
        rows.append(x.mean(axis=(0, *range(2, x.ndim))))
    layer, _, _ = first_norm(model, images[:2])
    return np.stack([*rows[:24], layer.parameter("running_mean").data.astype(np.float64)])


def agreement(model: Module, images: Array) -> float:
    """Return the share of images (0 to 1) whose predicted class does not depend on the statistics.

    The model predicts them once with the statistics of the batch, and once with the running statistics.
    """
    size = min(BATCH, len(images))
    starts = range(0, len(images) - size + 1, size)
    by_batch = np.concatenate(
        [np.asarray(model(images[start : start + size], training=True)).argmax(axis=1) for start in starts]
    )
    running = np.asarray(model(images[: len(by_batch)])).argmax(axis=1)
    return float((by_batch == running).mean())


def _range(found: Measurement, normalized: bool) -> float:
    values = [found.median(name_of(FLAT, normalized, rate), "accuracy") for rate in RATES]
    return max(values) - min(values)


def _best(found: Measurement, structure: str, normalized: bool) -> float:
    return max(found.median(name_of(structure, normalized, rate), "accuracy") for rate in RATES)


def _all(found: Measurement, structure: str, normalized: bool) -> str:
    return ", ".join(found.short(name_of(structure, normalized, rate), "accuracy") for rate in RATES)


def _worst(found: Measurement, quantity: str, least: bool) -> float:
    values = [
        value
        for structure in (FLAT, MAPS)
        for rate in RATES
        for value in found.values(name_of(structure, True, rate), quantity)
    ]
    return (min if least else max)(values)


class BatchNormalization(Experiment):
    """Compares networks with and without batch normalization after one epoch, at three learning rates.

    The networks are an MLP and a CNN, trained by SGD without momentum.
    """

    name = "M10"
    title = "Batch normalization"
    equation = "(x − μ_B)/σ_B · γ + β; μ, σ, γ, β of shape D or C"
    setup = (
        "One epoch of plain SGD (no momentum, batches of 64) at learning rates 0.01, 0.1 and 1. An MLP of four hidden "
        "layers of 100 units normalizes (B, D) over B; a CNN of two convolutions normalizes (B, C, H, W) over B, H "
        "and W. ReLU, PyTorch's default start. Agreement: held-out images that get the same class by the statistics "
        "of their batch of 64, as in training, and by the running ones, as in prediction. Recount: the layer's largest "
        "difference from NumPy's μ and σ of the same batch."
    )
    data = "mnist"
    size = Size(seeds=3, samples=6000, held_out=2000, epochs=1)
    usual_seconds = 16
    quantities = (Quantity("accuracy"), Quantity("agreement"), Quantity("recount", Form.POWER, spread=False))
    predictions = (
        Prediction(
            "MLP: at the smallest rate batch normalization makes a network that has hardly begun (below 50 %) one "
            "that has learned (above 70 %).",
            lambda found: (
                found.median(name_of(FLAT, False, 0.01), "accuracy") < 0.5
                and found.median(name_of(FLAT, True, 0.01), "accuracy") > 0.7
            ),
            lambda found: (
                f"{found.short(name_of(FLAT, False, 0.01), 'accuracy')} → "
                f"{found.short(name_of(FLAT, True, 0.01), 'accuracy')}"
            ),
            "20–40 % → 80 %",
        ),
        Prediction(
            "MLP: at rate 1 the plain network fails (below 50 %), the normalized one learns (above 80 %).",
            lambda found: (
                found.median(name_of(FLAT, False, 1.0), "accuracy") < 0.5
                and found.median(name_of(FLAT, True, 1.0), "accuracy") > 0.8
            ),
            lambda found: (
                f"{found.short(name_of(FLAT, False, 1.0), 'accuracy')} → "
                f"{found.short(name_of(FLAT, True, 1.0), 'accuracy')}"
            ),
            "chance → 92 %",
        ),
        Prediction(
            "Steadier: over the three rates the normalized MLP's accuracy varies by less than half as much.",
            lambda found: 2 * _range(found, True) < _range(found, False),
            lambda found: f"without {_all(found, FLAT, False)}; with {_all(found, FLAT, True)}",
        ),
        Prediction(
            "Both structures are what the equation says: recounted in NumPy the outputs differ by less than 0.001.",
            lambda found: _worst(found, "recount", False) < 1e-3,
            lambda found: f"at most {Form.POWER.text(_worst(found, 'recount', False))}",
        ),
        Prediction(
            "At the best of three rates the CNN gains less than 5 points.",
            lambda found: _best(found, MAPS, True) - _best(found, MAPS, False) < 0.05,
            lambda found: f"without {_all(found, MAPS, False)}; with {_all(found, MAPS, True)}",
            condition="a shallow network at a well chosen rate gains little",
        ),
        Prediction(
            "At rate 1 the CNN stays below 50 % in spite of it: its last linear map, which reads hundreds of features, "
            "is not normalized.",
            lambda found: found.median(name_of(MAPS, True, 1.0), "accuracy") < 0.5,
            lambda found: found.text(name_of(MAPS, True, 1.0), "accuracy"),
            condition="it does not make every learning rate safe",
        ),
        Prediction(
            "After so few steps batch and running statistics still disagree on more than 5 % of the images in some "
            "setting.",
            lambda found: _worst(found, "agreement", True) < 0.95,
            lambda found: f"least agreement {Form.PERCENT.text(_worst(found, 'agreement', True))}",
            condition="predictions need running statistics that had time to settle",
        ),
    )

    def measure(self, work: Work) -> Measurement:
        found = Measurement(self.quantities)
        for setting, seed in work.runs(SETTINGS):
            structure = FLAT if setting.startswith(FLAT) else MAPS
            normalized = "+ BN" in setting
            rate = float(setting.rsplit(" ", 1)[1])
            train_set = work.samples(seed)
            model = network(structure, normalized, work)
            prepared(model, train_set, seed)
            rule = SGD(lr=rate)
            done = train(model, train_set, rule, seed=seed, epochs=work.size.epochs, batch_size=BATCH)
            found.add(setting, accuracy=done.accuracy(work.held_out))
            if normalized:
                batch = work.held_out.images[:BATCH]
                found.add(setting, recount=recount(model, batch), agreement=agreement(model, work.held_out.images))
            if setting == name_of(MAPS, True, 0.1) and seed == 0:
                found.arrays["means"] = batch_means(model, work.held_out.images)
        return found

    def draw(self, found: Measurement, figure: Any) -> None:
        left, middle, right = figure.subplots(1, 3)
        colours = {False: drawing.RED, True: drawing.BLUE}
        for axes, structure in ((left, FLAT), (middle, MAPS)):
            for normalized in (True, False):
                rows = [
                    100 * np.array(found.values(name_of(structure, normalized, rate), "accuracy")) for rate in RATES
                ]
                low, mid, high = (np.array([f(row) for row in rows]) for f in (np.min, np.median, np.max))
                label = f"{'with' if normalized else 'without'} batch normalization"
                drawing.band(axes, RATES, low, mid, high, colours[normalized], label)
            axes.axhline(10, color=drawing.GREY, linewidth=1, linestyle=":")
            axes.set_xscale("log")
            axes.set_xticks(RATES, [f"{rate:g}" for rate in RATES])
            axes.set_ylim(0, 102)
            axes.grid(axis="y")
            axes.set_xlabel("learning rate")
            axes.set_ylabel("held-out accuracy after one epoch, %")
            axes.set_title(TITLES[structure], fontsize=10)
        left.legend(loc="lower right", fontsize=8)
        *batches, running = found.arrays["means"]
        channels = np.arange(len(running))
        for batch in batches:
            right.plot(channels, batch, ".", color=drawing.SKY, markersize=4)
        right.plot([], [], ".", color=drawing.SKY, label="μ of a held-out batch")
        right.plot(channels, running, "_", color=drawing.INK, markersize=18, markeredgewidth=2, label="running μ")
        right.set_xticks(channels)
        right.set_xlabel("channel of the CNN's first layer")
        right.set_ylabel("mean over B, H and W")
        right.set_title("Batch and running statistics", fontsize=10)
        right.legend(fontsize=8)
