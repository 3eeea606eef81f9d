"""Experiment M2: a convolution with more filters, each of which gives one output channel."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from striate.experiments import drawing
from striate.experiments.experiment import Experiment, Size, Work
from striate.experiments.measurement import Form, Measurement, Quantity
from striate.experiments.prediction import Prediction
from striate.experiments.training import prepared, train
from striate.nn.activation import ReLU
from striate.nn.container import Sequential
from striate.nn.convolution import Conv2d
from striate.nn.initialization import scaled_normal
from striate.nn.linear import Linear
from striate.nn.pooling import MaxPool2d
from striate.nn.shaping import Flatten
from striate.optim import SGD

COUNTS = (1, 2, 4, 8, 16, 32)
SETTINGS = tuple(f"{count} filter{'' if count == 1 else 's'}" for count in COUNTS)
FEW, MANY = SETTINGS[0], SETTINGS[-1]
SHOWN = 16
SMALL = scaled_normal(0.3)  # so small that the filters drawn in the end show what was learned


def _gain(found: Measurement, fewer: str, more: str) -> float:
    return found.median(more, "accuracy") - found.median(fewer, "accuracy")


class ManyFilters(Experiment):
    """Compares networks whose only convolution has 1, 2, 4, … 32 filters."""

    name = "M2"
    title = "Many filters"
    equation = "W: (C_out, C_in, K, K) turns C_in channels into C_out"
    setup = (
        "One convolution of 1, 2, 4, … 32 filters, ReLU, max pooling (4×4; 2×2 for small pictures), a linear map. SGD, "
        "learning rate 0.01, momentum 0.9, batches of 32. Distinct: how many of the learned filters are no near copy "
        "(|cosine| > 0.9) of an earlier one."
    )
    data = "mnist"
    size = Size(seeds=3, samples=2000, held_out=2000, epochs=8)
    usual_seconds = 7
    quantities = (Quantity("accuracy"), Quantity("distinct", Form.COUNT), Quantity("parameters", Form.COUNT))
    predictions = (
        Prediction(
            "Accuracy grows with the number of filters: 32 are at least 5 points better than 1.",
            lambda found: _gain(found, FEW, MANY) >= 0.05,
            lambda found: f"{found.short(FEW, 'accuracy')} → {found.short(MANY, 'accuracy')}",
            "75 % → 93 %",
        ),
        Prediction(
            "It grows at each doubling up to 8 (medians).",
            lambda found: all(_gain(found, one, two) > 0 for one, two in pairwise(SETTINGS[:4])),
            lambda found: " → ".join(found.short(setting, "accuracy") for setting in SETTINGS[:4]),
        ),
        Prediction(
            "The filters learn different patterns: at least three quarters of 16 are distinct.",
            lambda found: found.median(SETTINGS[4], "distinct") >= 12,
            lambda found: f"{found.short(SETTINGS[4], 'distinct')} of 16",
        ),
        Prediction(
            "Each doubling brings less: from 16 to 32 less than a third of what the first one brought.",
            lambda found: _gain(found, SETTINGS[4], MANY) < _gain(found, FEW, SETTINGS[1]) / 3,
            lambda found: (
                f"1 → 2: {100 * _gain(found, FEW, SETTINGS[1]):+.1f} points, "
                f"16 → 32: {100 * _gain(found, SETTINGS[4], MANY):+.1f}"
            ),
            condition="the gain is soon used up: further filters find little that is new in these pictures",
        ),
    )

    def measure(self, work: Work) -> Measurement:
        found = Measurement(self.quantities)
        window = 4 if min(work.shape[1:]) >= 20 else 2
        for setting, seed in work.runs(SETTINGS):
            count = COUNTS[SETTINGS.index(setting)]
            train_set = work.samples(seed)
            layer = Conv2d(work.shape[0], count, work.kernel, padding=work.kernel // 2, init=SMALL)
            body = {"conv": layer, "relu": ReLU(), "pool": MaxPool2d(window)}
            network = Sequential({**body, "flatten": Flatten(), "out": Linear(None, work.classes)})
            model = prepared(network, train_set, seed)
            done = train(model, train_set, SGD(lr=0.01, momentum=0.9), seed=seed, epochs=work.size.epochs)
            weights = dict(model.named_parameters())["conv.weight"].astype(np.float64)
            found.add(
                setting,
                accuracy=done.accuracy(work.held_out),
                distinct=distinct(weights.reshape(count, -1)),
                parameters=sum(array.size for array in model.parameters()),
            )
            if setting == MANY and seed == 0:
                front = Sequential(layer, ReLU())
                image = work.held_out.images[1:2]
                scaled = dict(model.named_modules())["standardizer"](image.astype(np.float32))
                found.arrays |= {
                    "filters": weights.mean(axis=1),
                    "image": image[0].mean(axis=0),
                    "maps": np.asarray(front(np.asarray(scaled)))[0],
                }
        return found

    def draw(self, found: Measurement, figure: Any) -> None:
        left, middle, right = figure.subfigures(1, 3, width_ratios=(1.25, 1, 1))
        axes = left.subplots()
        rows = [np.array(found.values(setting, "accuracy")) * 100 for setting in SETTINGS]
        low, mid, high = (np.array([f(row) for row in rows]) for f in (np.min, np.median, np.max))
        drawing.band(axes, COUNTS, low, mid, high, drawing.BLUE, "median")
        for count, value in zip(COUNTS, mid):
            axes.annotate(f"{value:.1f}", (count, value), (0, -14), textcoords="offset points", ha="center", fontsize=9)
        axes.set_xscale("log", base=2)
        axes.set_xticks(COUNTS, [str(count) for count in COUNTS])
        axes.grid(axis="y")
        axes.set_xlabel("filters")
        axes.set_ylabel("held-out accuracy, %")
        axes.set_title("More filters, fewer mistakes")
        order = np.argsort(-np.abs(found.arrays["filters"]).sum(axis=(1, 2)))[:SHOWN]
        axes = middle.subplots()
        drawing.filters(axes, found.arrays["filters"][order], 4)
        axes.set_title(f"The {SHOWN} strongest of 32 learned filters\n(red adds, blue subtracts)", fontsize=10)
        axes, maps = right.subplots(), found.arrays["maps"][order]
        drawing.picture(
            axes, drawing.mosaic(maps / np.maximum(maps.max(axis=(1, 2), keepdims=True), 1e-12), 4), "magma"
        )
        axes.set_title("What each of them highlights\nin one held-out image", fontsize=10)


def distinct(rows: np.ndarray[Any, np.dtype[np.float64]]) -> int:
    """Return how many rows (filters) are distinct; two rows with a |cosine| above 0.9 count as the same."""
    unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    kept: list[int] = []
    for index, row in enumerate(unit):
        if all(abs(float(row @ unit[other])) <= 0.9 for other in kept):
            kept.append(index)
    return len(kept)
