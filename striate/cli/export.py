"""``striate export``: write a trained network as an ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from striate.cli.evaluate import model_path
from striate.cli.report import say_json, say_note
from striate.data import Split, open_dataset
from striate.errors import OptionError, StriateError, opened_room
from striate.graph.value import Array
from striate.options import whole_number
from striate.persistence import load
from striate.train.run import read_run


def export(
    run: Annotated[Path, typer.Argument(help="Folder that `striate train` created, or a model file.")],
    onnx: Annotated[Path, typer.Option(help="The file to write, in the format of ONNX.")],
    data: Annotated[
        str | None, typer.Option(help="Data set whose held-out samples it is checked on.", show_default="the run's")
    ] = None,
    samples: Annotated[int, typer.Option(help="How many of them.")] = 100,
    standardizer: Annotated[bool, typer.Option(help="Keep the standardizer inside: inputs are raw data.")] = True,
    softmax: Annotated[bool, typer.Option(help="Probabilities instead of logits.")] = False,
    fold: Annotated[bool, typer.Option(help="Fold batch normalizations into the convolutions before them.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write a trained network as an ONNX file, after onnxruntime agreed with it on held-out samples."""
    whole_number("--samples", samples, 1)
    if onnx.suffix != ".onnx":
        raise OptionError(f"--onnx {onnx}: a file of ONNX ends with .onnx")
    export_onnx = opened_room("export", "onnx", "onnxruntime", extra="onnx").export_onnx
    model = load(model_path(run))
    held_out = _held_out(run, data, samples, model.input_shape)
    if held_out is None:
        say_note("no held-out samples here, so it is checked on random ones\n  help: --data digits, for example")
    found = export_onnx(model, onnx, samples=held_out, standardizer=standardizer, softmax=softmax, fold=fold)
    if as_json:
        say_json({
            "file": str(found.path), "operators": found.operators, "samples": found.samples,
            "differences": found.differences,
        })  # fmt: skip
    else:
        typer.echo(str(found))


def _held_out(run: Path, data: str | None, count: int, shape: tuple[int, ...]) -> Array | None:
    """Return the first ``count`` held-out samples, or None if the run's data are not available here.

    Raises ``OptionError`` if their shape is not the model's input shape.
    """
    if data is None:
        try:
            images = read_run(run).dataset(Split.TEST).images
        except StriateError:
            return None
    else:
        images = open_dataset(data, Split.TEST).images
    if images.shape[1:] != shape:
        raise OptionError(f"--data: its samples are {images.shape[1:]}, the model takes {shape}")
    return images[:count]
