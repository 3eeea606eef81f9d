"""Section: the gradient of every layer over the training."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, cast

import numpy as np

from striate.report.chart import Series, line_chart, number, percent
from striate.report.html import Markup, element, joined
from striate.report.material import Material, numbers_of
from striate.report.page import Section, absent, details, figure, table
from striate.report.pixels import data_uri, warm

COLUMNS, ROWS = 120, 80
_WIDTH, _NAMES, _ROW, _FOOT, _LONGEST = 400.0, 128.0, 15.0, 34.0, 20
_LEAST = 1e-30


class Flow(NamedTuple):
    """For every layer (in the order of the network) and moment its figures; NaN where there is none."""

    layers: list[str]
    epochs: np.ndarray[Any, np.dtype[np.float64]]
    figures: dict[str, np.ndarray[Any, np.dtype[np.float64]]]


FIGURES = ("gradient_norm", "gradient_ratio", "update_ratio", "saturated", "zeros", "spread", "silent_count")


def section(material: Material) -> Section:
    """The map of norms, the ratio of the first layer to the last, and the state at the end."""
    lead = (
        "Training can only change a layer as far as a gradient arrives there. Each row is a layer, first at the top, "
        "and bright is a large gradient. A bad sign: rows that fade to dark towards the top (the gradient vanishes on "
        "its way back: below about a thousandth of the last layer's, the first layers learn next to nothing), or "
        "rows that grow brighter upwards without end (it explodes)."
    )
    flow = flow_of(material)
    if flow is None:
        why = "No record of the gradients: progress.jsonl holds none" if material.run else "A model file has no record"
        return Section("gradients", "Gradient flow", lead, absent(f"{why}."))
    parts = [figure(part, caption, title) for part, caption, title in _charts(flow)]
    return Section(
        "gradients", "Gradient flow", lead, element("div", element("div", *parts, class_="charts"), _last(flow))
    )


def flow_of(material: Material) -> Flow | None:
    """The watch records of the training as arrays; None where no layer ever had a gradient."""
    moments: list[tuple[float, dict[str, Any]]] = []
    steps = [found[0] for plan in material.records_of("plan") if (found := numbers_of(plan, "batches"))]
    for record in material.records_of("watch"):
        layers = record.get("layers")
        when = numbers_of(record, "step")
        if isinstance(layers, dict) and when is not None:
            moments.append((when[0] / max(1.0, steps[-1]) if steps else when[0], cast("dict[str, Any]", layers)))
    seen = {name: one for _, layers in moments for name, one in layers.items()}
    names = [name for name, one in seen.items() if _figure_of(one, "gradient_norm") is not None]
    if not names:
        return None
    order = [block.path for block in material.blocks]
    ordered = sorted(names, key=lambda name: (order.index(name) if name in order else len(order), name))
    if len(ordered) > ROWS:
        ordered = [ordered[int(i)] for i in np.linspace(0, len(ordered) - 1, ROWS)]
    if len(moments) > COLUMNS:
        moments = [moments[int(i)] for i in np.linspace(0, len(moments) - 1, COLUMNS)]
    figures = {
        figure: np.array([[_number(layers.get(name), figure) for _, layers in moments] for name in ordered], np.float64)
        for figure in FIGURES
    }
    return Flow(ordered, np.array([when for when, _ in moments]), figures)


def _figure_of(layer: Any, name: str) -> float | None:
    found = numbers_of(cast("dict[str, Any]", layer), name) if isinstance(layer, dict) else None
    return found[0] if found else None


def _number(layer: Any, name: str) -> float:
    found = _figure_of(layer, name)
    return math.nan if found is None else found


def _charts(flow: Flow) -> list[tuple[Markup, object, str]]:
    norms = flow.figures["gradient_norm"]
    charts: list[tuple[Markup, object, str]] = [(*_map(flow, norms), "Gradient norm, layer by layer")]
    if len(flow.layers) > 1:
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = norms[0] / norms[-1]
        points = list(zip(flow.epochs.tolist(), ratio.tolist()))
        last = next((value for _, value in reversed(points) if math.isfinite(value)), math.nan)
        label = f"Gradient of {flow.layers[0]} over that of {flow.layers[-1]}, at the end {last:.2g}"
        chart = line_chart([Series("first over last", points, 2, dots=len(points) < 30)], _axis(flow), label, log=True)
        caption = f"Layer {flow.layers[0]} over layer {flow.layers[-1]}; at the end {number(float(f'{last:.2g}'))}."
        charts.append((chart, caption, "First layer over last"))
    updates = flow.figures["update_ratio"]
    if np.isfinite(updates).any():
        names = [0, len(flow.layers) - 1] if len(flow.layers) > 1 else [0]
        series = [
            Series(f"layer {flow.layers[row]}", list(zip(flow.epochs.tolist(), updates[row].tolist())), tone)
            for tone, row in zip((1, 2), names)
        ]
        chart = line_chart(series, _axis(flow), "Size of the last update over the size of the weights", log=True)
        caption = "Around a thousandth is usual; a tenth is a learning rate that is too high, a millionth one too low."
        charts.append((chart, caption, "Update over weight"))
    return [one for one in charts if one[0]]


def _axis(flow: Flow) -> str:
    return "epoch" if flow.epochs.max(initial=0.0) % 1 < 1 and flow.epochs.max(initial=0.0) < 10_000 else "step"


def _map(flow: Flow, norms: np.ndarray[Any, np.dtype[np.float64]]) -> tuple[Markup, Markup]:
    logs = np.log10(np.maximum(norms, _LEAST))
    known = logs[np.isfinite(logs)]
    low, high = float(known.min()), float(known.max())
    low, high = (low, high) if high - low > 1 else (low - 0.5, high + 0.5)
    shades = warm((logs - low) / (high - low))
    shades[~np.isfinite(logs)] = (128, 128, 128)
    height = _ROW * len(flow.layers)
    width = _WIDTH - _NAMES - 8
    place = {"x": _NAMES + 6, "y": 0, "width": width, "height": height}
    parts = [element("image", href=data_uri(shades), **place, preserveAspectRatio="none")]
    for row, name in enumerate(flow.layers):
        short = name if len(name) <= _LONGEST else f"…{name[1 - _LONGEST :]}"
        title = element("title", f"{name}: {_ends(norms[row])}")
        parts.append(element("text", title, short, x=_NAMES, y=row * _ROW + 11, class_="end"))
    first, last = float(flow.epochs[0]), float(flow.epochs[-1])
    parts.append(element("text", number(round(first, 1)), x=_NAMES + 6, y=height + 14))
    parts.append(element("text", number(round(last, 1)), x=_WIDTH - 2, y=height + 14, class_="end"))
    parts.append(element("text", _axis(flow), x=_NAMES + 6 + width / 2, y=height + 14, class_="middle"))
    label = "Gradient norms: " + "; ".join(f"{name} {_ends(norms[row])}" for row, name in enumerate(flow.layers))
    chart = element(
        "svg", *parts, viewBox=f"0 0 {_WIDTH:g} {height + _FOOT - 14:g}", class_="chart", role="img", aria_label=label
    )
    scale = warm(np.linspace(0, 1, 64)[np.newaxis])
    bar = element("img", src=data_uri(scale), alt="from dark to bright", width=96, height=10, class_="scale")
    ends = [number(float(f"{10**end:.0e}")) for end in (low, high)]
    return chart, element("span", f"{ends[0]} ", bar, f" {ends[1]}, logarithmic", class_="scaled")


def _ends(row: np.ndarray[Any, np.dtype[np.float64]]) -> str:
    known = row[np.isfinite(row)]
    return f"from {known[0]:.1e} to {known[-1]:.1e}" if known.size else "unknown"


def _last(flow: Flow) -> Markup:
    """The last moment as a table."""
    columns = {
        "gradient": ("gradient_norm", "{:.1e}"), "of the last's": ("gradient_ratio", "{:.2g}"),
        "update / weight": ("update_ratio", "{:.1e}"), "spread": ("spread", "{:.3g}"), "zeros": ("zeros", ""),
        "saturated": ("saturated", ""), "silent units": ("silent_count", "{:.0f}"),
    }  # fmt: skip
    kept = {head: one for head, one in columns.items() if np.isfinite(flow.figures[one[0]][:, -1]).any()}
    rows = [
        [name, *(_text(flow.figures[figure][row, -1], form) for figure, form in kept.values())]
        for row, name in enumerate(flow.layers)
    ]
    return details(joined("The last moment in numbers"), table(("layer", *kept), rows))


def _text(value: float, form: str) -> str:
    if not math.isfinite(value):
        return "–"
    return form.format(value) if form else percent(value)
