"""How a batch is divided into pieces, and which rank (process) computes which pieces.

fast    one piece per rank; gradients are added in the order that the MPI library chooses
exact   4 or 8 pieces, depending on the size of the batch. The gradients of the pieces are added in a binary tree. Every
        rank computes a whole subtree, so the sums have the same bits on any number of ranks::

                  ┌───────┴───────┐
              ┌───┴───┐       ┌───┴───┐
              0       1       2       3      pieces
              └ rank 0┘       └ rank 1┘      on two ranks
"""

from __future__ import annotations

from enum import Enum

from striate.distributed.communicator import Array, Communicator
from striate.errors import OptionError, unknown_option

_FEW, _MANY = 4, 8
_ENOUGH = 32
"""The least number of samples of a batch that is divided into 8 pieces."""


class Reduce(Enum):
    """How gradients are added over the ranks: as fast as possible, or with the same bits on any number of ranks."""

    FAST = "fast"
    EXACT = "exact"


def reduce_of(name: str | Reduce) -> Reduce:
    """Return the ``Reduce`` with this name; raises ``OptionError``, which lists the known names, for any other."""
    if isinstance(name, Reduce):
        return name
    if name not in [one.value for one in Reduce]:
        raise unknown_option("reduce", name, [one.value for one in Reduce])
    return Reduce(name)


def piece_count(samples: int, ranks: int, reduce: Reduce) -> int:
    """Return the number of pieces into which a batch of ``samples`` samples is divided among all ranks (processes).

    This is the number of ranks for ``Reduce.FAST``; for ``Reduce.EXACT`` it is 4, or 8 for batches of 32 samples or
    more. Raises ``OptionError`` for ``Reduce.EXACT`` if the ranks cannot share the pieces equally.
    """
    if reduce is Reduce.FAST:
        return ranks
    pieces = _MANY if samples >= _ENOUGH else _FEW
    if pieces % ranks:
        raise OptionError(
            f"reduce='exact' divides a batch of {samples} samples into {pieces} pieces, which {ranks} ranks cannot "
            f"share equally\n  help: {', '.join(str(n) for n in (1, 2, 4, 8) if n <= pieces)} ranks, or reduce='fast'"
        )
    return pieces


def piece_bounds(samples: int, pieces: int) -> list[int]:
    """Return the index of each piece's first sample, and ``samples`` at the end; piece sizes differ by one at most."""
    return [place * samples // pieces for place in range(pieces + 1)]


def tree_sum(parts: list[Array]) -> Array:
    """Return the sum of 1, 2, 4 or 8 arrays of the same shape, added in pairs: (a + b) + (c + d)."""
    while len(parts) > 1:
        parts = [a + b for a, b in zip(parts[::2], parts[1::2], strict=True)]
    return parts[0]


def sum_over_ranks(array: Array, communicator: Communicator) -> None:
    """Replace the contents of ``array`` by the sum of the arrays that all ranks pass.

    The arrays of neighbouring ranks are added first, then the sums of neighbouring pairs, and so on. Every rank gets
    the same bits. The number of ranks must be a power of two.
    """
    distance = 1
    while distance < communicator.size:
        array += communicator.swap(array, communicator.rank ^ distance)
        distance *= 2
