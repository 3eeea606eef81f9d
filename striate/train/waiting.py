"""Measure the time that a training waits for its data."""

from __future__ import annotations

import time
from collections.abc import Iterator

from striate.data.loader import Batch


class Waiting:
    """An iterator over ``batches`` that measures how long the training waits for each batch.

    The attribute ``seconds`` is the total waiting time so far. It starts from the argument ``seconds``. If an
    interrupted epoch is continued, this argument is the time spent waiting before the interruption.
    """

    def __init__(self, batches: Iterator[Batch], seconds: float = 0.0) -> None:
        self._batches = batches
        self.seconds = seconds

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        start = time.perf_counter()
        try:
            return next(self._batches)
        finally:
            self.seconds += time.perf_counter() - start
