"""Cases from public reports: problems from forums and issue trackers, with the causes that were found.

Only the situation is taken from a report; the networks and data are small ones made for this benchmark. Each case has a
control: the same training without the fault, on which the doctor must report nothing.

Half of the cases are held back. They were drawn with ``SEED`` from the names in alphabetical order before any rules
were written for these cases, and used for the first time when the rules were finished.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from doctor_case import Case, Own, training
from doctor_material import cifar, cnn, conv1d, mixed, mlp, momentum, normalized_mlp, relabelled, signals
from doctor_wild_material import (
    BinaryCrossEntropy,
    BinaryCrossEntropyOfScores,
    Listed,
    Rounding,
    SoftmaxInForward,
    SquaredError,
    as_floats,
    bits,
    blobs,
    changed,
    constant,
    handwriting,
    head,
    houses,
    lamps,
    normal,
    numbers_of,
    rare,
    small_digits,
    started,
    sums,
    two_of,
    windows,
)

from striate import nn, optim
from striate.data import Dataset, Standardizer
from striate.doctor import Setup

Array = np.ndarray[Any, Any]
Pair = tuple[Dataset, Dataset]
SEED = 1128
GITHUB = "https://github.com/"


@dataclass(frozen=True)
class Wild:
    """A case from a public report, the address of the report, and the same training without the fault."""

    source: str
    case: Case
    control: Case


def held_back(names: list[str]) -> set[str]:
    """Return the half of the names that is held back, drawn at random with a fixed seed."""
    ordered = sorted(names)
    chosen = np.random.default_rng(SEED).permutation(len(ordered))[: len(ordered) // 2]
    return {ordered[int(i)] for i in chosen}


def wild() -> Iterator[Wild]:
    """Yield all cases from public reports."""
    for group in (ends, splits, inputs, normalizations, labels, imbalances, rates, starts, targets, connections):
        yield from group()


def pair(
    source: str, name: str, network: str, fault: Setup, well: Setup, expected: tuple[str, ...], *,
    metric: str = "accuracy", truth: Dataset | None = None, by_hand: Callable[[Setup], Setup] | None = None,
) -> Wild:  # fmt: skip
    """Return a case trained by ``st.Trainer``, and its control."""
    case = Case(name, network, fault, expected, metric, truth, by_hand)
    return Wild(source, case, Case(f"control of: {name}", network, well, metric=metric))


def own(
    source: str, name: str, network: str, fault: Setup, well: Setup, expected: tuple[str, ...], data: Own, *,
    good: Own | None = None, cured: Own | None = None, metric: str = "accuracy",
    by_hand: Callable[[Setup], Setup] | None = None,
) -> Wild:  # fmt: skip
    """Return a case trained by a hand-written loop, with a custom loss or numeric targets, and its control."""
    case = Case(name, network, fault, expected, metric, None, by_hand, data, cured)
    return Wild(source, case, Case(f"control of: {name}", network, well, metric=metric, own=good or data))


def loop(model: nn.Module, loss: nn.Loss, optimizer: optim.Optimizer | None = None, epochs: int = 6) -> Setup:
    """Return the setup for a hand-written training loop, by default with Adam and 6 epochs."""
    return Setup(model, loss, optimizer or optim.Adam(lr=3e-3), epochs=epochs, seed=4, batch_size=32)


def binary(data: Pair, threshold: float, score: str = "accuracy") -> Own:
    """Return the data for a hand-written loop, with the labels 0 and 1 as floats (N, 1)."""
    (x, y), (held_x, held_y) = numbers_of(data[0]), numbers_of(data[1])
    return Own(x, y, held_x, held_y, score, threshold)


# The end of the network


def ends() -> Iterator[Wild]:
    """Yield cases with softmax or activations before the loss."""
    rows = two_of(blobs(spread=1.0))
    one = (nn.Linear(24, 1),)
    yield own(
        "https://stackguides.com/questions/46620813/keras-lstm-model-not-learning-binary-sequence",
        "softmax over one unit, own BCE", "MLP 24",
        loop(head(*one, nn.Softmax()), BinaryCrossEntropy()), loop(head(*one, nn.Sigmoid()), BinaryCrossEntropy()),
        ("one_output",), binary(rows, 0.5),
    )  # fmt: skip

    def waves(end: nn.Module) -> nn.Sequential:
        return nn.Sequential(
            conv1d(12, (8, 12), lambda: nn.LeakyReLU(0.1), "he", lambda: nn.BatchNorm1d(None)),
            nn.BatchNorm1d(12), nn.LeakyReLU(0.1), nn.Linear(12, 1), end,
        )  # fmt: skip

    yield own(
        "https://techfeed.net/es/456718/", "softmax over one unit, MSE", "conv1d BN 8-12",
        loop(waves(nn.Softmax()), SquaredError()), loop(waves(nn.Sigmoid()), SquaredError()),
        ("one_output",), binary(bits(), 0.5),
    )  # fmt: skip
    yield pair(
        "https://boohere.com/ru/detail/80265.html", "one output for two classes", "MLP 24",
        training(head(*one, nn.Softmax()), rows), training(head(nn.Linear(24, 2)), rows), ("one_output",),
    )  # fmt: skip
    yield pair(
        GITHUB + "doronharitan/human_activity_recognition_LRCN/issues/4", "softmax before the loss", "CNN 16-16",
        training(nn.Sequential(cnn(3, (16, 16)), nn.Softmax()), lamps(), epochs=4),
        training(cnn(3, (16, 16)), lamps(), epochs=4), ("softmax_twice",), metric="loss",
    )  # fmt: skip
    yield pair(
        GITHUB + "vinhkhuc/PyTorch-Mini-Tutorials/issues/1", "softmax in forward", "MLP 48",
        training(SoftmaxInForward(10), small_digits(), optim.SGD(lr=0.05, momentum=0.9), epochs=4),
        training(SoftmaxInForward(10, True), small_digits(), optim.SGD(lr=0.05, momentum=0.9), epochs=4),
        ("softmax_twice",), metric="loss",
        by_hand=lambda s: s.anew(model=training(SoftmaxInForward(10, True), small_digits()).model),
    )  # fmt: skip
    yield pair(
        GITHUB + "pytorch/examples/pull/117", "a ReLU after the last layer", "CNN 8-16",
        training(nn.Sequential(cnn(10, (8, 16)), nn.ReLU()), handwriting(), epochs=4),
        training(cnn(10, (8, 16)), handwriting(), epochs=4), ("bounded_outputs",), metric="loss",
    )  # fmt: skip
    yield pair(
        GITHUB + "martinwicke/tf-dev-summit-tensorboard-tutorial/issues/3", "a ReLU after the last dense layer",
        "MLP 64-32",
        training(nn.Sequential(mlp(10, (64, 32)), nn.ReLU()), small_digits(), optim.Adam(lr=2e-3), epochs=6),
        training(mlp(10, (64, 32)), small_digits(), optim.Adam(lr=2e-3), epochs=6), ("bounded_outputs",), metric="loss",
    )  # fmt: skip


# Splits of the data


def tail(data: Dataset, share: float) -> Pair:
    """Split off the last fraction ``share`` of the data for validation, in their given order."""
    cutoff = round(len(data) * (1 - share))
    return data.subset(np.arange(cutoff)), data.subset(np.arange(cutoff, len(data)))


def mixed_tail(data: Dataset, share: float) -> Pair:
    """Split off a fraction ``share`` of the data for validation, after shuffling."""
    return tail(data.subset(np.random.default_rng(61).permutation(len(data))), share)


def in_order(data: Dataset) -> Dataset:
    """Return the data sorted by class."""
    return data.subset(np.argsort(data.labels, kind="stable"))


def splits() -> Iterator[Wild]:
    """Yield cases about the choice of validation data and the order of training data."""
    pictures, held = handwriting()
    five = pictures.subset(pictures.labels < 5)
    five = in_order(Dataset(five.images, five.labels, tuple("01234"), "mnist"))
    truth = held.subset(held.labels < 5)
    truth = Dataset(truth.images, truth.labels, tuple("01234"), "mnist")
    yield pair(
        GITHUB + "keras-team/keras/issues/8346", "the last fifth of sorted classes", "CNN 8-16",
        training(cnn(5, (8, 16)), tail(five, 0.2), epochs=4),
        training(cnn(5, (8, 16)), mixed_tail(five, 0.2), epochs=4),
        ("sorted_split",), truth=truth,
    )  # fmt: skip
    rows = in_order(blobs(spread=1.8)[0])
    yield pair(
        GITHUB + "keras-team/keras/issues/796", "a validation set of one class", "MLP 24",
        training(mlp(4, (24,)), tail(rows, 0.15)), training(mlp(4, (24,)), mixed_tail(rows, 0.15)),
        ("sorted_split",), metric="honesty", truth=blobs(spread=1.8)[1],
    )  # fmt: skip
    yield pair(
        GITHUB + "Deci-AI/super-gradients/issues/416", "batches of one class", "CNN BN 12-24",
        training(
            cnn(10, (12, 24), nn.ReLU, "he", lambda: nn.BatchNorm2d(None)), (in_order(pictures), held), shuffle=False
        ),
        training(cnn(10, (12, 24), nn.ReLU, "he", lambda: nn.BatchNorm2d(None)), handwriting()), ("sorted_batches",),
    )  # fmt: skip
    digits, digits_held = small_digits()
    yield pair(
        GITHUB + "zalandoresearch/fashion-mnist/pull/5", "data sorted by label", "MLP 48",
        training(mlp(10, (48,)), (in_order(digits), digits_held), optim.Adam(lr=2e-3), shuffle=False),
        training(mlp(10, (48,)), (digits, digits_held), optim.Adam(lr=2e-3), shuffle=False), ("sorted_batches",),
    )  # fmt: skip
    series = windows(62, 6000, 6)
    random_split = np.random.default_rng(63).permutation(len(series))
    cutoff = len(series) * 3 // 4
    elsewhere = windows(64, 3000, 48)
    yield pair(
        GITHUB + "tongdaxu/EEG_Emotion_Classifier_DEAP/issues/1", "overlapping windows on both sides", "MLP 128-128",
        training(
            mlp(3, (128, 128)), (series.subset(random_split[:cutoff]), series.subset(random_split[cutoff:])),
            optim.Adam(lr=3e-3), epochs=15,
        ),
        training(conv1d(3, (12, 24)), (windows(62, 6000, 24), windows(65, 2500, 24)), epochs=4),
        ("leakage",), metric="honesty", truth=elsewhere, by_hand=lambda s: s.anew(validation=windows(65, 2500, 48)),
    )  # fmt: skip
    copies = Dataset(
        np.concatenate([held.images, pictures.images[:12]]), np.concatenate([held.labels, pictures.labels[:12]]),
        held.classes, "mnist",
    )  # fmt: skip
    yield pair(
        GITHUB + "zalandoresearch/fashion-mnist/issues/44", "a few copies on both sides", "MLP 96",
        training(mlp(10, (96,)), (pictures, copies), optim.Adam(lr=2e-3), epochs=5),
        training(mlp(10, (96,)), (pictures, held), optim.Adam(lr=2e-3), epochs=5),
        ("leakage",), metric="honesty", truth=held,
    )  # fmt: skip
    photographs, photographs_held = cifar()
    photographs = photographs.subset(np.arange(600))
    yield pair(
        GITHUB + "stefyste/RIAWELC/issues/2", "a test set out of the training set", "MLP 96",
        training(
            mlp(10, (96,)), (photographs, photographs.subset(np.arange(100, 400))), optim.Adam(lr=1e-3), epochs=10
        ),
        training(mlp(10, (96,)), (photographs, photographs_held), optim.Adam(lr=1e-3), epochs=3),
        ("leakage",), metric="honesty", truth=photographs_held,
        by_hand=lambda s: s.anew(validation=photographs_held.subset(np.arange(300))),
    )  # fmt: skip
    random = np.random.default_rng(66)
    bright = photographs.images[:, None].astype(np.float32) * random.uniform(0.85, 1.1, (600, 3, 1, 1, 1))
    augmented = (bright + random.normal(0, 4, bright.shape)).clip(0, 255).astype(np.uint8).reshape(-1, 3, 32, 32)
    copies_of = Dataset(augmented, np.repeat(photographs.labels, 3), photographs.classes, "cifar10")
    yield pair(
        GITHUB + "robinreni96/Font_Recognition-DeepFont/issues/2", "augmented, then divided", "MLP 96",
        training(mlp(10, (96,)), mixed_tail(copies_of, 0.2), optim.Adam(lr=1e-3), epochs=8),
        training(mlp(10, (96,)), (copies_of, photographs_held), optim.Adam(lr=1e-3), epochs=2),
        ("leakage",), metric="honesty", truth=photographs_held,
        by_hand=lambda s: s.anew(train_set=copies_of, validation=photographs_held.subset(np.arange(300))),
    )  # fmt: skip


# Inputs


def inputs() -> Iterator[Wild]:
    """Yield cases about scale, polarity and channels of inputs."""
    pictures, held = handwriting()
    unit, unit_held = as_floats((pictures, held))
    by_rate = optim.SGD(lr=0.05, momentum=0.9)
    yield pair(
        GITHUB + "mlpack/examples/pull/213", "test pictures not divided by 255", "MLP tanh 64",
        training(
            mlp(10, (64,), nn.Tanh, "xavier"), (unit, as_floats((held, held), 1.0)[0]), by_rate, standardize=False,
            epochs=3,
        ),
        training(mlp(10, (64,), nn.Tanh, "xavier"), (unit, unit_held), by_rate, standardize=False, epochs=3),
        ("other_inputs:scale",), metric="loss",
    )  # fmt: skip
    photographs, photographs_held = cifar()
    fit = Standardizer.fit(photographs.images)
    normalized = changed(photographs, fit.transform), changed(photographs_held, fit.transform)
    yield pair(
        GITHUB + "JeasunLok/ResNet-pytorch/issues/1", "normalized in training only", "CNN BN 12-24",
        training(
            cnn(10, (12, 24), nn.ReLU, "he", lambda: nn.BatchNorm2d(None)),
            (normalized[0], as_floats(cifar())[1]), optim.SGD(lr=0.01, momentum=0.9), standardize=False, epochs=3,
        ),
        training(
            cnn(10, (12, 24), nn.ReLU, "he", lambda: nn.BatchNorm2d(None)), normalized,
            optim.SGD(lr=0.01, momentum=0.9), standardize=False, epochs=3,
        ),
        ("other_inputs:scale", "other_inputs:offset"),
    )  # fmt: skip
    small, small_held = small_digits()
    yield pair(
        GITHUB + "MichalBusta/DeepTextSpotter/issues/19", "validation from 0 to 1 for a model of 0 to 255", "CNN 8-16",
        training(cnn(10, (8, 16)), (small, as_floats((small_held, small_held))[0]), epochs=5),
        training(cnn(10, (8, 16)), (small, small_held), epochs=5), ("other_inputs:scale",),
    )  # fmt: skip
    rows, rows_held = blobs()
    units = changed(rows, lambda x: 12 * x + 40), changed(rows_held, lambda x: 12 * x + 40)
    z = Standardizer.fit(units[0].images)
    yield pair(
        GITHUB + "Reza-Safdari/SimSiam-91.9-top1-acc-on-CIFAR10/issues/4", "training features normalized alone",
        "MLP 24",
        training(mlp(4, (24,)), (changed(units[0], z.transform), units[1]), standardize=False, epochs=4),
        training(mlp(4, (24,)), (changed(units[0], z.transform), changed(units[1], z.transform)), standardize=False),
        ("other_inputs:scale", "other_inputs:offset"),
    )  # fmt: skip
    yield pair(
        "https://example-a.com/answer/78029738", "dark on bright for bright on dark", "MLP 96",
        training(mlp(10, (96,)), (pictures, changed(held, lambda x: 255 - x)), optim.Adam(lr=2e-3), epochs=4),
        training(mlp(10, (96,)), (pictures, held), optim.Adam(lr=2e-3), epochs=4), ("other_inputs:polarity",),
    )  # fmt: skip
    top = float(small.images.max())
    yield pair(
        "https://newbedev.com/improve-real-life-results-of-neural-network-trained-with-mnist-dataset",
        "white paper, black ink", "CNN 8-16",
        training(cnn(10, (8, 16)), (small, changed(small_held, lambda x: (top - x).astype(x.dtype))), epochs=4),
        training(cnn(10, (8, 16)), (small, small_held), epochs=4), ("other_inputs:polarity",),
    )  # fmt: skip
    backwards = changed(photographs_held, lambda x: x[:, ::-1])
    yield pair(
        GITHUB + "xiaochus/YOLOv3/issues/22", "blue, green, red for photographs", "CNN 16-32",
        training(cnn(10, (16, 32)), (photographs, backwards), optim.Adam(lr=2e-3), epochs=6),
        training(cnn(10, (16, 32)), cifar(), optim.Adam(lr=2e-3), epochs=4), ("other_inputs:channels",),
    )  # fmt: skip
    lamp, lamp_held = lamps()
    yield pair(
        GITHUB + "udacity/sdc-issue-reports/issues/623", "blue, green, red for lamps", "CNN 8-8",
        training(cnn(3, (8, 8)), (lamp, changed(lamp_held, lambda x: x[:, ::-1])), epochs=5),
        training(cnn(3, (8, 8)), lamps(), epochs=5), ("other_inputs:channels",),
    )  # fmt: skip
    twice = as_floats(handwriting(), 1 / 255 / 255)
    yield pair(
        GITHUB + "pkmital/pycadl/pull/5", "divided by 255 twice", "MLP 64",
        training(mlp(10, (64,)), twice, by_rate, standardize=False), training(mlp(10, (64,)), twice, by_rate),
        ("unstandardized_input",),
    )  # fmt: skip
    ragged = np.array([1, 1e5, 1, 30, 1, 1, 2e3, 1, 1, 1], np.float32)
    columns = changed(rows, lambda x: x * ragged), changed(rows_held, lambda x: x * ragged)
    yield pair(
        GITHUB + "hammad93/hurricane-net/issues/1", "columns of any scale", "MLP 32-32",
        training(mlp(4, (32, 32)), columns, optim.Adam(lr=1e-3), standardize=False, epochs=4),
        training(mlp(4, (32, 32)), columns, optim.Adam(lr=3e-3), epochs=4), ("unstandardized_input",),
    )  # fmt: skip
    yield pair(
        "http://pullrequest.ru/10248037/cnn-keras-shodyatsya-odnomu-tomu-zhe-znacheniy-nezavisimo-vvoda",
        "pictures of 0 to 255", "CNN 16-16",
        training(cnn(3, (16, 16)), lamps(), by_rate, standardize=False, epochs=4),
        training(cnn(3, (16, 16)), lamps(), optim.SGD(lr=0.02, momentum=0.9), epochs=4), ("unstandardized_input",),
    )  # fmt: skip
    flat = [changed(one, lambda x: np.concatenate([x, np.full_like(x[:, :1], -250)], axis=1)) for one in blobs()]
    yield pair(
        GITHUB + "dreamquark-ai/tabnet/issues/515", "a column without variance", "MLP 32",
        training(mlp(4, (32,)), (flat[0], flat[1]), standardize=False, epochs=4),
        training(mlp(4, (32,)), (flat[0], flat[1]), epochs=4), ("constant_features",),
    )  # fmt: skip


# Normalization


def normalizations() -> Iterator[Wild]:
    """Yield cases about the running statistics of batch normalization."""

    def bn(channels: tuple[int, ...], classes: int = 10) -> nn.Sequential:
        return cnn(classes, channels, nn.ReLU, "he", lambda: nn.BatchNorm2d(None))

    pictures, held = handwriting()
    few = pictures.subset(np.arange(640))
    yield pair(
        GITHUB + "keras-team/keras/issues/10666", "momentum 0.01 and few steps", "CNN BN 8-16",
        training(momentum(bn((8, 16)), 0.01), (few, held), optim.SGD(lr=0.05, momentum=0.9), epochs=1, batch_size=20),
        training(bn((8, 16)), (few, held), epochs=4), ("stale_statistics",),
    )  # fmt: skip
    waves = signals()
    moved = changed(waves[0], lambda x: 3 * x + 1), changed(waves[1], lambda x: 3 * x + 1)
    yield pair(
        GITHUB + "Cadene/pretrained-models.pytorch/issues/5", "momentum 0", "conv1d BN 12-24",
        training(
            momentum(conv1d(4, (12, 24), nn.ReLU, "he", lambda: nn.BatchNorm1d(None)), 0.0),
            moved, standardize=False, epochs=3,
        ),
        training(
            conv1d(4, (12, 24), nn.ReLU, "he", lambda: nn.BatchNorm1d(None)),
            moved, standardize=False, epochs=3,
        ),
        ("stale_statistics",),
    )  # fmt: skip
    wide = nn.Sequential(
        nn.Linear(None, 64, init=normal(3.0)), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 64, init=normal(3.0)),
        nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 4),
    )  # fmt: skip
    rows, rows_held = (changed(one, lambda x: x + 4) for one in blobs(spread=1.0))
    yield pair(
        GITHUB + "chemprop/chemprop/issues/607", "a dozen steps from 0 and 1", "MLP BN 64-64",
        training(
            wide, (rows.subset(np.arange(192)), rows_held), optim.SGD(lr=0.05, momentum=0.9), epochs=2,
            standardize=False,
        ),
        training(wide, (rows, rows_held), optim.SGD(lr=0.01, momentum=0.9), epochs=4, standardize=False),
        ("stale_statistics",),
        by_hand=lambda s: s.anew(epochs=8),
    )  # fmt: skip
    digits, digits_held = small_digits()
    by_sgd = optim.SGD(lr=0.02, momentum=0.9)
    yield pair(
        GITHUB + "eriklindernoren/PyTorch-YOLOv3/issues/230", "momentum 0.95 and batches of 4", "MLP BN 64-64",
        training(momentum(normalized_mlp(10, (64, 64), nn.ReLU), 0.95), (digits, digits_held), by_sgd, batch_size=4),
        training(normalized_mlp(10, (64, 64), nn.ReLU), (digits, digits_held), by_sgd, batch_size=32),
        ("stale_statistics",), metric="loss",
    )  # fmt: skip


# Labels


def labels() -> Iterator[Wild]:
    """Yield cases whose labels do not belong to their inputs, or are numbered differently."""
    digits, digits_held = small_digits()
    yield pair(
        GITHUB + "keras-team/keras/pull/7520", "labels in the order of a folder", "CNN 8-16",
        training(cnn(10, (8, 16)), (relabelled(digits, mixed(digits.labels, 71)), digits_held), epochs=4),
        training(cnn(10, (8, 16)), (digits, digits_held), epochs=4), ("labels_shuffled",),
        by_hand=lambda s: s.anew(train_set=digits),
    )  # fmt: skip
    rows, rows_held = blobs(12)
    as_text = np.array([sorted(range(12), key=str).index(k) for k in range(12)])
    yield pair(
        GITHUB + "modestyachts/ImageNetV2/issues/10", "folders sorted as text", "MLP 48",
        training(mlp(12, (48,)), (rows, relabelled(rows_held, as_text[rows_held.labels])), epochs=5),
        training(mlp(12, (48,)), (rows, rows_held), epochs=5), ("labels_shifted:numbers",),
    )  # fmt: skip
    waves, waves_held = signals()
    without = waves_held.subset(waves_held.labels != 1)
    # Classes with names are matched by name; the case is one of labels that are numbers alone.
    numbered = Dataset(waves.images, waves.labels, ("0", "1", "2", "3"), "signals")
    fewer = Dataset(without.images, np.array([0, 9, 1, 2])[without.labels], ("0", "1", "2"), "signals")
    yield pair(
        GITHUB + "ultralytics/ultralytics/issues/13936", "a class missing in validation moves the others",
        "conv1d 12-24",
        training(conv1d(4, (12, 24)), (numbered, fewer), epochs=4),
        training(conv1d(4, (12, 24)), (waves, without), epochs=4), ("labels_shifted:numbers",),
    )  # fmt: skip
    pictures, held = handwriting()
    twice = np.random.default_rng(72).permutation(len(pictures))[:90]
    other = (pictures.labels[twice] + np.random.default_rng(73).integers(1, 10, 90)) % 10
    both = Dataset(
        np.concatenate([pictures.images, pictures.images[twice]]), np.concatenate([pictures.labels, other]),
        pictures.classes, "mnist",
    )  # fmt: skip
    yield pair(
        GITHUB + "jhl-Det/CVA-Net/issues/27", "one picture in two classes", "CNN 8-16",
        training(cnn(10, (8, 16)), (both, held), epochs=3), training(cnn(10, (8, 16)), (pictures, held), epochs=3),
        ("conflicting_labels",), metric="loss",
    )  # fmt: skip
    table, table_held = blobs(spread=1.0)
    again = np.arange(0, 400)
    wrong = np.where(again % 2 == 0, (table.labels[again] + 1 + again // 2 % 3) % 4, table.labels[again])
    contradictory = Dataset(
        np.concatenate([table.images, table.images[again]]),
        np.concatenate([table.labels, wrong]),
        table.classes,
        "blobs",
    )
    yield pair(
        GITHUB + "sebischair/Medical-Abstracts-TC-Corpus/issues/2", "entries twice with other labels", "MLP 64-64",
        training(mlp(4, (64, 64)), (contradictory, table_held), optim.Adam(lr=3e-3), epochs=8),
        training(mlp(4, (64, 64)), (table, table_held), optim.Adam(lr=1e-3), epochs=4),
        ("conflicting_labels",), metric="loss",
    )  # fmt: skip


def imbalances() -> Iterator[Wild]:
    """Yield cases with a rare class."""
    one, two = two_of(blobs(spread=1.6))
    few, few_held = rare(one, 1, 16), two
    net = (nn.Linear(24, 1),)
    yield own(
        "https://discuss.pytorch.org/t/predictions-stuck-at-zero-when-positive-label-1-is-only-16-of-data/145203/2",
        "a rare class, BCE with one output", "MLP 24",
        loop(head(*net), BinaryCrossEntropyOfScores(), optim.SGD(lr=0.02), epochs=6),
        loop(head(*net), BinaryCrossEntropyOfScores(), optim.SGD(lr=0.1, momentum=0.9), epochs=6),
        ("constant_predictions:imbalance",), binary((few, few_held), 0.0, "balanced"), good=binary((one, two), 0.0),
        cured=binary((few.subset(np.concatenate(
            [np.flatnonzero(few.labels == 0), np.repeat(np.flatnonzero(few.labels == 1), 14)])), few_held), 0.0,
            "balanced"),
        by_hand=lambda s: s.anew(), metric="balanced",
    )  # fmt: skip
    waves, waves_held = bits()
    seldom = rare(waves, 1, 20)
    yield pair(
        GITHUB + "keras-team/keras/issues/3068", "one class is 95 % of the data", "conv1d 8-8",
        training(conv1d(2, (8, 8)), (seldom, waves_held), optim.SGD(lr=0.002), epochs=4),
        training(conv1d(2, (8, 8)), bits(), epochs=4), ("constant_predictions:imbalance",), metric="balanced",
    )  # fmt: skip


# Rates, decay, schedules


def rates() -> Iterator[Wild]:
    """Yield cases about learning rates, weight decay, schedules and overfitting."""
    pictures = handwriting()
    too_high = ("learning_rate_too_high", "dead_units:learning rate", "saturated_units:learning rate")
    yield pair(
        "https://datascience.stackexchange.com/questions/28481/reason-for-having-both-low-loss-and-same-predicted-class",
        "a CNN that falls back to one answer", "CNN 12-24",
        training(cnn(10, (12, 24)), pictures, optim.SGD(lr=0.6, momentum=0.9), epochs=3),
        training(cnn(10, (12, 24)), pictures, optim.SGD(lr=0.02, momentum=0.9), epochs=3), too_high,
    )  # fmt: skip
    yield pair(
        GITHUB + "keras-team/keras/issues/3425", "Adam at 0.1 kills the ReLUs", "CNN 12-24",
        training(cnn(3, (12, 24)), lamps(), optim.Adam(lr=0.3), epochs=4),
        training(cnn(3, (12, 24)), lamps(), optim.Adam(lr=2e-3), epochs=4), too_high,
    )  # fmt: skip
    yield pair(
        GITHUB + "rajveermalviya/language-modeling/issues/3", "Adam at 1", "MLP tanh 48",
        training(mlp(10, (48,), nn.Tanh, "xavier"), small_digits(), optim.Adam(lr=1.0), epochs=4),
        training(mlp(10, (48,), nn.Tanh, "xavier"), small_digits(), optim.Adam(lr=2e-3), epochs=4), too_high,
    )  # fmt: skip
    one, two = blobs(2, 0.8)
    yield pair(
        "https://discuss.pytorch.org/t/loss-not-converging-on-a-binary-classification-problem/177433",
        "SGD at 0.0001 on few rows", "MLP 60-100-30",
        training(
            mlp(2, (60, 100, 30), nn.ReLU, "xavier"), (one.subset(np.arange(60)), two), optim.SGD(lr=1e-4), epochs=40,
            batch_size=10,
        ),
        training(
            mlp(2, (60, 100, 30), nn.ReLU, "xavier"), (one.subset(np.arange(400)), two), optim.SGD(lr=0.05), epochs=6,
            batch_size=10,
        ),
        ("learning_rate_too_low",),
    )  # fmt: skip
    yield pair(
        "https://stats.stackexchange.com/questions/117622/weight-decay-in-neural-neural-networks-weight-update-and-convergence",
        "weights decay faster than they learn", "MLP σ 32",
        training(
            mlp(10, (32,), nn.Sigmoid, "xavier"), small_digits(), optim.SGD(lr=0.1, weight_decay=0.3), epochs=5
        ),
        training(
            mlp(10, (32,), nn.Sigmoid, "xavier"), small_digits(), optim.SGD(lr=0.3, momentum=0.9, weight_decay=1e-4),
            epochs=5,
        ),
        ("weight_decay",),
    )  # fmt: skip
    yield pair(
        GITHUB + "vlfeat/matconvnet/issues/1051", "too much weight decay", "CNN 12-24",
        training(cnn(10, (12, 24)), pictures, optim.SGD(lr=0.02, momentum=0.9, weight_decay=0.6), epochs=4),
        training(cnn(10, (12, 24)), pictures, optim.SGD(lr=0.02, momentum=0.9, weight_decay=5e-4), epochs=4),
        ("weight_decay",),
    )  # fmt: skip
    steps = 4 * 38
    yield pair(
        GITHUB + "pytorch/tutorials/pull/640", "a schedule in epochs, stepped by batches", "CNN 8-16",
        training(
            cnn(10, (8, 16)), pictures, optim.SGD(lr=0.02, momentum=0.9, schedule=optim.CosineSchedule(4)), epochs=4
        ),
        training(
            cnn(10, (8, 16)), pictures, optim.SGD(lr=0.02, momentum=0.9, schedule=optim.CosineSchedule(steps)), epochs=4
        ),
        ("schedule",),
    )  # fmt: skip
    yield pair(
        GITHUB + "jax-ml/jax/pull/3113", "the loss summed over the batch", "MLP 64",
        training(
            mlp(10, (64,)), small_digits(), optim.SGD(lr=0.05), loss=nn.CrossEntropyLoss(reduction="sum"),
            batch_size=128, epochs=4,
        ),
        training(mlp(10, (64,)), small_digits(), optim.SGD(lr=0.05, momentum=0.9), batch_size=64, epochs=4),
        ("loss_at_start:sum",),
    )  # fmt: skip
    photographs, photographs_held = cifar()
    yield pair(
        GITHUB + "soapisnotfat/pytorch-cifar10/issues/9", "a part of the data, learned by heart", "CNN 16-32",
        training(
            cnn(10, (16, 32)), (photographs.subset(np.arange(500)), photographs_held), optim.Adam(lr=3e-3), epochs=25
        ),
        training(cnn(10, (16, 32)), cifar(), optim.Adam(lr=2e-3), epochs=4), ("overfitting",), metric="loss",
    )  # fmt: skip


# Initialization


def starts() -> Iterator[Wild]:
    """Yield cases about the initialization of weights."""
    pictures = handwriting()
    large = ("exploding_gradients", "loss_at_start:initialization", "learning_rate_too_high", "dead_units")
    yield pair(
        GITHUB + "MichalDanielDobrzanski/DeepLearningPython/issues/13", "weights of spread 1", "MLP 100-30",
        training(started(mlp(10, (100, 30)), normal(1.0)), pictures, optim.SGD(lr=0.05), epochs=4),
        training(mlp(10, (100, 30)), pictures, optim.SGD(lr=0.05), epochs=4), large,
    )  # fmt: skip
    yield pair(
        GITHUB + "sophiajw/HistAuGAN/issues/7", "a start of 0.2 for 0.02", "CNN 6×24",
        training(
            started(cnn(10, (24,) * 6, lambda: nn.LeakyReLU(0.2), pool_every=2), normal(0.8)), pictures,
            optim.Adam(lr=2e-3), epochs=2,
        ),
        training(cnn(10, (24,) * 6, lambda: nn.LeakyReLU(0.2), pool_every=2), pictures, optim.Adam(lr=2e-3), epochs=2),
        large,
    )  # fmt: skip
    yield pair(
        GITHUB + "tensorflow/tensorflow/issues/11433", "weights about 0.5", "CNN 8-16",
        training(started(cnn(10, (8, 16)), normal(0.2, 0.5)), pictures, optim.Adam(lr=1e-3), epochs=4),
        training(cnn(10, (8, 16)), pictures, optim.Adam(lr=1e-3), epochs=4), ("equal_start", *large),
    )  # fmt: skip
    yield pair(
        GITHUB + "keras-team/keras/issues/10847", "weights that are all the same", "MLP 64-64",
        training(
            started(mlp(10, (64, 64)), constant(0.05)), small_digits(), optim.SGD(lr=0.05, momentum=0.9), epochs=5
        ),
        training(mlp(10, (64, 64)), small_digits(), optim.SGD(lr=0.02, momentum=0.9), epochs=5), ("equal_start",),
    )  # fmt: skip
    x, y = houses(81, 900, 0.01)
    held_x, held_y = houses(82, 400, 0.01)
    yield own(
        "https://taourl.com/read-2675780.html", "weights that start at 0", "MLP 64-64-64",
        loop(started(mlp(1, (64,) * 3), constant(0.0)), nn.MSELoss()), loop(mlp(1, (64,) * 3), nn.MSELoss()),
        ("equal_start",), Own(x, y, held_x, held_y, "loss"), metric="loss",
    )  # fmt: skip
    yield pair(
        "https://chenzhang.org/notes/developer/loss-and-accuracy-get-stuck-in-keras/", "many dense sigmoid layers",
        "MLP σ 7×40",
        training(mlp(10, (40,) * 7, nn.Sigmoid, "xavier"), small_digits(), optim.SGD(lr=0.1, momentum=0.9), epochs=4),
        training(mlp(10, (40,), nn.Sigmoid, "xavier"), small_digits(), optim.SGD(lr=0.1, momentum=0.9), epochs=8),
        ("vanishing_gradients:activation",),
    )  # fmt: skip


# Numbers to predict


def targets() -> Iterator[Wild]:
    """Yield cases about the targets of regressions."""
    dollars, held_dollars = houses(83, 900, 1000.0), houses(84, 400, 1000.0)
    thousands, held_thousands = houses(83, 900, 0.01), houses(84, 400, 0.01)
    yield own(
        GITHUB + "rstudio-conf-2020/dl-keras-tf/issues/9", "prices in dollars", "MLP 32-32",
        loop(mlp(1, (32, 32)), nn.MSELoss(), optim.SGD(lr=0.01)), loop(mlp(1, (32, 32)), nn.MSELoss()),
        ("unscaled_targets",), Own(*dollars, *held_dollars, "loss"), good=Own(*thousands, *held_thousands, "loss"),
        cured=Own(*thousands, *held_thousands, "loss"), by_hand=lambda s: s.anew(), metric="loss",
    )  # fmt: skip
    x, y = sums(85, 900)
    held = sums(86, 400)
    yield own(
        GITHUB + "keras-team/keras/issues/108", "a tanh after the last layer, sums to predict", "MLP 24",
        loop(head(nn.Linear(24, 1), nn.Tanh()), nn.MSELoss()), loop(head(nn.Linear(24, 1)), nn.MSELoss()),
        ("bounded_outputs",), Own(x, y, *held, "loss"), metric="loss",
    )  # fmt: skip
    yield own(
        GITHUB + "maxjcohen/transformer/issues/49", "a sigmoid after the last layer, prices to predict", "MLP 24-24",
        loop(head(nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 1), nn.Sigmoid()), nn.MSELoss()),
        loop(head(nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 1)), nn.MSELoss()),
        ("bounded_outputs",), Own(*thousands, *held_thousands, "loss"), metric="loss",
    )  # fmt: skip


# Layers that are not connected


def connections() -> Iterator[Wild]:
    """Yield cases with layers that do not learn."""
    frozen = cnn(10, (6, 12, 12))
    for place in (0, 3, 6):
        frozen[place].requires_grad_(False)
    yield pair(
        GITHUB + "LibreYOLO/libreyolo/pull/444", "a backbone frozen at random", "CNN 6-12-12",
        training(frozen, cifar(), optim.Adam(lr=2e-3), epochs=4),
        training(cnn(10, (6, 12, 12)), cifar(), optim.Adam(lr=2e-3), epochs=4), ("no_gradient:frozen",),
    )  # fmt: skip
    yield pair(
        GITHUB + "google-deepmind/dm-haiku/issues/442", "a decision in the middle", "Rounding",
        training(Rounding(10), small_digits(), optim.Adam(lr=5e-3), epochs=5),
        training(Rounding(10, True), small_digits(), optim.Adam(lr=5e-3), epochs=5), ("no_gradient:zero",),
        by_hand=lambda s: s.anew(model=training(Rounding(10, True), small_digits()).model),
    )  # fmt: skip
    yield pair(
        GITHUB + "pytorch/pytorch/issues/666", "layers in a Python list", "Listed",
        training(Listed(10), small_digits(), optim.Adam(lr=5e-3), epochs=5),
        training(Listed(10, known=True), small_digits(), optim.Adam(lr=5e-3), epochs=5), ("no_gradient",),
        by_hand=lambda s: s.anew(model=training(Listed(10, known=True), small_digits()).model),
    )  # fmt: skip


def chosen(part: str) -> Callable[[], Iterator[Wild]]:
    """Return a function that yields the cases of a part: "open" (used to write the rules), "held" or "all"."""

    def cases() -> Iterator[Wild]:
        found = [replace(one) for one in wild()]
        held = held_back([one.case.name for one in found])
        yield from (one for one in found if part == "all" or (one.case.name in held) == (part == "held"))

    return cases
