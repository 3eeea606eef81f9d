"""Make samples from the rows of a table: one for each row, each series, or each window of rows."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, date, datetime, time
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.data.column_roles import PART_NAMES, Roles, roles_of
from striate.data.dataset import Split
from striate.data.decoding import OnError
from striate.data.number_options import Kind, NumberOptions, Task
from striate.data.samples import Samples, refused
from striate.data.text_table import MISSING, BadCell, TextTable
from striate.data.tree import natural
from striate.errors import DataError

Array = npt.NDArray[Any]
_NUMBERED = re.compile(r"\D*\d+\D*")


def table_samples(table: TextTable, options: NumberOptions, labelled: bool = True) -> Samples:
    """Return the samples of a table, as ``options`` say: rows, series, or windows.

    ``labelled=False`` neither reads nor requires labels. Raises ``DataError``, with line and column, for cells that are
    not numbers, missing labels, and series that are shorter than a window.
    """
    roles = roles_of(table, options, labelled)
    values, bad = table.numbers(roles.features)
    _require_numbers(table, bad)
    numbers = {name: number for number, name in enumerate(roles.features)}
    for cell in bad:
        values[cell.row, numbers[cell.column]] = np.nan
    lost = {cell.row: cell.message for cell in bad}
    labels = [tuple(cells) for cells in zip(*(table.cells(name) for name in roles.labels))] if roles.labels else []
    labels = labels if labelled and labels else [()] * len(values)
    if labelled and options.window is None and options.task is not Task.multilabel:  # a sample may have no label
        for row, cells in enumerate(labels):
            if row not in lost and any(cell.lower() in MISSING for cell in cells):
                name = next(name for name, cell in zip(roles.labels, cells) if cell.lower() in MISSING)
                lost[row] = f"{table.path}, line {table.lines[row]}, column {name!r}: the label is missing"
    if lost and options.on_error is OnError.refuse:
        cure = f'leave the column out with ignore_columns="{bad[0].column}"' if bad else ""
        raise refused([lost[row] for row in sorted(lost)], len(values), "rows", cure)
    whole = roles.kind is Kind.table or (roles.series is None and options.window is None)
    keep = [row for row in range(len(values)) if row not in lost or not whole]  # a time step is filled, not removed
    if not keep:
        raise DataError(f"{table.path}: none of its {len(values):,} rows can be used: {next(iter(lost.values()))}")
    bad_rows = table.bad + [lost[row] for row in sorted(lost)]
    samples = Samples(roles.kind, roles.features, targets=roles.labels, bad=bad_rows)
    samples.notes += [roles.note] * bool(roles.note)
    parts = _parts(table, roles)
    groups = None if roles.group is None else table.cells(roles.group)
    if whole:
        single = roles.kind is Kind.signals
        samples.values = [values[row][np.newaxis] if single else values[row] for row in keep]
        samples.columns = ("value",) if single else roles.features
        samples.labels = [labels[row] for row in keep]
        samples.places = [f"line {table.lines[row]}" for row in keep]
        samples.parts = [parts[row] for row in keep]
        samples.groups = None if groups is None else [groups[row] for row in keep]
        return samples
    series = _series(table, roles, keep, parts, groups)
    if groups is None and roles.series is not None and options.window is not None and len(series) > 1:
        groups = table.cells(roles.series)  # the windows of a recording are alike
    samples.groups = None if groups is None else []
    for number, rows in enumerate(series):
        _add_series(samples, table, roles, options, number, rows, values, labels)
        added = len(samples) - len(samples.parts)
        samples.parts += [parts[rows[0]]] * added
        if groups is not None and samples.groups is not None:
            samples.groups += [groups[rows[0]]] * added
    if not len(samples):
        raise DataError(f"{table.path}: no samples in its {len(values):,} rows")
    return samples


def time_order(table: TextTable, column: str) -> list[int]:
    """Return the indices of all rows, sorted by the times in ``column``: numbers, or dates and times in ISO 8601.

    Texts with one whole number each, such as t1 and t10, sort by that number. Rows with other texts keep their order,
    and a row without a time follows the row before it.
    """
    cells = table.cells(column)
    times = [None if cell.lower() in MISSING else _time(table, cell) for cell in cells]
    if any(one is None and cell.lower() not in MISSING for one, cell in zip(times, cells)):
        if not all(_NUMBERED.fullmatch(cell) for cell in cells):
            return list(range(len(cells)))
        return sorted(range(len(cells)), key=lambda row: natural(cells[row]))
    known = [one for one in times if one is not None]
    latest = known[0] if known else 0.0
    keys: list[float] = []
    for one in times:
        latest = latest if one is None else one
        keys.append(latest)
    return sorted(range(len(cells)), key=keys.__getitem__)


def _time(table: TextTable, cell: str) -> float | None:
    """Return a time as a number: itself, or the seconds of an ISO date or time of day; None for other text."""
    number = table.number(cell)
    if np.isfinite(number):
        return number
    try:
        found = datetime.fromisoformat(cell)
    except ValueError:
        try:
            found = datetime.combine(date(1970, 1, 1), time.fromisoformat(cell))
        except ValueError:
            return None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _require_numbers(table: TextTable, bad: list[BadCell]) -> None:
    """Raise ``DataError`` for a column of features that has text in most rows."""
    for name, count in Counter(cell.column for cell in bad).items():
        if count * 2 > len(table.rows):
            first = next(cell for cell in bad if cell.column == name)
            text = table.rows[first.row][table.place(name)]
            raise DataError(
                f"{table.path}: the column {name!r} holds text, such as {text!r} in line {table.lines[first.row]}\n"
                f'  help: write numbers in its place, leave it out with ignore_columns="{name}", or give '
                f'label_column="{name}" if it is what the network predicts'
            )


def _parts(table: TextTable, roles: Roles) -> list[Split | None]:
    """Return the part of each row."""
    if roles.part is None:
        return [None] * len(table.rows)
    return [Split.TRAIN if cell.lower() in PART_NAMES[:2] else Split.TEST for cell in table.cells(roles.part)]


def _series(
    table: TextTable, roles: Roles, keep: list[int], parts: list[Split | None], groups: list[str] | None
) -> list[list[int]]:
    """Return the rows of each series, in order of time.

    In the long form, a series are the rows with one name. In the wide form, a series ends where the group or part
    changes.
    """
    if roles.series is None:
        keys = [(parts[row], groups[row] if groups else "") for row in keep]
        starts = [place for place in range(len(keep)) if place == 0 or keys[place] != keys[place - 1]]
        return [keep[start:end] for start, end in zip(starts, [*starts[1:], len(keep)])]
    names = table.cells(roles.series)
    found: dict[str, list[int]] = {}
    for row in keep:
        found.setdefault(names[row], []).append(row)
    if roles.time is not None:
        order = {row: place for place, row in enumerate(time_order(table, roles.time))}
        for rows in found.values():
            rows.sort(key=order.__getitem__)
    for name, rows in found.items():
        own = {(parts[row], groups[row] if groups else "") for row in rows}
        if len(own) > 1:
            raise DataError(f"{table.path}: the rows of series {name!r} are in different groups or parts")
    return list(found.values())


def _add_series(
    samples: Samples,
    table: TextTable,
    roles: Roles,
    options: NumberOptions,
    number: int,
    rows: list[int],
    values: Array,
    labels: list[tuple[str, ...]],
) -> None:
    """Add one series to the samples, as a whole or cut into windows."""
    name = "" if roles.series is None else f"series {table.rows[rows[0]][table.place(roles.series)]!r}, "
    lines = [table.lines[row] for row in rows]
    if options.window is None:
        different = next((row for row in rows if labels[row] != labels[rows[0]]), None)
        if different is not None:
            raise DataError(
                f"{table.path}: {name}line {lines[0]} is labelled {labels[rows[0]][0]!r}, "
                f"but line {table.lines[different]} {labels[different][0]!r}\n"
                "  help: one label for each series; or window=128 cuts it into windows with labels of their own"
            )
        samples.values.append(np.ascontiguousarray(values[rows].T))
        samples.labels.append(labels[rows[0]])
        samples.places.append(f"{name}lines {min(lines)} to {max(lines)}")
        return
    if len(rows) < options.window:
        place = f"{name}lines {min(lines)} to {max(lines)}"
        problem = f"{table.path}, {place}: {len(rows):,} rows, and a window has {options.window:,}"
        if options.on_error is OnError.refuse:
            raise DataError(
                f'{problem}\n  help: give window={len(rows)} or less, or on_error="skip" to leave short series out'
            )
        samples.bad.append(problem)
        return
    for start, end in options.windows(len(rows)):
        part = rows[start:end]
        label = _label([labels[row] for row in part], options.task)
        if any(cell.lower() in MISSING for cell in label):
            continue
        samples.values.append(np.ascontiguousarray(values[part].T))
        samples.labels.append(label)
        samples.places.append(f"{name}lines {table.lines[part[0]]} to {table.lines[part[-1]]}")
        samples.rows.append((number, start, end))


def _label(labels: list[tuple[str, ...]], task: Task | None) -> tuple[str, ...]:
    """Return the label of a window: the most frequent of its rows, or for measured targets that of the last row.

    Among labels that are equally frequent, the last one counts.
    """
    if task is Task.regress:
        return labels[-1]
    counts = Counter(reversed(labels))
    return counts.most_common(1)[0][0]
