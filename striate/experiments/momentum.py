"""Experiment "momentum": SGD with momentum, and with Nesterov momentum."""

from __future__ import annotations

from typing import Any

import numpy as np

from striate.data import batches
from striate.experiments import drawing
from striate.experiments.experiment import Experiment, Size, Work
from striate.experiments.measurement import Form, Measurement, Quantity
from striate.experiments.networks import deep
from striate.experiments.prediction import Prediction
from striate.experiments.training import prepared, train
from striate.nn.activation import Tanh
from striate.nn.loss import CrossEntropyLoss
from striate.nn.module import Module
from striate.optim import SGD
from striate.step import TrainingStep

RATE, MU = 0.01, 0.9
RULES = {
    "plain, lr 0.01": SGD(lr=RATE),
    "momentum 0.9, lr 0.01": SGD(lr=RATE, momentum=MU),
    "Nesterov 0.9, lr 0.01": SGD(lr=RATE, momentum=MU, nesterov=True),
    "plain, lr 0.1": SGD(lr=RATE / (1 - MU)),
}
PLAIN, HEAVY, NESTEROV, FASTER = RULES
STEPS = 20


def recount(model: Module, work: Work, seed: int, nesterov: bool) -> float:
    """Return the largest difference of a parameter from the momentum equations in NumPy, after 20 steps of SGD.

    v ← μv + ηg, θ ← θ − v   (``nesterov``: θ ← θ − μv − ηg)

    θ are the parameters, g their gradients, v the velocities (0 at first), μ the momentum and η the learning rate.
    ``seed`` determines the samples and their order. The steps train the model.
    """
    step = TrainingStep(model, CrossEntropyLoss(), SGD(lr=RATE, momentum=MU, nesterov=nesterov), seed=seed)
    theta = {name: np.array(array, np.float64) for name, array in model.named_parameters()}
    v = {name: np.zeros_like(array) for name, array in theta.items()}
    for (x, y, _), _ in zip(batches(work.samples(seed), 32, seed=seed), range(STEPS)):
        for name, g in step.gradients(x, y).items():
            v[name] = MU * v[name] + RATE * g
            theta[name] -= MU * v[name] + RATE * g if nesterov else v[name]
        step.update()
    return max(float(np.abs(array - theta[name]).max()) for name, array in model.named_parameters())


class Momentum(Experiment):
    """Compares SGD at one learning rate with and without momentum, and at ten times the rate without."""

    name = "momentum"
    title = "Momentum"
    equation = "v ← μv + ηg, θ ← θ − v"
    setup = (
        "Two hidden layers of 64 tanh units on the digits, Xavier's start, batches of 32; SGD with learning rate 0.01, "
        "plain, with momentum 0.9, in Nesterov's form, and plain with rate 0.1 = 0.01/(1 − 0.9), the sum of all steps "
        f"that one gradient causes. Recount: the largest difference from the equation in NumPy after {STEPS} steps."
    )
    data = "digits"
    size = Size(seeds=3, samples=1442, held_out=355, epochs=3)
    usual_seconds = 1
    quantities = (Quantity("loss", Form.POWER), Quantity("accuracy"), Quantity("recount", Form.POWER, spread=False))
    predictions = (
        Prediction(
            "At the same rate momentum is faster: after as many epochs the training loss is less than half.",
            lambda found: found.median(HEAVY, "loss") < found.median(PLAIN, "loss") / 2,
            lambda found: (
                f"{found.short(PLAIN, 'loss')} → {found.short(HEAVY, 'loss')}, accuracy "
                f"{found.short(PLAIN, 'accuracy')} → {found.short(HEAVY, 'accuracy')}"
            ),
        ),
        Prediction(
            "Both forms are what their equations say (difference below 0.0001).",
            lambda found: max(found.high(HEAVY, "recount"), found.high(NESTEROV, "recount")) < 1e-4,
            lambda found: f"{found.short(HEAVY, 'recount')} and {found.short(NESTEROV, 'recount')}",
        ),
        Prediction(
            "Plain SGD with ten times the rate does as well: accuracy within 2 points.",
            lambda found: abs(found.median(FASTER, "accuracy") - found.median(HEAVY, "accuracy")) < 0.02,
            lambda found: f"plain at 0.1 {found.text(FASTER, 'accuracy')}, momentum {found.text(HEAVY, 'accuracy')}",
            condition="where gradients hardly oscillate it is worth as much as a larger rate, no more",
        ),
    )

    def measure(self, work: Work) -> Measurement:
        found = Measurement(self.quantities)
        for setting, seed in work.runs(list(RULES)):
            train_set, rule = work.samples(seed), RULES[setting]
            model = prepared(deep(Tanh, depth=2, width=64, init="xavier", classes=work.classes), train_set, seed)
            done = train(model, train_set, rule, seed=seed, epochs=work.size.epochs)
            found.add(setting, loss=done.losses[-1], accuracy=done.accuracy(work.held_out))
            former = found.arrays.get(setting, np.empty((0, len(done.steps))))
            found.arrays[setting] = np.vstack([former, done.steps])
            if rule.momentum:
                found.add(setting, recount=recount(model.initialize(seed), work, seed, rule.nesterov))
        return found

    def draw(self, found: Measurement, figure: Any) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(1.3, 1))
        colours = dict(zip(RULES, (drawing.ORANGE, drawing.BLUE, drawing.GREEN, drawing.PURPLE)))
        for setting, curves in found.arrays.items():
            middle = np.median(curves, axis=0)
            smooth = np.convolve(middle, np.ones(9) / 9, "valid") if len(middle) > 18 else middle
            left.plot(np.arange(len(smooth)) + 1, smooth, color=colours[setting], linewidth=1.8, label=setting)
        left.set_yscale("log")
        left.grid(axis="y")
        left.set_xlabel("step")
        left.set_ylabel("loss of the batch (mean of 9 steps)")
        left.set_title("Learning")
        left.legend(fontsize=9)
        drawing.bars(right, found, "accuracy", list(RULES), colours=list(colours.values()), chance=0.1)
        right.set_xlabel("held-out accuracy, %")
        right.set_title("After training")
