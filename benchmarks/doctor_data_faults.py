"""Cases with a fault in the data or the batches, on which the doctor's rules are judged."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from doctor_case import Case, training
from doctor_material import (
    bytes_to_floats,
    cifar,
    cnn,
    conv1d,
    cut,
    mixed,
    mlp,
    mnist,
    momentum,
    noisy,
    normalized_cnn,
    normalized_mlp,
    relabelled,
    signals,
    table,
    with_inputs,
)

from striate import nn
from striate.data import Dataset, Standardizer
from striate.optim import SGD, Adam


def labels() -> Iterator[Case]:
    """Yield training data with wrong labels."""
    digit, digit_val = mnist()
    picture, picture_val = cifar()
    signal, signal_val = signals()
    row, row_val = table()
    yield Case(
        "labels one row off",
        "CNN 8-16",
        training(cnn(10, (8, 16)), (relabelled(digit, np.roll(digit.labels, -1)), digit_val)),
        ("labels_shifted:places",),
    )
    yield Case(
        "labels three rows off",
        "MLP 32",
        training(mlp(4, (32,)), (relabelled(row, np.roll(row.labels, 3)), row_val), epochs=5),
        ("labels_shifted:places",),
    )
    yield Case(
        "counted from 1 in training",
        "MLP 64",
        training(mlp(10, (64,)), (relabelled(digit, (digit.labels + 1) % 10), digit_val)),
        ("labels_shifted:numbers",),
    )
    order = np.array([2, 0, 3, 1])
    yield Case(
        "classes in another order",
        "MLP 32",
        training(mlp(4, (32,)), (relabelled(row, order[row.labels]), row_val), epochs=5),
        ("labels_shifted:numbers",),
    )
    yield Case(
        "labels shuffled",
        "CNN 8-16",
        training(cnn(10, (8, 16)), (relabelled(digit, mixed(digit.labels)), digit_val)),
        ("labels_shuffled",),
        by_hand=lambda s: s.anew(train_set=digit),
    )
    yield Case(
        "labels shuffled",
        "CNN BN 16-32",
        training(
            normalized_cnn(), (relabelled(picture, mixed(picture.labels)), picture_val), SGD(lr=0.005, momentum=0.9)
        ),
        ("labels_shuffled",),
        by_hand=lambda s: s.anew(train_set=picture),
    )
    yield Case(
        "all labels shuffled",
        "MLP 64",
        training(
            mlp(4, (64,)),
            (relabelled(row, mixed(row.labels)), relabelled(row_val, mixed(row_val.labels, 9))),
            epochs=12,
        ),
        ("labels_shuffled",),
        truth=row_val,
        by_hand=lambda s: s.anew(train_set=row, validation=row_val),
    )
    ordered = signal.subset(np.argsort(signal.labels, kind="stable")[:280])
    yield Case(
        "the first part of sorted data",
        "conv1d 8-16",
        training(conv1d(4, (8, 16)), (ordered, signal_val)),
        ("one_class",),
        by_hand=lambda s: s.anew(train_set=cut(signal, 280, 2)),
    )
    yield Case(
        "a wrong column as labels",
        "MLP 64",
        training(mlp(10, (64,)), (relabelled(digit, np.full(len(digit), 4)), digit_val)),
        ("one_class",),
        by_hand=lambda s: s.anew(train_set=digit),
    )


def inputs() -> Iterator[Case]:
    """Yield training data with unsuitable inputs."""
    digit, _ = mnist()
    yield Case(
        "images // 255",
        "CNN 8-16",
        training(
            cnn(10, (8, 16)),
            with_inputs(mnist(), lambda x: (x.astype(np.int64) // 256).astype(np.float32)),
            standardize=False,
        ),
        ("constant_features:all",),
        by_hand=lambda s: s.anew(
            train_set=with_inputs(mnist(), bytes_to_floats)[0], validation=with_inputs(mnist(), bytes_to_floats)[1]
        ),
    )
    yield Case(
        "raw 0 … 255", "CNN 16-32", training(cnn(10, (16, 32)), cifar(), standardize=False), ("unstandardized_input",)
    )
    yield Case(
        "raw 0 … 255",
        "MLP 64, Adam",
        training(mlp(10, (64,)), mnist(), Adam(lr=1e-2), standardize=False),
        ("unstandardized_input",),
    )
    yield Case(
        "divided by 255 twice",
        "CNN 8-16",
        training(cnn(10, (8, 16)), with_inputs(mnist(), lambda x: x.astype(np.float32) / 255 / 255), standardize=False),
        ("unstandardized_input",),
    )
    yield Case(
        "one column in other units",
        "MLP 32",
        training(
            mlp(4, (32,)),
            with_inputs(table(), lambda x: x * np.where(np.arange(16) == 5, 1000, 1)),
            standardize=False,
            epochs=5,
        ),
        ("unstandardized_input",),
    )
    yield Case(
        "an offset of 1000",
        "conv1d 8-16",
        training(conv1d(4, (8, 16)), with_inputs(signals(), lambda x: x + 1000), standardize=False, epochs=4),
        ("unstandardized_input",),
    )
    elsewhere = cnn(10, (8, 16))
    elsewhere.standardizer = Standardizer.fit(digit.images.astype(np.float32) / 255)
    yield Case(
        "standardizer of other data",
        "CNN 8-16",
        training(elsewhere, mnist(), standardize=False),
        ("unstandardized_input",),
    )
    stuck = with_inputs(signals(), lambda x: np.concatenate([x, np.full_like(x[:, :1], 400)], axis=1))
    yield Case(
        "a stuck sensor",
        "conv1d 8-16",
        training(conv1d(4, (8, 16)), stuck, standardize=False, epochs=4),
        ("constant_features",),
    )
    bias = with_inputs(table(), lambda x: np.concatenate([x, np.full_like(x[:, :2], 90)], axis=1))
    yield Case(
        "two constant columns",
        "MLP 48",
        training(mlp(4, (48,)), bias, standardize=False, epochs=5),
        ("constant_features",),
    )
    random = np.random.default_rng(2)
    chance = {id(one): random.normal(0, 1, (len(one), 1)).astype(np.float32) for one in table()}
    copied = tuple(
        Dataset(
            np.concatenate([one.images, np.repeat(chance[id(one)], 40, axis=1)], axis=1),
            one.labels,
            one.classes,
            one.name,
        )
        for one in table()
    )
    yield Case(
        "a column of chance, 40 times",
        "MLP 32",
        training(mlp(4, (32,)), (copied[0], copied[1]), epochs=5),
        ("duplicate_features",),
    )
    few = copied[0].subset(np.arange(300)), copied[1]
    yield Case(
        "a column of chance, 40 times",
        "MLP tanh 24",
        training(mlp(4, (24,), nn.Tanh, "xavier"), few, SGD(lr=0.05, momentum=0.9), epochs=12),
        ("duplicate_features",),
    )


def batches() -> Iterator[Case]:
    """Yield trainings with unsuitable batches or batch normalization."""
    digit, digit_val = mnist()
    signal, signal_val = signals()
    yield Case(
        "data sorted by class",
        "CNN BN 16-32",
        training(normalized_cnn(), (digit.subset(np.argsort(digit.labels, kind="stable")), digit_val), shuffle=False),
        ("sorted_batches",),
    )
    yield Case(
        "data sorted by class",
        "conv1d 8-16",
        training(
            conv1d(4, (8, 16)),
            (signal.subset(np.argsort(signal.labels, kind="stable")), signal_val),
            shuffle=False,
            epochs=4,
        ),
        ("sorted_batches",),
    )
    yield Case(
        "BN with momentum 0.002",
        "CNN BN 16-32",
        training(
            momentum(normalized_cnn(), 0.002),
            with_inputs(cifar(), lambda x: x.astype(np.float32) / 16),
            SGD(lr=0.002, momentum=0.9),
            standardize=False,
            epochs=2,
        ),
        ("stale_statistics:momentum",),
    )
    yield Case(
        "BN with momentum 0",
        "conv1d BN",
        training(
            momentum(conv1d(4, (8, 16), nn.ReLU, "he", lambda: nn.BatchNorm1d(None)), 0.0),
            with_inputs(signals(), lambda x: 4 * x + 2),
            standardize=False,
            epochs=3,
        ),
        ("stale_statistics:momentum",),
    )
    yield Case(
        "BN with ε = 100",
        "MLP BN σ 6×64",
        training(momentum(normalized_mlp(10, (64,) * 6, nn.Sigmoid), 0.1, 100.0), mnist(), SGD(lr=0.05, momentum=0.9)),
        ("idle_normalization:epsilon",),
    )
    yield Case(
        "BN with ε = 30",
        "CNN BN 16-32",
        training(momentum(normalized_cnn(), 0.1, 30.0), cifar(), SGD(lr=0.01, momentum=0.9)),
        ("idle_normalization:epsilon",),
    )


def generalization() -> Iterator[Case]:
    """Yield trainings that learn by heart, or whose validation data are no independent test."""
    picture, picture_val = cifar()
    row, row_val = table()
    yield Case(
        "over-fitting",
        "MLP 256",
        training(mlp(10, (256,)), (cut(picture, 400, 1), picture_val), Adam(lr=1e-3), epochs=25),
        ("overfitting",),
        "loss",
    )
    yield Case(
        "over-fitting",
        "MLP 128-128",
        training(mlp(4, (128, 128)), (noisy(cut(row, 200, 1), 0.3), row_val), Adam(lr=3e-3), epochs=30),
        ("overfitting",),
        "loss",
    )
    leaked = Dataset(
        np.concatenate([picture_val.images, picture.images[:250]]),
        np.concatenate([picture_val.labels, picture.labels[:250]]),
        picture.classes,
        "cifar10",
    )
    yield Case(
        "training pictures in validation",
        "MLP 256",
        training(mlp(10, (256,)), (picture, leaked), Adam(lr=1e-3), epochs=10),
        ("leakage",),
        "honesty",
        picture_val,
    )
    near = Dataset(
        np.concatenate(
            [
                row_val.images[:300],
                row.images[:300] + np.random.default_rng(1).normal(0, 0.02, (300, 16)).astype(np.float32),
            ]
        ),
        np.concatenate([row_val.labels[:300], row.labels[:300]]),
        row.classes,
        "table",
    )
    yield Case(
        "augmented before the split",
        "MLP 128-128",
        training(mlp(4, (128, 128)), (row, near), Adam(lr=3e-3), epochs=15),
        ("leakage",),
        "honesty",
        row_val,
    )
