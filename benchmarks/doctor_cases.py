"""The cases of the doctor's benchmark: healthy trainings, and trainings with a planted fault.

The rules were developed on the first part (digits) and are judged by the second (MNIST, CIFAR-10, signals, tables;
other networks and seeds).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from doctor_material import (
    Comparing,
    Forgetful,
    SoftmaxInside,
    biased,
    cifar,
    cnn,
    conv1d,
    cut,
    digits,
    last,
    mixed,
    mlp,
    mnist,
    momentum,
    noisy,
    relabelled,
    residual,
    signals,
    table,
)

import striate as st
from striate import nn, optim
from striate.data import Dataset, Standardizer
from striate.doctor import Setup
from striate.nn.initialization import scaled_normal

Array = np.ndarray[Any, Any]
SEED = 3


@dataclass(frozen=True)
class Own:
    """The data of a hand-written training loop: x and y for training, ``held_x`` and ``held_y`` for the metric.

    score      "accuracy" or "balanced" (mean accuracy of both classes) for labels 0 and 1,
               or "loss", the mean squared error divided by the variance of the targets
    threshold  an output above it means label 1
    """

    x: Array
    y: Array
    held_x: Array
    held_y: Array
    score: str = "loss"
    threshold: float = 0.0


@dataclass(frozen=True)
class Case:
    """A training with a fault, or a healthy one if ``expected``, the accepted findings, is empty.

    ``metric`` is "accuracy", "balanced", "loss" or "honesty" (how well validation predicts the accuracy on ``truth``);
    ``truth`` replaces the validation set for judging; ``by_hand`` is the remedy if the doctor's cannot be applied
    automatically.
    """

    name: str
    network: str
    setup: Setup
    expected: tuple[str, ...] = ()
    metric: str = "accuracy"
    truth: Dataset | None = None
    by_hand: Callable[[Setup], Setup] | None = None
    own: Own | None = None  # the data of a hand-written training loop
    cured_own: Own | None = None  # its data after the remedy, if that changes them
    data: str = ""

    @property
    def data_name(self) -> str:
        """The name of the training data, for the table."""
        return self.data or (self.setup.train_set.name if self.setup.train_set else "numbers")


def training(
    model: nn.Module, data: tuple[Dataset, Dataset], optimizer: optim.Optimizer | None = None, *, standardize: bool = True,
    loss: nn.Loss | None = None, epochs: int = 3, batch_size: int = 32, shuffle: bool = True, seed: int = SEED,
) -> Setup:  # fmt: skip
    """Return a setup for a training, with default values for everything that is not given."""
    train_set, validation = data
    if standardize:
        model.standardizer = Standardizer.fit(train_set.images)
    rule = optimizer or optim.SGD(lr=0.02, momentum=0.9)
    return Setup(model, loss or nn.CrossEntropyLoss(), rule, train_set, validation, batch_size, epochs, seed, shuffle)


# The development part: digits


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


# The judged part


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


def normalized_mlp(classes: int, widths: tuple[int, ...], act: Callable[[], nn.Module]) -> nn.Sequential:
    """Build an MLP with batch normalization before each activation."""
    layers: list[nn.Module] = [nn.Flatten()]
    for width in widths:
        layers += [nn.Linear(None, width), nn.BatchNorm1d(width), act()]
    return nn.Sequential(*layers, nn.Linear(None, classes))


def regression() -> Own:
    """Return data for the regression y = sin 2x₁ + x₂ x₃ + noise, with the last quarter held out."""
    random = np.random.default_rng(6)
    x = random.normal(0, 1, (1600, 6))
    y = np.sin(2 * x[:, :1]) + x[:, 1:2] * x[:, 2:3] + random.normal(0, 0.1, (1600, 1))
    x, y = x.astype(np.float32), y.astype(np.float32)
    return Own(x[:1200], y[:1200], x[1200:], y[1200:])


def numbers_setup(model: nn.Module, optimizer: optim.Optimizer | None = None) -> Setup:
    """Return the setup for a regression: mean squared error, 6 epochs, and by default SGD with momentum."""
    return Setup(model, nn.MSELoss(), optimizer or optim.SGD(lr=0.02, momentum=0.9), epochs=6, seed=SEED)


def with_inputs(data: tuple[Dataset, Dataset], change: Callable[[Array], Array]) -> tuple[Dataset, Dataset]:
    """Return both data sets with inputs replaced by ``change(inputs)``."""
    ours, theirs = (Dataset(change(one.images), one.labels, one.classes, one.name) for one in data)
    return ours, theirs


def bytes_to_floats(images: Array) -> Array:
    """Convert bytes to float32 from 0 to 1."""
    return images.astype(np.float32) / 255


def faults() -> Iterator[Case]:
    """Yield faulty trainings on data and networks on which the rules were not developed.

    There are at least two cases of each kind of fault, if possible.
    """
    sgd, adam = optim.SGD, optim.Adam
    digit, digit_val = mnist()
    picture, picture_val = cifar()
    signal, signal_val = signals()
    row, row_val = table()

    def conv_bn() -> nn.Sequential:
        return cnn(10, (16, 32), nn.ReLU, "he", lambda: nn.BatchNorm2d(None))

    # Gradients
    vanishing = ("vanishing_gradients:activation",)
    yield Case(
        "sigmoid chain",
        "MLP σ 9×48",
        training(mlp(10, (48,) * 9, nn.Sigmoid, "torch"), mnist(), sgd(lr=0.1, momentum=0.9)),
        vanishing,
    )
    yield Case(
        "sigmoid convolutions",
        "CNN σ 7×12",
        training(cnn(10, (12,) * 7, nn.Sigmoid, "xavier", pool_every=3), cifar(), sgd(lr=0.05, momentum=0.9)),
        vanishing,
    )
    yield Case(
        "sigmoid chain",
        "MLP σ 8×32",
        training(mlp(4, (32,) * 8, nn.Sigmoid, "xavier"), table(), sgd(lr=0.1, momentum=0.9), epochs=5),
        vanishing,
    )
    yield Case(
        "ReLU, small start",
        "MLP 14×48",
        training(mlp(10, (48,) * 14, nn.ReLU, "torch"), mnist(), sgd(lr=0.02, momentum=0.9)),
        ("vanishing_gradients:initialization", "dead_units:weak signal"),
    )
    yield Case(
        "tanh, small start",
        "MLP tanh 10×40",
        training(mlp(4, (40,) * 10, nn.Tanh, scaled_normal(0.3)), table(), sgd(lr=0.05, momentum=0.9), epochs=5),
        ("vanishing_gradients:initialization",),
    )
    yield Case(
        "leaky ReLU, small start",
        "CNN 6×16",
        training(
            cnn(10, (16,) * 6, lambda: nn.LeakyReLU(0.1), scaled_normal(0.25), pool_every=2),
            cifar(),
            sgd(lr=0.02, momentum=0.9),
        ),
        ("vanishing_gradients:initialization",),
    )
    exploding = ("exploding_gradients",)
    yield Case(
        "ReLU, large start",
        "MLP 9×32",
        training(mlp(4, (32,) * 9, nn.ReLU, scaled_normal(4.0)), table(), sgd(lr=0.02, momentum=0.9), epochs=5),
        exploding,
    )
    yield Case(
        "leaky ReLU, large start",
        "CNN 6×12",
        training(
            cnn(10, (12,) * 6, lambda: nn.LeakyReLU(0.2), scaled_normal(8.0), pool_every=2), mnist(), adam(lr=1e-3)
        ),
        exploding,
    )
    # Units
    too_high = ("learning_rate_too_high", "dead_units:learning rate", "saturated_units:learning rate")
    yield Case(
        "ReLU, rate too high", "CNN 16-32", training(cnn(10, (16, 32)), mnist(), sgd(lr=1.0, momentum=0.9)), too_high
    )
    yield Case(
        "ReLU, rate too high",
        "conv1d 12-24",
        training(conv1d(4, (12, 24)), signals(), adam(lr=0.3), epochs=5),
        too_high,
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
        training(conv1d(4, (12, 24), nn.Sigmoid, scaled_normal(40.0)), signals(), adam(lr=2e-3), epochs=5),
        saturated,
    )
    # The learning rate
    yield Case("BN, rate too high", "CNN BN 16-32", training(conv_bn(), cifar(), sgd(lr=20.0, momentum=0.9)), too_high)
    yield Case(
        "Adam, rate too high", "MLP 48-48", training(mlp(4, (48, 48)), table(), adam(lr=1.0), epochs=4), too_high
    )
    yield Case(
        "tanh, rate too high",
        "MLP tanh 64",
        training(mlp(10, (64,), nn.Tanh, "xavier"), mnist(), sgd(lr=5.0, momentum=0.9)),
        too_high,
    )
    yield Case(
        "SGD, rate too low",
        "first_cnn",
        training(st.models.first_cnn(filters=8), mnist(), sgd(lr=1e-6)),
        ("learning_rate_too_low",),
    )
    yield Case(
        "Adam, rate too low",
        "conv1d 12-24",
        training(conv1d(4, (12, 24)), signals(), adam(lr=1e-7), epochs=4),
        ("learning_rate_too_low",),
    )
    # The end of the network
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
            mlp(4, (64, 64)), table(), sgd(lr=0.02, momentum=0.9), loss=nn.CrossEntropyLoss(reduction="sum"), epochs=3
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
        training(mlp(4, (16,)), (rare, rare_val), sgd(lr=0.002, momentum=0.9), epochs=4),
        ("constant_predictions:imbalance",),
        "balanced",
    )
    # Labels
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
        training(conv_bn(), (relabelled(picture, mixed(picture.labels)), picture_val), sgd(lr=0.005, momentum=0.9)),
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
    # Inputs
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
        training(mlp(10, (64,)), mnist(), adam(lr=1e-2), standardize=False),
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
        training(mlp(4, (24,), nn.Tanh, "xavier"), few, sgd(lr=0.05, momentum=0.9), epochs=12),
        ("duplicate_features",),
    )
    # Batches and normalization
    yield Case(
        "data sorted by class",
        "CNN BN 16-32",
        training(conv_bn(), (digit.subset(np.argsort(digit.labels, kind="stable")), digit_val), shuffle=False),
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
            momentum(conv_bn(), 0.002),
            with_inputs(cifar(), lambda x: x.astype(np.float32) / 16),
            sgd(lr=0.002, momentum=0.9),
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
        training(momentum(normalized_mlp(10, (64,) * 6, nn.Sigmoid), 0.1, 100.0), mnist(), sgd(lr=0.05, momentum=0.9)),
        ("idle_normalization:epsilon",),
    )
    yield Case(
        "BN with ε = 30",
        "CNN BN 16-32",
        training(momentum(conv_bn(), 0.1, 30.0), cifar(), sgd(lr=0.01, momentum=0.9)),
        ("idle_normalization:epsilon",),
    )
    # Generalization
    yield Case(
        "over-fitting",
        "MLP 256",
        training(mlp(10, (256,)), (cut(picture, 400, 1), picture_val), adam(lr=1e-3), epochs=25),
        ("overfitting",),
        "loss",
    )
    yield Case(
        "over-fitting",
        "MLP 128-128",
        training(mlp(4, (128, 128)), (noisy(cut(row, 200, 1), 0.3), row_val), adam(lr=3e-3), epochs=30),
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
        training(mlp(10, (256,)), (picture, leaked), adam(lr=1e-3), epochs=10),
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
        training(mlp(4, (128, 128)), (row, near), adam(lr=3e-3), epochs=15),
        ("leakage",),
        "honesty",
        row_val,
    )
    # Connections
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
    # Numbers
    yield Case(
        "regression, rate too high",
        "MLP 32-32",
        numbers_setup(mlp(1, (32, 32)), sgd(lr=1.0, momentum=0.9)),
        ("learning_rate_too_high", "dead_units:learning rate"),
        "loss",
        own=regression(),
        data="numbers",
    )
    yield Case(
        "regression, rate too low",
        "MLP tanh 32",
        numbers_setup(mlp(1, (32,), nn.Tanh, "xavier"), sgd(lr=1e-6)),
        ("learning_rate_too_low",),
        "loss",
        own=regression(),
        data="numbers",
    )
