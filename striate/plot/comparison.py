"""Draws the curves of several trainings into one figure."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from striate.errors import DataError
from striate.plot.canvas import BLUE, FAINT, GREEN, INK, ORANGE, RED, finished, new_figure, plain
from striate.train.history import Epoch, History

_COLOURS = (BLUE, ORANGE, GREEN, RED, "#7b4fa3", "#7a5c45", "#c2569b", "#4a4a4a")
_STYLES = ("-", "--", ":")


def compared(histories: Mapping[str, History], path: str | Path | None = None) -> Figure:
    """Draw the losses and held-out accuracies of several trainings by epoch.

    ``histories`` are the histories of the trainings by name; the names label the curves. The left panel has the
    held-out losses, or the training losses if an epoch lacks a held-out loss. The right panel has the held-out
    accuracies, if there are any. If ``path`` is given, the figure is written to this file. Raises ``DataError`` if no
    history has an epoch.
    """
    if not any(len(history) for history in histories.values()):
        raise DataError("no run has a finished epoch yet, so there is nothing to draw")
    held_out = all(epoch.validation_loss is not None for history in histories.values() for epoch in history)
    accuracy = any(epoch.validation_accuracy is not None for history in histories.values() for epoch in history)
    panels = 2 if accuracy else 1
    figure = new_figure(4.3 * panels, 2.9, "Trainings", f"{len(histories)} runs")
    places = [figure.add_subplot(1, panels, index + 1) for index in range(panels)]
    figure.subplots_adjust(left=0.6 / (4.3 * panels), right=1 - 0.2 / (4.3 * panels), bottom=0.16, wspace=0.26)
    figure.subplots_adjust(top=figure.subplotpars.top - 0.09)
    if held_out:
        _draw(places[0], histories, lambda epoch: epoch.validation_loss, "held-out loss")
    else:
        _draw(places[0], histories, lambda epoch: epoch.loss, "training loss")
    if accuracy:
        _draw(places[1], histories, lambda epoch: _percent(epoch.validation_accuracy), "held-out accuracy, %")
    places[0].legend(frameon=False, fontsize=8, labelcolor=INK)
    return finished(figure, path)


def _draw(axes: Axes, histories: Mapping[str, History], of: Callable[[Epoch], float | None], title: str) -> None:
    """Draw a number of each epoch, one line per history; epochs without a finite number are left out."""
    plain(axes)
    values: list[float] = []
    for place, (name, history) in enumerate(histories.items()):
        known = [
            (epoch.number, value) for epoch in history if (value := of(epoch)) is not None and math.isfinite(value)
        ]
        values += [value for _, value in known]
        axes.plot(
            [number for number, _ in known],
            [value for _, value in known],
            color=_COLOURS[place % len(_COLOURS)],
            linestyle=_STYLES[place // len(_COLOURS) % len(_STYLES)],
            marker="o" if len(known) <= 30 else "",
            markersize=3.5,
            label=name,
        )
    positive = [value for value in values if value > 0]
    if title.endswith("loss") and positive and max(positive) > 30 * min(positive):
        axes.set_yscale("log")
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    axes.set_xlabel("epoch", fontsize=8, color=FAINT)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
