"""``striate doctor`` and ``--no-doctor``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from striate.cli import app


def striate(*arguments: object) -> Any:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def ill(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A run whose learning rate is a hundred thousand times too small."""
    folder = tmp_path_factory.mktemp("runs") / "ill"
    result = striate("train", "digits", "--model", "first_cnn", "--epochs", 3, "--lr", "1e-7", "--out", folder)
    assert result.exit_code == 0, result.output
    return folder, result


def test_findings_are_printed_at_the_end_and_kept(ill: tuple[Path, Any]) -> None:
    folder, result = ill
    assert "learning rate 1e-07 is too low" in result.stderr, "while it trains"
    assert "error: the learning rate 1e-07 is too low" in result.stdout, "and at the end"
    assert "on the command line: --lr" in result.stdout
    document = json.loads((folder / "run.json").read_text())
    assert document["findings"][0]["kind"] == "learning_rate_too_low"
    lines = [json.loads(line) for line in (folder / "progress.jsonl").read_text().splitlines()]
    assert [line["kind"] for line in lines].count("finding") == 1


def test_striate_doctor_prints_them_again(ill: tuple[Path, Any]) -> None:
    folder, _ = ill
    result = striate("doctor", folder)
    assert result.exit_code == 0
    assert "is too low" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 100
    document = json.loads(striate("doctor", folder, "--json").stdout)
    assert document["watched"] is True
    assert document["findings"][0]["remedy"]["command"].startswith("--lr ")


def test_the_command_of_a_remedy_cures(ill: tuple[Path, Any], tmp_path: Path) -> None:
    folder, _ = ill
    command = json.loads(striate("doctor", folder, "--json").stdout)["findings"][0]["remedy"]["command"]
    result = striate(
        "train", "digits", "--model", "first_cnn", "--epochs", 3, "--out", tmp_path / "well", *command.split()
    )
    assert result.exit_code == 0
    assert "too low" not in result.output
    before, after = (json.loads((one / "run.json").read_text()) for one in (folder, tmp_path / "well"))
    assert after["evaluation"]["accuracy"] > before["evaluation"]["accuracy"] + 0.3
    assert after["findings"] == []
    assert striate("doctor", tmp_path / "well").stdout == "no problems were found\n"


def test_no_doctor_is_silent_and_can_be_asked_afterwards(tmp_path: Path) -> None:
    result = striate(
        "train", "digits", "--model", "first_cnn", "--epochs", 1, "--no-doctor", "--no-standardize", "--out", tmp_path
    )  # fmt: skip
    assert result.exit_code == 0
    assert "inputs" not in result.output
    asked = striate("doctor", tmp_path)
    assert asked.exit_code == 0
    assert "trained without the doctor" in asked.stderr
    assert "the inputs are large" in asked.stdout
    assert "--standardize" in asked.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--lr", 30), "the learning rate 30 is too high"),
        (("--lr", "1e-7"), "the learning rate 1e-07 is too low"),
        (("--model", "mlp", "--norm", "none", "--lr", 50), "training broke down"),
    ],
    ids=["huge loss", "chance", "broken down"],
)
def test_a_run_without_the_doctor_is_judged_by_its_record(options: tuple[Any, ...], said: str, tmp_path: Path) -> None:
    model = () if "--model" in options else ("--model", "first_cnn")
    striate("train", "digits", *model, "--epochs", 3, "--no-doctor", *options, "--out", tmp_path)
    asked = striate("doctor", tmp_path)
    assert asked.exit_code == 0, asked.output
    assert said in " ".join(asked.stdout.split())
    assert "record, which has some of its steps" in asked.stderr
    assert "on the command line: --" in asked.stdout
    assert "optim.SGD" not in asked.stdout


def test_too_little_that_was_recorded_is_not_called_well(tmp_path: Path) -> None:
    striate("train", "digits", "--model", "first_cnn", "--epochs", 1, "--no-doctor", "--out", tmp_path)
    assert striate("doctor", tmp_path).stdout == "no problems were found\n"
    (tmp_path / "progress.jsonl").unlink()
    document = json.loads((tmp_path / "run.json").read_text())
    document["evaluation"]["accuracy"] = 0.06
    document["history"] = {"epochs": [], "finished": True}
    (tmp_path / "run.json").write_text(json.dumps(document))
    asked = striate("doctor", tmp_path)
    assert "too little was recorded to say what went wrong: it ended at 6.0 %" in asked.stdout
    assert "history alone" in asked.stderr


def test_live_lines_name_options(ill: tuple[Path, Any]) -> None:
    _, result = ill
    assert "on the command line: --lr" in result.stderr
    assert "optim.SGD" not in result.output


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    result = striate("doctor", tmp_path)
    assert result.exit_code == 2
    assert "no run.json" in result.stderr
