"""The default network, loss and number of epochs for a data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from striate.data import Dataset, NumberOptions, Opened
from striate.data.dataset import Array
from striate.data.number_options import Task
from striate.errors import OptionError
from striate.models import build
from striate.nn.element_loss import loss_of_labels
from striate.nn.loss import Loss, loss_of_classes
from striate.nn.measured import relative_loss, rescaled
from striate.nn.module import Module
from striate.options import choice
from striate.train.balance import balanced_weights

_STEPS, _STEPS_OF_VOLUMES = 1500, 300
_FEWEST_EPOCHS, _MOST_EPOCHS = 5, 50
_FEW = 1000  # samples: up to here batches have 16


@dataclass(frozen=True)
class Usual:
    """The default network, number of epochs and batch size for a data set.

    ``model`` is the name of the network, and ``options`` are keyword arguments with which it is built. ``lr`` is the
    learning rate for SGD; None: the default of the optimizer.
    """

    model: str
    epochs: int
    batch_size: int
    lr: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])


def usual_training(rank: int, samples: int) -> Usual:
    """Return the default training for a data set with ``samples`` samples, whose inputs are an array of ``rank`` axes.

    ``rank`` is 2 for features (N, C) up to 5 for volumes (N, C, D, H, W). The network is an MLP with three hidden
    layers for features, ``fcn`` for signals, ``lenet5`` for pictures, and a ``resnet18_3d`` that starts with 16
    channels for volumes. A training has about 1500 steps (volumes: 300), but at least 5 and at most 50 epochs. Batches
    have 64 samples, or 16 if there are at most 1,000 samples.
    """
    batch_size = 16 if samples <= _FEW else 64
    steps = _STEPS_OF_VOLUMES if rank == 5 else _STEPS
    epochs = min(max(-(-steps * batch_size // samples), _FEWEST_EPOCHS), _MOST_EPOCHS)
    model, options = {
        2: ("mlp", {"depth": 3}), 3: ("fcn", {}), 4: ("lenet5", {}), 5: ("resnet18_3d", {"width": 16}),
    }[rank]  # fmt: skip
    return Usual(model, epochs, batch_size, 0.01 if rank == 2 else None, options)


def task_of(opened: Opened) -> Task:
    """Return the task that the labels define: one class, measured numbers, or several yes-or-no labels."""
    options = opened.options
    return options.task if isinstance(options, NumberOptions) and options.task is not None else Task.classify


def output_names(opened: Opened) -> tuple[str, ...]:
    """Return the names of the network's outputs: classes, yes-or-no labels, or measured targets."""
    options = opened.options
    if isinstance(options, NumberOptions) and options.task is not Task.classify:
        return options.classes or options.targets
    return opened.train.classes


def network_for(opened: Opened, model: str, seed: int, options: Mapping[str, Any]) -> Module:
    """Return the network named ``model``, with inputs and outputs that fit the data.

    ``seed`` determines the initial weights, and ``options`` are keyword arguments of the network. For measured targets,
    the network ends with a layer that scales its outputs to the mean and standard deviation of the targets.
    Raises ``OptionError`` for an unknown model or option.
    """
    images, names = opened.train.images, output_names(opened)
    network = build(model, channels=images.shape[1], classes=len(names), seed=seed, **options)
    if task_of(opened) is Task.regress:
        network = rescaled(network, *_moments(opened.train))
    network.classes = names
    return network


def loss_for(opened: Opened, class_weights: str | None = None, label_smoothing: float = 0.0) -> Loss:
    """Return the loss for the task that the labels define.

    This is the cross entropy for classes, the binary cross entropy for several yes-or-no labels, and the relative
    squared error for measured targets.

    ``class_weights`` is "balanced" or None (equal weights), and ``label_smoothing`` is the share of a target that is
    spread over all classes. Raises ``OptionError`` for class weights or label smoothing if the labels are not classes.
    """
    task = task_of(opened)
    if class_weights is not None:
        choice("--class-weights", class_weights, ("balanced",))
    if task is not Task.classify:
        for option, given in (("--class-weights", class_weights), ("--label-smoothing", label_smoothing)):
            if given:
                raise OptionError(f"{option} is for classes, and the labels of {opened.train.name} are {_WORDS[task]}")
        return relative_loss(_moments(opened.train)[1]) if task is Task.regress else loss_of_labels()
    weight = None if class_weights is None else balanced_weights(opened.train)
    return loss_of_classes(weight, label_smoothing)


_WORDS = {Task.regress: "measured numbers", Task.multilabel: "several yes-or-no labels"}


def _moments(train_set: Dataset) -> tuple[Array, Array]:
    """Return mean and standard deviation of each target, float32 (k,); a constant one has a deviation of 1."""
    targets = train_set.labels.reshape(len(train_set), -1).astype(np.float64)
    deviation = targets.std(axis=0)
    return targets.mean(axis=0).astype(np.float32), np.where(deviation > 0, deviation, 1).astype(np.float32)
