"""Memory: what lives at the same time lies apart, and steps after the first allocate nothing."""

from __future__ import annotations

import gc
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import striate
from striate import nn, optim
from striate.graph.value import Value
from striate.passes.memory import ALIGNMENT, Life, lives, place
from striate.runtime.arena import scratch_arena
from striate.runtime.program import Scratch
from tests.compiled.networks import NETWORKS, residual_block, step_problems

LIVES = st.lists(
    st.tuples(st.one_of(st.integers(0, 300), st.integers(3000, 20000)), st.integers(0, 12), st.integers(0, 6)).map(
        lambda drawn: Life(drawn[0], drawn[1], drawn[1] + drawn[2])
    ),
    max_size=25,
)


@given(LIVES)
def test_no_two_live_arrays_overlap(wanted: list[Life]) -> None:
    offsets, total = place(dict(enumerate(wanted)))
    assert offsets.keys() == set(range(len(wanted)))
    for i, one in enumerate(wanted):
        assert offsets[i] % ALIGNMENT == 0
        assert 0 <= offsets[i] <= offsets[i] + one.size <= total
        for j, other in enumerate(wanted[:i]):
            together = one.first <= other.last and other.first <= one.last
            apart = offsets[i] + one.size <= offsets[j] or offsets[j] + other.size <= offsets[i]
            assert apart or not together or not one.size or not other.size, (one, other)


@given(LIVES)
def test_placing_is_not_wasteful(wanted: list[Life]) -> None:
    """Never more than everything side by side (in whole pages, where arrays are that large)."""
    _, total = place(dict(enumerate(wanted)))
    assert total <= sum(-(-life.size // 4096) * 4096 if life.size >= 4096 else 4096 for life in wanted)


def test_lives_reach_from_first_to_last_use() -> None:
    found = lives([["a", "b"], ["b", "c"], ["a"], ["d"]], {"a": 1, "b": 2, "c": 3})
    assert found == {"a": Life(1, 0, 2), "b": Life(2, 0, 1), "c": Life(3, 1, 1)}


@pytest.mark.parametrize("name", NETWORKS)
def test_no_live_arrays_of_a_step_overlap(name: str) -> None:
    problem = step_problems(name)[0]
    executable = problem.compiled(problem.n)
    base = executable.compiled.layouts.base
    assert executable.program
    spans: dict[object, tuple[int, int, int, int]] = {}
    for index, (draft, phase) in enumerate(zip(executable._phases, executable.program.phases, strict=True)):
        for operand, home in zip(draft.operands, phase.operands, strict=True):
            if isinstance(home, Scratch):
                thing = base(operand) if isinstance(operand, Value) else operand
                first = spans[thing][2] if thing in spans else index
                spans[thing] = (home.offset, home.offset + executable._size(thing, problem.n), first, index)
    rows = list(spans.values())
    assert rows
    for i, (start, end, first, last) in enumerate(rows):
        for start_2, end_2, first_2, last_2 in rows[:i]:
            assert end <= start_2 or end_2 <= start or last < first_2 or last_2 < first
    assert executable.scratch_bytes < sum(end - start for start, end, _, _ in rows), "nothing shares memory"


def _resident() -> int:
    """Resident bytes of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def _step() -> tuple[striate.TrainingStep, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    step = striate.TrainingStep(residual_block().initialize(0), nn.CrossEntropyLoss(), optim.SGD(lr=0.01, momentum=0.9))
    return step, random.standard_normal((16, 3, 24, 24)).astype(np.float32), random.integers(0, 10, 16)


def test_steps_after_the_first_allocate_nothing_large() -> None:
    step, x, y = _step()
    for _ in range(3):
        step(x, y)
    base, size = scratch_arena().base, scratch_arena().size
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        for _ in range(20):
            step(x, y)
        _, peak = tracemalloc.get_traced_memory()
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert after - before < 8_000, "steps leave something behind"
    assert peak - before < 64_000, "a step makes arrays (one activation alone takes 590 kB)"
    assert (scratch_arena().base, scratch_arena().size) == (base, size)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_resident_memory_is_flat() -> None:
    step, x, y = _step()
    for _ in range(5):
        step(x, y)
    gc.collect()
    before = _resident()
    for n in (16, 7, 1, 16) * 30:
        step(x[:n], y[:n])
    gc.collect()
    assert _resident() - before < 2 * 2**20
