"""The runs that the lab shows, identified by random keys: the page never sees or sends a path."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from striate.errors import ModelFileError, OptionError
from striate.lab.requests import TrainingRequest
from striate.lab.story import Story, finding_event
from striate.lab.trainings import State, Training
from striate.persistence.atomic import make_folder
from striate.train.record import finite
from striate.train.run import MODEL_FILE, RUN_FILE, Run, read_run

PROGRESS_FILE = "progress.jsonl"
_QUIET = 30.0
"""Seconds without a new line in its record after which a run not started by this lab counts as stopped."""
_OURS = re.compile(r"(\d{3,6})-[a-z0-9_]+")


@dataclass(eq=False)
class Entry:
    """One run: its folder, its record (``story``), and its training if this lab started it.

    ``key`` is the random key by which the page knows the run, ``name`` the name that the page shows, and ``run`` the
    contents of its run.json, or None if there is no readable run.json.
    """

    key: str
    name: str
    folder: Path
    story: Story
    training: Training | None = None
    run: Run | None = None
    seen: int = 0
    """The modification time of the run.json that was last read, in nanoseconds; 0 if there is none."""

    def refresh(self) -> None:
        """Read run.json again if it has changed."""
        try:
            written = (self.folder / RUN_FILE).stat().st_mtime_ns
            if written != self.seen:
                self.run, self.seen = read_run(self.folder), written
        except OSError:
            self.run, self.seen = None, 0
        except ModelFileError:
            self.run = None

    @property
    def told(self) -> Run | None:
        """The contents of run.json.

        None if there is no readable run.json, or if it belongs to an earlier training in the same folder.
        """
        begun = (self.story.plan or {}).get("time", 0)
        again = self.story.end is None and isinstance(begun, (int, float)) and begun > self.seen / 1e9
        return None if again else self.run

    @property
    def state(self) -> State:
        """The state of the run, inferred from its files and their age if this lab did not start it."""
        if self.training is not None:
            return self.training.state
        end = self.story.end
        if end is not None:
            return State.FINISHED if end.get("finished") else State.STOPPED
        if self.run is not None and self.story.latest is None:
            return State.FINISHED if self.run.finished else State.STOPPED
        try:
            quiet = time.time() - (self.folder / PROGRESS_FILE).stat().st_mtime
        except OSError:
            return State.WAITING
        if quiet < _QUIET:
            return State.RUNNING
        return State.FINISHED if self.told is not None and self.told.finished else State.STOPPED

    def settings(self) -> dict[str, Any]:
        """Return the settings of the training.

        They are read from run.json. If this file does not exist yet, the settings come from the request or, for a
        training that this lab did not start, from progress.jsonl.
        """
        run = self.told
        if run is not None:
            named = {"data": Path(run.data).name, **run.arguments, "seed": run.seed}
            return {name: finite(value) for name, value in named.items() if isinstance(value, (str, int, float, bool))}
        if self.training is not None:
            return {"data": Path(self.training.request.data).name, **self.training.request.settings}
        plan = self.story.plan or {}
        return {name: plan[name] for name in ("data", "model", "batch_size", "epochs") if name in plan}

    def summary(self) -> dict[str, Any]:
        """Return the entry of this run in the page's list, as JSON-compatible data."""
        last = self.story.epochs.last or {}
        run = self.told
        epochs = list(run.history.get("epochs", [])) if run is not None else []
        if not last and epochs:
            last = finite(epochs[-1])
        evaluation = run.evaluation if run is not None and self.state is State.FINISHED else None
        accuracy = finite(evaluation or {}).get("accuracy", last.get("validation_accuracy"))
        settings = self.settings()
        plan = self.story.plan or {}
        return {
            "key": self.key,
            "name": self.name,
            "state": self.state.value,
            "ours": self.training is not None,
            "has_model": (self.folder / MODEL_FILE).is_file() and self.seen != 0,
            "settings": settings,
            "epoch": last.get("number", 0),
            "epochs": plan.get("epochs") or settings.get("epochs"),
            "loss": last.get("loss"),
            "accuracy": accuracy,
            "message": self.training.message if self.training is not None else "",
        }

    def history(self) -> dict[str, Any]:
        """Return the curves, plan, findings and end of the training, with the keys of ``Story.snapshot``.

        Without progress.jsonl, the epochs, findings and end come from run.json.
        """
        told = self.story.snapshot()
        if self.run is not None and self.story.latest is None:
            told["epochs"] = finite(self.run.history.get("epochs", []))
            told["end"] = {"kind": "end", "finished": self.run.finished}
            told["findings"] = [finite(finding_event(one)) for one in self.run.findings]
        return told


@dataclass
class Runs:
    """All runs, in the order in which they were added.

    New runs get folders such as ``001-lenet5`` in the lab's folder. ``changed`` is called when a run is added.
    """

    folder: Path
    changed: Callable[[], None] = lambda: None
    entries: dict[str, Entry] = field(default_factory=dict[str, Entry])

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries.values())

    def __getitem__(self, key: str) -> Entry:
        """Return the run with this key; raise ``KeyError`` if there is none."""
        return self.entries[key]

    def add(self, folder: Path, training: Training | None = None) -> Entry:
        """Add the run in a folder under a new random key; a folder that is already listed keeps its entry."""
        for entry in self:
            if entry.folder == folder:
                return entry
        key = secrets.token_urlsafe(9)
        entry = Entry(key, folder.name, folder, Story(folder / PROGRESS_FILE), training)
        entry.refresh()
        self.entries[key] = entry
        self.changed()
        return entry

    def scan(self) -> None:
        """Add the runs that earlier labs left in the lab's folder."""
        if not self.folder.is_dir():
            return
        for folder in sorted(self.folder.iterdir(), key=_number):
            if _OURS.fullmatch(folder.name) and is_run(folder):
                self.add(folder)

    def requested(self, request: TrainingRequest) -> Training:
        """Create a folder for a requested training and list it, without starting it.

        Raises ``OptionError`` if the folder cannot be created.
        """
        model = str(request.settings.get("model", "run"))
        try:
            make_folder(self.folder)
            number = max((_number(one)[0] for one in self.folder.iterdir()), default=0)
            while True:
                number += 1
                folder = self.folder / f"{number:03d}-{model}"
                try:
                    folder.mkdir()
                    break
                except FileExistsError:
                    continue
        except OSError as error:
            raise OptionError(f"the lab's folder cannot be written to: {error.strerror or error}") from error
        training = Training(request, folder)
        self.add(folder, training)
        return training


def is_run(folder: Path) -> bool:
    """Return whether the folder contains run.json or a record of a training."""
    return (folder / RUN_FILE).is_file() or (folder / PROGRESS_FILE).is_file()


def _number(folder: Path) -> tuple[int, str]:
    found = _OURS.fullmatch(folder.name)
    return (int(found[1]) if found else 0, folder.name)
