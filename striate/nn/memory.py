"""The memory of a model: one state arena that holds every parameter and buffer, and states written into it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from striate.dtypes import DType
from striate.errors import DTypeError, ShapeError
from striate.graph.value import Array
from striate.nn.initialization import drawn, generator
from striate.nn.parameter import Parameter, Role
from striate.state import StateArena


def placed(
    slots: Mapping[str, Parameter], dtype: DType, former: StateArena | None, seed: int, names: Mapping[int, str]
) -> StateArena:
    """An arena of all slots, which then live there: with what they held before, or drawn anew.

    ``former`` is given back where it still fits. ``names`` are those in the whole model, by the identity of a slot:
    they seed what is drawn, also where a part of a model runs first. Raises ``ShapeError`` for sizes that are not known
    yet, ``DTypeError`` for slots of several dtypes.
    """
    unknown = [f"{name} {slot.shape}" for name, slot in slots.items() if not slot.known]
    if unknown:
        raise ShapeError(
            f"sizes not known yet: {', '.join(unknown)}\n"
            "  help: call the model on data once, or model.infer((3, 32, 32)), or give the sizes instead of None"
        )
    others = [name for name, slot in slots.items() if slot.dtype.is_float and slot.dtype is not dtype]
    if others:
        raise DTypeError(
            f"{', '.join(others[:4])} of another dtype than the rest, which is {dtype.value}\n"
            "  help: model.float() or model.double() converts the whole model"
        )
    frozen = [name for name, slot in slots.items() if slot.learned and not slot.requires_grad]
    if former is not None and _fits(former, slots, dtype, frozen):
        return former
    arena = StateArena(
        {name: slot.sizes for name, slot in slots.items() if slot.learned},
        {name: slot.sizes for name, slot in slots.items() if slot.role is Role.BUFFER},
        [name for name, slot in slots.items() if slot.role is Role.COUNTER],
        dtype,
        frozen,
    )
    for name, view in arena.arrays.items():
        slot = slots[name]
        kept = slot.array if slot.array is not None else slot.start
        if kept is None:
            fan_in = slot.fan_in if slot.fan_in is not None else math.prod(slot.sizes[1:])
            seeded = names.get(id(slot), name)
            kept = drawn(slot.init, slot.sizes, fan_in, generator(seed, seeded), seeded)
        view[...] = kept
    for name, slot in slots.items():  # only now: nothing has moved where a draw was refused
        slot.array, slot.home = arena.arrays[name], arena
    return arena


def _fits(arena: StateArena, slots: Mapping[str, Parameter], dtype: DType, frozen: list[str]) -> bool:
    held = arena.arrays
    return (
        list(arena.frozen) == frozen
        and arena.dtype is dtype
        and held.keys() == slots.keys()
        and all(held[name] is slot.array for name, slot in slots.items())
    )


def write_state(slots: Mapping[str, Parameter], state: Mapping[str, Array], strict: bool) -> None:
    """Writes arrays into the slots of their names; nothing is written unless all of them fit.

    Raises ``ShapeError`` listing missing and unexpected names (``strict``) and wrong shapes.
    """
    arrays = {name: np.asarray(array) for name, array in state.items()}
    problems: list[str] = []
    if strict:
        missing = [name for name in slots if name not in arrays]
        unexpected = [name for name in arrays if name not in slots]
        problems += [f"missing: {', '.join(missing)}"] if missing else []
        problems += [f"unexpected: {', '.join(unexpected)}"] if unexpected else []
    for name, slot in slots.items():
        if name in arrays and not _same_shape(arrays[name].shape, slot.shape):
            problems.append(f"{name}: shape {arrays[name].shape}, the model has {slot.shape}")
    if problems:
        raise ShapeError("this state does not fit the model\n  " + "\n  ".join(problems))
    for name, slot in slots.items():
        if name not in arrays:
            continue
        if slot.array is None:
            slot.shape, slot.start = arrays[name].shape, np.array(arrays[name])
        else:
            slot.assign(arrays[name])


def _same_shape(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(b is None or a == b for a, b in zip(shape, wanted))
