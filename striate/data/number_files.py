"""Find the files of numbers at a path: a file, a pair for training and testing, or a folder that contains either.

NAME_TRAIN.ts and NAME_TEST.ts, train.csv and test.csv, X_train.npy and X_test.npy are pairs, in upper or lower case and
with any of the suffixes .csv, .tsv, .ts, .npz and .npy; so are files for training and validation (val, valid,
validation).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from striate.data.array_files import array_samples, has_parts, is_labels
from striate.data.array_folder import folder_samples, is_array
from striate.data.dataset import Split
from striate.data.number_options import Kind, NumberOptions
from striate.data.picture import SUFFIXES
from striate.data.recordings import is_table, recording_samples, single_recording
from striate.data.samples import Samples
from striate.data.series_files import ts_samples, ucr_samples
from striate.data.table_samples import table_samples
from striate.data.text_table import read_table, shortened
from striate.errors import DataError

TEXT = (".csv", ".tsv", ".ts")
ARRAYS = (".npy", ".npz")
ENDINGS = (*TEXT, *ARRAYS)
_PART = re.compile(r"(?P<before>^|.*[_\-. ])(?P<part>train|training|test|testing|val|valid|validation)$", re.IGNORECASE)
_HELD = ("test", "testing", "val", "valid", "validation")
_VALIDATION = ("val", "valid", "validation")


@dataclass(frozen=True)
class NumberFile:
    """A file of numbers, and the part of the data set that it contains.

    ``part`` is None if the name of the file does not contain a word such as train or test. ``arrays`` is "train" or
    "test" to read arrays such as ``x_train`` from an .npz file, and otherwise "". With ``classes``, ``path`` is a
    folder with a folder for each class, which has .npy files or, with ``recordings``, tables. ``note`` is a message for
    the user, or "".
    """

    path: Path
    part: Split | None = None
    arrays: str = ""
    classes: bool = False
    recordings: bool = False
    note: str = ""

    def samples(self, options: NumberOptions, labelled: bool = True) -> Samples:
        """Read the samples of the file; if ``part`` is not None, all of them belong to that part.

        ``labelled=False`` does not require labels. Raises ``DataError`` for a file that cannot be read.
        """
        ending = self.path.suffix.lower()
        if self.classes:
            samples = (recording_samples if self.recordings else folder_samples)(self.path, options)
        elif options.single_files and is_table(self.path):
            samples = single_recording(self.path, options)
        elif ending == ".ts":
            samples = ts_samples(self.path, options)
        elif ending in ARRAYS:
            samples = array_samples(self.path, options, self.arrays)
        else:
            table = read_table(self.path, options.on_error)
            rows_of_series = not table.named and options.window is None and options.kind is not Kind.table
            ucr = rows_of_series and (options.kind is Kind.signals or bool(_PART.match(self.path.stem)))
            samples = ucr_samples(table, options) if ucr else table_samples(table, options, labelled)
        samples.notes += [self.note] * bool(self.note)
        if self.part is not None:
            samples.parts = [self.part] * len(samples)
        return samples


def number_files(path: Path, beside: bool = True) -> list[NumberFile]:
    """Return the files of numbers at a path; an empty list if there are none, as in a folder of pictures.

    With ``beside``, the path of a training file such as train.csv also finds the test file in the same folder. Raises
    ``DataError`` for a folder of several files that are not a pair.
    """
    if path.is_dir():
        return _in_folder(path)
    if path.suffix.lower() not in ENDINGS or not path.is_file():
        return []
    if has_parts(path):
        return [NumberFile(path, Split.TRAIN, "train"), NumberFile(path, Split.TEST, "test")]
    named = _PART.match(path.stem)
    if beside and named and named["part"].lower() not in _HELD and (other := _held_out(path, path.parent)) is not None:
        return [NumberFile(path, Split.TRAIN), NumberFile(other, Split.TEST)]
    return [NumberFile(path)]


def set_name(path: Path) -> str:
    """Return the name of a data set, such as GunPoint for the file ``GunPoint_TRAIN.ts`` or the folder ``GunPoint``."""
    stem = path.stem if path.suffix.lower() in ENDINGS else path.name
    named = _PART.match(stem)
    return (named["before"].rstrip("_-. ") if named else stem) or stem


def _in_folder(folder: Path) -> list[NumberFile]:
    """Return the pair, or the only file of numbers, in a folder without pictures."""
    files = sorted(
        one for one in folder.iterdir()
        if one.suffix.lower() in ENDINGS and one.is_file() and not one.name.startswith(".") and not is_labels(one)
    )  # fmt: skip
    if _below(folder, lambda path: path.suffix.lower() in SUFFIXES):
        return []
    if not files:
        return _of_classes(folder)
    for one in files:
        named = _PART.match(one.stem)
        if named and named["part"].lower() not in _HELD and (other := _held_out(one, folder)) is not None:
            return [NumberFile(one, Split.TRAIN), NumberFile(other, Split.TEST)]
    if len(files) > 1:
        raise DataError(
            f"{folder}: {len(files)} files of numbers, {shortened([one.name for one in files], 6)}\n"
            "  expected: one of them, a pair such as train.csv and test.csv, or a folder of .npy or .csv files for "
            "each class\n"
            "  help: name the file itself"
        )
    inside = [one for one in _below(folder, is_table) if one.parent != folder]
    if is_table(files[0]) and len(inside) > 1:
        raise DataError(
            f"{folder}: {files[0].name}, and {len(inside):,} tables in its folders\n"
            f"  help: name {files[0].name} itself if it holds the data; otherwise move it elsewhere, and each of the "
            "others is read as a recording"
        )
    return number_files(files[0])


def _of_classes(folder: Path) -> list[NumberFile]:
    """Return the folder itself if it has folders of classes with .npy files or tables; an empty list otherwise."""
    arrays, tables = (_below(folder, suited) for suited in (is_array, is_table))
    if tables and not arrays and all(_PART.match(one.stem) for one in tables):
        raise DataError(
            f"{folder}: folders with pairs such as {tables[0].name}, each of which is a data set\n"
            f"  help: name one of them, such as {tables[0].parent}"
        )
    if not arrays and not tables:
        return []
    both = f"{len(arrays):,} .npy files and {len(tables):,} tables: only the more frequent are read"
    return [
        NumberFile(folder, classes=True, recordings=len(tables) > len(arrays), note=both if arrays and tables else "")
    ]


def _held_out(train: Path, folder: Path) -> Path | None:
    """Return the held-out file that belongs to a file for training: validation if there is one, else test."""
    own = _PART.match(train.stem)
    if own is None:
        return None
    found: dict[str, Path] = {}
    for one in sorted(folder.iterdir()):
        named = _PART.match(one.stem)
        if named and one.suffix == train.suffix and named["before"].lower() == own["before"].lower():
            found[named["part"].lower()] = one
    return next((found[part] for part in (*_VALIDATION, "test", "testing") if part in found), None)


def _below(folder: Path, suited: Callable[[Path], bool]) -> list[Path]:
    """Return the files with suited names anywhere below a folder."""
    return [Path(inside, name) for inside, _, names in os.walk(folder) for name in names if suited(Path(name))]
