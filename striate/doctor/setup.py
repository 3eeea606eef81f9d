"""Everything that determines a training, in one place: what a remedy changes."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

from striate.data.dataset import Dataset
from striate.nn.loss import Loss
from striate.nn.module import Module
from striate.optim.optimizer import Optimizer


@dataclass(frozen=True)
class Setup:
    """A training before it starts: model, loss, optimizer, data, and how the data are batched.

    ``train_set`` is None where the user's own loop feeds the step. ``command_line`` has the options of ``striate
    train`` that this network takes, for a training that the command line started.
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

    def anew(self, **changes: Any) -> Setup:
        """The same setup from a fresh start, with a copy of the model, and with the given changes."""
        changed = replace(self, **changes)
        if "model" not in changes:
            changed = replace(changed, model=copy.deepcopy(changed.model))
        changed.model.initialize(changed.seed)
        return changed

    @property
    def classifies(self) -> bool:
        """Whether the loss compares logits of the classes with one class number for each sample."""
        return self.loss.takes_logits and (self.train_set is None or self.train_set.is_classification)


def replaced(model: Module, path: str, layer: Module) -> None:
    """Puts another layer where ``path`` points."""
    parent, _, name = path.rpartition(".")
    setattr(layer_at(model, parent), name, layer)


def layer_at(model: Module, path: str) -> Module:
    """The layer at a dotted path; the model itself at ""."""
    found = dict(model.named_modules())
    return found[path]
