"""Communicators: how the ranks (processes) of a training exchange numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Pending(Protocol):
    """Protocol: a sum over all ranks that was started and may not be complete."""

    def test(self) -> bool:
        """Let the communication make progress; return whether it is complete."""
        ...

    def wait(self) -> None:
        """Return when the communication is complete."""
        ...


class Communicator(ABC):
    """A group of ranks (processes) that train one model together (abstract).

    ``rank`` is the number of this process, 0 … ``size`` − 1. Every method except ``abort`` must be called by all ranks,
    in the same order.
    """

    rank: int
    size: int

    @abstractmethod
    def gather(self, numbers: Array) -> Array:
        """Return the float64 vectors (L,) of all ranks as rows of an array (size, L); L is the same on all ranks."""

    @abstractmethod
    def gather_bytes(self, contents: bytes) -> list[bytes]:
        """Return the ``contents`` that each rank passes, in the order of the ranks; their lengths may differ."""

    def gather_texts(self, text: str) -> list[str]:
        """Return the ``text`` that each rank passes, in the order of the ranks."""
        return [one.decode() for one in self.gather_bytes(text.encode())]

    @abstractmethod
    def start_sum(self, array: Array) -> Pending:
        """Start to replace the contents of ``array`` by the sum of the arrays that all ranks pass.

        ``array`` is a contiguous vector of the same length and dtype on all ranks. Until the returned ``Pending`` is
        complete, ``array`` must be neither read nor written. The order of the additions is not specified.
        """

    @abstractmethod
    def swap(self, array: Array, partner: int) -> Array:
        """Send ``array`` to the rank ``partner``, and return the array that ``partner`` sends to this rank.

        ``partner`` must make the same call with this rank and an array of the same shape and dtype.
        """

    @abstractmethod
    def on_this_host(self) -> Sequence[int]:
        """Return the ranks that run on the same machine as this rank, itself included, in increasing order."""

    @abstractmethod
    def abort(self, code: int) -> None:
        """End the processes of all ranks with this exit code; this method does not return.

        It is enough that one rank calls it.
        """

    def largest(self, *numbers: int) -> tuple[int, ...]:
        """Return, for each argument, the largest value that any rank passes in the same position."""
        if self.size == 1:
            return numbers
        return tuple(map(int, self.gather(np.array(numbers, np.float64)).max(axis=0)))

    def wait_for_all(self) -> None:
        """Return when all ranks have called this method."""
        self.largest(0)


class Done:
    """A ``Pending`` that is complete from the start."""

    def test(self) -> bool:
        return True

    def wait(self) -> None:
        pass


class Alone(Communicator):
    """The communicator of a single process. Other ranks do not exist, so nothing is sent."""

    rank = 0
    size = 1

    def gather(self, numbers: Array) -> Array:
        return np.array(numbers, np.float64)[np.newaxis]

    def gather_bytes(self, contents: bytes) -> list[bytes]:
        return [contents]

    def start_sum(self, array: Array) -> Pending:
        return Done()

    def swap(self, array: Array, partner: int) -> Array:
        raise ValueError("a single process has no partner")

    def on_this_host(self) -> Sequence[int]:
        return (0,)

    def abort(self, code: int) -> None:
        raise SystemExit(code)
