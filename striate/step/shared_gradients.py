"""Computes the gradients of a batch that several ranks (processes) share.

    program     ├ forward ───── ┤ exchange │ … ├ backward ─────────┼──────────┼──────────┤
    gradients                                                 bucket 0   bucket 1   bucket 2
    the network       statistics of batch normalization            └ sums over ranks while the program goes on ┘

The program stops at the kernels of batch normalization that exchange statistics, if it is synchronized, and wherever a
*bucket*, a contiguous part of all gradients, is complete. In fast mode, the sum of a bucket over the ranks then begins,
and further stops of the program let the communication make progress. In exact mode, each rank divides its samples into
pieces and runs them side by side. At the end the gradients of all pieces are added, in the order that
``distributed.pieces`` defines.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from striate.distributed import Pending, Reduce
from striate.distributed.pieces import sum_over_ranks, tree_sum
from striate.engine import SharedExecutable, shared
from striate.graph.graph import OutputKind
from striate.graph.value import Array
from striate.ops.kernels.exchange import Exchange, Merge
from striate.runtime.state import aligned_zeros
from striate.step.gradients import GradientProgram
from striate.step.memory import StepMemory
from striate.step.sharing import Piece, Sharing
from striate.step.training_graph import LOSS, gradient_name, statistic_name

_SHARE = 3
"""A bucket has at least 1 / 3 of the gradients that are in no bucket yet. So buckets become smaller towards the end of
the backward pass, where little computation remains that could hide their sums."""
_SMALLEST = 1 << 18
"""The least number of bytes of a bucket, except the only one."""
_PROGRESS = 2e-3
"""Seconds after which a pending sum is given the chance to make progress."""
_FIRST_PROGRESS, _TIMED = 4, 3
"""The number of phases after which this happens in the first three runs, which are timed."""
_SHORT = 1 << 15
"""The bytes that a network card sends in about the time of one latency: 25 KB with 1 Gbit/s and 0.2 ms, 62 KB with
10 Gbit/s and 50 µs, 38 KB with 100 Gbit/s and 3 µs."""


def gathers(ranks: int, size: int) -> bool:
    """Return whether, in fast mode, every rank gets the arrays of all ranks and adds them up itself.

    Otherwise, MPI adds the arrays up. ``ranks`` is the number of ranks (processes), and each array has ``size`` bytes.
    Sending all arrays to all ranks costs about one latency and the time for ranks · size bytes. The sum by MPI costs 2
    ⌈log₂ ranks⌉ latencies.
    """
    return (ranks - 1) * size <= 2 * math.ceil(math.log2(ranks)) * _SHORT


@dataclass(frozen=True)
class Bucket:
    """The elements ``start`` to ``stop`` − 1 of the vector of all gradients.

    They are complete after the first ``end`` phases (kernel launches) of the gradient program.
    """

    start: int
    stop: int
    end: int


@dataclass(frozen=True)
class Outcome:
    """The arrays to which the gradient program writes for one piece of a batch: gradients, new statistics, and loss.

    ``gradients`` is the vector of all gradients, and ``statistics`` are the new running statistics by name.
    """

    gradients: Array
    statistics: dict[str, Array]
    loss: Array


class SharedGradients:
    """Runs the gradient program of a training step on this rank's pieces of a batch, together with all other ranks.

    A rank is a process, and a piece is a part of the batch. The results are written to ``memory``, the memory of the
    training step. ``sharing`` says how the ranks divide a batch and merge their results.
    """

    def __init__(self, program: GradientProgram, memory: StepMemory, sharing: Sharing) -> None:
        self.program = program
        self._memory, self._sharing = memory, sharing
        first = shared(program.executable)
        self._runners: list[SharedExecutable] = [first]
        self._updated = sorted(program.graph.outputs_of(OutputKind.STATISTIC))
        pending = {name: memory.pending.views[name] for name in self._updated}
        self._outcomes = [Outcome(memory.gradients.flat, pending, memory.loss)]
        self._watched: list[dict[str, Array]] = []  # statistics for watches of all pieces but the first
        self._exchanges = dict(first.exchanges())
        self.buckets = _buckets(program, memory, first) if sharing.reduce is Reduce.FAST else []
        self._ends = self._stops(_FIRST_PROGRESS)
        self._times: list[float] = []

    def _stops(self, phases: int) -> list[int]:
        """Return the numbers of phases after which the program stops, in increasing order.

        While sums may be pending, there are no more than ``phases`` phases between two stops.
        """
        needed = sorted({*(bucket.end for bucket in self.buckets), *self._exchanges})
        if not self.buckets:
            return needed
        first, found = min(bucket.end for bucket in self.buckets), needed[:1]
        for before, end in pairwise(needed):
            found += [*(range(before + phases, end, phases) if before >= first else ()), end]
        return found

    def _space_stops(self, seconds: float) -> None:
        """Learn from the first runs, one of which took ``seconds``, how many phases take ``_PROGRESS`` seconds."""
        self._times.append(seconds)
        if self.buckets and len(self._times) == _TIMED:
            self._ends = self._stops(max(1, round(_PROGRESS * max(self._ends) / min(self._times))))

    def run(self, pieces: Sequence[Piece]) -> None:
        """Compute this rank's ``pieces`` of a batch, and merge the results of all ranks in the step's memory.

        A rank is a process, and a piece is a part of the batch. The memory then has the loss, the gradients and the new
        statistics of the whole batch. All ranks must call this method.
        """
        while len(self._runners) < len(pieces):
            self._add_runner()
        start = time.perf_counter()
        runs = [runner.run_in_parts(piece.arrays, piece.n, self._ends) for runner, piece in zip(self._runners, pieces)]
        waiting: list[Pending] = []
        try:
            for end in self._ends:
                for run in runs:
                    next(run)
                if end in self._exchanges:
                    self._merge(self._exchanges[end], end, len(pieces))
                for bucket in self.buckets:
                    if bucket.end == end:
                        part = self._memory.gradients.flat[bucket.start : bucket.stop]
                        waiting.append(self._sharing.ranks.start_sum(part))
                waiting = [one for one in waiting if not one.test()]
            for run in runs:
                next(run, None)
            if len(self._times) < _TIMED:
                self._space_stops(time.perf_counter() - start)
            self._finish_small(pieces)
            if self.program.observation is not None and len(pieces) > 1:
                self.program.observation.merge(self._watched[: len(pieces) - 1], [piece.n for piece in pieces])
            if self._sharing.reduce is Reduce.EXACT:
                self._add_exactly(len(pieces))
        finally:
            for run in runs:
                run.close()
            for one in waiting:
                one.wait()

    def _add_runner(self) -> None:
        """Create a program with memory of its own for one more piece that is computed beside the others."""
        arena = self._memory.arena
        gradients, pending = arena.like_parameters(), arena.like_buffers()
        loss = aligned_zeros(1, arena.dtype).reshape(())
        results = {name: np.empty_like(array) for name, array in self.program.results.items()}  # of watches
        results[LOSS] = loss
        results |= {
            gradient_name(name): gradients.views[name] for name in self.program.graph.outputs_of(OutputKind.GRADIENT)
        }
        results |= {statistic_name(name): pending.views[name] for name in self._updated}
        self._runners.append(self._runners[0].twin(results))
        if self.program.observation is not None:
            self._watched.append({name: results[name] for name in self.program.observation.places})
        statistics = {name: pending.views[name] for name in self._updated}
        self._outcomes.append(Outcome(gradients.flat, statistics, loss))

    def _merge(self, exchange: Exchange, end: int, pieces: int) -> None:
        """Replace the results of a kernel that exchanges statistics by those of all pieces on all ranks."""
        places = [runner.exchanged(end) for runner in self._runners[:pieces]]
        own = np.array([np.concatenate(views, dtype=np.float64) for views in places])
        if exchange.merge is Merge.SUM:
            merged = self._added(own)
        elif self._gathers(own):
            merged = merged_moments(self._gathered(own))
        else:
            merged = moments_of(self._added(power_sums(own)))
        for views in places:
            start = 0
            for view in views:
                view[...] = merged[start : start + view.size]
                start += view.size

    def _finish_small(self, pieces: Sequence[Piece]) -> None:
        """Add the losses, and average the new running statistics, over all pieces on all ranks."""
        outcomes = self._outcomes[: len(pieces)]
        own = np.array([
            np.concatenate([
                [float(outcome.loss)],
                *(outcome.statistics[name].reshape(-1).astype(np.float64) * piece.weight for name in self._updated),
            ])
            for outcome, piece in zip(outcomes, pieces, strict=True)
        ])  # fmt: skip
        total = self._added(own)
        memory, place = self._memory, 1
        memory.loss[...] = total[0]
        for name in self._updated:
            view = memory.pending.views[name]
            view[...] = total[place : place + view.size].reshape(view.shape)
            place += view.size

    def _gathered(self, own: Array) -> Array:
        """Return the rows of all ranks, in the order of the pieces; ``own`` are those of this rank's pieces."""
        return self._sharing.ranks.gather(own.reshape(-1)).reshape(-1, own.shape[1])

    def _gathers(self, own: Array) -> bool:
        """Whether the ranks send each other small arrays such as ``own``, instead of having them added up."""
        sharing = self._sharing
        return sharing.reduce is Reduce.EXACT or gathers(sharing.ranks.size, own.nbytes)

    def _added(self, own: Array) -> Array:
        """Return the sum of the rows of all ranks; if they are gathered, it is added in the order of the pieces."""
        if self._gathers(own):
            return self._gathered(own).sum(axis=0)
        total = own.sum(axis=0)
        self._sharing.ranks.start_sum(total).wait()
        return total

    def _add_exactly(self, pieces: int) -> None:
        total = tree_sum([outcome.gradients for outcome in self._outcomes[:pieces]])
        flat = self._memory.gradients.flat
        if total is not flat:
            flat[...] = total
        sum_over_ranks(flat, self._sharing.ranks)


def merged_moments(every: Array) -> Array:
    """Return the mean and variance of all values of each channel, merged from those of the pieces of a batch.

    ``every`` (pieces, 2C + 1) has one row for each piece: the means of C channels, their biased variances, and the
    number of values of a channel. The result (2C + 1,) is such a row for all pieces together. Both arrays are float64.
    See ``ops.synchronized.MomentsOverRanks`` for the equations.
    """
    channels = every.shape[1] // 2
    count = every[:, -1:]
    mean, variance = every[:, :channels], every[:, channels:-1]
    total = count.sum()
    merged = (count * mean).sum(axis=0) / total
    spread = (count * (variance + (mean - merged) ** 2)).sum(axis=0) / total
    return np.concatenate([merged, spread, [total]])


def power_sums(every: Array) -> Array:
    """Return for each piece of a batch Σ x and Σ x² of C channels and the number of values, float64 (pieces, 2C + 1).

    These sums can be added over the pieces of all ranks. ``every`` has the means, variances and numbers of the pieces,
    as in ``merged_moments``.
    """
    channels = every.shape[1] // 2
    count, mean, variance = every[:, -1:], every[:, :channels], every[:, channels:-1]
    return np.concatenate([count * mean, count * (variance + mean**2), count], axis=1)


def moments_of(sums: Array) -> Array:
    """Return the means of C channels, their biased variances, and the number of values, float64 (2C + 1,).

    ``sums`` (2C + 1,) is the total of the rows that ``power_sums`` returns for all pieces.
    """
    channels, count = len(sums) // 2, sums[-1:]
    mean = sums[:channels] / count
    return np.concatenate([mean, np.maximum(sums[channels:-1] / count - mean**2, 0), count])


def _buckets(program: GradientProgram, memory: StepMemory, executable: SharedExecutable) -> list[Bucket]:
    """Divide the vector of all gradients into buckets, in the order in which the backward pass completes them."""
    flat = memory.gradients.flat
    base, width = flat.__array_interface__["data"][0], flat.itemsize
    starts = {
        name: (view.__array_interface__["data"][0] - base) // width for name, view in memory.gradients.views.items()
    }
    ends = {name: executable.completed(gradient_name(name)) for name in program.graph.outputs_of(OutputKind.GRADIENT)}
    found: list[Bucket] = []
    stop, latest = len(flat), 1
    for name in sorted(starts, key=starts.__getitem__, reverse=True):  # the last layers are complete first
        latest = max(latest, ends.get(name, 1))
        start = starts[name]
        if (stop - start) * width >= max(_SMALLEST, stop * width // _SHARE):
            found.append(Bucket(start, stop, latest))
            stop, latest = start, 1
    if stop:
        found.append(Bucket(0, stop, latest))
    return found
