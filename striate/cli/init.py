"""``striate init``: write a configuration for the data at hand."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from striate.cli.choices import USUAL
from striate.cli.configuration import SUFFIX
from striate.cli.configuration_text import configuration_text
from striate.cli.option import options_of
from striate.cli.panels import GROUPS
from striate.cli.progress import Steps
from striate.cli.report import output, say_note, say_notes
from striate.cli.train import train
from striate.counting import counted
from striate.data.catalog import KNOWN
from striate.data.outline import Outline, outline_of
from striate.errors import OptionError
from striate.optim import OPTIMIZERS
from striate.persistence import write_atomically
from striate.train.task import Usual, usual_training

FILE = Path("striate.toml")
_CLASSES = 8
_SMALL = 32
"""Grey pictures up to this many pixels wide are recommended lenet5; a size that is recommended is twice as large."""
_OF_DATA = ("task", "kind", "label_column", "group_column", "ignore_columns", "window", "stride", "length")


def init(
    path: Annotated[str, typer.Argument(help="What `striate train` takes: a name, path or archive.")] = "digits",
    out: Annotated[Path, typer.Option(help="The file to write.")] = FILE,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file.")] = False,
    kind: Annotated[
        str | None, typer.Option(help="table, signals, pictures, volumes.", show_default="by the form")
    ] = None,
    label_column: Annotated[str | None, typer.Option(help="Column of the labels.", show_default="by its name")] = None,
    group_column: Annotated[
        str | None, typer.Option(help="Column whose groups stay on one side.", show_default="by its name")
    ] = None,
    ignore_columns: Annotated[str | None, typer.Option(help="Columns that are not read, with commas.")] = None,
    window: Annotated[int | None, typer.Option(help="Rows of the windows cut from a table of time steps.")] = None,
) -> None:
    """Write a TOML file with all options of `striate train`, with values that fit the data."""
    if out.suffix.lower() != SUFFIX:
        raise OptionError(f"--out {out}: the name of a configuration ends in {SUFFIX}")
    if out.exists() and not overwrite:
        raise OptionError(f"{out}: is there already\n  help: --overwrite replaces it, --out names another file")
    if not out.parent.is_dir():
        raise OptionError(f"--out {out}: its folder does not exist")
    given = {
        "kind": kind, "label_column": label_column, "group_column": group_column, "ignore_columns": ignore_columns,
        "window": window,
    }  # fmt: skip
    fields = {name: value for name, value in given.items() if value is not None}
    with Steps("init") as steps:
        found = outline_of(path, lambda done, count: steps.count("reading", done, count), **fields)
    say_notes(found.notes)
    values = recommended(found, path) | {"data": path if path in KNOWN else _from(out.parent, path)}
    again = f"striate train {shlex.quote(str(out))}"
    head = [again, *described(found), "Options on the command line replace those here."]
    text = configuration_text(options_of(train), values, head, explained=True, without=_foreign(found))
    write_atomically(out, text.encode())
    console = output()
    for line in described(found):
        console.print(line, soft_wrap=not console.is_terminal, markup=False)
    console.print(f"wrote {out}", soft_wrap=True, markup=False)
    say_note(f"{again} trains {values['model']} for {values['epochs']} epochs")


def _from(folder: Path, path: str) -> str:
    """Return a path relative to the folder of the configuration; absolute where it is not below that folder."""
    target = Path(path).expanduser().resolve()
    base = folder.resolve()
    return os.path.relpath(target, base) if target.is_relative_to(base) else str(target)


def _foreign(found: Outline) -> tuple[str, ...]:
    """Return the names of the options that these data do not take."""
    if found.fixed:
        return (*GROUPS["Data"], *GROUPS["Pictures"], *GROUPS["Tables, signals, volumes"])
    if found.options.get("kind") is None:
        return ("task", *GROUPS["Tables, signals, volumes"])
    return GROUPS["Pictures"]


def described(found: Outline) -> list[str]:
    """Return sentences that describe the data: kind, number of samples, classes, sizes, files that cannot be read."""
    unit = "rows" if found.kind == "table" else found.kind
    if found.counts:
        names = [f"{name} ({count:,})" for name, count in list(found.counts.items())[:_CLASSES]]
        names += [f"and {len(found.counts) - _CLASSES:,} more"] if len(found.counts) > _CLASSES else []
        what = f"{counted(len(found.counts), 'class', 'classes')}: {', '.join(names)}"
    else:
        what = f"targets: {', '.join(found.targets)}"
    lines = [f"{found.samples:,} {unit}, {what}"]
    sizes = ", ".join("×".join(map(str, size)) for size, _ in found.sizes.most_common(3))
    sizes += " …" if len(found.sizes) > 3 else ""
    if found.kind == "table":
        lines.append(f"{counted(found.channels, 'feature')}")
    elif found.kind == "pictures":
        lines.append(f"{ {1: 'grey', 3: 'colour'}.get(found.channels, f'{found.channels} channels') }, sizes {sizes}")
    else:
        lines.append(f"{counted(found.channels, 'channel')}, sizes {sizes}")
    if not found.given_parts:
        lines.append("No part of them is given as held out: a share of every class is held out at random.")
    if found.unread:
        lines.append(f"{len(found.unread):,} cannot be read, such as {found.unread[0]}")
    return lines


def recommended(found: Outline, data: str) -> dict[str, Any]:
    """Return the options of ``striate train`` that are recommended for the data, by parameter name.

    ``found`` is the outline of the data, and ``data`` their name or path.
    """
    sides = [max(size) for size in found.sizes]
    usual = USUAL.get(data) or usual_training(found.rank, found.samples)
    values: dict[str, Any] = {}
    if data not in USUAL and found.kind == "pictures":
        usual, values = _for_pictures(found, usual, max(sides))
    rate = OPTIMIZERS["sgd"].usual_lr if usual.lr is None else usual.lr
    values = {
        "model": usual.model, "epochs": usual.epochs, "batch_size": usual.batch_size, "optimizer": "sgd", "lr": rate,
        "schedule": "cosine", "seed": 0, **usual.options, **values,
    }  # fmt: skip
    if found.kind == "pictures" and found.options == {} and not found.fixed:
        values["channels"] = found.channels
    if found.unread:
        values["on_error"] = "skip"
    own = {name: value for name, value in found.options.items() if name in _OF_DATA and value not in (None, [])}
    if not found.given_parts:
        values["held_out"] = 0.2
    return values | {name: _one(value) for name, value in own.items()}


def _for_pictures(found: Outline, usual: Usual, side: int) -> tuple[Usual, dict[str, Any]]:
    """Return the default training for pictures, and further options.

    The network is a residual network unless they are small and grey.
    """
    values: dict[str, Any] = {}
    if len(found.sizes) > 1 or side > 2 * _SMALL:
        values["size"] = min(2 * _SMALL, side)
    if found.channels == 1 and side <= _SMALL:
        return usual, values
    epochs = min(max(-(-3000 * usual.batch_size // found.samples), 10), 50)
    more = {"schedule": "one_cycle", "weight_decay": 0.0005, "augment": "crop:4"}
    return Usual("resnet20", epochs, usual.batch_size), values | more


def _one(value: Any) -> Any:
    """Return a list of one element as that element."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
