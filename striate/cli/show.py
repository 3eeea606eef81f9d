"""``striate show``: print the training step of a network as text, at any stage of the compiler."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from striate.cli.evaluate import model_path
from striate.cli.report import output, say_note
from striate.dtypes import DType, precision_of
from striate.errors import OptionError, unknown_option
from striate.models import MODELS, build
from striate.nn.loss import CrossEntropyLoss
from striate.nn.module import Module
from striate.persistence import LoadedModel, load
from striate.show import Stage, stage_of, stage_text
from striate.show.loops import WIDTH
from striate.step import batch_type, training_graph
from striate.terminal import columns

_GREY = ("first_cnn", "lenet5")


def show(
    model: Annotated[str, typer.Argument(help=f"{', '.join(MODELS)}, a run folder, or a model file.")],
    stage: Annotated[str, typer.Option(help=", ".join(Stage.__members__))] = "traced",
    shape: Annotated[
        str | None, typer.Option(help="Shape of one input.", show_default="3x32x32; lenet5, first_cnn 1x28x28")
    ] = None,
    classes: Annotated[int, typer.Option(help="Outputs of a named network.")] = 10,
    batch_size: Annotated[int, typer.Option(min=1, help="N, where memory and chunks are counted.")] = 128,
    precision: Annotated[
        str, typer.Option(help="float32 or bfloat16; matters from the stage simplified on.")
    ] = "float32",
) -> None:
    """Print the training step of a network as the compiler sees it: as a graph, fused loops, memory, or a program."""
    chosen = stage_of(stage)
    network, sizes = opened(model, shape, classes)
    if isinstance(network, LoadedModel):
        say_note(
            "a saved model holds only the graph that predicts, so this is its further training, "
            "with fixed statistics and without dropout"
        )
    x = batch_type(sizes, network.dtype or DType.float32)
    trained = () if chosen is Stage.traced else None
    graph = training_graph(network, CrossEntropyLoss(), x, trained=trained).graph
    layers = {path: type(layer).__name__ for path, layer in network.named_modules() if path}
    console = output()
    width = min(columns(), WIDTH)
    text = stage_text(graph, chosen, batch_size, layers, precision_of(precision), width)
    if console.is_terminal:
        console.print(coloured(wrapped(text, console.width)), soft_wrap=True, end="")
    else:
        typer.echo(text, nl=False)


def wrapped(text: str, width: int) -> str:
    """Break lines longer than ``width`` between words, and indent their continuations."""
    lines: list[str] = []
    for line in text.split("\n"):
        indent = " " * (len(line) - len(line.lstrip()) + 4)
        long = len(line) > width > 2 * len(indent)
        lines += textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False) if long else [line]
    return "\n".join(lines)


def coloured(text: str) -> Text:
    """Return the text with bold titles, cyan labels and dim comments, for a terminal."""
    page = Text(text)
    page.highlight_regex(r"(?m)^(loop \d+.*|──── .*|inputs|nodes|outputs|updates)$", "bold")
    page.highlight_regex(r"(?m)^  (layers|reads|with|computes|sums|stores) ", "cyan")
    page.highlight_regex(r"(?m)^  phase \d+ .*$", "cyan")
    page.highlight_regex(r"(?m)   # .*$", "dim")
    return page


def opened(model: str, shape: str | None, classes: int) -> tuple[Module, tuple[int, ...]]:
    """Return the network, built by name or loaded from a path, and the shape (C, H, W) of one input.

    ``shape`` is text such as "3x32x32"; None means the usual shape for the named network, or the shape in the file.
    ``classes`` is the number of outputs of a network that is built by name. Raises ``OptionError`` for an unknown
    model.
    """
    if model not in MODELS and Path(model).exists():
        loaded = load(model_path(Path(model)))
        return loaded, parsed_shape(shape) if shape else loaded.input_shape
    if model not in MODELS:
        raise unknown_option("model", model, [*MODELS, "a run folder", "a model file"])
    sizes = parsed_shape(shape or ("1x28x28" if model in _GREY else "3x32x32"))
    return build(model, channels=sizes[0], classes=classes), sizes


def parsed_shape(text: str) -> tuple[int, ...]:
    """Parse a shape such as "3x32x32" to (3, 32, 32); raises ``OptionError`` for other texts."""
    parts = text.lower().replace("×", "x").split("x")
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise OptionError(f"--shape {text!r}; expected channels and sizes such as 3x32x32")
    return tuple(int(part) for part in parts)
