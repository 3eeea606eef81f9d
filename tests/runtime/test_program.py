"""Programs: kernels receive their operands from all kinds of memory, and failures name their phase."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from striate import settings
from striate.codegen import driver
from striate.runtime import threads as runtime
from striate.runtime.arena import scratch_arena
from striate.runtime.program import External, Fixed, Operand, Phase, Program, Scratch
from tests.runtime import kernels


@pytest.fixture(params=[1, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = settings.override(threads=request.param)
    yield request.param
    settings.restore(before)


def _status(operand: Operand, per: int, group: int = 0, path: str = "layer") -> Phase:
    return Phase("status", path, kernels.address("status"), [operand], per, group)


def _program(*phases: Phase, scratch: int = 0) -> Program:
    return Program(phases, driver.load(), scratch=scratch)


@pytest.mark.usefixtures("threads")
def test_the_lowest_failing_chunk_is_reported_and_later_phases_do_not_run() -> None:
    good, bad = np.zeros(100, np.int32), np.zeros(100, np.int32)
    bad[[31, 32, 97]] = [5, 6, 7]
    places = np.zeros(1, np.uint64)
    after = Phase("where", "after", kernels.address("where"), [Fixed(places.ctypes.data)], 1)
    program = _program(_status(Fixed(good.ctypes.data), 100), _status(External("x"), 100, path="conv1"), after)
    for _ in range(50):
        assert program.run(1, {"x": bad.ctypes.data}) == 5
        assert program.failure is not None
        assert (program.failure.status, program.failure.chunk, program.failure.phase.path) == (5, 31, "conv1")
        assert not places.any()
    assert program.run(1, {"x": good.ctypes.data}) == 0
    assert program.failure is None


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize(("n", "chunks"), [(0, 0), (1, 3), (8, 3), (9, 6), (16, 6), (17, 9)])
def test_chunks_follow_the_batch(n: int, chunks: int) -> None:
    statuses = np.zeros(100, np.int32)
    statuses[chunks:] = 1
    phase = _status(Fixed(statuses.ctypes.data), 3, 8)
    assert phase.chunks(n) == chunks
    assert _program(phase).run(n) == 0
    if chunks:
        statuses[chunks - 1] = 9
        assert _program(phase).run(n) == 9


def test_scratch_is_found_after_it_moved() -> None:
    program = _program(_status(Scratch(64), 4), _status(Scratch(128), 4, path="second"), scratch=4096)
    arena = scratch_arena()
    for turn in range(3):
        with arena.lock:
            arena.reserve(max(arena.size + 1, 4096))
            arena.view(128, (4,), np.int32)[:] = 0
            arena.view(64, (4,), np.int32)[:] = 0
            assert program.run(1) == 0
            arena.view(128, (4,), np.int32)[2] = 10 + turn
            assert program.run(1) == 10 + turn
            assert program.run(1, first=0, last=1) == 0
            arena.view(64, (4,), np.int32)[3] = 20 + turn
            assert program.run(1) == 20 + turn
            assert program.run(1, first=1) == 10 + turn


def test_a_run_in_the_middle_of_another_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """It could move the scratch memory whose addresses the outer program has just stored."""
    program = _program(_status(Scratch(64), 4), scratch=4096)
    larger = _program(_status(Scratch(0), 1), scratch=scratch_arena().size + (1 << 22))
    current, refused = runtime.current_team, list[str]()

    def interrupted(native: runtime.Driver) -> runtime.Team:
        if not refused:
            with pytest.raises(RuntimeError, match="a finalizer or signal handler ran a program") as error:
                larger.run(1)
            refused.append(str(error.value))
        return current(native)

    monkeypatch.setattr(runtime, "current_team", interrupted)
    arena = scratch_arena()
    with arena.lock:
        arena.reserve(4096)
        arena.view(64, (4,), np.int32)[:] = 0
        assert program.run(1) == 0
    assert len(refused) == 1
    assert not arena.running
    assert larger.run(1) >= 0


def test_thread_scratch_is_aligned_and_apart(threads: int) -> None:
    places = np.zeros(64, np.uint64)
    phase = Phase("where", "layer", kernels.address("where"), [Fixed(places.ctypes.data)], 64)
    for size in (100, 5000, 3 << 20):
        assert Program([phase], driver.load(), thread_scratch=size).run(1) == 0
        apart = np.unique(places)
        assert len(apart) <= threads
        assert not (apart % 64).any()
        assert (np.diff(apart) >= size).all()


def test_the_profile_sums_to_the_time_that_was_spent() -> None:
    counts, totals = np.zeros(16, np.int64), np.zeros(3, np.int64)
    table = [Fixed(counts.ctypes.data), Fixed(totals.ctypes.data), Fixed(totals.ctypes.data + 8)]
    count = kernels.address("count")
    long = Phase("count", "long", count, [*table, Fixed(0), Fixed(100_000)], 16)
    short = Phase("count", "short", count, [*table, Fixed(0), Fixed(100)], 16)
    program = _program(long, short)
    profile = program.start_profile()
    for _ in range(3):
        assert program.run(1) == 0
    program.stop_profile()
    assert program.run(1) == 0
    (first, long_seconds), (second, short_seconds) = profile.rows
    assert (first.path, second.path, profile.runs) == ("long", "short", 3)
    assert 0 < short_seconds < long_seconds < 1


def test_wrong_calls_are_refused() -> None:
    program = _program(_status(External("x"), 1, 1))
    with pytest.raises(ValueError, match="no address for x"):
        program.run(1)
    for n, first, last in [(-1, 0, 1), (1, 1, 0), (1, 0, 2), (2**40, 0, 1)]:
        with pytest.raises(ValueError, match="cannot run"):
            program.run(n, first=first, last=last)
    with pytest.raises(ValueError, match="per -1"):
        _program(_status(External("x"), -1))
    with pytest.raises(ValueError, match="Scratch"):
        _program(_status(Scratch(100), 1), scratch=64)


def test_python_threads_take_turns() -> None:
    wrong: list[int] = []

    def live(status: int) -> None:
        statuses = np.full(4, status, np.int32)
        for _ in range(200):
            if program.run(1, {"x": statuses.ctypes.data}) != status:
                wrong.append(status)

    program = _program(_status(External("x"), 4))
    people = [threading.Thread(target=live, args=(status,)) for status in (1, 2, 3)]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert not wrong
