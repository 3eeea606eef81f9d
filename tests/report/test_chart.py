"""Charts: round numbers on the axes, and no points for NaN or infinity."""

from __future__ import annotations

import math
import re

import pytest

from striate.report.chart import MOST_POINTS, Series, line_chart, number, percent, ticks


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.25, "0.25"),
        (1500, "1,500"),
        (3e-7, "3·10⁻⁷"),
        (1e-4, "10⁻⁴"),
        (-2.5e-5, "−2.5·10⁻⁵"),
        (2e9, "2·10⁹"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert ticks(1, 20) == [5, 10, 15, 20]
    assert all(0.953 <= tick <= 0.997 for tick in ticks(0.953, 0.997))
    assert percent(0.99153, 2) == "99.15\u00a0%"


def points_of(chart: str) -> list[tuple[float, float]]:
    (d,) = re.findall(r'<path d="M([^"]*)"', chart)
    return [(float(x), float(y)) for x, y in (pair.split() for pair in d.split("L"))]


def test_a_line_goes_through_its_points() -> None:
    (x1, y1), (x2, y2), (x3, y3) = points_of(
        line_chart([Series("loss", [(0, 1), (1, 0.5), (2, 0.25)])], "epoch", "loss")
    )
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.11)
    assert y2 - y1 == pytest.approx(2 * (y3 - y2), abs=0.3), "smaller is further down"
    (_, y1), (_, y2), (_, y3) = points_of(line_chart([Series("", [(0, 1), (1, 0.1), (2, 0.01)])], "", "", log=True))
    assert y2 - y1 == pytest.approx(y3 - y2, abs=0.11), "equal factors are equal distances"


def test_what_is_no_number_is_left_out() -> None:
    series = [Series("a", [(0, 1), (1, math.nan), (2, math.inf), (3, 2), (math.nan, 1)])]
    assert len(points_of(line_chart(series, "", ""))) == 2
    assert len(points_of(line_chart([Series("a", [(0, 1), (1, 0), (2, -1), (3, 2)])], "", "", log=True))) == 2
    assert line_chart([Series("a", [(0, math.nan)])], "", "") == ""
    assert "nan" not in line_chart([Series("a", [(5, 3)])], "", "")


def test_long_records_are_thinned_and_end_where_they_end() -> None:
    series = Series("a", [(float(i), i / 9999) for i in range(10_000)])
    points = points_of(line_chart([series], "", ""))
    assert len(points) <= MOST_POINTS
    assert points[-1][0] == pytest.approx(368, abs=0.1)


def test_lines_of_several_colours_have_a_key() -> None:
    two = line_chart([Series("<one>", [(0, 1), (1, 2)], 1), Series("two", [(0, 2), (1, 1)], 2)], "", "")
    assert "&lt;one&gt;</li>" in two
    assert two.count("swatch") == 2


def test_shares_end_at_one_hundred_percent() -> None:
    chart = line_chart([Series("accuracy", [(1, 0.99)], dots=True)], "epoch", "", shares=True)
    shown = [float(text) for text in re.findall(r">([\d.]+) %<", chart)]
    assert shown
    assert max(shown) <= 100
    assert re.findall(r'class="middle">([\d.]+)<', chart) == ["1"], "there is no epoch 0.5"
