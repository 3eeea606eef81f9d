"""Links between ranks (processes): what messages cost on them, and communicators that count or delay messages."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from striate.distributed import Communicator, Pending
from striate.distributed.communicator import Done

_AT_ONCE = 16
"""The largest number of ranks that send messages to all others at once, as ``distributed.mpi`` does."""
_RATE = re.compile(r"([\d.]+)gbit(?::([\d.]+)ms)?")


@dataclass(frozen=True)
class Link:
    """The network card of each rank: ``bandwidth`` in bytes per second, and ``latency`` in seconds one way."""

    bandwidth: float
    latency: float

    @staticmethod
    def parse(text: str) -> Link:
        """Return the link of a text such as "1gbit:0.2ms" (1 Gbit/s, 0.2 ms) or "1gbit" (no latency)."""
        if (found := _RATE.fullmatch(text)) is None:
            raise SystemExit(f"{text!r}: expected a rate and a latency, such as 1gbit:0.2ms")
        rate, latency = found.groups()
        return Link(float(rate) * 1e9 / 8, float(latency or 0) * 1e-3)

    def gather(self, ranks: int, size: float) -> float:
        """Return the seconds until each rank has the ``size`` bytes of every other."""
        return _rounds(ranks) * self.latency + (ranks - 1) * size / self.bandwidth

    def small_sum(self, ranks: int, size: float) -> float:
        """Return the seconds of a sum of few bytes, which go up a binary tree of ranks and back."""
        return 2 * math.ceil(math.log2(ranks)) * (self.latency + size / self.bandwidth)

    def sum(self, ranks: int, size: float) -> float:
        """Return the seconds of a sum of many bytes: the ranks add a part each, and send each other the sums."""
        return 2 * size * (ranks - 1) / ranks / self.bandwidth + 2 * _rounds(ranks) * self.latency


def _rounds(ranks: int) -> int:
    """Return how many messages follow each other in an exchange; few ranks send to all others at once."""
    return 1 if ranks <= _AT_ONCE else math.ceil(math.log2(ranks))


class Pretended(Communicator):
    """A communicator of many ranks, all of which have the numbers of this one; it sends nothing."""

    rank = 0

    def __init__(self, size: int) -> None:
        self.size = size

    def gather(self, numbers: np.ndarray) -> np.ndarray:
        return np.tile(np.asarray(numbers, np.float64), (self.size, 1))

    def gather_bytes(self, contents: bytes) -> list[bytes]:
        return [contents] * self.size

    def start_sum(self, array: np.ndarray) -> Pending:
        return Done()

    def swap(self, array: np.ndarray, partner: int) -> np.ndarray:
        return array

    def on_this_host(self) -> Sequence[int]:
        return (0,)

    def abort(self, code: int) -> None:
        raise SystemExit(code)


class Timed(Communicator):
    """Adds up what communication costs; with a ``link``, it also delays messages, as that link would.

    Sums of gradients (float32) occupy the card of this rank one after the other while the computation goes on. Gathers,
    and sums of float64 numbers, are small messages for which the rank waits. A rank that waits sleeps, so that delays
    take no time of the processor.

    waits      seconds for which this rank waited for sums of gradients
    exchanges  seconds for which it waited for small messages
    messages   the number of small messages
    """

    def __init__(self, inner: Communicator, link: Link | None = None) -> None:
        self.inner, self.link = inner, link
        self.rank, self.size = inner.rank, inner.size
        self._free = 0.0
        self.reset()

    def reset(self) -> None:
        self.waits = self.exchanges = 0.0
        self.messages = 0

    def small(self, start: float, delay: float) -> None:
        sleep_until(time.perf_counter() + delay)
        self.exchanges += time.perf_counter() - start
        self.messages += 1

    def gather(self, numbers: np.ndarray) -> np.ndarray:
        start = time.perf_counter()
        found = self.inner.gather(numbers)
        self.small(start, self.link.gather(self.size, 8 * np.size(numbers)) if self.link else 0.0)
        return found

    def gather_bytes(self, contents: bytes) -> list[bytes]:
        return self.inner.gather_bytes(contents)

    def start_sum(self, array: np.ndarray) -> Pending:
        start = time.perf_counter()
        pending = self.inner.start_sum(array)
        if array.dtype != np.float32:
            return SmallSum(self, pending, start, self.link.small_sum(self.size, array.nbytes) if self.link else 0.0)
        if self.link:
            self._free = max(self._free, start) + self.link.sum(self.size, array.nbytes)
        return Bucket(self, pending, self._free)

    def swap(self, array: np.ndarray, partner: int) -> np.ndarray:
        return self.inner.swap(array, partner)

    def on_this_host(self) -> Sequence[int]:
        return self.inner.on_this_host()

    def abort(self, code: int) -> None:
        self.inner.abort(code)


class SmallSum:
    """A sum for which the rank waits at once."""

    def __init__(self, owner: Timed, pending: Pending, start: float, delay: float) -> None:
        self._owner, self._pending, self._start, self._delay = owner, pending, start, delay

    def test(self) -> bool:
        return False

    def wait(self) -> None:
        self._pending.wait()
        self._owner.small(self._start, self._delay)


class Bucket:
    """A sum of gradients, complete when the ranks have added them and the link is ``free``, at the earliest."""

    def __init__(self, owner: Timed, pending: Pending, free: float) -> None:
        self._owner, self._pending, self._free = owner, pending, free

    def test(self) -> bool:
        return self._pending.test() and time.perf_counter() >= self._free

    def wait(self) -> None:
        start = time.perf_counter()
        self._pending.wait()
        sleep_until(self._free)
        self._owner.waits += time.perf_counter() - start


def sleep_until(moment: float) -> None:
    while (rest := moment - time.perf_counter()) > 0:
        time.sleep(rest)
