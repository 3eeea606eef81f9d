from __future__ import annotations

import json
from pathlib import Path

from PIL import Image
from typer.testing import CliRunner

from striate.cli import app


def test_data_prints_the_scan_and_draws_examples(tmp_path: Path) -> None:
    rows = [f"{row},{row % 5},{'up' if row // 20 % 2 else 'down'}" for row in range(80)]
    path = tmp_path / "motion.csv"
    path.write_text("\n".join(["x,y,activity", *rows]))
    sheet = tmp_path / "sheet.png"
    options = ["--window", "10", "--sheet", str(sheet), "--augment", "noise:0.1"]
    done = CliRunner().invoke(app, ["data", str(path), *options])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0].split() == ["class", "signals"]
    assert "15 signals in 2 classes; sizes 2×10 (15)" in done.stdout
    with Image.open(sheet) as drawn:
        assert drawn.width > 600
    path.write_text(path.read_text().replace("\n3,", "\nthree,"))
    refused = CliRunner().invoke(app, ["data", str(path), "--no-sheet"])
    assert refused.exit_code == 2
    assert "bad row (1)" in refused.stdout
    assert "1 of 80 cannot be read" in refused.stderr
    named = CliRunner().invoke(app, ["data", str(path), "--on-error", "skip", "--json"])
    assert named.exit_code == 0
    assert json.loads(named.stdout)["problems"][0]["text"] == "line 5, column 'x': 'three' is not a number"
