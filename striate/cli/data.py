"""``striate data``: examine data before training on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from striate.cli.progress import Steps
from striate.cli.report import output, say_json, say_note
from striate.cli.training import data_name
from striate.counting import counted
from striate.data import open_data
from striate.data.class_sheet import class_sheet
from striate.data.decoding import OnError
from striate.data.picture import encoded_picture
from striate.data.scan import MEASURED, Problem, Scan, scan_data
from striate.data.text_table import shortened
from striate.data.usual import PUBLISHED, download
from striate.errors import DataError, StriateError
from striate.options import whole_number
from striate.persistence import write_atomically

_SHOWN, _CLASSES = 5, 30
_SMALL = 64


def data(
    path: Annotated[str, typer.Argument(help="What `striate train` takes: a name, folder, archive or file.")],
    sheet: Annotated[
        Path | None, typer.Option(help="Picture of examples, .png or .jpg.", show_default="DATA-sheet.png")
    ] = None,
    no_sheet: Annotated[bool, typer.Option("--no-sheet", help="Draw no picture of examples.")] = False,
    augment: Annotated[str, typer.Option(help='Show examples after these changes, too, such as "crop:4 flip".')] = "",
    across: Annotated[int, typer.Option(help="Examples of each class.")] = 8,
    on_error: Annotated[
        str, typer.Option(help="raise: exit with 2 where something cannot be read; skip: only name it.")
    ] = "raise",
    label_column: Annotated[str | None, typer.Option(help="Column of the labels.", show_default="by its name")] = None,
    group_column: Annotated[
        str | None, typer.Option(help="Column whose groups stay on one side.", show_default="by its name")
    ] = None,
    ignore_columns: Annotated[str | None, typer.Option(help="Columns that are not read, with commas.")] = None,
    kind: Annotated[
        str | None, typer.Option(help="table, signals, pictures, volumes.", show_default="by the form")
    ] = None,
    window: Annotated[int | None, typer.Option(help="Rows of the windows cut from a table of time steps.")] = None,
    stride: Annotated[int | None, typer.Option(help="Rows from one window to the next.")] = None,
    fetch: Annotated[
        bool, typer.Option("--download", help=f"Download what is missing of {', '.join(PUBLISHED)} into STRIATE_DATA.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the scan as JSON.")] = False,
) -> None:
    """Scan data for what would spoil a training, and draw examples of every class."""
    choice = OnError.parse(on_error)
    whole_number("--across", across, 1, 100)
    given = {
        "label_column": label_column, "group_column": group_column, "ignore_columns": ignore_columns, "kind": kind,
        "window": window, "stride": stride,
    }  # fmt: skip
    fields = {name: value for name, value in given.items() if value is not None}
    with Steps("data") as steps:
        if fetch:
            download(path, progress=lambda file, done, total: steps.count(file, done, total))
        found = scan_data(path, lambda done, count: steps.count("reading", done, count), **fields)
    if as_json:
        say_json(found.to_json())
    else:
        print_scan(found)
    if not no_sheet and (found.kind != "table" or sheet is not None):
        target = sheet or Path(f"{data_name(Path(path))}-sheet.png")
        draw_sheet(path, found, fields, target, across, augment)
    unread = sum(problem.kind in ("bad file", "bad row") for problem in found.problems)
    if unread and choice is OnError.refuse:
        raise DataError(
            f"{path}: {unread:,} of {found.count + unread:,} cannot be read\n"
            '  help: mend or remove them, or give on_error="skip" to do without them'
        )


def draw_sheet(path: str, found: Scan, fields: Mapping[str, Any], target: Path, across: int, augment: str) -> None:
    """Write a picture with ``across`` examples of each class; if the data cannot be opened, print a note that says why.

    ``path`` is the name or path of the data, ``found`` their scan, and ``fields`` are the options of ``open_data``.
    ``target`` is the path of the picture. ``augment`` names random changes, such as "flip", and the picture also shows
    the examples after these changes; "" means no changes.
    """
    options = dict(fields)
    if found.kind == "pictures" and len(found.sizes) > 1:
        options["size"] = _SMALL
    if found.kind != "samples":
        options["on_error"] = "skip"
    try:
        opened = open_data(path, **options)
        image = class_sheet(opened.train, f"{found.name}: samples to learn from", across, augment)
    except StriateError as error:
        say_note(f"no picture of examples: {error}")
        return
    write_atomically(target, encoded_picture(image, target))
    say_note(f"wrote {target}")


def print_scan(found: Scan) -> None:
    """Print the classes with their numbers of samples, the sizes of the samples, and the problems by their kind."""
    console = output()
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("class", overflow="fold")
    parts = list(next(iter(found.counts.values()), dict[str, int]()))
    for part in parts:
        table.add_column(part or ("rows" if found.kind == "table" else found.kind), justify="right", no_wrap=True)
    for name, counts in list(found.counts.items())[:_CLASSES]:
        table.add_row(name, *(f"{counts.get(part, 0):,}" for part in parts))
    console.print(table)
    if len(found.counts) > _CLASSES:
        console.print(f"and {len(found.counts) - _CLASSES:,} classes more")
    sizes = ", ".join(f"{'×'.join(map(str, size))} ({count:,})" for size, count in found.sizes.most_common(4))
    more = f" and {len(found.sizes) - 4:,} sizes more" if len(found.sizes) > 4 else ""
    classes = "" if MEASURED in found.counts else f" in {counted(len(found.counts), 'class', 'classes')}"
    unit = "rows" if found.kind == "table" else found.kind
    console.print(f"{found.count:,} {unit}{classes}; sizes {sizes}{more}", soft_wrap=not console.is_terminal)
    if found.modes:
        modes = ", ".join(f"{mode} ({count:,})" for mode, count in found.modes.most_common())
        console.print(f"modes {modes}", soft_wrap=not console.is_terminal, markup=False)
    if found.columns:
        what = "feature" if found.kind == "table" else "channel"
        names = f"{what}{'s' * (len(found.columns) != 1)} {shortened(found.columns)}"
        names = f"1 {what}" if found.columns == ("value",) else names
        labels = f"; predicted: {shortened(found.targets)}" if found.targets else ""
        groups = f"; {counted(found.groups, 'group')}, each in one part" if found.groups else ""
        text = f"{names}{labels}{groups}"
        console.print(text, soft_wrap=not console.is_terminal, markup=False, highlight=False)
    if found.missing:
        console.print(f"{found.missing:,} missing numbers", soft_wrap=not console.is_terminal)
    for note in found.notes:
        console.print(f"note: {note}", soft_wrap=not console.is_terminal, markup=False)
    kinds = Counter(problem.kind for problem in found.problems)
    for kind, count in kinds.items():
        console.print(f"{kind} ({count:,})", style="bold", markup=False)
        for problem in _first(found.problems, kind):
            console.print(f"  {problem.text}", soft_wrap=not console.is_terminal, markup=False, highlight=False)
        if count > _SHOWN:
            console.print(f"  and {count - _SHOWN:,} more (--json lists all)")
    if not kinds:
        console.print("nothing wrong was found")


def _first(problems: list[Problem], kind: str) -> list[Problem]:
    """Return the first problems of a kind."""
    return [problem for problem in problems if problem.kind == kind][:_SHOWN]
