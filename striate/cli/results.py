"""Print the results of ``striate train``: the table of epochs, the score, and the search for a learning rate."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from striate.cli.evaluate import part_name, print_score
from striate.cli.report import output
from striate.cli.streams import same_target
from striate.train.evaluation import Evaluation
from striate.train.history import Epoch, History
from striate.train.numerals import number_text
from striate.train.rate_search import RateSearch
from striate.train.run import MODEL_FILE, Run

_WIDTH_OF_ALL, _WIDTH_OF_NARROW = 68, 42
_WORTH_SAYING = 0.01
"""The share of waiting for data from which on it is printed."""
_ACROSS = 25  # columns of the curve of losses
_ROWS = 20
"""The approximate number of rows in the table of learning rates."""


def print_search(search: RateSearch) -> None:
    """Print about 20 of the tried learning rates with their losses, a curve of them, and the suggested rate."""
    console = output()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("learning rate", "loss", "smoothed"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("smoothed loss: low … high", no_wrap=True)
    step = max(1, len(search.rates) // _ROWS)
    finite = [loss for loss in search.smoothed if math.isfinite(loss)]
    found = search.suggestion
    for place in range(0, len(search.rates), step):
        numbers = search.rates[place], search.losses[place], search.smoothed[place]
        mark = " ← suggested" if found is not None and found in search.rates[place : place + step] else ""
        bar = _dot(numbers[2], min(finite), max(finite)) + mark if finite else ""
        table.add_row(f"{numbers[0]:.1e}", number_text(numbers[1]), number_text(numbers[2]), bar)
    console.print(table)
    console.print("the loss never fell" if found is None else f"suggested: --lr {found:.2g}", soft_wrap=True)


def _dot(value: float, low: float, high: float) -> str:
    """Return a dot, moved to the right in proportion to a value from ``low`` to ``high``; "" for NaN or infinity."""
    if not math.isfinite(value):
        return ""
    share = (value - low) / (high - low) if high > low else 0.0
    return " " * round(share * (_ACROSS - 1)) + "●"


def print_result(run: Run, history: History, evaluation: Evaluation, folder: Path, unit: str) -> None:
    """Print the table of epochs, the path of the saved model, and the accuracy.

    The table is left out if the epochs were already printed to the same terminal, file or pipe. ``unit`` is the word
    for a sample, such as "image".
    """
    console = output()
    if not same_target(sys.stdout, sys.stderr):
        print_epochs(console, history, unit)
    console.print(f"trained {run.arguments['model']} on {run.data} in {history.seconds:.1f} s", soft_wrap=True)
    augmented = ", augmentation included" if run.arguments["augment"] else ""
    if augmented or history.waiting >= _WORTH_SAYING:
        console.print(f"waited for data {100 * history.waiting:.2g} % of that time{augmented}", soft_wrap=True)
    if history.stopped:
        console.print(f"stopped after epoch {history.epochs[-1].number}: {history.stopped}", soft_wrap=True)
    if history.kept is not None:
        console.print(f"the weights are those of epoch {history.kept}, the best one", soft_wrap=True)
    console.print(f"saved {folder / MODEL_FILE}", soft_wrap=True)
    print_score(console, evaluation, part_name(run.data))


def print_epochs(console: Console, history: History, unit: str) -> None:
    """Print a table with one row per epoch; narrow terminals get fewer columns.

    ``unit`` is the word for a sample, such as "image".
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    columns: dict[str, Callable[[Epoch], str]] = {
        "epoch": lambda epoch: str(epoch.number),
        "loss": lambda epoch: number_text(epoch.loss),
        "held-out loss": lambda epoch: number_text(epoch.validation_loss),
        "held-out accuracy": lambda epoch: (
            "–" if epoch.validation_accuracy is None else f"{100 * epoch.validation_accuracy:.2f} %"
        ),
        f"{unit}s/s": lambda epoch: f"{epoch.images_per_second:,.0f}",
        "seconds": lambda epoch: f"{epoch.seconds:.2f}",
    }
    if any(epoch.validation_error is not None for epoch in history):
        del columns["held-out accuracy"]
        columns["held-out mean error"] = lambda epoch: (
            "–" if epoch.validation_error is None else f"{epoch.validation_error:.4g}"
        )
    if console.width < _WIDTH_OF_ALL:
        del columns["held-out loss"], columns[f"{unit}s/s"]
    if console.width < _WIDTH_OF_NARROW:
        del columns["seconds"]
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for epoch in history:
        table.add_row(*(cell(epoch) for cell in columns.values()))
    console.print(table)
