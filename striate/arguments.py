"""Errors for calls with wrong arguments: they suggest the nearest valid name, or what to write in striate instead.

Python itself says only "got an unexpected keyword argument". ``Explained`` is the metaclass of the public classes, and
``explained`` decorates public functions and methods. Neither costs anything as long as a call succeeds.
"""

from __future__ import annotations

import difflib
import inspect
import re
from abc import ABCMeta
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from striate import habits
from striate.errors import ArgumentError, StriateError

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
_EMPTY = inspect.Parameter.empty
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NAMED = re.compile(r"(at )?[A-Z]\w*\b[^ ]")
"""The beginning of a message that names a class, such as ``Conv2d: …`` or ``Linear(3, 0)…``."""
_GATHERED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Explained(ABCMeta):
    """Metaclass of classes that raise ``ArgumentError`` if their constructor is called with wrong arguments."""

    def __call__(cls: type[T], *arguments: Any, **options: Any) -> T:
        """Make an instance, as ``type.__call__`` does; raise ``ArgumentError`` if the arguments do not fit."""
        try:
            return super().__call__(*arguments, **options)  # type: ignore[misc]
        except TypeError:
            problem = _problem(cls.__name__, inspect.signature(cls), arguments, options)
            if problem is None:  # the error comes from inside of the constructor
                raise
        raise problem

    @property
    def __signature__(cls) -> inspect.Signature:
        """The signature of the constructor, which ``inspect`` would otherwise look for on the metaclass."""
        signature = inspect.signature(cls.__init__)
        return signature.replace(parameters=list(signature.parameters.values())[1:])


class Named(Explained):
    """Metaclass of layers: each error of a constructor begins with the name of the layer."""

    def __call__(cls: type[T], *arguments: Any, **options: Any) -> T:
        """Make an instance; if the message of an error does not begin with a class, put the name of ``cls`` before it.

        If a constructor makes other layers, the message names the innermost layer whose constructor failed.
        """
        try:
            return super().__call__(*arguments, **options)  # type: ignore[misc]
        except StriateError as error:
            if not _NAMED.match(str(error)):
                error.args = (f"{cls.__name__}: {error}",)
            raise


def explained(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function so that a call with arguments that do not fit raises ``ArgumentError``."""
    signature = inspect.signature(function)

    @wraps(function)
    def called(*arguments: P.args, **options: P.kwargs) -> R:
        try:
            return function(*arguments, **options)
        except TypeError:
            problem = _problem(function.__name__, signature, arguments, options)
            if problem is None:
                raise
        raise problem

    return called


def _problem(
    name: str, signature: inspect.Signature, arguments: tuple[Any, ...], options: Mapping[str, Any]
) -> ArgumentError | None:
    """Return a description of what is wrong with the arguments of a call; None if they fit the signature."""
    try:
        signature.bind(*arguments, **options)
    except TypeError as error:
        found = str(error)
    else:
        return None
    if next(iter(signature.parameters), "") == "self":  # of a method
        arguments = arguments[1:]
    known = {one.name: one for one in signature.parameters.values() if one.name != "self" and one.kind not in _GATHERED}
    unknown = next((option for option in options if option not in known), None)
    takes = _shown(name, known)
    if unknown is not None:
        return ArgumentError(_unknown(name, unknown, known) + f"\n  {takes}")
    places = [one.name for one in known.values() if one.kind in _POSITIONAL]
    twice = next((place for place, _ in zip(places, arguments, strict=False) if place in options), None)
    cure = habits.FIRST_ARGUMENTS.get(twice or "")
    if twice is not None:
        text = f"{name}: {twice} is given twice, by its place and by its name"
    elif len(arguments) > len(places):
        text = f"{name} takes {len(places)} argument{'s' * (len(places) != 1)} without a name, not {len(arguments)}"
        named = [one for one in known if one not in places]
        cure = f"give the others by name, such as {named[0]}=…" if named else None
    else:
        text, cure = f"{name}: {found}", habits.CONSTRUCTORS.get(name)
    return ArgumentError(text + f"\n  {takes}" + (f"\n  help: {cure}" if cure else ""))


def _unknown(name: str, option: str, known: Mapping[str, inspect.Parameter]) -> str:
    """Return the first lines of the error for an argument that does not exist."""
    text = f"{name} has no argument {option!r}"
    alias = next((one for one in habits.ALIASES.get(option, ()) if one in known), None)
    near = alias or next(iter(difflib.get_close_matches(option, known, n=1)), None)
    if alias is None and option in habits.ARGUMENTS:
        return f"{text}\n  help: {habits.ARGUMENTS[option]}"
    return f"{text}; did you mean {near!r}?" if near else text


def _shown(name: str, known: Mapping[str, inspect.Parameter]) -> str:
    """Return the line that lists the arguments, such as ``it takes lr, momentum=0.0, …``."""
    parts = [one.name if one.default is _EMPTY else f"{one.name}={_default(one.default)}" for one in known.values()]
    positional = sum(one.kind in _POSITIONAL for one in known.values())
    if 0 < positional < len(parts):
        parts.insert(positional, "*")
    return f"it takes {', '.join(parts) or 'no arguments'}"


def _default(value: object) -> str:
    text = repr(value)
    return "…" if text.startswith("<") or len(text) > 24 else text
