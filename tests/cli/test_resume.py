"""``striate train --resume``: to the bits of an undisturbed run, and clear words where it cannot."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from striate.cli import app
from striate.errors import ModelFileError
from striate.persistence import write_atomically
from striate.train import Epoch
from striate.train.progress import Lines

OPTIONS = ("digits", "--epochs", 3, "--model", "mlp", "--depth", 2, "--width", 8, "--ema", 0.9, "--patience", 2)


def striate(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["train", *map(str, arguments)])


def sha(run: Path) -> str:
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.slow
def test_sigterm_exits_143_and_resume_ends_with_the_same_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert striate(*OPTIONS, "--out", tmp_path / "straight").exit_code == 0
    shown = Lines.epoch

    def epoch(self: Lines, epoch: Epoch) -> None:
        shown(self, epoch)
        if epoch.number == 1 and type(self) is Lines:
            os.kill(os.getpid(), signal.SIGTERM)

    run = tmp_path / "a run"
    with monkeypatch.context() as patch:
        patch.setattr(Lines, "epoch", epoch)
        ended = striate(*OPTIONS, "--checkpoint-every", 7, "--out", run)
    assert ended.exit_code == 143
    assert "interrupted after step 47; the model is in" in ended.stderr
    assert f"help: striate train --resume '{run}' continues the training" in ended.stderr
    (run / "model.safetensors").unlink()  # as if it had been killed
    early = CliRunner().invoke(app, ["evaluate", str(run)])
    assert (early.exit_code, f"striate train --resume {run} continues" in early.stderr) == (2, True)
    assert json.loads((run / "run.json").read_text())["finished"] is False
    held = striate("digits", "--out", run)
    assert (held.exit_code, "--resume" in held.stderr) == (2, True)

    for arguments, problem in {
        ("--depth", 3): "--depth cannot change in a resumed training: 2 then, 3 now",
        ("--out", tmp_path / "other"): "--out does not go with --resume",
        ("--checkpoint-every", "often"): "checkpoints every 'often'",
    }.items():
        refused = striate("--resume", run, *arguments)
        assert (refused.exit_code, problem in refused.stderr) == (2, True), refused.stderr

    again = striate("--resume", run, "--depth", 2)
    assert again.exit_code == 0, again.stderr
    assert "resumed from epoch 2 of 3, step 47" in again.stderr
    assert sha(run) == sha(tmp_path / "straight")
    documents = [json.loads((folder / "run.json").read_text()) for folder in (run, tmp_path / "straight")]
    assert documents[0]["evaluation"] == documents[1]["evaluation"]
    assert documents[0]["finished"]
    assert {"processor", "threads", "target", "llvmlite"} <= documents[0]["versions"].keys()
    assert (run / "curves.svg").read_text().startswith('<svg xmlns="http://www.w3.org/2000/svg"')

    before = (run / "run.json").read_text()
    over = striate("--resume", run)
    assert (over.exit_code, over.stdout) == (0, "")
    assert over.stderr == "the run is finished already: 3 epochs are done\n  help: --epochs 8 goes on to 8 epochs\n"
    assert (run / "run.json").read_text() == before
    (run / "run.json").write_text(json.dumps(json.loads(before) | {"evaluation": None}))  # killed before the evaluation
    assert striate("--resume", run).exit_code == 0
    assert json.loads((run / "run.json").read_text())["evaluation"] == documents[0]["evaluation"]
    more = striate("--resume", run, "--epochs", 4, "--lr", 0.01)
    assert more.exit_code == 0
    assert "changed since the checkpoint: lr: 0.05 then, 0.01 now" in more.stderr
    document = json.loads((run / "run.json").read_text())
    assert len(document["history"]["epochs"]) == 4
    document["arguments"]["epochs"] = 2  # as when an interrupted run is resumed with fewer epochs than it has done
    (run / "run.json").write_text(json.dumps(document))
    assert "4 epochs are done\n  help: --epochs 9 goes on" in striate("--resume", run).stderr


def test_a_model_that_cannot_be_written_is_saved_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))

    def full(path: Path, content: bytes, keep: Path | None = None) -> None:
        if path.parent == run and path.name == "model.safetensors":
            raise ModelFileError(f"{path}: cannot be written: No space left on device\n  help: make room")
        write_atomically(path, content, keep)

    monkeypatch.setattr("striate.persistence.write_atomically", full)
    ended = striate("digits", "--epochs", 1, "--model", "mlp", "--width", 8, "--out", run)
    assert ended.exit_code == 2
    (rescued,) = elsewhere.glob("striate-*/model.safetensors")
    assert ended.stderr.endswith(
        f"error: {run}/model.safetensors: cannot be written: No space left on device; the model is in {rescued} "
        f"instead\n  help: make room; then striate train --resume {run} writes the rest\n"
    )
    monkeypatch.undo()
    again = striate("--resume", run)
    assert "finished already: 1 epoch;" in again.stderr
    assert (again.exit_code, sha(run)) == (0, hashlib.sha256(rescued.read_bytes()).hexdigest())


@pytest.mark.slow
def test_files_of_numbers_and_pictures_are_read_as_before(tmp_path: Path) -> None:
    """A resumed run reads its data with the options of the run: nothing has changed, as far as it can tell."""
    rows = ["a,b,who,kind", *(f"{i % 7},{i % 5},{i // 4},{'xy'[i % 2]}" for i in range(60))]
    (tmp_path / "table.csv").write_text("\n".join(rows))
    for number in range(12):
        picture = tmp_path / "pictures" / "ab"[number % 2] / f"{number}.png"
        picture.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((9, 8, 3), 20 * number, np.uint8)).save(picture)
    for data, options in (
        ("table.csv", ("--label-column", "kind", "--group-column", "who", "--held-out", 0.3)),
        ("pictures", ("--model", "mlp", "--size", "6x7", "--augment", "flip")),
    ):
        run = tmp_path / f"run of {data}"
        assert striate(tmp_path / data, *options, "--epochs", 1, "--seed", 3, "--out", run).exit_code == 0
        again = striate("--resume", run, "--epochs", 2)
        assert again.exit_code == 0, again.stderr
        changed = [line for line in again.stderr.splitlines() if "change" in line]
        assert [line.split(":")[1] for line in changed] == [" schedule", " epochs"], again.stderr


def test_what_cannot_be_resumed(tmp_path: Path) -> None:
    for arguments, problem in (
        (("--resume", tmp_path / "none"), "no such folder"), (("--resume", tmp_path), "no run.json in it"),
        (("digits", "--allow-changes"), "no effect without --resume"),
    ):  # fmt: skip
        refused = striate(*arguments)
        assert (refused.exit_code, problem in refused.stderr) == (2, True), refused.stderr
