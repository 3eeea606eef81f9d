"""Ranks that are threads of this process, for quick tests of what ranks send each other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from striate.distributed import Communicator
from striate.distributed.communicator import Array, Done

Found = TypeVar("Found")


class InThreads(Communicator):
    """A rank that is a thread; all ranks share the list ``given``, of one place for each, and the barrier."""

    def __init__(self, rank: int, given: list[Any], barrier: threading.Barrier) -> None:
        self.rank, self.size = rank, len(given)
        self._given, self._barrier = given, barrier

    def _exchanged(self, own: Any) -> list[Any]:
        self._given[self.rank] = own
        self._barrier.wait()
        found = list(self._given)
        self._barrier.wait()
        return found

    def gather(self, numbers: Array) -> Array:
        return np.stack(self._exchanged(np.array(numbers, np.float64)))

    def gather_bytes(self, contents: bytes) -> list[bytes]:
        return self._exchanged(contents)

    def start_sum(self, array: Array) -> Done:
        array[...] = np.sum(self._exchanged(array.copy()), axis=0)
        return Done()

    def swap(self, array: Array, partner: int) -> Array:
        return self._exchanged(array.copy())[partner]

    def on_this_host(self) -> Sequence[int]:
        return range(self.size)

    def abort(self, code: int) -> None:
        self._barrier.abort()


def on_threads(ranks: int, function: Callable[[InThreads], Found]) -> list[Found]:
    """Return the results of ``function(communicator)`` on all ranks; an error on one ends the others."""
    given, barrier = [None] * ranks, threading.Barrier(ranks, timeout=60)

    def run(rank: int) -> Found:
        try:
            return function(InThreads(rank, given, barrier))
        except BaseException:
            barrier.abort()
            raise

    with ThreadPoolExecutor(ranks) as pool:
        return [one.result() for one in [pool.submit(run, rank) for rank in range(ranks)]]
