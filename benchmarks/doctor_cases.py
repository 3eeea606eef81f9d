"""The cases on which the doctor is judged: healthy trainings, and trainings with a planted fault.

The rules were developed on other data, networks and seeds (``doctor_development``).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from doctor_case import Case, numbers_setup, regression, training
from doctor_data_faults import batches, generalization, inputs, labels
from doctor_material import (
    cifar,
    cnn,
    conv1d,
    mlp,
    mnist,
    normalized_mlp,
    residual,
    signals,
    table,
    with_inputs,
)
from doctor_network_faults import connections, ends, gradients, numbers, rates, units

import striate as st
from striate import nn, optim
from striate.data import Dataset


def healthy() -> Iterator[Case]:
    """Yield healthy trainings on other networks and data, on which the doctor must report nothing."""
    scaled = tuple(
        Dataset(one.images.reshape(len(one), -1) / np.float32(255), one.labels, one.classes, one.name)
        for one in mnist()
    )
    yield Case("lenet5, Adam", "lenet5", training(st.models.lenet5(), mnist(), optim.Adam(lr=2e-3)))
    yield Case("first_cnn, SGD", "first_cnn", training(st.models.first_cnn(), mnist()))
    yield Case(
        "MLP on [0, 1]",
        "MLP 128",
        training(mlp(10, (128,)), (scaled[0], scaled[1]), optim.SGD(lr=0.1), standardize=False, epochs=5),
    )
    yield Case(
        "residual, SGD", "residual 16", training(residual(10), cifar(), optim.SGD(lr=0.05, momentum=0.9), epochs=4)
    )
    yield Case("CNN, Adam", "CNN 16-32-32", training(cnn(10, (16, 32, 32)), cifar(), optim.Adam(lr=1e-3), epochs=5))
    yield Case(
        "CNN, BN, cosine",
        "CNN 16-32",
        training(
            cnn(10, (16, 32), nn.ReLU, "he", lambda: nn.BatchNorm2d(None)),
            cifar(),
            optim.SGD(lr=0.01, momentum=0.9, schedule=optim.CosineSchedule(4 * 63)),
            epochs=4,
        ),
    )
    yield Case("signals, ReLU", "conv1d 16-32", training(conv1d(4, (16, 32)), signals(), epochs=5))
    yield Case(
        "signals, tanh, BN",
        "conv1d 8-16",
        training(
            conv1d(4, (8, 16), nn.Tanh, "xavier", lambda: nn.BatchNorm1d(None)),
            signals(),
            optim.Adam(lr=3e-3),
            epochs=5,
        ),
    )
    yield Case("table, leaky", "MLP 32-32", training(mlp(4, (32, 32), lambda: nn.LeakyReLU(0.1)), table(), epochs=6))
    yield Case(
        "table, sigmoid",
        "MLP σ 32",
        training(mlp(4, (32,), nn.Sigmoid, "xavier"), table(), optim.Adam(lr=1e-2), epochs=8),
    )
    yield Case(
        "dropout",
        "MLP 256, dropout",
        training(
            nn.Sequential(
                nn.Flatten(), nn.Linear(None, 256, init="he"), nn.ReLU(), nn.Dropout(0.5), nn.Linear(256, 10)
            ),
            mnist(),
            optim.Adam(lr=1e-3),
            epochs=4,
        ),
    )
    yield Case(
        "deep tanh, Xavier",
        "MLP tanh 8×48",
        training(mlp(10, (48,) * 8, nn.Tanh, "xavier"), mnist(), optim.SGD(lr=0.02, momentum=0.9), epochs=4),
    )
    yield Case(
        "deep sigmoid, BN",
        "MLP σ 8×64",
        training(normalized_mlp(10, (64,) * 8, nn.Sigmoid), mnist(), optim.SGD(lr=0.1, momentum=0.9), epochs=4),
    )
    yield Case(
        "residual, Adam, one epoch", "residual 8", training(residual(10, 8, 3), cifar(), optim.Adam(lr=3e-3), epochs=1)
    )
    yield Case(
        "CNN, PyTorch's start, slow",
        "CNN 16-32",
        training(cnn(10, (16, 32), nn.ReLU, "torch"), cifar(), optim.SGD(lr=0.005, momentum=0.9), epochs=3),
    )
    yield Case(
        "signals, raw into BN",
        "conv1d BN 12-24",
        training(
            conv1d(4, (12, 24), nn.ReLU, "he", lambda: nn.BatchNorm1d(None)),
            with_inputs(signals(), lambda x: 40 * x + 7),
            optim.Adam(lr=3e-3),
            standardize=False,
            epochs=4,
        ),
    )
    yield Case(
        "regression, MSE",
        "MLP 32-32",
        numbers_setup(mlp(1, (32, 32))),
        own=regression(),
        data="numbers",
        metric="loss",
    )


def faults() -> Iterator[Case]:
    """Yield faulty trainings on data and networks on which the rules were not developed.

    There are at least two cases of each kind of fault, if possible.
    """
    for group in (
        gradients, units, rates, ends, labels, inputs, batches, generalization, connections, numbers,
    ):  # fmt: skip
        yield from group()
