"""Samples as they are in a file, before labels become numbers, gaps are filled and parts are chosen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.data.dataset import Split
from striate.data.number_options import Kind, Task
from striate.errors import DataError

Array = npt.NDArray[Any]
_LISTED = 10


@dataclass
class Samples:
    """Samples of one kind, as lists with an entry for each sample.

    kind     what the samples are
    columns  names of the features or channels
    values   an array for each sample: (D,) features, (C, L) signals, (C, H, W) pictures, (C, D, H, W) volumes; NaN for
             a missing number
    labels   the labels of each sample as text, one for each of ``targets``; empty tuples if there are no labels
    places   where each sample is in the file, such as "line 12"
    targets  names of the label columns
    groups   the name of the group of each sample, such as a patient; None: no groups
    parts    whether each sample is for training or held out; None if the file does not say
    rows     (series, first row, end row) of each window, the end exclusive; empty unless the samples are windows
    task     what is predicted; None if the file does not say
    channels_last  whether the channels were on the last axis; None if the samples do not show it
    bad      messages about rows and samples that were skipped
    notes    messages for the user
    """

    kind: Kind
    columns: tuple[str, ...]
    values: list[Array] = field(default_factory=list[Array])
    labels: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])
    places: list[str] = field(default_factory=list[str])
    targets: tuple[str, ...] = ()
    groups: list[str] | None = None
    parts: list[Split | None] = field(default_factory=list[Split | None])
    rows: list[tuple[int, int, int]] = field(default_factory=list[tuple[int, int, int]])
    task: Task | None = None
    channels_last: bool | None = None
    bad: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])

    def __len__(self) -> int:
        return len(self.values)


def refused(problems: list[str], count: int, what: str, cure: str = "") -> DataError:
    """Return the error that lists rows or samples that cannot be used.

    ``problems`` has a message for each, ``count`` is the number of all rows or samples, and ``what`` is their name,
    such as "rows". ``cure`` is advice for the help line of the message.
    """
    more = f"\n  … and {len(problems) - _LISTED:,} more" if len(problems) > _LISTED else ""
    them = "it" if len(problems) == 1 else "them"
    help_line = f'\n  help: mend {them}{", " * bool(cure)}{cure}, or give on_error="skip" to do without {them}'
    if len(problems) == 1:
        return DataError(problems[0] + help_line)
    shown = "\n  ".join(problems[:_LISTED])
    return DataError(f"{len(problems):,} of {count:,} {what} cannot be used\n  {shown}{more}{help_line}")


def gaps(values: Array) -> int:
    """Return the number of missing values, which are NaN."""
    return int(np.isnan(values).sum()) if values.dtype.kind == "f" else 0
