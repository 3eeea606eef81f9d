"""``striate predict``: print predictions for pictures, or for the rows, series and volumes of files."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from striate.cli.evaluate import model_path, numbers_as_the_input
from striate.cli.predict_numbers import predict_numbers
from striate.cli.predict_pictures import predict_pictures
from striate.cli.predictions import Form, text_of
from striate.cli.ranks import ranks
from striate.data.centring import Centring
from striate.data.decoding import OnError
from striate.data.input_range import InputRange
from striate.data.number_files import ENDINGS
from striate.data.reading import Reading
from striate.data.sources import Sources, paths_or_picture
from striate.errors import OptionError
from striate.persistence import load
from striate.train.ranks import require_same, versions_that_matter, weights_digest
from striate.train.run import RUN_FILE, read_run

_STANDARD_INPUT = Path("-")


def predict(
    run: Annotated[Path, typer.Argument(help="Folder that `striate train` created, or a model file.")],
    inputs: Annotated[
        list[Path],
        typer.Argument(
            help="Pictures (PNG, JPEG, BMP, GIF, TIFF, WebP, PPM), folders and archives (zip, tar) of pictures; .csv, "
            ".tsv, .ts, .npy, .npz files and folders of them; or -, a picture or a path per line from standard input."
        ),
    ],
    centre: Annotated[
        bool, typer.Option(help="Centre and scale figures as in the training data, if those have a plain background.")
    ] = True,
    tta: Annotated[
        str, typer.Option(help='Average over views of each picture: "flip", "vflip", "crop:4", or several.')
    ] = "",
    top_k: Annotated[
        int | None, typer.Option(help="Classes for each sample.", show_default="3; in JSON all, in CSV 1")
    ] = None,
    csv_file: Annotated[
        Path | None, typer.Option("--csv", help="Write a CSV table to this file; - prints it.", metavar="FILE")
    ] = None,
    on_error: Annotated[
        str, typer.Option(help="Files that cannot be read: raise (exit code 2 after the others) or skip.")
    ] = "raise",
    as_json: Annotated[bool, typer.Option("--json", help="Print the predictions as JSON.")] = False,
) -> None:
    """Predict the classes of pictures and signals, or the numbers that the model has learned to estimate."""
    output = Form(as_json, csv_file, top_k, OnError.parse(on_error))
    model = load(model_path(run))
    if ranks().size > 1:
        require_same(ranks(), {**versions_that_matter(), "weights": weights_digest(model), "views": tta})
    found = read_run(run) if (run / RUN_FILE).is_file() else None
    number_options = found.number_options if found else None
    task = number_options.task if number_options else None
    output.require_for(task)
    usual = InputRange.from_json(found.inputs) if found else None
    given = with_standard_input(inputs)
    channels, *size = model.input_shape
    numbers = [path for path in given if isinstance(path, Path) and _has_numbers(path, folders=len(size) != 2)]
    if len(numbers) == len(given):
        if tta:
            raise OptionError("--tta is for pictures; files of numbers are predicted as they are")
        predictions = predict_numbers(model, number_options or numbers_as_the_input(model), numbers, usual)
        several = len({row["file"] for row in predictions.rows}) > 1 or len(given) > 1
        lines = [f"{_sample_name(row, several)}: {text_of(row, top_k)}" for row in predictions.rows]
        output.show(predictions, lines)
        return
    if len(size) != 2:
        raise OptionError(
            f"{run}: this model takes samples of shape {model.input_shape}, not pictures\n"
            f"  help: give files of numbers: {', '.join(ENDINGS)}"
        )
    form = Centring.from_json(found.centring) if found and centre else None
    reading = (found.reading if found else None) or Reading(channels, (size[0], size[1]))
    with Sources(given) as sources:
        predictions = predict_pictures(model, reading, form, sources, task, tta, usual)
    output.show(predictions, [f"{row['image']}: {text_of(row, top_k, least=0)}" for row in predictions.rows])


def _sample_name(row: Mapping[str, object], several: bool) -> str:
    """Return the name of a sample: its place in the file, and the file if there are ``several`` or it is the sample."""
    file, place = str(row["file"]), str(row["sample"])
    if place == Path(file).name:
        return file
    return f"{file}, {place}" if several else place


def with_standard_input(inputs: Sequence[Path]) -> list[Path | bytes]:
    """Replace "-" by the paths in the lines of standard input, or by the bytes of the picture in it.

    Raises ``OptionError`` if "-" is given twice or on several ranks, and ``DataError`` if standard input has neither.
    """
    if list(inputs).count(_STANDARD_INPUT) > 1:
        raise OptionError("- stands for standard input, which can be read only once")
    given: list[Path | bytes] = []
    for path in inputs:
        if path != _STANDARD_INPUT:
            given.append(path)
            continue
        if ranks().size > 1:  # launchers pass it to rank 0 alone, and Open MPI 5 does not pass on its end
            raise OptionError("- stands for standard input, which cannot be read on several ranks\n  help: give paths")
        read = paths_or_picture(sys.stdin.buffer.read())
        given += [read] if isinstance(read, bytes) else read
    return given


def _has_numbers(path: Path, *, folders: bool) -> bool:
    """Whether a path is a file of numbers by its ending, or, with ``folders``, a folder."""
    return path.suffix.lower() in ENDINGS or (folders and path.is_dir())
