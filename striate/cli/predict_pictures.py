"""Compute predictions for picture files, which are decoded on all threads and predicted in batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.cli.predictions import Predictions, described, far_warning, listed, unlike_warning
from striate.cli.progress import Steps
from striate.cli.ranks import ranks
from striate.data.centring import Centring, Placed, centred
from striate.data.decoding import mapped
from striate.data.input_range import InputRange
from striate.data.number_options import Task
from striate.data.reading import Reading
from striate.data.sources import Source, Sources
from striate.errors import DataError
from striate.nn.module import Module
from striate.train.outliers import faint_samples, outlier_warning
from striate.train.ranks import BatchDivided, require_same, require_same_samples
from striate.train.tta import averaged

_TOGETHER = 64  # pictures in a batch
Pixels = npt.NDArray[np.uint8]


def predict_pictures(
    model: Module,
    reading: Reading,
    form: Centring | None,
    sources: Sources,
    task: Task | None,
    tta: str,
    usual: InputRange | None = None,
) -> Predictions:
    """Return the predictions for all pictures, with warnings about pictures that differ from the training data.

    Each picture has a row with its name as "image". ``sources`` are the pictures, and ``task`` is what the model
    predicts; None means classes. ``reading`` and ``form`` determine how a picture is converted to an input, and ``tta``
    names the views of a picture, such as "flip", over which the prediction is averaged. ``usual`` is the range of the
    training samples, if known.
    """
    averages = averaged(model, tta, probabilities=task is not Task.regress and task is not Task.multilabel)
    answering = BatchDivided(averages, ranks())
    found = Predictions(problems=list(sources.problems))
    swapped: list[str] = []
    far: dict[str, str] = {}  # the warning about each picture that is far from the training data
    faint: list[str] = []
    unlike: dict[str, str] = {}  # what is unlike the training data in each picture
    sizes: dict[str, tuple[int, int]] = {}  # of pictures of another size than those of the training data
    pictures = sources.found
    require_same(ranks(), {"pictures": str(len(pictures))})
    with Steps("predict") as steps:
        for start in range(0, len(pictures), _TOGETHER):
            names: list[str] = []
            batch: list[Pixels] = []
            read = _reader(reading, form)
            for name, result in mapped(read, pictures[start : start + _TOGETHER], _ignore):
                if isinstance(result, str):
                    found.problems.append(result)
                    continue
                names.append(name)
                batch.append(result.pixels)
                swapped += [name] if result.swapped else []
                if form is None and usual is not None and usual.size is not None and result.size != usual.size:
                    sizes[name] = result.size
            x = np.stack(batch) if batch else None
            require_same_samples(ranks(), names, x)
            if x is not None:
                rows = described(answering(x), model.classes, task)
                found.rows += [{"image": name, **row} for name, row in zip(names, rows, strict=True)]
                far |= _outliers(model, x, names)
                unlike |= {} if usual is None else {names[place]: text for place, text in usual.unlike(x).items()}
                faint += [names[place] for place in faint_samples(model, x)]
            steps.count("predicting pictures", min(start + _TOGETHER, len(pictures)), len(pictures))
    count = len(found.rows)
    known = {*far, *faint}
    unlike = {name: text for name, text in unlike.items() if name not in known}
    found.warnings += _swap_warning(swapped, count) + far_warning(far, count, "pictures")
    found.warnings += _faint_warning(faint, count) + unlike_warning(unlike, count, "pictures")
    if usual is not None and usual.size is not None:
        found.warnings += _size_warning(sizes, usual.size, count)
    return found


def _ignore(done: int, count: int) -> None:
    """Show no progress: that of the predictions is shown."""


def _reader(reading: Reading, form: Centring | None) -> Callable[[Source], tuple[str, Placed | str]]:
    """Return a function from a source to its name and its picture, or the message why it cannot be read."""

    def read(source: Source) -> tuple[str, Placed | str]:
        try:
            return source.name, centred(source.read(), source.name, reading, form)
        except DataError as error:
            return source.name, str(error)

    return read


def _outliers(model: Module, x: npt.NDArray[Any], names: list[str]) -> dict[str, str]:
    """Return a warning for each picture of a batch that is far from the training data, by its name."""
    if outlier_warning(model, x, "") is None:
        return {}
    each = {name: outlier_warning(model, x[place : place + 1], name) for place, name in enumerate(names)}
    return {name: text for name, text in each.items() if text is not None}


def _swap_warning(swapped: list[str], count: int) -> list[str]:
    """Return at most one warning about the pictures in which light and dark were exchanged, of ``count``."""
    as_in_training = "as the training data have it"
    if not swapped:
        return []
    if len(swapped) == 1:
        return [f"{swapped[0]}: light and dark were swapped, {as_in_training}; --no-centre leaves them"]
    which = f"{len(swapped):,} of {count:,} pictures"
    cure = "--no-centre leaves them"
    return [f"light and dark were swapped in {which}, {as_in_training}: {listed(swapped)}; {cure}"]


def _size_warning(sizes: dict[str, tuple[int, int]], usual: tuple[int, int], count: int) -> list[str]:
    """Return at most one warning about pictures, by name, whose size is not that of all training pictures."""
    if not sizes:
        return []
    first, (height, width) = next(iter(sizes.items()))
    theirs = f"{height}×{width}, where those of the training data are {usual[0]}×{usual[1]}; resized"
    if len(sizes) == 1:
        return [f"{first} is {theirs}"]
    return [f"{len(sizes):,} of {count:,} pictures have another size: {first} is {theirs}"]


def _faint_warning(faint: list[str], count: int) -> list[str]:
    """Return at most one warning about the pictures that are nearly uniform, of ``count``."""
    if not faint:
        return []
    which = f"{faint[0]}:" if len(faint) == 1 else f"{len(faint):,} of {count:,} pictures are"
    names = f": {listed(faint)}" if len(faint) > 1 else ""
    return [f"{which} nearly uniform, with less than a tenth of the training data's contrast{names}"]
