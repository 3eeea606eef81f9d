"""The outline of a data set, such as its classes and sizes, found without decoding its pictures."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from striate.arguments import explained
from striate.data.catalog import KNOWN, open_data, picture_options, require_data
from striate.data.dataset import Dataset
from striate.data.decoding import Progress, headers
from striate.data.labelled import labelled_pictures
from striate.data.mnist import holds_idx
from striate.data.number_files import number_files
from striate.data.number_options import NumberOptions, Task
from striate.data.tree import Tree, open_tree
from striate.errors import DataError
from striate.options import path as checked_path


@dataclass
class Outline:
    """What a data set consists of.

    name         the name or path of the data set
    kind         what the samples are: "pictures", "signals", "volumes" or "table"
    rank         the number of axes of a batch of samples: 4 for pictures (N, C, H, W)
    counts       the number of samples of each class; {} where numbers or several labels are predicted
    targets      the names of the numbers or labels that are predicted; () if one class is predicted
    sizes        the number of samples of each size: (height, width) of pictures, (C, L) of signals
    channels     the number of channels, or of features of a table
    given_parts  whether the data come with a held-out part
    options      the options of ``open_data`` with which the data were read, as plain values
    fixed        whether the data can only be read with these options; true for data sets known by name
    unread       error messages about files and rows that cannot be read
    notes        messages for the user
    """

    name: str
    kind: str
    rank: int
    counts: dict[str, int]
    sizes: Counter[tuple[int, ...]]
    channels: int
    given_parts: bool
    targets: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    fixed: bool = False
    unread: list[str] = field(default_factory=list[str])
    notes: list[str] = field(default_factory=list[str])

    @property
    def samples(self) -> int:
        """The number of samples, training and held-out ones together."""
        return self.sizes.total()


@explained
def outline_of(name: str | Path, progress: Progress = lambda done, count: None, **fields: Any) -> Outline:
    """Return the outline of the data set with this name or path; ``fields`` are options of ``open_data``.

    Of picture files only the headers are read; ``progress`` is called with (files done, files in all). Raises the
    errors of ``open_data``, except that files and rows that cannot be read are listed in ``unread``.
    """
    path = checked_path("data set", name).expanduser()
    if str(name) in KNOWN or holds_idx(path) or not path.exists() or number_files(path):
        skipping = {} if str(name) in KNOWN or not path.exists() or holds_idx(path) else {"on_error": "skip"}
        return _of_opened(str(name), {**fields, **skipping}, progress)
    require_data(path)
    options = picture_options(None, fields)
    tree = open_tree(path)
    try:
        return _of_pictures(tree, progress, options.label_column)
    finally:
        tree.close()


def _of_pictures(tree: Tree, progress: Progress, label_column: str | None) -> Outline:
    """Return the outline of a tree of picture files, from their headers.

    ``label_column`` is that of ``PictureOptions``.
    """
    labelled = labelled_pictures(tree, label_column)
    tops = headers(tree, labelled.pictures, progress)
    readable = [picture for place, picture in enumerate(labelled.pictures) if place not in tops.bad]
    if not readable:
        raise DataError(f"{tree.root}: no picture can be read: {next(iter(tops.bad.values()), 'there is none')}")
    counts = Counter(picture.label for picture in readable)
    sizes = Counter[tuple[int, ...]](dict(tops.sizes))
    return Outline(
        str(tree.root), "pictures", 4, {name: counts[name] for name in labelled.classes}, sizes,
        1 if tops.grey else 3, any(picture.part is not None for picture in readable),
        unread=[*labelled.unusable, *tops.bad.values()], notes=list(labelled.notes),
    )  # fmt: skip


def _of_opened(name: str, fields: dict[str, Any], progress: Progress) -> Outline:
    """Return the outline of numbers, or of a data set known by name, which are read as a whole."""
    opened = open_data(name, None, progress, **fields)
    options = opened.options
    parts = (opened.train, opened.held_out)
    numbers = options if isinstance(options, NumberOptions) else None
    classes = numbers is None or numbers.task is Task.classify
    shape = opened.train.images.shape
    kind = numbers.kind.value if numbers is not None and numbers.kind is not None else "pictures"
    size = shape[2:] if kind == "pictures" else shape[1:]
    return Outline(
        name, kind, len(shape), _counts(parts) if classes else {}, Counter({size: sum(map(len, parts))}), shape[1],
        opened.given_parts, () if classes or numbers is None else numbers.classes or numbers.targets,
        {} if options is None else options.to_json(), options is None, notes=list(opened.notes),
    )  # fmt: skip


def _counts(parts: tuple[Dataset, Dataset]) -> dict[str, int]:
    """Return the number of samples of each class in both parts together."""
    labels = np.concatenate([one.labels for one in parts])
    classes = parts[0].classes
    return dict(zip(classes, np.bincount(labels.reshape(-1), minlength=len(classes)).tolist(), strict=False))
