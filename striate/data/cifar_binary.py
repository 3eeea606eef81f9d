"""Read the binary versions of CIFAR-10 and CIFAR-100 from their tar archives (Krizhevsky, 2009).

A record is a label of one byte (CIFAR-100: the coarse and then the fine label), and a picture of 3×32×32 bytes.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import numpy as np

from striate import settings
from striate.data.dataset import Dataset, Split
from striate.data.tree import open_tree
from striate.errors import DataError
from striate.options import path as checked_path

_PICTURE = 3 * 32 * 32
_MOST_BYTES = 200_000_000
_FILES = {
    Split.TRAIN: ("data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"),
    Split.TEST: ("test_batch.bin",),
}


def read_cifar10(path: Path, part: Split, classes: tuple[str, ...]) -> Dataset:
    """Read one part of CIFAR-10 from cifar-10-binary.tar.gz; ``classes`` are the names of its ten classes, in order.

    Raises ``DataError`` if the archive is missing, damaged, or another one.
    """
    contents = _contents(path, _FILES[part])
    return _dataset(b"".join(contents), 1, classes, "cifar10", path)


def load_cifar100(split: Split | str = Split.TRAIN, source: Path | str | None = None) -> Dataset:
    """Load one part of CIFAR-100 as pictures (N, 3, 32, 32) uint8 with its 100 fine classes.

    split   "train" (50,000 pictures) or "test" (10,000)
    source  the archive; None: ``cifar100/cifar-100-binary.tar.gz`` in the folder that ``STRIATE_DATA`` names

    Raises ``DataError`` if the archive is missing, damaged, or another one.
    """
    part = Split.parse(split)
    path = _source() if source is None else checked_path("source", source).expanduser()
    names, content = _contents(path, ("fine_label_names.txt", f"{part.value}.bin"))
    classes = tuple(names.decode("ascii", "replace").split())
    return _dataset(content, 2, classes, "cifar100", path)


def _source() -> Path:
    """Return the archive of CIFAR-100 in ``STRIATE_DATA``; raises ``DataError`` if there is none."""
    data = settings.current().data
    path = None if data is None else data / "cifar100" / "cifar-100-binary.tar.gz"
    if path is None or not path.is_file():
        raise DataError(
            "CIFAR-100 is not part of the package\n"
            "  help: set STRIATE_DATA to a folder; then `striate data cifar100 --download` puts it there"
        )
    return path


def _contents(path: Path, names: tuple[str, ...]) -> list[bytes]:
    """Return the contents of the files with these names in an archive, whatever their folder."""
    with closing(open_tree(path)) as tree:
        found = {
            entry.path.name: tree.read(entry)
            for entry in tree.entries
            if entry.path.name in names and entry.size <= _MOST_BYTES
        }
    if missing := [name for name in names if name not in found]:
        raise DataError(f"{path}: no {', '.join(missing)} in it; not the binary version")
    return [found[name] for name in names]


def _dataset(content: bytes, labels: int, classes: tuple[str, ...], name: str, path: Path) -> Dataset:
    """Return records of ``labels`` label bytes and a picture as a data set; the last label counts."""
    if not content or len(content) % (labels + _PICTURE):
        raise DataError(f"{path}: {len(content):,} bytes are not records of {labels + _PICTURE:,}")
    records = np.frombuffer(content, np.uint8).reshape(-1, labels + _PICTURE)
    images = records[:, labels:].reshape(-1, 3, 32, 32)
    return Dataset(images, records[:, labels - 1].astype(np.int64), classes, name)
