"""Memory: arrays that are alive at the same time do not overlap, and later steps allocate nothing."""

from __future__ import annotations

import gc
import mmap
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import striate
from striate import nn, optim
from striate.graph.value import Value
from striate.runtime.arena import scratch_arena
from striate.runtime.program import Scratch
from tests.compiled.networks import NETWORKS, residual_block, step_problems


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
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * mmap.PAGESIZE


def _step() -> tuple[striate.TrainingStep, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    step = striate.TrainingStep(residual_block().initialize(0), nn.CrossEntropyLoss(), optim.SGD(lr=0.01, momentum=0.9))
    return step, random.standard_normal((16, 3, 24, 24)).astype(np.float32), random.integers(0, 10, 16)


@pytest.mark.slow
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


@pytest.mark.slow
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
