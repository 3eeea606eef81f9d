"""The run folder is written completely, checked when it is read, and never replaces other files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from striate.errors import ModelFileError, OptionError
from striate.train.run import RUN_FILE, Run, claim_folder, free_folder, read_run, write_run


def run() -> Run:
    return Run("digits", {"lr": 0.1}, 3, True, {"epochs": []}, {"accuracy": 0.5})


def test_it_comes_back(tmp_path: Path) -> None:
    claim_folder(tmp_path / "new" / "run")
    write_run(tmp_path / "new" / "run", run())
    assert read_run(tmp_path / "new" / "run") == run()
    with pytest.raises(OptionError, match=r"holds a run already[\s\S]*--overwrite"):
        claim_folder(tmp_path / "new" / "run")
    claim_folder(tmp_path / "new" / "run", overwrite=True)
    assert [entry.name for entry in (tmp_path / "new" / "run").iterdir()] == [RUN_FILE]


def test_a_killed_training_does_not_block_its_folder(tmp_path: Path) -> None:
    (tmp_path / "progress.jsonl").write_text("{}")
    claim_folder(tmp_path)
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OptionError, match=r"holds thesis.tex, but no"):
        claim_folder(tmp_path)


def test_the_next_free_folder(tmp_path: Path) -> None:
    for expected in ("digits", "digits-2", "digits-3"):
        folder = free_folder(tmp_path / "digits")
        assert folder.name == expected
        claim_folder(folder)
        write_run(folder, run())


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OptionError, match=r"thesis.tex[\s\S]*--out"):
        claim_folder(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="cannot be the folder"):
        claim_folder(tmp_path / "file")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", '{"format": "other"}', '{"format": "striate run 1"}', "[" * 100_000, "\x00", '{"format": 1}'],
)
def test_what_is_no_run_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / RUN_FILE).write_text(text)
    with pytest.raises(ModelFileError, match="striate train"):
        read_run(tmp_path)


@pytest.mark.parametrize("change", [{"seed": "0"}, {"data": None}, {"more": 1}, {"history": []}])
def test_fields_of_a_wrong_type_are_refused(change: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / RUN_FILE).write_text(json.dumps({**run().to_json(), **change}))
    with pytest.raises(ModelFileError, match="expected"):
        read_run(tmp_path)


def test_a_missing_run(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"no run\.json"):
        read_run(tmp_path)
    with pytest.raises(ModelFileError, match="no such folder"):
        read_run(tmp_path / "none")
    model = tmp_path / "model.safetensors"
    model.write_bytes(b"")
    with pytest.raises(ModelFileError, match="a file, not a folder"):
        read_run(model)
