"""Cases from public reports in which the data are at fault: splits, inputs, labels and rare classes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from doctor_case import training
from doctor_material import cifar, cnn, conv1d, mixed, mlp, relabelled, signals
from doctor_wild_case import GITHUB, Wild, binary, in_order, loop, mixed_tail, own, pair, tail
from doctor_wild_material import (
    BinaryCrossEntropyOfScores,
    as_floats,
    bits,
    blobs,
    changed,
    handwriting,
    head,
    lamps,
    rare,
    small_digits,
    two_of,
    windows,
)

from striate import nn, optim
from striate.data import Dataset, Standardizer


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
