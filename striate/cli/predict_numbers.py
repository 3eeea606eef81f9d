"""Compute predictions for the samples in files of numbers: rows of tables, series, windows, volumes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from striate.cli.evaluate import warn_of_outliers
from striate.cli.predictions import Predictions, described
from striate.data import NumberOptions
from striate.data.number_files import ENDINGS
from striate.data.numbers import read_inputs
from striate.data.tree import FolderTree
from striate.errors import DataError
from striate.nn.module import Module

_TOGETHER = 256


def predict_numbers(model: Module, reading: NumberOptions, paths: Sequence[Path]) -> Predictions:
    """Return the predictions: a row for each sample, with its "file", and its place in the file as "sample".

    The path of a folder means all files of numbers in it and in the folders below, in natural order of their names.
    """
    found = Predictions()
    for path in _files(paths, found.problems):
        try:
            inputs = read_inputs(path, reading)
            if inputs.values.shape[1:] != model.input_shape:
                raise DataError(
                    f"{path}: samples of shape {inputs.values.shape[1:]}, and the model takes {model.input_shape}"
                )
        except DataError as error:
            found.problems.append(str(error))
            continue
        warn_of_outliers(model, inputs.values, str(path))
        parts = range(0, len(inputs.values), _TOGETHER)
        outputs = np.concatenate([np.asarray(model(inputs.values[start : start + _TOGETHER])) for start in parts])
        for place, row in zip(inputs.places, described(outputs, model.classes, reading.task), strict=True):
            found.rows.append({"file": str(path), "sample": place, **row})
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
