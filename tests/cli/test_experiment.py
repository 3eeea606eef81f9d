"""Test ``striate experiment`` through the command line."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from striate import settings
from striate.cli import app
from striate.experiments import EXPERIMENTS
from striate.settings import Engine

TINY = ("--data", "digits", "--seeds", "1", "--samples", "64", "--epochs", "1")


@pytest.fixture(scope="module", autouse=True)
def compiled() -> Iterator[None]:
    before = settings.override(engine=Engine.COMPILED)
    yield
    settings.restore(before)


def experiment(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["experiment", *(str(argument) for argument in arguments)])


def test_without_a_name_the_list() -> None:
    result = experiment()
    assert result.exit_code == 0
    for one in EXPERIMENTS.values():
        assert one.name in result.stdout
        assert one.title in result.stdout
        assert one.equation in result.stdout
    listed = json.loads(experiment("--json").stdout)["experiments"]
    assert [one["experiment"] for one in listed] == list(EXPERIMENTS)


def test_help_lists_the_names() -> None:
    text = " ".join(experiment("--help").stdout.split())
    assert all(name in text for name in EXPERIMENTS)


@pytest.mark.slow
def test_the_prediction_is_printed_first_then_numbers_and_verdict(tmp_path: Path) -> None:
    result = experiment("m1", *TINY, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    text = result.stdout
    places = [text.index(part) for part in ("M1  Conv", "\nPredicted", "\nMeasured", "\nCompared", "\nVerdict: ")]
    assert places == sorted(places)
    assert "digits: 64 training images and 355 held-out images; 1 epoch; 1 seed." in text
    assert max(len(line) for line in text.splitlines() if str(tmp_path) not in line) <= 80
    assert "(elsewhere, on mnist: 94 %, 87 %)" in " ".join(text.split())  # those figures are of other data than these
    written = json.loads((tmp_path / "M1" / "result.json").read_text("utf-8"))
    assert written["experiment"] == "M1"
    assert set(written["measured"]["CNN, images"]["accuracy"]) == {"median", "low", "high", "values"}


@pytest.mark.slow
def test_several_end_with_a_summary_and_json_with_one_document(tmp_path: Path) -> None:
    result = experiment("M1", "M4", "M1", *TINY, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\nPredicted") == 2
    assert "came true" in result.stdout.split("Verdict")[-1]
    result = experiment("M4", *TINY, "--out", tmp_path, "--json")
    (document,) = json.loads(result.stdout)["experiments"]
    assert document["experiment"] == "M4"
    assert "help: Linear(" in document["remarks"][0]
    assert document["verdict"]["ruling"] in ("holds", "holds with a condition", "does not hold here")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["M11"], "known: M1, M2, M3, M4, M5, M6, M7, M8, M9, M10"),
        (["M1", "--seeds", "0"], "must be 1 or more"),
        (["M1", "--samples", "5"], "expected a whole number of 20 or more"),
        (["M1", "--data", "minst"], "did you mean 'mnist'"),
    ],
)
def test_what_cannot_be_run(arguments: list[str], message: str, tmp_path: Path) -> None:
    result = experiment(*arguments, "--out", tmp_path)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not list(tmp_path.rglob("*.json"))


def test_a_folder_that_cannot_be_made_is_noticed_before_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = experiment("M1", *TINY, "--out", tmp_path / "file")
    assert result.exit_code == 2
    assert "cannot create the folder of the experiment" in result.stderr
    assert "Predicted" not in result.stdout


def test_without_matplotlib_the_numbers_still_come(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def absent(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib.import_module("striate.experiments.drawing"), "import_module", absent)
    result = experiment("M4", *TINY, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert "note: pictures need matplotlib" in result.stderr
    assert "pip install 'striate[plot]'" in result.stderr
    assert "Verdict: " in result.stdout
    assert [path.name for path in (tmp_path / "M4").iterdir()] == ["result.json"]
