"""The picture files to predict: single files, those of folders and archives, and standard input."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from PIL import Image

from striate.data.labelled import is_picture
from striate.data.picture import FORMATS
from striate.data.tree import ARCHIVES, open_tree, require_unpacked
from striate.errors import DataError

_TEXT = {*range(0x20, 0x7F), *range(0x80, 0x100), *b"\t\r\n\0"}


@dataclass(frozen=True)
class Source:
    """A picture file: its name, such as ``pictures.zip/cat/1.png``, and a function that returns its bytes.

    ``read`` may be called from any thread; it raises ``DataError`` if the file cannot be read.
    """

    name: str
    read: Callable[[], bytes]


class Sources:
    """A context manager that finds the pictures at given paths, and closes the archives at the end.

    The pictures are in the order of the paths. The path of a folder means all pictures in it and in the folders below,
    and the path of a zip or tar archive means all pictures in it, in the natural order of their names. Any other path
    is a picture, whatever its name. Bytes instead of a path are the content of a picture, which gets the name "-".

    found     the pictures
    problems  an error message for each path that is missing, cannot be read, or has no pictures
    """

    def __init__(self, given: Iterable[Path | bytes]) -> None:
        self.found: list[Source] = []
        self.problems: list[str] = []
        self._open = ExitStack()
        for one in given:
            try:
                self._add(one)
            except DataError as error:
                self.problems.append(str(error))
            except BaseException:
                self._open.close()
                raise

    def _add(self, given: Path | bytes) -> None:
        """Add the pictures of a path, or one from its bytes."""
        if isinstance(given, bytes):
            self.found.append(Source("-", lambda: given))
        elif given.is_dir() or (is_archive(given) and given.is_file()):
            tree = open_tree(given)
            self._open.callback(tree.close)
            entries = [entry for entry in tree.entries if is_picture(entry)]
            if not entries:
                raise DataError(f"{given}: no pictures in it")
            self.found += [
                Source(printable(tree.name(entry)), lambda tree=tree, entry=entry: tree.read(entry))
                for entry in entries
            ]
        elif not given.is_file():
            raise DataError(f"{printable(str(given))}: no such file")
        else:
            require_unpacked(given)
            self.found.append(Source(printable(str(given)), lambda: _content(given)))

    def __enter__(self) -> Sources:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()


def is_archive(path: Path) -> bool:
    """Return whether a file has the suffix of an archive: .zip, .tar, .tar.gz and the like."""
    return path.name.lower().endswith(ARCHIVES)


def printable(name: str) -> str:
    """Return the name of a file with ``�`` in place of bytes that are not UTF-8, so that it can be printed."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def paths_or_picture(content: bytes) -> list[Path] | bytes:
    """Interpret the contents of standard input: return the bytes of a picture unchanged, or a list of paths.

    Paths are separated by line ends, or by null bytes as ``find -print0`` writes them; empty lines are skipped. Raises
    ``DataError`` for anything else, and for empty input.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS):
            return content
    except Exception:  # noqa: BLE001 - Pillow's parsers raise anything for what is no picture
        pass
    expected = "expected a path in each line, or the bytes of a picture"
    if not _TEXT.issuperset(content):
        raise DataError(f"standard input: neither a picture that can be read nor paths\n  {expected}")
    lines = content.split(b"\0") if b"\0" in content else content.splitlines()
    paths = [Path(os.fsdecode(line)) for line in lines if line.strip()]
    if not paths:
        raise DataError(f"standard input: nothing in it\n  {expected}")
    return paths
