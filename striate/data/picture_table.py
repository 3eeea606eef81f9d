"""Take the labels of pictures from CSV or TSV tables with a line for each picture."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from striate.counting import counted
from striate.data.dataset import Split
from striate.data.picture_entry import PARTS, Labelled, Picture, part_word
from striate.data.tree import Entry, Tree, natural
from striate.errors import DataError

_FILES = (
    "file", "filename", "file_name", "path", "filepath", "file_path", "image", "image_path", "image_name", "image_id",
    "img", "img_path", "picture", "photo", "name", "id",
)  # fmt: skip
_LABELS = ("label", "class", "category", "target", "y")
_PART_COLUMNS = ("split", "part", "set", "subset")
_GROUPS = ("group", "patient", "subject")
_MOST_NUMBERED = 100
Finder = Callable[[Entry, str], Entry | None]
"""A function that returns the picture which a cell of a table names; None if there is none."""


@dataclass(frozen=True)
class _Table:
    """The rows of a table, and the index of the column with each role: "file", "label", "part" and "group"."""

    entry: Entry
    columns: dict[str, int]
    rows: list[tuple[int, list[str]]]
    """The line number and the cells of each row."""


class _UnlabelledError(DataError):
    """A table has no column of labels, as the table of pictures that are still to be labelled."""


def from_tables(tree: Tree, tables: Sequence[Entry], files: Sequence[Entry], label_column: str | None) -> Labelled:
    """Return the pictures that the tables list, with their labels.

    ``files`` are the picture files, and ``label_column`` is the name of the column of labels; None: the column with a
    name such as "label" or "class", or the only one that is left. Raises ``DataError``, which names the line, for
    tables without files or labels.
    """
    find = _finder(tree, files)
    notes: list[str] = []
    read: list[_Table] = []
    unlabelled: list[_UnlabelledError] = []

    def last(table: Entry) -> bool:
        word = part_word(table.path.stem)
        return word is not None and PARTS[word] is not Split.TRAIN

    for table in sorted(tables, key=last):  # what the labels are called is decided by the table for training
        if "submission" in table.path.stem.lower():
            notes.append(f"{table.path}: looks like a form for answers, and was not read")
            continue
        try:
            read.append(_table(tree, table, find, label_column, bool(read)))
        except _UnlabelledError as error:
            unlabelled.append(error)
    if unlabelled and not read:
        raise DataError(str(unlabelled[0]))
    notes += [f"not read: {str(error).splitlines()[0]}" for error in unlabelled]
    pictures: list[Picture] = []
    unusable: list[str] = []
    for table in read:
        word = part_word(table.entry.path.stem)
        for line, cells in table.rows:
            row = {role: cells[place].strip() for role, place in table.columns.items()}
            where = f"{tree.name(table.entry)}, line {line}"
            entry = find(table.entry, row["file"])
            if entry is None:
                unusable.append(f"{where}: no picture {row['file']!r} in {tree.root}")
                continue
            if not row["label"]:
                unusable.append(f"{where}: the label is missing")
                continue
            part = None if word is None else PARTS[word]
            if row.get("part"):
                part = PARTS.get(row["part"].lower())
                if part is None:
                    raise DataError(f"{where}: split {row['part']!r}; expected one of {', '.join(PARTS)}")
            pictures.append(Picture(entry, row["label"], part, row.get("group") or None))
    if unusable and not pictures:
        raise DataError(f"{unusable[0]}; so it is with all {counted(len(unusable), 'line')}")
    names = tuple(sorted({picture.label for picture in pictures}, key=natural))
    _require_names(tree, pictures, names)
    known = {picture.entry.path for picture in pictures}
    unlisted = [entry for entry in files if entry.path not in known]
    if unlisted:
        were = "has no line in the table and was" if len(unlisted) == 1 else "have no line in the table and were"
        notes.append(f"{counted(len(unlisted), 'picture')} {were} passed over")
    return Labelled(pictures, names, unlisted, notes, unusable)


def _finder(tree: Tree, files: Sequence[Entry]) -> Finder:
    """Return the function that finds a picture by its path, its name, or its name without suffix.

    It raises ``DataError`` for a name that several pictures have.
    """
    by_path = {entry.path: entry for entry in files}
    by_name: dict[str, list[Entry]] = {}
    for entry in files:
        by_name.setdefault(entry.path.name, []).append(entry)
        by_name.setdefault(entry.path.stem, []).append(entry)

    def find(table: Entry, cell: str) -> Entry | None:
        if not cell:
            return None
        path = PurePosixPath(cell.replace("\\", "/"))
        exact = by_path.get(table.path.parent / path) or by_path.get(path)
        if exact is not None:
            return exact
        found = by_name.get(path.name, [])
        if len(found) > 1:  # such as 7.png of two folders: the end of the path decides
            found = [one for one in found if str(one.path.with_suffix("")).endswith(str(path.with_suffix("")))] or found
            ends = [one for one in found if f"/{one.path}".endswith(f"/{path}")]
            found = ends or found
        if len(found) > 1:
            raise DataError(
                f"{tree.name(table)}: {cell!r} may be {found[0].path} or {found[1].path}\n"
                "  help: write paths in the table, below the folder of the pictures"
            )
        return found[0] if found else None

    return find


def _table(tree: Tree, table: Entry, find: Finder, label_column: str | None, further: bool) -> _Table:
    """Read a table in UTF-8, and decide which column has which role; ``further``: it is not the first of the tables."""
    name = tree.name(table)
    try:
        text = tree.read(table).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: not UTF-8 text: {error}\n  help: save the table as CSV in UTF-8") from error
    first = text.partition("\n")[0]
    delimiter = "\t" if table.path.suffix.lower() == ".tsv" else max(",;\t", key=first.count)
    lines = csv.reader(io.StringIO(text), delimiter=delimiter)
    try:
        rows = [(lines.line_num, row) for row in lines if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise DataError(f"{name}, line {lines.line_num}: not a row of a table: {error}") from error
    if not rows:
        raise DataError(f"{name}: is empty")
    head = [cell.strip() for cell in rows[0][1]]
    for line, row in rows:
        if len(row) < len(head):
            raise DataError(f"{name}, line {line}: {counted(len(row), 'column')}, not {len(head)}")
    if any(find(table, cell) is not None for cell in head):
        raise DataError(
            f"{name}: no names of columns in line 1, {', '.join(head)[:99]!r}\n  help: add a first line file,label"
        )
    if len(rows) == 1:
        raise DataError(f"{name}: has a line of names, but no rows")
    return _Table(table, _columns(name, table, head, rows[1:], find, label_column, further), rows[1:])


def _columns(
    name: str,
    table: Entry,
    head: list[str],
    rows: list[tuple[int, list[str]]],
    find: Finder,
    label_column: str | None,
    further: bool,
) -> dict[str, int]:
    """Return the index of the column with each role; raises ``DataError`` unless files and labels are found."""
    lower = [one.lower() for one in head]
    usual = {"file": _FILES, "label": _LABELS, "part": _PART_COLUMNS, "group": _GROUPS}
    columns = {role: lower.index(one) for role, names in usual.items() for one in names[::-1] if one in lower}
    named = next((place for place, cell in enumerate(rows[0][1][: len(head)]) if find(table, cell.strip())), None)
    if named is not None and not find(table, rows[0][1][columns.get("file", named)].strip()):
        columns["file"] = named  # the column whose cells are names of pictures
    columns.setdefault("file", named if named is not None else -1)
    if label_column is not None:
        if label_column.lower() not in lower and not further:
            near = difflib.get_close_matches(label_column, head, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise DataError(f"{name}: no column {label_column!r}{hint}\n  its columns are {', '.join(head)}")
        columns.pop("label", None)
        if label_column.lower() in lower:
            columns["label"] = lower.index(label_column.lower())
    free = [place for place in range(len(head)) if place not in columns.values()]
    if "label" not in columns and len(free) == 1 and columns["file"] >= 0 and not further:
        columns["label"] = free[0]
    missing = [role for role in ("file", "label") if columns.get(role, -1) < 0]
    if missing:
        cure = (
            f'give label_column="{head[free[-1]]}", if that is what the network predicts'
            if missing == ["label"] and free
            else f"file columns are called {', '.join(_FILES)}; label columns {', '.join(_LABELS)}"
        )
        raise (_UnlabelledError if missing == ["label"] else DataError)(
            f"{name}: no column {' and no column '.join(missing)} in line 1, {', '.join(head)[:99]!r}\n  help: {cure}"
        )
    return columns


def _require_names(tree: Tree, pictures: Sequence[Picture], names: Sequence[str]) -> None:
    """Raise ``DataError`` if the labels look like measured values: numbers, nearly all of them different."""
    try:
        numbers = [float(name) for name in names]
    except ValueError:
        return
    whole = all(number.is_integer() for number in numbers)
    if len(names) * 2 > len(pictures) > 4 and (not whole or len(names) > _MOST_NUMBERED):
        raise DataError(
            f"{tree.root}: the labels are {len(names):,} different numbers, such as {names[0]}; files of pictures have "
            "classes\n"
            "  help: measured values are predicted from arrays: np.savez(path, x=pictures, y=values)"
        )
