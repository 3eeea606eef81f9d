"""Progress of slow commands on standard error: one live line in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType

import typer
from rich.console import Console
from rich.status import Status

from striate.codegen import jit

_QUIET = 2.0  # seconds between two lines without a terminal


class Steps:
    """A context manager that shows which part of a command is running, and how many kernels it has compiled."""

    def __init__(self, command: str) -> None:
        self.command = command
        self._text = ""
        self._start = self._said = time.perf_counter()
        self._live: Status | None = None

    def __enter__(self) -> Steps:
        if sys.stderr.isatty():
            self._live = Console(stderr=True).status("")
            self._live.start()
            jit.kernels.progress = self._compiling
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
            jit.kernels.progress = None

    def say(self, text: str) -> None:
        """Show the name of the part of the command that begins now."""
        self._text = text
        if self._live is not None:
            self._live.update(_plain(text))
        else:
            typer.echo(f"{self.command}: {text} ({time.perf_counter() - self._start:.1f} s)", err=True)

    def count(self, text: str, done: int, total: int) -> None:
        """Show that ``done`` of the ``total`` items of a part are done; ``text`` is the name of the part.

        In a terminal, the display is live; elsewhere, a line is printed at most every two seconds.
        """
        now = time.perf_counter()
        if self._live is not None:
            self._live.update(_plain(f"{text}: {done:,} of {total:,}"))
        elif done < total and now - self._said > _QUIET:
            self._said = now
            typer.echo(f"{self.command}: {text}: {done:,} of {total:,}", err=True)

    def _compiling(self, done: int, count: int) -> None:
        if self._live is not None:
            self._live.update(_plain(f"{self._text}: compiling kernels {done}/{count}"))


def _plain(text: str) -> str:
    """Escape square brackets, which rich would read as markup."""
    return text.replace("[", "\\[")
