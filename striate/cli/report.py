"""Output of commands: results, warnings, and errors without tracebacks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperCommand, TyperGroup, TyperOption

from striate.errors import EngineError, GraphError, NonFiniteError, StriateError
from striate.starting import INTERRUPTED

_OURS = (NonFiniteError, EngineError, GraphError)


def output() -> Console:
    """Standard output; created when it is needed, because tests replace the stream."""
    return Console(highlight=False)


def progress_output() -> Console:
    """Standard error, for progress bars that disappear at the end."""
    return Console(stderr=True)


def say_error(text: object) -> None:
    """Prints an error message to standard error."""
    typer.echo(f"error: {text}", err=True)


def say_note(text: object) -> None:
    """Prints a note to standard error."""
    typer.echo(text, err=True)


def say_warning(text: object) -> None:
    """Prints a warning to standard error, so that results can be piped."""
    typer.echo(f"warning: {text}", err=True)


def say_json(document: object) -> None:
    """Prints one JSON document to standard output."""
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False, default=str))


class Command(TyperCommand):
    """A command whose help shows no type beside a flag."""

    def get_params(self, ctx: Any) -> Any:
        return _without_type_of_flags(super().get_params(ctx))


class Commands(TyperGroup):
    """Turns exceptions of commands into messages and exit codes."""

    def invoke(self, ctx: Any) -> Any:
        return reported(super().invoke, ctx)

    def get_params(self, ctx: Any) -> Any:
        return _without_type_of_flags(super().get_params(ctx))


def _without_type_of_flags(parameters: list[Any]) -> list[Any]:
    """``--version``, not ``--version <bool>``."""
    for parameter in parameters:
        if isinstance(parameter, TyperOption) and parameter.is_flag:
            parameter.metavar = ""
    return parameters


def reported(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function; a ``StriateError`` becomes a message and an exit code."""
    try:
        return function(*arguments)
    except StriateError as error:
        say_error(error)
        raise typer.Exit(1 if isinstance(error, _OURS) else 2) from None
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
