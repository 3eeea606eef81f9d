"""The width of the terminal, to which printed text is fitted."""

from __future__ import annotations

import os
import shutil
import sys


def columns(fallback: int = 80) -> int:
    """Return the number of characters that a line may have.

    That is the environment variable COLUMNS, or else the width of the terminal on standard output. If standard output
    is not a terminal, it is the width of the terminal on standard error or input. Without any terminal it is
    ``fallback``.
    """
    found = shutil.get_terminal_size((0, 0)).columns
    for stream in (sys.__stderr__, sys.__stdin__):
        try:
            found = found or (0 if stream is None else os.get_terminal_size(stream.fileno()).columns)
        except (OSError, ValueError):  # no terminal, or closed
            continue
    return found or fallback
