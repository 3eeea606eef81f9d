"""Output to streams that are not UTF-8 or cannot be written, and Ctrl-C before a command has begun."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from striate.cli.streams import written

FULL = Path("/dev/full")


def _command(*arguments: str, encoding: str = "utf-8") -> list[str]:
    return ["env", f"PYTHONIOENCODING={encoding}", sys.executable, "-m", "striate", *arguments]


@pytest.mark.parametrize(
    "encoding", ["cp1252", *(pytest.param(name, marks=pytest.mark.slow) for name in ("ascii", "latin-1"))]
)
def test_text_is_written_in_any_encoding(encoding: str) -> None:
    help_text = subprocess.run(_command("train", "--help", encoding=encoding), capture_output=True, check=True)
    assert "Learning rate, >= 0" in " ".join(help_text.stdout.decode(encoding).replace("|", " ").split())
    assert not help_text.stderr
    network = subprocess.run(_command("show", "lenet5", "--stage", "fused", encoding=encoding), capture_output=True)
    assert network.returncode == 0
    assert b"sqrt(variance" in network.stdout or "√".encode(encoding, "ignore") in network.stdout


@pytest.mark.slow
def test_epochs_are_printed_once_where_both_streams_are_one(tmp_path: Path) -> None:
    arguments = _command("train", "digits", "--epochs", "1", "--out", str(tmp_path / "run"), "--no-doctor")
    printed = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True).stdout
    assert (printed.count("held-out"), printed.count("epoch 1/1")) == (1, 1)


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full")
@pytest.mark.parametrize(
    "arguments",
    [("show", "lenet5"), *(pytest.param(one, marks=pytest.mark.slow) for one in (("train", "--help"), ("--version",)))],
)
def test_a_full_disk_is_named(arguments: tuple[str, ...]) -> None:
    with FULL.open("w") as full:
        finished = subprocess.run(_command(*arguments), stdout=full, stderr=subprocess.PIPE, text=True)
    assert finished.returncode == 1
    assert finished.stderr == f"error: standard output cannot be written: {os.strerror(28)}\n"


@pytest.mark.slow
def test_a_reader_that_leaves_early_is_no_error() -> None:
    finished = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m striate show resnet20 --stage program | head -n 1"],
        capture_output=True,
        text=True,
    )
    assert finished.stdout.count("\n") == 1
    assert not finished.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
@pytest.mark.parametrize("delay", [0.1, 0.3])
def test_ctrl_c_during_the_start_leaves_no_traceback(delay: float) -> None:
    child = subprocess.Popen(_command("show", "resnet18"), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    time.sleep(delay)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate()
    # Python may still be starting, on a busy computer: then it leaves in its own way, with none of our modules in it.
    assert b"Traceback" not in errors or b"striate" not in errors
    assert child.returncode in (0, 130, -signal.SIGINT)  # done already; ended by us; before Python itself was ready


def test_a_command_runs_without_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)  # as Python starts after >&-
    written(lambda: None)
