"""Checks of options: each function returns the value in a plain Python type or raises ``OptionError``.

``name`` is what the error message calls the value, such as "SGD: momentum". The message states the allowed range.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np

from striate.errors import OptionError, StriateError, unknown_option

T = TypeVar("T")


def number(
    name: str,
    value: object,
    least: float = -math.inf,
    most: float = math.inf,
    *,
    above: float = -math.inf,
    below: float = math.inf,
) -> float:
    """Return ``value`` as a float if it is finite, least ≤ value ≤ most and above < value < below.

    Raises ``OptionError`` for other values, and for anything but a real number; a bool is not a number here. ``name``
    is what the message calls the value, such as "SGD: momentum".
    """
    if isinstance(value, Real) and not isinstance(value, bool):
        try:
            found = float(value)
        except OverflowError:
            found = math.inf
        if math.isfinite(found) and least <= found <= most and above < found < below:
            return found
    raise OptionError(f"{name}={value!r}; expected a finite number{_range(least, most, above, below)}")


def whole_number(name: str, value: object, least: int, most: int | None = None) -> int:
    """Return ``value`` as an int if it is a Python or NumPy integer with least ≤ value ≤ most.

    ``most`` None means no upper limit. Raises ``OptionError``, whose message calls the value ``name``, for anything
    else; a bool is not an integer here.
    """
    if isinstance(value, Integral) and not isinstance(value, bool):
        found = int(value)
        if found >= least and (most is None or found <= most):
            return found
    allowed = f"of {least} or more" if most is None else f"from {least} to {most:,}"
    raise OptionError(f"{name}={value!r}; expected a whole number {allowed}")


def whole_numbers(name: str, value: object, least: int) -> tuple[int, ...]:
    """Return ``value``, a sequence of integers of at least ``least``, as a tuple of ints.

    Raises ``OptionError``, whose message calls the value ``name``, for anything else, such as a single number or a
    text.
    """
    if isinstance(value, str | bytes) or not isinstance(value, Sequence | np.ndarray):
        raise OptionError(
            f"{name}={value!r:.60}; expected a sequence of whole numbers of {least} or more, such as (2, 3)"
        )
    given = cast("Sequence[object]", value)
    return tuple(whole_number(name, one, least) for one in given)


def seed(value: object) -> int:
    """Return ``value``, a seed of random numbers, as an int.

    Raises ``OptionError`` unless it is an integer from 0 to 2⁶⁴ − 1.
    """
    if isinstance(value, Integral) and not isinstance(value, bool) and 0 <= int(value) < 2**64:
        return int(value)
    raise OptionError(f"seed={value!r}; expected a whole number from 0 to 2⁶⁴ − 1")


def flag(name: str, value: object) -> bool:
    """Return ``value``, a Python or NumPy bool, as a Python bool.

    Raises ``OptionError``, whose message calls the value ``name``, for anything else, such as 0 or 1.
    """
    if value is True or value is False:
        return value
    if isinstance(value, np.bool_):
        return bool(value)  # pyright: ignore[reportUnknownArgumentType]
    raise OptionError(f"{name}={value!r}; expected True or False")


def path(name: str, value: object) -> Path:
    """Return ``value``, a path, as a ``pathlib.Path``.

    Raises ``OptionError``, whose message calls the value ``name``, unless it is a ``Path`` or a string that is not
    empty.
    """
    if isinstance(value, Path) or (isinstance(value, str) and value):
        return Path(value)
    raise OptionError(f"{name}={value!r}; expected a path, as text or pathlib.Path")


def choice(what: str, value: object, known: Iterable[str]) -> str:
    """Return ``value`` if it is one of the known names; otherwise raise ``OptionError``, which lists them.

    ``what`` is the kind of thing that the message calls unknown, such as "padding mode".
    """
    names = tuple(known)
    if isinstance(value, str) and value in names:
        return value
    raise unknown_option(what, value, names)


def require_instance(name: str, value: object, kind: type, example: str) -> None:
    """Raise ``OptionError`` unless ``value`` is an instance of the class ``kind``.

    The class itself is refused as well. ``name`` is what the message calls the value, and ``example`` a correct value
    as text, for the help line of the message.
    """
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        first = f"the {name} comes first; " if isinstance(value, str | Path) and kind.__name__ == "Module" else ""
        raise OptionError(
            f"{name}={value!r}; expected {article} {kind.__name__}\n  help: {first}give an object, such as {example}"
        )


def _range(least: float, most: float, above: float, below: float) -> str:
    """Return the limits that are finite as text for an error message, such as " from 0 to 1".

    Without finite limits the result is empty.
    """
    if math.isfinite(least) and math.isfinite(most):
        return f" from {least:g} to {most:g}"
    limits = (
        (least, f"of {least:g} or more"), (above, f"above {above:g}"),
        (most, f"at most {most:g}" if math.isfinite(above) else f"of {most:g} or less"), (below, f"below {below:g}"),
    )  # fmt: skip
    parts = [text for limit, text in limits if math.isfinite(limit)]
    return f" {' and '.join(parts)}" if parts else ""


def from_entries(make: Callable[..., T], entries: Mapping[str, Any], known: Iterable[str], what: str) -> T:
    """Return ``make(**entries)`` for entries that were read from a file.

    ``known`` are the names that ``make`` takes, and ``what`` says whose options they are. Raises ``OptionError`` for
    unknown names, and for values that ``make`` refuses or cannot use.
    """
    names = list(known)
    for name in entries:
        if name not in names:
            raise unknown_option(f"option of {what}", name, names)
    try:
        return make(**entries)
    except StriateError:
        raise
    except (TypeError, ValueError, ArithmeticError) as error:  # values of other types
        raise OptionError(f"options of {what}: {error}") from error
