"""A training history as HTML for notebooks: the curves as SVG, and a table of epochs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from striate.train.numerals import number_text

if TYPE_CHECKING:
    from striate.train.history import Epoch, History

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 320, 150, 56, 22, 20
_BLUE, _ORANGE, _GREEN = "#2166ac", "#d9822b", "#2a7f4f"
_LAST = 12  # the most epochs in the table

Series = Sequence[tuple[float, float]]


def history_html(history: History) -> str:
    """Return curves of loss and validation accuracy, and a table of the last 12 epochs, as HTML."""
    if not len(history):
        return "<p>no finished epoch yet</p>"
    return f'<div style="display:flex;flex-wrap:wrap;gap:16px">{"".join(_charts(history))}</div>{_table(history)}'


def history_svg(history: History) -> str:
    """Return curves of loss and validation accuracy as an SVG document; "" without a finished epoch."""
    return charts_document(_charts(history))


def charts_document(charts: Sequence[str]) -> str:
    """Return SVG charts side by side as one SVG document, on white; "" without a chart."""
    if not charts:
        return ""
    places = [one.replace("<svg ", f'<svg x="{_WIDTH * place}" ', 1) for place, one in enumerate(charts)]
    width = _WIDTH * len(charts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{_HEIGHT}" color="#222">'
        f'<rect width="{width}" height="{_HEIGHT}" fill="white"/>{"".join(places)}</svg>\n'
    )


def _charts(history: History) -> list[str]:
    """The curves of the losses and of the accuracy, each an SVG."""
    if not len(history):
        return []
    training = [(epoch.number, epoch.loss) for epoch in history]
    held_out = [(epoch.number, epoch.validation_loss) for epoch in history if epoch.validation_loss is not None]
    accuracy = [
        (epoch.number, 100 * epoch.validation_accuracy) for epoch in history if epoch.validation_accuracy is not None
    ]
    charts = [chart("loss", [(training, _BLUE, "training"), (held_out, _ORANGE, "held out")])]
    if accuracy:
        charts.append(chart("held-out accuracy, %", [(accuracy, _GREEN, "")]))
    return [one for one in charts if one]


def chart(
    title: str, given: Sequence[tuple[Series, str, str]], label: Callable[[float], str] = lambda x: f"{x:g}"
) -> str:
    """Return an SVG of one or two curves on common axes; numbers that are not finite are left out.

    ``given`` has the points (x, y), the colour and the name of each curve. ``label`` formats the numbers below the x
    axis.
    """
    series = [([(x, y) for x, y in points if math.isfinite(y)], colour, name) for points, colour, name in given]
    points = [point for one, _, _ in series for point in one]
    if not points:
        return ""
    low, high = min(y for _, y in points), max(y for _, y in points)
    first, last = min(x for x, _ in points), max(x for x, _ in points)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - first) / (last - first) if last > first else 0.5
        up = (y - low) / (high - low) if high > low else 0.5
        return (
            _LEFT + across * (_WIDTH - _LEFT - 10),
            _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM),
        )

    body = [f'<text x="{_LEFT}" y="13" font-weight="bold">{title}</text>']
    for y in (low, high) if high > low else (low,):
        height = place(first, y)[1]
        body.append(f'<text x="{_LEFT - 6}" y="{height + 4:.1f}" text-anchor="end" opacity=".7">{y:.4g}</text>')
        body.append(f'<path d="M{_LEFT} {height:.1f}H{_WIDTH - 10}" stroke="currentColor" opacity=".15"/>')
    for x in {first, last}:
        body.append(
            f'<text x="{place(x, low)[0]:.1f}" y="{_HEIGHT - 5}" text-anchor="middle" opacity=".7">{label(x)}</text>'
        )
    end = _WIDTH - 10
    for one, colour, name in reversed(series):
        if not one:
            continue
        places = [place(x, y) for x, y in one]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        body.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        body.append(f'<circle cx="{places[-1][0]:.1f}" cy="{places[-1][1]:.1f}" r="3" fill="{colour}"/>')
        if name:
            body.append(f'<text x="{end}" y="13" text-anchor="end" fill="{colour}">{name}</text>')
            end -= 7 * len(name) + 8
    return (
        f'<svg role="img" aria-label="{title}" width="{_WIDTH}" height="{_HEIGHT}" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'font-family="sans-serif" font-size="11" fill="currentColor">{"".join(body)}</svg>'
    )


def _table(history: History) -> str:
    """Return an HTML table of the last epochs."""
    columns: dict[str, Callable[[Epoch], str]] = {
        "epoch": lambda epoch: str(epoch.number),
        "loss": lambda epoch: number_text(epoch.loss),
        "held-out loss": lambda epoch: number_text(epoch.validation_loss),
        "held-out cross entropy": lambda epoch: number_text(epoch.validation_cross_entropy),
        "accuracy": lambda epoch: _optional(epoch.validation_accuracy, ".2%").replace("%", " %"),
        "samples/s": lambda epoch: f"{epoch.images_per_second:,.0f}",
        "seconds": lambda epoch: f"{epoch.seconds:.2f}",
    }
    if all(epoch.validation_cross_entropy is None for epoch in history):
        del columns["held-out cross entropy"]
    head = list(columns)
    rows = [[cell(epoch) for cell in columns.values()] for epoch in history.epochs[-_LAST:]]
    if len(history) > len(rows):
        rows.insert(0, ["…"] + [""] * (len(head) - 1))

    def line(cells: Sequence[str], tag: str) -> str:
        return (
            "<tr>"
            + "".join(f'<{tag} style="text-align:right;padding:1px 8px">{cell}</{tag}>' for cell in cells)
            + "</tr>"
        )

    return f"<table>{line(head, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


def _optional(number: float | None, form: str) -> str:
    """Return a number as text in the format ``form``; "" for None."""
    return "" if number is None else format(number, form)
