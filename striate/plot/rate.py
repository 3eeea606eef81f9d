"""Draws the loss by learning rate that ``train.find_rate`` measured."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from striate import options
from striate.errors import DataError
from striate.plot.canvas import BLUE, FAINT, GREEN, INK, finished, new_figure, plain
from striate.train.rate_search import RateSearch


def rates(search: RateSearch, path: str | Path | None = None) -> Figure:
    """Draw the loss before each step against the learning rate, raw and smoothed, and mark the suggested rate.

    If ``path`` is given, the figure is written to this file. Raises ``DataError`` for a search without steps.
    """
    options.require_instance("search", search, RateSearch, "train.find_rate(model, loss, optimizer, train_set)")
    if not search.rates:
        raise DataError(
            "the search took no step, so there is nothing to draw\n  help: begin with a smaller learning rate"
        )
    found = search.suggestion
    title = "no learning rate made the loss fall" if found is None else f"suggested learning rate {found:.2g}"
    figure = new_figure(4.6, 2.9, title, f"{len(search.rates)} steps from {search.rates[0]:.1g}")
    axes = figure.add_subplot()
    figure.subplots_adjust(left=0.14, right=0.96, bottom=0.16)
    plain(axes)
    axes.plot(search.rates, search.losses, color=FAINT, linewidth=0.8, label="loss")
    axes.plot(search.rates, search.smoothed, color=BLUE, label="smoothed")
    if found is not None:
        axes.axvline(found, color=GREEN, linewidth=1, label=f"{found:.2g}")
    axes.set_xscale("log")
    axes.set_ylim(0, 1.2 * max(search.smoothed))
    axes.set_xlabel("learning rate", fontsize=8, color=FAINT)
    axes.legend(frameon=False, fontsize=8, labelcolor=INK)
    return finished(figure, path)
