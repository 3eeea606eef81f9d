"""Call an operation or layer with one wrong argument at a time, and judge the error that it raises.

Nothing is compiled and nothing runs: a call that passes all checks ends in ``AcceptedError``.
"""

from __future__ import annotations

import inspect
import math
import re
import tracemalloc
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest

from striate.errors import EngineError, StriateError
from striate.nn import prediction
from striate.tracing import function as tracing_function

Arguments = tuple[tuple[Any, ...], dict[str, Any]]
MOST_BYTES = 64 << 20
"""What a call may allocate before it is refused or accepted; the sizes that it is asked for are far above."""
NEVER = ("nonsense", object(), {"a": 1}, math.nan, ["a"], b"1")
"""Values that no option takes, if its default is a number, a bool or None."""
LARGE = "00000000"
"""In the text of a value: a size above the memory at hand."""
PERHAPS = (
    None, True, -1, 0, 1.5, -(10**30), 10**30, 10**9, 10**400, math.inf, (), (1, 2), (1, 2, 3), [1], np.ones(2),
)  # fmt: skip
"""Values that some options take."""
DIALECT = re.compile(
    r"NoneType|has no attribute|unsupported operand|not subscriptable|object is not|must be real number|"
    r"cannot be interpreted|unhashable|broadcast_shapes|not iterable|<lambda>"
)
"""Words of Python's own errors, which say nothing to a user."""
WHERE = re.compile(r'(at "[^"]+" )?[a-z_0-9.]+( ?\(.*?\))?: ')
"""The beginning of an error: the layer, and the operation with its options."""
OUTSIDE = re.compile(r"expects (an? )?arrays?|different numbers of samples|[GM]iB of memory|the input of")
"""Errors about the arrays themselves, before they reach a layer."""
CURE = re.compile(r"help: |expected |known: |takes |must |choose |give |did you mean|from 0 to", re.IGNORECASE)


TERABYTES = "terabytes"
"""The description of an array that is a view of a few bytes, and would be terabytes if it were copied."""


class AcceptedError(Exception):
    """The arguments passed all checks."""


@pytest.fixture
def unprepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the compiler: graphs that are ready to be compiled raise ``AcceptedError``."""

    def accepted(*_: Any, **__: Any) -> Any:
        raise AcceptedError

    monkeypatch.setattr(tracing_function, "prepare", accepted)
    monkeypatch.setattr(prediction, "prepare", accepted)


def outcome(call: Callable[[], Any]) -> StriateError | None:
    """Return the error of a call, or None if it is accepted; other exceptions pass through."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
    except StriateError as error:
        return error
    except AcceptedError:
        return None
    return None


def judged(what: str, names: tuple[str, ...], call: Callable[[], Any], refused: bool, path: str = "") -> Iterator[str]:
    """Yield what is wrong with the outcome of a call.

    ``names`` are words of which the error has to contain one; ``refused`` says that the call has to fail. An error of a
    shape that is found inside a layer has to contain its ``path``.
    """
    allocated = 0
    try:
        if LARGE in what:  # tracing makes every call slower
            tracemalloc.start()
        error = outcome(call)
    except Exception as other:  # noqa: BLE001  the fault that is looked for
        yield f"{what}: {type(other).__name__}: {str(other)[:150]}"
        return
    finally:
        if tracemalloc.is_tracing():
            allocated = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
    if allocated > MOST_BYTES and not isinstance(error, EngineError):  # NumPy counts what the system refused, too
        yield f"{what}: allocates {allocated >> 20} MiB"
    if error is None:
        if refused:
            yield f"{what}: accepted"
        return
    text = str(error)
    outside = OUTSIDE.search(text)
    if not outside and not re.match(rf'(at ("[^"]+" )?)?{names[0]}\b', text):
        yield f"{what}: does not begin with {names[0]}: {text[:200]}"
    if path and path not in text and not outside:
        yield f"{what}: does not name the layer: {text[:200]}"
    if not CURE.search(text):
        yield f"{what}: does not say what helps: {text[:200]}"
    if DIALECT.search(text):
        yield f"{what}: speaks Python: {text[:200]}"


def wrong_options(signature: inspect.Signature, given: Arguments) -> Iterator[tuple[str, Arguments, bool]]:
    """Yield (description, arguments, whether they must be refused) with one option replaced by another value.

    Options are the parameters that do not hold arrays in the valid call.
    """
    bound = signature.bind(*given[0], **given[1])
    for parameter in signature.parameters.values():
        held = bound.arguments.get(parameter.name, parameter.default)
        if parameter.kind is parameter.VAR_KEYWORD or _holds_arrays(held):
            continue
        for value in (*NEVER, *PERHAPS):
            changed = signature.bind(*given[0], **given[1])
            changed.arguments[parameter.name] = (value,) if parameter.kind is parameter.VAR_POSITIONAL else value
            never = any(value is one for one in NEVER)
            yield f"{parameter.name}={value!r:.40}", (changed.args, changed.kwargs), never


def wrong_arrays(given: Arguments) -> Iterator[tuple[str, Arguments, bool]]:
    """Yield (description, arguments, whether they must be refused) with one array replaced by another."""
    for place, array in _arrays(given):
        for what, other, never in _others(array):
            yield f"array {place}: {what}", _with(given, place, other), never


def _others(array: np.ndarray) -> Iterator[tuple[str, Any, bool]]:
    if array.ndim:
        yield "one axis less", array[0], False
    yield "one axis more", array[None], False
    yield "nine axes", array.reshape(*[1] * (9 - array.ndim), *array.shape), False
    yield "no axes", array.reshape(-1)[0].reshape(()), False
    for axis in range(array.ndim):
        yield f"axis {axis} longer", np.concatenate([array, array.take([0], axis)], axis), False
        yield f"axis {axis} empty", array.take([], axis), False
    for dtype in ("int64", "bool", "float64", "float32", "uint8"):
        yield dtype, array.astype(dtype), False
    for dtype in (complex, object, str, "datetime64[s]"):
        yield str(dtype), array.astype(np.int64).astype(dtype), True
    sizes = [1 << 20] * min(3, array.ndim) + [1] * (array.ndim - 3)
    huge = np.broadcast_to(array.reshape(-1)[:1].reshape([1] * array.ndim), sizes)
    yield TERABYTES, huge, False


def _holds_arrays(thing: Any) -> bool:
    return isinstance(thing, np.ndarray) or (isinstance(thing, list | tuple) and any(map(_holds_arrays, thing)))


def _arrays(given: Arguments) -> list[tuple[tuple[Any, ...], np.ndarray]]:
    """Return the arrays of a call with their places."""
    found: list[tuple[tuple[Any, ...], np.ndarray]] = []

    def walk(thing: Any, place: tuple[Any, ...]) -> None:
        if isinstance(thing, np.ndarray):
            found.append((place, thing))
        elif isinstance(thing, list | tuple):
            for number, one in enumerate(thing):
                walk(one, (*place, number))
        elif isinstance(thing, Mapping):
            for name, one in thing.items():
                walk(one, (*place, name))

    walk(given, ())
    return found


def _with(thing: Any, place: tuple[Any, ...], value: Any) -> Any:
    """Return nested arguments with one of them replaced."""
    if not place:
        return value
    if isinstance(thing, Mapping):
        return {**thing, place[0]: _with(thing[place[0]], place[1:], value)}
    items = list(thing)
    items[place[0]] = _with(items[place[0]], place[1:], value)
    return type(thing)(items)
