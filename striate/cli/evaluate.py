"""``striate evaluate``: measure a trained model on held-out data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from striate.cli.ranks import ranks
from striate.cli.report import output, say_json, say_note, say_notes, say_warning
from striate.counting import counted
from striate.data import Dataset, Split, open_data, open_dataset
from striate.data.catalog import KNOWN, picture_options, require_data, shadowed
from striate.data.decoding import OnError
from striate.data.mnist import holds_idx
from striate.data.number_files import number_files
from striate.data.number_options import Kind, NumberOptions
from striate.data.numbers import read_labelled
from striate.data.pictures import read_pictures
from striate.errors import OptionError, ShapeError
from striate.nn.module import Module
from striate.options import whole_number
from striate.persistence import LoadedModel, load
from striate.persistence.folder import CONFIG
from striate.train.evaluation import Evaluation
from striate.train.evaluation import evaluate as measured
from striate.train.fingerprint import Fingerprint
from striate.train.numerals import number_text, score_text
from striate.train.outliers import outlier_warning
from striate.train.ranks import require_same, versions_that_matter, weights_digest
from striate.train.run import RUN_FILE, model_file, read_run, require_there
from striate.train.tta import Views

Array = npt.NDArray[Any]
_CONFUSED = 3
"""The number of mistakes that are listed."""


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder that `striate train` created, or a model file.")],
    data: Annotated[str | None, typer.Argument(help="Data set.", show_default="the run's data set")] = None,
    batch_size: Annotated[int, typer.Option(help="Images predicted together.")] = 256,
    on_error: Annotated[
        str | None, typer.Option(help="Data that cannot be read: raise or skip.", show_default="as in training")
    ] = None,
    tta: Annotated[
        str | None,
        typer.Option(
            help='Average over views of each sample: "flip", "vflip", "crop:4", several, or "" for none.',
            show_default="as at the end of the training",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure a trained network on held-out data."""
    whole_number("--batch-size", batch_size, 1)
    views = Views() if tta is None else Views.parse(tta)
    model = load(model_path(run))
    own = data is None
    if tta is None and (run / RUN_FILE).is_file():
        views = Views.parse(str(read_run(run).arguments.get("tta", "")))
    if data is None:
        if run.is_file():
            raise OptionError(f"{run} is a model file, which does not record its training data\n  help: give DATA too")
        data = read_run(run).data
    dataset = opened_dataset(run, model, data, on_error)
    require_shape(model, dataset)
    warn_of_outliers(model, dataset.images, dataset.name)
    if tta is None and views != Views():
        say_note('averaged over views of each sample, as at the end of the training; --tta "" is without')
    if ranks().size > 1:
        facts = {**versions_that_matter(), "weights": weights_digest(model), "views": str(views)}
        require_same(ranks(), {**facts, "data": str(Fingerprint.of(dataset)), "batch size": str(batch_size)})
    result = measured(model, dataset, batch_size, tta=views, communicator=ranks())
    if as_json:
        say_json({"run": str(run), "data": data, **result.to_json()})
    else:
        print_evaluation(result, dataset, part_name(data) if own or part_name(data) == "test" else "")


def part_name(data: str) -> str:
    """Return the word for the samples on which a model trained on ``data`` is evaluated: "test" or "held-out".

    It is "test" for data sets known by name and for IDX files, which come with a test set.
    """
    return "test" if data in KNOWN or holds_idx(Path(data)) else "held-out"


def opened_dataset(run: Path, model: Module, data: str, on_error: str | None = None) -> Dataset:
    """Open the data set ``data``, a name or a path, to evaluate ``model`` on it; print notes about the data.

    ``run`` is a run folder or a model file. Pictures are read with the options of the run's training. If there are no
    such options, pictures are read with the size and the channels of the model's input. For a data set known by name,
    for IDX files, and for the data that the run was trained on, the result is the held-out part. Otherwise, it is all
    samples. ``on_error``, "raise" or "skip", says what to do with files and samples that cannot be read; None means the
    option of the training. Raises ``OptionError`` if ``on_error`` is given for a data set known by name or for IDX
    files.
    """
    found = read_run(run) if (run / RUN_FILE).is_file() else None
    path = Path(data)
    if data in KNOWN or holds_idx(path):
        if on_error is not None:
            raise OptionError(f"{data}: takes no --on-error, which is for pictures and numbers of your own")
        say_notes(shadowed(data))
        return open_dataset(data, Split.TEST)
    numbers = number_files(path, beside=False) if path.exists() else []
    learned_numbers = found.number_options if found is not None else None
    if numbers and (found is None or path.resolve() != Path(found.data)):
        how = learned_numbers or numbers_as_the_input(model)
        return read_labelled(path, how if on_error is None else replace(how, on_error=OnError.parse(on_error)))
    options = found.data_options if found is not None and found.data_options else _as_the_input(model)
    if on_error is not None:
        options = {**options, "on_error": on_error}
    if found is not None and path.resolve() == Path(found.data):
        require_there(found.data)
        return open_dataset(data, Split.TEST, options)
    if not path.exists():
        return open_data(data, options).held_out  # says which data sets there are
    require_data(path)
    dataset, notes = read_pictures(path, picture_options(options, {}), model.classes)
    say_notes(notes)
    return dataset


def _as_the_input(model: Module) -> dict[str, Any]:
    """Return the options that read pictures as the input of the model; {} if it takes no pictures."""
    match model.input_shape:
        case (1 | 3 as channels, height, width):
            return {"channels": channels, "size": (height, width)}
        case _:
            return {}


def numbers_as_the_input(model: Module) -> NumberOptions:
    """Return options that read files of numbers as inputs of a model, according to its input shape and classes."""
    kinds = {1: Kind.table, 2: Kind.signals, 3: Kind.pictures, 4: Kind.volumes}
    kind = kinds.get(len(model.input_shape))
    length = model.input_shape[-1] if kind is Kind.signals else None
    return NumberOptions(kind=kind, classes=model.classes, length=length)


def require_shape(model: Module, dataset: Dataset) -> None:
    """Raise ``ShapeError`` if the samples do not have the shape that a loaded model takes."""
    ours, theirs = dataset.images.shape[1:], model.input_shape
    if isinstance(model, LoadedModel) and ours != theirs:
        raise ShapeError(
            f"{dataset.name}: samples of shape {ours}, but the model takes {theirs}\n"
            "  help: give other data; a folder or archive of pictures is read at the size that the model takes"
        )


def model_path(run: Path) -> Path:
    """Return the model file of a run folder; a file, or a folder with ``config.json``, is returned unchanged."""
    return model_file(run) if run.is_dir() and not (run / CONFIG).exists() else run


def warn_of_outliers(model: Module, images: Array, name: str) -> None:
    """Print a one-line warning, which begins with ``name``, if the inputs are far from the training data."""
    text = outlier_warning(model, images, name)
    if text is not None:
        say_warning(text)


def print_evaluation(result: Evaluation, dataset: Dataset, part: str) -> None:
    """Print the results on ``dataset``: a table with one row per class, the loss, and the score as the last line.

    For a model that estimates numbers, the table has one row per number instead, and is left out if there is only one
    number. ``part``, such as "test", is printed before the score.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("class", overflow="fold")
    for name in ("correct", "recall", "precision", "F1", "AUC", "AP"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in result.classes:
        areas = ("–" if area is None else f"{area:.3f}" for area in (one.auc, one.average_precision))
        shares = (_share(value) for value in (one.accuracy, one.precision, one.f1))
        table.add_row(escape(one.name), f"{one.correct} of {one.count}", *shares, *areas)
    console = output()
    if result.classes:
        console.print(table)
    if len(result.targets) > 1:
        console.print(_targets_table(result))
    what = "loss" if result.mean_error is None else "mean squared error"
    root = "" if result.rmse is None else f", its root {number_text(result.rmse)}"
    console.print(
        f"{dataset.name}: {counted(len(dataset), dataset.unit)}, {what} {number_text(result.loss)}{root}",
        soft_wrap=True,
    )
    further = {"macro F1": result.f1, "top-5 accuracy": result.top5}
    shown = [f"{name} {_share(value)}" for name, value in further.items() if value is not None]
    shown += [] if result.auc is None else [f"macro AUC {result.auc:.4f}"]
    shown += [] if result.average_precision is None else [f"macro AP {result.average_precision:.4f}"]
    if shown:
        console.print(", ".join(shown), soft_wrap=True)
    if result.calibration_error is not None:
        console.print(f"calibration error {_share(result.calibration_error)}", soft_wrap=True)
    if result.exact is not None:
        console.print(f"all labels right in {_share(result.exact)} of the samples", soft_wrap=True)
    if confused := _most_confused(result):
        console.print(f"most confused: {confused}", soft_wrap=True, highlight=False, markup=False)
    print_score(console, result, part)


def _targets_table(result: Evaluation) -> Table:
    """Return a table with the errors of each measured target."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("target", overflow="fold")
    for name in ("mean error", "RMSE", "R²"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in result.targets:
        table.add_row(
            escape(one.name), f"{one.mean_error:.4g}", f"{one.rmse:.4g}", "–" if one.r2 is None else f"{one.r2:.4f}"
        )
    return table


def _most_confused(result: Evaluation) -> str:
    """Return the most frequent mistakes as text, such as "4 taken for 9 (3 times)"; "" if there are none."""
    if result.confusion is None:
        return ""
    wrong = result.confusion - np.diag(np.diag(result.confusion))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_CONFUSED]
    pairs = [(int(place) // len(wrong), int(place) % len(wrong)) for place in order]
    return ", ".join(
        f"{result.classes[truth].name} taken for {result.classes[guess].name} ({counted(int(count), 'time')})"
        for truth, guess in pairs
        if (count := wrong[truth, guess])
    )


def _share(value: float | None) -> str:
    """Return a fraction in percent; a dash for None."""
    return "–" if value is None else f"{100 * value:.2f} %"


def print_score(console: Console, result: Evaluation, part: str) -> None:
    """Print the accuracy or, for a model that estimates numbers, the errors.

    ``part``, such as "test" or "", is printed before them.
    """
    score = score_text(result.accuracy if result.count else None, result.mean_error, part)
    if result.r2 is not None:
        score += f", R² {result.r2:.4f}"
    if score:
        console.print(score, soft_wrap=True)
