"""A program: a list of phases with a barrier after each, run by one call into native code.

A *phase* runs one kernel once for each *chunk*, a part of the work. The driver reads this memory:

    descriptors  │ kernel, operands, per, group │ kernel, operands, per, group │ …
                              │                              └──────┐
    operands     │ phase 0: address, address, … │ phase 1: address, … │ …

A phase has ``per`` chunks if ``group`` is 0, else ``per · ⌈N / group⌉`` for a batch of N.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from striate.runtime import threads
from striate.runtime.arena import Arena, ScratchArena, scratch_arena
from striate.runtime.threads import Driver, Team


@dataclass(frozen=True)
class Fixed:
    """An operand of a kernel whose address never changes.

    The caller must keep the memory at this address alive, by passing its owner to ``Program(keep=…)``.
    """

    address: int


@dataclass(frozen=True)
class Scratch:
    """An operand of a kernel in the process's scratch memory; ``offset`` is in bytes from its start."""

    offset: int


@dataclass(frozen=True)
class External:
    """An operand of a kernel whose address the caller passes to each run, as ``externals[name]``."""

    name: str


Operand = Fixed | Scratch | External


@dataclass(frozen=True)
class Phase:
    """One phase of a program: a kernel, which runs over chunks (parts of the work) in any order.

    ``kernel_address`` is the address of the compiled kernel. There are ``per`` chunks if ``group`` is 0, else ``per ·
    ⌈N / group⌉`` for a batch of N. ``path`` is the layer that the phase comes from, and ``name`` says what the phase
    does in this layer. ``operands`` are the arrays that the kernel gets, in the order of its arguments.
    """

    name: str
    path: str
    kernel_address: int
    operands: Sequence[Operand]
    per: int
    group: int = 0

    def chunks(self, n: int) -> int:
        """Return the number of chunks (parts of the work) for a batch of ``n`` samples."""
        return self.per * -(-n // self.group) if self.group else self.per


@dataclass(frozen=True)
class PhaseFailure:
    """The error status (above 0) that a kernel returned, with its phase (kernel launch) and chunk (part of the work).

    If several chunks failed, ``chunk`` is the lowest of them.
    """

    status: int
    phase: Phase
    chunk: int


@dataclass
class Profile:
    """The time of each of ``phases`` (kernel launches), in seconds, summed over the runs since profiling was started.

    ``runs`` is the number of these runs.
    """

    phases: Sequence[Phase]
    seconds: NDArray[np.float64]
    runs: int = 0

    @property
    def rows(self) -> list[tuple[Phase, float]]:
        """Every phase (kernel launch) with its mean time per run in seconds, in the order in which the phases run."""
        means = self.seconds / max(1, self.runs)
        return list(zip(self.phases, means.tolist(), strict=True))


_DESCRIPTOR = np.dtype([("kernel", "u8"), ("operands", "u8"), ("per", "i8"), ("group", "i8")])
_MOST_CHUNKS = 2**31 - 1
_NONE: Mapping[str, int] = {}


class Program:
    """A list of phases (kernels with their operands), bound to memory and ready to run, one run at a time.

    ``driver`` runs the phases on the threads. ``arena`` is the scratch memory of the phases; None means the scratch
    memory of the process. ``scratch`` is the number of bytes that the phases need in ``arena``, and ``thread_scratch``
    the number of bytes that each thread needs in its own arena. ``keep`` holds the objects that must live as long as
    the program: the owners of fixed addresses and the loaded libraries. Raises ``ValueError`` for a phase without a
    kernel address, with a negative number of chunks (parts of the work), or with an operand outside the scratch memory.
    """

    def __init__(
        self,
        phases: Sequence[Phase],
        driver: Driver,
        *,
        scratch: int = 0,
        thread_scratch: int = 0,
        keep: Sequence[object] = (),
        arena: ScratchArena | None = None,
    ) -> None:
        self.phases = tuple(phases)
        self.driver = driver
        self.scratch = scratch
        self.thread_scratch = thread_scratch
        self.keep = tuple(keep)
        self._arena = arena
        self.profile: Profile | None = None
        self.failure: PhaseFailure | None = None
        self._clock: NDArray[np.int64] = np.zeros((0, 2), np.int64)
        self._most_per = max((phase.per for phase in self.phases), default=0)
        self._check()
        self._bind()

    def _check(self) -> None:
        for phase in self.phases:
            if phase.per < 0 or phase.group < 0 or not phase.kernel_address:
                raise ValueError(f"phase {phase.name} of {phase.path}: per {phase.per}, group {phase.group}")
            for operand in phase.operands:
                if isinstance(operand, Scratch) and not 0 <= operand.offset <= self.scratch:
                    raise ValueError(f"phase {phase.name} of {phase.path}: {operand} of {self.scratch} bytes")

    def _bind(self) -> None:
        self._table = np.zeros(max(1, sum(len(phase.operands) for phase in self.phases)), np.uint64)
        self._words = self._table.data
        self._descriptors = np.zeros(max(1, len(self.phases)), _DESCRIPTOR)
        self._address = self._descriptors.ctypes.data
        self._externals: dict[str, list[int]] = {}
        self._bound: dict[str, int] = {}
        self._scratch_places: list[tuple[int, int]] = []  # position in the operands, offset in the arena
        self._scratch_base = -1
        table, position = self._table.ctypes.data, 0
        for index, phase in enumerate(self.phases):
            address = table + 8 * position
            self._descriptors[index] = (phase.kernel_address, address, phase.per, phase.group)
            for operand in phase.operands:
                match operand:
                    case Fixed(address=fixed):
                        self._words[position] = fixed
                    case External(name=name):
                        self._externals.setdefault(name, []).append(position)
                    case Scratch(offset=offset):
                        self._scratch_places.append((position, offset))
                position += 1

    @property
    def externals(self) -> frozenset[str]:
        """The names of the arrays whose addresses the caller must pass to a run."""
        return frozenset(self._externals)

    def run(
        self,
        n: int,
        externals: Mapping[str, int] = _NONE,
        first: int = 0,
        last: int | None = None,
        *,
        helpers: threads.Helpers = threads.Helpers.ALL,
        memory: Arena | None = None,
    ) -> int:
        """Run phases ``first`` to ``last - 1`` for a batch of ``n`` samples; return 0, or a kernel's error status.

        Phases are kernel launches. ``last`` None means all phases from ``first`` on. ``externals`` has the address of
        every external array by name; an array that is omitted keeps its address from an earlier run. ``helpers`` are
        the threads that share the work. After an error status, the attribute ``failure`` tells which phase failed, and
        at which chunk (part of its work).

        ``memory`` is the arena for the operands in scratch memory; their values remain in it after the run. None means
        the scratch arena of the program, in which the values are valid only while the caller holds the arena's lock.

        Raises ``ValueError`` for an invalid range of phases, an invalid batch size, or a missing address. Raises
        ``RuntimeError`` if a finalizer or a signal handler calls this method in a thread that is running a program.
        """
        end = len(self.phases) if last is None else last
        if not 0 <= first <= end <= len(self.phases) or n < 0 or self._most_per * n > _MOST_CHUNKS:
            raise ValueError(f"phases {first} to {end} of {len(self.phases)} cannot run for a batch of {n}")
        arena = self._arena or scratch_arena()
        with arena.lock:
            if arena.running:
                raise RuntimeError(
                    "a finalizer or signal handler ran a program while its thread was running another one"
                )
            try:
                arena.running = True
                return self._run(memory or arena, n, externals, first, end, helpers)
            finally:
                arena.running = False

    def _run(
        self, arena: Arena, n: int, externals: Mapping[str, int], first: int, end: int, helpers: threads.Helpers
    ) -> int:
        if arena.size < self.scratch:
            arena.reserve(self.scratch, keep=False)
        if self._scratch_base != arena.base:
            self._place_scratch(arena)
        self._give(externals)
        team = threads.current_team(self.driver)
        team.reserve_scratch(self.thread_scratch)
        if self.profile is not None:
            return self._run_profiled(team, self.profile, first, end, n, helpers)
        return self._report(team.run(self._address, first, end, n, helpers=helpers))

    def _give(self, externals: Mapping[str, int]) -> None:
        for name, address in externals.items():
            if self._bound.get(name) != address:
                for position in self._externals[name]:
                    self._words[position] = address
                self._bound[name] = address
        if len(self._bound) != len(self._externals):
            raise ValueError(f"no address for {', '.join(sorted(self.externals - self._bound.keys()))}")

    def _place_scratch(self, arena: Arena) -> None:
        """Write the addresses of the operands in scratch memory, after the arena has moved."""
        for position, offset in self._scratch_places:
            self._words[position] = arena.address(offset)
        self._scratch_base = arena.base

    def _report(self, failure: threads.Failure | None) -> int:
        if failure is None:
            self.failure = None
            return 0
        self.failure = PhaseFailure(failure.status, self.phases[failure.phase], failure.chunk)
        return failure.status

    def start_profile(self) -> Profile:
        """Start timing every phase (kernel launch); return the profile, to which each further run adds its times."""
        self._clock = np.zeros((len(self.phases), 2), np.int64)
        self.profile = Profile(self.phases, np.zeros(len(self.phases)))
        return self.profile

    def stop_profile(self) -> None:
        """Stop timing the phases (kernel launches)."""
        self.profile = None

    def _run_profiled(
        self, team: Team, profile: Profile, first: int, last: int, n: int, helpers: threads.Helpers
    ) -> int:
        self._clock[:] = 0
        status = self._report(team.run(self._address, first, last, n, self._clock.ctypes.data, helpers))
        profile.seconds += (self._clock[:, 1] - self._clock[:, 0]) / threads.cycles_per_second(self.driver)
        profile.runs += 1
        return status
