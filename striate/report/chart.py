"""Line charts as SVG, with axes, round numbers and a legend, readable on a phone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from striate.report.html import Markup, element, joined

WIDTH, HEIGHT = 380.0, 230.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 12.0, 10.0, 38.0
MOST_POINTS = 500
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class Series:
    """One line of a chart.

    name    text of the legend
    points  (x, y) pairs
    tone    number of its colour, 1 … 6
    style   "" (solid), "thin" or "dashed"
    dots    whether every point is marked
    """

    name: str
    points: Sequence[tuple[float, float]]
    tone: int = 1
    style: str = ""
    dots: bool = False


def line_chart(
    series: Sequence[Series], x: str, label: str, log: bool = False, shares: bool = False, bottom: float | None = None
) -> Markup:
    """Return a chart with its legend, or an empty ``Markup`` if there is no point to draw.

    x       label of the horizontal axis
    label   description for screen readers
    log     whether the vertical axis is logarithmic
    shares  whether values from 0 to 1 are shown as percent
    bottom  the lowest value of the vertical axis; lower points are drawn at the lower edge; None: fits the data

    Points that are not finite are left out. On a logarithmic axis, so are points that are not positive.
    """
    kept = [
        Series(one.name, _thinned([p for p in one.points if _usable(p, log)]), one.tone, one.style, one.dots)
        for one in series
    ]
    kept = [one for one in kept if one.points]
    if not kept:
        return Markup("")
    plane = Plane(kept, log, 1.0 if shares else math.inf, bottom)
    parts = [*plane.grid(_share if shares else number, x), *(plane.line(one) for one in kept)]
    chart = element("svg", *parts, viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}", class_="chart", role="img", aria_label=label)
    if len(kept) < 2:
        return chart
    return joined(chart, key([(one.name, f"s{one.tone} {one.style}".rstrip()) for one in kept]))


def key(items: Sequence[tuple[str, str]]) -> Markup:
    """Return a legend as HTML, from pairs (text, class).

    A class names a colour of the style sheet: ``s1`` … ``s6``, or the class of a block from ``colour_of``.
    """
    return element("ul", [element("li", swatch(class_), name) for name, class_ in items], class_="key")


def swatch(class_: str) -> Markup:
    """Return a small coloured square for a legend; ``class_`` names its colour in the style sheet."""
    box = element("rect", width=12, height=12, rx=2, class_=f"dot {class_}")
    return element("svg", box, viewBox="0 0 12 12", class_="swatch", aria_hidden="true")


def _usable(point: tuple[float, float], log: bool) -> bool:
    """Whether a point can be drawn."""
    x, y = point
    return math.isfinite(x) and math.isfinite(y) and (y > 0 or not log)


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return at most ``MOST_POINTS`` points: means of neighbours, and the last point unchanged."""
    step = math.ceil(len(points) / MOST_POINTS)
    if step <= 1:
        return list(points)
    groups = [points[start : start + step] for start in range(0, len(points), step)]
    return [*(_mean(group) for group in groups[:-1]), points[-1]]


def _mean(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Return the mean of points."""
    xs, ys = zip(*points)
    return math.fsum(xs) / len(points), math.fsum(ys) / len(points)


def number(value: float) -> str:
    """Return a number as text for people, such as ``0.25``, ``1,500`` or ``3·10⁻⁷``."""
    if value == 0:
        return "0"
    size = abs(value)
    if size < 1e-3 or size >= 1e6:
        mantissa, _, exponent = f"{size:.2e}".partition("e")
        factor = float(mantissa)
        power = f"10{str(int(exponent)).translate(_RAISED)}"
        return ("−" if value < 0 else "") + (power if factor == 1 else f"{factor:g}·{power}")
    return f"{value:,.6g}" if size < 1000 else f"{value:,.0f}"


def _share(value: float) -> str:
    """Return a share from 0 to 1 as percent."""
    return f"{100 * value:.4g} %"


def percent(share: float, digits: int = 0) -> str:
    """Return a share from 0 to 1 as text such as ``99.15 %`` (2 ``digits``), with a no-break space."""
    return f"{100 * share:.{digits}f}\u00a0%"


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return about ``count`` round numbers between ``low`` and ``high``, for the axis of a chart."""
    span = high - low
    raw = span / max(1, count)
    power = 10.0 ** math.floor(math.log10(raw)) if raw > 0 else 1.0
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


class Plane:
    """The mapping from the data of a chart to positions in its picture, in units of the SVG.

    The axes span all points of ``series``, but the vertical axis does not extend above ``top`` or below ``bottom``
    (None: no lower limit). ``log`` makes the vertical axis logarithmic.
    """

    def __init__(self, series: Sequence[Series], log: bool, top: float, bottom: float | None = None) -> None:
        self.log = log
        self.whole = all(point[0] == round(point[0]) for one in series for point in one.points)
        xs = [point[0] for one in series for point in one.points]
        ys = [self._scale(point[1]) for one in series for point in one.points]
        self.x = (min(xs), max(xs)) if max(xs) > min(xs) else (min(xs) - 0.5, max(xs) + 0.5)
        low, high = min(ys), max(ys)
        room = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
        if log and high - low < 1:
            low, high, room = (low + high - 1) / 2, (low + high + 1) / 2, 0.0  # a decade at least
        self.y = (low - room if log or low != 0 else 0.0, min(high + room, top))
        if not log and low >= 0:
            self.y = (max(0.0, self.y[0]), self.y[1])
        if bottom is not None and bottom < self.y[1]:
            self.y = (max(bottom, self.y[0]), self.y[1])

    def _scale(self, y: float) -> float:
        """Return y, or its logarithm on a logarithmic axis."""
        return math.log10(y) if self.log else y

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return the position (x, y) in the chart's picture of the data point (x, y)."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = max(0.0, (self._scale(y) - self.y[0]) / (self.y[1] - self.y[0]))
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    def grid(self, format: Callable[[float], str], x_label: str) -> list[Markup]:
        """Return the grid lines, the numbers on both axes, and the label of the horizontal axis.

        ``format`` returns a number of the vertical axis as text, and ``x_label`` is the label.
        """
        parts: list[Markup] = []
        for value in self._y_ticks():
            _, y = self.place(self.x[0], value)
            parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=y, y2=y, class_="grid"))
            parts.append(element("text", format(value), x=LEFT - 6, y=y + 4, class_="end"))
        floor = HEIGHT - BOTTOM
        parts.append(element("line", x1=LEFT, x2=WIDTH - RIGHT, y1=floor, y2=floor, class_="axis"))
        for value in ticks(*self.x):
            if self.whole and value != round(value):
                continue
            x, _ = self.place(value, 1.0)
            parts.append(element("text", number(value), x=x, y=floor + 15, class_="middle"))
        parts.append(element("text", x_label, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 6, class_="middle"))
        return parts

    def _y_ticks(self) -> list[float]:
        """Return the numbers of the vertical axis."""
        if not self.log:
            return ticks(*self.y)
        low, high = math.ceil(self.y[0]), math.floor(self.y[1])
        if high - low >= 1:
            step = max(1, math.ceil((high - low) / 6))
            return [10.0**power for power in range(low, high + 1, step)]
        inside = [m * 10.0**p for p in (low - 1, low, low + 1) for m in (1, 2, 3, 5)]
        return [value for value in inside if self.y[0] <= math.log10(value) <= self.y[1]]

    def line(self, one: Series) -> Markup:
        """Return one line of the chart, with a dot for every point if ``one.dots`` is true.

        A line of more than 60 points has no dots.
        """
        places = [self.place(*point) for point in one.points]
        d = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts = [element("path", d=d, class_=f"line s{one.tone} {one.style}".rstrip())]
        if (one.dots and len(places) <= 60) or len(places) == 1:
            parts += [
                element(
                    "circle", element("title", f"{one.name}: {number(point[1])} at {number(point[0])}"),
                    cx=x, cy=y, r=3, class_=f"dot s{one.tone}",
                )
                for (x, y), point in zip(places, one.points)
            ]  # fmt: skip
        return element("g", *parts)
