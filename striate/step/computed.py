"""The batch whose gradients were computed last."""

from __future__ import annotations

from typing import NamedTuple

from striate.graph.value import Array
from striate.runtime.state import StateArena
from striate.step.gradients import GradientProgram


class Computed(NamedTuple):
    """The batch whose gradients were computed last, and the program that computed them.

    ``parts`` are its parts, as the program took them one after the other; ``arena`` and ``version`` are those of the
    model's memory at that time.
    """

    program: GradientProgram
    arrays: dict[str, Array]
    parts: list[dict[str, Array]]
    arena: StateArena
    version: int

    def belongs_to(self, arena: StateArena) -> bool:
        """Whether the model is unchanged since the gradients and the pending statistics were computed."""
        return self.arena is arena and self.version == arena.version
