"""The memory of a training step besides the model: gradients, pending statistics, optimizer state."""

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
    """The exponential moving averages of a model's parameters and buffers (running statistics)."""

    parameters: Companion
    buffers: Companion

    @classmethod
    def beside(cls, arena: StateArena) -> Average:
        """Create averages of the parameters and buffers of ``arena``; they start with its present contents."""
        average = cls(arena.like_parameters(), arena.like_buffers())
        average.parameters.flat[...] = arena.flat_parameters
        average.buffers.flat[...] = arena.flat_buffers
        return average

    def views(self) -> dict[str, Array]:
        """Return every average by the name of its parameter or buffer, as views (no copies)."""
        return {**self.parameters.views, **self.buffers.views}

    def swap(self, arena: StateArena, uses_average: Array, use: bool) -> None:
        """Exchange the averages with the parameters and buffers in ``arena``, and set ``uses_average`` to ``use``.

        ``uses_average`` is an array of shape (). A signal, such as Ctrl-C, cannot interrupt the exchange in the middle.
        """
        ours, theirs = self.parameters.flat, arena.flat_parameters
        our_buffers, their_buffers = self.buffers.flat, arena.flat_buffers
        before, buffers_before = np.array(ours), np.array(our_buffers)
        ours[...] = theirs
        theirs[...] = before
        our_buffers[...] = their_buffers
        their_buffers[...] = buffers_before
        uses_average[...] = use
        arena.version += 1


@dataclass(frozen=True)
class StepMemory:
    """The memory of a training step besides the model's state arena (its parameters and buffers).

    It belongs to one state arena, ``arena``; if the model gets another arena, a new memory is created.

        gradients  the gradients with respect to the trainable parameters
        pending    new contents of running statistics, until the update of the step is made
        optimizer  the optimizer's vectors by name, such as ``momentum_buffer``
        loss       the last loss, a scalar
        moved      what the last update added to each parameter; only during a watch, else None
        products   the optimizer's running products (such as powers of decay rates), one number per optimizer rule
        average    the moving averages, or None if the step keeps none
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
        """Restore the model's buffers (running statistics) and counters at the end of this ``with`` block."""
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
        """Create the memory of a step that trains the parameters in ``arena``.

        Optimizer vectors, products and averages are copied from ``former``, an earlier memory or None, if names and
        shapes agree. ``rules`` are the optimizer's rules, one for each parameter group. ``averages`` says whether
        moving averages are kept.
        """
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
