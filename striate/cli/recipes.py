"""The recipes: named files of options that come with striate, for ``striate train --recipe NAME``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from striate.cli.configuration import SUFFIX, configuration_of, read_configuration
from striate.cli.option import given_on_command_line, options_of
from striate.errors import OptionError, unknown_option

FOLDER = Path(__file__).parent.parent / "recipes"
NAMES = tuple(sorted(path.stem for path in FOLDER.glob(f"*{SUFFIX}")))
"""The names of the recipes; each is a file NAME.toml with options of ``striate train``."""


def with_recipe(context: typer.Context, value: str | None) -> str | None:
    """Read the options of a recipe as defaults of the command, and return its name, or None if none was given.

    This is the callback of ``--recipe``, which typer calls before it evaluates other options. Options that are given on
    the command line win over those of the recipe. Raises ``OptionError`` for an unknown name.
    """
    if value is not None and not context.resilient_parsing:
        function = context.command.callback
        assert function is not None
        context.default_map = {**(context.default_map or {}), **recipe_options(value, function)}
    return value


def require_data(context: typer.Context, recipe: str) -> None:
    """Raise ``OptionError`` if the argument DATA of the command cannot be used with the recipe.

    It cannot if DATA is a TOML file of options, or if DATA is not given and the recipe names no data set.
    """
    path = configuration_of(context)
    if path is not None:
        raise OptionError(
            f"--recipe {recipe} does not go with {path}\n  help: copy its lines into the file, or leave one out"
        )
    if "data" not in (context.default_map or {}) and not given_on_command_line(context, "data"):
        raise OptionError(f"the recipe {recipe} is for data of your own\n  help: striate train PATH --recipe {recipe}")


def recipe_options(name: str, command: Any) -> dict[str, Any]:
    """Return the options of a recipe by parameter name; ``command`` is the function of ``striate train``.

    Raises ``OptionError`` for an unknown name; the message lists the known names.
    """
    if name not in NAMES:
        raise unknown_option("recipe", name, NAMES)
    return read_configuration(FOLDER / f"{name}{SUFFIX}", options_of(command))
