"""Copies several arrays to their destinations: either all of them or none."""

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
    """Write each array in ``given`` to the array of the same name in ``places``: all, or none if one is invalid.

    ``what`` begins the error messages. ``require(name, array)`` may raise an error for contents that are not allowed.
    Raises ``OptionError`` if the names differ, ``ShapeError`` if a shape differs, and ``DTypeError`` for arrays that
    are not of real numbers, and for numbers that overflow the dtype of their destination.
    """
    if not isinstance(given, Mapping):
        raise OptionError(f"{what}: expected a mapping of names to arrays, not {given!r:.60}")
    found = cast("Mapping[str, object]", given)
    missing = [name for name in places if name not in found]
    unexpected = [str(name) for name in found if name not in places]
    if missing or unexpected:
        raise OptionError(
            f"{what}: the names are not those of the model\n  missing: {', '.join(missing) or 'none'}\n"
            f"  unexpected: {', '.join(unexpected) or 'none'}"
        )
    arrays = {name: native(unmasked(found[name], name), name) for name in places}
    wrong = [
        f"{name}: shape {array.shape}, expected {places[name].shape}"
        for name, array in arrays.items()
        if array.shape != places[name].shape
    ]
    if wrong:
        raise ShapeError(f"{what}: the shapes are not those of the model\n  " + "\n  ".join(wrong))
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
