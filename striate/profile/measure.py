"""Times every phase of repeated steps or predictions, and probes the peak before and after each.

A phase is one kernel of a program, which all threads run before the next one starts. The peak is the rate of
multiply-adds that a short probe reaches at that moment.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from striate import options, settings
from striate.codegen import target
from striate.codegen.probe import Probe, Reading
from striate.compiler import CompiledExecutable
from striate.engine import Executable
from striate.errors import EngineError
from striate.graph.value import Array
from striate.nn.module import Module
from striate.profile.rows import Board, PhaseTime, Row
from striate.profile.sheet import Profile
from striate.settings import Engine


@dataclass(frozen=True)
class Latency:
    """Times of single calls in seconds, each from input arrays to output arrays.

    samples             batch size
    calls               number of calls that were timed
    median, p95, least  median, 95th percentile, and shortest time
    """

    samples: int
    calls: int
    median: float
    p95: float
    least: float

    def to_json(self) -> dict[str, object]:
        """Return the times in milliseconds as a JSON object."""
        return {
            "batch": self.samples,
            "calls": self.calls,
            "median_ms": self.median * 1e3,
            "p95_ms": self.p95 * 1e3,
            "least_ms": self.least * 1e3,
        }


@dataclass(frozen=True)
class _Repetition:
    """One repetition: its wall time, the times of its phases, and the probe's readings before and after.

    Times are in seconds.
    """

    wall: float
    phases: NDArray[np.float64]
    peaks: tuple[Reading, Reading]

    @property
    def clean(self) -> bool:
        """Whether no other program disturbed the probe before and after."""
        return all(reading.clean for reading in self.peaks)


def profile_training(
    run: Callable[[], object],
    gradients: Executable | None,
    update: Executable,
    model: Module,
    samples: int,
    repetitions: int = 10,
) -> Profile:
    """Return the profile of a training step; ``TrainingStep.profile`` calls this function.

    ``run`` runs one step of ``samples`` samples on ``model``; ``gradients`` and ``update`` are the two programs of the
    step. Times are means over up to ``repetitions`` steps. Raises ``EngineError`` unless both programs are compiled and
    have run.
    """
    parts = [(_compiled(gradients), False), (_compiled(update), True)]
    return _profile("training step", run, parts, _kinds(model), samples, repetitions)


def profile_prediction(model: Module, x: Array, repetitions: int = 10) -> Profile:
    """Return the profile of ``model(x)``; times are means over up to ``repetitions`` calls.

    Raises ``EngineError`` with ``STRIATE_ENGINE=reference``, which compiles nothing.
    """
    require_compiled()
    model(x)
    parts = [(_compiled(model.program(x).executable), False)]
    return _profile("prediction", lambda: model(x), parts, _kinds(model), len(x), repetitions)


def latency(run: Callable[[], object], samples: int, calls: int) -> Latency:
    """Time ``calls`` single calls of ``run``, after up to 20 calls that are not counted.

    ``samples`` is the batch size of a call, which is only copied to the result.
    """
    options.whole_number("calls", calls, 1)
    for _ in range(min(20, calls)):
        run()
    seconds: list[float] = []
    for _ in range(calls):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return Latency(samples, calls, statistics.median(seconds), float(np.quantile(seconds, 0.95)), min(seconds))


def require_compiled() -> None:
    """Raise ``EngineError`` if graphs are interpreted instead of compiled."""
    if settings.current().engine is not Engine.COMPILED:
        raise EngineError(
            "a profile needs compiled kernels, and STRIATE_ENGINE=reference runs in NumPy\n  help: unset STRIATE_ENGINE"
        )


def _compiled(executable: Executable | None) -> CompiledExecutable:
    """Return the executable if it is compiled and has run; raises ``EngineError`` otherwise."""
    if isinstance(executable, CompiledExecutable) and executable.program is not None:
        return executable
    raise EngineError("a profile needs a compiled program that has run")


def _kinds(model: Module) -> dict[str, str]:
    """Return the class names of all layers, by path."""
    return {path: type(layer).__name__ for path, layer in model.named_modules() if path}


def _profile(
    what: str,
    run: Callable[[], object],
    parts: Sequence[tuple[CompiledExecutable, bool]],
    kinds: Mapping[str, str],
    samples: int,
    repetitions: int,
) -> Profile:
    """Repeat ``run`` and collect the profile of its programs.

    ``parts`` are (program, whether it is the update).
    """
    options.whole_number("repetitions", repetitions, 1)
    threads = settings.current().threads
    executables = [executable for executable, _ in parts]
    probe = Probe(threads)
    run()
    measured = [_repetition(run, executables, probe) for _ in range(repetitions)]
    clean = [repetition for repetition in measured if repetition.clean]
    kept = _middle(clean if 2 * len(clean) >= repetitions else measured)
    seconds = np.mean([repetition.phases for repetition in kept], axis=0)
    rows: list[Row] = []
    phases: list[PhaseTime] = []
    activations = contractions = start = 0
    for executable, update in parts:
        board = Board(executable, samples, update)
        count = len(executable.phases)
        some_rows, some_phases = board.rows(seconds[start : start + count].tolist(), kinds)
        rows += some_rows
        phases += some_phases
        activations += board.activation_bytes()
        contractions += 0 if update else board.contraction_bytes()
        start += count
    # Other programs can only slow the probe down, so its best reading is the most accurate.
    readings = [reading for repetition in measured for reading in repetition.peaks]
    peak = max(max(reading.single, reading.together) for reading in readings)
    return Profile(
        what=what,
        cpu=target.current().cpu,
        samples=samples,
        threads=threads,
        repetitions=repetitions,
        clean=len(clean),
        kept=len(kept),
        seconds=float(np.mean([repetition.wall for repetition in kept])),
        peak=peak * 1e9,
        rows=tuple(rows),
        phases=tuple(phases),
        activation_bytes=activations,
        contraction_bytes=contractions,
    )


def _repetition(run: Callable[[], object], executables: Sequence[CompiledExecutable], probe: Probe) -> _Repetition:
    """Run once with timed phases, and probe the peak before and after."""
    before = probe()
    run()  # warms the caches, and wakes the threads that the probe left asleep
    with _clocks(executables) as seconds:
        start = time.perf_counter()
        run()
        wall = time.perf_counter() - start
        phases = np.concatenate(seconds())
    return _Repetition(wall, phases, (before, probe()))


@contextmanager
def _clocks(executables: Sequence[CompiledExecutable]) -> Generator[Callable[[], list[NDArray[np.float64]]]]:
    """Time every phase of the programs inside the block; yields a function that returns the seconds."""
    programs = [executable.program for executable in executables if executable.program is not None]
    profiles = [program.start_profile() for program in programs]
    try:
        yield lambda: [profile.seconds for profile in profiles]
    finally:
        for program in programs:
            program.stop_profile()


def _middle(repetitions: Sequence[_Repetition]) -> Sequence[_Repetition]:
    """Return the half of the repetitions around the median time.

    This is robust, and the mean times of phases add up to the mean time of the steps.
    """
    ordered = sorted(repetitions, key=lambda repetition: repetition.wall)
    cut = len(ordered) // 4
    return ordered[cut : len(ordered) - cut]
