"""``striate runs`` and ``striate compare`` on run folders written by hand; nothing is trained."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from striate.cli import app
from striate.persistence.lock import FolderLock, is_held
from striate.train.history import Epoch, History
from striate.train.run import Run, write_run
from striate.train.summary import read_summary


def striate(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def made(
    folder: Path, metrics: list[float], *, asked: int | None = None, error: bool = False, day: int = 1, **options: Any
) -> Path:
    """Write a run with these held-out accuracies, or mean errors."""
    folder.mkdir(parents=True)
    epochs = [
        Epoch(number, 0.5 / number, 2.0, 100.0, 0.7 / number, None if error else value, None, value if error else None)
        for number, value in enumerate(metrics, 1)
    ]
    finished = asked is None
    arguments = {"model": "lenet5", "epochs": asked or len(metrics), "lr": 0.05, "ema": None, **options}
    data = str(folder / "prices.csv") if error else "digits"
    run = Run(data, arguments, 0, finished, History(epochs, finished).to_json())
    run.evaluation = {"loss": 0.1, "accuracy": metrics[-1]} if metrics and not error else None
    write_run(folder, run)
    os.utime(folder / "run.json", (86400.0 * day, 86400.0 * day))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with five runs, one of which is interrupted, one measures errors, and one has no epoch."""
    made(tmp_path / "digits", [0.90, 0.97, 0.95], day=1)
    made(tmp_path / "digits-2", [0.90, math.nan, 0.96], day=4, lr=0.1)
    made(tmp_path / "digits-10", [], asked=20, day=3)
    made(tmp_path / "night" / "prices", [0.4, 0.2, 0.3], error=True, day=2, model="mlp")
    night = made(tmp_path / "night" / "killed", [0.5], asked=9, day=5)
    lines = [
        {"kind": "epoch", "time": 1.0, "number": number, "loss": 0.1, "seconds": 1.0, "images_per_second": 9.0,
         "validation_loss": None if number == 1 else 0.2, "validation_accuracy": share}
        for number, share in [(1, 0.5), (2, 0.6), (3, 0.1), (3, 0.8)]
    ]  # fmt: skip
    (night / "progress.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path


def test_the_table_names_each_run_and_sorts(runs: Path) -> None:
    (runs / "broken").mkdir()
    (runs / "broken" / "run.json").write_text("{")
    result = striate("runs", runs, "--sort", "best")
    assert result.exit_code == 0, result.output
    assert result.stderr.startswith(f"warning: {runs / 'broken' / 'run.json'}: cannot be read")
    head, *lines = result.stdout.splitlines()
    assert head.split() == ["run", "data", "network", "epochs", "best", "last", "date", "state"]
    assert max(map(len, [head, *lines])) <= 80
    rows = [line.split() for line in lines]
    assert [row[0] for row in rows] == ["digits", "digits-2", "night/killed", "night/prices", "digits-10"]
    assert rows[0][1:8] == ["digits", "lenet5", "3/3", "97.00", "%", "95.00", "%"]
    assert rows[2][3:6] == ["3/9", "80.00", "%"]
    assert rows[2][-1] == "interrupted"
    assert rows[3][1:8] == ["prices.csv", "mlp", "3/3", "error", "0.2000", "0.3000", "Jan"]
    assert rows[4][3:6] == ["0/20", "–", "–"]
    for sort, expected in {
        "date": ["night/killed", "digits-2", "digits-10", "night/prices", "digits"],
        "name": ["digits", "digits-2", "digits-10", "night/killed", "night/prices"],
        "state": ["digits-2", "night/prices", "digits", "night/killed", "digits-10"],
    }.items():
        if sort == "date":
            (runs / "night/killed/progress.jsonl").touch()  # the latest write counts, not that of run.json
        found = json.loads(striate("runs", runs, "--sort", sort, "--json").stdout)
        assert [one["name"] for one in found] == expected, sort
        backwards = json.loads(striate("runs", runs, "--sort", sort, "--reverse", "--json").stdout)
        assert [one["name"] for one in backwards] == expected[::-1], sort
    (found,) = [one for one in json.loads(striate("runs", runs, "--json").stdout) if one["name"] == "night/killed"]
    assert found["epochs"] == {"done": 3, "asked": 9}
    assert found["best"] == {"value": 0.8, "epoch": 3}


def test_a_run_whose_folder_is_locked_is_running(runs: Path) -> None:
    folder = runs / "digits-10"
    (folder / ".lock").write_text("left by a killed process")
    assert not is_held(folder)
    assert read_summary(folder).state.value == "interrupted"
    with FolderLock(folder):
        assert is_held(folder)
        assert read_summary(folder).state.value == "running"
    assert not (folder / ".lock").exists()
    assert striate("runs", folder).stdout.splitlines()[1].startswith("digits-10 ")


def test_folders_without_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "no such folder" in striate("runs", tmp_path / "none").stderr
    monkeypatch.chdir(tmp_path)
    result = striate("runs")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no runs in runs" in result.stderr
    assert striate("runs", "--json").stdout == "[]\n"
    wrong = striate("runs", "--sort", "bst")
    assert wrong.exit_code == 2
    assert "did you mean 'best'" in wrong.stderr


def test_compare_shows_what_differs_and_the_results(runs: Path) -> None:
    result = striate("compare", runs / "digits", runs / "digits-2", runs / "night" / "prices")
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["option", "digits", "digits-2", "prices"] in lines
    assert ["lr", "0.05", "0.1", "0.05"] in lines
    assert ["model", "lenet5", "lenet5", "mlp"] in lines
    assert not any(line[:1] == ["seed"] for line in lines)
    assert ["held-out", "accuracy", "95.00", "%", "96.00", "%", "–"] in lines
    assert "97.00 % (epoch 2)" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "seed" in striate("compare", runs / "digits", runs / "digits-2", "--all").stdout
    assert "all options are equal" in striate("compare", runs / "digits", runs / "digits").stdout
    found = json.loads(striate("compare", runs / "digits", runs / "digits-2", "--json").stdout)
    assert found["different"] == {"lr": [0.05, 0.1]}
    assert found["options"]["seed"] == [0, 0]
    assert [one["best"]["value"] for one in found["runs"]] == [0.97, 0.96]
    for arguments, message in {(runs / "digits",): "two or more", (runs, runs): "no run.json in it"}.items():
        wrong = striate("compare", *arguments)
        assert wrong.exit_code == 2
        assert message in wrong.stderr


def test_compare_draws_the_curves(runs: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "curves.svg"
    result = striate("compare", runs / "digits", runs / "night" / "prices", "--plot", picture)
    assert result.exit_code == 0, result.output
    assert f"saved {picture}" in result.stdout
    assert picture.read_text().count("<path") > 10
    empty = striate("compare", runs / "digits-10", runs / "digits-10", "--plot", picture)
    assert "no run has a finished epoch" in empty.stderr
