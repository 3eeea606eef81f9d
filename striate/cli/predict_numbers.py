"""Predictions for the samples of files of numbers: rows of tables, series, windows, volumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import typer

from striate.cli.evaluate import numbers_as_the_input, warn_of_outliers
from striate.cli.report import say_error, say_json
from striate.data import NumberOptions
from striate.data.dataset import Array
from striate.data.number_options import Task
from striate.data.numbers import read_inputs
from striate.errors import DataError
from striate.nn.module import Module
from striate.train.evaluation import log_softmax

_SHOWN, _LEAST = 3, 0.01
_TOGETHER = 256


def predict_numbers(model: Module, options: NumberOptions | None, paths: list[Path], *, as_json: bool) -> None:
    """Print a line, or with ``as_json`` an object, for each sample of the files.

    With several files, each line begins with its file. A file that cannot be read is named in a message, and the exit
    code is then 2.
    """
    rows: list[dict[str, Any]] = []
    failed = False
    reading = options or numbers_as_the_input(model)
    for path in paths:
        try:
            inputs = read_inputs(path, reading)
            if inputs.values.shape[1:] != model.input_shape:
                raise DataError(
                    f"{path}: samples of shape {inputs.values.shape[1:]}, and the model takes {model.input_shape}"
                )
        except DataError as error:
            failed = True
            say_error(error)
            continue
        warn_of_outliers(model, inputs.values, str(path))
        parts = range(0, len(inputs.values), _TOGETHER)
        outputs = np.concatenate([np.asarray(model(inputs.values[start : start + _TOGETHER])) for start in parts])
        for place, row in zip(inputs.places, described(outputs, model.classes, reading.task), strict=True):
            rows.append({"file": str(path), "sample": place, **row})
    if as_json:
        say_json(rows)
    else:
        for row in rows:
            typer.echo(f"{row['file']}, " * (len(paths) > 1) + f"{row['sample']}: {text_of(row)}")
    if failed:
        raise typer.Exit(2)


def described(outputs: Array, names: tuple[str, ...], task: Task | None) -> list[dict[str, Any]]:
    """Return the prediction of each sample, from outputs (N, k), as a dictionary of classes, labels, or numbers."""
    names = names or tuple(str(place) for place in range(outputs.shape[1]))
    if task is Task.regress:
        return [{"numbers": dict(zip(names, map(float, row), strict=True))} for row in outputs]
    if task is Task.multilabel:
        shares = 1 / (1 + np.exp(-outputs.astype(np.float64)))
        return [{"labels": dict(zip(names, map(float, row), strict=True))} for row in shares]
    shares = np.exp(log_softmax(outputs))
    orders = np.argsort(-shares, axis=1, kind="stable")
    return [
        {"classes": [{"class": names[place], "probability": float(row[place])} for place in order]}
        for row, order in zip(shares, orders, strict=True)
    ]


def text_of(row: dict[str, Any]) -> str:
    """Return a text such as "walk (98.20 %), run (1.70 %)", "price 31.4", or the labels above 50 %.

    For classes, the text contains the most probable one, and up to two others with 1 % or more.
    """
    if "numbers" in row:
        return ", ".join(f"{name} {value:.6g}" for name, value in row["numbers"].items())
    if "labels" in row:
        likely = [f"{name} ({100 * share:.2f} %)" for name, share in row["labels"].items() if share > 0.5]
        return ", ".join(likely) or "none of the labels"
    first, *others = row["classes"][:_SHOWN]
    shown = [first, *(one for one in others if one["probability"] >= _LEAST)]
    return ", ".join(f"{one['class']} ({100 * one['probability']:.2f} %)" for one in shown)
