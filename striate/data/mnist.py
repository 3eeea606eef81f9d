"""Load MNIST and data sets in its format: four IDX files in a folder, raw or gzip.

train-images-idx3-ubyte[.gz]   train-labels-idx1-ubyte[.gz]     the training part
t10k-images-idx3-ubyte[.gz]    t10k-labels-idx1-ubyte[.gz]      the held-out part
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from striate import settings
from striate.data.dataset import Dataset, Split
from striate.data.idx import read_idx
from striate.errors import DataError, LabelError
from striate.options import path as checked_path

_PREFIXES = {Split.TRAIN: "train", Split.TEST: "t10k"}
_DIGITS = tuple("0123456789")
_CLOTHES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


def load_mnist(split: Split | str = Split.TRAIN, folder: Path | str | None = None) -> Dataset:
    """Load one part of MNIST as pictures (N, 1, 28, 28) uint8: "train" (60,000) or "test" (10,000).

    The files are in ``folder``, by default the folder ``mnist`` in the folder that ``STRIATE_DATA`` names. Raises
    ``DataError`` if a file is missing, truncated or of another format.
    """
    part = Split.parse(split)
    return _load(_folder("mnist", "MNIST", folder), part, _DIGITS, "mnist")


def load_fashion_mnist(split: Split | str = Split.TRAIN, folder: Path | str | None = None) -> Dataset:
    """Load one part of Fashion-MNIST as pictures (N, 1, 28, 28) uint8: "train" (60,000) or "test" (10,000).

    The files are in ``folder``, by default the folder ``fashion_mnist`` in the folder that ``STRIATE_DATA`` names.
    Raises ``DataError`` as ``load_mnist`` does. Xiao et al., arXiv:1708.07747.
    """
    part = Split.parse(split)
    return _load(_folder("fashion_mnist", "Fashion-MNIST", folder), part, _CLOTHES, "fashion_mnist")


def _folder(name: str, title: str, given: Path | str | None) -> Path:
    """Return the given folder, or that of the name in ``STRIATE_DATA``; raises ``DataError`` if that is not set."""
    if given is not None:
        return checked_path("folder", given)
    data = settings.current().data
    if data is None:
        raise DataError(
            f"{title} is not part of the package\n"
            f"  help: give the folder of its IDX files, or set STRIATE_DATA to the folder that holds {name}/; "
            f"`striate data {name} --download` puts it there"
        )
    return data / name


def load_idx_folder(folder: Path | str, split: Split | str = Split.TRAIN) -> Dataset:
    """Load one part of a data set in MNIST's format, four IDX files in a folder; images are uint8 (N, 1, H, W).

    Fashion-MNIST is such a data set. The files have MNIST's names, such as ``train-images-idx3-ubyte``. The classes are
    named "0", "1", … up to the largest label of the training part. Raises ``DataError`` as ``load_mnist`` does.
    """
    path, part = checked_path("folder", folder), Split.parse(split)
    largest = int(read_idx(_find(path, Split.TRAIN, "labels-idx1-ubyte"), 1).max())
    return _load(path, part, tuple(str(number) for number in range(largest + 1)), path.name)


def holds_idx(folder: Path) -> bool:
    """Return whether a folder has a file that is named like an IDX file of MNIST."""
    return folder.is_dir() and any("ubyte" in entry.name and "idx" in entry.name for entry in folder.iterdir())


def _load(folder: Path, split: Split, classes: tuple[str, ...], name: str) -> Dataset:
    """Load pictures and labels of one part; raises an error that names the file if they do not fit."""
    pictures, answers = _find(folder, split, "images-idx3-ubyte"), _find(folder, split, "labels-idx1-ubyte")
    images, labels = read_idx(pictures, 3), read_idx(answers, 1).astype(np.int64)
    if len(images) != len(labels):
        raise DataError(f"{pictures} has {len(images)} pictures, but {answers} has {len(labels)} labels")
    try:
        return Dataset(images[:, np.newaxis], labels, classes, name)
    except LabelError as error:
        raise LabelError(f"{answers}: {error}") from error


def _find(folder: Path, split: Split, rest: str) -> Path:
    """Return the path of a file under one of its published names: with "-" or ".", raw or gzip."""
    stem = f"{_PREFIXES[split]}-{rest}"
    names = [stem, f"{stem}.gz", stem.replace("-idx", ".idx"), stem.replace("-idx", ".idx") + ".gz"]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected one with the IDX files {stem}[.gz] and so on")
    found = ", ".join(sorted(entry.name for entry in folder.iterdir())[:8]) or "nothing"
    raise DataError(f"{folder}: neither {names[0]} nor {names[1]}\n  found: {found}")
