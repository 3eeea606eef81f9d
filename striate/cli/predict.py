"""``striate predict``: print predictions for pictures, or for the rows, series and volumes of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import typer

from striate.cli.evaluate import model_path, warn_of_outliers
from striate.cli.predict_numbers import predict_numbers
from striate.cli.report import say_error, say_json, say_warning
from striate.data.centring import Centring, read_centred
from striate.data.number_files import ENDINGS
from striate.data.reading import Reading
from striate.errors import DataError, OptionError
from striate.nn.module import Module
from striate.persistence import load
from striate.train.evaluation import log_softmax
from striate.train.run import RUN_FILE, read_run
from striate.train.tta import Averaged, averaged

Array = npt.NDArray[Any]
_SHOWN = 3


def predict(
    run: Annotated[Path, typer.Argument(help="Folder that `striate train` created, or a model file.")],
    images: Annotated[
        list[Path],
        typer.Argument(help="Pictures (PNG, JPEG, BMP, GIF, TIFF, WebP, PPM), or .csv, .tsv, .ts, .npy, .npz files."),
    ],
    centre: Annotated[
        bool, typer.Option(help="Centre and scale figures as in the training data, if those have a plain background.")
    ] = True,
    tta: Annotated[
        str, typer.Option(help='Average over views of each picture: "flip", "vflip", "crop:4", or several.')
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print all classes as JSON.")] = False,
) -> None:
    """Predict the classes of pictures and signals, or the numbers that the model has learned to estimate."""
    model = load(model_path(run))
    found = read_run(run) if (run / RUN_FILE).is_file() else None
    if all(path.suffix.lower() in ENDINGS for path in images):
        if tta:
            raise OptionError("--tta is for pictures; files of numbers are predicted as they are")
        predict_numbers(model, found.number_options if found else None, images, as_json=as_json)
        return
    form = Centring.from_json(found.centring) if found and centre else None
    channels, *size = model.input_shape
    if len(size) != 2:
        raise OptionError(
            f"{run}: this model takes samples of shape {model.input_shape}, not pictures\n"
            f"  help: give files of numbers: {', '.join(ENDINGS)}"
        )
    reading = (found.reading if found else None) or Reading(channels, (size[0], size[1]))
    answering = averaged(model, tta)
    rows: list[dict[str, Any]] = []
    failed = False
    for path in images:
        try:
            picture, swapped = read_centred(path, reading, form)
        except DataError as error:
            failed = True
            say_error(error)
            continue
        if swapped:
            say_warning(f"{path}: light and dark were swapped, as the training data have it; --no-centre leaves them")
        warn_of_outliers(model, picture[np.newaxis], str(path))
        rows.append({"image": str(path), "classes": ranked(answering, picture)})
    if as_json:
        say_json(rows)
    else:
        for row in rows:
            typer.echo(line(row))
    if failed:
        raise typer.Exit(2)


def ranked(model: Module | Averaged, picture: Array) -> list[dict[str, Any]]:
    """Return the classes with their probabilities for a picture (C, H, W), most probable first."""
    (logits,) = np.asarray(model(picture[np.newaxis]))
    probabilities = np.exp(log_softmax(logits[np.newaxis]))[0]
    names = model.classes or tuple(str(index) for index in range(len(probabilities)))
    order = np.argsort(-probabilities, kind="stable")
    return [{"class": names[index], "probability": float(probabilities[index])} for index in order[: len(names)]]


def line(row: dict[str, Any]) -> str:
    """Return a text such as "seven.png: 7 (99.87 %), 1 (0.08 %), 9 (0.03 %)"."""
    shown = ", ".join(f"{one['class']} ({100 * one['probability']:.2f} %)" for one in row["classes"][:_SHOWN])
    return f"{row['image']}: {shown}"
