"""Experiment M9: where to place a normalization layer, and what its γ and β learn."""

from __future__ import annotations

from typing import Any

import numpy as np

from striate.experiments import drawing
from striate.experiments.experiment import Experiment, Size, Work
from striate.experiments.measurement import Array, Form, Measurement, Quantity
from striate.experiments.networks import deep
from striate.experiments.prediction import Prediction
from striate.experiments.training import gradient_norms, prepared, train
from striate.nn.activation import Sigmoid
from striate.nn.module import Module
from striate.optim import SGD

DEPTH, WIDTH = 8, 32
NONE, BETWEEN, START, FIXED = "none", "before activation", "start of block", "before, γ β fixed"
SETTINGS = {NONE: "none", BETWEEN: "between", START: "start", FIXED: "between"}


def scales(model: Module) -> tuple[Array, Array]:
    """Return all γ and all β of the normalization layers, as two vectors; empty if the layers have none."""
    parameters = [
        (name, parameter.data)
        for name, parameter in model.named_state()
        if name.startswith("norm") and parameter.learned
    ]
    gamma = [array for name, array in parameters if name.endswith("weight")]
    beta = [array for name, array in parameters if name.endswith("bias")]
    return (np.concatenate(gamma), np.concatenate(beta)) if parameters else (np.empty(0), np.empty(0))


class NormalizationPlacement(Experiment):
    """Compares places of batch normalization in a deep sigmoid network.

    The compared networks have none, one before each sigmoid, one at the start of each hidden block, or one before each
    sigmoid with fixed γ and β (scale and shift).
    """

    name = "M9"
    title = "Where to normalize"
    equation = "(x_l − μ_l)/σ_l · γ_l + β_l, γ = 1, β = 0 at the start"
    setup = (
        f"{DEPTH} hidden layers of {WIDTH} sigmoid units on the digits, Xavier's start; SGD, learning rate 0.01, "
        "momentum 0.9, batches of 32. Batch normalization nowhere, between linear map and sigmoid, or at the start of "
        "each hidden block; and between them without learned γ and β. Ratio: the gradient's norm at the first hidden "
        "layer's weights over the last one's, before training. |γ − 1| and |β|: means over all units after training."
    )
    data = "digits"
    size = Size(seeds=5, samples=1442, held_out=355, epochs=15)
    usual_seconds = 24
    quantities = (
        Quantity("accuracy"),
        Quantity("ratio", Form.POWER, spread=False),
        Quantity("|γ − 1|", Form.POWER, spread=False),
        Quantity("|β|", Form.POWER, spread=False),
    )
    predictions = (
        Prediction(
            "Either placement makes the network learn (above 80 %) that stays at chance without (below 20 %).",
            lambda found: (
                found.median(NONE, "accuracy") < 0.2
                and min(found.median(BETWEEN, "accuracy"), found.median(START, "accuracy")) > 0.8
            ),
            lambda found: (
                f"none {found.short(NONE, 'accuracy')}, before the activation "
                f"{found.short(BETWEEN, 'accuracy')}, start of the block {found.short(START, 'accuracy')}"
            ),
        ),
        Prediction(
            "Either placement lifts the ratio of the gradients at least a thousandfold.",
            lambda found: (
                min(found.median(BETWEEN, "ratio"), found.median(START, "ratio")) > 1000 * found.median(NONE, "ratio")
            ),
            lambda found: (
                f"{found.short(NONE, 'ratio')} → {found.short(BETWEEN, 'ratio')} and {found.short(START, 'ratio')}"
            ),
        ),
        Prediction(
            "γ and β start at exactly 1 and 0 and are learned: after training they are off by more than 0.01 (mean).",
            lambda found: (
                bool(found.arrays["starts right"].all())
                and min(found.low(one, part) for one in (BETWEEN, START) for part in ("|γ − 1|", "|β|")) > 0.01
            ),
            lambda found: "; ".join(
                f"{one}: |γ − 1| {found.short(one, '|γ − 1|')}, |β| {found.short(one, '|β|')}"
                for one in (BETWEEN, START)
            ),
        ),
        Prediction(
            "The placements differ by less than 5 points.",
            lambda found: abs(found.median(BETWEEN, "accuracy") - found.median(START, "accuracy")) < 0.05,
            lambda found: f"{found.text(BETWEEN, 'accuracy')}, {found.text(START, 'accuracy')}",
        ),
        Prediction(
            "Learning γ and β matters little here: without it accuracy changes by less than 5 points.",
            lambda found: abs(found.median(BETWEEN, "accuracy") - found.median(FIXED, "accuracy")) < 0.05,
            lambda found: f"learned {found.text(BETWEEN, 'accuracy')}, held {found.text(FIXED, 'accuracy')}",
            condition="it is the normalizing that helps, hardly γ and β",
        ),
    )

    def measure(self, work: Work) -> Measurement:
        found = Measurement(self.quantities)
        right: list[bool] = []
        for setting, seed in work.runs(list(SETTINGS)):
            train_set = work.samples(seed)
            network = deep(
                Sigmoid,
                depth=DEPTH,
                width=WIDTH,
                init="xavier",
                normalized=SETTINGS[setting],
                classes=work.classes,
                affine=setting != FIXED,
            )
            model = prepared(network, train_set, seed)
            norms = list(gradient_norms(model, train_set, seed).values())[:-1]
            gamma, beta = scales(model)
            right.append(bool((gamma == 1).all() and (beta == 0).all()))
            done = train(model, train_set, SGD(lr=0.01, momentum=0.9), seed=seed, epochs=work.size.epochs)
            found.add(setting, accuracy=done.accuracy(work.held_out), ratio=norms[0] / norms[-1] if norms[-1] else 0.0)
            found.arrays[f"losses, {setting}"] = np.vstack(
                [found.arrays.get(f"losses, {setting}", np.empty((0, work.size.epochs))), done.losses]
            )
            if gamma.size:
                gamma, beta = scales(model)
                row = found.numbers[setting]
                row.setdefault("|γ − 1|", []).append(float(np.abs(gamma - 1).mean()))
                row.setdefault("|β|", []).append(float(np.abs(beta).mean()))
                if seed == 0:
                    found.arrays[f"γ, {setting}"], found.arrays[f"β, {setting}"] = gamma, beta
        found.arrays["starts right"] = np.array(right)
        return found

    def draw(self, found: Measurement, figure: Any) -> None:
        left, right = figure.subfigures(1, 2, width_ratios=(1.3, 1))
        top, bottom = left.subplots(2, 1, height_ratios=(1.3, 1))
        colours = {NONE: drawing.RED, BETWEEN: drawing.BLUE, START: drawing.GREEN, FIXED: drawing.SKY}
        for setting in SETTINGS:
            curves = found.arrays[f"losses, {setting}"]
            epochs = range(1, curves.shape[1] + 1)
            low, middle, high = curves.min(axis=0), np.median(curves, axis=0), curves.max(axis=0)
            drawing.band(top, epochs, low, middle, high, colours[setting], setting)
        top.set_ylim(0)
        top.grid(axis="y")
        top.set_xlabel("epoch")
        top.set_ylabel("training loss")
        top.set_title("Batch normalization in a chain of 8 sigmoids")
        top.legend(fontsize=8, loc="upper right", bbox_to_anchor=(1, 0.9))
        drawing.bars(bottom, found, "accuracy", list(SETTINGS), colours=list(colours.values()), chance=0.1)
        bottom.set_xlabel("held-out accuracy, %")
        for axes, name, start in zip(right.subplots(2, 1), ("γ", "β"), (1, 0)):
            both = {one: found.arrays[f"{name}, {one}"] for one in (BETWEEN, START)}
            edges = np.histogram_bin_edges(np.concatenate(list(both.values())), 40)
            for one, values in both.items():
                axes.hist(values, bins=edges, color=colours[one], alpha=0.55, label=one)
            axes.axvline(start, color=drawing.INK, linewidth=1.2, linestyle="--", label="at the start")
            axes.set_xlabel(f"{name} after training")
            axes.set_ylabel("units")
            axes.set_title(f"{name} is learned")
            axes.legend(fontsize=8, loc="upper right")
