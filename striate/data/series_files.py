"""Read the files of the UCR and UEA archives: ``.ts`` files, and tables without names that have one series per row.

In a ``.ts`` file, lines that start with @ describe the data, and each line after @data is a case: its channels
separated by colons, the numbers of a channel by commas, and the label last. In a UCR table, a row is a label and the
numbers of one series. Missing numbers at the end of a series are cut off.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from striate.data.decoding import OnError
from striate.data.number_options import Kind, NumberOptions, Task
from striate.data.samples import Samples, refused
from striate.data.text_table import MISSING, TextTable, shown
from striate.errors import DataError

_MOST_PADDING = 16
"""A case whose channels have different lengths may become this many times as large by padding the shorter ones."""


def ucr_samples(table: TextTable, options: NumberOptions) -> Samples:
    """Return the series of a table in which each row is a label and the numbers of one series.

    Raises ``DataError`` for a table with one column and, unless ``options.on_error`` says to skip such rows, for cells
    that are not numbers.
    """
    if len(table.columns) < 2:
        raise DataError(f"{table.path}: rows of one column; expected a label and the numbers of a series")
    values, bad = table.numbers(table.columns[1:])
    lost = {cell.row: cell.message for cell in bad}
    if lost and options.on_error is OnError.refuse:
        raise refused([lost[row] for row in sorted(lost)], len(values), "rows")
    keep = [row for row in range(len(values)) if row not in lost]
    numbered = all(table.number(table.rows[row][0]).is_integer() for row in keep)
    return Samples(
        Kind.signals, ("value",), [_trimmed(values[row][np.newaxis]) for row in keep],
        [(table.rows[row][0],) for row in keep], [f"line {table.lines[row]}" for row in keep], ("label",),
        parts=[None] * len(keep), bad=table.bad + [lost[row] for row in sorted(lost)],
        task=Task.classify if numbered else None,
    )  # fmt: skip


def ts_samples(path: Path, options: NumberOptions) -> Samples:
    """Return the cases (labelled series) of a ``.ts`` file as signals.

    Raises ``DataError`` for a file of another format or with time stamps and, unless ``options.on_error`` says to skip
    such cases, for a case with another number of channels than the first, a missing label, or text in place of numbers.
    """
    options.require_no_columns(path)
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text: {error}") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    start = next((number for number, line in enumerate(lines) if line.strip().lower() == "@data"), None)
    if start is None:
        raise DataError(f"{path}: no line @data; not a file in the format of sktime and aeon")
    about = dict[str, list[str]]()
    for line in lines[:start]:
        if line.startswith("@") and (words := line[1:].split()):
            about[words[0].lower()] = words[1:] or [""]
    if about.get("timestamps", ["false"])[0].lower() == "true":
        raise DataError(f"{path}: has time stamps, which are not read\n  help: write it with @timeStamps false")
    tasks = {"classlabel": Task.classify, "targetlabel": Task.regress}
    task = next((one for name, one in tasks.items() if about.get(name, ["false"])[0].lower() == "true"), None)
    labelled = task is not None
    samples = Samples(Kind.signals, (), targets=("label",), task=task)
    lost: list[str] = []
    channels = 0
    for number, line in enumerate(lines[start + 1 :], start + 2):
        if not line.strip() or line.startswith("#"):
            continue
        parts = line.strip().split(":")
        label = (parts.pop().strip(),) if labelled else ()
        channels = channels or len(parts)
        try:
            if not parts:
                raise DataError(f"{path}, line {number}: a label without channels")
            if len(parts) != channels:
                raise DataError(f"{path}, line {number}: {len(parts)} channels, but the cases before have {channels}")
            if label and label[0].lower() in MISSING:
                raise DataError(f"{path}, line {number}: the label is missing")
            values = _case(parts, f"{path}, line {number}")
        except DataError as error:
            if options.on_error is OnError.refuse:
                raise DataError(f'{error}\n  help: mend it, or give on_error="skip" to do without it') from None
            lost.append(str(error))
            continue
        samples.values.append(_trimmed(values))
        samples.labels.append(label)
        samples.places.append(f"line {number}")
        samples.parts.append(None)
    if not len(samples):
        raise DataError(f"{path}: no cases after the line @data" + (f": {lost[0]}" if lost else ""))
    samples.bad = lost
    samples.columns = tuple(f"channel {place}" for place in range(channels)) if channels > 1 else ("value",)
    return samples


def _case(parts: list[str], where: str) -> npt.NDArray[np.float64]:
    """Return the channels of a case as (C, L); shorter channels end in NaN."""
    channels: list[list[float]] = []
    for place, part in enumerate(parts):
        numbers: list[float] = []
        for cell in part.split(","):
            text = cell.strip()
            try:
                value = np.nan if text.lower() in MISSING else float(text)
            except ValueError:
                value = np.inf
            if np.isinf(value):
                raise DataError(f"{where}, channel {place}: {shown(text)!r} is not a number")
            numbers.append(value)
        channels.append(numbers)
    steps, count = max(map(len, channels)), sum(map(len, channels))
    if len(channels) * steps > _MOST_PADDING * count:
        raise DataError(
            f"{where}: {len(channels):,} channels of up to {steps:,} steps, but only {count:,} numbers in all"
        )
    values = np.full((len(channels), steps), np.nan)
    for place, numbers in enumerate(channels):
        values[place, : len(numbers)] = numbers
    return values


def _trimmed(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return a series (C, L) without the steps at its end at which all channels are missing; at least one stays."""
    there = np.flatnonzero(~np.isnan(values).all(axis=0))
    return values[:, : int(there[-1]) + 1 if len(there) else 1]
