"""The record of a run: JSON lines, appended during training, to be followed live or read later.

RUN/progress.jsonl

    {"kind": "plan", "time", "epochs", "batches", "samples", "batch_size", "unit", "first", "model", "data",
     "layers": {path: layer}, "kinds": {path: kind}}
    {"kind": "batch", "time", "epoch", "batch", "step", "loss", "accuracy", "images_per_second"}
    {"kind": "watch", "time", "epoch", "step", "samples", "layers": {path: {…}}}    see ``Watch.record``
    {"kind": "epoch", "time", …}                                                    the fields of ``Epoch``
    {"kind": "finding", "time", "rule", …}                  a problem: the fields of ``Finding``, its kind under "rule"
    {"kind": "end", "time", "finished"}

``time`` is in seconds since 1970; numbers that are not finite are null. Each line is written at once and as a whole, so
that a process that is killed leaves complete lines, except perhaps the last. Every call of ``fit`` writes one
line of the kind "plan" and one of the kind "end".
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from striate.doctor.finding import Finding
from striate.errors import ModelFileError, OptionError
from striate.nn.module import Module
from striate.options import flag
from striate.options import path as checked_path
from striate.persistence.container import whole
from striate.step import TrainingStep
from striate.train.history import Epoch
from striate.train.progress import Moment, Plan
from striate.watch import Watch

PROGRESS_FILE = "progress.jsonl"
_LARGEST = 256_000_000  # the most bytes of a file that a reader accepts, and below, of a line
_LONGEST = 4_000_000
_BATCHES, _WATCHES = 0.2, 1.0  # the fewest seconds between two lines of these kinds
_THINNING = 500
"""After T seconds of training, the pause between lines is at least about T / 500.

The record of a training that takes days is therefore only a few megabytes.
"""
_BINARY = getattr(os, "O_BINARY", 0)  # on Windows, without it, each line would end with \r\n
_SHARE = 50  # reading the watch takes at most 1/50 of the time


class Record:
    """A ``Progress`` that writes the file ``progress.jsonl`` into a folder.

    ``model`` and ``data`` are the names written into the plan. The first training replaces an existing file, or with
    ``resume`` appends to it. Later trainings with this object append. If writing fails, the attribute ``complain``, a
    function, is called with a message, and the training continues without a record. ``start`` raises ``OptionError`` if
    the file cannot be opened.
    """

    live = False

    def __init__(self, folder: str | Path, *, model: str = "", data: str = "", resume: bool = False) -> None:
        self.path = checked_path("record", folder) / PROGRESS_FILE
        self.model = model
        self.data = data
        self.finished = False
        self.complain: Callable[[str], None] = lambda text: None
        self._append = flag("resume", resume)
        self._file: int | None = None
        self._step: TrainingStep | None = None
        self._watch: Watch | None = None
        self._plan = Plan(0, 0, 0, 0)
        self._epoch = 0
        self._watched = -1  # the step of the last watch line
        self._began = self._batch_due = self._watch_due = 0.0

    @property
    def size(self) -> int | None:
        """The size of ``progress.jsonl`` in bytes; None if the file is not open."""
        return None if self._file is None else os.fstat(self._file).st_size

    def go_on(self, size: int | None) -> None:
        """Keep only the first ``size`` bytes of the file (None: all); the next ``start`` appends to the file.

        A resumed training repeats the steps after its checkpoint, so it removes the lines about these steps.
        """
        self._append = True
        if size is not None:
            with contextlib.suppress(OSError):
                if self.path.stat().st_size > size:
                    os.truncate(self.path, size)

    def of(self, step: TrainingStep, watch: Watch | None) -> None:
        """Set the training step and the watch (or None) whose state is recorded; to be called before ``start``.

        The number of each step and the statistics that the watch collects, for all layers, are written to the record.
        """
        self._step, self._watch = step, watch

    # What the trainer calls

    def start(self, plan: Plan) -> None:
        """Open the file and write the plan. Raises ``OptionError`` if the file cannot be opened."""
        self._plan, self.finished, self._watched = plan, False, -1
        self._began, self._batch_due, self._watch_due = time.perf_counter(), 0.0, 0.0
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            how = os.O_RDWR | os.O_CREAT | os.O_APPEND | _BINARY | (0 if self._append else os.O_TRUNC)
            self._file = os.open(self.path, how, 0o644)
            if os.fstat(self._file).st_size:
                os.lseek(self._file, -1, os.SEEK_END)
                if os.read(self._file, 1) != b"\n":
                    os.write(self._file, b"\n")  # an earlier process was killed while writing a line
        except OSError as error:
            raise OptionError(
                f"{self.path}: the record cannot be written: {error.strerror or error}\n"
                "  help: record= a folder that you may write to"
            ) from error
        self._append = True
        model = {"model": self.model, "data": self.data, "layers": self._layers(), "kinds": self._kinds()}
        self._write("plan", {**asdict(plan), **model})

    def warn(self, text: str) -> None:
        """Ignore warnings, which are not part of the record."""

    def note(self, text: str) -> None:
        """Ignore notes, which are not part of the record."""

    def finding(self, finding: Finding) -> None:
        """Write a line for a finding of the doctor, which diagnoses problems of the training."""
        found = finding.to_json()
        rule = found.pop("kind")
        self._write("finding", {"rule": rule, **found})

    def batch(self, moment: Moment) -> None:
        """Write a line for the first and the last batch of an epoch, and for other batches at most every 0.2 seconds.

        In a long training, the lines for these other batches become rarer. If there is a watch, which collects
        statistics of the layers, a line with these statistics is written at the end of an epoch, and now and then
        before.
        """
        now = time.perf_counter()
        self._epoch = moment.epoch
        pause = (now - self._began) / _THINNING
        if now >= self._batch_due or moment.batch in (1, self._plan.batches):
            self._batch_due = now + max(_BATCHES, pause / 4)
            self._write(
                "batch",
                {
                    "epoch": moment.epoch, "batch": moment.batch, "step": self._step_number, "loss": moment.loss,
                    "accuracy": moment.accuracy, "images_per_second": moment.images_per_second,
                },
            )  # fmt: skip
        if now >= self._watch_due or moment.batch == self._plan.batches:
            self._look()
            cost = time.perf_counter() - now
            self._watch_due = now + max(_WATCHES, pause, _SHARE * cost)

    def epoch(self, epoch: Epoch) -> None:
        """Write a line for the epoch."""
        self._write("epoch", asdict(epoch))

    def stop(self) -> None:
        """Write the last line and close the file.

        After an error or Ctrl-C, a line of the kind "watch", with the statistics of the layers, is written before the
        last line.
        """
        if self._file is None:
            return
        if not self.finished and self._step_number:
            self._look()
        self._write("end", {"finished": self.finished})
        self._close()

    # Private

    def _modules(self) -> dict[str, Module]:
        """Return the layers of the model by dotted path."""
        return {} if self._step is None else {path: one for path, one in self._step.model.named_modules() if path}

    def _layers(self) -> dict[str, str]:
        """Return a description of each layer by path, such as ``Conv2d(1, 16, kernel_size=5)``."""
        return {path: layer.describe() for path, layer in self._modules().items()}

    def _kinds(self) -> dict[str, str]:
        """Return the kind of each layer by path, such as ``normalization``."""
        return {path: layer.layer_kind.value for path, layer in self._modules().items()}

    @property
    def _step_number(self) -> int:
        """The number of successful training steps; 0 without a step."""
        return 0 if self._step is None else self._step.step_number

    def _look(self) -> None:
        """Write a line with the state of all layers, unless it has been written for this step."""
        if self._watch is not None and self._watched != self._step_number:
            self._watched = self._step_number
            self._write("watch", {"epoch": self._epoch, **cast("dict[str, Any]", rounded(self._watch.record()))})

    def _write(self, kind: str, entries: Mapping[str, Any]) -> None:
        """Write one line; if that fails, close the file and complain."""
        if self._file is None:
            return
        event = {"kind": kind, "time": round(time.time(), 3), **cast("dict[str, Any]", finite(dict(entries)))}
        line = json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str) + "\n"
        try:
            rest = memoryview(line.encode("utf-8", "replace"))
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError as error:
            self._close()
            self.complain(f"{self.path}: the record ends here: {error.strerror or error}")

    def _close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def finite(thing: Any) -> Any:
    """Return a copy of nested lists and dictionaries with None in place of NaN and infinity, which JSON lacks."""
    if isinstance(thing, float):
        return thing if math.isfinite(thing) else None
    if isinstance(thing, Mapping):
        return {key: finite(value) for key, value in cast("Mapping[Any, Any]", thing).items()}
    if isinstance(thing, list | tuple):
        return [finite(value) for value in cast("list[Any]", thing)]
    return thing


def rounded(thing: Any) -> Any:
    """Return a copy of nested dictionaries with numbers rounded to six digits, to shorten the JSON."""
    if isinstance(thing, float):
        return float(f"{thing:.6g}")
    if isinstance(thing, Mapping):
        return {key: rounded(value) for key, value in cast("Mapping[Any, Any]", thing).items()}
    return thing


def read_progress(folder: str | Path) -> list[dict[str, Any]]:
    """Return the events in the record of a run as dictionaries, in order.

    Each has at least ``kind`` and ``time``. Lines that are not events, such as a last line that is still being written,
    are skipped. Returns [] for a run without a record. Raises ``ModelFileError`` for a file that cannot be read, is
    larger than 256 MB, has a line of more than 4 MB, or contains no event at all.
    """
    path = checked_path("folder", folder) / PROGRESS_FILE
    events: list[dict[str, Any]] = []
    count = 0
    try:
        if not path.exists():
            return []
        if not path.is_file():
            raise ValueError("not a regular file")
        with path.open("rb") as stream:
            if os.fstat(stream.fileno()).st_size > _LARGEST:
                raise ValueError(f"not a file of at most {_LARGEST // 10**6} MB")
            total = 0
            while line := stream.readline(_LONGEST + 1):
                total += len(line)
                if len(line) > _LONGEST or total > _LARGEST:
                    raise ValueError(f"line {count + 1} makes it too long")
                count += line.endswith(b"\n")
                event = _event(line)
                if event is not None:
                    events.append(event)
    except (OSError, ValueError) as error:
        raise ModelFileError(f"{path}: the record cannot be read: {error}") from error
    if count and not events:
        raise ModelFileError(f"{path}: not a record of a training\n  help: give the folder that `striate train` made")
    return events


def _event(line: bytes) -> dict[str, Any] | None:
    """Return the event in a line; None if the line is not an event."""
    if not line.endswith(b"\n"):
        return None
    try:
        found: object = json.loads(line, parse_constant=lambda word: None, parse_int=whole)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    event = cast("dict[str, Any]", found)
    known = isinstance(event.get("kind"), str) and isinstance(event.get("time"), int | float)
    return event if known else None
