"""The input stage: what a batch depends on, labels that are mixed, functions, and unsuitable transforms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from striate import nn, optim, settings
from striate.data import Dataset, Standardizer, batches, load_digits
from striate.data.augment import (
    ColorJitter,
    CutMix,
    Cutout,
    GaussianNoise,
    InputStage,
    Lambda,
    MixUp,
    RandAugment,
    RandomAffine,
    RandomCrop,
    RandomErasing,
    RandomFlip,
    RandomHorizontalFlip,
    RandomMask,
    RandomRotation,
    RandomScaling,
    RandomShift,
    Transform,
    parsed,
)
from striate.errors import DataError, OptionError
from striate.train import Trainer


def colours(count: int = 23, shape: tuple[int, ...] = (3, 12, 17), dtype: Any = np.uint8) -> Dataset:
    random = np.random.default_rng(5)
    images = (random.random((count, *shape)) * 255).astype(dtype)
    return Dataset(images, np.arange(count) % 3, ("a", "b", "c"), "colours", channels_first=True)


def turned(x: np.ndarray[Any, Any], random: np.random.Generator) -> np.ndarray[Any, Any]:
    return x[..., ::-1] if random.random() < 0.5 else x


def shortened(x: np.ndarray[Any, Any], random: np.random.Generator) -> np.ndarray[Any, Any]:
    return x[:, 1:]


EVERYTHING: list[Transform] = [
    RandomCrop(padding=2), RandomHorizontalFlip(), RandomRotation(20), ColorJitter(0.3, 0.3, 0.3, 0.1),
    GaussianNoise(5), RandomErasing(), Lambda(turned), RandAugment(), MixUp(0.4, p=0.5), CutMix(),
]  # fmt: skip


def epoch_of(stage: InputStage, batch_size: int, epoch: int = 1, first: int = 0) -> tuple[Any, Any]:
    """Return all samples and labels of an epoch in the order of the data set."""
    made = list(stage.batches(batch_size, epoch=epoch, first=first))
    order = np.argsort(np.concatenate([batch.indices for batch in made]))
    x, y = (np.concatenate([batch[part] for batch in made])[order] for part in (0, 1))
    return x, y


def test_a_sample_depends_on_seed_epoch_and_index_alone() -> None:
    data = colours()
    x, y = epoch_of(InputStage(data, EVERYTHING, seed=7), 23)
    for threads, batch_size in ((1, 1), (2, 5), (3, 4), (5, 22)):
        before = settings.override(threads=threads)
        try:
            again, labels = epoch_of(InputStage(data, EVERYTHING, seed=7), batch_size)
        finally:
            settings.restore(before)
        np.testing.assert_array_equal(again, x)
        np.testing.assert_array_equal(labels, y)
    stage = InputStage(data, EVERYTHING, seed=7)
    one, label = stage.batch([11], epoch=1)
    np.testing.assert_array_equal(one[0], x[11])
    np.testing.assert_array_equal(label[0], y[11])
    for other in (epoch_of(stage, 5, epoch=2)[0], epoch_of(InputStage(data, EVERYTHING, seed=8), 5)[0]):
        assert all((a != b).any() for a, b in zip(other, x, strict=True))


def test_batches_come_in_the_order_of_the_loader_and_may_begin_later() -> None:
    data = colours()
    stage = InputStage(data, "flip:0", seed=3)
    for ours, theirs in zip(stage.batches(5, epoch=4), batches(data, 5, seed=3, epoch=4), strict=True):
        for mine, plain in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(mine, plain)
    whole, rest = list(InputStage(data, EVERYTHING).batches(4)), list(InputStage(data, EVERYTHING).batches(4, first=3))
    assert len(rest) == len(whole) - 3
    for ours, theirs in zip(rest, whole[3:], strict=True):
        np.testing.assert_array_equal(ours.x, theirs.x)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32], ids=["uint8", "float32"])
def test_no_sample_and_no_transform(dtype: Any) -> None:
    data = colours(dtype=dtype)
    x, y = InputStage(data, EVERYTHING[:6]).batch(np.empty(0, int), epoch=0)
    assert (x.shape, x.dtype, y.shape) == ((0, 3, 12, 17), dtype, (0,))
    x, y = InputStage(data).batch([2, 2, 0], epoch=0)
    np.testing.assert_array_equal(x, data.images[[2, 2, 0]])
    np.testing.assert_array_equal(y, [2, 2, 0])


@pytest.mark.parametrize("indices", [[-1], [23], [0, 99], [0.5], [[0]], [2**40]], ids=str)
def test_indices_outside_of_the_data_are_refused(indices: Any) -> None:
    stage = InputStage(colours(), "flip")
    with pytest.raises(DataError):
        stage.batch(indices, epoch=0)
    with pytest.raises(DataError):
        InputStage(colours(), "mixup", pool=np.array(indices))


def test_labels_are_mixed_as_the_samples_are() -> None:
    images = np.repeat(np.eye(3, dtype=np.float32), 8, axis=0)[:, :, None, None] * np.ones((3, 10, 12), np.float32)
    data = Dataset(images.reshape(24, 3, 10, 12), np.repeat(np.arange(3), 8))
    for mixer in (MixUp(0.4), CutMix(), MixUp(1.0, p=0.5)):
        x, y = InputStage(data, [RandomFlip(), mixer], seed=1).batch(np.arange(24), epoch=0)
        assert y.dtype == np.float32
        np.testing.assert_allclose(x.mean(axis=(2, 3)), y, atol=1e-5)  # channel c is 1 in samples of class c alone
        assert 3 < (y.max(axis=1) < 1).sum() <= 24
    targets = Dataset(data.images, np.linspace(0, 1, 24, dtype=np.float32)[:, None])
    mixed = InputStage(targets, [MixUp(1.0)]).batch(np.arange(24), epoch=0)[1]
    assert mixed.shape == (24, 1)
    assert 0 <= mixed.min() < mixed.max() <= 1
    pool = np.array([0, 1])
    partners = InputStage(data, [MixUp(1.0)], pool=pool).batch(np.arange(8, 24), epoch=0)[1]
    assert (partners[:, 0] > 0).all()


def test_a_network_learns_from_augmented_data() -> None:
    train_set, held_out = load_digits("train").subset(np.arange(400)), load_digits("test")

    def model() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(None, 10)
        )

    def trained(augment: Any, **options: Any) -> Trainer:
        made = Trainer(
            model(), nn.CrossEntropyLoss(), optim.SGD(lr=0.05, momentum=0.9), progress=False, augment=augment, **options
        )  # fmt: skip
        made.model.standardizer = Standardizer.fit(train_set.images)
        made.fit(train_set, held_out, epochs=6)
        return made

    plain = trained("crop:1 mixup")
    assert (plain.history.accuracies[-1] or 0) > 0.6
    assert 0 < plain.history.waiting < 1
    again = trained("crop:1 mixup", doctor=False)
    for name, array in plain.model.state_dict().items():
        np.testing.assert_array_equal(array, again.model.state_dict()[name])


def test_text_names_transforms() -> None:
    assert parsed("crop:2:reflect flip, rotate:30") == (
        RandomCrop(padding=2, padding_mode="reflect"), RandomHorizontalFlip(), RandomRotation(30.0)
    )  # fmt: skip
    assert parsed("erase::mean jitter:0.1 cutmix") == (
        RandomErasing(value="mean"), ColorJitter(0.1, 0.1), CutMix()
    )  # fmt: skip
    assert parsed(" ") == ()


SIGNAL, TABLE = (2, 40), (5,)
WRONG: Any = (3,)


@pytest.mark.parametrize(
    ("transforms", "shape", "words"),
    [
        ([RandomCrop(40)], (3, 32, 32), "a window of 40 does not fit into 32 elements\n  help: padding=4 or more"),
        ([RandomCrop(padding=9, padding_mode="reflect")], (3, 8, 8), "a mirror image of 7 at most"),
        ([RandomHorizontalFlip()], SIGNAL, "is for pictures (C, H, W) and volumes (C, D, H, W), and the"),
        ([RandomHorizontalFlip()], SIGNAL, "(C, L) of shape (2, 40)\n  help: for signals RandomShift"),
        ([RandomShift(50)], SIGNAL, "only 40 time steps"),
        ([RandomMask(50)], SIGNAL, "only 40 time steps"),
        ([RandomFlip(axis=-2)], SIGNAL, "have no axis -2"),
        ([CutMix()], TABLE, "for tables GaussianNoise"),
        ([ColorJitter(saturation=0.5)], (1, 8, 8), "saturation and hue need 3 channels"),
        ([RandomCrop(padding=1, fill=(1, 2))], (3, 8, 8), "has 2 numbers, and the samples have 3 channels"),
        ([RandomErasing(value=300)], (3, 8, 8), "numbers from 0 to 255"),
        ([Cutout(16)], (3, 8, 8), "erases whole samples"),
        ([RandomCrop(padding=1), RandomRotation(fill=9)], (3, 8, 8), "give both the same padding_mode and fill"),
        ([MixUp(), RandomFlip()], (3, 8, 8), "MixUp and CutMix are the last of the list"),
        ([Lambda(shortened)], (3, 8, 8), "returned uint8 (3, 7, 8) for a sample uint8 (3, 8, 8)"),
        ([WRONG], (3, 8, 8), "is not a transform"),
        ("crop:4 flap", (3, 8, 8), "unknown augmentation 'flap'"),
        ("crop:x", (3, 8, 8), "help: crop:PADDING:MODE"),
        ("crop:4:zero", (3, 8, 8), "RandomCrop: unknown padding mode 'zero'"),
        ("flip:0.5:1", (3, 8, 8), "more than 1 values"),
    ],
)  # fmt: skip
def test_unsuitable_transforms_are_refused(transforms: Any, shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(OptionError) as found:
        InputStage(colours(shape=shape), transforms).batch([0], epoch=0)
    assert words in str(found.value)


@pytest.mark.parametrize(
    "make",
    [
        lambda: RandomFlip(1.5), lambda: RandomFlip(axis=0), lambda: RandomAffine(400),
        lambda: RandomAffine(scale=(2, 1)),
        lambda: RandomAffine(translate=WRONG), lambda: RandomRotation(padding_mode="wrap"), lambda: MixUp(0),
        lambda: ColorJitter(hue=0.6), lambda: ColorJitter(-1), lambda: RandAugment(0), lambda: RandAugment(2, 31),
        lambda: Lambda(WRONG), lambda: RandomErasing(scale=(0.5, 0.1)), lambda: GaussianNoise(float("nan")),
        lambda: GaussianNoise((1, 2)), lambda: RandomScaling((0.1, 0.2)),
        lambda: InputStage(WRONG), lambda: InputStage(colours(), WRONG),
    ],
)  # fmt: skip
def test_options_out_of_range_are_refused(make: Any) -> None:
    with pytest.raises(OptionError):
        make()


@pytest.mark.parametrize(
    ("augment", "loss", "words"),
    [
        ([RandomCrop(6)], nn.CrossEntropyLoss(), "samples become (1, 6, 6), but the network is evaluated on (1, 8, 8)"),
        ([MixUp()], nn.NLLLoss(), "help: nn.CrossEntropyLoss() takes them"),
    ],
)
def test_the_trainer_refuses_what_does_not_fit(augment: Sequence[Transform], loss: nn.Module, words: str) -> None:
    trainer = Trainer(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), loss, optim.SGD(), progress=False, augment=augment
    )
    with pytest.raises(OptionError) as found:
        trainer.fit(load_digits("train"), epochs=1)
    assert words in str(found.value)
