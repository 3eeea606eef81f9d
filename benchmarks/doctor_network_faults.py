"""Cases with a fault in the network or the optimizer, on which the doctor's rules are judged."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from doctor_case import Case, numbers_setup, regression, training
from doctor_material import (
    Comparing,
    Forgetful,
    SoftmaxInside,
    biased,
    cifar,
    cnn,
    conv1d,
    last,
    mlp,
    mnist,
    normalized_cnn,
    relabelled,
    signals,
    table,
)

import striate as st
from striate import nn
from striate.nn.initialization import scaled_normal
from striate.optim import SGD, Adam

TOO_HIGH = ("learning_rate_too_high", "dead_units:learning rate", "saturated_units:learning rate")
"""The findings that are accepted for a learning rate that is too high."""


def gradients() -> Iterator[Case]:
    """Yield trainings whose gradients vanish or explode."""
    vanishing = ("vanishing_gradients:activation",)
    yield Case(
        "sigmoid chain",
        "MLP σ 9×48",
        training(mlp(10, (48,) * 9, nn.Sigmoid, "torch"), mnist(), SGD(lr=0.1, momentum=0.9)),
        vanishing,
    )
    yield Case(
        "sigmoid convolutions",
        "CNN σ 7×12",
        training(cnn(10, (12,) * 7, nn.Sigmoid, "xavier", pool_every=3), cifar(), SGD(lr=0.05, momentum=0.9)),
        vanishing,
    )
    yield Case(
        "sigmoid chain",
        "MLP σ 8×32",
        training(mlp(4, (32,) * 8, nn.Sigmoid, "xavier"), table(), SGD(lr=0.1, momentum=0.9), epochs=5),
        vanishing,
    )
    yield Case(
        "ReLU, small start",
        "MLP 14×48",
        training(mlp(10, (48,) * 14, nn.ReLU, "torch"), mnist(), SGD(lr=0.02, momentum=0.9)),
        ("vanishing_gradients:initialization", "dead_units:weak signal"),
    )
    yield Case(
        "tanh, small start",
        "MLP tanh 10×40",
        training(mlp(4, (40,) * 10, nn.Tanh, scaled_normal(0.3)), table(), SGD(lr=0.05, momentum=0.9), epochs=5),
        ("vanishing_gradients:initialization",),
    )
    yield Case(
        "leaky ReLU, small start",
        "CNN 6×16",
        training(
            cnn(10, (16,) * 6, lambda: nn.LeakyReLU(0.1), scaled_normal(0.25), pool_every=2),
            cifar(),
            SGD(lr=0.02, momentum=0.9),
        ),
        ("vanishing_gradients:initialization",),
    )
    exploding = ("exploding_gradients",)
    yield Case(
        "ReLU, large start",
        "MLP 9×32",
        training(mlp(4, (32,) * 9, nn.ReLU, scaled_normal(4.0)), table(), SGD(lr=0.02, momentum=0.9), epochs=5),
        exploding,
    )
    yield Case(
        "leaky ReLU, large start",
        "CNN 6×12",
        training(
            cnn(10, (12,) * 6, lambda: nn.LeakyReLU(0.2), scaled_normal(8.0), pool_every=2), mnist(), Adam(lr=1e-3)
        ),
        exploding,
    )


def units() -> Iterator[Case]:
    """Yield trainings with dead or saturated units."""
    yield Case(
        "ReLU, rate too high", "CNN 16-32", training(cnn(10, (16, 32)), mnist(), SGD(lr=1.0, momentum=0.9)), TOO_HIGH
    )
    yield Case(
        "ReLU, rate too high",
        "conv1d 12-24",
        training(conv1d(4, (12, 24)), signals(), Adam(lr=0.3), epochs=5),
        TOO_HIGH,
    )
    narrow = ("dead_units:activation",)
    yield Case("ReLU, very narrow", "MLP 8×4", training(mlp(10, (4,) * 8, nn.ReLU, "torch"), mnist(), epochs=6), narrow)
    yield Case(
        "ReLU, very narrow", "MLP 9×5", training(mlp(4, (5,) * 9, nn.ReLU, "he"), table(), epochs=8, seed=5), narrow
    )
    yield Case(
        "biases far below 0",
        "conv1d 16-32",
        training(biased(conv1d(4, (16, 32)), -6.0, (nn.Conv1d,)), signals(), epochs=4),
        ("dead_units:initialization",),
    )
    yield Case(
        "biases far below 0",
        "MLP 64-64",
        training(biased(mlp(10, (64, 64)), -30.0, (nn.Linear,)), mnist(), epochs=4),
        ("dead_units:initialization",),
    )
    saturated = ("saturated_units:initialization",)
    yield Case(
        "tanh, large start",
        "MLP tanh 64-64",
        training(mlp(10, (64, 64), nn.Tanh, scaled_normal(12.0)), mnist(), epochs=3),
        saturated,
    )
    yield Case(
        "sigmoid, large start",
        "conv1d σ 12-24",
        training(conv1d(4, (12, 24), nn.Sigmoid, scaled_normal(40.0)), signals(), Adam(lr=2e-3), epochs=5),
        saturated,
    )


def rates() -> Iterator[Case]:
    """Yield trainings with a learning rate that is too high or too low."""
    yield Case(
        "BN, rate too high", "CNN BN 16-32", training(normalized_cnn(), cifar(), SGD(lr=20.0, momentum=0.9)), TOO_HIGH
    )
    yield Case(
        "Adam, rate too high", "MLP 48-48", training(mlp(4, (48, 48)), table(), Adam(lr=1.0), epochs=4), TOO_HIGH
    )
    yield Case(
        "tanh, rate too high",
        "MLP tanh 64",
        training(mlp(10, (64,), nn.Tanh, "xavier"), mnist(), SGD(lr=5.0, momentum=0.9)),
        TOO_HIGH,
    )
    yield Case(
        "SGD, rate too low",
        "first_cnn",
        training(st.models.first_cnn(filters=8), mnist(), SGD(lr=1e-6)),
        ("learning_rate_too_low",),
    )
    yield Case(
        "Adam, rate too low",
        "conv1d 12-24",
        training(conv1d(4, (12, 24)), signals(), Adam(lr=1e-7), epochs=4),
        ("learning_rate_too_low",),
    )


def ends() -> Iterator[Case]:
    """Yield networks whose last layers do not suit the loss or the labels."""
    row, row_val = table()
    yield Case(
        "last layer ×30",
        "CNN 12-24",
        training(last(cnn(10, (12, 24)), scaled_normal(30.0)), mnist(), epochs=2),
        ("loss_at_start:initialization",),
    )
    yield Case(
        "last layer ×15",
        "MLP 64",
        training(last(mlp(4, (64,)), scaled_normal(15.0)), table(), epochs=3),
        ("loss_at_start:initialization",),
    )
    yield Case(
        "loss summed",
        "MLP 64-64",
        training(
            mlp(4, (64, 64)), table(), SGD(lr=0.02, momentum=0.9), loss=nn.CrossEntropyLoss(reduction="sum"), epochs=3
        ),
        ("loss_at_start:sum",),
    )
    yield Case(
        "softmax layer",
        "CNN 12-24",
        training(nn.Sequential(cnn(10, (12, 24)), nn.Softmax()), cifar(), epochs=4),
        ("softmax_twice",),
    )
    yield Case(
        "softmax in forward",
        "conv1d",
        training(SoftmaxInside(4), signals(), epochs=4),
        ("softmax_twice",),
        by_hand=lambda s: s.anew(model=training(conv1d(4, (12, 24)), signals()).model),
    )
    yield Case(
        "ReLU on the scores",
        "MLP 64",
        training(nn.Sequential(mlp(10, (64,)), nn.ReLU()), mnist(), epochs=3),
        ("bounded_outputs",),
        "loss",
    )
    yield Case(
        "sigmoid on the scores",
        "CNN 8-16",
        training(nn.Sequential(cnn(10, (8, 16)), nn.Sigmoid()), cifar(), epochs=4),
        ("bounded_outputs",),
        "loss",
    )
    rare = relabelled(row, np.where(row.labels == 3, 3, 0)).subset(
        np.flatnonzero((row.labels != 3) | (np.arange(len(row)) % 8 == 0))
    )
    rare_val = relabelled(row_val, np.where(row_val.labels == 3, 3, 0))
    yield Case(
        "one class in thirty",
        "MLP 16",
        training(mlp(4, (16,)), (rare, rare_val), SGD(lr=0.002, momentum=0.9), epochs=4),
        ("constant_predictions:imbalance",),
        "balanced",
    )


def connections() -> Iterator[Case]:
    """Yield networks with layers that do not learn."""
    frozen = cnn(10, (4, 8, 8))
    for place in (0, 3):
        frozen[place].requires_grad_(False)
    yield Case("frozen at random", "CNN 4-8-8", training(frozen, cifar(), epochs=4), ("no_gradient:frozen",))
    halted = mlp(10, (16, 16))
    halted[1].requires_grad_(False)
    halted[3].requires_grad_(False)
    yield Case("frozen at random", "MLP 16-16", training(halted, mnist(), epochs=4), ("no_gradient:frozen",))
    yield Case(
        "a block never called",
        "Forgetful",
        training(Forgetful(10), mnist(), epochs=4),
        ("no_gradient:unused",),
        by_hand=lambda s: s.anew(model=training(Forgetful(10, True), mnist()).model),
    )
    yield Case(
        "a comparison in forward",
        "Comparing",
        training(Comparing(4), table(), epochs=4),
        ("no_gradient:zero",),
        by_hand=lambda s: s.anew(model=training(Comparing(4, True), table()).model),
    )


def numbers() -> Iterator[Case]:
    """Yield regressions with an unsuitable learning rate."""
    yield Case(
        "regression, rate too high",
        "MLP 32-32",
        numbers_setup(mlp(1, (32, 32)), SGD(lr=1.0, momentum=0.9)),
        ("learning_rate_too_high", "dead_units:learning rate"),
        "loss",
        own=regression(),
        data="numbers",
    )
    yield Case(
        "regression, rate too low",
        "MLP tanh 32",
        numbers_setup(mlp(1, (32,), nn.Tanh, "xavier"), SGD(lr=1e-6)),
        ("learning_rate_too_low",),
        "loss",
        own=regression(),
        data="numbers",
    )
