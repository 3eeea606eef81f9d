"""The display of a history in a notebook."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

from striate import nn
from striate.train.history import Epoch, History


def _parsed(html: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<body>{html}</body>")


def test_a_history_is_curves_and_a_table() -> None:
    history = History([Epoch(i, 1 / i, 1.0, 5000.0, 2 / i, 1 - 1 / (i + 1)) for i in range(1, 31)])
    page = _parsed(history._repr_html_())
    lines = page.findall(".//polyline")
    assert len(lines) == 3
    assert all(len(line.get("points", "").split()) == 30 for line in lines)
    rows = page.findall(".//tr")
    assert len(rows) == 1 + 1 + 12  # the head, what was left out, the last twelve
    assert [cell.text for cell in rows[-1]] == ["30", "0.0333", "0.0667", "96.77 %", "5,000", "1.00"]


def test_what_is_missing_or_not_finite_is_left_out() -> None:
    assert "no finished epoch" in History()._repr_html_()
    page = _parsed(History([Epoch(1, 2.0, 0.1, 10.0), Epoch(2, math.inf, 0.1, 10.0)])._repr_html_())
    (line,) = page.findall(".//polyline")
    assert len(line.get("points", "").split()) == 1
    assert "nan" not in ElementTree.tostring(page, "unicode")


def test_a_model_is_its_summary_whatever_state_it_is_in() -> None:
    model = nn.Sequential({"<b>": nn.Conv2d(1, 2, 3), "flat": nn.Flatten(), "fc": nn.Linear(None, 4)})
    page = _parsed(model._repr_html_())
    assert page.findall(".//tr")[1][0].text == "<b>"
    model.infer((1, 8, 8))
    rows = [[cell.text or "" for cell in row] for row in _parsed(model._repr_html_()).findall(".//tr")]
    assert rows[-2][:3] == ["fc", "Linear(in_features=72, out_features=4)", "(N, 4)"]
    assert rows[-1] == ["total", "", "", "312", "936"]  # 2·9 + 2 + 72·4 + 4; 72·9 + 72·4

    class Broken(nn.Module):
        def forward(self, x: object) -> object:
            raise RuntimeError("not yet")

    assert "total" in Broken()._repr_html_()
