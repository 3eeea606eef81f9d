"""Experiment "adam": the effect of the bias correction in Adam."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from striate.experiments import drawing
from striate.experiments.experiment import Experiment, Size, Work
from striate.experiments.measurement import Form, Measurement, Quantity
from striate.experiments.networks import deep
from striate.experiments.prediction import Prediction
from striate.experiments.training import prepared, train
from striate.graph.elementwise import cast
from striate.graph.value import Value
from striate.nn.activation import Tanh
from striate.nn.loss import CrossEntropyLoss
from striate.nn.module import Module
from striate.ops.arithmetic import sqrt
from striate.optim import Adam
from striate.step import TrainingStep

RATES = (0.001, 0.01, 0.03)
CORRECTED, UNCORRECTED = "corrected", "uncorrected"
SETTINGS = tuple(f"{form}, lr {rate:g}" for form in (CORRECTED, UNCORRECTED) for rate in RATES)
STEPS = 200


@dataclass(frozen=True)
class Uncorrected(Adam):
    """Adam without bias correction: θ ← θ − η m / (√v + ε).

    θ are the parameters, η the learning rate, and m and v the moving averages of the gradient and of its square.
    """

    def update(
        self, parameters: Value, gradients: Value, kept: Mapping[str, Value], t: Value
    ) -> tuple[Value, dict[str, Value]]:
        beta1, beta2 = self.betas
        m = kept["exp_avg"] * beta1 + gradients * (1 - beta1)
        v = kept["exp_avg_sq"] * beta2 + gradients * gradients * (1 - beta2)
        rate = cast(self.schedule.rate(self.lr, t), parameters.dtype)
        return parameters - m * rate / (sqrt(v) + self.eps), {"exp_avg": m, "exp_avg_sq": v}


def step_sizes(model: Module, rule: Adam, work: Work, seed: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return the median of |Δθ| / η over the last layer's weights θ, for each of the first 200 steps: (200,).

    Δθ is the change of a weight in the step, and η the learning rate. ``rule`` is the optimizer, and ``seed``
    determines the training samples. The steps train the model.
    """
    step = TrainingStep(model, CrossEntropyLoss(), rule, seed=seed)
    train_set = work.samples(seed)
    sizes: list[float] = []
    for number in range(STEPS):
        chosen = np.arange(32 * number, 32 * (number + 1)) % len(train_set)
        before = np.array(dict(model.named_parameters())["out.weight"])
        step(train_set.images[chosen], train_set.labels[chosen])
        sizes.append(float(np.median(np.abs(dict(model.named_parameters())["out.weight"] - before))) / rule.lr)
    return np.array(sizes)


class BiasCorrection(Experiment):
    """Compares Adam with and without bias correction at three learning rates."""

    name = "adam"
    title = "Adam's bias correction"
    equation = "m̂ = m/(1 − β₁ᵗ), v̂ = v/(1 − β₂ᵗ), θ ← θ − η m̂/(√v̂ + ε)"
    setup = (
        "Four hidden layers of 64 tanh units on the digits, Xavier's start, batches of 32, one epoch, with Adam (β 0.9 "
        f"and 0.999) as it is and without its correction. Step: the median of |Δθ|/η over the weights of the last "
        f"layer, in the first step, and on average in steps {STEPS // 2} to {STEPS}."
    )
    data = "digits"
    size = Size(seeds=5, samples=1442, held_out=355, epochs=1)
    usual_seconds = 6
    quantities = (Quantity("accuracy"), Quantity("first step", Form.PLAIN), Quantity("later steps", Form.PLAIN))
    predictions = (
        Prediction(
            "With correction the first step of every weight is η (1.00); without it (1 − β₁)/√(1 − β₂) = 3.16 times η.",
            lambda found: (
                abs(found.median(f"{CORRECTED}, lr 0.001", "first step") - 1) < 0.01
                and abs(found.median(f"{UNCORRECTED}, lr 0.001", "first step") - 10**0.5) < 0.03
            ),
            lambda found: (
                f"{found.short(f'{CORRECTED}, lr 0.001', 'first step')}, "
                f"{found.short(f'{UNCORRECTED}, lr 0.001', 'first step')}"
            ),
        ),
        Prediction(
            "At a rate near the edge (0.03) the oversized first steps cost at least 2 points after one epoch.",
            lambda found: (
                found.median(f"{CORRECTED}, lr 0.03", "accuracy") - found.median(f"{UNCORRECTED}, lr 0.03", "accuracy")
                >= 0.02
            ),
            lambda found: (
                f"{found.text(f'{CORRECTED}, lr 0.03', 'accuracy')} and "
                f"{found.text(f'{UNCORRECTED}, lr 0.03', 'accuracy')}"
            ),
        ),
        Prediction(
            "At the usual rate of 0.001 it costs nothing: accuracy without correction is within 3 points or better.",
            lambda found: (
                found.median(f"{UNCORRECTED}, lr 0.001", "accuracy")
                > found.median(f"{CORRECTED}, lr 0.001", "accuracy") - 0.03
            ),
            lambda found: (
                f"{found.text(f'{CORRECTED}, lr 0.001', 'accuracy')} and "
                f"{found.text(f'{UNCORRECTED}, lr 0.001', 'accuracy')}"
            ),
            condition="it protects large learning rates, from their first steps",
        ),
    )

    def measure(self, work: Work) -> Measurement:
        found = Measurement(self.quantities)
        for setting, seed in work.runs(SETTINGS):
            form, rate = setting.split(", lr ")
            rule = (Adam if form == CORRECTED else Uncorrected)(lr=float(rate))
            train_set = work.samples(seed)
            network = deep(Tanh, depth=4, width=64, init="xavier", classes=work.classes)
            done = train(prepared(network, train_set, seed), train_set, rule, seed=seed, epochs=work.size.epochs)
            accuracy = done.accuracy(work.held_out)
            sizes = step_sizes(network.initialize(seed), rule, work, seed)
            found.add(setting, accuracy=accuracy, first_step=sizes[0], later_steps=sizes[STEPS // 2 :].mean())
            if float(rate) == RATES[0]:
                found.arrays[form] = np.vstack([found.arrays.get(form, np.empty((0, STEPS))), sizes])
        return found

    def draw(self, found: Measurement, figure: Any) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(1.1, 1))
        steps = np.arange(1, STEPS + 1)
        for form, colour in ((CORRECTED, drawing.BLUE), (UNCORRECTED, drawing.RED)):
            curves = found.arrays[form]
            left.fill_between(steps, curves.min(0), curves.max(0), color=colour, alpha=0.18, linewidth=0)
            left.plot(steps, np.median(curves, 0), color=colour, linewidth=1.8, label=form)
        left.axhline(1, color=drawing.GREY, linewidth=1, linestyle=":")
        left.set_xscale("log")
        left.grid(axis="y")
        left.set_ylim(0)
        left.set_xlabel("step")
        left.set_ylabel("|Δθ| / η, median over the last layer's weights")
        left.set_title("How far each step goes (learning rate 0.001)", fontsize=10)
        left.legend(fontsize=9)
        colours = [drawing.BLUE] * len(RATES) + [drawing.RED] * len(RATES)
        drawing.bars(right, found, "accuracy", SETTINGS, colours=colours, chance=0.1)
        right.set_xlabel("held-out accuracy after one epoch, %")
        right.set_title("What came of it")
