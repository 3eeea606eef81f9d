"""Writes many arrays into their places, or none of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

import numpy as np

from striate.errors import DTypeError, OptionError, ShapeError
from striate.graph.array import native, unmasked
from striate.graph.value import Array


def write_all(
    places: Mapping[str, Array],
    given: object,
    what: str,
    require: Callable[[str, Array], None] = lambda name, array: None,
) -> None:
    """Writes arrays into the places of their names; nothing is written unless all of them fit.

    ``what`` begins the messages. ``require`` takes a name and the array for it, and raises for contents that it
    refuses. Raises ``OptionError`` for other names, ``ShapeError`` for other shapes, ``DTypeError`` for what holds no
    real numbers, and for numbers that are finite only before they are converted.
    """
    if not isinstance(given, Mapping):
        raise OptionError(f"{what}: expected a mapping of names to arrays, not {given!r:.60}")
    found = cast("Mapping[str, object]", given)
    missing = [name for name in places if name not in found]
    unexpected = [str(name) for name in found if name not in places]
    if missing or unexpected:
        raise OptionError(
            f"{what}: other names than the model's\n  missing: {', '.join(missing) or 'none'}\n"
            f"  unexpected: {', '.join(unexpected) or 'none'}"
        )
    arrays = {name: native(unmasked(found[name], name), name) for name in places}
    wrong = [
        f"{name}: shape {array.shape}, expected {places[name].shape}"
        for name, array in arrays.items()
        if array.shape != places[name].shape
    ]
    if wrong:
        raise ShapeError(f"{what}: arrays that do not fit the model\n  " + "\n  ".join(wrong))
    for name, array in arrays.items():
        arrays[name] = _converted(array, places[name].dtype, name)
        require(name, arrays[name])
    for name, place in places.items():
        place[...] = arrays[name]


def _converted(array: Array, dtype: np.dtype[np.generic], name: str) -> Array:
    with np.errstate(over="ignore", invalid="ignore"):
        converted = array.astype(dtype, copy=False)
    lost = np.isfinite(array) & ~np.isfinite(converted)
    if lost.any():
        raise DTypeError(
            f"{name} holds {array[lost].flat[0]:g}, which exceeds {dtype}\n"
            "  help: model.double() gives the model float64"
        )
    return converted
