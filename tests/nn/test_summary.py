"""The summary table of a model."""

from __future__ import annotations

from striate.nn.summary import summary_table


def test_a_narrow_table_shortens_layers_first_then_paths() -> None:
    rows = [("path", "layer", "output", "parameters", "multiply-adds")]
    rows += [(f"stage.{index}.body.0", f"Conv2d({index}, 64, 3)", "(N, 64)", "1", "2") for index in range(3)]
    wide, narrow = summary_table(rows), summary_table(rows, 66)
    assert "stage.2.body.0  Conv2d(2, 64, 3)" in wide
    assert max(map(len, narrow.splitlines())) <= 66
    assert "…age.2.body.0" not in narrow
    assert "stage.2.body.0  Conv2d(2, 64,…" in narrow
