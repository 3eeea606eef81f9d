"""The cases on which the doctor's rules were developed: trainings on the digits."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from doctor_case import Case, training
from doctor_material import (
    cut,
    digits,
    last,
    mixed,
    mlp,
    momentum,
    noisy,
    relabelled,
)

import striate as st
from striate import nn, optim
from striate.nn.initialization import scaled_normal


def dev_healthy() -> Iterator[Case]:
    """Yield healthy trainings on the digits, on which the doctor must report nothing."""
    yield Case(
        "lenet5, SGD", "lenet5", training(st.models.lenet5(), digits(), optim.SGD(lr=0.05, momentum=0.9), epochs=8)
    )
    yield Case("MLP, Adam", "MLP 64-32", training(mlp(10, (64, 32)), digits(), optim.Adam(lr=2e-3), epochs=8))
    yield Case("tanh", "MLP tanh", training(mlp(10, (64,), nn.Tanh, "xavier"), digits(), epochs=8))
    yield Case(
        "sigmoid", "MLP σ", training(mlp(10, (32,), nn.Sigmoid, "xavier"), digits(), optim.Adam(lr=5e-3), epochs=8)
    )
    yield Case("first_cnn", "first_cnn", training(st.models.first_cnn(filters=8, kernel=3), digits(), epochs=8))


def dev_faults() -> Iterator[Case]:
    """Yield the faulty trainings on which rules and thresholds were developed."""
    train, val = digits()
    deep = (64,) * 10
    yield Case(
        "sigmoid chain",
        "MLP σ 10×64",
        training(mlp(10, deep, nn.Sigmoid, "xavier"), digits(), optim.SGD(lr=0.05, momentum=0.9), epochs=5),
        ("vanishing_gradients:activation",),
    )
    yield Case(
        "small start",
        "MLP ReLU 12×64",
        training(mlp(10, (64,) * 12, nn.ReLU, "torch"), digits(), epochs=5),
        ("vanishing_gradients:initialization",),
    )
    yield Case(
        "large start",
        "MLP ReLU 8×64",
        training(mlp(10, (64,) * 8, nn.ReLU, scaled_normal(5.0)), digits(), epochs=5),
        ("exploding_gradients",),
    )
    yield Case(
        "narrow ReLU",
        "MLP ReLU 8×5",
        training(mlp(10, (5,) * 8, nn.ReLU, "torch"), digits(), epochs=10),
        ("dead_units:activation", "vanishing_gradients:initialization"),
    )
    yield Case(
        "rate too high",
        "MLP 64",
        training(mlp(10, (64, 64)), digits(), optim.SGD(lr=3.0, momentum=0.9), epochs=4),
        ("learning_rate_too_high", "dead_units:learning rate"),
    )
    yield Case(
        "rate too low",
        "MLP 64",
        training(mlp(10, (64,)), digits(), optim.SGD(lr=1e-6), epochs=4),
        ("learning_rate_too_low",),
    )
    yield Case(
        "last layer ×20",
        "MLP 64",
        training(last(mlp(10, (64,)), scaled_normal(20.0)), digits(), epochs=2),
        ("loss_at_start",),
    )
    yield Case(
        "saturated tanh",
        "MLP tanh",
        training(mlp(10, (64, 64), nn.Tanh, scaled_normal(15.0)), digits(), epochs=4),
        ("saturated_units:initialization",),
    )
    yield Case(
        "softmax layer",
        "MLP 64",
        training(nn.Sequential(mlp(10, (64,)), nn.Softmax()), digits(), epochs=4),
        ("softmax_twice",),
    )
    yield Case(
        "raw 0…255",
        "MLP 64",
        training(mlp(10, (64,)), digits(), standardize=False, epochs=4),
        ("unstandardized_input",),
    )
    yield Case(
        "labels one off",
        "MLP 64",
        training(mlp(10, (64,)), (relabelled(train, np.roll(train.labels, 1)), val), epochs=4),
        ("labels_shifted",),
    )
    yield Case(
        "labels shuffled",
        "MLP 64",
        training(mlp(10, (64,)), (relabelled(train, mixed(train.labels)), val), epochs=4),
        ("labels_shuffled",),
        by_hand=lambda s: s.anew(train_set=train),
    )
    yield Case(
        "running mean late",
        "lenet5",
        training(momentum(st.models.lenet5(), 0.001), digits(), epochs=3),
        ("stale_statistics",),
    )
    yield Case(
        "sorted",
        "lenet5",
        training(st.models.lenet5(), (train.subset(np.argsort(train.labels, kind="stable")), val), shuffle=False),
        ("sorted_batches",),
    )
    yield Case(
        "over-fitting",
        "MLP 256",
        training(mlp(10, (256,)), (noisy(cut(train, 150, 1), 0.4), val), optim.Adam(lr=1e-2), epochs=60),
        ("overfitting",),
        "loss",
    )
