"""Opens data sets by name (digits, mnist, cifar10) or by path, for the command line and for Python."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from striate.arguments import explained
from striate.data.cifar import load_cifar10
from striate.data.dataset import Dataset, Split
from striate.data.decoding import Progress
from striate.data.digits import load_digits
from striate.data.mnist import holds_idx, load_idx_folder, load_mnist
from striate.data.pictures import Opened, PictureOptions, open_pictures
from striate.errors import OptionError
from striate.options import path as checked_path

KNOWN: dict[str, Callable[[Split], Dataset]] = {
    "digits": load_digits,
    "mnist": load_mnist,
    "cifar10": load_cifar10,
}


@explained
def open_data(
    name: str | Path,
    options: PictureOptions | Mapping[str, Any] | None = None,
    progress: Progress = lambda done, count: None,
    **fields: Any,
) -> Opened:
    """Open the training part and the held-out part of the data set with this name, or at this path.

        found = st.data.open_data("shapes.zip", size=64, held_out=0.1)

    name      "digits", "mnist" or "cifar10"; a folder of IDX files; or pictures: a folder of class folders, given train
              and test (or val) folders, or a CSV table of files and labels, also inside a zip or tar archive
    options   how pictures are read and split: ``PictureOptions``, or its fields as a dictionary
    progress  called with (files done, files in all) while pictures are read
    fields    the fields of ``PictureOptions`` by name, such as ``size=64``, instead of ``options``

    Raises ``OptionError`` for anything but a known name or an existing path, and for options that do not apply to the
    data; ``DataError``, naming the file or line, for data that cannot be read.
    """
    chosen = _options(options, fields)
    path = checked_path("data set", name).expanduser()
    if str(name) in KNOWN or holds_idx(path):
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
        return Opened(train, held_out, (), (), None, ())
    if path.exists():
        return open_pictures(path, chosen, progress)
    near = difflib.get_close_matches(str(name), KNOWN, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise OptionError(
        f"{name}: no such file or folder, and no data set of that name{hint}\n"
        f"  known by name: {', '.join(KNOWN)}; by path: pictures (a folder, zip or tar) and folders of IDX files"
    )


@explained
def open_dataset(
    name: str | Path,
    split: Split | str = Split.TRAIN,
    options: PictureOptions | Mapping[str, Any] | None = None,
    **fields: Any,
) -> Dataset:
    """Open one part of a data set, "train" or "test", with the names, options and errors of ``open_data``."""
    part = Split.parse(split)
    path = checked_path("data set", name).expanduser()
    if not options and not fields and (str(name) in KNOWN or holds_idx(path)):
        return _fixed(name, path, part)
    opened = open_data(name, options, **fields)
    return opened.train if part is Split.TRAIN else opened.held_out


def _options(options: object, fields: Mapping[str, Any]) -> PictureOptions:
    """Return the options, given as an object, a dictionary, or by name; raises ``OptionError``."""
    if options is not None and fields:
        raise OptionError(f"options and {', '.join(fields)}; give options in one way")
    if isinstance(options, PictureOptions):
        return options
    if options is not None and not isinstance(options, Mapping):
        raise OptionError(
            f"options={options!r:.200}; expected PictureOptions\n  help: data.PictureOptions(size=(64, 64))"
        )
    return PictureOptions.from_json(cast("Mapping[str, Any]", options) if options else fields)


def _fixed(name: str | Path, path: Path, split: Split) -> Dataset:
    """Return one part of a data set whose division into parts was published with it."""
    return KNOWN[str(name)](split) if str(name) in KNOWN else load_idx_folder(path, split)
