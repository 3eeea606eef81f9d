"""Read folders of classes with a .npy file for each sample: ``healthy/p01.npy``, ``lesion/p02.npy``.

The folders of classes may be in folders for training and testing, as in ``train/healthy/p01.npy``. A file has one
sample: a signal (L,) or (C, L), a picture (H, W) of uint8, or a volume (D, H, W) or (C, D, H, W). Signals may differ in
length; other samples have equal shapes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.counting import counted
from striate.data.array_files import array_of, samples_of
from striate.data.decoding import OnError
from striate.data.labelled import from_folders
from striate.data.number_options import Kind, NumberOptions
from striate.data.picture_entry import Picture
from striate.data.samples import Samples, refused
from striate.data.tree import FolderTree
from striate.errors import DataError

Array = npt.NDArray[Any]
_LISTED = 3


def is_array(path: Path) -> bool:
    """Return whether the name of a file ends in .npy."""
    return path.suffix.lower() == ".npy"


def folder_samples(folder: Path, options: NumberOptions) -> Samples:
    """Return the samples of all .npy files in folders of classes; their labels are the names of the folders.

    Raises ``DataError`` for files that cannot be read, unless ``options.on_error`` says to skip them, and for arrays
    whose shapes do not fit together; ``OptionError`` for options that only tables have.
    """
    options.require_no_columns(folder)
    tree = FolderTree(folder)
    labelled = from_folders(tree, [entry for entry in tree.entries if is_array(Path(entry.path))], "file")
    found: list[tuple[Picture, Array]] = []
    bad: list[str] = []
    for picture in labelled.pictures:
        try:
            array = array_of(folder / picture.entry.path)
            if array.dtype.kind not in "buif":
                raise DataError(f"{picture.entry.path}: numbers of type {array.dtype} are not real")
            found.append((picture, array[np.newaxis] if array.ndim == 1 and options.kind is not Kind.table else array))
        except DataError as error:
            bad.append(str(error))
    if bad and (options.on_error is OnError.refuse or not found):
        raise refused(bad, len(labelled.pictures), "files")
    pictures, arrays = [one for one, _ in found], [array for _, array in found]
    if options.kind is None and all(array.ndim == 2 and array.shape[0] == 1 for array in arrays):
        options = replace(options, kind=Kind.signals)  # files of uint8 would be pictures of height 1
    samples = _together(folder, pictures, arrays, options)
    samples.labels = [(picture.label,) for picture in pictures]
    samples.places = [str(picture.entry.path) for picture in pictures]
    samples.parts = [picture.part for picture in pictures]
    samples.targets, samples.bad = ("class",), bad
    samples.notes = [*labelled.notes, *samples.notes]
    return samples


def _together(folder: Path, pictures: list[Picture], arrays: list[Array], options: NumberOptions) -> Samples:
    """Return samples from arrays, of equal shapes or of signals with different lengths."""
    shapes = Counter(array.shape for array in arrays)
    if len(shapes) == 1:
        return samples_of(folder, np.stack(arrays), None, None, options)
    if options.kind in (None, Kind.signals) and all(len(shape) == 2 for shape in shapes):
        first, last = ({shape[axis] for shape in shapes} for axis in (0, 1))
        if len(first) == 1 or len(last) == 1:
            last_axis = len(first) > 1
            options = replace(options, kind=Kind.signals, channels_last=last_axis)
            each = [samples_of(folder, array[np.newaxis], None, None, options) for array in arrays]
            samples = each[0]
            samples.values, samples.channels_last = [one.values[0] for one in each], last_axis
            if last_axis:
                channels = counted(samples.values[0].shape[0], "channel")
                samples.notes = [f"the files differ along their first axis, so they are read as (time, {channels})"]
            return samples
    places = {array.shape: picture.entry.path for picture, array in zip(pictures, arrays)}
    shown = ", ".join(
        f"{'×'.join(map(str, shape))} ({counted(count, 'file')}, such as {places[shape]})"
        for shape, count in shapes.most_common(_LISTED)
    )
    raise DataError(
        f"{folder}: arrays of {len(shapes)} different shapes: {shown}\n"
        "  help: cut or resample them to one shape; only signals (channels, time) may differ, in their length"
    )
