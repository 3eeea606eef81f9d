"""Read folders of classes with a CSV or TSV file for each recording: ``walk/p01.csv``, ``run/p02.csv``.

A row of a file is a time step, and its columns are the channels of a signal. Columns with names such as ``time`` or
``timestamp`` are not channels, and the first of them sorts the rows. Columns that number the rows, or that are called
like labels, groups, parts or series, are no channels either. The folders of classes may be in folders for training and
testing, as in ``train/walk/p01.csv``.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.counting import counted
from striate.data.column_roles import (
    GROUPS,
    LABELS,
    PARTS,
    SERIES,
    TIMES,
    known_columns,
    named_like,
    numbers_rows,
)  # fmt: skip
from striate.data.decoding import OnError
from striate.data.labelled import from_folders
from striate.data.number_options import Kind, NumberOptions
from striate.data.picture_entry import Picture
from striate.data.samples import Samples, refused
from striate.data.table_samples import time_order
from striate.data.text_table import TextTable, read_table, shortened
from striate.data.tree import FolderTree
from striate.errors import DataError, OptionError

Array = npt.NDArray[Any]
_TABLES = (".csv", ".tsv")
_NO_CHANNELS = {*LABELS, *GROUPS, *PARTS, *SERIES, *TIMES} - {"y"}  # of sensors, y is an axis


@dataclass(frozen=True, eq=False)
class _Recording:
    """What a file holds: the names of its channels, their values (C, L) in float32, and what else was seen.

    ``group`` is the only cell of a column such as ``subject``, or "". ``others`` are the columns that are no channels,
    and ``bad`` are messages about rows and cells that were skipped.
    """

    columns: tuple[str, ...]
    values: Array
    group: str
    others: tuple[str, ...]
    bad: list[str]


class _TextError(DataError):
    """The error that ``column`` has cells that are not numbers."""

    def __init__(self, message: str, column: str) -> None:
        super().__init__(message)
        self.column = column


def is_table(path: Path) -> bool:
    """Return whether the name of a file ends in .csv or .tsv."""
    return path.suffix.lower() in _TABLES


def recording_samples(folder: Path, options: NumberOptions) -> Samples:
    """Return the recordings in folders of classes as signals, whole or cut into windows.

    The labels are the names of the folders. Recordings with the same cell in a column such as ``subject`` form a group,
    and so do the windows of a file; a group stays in one part. Raises ``DataError`` for files that cannot be read,
    whose columns differ from those of most files, or that are shorter than a window, unless ``options.on_error`` says
    to skip them; ``OptionError`` for options that are not for recordings.
    """
    _require_recordings(folder, options)
    tree = FolderTree(folder)
    labelled = from_folders(tree, [entry for entry in tree.entries if is_table(Path(entry.path))], "file")
    read: list[tuple[Picture, _Recording]] = []
    bad: list[str] = []
    cure = ""
    for picture in labelled.pictures:
        try:
            read.append((picture, _recording(folder / picture.entry.path, options)))
        except DataError as error:
            bad.append(str(error))
            if isinstance(error, _TextError):
                cure = cure or f'leave the column out with ignore_columns="{error.column}"'
    usual = Counter(frozenset(one.columns) for _, one in read).most_common(1)
    columns = next((one.columns for _, one in read if frozenset(one.columns) == usual[0][0]), ())
    samples = Samples(Kind.signals, columns, targets=("class",), notes=[*labelled.notes, *_notes(read)])
    groups: list[str] = []
    for number, (picture, one) in enumerate(read):
        name = str(picture.entry.path)
        if set(one.columns) != set(columns):
            bad.append(f"{folder / name}: has the channels {shortened(one.columns)}, not {shortened(columns)}")
            continue
        values = one.values[[one.columns.index(column) for column in columns]]
        added = _add(samples, values, f"{name}, ", number, options)
        samples.labels += [(picture.label,)] * added
        samples.parts += [picture.part] * added
        groups += [one.group or name] * added
    if bad and (options.on_error is OnError.refuse or not len(samples)):
        raise refused(bad, len(labelled.pictures), "files", cure)
    _require_known(folder, options, read)
    samples.bad = bad
    by_label: dict[str, set[str]] = {}
    for (label,), group in zip(samples.labels, groups):
        by_label.setdefault(label, set()).add(group)
    if any(one.group for _, one in read) or (options.window is not None and min(map(len, by_label.values())) > 1):
        samples.groups = groups  # with a single recording of a class, its windows are divided in blocks of time
    return samples


def single_recording(path: Path, options: NumberOptions) -> Samples:
    """Return the recording in one file, without a label, read in the same way as those of the training.

    Raises ``DataError`` for a file that cannot be read, lacks a channel, or is shorter than a window.
    """
    one = _recording(path, options)
    samples = Samples(Kind.signals, one.columns, bad=one.bad)
    added = _add(samples, one.values, "", 0, options)
    samples.labels, samples.parts = [()] * added, [None] * added
    if options.window is None:
        samples.places = [path.name]
    return samples


def _require_recordings(folder: Path, options: NumberOptions) -> None:
    """Raise ``OptionError`` for options of tables that hold several samples."""
    given = [name for name in ("label_column", "group_column") if vars(options)[name]]
    if given:
        raise OptionError(
            f"{folder}: takes no {', '.join(given)}: each file is a recording, and its folder is its label"
        )
    if options.kind not in (None, Kind.signals):
        raise OptionError(
            f"{folder}: kind={options.kind.value!r}, but a folder of tables for each class has recordings: signals"
        )


def _require_known(folder: Path, options: NumberOptions, read: list[tuple[Picture, _Recording]]) -> None:
    """Raise ``DataError`` for a column to be ignored that no file has."""
    known = {column for _, one in read for column in (*one.columns, *one.others)}
    if not options.columns and (unknown := [name for name in options.ignore_columns if name not in known]):
        raise DataError(f"{folder}: no file has a column {shortened(unknown)}\n  columns: {shortened(sorted(known))}")


def _notes(read: list[tuple[Picture, _Recording]]) -> list[str]:
    """Return messages about columns that are no channels, and about rows and cells that were skipped."""
    others = sorted({column for _, one in read for column in one.others} - {""})
    notes = [f"not read as channels: {shortened(others)}"] if others else []
    skipped = [message for _, one in read for message in one.bad]
    return notes + ([f"{len(skipped):,} rows or cells were skipped, such as {skipped[0]}"] if skipped else [])


def _recording(path: Path, options: NumberOptions) -> _Recording:
    """Return what the file ``path`` holds."""
    table = read_table(path, options.on_error)
    channels = _channels(table, options)
    if not channels:
        raise DataError(f"{path}: no columns of numbers")
    values, bad = table.numbers(channels)
    if options.window is not None and len(values) < options.window:
        raise DataError(f"{path}: {counted(len(values), 'row')}, and a window has {options.window:,}")
    if bad and options.on_error is OnError.refuse:
        raise _TextError(bad[0].message, bad[0].column)
    values[np.isinf(values)] = np.nan  # a time step with bad numbers is filled, not removed
    empty = np.isnan(values).all(axis=0)
    if empty.any() and not options.fill:
        raise DataError(f"{path}: the column {channels[int(empty.argmax())]!r} has no numbers")
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    if np.isinf(values).any():
        large = channels[int(np.isinf(values).any(axis=0).argmax())]
        raise DataError(f"{path}: the column {large!r} has numbers that float32 cannot hold")
    time, group = (named_like(table.columns, names) if table.named else None for names in (TIMES, GROUPS))
    rows = list(range(len(values))) if time is None else time_order(table, time)
    cells = set(table.cells(group)) if group is not None and group not in channels else set[str]()
    others = tuple(column for column in table.columns if column not in channels)
    return _Recording(
        tuple(channels), np.ascontiguousarray(values[rows].T), cells.pop() if len(cells) == 1 else "", others,
        [*table.bad, *(cell.message for cell in bad)],
    )  # fmt: skip


def _channels(table: TextTable, options: NumberOptions) -> list[str]:
    """Return the columns that are channels: those of the training, or all whose names say nothing else."""
    free = [column for column in table.columns if column not in options.ignore_columns]
    if not table.named:
        return free
    if options.columns:
        return list(known_columns(table, options))
    return [column for column in free if column.lower() not in _NO_CHANNELS and not numbers_rows(table, column)]


def _add(samples: Samples, values: Array, name: str, number: int, options: NumberOptions) -> int:
    """Add a recording (C, L) to the samples, whole or in windows, and return the number of samples added.

    ``name`` begins the place of each window.
    """
    if options.window is None:
        samples.values.append(values)
        samples.places.append(name.removesuffix(", "))
        return 1
    windows = options.windows(values.shape[1])
    for start, end in windows:
        samples.values.append(np.ascontiguousarray(values[:, start:end]))
        samples.places.append(f"{name}rows {start + 1} to {end}")
        samples.rows.append((number, start, end))
    return len(windows)
