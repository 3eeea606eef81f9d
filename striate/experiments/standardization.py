"""Experiment M8: standardization of the data before training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from striate.data import Dataset, Standardizer
from striate.experiments import drawing
from striate.experiments.experiment import Experiment, Size, Work
from striate.experiments.measurement import Array, Form, Measurement, Quantity
from striate.experiments.prediction import Prediction
from striate.experiments.training import prepared, train
from striate.nn.activation import Tanh
from striate.nn.container import Sequential
from striate.nn.linear import Linear
from striate.optim import SGD

RATES = (0.001, 0.01, 0.1)
GOOD, BAD = "ink 0 to 1", "badly scaled"
RAW, STANDARD = "raw", "standardized"
SETTINGS = tuple(f"{data}, {form}, lr {rate:g}" for data in (GOOD, BAD) for form in (RAW, STANDARD) for rate in RATES)
LARGEST = 3.0  # powers of ten between the smallest and the largest unit


def units(features: int) -> tuple[Array, Array]:
    """Return, for each feature, a random unit 10^u with u in [−1.5, 1.5], and an offset of up to five units."""
    random = np.random.Generator(np.random.Philox(key=8))
    unit = 10 ** random.uniform(-LARGEST / 2, LARGEST / 2, features)
    return unit, unit * random.uniform(-5, 5, features)


def as_features(dataset: Dataset, scaled_badly: bool) -> Dataset:
    """Return the images as float32 features (N, D) from 0 to 1.

    With ``scaled_badly``, each feature has a unit and an offset of its own, from ``units``.
    """
    flat = dataset.images.reshape(len(dataset), -1).astype(np.float64)
    flat = flat / 255 if dataset.images.dtype == np.uint8 else flat
    if scaled_badly:
        unit, offset = units(flat.shape[1])
        flat = flat * unit + offset
    return replace(dataset, images=flat.astype(np.float32))


def recount(features: Array) -> tuple[float, Array]:
    """Return the largest error of ``Standardizer`` for features (N, D), and its output for the constant features.

    The error is the difference from the equation, computed in float64. Constant features are equal in all samples.
    """
    fitted = Standardizer.fit(features)
    given, x = fitted.transform(features), features.astype(np.float64)
    mean = x.mean(axis=0)
    expected = (x - mean) / np.sqrt(fitted.epsilon + ((mean - x) ** 2).mean(axis=0))
    constant = (features == features[0]).all(axis=0)
    return float(np.abs(given - expected).max()), given[:, constant]


def best(found: Measurement, data: str, form: str) -> tuple[float, str]:
    """Return the highest median accuracy (0 to 1) over the learning rates, and the name of the setting that has it.

    ``data`` is ``GOOD`` or ``BAD`` (units), and ``form`` is ``RAW`` or ``STANDARD``.
    """
    settings = {rate: f"{data}, {form}, lr {rate:g}" for rate in RATES}
    medians = {rate: found.median(setting, "accuracy") for rate, setting in settings.items()}
    rate = max(medians, key=lambda one: medians[one])
    return medians[rate], settings[rate]


def best_text(found: Measurement, data: str, form: str) -> str:
    """Return the result of ``best`` as text, such as "raw 43.1 % at lr 0.01"."""
    accuracy, setting = best(found, data, form)
    return f"{form} {100 * accuracy:.1f} % at {setting.rsplit(', ', 1)[1]}"


class Standardization(Experiment):
    """Compares training on raw and on standardized data, each at its best learning rate.

    The features are in one unit (good) or each in a unit of its own, with an offset (bad).
    """

    name = "M8"
    title = "Standardization"
    equation = "x̂ = (x − μ)/σ, σ = √(ε + (1/n) Σ(μ − x)²)"
    setup = (
        "Digits as 64 features into an MLP (64 hidden units, tanh), once as ink from 0 to 1, once badly scaled: every "
        "feature in a unit of its own, a factor from 1/30 to 30, with an offset of up to five units. Raw, or "
        "standardized per feature with μ and σ of the training data. SGD, momentum 0.9, batches of 32, at three "
        "learning rates, so that nobody loses by an ill chosen one."
    )
    data = "digits"
    size = Size(seeds=3, samples=1442, held_out=355, epochs=10)
    usual_seconds = 4
    quantities = (Quantity("accuracy"), Quantity("recount", Form.POWER, spread=False), Quantity("constant", Form.COUNT))
    predictions = (
        Prediction(
            "Badly scaled, each at its best rate: standardized data give at least 10 points more.",
            lambda found: best(found, BAD, STANDARD)[0] - best(found, BAD, RAW)[0] >= 0.1,
            lambda found: f"{best_text(found, BAD, RAW)}; {best_text(found, BAD, STANDARD)}",
        ),
        Prediction(
            "After standardization bad units cost nothing: at the best rate less than 2 points from good ones.",
            lambda found: abs(best(found, BAD, STANDARD)[0] - best(found, GOOD, STANDARD)[0]) < 0.02,
            lambda found: f"good units {best_text(found, GOOD, STANDARD)}; bad ones {best_text(found, BAD, STANDARD)}",
        ),
        Prediction(
            "It is true to its equation: x̂ is within 0.01 of its recount in float64, and features that never change "
            "become exactly 0, not NaN.",
            lambda found: (
                max(found.high(setting, "recount") for setting in _standardized()) < 0.01
                and found.arrays["constant x̂"].size > 0
                and not found.arrays["constant x̂"].any()
            ),
            lambda found: (
                f"off by {Form.POWER.text(max(found.high(one, 'recount') for one in _standardized()))}; "
                f"{found.short(_standardized()[-1], 'constant')} constant features, largest |x̂| "
                f"{np.abs(found.arrays['constant x̂']).max(initial=0):g}"
            ),
        ),
        Prediction(
            "Data that have one scale already gain little: less than 3 points at the best rate.",
            lambda found: best(found, GOOD, STANDARD)[0] - best(found, GOOD, RAW)[0] < 0.03,
            lambda found: f"{best_text(found, GOOD, RAW)}; {best_text(found, GOOD, STANDARD)}",
            condition="it matters where the scales of the features differ",
        ),
    )

    def measure(self, work: Work) -> Measurement:
        found = Measurement(self.quantities)
        for setting, seed in work.runs(SETTINGS):
            scale, form, rate = setting.split(", ")
            train_set = as_features(work.samples(seed), scale == BAD)
            held_out = as_features(work.held_out, scale == BAD)
            network = Sequential(Linear(None, 64, init="xavier"), Tanh(), Linear(64, work.classes, init="xavier"))
            model = prepared(network, train_set, seed, standardized=form == STANDARD)
            rule = SGD(lr=float(rate.removeprefix("lr ")), momentum=0.9)
            done = train(model, train_set, rule, seed=seed, epochs=work.size.epochs)
            found.add(setting, accuracy=done.accuracy(held_out))
            if form == STANDARD:
                difference, constants = recount(train_set.images)
                found.add(setting, recount=difference, constant=constants.shape[1])
                found.arrays["constant x̂"] = constants
            if scale == BAD and form == RAW and seed == 0:
                found.arrays |= {"raw": train_set.images, "units": units(train_set.images.shape[1])[0]}
                found.arrays["x̂"] = Standardizer.fit(train_set.images).transform(train_set.images)
        return found

    def draw(self, found: Measurement, figure: Any) -> None:
        left, right = figure.subfigures(1, 2, width_ratios=(1, 1.15))
        top, bottom = left.subplots(2, 1, sharex=True)
        for axes, name, title in (
            (top, "raw", "Badly scaled: each feature in a unit of its own"),
            (bottom, "x̂", "Standardized: mean 0, spread 1; constants 0"),
        ):
            columns = found.arrays[name]
            low, mid, high = np.percentile(columns, [5, 50, 95], axis=0)
            places = list(range(columns.shape[1]))
            axes.vlines(places, low, high, color=drawing.SKY, linewidth=2.5)
            axes.plot(places, mid, ".", color=drawing.INK, markersize=4)
            axes.set_title(title, fontsize=10)
            axes.grid(axis="y")
        top.set_yscale("symlog", linthresh=1)
        top.set_ylabel("x (symlog)")
        bottom.set_ylabel("x̂")
        bottom.set_xlabel("feature: 5th to 95th percentile, and median")
        axes = right.subplots()
        styles = {
            (GOOD, RAW): (drawing.SKY, "o--"),
            (GOOD, STANDARD): (drawing.BLUE, "o-"),
            (BAD, RAW): (drawing.RED, "s--"),
            (BAD, STANDARD): (drawing.GREEN, "s-"),
        }
        for (scale, form), (colour, style) in styles.items():
            rows = [100 * np.array(found.values(f"{scale}, {form}, lr {rate:g}", "accuracy")) for rate in RATES]
            for rate, row in zip(RATES, rows):
                axes.plot([rate] * len(row), row, style[0], color=colour, alpha=0.4, markersize=4)
            middle = [float(np.median(row)) for row in rows]
            axes.plot(RATES, middle, style, color=colour, linewidth=2, markersize=5, label=f"{scale}, {form}")
        axes.set_xscale("log")
        axes.set_xticks(RATES, [f"{rate:g}" for rate in RATES])
        axes.set_ylim(0, 102)
        axes.grid(axis="y")
        axes.set_xlabel("learning rate")
        axes.set_ylabel("held-out accuracy, %")
        axes.set_title("Each at three learning rates")
        axes.legend(fontsize=9, loc=(0.45, 0.42))


def _standardized() -> list[str]:
    return [setting for setting in SETTINGS if f", {STANDARD}," in setting]
