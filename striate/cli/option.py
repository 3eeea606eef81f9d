"""The options of a command of ``striate``: names, types, help texts and defaults, as its function declares them."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer
from typer.models import ArgumentInfo, OptionInfo

_KINDS = (bool, int, float, str, Path)


@dataclass(frozen=True)
class Option:
    """One parameter of a command.

    name     the name of the function's parameter, such as "batch_size"
    key      the long name of the option without its dashes, such as "batch-size", or the name of an argument
    kind     bool, int, float, str or Path
    help     what the option does, as a sentence
    default  the value if the option is not given; None: there is none, or it depends on the data
    usual    what the help shows in place of the default; "" if it shows the default itself
    """

    name: str
    key: str
    kind: type
    help: str
    default: Any
    usual: str


def options_of(command: Callable[..., Any]) -> list[Option]:
    """Return the options and arguments of a command, such as ``train``, in the order of its function's parameters."""
    function = inspect.unwrap(command)
    hints = typing.get_type_hints(function, include_extras=True)
    found: list[Option] = []
    for name, parameter in inspect.signature(function).parameters.items():
        info = next((one for one in typing.get_args(hints[name]) if isinstance(one, OptionInfo | ArgumentInfo)), None)
        if info is None:  # the context
            continue
        declared = info.param_decls[0] if info.param_decls else name.replace("_", "-")
        key = declared.partition("/")[0].lstrip("-")
        usual = info.show_default if isinstance(info.show_default, str) else ""
        kind = _kind(typing.get_args(hints[name])[0])
        found.append(Option(name, key, kind, info.help or "", parameter.default, usual))
    return found


def given_on_command_line(context: typer.Context, name: str) -> bool:
    """Return whether a parameter was given on the command line, rather than by a default or a file."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _kind(hint: Any) -> type:
    """Return the type of an option from its annotation, such as ``int`` from ``int | None``."""
    return next((kind for kind in (hint, *typing.get_args(hint)) if kind in _KINDS), str)
