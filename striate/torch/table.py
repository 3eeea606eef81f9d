"""The table of PyTorch functions and methods, by name, with the operations of striate that compute the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from striate.graph.value import Value


class Unsupported(Exception):  # noqa: N818 - a reason to leave work to PyTorch, not an error
    """Raised for work that striate cannot do as PyTorch does, so that PyTorch does it; the message says what it is."""


class Context(Protocol):
    """Protocol: the translation in progress, for functions that do more than compute a result, such as dropout."""

    def key(self) -> tuple[Value, int]:
        """Return (key, stream) for a new random operation.

        ``key`` is the graph input that seeds all of them, and ``stream`` a number that no other operation has.
        """
        ...

    def detach(self, x: Value) -> Value:
        """Return a value with the elements of x through which no gradient passes."""
        ...

    def update(self, old: Value, new: Value) -> None:
        """Record that the tensor whose value was ``old``, such as a running mean, is overwritten with ``new``."""
        ...


Translation = Callable[..., Any]
"""A function with the arguments of PyTorch's, but values of a graph in place of tensors.

It returns a value, a tuple of values, or a size. It raises ``Unsupported`` or an error of striate for arguments that it
does not cover.
"""

TRANSLATIONS: dict[str, Translation] = {}
"""Translations by name: ``conv2d`` of ``torch``, ``relu`` of ``torch.nn.functional``, ``view`` of ``torch.Tensor``."""
STATEFUL: dict[str, Translation] = {}
"""Translations whose first argument is the ``Context``."""


def translates(*names: str) -> Callable[[Translation], Translation]:
    """Add the decorated function to ``TRANSLATIONS`` under these names."""

    def add(function: Translation) -> Translation:
        TRANSLATIONS.update(dict.fromkeys(names, function))
        return function

    return add


def translates_with_context(*names: str) -> Callable[[Translation], Translation]:
    """Add the decorated function, whose first argument is the context, to ``STATEFUL`` under these names."""

    def add(function: Translation) -> Translation:
        STATEFUL.update(dict.fromkeys(names, function))
        return function

    return add


def require(condition: bool, what: str) -> None:
    """Raise ``Unsupported`` with the text ``what`` unless the condition holds."""
    if not condition:
        raise Unsupported(what)
