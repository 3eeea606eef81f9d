"""``striate evaluate``: measure a trained model on held-out data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy.typing as npt
import typer
from rich.table import Table

from striate.cli.report import output, say_json, say_warning
from striate.data import Dataset, Split, open_data, open_dataset
from striate.data.catalog import KNOWN
from striate.data.mnist import holds_idx
from striate.errors import OptionError
from striate.nn.module import Module
from striate.options import whole_number
from striate.persistence import load
from striate.persistence.folder import CONFIG
from striate.train.evaluation import Evaluation
from striate.train.evaluation import evaluate as measured
from striate.train.outliers import outlier_warning
from striate.train.run import MODEL_FILE, RUN_FILE, read_run

Array = npt.NDArray[Any]


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder that `striate train` created, or a model file.")],
    data: Annotated[str | None, typer.Argument(help="Data set.", show_default="the run's data set")] = None,
    batch_size: Annotated[int, typer.Option(help="Images predicted together.")] = 256,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure a trained network on held-out data."""
    whole_number("--batch-size", batch_size, 1)
    model = load(model_path(run))
    if data is None:
        if run.is_file():
            raise OptionError(f"{run} is a model file, which does not record its training data\n  help: give DATA too")
        found = read_run(run)
        data, dataset = found.data, found.dataset(Split.TEST)
    else:
        dataset = other_data(run, data)
    warn_of_outliers(model, dataset.images, dataset.name)
    result = measured(model, dataset, batch_size)
    if as_json:
        say_json({"run": str(run), "data": data, **result.to_json()})
    else:
        print_evaluation(result, dataset)


def other_data(run: Path, data: str) -> Dataset:
    """Open the data to evaluate on, with pictures read as they were for the run's training.

    This is the held-out part if the data come with one, or if the run was trained on them; otherwise all pictures.
    """
    found = read_run(run) if (run / RUN_FILE).is_file() else None
    if data in KNOWN or found is None:
        return open_dataset(data, Split.TEST) if data in KNOWN else open_data(data).to_evaluate()
    if Path(data).resolve() == Path(found.data):
        return found.dataset(Split.TEST)
    return open_data(data, {} if holds_idx(Path(data)) else found.data_options).to_evaluate()


def model_path(run: Path) -> Path:
    """Return the model file of a run folder; a file, or a folder with ``config.json``, is returned unchanged."""
    return run / MODEL_FILE if run.is_dir() and not (run / CONFIG).exists() else run


def warn_of_outliers(model: Module, images: Array, name: str) -> None:
    """Print a one-line warning if the inputs are far from the training data."""
    text = outlier_warning(model, images, name)
    if text is not None:
        say_warning(text)


def print_evaluation(result: Evaluation, dataset: Dataset) -> None:
    """Print a table with one row per class, then the loss, and the accuracy as the last line."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("class")
    table.add_column("accuracy", justify="right", no_wrap=True)
    table.add_column("correct", justify="right", no_wrap=True)
    for one in result.classes:
        share = "–" if one.accuracy is None else f"{100 * one.accuracy:.2f} %"
        table.add_row(one.name, share, f"{one.correct} of {one.count}")
    console = output()
    console.print(table)
    console.print(f"{dataset.name}: {result.count:,} images, loss {result.loss:.4f}", soft_wrap=True)
    console.print(f"test accuracy {100 * result.accuracy:.2f} %", soft_wrap=True)
