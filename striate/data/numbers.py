"""Open files of numbers (tables, signals, volumes, arrays) as two data sets, or read them for prediction."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from striate.data.dataset import Dataset, Split
from striate.data.gaps import assembled, completed, notes_on
from striate.data.number_files import NumberFile, number_files, set_name
from striate.data.number_options import Kind, NumberOptions, Task
from striate.data.opened import Opened
from striate.data.recordings import is_table
from striate.data.repeats import repeated
from striate.data.samples import Array, Samples
from striate.data.splitting import absent_classes, stratified_split
from striate.data.targets import Targets, targets_of
from striate.data.text_table import shortened
from striate.errors import DataError

_BLOCK = 8  # windows that stay together, so that few training windows share rows with held-out ones
_BLOCKS = 10  # a series has at least so many blocks, if it has so many windows
_LISTED = 3


@dataclass(frozen=True, eq=False)
class Inputs:
    """The inputs in a file for prediction: an array (N, …), and where in the file each sample is, such as "line 12".

    ``notes`` are messages about missing numbers, and about signals of another length than in training.
    """

    values: Array
    places: tuple[str, ...]
    notes: tuple[str, ...] = ()


def open_numbers(path: Path, options: NumberOptions | None = None) -> Opened:
    """Open files of numbers (tables, signals, volumes, arrays) as a training part and a held-out part.

    ``path`` is a file, one of a pair such as train.csv and test.csv, or a folder with a file or a pair. ``options``
    None means the default options. Raises ``DataError``, which names file and line, for data that cannot be read or
    used.
    """
    chosen = options or NumberOptions()
    files = number_files(path)
    samples = merged(files, chosen)
    name = str(path)
    targets = _targets(samples, files, chosen)
    train, held_out, given = _split(samples, targets, chosen, name)
    chosen = replace(
        completed(samples, train.tolist(), chosen, name), task=targets.task, classes=targets.classes,
        targets=samples.targets, single_files=files[0].classes,
    )  # fmt: skip
    notes = [*samples.notes, *notes_on(samples, chosen), *[targets.note] * bool(targets.note)]
    if len(files) > 1 and files[1].path != files[0].path:
        notes.insert(0, f"{files[1].path.name} is held out")
    if samples.bad:
        shown = "; ".join(samples.bad[:_LISTED]) + ("; …" if len(samples.bad) > _LISTED else "")
        what = "rows" if samples.kind is Kind.table else "rows and series"
        what = "files" if files[0].classes else what
        used = len({series for series, _, _ in samples.rows}) if files[0].classes and samples.rows else len(samples)
        notes.append(f"{len(samples.bad):,} of {used + len(samples.bad):,} {what} were skipped: {shown}")
    train, left = _apart(samples, train, held_out)
    if left:
        notes.append(f"{left:,} windows that share rows with held-out windows are left out of the training")
    array = assembled(samples, chosen, name)
    unit = "row" if samples.kind is Kind.table else "sample"
    notes += repeated(array, targets.labels, train, held_out, samples.places, unit, path)
    for index, what in ((train, "in the training part"), (held_out, "held out")):
        if targets.task is Task.classify and (absent := absent_classes(targets.labels, index, targets.classes)):
            notes.append(f"no sample of {shortened(absent, 5)} is {what}")
    names = targets.classes if targets.task is Task.classify else ()
    whole = Dataset(
        array, targets.labels, names, set_name(path), channels_first=True,
        files=tuple(samples.places),
    )  # fmt: skip
    places = np.array(samples.places)
    return Opened(
        whole.subset(train), whole.subset(held_out), tuple(places[train].tolist()), tuple(places[held_out].tolist()),
        chosen, tuple(notes), given,
    )  # fmt: skip


def read_labelled(path: Path, options: NumberOptions) -> Dataset:
    """Return the samples of a file or folder for an evaluation: the held-out part, or all if the data have no parts.

    ``options`` are those of the training, as ``open_numbers`` returned them in ``Opened.options``; labels become
    indices into ``options.classes``. Raises ``DataError`` as ``open_numbers`` does, and for labels that are not among
    the classes.
    """
    files = _labelled_files(path, options)
    samples = merged(files, options)
    held = [place for place, part in enumerate(samples.parts) if part is Split.TEST]
    targets = _targets(samples, files, options)
    names = targets.classes if targets.task is Task.classify else ()
    whole = Dataset(
        assembled(samples, options, str(path)), targets.labels, names, set_name(path), channels_first=True,
        files=tuple(samples.places),
    )  # fmt: skip
    return whole.subset(np.array(held)) if held else whole


def _labelled_files(path: Path, options: NumberOptions) -> list[NumberFile]:
    """Return the files to evaluate; raise ``DataError`` for samples of folders of classes without these folders."""
    alone = DataError(
        f"{path}: in the training, the folder of a file was its label\n"
        f"  help: give the folder that holds the folders of classes; striate predict RUN {path} predicts without labels"
    )
    if options.single_files and is_table(path):
        raise alone
    try:
        files = number_files(path, beside=False)
    except DataError as error:
        raise (alone if options.single_files and path.is_dir() else error) from None
    return [file for file in files if file.part is not Split.TRAIN] or files


def read_inputs(path: Path, options: NumberOptions) -> Inputs:
    """Read a file for prediction in the same way as the training data; labels in the file are ignored.

    ``options`` are those of the training, as ``open_numbers`` returned them in ``Opened.options``. Raises ``DataError``
    as ``open_numbers`` does.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")
    files = number_files(path, beside=False)
    if len(files) != 1:
        raise DataError(f"{path}: not a single file of numbers; give a .csv, .tsv, .ts, .npy or .npz file")
    samples = files[0].samples(options, labelled=False)
    _require_alike(samples, options, path)
    notes = notes_on(samples, replace(options, limits=None)) if options.columns else []
    return Inputs(assembled(samples, options, str(path)), tuple(samples.places), tuple(notes))


def _require_alike(samples: Samples, options: NumberOptions, path: Path) -> None:
    """Raise ``DataError`` for samples of another kind, or with another number of channels, than in the training."""
    if options.kind is not None and samples.kind is not options.kind:
        raise DataError(f"{path}: holds {samples.kind.value}, and the network was trained on {options.kind.value}")
    if options.columns and len(samples.columns) != len(options.columns):
        what = "features" if samples.kind is Kind.table else "channels"
        raise DataError(
            f"{path}: {len(samples.columns)} {what}, and the network was trained with {len(options.columns)}"
        )


def merged(files: list[NumberFile], options: NumberOptions) -> Samples:
    """Return the samples of one or two files together, in the order of the files.

    Raises ``DataError`` unless the files have samples of the same kind, with the same columns.
    """
    first, *others = [file.samples(options) for file in files]
    _require_alike(first, options, files[0].path)
    for file, other in zip(files[1:], others):
        if other.kind is not first.kind or len(other.columns) != len(first.columns):
            raise DataError(
                f"{file.path}: {other.kind.value} of {len(other.columns)} columns, but {files[0].path} has "
                f"{first.kind.value} of {len(first.columns)}"
            )
        if other.columns != first.columns:
            raise DataError(f"{file.path}: its columns are not those of {files[0].path}, {shortened(first.columns)}")
        shift = 1 + max((series for series, _, _ in first.rows), default=-1)
        first.rows += [(series + shift, start, end) for series, start, end in other.rows]
        first.values += other.values
        first.labels += other.labels
        first.parts += other.parts
        first.places = [f"{files[0].path.name}, {place}" for place in first.places]
        first.places += [f"{file.path.name}, {place}" for place in other.places]
        first.bad += other.bad
        first.notes += [note for note in other.notes if note not in first.notes]
        if first.groups is not None and other.groups is not None:
            first.groups += other.groups
    return first


def _targets(samples: Samples, files: list[NumberFile], options: NumberOptions) -> Targets:
    """Return the labels of the samples; raises ``DataError`` if there are none."""
    path = files[0].path
    if not samples.targets or not all(samples.labels):
        cure = {
            ".npy": f"save the labels as {path.stem}_y.npy", ".npz": "np.savez(path, x=inputs, y=labels)",
            ".ts": "@classLabel true, and a label at the end of each line",
        }.get(path.suffix.lower(), "give label_column")  # fmt: skip
        if options.columns:  # those of a training
            if path.suffix.lower() not in (".npy", ".npz", ".ts"):
                cure = f"a column {shortened(options.targets or ('label',))}, as in the training"
            cure += f"; striate predict RUN {path} predicts without labels"
        raise DataError(f"{path}: has no labels\n  help: {cure}")
    file = str(path if len(files) == 1 else path.parent)
    names = {label for (label, *_) in samples.labels}
    if files[0].classes and len(names) < 2 and not options.classes:
        raise DataError(
            f"{file}: one class, {', '.join(names)!r}; a classifier needs two or more\n  help: a folder for each class"
        )
    return targets_of(
        samples.labels, samples.targets, samples.places, file, options.task or samples.task, options.classes
    )


def _split(
    samples: Samples, targets: Targets, options: NumberOptions, name: str
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], bool]:
    """Return the indices of the training and held-out samples, and whether the data have both parts."""
    held = np.array([part is Split.TEST for part in samples.parts])
    if held.all():
        raise DataError(f"{name}: no samples to learn from: all are in a part that is held out")
    groups = samples.groups or (_blocks(samples.rows) if samples.rows else None)
    if held.any():
        if samples.groups is not None:
            both = {group for group, one in zip(samples.groups, held) if one} & {
                group for group, one in zip(samples.groups, held) if not one
            }
            if both:
                samples.notes.append(f"{len(both):,} groups are in both given parts: {shortened(sorted(both), 5)}")
        return np.flatnonzero(~held), np.flatnonzero(held), True
    strata = targets.labels if targets.task is Task.classify else np.zeros(len(samples), np.int64)
    train, held_out = stratified_split(strata, options.held_out, options.seed, groups)
    return train, held_out, False


def _blocks(rows: list[tuple[int, int, int]]) -> list[str]:
    """Return a group for each window: successive windows of a series belong to one block.

    A block has eight windows, or four times as many as overlap, but at most a tenth of the windows of its series.
    """
    counts = np.bincount([series for series, _, _ in rows])
    steps = [other[1] - one[1] for one, other in itertools.pairwise(rows) if one[0] == other[0]]
    overlap = -(-(rows[0][2] - rows[0][1]) // max(1, min(steps, default=1)))
    size = max(_BLOCK, 4 * overlap)
    seen = np.zeros(len(counts), np.int64)
    names: list[str] = []
    for series, _, _ in rows:
        names.append(f"{series}/{seen[series] // min(size, max(1, int(counts[series]) // _BLOCKS))}")
        seen[series] += 1
    return names


def _apart(
    samples: Samples, train: npt.NDArray[np.int64], held_out: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], int]:
    """Return the training samples that share no rows with a held-out one, and the number of those left out."""
    if not samples.rows:
        return train, 0
    held: list[int] = held_out.tolist()
    kept: list[int] = train.tolist()
    taken: dict[int, set[int]] = {}
    for series, start, end in [samples.rows[place] for place in held]:
        taken.setdefault(series, set()).update(range(start, end))
    keep = [
        place for place in kept if taken.get(samples.rows[place][0], set()).isdisjoint(range(*samples.rows[place][1:]))
    ]
    if not keep:
        raise DataError("every window shares rows with a held-out one; give a smaller window, or more rows")
    return np.array(keep, np.int64), len(train) - len(keep)
