"""Draws how good a model is: training curves, the confusion matrix, the worst mistakes."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from striate import options
from striate.data.dataset import Dataset
from striate.errors import DataError, OptionError
from striate.insight import Confusion, worst_mistakes
from striate.insight import confusion as counted
from striate.nn.module import Module
from striate.plot.canvas import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    RED,
    Array,
    Grid,
    bare,
    columns_for,
    finished,
    new_figure,
    plain,
    show_picture,
)
from striate.train.history import History


def curves(history: History, path: str | Path | None = None) -> Figure:
    """Draw the losses and the held-out accuracy of a training by epoch, as ``history.plot()`` does.

    If ``path`` is given, the figure is written to this file. Raises ``DataError`` for a history without epochs.
    """
    options.require_instance("history", history, History, "trainer.history")
    if not len(history):
        raise DataError("the history has no finished epoch yet, so there is nothing to draw")
    numbers = [epoch.number for epoch in history]
    held_out = [(epoch.number, epoch.validation_loss) for epoch in history if epoch.validation_loss is not None]
    accuracy = [(epoch.number, epoch.validation_accuracy) for epoch in history if epoch.validation_accuracy is not None]
    panels = 2 if accuracy else 1
    best = max(accuracy, key=lambda one: one[1]) if accuracy else None
    note = f"{len(history)} epoch{'s' if len(history) > 1 else ''}, {history.seconds:.1f} s of training"
    figure = new_figure(4.3 * panels, 2.9, "Training", note)
    places = [figure.add_subplot(1, panels, index + 1) for index in range(panels)]
    figure.subplots_adjust(left=0.6 / (4.3 * panels), right=1 - 0.2 / (4.3 * panels), bottom=0.16, wspace=0.26)
    figure.subplots_adjust(top=figure.subplotpars.top - 0.09)
    loss = places[0]
    plain(loss)
    marker = "o" if len(history) <= 30 else ""
    loss.plot(numbers, history.losses, color=BLUE, marker=marker, markersize=3.5, label="training")
    if held_out:
        loss.plot(*zip(*held_out), color=ORANGE, marker=marker, markersize=3.5, label="held out")
    positive = [one for one in (*history.losses, *(value for _, value in held_out)) if one > 0 and math.isfinite(one)]
    if positive and max(positive) > 30 * min(positive):
        loss.set_yscale("log")
    else:
        loss.set_ylim(bottom=0)
    loss.legend(frameon=False, fontsize=8, labelcolor=INK)
    loss.set_title("mean loss of a sample", fontsize=9, color=INK, loc="left")
    if best is not None:
        shown = places[1]
        plain(shown)
        shown.plot(
            *zip(*((number, 100 * share) for number, share in accuracy)), color=GREEN, marker=marker, markersize=3.5
        )
        shown.plot([best[0]], [100 * best[1]], color=GREEN, marker="o", markersize=8, fillstyle="none")
        title = f"held-out accuracy, %: best {100 * best[1]:.2f} in epoch {best[0]}"
        shown.set_title(title, fontsize=9, color=INK, loc="left")
    for axes in places:
        axes.set_xlabel("epoch", fontsize=8, color=FAINT)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if len(history) == 1:
            axes.set_xlim(numbers[0] - 0.5, numbers[0] + 0.5)
    return finished(figure, path)


def confusion(model: Module | Confusion, dataset: Dataset | None = None, path: str | Path | None = None) -> Figure:
    """Draw a confusion matrix: rows are true classes, columns are predictions.

    Correct predictions are green and mistakes red, shaded by their share of the true class; each cell shows its count.
    The arguments are a model and a data set, or the result of ``insight.confusion``. If ``path`` is given, the figure
    is written to this file. Raises ``OptionError`` for a model without a data set.
    """
    if not isinstance(model, Confusion):
        if dataset is None:
            raise OptionError(
                "a confusion matrix of a model needs a data set as well\n  help: st.plot.confusion(model, held_out)"
            )
        model = counted(model, dataset)
    found = model
    size = len(found.classes)
    cell = max(0.16, min(0.5, 5.0 / size))
    name = f" on {dataset.name}" if dataset is not None else ""
    wrong = int(found.counts.sum() - np.trace(found.counts))
    worst = ", ".join(f"{true} as {said} ({count}×)" for true, said, count in found.most_confused(3))
    title = f"{100 * found.accuracy:.2f} % right{name}"
    note = f"{wrong:,} of {int(found.counts.sum()):,} wrong" + (f": most often {worst}" if worst else "")
    longest = max(len(one) for one in found.classes)
    side, left, below = cell * size, 0.45 + 0.075 * longest, 0.5 + (0.075 * longest if longest > 3 else 0.1)
    recall = 0.75
    width = max(left + side + recall + 0.15, 0.4 + 0.063 * len(note))
    figure = new_figure(width, side + below + 0.1, title, note)
    total = float(figure.get_size_inches()[1])
    axes = figure.add_axes((left / width, below / total, side / width, side / total))
    shares = found.counts / np.maximum(found.counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(_coloured(shares), interpolation="nearest")
    bare(axes)
    if size <= 40:
        _name_axes(axes, found.classes, min(9.0, 26 * cell), rotated=longest > 3)
    if cell >= 0.24:
        for (row, column), count in np.ndenumerate(found.counts):
            if count:
                dark = shares[row, column] > (0.5 if row == column else 0.3)
                axes.text(
                    column, row, f"{count}", ha="center", va="center", fontsize=min(9.0, 17 * cell),
                    color="white" if dark else INK,
                )  # fmt: skip
        for row, share in enumerate(found.recalls):
            text = "" if math.isnan(share) else f"{100 * share:.1f} %"
            axes.text(size - 0.35, row, text, va="center", fontsize=min(8.0, 17 * cell), color=FAINT)
        axes.text(size - 0.35, -0.62, "found", va="bottom", fontsize=7.5, color=FAINT)
    axes.set_xlabel("predicted", fontsize=9, color=FAINT)
    axes.set_ylabel("true class", fontsize=9, color=FAINT)
    return finished(figure, path)


def _name_axes(axes: Axes, classes: tuple[str, ...], size: float, rotated: bool) -> None:
    """Label both axes with the class names."""
    axes.set_xticks(range(len(classes)), classes, fontsize=size, color=INK, rotation=45 if rotated else 0)
    axes.set_yticks(range(len(classes)), classes, fontsize=size, color=INK)
    axes.tick_params(length=0)
    if rotated:
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
            label.set_rotation_mode("anchor")


def _coloured(shares: Array) -> Array:
    """Return colours (C, C, 3): white to green on the diagonal, white to red elsewhere.

    A tenth of a class is already a strong red.
    """
    right = np.eye(len(shares), dtype=bool)
    strength: Array = np.where(right, shares, np.minimum(1.0, np.sqrt(shares) * 1.3))[..., np.newaxis]
    full = np.where(right[..., np.newaxis], np.array([42, 127, 79]), np.array([178, 24, 43])) / 255
    return 1 - strength + strength * full


def mistakes(model: Module, dataset: Dataset, count: int = 24, path: str | Path | None = None) -> Figure:
    """Draw the ``count`` wrong predictions with the largest losses, largest first.

    Each picture is labelled with its true class → its predicted class, the probability of the predicted class, and its
    index in the data set. If there are no mistakes, the figure says so. If ``path`` is given, the figure is written to
    this file. Raises ``OptionError`` unless the samples are pictures.
    """
    found = worst_mistakes(model, dataset, count)
    if not found:
        figure = new_figure(4.0, 0.5, f"No mistakes on {dataset.name}", f"all {len(dataset):,} samples are right")
        return finished(figure, path)
    if found[0].image.ndim != 3:
        raise OptionError(f"{dataset.name} has samples of shape {found[0].image.shape}, not pictures (C, H, W)")
    columns = columns_for(len(found))
    height, width = found[0].image.shape[1:]
    note = "true class → prediction with its probability; no. is the place in the data set"
    rows = math.ceil(len(found) / columns)
    title = f"Worst mistakes on {dataset.name}"
    longest = max(len(one.label) + len(one.predicted) for one in found)
    cell = max(1.15, 0.075 * (longest + 10))
    grid = Grid(rows, columns, cell, title, note, 2, max(0.4, min(2.0, height / width)))
    for number, one in enumerate(found):
        caption = f"{one.label} → {one.predicted}  {100 * one.probability:.0f} %\nno. {one.index}"
        axes = grid.axes(number, caption, RED, 7.5)
        show_picture(axes, one.image)
    return finished(grid.figure, path)


__all__ = ["confusion", "curves", "mistakes"]
