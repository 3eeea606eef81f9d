"""Remembers the batch whose gradients were computed last, for the update and for error messages."""

from __future__ import annotations

from typing import NamedTuple

from striate.graph.value import Array
from striate.runtime.state import StateArena
from striate.step.gradients import GradientProgram


class Computed(NamedTuple):
    """The batch whose gradients were computed last, and the program that computed them.

    ``arrays`` are the inputs and targets by name; ``parts`` are the parts into which gradient accumulation split them;
    ``arena`` and ``version`` identify the contents of the model's memory when the gradients were computed. ``batches``
    is the number of parts by which the running statistics were updated, one part after the other.
    """

    program: GradientProgram
    arrays: dict[str, Array]
    parts: list[dict[str, Array]]
    arena: StateArena
    version: int
    batches: int = 1

    def belongs_to(self, arena: StateArena) -> bool:
        """Return whether the gradients were computed from the present contents of ``arena``, a model's memory."""
        return self.arena is arena and self.version == arena.version
