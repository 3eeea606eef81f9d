"""``striate launch``: run a command on several ranks of this machine, and resume a training that failed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from striate.cli.report import say_note
from striate.distributed.launcher import launch_command
from striate.errors import OptionError
from striate.options import whole_number
from striate.train.run import RUN_FILE

_RANKED = ("train", "evaluate", "predict")
_FINAL = (0, 2, 130, 143)
"""Exit codes after which a training is not started again: success, an error of the user, Ctrl-C, SIGTERM."""


def launch(
    command: Annotated[list[str], typer.Argument(help="train, evaluate or predict, with its arguments and options.")],
    ranks: Annotated[int, typer.Option("--ranks", "-n", help="Number of processes on this machine.")] = 2,
    restarts: Annotated[
        int, typer.Option(help="How often a training that fails is resumed from its last checkpoint.")
    ] = 0,
) -> None:
    """Run a command on several processes of this machine, which share its work over MPI.

    Options of launch come before the command: striate launch -n 2 train digits. On several machines, call mpirun
    itself: mpirun -n 4 --host one:2,two:2 striate train digits.
    """
    whole_number("--ranks", ranks, 1)
    whole_number("--restarts", restarts, 0)
    if command[0] not in _RANKED:
        raise OptionError(f"launch {command[0]}: only {', '.join(_RANKED)} run on several ranks")
    folder = run_folder(command)
    if restarts and (command[0] != "train" or folder is None):
        raise OptionError("--restarts needs a training with --out FOLDER (or --resume RUN), which it resumes")
    before = _written(folder)
    code = _run(ranks, command)
    for number in range(1, restarts + 1):
        if code in _FINAL or folder is None:
            break
        say_note(f"the training ended with exit code {code}; restart {number} of {restarts}")
        # If run.json is absent or that of an earlier run, the training failed before it began: nothing can be resumed.
        began = _written(folder) not in (None, before)
        code = _run(ranks, resuming(command, folder) if began else command)
    if code:
        raise typer.Exit(code)


def run_folder(command: Sequence[str]) -> Path | None:
    """Return the folder after ``--out`` or ``--resume`` in the words of a command; None if it has neither option."""
    for place, word in enumerate(command):
        name, equals, value = word.partition("=")
        if name in ("--out", "--resume"):
            if equals:
                return Path(value)
            if place + 1 < len(command):
                return Path(command[place + 1])
    return None


def resuming(command: Sequence[str], folder: Path) -> list[str]:
    """Return the command that resumes the training that ``command`` began in the run folder ``folder``.

    Of the options in ``command``, the result keeps only ``--json`` and ``--threads``. The values of the other options
    are in the run folder. A command that already has ``--resume`` is returned unchanged.
    """
    if any(word.partition("=")[0] == "--resume" for word in command):
        return list(command)
    kept = [word for word in command if word == "--json" or word.startswith("--threads=")]
    kept += [part for pair in pairwise(command) if pair[0] == "--threads" for part in pair]
    return ["train", "--resume", str(folder), *kept]


def _written(folder: Path | None) -> tuple[int, int] | None:
    """Return the number and the time of the file run.json, by which another one is noticed; None without the file."""
    try:
        found = None if folder is None else (folder / RUN_FILE).stat()
    except OSError:
        return None
    return None if found is None else (found.st_ino, found.st_mtime_ns)


def _run(ranks: int, command: Sequence[str]) -> int:
    """Run ``striate`` with these arguments on the ranks; return its exit code, 128 + n if signal n ended it.

    Ctrl-C reaches all processes of the terminal, so only their end is waited for; SIGTERM is passed on.
    """
    own = [sys.executable, "-m", "striate", *command]
    process = subprocess.Popen(launch_command(ranks, own) if ranks > 1 else own)

    def passed_on(number: int, frame: FrameType | None) -> None:
        process.send_signal(number)

    before = signal.signal(signal.SIGTERM, passed_on)
    try:
        while True:
            try:
                code = process.wait()
                return code if code >= 0 else 128 - code
            except KeyboardInterrupt:
                continue
    finally:
        signal.signal(signal.SIGTERM, before)
