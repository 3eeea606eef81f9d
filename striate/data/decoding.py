"""Picture files become one array of bytes, on all threads, once."""

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
from PIL import Image

from striate import settings
from striate.data.labelled import Picture
from striate.data.picture import FORMATS
from striate.data.reading import Reading
from striate.data.tree import Tree
from striate.errors import DataError, unknown_option

Progress = Callable[[int, int], None]
"""(files done, files in all)"""
Item = TypeVar("Item")
Result = TypeVar("Result")
_TOGETHER = 64  # files that a thread takes at a time
_LISTED = 10
_SHARE_OF_MEMORY = 0.25  # an array that takes more of the memory is kept in a file without a name


class OnError(Enum):
    """What happens to a file that cannot be read."""

    refuse = "raise"
    skip = "skip"

    @classmethod
    def parse(cls, name: OnError | str) -> OnError:
        """Raises ``OptionError`` for an unknown name."""
        if isinstance(name, OnError):
            return name
        found = next((one for one in cls if one.value == name), None)
        if found is None:
            raise unknown_option("on_error", name, [one.value for one in cls])
        return found


@dataclass
class Headers:
    """What the headers of pictures say: sizes (height, width), modes, files that are none, the deepest grey."""

    sizes: Counter[tuple[int, int]] = field(default_factory=Counter[tuple[int, int]])
    modes: Counter[str] = field(default_factory=Counter[str])
    bad: dict[int, str] = field(default_factory=dict[int, str])

    @property
    def grey(self) -> bool:
        """Whether no picture has colours."""
        return all(mode in ("1", "L", "LA", "La", "F") or mode.startswith("I") for mode in self.modes)


def headers(tree: Tree, pictures: Sequence[Picture], progress: Progress = lambda done, count: None) -> Headers:
    """Reads the headers of all pictures; nothing is decoded."""
    found = Headers()
    for place, header in enumerate(_mapped(lambda picture: _header(tree, picture), pictures, progress)):
        if isinstance(header, str):
            found.bad[place] = header
        else:
            found.sizes[header[0]] += 1
            found.modes[header[1]] += 1
    return found


def _header(tree: Tree, picture: Picture) -> tuple[tuple[int, int], str] | str:
    """(height, width) as it is shown, and Pillow's mode; or what is wrong with the file."""
    try:
        content = tree.read(picture.entry)
        if not content:
            return f"{tree.name(picture.entry)}: is empty (0 bytes)"
        with Image.open(io.BytesIO(content), formats=FORMATS) as file:
            width, height = file.size
            turned = file.getexif().get(0x0112, 1) in (5, 6, 7, 8)
            return ((width, height) if turned else (height, width)), file.mode
    except DataError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - Pillow's parsers raise anything for damaged files
        return f"{tree.name(picture.entry)}: not a picture that can be read: {error}"


def decode(
    tree: Tree,
    pictures: Sequence[Picture],
    reading: Reading,
    on_error: OnError = OnError.refuse,
    progress: Progress = lambda done, count: None,
) -> tuple[npt.NDArray[np.uint8], dict[int, str]]:
    """(N, C, H, W) of all pictures, and what is wrong with those that could not be decoded, whose rows are 0.

    Raises ``DataError`` that lists the first of them, unless ``on_error`` is skip.
    """
    images = _room((len(pictures), reading.channels, *reading.size))
    bad: dict[int, str] = {}

    def into(place: int) -> str | None:
        entry = pictures[place].entry
        try:
            images[place] = reading.read(tree.read(entry), tree.name(entry))
        except DataError as error:
            return str(error)
        return None

    for place, problem in enumerate(_mapped(into, range(len(pictures)), progress)):
        if problem is not None:
            bad[place] = problem
    if bad and on_error is OnError.refuse:
        raise bad_files(bad, len(pictures))
    return images, bad


def bad_files(bad: dict[int, str], count: int) -> DataError:
    """The error that lists files which cannot be read."""
    lines = "\n  ".join(list(bad.values())[:_LISTED])
    more = f"\n  … and {len(bad) - _LISTED} more" if len(bad) > _LISTED else ""
    what = "file of" if len(bad) == 1 else "files of"
    return DataError(
        f"{len(bad):,} {what} {count:,} cannot be read\n  {lines}{more}\n"
        "  help: mend or remove them, or give --on-error skip to train without them"
    )


def _room(shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """An array in memory, or in a file without a name where it is large."""
    size = int(np.prod(shape, dtype=np.int64))
    if size <= _SHARE_OF_MEMORY * _memory():
        return np.zeros(shape, np.uint8)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.uint8, "w+", shape=shape)


def _memory() -> float:
    """The bytes of physical memory; infinity where the system does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return float("inf")


def _mapped(function: Callable[[Item], Result], items: Sequence[Item], progress: Progress) -> Iterator[Result]:
    """The results in order, from all threads."""

    def applied(part: Sequence[Item]) -> list[Result]:
        return [function(item) for item in part]

    parts = [items[start : start + _TOGETHER] for start in range(0, len(items), _TOGETHER)]
    done = 0
    with ThreadPoolExecutor(settings.current().threads) as pool:
        for results in pool.map(applied, parts):
            done += len(results)
            progress(done, len(items))
            yield from results
