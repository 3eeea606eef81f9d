"""Opens data sets by name or path, as the command line takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from striate.data.cifar import load_cifar10
from striate.data.dataset import Dataset, Split
from striate.data.decoding import Progress
from striate.data.digits import load_digits
from striate.data.mnist import holds_idx, load_idx_folder, load_mnist
from striate.data.pictures import Opened, PictureOptions, open_pictures
from striate.errors import OptionError, unknown_option
from striate.options import path as checked_path

KNOWN: dict[str, Callable[[Split], Dataset]] = {
    "digits": load_digits,
    "mnist": load_mnist,
    "cifar10": load_cifar10,
}


def open_data(
    name: str | Path,
    options: PictureOptions | Mapping[str, Any] | None = None,
    progress: Progress = lambda done, count: None,
) -> Opened:
    """Open the training part and the held-out part of the data set with this name, or at this path.

    name      "digits", "mnist" or "cifar10"; a folder of IDX files; or pictures: a folder of class folders, given train
              and test (or val) folders, or a CSV table of files and labels, also inside a zip or tar archive
    options   how pictures are read and split: ``PictureOptions``, or its fields as a dictionary
    progress  called with (files done, files in all) while pictures are read

    Raises ``OptionError`` for anything but a known name or an existing path, and for options that do not apply to the
    data; ``DataError``, naming the file or line, for data that cannot be read.
    """
    chosen = options if isinstance(options, PictureOptions) else PictureOptions.from_json(options or {})
    path = checked_path("data set", name).expanduser()
    if str(name) in KNOWN or holds_idx(path):
        if chosen != PictureOptions(held_out=chosen.held_out, seed=chosen.seed):
            raise OptionError(f"{name}: its pictures are read as they are; size, channels and the like are for files")
        train, held_out = (_fixed(name, path, split) for split in (Split.TRAIN, Split.TEST))
        return Opened(train, held_out, (), (), None, ())
    if path.exists():
        return open_pictures(path, chosen, progress)
    if len(path.parts) > 1 or str(name)[:1] in (".", "~", "/"):
        raise OptionError(f"{name}: no such file or folder\n  known by name: {', '.join(KNOWN)}")
    raise unknown_option("data set", str(name), [*KNOWN, "a folder or archive of pictures", "a folder of IDX files"])


def open_dataset(
    name: str | Path, split: Split | str = Split.TRAIN, options: PictureOptions | Mapping[str, Any] | None = None
) -> Dataset:
    """Open one part of a data set, "train" or "test", with the names, options and errors of ``open_data``."""
    part = Split.parse(split)
    path = checked_path("data set", name).expanduser()
    if str(name) in KNOWN or holds_idx(path):
        return _fixed(name, path, part)
    opened = open_data(name, options)
    return opened.train if part is Split.TRAIN else opened.held_out


def _fixed(name: str | Path, path: Path, split: Split) -> Dataset:
    """Return one part of a data set whose division into parts was published with it."""
    return KNOWN[str(name)](split) if str(name) in KNOWN else load_idx_folder(path, split)
