"""The history of a training, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, overload

from striate import habits
from striate.errors import OptionError, opened_room
from striate.train.notebook import history_html
from striate.train.numerals import number_text


@dataclass(frozen=True)
class Epoch:
    """The results of one pass over the training set.

    ``number`` counts from 1. ``loss`` and ``validation_loss`` are the trainer's loss function, with its class weights
    and label smoothing, as the weighted mean over all samples (see ``EpochLoss``). The training loss of each batch is
    computed before its update, with batch statistics and dropout. ``seconds`` and ``images_per_second`` are the time
    and the speed of the training alone, without validation. ``waiting`` is the part of ``seconds`` in which the network
    waited for its batches and their augmentation.

    ``validation_cross_entropy`` is the mean cross entropy without weights and smoothing; None if it equals
    ``validation_loss``. ``validation_accuracy`` is from 0 to 1. For measured targets, ``validation_error`` is the mean
    of |prediction − target|, and ``validation_r2`` is R². ``validation_f1`` and ``validation_auc`` are means over the
    classes or yes-or-no labels (see ``Evaluation``). A validation field is None without validation, and if it is
    undefined for the data.
    """

    number: int
    loss: float
    seconds: float
    images_per_second: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    validation_cross_entropy: float | None = None
    validation_error: float | None = None
    waiting: float = 0.0
    validation_f1: float | None = None
    validation_auc: float | None = None
    validation_r2: float | None = None


@dataclass(repr=False)
class History:
    """The results of all finished epochs, and whether the training was completed.

    ``stopped`` is the reason if a callback ended the training early, else "". ``kept`` is the number of the epoch whose
    weights ``EarlyStopping`` restored at the end, or None.
    """

    epochs: list[Epoch] = field(default_factory=list[Epoch])
    finished: bool = False
    stopped: str = ""
    kept: int | None = None

    @property
    def losses(self) -> list[float]:
        """The training loss of every epoch."""
        return [epoch.loss for epoch in self.epochs]

    @property
    def accuracies(self) -> list[float | None]:
        """The validation accuracy of every epoch, from 0 to 1; None for epochs without one."""
        return [epoch.validation_accuracy for epoch in self.epochs]

    @property
    def validation_losses(self) -> list[float | None]:
        """The validation loss of every epoch; None for epochs without validation."""
        return [epoch.validation_loss for epoch in self.epochs]

    @property
    def seconds(self) -> float:
        """The time spent on training steps, in seconds, without validation."""
        return math.fsum(epoch.seconds for epoch in self.epochs)

    @property
    def waiting(self) -> float:
        """The share of ``seconds`` in which the network waited for its batches, from 0 to 1."""
        return math.fsum(epoch.waiting for epoch in self.epochs) / max(self.seconds, 1e-9)

    def to_json(self) -> dict[str, object]:
        """Return the history as a dictionary of plain numbers and lists."""
        found: dict[str, object] = {"epochs": [asdict(epoch) for epoch in self.epochs], "finished": self.finished}
        found |= {"stopped": self.stopped} if self.stopped else {}
        return found | ({} if self.kept is None else {"kept": self.kept})

    def plot(self, path: str | Path | None = None) -> Any:
        """Plot loss and validation accuracy, and return the matplotlib figure.

        The figure is also written to ``path`` if it is given. Raises ``MissingExtraError`` without the extra ``plot``,
        and ``DataError`` before the first epoch is finished.
        """
        return opened_room("plot", "matplotlib").curves(self, path)

    def __repr__(self) -> str:
        """Return the results of the last epoch and, with validation, of the best epoch, in one line."""
        if not self.epochs:
            return "History of no epochs"
        last = self.epochs[-1]
        count = f"{len(self)} epoch{'s' * (len(self) != 1)}"
        text = f"History of {count} in {self.seconds:.1f} s: loss {number_text(last.loss)}"
        if not self.finished:
            text = text.replace("History", "Unfinished history")
        scores = [
            (epoch.validation_accuracy, epoch.number) for epoch in self.epochs if epoch.validation_accuracy is not None
        ]
        if not scores:
            return text if last.validation_error is None else f"{text}, held-out mean error {last.validation_error:.4g}"
        best, number = max(scores, key=lambda score: score[0])
        return f"{text}, held-out accuracy {100 * scores[-1][0]:.2f} %, best {100 * best:.2f} % in epoch {number}"

    def _repr_html_(self) -> str:
        """Return curves and a table of the epochs as HTML, which notebooks show; does not need matplotlib."""
        return history_html(self)

    @overload
    def __getitem__(self, place: int) -> Epoch: ...
    @overload
    def __getitem__(self, place: slice) -> list[Epoch]: ...
    def __getitem__(self, place: int | slice) -> Epoch | list[Epoch]:
        """Return the epoch at this index, counted from 0 (−1 is the last), or a list for a slice.

        Raises ``OptionError`` for a string.
        """
        key: object = place
        if isinstance(key, str):
            cure = habits.HISTORY.get(key, "history.losses, history.validation_losses and history.accuracies")
            raise OptionError(f"history[{key!r}]: a history has epochs, history[0] to history[-1]\n  help: {cure}")
        return self.epochs[place]

    def __getattr__(self, name: str) -> object:
        raise habits.missing("History", name, dir(type(self)), habits.HISTORY)

    def __len__(self) -> int:
        return len(self.epochs)

    def __iter__(self) -> Iterator[Epoch]:
        return iter(self.epochs)
