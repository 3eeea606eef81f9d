"""The batches that the doctor keeps, to show them to the model again and to know the targets of a user's own loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.data.loader import batch_count, batches
from striate.doctor.training_trace import TrainingTrace

Array = npt.NDArray[Any]
PROBED = 256
"""Samples to which a probe applies the model."""
_TARGETS = 50
"""Batches at the start of a training whose numeric targets are kept."""
_RECENT = 8
"""Recent batches that are kept."""


class KeptBatches:
    """The recent batches of a training, and the numeric targets of its first batches.

    ``recent`` are (x, y) of the last 8 batches. ``targets`` has an array of float64 (N, outputs) for each of the first
    50 batches; it is empty if the training classifies. ``trace`` has the observations of the training.
    """

    def __init__(self, trace: TrainingTrace) -> None:
        self._trace = trace
        self.recent: deque[tuple[Array, Array]] = deque(maxlen=_RECENT)
        self.targets: list[Array] = []

    def add(self, x: Array, y: Array) -> None:
        """Keep the inputs x and labels or targets y of a batch on which the training step has run."""
        self.recent.append((x, y))
        if not self._trace.setup.classifies and y.ndim and len(y) and len(self.targets) < _TARGETS:
            self.targets.append(_flat(y))

    def recall(self) -> None:
        """Restore the kept batches of a resumed training from its training set; without a training set, do nothing."""
        setup, steps = self._trace.setup, self._trace.steps
        if setup.train_set is None or not steps:
            return
        self.recent.extend(self._batches_of(max(0, steps - _RECENT), steps))
        if not setup.classifies:
            self.targets = [_flat(y) for _, y in self._batches_of(0, min(steps, _TARGETS)) if y.ndim]

    def _batches_of(self, first: int, stop: int) -> Iterator[tuple[Array, Array]]:
        """Yield the batches of the steps with the numbers ``first`` to ``stop`` − 1, counted from 0."""
        setup = self._trace.setup
        assert setup.train_set is not None
        count = batch_count(len(setup.train_set), setup.batch_size)
        for epoch in range(first // count, -(-stop // count)):
            start = max(first - epoch * count, 0)
            found = batches(
                setup.train_set, setup.batch_size, seed=setup.seed, epoch=epoch, shuffle=setup.shuffle, first=start
            )
            for x, y, _ in islice(found, min(stop - epoch * count, count) - start):
                yield x, y

    def to_compare(self) -> list[tuple[Array, Array]]:
        """Return [(x, y)]: one batch of training data, on which training and evaluation mode can be compared.

        If the doctor has a training set, the batch is a random choice of at least 256 samples of this set. Otherwise,
        the batch is the first samples of ``recent``.
        """
        trace, size = self._trace, max(PROBED, self._trace.setup.batch_size)
        train_set = trace.setup.train_set
        if train_set is None or trace.data is None:
            x, y = ([one[part] for one in self.recent] for part in (0, 1))
            return [(np.concatenate(x)[:size], np.concatenate(y)[:size])]
        index = np.random.default_rng(0).permutation(trace.data.index)[:size]
        return [(train_set.images[index], train_set.labels[index])]

    def to_probe(self) -> tuple[Array, Array] | None:
        """Return the training samples (x, y) whose predictions are measured.

        With a training set, every call returns the same samples. Without one, they are samples of the last batch; None
        before the first batch.
        """
        trace = self._trace
        if trace.setup.train_set is not None and trace.data is not None:
            chosen = trace.data.index[:: max(1, len(trace.data.index) // PROBED)][:PROBED]
            return trace.setup.train_set.images[chosen], trace.setup.train_set.labels[chosen]
        if self.recent:
            x, y = self.recent[-1]
            return x[:PROBED], y[:PROBED]
        return None


def _flat(y: Array) -> Array:
    return y.reshape(len(y), -1).astype(np.float64)
