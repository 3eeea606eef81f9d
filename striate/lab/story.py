"""Follows the record of a training, ``progress.jsonl``, while it is written, and thins it for the page.

Curves have at most ``MOST_POINTS`` points, and the statistics of layers over time ``MOST_WATCHES``. When a list is
full, every second entry is dropped, and from then on only every second new entry is kept. The newest entry is always
available.
"""

from __future__ import annotations

import json
import math
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from striate.persistence.container import whole

Event = dict[str, Any]
Item = TypeVar("Item")

MOST_POINTS = 1200
MOST_WATCHES = 160
MOST_EPOCHS = 4000
MOST_FINDINGS = 200
KINDS = ("plan", "batch", "watch", "epoch", "finding", "end")
_RECENT = 400
_CHUNK = 1 << 20
_LONGEST_LINE = 4_000_000


@dataclass
class Thinned(Generic[Item]):
    """A list of at most ``most`` items, evenly spread over all items that were added.

    ``last`` is the newest item, or None, and ``count`` is the number of items that were added. Only every ``every``-th
    item is kept.
    """

    most: int
    items: list[Item] = field(default_factory=list[Item])
    last: Item | None = None
    every: int = 1
    count: int = 0

    def add(self, item: Item) -> None:
        """Add an item, but keep only every ``every``-th; when the list is full, drop half and double ``every``."""
        if self.count % self.every == 0:
            self.items.append(item)
            if len(self.items) > self.most:
                self.items = self.items[::2]
                self.every *= 2
        self.count += 1
        self.last = item

    def all(self) -> list[Item]:
        """Return the kept items, followed by the newest one if it is not among them."""
        return self.items if self.last is None or self.items[-1] is self.last else [*self.items, self.last]


class Story:
    """The events of one run, read from its ``progress.jsonl`` while it is written.

    ``advance`` reads the lines that are new in the file. ``snapshot`` returns the whole record, thinned.
    ``since(number)`` returns the events after the first ``number`` ones.

    ``chapter`` increases if the training starts again in the same folder; the events of the earlier chapter are then
    discarded.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.chapter = 0
        self._begin()

    def _begin(self) -> None:
        self.chapter += 1
        self.number = 0
        self.plan: Event | None = None
        self.end: Event | None = None
        self.epochs: Thinned[Event] = Thinned(MOST_EPOCHS)
        self.batches: Thinned[Event] = Thinned(MOST_POINTS)
        self.watches: Thinned[Event] = Thinned(MOST_WATCHES)
        self.findings: deque[Event] = deque(maxlen=MOST_FINDINGS)
        self.latest: Event | None = None
        self._recent: deque[Event] = deque(maxlen=_RECENT)
        self._rest = b""
        self._skipping = False
        self._place = 0
        self._file: tuple[int, int] | None = None

    def changed(self) -> bool:
        """Return whether the file has grown or was replaced since it was last read."""
        try:
            found = self._path.stat()
        except OSError:
            return self._file is not None
        return (found.st_dev, found.st_ino) != self._file or found.st_size != self._place

    def advance(self) -> None:
        """Read the lines that were appended to the file since the last call.

        An incomplete last line is kept until its end arrives; a line that is not an event is skipped.
        """
        try:
            if not self._path.is_file():
                raise OSError(f"{self._path}: not a regular file")
            with self._path.open("rb") as stream:
                found = self._path.stat()
                if self._file != (found.st_dev, found.st_ino) or found.st_size < self._place:
                    if self._file is not None:
                        self._begin()
                    self._file = (found.st_dev, found.st_ino)
                stream.seek(self._place)
                while chunk := stream.read(_CHUNK):
                    self._place += len(chunk)
                    self._take(chunk)
        except OSError:
            if self._file is not None:
                self._begin()

    def _take(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if not self._skipping:
                event = event_of(line)
                if event is not None:
                    self._tell(event)
            self._skipping = False
        if len(self._rest) > _LONGEST_LINE:
            self._rest, self._skipping = b"", True

    def _tell(self, event: Event) -> None:
        kind = event["kind"]
        if self._repeats(event):  # another training has appended to the record of an earlier one
            plan, place, rest, file, skipping = self.plan, self._place, self._rest, self._file, self._skipping
            self._begin()
            self.plan, self._place, self._rest, self._file, self._skipping = plan, place, rest, file, skipping
        if kind == "plan":
            self.plan, self.end = event, None
        elif kind == "end":
            self.end = event
        elif kind == "finding":
            self.findings.append(event)
        elif kind in ("epoch", "batch", "watch"):
            {"epoch": self.epochs, "batch": self.batches, "watch": self.watches}[kind].add(event)
        else:
            return
        self.latest = event
        self.number += 1
        self._recent.append(event)

    def _repeats(self, event: Event) -> bool:
        """Return whether the event's epoch number is not new, which means that a new training has begun.

        A training that is continued keeps counting its epochs upwards.
        """
        number = event.get({"epoch": "number", "batch": "epoch"}.get(event["kind"], ""))
        last = None if self.epochs.last is None else self.epochs.last.get("number")
        return isinstance(number, int) and isinstance(last, int) and number <= last

    def since(self, number: int) -> list[Event] | None:
        """Return the events after the first ``number`` ones; None if some of these are no longer in memory."""
        missing = self.number - number
        if not 0 <= missing <= len(self._recent):
            return None
        return list(self._recent)[len(self._recent) - missing :]

    def snapshot(self) -> dict[str, Any]:
        """Return the plan and the end of the training, thinned curves and findings, as JSON-compatible data."""
        return {
            "plan": self.plan,
            "end": self.end,
            "epochs": self.epochs.all(),
            "batches": [slim(one) for one in self.batches.all()],
            "watches": self.watches.all(),
            "findings": list(self.findings),
        }


def slim(batch: Event) -> Event:
    """Return the fields of a batch event that the curves need."""
    return {name: batch.get(name) for name in ("epoch", "batch", "step", "loss", "accuracy", "images_per_second")}


def event_of(line: bytes) -> Event | None:
    """Return the event in one line of the record, or None if the line is not an event.

    NaN and infinity become None, since the page's JSON does not have them.
    """
    try:
        found = cast("object", json.loads(line, parse_constant=_nothing, parse_float=_finite, parse_int=whole))
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    event = cast("Event", found)
    if not isinstance(event.get("kind"), str):
        return None
    return event if event["kind"] in KINDS or "severity" not in event else finding_event(event)


def finding_event(finding: Event) -> Event:
    """Return a finding as an event: ``kind`` is "finding", and ``rule`` is the name of the finding's rule."""
    return {**finding, "kind": "finding", "rule": finding.get("kind", "")}


def _finite(digits: str) -> float | None:
    number = float(digits)
    return number if math.isfinite(number) else None


def _nothing(name: str) -> None:
    return None
