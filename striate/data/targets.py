"""Convert labels from text to class numbers, measured numbers, or several yes-or-no labels.

If no task is given, several columns of 0 and 1 (or no and yes, false and true) are yes-or-no labels, and several
columns of other numbers are measured numbers. A single column of numbers is measured numbers, too, with one exception:
in a column of integers with at most 100 different values, which occur twice or more on average, each value is a class.
Text names classes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from striate.data.dataset import Array
from striate.data.number_options import Task
from striate.data.text_table import shortened
from striate.data.tree import natural
from striate.errors import DataError

_LARGEST = 1_000_000_000  # yes-or-no labels, a byte each
_MOST_NUMBERED = 100
_FEWEST_EACH = 2
_YES, _NO = {"1", "true", "yes", "y", "x"}, {"0", "false", "no", "n", ""}
Cells = Sequence[tuple[str, ...]]


@dataclass(frozen=True, eq=False)
class Targets:
    """Labels in the form that a data set stores.

    task     whether they are classes, measured numbers, or yes-or-no labels
    labels   class numbers int64 (N,), numbers float32 (N, k), or yes-or-no labels uint8 (N, k)
    classes  names of the classes, or of the k yes-or-no labels; empty for measured numbers
    note     a message that says which of two possible tasks the rule of this module chose, and how to choose the other;
             otherwise ""
    """

    task: Task
    labels: Array
    classes: tuple[str, ...]
    note: str = ""


def targets_of(
    cells: Cells, names: tuple[str, ...], places: Sequence[str], file: str, task: Task | None, classes: tuple[str, ...]
) -> Targets:
    """Convert the labels of samples, given as text, to class numbers, measured numbers or yes-or-no labels.

    cells    a tuple for each sample: the text of its label in each of the columns ``names``
    places   where each sample is in ``file``, for messages
    task     what the labels are; None: by the rule of this module
    classes  the known classes; empty: the classes are those in the labels, which must be two or more

    Raises ``DataError``, which names file and line, for labels that do not fit the task or are not among the classes.
    """
    match task or _task(cells):
        case Task.regress:
            found = Targets(Task.regress, _numbers(cells, names, places, file), ())
        case Task.multilabel:
            found = _several(cells, names, places, file, classes)
        case Task.classify:
            found = _classes(cells, names, places, file, classes)
    return found if task is not None else replace(found, note=_note(found, cells, names))


def _note(found: Targets, cells: Cells, names: tuple[str, ...]) -> str:
    """Return the note of targets whose task was chosen by the rule of this module; "" where only one is possible."""
    numbers = {_number(cell) for row in cells for cell in row}
    if not all(number is not None and number.is_integer() for number in numbers):
        return ""
    if len(names) == 1 and numbers == set(range(len(numbers))):
        return ""  # classes are usually numbered from 0
    what = f"the labels {shortened(names, 5)}" if len(names) > 1 else f"the labels in {shortened(names)!r}"
    if found.task is Task.classify:
        return f'{what} are whole numbers and are taken as classes\n  help: task="regress" if they are measured values'
    if found.task is Task.multilabel:
        return f'{what} are taken as yes-or-no labels\n  help: task="regress" if they are measured values'
    if len(names) > 1:
        return ""
    return (
        f"{what} are {len(numbers):,} different whole numbers and are taken as measured values\n"
        '  help: task="classify" if each number is a class'
    )


def _task(cells: Cells) -> Task:
    """Return what the labels are by the rule of this module."""
    columns = list(zip(*cells))
    if len(columns) > 1:
        binary = all(cell.lower() in _YES | _NO for column in columns for cell in column)
        return Task.multilabel if binary else Task.regress
    numbers = [_number(cell) for cell in columns[0]]
    if any(number is None for number in numbers):
        return Task.classify
    whole = all(number is not None and number.is_integer() for number in numbers)
    different = len(set(numbers))
    numbered = whole and different <= _MOST_NUMBERED and different * _FEWEST_EACH <= len(numbers)
    return Task.classify if numbered else Task.regress


def _classes(cells: Cells, names: tuple[str, ...], places: Sequence[str], file: str, known: tuple[str, ...]) -> Targets:
    """Return class numbers; whole numbers such as ``1.0`` are named ``1``."""
    if len(names) > 1:
        raise DataError(
            f"{file}: {len(names)} label columns, {shortened(names)}; a classifier has one\n"
            '  help: give one label_column, or task="multilabel" for several yes-or-no labels'
        )
    numbers = [_number(row[0]) for row in cells]
    whole = all(number is not None and number.is_integer() for number in numbers)
    labels = [str(int(number or 0)) if whole else row[0] for number, row in zip(numbers, cells)]
    classes = known or tuple(sorted(set(labels), key=int if whole else natural))  # -1 comes before 1
    if len(classes) < 2:
        raise DataError(
            f"{file}: one class, {', '.join(classes)!r}; a classifier needs two or more\n"
            '  help: give label_column=NAME of another column, or task="regress" if the labels are measured'
        )
    if not known:
        _require_different(classes, file)
    numbered = {name: number for number, name in enumerate(classes)}
    for label, place in zip(labels, places):
        if label not in numbered:
            raise DataError(
                f"{file}, {place}: the label {label!r} is not one of the {len(classes)} classes\n"
                f"  the classes are {shortened(classes, 20)}"
            )
    return Targets(Task.classify, np.array([numbered[label] for label in labels], np.int64), classes)


def _require_different(classes: tuple[str, ...], file: str) -> None:
    """Raise ``DataError`` for class names that differ only in case."""
    folded: dict[str, str] = {}
    for name in classes:
        other = folded.setdefault(name.casefold(), name)
        if other != name:
            raise DataError(f"{file}: the classes {other!r} and {name!r} differ in case only\n  help: rename one")


def _several(cells: Cells, names: tuple[str, ...], places: Sequence[str], file: str, known: tuple[str, ...]) -> Targets:
    """Return yes-or-no labels: of a column each, or of one column whose names are separated by ; or |."""
    if len(names) > 1:
        labels = np.zeros((len(cells), len(names)), np.uint8)
        for number, (row, place) in enumerate(zip(cells, places)):
            for column, cell in enumerate(row):
                if cell.lower() not in _YES | _NO:
                    raise DataError(f"{file}, {place}, column {names[column]!r}: {cell!r}; expected 0 or 1")
                labels[number, column] = cell.lower() in _YES
        return Targets(Task.multilabel, labels, names)
    rows = [[part.strip() for part in re.split(r"[;|]", row[0]) if part.strip()] for row in cells]
    classes = known or tuple(sorted({part for row in rows for part in row}, key=natural))
    if not classes:
        raise DataError(f"{file}: no sample has a label")
    if len(rows) * len(classes) > _LARGEST:
        raise DataError(
            f"{file}: {len(classes):,} different labels of {len(rows):,} samples are too many for yes-or-no labels"
        )
    if not known:
        _require_different(classes, file)
    labels = np.zeros((len(cells), len(classes)), np.uint8)
    for number, (row, place) in enumerate(zip(rows, places)):
        for part in row:
            if part not in classes:
                raise DataError(
                    f"{file}, {place}: the label {part!r} is not one of the {len(classes)}\n"
                    f"  the labels are {shortened(classes, 20)}"
                )
            labels[number, classes.index(part)] = 1
    return Targets(Task.multilabel, labels, classes)


def _numbers(cells: Cells, names: tuple[str, ...], places: Sequence[str], file: str) -> npt.NDArray[np.float32]:
    """Return measured targets, float32 (N, k)."""
    values = np.zeros((len(cells), len(names)), np.float32)
    for number, (row, place) in enumerate(zip(cells, places)):
        for column, cell in enumerate(row):
            value = _number(cell)
            if value is None:
                raise DataError(
                    f"{file}, {place}, column {names[column]!r}: {cell!r} is not a number\n"
                    '  help: task="classify" if the labels are names of classes'
                )
            values[number, column] = value
    return values


def _number(cell: str) -> float | None:
    """Return a cell as a finite number; None if it is not one."""
    try:
        value = float(cell)
    except ValueError:
        try:
            value = float(cell.replace(",", "."))
        except ValueError:
            return None
    return value if abs(value) < 3.4e38 else None
