"""A failure on one rank ends all of them, with its message and without a hang; a training on ranks is resumed."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.distributed.launched import LIMIT, PROGRAMS, environment, require_mpi, run, striate

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("exception", "error: rank 1 of 2 failed:"),
        ("options", "lr: 0.2 on rank 1, 0.1 on rank 0"),
        ("data", "training data: "),
        ("weights", "weights: "),
        ("step", "error: rank 1 of 2 failed, which ends all ranks"),
    ],
)
def test_an_error_on_one_rank_ends_all(what: str, message: str) -> None:
    require_mpi()
    finished = run(2, [PROGRAMS / "failing.py", what])
    assert finished.returncode == 1, finished.stderr
    assert message in finished.stderr
    assert ("the disk of this rank is on fire" in finished.stderr) is (what == "exception")
    assert "finished" not in finished.stdout


def test_numbers_that_are_not_finite_on_one_rank_are_named_on_all() -> None:
    require_mpi()
    finished = run(2, [PROGRAMS / "failing.py", "nan"])
    assert finished.returncode == 1
    assert finished.stderr.count("'1.weight' holds NaN or infinity before the step; nothing was changed") == 1
    assert finished.stderr.count("'1.weight' holds NaN or infinity before the step on rank 1; nothing was changed") == 1


def test_a_killed_rank_ends_the_job() -> None:
    require_mpi()
    start = time.monotonic()
    assert run(2, [PROGRAMS / "failing.py", "kill"]).returncode != 0
    assert time.monotonic() - start < LIMIT / 2


def test_a_stop_or_a_signal_on_one_rank_is_agreed_upon() -> None:
    require_mpi()
    stopped = run(2, [PROGRAMS / "failing.py", "stop"])
    assert stopped.returncode == 0, stopped.stderr
    assert sorted(stopped.stdout.splitlines()) == [
        "rank 0: another rank stopped the training, 0 epochs", "rank 1: rank 1 has seen enough, 0 epochs",
    ]  # fmt: skip
    after = run(2, [PROGRAMS / "failing.py", "stop after epoch"])
    assert sorted(after.stdout.splitlines()) == [
        "rank 0: another rank stopped the training, 1 epochs", "rank 1: rank 1 has seen enough, 1 epochs",
    ]  # fmt: skip
    alone = run(2, [PROGRAMS / "failing.py", "Ctrl-C"])
    assert (alone.returncode, "error: rank 1 of 2: interrupted" in alone.stderr) == (130, True)
    interrupted = run(2, [PROGRAMS / "failing.py", "interrupt"])
    assert interrupted.returncode != 0
    assert "finished" not in interrupted.stdout


OPTIONS = ("digits", "--epochs", "6", "--model", "lenet5", "--reduce", "exact", "--checkpoint-every", "10")


def trained_ranks(launcher: int) -> list[int]:
    """Return the processes below ``launcher`` that train, and are not launchers themselves."""
    parents: dict[int, int] = {}
    training: set[int] = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            continue
        if b"train" in words and b"launch" not in words and words[0].split(b"/")[-1].startswith(b"python"):
            training.add(int(folder.name))

    def below(process: int) -> bool:
        while process in parents and process != launcher:
            process = parents[process]
        return process == launcher

    return sorted(process for process in training if below(process))


def test_a_killed_training_is_restarted_and_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    require_mpi()
    assert striate(1, "train", *OPTIONS, "--out", tmp_path / "straight").returncode == 0
    out = tmp_path / "run"
    command = [sys.executable, "-m", "striate", "launch", "-n", "2", "--restarts", "3", "train", *OPTIONS]
    process = subprocess.Popen(
        [*command, "--out", str(out)], env=environment(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    try:
        deadline = time.monotonic() + LIMIT
        while not (out / "checkpoints" / "previous.safetensors").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.kill(trained_ranks(process.pid)[-1], signal.SIGKILL)
        _, errors = process.communicate(timeout=LIMIT)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert "restart 1 of 3" in errors
    assert "resumed from epoch" in errors
    digests = {
        hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
        for folder in (out, tmp_path / "straight")
    }
    assert len(digests) == 1
