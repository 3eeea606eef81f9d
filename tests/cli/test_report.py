"""Errors of commands: one line on standard error, and an exit code."""

from __future__ import annotations

import errno
import os

import pytest
import typer

from striate.cli.report import reported


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MemoryError(), "error: the system provides no more memory"),
        (MemoryError("for 3 GiB"), "error: the system provides no more memory: for 3 GiB"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE), "a.png"), f"error: a.png: {os.strerror(errno.EMFILE)}"),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), f"error: {os.strerror(errno.ENOMEM)}"),
    ],
)
def test_what_the_system_lacks_is_an_error(error: Exception, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(typer.Exit) as ended:
        reported(fail)
    assert ended.value.exit_code == 1
    assert capsys.readouterr().err.strip() == text
    with pytest.raises(FileNotFoundError):  # others keep their traceback
        reported(open, "/nonexistent/file")
