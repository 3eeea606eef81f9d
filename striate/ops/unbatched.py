"""One sample without the axis of samples: (C, positions…) in place of (N, C, positions…), as PyTorch's layers take it.

A value whose axis 0 is the symbolic N is always a batch. Another value is one sample if it has one axis fewer than the
operation's batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from striate.graph.arithmetic import reshape
from striate.graph.value import TensorType, Value


def is_sample(x: TensorType, rank: int) -> bool:
    """Whether x is one sample (C, positions…) with ``rank`` axes of positions."""
    return x.rank == rank + 1 and not x.batched


def position_axes(x: TensorType, *options: object) -> int:
    """The number of axes of positions, for an operation that takes any.

    It is the length of the first option that has an entry for each axis. Otherwise x is taken for a batch
    (N, C, positions…), unless it has only two axes, (C, L).
    """
    for option in options:
        if isinstance(option, Sequence) and not isinstance(option, str):
            return len(option)  # pyright: ignore[reportUnknownArgumentType]
    return max(1, x.rank - 2)


def over_samples(function: Callable[[Value], Value], x: Value, rank: int) -> Value:
    """``function(x)`` for a batch (N, C, positions…); for one sample, its result without the axis of samples."""
    if not is_sample(x.type, rank):
        return function(x)
    y = function(reshape(x, (1, *x.shape)))
    return reshape(y, y.shape[1:])
