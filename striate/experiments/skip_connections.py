"""Experiment "skip": skip connections, by addition and by concatenation."""

from __future__ import annotations

from typing import Any

import numpy as np

from striate.experiments import drawing
from striate.experiments.experiment import Experiment, Size, Work
from striate.experiments.measurement import Form, Measurement, Quantity
from striate.experiments.prediction import Prediction
from striate.experiments.training import gradient_norms, prepared, train
from striate.nn.activation import Tanh
from striate.nn.container import Concat, Residual, Sequential
from striate.nn.linear import Linear
from striate.nn.module import Module
from striate.nn.shaping import Flatten, Identity
from striate.optim import SGD

DEPTHS = (2, 12, 40)
WIDTH = 32
KINDS = ("plain", "addition")
BESIDE_DEPTH = 12  # only 12 blocks, since each has another width, for which kernels must be compiled
GROWTH = 4


def name_of(kind: str, depth: int) -> str:
    """Return the name of a setting, such as "addition, 40 blocks"."""
    return f"{kind}, {depth} blocks"


BESIDE = name_of("concatenation", BESIDE_DEPTH)
SETTINGS = (*(name_of(kind, depth) for kind in KINDS for depth in DEPTHS), BESIDE)
DEEP = {kind: name_of(kind, DEPTHS[-1]) for kind in KINDS}


def network(kind: str, depth: int, classes: int) -> Sequential:
    """Return a network: a linear map to 32 units, ``depth`` blocks of linear map and tanh, and a linear output.

    ``kind`` is "plain", "addition" (y = f(x) + x) or "concatenation" (y = [x, f(x)], 4 more features per block).
    Weights have PyTorch's default initialization.
    """
    layers: list[Module] = [Flatten(), Linear(None, WIDTH)]
    for _ in range(depth):
        if kind == "concatenation":  # (B, D) and (B, H) → (B, D + H)
            layers.append(Concat(Identity(), Sequential(Linear(None, GROWTH), Tanh())))
        else:
            body = Sequential(Linear(None, WIDTH), Tanh())
            layers.append(Residual(body) if kind == "addition" else body)
    return Sequential(*layers, Linear(None, classes))


class SkipConnections(Experiment):
    """Compares networks of the same blocks f with different skip connections.

    The output of a block for the input x is f(x), f(x) + x, or x and f(x) concatenated.
    """

    name = "skip"
    title = "Skip connections"
    equation = "y = f(x) + x, ∂y/∂x = f′(x) + 1;  y = [x, f(x)], (B, D+H)"
    setup = (
        f"2, 12 and 40 blocks of a linear map and tanh, {WIDTH} units wide, with PyTorch's default start, which is too "
        f"small for tanh (see M5); plain and with x added; and 12 with x kept beside {GROWTH} new features. Digits; "
        "SGD, learning rate 0.01, momentum 0.9, batches of 32. Ratio: the gradient's norm at the first block's weights "
        "over the last block's, before training."
    )
    data = "digits"
    size = Size(seeds=3, samples=1442, held_out=355, epochs=10)
    usual_seconds = 37
    quantities = (
        Quantity("accuracy"),
        Quantity("ratio", Form.POWER, spread=False),
        Quantity("features", Form.COUNT, spread=False),
    )
    predictions = (
        Prediction(
            "Forty plain blocks do not learn (below 30 %); with x added they do (above 85 %).",
            lambda found: (
                found.median(DEEP["plain"], "accuracy") < 0.3 and found.median(DEEP["addition"], "accuracy") > 0.85
            ),
            lambda found: (
                f"plain {found.text(DEEP['plain'], 'accuracy')}, added {found.text(DEEP['addition'], 'accuracy')}"
            ),
        ),
        Prediction(
            "The 1 in f′(x) + 1 carries the gradient: the ratio is above 0.1 through forty blocks, plain below 0.001.",
            lambda found: found.median(DEEP["addition"], "ratio") > 0.1 and found.median(DEEP["plain"], "ratio") < 1e-3,
            lambda found: (
                f"plain {found.short(DEEP['plain'], 'ratio')}, added {found.short(DEEP['addition'], 'ratio')}"
            ),
        ),
        Prediction(
            f"Twelve blocks with x kept beside learn as well (above 85 %), and end with {WIDTH} + 12·{GROWTH} = "
            f"{WIDTH + BESIDE_DEPTH * GROWTH} features; twelve plain ones do not (below 50 %).",
            lambda found: (
                found.median(BESIDE, "accuracy") > 0.85
                and found.median(BESIDE, "features") == WIDTH + BESIDE_DEPTH * GROWTH
                and found.median(name_of("plain", BESIDE_DEPTH), "accuracy") < 0.5
            ),
            lambda found: (
                f"{found.text(BESIDE, 'accuracy')}, {found.short(BESIDE, 'features')} features; plain "
                f"{found.text(name_of('plain', BESIDE_DEPTH), 'accuracy')}"
            ),
        ),
        Prediction(
            "Two blocks need no skip connection: plain is within 5 points of addition.",
            lambda found: (
                abs(found.median(name_of("plain", 2), "accuracy") - found.median(name_of("addition", 2), "accuracy"))
                < 0.05
            ),
            lambda found: (
                f"plain {found.short(name_of('plain', 2), 'accuracy')}, added "
                f"{found.short(name_of('addition', 2), 'accuracy')}"
            ),
            condition="they matter in deep networks",
        ),
    )

    def measure(self, work: Work) -> Measurement:
        found = Measurement(self.quantities)
        for setting, seed in work.runs(SETTINGS):
            kind, depth = setting.split(", ")
            train_set = work.samples(seed)
            model = prepared(network(kind, int(depth.split()[0]), work.classes), train_set, seed)
            _, *norms, _ = gradient_norms(model, train_set, seed).values()
            done = train(model, train_set, SGD(lr=0.01, momentum=0.9), seed=seed, epochs=work.size.epochs)
            last = [array for array in model.parameters() if array.ndim == 2][-1]
            found.add(
                setting,
                accuracy=done.accuracy(work.held_out),
                ratio=norms[0] / norms[-1] if norms[-1] else 0.0,
                features=last.shape[1],
            )
            if setting in DEEP.values():
                former = found.arrays.get(setting, np.empty((0, len(norms))))
                found.arrays[setting] = np.vstack([former, np.array(norms) / max(norms[-1], 1e-300)])
        return found

    def draw(self, found: Measurement, figure: Any) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(1.1, 1))
        colours = dict(zip(KINDS, (drawing.RED, drawing.BLUE)))
        for kind in KINDS:
            curves = found.arrays[DEEP[kind]]
            blocks = list(range(1, curves.shape[1] + 1))
            drawing.band(left, blocks, curves.min(0), np.median(curves, 0), curves.max(0), colours[kind], kind)
        left.set_yscale("log")
        left.grid(axis="y")
        left.set_xlabel("block (1 is next to the image)")
        left.set_ylabel("gradient norm, relative to the last block")
        left.set_title("40 blocks, before the first step")
        left.legend(fontsize=9)
        for kind in KINDS:
            rows = [100 * np.array(found.values(name_of(kind, depth), "accuracy")) for depth in DEPTHS]
            low, mid, high = (np.array([f(row) for row in rows]) for f in (np.min, np.median, np.max))
            drawing.band(right, DEPTHS, low, mid, high, colours[kind], kind)
        beside = 100 * np.array(found.values(BESIDE, "accuracy"))
        right.plot([BESIDE_DEPTH] * len(beside), beside, "D", color=drawing.GREEN, markersize=5, label="concatenation")
        right.legend(fontsize=9, loc="center right")
        right.axhline(10, color=drawing.GREY, linewidth=1, linestyle=":")
        right.set_xticks(DEPTHS)
        right.set_ylim(0, 102)
        right.grid(axis="y")
        right.set_xlabel("blocks")
        right.set_ylabel("held-out accuracy, %")
        right.set_title("After training")
