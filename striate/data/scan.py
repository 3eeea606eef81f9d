"""Examine data before training: classes, sizes, files that cannot be read, and repeated samples."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from striate.arguments import explained
from striate.data.catalog import KNOWN, number_options, open_data, picture_options, require_data
from striate.data.dataset import Array, Dataset, Split
from striate.data.decoding import OnError, Progress, headers, mapped
from striate.data.labelled import labelled_pictures
from striate.data.likeness import MOST_COMPARED, content_key, equal_groups, near_pairs, thumbnail
from striate.data.mnist import holds_idx
from striate.data.number_files import number_files
from striate.data.number_options import Kind, NumberOptions
from striate.data.numbers import merged
from striate.data.picture import decoded, image_of, pixels_of
from striate.data.picture_entry import Picture
from striate.data.samples import gaps
from striate.data.tree import Tree, natural, open_tree
from striate.errors import DataError
from striate.options import path as checked_path

MEASURED = "(measured)"
"""The name under which samples with measured targets are counted."""
_WORDS = {Split.TRAIN: "train", Split.TEST: "held out"}


@dataclass(frozen=True)
class Problem:
    """A problem of one sample, or of several samples together, such as two equal ones.

    kind     such as "bad file", "equal across parts", "nearly equal under two labels", "constant channel"
    samples  where the samples are: paths of files, or lines of a table
    text     what is wrong, as a sentence without a full stop
    """

    kind: str
    samples: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


@dataclass
class Scan:
    """The result of a scan: counts of samples, and the problems that were found.

    name      the name or path of the data set
    kind      what the samples are, such as "pictures"
    counts    the number of samples of each class in each part: "train", "held out", or "" if there are no parts
    sizes     the number of samples of each shape: (height, width) of pictures, (C, L) of signals
    modes     the number of pictures of each mode of Pillow, such as "RGB"
    missing   the number of missing values
    columns   the names of the features or channels, for files of numbers
    targets   the names of the label columns, for files of numbers
    groups    the number of groups whose samples stay in one part; 0 without groups
    problems  what is wrong, worst first
    notes     messages for the user
    """

    name: str
    kind: str
    counts: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    sizes: Counter[tuple[int, ...]] = field(default_factory=Counter[tuple[int, ...]])
    modes: Counter[str] = field(default_factory=Counter[str])
    missing: int = 0
    columns: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    groups: int = 0
    problems: list[Problem] = field(default_factory=list[Problem])
    notes: list[str] = field(default_factory=list[str])

    @property
    def count(self) -> int:
        """The number of samples that can be read."""
        return sum(sum(parts.values()) for parts in self.counts.values())

    def to_json(self) -> dict[str, Any]:
        """Return the scan as a dictionary of plain numbers and lists."""
        return {
            "name": self.name, "kind": self.kind, "classes": self.counts,
            "sizes": {"×".join(map(str, size)): count for size, count in self.sizes.items()}, "modes": dict(self.modes),
            "missing": self.missing, "columns": list(self.columns), "targets": list(self.targets),
            "groups": self.groups, "notes": self.notes,
            "problems": [{"kind": one.kind, "samples": list(one.samples), "text": one.text} for one in self.problems],
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class _Seen:
    """The facts about one sample that the scan keeps, so that samples themselves need not stay in memory.

    place      its file, line or index
    label      the name of its class
    part       the part that contains it; None if the data have no parts
    key        a hash of its content, equal for equal samples
    thumbnail  for pictures, grey uint8 (32, 32)
    constant   for each channel, whether all its numbers are equal
    """

    place: str
    label: str
    part: Split | None
    key: bytes | None
    thumbnail: Array | None = None
    constant: tuple[bool, ...] = ()


@explained
def scan_data(name: str | Path, progress: Progress = lambda done, count: None, **fields: Any) -> Scan:
    """Scan the data set with this name or path, with the options of ``open_data``.

    ``fields`` are these options; ``progress`` is called with (files done, files in all). Files, rows and series that
    cannot be read become problems of the scan. Raises ``OptionError`` and ``DataError``, as ``open_data`` does, for
    data in no known form.
    """
    path = checked_path("data set", name).expanduser()
    if str(name) not in KNOWN and not holds_idx(path) and path.exists():
        if number_files(path):
            return _scan_numbers(path, replace(number_options(name, None, fields), on_error=OnError.skip))
        require_data(path)
        options = picture_options(None, fields)
        tree = open_tree(path)
        try:
            return _scan_pictures(tree, progress, options.label_column)
        finally:
            tree.close()
    opened = open_data(name, None, progress, **fields)
    found = Scan(str(name), "samples", notes=list(opened.notes))
    seen = [
        one
        for data, part in ((opened.train, Split.TRAIN), (opened.held_out, Split.TEST))
        for one in _of_set(data, part)
    ]
    found.sizes[opened.train.images.shape[1:]] = len(seen)
    _conclude(found, seen, opened.train.classes)
    return found


def _of_set(data: Dataset, part: Split) -> list[_Seen]:
    """Return the facts about each sample of a data set in memory, all in one part."""
    pictures = data.images.ndim == 4 and data.images.dtype == np.uint8 and data.images.shape[1] in (1, 3)
    return [
        _Seen(
            f"{_WORDS[part]} {data.sample_name(place)}", data.classes[int(label)], part, content_key(image),
            thumbnail(image_of(image)) if pictures else None, _constant(image),
        )
        for place, (image, label) in enumerate(zip(data.images, data.labels))
    ]  # fmt: skip


def _scan_pictures(tree: Tree, progress: Progress, label_column: str | None) -> Scan:
    """Scan the files of pictures of a folder or archive; ``label_column`` is that of ``PictureOptions``."""
    labelled = labelled_pictures(tree, label_column)
    found = Scan(str(tree.root), "pictures", notes=list(labelled.notes))
    for text in labelled.unusable:
        own = text.removeprefix(f"{tree.root}/")
        found.problems.append(Problem("bad row", (own.partition(":")[0],), own))
    tops = headers(tree, labelled.pictures, progress)
    found.sizes.update(tops.sizes)
    found.modes.update(tops.modes)

    def look(picture: Picture) -> _Seen | str:
        """Decode a picture; return a message if that fails."""
        name = tree.name(picture.entry)
        try:
            image = decoded(io.BytesIO(tree.read(picture.entry)), name)
        except DataError as error:
            return str(error)
        pixels = pixels_of(image)
        key, constant = content_key(pixels), _constant(pixels)
        return _Seen(str(picture.entry.path), picture.label, picture.part, key, thumbnail(image), constant)

    places = [place for place in range(len(labelled.pictures)) if place not in tops.bad]
    looked = list(mapped(look, [labelled.pictures[place] for place in places], progress))
    bad = {**tops.bad, **{place: one for place, one in zip(places, looked) if isinstance(one, str)}}
    for place in sorted(bad):
        path = str(labelled.pictures[place].entry.path)
        text = bad[place].removeprefix(f"{tree.root}/")
        found.problems.append(Problem("bad file", (path,), text))
    _conclude(found, [one for one in looked if isinstance(one, _Seen)], labelled.classes)
    return found


def _scan_numbers(path: Path, options: NumberOptions) -> Scan:
    """Scan a file of numbers, or a pair of files."""
    files = number_files(path)
    samples = merged(files, options)
    found = Scan(str(path), samples.kind.value, notes=list(samples.notes))
    for text in samples.bad:
        own = text.removeprefix(f"{path}, ")
        found.problems.append(Problem("bad file" if files[0].classes else "bad row", (own.partition(":")[0],), own))
    found.sizes.update(one.shape for one in samples.values)
    found.missing = sum(gaps(one) for one in samples.values)
    found.columns, found.targets = samples.columns, samples.targets
    found.groups = len(set(samples.groups)) if samples.groups is not None else 0
    labels = [" ".join(label) for label in samples.labels]
    if len(set(labels)) * 2 > max(len(labels), 10):
        labels = [MEASURED] * len(labels)  # numbers, no two of which need to be equal
    signals = samples.kind is not Kind.table
    seen = [
        _Seen(place, label, part, content_key(values), None, _constant(values) if signals else ())
        for place, label, part, values in zip(samples.places, labels, samples.parts, samples.values)
    ]
    if samples.kind is Kind.table:
        table = np.stack(samples.values)
        for column, name in zip(table.T, samples.columns):
            if np.isnan(column).all() or np.nanmin(column) == np.nanmax(column):
                found.problems.append(Problem("constant column", (name,), f"{name!r} has the same value in all rows"))
    _conclude(found, seen, tuple(sorted(set(labels), key=natural)), samples.columns)
    return found


def _constant(values: Array) -> tuple[bool, ...]:
    """Return for each channel of a sample whether all its numbers are equal."""
    rows = values.reshape(len(values), -1)
    return tuple(bool(one) for one in (rows == rows[:, :1]).all(axis=1))


def _conclude(found: Scan, seen: Sequence[_Seen], classes: Sequence[str], channels: Sequence[str] = ()) -> None:
    """Count the classes of the samples, and add problems that concern several of them."""
    given = any(one.part is not None for one in seen)
    parts = {one: _WORDS[one.part] if one.part is not None else "" for one in seen}
    words = list(_WORDS.values()) if given else [""]
    found.counts = {name: dict.fromkeys(words, 0) for name in classes}
    for one in seen:
        where = found.counts.setdefault(one.label, dict.fromkeys(words, 0))
        where[parts[one]] = where.get(parts[one], 0) + 1
    _classes(found, words)
    _channels(found, seen, channels)
    groups = equal_groups(one.key for one in seen)
    _repeated(found, "equal", [[seen[place] for place in group] for group in groups])
    known = {place: number for number, group in enumerate(groups) for place in group}
    compared = [place for place, one in enumerate(seen) if one.thumbnail is not None]
    if len(compared) > MOST_COMPARED:
        found.notes.append(
            f"nearly equal ones were looked for among {MOST_COMPARED:,} pictures, all held-out ones first"
        )
        compared.sort(key=lambda place: seen[place].part is not Split.TEST)
    compared = compared[:MOST_COMPARED]
    if len(compared) > 1:
        images = np.stack([image for place in compared if (image := seen[place].thumbnail) is not None])
        pairs = [(compared[one], compared[other]) for one, other in near_pairs(images)]
        near = [[seen[a], seen[b]] for a, b in pairs if known.get(a, -1) != known.get(b, -2)]
        _repeated(found, "nearly equal", near)


def _classes(found: Scan, words: Sequence[str]) -> None:
    """Add problems of classes: a single one, names that differ in case only, and classes that a part lacks."""
    if len(found.counts) < 2 and MEASURED not in found.counts:
        found.problems.append(Problem("one class", tuple(found.counts), "a classifier needs two classes or more"))
    folded: dict[str, str] = {}
    for name, counts in found.counts.items():
        other = folded.setdefault(name.casefold(), name)
        if other != name:
            found.problems.append(Problem("similar names", (other, name), f"{other!r}, {name!r} differ in case only"))
        for word in words:
            if not counts.get(word, 0):
                where = (
                    f"no sample of it is {'to learn from' if word == 'train' else word}" if word else "has no sample"
                )
                found.problems.append(Problem("absent class", (name,), f"{name}: {where}"))
        if words == [""] and counts[""] == 1:
            found.problems.append(Problem("absent class", (name,), f"{name}: a single sample, so none is held out"))


def _channels(found: Scan, seen: Sequence[_Seen], channels: Sequence[str]) -> None:
    """Add a problem for each channel that is constant within every sample, and for constant samples."""
    if not seen or not seen[0].constant:
        return
    widths = {len(one.constant) for one in seen}
    always = (
        [all(flags) for flags in zip(*(one.constant for one in seen), strict=True)] if len(widths) == 1 else [False]
    )
    for place, constant in enumerate(always):
        if constant and len(seen) > 1:
            name = channels[place] if len(channels) == len(always) else f"channel {place}"
            found.problems.append(Problem("constant channel", (name,), f"{name} does not vary within any sample"))
    empty = [one.place for one in seen if all(one.constant)]
    if empty and not all(always):
        text = f"{len(empty):,} without any variation: {_listed(empty)}"
        found.problems.append(Problem("constant sample", tuple(empty), text))


def _repeated(found: Scan, how: str, groups: Sequence[Sequence[_Seen]]) -> None:
    """Add problems for groups of (nearly) equal samples: across parts, under two labels, and otherwise."""
    tests: list[tuple[str, Callable[[Sequence[_Seen]], bool]]] = [
        ("across parts", lambda group: len({one.part for one in group}) > 1),
        ("under two labels", lambda group: len({one.label for one in group}) > 1),
    ]
    for where, applies in tests:
        for group in groups:
            if applies(group):
                names = tuple(one.place for one in group)
                found.problems.append(Problem(f"{how} {where}", names, " = ".join(names[:4]) + " …" * (len(names) > 4)))
    rest = [group for group in groups if not any(applies(group) for _, applies in tests)]
    for group in rest:
        names = tuple(one.place for one in group)
        found.problems.append(Problem(how, names, " = ".join(names[:4]) + " …" * (len(names) > 4)))


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
