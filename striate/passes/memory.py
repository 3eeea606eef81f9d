"""Memory planning: gives arrays places in scratch memory so that no two in use at the same time overlap."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from striate.runtime.arena import ALIGNMENT

PAGE = 4096


@dataclass(frozen=True)
class Life:
    """The size of an array in bytes, and the indices of the first and the last phase (kernel launch) that use it."""

    size: int
    first: int
    last: int


def lives(phases: Sequence[Sequence[Hashable]], sizes: Mapping[Hashable, int]) -> dict[Hashable, Life]:
    """Return for each array its size, and the first and the last phase (kernel launch) that use it.

    ``phases`` are the operands of each phase in order. ``sizes`` are the bytes of the arrays to be placed; other
    operands are ignored, and arrays that no phase uses are left out.
    """
    first_and_last: dict[Hashable, tuple[int, int]] = {}
    for index, operands in enumerate(phases):
        for operand in operands:
            if operand in sizes:
                first_and_last[operand] = (first_and_last.get(operand, (index, index))[0], index)
    return {array: Life(sizes[array], *phases) for array, phases in first_and_last.items()}


def place(arrays: Mapping[Hashable, Life]) -> tuple[dict[Hashable, int], int]:
    """Return the offset in bytes of every array, by its key in ``arrays``, and the total number of bytes.

    Arrays that are in use at the same time share no memory. Arrays are placed from the largest to the smallest. Each
    goes to the lowest offset at which no array that is in use at the same time has been placed.
    """
    order = sorted(arrays.items(), key=lambda item: (-item[1].size, item[1].first))
    placed: list[tuple[int, int, Life]] = []
    offsets: dict[Hashable, int] = {}
    total = 0
    for array, life in order:
        step = PAGE if life.size >= PAGE else ALIGNMENT
        busy = sorted(
            (start, end) for start, end, other in placed if other.first <= life.last and life.first <= other.last
        )
        position = 0
        for start, end in busy:
            if start - position >= life.size:
                break
            position = max(position, -(-end // step) * step)
        offsets[array] = position
        placed.append((position, position + life.size, life))
        total = max(total, position + life.size)
    return offsets, -(-total // PAGE) * PAGE
