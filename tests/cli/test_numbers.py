"""``striate train``, ``evaluate``, ``predict`` and ``inspect`` on tables, signals and volumes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from striate.cli import app

RANDOM = np.random.default_rng(0)


def striate(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


def written(folder: Path, kind: str) -> Path:
    """A data set that is easily learned."""
    x = RANDOM.normal(size=(120, 3))
    if kind == "volumes":
        volumes = RANDOM.integers(-100, 100, (24, 5, 4, 4), dtype=np.int16)
        volumes[::2] += 300
        np.savez(folder / "data.npz", x=volumes, y=np.tile(["full", "empty"], 12))
        return folder / "data.npz"
    if kind == "signals":
        slow = [row // 40 % 2 for row in range(640)]
        rows = [f"{row},{np.sin(row * (3 - 2 * one)):.3f},{'slow' if one else 'fast'},{row // 80}"
                for row, one in enumerate(slow)]  # fmt: skip
        (folder / "data.csv").write_text("\n".join(["time,x,activity,person", *rows]))
        return folder / "data.csv"
    prices = [f"{5000 + 900 * row[0] - 300 * row[1]:.2f}" for row in x]
    tags = [";".join(name for name, value in zip(("hot", "wet"), row) if value > 0) for row in x]
    labels = prices if kind == "numbers" else tags
    rows = [",".join([*(f"{value:.4f}" for value in row), label]) for row, label in zip(x, labels)]
    (folder / "data.csv").write_text("\n".join(["a,b,c,target", *rows]))
    return folder / "data.csv"


@pytest.mark.parametrize(
    ("kind", "options", "score", "prediction"),
    [
        ("numbers", ("--width", 16, "--epochs", 20), "R²", "target "),
        pytest.param(
            *("labels", ("--task", "multilabel", "--width", 16, "--epochs", 20), "macro F1", "%)"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("signals", ("--window", 20, "--width", 8, "--epochs", 3), "macro AUC", "slow ("), marks=pytest.mark.slow
        ),
        pytest.param(
            *("volumes", ("--width", 4, "--epochs", 8, "--batch-size", 4), "macro F1", "full ("), marks=pytest.mark.slow
        ),
    ],
)
def test_from_a_file_to_a_prediction(
    tmp_path: Path, kind: str, options: tuple[object, ...], score: str, prediction: str
) -> None:
    data, run = written(tmp_path, kind), tmp_path / "run"
    trained = striate("train", data, "--out", run, *options)
    assert trained.exit_code == 0, trained.output
    document = json.loads((run / "run.json").read_text())
    evaluated = striate("evaluate", run)
    assert evaluated.exit_code == 0, evaluated.output
    assert score in evaluated.stdout
    assert evaluated.stdout.splitlines()[-1] in trained.stdout.splitlines()  # findings may follow it
    if kind == "numbers":
        assert document["evaluation"]["r2"] > 0.8
    else:
        assert document["evaluation"]["accuracy"] > 0.7
    predicted = striate("predict", run, data)
    assert predicted.exit_code == 0, predicted.output
    assert prediction in predicted.stdout
    rows = json.loads(striate("predict", run, data, "--json").stdout)
    assert len(rows) == len(predicted.stdout.splitlines())
    copied = striate("evaluate", run, data.rename(tmp_path / f"other{data.suffix}"), "--json")
    assert copied.exit_code == 0, copied.output
    if kind == "numbers":
        report = striate("inspect", run, "-o", tmp_path / "report.html", "--data", tmp_path / "other.csv", "--no-speed")
        assert report.exit_code == 0, report.output


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    data = written(tmp_path, "numbers")
    for options, message in (
        (("--label-smoothing", 0.1), "--label-smoothing is for classes"),
        (("--size", 3), "takes no size"),
        (("--label-column", "nothing"), "no column 'nothing'"),
    ):
        refused = striate("train", data, "--out", tmp_path / "run", *options)
        assert refused.exit_code == 2
        assert message in refused.output
        assert not (tmp_path / "run").exists()


def test_a_training_on_a_table_is_resumed(tmp_path: Path) -> None:
    data, run = written(tmp_path, "numbers"), tmp_path / "run"
    once = striate("train", data, "--label-column", "target", "--width", 8, "--epochs", 2, "--out", run)
    assert once.exit_code == 0, once.output
    further = striate("train", "--resume", run, "--epochs", 3)
    assert further.exit_code == 0, further.output
    assert len(json.loads((run / "run.json").read_text())["history"]["epochs"]) == 3
