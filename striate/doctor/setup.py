"""All that decides a training, in one place: what a remedy changes."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

from striate.data.dataset import Dataset
from striate.nn.loss import CrossEntropyLoss, Loss, MSELoss
from striate.nn.module import Module
from striate.optim.optimizer import Optimizer


@dataclass(frozen=True)
class Setup:
    """A training that could be begun: model, loss, optimizer, data, and how the data are passed through.

    ``train_set`` is None where a hand-written loop feeds the step.
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

    def anew(self, **changes: Any) -> Setup:
        """The same from a fresh start, with a copy of the model, and other values where given."""
        changed = replace(self, **changes)
        if "model" not in changes:
            changed = replace(changed, model=copy.deepcopy(changed.model))
        changed.model.initialize(changed.seed)
        return changed

    @property
    def classifies(self) -> bool:
        """Whether the loss compares class scores with labels."""
        return isinstance(self.loss, CrossEntropyLoss)

    @property
    def regresses(self) -> bool:
        """Whether the loss compares numbers with numbers."""
        return isinstance(self.loss, MSELoss)


def replaced(model: Module, path: str, layer: Module) -> None:
    """Puts another layer where ``path`` points."""
    *parents, name = path.split(".")
    owner = model
    for parent in parents:
        owner = getattr(owner, parent)
    setattr(owner, name, layer)


def layer_at(model: Module, path: str) -> Module:
    """The layer at a dotted path; the model itself at ""."""
    found = dict(model.named_modules())
    return found[path]
