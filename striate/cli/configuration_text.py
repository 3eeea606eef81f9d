"""Write the options of ``striate train`` as a TOML file, which ``striate train FILE.toml`` reads."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, cast

from striate.cli.option import Option
from striate.cli.panels import GROUP_OF, GROUPS

_WIDTH = 79
_ONCE = ("recipe", "resume", "allow_changes", "overwrite", "find_lr", "as_json")
"""Options of one command rather than of a training; they are not written."""
EXAMPLES: dict[str, Any] = {
    "model": "lenet5", "epochs": 20, "batch_size": 64, "lr": 0.05, "augment": "crop:4 flip", "momentum": 0.9,
    "weight_decay": 0.0005, "max_norm": 1.0, "clip_value": 0.5, "ema": 0.999, "class_weights": "balanced",
    "patience": 5, "threads": 2, "activation": "relu", "norm": "before_activation", "negative_slope": 0.1,
    "init": "he", "depth": 3, "width": 64, "size": 64, "resize": "stretch", "channels": 3, "held_out": 0.2,
    "on_error": "raise", "task": "classify", "kind": "signals", "label_column": "label", "group_column": "group",
    "ignore_columns": ["id", "date"], "window": 128, "stride": 64, "length": 100, "channels_last": True,
    "out": "runs/first", "weights": "runs/other", "freeze": ["conv1", "layer1*"],
}  # fmt: skip
"""Values for options that are not set and have no default, in the lines that are commented out."""


def configuration_text(
    options: Sequence[Option],
    values: Mapping[str, Any],
    head: Sequence[str],
    *,
    explained: bool = False,
    without: Sequence[str] = (),
) -> str:
    """Return a TOML document with the given values; those that are None are left out.

    options    the options of ``striate train``
    values     their values, by parameter name
    head       comments at the top, a line or paragraph each
    explained  whether each option gets a comment that says what it does; options without a value then appear too, as
               comments with their default or an example
    without    names of options to leave out
    """
    known = [one for one in options if one.name not in (*_ONCE, *without)]
    lines = [line for text in head for line in _comment(text)]
    for group in (None, *GROUPS):
        members = [one for one in known if GROUP_OF.get(one.name) == group]
        written = [one for one in members if explained or values.get(one.name) is not None]
        if not written:
            continue
        lines += ["", f"# ── {group} ──"] if group is not None else [""]
        for one in written:
            value = values.get(one.name)
            if explained:
                lines += _comment(_explanation(one))
            if value is not None:
                lines.append(f"{one.key} = {toml_value(value)}")
            else:
                example = one.default if one.default is not None else EXAMPLES[one.name]
                lines.append(f"#{one.key} = {toml_value(example)}")
    return "\n".join(lines) + "\n"


def toml_value(value: object) -> str:
    """Return a value in the notation of TOML: text in quotes, true and false, numbers, arrays."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, cast('list[object]', value)))}]"
    # JSON's strings are TOML's, but for DEL and for characters outside of the basic plane, which stay as they are.
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")


def _explanation(option: Option) -> str:
    """Return what an option does, with its default where that is not in the line below."""
    if option.name == "data":
        return "A name such as digits, or a path, relative to this file."
    text = option.help.rstrip(".")
    if option.usual:
        text += f" (default: {option.usual})"
    return f"{text}."


def _comment(text: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_long_words=False, break_on_hyphens=False
    ) or ["#"]
