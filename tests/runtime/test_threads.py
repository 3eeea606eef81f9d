"""The team: every chunk once, every barrier held, whatever the threads do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pytest

from striate.codegen import driver
from striate.runtime.threads import Team
from tests.runtime import kernels

DESCRIPTOR = np.dtype([("kernel", "u8"), ("operands", "u8"), ("per", "i8"), ("group", "i8")])


@pytest.fixture
def make_team() -> Iterator[Callable[[int], Team]]:
    teams: list[Team] = []

    def make(threads: int) -> Team:
        teams.append(Team(driver.load(), threads))
        teams[-1].reserve_scratch(64)
        return teams[-1]

    yield make
    for team in teams:
        team.close()


@dataclass
class Chain:
    """Phases that count their chunks and check that the phase before was finished."""

    sizes: list[int]
    turns: int

    def __post_init__(self) -> None:
        phases = len(self.sizes)
        self.counts = np.zeros((phases, max(1, *self.sizes)), np.int64)
        self.totals = np.zeros((phases + 1, 16), np.int64)
        self.table = np.zeros((phases, 5), np.int64)
        self.descriptors = np.zeros(phases, DESCRIPTOR)
        for index, size in enumerate(self.sizes):
            before = self.sizes[index - 1] if index else 0
            self.table[index] = (
                self.counts[index].ctypes.data,
                self.totals[index + 1].ctypes.data,
                self.totals[index].ctypes.data,
                before,
                self.turns,
            )
            self.descriptors[index] = (kernels.address("count"), self.table[index].ctypes.data, size, 0)

    @property
    def address(self) -> int:
        return self.descriptors.ctypes.data

    def clear(self) -> None:
        self.counts[:] = 0
        self.totals[:] = 0

    def check(self) -> None:
        for index, size in enumerate(self.sizes):
            np.testing.assert_array_equal(self.counts[index, :size], 1)
            assert not self.counts[index, size:].any()
            assert self.totals[index + 1, 0] == size


@pytest.mark.parametrize("threads", [1, 2, 3, 8])
def test_every_chunk_runs_once_and_every_barrier_holds(make_team: Callable[[int], Team], threads: int) -> None:
    team = make_team(threads)
    generator = np.random.default_rng(threads)
    for turns in (0, 30):
        chain = Chain([int(size) for size in generator.choice([0, 1, 2, 3, 5, 8, 17, 64, 301], size=40)], turns)
        for _ in range(150):
            chain.clear()
            assert team.run(chain.address, 0, len(chain.sizes), 1) is None
            chain.check()
