"""Read the options of ``striate train`` from a TOML file: one ``key = value`` for each option.

A key is the long name of an option without its dashes, such as ``batch-size``; ``data`` is the data set. Paths are
relative to the folder of the file.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import typer

from striate.cli.option import Option, options_of
from striate.data.catalog import KNOWN
from striate.errors import OptionError

SUFFIX = ".toml"
NOT_CONFIGURED = ("recipe", "resume", "allow_changes", "help")
"""Parameters of ``striate train`` that a file cannot set."""
LISTS = {"label_column": ",", "ignore_columns": ",", "freeze": ",", "size": "x"}
"""Options that may be arrays in the file, and what separates the elements on the command line."""
_NUMBERS = ("size", "checkpoint_every")
"""Options of text that may be whole numbers in the file."""
_LARGEST = 100_000
_MOST_DOTS = 200
_MOST_LIKE = 20  # lines that look like the beginning of one key
_READ = "striate.configuration"  # where the context of the command notes which file was read


def configured(context: typer.Context, value: str) -> str:
    """Return the data set for the argument DATA, whose text is ``value``.

    If ``value`` is the path of a TOML file, the options in the file become defaults of the command, and the file's
    entry ``data`` is returned. Any other text is returned unchanged. typer calls this before it evaluates other
    options. Raises ``OptionError``, with the file and the line, for a file with unknown options or wrong values.
    """
    if context.resilient_parsing or Path(value).suffix.lower() != SUFFIX:
        return value
    path = Path(value).expanduser()
    function = context.command.callback
    assert function is not None
    values = read_configuration(path, options_of(function))
    data = values.pop("data", None)
    if data is None:
        raise OptionError(f'{path}: no data\n  help: add the line data = "…", a path or a known name')
    context.default_map = {**(context.default_map or {}), **values}
    context.meta[_READ] = path
    return str(data)


def configuration_of(context: typer.Context) -> Path | None:
    """Return the path of the TOML file that the command has read its options from; None without such a file."""
    return cast("Path | None", context.meta.get(_READ))


def with_place(message: str, context: typer.Context) -> str:
    """Return an error message about an option, preceded by the file and line of this option.

    The message is unchanged if no TOML file was read, or if the message does not name an option in the file with its
    value.
    """
    path = configuration_of(context)
    if path is None:
        return message
    first, newline, rest = message.partition("\n")
    words = set(re.findall(r"[\w.-]+", first.replace("--", " ").replace("_", "-")))
    text = _text(path)
    for key, value in _parsed(text).items():
        if key in words and not isinstance(value, Mapping) and str(value).replace("_", "-") in words:
            return f"{path}, line {line_of(text, key)}: {first}{newline}{rest}"
    return message


def read_configuration(path: Path, options: Sequence[Option]) -> dict[str, Any]:
    """Return the options in a TOML file, by parameter name, in the form in which the command line gives them.

    Raises ``OptionError`` for a file that cannot be read, for unknown keys, and for values of a wrong type; the message
    names the key and its line.
    """
    text = _text(path)
    try:
        document = _parsed(text)
    except tomllib.TOMLDecodeError as error:
        raise OptionError(_syntax(path, str(error))) from error
    known = {one.key: one for one in options if one.name not in NOT_CONFIGURED}
    values: dict[str, Any] = {}
    for key, value in document.items():
        where = f"{path}, line {line_of(text, key)}"
        option = known.get(key)
        if option is None or isinstance(value, Mapping):
            raise _unknown(where, key, isinstance(value, Mapping), list(known))
        values[option.name] = _placed(option.name, _converted(where, option, value), path.parent)
    return values


def _parsed(text: str) -> dict[str, Any]:
    """Parse TOML; raises ``tomllib.TOMLDecodeError`` also for nesting and numbers that Python does not convert."""
    if any(line.count(".") > _MOST_DOTS for line in text.splitlines()):  # tomllib's memory grows with their square
        raise tomllib.TOMLDecodeError("a line with too many dots")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise tomllib.TOMLDecodeError("nested too deep") from error
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as error:
        raise tomllib.TOMLDecodeError(str(error)) from error


def line_of(text: str, key: str) -> int:
    """Return the number of the line, from 1, in which a key or table at the top level of a TOML text begins.

    A line that merely looks the same, inside a multi-line string or array, is skipped. Returns 1 if no line is found.
    """
    lines, tried = text.splitlines(), 0
    name = rf"(?:{re.escape(key)}|\"{re.escape(key)}\"|'{re.escape(key)}')"
    begins = re.compile(rf"\s*(?:\[\[?\s*)?{name}\s*[.=\]]")
    for number, line in enumerate(lines, 1):
        if begins.match(line) and tried < _MOST_LIKE:
            tried += 1
            try:
                before = _parsed("\n".join(lines[: number - 1]))
            except tomllib.TOMLDecodeError:
                continue
            if key not in before:
                return number
    return 1


def _text(path: Path) -> str:
    """Return the text of a file; raises ``OptionError`` for a file that cannot be read as UTF-8."""
    try:
        if path.stat().st_size > _LARGEST:
            raise OptionError(f"{path}: larger than {_LARGEST // 1000} kB; not a configuration")
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise OptionError(
            f"{path}: no such file\n  help: striate init PATH writes a configuration for the data at PATH"
        ) from error
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise OptionError(f"{path}, line {line}: not UTF-8 text\n  help: save the file as UTF-8") from error
    except OSError as error:
        raise OptionError(f"{path}: cannot be read: {error.strerror or error}") from error


def _syntax(path: Path, message: str) -> str:
    """Return the message about text that is not TOML, with its line in the usual place."""
    found = re.fullmatch(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", message, re.DOTALL)
    problem = found[1] if found else message
    where = f"{path}, line {found[2]}" if found and found[2] else str(path)
    return (
        f"{where}: not TOML: {problem[:1].lower()}{problem[1:]}\n"
        '  help: each line is key = value; text needs quotes, as in model = "lenet5"'
    )


def _unknown(where: str, key: str, is_table: bool, known: list[str]) -> OptionError:
    """Return the error about a key that is not an option, with the one that is spelled most alike."""
    if is_table:
        return OptionError(
            f"{where}: [{key}] is a table; a configuration has none\n"
            "  help: write each option as key = value, before any line in brackets"
        )
    if key in NOT_CONFIGURED or key.replace("-", "_") in NOT_CONFIGURED:
        return OptionError(f"{where}: {key} is for the command line only\n  help: remove the line")
    near = difflib.get_close_matches(key.replace("_", "-").lower(), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return OptionError(f"{where}: unknown option {key!r}{hint}\n  help: striate train --help lists the options")


def _converted(where: str, option: Option, value: object) -> Any:
    """Return the value as the command line takes it; raises ``OptionError`` for a value of another type."""
    if option.name in LISTS and isinstance(value, list):
        parts = cast("list[object]", value)
        if parts and all(isinstance(one, str | int) and not isinstance(one, bool) for one in parts):
            return LISTS[option.name].join(map(str, parts))
    types, words = _form(option)
    given = cast("object", value)
    if isinstance(given, bool) != (types == (bool,)) or not isinstance(given, types):
        raise OptionError(f"{where}: {option.key} = {_shown(given)}; expected {words}")
    return str(given) if str in types else given


def _form(option: Option) -> tuple[tuple[type, ...], str]:
    """Return what an option may be in a TOML file, as Python types and in words."""
    if option.kind is bool:
        return (bool,), "true or false"
    if option.kind is int:
        return (int,), "a whole number"
    if option.kind is float:
        return (int, float), "a number"
    if option.name in _NUMBERS:
        return (str, int), "text in quotes or a whole number"
    return (str,), "text in quotes" + (", or an array of texts" if option.name in LISTS else "")


def _shown(value: object) -> str:
    """Return a value as the user wrote it, or nearly so."""
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value:.60}"' if isinstance(value, str) else f"{value!r:.60}"


def _placed(name: str, value: Any, folder: Path) -> Any:
    """Return the value with a path relative to the working folder, if the option is a path."""
    if name not in ("data", "out", "weights") or (name == "data" and value in KNOWN):
        return value
    return str(folder / Path(str(value)).expanduser())
