"""Handle output streams to which text cannot be written: because of a limited encoding, or a full disk."""

from __future__ import annotations

import codecs
import errno
import os
import sys
import unicodedata
from collections.abc import Callable
from io import TextIOWrapper
from typing import TextIO, cast

_PLAIN = {
    "–": "-", "—": "-", "−": "-", "→": "->", "←": "<-", "·": "*", "×": "x", "≥": ">=", "≤": "<=", "≈": "~", "√": "sqrt",
    "…": "...", "∞": "inf", "σ": "sigma", "μ": "mu", "λ": "lambda", "β": "beta", "α": "alpha", "ε": "eps", "η": "eta",
    "θ": "theta", "Σ": "sum", "∂": "d", "█": "#", "▌": "#", "│": "|", "─": "-", "━": "-", "∥": "||",
    "’": "'", "‘": "'", "“": '"', "”": '"', "∈": "in", "≠": "!=", "±": "+-", "÷": "/", "•": "*", "✓": "ok", "✗": "x",
}  # fmt: skip
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """Replace characters that the encoding lacks by ASCII: ``≥`` by ``>=``, ``x̂`` by ``x``, others by ``?``.

    This is an error handler for ``codecs.register_error``.
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    parts: list[str] = []
    for character in error.object[error.start : error.end]:
        reduced = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
        unseen = unicodedata.combining(character) > 0
        parts.append(_PLAIN.get(character) or reduced or ("" if unseen else "?"))
    return "".join(parts), error.end


def prepare_streams() -> None:
    """Make standard output and standard error accept any text.

    Their encoding may lack characters: redirected output on Windows often has cp1252.
    """
    codecs.register_error("striate", _plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and codecs.lookup(stream.encoding).name not in (
            "utf-8",
            "utf-16",
            "utf-32",
        ):
            stream.reconfigure(errors="striate")


def same_target(first: TextIO, second: TextIO) -> bool:
    """Return whether two streams write to the same terminal, file or pipe, as after ``2>&1``."""
    try:
        return os.path.sameopenfile(first.fileno(), second.fileno())
    except (OSError, ValueError):  # a stream that a test or a notebook puts in place has no file
        return False


def written(command: Callable[[], None]) -> None:
    """Run a command, and exit with code 1 and a message if standard output cannot be written (a full disk)."""
    try:
        try:
            command()
        finally:
            stream = cast("TextIO | None", sys.stdout)
            if stream is not None:  # the program was started with standard output closed
                stream.flush()
    except OSError as error:
        if error.errno not in _FULL or error.filename is not None:
            raise
        _discard(sys.stdout)
        print(f"error: standard output cannot be written: {error.strerror}", file=sys.stderr)
        raise SystemExit(1) from None


def _discard(stream: TextIO) -> None:
    """Redirect the stream to the null device, so that flushing its buffer at exit does not fail again."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, stream.fileno())
    os.close(nothing)
