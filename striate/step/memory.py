"""The memory of a training step besides the parameters: gradients, pending statistics, the optimizer's vectors."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from striate.graph.value import Array
from striate.optim.groups import Assignment
from striate.runtime.state import Companion, StateArena, aligned_zeros


@dataclass(frozen=True)
class Average:
    """The exponential moving average of the parameters and of the buffers (running statistics)."""

    parameters: Companion
    buffers: Companion

    @classmethod
    def beside(cls, arena: StateArena) -> Average:
        """New memory, filled with what the arena holds."""
        average = cls(arena.like_parameters(), arena.like_buffers())
        average.parameters.flat[...] = arena.flat_parameters
        average.buffers.flat[...] = arena.flat_buffers
        return average

    def views(self) -> dict[str, Array]:
        """Every array, by the name that it has in the model."""
        return {**self.parameters.views, **self.buffers.views}

    def swap(self, arena: StateArena) -> None:
        """Exchanges the contents with those of the arena."""
        for ours, theirs in (
            (self.parameters.flat, arena.flat_parameters), (self.buffers.flat, arena.flat_buffers),
        ):  # fmt: skip
            before = np.array(ours)
            ours[...] = theirs
            theirs[...] = before
        arena.changed()


@dataclass(frozen=True)
class StepMemory:
    """Memory that belongs to one arena and is replaced together with it.

    ``optimizer`` are the optimizer's vectors by name, and ``products`` its running products, with one number for each
    rule. ``average`` exists only if a moving average is kept. ``moved`` is what the last update added to each
    parameter; it exists only during a watch.
    """

    arena: StateArena
    gradients: Companion
    pending: Companion
    optimizer: dict[str, Companion]
    loss: Array
    moved: Companion | None
    products: dict[str, Array] = field(default_factory=dict[str, Array])
    average: Average | None = None

    @contextmanager
    def arena_kept(self) -> Generator[None]:
        """A ``with`` block after which the arena's statistics and counters are what they were before."""
        arena = self.arena
        places = [arena.flat_buffers, *arena.counters.values()]
        before = [np.array(place) for place in places]
        try:
            yield
        finally:
            for place, contents in zip(places, before, strict=True):
                place[...] = contents

    @classmethod
    def beside(cls, arena: StateArena, rules: Assignment, former: StepMemory | None, averages: bool) -> StepMemory:
        """New memory; vectors keep their contents from ``former`` where the shapes agree."""
        optimizer = {slot: arena.like_parameters() for slot in rules.kept()}
        for slot, companion in optimizer.items():
            for name, view in companion.views.items():
                view[...] = rules.rule_of(name).initial(slot)
            if former is not None and slot in former.optimizer:
                _keep(companion.views, former.optimizer[slot].views)
        products = {name: np.ones(len(rules.rules)) for name in rules.rules[0].products}
        average = Average.beside(arena) if averages else None
        if former is not None:
            _keep(products, former.products)
            if average is not None and former.average is not None:
                _keep(average.views(), former.average.views())
        loss = aligned_zeros(1, arena.dtype).reshape(())
        return cls(arena, arena.like_parameters(), arena.like_buffers(), optimizer, loss, None, products, average)


def _keep(places: Mapping[str, Array], former: Mapping[str, Array]) -> None:
    for name, place in places.items():
        if name in former and former[name].shape == place.shape:
            place[...] = former[name]
