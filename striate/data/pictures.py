"""Read a folder or an archive of pictures as two data sets, one for training and one held out."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from striate.data.dataset import Dataset, Split
from striate.data.decoding import Headers, OnError, Progress, bad_files, decode, headers
from striate.data.labelled import labelled_pictures
from striate.data.opened import Opened
from striate.data.picture import FORMATS, require_pixels
from striate.data.picture_entry import Labelled, Picture
from striate.data.picture_options import PictureOptions
from striate.data.reading import same_size
from striate.data.repeats import repeated
from striate.data.samples import refused
from striate.data.splitting import absent_classes, stratified_split
from striate.data.tree import Tree, open_tree
from striate.errors import DataError

_DEPTHS = (255, 1023, 4095, 16383, 65535)
_LISTED = 3


def open_pictures(
    path: Path, options: PictureOptions | None = None, progress: Progress = lambda done, count: None
) -> Opened:
    """Read all pictures of a folder, zip or tar archive as uint8, with labels from folders or a table.

    ``data.labelled`` describes the possible forms. ``options`` None means the default options. ``progress`` is called
    with (files done, files in all). Raises ``DataError`` for files or lines of a table that cannot be used, and for
    pictures of different sizes if ``options`` have no size.
    """
    tree = open_tree(path)
    try:
        return _opened(tree, options or PictureOptions(), progress)
    finally:
        tree.close()


def read_pictures(path: Path, options: PictureOptions, classes: Sequence[str]) -> tuple[Dataset, tuple[str, ...]]:
    """Return the pictures on which to evaluate a model, and notes for the user.

    If the pictures are divided into training and held-out ones, only the held-out ones are returned. ``classes`` are
    those of the model. A folder without class folders is also accepted if its name is that of a class: all its pictures
    then have this class. Raises ``DataError`` as ``open_pictures`` does, and for unlabelled pictures.
    """
    tree = open_tree(path)
    try:
        return _labelled(tree, options, classes)
    finally:
        tree.close()


def _labelled(tree: Tree, options: PictureOptions, classes: Sequence[str]) -> tuple[Dataset, tuple[str, ...]]:
    """Read the pictures of a tree of files without dividing them."""
    read = _read(tree, options, lambda done, count: None, classes)
    held = [place for place, picture in enumerate(read.pictures) if picture.part is Split.TEST]
    return read.whole.subset(np.array(held)) if held else read.whole, tuple(read.notes)


@dataclass(frozen=True, eq=False)
class _Read:
    """All pictures of a tree of files, with their labels.

    ``seen`` are the headers of the files, ``options`` are completed from them, and ``notes`` is a list that grows.
    """

    whole: Dataset
    pictures: list[Picture]
    seen: Headers
    options: PictureOptions
    notes: list[str]


def _read(tree: Tree, options: PictureOptions, progress: Progress, known: Sequence[str] = ()) -> _Read:
    """Read the pictures of a tree of files; ``known`` are the classes of a model that is evaluated on them."""
    found = labelled_pictures(tree, options.label_column, known)
    notes = list(found.notes)
    if found.unusable:
        count = len(found.unusable) + len(found.pictures)
        if options.on_error is OnError.refuse:
            raise refused(found.unusable, count, "lines")
        notes.append(f"{len(found.unusable):,} of {count:,} lines cannot be used: {_shortened(found.unusable)}")
    if not known:
        _require_classes(tree, found)
    pictures = found.pictures
    seen = headers(tree, pictures, progress)
    if seen.bad:
        if options.on_error is OnError.refuse:
            raise bad_files(seen.bad, len(pictures))
        notes.append(_skipped(seen.bad, len(pictures)))
        pictures = [picture for place, picture in enumerate(pictures) if place not in seen.bad]
    options = _completed(tree, pictures, seen, options, notes)
    reading = options.reading
    assert reading is not None
    images, bad = decode(tree, pictures, reading, options.on_error, progress)
    if bad:
        notes.append(_skipped(bad, len(pictures)))
        kept = [place for place in range(len(pictures)) if place not in bad]
        images, pictures = images[kept], [pictures[place] for place in kept]
    numbers = {name: number for number, name in enumerate(found.classes)}
    labels = np.array([numbers[picture.label] for picture in pictures], np.int64)
    names = tuple(str(picture.entry.path) for picture in pictures)
    whole = Dataset(images, labels, found.classes, tree.root.name, channels_first=True, files=names)
    return _Read(whole, pictures, seen, options, notes)


def _opened(tree: Tree, given: PictureOptions, progress: Progress) -> Opened:
    """Read, split and check the pictures of a tree of files."""
    read = _read(tree, given, progress)
    whole, notes = read.whole, read.notes
    train, held_out, given_parts = _split(tree, read.pictures, whole.labels, read.options, whole.classes, notes)
    notes += repeated(whole.images, whole.labels, train, held_out, list(whole.files), "picture", tree.root)
    parts = whole.subset(train), whole.subset(held_out)
    size = next(iter(read.seen.sizes)) if len(read.seen.sizes) == 1 else None
    return Opened(*parts, parts[0].files, parts[1].files, read.options, tuple(notes), given_parts, size)


def _require_classes(tree: Tree, found: Labelled) -> None:
    """Raise ``DataError`` for fewer than two classes, and for class names that differ only in case."""
    if len(found.classes) < 2:
        raise DataError(
            f"{tree.root}: one class, {', '.join(found.classes)!r}; a classifier needs two or more\n"
            "  expected: a folder for each class, or a table with several labels"
        )
    folded: dict[str, str] = {}
    for name in found.classes:
        other = folded.setdefault(name.casefold(), name)
        if other != name:
            raise DataError(f"{tree.root}: the classes {other!r} and {name!r} differ in case only\n  help: rename one")


def _completed(
    tree: Tree, pictures: Sequence[Picture], seen: Headers, options: PictureOptions, notes: list[str]
) -> PictureOptions:
    """Return the options with size, channels and ``most`` filled in from the headers."""
    if not pictures:
        raise DataError(f"{tree.root}: no picture can be read")
    size = options.size or same_size(seen.sizes, str(tree.root))
    channels = options.channels or (1 if seen.grey else 3)
    most = options.most
    if most is None:
        deep = any(mode.startswith("I") for mode in seen.modes)
        most = _depth(tree, pictures) if deep else 65535
        if deep and most < 65535:
            bits = most.bit_length()
            notes.append(f"the 16-bit pictures use {bits} bits: {most:,} becomes white")
    return replace(options, size=size, channels=channels, most=most)


def _depth(tree: Tree, pictures: Sequence[Picture]) -> int:
    """Return the value of white in 16-bit pictures: the smallest usual maximum that no pixel exceeds."""
    largest = 0
    for picture in pictures:
        try:
            with Image.open(io.BytesIO(tree.read(picture.entry)), formats=FORMATS) as file:
                if file.mode.startswith("I"):
                    require_pixels(file, tree.name(picture.entry))
                    largest = max(largest, int(np.asarray(file).max(initial=0)))
        except Exception:  # noqa: BLE001 - a damaged file is reported where all are decoded
            continue
    return next(depth for depth in _DEPTHS if largest <= depth or depth == _DEPTHS[-1])


def _split(
    tree: Tree,
    pictures: Sequence[Picture],
    labels: Any,
    options: PictureOptions,
    classes: tuple[str, ...],
    notes: list[str],
) -> tuple[Any, Any, bool]:
    """Return the indices of the training and the held-out samples, and whether the data have both parts.

    Where the data do not, the held-out samples are chosen at random.
    """
    held = np.array([picture.part is Split.TEST for picture in pictures])
    if held.all():
        raise DataError(
            f"{tree.root}: no pictures to learn from: all are in a part that is held out\n"
            "  help: to evaluate a model on them, name the folder of that part itself, such as PATH/test"
        )
    given_parts = bool(held.any())
    if given_parts:
        train, held_out = np.flatnonzero(~held), np.flatnonzero(held)
    else:
        if any(picture.part is not None for picture in pictures):
            notes.append(f"no test or val part: {options.held_out:.0%} of every class is held out")
        grouped = any(picture.group is not None for picture in pictures)
        groups = [picture.group or str(picture.entry.path) for picture in pictures] if grouped else None
        train, held_out = stratified_split(labels, options.held_out, options.seed, groups)
    for index, what in ((train, "in the training part"), (held_out, "held out")):
        if absent := absent_classes(labels, index, classes):
            shown = ", ".join(absent[:_LISTED]) + (
                f" and {len(absent) - _LISTED} more" if len(absent) > _LISTED else ""
            )
            notes.append(f"no picture of {shown} is {what}")
    return train, held_out, given_parts


def _skipped(bad: Mapping[int, str], count: int) -> str:
    """Return a note about files that were skipped because they cannot be read."""
    were = "was" if len(bad) == 1 else "were"
    return f"{len(bad):,} of {count:,} files cannot be read and {were} skipped: {_shortened(list(bad.values()))}"


def _shortened(texts: Sequence[str]) -> str:
    """Return the first of several texts in one line."""
    return "; ".join(texts[:_LISTED]) + ("; …" if len(texts) > _LISTED else "")
