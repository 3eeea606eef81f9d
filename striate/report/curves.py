"""The report's section on loss and accuracy over the training."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

from striate.report.chart import Series, line_chart, percent
from striate.report.html import Markup, element
from striate.report.material import Material, numbers_of
from striate.report.page import Section, absent, details, figure, table
from striate.train.numerals import number_text

MOST_ROWS = 200
"""The largest number of epochs in the table; of longer trainings only every few are listed."""
Points = list[tuple[float, float]]


def section(material: Material) -> Section:
    """Build the report's section with the training curves, and a table of the same numbers."""
    epochs = epochs_of(material)
    lead = (
        "Training minimizes the loss; the held-out loss and accuracy are measured on data that it never learns from. "
        "Bad signs: a held-out loss that rises while the training loss falls (overfitting), a loss that stays where it "
        "started, or one that jumps."
    )
    if not epochs and not material.records_of("batch"):
        text = "No history: " + (
            "this is a model file without its run." if material.run is None else "no epoch of the run was finished."
        )
        return Section("curves", "How it learned", lead, absent(text))
    charts = [chart for chart in (_losses(material, epochs), _accuracies(material, epochs), _speed(epochs)) if chart]
    return Section(
        "curves", "How it learned", lead,
        element("div", element("div", charts, class_="charts"), _table(epochs) if epochs else None),
    )  # fmt: skip


def epochs_of(material: Material) -> list[dict[str, Any]]:
    """Return the finished epochs from run.json or, during training, from progress.jsonl."""
    history: object = material.run.history.get("epochs") if material.run else None
    listed = cast("list[object]", history) if isinstance(history, list) else []
    return [cast("dict[str, Any]", one) for one in listed if isinstance(one, dict)] or material.records_of("epoch")


def points_of(records: list[dict[str, Any]], y: str, x: str = "number") -> Points:
    """Return the points (record[x], record[y]) of all records in which both are finite numbers.

    ``x`` and ``y`` are the names of entries.
    """
    found = (numbers_of(record, x, y) for record in records)
    return [(pair[0], pair[1]) for pair in found if pair is not None]


def _batches(material: Material, y: str) -> Points:
    """Return an entry of each batch over the fractional epoch: 1.5 is the middle of the second epoch."""
    plans = [found[0] for plan in material.records_of("plan") if (found := numbers_of(plan, "batches"))]
    per_epoch = max(1.0, plans[-1]) if plans else 0.0
    points: Points = []
    for record in material.records_of("batch"):
        found = numbers_of(record, "epoch", "batch", y)
        if found and per_epoch:
            points.append((found[0] - 1 + found[1] / per_epoch, found[2]))
    return points


def _losses(material: Material, epochs: list[dict[str, Any]]) -> Markup | None:
    """Return the chart of losses; None without any."""
    series = [
        Series("training, so far in the epoch", _batches(material, "loss"), 1, "thin"),
        Series("training, mean of the epoch", points_of(epochs, "loss"), 1, dots=True),
        Series("held-out", points_of(epochs, "validation_loss"), 2, dots=True),
    ]
    values = [y for one in series for _, y in one.points]
    if not values:
        return None
    positive = [y for y in values if y > 0]
    wide = bool(positive) and max(positive) > 20 * min(positive)
    ends = [_from_to("Training loss", series[1].points), _from_to("Held-out loss", series[2].points)]
    label = " ".join([f"Loss over {len(epochs)} epochs.", *filter(None, ends)])
    chart = line_chart(series, "epoch", label, log=wide)
    return figure(chart, "The axis is logarithmic." if wide else "", "Loss")


def _accuracies(material: Material, epochs: list[dict[str, Any]]) -> Markup | None:
    """Return the chart of accuracies; None without any."""
    series = [
        Series("training batches, as they were met", _batches(material, "accuracy"), 1, "thin"),
        Series("held-out", points_of(epochs, "validation_accuracy"), 2, dots=True),
    ]
    if not any(one.points for one in series):
        return None
    label = f"Accuracy over {len(epochs)} epochs. {_from_to('Held-out accuracy', series[1].points)}"
    bottom = _where_it_ends(series[1].points)
    note = "" if bottom is None else f"The axis begins at {percent(bottom)}; lines run along it while they are below."
    return figure(line_chart(series, "epoch", label, shares=True, bottom=bottom), note, "Accuracy")


def _where_it_ends(points: Sequence[tuple[float, float]]) -> float | None:
    """Return where the axis must begin so that 95 % and 99 % can be told apart; None where 0 will do.

    That is below all accuracies of the second half, with as much room below them as there is above.
    """
    late = [y for _, y in points[len(points) // 2 :]]
    if not late or min(late) < 0.5:
        return None
    room = max(1 - min(late), 0.01)
    return math.floor(100 * max(0.0, min(late) - room)) / 100


def _speed(epochs: list[dict[str, Any]]) -> Markup | None:
    """Return the chart of samples a second by epoch; None for fewer than two epochs."""
    points = points_of(epochs, "images_per_second")
    if len(points) < 2:
        return None
    label = f"Training speed. {_from_to('Samples a second', points)}"
    chart = line_chart([Series("samples a second", points, 3, dots=True)], "epoch", label)
    return figure(chart, "The first epoch also compiles the kernels that no cache holds.", "Samples a second")


def _from_to(what: str, points: Sequence[tuple[float, float]]) -> str:
    """Return a sentence with the first and the last value, for screen readers."""
    return f"{what} from {points[0][1]:.4g} to {points[-1][1]:.4g}." if points else ""


def _table(epochs: list[dict[str, Any]]) -> Markup:
    """Return the table of the epochs."""
    columns: dict[str, tuple[str, Callable[[float], str]]] = {
        "epoch": ("number", "{:.0f}".format), "loss": ("loss", number_text),
        "held-out loss": ("validation_loss", number_text),
        "held-out accuracy": ("validation_accuracy", lambda share: percent(share, 2)),
        "held-out F1": ("validation_f1", lambda share: percent(share, 2)),
        "held-out AUC": ("validation_auc", "{:.4f}".format),
        "held-out mean error": ("validation_error", "{:.4g}".format),
        "held-out R²": ("validation_r2", "{:.4f}".format),
        "seconds": ("seconds", "{:.2f}".format),
    }  # fmt: skip
    columns = {title: one for title, one in columns.items() if any(numbers_of(epoch, one[0]) for epoch in epochs)}
    rows = [
        [form(found[0]) if (found := numbers_of(epoch, name)) else "–" for name, form in columns.values()]
        for epoch in [*epochs[: -1 : math.ceil(len(epochs) / MOST_ROWS)], epochs[-1]]
    ]
    return details("The epochs in numbers", table(list(columns), rows, 0))
