"""Which bytes of the scratch arena each intermediate array gets, by the time for which it is needed."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

from striate.runtime.arena import ALIGNMENT

PAGE = 4096


@dataclass(frozen=True)
class Life:
    """Bytes wanted, and the first and last phase that touch them."""

    size: int
    first: int
    last: int


def lives(phases: Sequence[Sequence[Hashable]], sizes: Mapping[Hashable, int]) -> dict[Hashable, Life]:
    """The life of everything in ``sizes`` from the operands of each phase in order."""
    spans: dict[Hashable, tuple[int, int]] = {}
    for index, operands in enumerate(phases):
        for operand in operands:
            if operand in sizes:
                spans[operand] = (spans.get(operand, (index, index))[0], index)
    return {thing: Life(sizes[thing], *span) for thing, span in spans.items()}


def place(wanted: Mapping[Hashable, Life]) -> tuple[dict[Hashable, int], int]:
    """Offsets such that no two arrays that live at the same time overlap, and the bytes needed in all.

    Largest first, each at the lowest place that is free during its whole life.
    """
    order = sorted(wanted.items(), key=lambda item: (-item[1].size, item[1].first))
    placed: list[tuple[int, int, Life]] = []
    offsets: dict[Hashable, int] = {}
    total = 0
    for thing, life in order:
        step = PAGE if life.size >= PAGE else ALIGNMENT
        busy = sorted(
            (start, end) for start, end, other in placed if other.first <= life.last and life.first <= other.last
        )
        position = 0
        for start, end in busy:
            if start - position >= life.size:
                break
            position = max(position, -(-end // step) * step)
        offsets[thing] = position
        placed.append((position, position + life.size, life))
        total = max(total, position + life.size)
    return offsets, -(-total // PAGE) * PAGE
