"""The setup of a training: everything that determines its result, and that a remedy can change."""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields, replace
from typing import Any

from striate.data.dataset import Dataset
from striate.errors import unknown_option
from striate.nn.loss import Loss
from striate.nn.module import Module
from striate.optim.optimizer import Optimizer


@dataclass(frozen=True)
class Setup:
    """Everything that determines a training: model, loss, optimizer, data, batching, seed.

    ``train_set`` is None if the user's own loop passes batches to the step, and ``validation`` is None without
    validation data. ``batch_size`` is the number of samples in a step, ``epochs`` the number of passes over the data,
    and ``shuffle`` says whether the samples are in random order. ``seed`` determines the initial weights and the order
    of the samples. ``command_line`` holds the options of ``striate train`` that apply to this network, such as
    ``--lr``, if the command line started the training; otherwise it is empty. ``recompute_statistics`` says whether
    running statistics are computed anew at the end.
    """

    model: Module
    loss: Loss
    optimizer: Optimizer
    train_set: Dataset | None = None
    validation: Dataset | None = None
    batch_size: int = 64
    epochs: int = 1
    seed: int = 0
    shuffle: bool = True
    command_line: tuple[str, ...] = ()
    recompute_statistics: bool = False

    def anew(self, **changes: Any) -> Setup:
        """Return a copy of the setup with the given fields changed and a freshly initialized model.

        If ``model`` is among the changes, that model is initialized in place. Otherwise the model is deep-copied, so
        that this setup's model keeps its weights. Raises ``OptionError`` for a name that is not a field.
        """
        known = [field.name for field in fields(self)]
        for name in changes:
            if name not in known:
                raise unknown_option("option of Setup", name, known)
        changed = replace(self, **changes)
        if "model" not in changes:
            changed = replace(changed, model=copy.deepcopy(changed.model))
        changed.model.initialize(changed.seed)
        return changed

    @property
    def classifies(self) -> bool:
        """Whether the loss compares the logits of C classes with one class number per sample."""
        return self.loss.takes_logits and (self.train_set is None or self.train_set.is_classification)


def replaced(model: Module, path: str, layer: Module) -> None:
    """Replace the layer at the dotted ``path`` by another one, in place."""
    parent, _, name = path.rpartition(".")
    setattr(layer_at(model, parent), name, layer)


def layer_at(model: Module, path: str) -> Module:
    """Return the layer at a dotted path; "" is the model itself. Raises ``KeyError`` if there is no such layer."""
    found = dict(model.named_modules())
    return found[path]
