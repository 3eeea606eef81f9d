"""Read arrays in .npy and .npz files as samples; files with pickled objects are refused.

    data.npz                      x and y, optionally groups; or x_train, y_train, x_test and y_test
    X.npy and y.npy               or NAME.npy and NAME_y.npy, NAME_labels.npy; X_train.npy and y_train.npy

The shape decides what the samples are:

    (N, D)                        features
    (N, C, L)                     signals; but an array of uint8 is read as pictures (N, H, W)
    (N, C, H, W)                  pictures, if C is 1, 3 or 4; otherwise volumes (N, D, H, W)
    (N, C, D, H, W)               volumes

The channels may also be on the last axis. This is assumed for pictures and volumes if the last axis has a size of 1, 3
or 4, and for signals if its size is at most 64 and at most a quarter of the time steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from striate.data.npy import read_npy
from striate.data.number_options import Kind, NumberOptions
from striate.data.samples import Samples
from striate.data.tree import BROKEN, Entry, ZipTree
from striate.errors import DataError

Array = npt.NDArray[Any]
Item = TypeVar("Item")
_MOST_BYTES = 1 << 40  # of one array; it must be possible by the size of the file as well
_INPUTS = ("x", "data", "inputs", "images", "signals", "volumes", "values", "arr_0")
_TARGETS = ("y", "labels", "label", "target", "targets", "classes", "arr_1")
_GROUPS = ("groups", "group")
_PICTURE_CHANNELS = (1, 3, 4)
_MOST_LAST = 64
_RANKS = {Kind.signals: (2, 3), Kind.pictures: (3, 4), Kind.volumes: (4, 5)}
"""The ranks of arrays of several samples: without and with an axis of channels."""


def array_samples(path: Path, options: NumberOptions, part: str = "") -> Samples:
    """Return the samples in the .npy or .npz file ``path``, with labels and groups if there are any.

    From an .npz file, ``part`` "train" or "test" reads arrays with names such as ``x_train`` and ``y_train``. ``part``
    "" reads ``x`` and ``y``, or arrays with other usual names such as ``images`` and ``labels``. The labels of a .npy
    file are in a second file beside it, such as ``y.npy``. Raises ``DataError`` for a file without inputs, or with
    arrays that are not samples; ``OptionError`` for options that only tables have, such as ``label_column``.
    """
    options.require_no_columns(path)
    if path.suffix.lower() == ".npz":
        arrays = _archive(path)
        x, y = _named(arrays, _INPUTS, part), _named(arrays, _TARGETS, part)
        groups = _named(arrays, _GROUPS, part)
        if x is None:
            raise DataError(
                f"{path}: no inputs among its arrays {', '.join(arrays) or '(none)'}\n"
                f"  help: np.savez(path, x=inputs, y=labels); inputs may also be called {', '.join(_INPUTS[1:-1])}"
            )
    else:
        x, groups = array_of(path), None
        if options.single_files and _is_single(x, options):
            one = x[np.newaxis] if x.ndim > 1 or options.kind is Kind.table else x[np.newaxis, np.newaxis]
            single = samples_of(path, one, None, None, options)
            single.places = [path.name]
            return single
        beside = _labels_beside(path)
        y = None if beside is None else array_of(beside)
    return samples_of(path, x, y, groups, options)


def _is_single(x: Array, options: NumberOptions) -> bool:
    """Return whether an array is one sample, without an axis of samples."""
    if options.kind not in _RANKS:
        return x.ndim == 1
    rank = _RANKS[options.kind][-1]
    return x.ndim < rank - 1 or (x.ndim == rank - 1 and len(options.columns) in (x.shape[0], x.shape[-1]))


def has_parts(path: Path) -> bool:
    """Return whether a file is an .npz file with arrays for training and for testing."""
    if path.suffix.lower() != ".npz":
        return False
    with closing(_opened(path)) as tree:
        names = _members(tree)
    return _named(names, _INPUTS, "train") is not None and _named(names, _INPUTS, "test") is not None


def samples_of(path: Path, x: Array, y: Array | None, groups: Array | None, options: NumberOptions) -> Samples:
    """Return N inputs with their labels and groups as ``Samples``, with the channels on axis 1.

    ``x`` (N, …) are the inputs, ``y`` (N,) or (N, k) the labels, and ``groups`` (N,) names, for example of patients.
    Without labels or groups, ``y`` or ``groups`` is None. ``path`` is the name of the file in messages. ``options`` may
    give the kind of the samples and the axis of their channels, which otherwise follow from the shape of ``x``. Raises
    ``DataError`` for arrays with unsuitable types or shapes, or with infinite values.
    """
    if x.dtype.kind not in "buif":
        raise DataError(f"{path}: inputs of type {x.dtype} are not real numbers")
    if x.ndim < 2 or 0 in x.shape:
        raise DataError(f"{path}: nothing to read in inputs of shape {x.shape}; expected (N, …) with N ≥ 1")
    if x.dtype.kind == "f" and np.isinf(x).any():
        place = tuple(int(one) for one in np.argwhere(np.isinf(x))[0])
        raise DataError(f"{path}: inputs[{', '.join(map(str, place))}] is {x[place]}; every number must be finite")
    for name, other in (("labels", y), ("groups", groups)):
        if other is not None and (other.ndim == 0 or len(other) != len(x)):
            count = f"{len(other):,}" if other.ndim else "one number of"
            raise DataError(f"{path}: {len(x):,} inputs, but {count} {name}; each input needs one")
    kind, x, notes = _arranged(path, x, options)
    count = x.shape[1]
    names = tuple(f"{'feature' if kind is Kind.table else 'channel'} {place}" for place in range(count))
    labels: list[tuple[str, ...]] = [()] * len(x)
    targets: tuple[str, ...] = ()
    if y is not None:
        if y.dtype.kind not in "buifUS":
            raise DataError(f"{path}: labels of type {y.dtype} are neither numbers nor text")
        if y.ndim > 2:
            raise DataError(f"{path}: labels of shape {y.shape}; expected (N,), or (N, k) for several targets")
        rows = y.reshape(len(y), -1)
        rows = rows.astype(np.int64) if rows.dtype.kind == "b" else rows
        labels = [tuple(_text(value) for value in row) for row in rows.tolist()]
        targets = tuple(f"target {place}" for place in range(rows.shape[1])) if rows.shape[1] > 1 else ("label",)
    return Samples(
        kind, names if count > 1 else ("value",), list(x), labels, [f"sample {place}" for place in range(len(x))],
        targets, None if groups is None else [_text(one) for one in groups.reshape(len(groups), -1)[:, 0].tolist()],
        [None] * len(x), notes=notes,
    )  # fmt: skip


def _arranged(path: Path, x: Array, options: NumberOptions) -> tuple[Kind, Array, list[str]]:
    """Return what the samples are, the array with channels on axis 1, and a note if they were on the last axis."""
    kind = options.kind or _kind(x)
    ranks = _RANKS.get(kind, (2,))
    if x.ndim not in ranks:
        raise DataError(f"{path}: inputs of shape {x.shape} are not {kind.value}, which have {ranks[-1]} axes")
    if kind is Kind.table:
        return kind, x, []
    if x.ndim < ranks[-1]:
        return kind, x[:, np.newaxis], []
    last = options.channels_last
    if last is None:
        first, channels, positions = x.shape[1], x.shape[-1], min(x.shape[1:-1])
        if kind is Kind.signals:
            last = channels <= _MOST_LAST and channels * 4 <= first
        else:
            last = channels in _PICTURE_CHANNELS and positions > 4 and first not in _PICTURE_CHANNELS
    if not last:
        return kind, x, []
    moved = np.ascontiguousarray(np.moveaxis(x, -1, 1))
    axes = {Kind.signals: "time", Kind.pictures: "height, width"}.get(kind, "depth, height, width")
    note = (
        f"inputs of shape {x.shape} are read as (samples, {axes}, channels): {x.shape[-1]} channels; "
        "--channels-first, in Python channels_last=False, reads them from axis 1"
    )
    return kind, moved, [] if options.channels_last else [note]


def _kind(x: Array) -> Kind:
    """Return what samples of this shape and type are."""
    match x.ndim:
        case 2:
            return Kind.table
        case 3:
            return Kind.pictures if x.dtype == np.uint8 else Kind.signals
        case 4:
            last = x.shape[-1] in _PICTURE_CHANNELS and min(x.shape[1:3]) > 4
            pictures = last or x.shape[1] in _PICTURE_CHANNELS
            return Kind.pictures if pictures else Kind.volumes
        case 5:
            return Kind.volumes
        case _:
            raise DataError(f"inputs of shape {x.shape}; expected 2 to 5 axes")


def array_of(path: Path) -> Array:
    """Return the array of a .npy file; raises ``DataError`` for pickled objects and damaged files."""
    try:
        with path.open("rb") as stream:
            return read_npy(stream, path.stat().st_size, str(path))
    except OSError as error:
        raise DataError(f"{path}: not an array that can be read: {error.strerror or error}") from error


def _archive(path: Path) -> dict[str, Array]:
    """Return the arrays of an .npz file by their names in lower case; raises ``DataError`` as ``array_of`` does."""
    with closing(_opened(path)) as tree:
        found: dict[str, Array] = {}
        for name, entry in _members(tree).items():
            try:
                with tree.stream(entry) as stream:
                    found[name] = read_npy(stream, entry.size, f"{path}: {entry.path}")
            except BROKEN as error:
                if isinstance(error, DataError):
                    raise
                raise DataError(f"{path}: {entry.path}: cannot be read: {error}") from error
        return found


def _opened(path: Path) -> ZipTree:
    try:
        return ZipTree(path, _MOST_BYTES)
    except BROKEN as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path}: not an archive of arrays that can be read: {error}") from error


def _members(tree: ZipTree) -> dict[str, Entry]:
    """Return the .npy files of an .npz file by the names of their arrays, in lower case."""
    return {
        entry.path.stem.lower(): entry
        for entry in tree.entries
        if entry.path.suffix == ".npy" and len(entry.path.parts) == 1
    }


def _named(arrays: Mapping[str, Item], names: tuple[str, ...], part: str) -> Item | None:
    """Return what ``arrays`` has under one of the names, such as ``x_train`` for the part "train", or None."""
    endings = {"": ("",), "train": ("_train",), "test": ("_test", "_val", "_valid")}[part]
    return next((arrays[name + ending] for ending in endings for name in names if name + ending in arrays), None)


def _labels_beside(path: Path) -> Path | None:
    """Return the file of labels that belongs to a .npy file; None if there is none."""
    stem = path.stem
    names = [f"{stem}_y", f"{stem}_labels"]
    for given in ("X", "x"):
        if stem == given or stem.startswith(f"{given}_"):
            names += [f"{letter}{stem[1:]}" for letter in "yY"] + ["labels" + stem[1:]]
    return next((found for name in names if (found := path.with_name(f"{name}.npy")).is_file()), None)


def is_labels(path: Path) -> bool:
    """Return whether the name of a .npy file, such as ``y.npy``, is usual for the labels of another file."""
    stem = path.stem.lower()
    return stem in ("y", "labels") or stem.startswith(("y_", "labels_")) or stem.endswith(("_y", "_labels"))


def _text(value: object) -> str:
    """Return a label as text; numbers keep all their digits, and whole ones have no fraction."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    return str(value)
