"""The rule about the scale of the numbers to predict."""

from __future__ import annotations

import math
from collections.abc import Iterator

from striate.doctor.finding import Finding, Severity
from striate.doctor.remedy import Remedy
from striate.doctor.rule import When, rule
from striate.doctor.training_trace import TrainingTrace

LARGE = 20.0


@rule(
    "unscaled_targets",
    When.EPOCH,
    looks_for="numbers to predict that are far from the size of what a network gives at its start",
    threshold="a root mean square above 20, where training broke down, the loss exploded, or less than half is gone",
    source="outputs start with a spread of about 1; the gradient of a square grows with the size of the targets, and "
    "that of the first layers with its square in the following steps",
    why="The last layer must grow to the size of the targets first, with gradients as large as they are.",
    remedy="targets of mean 0 and spread 1; predictions are scaled back",
    explains=(
        "learning_rate_too_high", "learning_rate_too_low", "dead_units", "constant_predictions", "exploding_gradients",
        "vanishing_gradients", "saturated_units", "no_gradient", "loss_at_start", "unexplained",
    ),
)  # fmt: skip
def unscaled_targets(trace: TrainingTrace) -> Iterator[Finding]:
    """Find targets much larger than a network's outputs at the start, such as prices in dollars."""
    targets = trace.targets
    if targets is None or not targets.scale > LARGE or math.isfinite(targets.rarer):
        return
    held_up = trace.seasoned and trace.finished and trace.learned < 0.5
    if not (trace.broke_down or trace.exploded or held_up):
        return
    mean, std = f"{targets.mean:.4g}", f"{targets.std:.4g}"
    yield Finding(
        "unscaled_targets", Severity.ERROR, "targets", (), 0.92,
        {"mean": targets.mean, "spread": targets.std, "loss at the start": trace.start_loss, "loss": trace.recent_loss},
        f"the targets are large: mean {targets.mean:.3g}, spread {targets.std:.3g}",
        "Outputs start with a spread of about 1, and the gradient of a square grows with the distance from the target: "
        "a learning rate that fits it must be smaller by the square of that, too small for everything else.",
        Remedy("standardize the targets, and scale predictions back",
               f"y = (y - {mean}) / {std}   # and back: p * {std} + {mean}"),
    )  # fmt: skip
