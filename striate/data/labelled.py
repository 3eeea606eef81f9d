"""Find the class and the part (train or test) of every picture, from folders or from a table.

cat/1.png  dog/2.png                  a folder per class; a random share is held out
train/cat/1.png  test/cat/2.png       parts: train, and test or val; with both val and test, val is held out
labels.csv with file,label            tables in the root; optional columns: split, group. A table called train.csv,
                                      test.csv or val.csv lists the files of that part
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Protocol

from striate.data.dataset import Split
from striate.data.picture import SUFFIXES
from striate.data.tree import Entry, Tree, natural
from striate.errors import DataError

_PARTS = {
    "train": Split.TRAIN, "training": Split.TRAIN, "test": Split.TEST, "testing": Split.TEST, "val": Split.TEST,
    "valid": Split.TEST, "validation": Split.TEST,
}  # fmt: skip
_VALIDATION = ("val", "valid", "validation")
_FILE_COLUMNS = ("file", "filename", "path", "image", "image_path", "img", "name", "id")
_LABEL_COLUMNS = ("label", "class", "category", "target", "y")
_PART_COLUMNS = ("split", "part", "set", "subset")
_GROUP_COLUMNS = ("group", "patient", "subject")
_TABLES = (".csv", ".tsv")
_LISTED = 5


class _Lines(Protocol):
    """What ``csv.reader`` returns: an iterator over rows that counts the lines of the text."""

    @property
    def line_num(self) -> int: ...
    def __iter__(self) -> Iterator[list[str]]: ...
    def __next__(self) -> list[str]: ...


@dataclass(frozen=True)
class Picture:
    """A picture file with its class.

    ``entry`` is the file, and ``label`` the name of the class. ``part`` is None if the data are not divided into parts.
    ``group`` is the name of the group that must stay in one part, such as a patient, or None.
    """

    entry: Entry
    label: str
    part: Split | None = None
    group: str | None = None


@dataclass(frozen=True)
class Labelled:
    """All pictures, the names of their classes in natural order, other files (unused), and notes for the user."""

    pictures: list[Picture]
    classes: tuple[str, ...]
    others: list[Entry]
    notes: list[str]


def is_picture(entry: Entry) -> bool:
    """Return whether a file has the suffix of a picture, such as .png or .jpg."""
    return entry.path.suffix.lower() in SUFFIXES


def labelled_pictures(tree: Tree) -> Labelled:
    """Find all pictures and their labels, in any of the three forms that the module describes.

    Raises ``DataError``, which lists what was found, if the files have none of these forms.
    """
    depth = 2 if _has_one_folder(tree) else 1
    tables = [
        entry for entry in tree.entries if entry.path.suffix.lower() in _TABLES and len(entry.path.parts) == depth
    ]
    files = [entry for entry in tree.entries if is_picture(entry)]
    if tables and files:
        return _from_table(tree, tables, files)
    return _from_folders(tree, files)


def _has_one_folder(tree: Tree) -> bool:
    """Return whether all files are in one folder at the root, as in many archives."""
    top = {one.path.parts[0] for one in tree.entries if len(one.path.parts) > 1}
    return len(top) == 1 and not any(len(one.path.parts) == 1 for one in tree.entries)


def _from_folders(tree: Tree, files: list[Entry]) -> Labelled:
    """Take the labels from the names of folders."""
    others = [entry for entry in tree.entries if not is_picture(entry)]
    depth = _class_depth(files)
    if not files or depth is None:
        found = ", ".join(dict.fromkeys(str(entry.path.parts[0]) for entry in tree.entries[:50])) or "nothing"
        raise DataError(
            f"{tree.root}: no folders of classes with pictures in them\n"
            f"  found: {found[:200]}\n"
            "  expected: cat/1.png, dog/2.png; or train/cat/1.png, test/cat/2.png; or labels.csv with file,label"
        )
    loose = [entry for entry in files if len(entry.path.parts) - 1 < depth + 1]
    placed = [entry for entry in files if len(entry.path.parts) - 1 >= depth + 1]
    parts = {entry.path.parts[depth - 1].lower() for entry in placed} if depth else set[str]()
    given = depth > 0 and parts <= set(_PARTS)
    notes = [f"{len(loose):,} pictures lie beside the folders of classes and were passed over"] if loose else []
    if given and "test" in parts and parts & set(_VALIDATION):
        notes.append("of val and test, val is held out during training; test is left for the last look")
        placed = [entry for entry in placed if entry.path.parts[depth - 1].lower() not in ("test", "testing")]
    pictures = [
        Picture(
            entry,
            entry.path.parts[depth],
            _PARTS[entry.path.parts[depth - 1].lower()] if given else None,
        )
        for entry in placed
    ]
    names = tuple(sorted({picture.label for picture in pictures}, key=natural))
    empty = {path.name for path in tree.folders if len(path.parts) == depth + 1} - set(names)
    if empty:
        shown = ", ".join(sorted(empty, key=natural)[:_LISTED])
        notes.append(f"no pictures in {shown}: {'these are' if len(empty) > 1 else 'this is'} no class")
    return Labelled(pictures, names, [*others, *loose], notes)


def _class_depth(files: list[Entry]) -> int | None:
    """Return how many levels of folders lie above the class folders; None if there are none.

    Such levels are parts (train, test), and a single folder that holds everything.
    """
    depth = 0
    while True:
        folders = {entry.path.parts[depth] for entry in files if len(entry.path.parts) > depth + 1}
        if not folders:
            return None
        deeper = any(len(entry.path.parts) > depth + 2 for entry in files)
        parts = {name.lower() for name in folders} <= set(_PARTS)
        if deeper and (parts or len(folders) == 1):
            depth += 1
            continue
        return depth


def _from_table(tree: Tree, tables: list[Entry], files: list[Entry]) -> Labelled:
    """Take the labels from CSV or TSV tables."""
    by_name = {entry.path: entry for entry in files}
    by_file = {entry.path.name: entry for entry in files}
    by_stem = {entry.path.stem: entry for entry in files}
    pictures: list[Picture] = []
    for table in tables:
        given = _PARTS.get(table.path.stem.lower())
        for line, row in _rows(tree, table):
            name = PurePosixPath(row["file"].replace("\\", "/"))
            entry = (
                by_name.get(table.path.parent / name)
                or by_name.get(name)
                or by_file.get(name.name)
                or by_stem.get(name.name)
            )
            if entry is None:
                raise DataError(f"{tree.name(table)}, line {line}: no picture {row['file']!r} in {tree.root}")
            part = given
            if row.get("part"):
                part = _PARTS.get(row["part"].lower())
                if part is None:
                    raise DataError(
                        f"{tree.name(table)}, line {line}: split {row['part']!r}; expected one of {', '.join(_PARTS)}"
                    )
            pictures.append(Picture(entry, row["label"], part, row.get("group") or None))
    names = tuple(sorted({picture.label for picture in pictures}, key=natural))
    known = {picture.entry.path for picture in pictures}
    unlisted = [entry for entry in files if entry.path not in known]
    notes = [f"{len(unlisted):,} pictures have no line in the table and were passed over"] if unlisted else []
    return Labelled(pictures, names, unlisted, notes)


def _rows(tree: Tree, table: Entry) -> list[tuple[int, dict[str, str]]]:
    """Return (line number, cells by role) for each line of a CSV or TSV table in UTF-8.

    The roles are "file", "label", and where the table has them "part" and "group".
    """
    try:
        text = tree.read(table).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{tree.name(table)}: not UTF-8 text: {error}") from error
    lines = csv.reader(io.StringIO(text), delimiter="\t" if table.path.suffix.lower() == ".tsv" else _delimiter(text))
    try:
        return _placed(tree, table, lines)
    except csv.Error as error:
        raise DataError(f"{tree.name(table)}, line {lines.line_num}: not a row of a table: {error}") from error


def _placed(tree: Tree, table: Entry, lines: _Lines) -> list[tuple[int, dict[str, str]]]:
    """Return (line number, cells by role) for each line after the first, which has the names of the columns."""
    head = [name.strip().lower() for name in next(lines, list[str]())]
    roles = {"file": _FILE_COLUMNS, "label": _LABEL_COLUMNS, "part": _PART_COLUMNS, "group": _GROUP_COLUMNS}
    columns = {role: head.index(name) for role, names in roles.items() for name in names[::-1] if name in head}
    missing = [role for role in ("file", "label") if role not in columns]
    if missing:
        raise DataError(
            f"{tree.name(table)}: no column {' and no column '.join(missing)} in line 1, {', '.join(head)[:99]!r}\n"
            f"  help: file columns are called {', '.join(_FILE_COLUMNS)}; label columns {', '.join(_LABEL_COLUMNS)}"
        )
    rows: list[tuple[int, dict[str, str]]] = []
    for row in lines:
        if not any(cell.strip() for cell in row):
            continue
        if len(row) < len(head):
            raise DataError(f"{tree.name(table)}, line {lines.line_num}: {len(row)} columns, not {len(head)}")
        rows.append((lines.line_num, {role: row[place].strip() for role, place in columns.items()}))
    return rows


def _delimiter(text: str) -> str:
    """Return the delimiter of a CSV text: the most frequent of comma, semicolon and tab in its first line."""
    first = text.partition("\n")[0]
    return max(",;\t", key=first.count)
