"""A chain of phases that checks itself: each chunk runs once, and each barrier holds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from striate.runtime.threads import Failure, Helpers, Team
from tests.runtime import kernels

DESCRIPTOR = np.dtype([("kernel", "u8"), ("operands", "u8"), ("per", "i8"), ("group", "i8")])


class Chain:
    """Phases of ``sizes`` chunks that count themselves, and wait up to 7 · ``turns`` loop turns each.

    A chunk that starts before the previous phase is finished returns status 77.
    """

    def __init__(self, sizes: Sequence[int], turns: int) -> None:
        phases = len(sizes)
        self.sizes = tuple(sizes)
        self.counts = np.zeros((phases, max(1, *sizes)), np.int64)
        self.totals = np.zeros((phases + 1, 16), np.int64)
        self.table = np.zeros((phases, 5), np.int64)
        self.descriptors = np.zeros(phases, DESCRIPTOR)
        for index, size in enumerate(sizes):
            counts, before, total = self.counts[index], self.totals[index], self.totals[index + 1]
            expected = sizes[index - 1] if index else 0
            self.table[index] = (counts.ctypes.data, total.ctypes.data, before.ctypes.data, expected, turns)
            self.descriptors[index] = (kernels.address("count"), self.table[index].ctypes.data, size, 0)

    def start(self, team: Team, helpers: Helpers = Helpers.ALL) -> Failure | None:
        """Clear the counts and run all phases."""
        self.counts[:] = 0
        self.totals[:] = 0
        return team.run(self.descriptors.ctypes.data, 0, len(self.sizes), 1, helpers=helpers)

    def check(self) -> None:
        """Raise unless each chunk of each phase was counted once."""
        for index, size in enumerate(self.sizes):
            np.testing.assert_array_equal(self.counts[index, :size], 1)
            assert not self.counts[index, size:].any()
            assert self.totals[index + 1, 0] == size

    def run(self, team: Team, helpers: Helpers = Helpers.ALL) -> None:
        """Run all phases and check them."""
        assert self.start(team, helpers) is None
        self.check()
