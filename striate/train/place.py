"""The position of a training: epoch, batch, and sums of times and losses in the current epoch."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Place:
    """The position of a training between two steps.

    epoch        number of the current epoch, from 1
    batch        number of batches of this epoch that are done
    samples      number of samples of this epoch that were trained on
    seconds      time spent on this epoch so far
    waiting      the part of ``seconds`` in which the network waited for a batch
    loss_total   Σ w·l over the samples of this epoch so far: ``EpochLoss.total``
    loss_weight  Σ w over the samples of this epoch so far: ``EpochLoss.weight``
    stopping     the reason that a callback gave when it stopped the training; None if it was not stopped
    told         kind and cause of each finding (problem of the training) that was shown already

    w is the weight of a sample, and l its loss.
    """

    epoch: int = 1
    batch: int = 0
    samples: int = 0
    seconds: float = 0.0
    waiting: float = 0.0
    loss_total: float = 0.0
    loss_weight: float = 0.0
    stopping: str | None = None
    told: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def begin_epoch(self, number: int) -> None:
        """Move to the beginning of epoch ``number``, and set all counts and sums to 0."""
        self.epoch, self.batch, self.samples = number, 0, 0
        self.seconds = self.waiting = 0.0
        self.loss_total = self.loss_weight = 0.0
