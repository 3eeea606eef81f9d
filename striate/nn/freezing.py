"""Freezing of parameters, so that training does not change them, by patterns of their dotted names."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from striate.errors import OptionError

if TYPE_CHECKING:
    from striate.nn.module import Module

_LISTED = 8  # the most names that an error lists


def set_frozen(model: Module, patterns: tuple[str, ...], frozen: bool, statistics: bool) -> list[str]:
    """Freeze or unfreeze the parameters of ``model`` whose dotted names match one of the patterns.

    ``frozen`` is True to freeze them and False to unfreeze them. Without patterns, all parameters are meant. With
    ``statistics``, the running statistics of layers whose paths match are frozen or unfrozen as well. Returns the names
    of the parameters. Raises ``OptionError`` for a pattern that matches neither a parameter nor, with ``statistics``,
    the path of a layer; then nothing is changed.
    """
    learned = {name: parameter for name, parameter in model.named_state() if parameter.learned}
    layers = {path: module for path, module in model.named_modules() if path} if statistics else {}
    chosen: list[str] = []
    for pattern in patterns or ("*",):
        if not isinstance(pattern, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise OptionError(f"freeze({pattern!r}): expected a pattern of names\n  help: 'layer1*', or '*.bias'")
        found = [name for name in learned if _matches(name, pattern)]
        if not found and not any(_matches(path, pattern) for path in layers):
            shown = ", ".join(list(learned)[:_LISTED]) + (" …" if len(learned) > _LISTED else "")
            raise OptionError(f"freeze({pattern!r}) matches no parameter\n  help: the parameters are {shown}")
        chosen += found
    for name in chosen:
        learned[name].requires_grad = not frozen
    for path, layer in layers.items():
        if any(_matches(path, pattern) for pattern in patterns or ("*",)):
            layer.freeze_statistics(frozen)
    return list(dict.fromkeys(chosen))


def _matches(name: str, pattern: str) -> bool:
    """Return whether the pattern matches the name, or the path of a layer that contains it."""
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")
