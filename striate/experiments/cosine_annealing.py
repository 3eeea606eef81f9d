"""Experiment "cosine": a learning rate that decreases along a cosine."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from striate.data import batch_count
from striate.experiments import drawing
from striate.experiments.experiment import Experiment, Size, Work
from striate.experiments.measurement import Form, Measurement, Quantity
from striate.experiments.networks import deep
from striate.experiments.prediction import Prediction
from striate.experiments.training import prepared, train
from striate.nn.activation import ReLU
from striate.nn.loss import CrossEntropyLoss
from striate.nn.module import Module
from striate.optim import SGD, CosineSchedule
from striate.step import TrainingStep

BATCH = 16
HIGH, LOW = 0.2, 0.005
CONSTANT, COSINE, SLOW = f"constant {HIGH:g}", f"cosine {HIGH:g} → 0", f"constant {LOW:g}"
SETTINGS = (CONSTANT, COSINE, SLOW)
SHOWN = 50


def measured_rates(model: Module, work: Work) -> tuple[list[float], list[float]]:
    """Return two lists of the learning rates of the first 50 steps: as measured, and by the cosine's equation.

    The measured rate of a step of plain SGD is ‖Δθ‖ / ‖g‖, for the change Δθ of all parameters and their gradient g.
    The steps train the model.
    """
    step = TrainingStep(model, CrossEntropyLoss(), SGD(lr=HIGH, schedule=CosineSchedule(SHOWN)))
    train_set = work.samples(0)
    x, y = train_set.images[:32], train_set.labels[:32]
    used: list[float] = []
    for _ in range(SHOWN):
        before = {name: np.array(array, np.float64) for name, array in model.named_parameters()}
        gradients = step.gradients(x, y)
        step.update()
        moved = sum(float(((array - before[name]) ** 2).sum()) for name, array in model.named_parameters())
        used.append(math.sqrt(moved / sum(float((g.astype(np.float64) ** 2).sum()) for g in gradients.values())))
    return used, [HIGH / 2 * (1 + math.cos(math.pi * t / SHOWN)) for t in range(SHOWN)]


class CosineAnnealing(Experiment):
    """Compares a constant high rate, a constant low rate, and a rate that decreases from high to 0."""

    name = "cosine"
    title = "Cosine annealing"
    equation = "η_t = η_min + (η₀ − η_min) · ½ (1 + cos(πt/T))"
    setup = (
        f"Two hidden layers of 64 ReLU units on few digits, He's start; plain SGD, batches of {BATCH}, learning rate "
        f"{HIGH:g} constant, falling from {HIGH:g} to 0 along a cosine, and {LOW:g} constant. Loss: the mean over the "
        "last epoch. Off: the largest difference between the rates that steps used (‖Δθ‖/‖g‖) and the equation."
    )
    data = "digits"
    size = Size(seeds=5, samples=500, held_out=355, epochs=8)
    usual_seconds = 3
    quantities = (Quantity("loss", Form.POWER), Quantity("accuracy"), Quantity("off", Form.POWER, spread=False))
    predictions = (
        Prediction(
            "Of the same high rate the falling one ends with the lower training loss.",
            lambda found: found.median(COSINE, "loss") < found.median(CONSTANT, "loss"),
            lambda found: f"{found.text(CONSTANT, 'loss')} → {found.text(COSINE, 'loss')}",
        ),
        Prediction(
            "It keeps the speed of the high rate: at least 5 points better than the low one.",
            lambda found: found.median(COSINE, "accuracy") - found.median(SLOW, "accuracy") >= 0.05,
            lambda found: f"low {found.text(SLOW, 'accuracy')}, falling {found.text(COSINE, 'accuracy')}",
        ),
        Prediction(
            "The rates of the steps are those of the equation (within 0.001).",
            lambda found: found.high(COSINE, "off") < 1e-3,
            lambda found: f"off by {found.short(COSINE, 'off')}",
        ),
        Prediction(
            "In held-out accuracy it gains less than 2 points over the constant high rate.",
            lambda found: found.median(COSINE, "accuracy") - found.median(CONSTANT, "accuracy") < 0.02,
            lambda found: f"constant {found.text(CONSTANT, 'accuracy')}, falling {found.text(COSINE, 'accuracy')}",
            condition="the gain is one of training loss; on an easy task accuracy hardly shows it",
        ),
    )

    def measure(self, work: Work) -> Measurement:
        found = Measurement(self.quantities)
        for setting, seed in work.runs(SETTINGS):
            train_set = work.samples(seed)
            rules = {
                CONSTANT: SGD(lr=HIGH),
                COSINE: SGD(lr=HIGH, schedule=CosineSchedule(work.size.epochs * batch_count(len(train_set), BATCH))),
                SLOW: SGD(lr=LOW),
            }
            model = prepared(deep(ReLU, depth=2, width=64, init="he", classes=work.classes), train_set, seed)
            done = train(model, train_set, rules[setting], seed=seed, epochs=work.size.epochs, batch_size=BATCH)
            found.add(setting, loss=done.losses[-1], accuracy=done.accuracy(work.held_out))
            former = found.arrays.get(setting, np.empty((0, len(done.losses))))
            found.arrays[setting] = np.vstack([former, done.losses])
            if setting == COSINE:
                used, wanted = measured_rates(model.initialize(seed), work)
                found.add(setting, off=float(np.abs(np.subtract(used, wanted)).max()))
                found.arrays |= {"used": np.array(used), "wanted": np.array(wanted)}
        return found

    def draw(self, found: Measurement, figure: Any) -> None:
        left, middle, right = figure.subplots(1, 3, width_ratios=(1, 1.1, 1))
        left.plot(found.arrays["wanted"], color=drawing.SKY, linewidth=4, label="equation")
        left.plot(found.arrays["used"], ".", color=drawing.INK, markersize=4, label="steps, measured")
        left.set_xlabel(f"step t, T = {SHOWN}")
        left.set_ylabel("learning rate")
        left.set_title("The rate")
        left.legend(fontsize=9)
        colours = dict(zip(SETTINGS, (drawing.RED, drawing.BLUE, drawing.ORANGE)))
        for setting in SETTINGS:
            curves = found.arrays[setting]
            epochs = range(1, curves.shape[1] + 1)
            low, mid, high = curves.min(0), np.median(curves, 0), curves.max(0)
            drawing.band(middle, epochs, low, mid, high, colours[setting], setting)
        middle.set_yscale("log")
        middle.grid(axis="y")
        middle.set_xlabel("epoch")
        middle.set_ylabel("training loss")
        middle.set_title("Learning")
        middle.legend(fontsize=9)
        drawing.bars(right, found, "accuracy", SETTINGS, colours=list(colours.values()), chance=0.1)
        right.set_xlabel("held-out accuracy, %")
        right.set_title("After training")
