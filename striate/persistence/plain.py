"""Conversion of dataclasses of numbers, text, lists and mappings to JSON, and back by their annotations.

Reading executes nothing. NaN and infinity, which JSON does not have, become text. Floats are read back exactly.
"""

from __future__ import annotations

import functools
import math
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np

from striate.errors import ModelFileError

T = TypeVar("T")


def to_plain(thing: object, leave_out: frozenset[str] = frozenset()) -> Any:
    """Convert ``thing`` to Python objects that ``json`` can write.

    ``thing`` is a dataclass, number, text, list, tuple, mapping or None. ``leave_out`` names fields of the outermost
    dataclass to omit. Raises ``TypeError`` for objects of other types.
    """
    if thing is None or isinstance(thing, bool | int | str):
        return thing
    if isinstance(thing, np.generic):
        return to_plain(cast("np.generic[Any]", thing).item())
    if isinstance(thing, float):
        return thing if math.isfinite(thing) else str(float(thing))
    if isinstance(thing, Mapping):
        return {str(key): to_plain(value) for key, value in cast("Mapping[object, object]", thing).items()}
    if isinstance(thing, list | tuple):
        return [to_plain(value) for value in cast("list[object]", thing)]
    if is_dataclass(thing) and not isinstance(thing, type):
        return {one.name: to_plain(getattr(thing, one.name)) for one in fields(thing) if one.name not in leave_out}
    raise TypeError(f"{type(thing).__name__} is not plain data")


def from_plain(kind: type[T], document: object, where: str) -> T:
    """Rebuild an object of type ``kind`` from ``document``, the result of ``to_plain`` for it.

    Raises ``ModelFileError``, whose message begins with ``where``, if the document does not fit the type.
    """
    return cast(T, read_as(kind, document, where))


def read_as(kind: Any, document: object, where: str) -> Any:
    """Rebuild an object of the annotated type ``kind``, such as ``dict[str, list[float]]``, from ``document``.

    Raises ``ModelFileError``, whose message begins with ``where``, if the document does not fit the type.
    """
    origin, given = get_origin(kind), get_args(kind)
    if kind is Any:
        return document
    if origin in (Union, types.UnionType):
        if document is None and type(None) in given:
            return None
        (kind,) = (one for one in given if one is not type(None))
        return read_as(kind, document, where)
    if kind is float:
        if isinstance(document, int | float) and not isinstance(document, bool):
            return float(document)
        if document in ("nan", "inf", "-inf"):
            return float(cast(str, document))
    elif kind in (int, str, bool):
        if type(document) is kind:
            return document
    elif origin in (list, tuple) and isinstance(document, list):
        items = cast("list[object]", document)
        if origin is list or given[-1] is ...:
            found = [read_as(given[0], one, where) for one in items]
            return found if origin is list else tuple(found)
        if len(items) == len(given):
            return tuple(read_as(one, item, where) for one, item in zip(given, items, strict=True))
    elif origin in (dict, Mapping) and isinstance(document, dict):
        entries = cast("dict[str, object]", document)
        return {key: read_as(given[1], value, f"{where}: {key[:80]}") for key, value in entries.items()}
    elif isinstance(kind, type) and is_dataclass(kind) and isinstance(document, dict):
        entries, hints = cast("dict[str, object]", document), _hints(kind)
        if unknown := set(entries) - {one.name for one in fields(kind)}:
            raise ModelFileError(f"{where}: unknown entry {min(unknown)[:80]!r}")
        try:
            return kind(**{name: read_as(hints[name], value, f"{where}: {name}") for name, value in entries.items()})
        except TypeError as error:  # an entry is missing
            raise ModelFileError(f"{where}: {error}") from error
    raise ModelFileError(f"{where}: not what a checkpoint contains")


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    """Return the annotations of a dataclass, cached because evaluating them is slow."""
    return get_type_hints(kind)
