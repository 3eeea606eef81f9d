"""Options for reading tables, signals, volumes and arrays: data that are files of numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any, cast

from striate.arguments import Explained
from striate.data.decoding import OnError
from striate.errors import OptionError
from striate.options import choice, flag, from_entries, number, whole_number
from striate.options import seed as checked_seed

_OF_TABLES = ("label_column", "group_column", "ignore_columns", "window", "stride")


class Kind(Enum):
    """The kind of samples in a file of numbers: features of a table, signals, volumes or pictures."""

    table = "table"  # (N, D): features
    signals = "signals"  # (N, C, L): channels and time steps
    pictures = "pictures"  # (N, C, H, W)
    volumes = "volumes"  # (N, C, D, H, W)


class Task(Enum):
    """What is predicted: one class, measured numbers, or several yes-or-no labels."""

    classify = "classify"
    regress = "regress"
    multilabel = "multilabel"


@dataclass(frozen=True)
class NumberOptions(metaclass=Explained):
    """Options for reading files of numbers, and for splitting them into a training part and a held-out part.

    kind            table, signals, volumes or pictures; None: by the columns of a text file, or by the rank of an array
    task            classify, regress or multilabel; None: by the labels
    label_column    name of the column with the labels, or several names; None: a column called "label", "class" or the
                    like, or the only column of text
    group_column    name of the column with the groups, such as patients; all rows of a group stay in one part. None: a
                    column called "group", "patient", "subject" or the like, if there is one
    ignore_columns  names of columns that are not read
    window          length in rows of the windows that are cut from a table with one row per time step; None: not cut
    stride          rows from the start of a window to the start of the next; None: half of the window
    length          time steps of a signal: longer ones are cut at the end, shorter ones repeat their last values; None:
                    the longest of the training part
    channels_last   whether channels are the last axis of an array; None: by its shape
    limits          (low, high): the intensities of integer volumes that become 0 and 1; None: the 0.5 % and 99.5 %
                    quantiles of the training part. Floating-point volumes are not scaled
    held_out        the share of every class that is held out, between 0 and 1, if the data have no parts of their own
    seed            determines which samples are held out
    on_error        what to do with rows and samples that cannot be used: raise or skip

    The remaining fields are set when the training data are read, so that other files are read in the same way:

    columns         names of the features or channels
    fill            for each column, the number that replaces missing values: the column's median in the training part
    classes         names of the classes, or of the yes-or-no labels
    targets         names of the label columns
    single_files    whether each file is one sample or recording, as in folders of classes

    ``kind``, ``task`` and ``on_error`` may also be given by name, such as "signals". Raises ``OptionError`` for invalid
    values.
    """

    kind: Kind | None = None
    task: Task | None = None
    label_column: tuple[str, ...] = ()
    group_column: str | None = None
    ignore_columns: tuple[str, ...] = ()
    window: int | None = None
    stride: int | None = None
    length: int | None = None
    channels_last: bool | None = None
    limits: tuple[float, float] | None = None
    held_out: float = 0.2
    seed: int = 0
    on_error: OnError = OnError.refuse
    columns: tuple[str, ...] = ()
    fill: tuple[float, ...] = ()
    classes: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    single_files: bool = False

    def __post_init__(self) -> None:
        # Choices may also be names, and lists of columns text with commas.
        for field, kind in (("kind", Kind), ("task", Task)):
            value: object = vars(self)[field]
            if value is not None and not isinstance(value, kind):
                object.__setattr__(self, field, kind[choice(field, value, kind.__members__)])
        object.__setattr__(self, "on_error", OnError.parse(self.on_error))
        for field in ("label_column", "ignore_columns", "columns", "classes", "targets"):
            object.__setattr__(self, field, _names(field, vars(self)[field]))
        for field in ("window", "stride", "length"):
            if vars(self)[field] is not None:
                whole_number(field, vars(self)[field], 1)
        if self.stride is not None and self.window is None:
            raise OptionError("stride has no effect without window\n  help: give window=128")
        if self.channels_last is not None:
            flag("channels_last", self.channels_last)
        object.__setattr__(self, "fill", tuple(float(value) for value in self.fill))
        if self.limits is not None:
            low, high = (number("limits", value) for value in self.limits)
            if not low < high:
                raise OptionError(f"limits={self.limits!r}; expected two numbers, the lower first")
            object.__setattr__(self, "limits", (low, high))
        number("held_out", self.held_out, above=0, below=1)
        checked_seed(self.seed)

    def to_json(self) -> dict[str, Any]:
        """Return the options as a dictionary of plain values, for ``run.json``."""
        values = cast("dict[str, object]", asdict(self))
        return {name: _plain(value) for name, value in values.items()}

    def windows(self, steps: int) -> list[tuple[int, int]]:
        """Return (first row, end row) of each window of ``window`` rows among ``steps``, the end exclusive."""
        assert self.window is not None
        stride = self.stride or max(1, self.window // 2)
        return [(start, start + self.window) for start in range(0, steps - self.window + 1, stride)]

    def require_no_columns(self, path: Path) -> None:
        """Raise ``OptionError`` if an option for tables is set, since the file ``path`` is not a table."""
        given = [name for name in _OF_TABLES if vars(self)[name]]
        if given and not self.columns:
            raise OptionError(f"{path}: takes no {', '.join(given)}, which are for .csv and .tsv tables")

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> NumberOptions:
        """Return the options in a dictionary from ``to_json``; missing ones have their defaults.

        Raises ``OptionError`` for unknown options and values.
        """
        return from_entries(cls, document, cls().to_json(), "files of numbers")


def _plain(value: object) -> object:
    """Return a value of JSON for an option: lists for tuples, and the names of choices."""
    if isinstance(value, tuple):
        return list(cast("tuple[object, ...]", value))
    return cast("object", value.value) if isinstance(value, Enum) else value


def _names(field: str, given: object) -> tuple[str, ...]:
    """Return names as a tuple; text is separated at commas, and None is an empty tuple."""
    if given is None:
        return ()
    if isinstance(given, str):
        return tuple(name.strip() for name in given.split(",") if name.strip())
    if isinstance(given, Iterable):
        return tuple(str(name) for name in cast("Iterable[object]", given))
    raise OptionError(f"{field}={given!r}; expected a name or a list of names")
