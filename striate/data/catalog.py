"""Open data sets by name (digits, mnist, cifar10 …) or by path, for the command line and for Python."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

from striate.arguments import explained
from striate.data.cifar import load_cifar10
from striate.data.cifar_binary import load_cifar100
from striate.data.dataset import Dataset, Split
from striate.data.decoding import Progress
from striate.data.digits import load_digits
from striate.data.mnist import holds_idx, load_fashion_mnist, load_idx_folder, load_mnist
from striate.data.number_files import number_files
from striate.data.number_options import NumberOptions
from striate.data.numbers import open_numbers
from striate.data.opened import Opened
from striate.data.picture import SUFFIXES
from striate.data.picture_options import PictureOptions
from striate.data.pictures import open_pictures
from striate.data.tree import is_archive, require_unpacked
from striate.errors import DataError, OptionError
from striate.options import path as checked_path

Options = PictureOptions | NumberOptions
"""How data are read and split, for pictures and for files of numbers."""
Chosen = TypeVar("Chosen", PictureOptions, NumberOptions)

_NOT_READ = (
    ".arff", ".h5", ".hdf5", ".json", ".mat", ".ods", ".parquet", ".pickle", ".pkl", ".pt", ".xls", ".xlsx",
)  # fmt: skip

KNOWN: dict[str, Callable[[Split], Dataset]] = {
    "digits": load_digits,
    "mnist": load_mnist,
    "fashion_mnist": load_fashion_mnist,
    "cifar10": load_cifar10,
    "cifar100": load_cifar100,
}


@explained
def open_data(
    name: str | Path,
    options: Options | Mapping[str, Any] | None = None,
    progress: Progress = lambda done, count: None,
    **fields: Any,
) -> Opened:
    """Open the training part and the held-out part of the data set with this name, or at this path.

        found = st.data.open_data("shapes.zip", size=64, held_out=0.1)
        found = st.data.open_data("motion.csv", window=128, label_column="activity")

    name      a name such as "digits" or "mnist", or a path. Pictures are in a folder of IDX files; in a folder with a
              folder for each class, with train and test (or val) folders, or with a CSV table of files and labels; or
              in an archive of such a folder. Numbers are in a .csv, .tsv, .ts, .npy or .npz file, in a folder with a
              pair of files such as train.csv and test.csv, or in a folder with a folder of .npy or .csv files for each
              class
    options   how the data are read and split: ``PictureOptions`` for pictures, ``NumberOptions`` for numbers, or their
              fields as a dictionary
    progress  called with (files done, files in all) while pictures are read
    fields    the fields of the options by name, such as ``size=64``, instead of ``options``

    Raises ``OptionError`` for anything but a known name or an existing path, and for options that do not apply to the
    data; ``DataError``, which names the file or line, for data that cannot be read.
    """
    path = checked_path("data set", name).expanduser()
    if str(name) in KNOWN or holds_idx(path):
        chosen = picture_options(options, fields)
        given, usual = chosen.to_json(), PictureOptions(seed=chosen.seed).to_json()
        if changed := [option for option in given if given[option] != usual[option]]:
            shown = {option: str(given[option]) for option in changed}
            if chosen.size is not None:
                shown["size"] = "x".join(map(str, chosen.size))
            raise OptionError(
                f"{name}: its pictures and parts are given\n"
                f"  help: leave out {', '.join(f'{option}={value}' for option, value in shown.items())}"
            )
        train, held_out = (_fixed(name, path, split) for split in (Split.TRAIN, Split.TEST))
        height, width = train.images.shape[2:]
        return Opened(train, held_out, (), (), None, shadowed(str(name)), file_size=(height, width))
    if path.exists():
        if number_files(path):
            return open_numbers(path, number_options(name, options, fields))
        require_data(path)
        return open_pictures(path, picture_options(options, fields), progress)
    near = difflib.get_close_matches(str(name), KNOWN, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise OptionError(f"{name}: no such file or folder, and no data set of that name{hint}\n{_forms()}")


@explained
def open_dataset(
    name: str | Path,
    split: Split | str = Split.TRAIN,
    options: Options | Mapping[str, Any] | None = None,
    **fields: Any,
) -> Dataset:
    """Open one part of a data set; ``split`` is "train" or "test".

    The other parameters and the errors are those of ``open_data``.
    """
    part = Split.parse(split)
    path = checked_path("data set", name).expanduser()
    if not options and not fields and (str(name) in KNOWN or holds_idx(path)):
        return _fixed(name, path, part)
    opened = open_data(name, options, **fields)
    return opened.train if part is Split.TRAIN else opened.held_out


def options_from_json(document: Mapping[str, Any]) -> Options:
    """Return the ``PictureOptions`` or ``NumberOptions`` whose method ``to_json`` returned ``document``.

    Raises ``OptionError`` for unknown options and values.
    """
    return NumberOptions.from_json(document) if "kind" in document else PictureOptions.from_json(document)


def picture_options(options: object, fields: Mapping[str, Any]) -> PictureOptions:
    """Return the ``PictureOptions`` that a caller gave, as ``options`` or as keyword arguments (``fields``).

    ``options`` is a ``PictureOptions``, a dictionary, or None. Raises ``OptionError`` for options given in two ways,
    and for options that pictures do not have.
    """
    wrong = "pictures take no {}; such options are for files of numbers"
    return _chosen(PictureOptions, NumberOptions, options, fields, "PictureOptions(size=(64, 64))", wrong)


def number_options(name: str | Path, options: object, fields: Mapping[str, Any]) -> NumberOptions:
    """Return the ``NumberOptions`` that a caller gave, as ``options`` or as keyword arguments (``fields``).

    ``options`` is a ``NumberOptions``, a dictionary, or None. ``name`` is the data set in error messages. Raises
    ``OptionError`` for options given in two ways, and for options that files of numbers do not have.
    """
    wrong = f"{name}: takes no {{}}, since it holds numbers and not files of pictures"
    return _chosen(NumberOptions, PictureOptions, options, fields, "NumberOptions(window=128)", wrong)


def _chosen(
    kind: type[Chosen], other: type[Options], options: object, fields: Mapping[str, Any], example: str, wrong: str
) -> Chosen:
    """Return the options of one kind that a caller gave, as an object, a dictionary or keyword arguments.

    ``wrong`` is the message, with {} for their names, about options that only the ``other`` kind has.
    """
    if isinstance(options, kind):
        _require_one_way(fields)
        return options
    given = _given(options, fields, example)
    own, others = kind().to_json(), other().to_json()
    if foreign := [name for name in given if name in others and name not in own]:
        raise OptionError(wrong.format(", ".join(foreign)))
    return kind.from_json(given)


def _given(options: object, fields: Mapping[str, Any], example: str) -> Mapping[str, Any]:
    """Return the options as a dictionary; raises ``OptionError`` for anything else."""
    if options is None:
        return fields
    _require_one_way(fields)
    if isinstance(options, PictureOptions | NumberOptions):
        return options.to_json()
    if not isinstance(options, Mapping):
        raise OptionError(f"options={options!r:.200}; expected {example.partition('(')[0]}\n  help: data.{example}")
    return cast("Mapping[str, Any]", options)


def _require_one_way(fields: Mapping[str, Any]) -> None:
    """Raise ``OptionError`` if options are given by name in addition to an object or a dictionary."""
    if fields:
        raise OptionError(f"options and {', '.join(fields)}; give options in one way")


def shadowed(name: str) -> tuple[str, ...]:
    """Return a note for the user if a known data set and a file in the current folder are both called ``name``.

    The note says that the data set is meant. Without such a file, the result is ().
    """
    if name not in KNOWN or not Path(name).exists():
        return ()
    return (f"{name} is the data set that striate knows by this name; ./{name} means the one in this folder",)


def require_data(path: Path) -> None:
    """Raise ``DataError`` for a file that is not a data set, such as a single picture; folders are not examined."""
    ending = path.suffix.lower()
    if not path.is_file() or is_archive(path):
        return
    if ending in SUFFIXES:
        raise DataError(f"{path}: a single picture; a data set is a folder with a folder of pictures for each class")
    require_unpacked(path)
    if ending in _NOT_READ:
        raise DataError(
            f"{path}: files of the kind {ending} are not read\n"
            "  help: save tables as .csv in UTF-8, arrays with np.savez(path, x=inputs, y=labels)"
        )
    raise DataError(f"{path}: not a data set\n{_forms()}")


def _forms() -> str:
    """Return the forms of data sets that are known, for error messages."""
    return (
        f"  known by name: {', '.join(KNOWN)}\n"
        "  by path: pictures (a folder, zip or tar), numbers (.csv, .tsv, .ts, .npy, .npz, or a folder of .npy "
        "or .csv files for each class), and folders of IDX files"
    )


def _fixed(name: str | Path, path: Path, split: Split) -> Dataset:
    """Return one part of a data set whose division into parts was published with it."""
    return KNOWN[str(name)](split) if str(name) in KNOWN else load_idx_folder(path, split)
