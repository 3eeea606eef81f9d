"""Check what a trainer is given, before the training begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from striate.data.augment import InputStage, Transform
from striate.data.dataset import Array, Dataset
from striate.data.loader import batch_count
from striate.errors import OptionError, ShapeError
from striate.nn.loss import LabelLoss, Loss
from striate.nn.module import Module
from striate.options import require_instance
from striate.train.callback import Callback
from striate.train.outliers import outlier_warning


def checked_callbacks(given: object) -> tuple[Callback, ...]:
    """Return the callbacks as a tuple; raises ``OptionError`` for anything but a sequence of callbacks."""
    if isinstance(given, Sequence):
        found = tuple(cast("Sequence[object]", given))
        for one in found:
            require_instance("callbacks", one, Callback, "train.EarlyStopping(patience=5)")
        return cast("tuple[Callback, ...]", found)
    raise OptionError(f"callbacks={given!r:.200}; expected a list of callbacks")


def matched(validation: Dataset, train_set: Dataset) -> Dataset:
    """Return the validation data with labels numbered as those of the training data, matched by class name.

    Raises ``ShapeError`` if the validation data have samples or targets of another shape, or more classes, than the
    training data. Raises ``DataError`` for a class that only the validation data have.
    """
    if train_set.labels.shape[1:] != validation.labels.shape[1:]:
        raise ShapeError(
            f"validation has targets of shape {validation.labels.shape[1:]}, training {train_set.labels.shape[1:]}"
        )
    ours, theirs = train_set.images.shape[1:], validation.images.shape[1:]
    if ours != theirs or len(validation.classes) > len(train_set.classes):
        raise ShapeError(
            f"validation has samples {theirs} of {len(validation.classes)} classes, "
            f"training {ours} of {len(train_set.classes)}"
        )
    if train_set.classes == tuple(str(number) for number in range(len(train_set.classes))):
        return validation  # the classes have no names
    return validation.with_classes(train_set.classes)


def input_stage(
    train_set: Dataset, augment: Sequence[Transform], seed: int, weights: Array | None, loss: Loss
) -> InputStage | None:
    """Return the stage that augments the training samples, or None without augmentation.

    ``weights`` are the weights of the samples (None: all 1). A sample of weight 0 is never mixed into another sample.
    ``seed`` determines the random changes.

    Raises ``OptionError`` for transforms that do not fit the samples, change their shape, or mix labels for a loss
    that does not take probabilities.
    """
    if not augment:
        return None
    pool = None if weights is None else np.flatnonzero(weights)
    stage = InputStage(train_set, augment, seed=seed, pool=pool)
    shape = train_set.images.shape[1:]
    if stage.shape != shape:
        raise OptionError(
            f"augment: samples become {stage.shape}, but the network is evaluated on {shape}\n"
            "  help: RandomCrop(padding=…) and RandomResizedCrop() keep the size; or crop the data beforehand"
        )
    if stage.mixes and train_set.is_classification and isinstance(loss, LabelLoss) and not loss.takes_probabilities:
        raise OptionError(
            f"augment: MixUp and CutMix make probabilities of the labels, which {loss!r} does not take\n"
            "  help: nn.CrossEntropyLoss() takes them"
        )
    return stage


def outlier_warnings(model: Module, train_set: Dataset, validation: Dataset | None) -> list[str]:
    """Return warnings for training and validation data that lie far from the data to which the standardizer was fitted.

    Returns [] if no data lie far away, or ``model`` has no standardizer.
    """
    found = (
        None if dataset is None else outlier_warning(model, dataset.images, f"{dataset.name} ({part})")
        for dataset, part in ((train_set, "training"), (validation, "validation"))
    )
    return [text for text in found if text is not None]


def require_samples_for(ranks: int, samples: int, batch_size: int) -> None:
    """Raise ``OptionError`` if a batch has fewer samples than there are ranks (processes) to share it.

    ``samples`` is the number of training samples, which are divided into batches of about ``batch_size``.
    """
    least = samples // max(1, batch_count(samples, batch_size))
    if least < ranks:
        raise OptionError(
            f"batch_size={batch_size} gives batches of {least} samples, fewer than the {ranks} ranks\n"
            "  help: a larger batch_size, of which each rank computes its share"
        )
