"""Decide what the columns of a table mean: labels, groups, train or test, time, names of series, and features."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from striate.data.number_options import Kind, NumberOptions
from striate.data.text_table import TextTable, shortened
from striate.errors import DataError

LABELS = ("label", "labels", "class", "category", "target", "activity", "species", "y")
GROUPS = ("group", "patient", "subject", "user", "person", "recording", "session")
PARTS = ("split", "part", "set", "subset")
TIMES = ("time", "timestamp", "datetime", "date", "step", "t")
SERIES = ("id", "case", "series", "series_id", "case_id", "sample", "sample_id")
NUMBERING = ("id", "index", "row", "no", "nr", "")


@dataclass(frozen=True)
class Roles:
    """The names of the columns with each role; None or () if there is no such column.

    features  the columns that the network reads
    labels    the columns that the network predicts
    group     the column with the group of a row, such as a patient; a split keeps all samples of a group in one part
    part      the column that says whether a row is for training or held out: train, test or val
    series    the column with the name of the series, in tables that have a row for each time step of a series
    time      the column with the time of a row, by which the rows of a series are sorted

    ``kind`` says whether the samples are signals or features of a table. ``note`` is a message for the user, or "".
    """

    kind: Kind
    features: tuple[str, ...]
    labels: tuple[str, ...]
    group: str | None
    part: str | None
    series: str | None
    time: str | None
    note: str = ""


def roles_of(table: TextTable, options: NumberOptions, labelled: bool = True) -> Roles:
    """Return the roles of the columns of ``table``: as ``options`` say, and otherwise by the columns' names.

    ``labelled=False`` does not require a column of labels. Raises ``DataError`` if columns are missing, or if their
    roles are not clear.
    """
    if not options.columns:  # a file that a trained network reads may lack these columns
        group = () if options.group_column is None else (options.group_column,)
        for name in (*options.label_column, *options.ignore_columns, *group):
            table.place(name)
    ignored = set(options.ignore_columns)
    free = [name for name in table.columns if name not in ignored]
    labels = options.label_column or options.targets
    labels = tuple(name for name in labels if name in free) or _labels(table, free)
    free = [name for name in free if name not in labels]
    group = options.group_column if options.group_column in free else named_like(free, GROUPS)
    part = _part(table, free)
    series, time = named_like(free, SERIES), named_like(free, TIMES)
    if options.kind is Kind.table:
        series = time = None
    kind = options.kind or _kind(table, options, series, time)
    if kind is Kind.table or (series is None and options.window is None):
        series = time = None
    taken = {group, part, series, time}
    features = [name for name in free if name not in taken]
    if options.columns:
        return Roles(kind, known_columns(table, options), labels, group, part, series, time)
    note = ""
    name = named_like(features, NUMBERING) if kind is Kind.table and len(table.rows) > 1 else None
    if name is not None and numbers_rows(table, name):
        features.remove(name)
        note = f"column {name!r} numbers the rows and was left out"
    if labelled and not labels:
        raise DataError(
            f"{table.path}: no column of labels among {shortened(table.columns)}\n"
            f'  help: give label_column="{table.columns[-1]}", if that is what the network predicts'
        )
    if not features:
        raise DataError(f"{table.path}: no columns of numbers beside the labels {shortened(labels)}")
    return Roles(kind, tuple(features), labels, group, part, series, time, note)


def _labels(table: TextTable, free: Sequence[str]) -> tuple[str, ...]:
    """Return the column that is called like labels, or the only one with text; empty if there is none."""
    named = named_like(free, LABELS)
    if named is not None:
        return (named,)
    special = {named_like(free, names) for names in (GROUPS, PARTS, TIMES, SERIES)}
    text = [name for name in free if name not in special and _is_text(table, name)]
    return (text[0],) if len(text) == 1 and table.named else ()


def _kind(table: TextTable, options: NumberOptions, series: str | None, time: str | None) -> Kind:
    """Return signals or table, by the columns for series and time and by the option ``window``."""
    if options.window is not None or (series is not None and time is not None):
        return Kind.signals
    if time is not None and options.kind is None and not options.columns:
        raise DataError(
            f"{table.path}: the column {time!r} makes its rows look like time steps, and no column names the series\n"
            '  help: give window=128 to cut windows of 128 rows, or kind="table" if each row is a sample of its own'
        )
    return Kind.table


def known_columns(table: TextTable, options: NumberOptions) -> tuple[str, ...]:
    """Return the features that training used; raises ``DataError`` where the table lacks one."""
    if missing := [name for name in options.columns if name not in table.places]:
        raise DataError(
            f"{table.path}: no column {shortened(missing)}, which the network was trained with\n"
            f"  its columns are {shortened(table.columns)}"
        )
    return options.columns


def _part(table: TextTable, free: Sequence[str]) -> str | None:
    """Return the column of parts, if its cells are names of parts."""
    name = named_like(free, PARTS)
    if name is None or not all(cell.lower() in PART_NAMES for cell in table.cells(name)):
        return None
    return name


PART_NAMES = ("train", "training", "test", "testing", "val", "valid", "validation")


def numbers_rows(table: TextTable, column: str) -> bool:
    """Return whether a column only numbers the rows: it is called so, and all its cells differ."""
    return column.lower() in NUMBERING and len(set(table.cells(column))) == len(table.rows)


def _is_text(table: TextTable, name: str) -> bool:
    """Whether most cells of a column are neither numbers nor missing."""
    return sum(np.isinf(table.number(cell)) for cell in table.cells(name)) * 2 > len(table.rows)


def named_like(columns: Sequence[str], names: Sequence[str]) -> str | None:
    """Return the first column that has one of the names, in their order and in any case."""
    lower = {column.lower(): column for column in reversed(columns)}
    return next((lower[name] for name in names if name in lower), None)
