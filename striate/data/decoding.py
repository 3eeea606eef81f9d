"""Decode picture files into one array of uint8, on all threads."""

from __future__ import annotations

import io
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from striate import settings
from striate.data.picture import FORMATS, require_pixels
from striate.data.picture_entry import Picture
from striate.data.reading import Reading
from striate.data.tree import Tree
from striate.errors import DataError, unknown_option

Progress = Callable[[int, int], None]
"""A function that is called with (number of files done, number of files in all)."""
Item = TypeVar("Item")
Result = TypeVar("Result")
_TOGETHER = 64  # files that a thread decodes at a time
_LISTED = 10
_HEADER = 1 << 16  # bytes from the start of a file, in which its header usually is
_SHARE_OF_MEMORY = 0.25  # a larger array is kept in an unnamed file


class OnError(Enum):
    """The reaction to a file, row or sample that cannot be read: raise an error, or skip it."""

    refuse = "raise"
    skip = "skip"

    @classmethod
    def parse(cls, name: OnError | str) -> OnError:
        """Return the choice with this name, "raise" or "skip"; raises ``OptionError`` for any other name."""
        if isinstance(name, OnError):
            return name
        found = next((one for one in cls if one.value == name), None)
        if found is None:
            raise unknown_option("on_error", name, [one.value for one in cls])
        return found


@dataclass
class Headers:
    """Sizes and kinds of picture files, from their headers, without decoding the pictures.

    sizes  the number of pictures of each size (height, width)
    modes  the number of pictures of each mode of Pillow, such as "RGB"
    bad    an error message for each unreadable file, by its index
    """

    sizes: Counter[tuple[int, int]] = field(default_factory=Counter[tuple[int, int]])
    modes: Counter[str] = field(default_factory=Counter[str])
    bad: dict[int, str] = field(default_factory=dict[int, str])

    @property
    def grey(self) -> bool:
        """Whether all pictures are grey."""
        return all(mode in ("1", "L", "LA", "La", "F") or mode.startswith("I") for mode in self.modes)


def headers(tree: Tree, pictures: Sequence[Picture], progress: Progress = lambda done, count: None) -> Headers:
    """Read the headers of all picture files, and return their sizes and modes, and errors of unreadable files.

    ``tree`` is the folder or archive that contains the files. ``progress`` is called with (files done, files in all).
    """
    found = Headers()
    for place, picture in enumerate(pictures):
        header = _header(tree, picture)
        if isinstance(header, str):
            found.bad[place] = header
        else:
            found.sizes[header[0]] += 1
            found.modes[header[1]] += 1
        if (place + 1) % _TOGETHER == 0 or place + 1 == len(pictures):
            progress(place + 1, len(pictures))
    return found


def _header(tree: Tree, picture: Picture) -> tuple[tuple[int, int], str] | str:
    """Return the displayed (height, width) and Pillow's mode of a picture, or why it cannot be read."""
    name = tree.name(picture.entry)
    try:
        content = tree.start(picture.entry, _HEADER)
        if not content:
            return f"{tree.name(picture.entry)}: is empty (0 bytes)"
        try:
            return _size_and_mode(content, name)
        except Exception:
            if len(content) == picture.entry.size:
                raise
            return _size_and_mode(tree.read(picture.entry), name)
    except DataError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - Pillow's parsers raise anything for damaged files
        known = "no known kind of picture" if isinstance(error, UnidentifiedImageError) else str(error)
        return f"{tree.name(picture.entry)}: not a picture that can be read: {known}"


def _size_and_mode(content: bytes, name: str) -> tuple[tuple[int, int], str]:
    """Return the displayed (height, width) and Pillow's mode of the picture whose file begins with ``content``.

    Raises ``DataError``, which contains ``name``, for a picture with too many pixels.
    """
    with Image.open(io.BytesIO(content), formats=FORMATS) as file:
        require_pixels(file, name)
        width, height = file.size
        # Where a PNG file has no EXIF data before its pixels, Pillow decodes the pixels to look behind them.
        exif = file.format != "PNG" or b"eXIf" in content
        turned = exif and file.getexif().get(0x0112, 1) in (5, 6, 7, 8)
        return ((width, height) if turned else (height, width)), file.mode


def decode(
    tree: Tree,
    pictures: Sequence[Picture],
    reading: Reading,
    on_error: OnError = OnError.refuse,
    progress: Progress = lambda done, count: None,
) -> tuple[npt.NDArray[np.uint8], dict[int, str]]:
    """Decode all pictures to uint8 (N, C, H, W), and collect an error message for each that failed.

    The messages are returned in a dictionary by index; the pixels of failed pictures are 0. ``tree`` is the folder or
    archive that contains the files, ``reading`` has the options of the conversion, such as the size, and ``progress``
    is called with (files done, files in all). Raises ``DataError``, which lists the first failures, unless ``on_error``
    is ``OnError.skip``.
    """
    images = _room((len(pictures), reading.channels, *reading.size))
    bad: dict[int, str] = {}

    def into(place: int) -> str | None:
        """Decode one picture into its row; returns an error message if that fails."""
        entry = pictures[place].entry
        try:
            images[place] = reading.read(tree.read(entry), tree.name(entry))
        except DataError as error:
            return str(error)
        return None

    for place, problem in enumerate(mapped(into, range(len(pictures)), progress)):
        if problem is not None:
            bad[place] = problem
    if bad and on_error is OnError.refuse:
        raise bad_files(bad, len(pictures))
    return images, bad


def bad_files(bad: dict[int, str], count: int) -> DataError:
    """Return an error that lists unreadable files: ``bad`` has their messages, ``count`` is the number of all files."""
    lines = "\n  ".join(list(bad.values())[:_LISTED])
    more = f"\n  … and {len(bad) - _LISTED} more" if len(bad) > _LISTED else ""
    what = "file of" if len(bad) == 1 else "files of"
    return DataError(
        f"{len(bad):,} {what} {count:,} cannot be read\n  {lines}{more}\n"
        '  help: mend or remove them, or give on_error="skip" to do without them'
    )


def _room(shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Return an array of zeros, uint8: in memory, or in an unnamed temporary file if it is large."""
    size = int(np.prod(shape, dtype=np.int64))
    if size <= _SHARE_OF_MEMORY * _memory():
        return np.zeros(shape, np.uint8)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.uint8, "w+", shape=shape)


def _memory() -> float:
    """Return the bytes of physical memory; infinity where the system does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return float("inf")


def mapped(function: Callable[[Item], Result], items: Sequence[Item], progress: Progress) -> Iterator[Result]:
    """Apply a function to all items on all threads, and yield the results in order.

    ``progress`` is called with (items done, items in all).
    """

    def applied(part: Sequence[Item]) -> list[Result]:
        return [function(item) for item in part]

    parts = [items[start : start + _TOGETHER] for start in range(0, len(items), _TOGETHER)]
    done = 0
    with ThreadPoolExecutor(settings.current().threads) as pool:
        for results in pool.map(applied, parts):
            done += len(results)
            progress(done, len(items))
            yield from results
