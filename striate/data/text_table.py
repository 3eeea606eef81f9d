"""Read CSV and TSV files: names of columns, cells with their line numbers, and numbers.

The delimiter is the most frequent of comma, semicolon and tab in the first line; with semicolons, a comma is the
decimal point. If the first line has only numbers, it is data, and the columns are named "1", "2", … Lines that begin
with # before the first row are comments. But if such a line has a cell for each column, its cells are the names of the
columns, as ``np.savetxt`` writes them.
"""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.counting import counted
from striate.data.decoding import OnError
from striate.data.samples import refused
from striate.errors import DataError

MISSING = {"", "?", "na", "n/a", "nan", "null", "none", "-"}
"""Cells that count as missing, in lower case."""
MOST_BYTES = 1 << 31
_LONGEST_NUMBER = 64
_SHOWN = 40


@dataclass(frozen=True)
class BadCell:
    """A cell that is not a number: its row (from 0) and column, and a message that names its line."""

    row: int
    column: str
    message: str


@dataclass(frozen=True, eq=False)
class TextTable:
    """The cells of a text file, row by row.

    path     the file
    columns  names of the columns
    rows     the cells of each row as text, without surrounding spaces
    lines    the line number of each row in the file, from 1
    named    whether the first line of the file has the column names
    comma    whether a comma is the decimal point
    bad      messages about rows that were skipped, because they have fewer or more cells than there are columns
    """

    path: Path
    columns: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]
    named: bool
    comma: bool = False
    bad: list[str] = field(default_factory=list[str])

    places: dict[str, int] = field(init=False, repr=False, default_factory=dict[str, int])
    """The index of each column by its name."""

    def __post_init__(self) -> None:
        self.places.update({name: place for place, name in enumerate(self.columns)})

    def place(self, name: str) -> int:
        """Return the index of a column; raises ``DataError``, which lists the columns, if there is no such column."""
        if name in self.places:
            return self.places[name]
        near = difflib.get_close_matches(name, self.columns, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise DataError(f"{self.path}: no column {name!r}{hint}\n  its columns are {shortened(self.columns)}")

    def cells(self, name: str) -> list[str]:
        """Return the cells of the column ``name`` as text, one for each row."""
        place = self.place(name)
        return [row[place] for row in self.rows]

    def numbers(self, names: Sequence[str]) -> tuple[npt.NDArray[np.float64], list[BadCell]]:
        """Return the columns ``names`` as float64 (rows, columns), and a list of the cells that are not numbers.

        Missing cells are NaN, and cells that are not finite numbers are infinity.
        """
        values = np.full((len(self.rows), len(names)), np.nan)
        bad: list[BadCell] = []
        for number, name in enumerate(names):
            cells = self.cells(name)
            if max(map(len, cells), default=0) <= _LONGEST_NUMBER:  # an array gives every cell the room of the longest
                try:
                    values[:, number] = np.array(cells, np.str_).astype(np.float64)
                    if np.isfinite(values[:, number]).all():
                        continue
                except ValueError:
                    pass
            for row, cell in enumerate(cells):
                values[row, number] = value = self.number(cell)
                if np.isinf(value):
                    where = f"{self.path}, line {self.lines[row]}, column {name!r}"
                    bad.append(BadCell(row, name, f"{where}: {shown(cell)!r} is not a number"))
        return values, bad

    def number(self, cell: str) -> float:
        """Return the text of a cell as a number: NaN if it is missing, infinity if it is not a finite number."""
        if cell.lower() in MISSING:
            return np.nan
        try:
            value = float(cell.replace(",", ".") if self.comma else cell)
        except ValueError:
            return np.inf
        return value if abs(value) < np.inf else np.inf


def read_table(path: Path, on_error: OnError = OnError.refuse) -> TextTable:
    """Read a CSV or TSV file in UTF-8.

    Empty cells after the last column are ignored. Raises ``DataError``, which names file and line, if the file is
    empty, not text, or has rows of different lengths; with ``OnError.skip``, rows of another length are left out,
    unless they are most of the rows.
    """
    text = _text(path)
    lines = text.splitlines(keepends=True)
    comments = 0
    while comments < len(lines) and (lines[comments].startswith("#") or not lines[comments].strip()):
        comments += 1
    first = lines[comments] if comments < len(lines) else ""
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO("".join(lines[comments:]), newline=""), delimiter=delimiter)
    rows: list[list[str]] = []
    places: list[int] = []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append([cell.strip() for cell in row])
                places.append(reader.line_num + comments)
    except csv.Error as error:
        place = reader.line_num + comments
        raise DataError(f"{path}, line {place}: not a row of a table: {error}") from error
    if not rows:
        raise DataError(f"{path}: is empty")
    blank = TextTable(path, (), [], [], False, delimiter == ";")
    head = [cell.strip() for cell in lines[comments - 1].lstrip("# ").split(delimiter)] if comments else []
    if len(head) == len(rows[0]) and len(head) > 1 and not any(np.isinf(blank.number(cell)) for cell in rows[0]):
        rows.insert(0, head)
        places.insert(0, comments)
    rows, places, bad = _even(path, rows, places, on_error)
    # pandas writes the names of unnamed columns after an empty cell, above its index: ,0,1,2
    counted_up = len(rows[0]) > 1 and rows[0] == ["", *map(str, range(len(rows[0]) - 1))]
    named = counted_up or any(np.isinf(blank.number(cell)) for cell in rows[0])
    columns = tuple(rows[0]) if named else tuple(str(number + 1) for number in range(len(rows[0])))
    seen: set[str] = set()
    for name in columns:
        if name in seen:
            raise DataError(f"{path}, line {places[0]}: two columns are called {shown(name)!r}\n  help: rename one")
        seen.add(name)
    start = int(named)
    if len(rows) == start:
        raise DataError(f"{path}: has a line of names, but no rows" + (f": {bad[0]}" if bad else ""))
    return TextTable(path, columns, rows[start:], places[start:], named, blank.comma, bad)


def _text(path: Path) -> str:
    """Return the content of a text file; raises ``DataError`` if it is too large, not UTF-8, or cannot be read."""
    try:
        if path.stat().st_size > MOST_BYTES:
            raise DataError(f"{path}: {path.stat().st_size:,} bytes; a table has {MOST_BYTES:,} at most")
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text: {error}\n  help: save the table as CSV in UTF-8") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error
    if "\0" in text[:4096]:
        raise DataError(f"{path}: not a text file; save the table as CSV in UTF-8")
    return text


def _even(
    path: Path, rows: list[list[str]], lines: list[int], on_error: OnError
) -> tuple[list[list[str]], list[int], list[str]]:
    """Return rows with as many cells as the first one, their line numbers, and messages about the others.

    A last column without a name and without values, which a delimiter at the end of every line makes, is removed.
    Raises ``DataError`` for other rows if ``on_error`` is ``OnError.refuse``, and if most rows differ.
    """
    width = len(rows[0])
    if width > 1 and not rows[0][-1] and not any(row[width - 1 :] and row[width - 1] for row in rows):
        width -= 1
    rows = [row if any(row[width:]) else row[:width] for row in rows]
    bad = [
        f"{path}, line {line}: {counted(len(row), 'column')}, but line {lines[0]} has {width}"
        for row, line in zip(rows, lines)
        if len(row) != width
    ]
    if not bad:
        return rows, lines, bad
    if len(bad) * 2 > len(rows) - 1:
        raise DataError(
            f"{bad[0]}; so it is with most rows\n"
            "  help: the first line has a name for each column, separated in the same way as the cells"
        )
    if on_error is OnError.refuse:
        raise refused(bad, len(rows) - 1, "rows", "a cell with a delimiter in it needs quotes")
    kept = [place for place, row in enumerate(rows) if len(row) == width]
    return [rows[place] for place in kept], [lines[place] for place in kept], bad


def shown(cell: str) -> str:
    """Return a cell for a message: a long one is cut off."""
    return cell if len(cell) <= _SHOWN else cell[:_SHOWN] + "…"


def shortened(names: Sequence[Any], most: int = 12) -> str:
    """Return up to ``most`` names separated by commas, then the number of further names, such as "and 5 more"."""
    shown = ", ".join(str(name) for name in names[:most])
    return shown + (f" and {len(names) - most:,} more" if len(names) > most else "")
