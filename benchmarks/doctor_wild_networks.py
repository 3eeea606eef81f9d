"""Cases from public reports in which the network or the optimizer is at fault."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from doctor_case import Own, training
from doctor_material import cifar, cnn, conv1d, mlp, momentum, normalized_mlp, signals
from doctor_wild_case import GITHUB, Wild, binary, loop, own, pair
from doctor_wild_material import (
    BinaryCrossEntropy,
    Listed,
    Rounding,
    SoftmaxInForward,
    SquaredError,
    bits,
    blobs,
    changed,
    constant,
    handwriting,
    head,
    houses,
    lamps,
    normal,
    small_digits,
    started,
    sums,
    two_of,
)

from striate import nn, optim


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
