"""``striate runs``: a table of the runs in a folder."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from striate.cli.report import output, say_json, say_note, say_warning
from striate.data.tree import natural
from striate.errors import ModelFileError, unknown_option
from striate.train.summary import METRICS, RunSummary, State, runs_below

FOLDER = Path("runs")
_COLUMNS = ("run", "data", "network", "epochs", "best", "last", "date", "state")
_LEAST_WIDTH = 6
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""The names of the months, which ``strftime`` would translate."""


def _score(value: float | None, run: RunSummary) -> tuple[int, float]:
    """Return a key that sorts by a value of the metric, best first; runs with different metrics stay apart."""
    sign = -1 if run.metric.rising else 1
    return METRICS.index(run.metric), math.inf if value is None else sign * value


_KEYS: dict[str, Callable[[RunSummary], Any]] = {
    "name": lambda run: natural(run.name),
    "data": lambda run: (natural(run.data), -run.date),
    "network": lambda run: (natural(run.network), -run.date),
    "epochs": lambda run: -len(run.history),
    "best": lambda run: _score(None if run.best is None else run.best[0], run),
    "last": lambda run: _score(run.last, run),
    "date": lambda run: -run.date,
    "state": lambda run: (list(State).index(run.state), -run.date),
}


def runs(
    folder: Annotated[Path, typer.Argument(help="Folder that is searched for runs.")] = FOLDER,
    sort: Annotated[
        str, typer.Option(help=f"Column: {', '.join(_KEYS)}. The best, longest and latest runs come first.")
    ] = "date",
    reverse: Annotated[bool, typer.Option("--reverse", help="Print the rows in the opposite order.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the runs as JSON.")] = False,
) -> None:
    """List the runs in a folder: data, network, epochs, held-out metric, date, and whether they are finished."""
    if sort not in _KEYS:
        raise unknown_option("--sort", sort, list(_KEYS))
    found: list[RunSummary] = []
    if folder != FOLDER or folder.exists():  # without any run yet, the default folder does not exist
        for one in runs_below(folder):
            if isinstance(one, ModelFileError):
                say_warning(str(one).splitlines()[0])
            else:
                found.append(one)
    found.sort(key=lambda run: natural(run.name))
    found.sort(key=_KEYS[sort], reverse=reverse)
    if as_json:
        say_json([run.to_json() for run in found])
    elif found:
        console = output()
        console.print(table_of(found, console.width))
    else:
        say_note(f"no runs in {folder}\n  help: striate train makes one, by default in runs/")


def table_of(found: list[RunSummary], width: int) -> Table:
    """Return a table with a row for each run, for a terminal of ``width`` columns; long names are wrapped."""
    now = datetime.now()
    rows = [_COLUMNS, *(row_of(run, now) for run in found)]
    gaps = 2 * (len(_COLUMNS) - 1)
    natural_width = sum(max(map(len, column)) for column in zip(*rows, strict=True)) + gaps
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1 if natural_width > width else 2, 0, 0))
    for name in _COLUMNS:
        if name in ("run", "data"):
            table.add_column(name, overflow="fold", min_width=_LEAST_WIDTH)
        else:
            table.add_column(name, no_wrap=True, justify="right" if name in ("epochs", "best", "last") else "left")
    for row in rows[1:]:
        table.add_row(*map(escape, row))
    return table


def row_of(run: RunSummary, now: datetime) -> tuple[str, ...]:
    """Return the cells of the table row of a run; ``now`` is the time to which the run's date is compared.

    The cell of the best value begins with the name of the metric if smaller values are better.
    """
    best = run.metric.text(None if run.best is None else run.best[0])
    if run.best is not None and not run.metric.rising:
        best = f"{run.metric.name} {best}"
    return (
        run.name, run.data, run.network, f"{len(run.history)}/{run.asked or '?'}", best, run.metric.text(run.last),
        date_text(datetime.fromtimestamp(run.date), now), run.state.value,
    )  # fmt: skip


def date_text(date: datetime, now: datetime) -> str:
    """Return a date as text: "15:13" on the day of ``now``, "28 Nov" in the year of ``now``, else "Nov 2025"."""
    month = _MONTHS[date.month - 1]
    if date.date() == now.date():
        return f"{date:%H:%M}"
    return f"{date.day} {month}" if date.year == now.year else f"{month} {date.year}"
