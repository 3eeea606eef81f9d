"""The thread team: Python threads that run the native driver, which does not hold the GIL.

Python                                   native (striate.codegen.driver)
Team.run ── wakes sleeping threads ────▶ run   thread 0, the calling thread, which takes part in the work
worker threads ────────────────────────▶ work  thread 1 …: returns when there was no work for a while
   └─ block on a semaphore ◀─ ASLEEP ──────┘
"""

from __future__ import annotations

import atexit
import ctypes
import logging
import threading
import time
import weakref
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

import numpy as np

from striate import settings
from striate.errors import EngineError
from striate.locks import Lock, reset_after_fork
from striate.runtime.arena import Arena

_log = logging.getLogger("striate")
_RUN = ctypes.CFUNCTYPE(
    ctypes.c_int32,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_int64,
    ctypes.c_int64,
)
_WORK = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_int64)
_CYCLES = ctypes.CFUNCTYPE(ctypes.c_int64)

DONE, MORE, FAILED = 1, 2, 3
ASLEEP, STOPPED = 1, 2

SPIN_SECONDS = 30e-6
"""How long a waiting thread spins before it yields its core. It is longer than the usual wait at the end of a phase,
because a core that is yielded to a busy process comes back only after some milliseconds. With two busy processes on the
same two cores, phases of 18 µs took 38 µs with 2 µs of spinning, and 29 µs with 100 µs."""
IDLE_SECONDS = 1e-3
"""How long a thread waits for work before it sleeps. It is longer than the Python code between two steps, so that a
training loop never has to wake threads."""
SLICE_SECONDS = 10e-3
"""A run returns to Python about this often, so that Ctrl-C is noticed."""
SUCCESSION_SECONDS = 50e-6
"""Small runs that follow each other within this time wake a second thread: their caller has a stream of them."""


class Helpers(Enum):
    """The threads that help the calling thread with a run. The results are the same with all three.

    ALL    all threads of the team; sleeping threads are woken
    AWAKE  the threads that are awake, for little work; sleeping threads are woken only if the previous run with
           AWAKE ended less than ``SUCCESSION_SECONDS`` before
    NONE   no other thread, for very little work
    """

    ALL = "all"
    AWAKE = "awake"
    NONE = "none"


class Driver(Protocol):
    """Protocol: the part of ``striate.codegen.driver.NativeDriver`` that the team uses."""

    @property
    def run(self) -> int: ...
    @property
    def work(self) -> int: ...
    @property
    def cycles(self) -> int: ...
    def words(self, threads: int) -> int: ...
    def word(self, name: str) -> int: ...
    def scratch_word(self, thread: int) -> int: ...


@dataclass(frozen=True)
class Failure:
    """The error status (above 0) that a kernel returned, and where: in which phase and chunk.

    A phase is a kernel launch, and a chunk is a part of its work. If several chunks failed, this is the failure in the
    earliest phase, at the lowest chunk of that phase.
    """

    status: int
    phase: int
    chunk: int


class _Crew:
    """One generation of worker threads, and the memory that they share with the driver.

    It is replaced as a whole after a fork, or when the number of threads changes. If the system starts fewer threads
    than ``threads``, it computes with those, which changes no bit of any result.
    """

    def __init__(self, driver: Driver, threads: int) -> None:
        self.driver = driver
        self.threads = threads
        self._arena = Arena(driver.words(threads) * 8)
        self.address = self._arena.base
        self.words = self._arena.view(0, (driver.words(threads),), np.int64).data
        self.scratch: list[Arena] = [Arena() for _ in range(threads)]
        self.scratch_bytes = 0
        self._run = _RUN(driver.run)
        self._work = _WORK(driver.work)
        rate = cycles_per_second(driver)
        self._budget = int(SLICE_SECONDS * rate)
        self._running, self._index, self._failure, self._profile = map(
            driver.word, ("running", "index", "failure", "profile")
        )
        self.set("threads", threads)
        self.set("spin", int(SPIN_SECONDS * rate))
        self.set("idle", int(IDLE_SECONDS * rate))
        # A worker holds this lock while it checks for work and goes to sleep, and the caller holds it while it wakes
        # sleeping workers. So no wake-up is lost.
        self._gate = threading.Lock()
        self._asleep: list[int] = []
        self._alarms = [threading.Semaphore(0) for _ in range(threads)]
        self._workers: list[threading.Thread] = []
        for thread in range(1, threads):
            worker = threading.Thread(target=self._live, args=(thread,), name=f"striate-{thread}", daemon=True)
            try:
                worker.start()
            except RuntimeError as error:  # no memory for its stack, too many threads, or the interpreter is ending
                _log.warning("computing with %d threads instead of %d: %s", thread, threads, error)
                self.set("threads", thread)
                break
            self._workers.append(worker)

    @property
    def awake(self) -> bool:
        """Whether all threads wait for work or do it, rather than sleep."""
        return not self._asleep

    def set(self, name: str, value: int) -> None:
        self.words[self.driver.word(name)] = value

    def get(self, name: str) -> int:
        return self.words[self.driver.word(name)]

    def _live(self, thread: int) -> None:
        while self._work(self.address, thread) == ASLEEP:
            with self._gate:
                if self.words[self._running] or self.get("stop"):
                    continue
                self._asleep.append(thread)
            self._alarms[thread].acquire()

    def _wake(self) -> None:
        while self._asleep:
            # In this order, an interruption between the two lines may wake a thread twice, but never misses one.
            self._alarms[self._asleep[-1]].release()
            self._asleep.pop()

    def run(self, phases: int, first: int, last: int, n: int, profile: int) -> None:
        """Run the phases in slices of time, between which Python handles signals; the words hold the outcome."""
        interruption: BaseException | None = None
        try:
            self.words[self._index] = first
            self.words[self._failure] = -1
            self.words[self._profile] = profile
            if self._workers:
                with self._gate:
                    self.words[self._running] = 1
                    self._wake()
            while True:
                try:
                    while self._run(self.address, phases, self.words[self._index], last, n, self._budget) == MORE:
                        pass
                    break
                except BaseException as raised:
                    # A signal handler raised between two slices, or after the last one. The step is finished first;
                    # a second signal ends it at once.
                    if interruption is not None:
                        raise
                    interruption = raised
                    if self._finished(last):
                        break
            if interruption is not None:
                raise interruption
        finally:
            self.words[self._running] = 0

    def failure(self) -> Failure | None:
        """Return the failure that ended the latest run, or None."""
        word = self.words[self._failure]
        return None if word == -1 else Failure(word & 0xFFFFFFFF, self.words[self._index], word >> 32)

    def _finished(self, last: int) -> bool:
        return self.words[self._failure] != -1 or self.words[self._index] >= last

    def stop(self) -> None:
        """End the worker threads and wait for them."""
        with self._gate:
            self.set("stop", 1)
            self._wake()
        for worker in self._workers:
            worker.join()


class Team:
    """A team of threads that runs one program at a time.

    ``driver`` is the native code that runs programs. ``threads`` is the number of threads, including the one that calls
    ``run``. The others are started by the first run that can use them. Raises ``ValueError`` if ``threads`` is less
    than 1.
    """

    def __init__(self, driver: Driver, threads: int) -> None:
        if threads < 1:
            raise ValueError(f"a team needs at least 1 thread, not {threads}")
        self.driver = driver
        self.threads = threads
        self._scratch_bytes = 0
        self._crew: _Crew | None = None
        self._alone: _Crew | None = None
        self._lock = Lock()
        self._runner: int | None = None
        self._small_run_ended = -1.0
        _teams.add(self)
        reset_after_fork(self)

    def reserve_scratch(self, size: int) -> None:
        """From the next run on, give every thread at least ``size`` bytes of 64-byte aligned scratch memory."""
        if size > self._scratch_bytes:
            with self._lock:
                self._scratch_bytes = max(size, self._scratch_bytes)

    def _give_scratch(self, crew: _Crew) -> None:
        try:
            for thread, arena in enumerate(crew.scratch):
                arena.reserve(self._scratch_bytes, keep=False)
                crew.words[self.driver.scratch_word(thread)] = arena.base
        except EngineError:  # no memory: a program that needs less may still run
            self._scratch_bytes = crew.scratch_bytes = 0
            raise
        crew.scratch_bytes = self._scratch_bytes

    def _crew_of(self, threads: int) -> _Crew:
        if self._crew is None or self._crew.threads != threads:
            if self._crew is not None:
                self._crew.stop()
            self._crew = _Crew(self.driver, threads)
        return self._crew

    def _crew_for(self, helpers: Helpers) -> _Crew:
        """Return the crew with the threads that ``helpers`` asks for."""
        if helpers is Helpers.ALL or self.threads == 1:
            return self._crew_of(self.threads)
        if helpers is Helpers.AWAKE:
            if self._crew is not None and self._crew.awake:
                return self._crew_of(self.threads)
            if time.perf_counter() - self._small_run_ended < SUCCESSION_SECONDS:
                return self._crew_of(self.threads)
        return self._crew_alone()

    def _crew_alone(self) -> _Crew:
        """Return a crew of only the calling thread; the workers of the other crew keep sleeping."""
        if self._alone is None:
            self._alone = _Crew(self.driver, 1)
        return self._alone

    def run(
        self, phases: int, first: int, last: int, n: int, profile: int = 0, helpers: Helpers = Helpers.ALL
    ) -> Failure | None:
        """Run phases (kernel launches) ``first`` to ``last - 1`` of a program.

        ``phases`` is the address of the program's descriptors (see ``runtime/program.py``), and ``n`` is the batch
        size. ``profile`` is 0, or the address of two 64-bit integers per phase, to which the driver writes its clock at
        the start and the end of the phase. ``helpers`` are the threads that share the work.

        Returns None, or the failure if a kernel failed. The phases after the failure were not run. If Ctrl-C is
        pressed, ``KeyboardInterrupt`` is raised after the last phase. Raises ``RuntimeError`` if a finalizer or a
        signal handler calls this method in a thread that is in a run.
        """
        if first >= last:
            return None
        caller = threading.get_ident()
        if self._runner == caller:
            raise RuntimeError("a finalizer or signal handler ran a program while its thread was running another one")
        with self._lock:
            self._runner = caller
            try:
                crew = self._crew_for(helpers)
                if crew.scratch_bytes < self._scratch_bytes:
                    self._give_scratch(crew)
                crew.run(phases, first, last, n, profile)
                return crew.failure()
            finally:
                self._runner = None
                if helpers is Helpers.AWAKE:
                    self._small_run_ended = time.perf_counter()

    def resize(self, threads: int) -> None:
        """Set the number of threads from the next run on; raise ``ValueError`` if it is less than 1."""
        if threads < 1:
            raise ValueError(f"a team needs at least 1 thread, not {threads}")
        self.threads = threads

    def close(self) -> None:
        """End the worker threads; the next run starts new ones."""
        with self._lock:
            crew, self._crew, self._alone = self._crew, None, None
            if crew is not None:
                crew.stop()

    def after_fork(self) -> None:
        """Drop the threads, which do not exist in the child of a fork; the next run starts new ones."""
        self._runner = None
        self._crew = self._alone = None


_teams: weakref.WeakSet[Team] = weakref.WeakSet()
_rates: weakref.WeakKeyDictionary[Driver, float] = weakref.WeakKeyDictionary()
_shared: list[Team] = []
_shared_lock = Lock()


def cycles_per_second(driver: Driver) -> float:
    """Return the rate of the driver's clock in ticks per second, measured once to about 1 %."""
    rate = _rates.get(driver)
    if rate is None:
        clock = _CYCLES(driver.cycles)
        start, start_cycles = time.perf_counter(), clock()
        while time.perf_counter() < start + 1e-3:
            pass
        rate = _rates[driver] = (clock() - start_cycles) / (time.perf_counter() - start)
    return rate


def current_team(driver: Driver) -> Team:
    """Return the thread team of this process, with as many threads as the current settings say.

    The first call creates the team, which then runs programs with ``driver``.
    """
    threads = settings.current().threads
    if not _shared:
        with _shared_lock:
            if not _shared:
                _shared.append(Team(driver, threads))
    team = _shared[0]
    if team.threads != threads:
        team.resize(threads)
    return team


def _at_exit() -> None:
    for team in list(_teams):
        team.close()


atexit.register(_at_exit)
