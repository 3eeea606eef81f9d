"""``striate compare``: the options in which runs differ, and their results side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from striate.cli.report import output, say_json
from striate.cli.resume import defaults_of
from striate.errors import OptionError, opened_room
from striate.train.numerals import number_text, score_text
from striate.train.record import finite
from striate.train.summary import METRICS, RunSummary, read_summary

_ABSENT = "–"


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Folders that `striate train` created, two or more.")],
    plot: Annotated[
        Path | None, typer.Option(help="Draw the curves of all runs into this file: .png, .svg, .pdf.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Print equal options, too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print options and results as JSON.")] = False,
) -> None:
    """Compare runs: the options in which they differ, and their results side by side."""
    if len(runs) < 2:
        raise OptionError(f"{runs[0]} is one run; a comparison needs two or more\n  help: striate runs lists the runs")
    found = [read_summary(folder) for folder in runs]
    heads = distinct(runs)
    if plot is not None:
        histories = {head: run.history for head, run in zip(heads, found, strict=True)}
        opened_room("plot", "matplotlib").compared(histories, plot)
    options = options_of(found)
    different = {name: values for name, values in options.items() if any(value != values[0] for value in values)}
    if as_json:
        say_json(
            {"runs": [{**run.to_json(), "evaluation": finite(run.run.evaluation)} for run in found],
             "different": different, "options": options}
        )  # fmt: skip
        return
    shown = options if every else different
    if shown:
        texts = {name.replace("_", "-"): [option_text(value) for value in row] for name, row in shown.items()}
        print_rows("option", heads, texts)
    console = output()
    if not different:
        console.print("all options are equal", soft_wrap=True)
    elif not every:
        console.print(f"{len(options) - len(different)} options are equal; --all prints them", soft_wrap=True)
    console.print()
    print_rows("result", heads, results_of(found), right=True)
    if plot is not None:
        console.print(f"saved {plot}", soft_wrap=True)


def distinct(folders: Sequence[Path]) -> list[str]:
    """Return a different name for each folder, usually the last part of its path.

    If two folders have the same last part, all names are the whole paths. A folder that is given twice gets a number
    after its name.
    """
    names = [folder.resolve().name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    return [name if names.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(names, 1)]


def options_of(found: Sequence[RunSummary]) -> dict[str, list[Any]]:
    """Return {name: list with one value per run} for options of the runs and versions of their software.

    The value is None for a run without this option or software.
    """
    each: list[Mapping[str, Any]] = [
        {"data": run.run.data, "seed": run.run.seed, **defaults_of(run.run), **run.run.versions} for run in found
    ]
    names = dict.fromkeys(name for one in each for name in one)
    return {name: [one.get(name) for one in each] for name in names}


def option_text(value: object) -> str:
    """Return the value of an option as text; a dash for None, which means that the option was not given."""
    match value:
        case None | "":
            return _ABSENT
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case _:
            return str(value)


def results_of(found: Sequence[RunSummary]) -> dict[str, list[str]]:
    """Return the rows of the table of results: {name of the result: list with one text per run}."""
    rows = {
        "state": [run.state.value for run in found],
        "epochs": [f"{len(run.history)}/{run.asked or '?'}" for run in found],
        "training loss": [number_text(run.history.losses[-1] if len(run.history) else None) for run in found],
    }
    for metric in METRICS:
        best = [metric.best(run.history) for run in found]
        if any(one is not None for one in best):
            rows[f"held-out {metric.name}"] = [metric.text(metric.last(run.history)) for run in found]
            rows[f"best {metric.name}"] = [
                _ABSENT if one is None else f"{metric.text(one[0])} (epoch {one[1]})" for one in best
            ]
    rows["saved model"] = [_evaluation_text(run) for run in found]
    rows["training time"] = [f"{run.history.seconds:,.1f} s" for run in found]
    rows["findings"] = [str(len(run.run.findings)) for run in found]
    return rows


def _evaluation_text(run: RunSummary) -> str:
    """Return the score of the saved model on the held-out data; a dash before the training has ended."""
    evaluation = run.run.evaluation or {}
    return score_text(_number(evaluation.get("accuracy")), _number(evaluation.get("mean_error"))) or _ABSENT


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def print_rows(first: str, heads: Sequence[str], rows: Mapping[str, Sequence[str]], *, right: bool = False) -> None:
    """Print a table whose first column has the keys of ``rows``; each other column is a run.

    ``first`` is the head of the first column, and ``heads`` are the heads of the other columns. With ``right``, the
    columns of the runs are aligned to the right.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(first, no_wrap=True)
    for head in heads:
        table.add_column(escape(head), overflow="fold", justify="right" if right else "left")
    for name, values in rows.items():
        table.add_row(name, *map(escape, values))
    output().print(table)
