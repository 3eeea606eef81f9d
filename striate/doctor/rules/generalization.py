"""The doctor's rule about overfitting, which compares training with validation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from striate.doctor.changes import Epochs
from striate.doctor.finding import Finding, Severity
from striate.doctor.remedy import Remedy
from striate.doctor.rule import When, rule
from striate.doctor.training_trace import TrainingTrace

RISEN = 1.25
LEAST_RISE = 0.1
GAP = 0.05


@rule(
    "overfitting",
    When.EPOCH,
    looks_for="validation that grows worse while training grows better",
    threshold="validation loss 25 % and 0.1 nats above its best, two epochs or more ago, training loss below half of "
    "it, and training accuracy 5 points above validation's",
    source="Prechelt 1998, Early Stopping – But When?: generalization loss against the best so far",
    why="The network learns single samples by heart, which says nothing about others.",
    remedy="stop at the best epoch; augmentation, more data, weight decay, dropout, a smaller network",
)
def overfitting(trace: TrainingTrace) -> Iterator[Finding]:
    """Find a validation loss that rises again while the training loss keeps falling."""
    found = [loss for loss in trace.validation_losses if loss is not None]
    accuracies = [accuracy for accuracy in trace.validation_accuracies if accuracy is not None]
    if len(found) < 3 or len(found) != trace.epochs or not trace.probes:
        return
    best = int(np.argmin(found))
    last, train, known = found[-1], trace.epoch_losses[-1], trace.probes[-1].accuracy
    if best > len(found) - 3 or last < RISEN * found[best] or last - found[best] < LEAST_RISE:
        return
    if train > 0.5 * last or known - accuracies[-1] < GAP:
        return
    yield Finding(
        "overfitting", Severity.WARNING, "validation", (), 0.85,
        {"training loss": train, "validation loss": last, "best validation loss": found[best], "best epoch": best + 1,
         "training accuracy": known, "validation accuracy": accuracies[-1]},
        f"over-fitting: validation was best after epoch {best + 1} ({found[best]:.3g}) and is {last:.3g} now, while "
        f"training went on to {train:.2g}",
        "The network learns single samples by heart, which says nothing about others.",
        Remedy.of(
            trace.setup,
            f"stop after epoch {best + 1}; or augment=, more data, weight_decay=, nn.Dropout, a smaller network",
            Epochs(best + 1),
        ),
    )  # fmt: skip
