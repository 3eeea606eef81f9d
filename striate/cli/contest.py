"""Compare alternatives fairly: interleaved in one process, with the CPU's speed measured around each turn."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from striate.codegen.probe import Probe, Reading

TURN_SECONDS = 0.05
"""Seconds that the calls of one turn take. Shorter turns would measure how the CPU raises its clock frequency."""
MOST_CALLS = 50
WARM_CALLS = 3


@dataclass(frozen=True)
class Turn:
    """The ``seconds`` of the timed calls of one turn, and the CPU's peak speed before and after it (``peaks``).

    A turn is a few consecutive calls of one alternative.
    """

    seconds: Sequence[float]
    peaks: tuple[Reading, Reading]

    @property
    def clean(self) -> bool:
        """Whether every thread had a core to itself before and after the turn, judged by the measured speeds."""
        return all(reading.clean for reading in self.peaks)


@dataclass
class Contestant:
    """One of the compared alternatives: a function, and the turns that were measured."""

    name: str
    run: Callable[[], object]
    turns: list[Turn] = field(default_factory=list[Turn])

    @property
    def seconds(self) -> list[float]:
        """The durations in seconds of all timed calls, apart from those of disturbed turns.

        A turn is disturbed if a thread shared its core with another program. If more than half of the turns are
        disturbed, all turns count.
        """
        clean = [turn for turn in self.turns if turn.clean]
        return [time for turn in (clean if 2 * len(clean) >= len(self.turns) else self.turns) for time in turn.seconds]

    @property
    def median(self) -> float:
        """The median duration of a call in seconds."""
        return statistics.median(self.seconds)

    @property
    def p95(self) -> float:
        """The 95th percentile of the durations in seconds."""
        return float(np.quantile(self.seconds, 0.95))


def contest(runs: Mapping[str, Callable[[], object]], repetitions: int, threads: int) -> list[Contestant]:
    """Measure all alternatives in turns of a few consecutive calls, in an order that changes with each repetition.

    ``runs`` are the functions to time, by name, and ``repetitions`` is the number of turns of each function. The first
    call of each turn, with cold caches, is not counted. ``threads`` is the number of threads on which the CPU's peak
    speed is measured around each turn.
    """
    contestants = [Contestant(name, run) for name, run in runs.items()]
    for contestant in contestants:
        for _ in range(WARM_CALLS):
            contestant.run()
    probe = Probe(threads)
    calls = max(1, *(_calls(contestant) for contestant in contestants))
    for repetition in range(repetitions):
        shift = repetition % len(contestants)
        for contestant in contestants[shift:] + contestants[:shift]:
            before = probe()
            contestant.run()
            contestant.turns.append(Turn([_timed(contestant.run) for _ in range(calls)], (before, probe())))
    return contestants


def _timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _calls(contestant: Contestant) -> int:
    return min(MOST_CALLS, math.ceil(TURN_SECONDS / _timed(contestant.run)))
