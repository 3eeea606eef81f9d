"""The memory and the compiled programs of a training step."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from striate.engine import Executable
from striate.nn.loss import Loss
from striate.nn.module import Module
from striate.optim.groups import Assignment, assign
from striate.optim.optimizer import Optimizer
from striate.step.batch import Batch
from striate.step.gradients import GradientProgram, prepare_gradients
from striate.step.memory import StepMemory
from striate.step.options import StepOptions
from striate.step.update import prepare_update
from striate.watch import Watch

_PROGRAMS = 8
"""The largest number of compiled gradient programs, for batches of different shapes; the oldest is dropped first."""


class PreparedStep:
    """The memory and the compiled programs of one training step, created when they are first needed.

    They belong to the arena in which the model keeps its parameters and running statistics. If the model gets another
    arena, they are created again. ``programs`` compute gradients, one for each kind of batch; ``update_program`` is
    None until there is memory. ``clock`` is the number of updates made so far, float64 of shape (); each update
    increases it. ``rules`` are the rules of the optimizer, one for each parameter group.
    """

    def __init__(self, model: Module, loss: Loss, optimizer: Optimizer, options: StepOptions) -> None:
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.options = options
        self.clock = np.zeros((), np.float64)
        self.programs: dict[object, GradientProgram] = {}
        self.update_program: Executable | None = None
        self.watches: list[Watch] = []
        self.rules = self._assigned()
        self._memory: StepMemory | None = None

    @property
    def has_memory(self) -> bool:
        """Whether the step's memory exists already."""
        return self._memory is not None

    @property
    def patterns(self) -> list[str]:
        """The patterns of layer and parameter names of all watches."""
        return [watch.pattern for watch in self.watches]

    def memory(self) -> StepMemory:
        """Return the step's memory; if the model has a new arena, memory and update program are created again."""
        arena = self.model.arena()
        former = self._memory
        if former is not None and former.arena is arena:
            return former
        self.programs.clear()
        self.rules = self._assigned()
        return self._keep(StepMemory.beside(arena, self.rules, former, averages=self.options.ema is not None))

    def _assigned(self) -> Assignment:
        learned = {name: parameter for name, parameter in self.model.named_state() if parameter.learned}
        ranks = {name: len(parameter.shape) for name, parameter in learned.items() if parameter.requires_grad}
        return assign(self.optimizer, ranks, learned)

    def _keep(self, memory: StepMemory) -> StepMemory:
        """Adopt memory and compile its update; during a watch, the update also returns what it adds."""
        memory = replace(memory, moved=memory.arena.like_parameters() if self.watches else None)
        options = self.options
        self.update_program = prepare_update(memory, self.rules, self.clock, options.clipping, options.ema)
        self._memory = memory
        return memory

    def add_watch(self, watch: Watch) -> None:
        """Make the programs compute the statistics of ``watch``, too; the programs are compiled again."""
        self.watches.append(watch)
        self._watches_changed()

    def remove_watch(self, watch: Watch) -> None:
        """Stop computing the statistics of ``watch``; does nothing if ``watch`` is not active."""
        if watch in self.watches:
            self.watches.remove(watch)
            self._watches_changed()

    def _watches_changed(self) -> None:
        self.programs.clear()
        if self._memory is not None and (self._memory.moved is None) is bool(self.watches):
            self._keep(self._memory)

    def program_for(self, batch: Batch, n: int) -> GradientProgram:
        """Return the program that computes the gradients of up to ``n`` samples of the same kind as ``batch``.

        Layer sizes that are still unknown are inferred from the shapes of the batch.
        """

        def key() -> object:
            return batch.kind, self.model.version, self.loss.version

        found = self.programs.get(key())
        if found is None or n > found.capacity:
            self._infer_sizes(batch)
            found = prepare_gradients(
                self.model,
                self.loss,
                self.memory(),
                batch,
                watch=self.patterns,
                capacity=max(n, self.options.capacity_of_program),
                precision=self.options.precision,
                sharing=self.options.sharing,
            )
            while len(self.programs) >= _PROGRAMS:
                del self.programs[next(iter(self.programs))]
            self.programs[key()] = found  # preparing may have assigned memory, which changes the version
        return found

    def _infer_sizes(self, batch: Batch) -> None:
        if any(not parameter.known for _, parameter in self.model.named_state()):
            self.model.infer(*(array.shape[1:] for array in batch.inputs.values()))
