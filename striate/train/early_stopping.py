"""Early stopping: end a training that no longer improves, and keep the best weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from striate.errors import OptionError
from striate.graph.value import Array
from striate.options import choice, number, whole_number
from striate.train.callback import Callback
from striate.train.history import Epoch
from striate.train.progress import Plan

if TYPE_CHECKING:
    from striate.train.trainer import Trainer

_LARGER = ("validation_accuracy", "validation_f1", "validation_auc", "validation_r2")
MONITORED = ("validation_loss", "validation_cross_entropy", "validation_error", "loss", *_LARGER)
"""The fields of ``Epoch`` that can be monitored; of those in ``_LARGER``, larger values are better."""
_WEIGHTS = "weights."
"""The prefix of the names of weights in ``EarlyStopping.state_dict``."""


class EarlyStopping(Callback):
    """A callback that ends the training when the monitored value has not improved for ``patience`` epochs.

    An improvement must exceed ``min_delta``. At the end the model gets the weights and running statistics of the best
    epoch, even if all epochs were trained. With ``patience=None``, the training is never ended early, but the model
    still gets these weights. ``monitor`` is a field of ``Epoch``: "loss", "validation_loss",
    "validation_cross_entropy", "validation_error", "validation_accuracy", "validation_f1", "validation_auc" or
    "validation_r2". None means the validation loss, or the training loss if there is no validation. An epoch whose
    value is NaN is never the best.

    ``best`` is the number of the best epoch (None before there is one), and ``waited`` the number of epochs since the
    last improvement. Raises ``OptionError`` unless patience ≥ 1 and min_delta ≥ 0, and for an unknown ``monitor``. A
    training without validation raises ``OptionError`` if ``monitor`` is a validation value.
    """

    def __init__(self, patience: int | None = 5, *, min_delta: float = 0.0, monitor: str | None = None) -> None:
        self.patience = None if patience is None else whole_number("EarlyStopping: patience", patience, 1)
        self.min_delta = number("EarlyStopping: min_delta", min_delta, 0)
        self.monitor = None if monitor is None else choice("monitor", monitor, MONITORED)
        self.best: int | None = None
        self.best_value = math.nan
        self.waited = 0
        self._reference = math.nan  # the value that the next improvement must exceed by min_delta
        self._weights: dict[str, Array] = {}

    def begin(self, trainer: Trainer, plan: Plan) -> None:
        self.waited = 0

    def after_epoch(self, trainer: Trainer, epoch: Epoch) -> None:
        name, value = self._monitored(epoch)
        if not math.isnan(value) and not self._better(name, self.best_value, value):
            self.best, self.best_value = epoch.number, value
            with trainer.evaluated() as model:
                self._weights = model.state_dict()
        if not math.isnan(value) and not self._better(name, self._reference, value, self.min_delta):
            self._reference, self.waited = value, 0
            return
        self.waited += 1
        if self.patience is not None and self.waited >= self.patience:
            trainer.stop(f"{name} has not improved for {self.waited} epoch{'s' * (self.waited != 1)}")

    def end(self, trainer: Trainer) -> None:
        self.restore(trainer)

    def restore(self, trainer: Trainer) -> None:
        """Load the best weights into the model, as ``end`` does; to be called after Ctrl-C or an error."""
        if self.best is not None:
            trainer.use_evaluated()
            trainer.model.load_state_dict(self._weights)
            trainer.history.kept = self.best

    def state_dict(self) -> dict[str, Array]:
        """Return the state as arrays by name, for a checkpoint.

        The names are ``best``, ``best_value``, ``reference``, ``waited``, and ``weights.…`` for the best weights.
        """
        numbers = {
            "best": math.nan if self.best is None else float(self.best), "best_value": self.best_value,
            "reference": self._reference, "waited": float(self.waited),
        }  # fmt: skip
        state: dict[str, Array] = {name: np.array(value) for name, value in numbers.items()}
        return state | {f"{_WEIGHTS}{name}": array for name, array in self._weights.items()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Restore a state that ``state_dict`` returned. Raises ``OptionError`` if a name is missing."""
        missing = [name for name in ("best", "best_value", "reference", "waited") if name not in state]
        if missing:
            raise OptionError(f"EarlyStopping: the state lacks {', '.join(missing)}")
        best = float(state["best"])
        self.best = None if math.isnan(best) else int(best)
        self.best_value, self._reference = float(state["best_value"]), float(state["reference"])
        self.waited = int(state["waited"])
        self._weights = {
            name.removeprefix(_WEIGHTS): array for name, array in state.items() if name.startswith(_WEIGHTS)
        }

    def describe(self) -> str:
        return f"EarlyStopping(patience={self.patience}, min_delta={self.min_delta:g}, monitor={self.monitor!r})"

    def _monitored(self, epoch: Epoch) -> tuple[str, float]:
        """Return the name and the value of the monitored field; raises ``OptionError`` if the epoch lacks it."""
        name = self.monitor or ("loss" if epoch.validation_loss is None else "validation_loss")
        entropy = epoch.validation_cross_entropy
        entropy = epoch.validation_loss if entropy is None else entropy  # None if it equals the loss
        value: float | None = entropy if name == "validation_cross_entropy" else vars(epoch)[name]
        if value is None and self.best is not None:
            return name, math.nan  # as after a NaN among the predictions: an earlier epoch had a value
        if value is None:
            missing = "without validation\n  help: trainer.fit(…, validation=held_out)"
            if epoch.validation_loss is not None:
                missing = "for these targets\n  help: monitor the validation loss, the default"
            raise OptionError(f"EarlyStopping: there is no {name} {missing}")
        return name, value

    @staticmethod
    def _better(name: str, before: float, value: float, margin: float = 0.0) -> bool:
        """Return whether ``before`` is at least as good as ``value``, up to the margin.

        The result is False if ``before`` is NaN.
        """
        if math.isnan(before):
            return False
        return value <= before + margin if name in _LARGER else value >= before - margin
