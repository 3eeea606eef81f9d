"""Checks of options: each returns the value that it is given, or raises ``OptionError`` with the allowed range."""

from __future__ import annotations

import math
from collections.abc import Iterable
from numbers import Integral, Real
from pathlib import Path

import numpy as np

from striate.errors import OptionError, unknown_option


def number(
    name: str,
    value: object,
    least: float = -math.inf,
    most: float = math.inf,
    *,
    above: float = -math.inf,
    below: float = math.inf,
) -> float:
    """Checks for a finite real number, least ≤ number ≤ most and above < number < below; a bool is not a number.

    ``name`` is its name in the error message, such as ``SGD: momentum``.
    """
    if isinstance(value, Real) and not isinstance(value, bool):
        found = float(value)
        if math.isfinite(found) and least <= found <= most and above < found < below:
            return found
    raise OptionError(f"{name}={value!r}; expected a finite number{_range(least, most, above, below)}")


def whole_number(name: str, value: object, least: int, most: int | None = None) -> int:
    """Checks for an integer of Python or NumPy, least ≤ number ≤ most; a bool is not a number."""
    if isinstance(value, Integral) and not isinstance(value, bool):
        found = int(value)
        if found >= least and (most is None or found <= most):
            return found
    allowed = f"of {least} or more" if most is None else f"from {least} to {most:,}"
    raise OptionError(f"{name}={value!r}; expected a whole number {allowed}")


def seed(value: object) -> int:
    """Checks for a seed of random numbers: 0 … 2⁶⁴ − 1."""
    if isinstance(value, Integral) and not isinstance(value, bool) and 0 <= int(value) < 2**64:
        return int(value)
    raise OptionError(f"seed={value!r}; expected a whole number from 0 to 2⁶⁴ − 1")


def flag(name: str, value: object) -> bool:
    """Checks for True or False."""
    if value is True or value is False:
        return value
    if isinstance(value, np.bool_):
        return bool(value)  # pyright: ignore[reportUnknownArgumentType]
    raise OptionError(f"{name}={value!r}; expected True or False")


def path(name: str, value: object) -> Path:
    """Checks for a path, given as text that is not empty or as a ``pathlib.Path``."""
    if isinstance(value, Path) or (isinstance(value, str) and value):
        return Path(value)
    raise OptionError(f"{name}={value!r}; expected a path, as text or pathlib.Path")


def choice(what: str, value: object, known: Iterable[str]) -> str:
    """Checks for one of the known names."""
    names = tuple(known)
    if isinstance(value, str) and value in names:
        return value
    raise unknown_option(what, value, names)


def require_instance(name: str, value: object, kind: type, example: str) -> None:
    """Raises ``OptionError`` for a value that is not an instance of the class, such as the class itself."""
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        raise OptionError(
            f"{name}={value!r}; expected {article} {kind.__name__}\n  help: give an object, such as {example}"
        )


def _range(least: float, most: float, above: float, below: float) -> str:
    if math.isfinite(least) and math.isfinite(most):
        return f" from {least:g} to {most:g}"
    limits = (
        (least, f"of {least:g} or more"), (most, f"of {most:g} or less"),
        (above, f"above {above:g}"), (below, f"below {below:g}"),
    )  # fmt: skip
    parts = [text for limit, text in limits if math.isfinite(limit)]
    return f" {' and '.join(parts)}" if parts else ""
