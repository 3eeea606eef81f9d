"""Compute predictions for the samples in files of numbers: rows of tables, series, windows, volumes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from striate.cli.predictions import Predictions, described, far_warning, unlike_warning
from striate.cli.progress import Steps
from striate.cli.ranks import ranks
from striate.data import NumberOptions
from striate.data.dataset import Array
from striate.data.input_range import InputRange
from striate.data.number_files import ENDINGS
from striate.data.numbers import read_inputs
from striate.data.tree import FolderTree
from striate.errors import DataError
from striate.nn.module import Module
from striate.train.outliers import faint_samples, outlier_warning
from striate.train.ranks import BatchDivided, require_same, require_same_samples

_TOGETHER = 256


def predict_numbers(
    model: Module, reading: NumberOptions, paths: Sequence[Path], usual: InputRange | None = None
) -> Predictions:
    """Return the predictions for the samples in files, and a message for each file that cannot be used.

    Each sample has a row, which names the file as "file", and the place of the sample in the file as "sample".
    ``paths`` are the files, and ``reading`` the options by which the training data were read. ``usual`` is the range of
    the training samples, or None if it is unknown. The path of a folder means all files of numbers in it and in the
    folders below, in natural order of their names.
    """
    found = Predictions()
    answering = BatchDivided(model, ranks())
    far: dict[str, str] = {}  # the warning about each file that is far from the training data
    unlike: dict[str, str] = {}  # what is unlike the training data in the first such sample of each file
    files = _files(paths, found.problems)
    require_same(ranks(), {"files": ", ".join(map(str, files))})
    with Steps("predict") as steps:
        for number, path in enumerate(files):
            steps.count("predicting files", number, len(files))
            try:
                inputs = read_inputs(path, reading)
                if inputs.values.shape[1:] != model.input_shape:
                    raise DataError(
                        f"{path}: samples of shape {inputs.values.shape[1:]}, and the model takes {model.input_shape}"
                    )
            except DataError as error:
                found.problems.append(str(error))
                require_same_samples(ranks(), [], None)
                continue
            require_same_samples(ranks(), [str(path)], inputs.values)
            if (warning := outlier_warning(model, inputs.values, str(path))) is not None:
                far[str(path)] = warning
            elif faint := faint_samples(model, inputs.values):
                found.warnings.append(
                    f"{path}: {inputs.places[faint[0]]} hardly varies, with less than a tenth of the training data's "
                    f"spread" + (f"; so do {len(faint) - 1:,} others" if len(faint) > 1 else "")
                )
            if warning is None and usual is not None and (others := usual.unlike(inputs.values)):
                place, text = next(iter(others.items()))
                unlike[f"{path}: {inputs.places[place]}"] = text
            found.warnings += [f"{path}: {note}" for note in inputs.notes]
            outputs: list[Array] = []
            for start in range(0, len(inputs.values), _TOGETHER):
                steps.count(f"predicting {path.name}", start, len(inputs.values))
                outputs.append(answering(inputs.values[start : start + _TOGETHER]))
            rows = described(np.concatenate(outputs), model.classes, reading.task)
            found.rows += [
                {"file": str(path), "sample": place, **row} for place, row in zip(inputs.places, rows, strict=True)
            ]
    found.warnings += far_warning(far, len(files), "files") + unlike_warning(unlike, len(files), "files")
    return found


def _files(paths: Sequence[Path], problems: list[str]) -> list[Path]:
    """Return the files at the paths, with those of folders; adds an error message for a folder without any."""
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        entries = [one for one in FolderTree(path).entries if one.path.suffix.lower() in ENDINGS]
        files += [path / one.path for one in entries]
        if not entries:
            problems.append(f"{path}: no files of numbers in it ({', '.join(ENDINGS)})")
    return files
