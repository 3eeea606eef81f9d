"""Output of commands: results, warnings, and errors without tracebacks."""

from __future__ import annotations

import errno
import json
import sys
from collections.abc import Callable, Iterable
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperCommand, TyperGroup, TyperOption

from striate.cli.configuration import with_place
from striate.cli.panels import GROUP_OF
from striate.cli.wording import fitted, with_options
from striate.errors import EngineError, GraphError, NonFiniteError, StriateError
from striate.starting import INTERRUPTED
from striate.train.interruption import Terminated

_OURS = (NonFiniteError, EngineError, GraphError)
_SCARCE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}
"""Descriptors, memory and processes: any call may fail for lack of them."""


def output() -> Console:
    """Return a new console for the present standard output, which tests may have replaced."""
    return Console(highlight=False)


def progress_output() -> Console:
    """Return a console for standard error, for progress bars that disappear at the end."""
    return Console(stderr=True)


def say_error(text: object) -> None:
    """Print an error message to standard error."""
    typer.echo(fitted(f"error: {text}", sys.stderr), err=True)


def say_note(text: object) -> None:
    """Print a note to standard error."""
    typer.echo(fitted(str(text), sys.stderr), err=True)


def say_notes(notes: Iterable[str], context: typer.Context | None = None) -> None:
    """Print notes about the data to standard error.

    Python arguments in the notes are written as options of the command of ``context``; without a
    ``context`` they are left as they are.
    """
    options = set[str]() if context is None else {option for one in context.command.params for option in one.opts}
    for note in notes:
        say_note(f"note: {with_options(note, options)}")


def say_warning(text: object) -> None:
    """Print a warning to standard error, so that piped results stay clean."""
    typer.echo(fitted(f"warning: {text}", sys.stderr), err=True)


def say_json(document: object) -> None:
    """Print one JSON document to standard output."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))


class Command(TyperCommand):
    """A typer command whose help shows no type next to flags, and whose errors name options of the command line."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        # The lines of a docstring are those of the source; only its paragraphs are meant.
        self.help = "\n\n".join(" ".join(one.split()) for one in (self.help or "").split("\n\n"))

    def get_params(self, ctx: Any) -> Any:
        return _without_type_of_flags(super().get_params(ctx))

    def invoke(self, ctx: Any) -> Any:
        """Run the command; its errors name command-line options, such as ``--size``, in place of Python arguments."""
        try:
            return super().invoke(ctx)
        except StriateError as error:
            options = {option for one in self.params for option in one.opts}
            error.args = (with_options(str(error), options),)
            raise


class GroupedCommand(Command):
    """A command whose help lists its options in groups, and which can also read its options from a TOML file."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; errors about a value from a TOML file name the file and the line."""
        try:
            return super().invoke(ctx)
        except StriateError as error:
            error.args = (with_place(str(error), ctx),)
            raise

    def get_params(self, ctx: Any) -> Any:
        parameters = super().get_params(ctx)
        for one in parameters:
            if isinstance(one, TyperOption):
                one.rich_help_panel = GROUP_OF.get(one.name or "", one.rich_help_panel)
        return parameters


class Commands(TyperGroup):
    """A typer group that turns exceptions of its commands into error messages and exit codes."""

    def invoke(self, ctx: Any) -> Any:
        return reported(super().invoke, ctx)

    def get_params(self, ctx: Any) -> Any:
        return _without_type_of_flags(super().get_params(ctx))


def _without_type_of_flags(parameters: list[Any]) -> list[Any]:
    """Change flags so that the help shows ``--version`` instead of ``--version <bool>``."""
    for parameter in parameters:
        if isinstance(parameter, TyperOption) and parameter.is_flag:
            parameter.metavar = ""
    return parameters


def exit_code(error: BaseException) -> int:
    """Return the exit code for an exception: 2 for an error of the user, else 1."""
    return 2 if isinstance(error, StriateError) and not isinstance(error, _OURS) else 1


def reported(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function and return its result; turn a ``StriateError`` or Ctrl-C into an exit code.

    The message of a ``StriateError`` is printed. The exit code is 1 if the training or striate failed, or the system
    lacks memory or file descriptors; 2 for an error of the user; and 130 for Ctrl-C.
    """
    try:
        return function(*arguments)
    except StriateError as error:
        say_error(error)
        raise typer.Exit(exit_code(error)) from None
    except Terminated as ended:
        raise typer.Exit(ended.code) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except MemoryError as error:
        say_error(f"the system provides no more memory{f': {error}' if str(error) else ''}")
        raise typer.Exit(1) from None
    except OSError as error:
        if error.errno not in _SCARCE:
            raise
        say_error(f"{error.filename}: {error.strerror}" if error.filename else error.strerror)
        raise typer.Exit(1) from None
