"""Cases in which an earlier version of the doctor was silent or wrong, each with a healthy control."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from doctor_case import Own, training
from doctor_material import cifar, cnn, cut, digits, mlp, mnist, momentum
from doctor_wild_case import Wild, binary, loop, own, pair, tail
from doctor_wild_material import (
    BinaryCrossEntropy,
    BinaryCrossEntropyOfScores,
    SquaredError,
    blobs,
    changed,
    houses,
    normal,
    rare,
    started,
    two_of,
    windows,
)

import striate as st
from striate import nn, optim
from striate.data import Dataset, load_mnist


def small(*end: nn.Module) -> nn.Sequential:
    """Build Linear(4, 16), ReLU, and the given layers."""
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), *end)


def table() -> Iterator[Wild]:
    """Yield the cases in the order in which they were reported."""
    two = [changed(one, lambda x: x[:, :4]) for one in two_of(blobs(spread=1.0))]
    rows = two[0], two[1]
    for name, loss in (("MSE", SquaredError()), ("BCE", BinaryCrossEntropy())):
        yield own(
            "", f"softmax over one unit, {name}", "Linear(4, 16), Linear(16, 1)",
            loop(small(nn.Linear(16, 1), nn.Softmax()), loss), loop(small(nn.Linear(16, 1), nn.Sigmoid()), loss),
            ("one_output",), binary(rows, 0.5),
        )  # fmt: skip
    yield pair(
        "", "softmax over one unit, cross entropy", "Linear(4, 16), Linear(16, 1)",
        training(small(nn.Linear(16, 1), nn.Softmax()), rows, epochs=5),
        training(small(nn.Linear(16, 2)), rows, epochs=5),
        ("one_output",),
    )  # fmt: skip
    five = cut(Dataset(*_first_of_each(5, 40), tuple("01234"), "mnist"), 200, 1)
    five = five.subset(np.argsort(five.labels, kind="stable"))
    held = load_mnist("test")
    truth = held.subset(np.flatnonzero(held.labels < 5)[:500])
    truth = Dataset(truth.images, truth.labels, tuple("01234"), "mnist")
    order = np.random.default_rng(2).permutation(200)
    yield pair(
        "", "sorted data, the tail as validation", "MLP 48", training(mlp(5, (48,)), tail(five, 0.2), epochs=6),
        training(mlp(5, (48,)), tail(five.subset(order), 0.2), epochs=6), ("sorted_split",), truth=truth,
    )  # fmt: skip
    series = windows(91, 5000, 12)
    yield pair(
        "", "windows in the order of time", "MLP 48", training(mlp(3, (48,)), tail(series, 0.3), epochs=2),
        training(mlp(3, (48,)), tail(series, 0.3), epochs=2), (),
    )  # fmt: skip
    pictures, theirs = mnist()
    units = {"x / 255": 1 / 255, "x / 255²": 1 / 255**2}
    for name, factor in units.items():
        yield pair(
            "", f"validation {name} for a model of 0 to 255", "CNN 8-16",
            training(cnn(10, (8, 16)), (pictures, changed(theirs, _times(factor)))),
            training(cnn(10, (8, 16)), (pictures, theirs)), ("other_inputs:scale",),
        )  # fmt: skip
    unit = changed(pictures, _times(1 / 255))
    yield pair(
        "", "validation of 0 to 255 for a model of x / 255", "CNN 8-16",
        training(cnn(10, (8, 16)), (unit, changed(theirs, _times(1.0)))),
        training(cnn(10, (8, 16)), (unit, changed(theirs, _times(1 / 255)))), ("other_inputs:scale",), metric="loss",
    )  # fmt: skip
    yield pair(
        "", "validation inverted", "CNN 8-16",
        training(cnn(10, (8, 16)), (pictures, changed(theirs, lambda x: 255 - x))),
        training(cnn(10, (8, 16)), (pictures, theirs)), ("other_inputs:polarity",),
    )  # fmt: skip
    photographs, photographs_held = cifar()
    yield pair(
        "", "colour channels in another order", "CNN 16-32",
        training(
            cnn(10, (16, 32)), (photographs, changed(photographs_held, lambda x: x[:, [2, 0, 1]])),
            optim.Adam(lr=2e-3), epochs=6,
        ),
        training(cnn(10, (16, 32)), cifar(), optim.Adam(lr=2e-3), epochs=4), ("other_inputs:channels",),
    )  # fmt: skip
    forty = pictures.subset(np.arange(1280))

    def bn(share: float) -> nn.Module:
        return momentum(cnn(10, (16, 32), nn.ReLU, "he", lambda: nn.BatchNorm2d(None)), share)

    fast = optim.SGD(lr=0.01, momentum=0.9)
    yield pair(
        "", "batch norm, momentum 0.01, 40 steps", "CNN BN 16-32",
        training(bn(0.01), (forty, theirs), fast, epochs=1, standardize=False),
        training(bn(0.1), (forty, theirs), fast, epochs=1, standardize=False), ("stale_statistics:momentum",),
    )  # fmt: skip
    both = Dataset(
        np.concatenate([pictures.images, pictures.images[:150]]),
        np.concatenate([pictures.labels, (pictures.labels[:150] + 3) % 10]), pictures.classes, "mnist",
    )  # fmt: skip
    yield pair(
        "", "pictures under two labels", "CNN 8-16", training(cnn(10, (8, 16)), (both, theirs), epochs=4),
        training(cnn(10, (8, 16)), (pictures, theirs), epochs=4), ("conflicting_labels",), metric="loss",
    )  # fmt: skip
    few = Dataset(
        np.concatenate([theirs.images[:38], pictures.images[[17, 203]]]),
        np.concatenate([theirs.labels[:38], pictures.labels[[17, 203]]]), pictures.classes, "mnist",
    )  # fmt: skip
    hard = two_of(blobs(spread=1.6))
    yield pair(
        "", "2 of 40 validation samples are copies", "MLP 64", training(mlp(10, (64,)), (pictures, few), epochs=5),
        training(mlp(10, (64,)), (pictures, theirs.subset(np.arange(40))), epochs=5), ("leakage:exact",),
        metric="honesty", truth=theirs.subset(np.arange(38)),
    )  # fmt: skip
    seldom = rare(hard[0], 1, 16)
    again = np.repeat(np.flatnonzero(seldom.labels == 1), 14)
    yield own(
        "", "a rare class, own loss, one output", "MLP 16",
        loop(nn.Sequential(nn.Linear(None, 16), nn.ReLU(), nn.Linear(16, 1)), BinaryCrossEntropyOfScores(),
             optim.SGD(lr=0.15)),
        loop(nn.Sequential(nn.Linear(None, 16), nn.ReLU(), nn.Linear(16, 1)), BinaryCrossEntropyOfScores()),
        ("constant_predictions:imbalance",), binary((seldom, hard[1]), 0.0, "balanced"), good=binary(hard, 0.0),
        cured=binary((seldom.subset(np.concatenate([np.flatnonzero(seldom.labels == 0), again])), hard[1]), 0.0,
                     "balanced"),
        by_hand=lambda s: s.anew(), metric="balanced",
    )  # fmt: skip
    yield pair(
        "", "momentum 0.999", "CNN 8-16",
        training(cnn(10, (8, 16)), (pictures, theirs), optim.SGD(lr=0.02, momentum=0.999), epochs=4),
        training(cnn(10, (8, 16)), (pictures, theirs), optim.SGD(lr=0.02, momentum=0.9), epochs=4),
        ("learning_rate_too_high:momentum",),
    )  # fmt: skip
    yield pair(
        "", "a first epoch with a loss of 1e10 and more", "MLP 8×64",
        training(started(mlp(10, (64,) * 8), normal(0.9)), (pictures, theirs), optim.SGD(lr=0.01), epochs=3),
        training(mlp(10, (64,) * 8), (pictures, theirs), optim.SGD(lr=0.01, momentum=0.9), epochs=3),
        ("exploding_gradients", "learning_rate_too_high", "loss_at_start"),
    )  # fmt: skip
    slow = training(lenet(), digits(), optim.SGD(lr=0.01), epochs=4)
    yield pair(
        "", "sigmoid LeNet at 0.01", "lenet5", slow,
        training(st.models.lenet5(activation="sigmoid"), digits(), optim.SGD(lr=0.1, momentum=0.9), epochs=4),
        ("unexplained", "learning_rate_too_low", "vanishing_gradients"),
    )  # fmt: skip
    yield pair(
        "", "ReLU 4×500 at 0.01", "MLP 4×500",
        training(mlp(10, (500,) * 4, nn.ReLU, "torch"), (pictures, theirs), optim.SGD(lr=0.01), epochs=3),
        training(mlp(10, (500,) * 4, nn.ReLU, "torch"), (pictures, theirs), optim.SGD(lr=0.1, momentum=0.9), epochs=3),
        ("unexplained", "learning_rate_too_low", "vanishing_gradients"),
    )  # fmt: skip
    x, y = houses(92, 900, 0.01)
    yield own(
        "", "a loop that is well", "MLP 32", loop(mlp(1, (32,)), nn.MSELoss()), loop(mlp(1, (32,)), nn.MSELoss()), (),
        Own(x, y, *houses(93, 400, 0.01)), metric="loss",
    )  # fmt: skip


def lenet() -> nn.Module:
    """Build LeNet-5 with sigmoids, without normalization, and with PyTorch's default initialization."""
    return nn.Sequential(
        nn.Conv2d(None, 6, 5, padding=2), nn.Sigmoid(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5, padding=2), nn.Sigmoid(),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(None, 120), nn.Sigmoid(), nn.Linear(120, 84), nn.Sigmoid(),
        nn.Linear(84, 10),
    )  # fmt: skip


def _first_of_each(classes: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    data = load_mnist("train")
    index = np.concatenate([np.flatnonzero(data.labels == label)[:count] for label in range(classes)])
    return data.images[index], data.labels[index]


def _times(factor: float):
    return lambda x: x.astype(np.float32) * np.float32(factor)
