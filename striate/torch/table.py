"""The table of translations to operations of striate, by the name of the PyTorch function or method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from striate.graph.value import Value


class Unsupported(Exception):  # noqa: N818 - a reason to leave work to PyTorch, not an error
    """Raised for work that is left to PyTorch, because striate cannot do it in the same way; the message says why."""


class Context(Protocol):
    """Protocol: what a translation may ask for besides its arguments, such as random numbers for dropout."""

    def key(self) -> tuple[Value, int]:
        """Return (key, stream) for a new random operation.

        ``key`` is the graph input that seeds all random operations, and ``stream`` a number that no other operation
        has.
        """
        ...

    def detach(self, x: Value) -> Value:
        """Return x as a new value through which no gradient passes, as ``torch.Tensor.detach`` does."""
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
    """Return a decorator that adds a function to ``TRANSLATIONS`` under these names of PyTorch functions."""

    def add(function: Translation) -> Translation:
        TRANSLATIONS.update(dict.fromkeys(names, function))
        return function

    return add


def translates_with_context(*names: str) -> Callable[[Translation], Translation]:
    """Return a decorator that adds a function to ``STATEFUL`` under these names of PyTorch functions.

    The function takes a ``Context`` as its first argument.
    """

    def add(function: Translation) -> Translation:
        STATEFUL.update(dict.fromkeys(names, function))
        return function

    return add


def require(condition: bool, what: str) -> None:
    """Raise ``Unsupported`` with the message ``what`` unless the condition holds."""
    if not condition:
        raise Unsupported(what)
