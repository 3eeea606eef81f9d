"""Summaries of run folders: epochs, results, and whether the training is finished, interrupted or running.

For a finished run, ``run.json`` has all of this. While a training runs, and after it was killed, ``run.json`` has only
the options, so the epochs are read from the record, ``progress.jsonl``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from typing import Any, cast

from striate.data.catalog import KNOWN
from striate.errors import DataError, ModelFileError
from striate.persistence.lock import is_held
from striate.train.history import Epoch, History
from striate.train.numerals import number_text
from striate.train.record import PROGRESS_FILE, read_progress
from striate.train.run import RUN_FILE, Run, read_run


class State(Enum):
    """Whether a training is finished, was interrupted (and can be resumed), or is running in some process."""

    finished = "finished"
    interrupted = "interrupted"
    running = "running"


@dataclass(frozen=True)
class Metric:
    """A number that is measured on the held-out data after every epoch.

    name    the name in tables and in JSON: "accuracy", "error" or "loss"
    rising  whether a larger number is better
    of      a function that returns the number for an ``Epoch``, or None if it was not measured in that epoch
    """

    name: str
    rising: bool
    of: Callable[[Epoch], float | None]

    def best(self, history: History) -> tuple[float, int] | None:
        """Return (best value, number of the first epoch with this value); None if the metric was not measured."""
        sign = -1 if self.rising else 1
        return min(self._measured(history), key=lambda one: (sign * one[0], one[1]), default=None)

    def last(self, history: History) -> float | None:
        """Return the value of the last epoch for which it is known; None if it was not measured."""
        measured = self._measured(history)
        return measured[-1][0] if measured else None

    def text(self, value: float | None) -> str:
        """Return the number as text, such as "98.59 %" or "0.0356"; a dash for None."""
        return f"{100 * value:.2f} %" if self.rising and value is not None else number_text(value)

    def _measured(self, history: History) -> list[tuple[float, int]]:
        """Return (value, number of the epoch) for each epoch in which the value is known."""
        found = ((self.of(epoch), epoch.number) for epoch in history)
        return [(value, number) for value, number in found if value is not None]


METRICS = (
    Metric("accuracy", True, lambda epoch: epoch.validation_accuracy),
    Metric("error", False, lambda epoch: epoch.validation_error),
    Metric("loss", False, lambda epoch: epoch.validation_loss),
)
"""The held-out metrics; the first one that a run has measured describes it."""


@dataclass(frozen=True)
class RunSummary:
    """A run and the state of its training.

    name     the path of the run's folder, relative to the folder that was searched
    folder   the path of the run's folder
    run      the contents of ``run.json``
    history  the finished epochs
    state    whether the training has finished, was interrupted, or is running
    date     the time at which the training last wrote into the folder, in seconds since 1970
    """

    name: str
    folder: Path
    run: Run
    history: History
    state: State
    date: float

    @property
    def data(self) -> str:
        """The name of the data set: a known name, or the last part of its path."""
        return self.run.data if self.run.data in KNOWN else Path(self.run.data).name

    @property
    def network(self) -> str:
        """The name of the network, as ``--model`` takes it; "" if unknown."""
        return str(self.run.arguments.get("model", ""))

    @property
    def asked(self) -> int:
        """The number of epochs that the training was started with; 0 if unknown."""
        asked = self.run.arguments.get("epochs")
        return asked if isinstance(asked, int) else 0

    @property
    def metric(self) -> Metric:
        """The metric that describes the run: accuracy, error or loss on the held-out data."""
        measured = (one for one in METRICS if any(one.of(epoch) is not None for epoch in self.history))
        return next(measured, METRICS[-1])

    @property
    def best(self) -> tuple[float, int] | None:
        """(best value of the run's metric, number of the first epoch with it); None if the metric was not measured."""
        return self.metric.best(self.history)

    @property
    def last(self) -> float | None:
        """The value of the run's metric after the last epoch for which it is known; None if it was not measured."""
        return self.metric.last(self.history)

    def to_json(self) -> dict[str, Any]:
        """Return the summary as a dictionary of plain numbers and text."""
        best = self.best
        return {
            "name": self.name, "folder": str(self.folder), "data": self.run.data, "network": self.network,
            "epochs": {"done": len(self.history), "asked": self.asked}, "metric": self.metric.name,
            "best": None if best is None else {"value": best[0], "epoch": best[1]}, "last": self.last,
            "seconds": self.history.seconds, "date": self.date, "state": self.state.value,
        }  # fmt: skip


def read_summary(folder: Path, name: str | None = None) -> RunSummary:
    """Read the run in a folder; ``name`` is by default the folder's path as given.

    Raises ``ModelFileError`` for a folder without a run, or with a run that cannot be read.
    """
    before = is_held(folder)
    run = read_run(folder)
    state = State.running if before or is_held(folder) else State.finished if run.finished else State.interrupted
    entries = run.history.get("epochs")
    epochs = _epochs(cast("list[object]", entries) if isinstance(entries, list) else [])
    if state is not State.finished:
        recorded = _epochs([event for event in read_progress(folder) if event["kind"] == "epoch"])
        epochs = max(epochs, recorded, key=len)
    history = History(epochs, run.finished, str(run.history.get("stopped", "")))
    written = (folder / file for file in (RUN_FILE, PROGRESS_FILE))
    date = max((os.stat(path).st_mtime for path in written if path.exists()), default=0.0)
    return RunSummary(name or str(folder), folder, run, history, state, date)


def _epochs(entries: list[Any]) -> list[Epoch]:
    """Return the epochs in JSON objects by number; of several with one number, the last.

    A training that was resumed repeats the epochs after its checkpoint. Numbers that are not finite become None, and
    the loss NaN; objects that are not epochs are left out.
    """
    known = {one.name for one in fields(Epoch)}
    found: dict[int, Epoch] = {}
    for entry in entries:
        if not isinstance(entry, Mapping):
            continue
        values = {
            name: value
            for name, value in cast("Mapping[str, object]", entry).items()
            if name in known and isinstance(value, int | float) and math.isfinite(value)
        }
        number = values.pop("number", None)
        if isinstance(number, int):
            start = {"loss": math.nan, "seconds": 0.0, "images_per_second": 0.0}
            found[number] = Epoch(number, **{name: float(value) for name, value in (start | values).items()})
    return [found[number] for number in sorted(found)]


def runs_below(folder: Path) -> Iterator[RunSummary | ModelFileError]:
    """Yield a summary of each run in a folder and the folders below it, or the error of a run that cannot be read.

    Hidden folders, links to folders, and folders inside of a run are not searched. Raises ``DataError`` for a folder
    that does not exist or cannot be read.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: {'a file, not a folder' if folder.exists() else 'no such folder'}")
    for place, folders, files in os.walk(folder):
        if RUN_FILE not in files:
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            continue
        folders.clear()
        name = Path(place).relative_to(folder).as_posix()
        try:
            yield read_summary(Path(place), Path(place).resolve().name if name == "." else name)
        except ModelFileError as error:
            yield error
