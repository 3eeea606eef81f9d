"""Convert the outputs of a model to predictions, and print them as lines of text, JSON, or a CSV table."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import typer

from striate.cli.report import say_error, say_json, say_note, say_warning
from striate.data.dataset import Array
from striate.data.decoding import OnError
from striate.data.number_options import Task
from striate.errors import OptionError
from striate.options import whole_number
from striate.persistence import write_atomically
from striate.train.evaluation import log_softmax

_SHOWN, _LEAST = 3, 0.01
_LISTED = 10
STANDARD_OUTPUT = Path("-")


@dataclass
class Predictions:
    """Predictions, an error message for each file that could not be read, and warnings about unusual inputs.

    Each row is a dictionary that identifies a sample by "image", or by "file" and "sample". The prediction for the
    sample is in "classes", "labels" or "numbers", as ``described`` returns it.
    """

    rows: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    problems: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])


def described(outputs: Array, names: tuple[str, ...], task: Task | None) -> list[dict[str, Any]]:
    """Return the prediction of each sample, from outputs (N, k), as a dictionary of classes, labels, or numbers.

    ``names`` are the names of the k outputs; () numbers the outputs from 0. Classes come with their probabilities, the
    most probable one first. ``task`` says what is predicted; None means classes. Raises ``OptionError`` for outputs of
    another shape.
    """
    if outputs.ndim != 2:
        raise OptionError(f"the outputs of this model have the shape {outputs.shape}; predictions are for (N, classes)")
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


def text_of(row: dict[str, Any], top_k: int | None = None, least: float = _LEAST) -> str:
    """Return a prediction as text: "walk (98.20 %), run (1.70 %)", "price 31.4", or the labels above 50 %.

    For classes, the text contains the ``top_k`` most probable classes. By default, it contains the most probable class,
    and up to two others with a probability of ``least`` or more.
    """
    if "numbers" in row:
        return ", ".join(f"{name} {value:.6g}" for name, value in row["numbers"].items())
    if "labels" in row:
        likely = [f"{name} ({100 * share:.2f} %)" for name, share in row["labels"].items() if share > 0.5]
        return ", ".join(likely) or "none of the labels"
    first, *others = row["classes"][: top_k or _SHOWN]
    shown = [first, *(one for one in others if top_k or one["probability"] >= least)]
    return ", ".join(f"{one['class']} ({100 * one['probability']:.2f} %)" for one in shown)


def csv_text(rows: Sequence[dict[str, Any]], top_k: int | None = None) -> str:
    """Return the rows as a CSV table with column names: the sample, then its prediction.

    A prediction has the columns "class" and "probability" or, with ``top_k`` = K, "class_1", "probability_1", …
    "probability_K". For a model that estimates numbers or yes-or-no labels, each number or label has a column.
    """
    stream = io.StringIO()
    table = csv.writer(stream, lineterminator="\n")
    for place, row in enumerate(rows):
        cells = {name: value for name, value in row.items() if name not in ("classes", "labels", "numbers")}
        values = list(cells.values())
        heads = list(cells)
        for number, one in enumerate(row.get("classes", ())[: top_k or 1], 1):
            ending = "" if top_k is None else f"_{number}"
            heads += [f"class{ending}", f"probability{ending}"]
            values += [one["class"], one["probability"]]
        for kind in ("labels", "numbers"):
            heads += row.get(kind, {}).keys()
            values += row.get(kind, {}).values()
        if place == 0:
            table.writerow(heads)
        table.writerow(values)
    return stream.getvalue()


def far_warning(far: dict[str, str], count: int, what: str) -> list[str]:
    """Return at most one warning about inputs that are far from the training data: [] or [text].

    far    the warning about each such input, by name, as ``outlier_warning`` returns it
    count  the number of all inputs
    what   the word for the inputs, such as "pictures"
    """
    if len(far) < 2:
        return list(far.values())
    first = next(iter(far.values()))
    return [f"{len(far):,} of {count:,} {what} are far from the training data: {listed(list(far))}\n  {first}"]


def unlike_warning(unlike: dict[str, str], count: int, what: str) -> list[str]:
    """Return at most one warning about inputs outside of the range of the training data: [] or [text].

    unlike  a text on how each such input differs, by name of the input, as ``InputRange.unlike`` returns it
    count   the number of all inputs
    what    the word for the inputs, such as "pictures"
    """
    if not unlike:
        return []
    first, text = next(iter(unlike.items()))
    whole = f"{first} is unlike the training data: {text}"
    return [whole if len(unlike) == 1 else f"{len(unlike):,} of {count:,} {what} are unlike the training data; {whole}"]


def listed(names: Sequence[str]) -> str:
    """Return the first three names, and the number of the others, as text."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


@dataclass(frozen=True)
class Form:
    """The options for printing predictions, and for files that cannot be read.

    as_json   print JSON instead of lines
    csv_file  write a CSV table to this file; "-" prints it instead of the lines
    top_k     the number of classes for each sample; None: all in JSON, up to three in a line, one in a table
    on_error  what follows a file that cannot be read: ``refuse`` ("raise" on the command line) predicts the other
              files, then exits with code 2; ``skip`` only warns
    """

    as_json: bool = False
    csv_file: Path | None = None
    top_k: int | None = None
    on_error: OnError = OnError.refuse

    def __post_init__(self) -> None:
        """Raise ``OptionError`` for invalid options, before anything is predicted."""
        if self.top_k is not None:
            whole_number("--top-k", self.top_k, 1)
        if self.csv_file == STANDARD_OUTPUT and self.as_json:
            raise OptionError("--json and --csv - both print to standard output\n  help: --csv FILE writes a file")
        path = self.csv_file
        if path is not None and path != STANDARD_OUTPUT and (path.is_dir() or not path.parent.is_dir()):
            raise OptionError(
                f"--csv {path}: {'a folder, not a file' if path.is_dir() else 'its folder does not exist'}"
            )

    def require_for(self, task: Task | None) -> None:
        """Raise ``OptionError`` for ``--top-k`` with a model that does not predict classes."""
        if self.top_k is not None and task in (Task.regress, Task.multilabel):
            raise OptionError("--top-k is for classes; this model predicts " + _PREDICTED[task])

    def show(self, found: Predictions, lines: Sequence[str]) -> None:
        """Print the warnings and errors of ``found``, and print its predictions, write them to the CSV file, or both.

        ``lines`` are the predictions as text. Raises ``typer.Exit`` with code 2 if a file could not be read. If
        ``on_error`` is ``skip``, this happens only if no sample was read.
        """
        for warning in found.warnings:
            say_warning(warning)
        count = len(found.rows) + len(found.problems)
        if self.on_error is OnError.skip and found.rows and found.problems:
            shown = "; ".join(problem.splitlines()[0] for problem in found.problems[:_SHOWN])
            more = "; …" if len(found.problems) > _SHOWN else ""
            say_warning(f"{len(found.problems):,} of {count:,} cannot be read and were skipped: {shown}{more}")
        else:
            for problem in found.problems[:_LISTED]:
                say_error(problem)
            if len(found.problems) > _LISTED:
                say_error(f"… and {len(found.problems) - _LISTED:,} more cannot be read")
        if self.top_k is not None:
            for row in found.rows:
                row["classes"] = row["classes"][: self.top_k]
        if self.csv_file is not None and found.rows:
            self._write(self.csv_file, csv_text(found.rows, self.top_k))
        if self.as_json:
            say_json(found.rows)
        elif self.csv_file is None:
            for line in lines:
                typer.echo(line)
        if found.problems and not (self.on_error is OnError.skip and found.rows):
            raise typer.Exit(2)

    def _write(self, path: Path, text: str) -> None:
        if path == STANDARD_OUTPUT:
            typer.echo(text, nl=False)
        else:
            write_atomically(path, text.encode())
            lines = text.count("\n") - 1
            say_note(f"saved {path}: {lines:,} line{'s' * (lines != 1)}")


_PREDICTED = {Task.regress: "numbers", Task.multilabel: "several labels"}
