"""The run folder is written completely, checked when it is read, and never replaces other files."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from striate.errors import ModelFileError, OptionError
from striate.persistence.lock import FolderLock
from striate.train.run import RUN_FILE, Run, claim_folder, claim_free_folder, read_run, write_run


def run() -> Run:
    return Run("digits", {"lr": 0.1}, 3, True, {"epochs": []}, {"accuracy": 0.5})


def test_it_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    claim_folder(folder).release()
    write_run(folder, run())
    assert read_run(folder) == run()
    with pytest.raises(OptionError, match=r"holds a run already[\s\S]*--resume .*run continues it, --overwrite"):
        claim_folder(folder)
    (folder / "checkpoints").mkdir()
    for name in ("model.safetensors", ".model.safetensors.abcd1234", "checkpoints/last.safetensors", "notes.txt"):
        (folder / name).write_text("of the earlier run")
    claim_folder(folder, overwrite=True).release()
    assert sorted(entry.name for entry in folder.rglob("*")) == ["checkpoints", "notes.txt"]


def test_a_folder_belongs_to_one_training(tmp_path: Path) -> None:
    held = claim_folder(tmp_path / "run")
    with pytest.raises(OptionError, match=rf"in use by another training: process {os.getpid()} on "):
        claim_folder(tmp_path / "run")
    other, lock = claim_free_folder(tmp_path / "run")
    assert other.name == "run-2"
    lock.release()
    pid = os.fork()
    if pid == 0:  # the child has no part in the lock, and the parent's stays
        os._exit(0 if not held.held and not FolderLock(tmp_path / "run").try_take() else 1)
    assert os.waitpid(pid, 0)[1] == 0
    held.release()
    code = (
        "import sys; from pathlib import Path; from striate.persistence.lock import FolderLock\n"
        "FolderLock(Path(sys.argv[1])).take(); print('held', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "run")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    with pytest.raises(OptionError, match=f"process {child.pid} on "):
        claim_folder(tmp_path / "run")
    write_run(tmp_path / "run", run())
    with pytest.raises(OptionError, match=f"process {child.pid} on "):
        claim_folder(tmp_path / "run")
    (tmp_path / "run" / RUN_FILE).unlink()
    child.kill()
    child.communicate()
    claim_folder(tmp_path / "run").release()  # nothing is left of the killed process's lock


def test_a_killed_training_does_not_block_its_folder(tmp_path: Path) -> None:
    (tmp_path / "progress.jsonl").write_text("{}")
    (tmp_path / ".run.json.12345678").write_text("{")
    claim_folder(tmp_path).release()
    assert not list(tmp_path.iterdir())
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OptionError, match=r"holds thesis.tex, but no"):
        claim_folder(tmp_path)


def test_the_next_free_folder(tmp_path: Path) -> None:
    for expected in ("digits", "digits-2", "digits-3"):
        folder, lock = claim_free_folder(tmp_path / "digits")
        lock.release()
        assert folder.name == expected
        write_run(folder, run())


def test_a_foreign_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(OptionError, match=r"thesis.tex[\s\S]*--out"):
        claim_folder(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]
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
