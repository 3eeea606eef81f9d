"""Data sets by name, as the command line takes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from striate.data.cifar import load_cifar10
from striate.data.dataset import Dataset, Split
from striate.data.digits import load_digits
from striate.data.mnist import load_idx_folder, load_mnist
from striate.errors import DataError, unknown_option
from striate.options import path as checked_path

KNOWN: dict[str, Callable[[Split], Dataset]] = {
    "digits": load_digits,
    "mnist": load_mnist,
    "cifar10": load_cifar10,
}


def open_dataset(name: str | Path, split: Split | str = Split.TRAIN) -> Dataset:
    """The data set of that name, or in the folder of IDX files at that path.

    Raises ``OptionError`` for what is neither a known name nor a path, ``DataError`` for data that cannot be read.
    """
    part = Split.parse(split)
    path = checked_path("data set", name).expanduser()
    if str(name) in KNOWN:
        return KNOWN[str(name)](part)
    if path.is_dir():
        return load_idx_folder(path, part)
    if path.is_file():
        raise DataError(f"{path}: a file, not a folder\n  help: give the folder that holds the four IDX files")
    if len(path.parts) > 1 or str(name)[:1] in (".", "~", "/"):
        raise DataError(f"{path}: no such folder\n  help: give the folder that holds the four IDX files")
    raise unknown_option("data set", str(name), [*KNOWN, "a folder of IDX files"])
