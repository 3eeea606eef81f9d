"""How several ranks (processes) share the batches of a training."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from striate.distributed import Communicator, Reduce, piece_bounds, piece_count
from striate.errors import DataError, OptionError
from striate.graph.value import Array, DType
from striate.nn.loss import Loss
from striate.step.batch import Batch
from striate.step.training_graph import FIRST_ROW, SHARE, WEIGHT


@dataclass(frozen=True)
class Sharing:
    """The ranks (processes) that share every batch, and how their results are merged.

    ranks         the communicator, which sends numbers between the ranks
    reduce        how gradients are added: ``FAST``, or ``EXACT`` with the same bits on any number of ranks
    synchronized  whether batch normalization computes its statistics over the samples of all ranks
    """

    ranks: Communicator
    reduce: Reduce = Reduce.FAST
    synchronized: bool = True

    def capacity(self, samples: int) -> int:
        """Return the number of samples of the largest piece, if the batch of all ranks has ``samples`` samples.

        A piece is a part of the batch that one run of a program computes, and a rank is a process.
        """
        return -(-samples // piece_count(samples, self.ranks.size, self.reduce))


class SharedTotals(NamedTuple):
    """The number of samples of a batch on all ranks (processes), and the totals of its loss.

    ``total`` is the weighted sum of the losses, and ``weight`` the sum of the weights (see ``Loss.totals``).
    """

    samples: int
    total: float
    weight: float


@dataclass(frozen=True)
class Piece:
    """A part of a batch that one run of the gradient program processes.

    arrays  the inputs of the program by name: samples, targets, ``SHARE`` (by which this piece's loss is
            multiplied), ``FIRST_ROW`` (the row of the piece's first sample in the joint batch of all ranks), and
            ``WEIGHT`` if there are sample weights
    n       the number of samples
    weight  the piece's share of the samples of all ranks, from 0 to 1
    """

    arrays: dict[str, Array]
    n: int
    weight: float


@dataclass(frozen=True)
class Places:
    """The rows that this rank's pieces (parts of a batch) have in the batch of all ranks (processes).

    ``bounds`` are the first row of each piece, then the row after the last piece. ``samples`` is the number of samples
    on all ranks.
    """

    bounds: tuple[int, ...]
    samples: int

    @property
    def largest(self) -> int:
        """The number of samples of this rank's largest piece (part of a batch)."""
        return max(rows.stop - rows.start for rows in self.slices)

    @property
    def slices(self) -> list[slice]:
        """The rows of each of this rank's pieces (parts of a batch), counted from the rank's first sample."""
        first, *_ = self.bounds
        return [slice(a - first, b - first) for a, b in zip(self.bounds, self.bounds[1:])]


def places_of(batch: Batch, kind: object, divisor: float, sharing: Sharing) -> tuple[Places, Array]:
    """Return this rank's rows in the batch of all ranks (processes), and every rank's ``divisor`` as an array.

    ``batch`` has the samples of this rank, and ``sharing`` says how the ranks share a batch. ``divisor`` is the divisor
    of this rank's mean loss (see ``divisor_of``), and ``kind`` is everything else on which the program of the batch
    depends. All ranks must call this function.

    Raises ``OptionError`` if ``kind`` differs between ranks. For ``Reduce.EXACT``, it is also raised if the batch is
    too small, or if the ranks do not have equal parts of the batch.
    """
    ranks, n = sharing.ranks, batch.samples
    found = ranks.gather(np.array([n, zlib.crc32(repr(kind).encode()), divisor], np.float64))
    if (found[:, 1] != found[0, 1]).any():
        raise OptionError(
            "the ranks have batches of different shapes or dtypes, or different watches\n"
            "  help: give all ranks samples of one data set, and the same options"
        )
    counts = found[:, 0].astype(np.int64)
    total, first = int(counts.sum()), int(counts[: ranks.rank].sum())
    if sharing.reduce is Reduce.FAST:
        return Places((first, first + n), total), found[:, 2]
    count = piece_count(total, ranks.size, sharing.reduce)
    if total < count:
        raise OptionError(f"reduce='exact' needs batches of at least {count} samples, got {total}")
    own = count // ranks.size
    bounds = piece_bounds(total, count)[ranks.rank * own : (ranks.rank + 1) * own + 1]
    if (bounds[0], bounds[-1]) != (first, first + n):
        raise OptionError(
            f"reduce='exact': rank {ranks.rank} needs rows {bounds[0]} to {bounds[-1] - 1} of the batch of {total} "
            f"samples, and has rows {first} to {first + n - 1}\n"
            "  help: rank r of R takes the rows from r·N // R to (r + 1)·N // R of every batch of N samples"
        )
    return Places(tuple(bounds), total), found[:, 2]


def divisor_of(batch: Batch, rows: slice, loss: Loss) -> float:
    """Return the divisor of the mean loss of the samples ``rows`` of ``batch``, whose labels must be valid.

    The divisor is the number of items (such as pixels), or the sum of their class weights; with sample weights, each
    item counts times the weight of its sample. For a loss with ``reduction="sum"``, the divisor is the number of
    samples, or the sum of the sample weights (see ``Loss.totals``).
    """
    weights = None if batch.weights is None else batch.weights[rows]
    return loss.totals(0.0, batch.main_target(batch.arrays)[rows], weights)[1]


def pieces_of(batch: Batch, places: Places, loss: Loss, sharing: Sharing, divisors: Array, dtype: DType) -> list[Piece]:
    """Return ``batch``, this rank's part of a batch, divided into pieces at the rows in ``places``.

    Each piece has a factor for its loss, such that the sum of the losses of all pieces is the loss of the whole batch.
    ``divisors`` has the divisor (see ``divisor_of``) of every piece on every rank, in the order of the samples.
    ``dtype`` is the dtype of the model. With sample weights, raises ``DataError`` if no sample on any rank has both a
    sample weight and a class weight above 0.
    """
    own, total = len(places.slices), float(divisors.sum())
    first = sharing.ranks.rank * own
    adds, weights = loss.reduction == "sum", batch.weights
    if weights is not None and not total:
        raise DataError("no sample of this batch has both a sample weight and a class weight above 0")
    found: list[Piece] = []
    for rows, start, divisor in zip(places.slices, places.bounds, divisors[first : first + own]):
        arrays = {name: array[rows] for name, array in batch.arrays.items()}
        share = 1.0 if adds or weights is not None else float(divisor) / (total or np.nan)
        arrays[SHARE] = np.asarray(share, dtype.numpy)
        arrays[FIRST_ROW] = np.asarray(start, np.int64)
        if weights is not None:
            arrays[WEIGHT] = (weights[rows] if adds else weights[rows] / total).astype(dtype.numpy)
        n = rows.stop - rows.start
        found.append(Piece(arrays, n, n / places.samples))
    return found
