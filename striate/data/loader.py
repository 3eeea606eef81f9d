"""Batches in an order that (seed, epoch) alone decide."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from striate.data.dataset import Dataset
from striate.errors import OptionError

_WORD = (1 << 64) - 1


class Batch(NamedTuple):
    """x (B, …) as the data set has it, y (B,) int64, indices (B,) int64: their places in the data set."""

    x: npt.NDArray[Any]
    y: npt.NDArray[np.int64]
    indices: npt.NDArray[np.int64]


def order(count: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """A permutation of 0 … count-1: the ranks of the words of Philox4x64 under the key (seed, epoch).

    Words rather than ``Generator.permutation``, since NumPy fixes the words for good, but not what it makes of them.
    """
    key = np.array([seed & _WORD, epoch & _WORD], dtype=np.uint64)
    return np.argsort(np.random.Philox(key=key).random_raw(count), kind="stable")


def batch_count(count: int, batch_size: int) -> int:
    """How many batches ``count`` samples make: ⌈count / batch_size⌉."""
    if batch_size < 1:
        raise OptionError(f"batch_size={batch_size}; wanted 1 or more")
    return -(-count // batch_size)


def batches(
    dataset: Dataset, batch_size: int, *, seed: int = 0, epoch: int = 0, shuffle: bool = True
) -> Iterator[Batch]:
    """Every sample once, in ⌈n / batch_size⌉ batches as equal as possible: their sizes differ by one at most.

    A short last batch would weigh its few samples more than all others, and their statistics would throw the running
    ones of batch normalization off (a batch of two made 98 % held-out accuracy 64 %).

    Raises ``OptionError`` for a batch size below 1, at once.

    >>> [len(batch.y) for batch in batches(load_digits("test"), 100)]
    [88, 89, 89, 89]
    """
    count = batch_count(len(dataset), batch_size)
    index = order(len(dataset), seed, epoch) if shuffle else np.arange(len(dataset))
    chosen = (index[i * len(index) // count : (i + 1) * len(index) // count] for i in range(count))
    return (Batch(dataset.images[part], dataset.labels[part], part) for part in chosen)
