"""``striate export``: write a trained network as an ONNX file, or as a native object with a C interface."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

import striate as st
from striate.cli.evaluate import model_path
from striate.cli.progress import Steps
from striate.cli.report import say_json, say_note
from striate.cli.wording import fitted
from striate.data import Split, open_dataset
from striate.errors import OptionError, StriateError, opened_room
from striate.graph.value import Array
from striate.nn.module import Module
from striate.options import whole_number
from striate.persistence import load
from striate.train.run import read_run

_ONNX, _NATIVE = "ONNX", "Native object"


def export(
    run: Annotated[Path, typer.Argument(help="Folder that `striate train` created, or a model file.")],
    onnx: Annotated[Path | None, typer.Option(help="The file to write, in the format of ONNX.")] = None,
    native: Annotated[bool, typer.Option("--native", help="Write a native object to the folder of --output.")] = False,
    data: Annotated[
        str | None, typer.Option(help="Data set whose held-out samples it is checked on.", show_default="the run's")
    ] = None,
    samples: Annotated[int, typer.Option(help="How many of them.")] = 100,
    standardizer: Annotated[bool, typer.Option(help="Keep the standardizer inside: inputs are raw data.")] = True,
    softmax: Annotated[bool, typer.Option(help="Probabilities instead of logits.")] = False,
    fold: Annotated[
        bool, typer.Option(help="Fold batch normalizations into the convolutions before them.", rich_help_panel=_ONNX)
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The folder to write.", rich_help_panel=_NATIVE)
    ] = None,
    batch: Annotated[int, typer.Option(help="The largest number of samples in one call.", rich_help_panel=_NATIVE)] = 1,
    target: Annotated[
        str,
        typer.Option(
            help="native, x86-64-v2, x86-64-v3, x86-64-v4, aarch64-generic, or a processor such as znver4; several "
            "x86 levels with commas are chosen from when the network runs.",
            rich_help_panel=_NATIVE,
        ),
    ] = "native",
    labels: Annotated[
        bool, typer.Option(help="The number of the most probable class instead of logits.", rich_help_panel=_NATIVE)
    ] = False,
    uint8: Annotated[
        bool | None,
        typer.Option(
            help="Also take bytes as input.", show_default="with a standardizer inside", rich_help_panel=_NATIVE
        ),
    ] = None,
    shared: Annotated[
        bool, typer.Option("--shared", help="Also link a shared library.", rich_help_panel=_NATIVE)
    ] = False,
    weights: Annotated[
        str,
        typer.Option(
            help="internal: in the object's read-only data; external: in a file that the caller maps.",
            rich_help_panel=_NATIVE,
        ),
    ] = "internal",
    name: Annotated[
        str, typer.Option(help="The prefix of files, functions and macros.", rich_help_panel=_NATIVE)
    ] = "net",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write a trained network as an ONNX file or a native object, checked against the model on held-out samples.

    striate export runs/digits --onnx net.onnx

    striate export runs/digits --native -o net/ --target x86-64-v3,x86-64-v4
    """
    whole_number("--samples", samples, 1)
    if (onnx is None) is not native:
        raise OptionError("striate export writes one of two forms\n  help: --onnx FILE, or --native -o FOLDER")
    if native:
        if output is None or fold:
            raise OptionError(
                "--fold belongs to --onnx" if fold else "--native needs a folder to write\n  help: --native -o net/"
            )
        model = load(model_path(run))
        held_out = _samples(run, data, samples, model)
        with Steps("export") as steps:
            steps.say("compiling the network")
            found = st.export_native(
                model, output, input_shape=model.input_shape, samples=held_out, batch=batch, target=target,
                standardizer=standardizer, softmax=softmax, labels=labels, uint8=uint8, shared=shared,
                weights=weights, name=name,
            )  # fmt: skip
        if as_json:
            say_json({
                "files": [str(path) for path in found.files], "targets": found.targets, "checked": found.checked,
                "code_bytes": found.code_bytes, "weight_bytes": found.weight_bytes,
                "scratch_bytes": found.scratch_bytes,
            })  # fmt: skip
        else:
            typer.echo(fitted(str(found), sys.stdout))
        return
    assert onnx is not None
    if onnx.suffix != ".onnx":
        raise OptionError(f"--onnx {onnx}: a file of ONNX ends with .onnx")
    if output is not None:
        raise OptionError("--output belongs to --native\n  help: --onnx FILE names the file")
    export_onnx = opened_room("export", "onnx", "onnxruntime", extra="onnx").export_onnx
    model = load(model_path(run))
    found = export_onnx(
        model, onnx, samples=_samples(run, data, samples, model), standardizer=standardizer, softmax=softmax, fold=fold
    )
    if as_json:
        say_json({
            "file": str(found.path), "operators": found.operators, "samples": found.samples,
            "differences": found.differences,
        })  # fmt: skip
    else:
        typer.echo(fitted(str(found), sys.stdout))


def _samples(run: Path, data: str | None, count: int, model: Module) -> Array | None:
    """Return held-out samples for the check; if there are none, say so and return None."""
    held_out = _held_out(run, data, count, model.input_shape)
    if held_out is None:
        say_note("no held-out samples here, so it is checked on random ones\n  help: --data digits, for example")
    return held_out


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
