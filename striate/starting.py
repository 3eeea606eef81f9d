"""Ctrl-C in the first moments of a command, while its modules are being imported: it ends without a traceback."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType

INTERRUPTED = 130


def is_command() -> bool:
    """Whether this process is the command ``striate`` or ``python -m striate``, rather than a program that uses it."""
    if sys.argv[:1] == ["-m"]:
        return ("-m", "striate") in zip(sys.orig_argv, sys.orig_argv[1:])
    return bool(sys.argv) and Path(sys.argv[0]).stem == "striate"


def interruptible() -> None:
    """In a command, until ``started``: Ctrl-C ends the process with exit code 130, as nothing has begun yet."""
    if is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def started() -> None:
    """The command handles Ctrl-C itself from now on."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)
