"""Computes the loss and the gradients of a batch: at once, in parts one after the other, or on several ranks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from striate.distributed import Reduce
from striate.graph.value import Array, DType
from striate.step.accumulation import Sum, parts_of
from striate.step.batch import Batch
from striate.step.computed import Computed
from striate.step.gradients import GradientProgram
from striate.step.memory import StepMemory
from striate.step.prepared import PreparedStep
from striate.step.sample_weights import coefficients
from striate.step.shared_gradients import SharedGradients
from striate.step.sharing import SharedTotals, Sharing, divisor_of, pieces_of, places_of
from striate.step.training_graph import WEIGHT
from striate.tracing import KEY

_GOLDEN = 0x9E3779B97F4A7C15  # odd, so that multiplication by it is a bijection of 64-bit numbers
_SILVER = 0xD1B54A32D192ED03  # another one, for the parts of a batch


def random_key(seed: int, step: int, part: int = 0) -> Array:
    """Return the key of the random numbers of one run of a gradient program, int64 of shape ().

    ``seed`` is the seed of the training step, and ``step`` the number of updates so far. If gradients are accumulated,
    ``part`` is the number of the part of the batch.
    """
    mixed = (seed * _GOLDEN + step + 1) * _GOLDEN + part * _SILVER
    return np.array(mixed & (2**63 - 1), np.int64)


class BatchGradients:
    """Runs the gradient programs of a training step; the loss and the gradients are left in the step's memory.

    ``prepared`` has the memory and the programs. The attribute ``last`` is the batch that was computed last. If several
    ranks (processes) share each batch, the attribute ``shared`` runs the programs, and ``shared_totals`` has the number
    of samples and the totals of the last shared batch. These three attributes are None before the first batch.
    """

    def __init__(self, prepared: PreparedStep) -> None:
        self._prepared = prepared
        self._model, self._loss, self._options = prepared.model, prepared.loss, prepared.options
        self.last: Computed | None = None
        self.shared: SharedGradients | None = None
        self.shared_totals: SharedTotals | None = None

    def compute(self, batch: Batch) -> float:
        """Compute the loss and the gradients of a batch, and return the loss.

        The model is unchanged: new running statistics wait in the step's memory. Raises ``LabelError``, ``DataError``
        or ``ShapeError`` for data that do not fit the model or the loss.
        """
        sharing = self._options.sharing
        return self._compute_alone(batch) if sharing is None else self._compute_shared(batch, sharing)

    def _compute_alone(self, batch: Batch) -> float:
        """Compute a batch that belongs to this process alone, in as many parts as ``accumulate`` says."""
        prepared = self._prepared
        arrays, n = batch.arrays, batch.samples
        program = prepared.program_for(batch, -(-n // self._options.accumulate))
        if batch.tree is None:
            self._loss.check_target(arrays["y"], program.prediction)
        if batch.weights is not None:
            for name, require in program.contents:  # labels must be in range before they index the class weights
                require(arrays[name])
            factors = coefficients(batch.weights, self._loss, batch.main_target(arrays))
            arrays[WEIGHT] = factors.astype((self._model.dtype or DType.float32).numpy)
        parts = parts_of(arrays, self._options.accumulate)
        for verify in program.checks:
            for size in {len(part["x"]) for part in parts}:
                verify(size)
        memory = prepared.memory()
        # Statistics that this step does not update stay as they are.
        memory.pending.flat[...] = memory.arena.flat_buffers
        for place, part in enumerate(parts):
            if program.random:
                part[KEY] = self._key(place)
            for name, require in program.contents:
                require(part[name])
        if len(parts) == 1:
            program.executable.run(parts[0], n)
        else:
            self._accumulate(program, memory, batch, parts)
        self.last = Computed(program, arrays, parts, memory.arena, memory.arena.version, len(parts))
        if len(parts) == 1:
            self._observe(program, n)
        return float(memory.loss)

    def _accumulate(
        self, program: GradientProgram, memory: StepMemory, batch: Batch, parts: list[dict[str, Array]]
    ) -> None:
        """Run the parts of a batch; gradients and loss in memory become those of the whole batch."""
        total = Sum(self._loss, memory, WEIGHT in parts[0])
        with memory.arena_kept():
            for part in parts:
                program.executable.run(part, len(part["x"]))
                total.add(batch.main_target(part))
                self._observe(program, len(part["x"]))
                memory.arena.flat_buffers[...] = memory.pending.flat
                for name in program.counters:
                    memory.arena.counters[name][...] += 1
        total.finish()

    def _compute_shared(self, batch: Batch, sharing: Sharing) -> float:
        """Compute a batch that several ranks share; return the loss of the whole batch."""
        prepared = self._prepared
        kind = batch.kind, prepared.patterns
        if sharing.reduce is Reduce.FAST:  # this rank has one piece, so its divisor can travel with its size
            program = self._program_for_checked(batch, batch.samples)
            places, divisors = places_of(batch, kind, divisor_of(batch, slice(None), self._loss), sharing)
        else:
            places, _ = places_of(batch, kind, 0.0, sharing)
            program = self._program_for_checked(batch, places.largest)
            own = np.array([divisor_of(batch, rows, self._loss) for rows in places.slices])
            divisors = sharing.ranks.gather(own).reshape(-1)
        if not divisors.all() and divisors.any() and batch.weights is None:
            # The mean loss of a piece that has only ignored labels would be NaN. Weights need no such mean.
            batch = replace(batch, weights=np.ones(batch.samples))
            program = prepared.program_for(batch, places.largest)
        pieces = pieces_of(batch, places, self._loss, sharing, divisors, self._model.dtype or DType.float32)
        for piece in pieces:
            for verify in program.checks:
                verify(piece.n)
            if program.random:
                piece.arrays[KEY] = self._key()
        memory = prepared.memory()
        memory.pending.flat[...] = memory.arena.flat_buffers
        if self.shared is None or self.shared.program is not program:
            self.shared = SharedGradients(program, memory, sharing)
        self.shared.run(pieces)
        divisor, loss = float(divisors.sum()), float(memory.loss)
        self.shared_totals = SharedTotals(
            places.samples, loss * (1 if self._loss.reduction == "sum" else divisor), divisor
        )
        parts = [piece.arrays for piece in pieces]
        self.last = Computed(program, batch.arrays, parts, memory.arena, memory.arena.version)
        self._observe(program, sum(piece.n for piece in pieces))
        return loss

    def _program_for_checked(self, batch: Batch, n: int) -> GradientProgram:
        """Return the program for a batch that several ranks share, whose contents it has checked."""
        program = self._prepared.program_for(batch, n)
        if batch.tree is None:
            self._loss.check_target(batch.targets["y"], program.prediction)
        for name, require in program.contents:
            require(batch.arrays[name])
        return program

    def _observe(self, program: GradientProgram, n: int) -> None:
        if program.observation is not None:
            for watch in self._prepared.watches:
                watch.receive(program.observation, n)

    def _key(self, part: int = 0) -> Array:
        return random_key(self._options.seed, int(self._prepared.clock), part)
