"""Standard output and error that cannot take what is written: another encoding than UTF-8, a full disk."""

from __future__ import annotations

import codecs
import errno
import os
import sys
import unicodedata
from collections.abc import Callable
from io import TextIOWrapper
from typing import TextIO

_PLAIN = {
    "–": "-", "—": "-", "−": "-", "→": "->", "←": "<-", "·": "*", "×": "x", "≥": ">=", "≤": "<=", "≈": "~", "√": "sqrt",
    "…": "...", "∞": "inf", "σ": "sigma", "μ": "mu", "λ": "lambda", "β": "beta", "α": "alpha", "ε": "eps", "η": "eta",
    "θ": "theta", "Σ": "sum", "∂": "d", "█": "#", "▌": "#", "│": "|", "─": "-", "━": "-", "∥": "||",
    "’": "'", "‘": "'", "“": '"', "”": '"', "∈": "in", "≠": "!=", "±": "+-", "÷": "/", "•": "*", "✓": "ok", "✗": "x",
}  # fmt: skip
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """Replaces characters that an encoding does not have by ASCII: ``≥`` by ``>=``, ``x̂`` by ``x``, others by ``?``."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    parts: list[str] = []
    for character in error.object[error.start : error.end]:
        reduced = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
        unseen = unicodedata.combining(character) > 0
        parts.append(_PLAIN.get(character) or reduced or ("" if unseen else "?"))
    return "".join(parts), error.end


def prepare_streams() -> None:
    """Makes both streams write any text, whatever their encoding: that of a redirect on Windows is often cp1252."""
    codecs.register_error("striate", _plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper) and codecs.lookup(stream.encoding).name not in (
            "utf-8",
            "utf-16",
            "utf-32",
        ):
            stream.reconfigure(errors="striate")


def written(command: Callable[[], None]) -> None:
    """Runs a command. If standard output cannot be written, says so on standard error and exits with code 1."""
    try:
        try:
            command()
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.errno not in _FULL or error.filename is not None:
            raise
        _discard(sys.stdout)
        print(f"error: standard output cannot be written: {error.strerror}", file=sys.stderr)
        raise SystemExit(1) from None


def _discard(stream: TextIO) -> None:
    """Points the stream at nothing, so that what is still in its buffer does not fail again when Python ends."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, stream.fileno())
    os.close(nothing)
