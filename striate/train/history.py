"""The history of a training, epoch by epoch, and its JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, overload

from striate import habits
from striate.errors import OptionError, opened_room
from striate.train.notebook import history_html


@dataclass(frozen=True)
class Epoch:
    """One pass over the training set.

    ``loss`` and ``validation_loss`` are the same function of their data: the trainer's loss function, with its class
    weights and label smoothing, as the weighted mean over all samples (see ``EpochLoss``). In training every batch
    counts as it was before its update, with the statistics of the batch and with dropout.
    ``validation_cross_entropy`` is the mean cross entropy without weights and smoothing, where that differs from
    ``validation_loss``. ``validation_accuracy`` is from 0 to 1, and ``validation_error`` the mean of
    |prediction − target| of measured targets. All are None where there was no validation, or where they mean nothing.
    ``seconds`` and ``images_per_second`` are those of training alone.
    """

    number: int
    loss: float
    seconds: float
    images_per_second: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    validation_cross_entropy: float | None = None
    validation_error: float | None = None


@dataclass(repr=False)
class History:
    """The finished epochs, and whether the training was completed.

    ``stopped`` says why it ended before its last epoch, if a callback stopped it; ``kept`` is the number of the epoch
    whose weights the model was given in the end, if ``EarlyStopping`` chose one.
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
        """The validation accuracy of every epoch."""
        return [epoch.validation_accuracy for epoch in self.epochs]

    @property
    def validation_losses(self) -> list[float | None]:
        """The validation loss of every epoch."""
        return [epoch.validation_loss for epoch in self.epochs]

    @property
    def seconds(self) -> float:
        """Time spent on training steps."""
        return math.fsum(epoch.seconds for epoch in self.epochs)

    def to_json(self) -> dict[str, object]:
        """Plain numbers, lists and objects."""
        found: dict[str, object] = {"epochs": [asdict(epoch) for epoch in self.epochs], "finished": self.finished}
        found |= {"stopped": self.stopped} if self.stopped else {}
        return found | ({} if self.kept is None else {"kept": self.kept})

    def plot(self, path: str | Path | None = None) -> Any:
        """Loss and held-out accuracy as a matplotlib figure, also written to ``path`` where one is given.

        Raises ``MissingExtraError`` without the extra ``plot``, ``DataError`` before the first epoch is finished.
        """
        return opened_room("plot", "matplotlib").curves(self, path)

    def __repr__(self) -> str:
        """The last epoch, and the best where there was validation."""
        if not self.epochs:
            return "History of no epochs"
        last = self.epochs[-1]
        text = f"History of {len(self)} epoch{'s' * (len(self) != 1)} in {self.seconds:.1f} s: loss {last.loss:.4f}"
        if not self.finished:
            text = text.replace("History", "Unfinished history")
        scores = [
            (epoch.validation_accuracy, epoch.number) for epoch in self.epochs if epoch.validation_accuracy is not None
        ]
        if not scores:
            return text
        best, number = max(scores, key=lambda score: score[0])
        return f"{text}, held-out accuracy {100 * scores[-1][0]:.2f} %, best {100 * best:.2f} % in epoch {number}"

    def _repr_html_(self) -> str:
        """Curves and epochs, as notebooks show them; needs no matplotlib."""
        return history_html(self)

    @overload
    def __getitem__(self, place: int) -> Epoch: ...
    @overload
    def __getitem__(self, place: slice) -> list[Epoch]: ...
    def __getitem__(self, place: int | slice) -> Epoch | list[Epoch]:
        """The epoch at this place, counted from 0; -1 is the last one. Raises ``OptionError`` for a name."""
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
