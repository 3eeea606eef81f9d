"""The memory of a training step besides the parameters: gradients, pending statistics, the optimizer's vectors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from striate.graph.value import Array
from striate.runtime.state import Companion, StateArena, aligned_zeros


@dataclass(frozen=True)
class StepMemory:
    """Memory that belongs to one arena and is replaced together with it.

    ``optimizer`` are the optimizer's vectors by name. ``moved`` is what the last update added to each parameter; it
    exists only during a watch.
    """

    arena: StateArena
    gradients: Companion
    pending: Companion
    optimizer: dict[str, Companion]
    loss: Array
    moved: Companion | None

    @classmethod
    def beside(cls, arena: StateArena, vectors: Iterable[str], former: StepMemory | None) -> StepMemory:
        """New memory; the optimizer's vectors keep their contents from ``former`` if the shapes agree."""
        optimizer = {name: arena.like_parameters() for name in vectors}
        for vector, companion in optimizer.items() if former is not None else ():
            for name, view in companion.views.items():
                old = former.optimizer[vector].views.get(name) if former is not None else None
                if old is not None and old.shape == view.shape:
                    view[...] = old
        loss = aligned_zeros(1, arena.dtype).reshape(())
        return cls(arena, arena.like_parameters(), arena.like_buffers(), optimizer, loss, None)
