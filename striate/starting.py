"""Makes Ctrl-C end a command without a traceback while its modules are still being imported."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

INTERRUPTED = 130


def is_command() -> bool:
    """Return whether this process runs the command ``striate`` (or ``python -m striate``).

    It is False in a program that imports striate.
    """
    if sys.argv[:1] == ["-m"]:
        return ("-m", "striate") in zip(sys.orig_argv, sys.orig_argv[1:])
    # os.path, because pathlib takes longer to import, and Ctrl-C during that would end in a traceback.
    return bool(sys.argv) and os.path.splitext(os.path.basename(sys.argv[0]))[0] == "striate"


def interruptible() -> None:
    """If this process runs the command ``striate``, let Ctrl-C end it with code 130 until ``started`` is called."""
    if is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)


def started() -> None:
    """Restore Python's usual handling of Ctrl-C, once the command can handle it itself."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(INTERRUPTED)
