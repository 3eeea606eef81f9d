"""The report's section on the gradient of every layer over the training, and the state of its units."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from striate.report.chart import Series, line_chart, number, percent
from striate.report.heatmap import Floats, heatmap
from striate.report.html import Markup, element
from striate.report.material import Material, numbers_of
from striate.report.page import Section, absent, details, figure, table

COLUMNS, ROWS = 120, 80
"""The largest numbers of steps and layers in a heatmap; of more, only every few are shown."""

FIGURES = (
    "gradient_norm", "gradient_ratio", "update_ratio", "saturated", "zeros", "std", "silent_count", "units",
)  # fmt: skip


@dataclass(frozen=True)
class Flow:
    """The statistics of every layer at every recorded step.

    layers   paths of the layers, in running order
    moments  the recorded steps, in epochs (fractions too) if the number of steps per epoch is known
    axis     "epoch" or "step", the unit of ``moments``
    figures  arrays (layers, moments) by name of the statistic, such as "gradient_norm"; NaN for missing numbers
    """

    layers: list[str]
    moments: Floats
    axis: str
    figures: Mapping[str, Floats]

    def rows(self, figure: str) -> list[int]:
        """Return the indices of the layers for which the statistic ``figure`` was recorded."""
        return [int(row) for row in np.flatnonzero(np.isfinite(self.figures[figure]).any(axis=1))]

    def named(self, rows: list[int]) -> list[str]:
        """Return the paths of the layers with the indices ``rows``."""
        return [self.layers[row] for row in rows]


def section(material: Material) -> Section:
    """Build the report's section on gradients: their norms and ratios, and silent and saturated units."""
    lead = (
        "Training changes a layer only as far as a gradient reaches it. Each row is a layer, the first at the top, and "
        "bright means a large gradient. Bad signs: rows that fade to dark towards the top (the gradient vanishes; "
        "below about a thousandth of the last layer's, the first layers learn next to nothing), or rows that grow ever "
        "brighter upwards (it explodes)."
    )
    flow = flow_of(material)
    if flow is None:
        why = "No gradients were recorded: a training with a record writes them into progress.jsonl beside the model."
        return Section("gradients", "Gradient flow", lead, absent(material.unread or why))
    falling = material.run is not None and material.run.arguments.get("schedule", "constant") != "constant"
    charts = [
        chart
        for chart in (_norms(flow), _ratio(flow), _updates(flow, falling), _silent(flow), _saturated(flow))
        if chart
    ]
    return Section(
        "gradients", "Gradient flow", lead, element("div", element("div", *charts, class_="charts"), _last(flow))
    )


def flow_of(material: Material) -> Flow | None:
    """Return the records of the training's watch as arrays; None if no gradient norm was recorded."""
    steps = [found[0] for plan in material.records_of("plan") if (found := numbers_of(plan, "batches"))]
    per_epoch = max(1.0, steps[-1]) if steps else 1.0
    moments: list[tuple[float, dict[str, Any]]] = []
    for record in material.records_of("watch"):
        layers, when = record.get("layers"), numbers_of(record, "step")
        if isinstance(layers, dict) and when is not None:
            moments.append((when[0] / per_epoch, cast("dict[str, Any]", layers)))
    names = list(dict.fromkeys(name for _, layers in moments for name in layers))
    order = {block.path: block.index for block in material.blocks}
    ordered = _some(sorted(names, key=lambda name: order.get(name.partition("#")[0], len(order))), ROWS)
    moments = _some(moments, COLUMNS)
    figures = {
        figure: np.array([[_figure(layers.get(name), figure) for _, layers in moments] for name in ordered], np.float64)
        for figure in FIGURES
    }
    flow = Flow(ordered, np.array([when for when, _ in moments]), "epoch" if steps else "step", figures)
    return flow if moments and flow.rows("gradient_norm") else None


def _some(items: list[Any], most: int) -> list[Any]:
    """Return at most ``most`` items at equal distances, including the first and the last."""
    return items if len(items) <= most else [items[int(place)] for place in np.linspace(0, len(items) - 1, most)]


def _figure(layer: object, name: str) -> float:
    """Return one number of a layer's record; NaN if it is missing."""
    found = numbers_of(cast("dict[str, Any]", layer), name) if isinstance(layer, dict) else None
    return found[0] if found else math.nan


def _short(value: float) -> str:
    """Return a number with two digits."""
    return number(float(f"{value:.1e}"))


def _norms(flow: Flow) -> Markup | None:
    """Return the heatmap of gradient norms."""
    rows = flow.rows("gradient_norm")
    norms = flow.figures["gradient_norm"][rows]
    found = heatmap(flow.named(rows), norms, flow.moments, flow.axis, "Gradient norms", True, _short)
    return found and figure(*found, "Gradient norm, layer by layer")


def _ratio(flow: Flow) -> Markup | None:
    """Return the chart of the first layer's gradient norm over the last layer's; None if it is not known."""
    rows = flow.rows("gradient_norm")
    if len(rows) < 2:
        return None
    norms = flow.figures["gradient_norm"]
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = norms[rows[0]] / norms[rows[-1]]
    points = list(zip(flow.moments.tolist(), ratio.tolist()))
    known = [value for _, value in points if math.isfinite(value)]
    if not known:
        return None
    first, last = flow.layers[rows[0]], flow.layers[rows[-1]]
    label = f"Gradient of {first} over that of {last}, at the end {_short(known[-1])}"
    chart = line_chart([Series("first over last", points, 2, dots=len(points) < 30)], flow.axis, label, log=True)
    caption = f"Layer {first} over layer {last}; at the end {_short(known[-1])}."
    return figure(chart, caption, "First layer over last") if chart else None


def _updates(flow: Flow, falling: bool) -> Markup | None:
    """Return the chart of update over weight; ``falling`` says that the schedule lowers the learning rate."""
    rows = flow.rows("update_ratio")
    ends = list(dict.fromkeys([*rows[:1], *rows[-1:]]))
    series = [
        Series(
            f"layer {flow.layers[row]}",
            list(zip(flow.moments.tolist(), flow.figures["update_ratio"][row].tolist())),
            tone,
        )
        for tone, row in zip((1, 2), ends)
    ]
    chart = line_chart(series, flow.axis, "Size of the last update over the size of the weights", log=True)
    caption = "Around a thousandth is usual; a tenth is a learning rate that is too high, a millionth one too low."
    if falling:
        caption += " It falls with the schedule of the learning rate, so judge it by the first half."
    return figure(chart, caption, "Update over weight") if chart else None


def _silent(flow: Flow) -> Markup | None:
    """Return the heatmap of the share of units that did not fire."""
    with np.errstate(divide="ignore", invalid="ignore"):
        share = flow.figures["silent_count"] / flow.figures["units"]
    return _shares(flow, share, "Units that never fired", "Units that never fire learn nothing: they are dead.")


def _saturated(flow: Flow) -> Markup | None:
    """Return the heatmap of the share of saturated outputs."""
    caption = "On the flat part of a sigmoid or tanh no gradient passes."
    return _shares(flow, flow.figures["saturated"], "Saturated outputs", caption)


def _shares(flow: Flow, share: Floats, title: str, caption: str) -> Markup | None:
    """Return a heatmap of shares for the layers that have any above 0; None without such layers."""
    rows = [int(row) for row in np.flatnonzero((np.nan_to_num(share) > 0).any(axis=1))]
    if not rows:
        return None
    found = heatmap(flow.named(rows), share[rows], flow.moments, flow.axis, title, False, percent)
    return found and figure(found[0], [found[1], element("br"), caption], title)


def _last(flow: Flow) -> Markup:
    """Return the table of the last recorded step."""
    columns: dict[str, tuple[str, Callable[[float], str]]] = {
        "gradient": ("gradient_norm", _short), "of the last's": ("gradient_ratio", _short),
        "update / weight": ("update_ratio", _short), "std": ("std", _short), "zeros": ("zeros", percent),
        "saturated": ("saturated", percent), "silent units": ("silent_count", lambda value: f"{value:.0f}"),
    }  # fmt: skip
    kept = {head: one for head, one in columns.items() if np.isfinite(flow.figures[one[0]][:, -1]).any()}
    rows: list[list[object]] = []
    for row, name in enumerate(flow.layers):
        values = [(flow.figures[figure][row, -1], write) for figure, write in kept.values()]
        rows.append([name, *(write(float(value)) if math.isfinite(value) else "–" for value, write in values)])
    return details("The last moment in numbers", table(("layer", *kept), rows))
