"""The thread team: each chunk runs once, each barrier holds, whatever threads, processes and signals do."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from striate import settings
from striate.codegen import driver
from striate.errors import EngineError
from striate.runtime import threads as threads_module
from striate.runtime.arena import Arena
from striate.runtime.threads import Helpers, Team, current_team
from tests.runtime import kernels
from tests.runtime.chain import DESCRIPTOR, Chain

ROOT = Path(__file__).parents[2]
SIZES = [0, 1, 2, 3, 5, 8, 17, 64, 301]
MakeTeam = Callable[[int], Team]
posix = pytest.mark.skipif(os.name == "nt", reason="signals and forks of POSIX systems")


@pytest.fixture
def make_team() -> Iterator[MakeTeam]:
    teams: list[Team] = []

    def make(threads: int) -> Team:
        team = Team(driver.load(), threads)
        team.reserve_scratch(64)
        teams.append(team)
        return team

    yield make
    for team in teams:
        team.close()


def _chain(seed: int, phases: int, turns: int) -> Chain:
    return Chain(np.random.default_rng(seed).choice(SIZES, size=phases).tolist(), turns)


@pytest.mark.parametrize("threads", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("turns", [0, 30])
def test_every_chunk_runs_once_and_every_barrier_holds(make_team: MakeTeam, threads: int, turns: int) -> None:
    team, chain = make_team(threads), _chain(threads, 40, turns)
    for _ in range(100):
        chain.run(team)


@pytest.mark.parametrize("threads", [2, 8])
def test_thousands_of_tiny_runs(make_team: MakeTeam, threads: int) -> None:
    team, chain = make_team(threads), Chain([2, 3, 8], 1)
    for _ in range(3000):
        chain.run(team)


@pytest.mark.parametrize("threads", [2, 6])
def test_competing_processes_take_nothing_away(make_team: MakeTeam, threads: int) -> None:
    busy = [_python("print('busy')\nwhile True: pass") for _ in range(2)]
    try:
        for process in busy:
            assert process.stdout is not None
            assert process.stdout.readline() == "busy\n"
        team, chain = make_team(threads), _chain(threads, 40, 100)
        for _ in range(50):
            chain.run(team)
    finally:
        for process in busy:
            process.kill()
            process.communicate()


@pytest.mark.parametrize("threads", [1, 3])
def test_slices_of_one_phase_each_add_up(make_team: MakeTeam, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads_module, "SLICE_SECONDS", 0.0)
    team, chain = make_team(threads), _chain(threads, 40, 3)
    for _ in range(50):
        chain.run(team)


@pytest.mark.parametrize("threads", [2, 4])
def test_workers_fall_asleep_and_wake(make_team: MakeTeam, threads: int) -> None:
    team, chain = make_team(threads), Chain([64, 64], 2000)
    for pause in (0.0, 1e-3, 1.1e-3, 2e-3, 0.01) * 5:
        chain.run(team)
        time.sleep(pause)
    before = time.process_time()
    time.sleep(0.2)
    assert time.process_time() - before < 0.05
    chain.run(team)


def test_several_threads_take_part(make_team: MakeTeam) -> None:
    """A chunk takes about 20 µs; with shorter ones, a phase may end before a second thread arrives."""
    team, places = make_team(4), np.zeros(256, np.uint64)
    operands = np.array([places.ctypes.data, 50_000], np.uint64)
    phases = np.array([(kernels.address("dwell"), operands.ctypes.data, 256, 0)], DESCRIPTOR)
    found: set[int] = set()
    end = time.monotonic() + 60
    while len(found) < 2:
        assert time.monotonic() < end, "only the calling thread ever ran a chunk"
        assert team.run(phases.ctypes.data, 0, 1, 1) is None
        found |= set(places.tolist())


def test_calls_from_several_python_threads_and_resizing(make_team: MakeTeam) -> None:
    team = make_team(2)
    failures: list[BaseException] = []

    def live(seed: int) -> None:
        try:
            chain = _chain(seed, 10, 5)
            for turn in range(50):
                if turn % 10 == 0:
                    team.resize(1 + (seed + turn // 10) % 4)
                chain.run(team)
        except BaseException as failure:  # noqa: BLE001 - handed to the test's own thread
            failures.append(failure)

    people = [threading.Thread(target=live, args=(seed,)) for seed in range(3)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert not failures


@pytest.mark.parametrize(
    ("helpers", "succession", "count"), [(Helpers.NONE, 60, 0), (Helpers.AWAKE, 0, 0), (Helpers.AWAKE, 60, 2)]
)
def test_small_runs_start_threads_only_when_they_follow_each_other(
    make_team: MakeTeam, monkeypatch: pytest.MonkeyPatch, helpers: Helpers, succession: float, count: int
) -> None:
    monkeypatch.setattr(threads_module, "SUCCESSION_SECONDS", succession)
    team, chain = make_team(3), _chain(3, 20, 5)
    before = threading.active_count()
    for _ in range(5):
        chain.run(team, helpers)
    assert threading.active_count() == before + count


def test_small_runs_share_their_work_with_threads_that_are_awake(
    make_team: MakeTeam, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads_module, "IDLE_SECONDS", 60)
    monkeypatch.setattr(threads_module, "SUCCESSION_SECONDS", 0)
    team, chain = make_team(2), _chain(3, 20, 5)
    chain.run(team)
    for _ in range(200):
        chain.run(team, Helpers.AWAKE)
    assert team._crew_for(Helpers.AWAKE) is team._crew_for(Helpers.ALL)
    assert team._crew_for(Helpers.NONE) is not team._crew_for(Helpers.ALL)


@pytest.mark.parametrize("most", [0, 2])
def test_a_team_computes_with_the_threads_that_the_system_starts(
    make_team: MakeTeam, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, most: int
) -> None:
    start, started = threading.Thread.start, list[threading.Thread]()

    def some(thread: threading.Thread) -> None:
        if len(started) == most:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", some)
    team, chain = make_team(5), _chain(3, 20, 5)
    for _ in range(20):
        chain.run(team)
    assert len(started) == most  # the crew was not made again
    assert [record.message for record in caplog.records] == [
        f"computing with {most + 1} threads instead of 5: can't start new thread"
    ]


def test_a_program_that_needs_less_memory_runs_after_one_that_got_none(
    make_team: MakeTeam, monkeypatch: pytest.MonkeyPatch
) -> None:
    team, chain = make_team(2), _chain(3, 5, 5)
    chain.run(team)
    reserve = Arena.reserve

    def refused(arena: Arena, size: int, keep: bool = True) -> None:
        if size > 1 << 20:
            raise EngineError("no memory")
        reserve(arena, size, keep)

    monkeypatch.setattr(Arena, "reserve", refused)
    for _ in range(2):
        team.reserve_scratch(1 << 30)  # as each run of a program does
        with pytest.raises(EngineError):
            chain.run(team)
    team.reserve_scratch(64)
    chain.run(team)


def test_the_current_team_follows_the_settings() -> None:
    before = settings.override(threads=3)
    try:
        team = current_team(driver.load())
        assert team.threads == 3
        settings.override(threads=2)
        assert current_team(driver.load()) is team
        assert team.threads == 2
    finally:
        settings.restore(before)
    with pytest.raises(ValueError, match="at least 1"):
        team.resize(0)


@pytest.mark.parametrize("threads", [1, 3])
def test_denormals_are_zero_inside_and_untouched_outside(make_team: MakeTeam, threads: int) -> None:
    team = make_team(threads)
    values = np.empty((400, 2), np.float32)
    operands = np.array([values.ctypes.data], np.uint64)
    phases = np.array([(kernels.address("multiply"), operands.ctypes.data, 400, 0)], DESCRIPTOR)
    for _ in range(20):
        values[:] = (1e-30, 1e-10)
        assert team.run(phases.ctypes.data, 0, 1, 1) is None
        assert not values[:, 0].any()
        assert np.float32(1e-30) * np.float32(1e-10) > 0


def test_memory_stays_flat(make_team: MakeTeam) -> None:
    resource = pytest.importorskip("resource", reason="measured by POSIX systems only")
    team, chain = make_team(3), Chain([5, 9], 1)

    def turn(runs: int) -> int:
        for _ in range(runs):
            chain.start(team)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = turn(200)
    assert turn(10_000) - before < 512


def _python(code: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-u", "-c", code]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


FORK = """
import os
from striate.codegen import driver
from striate.runtime.threads import Team
from tests.runtime.chain import Chain
team, chain = Team(driver.load(), 3), Chain([5, 64, 1, 17], 20)
team.reserve_scratch(64)
chain.run(team)
for _ in range(5):
    child = os.fork()
    for _ in range(20):
        chain.run(team)
    if child == 0:
        raise SystemExit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
print("fine")
"""


@posix
def test_a_forked_child_gets_a_team_of_its_own() -> None:
    process = _python(FORK)
    output, _ = process.communicate(timeout=60)
    assert (output, process.returncode) == ("fine\n", 0)


INTERRUPT = """
import signal, threading, time
from striate.codegen import driver
from striate.runtime.threads import Team
from tests.runtime.chain import Chain
team, chain = Team(driver.load(), {threads}), Chain([4] * {phases}, 1_000_000)
team.reserve_scratch(64)
left = threading.Event()
def interrupt():
    while not chain.totals[1, 0]:
        time.sleep(0.001)  # until the run is under way
    for _ in range({interruptions}):  # two that come too close to each other are one
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        if left.wait(0.2):
            break
threading.Thread(target=interrupt).start()
try:
    chain.start(team)
except KeyboardInterrupt:
    left.set()
    {after}
"""


@posix
@pytest.mark.parametrize("threads", [pytest.param(1, marks=pytest.mark.slow), 3])
def test_an_interrupted_run_finishes_first(threads: int) -> None:
    after = "chain.check(); chain.run(team); print('finished')"
    with _python(INTERRUPT.format(threads=threads, phases=100, interruptions=1, after=after)) as process:
        assert process.communicate(timeout=100) == ("finished\n", None)
    assert process.returncode == 0


@posix
def test_a_second_interruption_leaves_at_once() -> None:
    after = "raise SystemExit('left')"
    with _python(INTERRUPT.format(threads=2, phases=100_000, interruptions=100, after=after)) as process:
        process.communicate(timeout=60)  # all phases would take many minutes
    assert process.returncode == 1
