"""Batches of a data set, in an order that is a function of (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from striate.data.dataset import Dataset, require_dataset
from striate.options import flag, whole_number
from striate.options import seed as checked_seed


class Batch(NamedTuple):
    """One batch of B samples.

    x        inputs (B, …) in the dtype of the data set
    y        labels or targets of these samples; class numbers are int64 (B,)
    indices  the indices of the samples in the data set, int64 (B,)
    """

    x: npt.NDArray[Any]
    y: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int64]


def order(count: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Return a random permutation of 0 … count - 1, int64, that depends on (seed, epoch) alone.

    The permutation sorts the random words of Philox4x64 with the key (seed, epoch). These words are the same in all
    versions of NumPy.
    """
    key = np.array([seed, epoch], dtype=np.uint64)
    return np.argsort(np.random.Philox(key=key).random_raw(count), kind="stable")


def batch_count(count: int, batch_size: int) -> int:
    """Return the number of batches, ⌈count / batch_size⌉; raises ``OptionError`` for a batch size below 1."""
    return -(-count // whole_number("batch_size", batch_size, 1))


def index_batches(
    count: int,
    batch_size: int,
    *,
    seed: int = 0,
    epoch: int = 0,
    shuffle: bool = True,
    first: int = 0,
    share: tuple[int, int] = (0, 1),
) -> list[npt.NDArray[np.int64]]:
    """Return the indices of the samples in each batch of an epoch over ``count`` samples, as ``batches`` orders them.

    The options and errors are those of ``batches``.
    """
    number = batch_count(count, batch_size)
    seed, epoch = checked_seed(seed), whole_number("epoch", epoch, 0, 2**64 - 1)
    index = order(count, seed, epoch) if flag("shuffle", shuffle) else np.arange(count)
    numbers = range(whole_number("first", first, 0), number)
    chosen = [index[i * count // number : (i + 1) * count // number] for i in numbers]
    rank, ranks = share
    return [rows[rank * len(rows) // ranks : (rank + 1) * len(rows) // ranks] for rows in chosen]


def batches(
    dataset: Dataset,
    batch_size: int,
    *,
    seed: int = 0,
    epoch: int = 0,
    shuffle: bool = True,
    first: int = 0,
    share: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Iterate over all n samples once, in ⌈n / batch_size⌉ batches whose sizes differ by one at most.

    A short last batch is avoided: its few samples would have more weight than the others, and it would spoil the
    running statistics of batch normalization.

    seed, epoch  determine the order, together with the number of samples; every epoch has a different order
    shuffle      False: the samples in the order of the data set
    first        the number of batches at the beginning to leave out, for a training that is resumed
    share        (r, R): of each batch of N samples, only those from r·N // R to (r + 1)·N // R − 1, for rank r of R
                 processes that train together

    Raises ``OptionError``, before the first batch, unless batch_size ≥ 1, first ≥ 0 and 0 ≤ seed, epoch < 2⁶⁴, and for
    anything but a ``Dataset``.

    >>> [len(batch.y) for batch in batches(load_digits("test"), 100)]
    [88, 89, 89, 89]
    """
    require_dataset(dataset)
    chosen = index_batches(len(dataset), batch_size, seed=seed, epoch=epoch, shuffle=shuffle, first=first, share=share)
    return (Batch(dataset.images[part], dataset.labels[part], part) for part in chosen)
