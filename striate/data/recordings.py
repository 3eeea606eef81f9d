"""Read folders of classes with a CSV or TSV file for each recording: ``walk/p01.csv``, ``run/p02.csv``.

A row of a file is a time step, and its columns are the channels of a signal. A column of times, such as ``time`` or
``timestamp``, sorts the rows and is not a channel; neither is a column that numbers them. The folders of classes may be
in folders for training and testing, as in ``train/walk/p01.csv``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.data.column_roles import TIMES, named_like, numbering
from striate.data.decoding import OnError
from striate.data.labelled import from_folders
from striate.data.number_options import Kind, NumberOptions
from striate.data.samples import Samples, refused
from striate.data.table_samples import time_order
from striate.data.text_table import TextTable, read_table, shortened
from striate.data.tree import FolderTree
from striate.errors import DataError, OptionError

Array = npt.NDArray[Any]
_TABLES = (".csv", ".tsv")


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

    The labels are the names of the folders. All windows of a file form a group, so they stay in one part. Raises
    ``DataError`` for files that cannot be read, whose columns differ, or that are shorter than a window, unless
    ``options.on_error`` says to skip them; ``OptionError`` for options that are not for recordings.
    """
    _require_recordings(folder, options)
    tree = FolderTree(folder)
    labelled = from_folders(tree, [entry for entry in tree.entries if is_table(Path(entry.path))], "file")
    samples = Samples(Kind.signals, (), targets=("class",), notes=labelled.notes)
    samples.groups = None if options.window is None else []
    bad: list[str] = []
    cure = ""
    for number, picture in enumerate(labelled.pictures):
        try:
            columns, values = _recording(folder / picture.entry.path, str(picture.entry.path), options)
            if samples.columns and set(columns) != set(samples.columns):
                raise DataError(
                    f"{picture.entry.path}: has the channels {shortened(columns)}, "
                    f"and the first file has {shortened(samples.columns)}"
                )
            if samples.columns:
                values = values[[columns.index(name) for name in samples.columns]]
            added = _add(samples, values, str(picture.entry.path), number, options)
        except _TextError as error:
            bad.append(str(error))
            cure = cure or f'leave the column out with ignore_columns="{error.column}"'
            continue
        except DataError as error:
            bad.append(str(error))
            continue
        samples.columns = samples.columns or columns
        samples.labels += [(picture.label,)] * added
        samples.parts += [picture.part] * added
        if samples.groups is not None:
            samples.groups += [str(picture.entry.path)] * added
    if bad and (options.on_error is OnError.refuse or not len(samples)):
        raise refused(bad, len(labelled.pictures), "files", cure)
    samples.bad = bad
    return samples


def single_recording(path: Path, options: NumberOptions) -> Samples:
    """Return the recording in one file, without a label, read in the same way as those of the training.

    Raises ``DataError`` for a file that cannot be read, lacks a channel, or is shorter than a window.
    """
    columns, values = _recording(path, str(path), options)
    samples = Samples(Kind.signals, columns)
    added = _add(samples, values, path.name, 0, options)
    samples.labels, samples.parts = [()] * added, [None] * added
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


def _recording(path: Path, name: str, options: NumberOptions) -> tuple[tuple[str, ...], Array]:
    """Return the names of the channels and their values (C, L) in the file ``path``, called ``name`` in messages."""
    try:
        table = read_table(path, options.on_error)
    except DataError as error:
        raise DataError(str(error).replace(str(path), name)) from error
    free = [column for column in table.columns if column not in options.ignore_columns]
    time = named_like(free, TIMES) if table.named else None
    channels = [column for column in free if column != time]
    numbers = numbering(table, channels) if table.named else None
    channels = [column for column in channels if column != numbers]
    if table.named and options.columns:
        channels = _known(table, name, options)
    if not channels or not table.rows:
        raise DataError(f"{name}: no {'columns of numbers' if table.rows else 'rows'}")
    values, bad = table.numbers(channels)
    if bad:
        raise _TextError(bad[0].message.replace(str(path), name), bad[0].column)
    if np.isnan(values).all(axis=0).any():
        empty = channels[int(np.isnan(values).all(axis=0).argmax())]
        raise DataError(f"{name}: the column {empty!r} has no numbers")
    rows = list(range(len(values))) if time is None else time_order(table, time)
    return tuple(channels), np.ascontiguousarray(values[rows].T, np.float32)


def _known(table: TextTable, name: str, options: NumberOptions) -> list[str]:
    """Return the channels of the training; raise ``DataError`` for a table that lacks one."""
    if missing := [column for column in options.columns if column not in table.places]:
        raise DataError(
            f"{name}: no column {shortened(missing)}, which the network was trained with\n"
            f"  its columns are {shortened(table.columns)}"
        )
    return list(options.columns)


def _add(samples: Samples, values: Array, name: str, number: int, options: NumberOptions) -> int:
    """Add a recording (C, L) to the samples, whole or in windows, and return the number of samples added."""
    if options.window is None:
        samples.values.append(values)
        samples.places.append(name)
        return 1
    window, stride = options.window, options.stride or max(1, options.window // 2)
    steps = values.shape[1]
    if steps < window:
        raise DataError(f"{name}: {steps:,} rows, and a window has {window:,}")
    starts = range(0, steps - window + 1, stride)
    for start in starts:
        samples.values.append(np.ascontiguousarray(values[:, start : start + window]))
        samples.places.append(f"{name}, rows {start + 1} to {start + window}")
        samples.rows.append((number, start, start + window))
    return len(starts)
