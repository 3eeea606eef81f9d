"""Read CSV and TSV files: names of columns, cells with their line numbers, and numbers.

The delimiter is the most frequent of comma, semicolon and tab in the first line; with semicolons, a comma is the
decimal point. If the first line has only numbers, it is data, and the columns are named "1", "2", …
"""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

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
    """

    path: Path
    columns: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]
    named: bool
    comma: bool = False

    @cached_property
    def places(self) -> dict[str, int]:
        """The index of each column by its name."""
        return {name: place for place, name in enumerate(self.columns)}

    def place(self, name: str) -> int:
        """Return the index of a column; raises ``DataError``, which lists the columns, if there is no such column."""
        if name in self.places:
            return self.places[name]
        near = difflib.get_close_matches(name, self.columns, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise DataError(f"{self.path}: no column {name!r}{hint}\n  its columns are {shortened(self.columns)}")

    def cells(self, name: str) -> list[str]:
        """Return the text of one column."""
        place = self.place(name)
        return [row[place] for row in self.rows]

    def numbers(self, names: Sequence[str]) -> tuple[npt.NDArray[np.float64], list[BadCell]]:
        """Return columns as float64 (rows, columns), NaN for missing cells, and the cells that are not numbers."""
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


def read_table(path: Path) -> TextTable:
    """Read a CSV or TSV file in UTF-8.

    Raises ``DataError``, which names file and line, if the file is empty, not text, or has rows of different lengths.
    """
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
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                rows.append([cell.strip() for cell in row])
                lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: not a row of a table: {error}") from error
    if not rows:
        raise DataError(f"{path}: is empty")
    width = len(rows[0])
    for row, line in zip(rows, lines):
        if len(row) != width:
            raise DataError(
                f"{path}, line {line}: {len(row)} columns, but line {lines[0]} has {width}\n"
                "  help: mend or remove the line; a cell with a delimiter in it needs quotes"
            )
    blank = TextTable(path, (), [], [], False, delimiter == ";")
    named = any(np.isinf(blank.number(cell)) for cell in rows[0])
    columns = tuple(rows[0]) if named else tuple(str(number + 1) for number in range(width))
    seen: set[str] = set()
    for name in columns:
        if name in seen:
            raise DataError(f"{path}, line {lines[0]}: two columns are called {shown(name)!r}\n  help: rename one")
        seen.add(name)
    start = int(named)
    if len(rows) == start:
        raise DataError(f"{path}: has a line of names, but no rows")
    return TextTable(path, columns, rows[start:], lines[start:], named, blank.comma)


def shown(cell: str) -> str:
    """Return a cell for a message: a long one is cut off."""
    return cell if len(cell) <= _SHOWN else cell[:_SHOWN] + "…"


def shortened(names: Sequence[Any], most: int = 12) -> str:
    """Return names separated by commas; after ``most`` names, with the number of others, such as "and 5 more"."""
    shown = ", ".join(str(name) for name in names[:most])
    return shown + (f" and {len(names) - most:,} more" if len(names) > most else "")
