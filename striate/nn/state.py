"""The memory of a model, and the loading of saved states.

All parameters and buffers of a model are in one block of memory, its state arena.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, cast

from striate.dtypes import DType
from striate.errors import DataError, DTypeError, EngineError, ShapeError, StriateError
from striate.graph.array import native, unmasked
from striate.graph.value import Array
from striate.nn.initialization import drawn, generator
from striate.nn.parameter import Parameter, Role
from striate.runtime.state import StateArena

_LISTED = 8  # the most names or problems that an error lists


class StateMismatch(NamedTuple):
    """The names that ``load_state_dict(strict=False)`` skipped.

    ``missing_keys`` are in the model but not in the state, ``unexpected_keys`` in the state but not in the model.
    """

    missing_keys: list[str]
    unexpected_keys: list[str]


def placed(
    parameters: Mapping[str, Parameter], dtype: DType, former: StateArena | None, seed: int, names: Mapping[int, str]
) -> StateArena:
    """Put all parameters and buffers into one block of memory, the state arena, and return it.

    ``parameters`` has the parameters and buffers by name, and ``dtype`` is their float dtype. Their arrays become views
    of the arena, and keep their contents; arrays without contents are drawn by their initializers. ``former`` is the
    previous arena, or None; if it has the same arrays, dtype and frozen parameters, it is returned unchanged. The
    random generator of each draw is seeded with ``seed`` and the parameter's name in the whole model, which ``names``
    maps from the parameter's id. Raises ``ShapeError`` for sizes that are not known yet, ``DTypeError`` for parameters
    of another float dtype, and ``EngineError`` if there is no memory for the arena.
    """
    unknown = [f"{name} {parameter.shape}" for name, parameter in parameters.items() if not parameter.known]
    if unknown:
        raise ShapeError(
            f"sizes not known yet: {', '.join(unknown)}\n"
            "  help: call the model on data once, or model.infer((3, 32, 32)), or give the sizes instead of None"
        )
    others = [
        name for name, parameter in parameters.items() if parameter.dtype.is_float and parameter.dtype is not dtype
    ]
    if others:
        raise DTypeError(
            f"{', '.join(others[:4])}: another dtype than the rest, which is {dtype.value}\n"
            "  help: model.float() or model.double() converts the whole model"
        )
    frozen = [name for name, parameter in parameters.items() if parameter.learned and not parameter.requires_grad]
    if former is not None and _fits(former, parameters, dtype, frozen):
        return former
    arena = _allocated(parameters, dtype, frozen)
    for name, view in arena.arrays.items():
        parameter = parameters[name]
        kept = parameter.current
        if kept is None:
            fan_in = parameter.fan_in if parameter.fan_in is not None else math.prod(parameter.sizes[1:])
            seeded = names.get(id(parameter), name)
            kept = drawn(parameter.init, parameter.sizes, fan_in, generator(seed, seeded), seeded)
        view[...] = kept
    for name, parameter in parameters.items():  # only now, so that a failing initializer leaves everything as it was
        parameter.array, parameter.loaded, parameter.arena = arena.arrays[name], None, arena
    return arena


def _allocated(parameters: Mapping[str, Parameter], dtype: DType, frozen: list[str]) -> StateArena:
    """Return a new arena for the parameters; raise ``EngineError``, which names the largest, if memory is missing."""
    try:
        return StateArena(
            {name: parameter.sizes for name, parameter in parameters.items() if parameter.learned},
            {name: parameter.sizes for name, parameter in parameters.items() if parameter.role is Role.BUFFER},
            [name for name, parameter in parameters.items() if parameter.role is Role.COUNTER],
            dtype,
            frozen,
        )
    except EngineError as error:
        sizes = {name: math.prod(parameter.sizes) for name, parameter in parameters.items()}
        largest = max(sizes, key=sizes.__getitem__)
        raise EngineError(f"{largest} {parameters[largest].sizes}: {error}") from error


def _fits(arena: StateArena, parameters: Mapping[str, Parameter], dtype: DType, frozen: list[str]) -> bool:
    """Return whether the arena still has the right arrays, dtype and set of frozen parameters."""
    arrays = arena.arrays
    return (
        list(arena.frozen) == frozen
        and arena.dtype is dtype
        and arrays.keys() == parameters.keys()
        and all(arrays[name] is parameter.array for name, parameter in parameters.items())
    )


def write_state(parameters: Mapping[str, Parameter], state: object, strict: bool) -> StateMismatch:
    """Copy the arrays of ``state`` into the parameters of the same names.

    If one array is invalid, nothing is written. Returns the names that were skipped: those missing in ``state``, and
    those not in ``parameters``. Raises ``ShapeError``, whose message counts the matching names and lists wrong shapes,
    contents that are not numbers and, with ``strict``, missing and unexpected names. Without ``strict``, the error is
    still raised if no name matches. Raises ``DataError`` or ``DTypeError`` unless ``state`` is a mapping of names to
    arrays.
    """
    arrays = _arrays_of(state)
    missing = [name for name in parameters if name not in arrays]
    unexpected = [name for name in arrays if name not in parameters]
    matched = len(arrays) - len(unexpected)
    if parameters and not matched:
        raise ShapeError(
            f"none of the {len(arrays)} names in this state is among the {len(parameters)} of the model\n"
            f"  state: {_listed(unexpected)}\n  model: {_listed(missing)}\n"
            "  help: rename the keys, as in {key.removeprefix('module.'): array for key, array in state.items()}"
        )
    shapes: list[str] = []
    problems: list[str] = []
    contents: dict[str, Array] = {}
    for name, parameter in parameters.items():
        if name in arrays:
            array = arrays[name]
            if not _same_shape(array.shape, parameter.shape):
                shapes.append(f"{name} {array.shape}, the model has {_shape_text(parameter.shape)}")
                continue
            try:
                contents[name] = parameter.contents(array, name)
            except StriateError as error:
                problems += [line.strip() for line in str(error).splitlines()]
    if shapes:
        problems = [_counted("of another shape", shapes, "; "), *problems]
    if strict:
        problems = [
            *([_counted("missing", missing)] if missing else []),
            *([_counted("unexpected", unexpected)] if unexpected else []),
            *problems,
        ]
    if problems:
        loose = strict and (missing or unexpected) and not shapes
        cure = "strict=False takes the names that match" if loose else "build the model with the sizes of the state"
        raise ShapeError(
            f"this state does not fit the model: {len(contents)} of its {len(parameters)} names matched\n  "
            + "\n  ".join(problems)
            + ("" if any(line.startswith("help:") for line in problems) else f"\n  help: {cure}")
        )
    for name, array in contents.items():
        parameter = parameters[name]
        if parameter.array is None:
            parameter.shape, parameter.loaded = array.shape, native(arrays[name], name).copy()
        elif parameter.array.dtype != parameter.dtype.numpy:  # the dtype was changed since the memory was allocated
            parameter.array, parameter.loaded = None, native(arrays[name], name).copy()
        else:
            parameter.array[...] = array
            if parameter.arena is not None:
                parameter.arena.changed()
    return StateMismatch(missing, unexpected)


def _arrays_of(state: object) -> dict[str, Array]:
    """Return the arrays of a state by name.

    Raises ``DataError`` or ``DTypeError`` for anything but named arrays.
    """
    if not isinstance(state, Mapping):
        raise DataError(
            f"a state is a mapping of names to arrays, not {state!r:.80}\n"
            "  help: model.state_dict() of a model, or safetensors.numpy.load_file(path) for a file"
        )
    found: dict[str, Array] = {}
    for name, array in cast("Mapping[object, object]", state).items():
        if not isinstance(name, str):
            raise DataError(f"a state is a mapping of names to arrays; {name!r:.80} is not a name")
        try:
            found[name] = unmasked(array, name)
        except DTypeError:
            raise
        except (TypeError, ValueError, RuntimeError) as error:
            raise DTypeError(f"{name}: cannot be read as an array: {error}\n  help: give NumPy arrays") from error
    return found


def _listed(names: list[str], separator: str = ", ") -> str:
    return separator.join(names[:_LISTED]) + (f" and {len(names) - _LISTED} more" if len(names) > _LISTED else "")


def _counted(what: str, names: list[str], separator: str = ", ") -> str:
    return f"{what} ({len(names)}): {_listed(names, separator)}"


def _shape_text(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('any' if size is None else str(size) for size in shape)}{',' * (len(shape) == 1)})"


def _same_shape(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(b is None or a == b for a, b in zip(shape, expected))
