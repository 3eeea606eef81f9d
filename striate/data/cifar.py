"""CIFAR-10: 50,000 training and 10,000 held-out pictures, 3×32×32, of ten classes (Krizhevsky, 2009).

The files are …/train/<class>/<picture>.jpg and …/test/<class>/<picture>.jpg, in cifar10.zip or in a folder. The archive
of the binary version, cifar-10-binary.tar.gz, is read as well.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from striate import settings
from striate.data.cifar_binary import read_cifar10
from striate.data.dataset import Array, Dataset, Split
from striate.data.tree import Tree, open_tree
from striate.errors import DataError, OptionError
from striate.options import path as checked_path
from striate.options import whole_number

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIZE = 32
_ENDINGS = (".jpg", ".jpeg", ".png")
_MOST_BYTES = 1_000_000  # of one picture of 32×32; the real ones have about 900


def load_cifar10(
    split: Split | str = Split.TRAIN, source: Path | str | None = None, *, most: int | None = None
) -> Dataset:
    """Load one part of CIFAR-10 as pictures (N, 3, 32, 32) uint8 with their classes.

    split   "train" (50,000 pictures) or "test" (10,000)
    source  an archive or folder; None: cifar10.zip, cifar10/cifar-10-binary.tar.gz or the folder cifar10, in the folder
            that ``STRIATE_DATA`` names
    most    the number of pictures to read of each class; None: all, which takes about ten seconds for 50,000

    The classes alternate, so that the beginning of the data set contains all of them.

    Raises ``DataError`` if the archive or a class is missing, or a picture is damaged or not 32×32 pixels.
    """
    part = Split.parse(split)
    if most is not None:
        whole_number("most", most, 1)
    path = _source() if source is None else checked_path("source", source).expanduser()
    if path.name.endswith(".tar.gz"):
        return _first(read_cifar10(path, part, CLASSES), most)
    with _broken_named(path), _opened(path) as files:
        names = [sorted(name for name in files.names if _belongs(name, part, one))[:most] for one in CLASSES]
        missing = [one for one, found in zip(CLASSES, names) if not found]
        if missing:
            raise DataError(
                f"{path}: no pictures of {', '.join(missing)} to {part.value}\n"
                f"  expected: {part.value}/<class>/<picture>.jpg for {', '.join(CLASSES)}"
            )
        order = [
            (name, label)
            for place in range(max(map(len, names)))
            for label, found in enumerate(names)
            for name in found[place : place + 1]
        ]
        images = np.empty((len(order), 3, SIZE, SIZE), np.uint8)
        for image, (name, _) in zip(images, order):
            image[...] = _pixels(files.read(name), f"{path}: {name}")
    return Dataset(images, np.array([label for _, label in order]), CLASSES, "cifar10")


def _source() -> Path:
    """Return the archive or folder in ``STRIATE_DATA``; raises ``DataError`` if there is none."""
    data = settings.current().data
    for name in ("cifar10.zip", "cifar10/cifar-10-binary.tar.gz", "cifar10"):
        if data is not None and (data / name).exists():
            return data / name
    raise DataError(
        "CIFAR-10 is not part of the package\n"
        "  help: set STRIATE_DATA to the folder that holds cifar10.zip, or the unpacked folder cifar10; "
        "`striate data cifar10 --download` puts it there"
    )


def _first(data: Dataset, most: int | None) -> Dataset:
    """Return the first ``most`` pictures of each class, alternating as those of an archive of pictures; None: all."""
    own = [np.flatnonzero(data.labels == label)[:most] for label in range(len(data.classes))]
    order = [int(found[place]) for place in range(max(map(len, own))) for found in own if place < len(found)]
    return data.subset(order)


@contextmanager
def _broken_named(path: Path) -> Generator[None]:
    """Turn errors of damaged archives into a ``DataError`` that names the archive."""
    try:
        yield
    except (DataError, OptionError):
        raise
    except OSError as error:
        raise DataError(f"{path}: not an archive or folder of pictures that can be read: {error}") from error


class _Archive:
    """The files of a zip archive, read without unpacking them to disk."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._entries = {str(entry.path): entry for entry in tree.entries}
        self.names = list(self._entries)

    def read(self, name: str) -> bytes:
        """Return the content of one picture.

        Raises ``DataError`` if it unpacks to far more bytes than 32×32 pixels need.
        """
        entry = self._entries[name]
        if entry.size > _MOST_BYTES:
            raise DataError(f"{name}: {entry.size:,} bytes for a picture of {SIZE}×{SIZE}")
        return self._tree.read(entry)


class _Folder:
    """The files of an unpacked archive, with the same interface as ``_Archive``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.names = [one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file()]

    def read(self, name: str) -> bytes:
        path = self._folder / name
        if path.stat().st_size > _MOST_BYTES:
            raise DataError(f"{name}: {path.stat().st_size:,} bytes for a picture of {SIZE}×{SIZE}")
        return path.read_bytes()


@contextmanager
def _opened(path: Path) -> Generator[_Archive | _Folder]:
    """Open an archive or a folder for reading."""
    if path.is_dir():
        yield _Folder(path)
    elif path.is_file():
        with closing(open_tree(path)) as tree:
            yield _Archive(tree)
    else:
        raise DataError(f"{path}: no such archive or folder")


def _belongs(name: str, part: Split, class_name: str) -> bool:
    """Whether a file name is that of a picture of this part and class."""
    parts = PurePosixPath(name).parts
    return parts[-3:-1] == (part.value, class_name) and parts[-1].lower().endswith(_ENDINGS)


def _pixels(content: bytes, name: str) -> Array:
    """Decode a picture file to uint8 (3, 32, 32)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the size is checked first
            with Image.open(io.BytesIO(content), formats=("PNG", "JPEG")) as picture:
                if picture.size != (SIZE, SIZE):
                    raise DataError(f"{name}: {picture.width}×{picture.height}; expected {SIZE}×{SIZE}")
                return np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{name}: not a picture that can be read: {error}") from error
