"""Where a training stands: the part of a checkpoint that is neither weights nor history."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Place:
    """The next batch of a training, and what the epoch that it belongs to has added up so far.

    epoch        number of the epoch, from 1
    batch        batches of it that are done; 0 where it has not begun
    samples      samples of it that were trained on
    seconds      time that it has taken
    loss_total   Σ w·l over its samples, as ``EpochLoss`` has it
    loss_weight  Σ w over its samples
    stopping     the reason why a callback ends the training here; None where none does
    told         kind and cause of the doctor's findings that were shown
    """

    epoch: int = 1
    batch: int = 0
    samples: int = 0
    seconds: float = 0.0
    loss_total: float = 0.0
    loss_weight: float = 0.0
    stopping: str | None = None
    told: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def begin_epoch(self, number: int) -> None:
        """Moves to the beginning of an epoch."""
        self.epoch, self.batch, self.samples, self.seconds = number, 0, 0, 0.0
        self.loss_total = self.loss_weight = 0.0
