"""Experiment M7: leaky ReLU as a remedy for the dead units of experiment M6."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from striate.experiments import drawing
from striate.experiments.dead_units import DEPTH, NARROW, WIDE, stuck, stuck_text
from striate.experiments.experiment import Experiment, Size, Work
from striate.experiments.measurement import Form, Measurement, Quantity
from striate.experiments.networks import deep
from striate.experiments.prediction import Prediction
from striate.experiments.training import gradient_norms, prepared, train
from striate.nn.activation import LeakyReLU
from striate.optim import SGD

SLOPES = (0.0, 0.01, 0.1, 0.3)


def name_of(slope: float, width: int) -> str:
    """Return the name of a setting: "α = 0.3, 8 × 5" for slope 0.3, ``DEPTH`` 8 and width 5.

    Slope 0 gives "ReLU, 8 × 5".
    """
    return f"{'ReLU' if slope == 0 else f'α = {slope:g}'}, {DEPTH} × {width}"


SETTINGS = tuple(name_of(slope, width) for width in (NARROW, WIDE) for slope in SLOPES)
RELU, SMALL_SLOPE, MIDDLE, CURE = SETTINGS[:4]
WIDE_RELU, WIDE_CURE = SETTINGS[4], SETTINGS[7]


def cured(found: Measurement, setting: str) -> float:
    """Return how much the median accuracy (0 to 1) of a setting exceeds that of ReLU in the narrow network."""
    return found.median(setting, "accuracy") - found.median(RELU, "accuracy")


class LeakyCure(Experiment):
    """Compares four slopes α of leaky ReLU, in deep networks with few and with many units per layer."""

    name = "M7"
    title = "Leaky ReLU, the cure"
    equation = "max(αx, x), α usually in [0.01, 0.3]"
    setup = (
        f"The networks of M6, {DEPTH} hidden layers of {NARROW} or {WIDE} units on the digits with He's start for "
        "ReLU, for α = 0 (ReLU), 0.01, 0.1 and 0.3; plain SGD, learning rate 0.1, batches of 32. First "
        "gradient: its norm at the first layer's weights after training; 0 means that nothing reaches them any more."
    )
    data = "digits"
    size = Size(seeds=7, samples=1442, held_out=355, epochs=20)
    usual_seconds = 45
    quantities = (Quantity("accuracy"), Quantity("first gradient", Form.POWER))
    predictions = (
        Prediction(
            "In the very small network α = 0.3 is at least 20 points better than ReLU.",
            lambda found: cured(found, CURE) >= 0.2,
            lambda found: f"{found.text(RELU, 'accuracy')} → {found.text(CURE, 'accuracy')}",
            "25 % → 57 %",
        ),
        Prediction(
            "With α = 0.3 no seed is stuck at chance (below 15 %); with ReLU some are.",
            lambda found: stuck(found, CURE) == 0 and stuck(found, RELU) > 0,
            lambda found: f"ReLU: {stuck_text(found, RELU)}; α = 0.3: {stuck_text(found, CURE)}",
        ),
        Prediction(
            "The gradient always passes: with α = 0.3 it reaches the first layer in every seed, with ReLU not.",
            lambda found: found.low(CURE, "first gradient") > 0 and found.low(RELU, "first gradient") == 0,
            lambda found: (
                f"least: ReLU {Form.POWER.text(found.low(RELU, 'first gradient'))}, "
                f"α = 0.3 {Form.POWER.text(found.low(CURE, 'first gradient'))}"
            ),
        ),
        Prediction(
            "α = 0.01 cures less than half as much as α = 0.3.",
            lambda found: cured(found, SMALL_SLOPE) < cured(found, CURE) / 2,
            lambda found: (
                f"α = 0.01 {found.text(SMALL_SLOPE, 'accuracy')} ({100 * cured(found, SMALL_SLOPE):+.1f} "
                f"points), α = 0.1 {100 * cured(found, MIDDLE):+.1f}, α = 0.3 {100 * cured(found, CURE):+.1f}"
            ),
            "the same as ReLU",
            condition="α must be large enough; the common 0.01 is not",
        ),
        Prediction(
            f"With {WIDE} units a layer there is nothing to cure: α = 0.3 and ReLU differ by less than 3 points.",
            lambda found: abs(found.median(WIDE_CURE, "accuracy") - found.median(WIDE_RELU, "accuracy")) < 0.03,
            lambda found: f"ReLU {found.text(WIDE_RELU, 'accuracy')}, α = 0.3 {found.text(WIDE_CURE, 'accuracy')}",
            "no difference",
            condition="it matters in very small networks",
        ),
    )

    def measure(self, work: Work) -> Measurement:
        found = Measurement(self.quantities)
        for setting, seed in work.runs(SETTINGS):
            place = SETTINGS.index(setting)
            slope, width = SLOPES[place % len(SLOPES)], NARROW if place < len(SLOPES) else WIDE
            train_set = work.samples(seed)
            network = deep(partial(LeakyReLU, slope), depth=DEPTH, width=width, init="he", classes=work.classes)
            model = prepared(network, train_set, seed)
            done = train(model, train_set, SGD(lr=0.1), seed=seed, epochs=work.size.epochs)
            first = next(iter(gradient_norms(model, train_set, seed).values()))
            found.add(setting, accuracy=done.accuracy(work.held_out), first_gradient=first)
        return found

    def draw(self, found: Measurement, figure: Any) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(1.2, 1))
        random = np.random.default_rng(0)
        for offset, width, colour in ((-0.17, NARROW, drawing.RED), (0.17, WIDE, drawing.BLUE)):
            for place, slope in enumerate(SLOPES):
                values = 100 * np.array(found.values(name_of(slope, width), "accuracy"))
                where = place + offset + random.uniform(-0.06, 0.06, len(values))
                label = f"{DEPTH} × {width}" if place == 0 else None
                left.plot(where, values, "o", color=colour, alpha=0.55, markersize=5, label=label)
                middle = float(np.median(values))
                left.plot([place + offset - 0.13, place + offset + 0.13], [middle] * 2, color=drawing.INK, linewidth=2)
        left.axhline(10, color=drawing.GREY, linewidth=1, linestyle=":")
        left.text(-0.45, 11, "chance", fontsize=8, color=drawing.GREY)
        left.set_xticks(range(len(SLOPES)), ["ReLU\n(α = 0)", *(f"α = {slope:g}" for slope in SLOPES[1:])])
        left.set_ylim(0, 103)
        left.grid(axis="y")
        left.set_ylabel("held-out accuracy, %")
        left.set_title("Every seed, and the median")
        left.legend(loc=(0.8, 0.14), fontsize=9)
        x = np.linspace(-3, 3, 121)
        for slope, colour in zip(SLOPES, (drawing.INK, drawing.PURPLE, drawing.ORANGE, drawing.GREEN)):
            label = "ReLU" if slope == 0 else f"α = {slope:g}"
            right.plot(x, np.maximum(slope * x, x), color=colour, linewidth=2, label=label)
        right.axhline(0, color=drawing.FAINT, linewidth=1, zorder=0)
        right.axvline(0, color=drawing.FAINT, linewidth=1, zorder=0)
        right.set_xlabel("x")
        right.set_ylabel("max(αx, x)")
        right.set_title("What passes where x < 0")
        right.legend(fontsize=9)
