"""Test the native driver: race conditions made more likely, and its code for other processors."""

from __future__ import annotations

import re

import numpy as np
import pytest

from striate.codegen import driver, jit, target
from striate.errors import EngineError
from striate.runtime.threads import Team
from tests.runtime.chain import Chain

ATOMIC = re.compile(r"^(.*(?:load atomic|store atomic|cmpxchg|atomicrmw) .*)$", re.MULTILINE)


@pytest.mark.slow
@pytest.mark.skipif("windows" in target.host().triple, reason="sched_yield is of POSIX")
@pytest.mark.parametrize("threads", [2, 3, 8])
def test_no_chunk_is_lost_when_every_step_is_interrupted(threads: int) -> None:
    # A thread that gives its core away before each atomic step stands still in every state there is: what takes
    # hours to happen by chance happens within a second.
    text, steps = ATOMIC.subn(r"  call i32 @sched_yield()\n\1", driver.write(target.host().triple))
    assert steps > 10
    team = Team(driver.load_text(text), threads)
    team.reserve_scratch(64)
    generator = np.random.default_rng(threads)
    try:
        for _ in range(10):
            chain = Chain(generator.choice([1, 2, 3, 4, 5, 7, 9, 20], size=30).tolist(), 1)
            for _ in range(10):
                chain.run(team)
    finally:
        team.close()


@pytest.mark.parametrize("cpu", ["neoverse-v1", "apple-m1", "x86-64"])
def test_it_compiles_for_other_processors(cpu: str) -> None:
    there = target.named(cpu)
    text = jit.disassembly(driver.write(there.triple), there).lower()
    wanted = ("cntvct_el0", "fpcr", "yield") if cpu != "x86-64" else ("rdtsc", "ldmxcsr", "pause")
    assert all(word in text for word in wanted)


@pytest.mark.parametrize("cpu", ["generic", "apple-m1"])
def test_arm_orders_memory_by_instructions_of_its_own(cpu: str) -> None:
    there = target.named(cpu)
    text = jit.disassembly(driver.write(there.triple), there).lower()
    assert "__aarch64_" not in text
    assert "bl\t__" not in text
    parts = re.split(r"(?m)^_?(execute|stamp|advance|help|take|striate_run|striate_work|striate_cycles):", text)
    code = dict(zip(parts[1::2], parts[2::2], strict=True))
    loads, stores = ("ldaxr", "stlxr") if cpu == "generic" else ("casal", "ldaddal")
    assert loads in code["take"]  # a taken chunk: everything about its phase is read after this
    assert (stores if cpu == "apple-m1" else loads) in code["help"]  # the count of pending chunks
    assert len(re.findall(r"\bstlu?r\b", code["advance"])) >= 3  # outcome, pending and seats, after the phase
    assert len(re.findall(r"\bldap?u?r\b", code["striate_work"])) >= 4


def test_windows_yields_in_its_own_way() -> None:
    assert "SwitchToThread" in driver.write("x86_64-pc-windows-msvc")


def test_an_unknown_processor_is_refused_by_name() -> None:
    with pytest.raises(EngineError, match="riscv64"):
        driver.write("riscv64-unknown-linux-gnu")
