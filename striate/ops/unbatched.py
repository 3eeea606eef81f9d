"""Unbatched inputs: one sample (C, positions…) in place of a batch (N, C, positions…), which PyTorch accepts too.

A value whose axis 0 is the symbolic N is always a batch. Any other value is one sample if it has one axis fewer than a
batch has in this operation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from striate.graph.reshape import reshape
from striate.graph.value import TensorType, Value


def is_sample(x: TensorType, rank: int) -> bool:
    """Return whether x is one sample (C, positions…) with ``rank`` spatial axes."""
    return x.rank == rank + 1 and not x.batched


def position_axes(x: TensorType, *options: object) -> int:
    """Return the number of spatial axes of x, for an operation on one, two or three of them.

    ``options`` are the values of those options of the operation that may have one entry for each spatial axis. If one
    of these values is a sequence, such as (3, 3), its length is the number of spatial axes. Otherwise, x is taken for a
    batch (N, C, positions…), or for a sample (C, L) if it has only two axes.
    """
    for option in options:
        if isinstance(option, Sequence) and not isinstance(option, str):
            return len(option)  # pyright: ignore[reportUnknownArgumentType]
    return max(1, x.rank - 2)


Result = TypeVar("Result", Value, tuple[Value, Value])
"""The result of a function of a batch: one value or two, each with N on axis 0."""


def over_samples(function: Callable[[Value], Result], x: Value, rank: int) -> Result:
    """Return ``function(x)`` for a batch x; for one sample, call it with a batch of one and drop axis 0 of the results.

    ``rank`` is the number of spatial axes.
    """
    if not is_sample(x.type, rank):
        return function(x)
    y = function(reshape(x, (1, *x.shape)))
    if isinstance(y, tuple):
        first, second = y
        return reshape(first, first.shape[1:]), reshape(second, second.shape[1:])
    return reshape(y, y.shape[1:])
