"""Experiment M6: ReLU, its dead units (whose outputs are 0 for every input), and its failure in narrow networks."""

from __future__ import annotations

from typing import Any

import numpy as np

from striate.experiments import drawing
from striate.experiments.experiment import Experiment, Size, Work
from striate.experiments.measurement import Array, Form, Measurement, Quantity
from striate.experiments.networks import deep
from striate.experiments.prediction import Prediction
from striate.experiments.training import firing, prepared, train
from striate.graph.value import Value
from striate.nn.activation import ReLU, Tanh
from striate.ops.activation import relu
from striate.ops.reduction import Sum
from striate.optim import SGD
from striate.tracing import value_and_grad

DEPTH, NARROW, WIDE = 8, 5, 64
STUCK = 0.15
SMALL, LARGE, SMALL_TANH, FAST = (
    f"ReLU, {DEPTH} × {NARROW}",
    f"ReLU, {DEPTH} × {WIDE}",
    f"tanh, {DEPTH} × {NARROW}",
    f"ReLU, {DEPTH} × {WIDE}, lr 0.3",
)
SETTINGS = (SMALL, SMALL_TANH, LARGE, FAST)


def derivative(points: Array) -> Array:
    """Return the derivative of ReLU at each of the points, as computed by striate."""
    _, slopes = value_and_grad(_total)(points.astype(np.float32))
    return np.asarray(slopes)


def _total(x: Value) -> Value:
    return Sum((0,))(relu(x))


def stuck(found: Measurement, setting: str) -> int:
    """Return the number of seeds for which a setting ends with an accuracy below 0.15, near chance."""
    return sum(value < STUCK for value in found.values(setting, "accuracy"))


def stuck_text(found: Measurement, setting: str) -> str:
    """Return the result of ``stuck`` as text, such as "5 of 9 seeds at chance"."""
    return f"{stuck(found, setting)} of {len(found.values(setting, 'accuracy'))} seeds at chance"


def broken(found: Measurement, setting: str) -> int:
    """Return the number of seeds for which training overflowed, so that their units were not counted."""
    return len(found.values(setting, "accuracy")) - len(found.values(setting, "dead units"))


class DeadUnits(Experiment):
    """Compares deep ReLU networks with 5 and with 64 units per layer, and tanh networks with 5."""

    name = "M6"
    title = "ReLU and its dead units"
    equation = "max(0, x); derivative 0 for x ≤ 0 (also at 0), else 1"
    setup = (
        f"{DEPTH} hidden layers of {NARROW} or {WIDE} units on the digits, He's start; plain SGD, learning rate 0.1 "
        "(and 0.3 once), batches of 32. Dead: the share of hidden units that fire for no training image at all, after "
        "training (not counted where the training broke down by overflow); a layer whose units are all dead cuts the "
        "network in two. (tanh has no dead units, so nothing is counted for it.)"
    )
    data = "digits"
    size = Size(seeds=7, samples=1442, held_out=355, epochs=20)
    usual_seconds = 23
    quantities = (
        Quantity("accuracy"),
        Quantity("dead units"),
        Quantity("cut layers", Form.COUNT),
    )
    predictions = (
        Prediction(
            "The derivative is 0 for x < 0 and at 0, and 1 for x > 0, exactly.",
            lambda found: np.array_equal(found.arrays["slopes"], found.arrays["points"] > 0),
            lambda found: "at −2, −0.001, 0, 0.001, 2: " + ", ".join(f"{slope:g}" for slope in found.arrays["slopes"]),
        ),
        Prediction(
            f"ReLU is weak in the very small network: below 50 % (median) where {WIDE} units a layer reach over 90 %.",
            lambda found: found.median(SMALL, "accuracy") < 0.5 and found.median(LARGE, "accuracy") > 0.9,
            lambda found: (
                f"{found.text(SMALL, 'accuracy')} ({stuck_text(found, SMALL)}); wide {found.text(LARGE, 'accuracy')}"
            ),
            "about 25 %; no such weakness with 64",
        ),
        Prediction(
            "It is dead units: of the small network's more than 15 % never fire, and some seed has a layer that is "
            "dead as a whole.",
            lambda found: found.median(SMALL, "dead units") > 0.15 and found.high(SMALL, "cut layers") >= 1,
            lambda found: (
                f"dead {found.text(SMALL, 'dead units')}; cut in "
                f"{sum(count > 0 for count in found.values(SMALL, 'cut layers'))} of "
                f"{len(found.values(SMALL, 'cut layers'))} seeds"
            ),
        ),
        Prediction(
            "tanh, which never dies, does better in the same small network.",
            lambda found: found.median(SMALL_TANH, "accuracy") > found.median(SMALL, "accuracy"),
            lambda found: f"tanh {found.text(SMALL_TANH, 'accuracy')}",
        ),
        Prediction(
            f"With {WIDE} units a layer ReLU learns well in every seed (above 90 %), although some units die.",
            lambda found: found.low(LARGE, "accuracy") > 0.9,
            lambda found: f"{found.text(LARGE, 'accuracy')}, dead {found.text(LARGE, 'dead units')}",
            "no difference with 64",
            condition="the weakness is one of very small networks; wide ones have units to spare",
        ),
        Prediction(
            "Too high a learning rate kills units of a wide network too: at 0.3 more than twice as many die.",
            lambda found: found.median(FAST, "dead units") > 2 * found.median(LARGE, "dead units"),
            lambda found: (
                f"dead {found.short(LARGE, 'dead units')} → {found.short(FAST, 'dead units')}, accuracy "
                f"{found.short(LARGE, 'accuracy')} → {found.short(FAST, 'accuracy')}; "
                f"{broken(found, FAST)} of {len(found.values(FAST, 'accuracy'))} trainings broke down"
            ),
            condition="the learning rate decides as well how many units die",
        ),
    )

    def measure(self, work: Work) -> Measurement:
        found = Measurement(self.quantities)
        points = np.array([-2, -0.001, 0, 0.001, 2], np.float32)
        found.arrays |= {"points": points, "slopes": derivative(points)}
        hidden = [f"active{block}" for block in range(1, DEPTH + 1)]
        worst = -1.0
        for setting, seed in work.runs(SETTINGS):
            train_set = work.samples(seed)
            width = WIDE if setting in (LARGE, FAST) else NARROW
            activation = Tanh if setting == SMALL_TANH else ReLU
            model = deep(activation, depth=DEPTH, width=width, init="he", classes=work.classes)
            prepared(model, train_set, seed)
            rule = SGD(lr=0.3 if setting == FAST else 0.1)
            done = train(model, train_set, rule, seed=seed, epochs=work.size.epochs)
            found.add(setting, accuracy=done.accuracy(work.held_out))
            if activation is Tanh or done.broke:
                continue
            shares = np.stack(list(firing(model, train_set, seed, hidden).values()))
            dead = shares == 0
            found.add(setting, dead_units=dead.mean(), cut_layers=dead.all(axis=1).sum())
            if setting == SMALL and dead.mean() > worst:
                worst = float(dead.mean())
                found.arrays["firing"] = shares
            if setting == LARGE and seed == 0:
                found.arrays["firing wide"] = shares
        return found

    def draw(self, found: Measurement, figure: Any) -> None:
        left, right = figure.subfigures(1, 2, width_ratios=(1.15, 1))
        axes = left.subplots()
        colours = (drawing.RED, drawing.PURPLE, drawing.BLUE, drawing.SKY)
        drawing.bars(axes, found, "accuracy", SETTINGS, colours=colours, chance=0.1)
        axes.set_xlabel("held-out accuracy, %")
        axes.set_title("Very small and wide networks")
        top, bottom = right.subplots(2, 1)
        firing_map(top, found.arrays["firing"], f"{DEPTH} × {NARROW}, the worst seed")
        shown = firing_map(bottom, found.arrays["firing wide"], f"{DEPTH} × {WIDE}")
        right.colorbar(shown, ax=[top, bottom], label="share of images it fires for", shrink=0.8)


def firing_map(axes: Any, shares: Array, title: str) -> Any:
    """Draw how often each unit is positive, as an image of units × layers; dead units get a cross.

    ``shares`` (layers, units) are from 0 to 1. Returns matplotlib's AxesImage.
    """
    image = shares.T
    shown = axes.imshow(image, aspect="auto", cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    units, layers = np.nonzero(image == 0)
    axes.plot(layers, units, "x", color=drawing.RED, markersize=6 if len(image) < 20 else 3, label="dead")
    axes.set_xticks(range(image.shape[1]), [str(layer + 1) for layer in range(image.shape[1])])
    axes.set_yticks([])
    axes.set_xlabel("hidden layer")
    axes.set_ylabel("unit")
    axes.set_title(f"{title}: {len(units)} of {image.size} dead (×)", fontsize=10)
    return shown
