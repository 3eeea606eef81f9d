"""The text of messages on the command line: options in place of Python's arguments, and lines that fit a terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Collection
from typing import TextIO

from striate.terminal import columns

_ARGUMENT = re.compile(r"""(?<![\w.])([a-z]\w*)=(["']?)([\w./-]+)\2""")
_LEAST_WIDTH = 40


def with_options(message: str, options: Collection[str]) -> str:
    """Write the arguments that help lines name as options: ``size=64`` becomes ``--size 64``.

    ``options`` are those of the command, such as "--size". Arguments inside of parentheses belong to a call of Python
    and stay as they are.
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
    return f"{option} {match[3]}"


def fitted(text: str, stream: TextIO) -> str:
    """Wrap lines between words where ``stream`` is a terminal, which would break them inside of words."""
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
