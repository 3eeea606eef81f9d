"""``striate experiment``: test a claim on real data, and show predictions, numbers, picture and verdict."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from striate.cli.report import output, say_json, say_note
from striate.data import Dataset, load_cifar10, open_dataset
from striate.errors import MissingExtraError, OptionError
from striate.experiments import EXPERIMENTS, Experiment, Material, Outcome, Size, experiment_of, material, perform
from striate.experiments.drawing import save_picture
from striate.experiments.prediction import Ruling
from striate.persistence import write_atomically
from striate.persistence.atomic import make_folder

FOLDER = Path("runs/experiments")
PICTURE, RESULT = "picture.png", "result.json"
_WIDTH = 80
_COLOURS = {Ruling.HOLDS: "green", Ruling.CONDITION: "yellow", Ruling.FAILS: "red"}
_QUIET = 2.0  # seconds between two lines of progress without a terminal


def experiment(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help=f"{', '.join(EXPERIMENTS)}; or all.")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(help="digits, mnist, cifar10, or a folder of IDX files.", show_default="the experiment's default"),
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Repetitions.", show_default="the experiment's default")] = None,
    samples: Annotated[
        int | None, typer.Option(help="Maximum number of training images.", show_default="the experiment's default")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the training images.", show_default="the experiment's default")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for pictures and results.")] = FOLDER,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Test a claim on real data: prediction, numbers, picture and verdict. Without NAME, list all claims."""
    if not names:
        list_experiments(as_json)
        return
    everything = [one for name in names for one in (EXPERIMENTS.values() if name == "all" else [experiment_of(name)])]
    chosen = list(dict.fromkeys(everything))
    changes = {name: value for name, value in (("seeds", seeds), ("samples", samples), ("epochs", epochs)) if value}
    if any(value is not None and value < 1 for value in (seeds, samples, epochs)):
        raise OptionError("--seeds, --samples and --epochs must be 1 or more")
    outcomes: list[Outcome] = []
    for one in chosen:
        size = replace(one.size, **changes)
        given = material(data, one.data, partial(opened, size=size))
        folder = claimed(out / one.name)
        if not as_json:
            print_prediction(one, given, size)
        try:
            outcome = kept(watched(one, given, size), folder)
        except KeyboardInterrupt:
            say_note(f"interrupted; nothing was written for {one.name}")
            raise
        outcomes.append(outcome)
        if not as_json:
            print_outcome(outcome)
    if as_json:
        say_json({"experiments": [outcome.to_json() for outcome in outcomes]})
    elif len(outcomes) > 1:
        print_summary(outcomes)


def opened(name: str, part: str, size: Size) -> Dataset:
    """Open the part "train" or "test" of the data set ``name``.

    CIFAR-10 is slow to unpack, so only about twice as many pictures are read as a run of ``size`` needs.
    """
    if name == "cifar10":
        return load_cifar10(part, most=-(-2 * max(size.samples, size.held_out) // 10))
    return open_dataset(name, part)


def claimed(folder: Path) -> Path:
    """Create the folder of an experiment and return it; raise ``OptionError`` if that fails.

    This function is called before the experiment runs, so that a failure is noticed at once.
    """
    try:
        make_folder(folder)
    except OSError as error:
        raise OptionError(f"{folder}: cannot create the folder of the experiment: {error.strerror or error}") from error
    return folder


def kept(outcome: Outcome, folder: Path) -> Outcome:
    """Write the picture and the numbers of an outcome to the folder; return the outcome with the picture's path.

    Without matplotlib, only the numbers are written.
    """
    try:
        save_picture(outcome, folder / PICTURE)
        outcome = replace(outcome, picture=folder / PICTURE)
    except MissingExtraError as error:
        say_note(f"note: {str(error).replace(chr(10), ';')}")
    text = json.dumps(outcome.to_json(), indent=2, ensure_ascii=False) + "\n"
    write_atomically(folder / RESULT, text.encode())
    return outcome


def watched(one: Experiment, given: Material, size: Size) -> Outcome:
    """Run the experiment ``one`` on the data ``given``, show its progress on standard error, and return the outcome."""
    if sys.stderr.isatty():
        columns = (
            TextColumn("{task.fields[name]}"), BarColumn(20), TextColumn("{task.completed}/{task.total}"),
            TimeElapsedColumn(), TextColumn("{task.fields[doing]}"),
        )  # fmt: skip
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("", total=None, name=one.name, doing="")
            return perform(
                one,
                given,
                size,
                lambda done, total, text: progress.update(task, completed=done, total=total, doing=text),
            )
    last = time.monotonic()

    def line(done: int, total: int, text: str) -> None:
        nonlocal last
        now = time.monotonic()
        if text and now - last >= _QUIET:
            say_note(f"{one.name}  {done}/{total}  {text}")
            last = now

    return perform(one, given, size, line)


# Output


def columns() -> int:
    """Return the width for prose in characters: the width of the terminal, but at most 96; 80 without a terminal."""
    return min(96, shutil.get_terminal_size((_WIDTH, 24)).columns)


def paragraph(text: str, first: str = "", rest: str | None = None) -> str:
    """Wrap a text to ``columns()``, with indent ``first`` on its first line and ``rest`` on the others.

    ``rest`` defaults to ``first``.
    """
    return textwrap.fill(
        text, columns(), initial_indent=first, subsequent_indent=first if rest is None else rest, break_long_words=False
    )


def list_experiments(as_json: bool) -> None:
    """Print name, title, equation and duration of all experiments."""
    if as_json:
        say_json(
            {
                "experiments": [
                    {
                        "experiment": one.name,
                        "title": one.title,
                        "equation": one.equation,
                        "data": one.data,
                        "seconds": one.usual_seconds,
                    }
                    for one in EXPERIMENTS.values()
                ]
            }
        )
        return
    console, wide = output(), max(map(len, EXPERIMENTS))
    for name, one in EXPERIMENTS.items():
        console.print(Text(f"{name:{wide}}  {one.title}, {duration(one.usual_seconds)}", style="bold"), soft_wrap=True)
        console.print(Text(f"{'':{wide}}  {one.equation}", style="dim"), soft_wrap=True)
    console.print("\nstriate experiment M5   runs one; `all` runs all of them", markup=False, soft_wrap=True)


def print_prediction(one: Experiment, given: Material, size: Size) -> None:
    """Print the claim of the experiment ``one``, the size of its run, and its predictions, before the run.

    ``given`` are the data, and ``size`` is the size of the run.
    """
    console = output()
    console.print(Text(f"{one.name}  {one.title}", style="bold"))
    console.print(Text(f"    {one.equation}", style="cyan"), soft_wrap=True)
    console.print()
    console.print(paragraph(one.setup), markup=False, soft_wrap=True)
    samples, held_out = min(size.samples, len(given.train_set)), min(size.held_out, len(given.held_out))
    counts = (
        f"{samples:,} training images and {held_out:,} held-out images; "
        f"{counted(size.epochs, 'epoch')}; {counted(size.seeds, 'seed')}."
    )
    time = f"About {duration(one.expected_seconds(size))} on two cores, and longer while kernels are compiled."
    console.print(paragraph(f"{given.train_set.name}: {counts} {time}"), markup=False, soft_wrap=True)
    if given.note:
        console.print(Text(paragraph(f"note: {given.note}"), style="yellow"), soft_wrap=True)
    console.print(Text("\nPredicted", style="bold"))
    for number, prediction in enumerate(one.predictions, 1):
        limit = "(limit) " if prediction.condition else ""
        console.print(paragraph(f"{limit}{prediction.text}", f"{number:3}. ", " " * 5), markup=False, soft_wrap=True)
    console.file.flush()


def duration(seconds: float) -> str:
    """Return a duration as text, such as "8 seconds" or "3 minutes"."""
    return counted(max(1, round(seconds)), "second") if seconds < 100 else counted(round(seconds / 60), "minute")


def counted(count: int, word: str) -> str:
    """Return a number with its noun, such as "1 seed" or "3 seeds"; ``word`` is the singular."""
    return f"{count} {word}{'' if count == 1 else 's'}"


def print_outcome(outcome: Outcome) -> None:
    """Print the numbers, the result of each prediction, the verdict, and the path of the picture."""
    console = output()
    found = outcome.found
    spread = "median (least–greatest)" if outcome.size.seeds > 1 else "one seed, so no spread is known"
    console.print(Text(f"\nMeasured, {spread}", style="bold"))
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("setting", no_wrap=True)
    for quantity in found.quantities:
        table.add_column(quantity.name, justify="right", no_wrap=True)
    for setting in found.settings:
        table.add_row(setting, *(found.text(setting, quantity.name) for quantity in found.quantities))
    console.print(table)
    for remark in found.remarks:
        console.print(f"\n{remark}", markup=False, soft_wrap=True)
    console.print(Text("\nCompared", style="bold"))
    same_data = outcome.data == outcome.experiment.data
    place = "elsewhere" if same_data else f"elsewhere, on {outcome.experiment.data}"
    for number, one in enumerate(outcome.compared, 1):
        mark = "yes" if one.came_true else "no "
        elsewhere = f" ({place}: {one.prediction.elsewhere})" if one.prediction.elsewhere else ""
        line = paragraph(f"{mark}  {one.evidence}{elsewhere}", f"{number:3}. ", " " * 10)
        console.print(Text(line, style="" if one.came_true else "red"), soft_wrap=True)
    console.print()
    colour = _COLOURS[outcome.verdict.ruling]
    console.print(Text(paragraph(f"Verdict: {outcome.verdict}."), style=f"bold {colour}"), soft_wrap=True)
    where = f"; picture {outcome.picture}" if outcome.picture else ""
    console.print(f"{outcome.seconds:.1f} s{where}\n", markup=False, soft_wrap=True)
    console.file.flush()


def print_summary(outcomes: Sequence[Outcome]) -> None:
    """Print one line per experiment; print nothing for a single experiment."""
    console = output()
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column("experiment", overflow="fold")
    table.add_column("came true", justify="right")
    table.add_column("verdict")
    table.add_column("seconds", justify="right")
    for one in outcomes:
        true = sum(compared.came_true for compared in one.compared)
        ruling = one.verdict.ruling
        table.add_row(
            f"{one.experiment.name}  {one.experiment.title}",
            f"{true} of {len(one.compared)}",
            Text(ruling.value, style=_COLOURS[ruling]),
            f"{one.seconds:.1f}",
        )
    console.print(table)
