"""Draws a heatmap of layers over time: a row per layer, a column per recorded step, bright for large values."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.report.chart import number
from striate.report.html import Markup, element
from striate.report.pixels import data_uri, warm

Floats = npt.NDArray[np.floating[Any]]

_WIDTH, _NAMES, _ROW, _FOOT, _LONGEST = 400.0, 128.0, 15.0, 20.0, 20
_UNKNOWN = (128, 128, 128)


def heatmap(
    names: Sequence[str],
    values: Floats,
    moments: Floats,
    axis: str,
    what: str,
    log: bool,
    write: Callable[[float], str],
) -> tuple[Markup, Markup] | None:
    """Return a heatmap and its colour scale; None if there is no number to show.

    names    names of the layers
    values   (layers, moments); NaN is drawn grey
    moments  the time of each column; ``axis`` names its unit
    what     title for screen readers
    log      True: the scale is logarithmic, and 0 has the darkest colour; False: values are shares from 0 to 1
    write    returns a number as text
    """
    known = values[np.isfinite(values) & ((values > 0) | (not log))]
    if not known.size:
        return None
    scaled, low, high = _scaled(values, known, log)
    shades = warm(scaled)
    shades[~np.isfinite(values)] = _UNKNOWN
    height, width = _ROW * len(names), _WIDTH - _NAMES - 8
    place = {"x": _NAMES + 6, "y": 0, "width": width, "height": height}
    parts = [element("image", href=data_uri(shades), **place, preserveAspectRatio="none")]
    spoken = [f"{name} {_ends(row, write)}" for name, row in zip(names, values)]
    for row, name in enumerate(names):
        short = name if len(name) <= _LONGEST else f"…{name[1 - _LONGEST :]}"
        title = element("title", spoken[row])
        parts.append(element("text", title, short, x=_NAMES, y=row * _ROW + 11, class_="end"))
    floor = height + 14
    parts += [
        element("text", number(round(float(moments[0]), 1)), x=_NAMES + 6, y=floor),
        element("text", number(round(float(moments[-1]), 1)), x=_WIDTH - 2, y=floor, class_="end"),
        element("text", axis, x=_NAMES + 6 + width / 2, y=floor, class_="middle"),
    ]
    chart = element(
        "svg", *parts, viewBox=f"0 0 {_WIDTH:g} {height + _FOOT:g}", class_="chart", role="img",
        aria_label=f"{what}: {'; '.join(spoken)}",
    )  # fmt: skip
    bar = element(
        "img", src=data_uri(warm(np.linspace(0, 1, 64)[np.newaxis])), alt="from dark to bright", width=96, height=10,
        class_="scale",
    )  # fmt: skip
    kind = ", logarithmic" if log else ""
    return chart, element("span", f"{write(low)} ", bar, f" {write(high)}{kind}", class_="scaled")


def _scaled(values: Floats, known: Floats, log: bool) -> tuple[Floats, float, float]:
    """Return values scaled to 0 … 1, and the numbers at both ends.

    A logarithmic scale spans at least a decade.
    """
    if not log:
        return values, 0.0, 1.0
    low, high = math.log10(float(known.min())), math.log10(float(known.max()))
    if high - low < 1:
        low, high = (low + high - 1) / 2, (low + high + 1) / 2
    logs = np.log10(np.maximum(values, 10.0**low))
    return (logs - low) / (high - low), 10.0**low, 10.0**high


def _ends(row: Floats, write: Callable[[float], str]) -> str:
    """Return the first and the last known number of a row as text."""
    known = row[np.isfinite(row)]
    return f"from {write(float(known[0]))} to {write(float(known[-1]))}" if known.size else "unknown"
