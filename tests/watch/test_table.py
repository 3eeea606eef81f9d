"""The display of a watch: one line per layer within 80 columns, and HTML that contains only text."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import striate as st
from striate import nn, optim
from striate.watch.table import html_table, text_table


def watched() -> Any:
    layers = {
        "an_extraordinarily_long_name": nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Sigmoid()),
        "flat": nn.Flatten(), "<fc>": nn.Linear(None, 3),
    }  # fmt: skip
    step = st.TrainingStep(nn.Sequential(layers), nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    watch = step.watch("*")
    assert repr(watch) == "Watch('*'): no step yet"
    step(np.random.default_rng(0).standard_normal((8, 1, 6, 6)).astype(np.float32), np.arange(8) % 3)
    return watch


def test_the_table_has_a_line_a_layer_and_fits_80_columns() -> None:
    lines = repr(watched()).splitlines()
    assert lines[0] == "after step 1; silent: units that never fired in 8 samples"
    assert lines[1].split() == ["layer", "mean", "std", "zero", "sat", "silent", "∂θ", "of", "last", "Δθ/θ"]
    assert len(lines) == 3 + 5
    assert all(len(line) <= 80 for line in lines)
    assert lines[3].startswith("…")
    assert lines[-1].startswith("<fc>")
    assert re.search(r" 1\.00 +\S+$", lines[-1])  # its gradient over that of the last layer, itself


def test_numbers_of_every_size_fit() -> None:
    layer = {
        "mean": -1.234e-12, "std": 9.9e37, "zeros": 0.004, "saturated": 1.0, "gradient_norm": 1e-30,
        "gradient_ratio": 1e5, "update_ratio": None, "units": 2048, "silent": list(range(64)), "silent_count": 1999,
    }  # fmt: skip
    record = {"step": 123_456, "samples": 1_000_000, "layers": {"a" * 60: layer}}
    assert all(len(line) <= 80 for line in text_table(record).splitlines())
    assert "<1 %" in text_table(record)
    assert "1,999/2,048" in text_table(record)
    assert "units 0, 1, 2" in html_table(record)


def test_html_escapes_names() -> None:
    html = watched()._repr_html_()
    assert "&lt;fc&gt;" in html
    assert "<fc>" not in html
    assert html.count("<tr>") == 1 + 5


@pytest.mark.parametrize("pattern", ["nothing", ""])
def test_a_pattern_that_matches_nothing(pattern: str) -> None:
    step = st.TrainingStep(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    watch = step.watch(pattern)
    step(np.ones((2, 4), np.float32), [0, 1])
    assert watch.record() == {"step": 1, "samples": 2, "layers": {}}
    assert (watch.means(), watch.firing(), watch.gradient_ratios(), watch.update_ratios()) == ({}, {}, {}, {})
    assert repr(watch)
