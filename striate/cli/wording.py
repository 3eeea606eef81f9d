"""Adapt messages to the command line: options in place of Python arguments, and lines that fit the terminal."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Collection
from typing import TextIO

from striate.terminal import columns

_ARGUMENT = re.compile(r"""(?<![\w.])([a-z]\w*)=(?:(["'])([^"'\n]+)\2|([\w./-]+))""")
_LEAST_WIDTH = 40


def with_options(message: str, options: Collection[str]) -> str:
    """Return a message in which Python arguments are written as options: ``size=64`` becomes ``--size 64``.

    ``options`` are the options of the command, such as "--size". Arguments in parentheses belong to a Python call and
    are not changed.
    """
    lines = message.split("\n")
    for place, line in enumerate(lines):
        head, found, cure = line.partition("help: ")
        if found:
            lines[place] = head + found + _ARGUMENT.sub(lambda match: _option(match, options), cure)
    return "\n".join(lines)


def _option(match: re.Match[str], options: Collection[str]) -> str:
    before = match.string[: match.start()]
    option = f"--{match[1].replace('_', '-')}"
    if option not in options or before.count("(") > before.count(")"):
        return match[0]
    return f"{option} {shlex.quote(match[3] or match[4])}"


def fitted(text: str, stream: TextIO) -> str:
    """Return the text with its lines wrapped between words if ``stream`` is a terminal; otherwise unchanged."""
    if not stream.isatty():
        return text
    width = max(_LEAST_WIDTH, columns())
    return "\n".join(_wrapped(line, width) for line in text.split("\n"))


def _wrapped(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(
        line.strip(), width, initial_indent=indent, subsequent_indent=indent + "  ", break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
