"""The rule for trainings that learned nothing, if no other rule says why."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from striate.doctor.changes import Epochs
from striate.doctor.finding import Finding, Severity
from striate.doctor.remedy import Remedy
from striate.doctor.rule import When, rule
from striate.doctor.training_trace import STUCK, TrainingTrace

SAME = 0.95
STEPS = 100
SIGNIFICANT = 3.0
LONGER = 5
MOST = 20


@rule(
    "unexplained",
    When.EPOCH,
    looks_for="training that came to nothing, for a reason that no other rule sees",
    threshold="the loss is 92 % or more of that of a constant at the end, after two epochs and 100 steps, or with one "
    "answer to everything; and no other finding",
    source="how far the loss fell from epoch to epoch, against its scatter, says how many epochs would tell",
    why="Slow learning and no learning look alike at the beginning: only more steps distinguish them.",
    remedy="the number of epochs after which it could be told",
    explains=("constant_predictions:unknown", "constant_predictions:regression"),
)
def unexplained(trace: TrainingTrace) -> Iterator[Finding]:
    """Report a training that learned nothing and for which no other rule found a reason."""
    if not trace.finished or not trace.stuck or trace.exploded or trace.broke_down or trace.baseline is None:
        return
    answers = bool(trace.probes) and trace.probes[-1].top_share >= SAME
    if not (answers or (trace.epochs >= 2 and trace.steps >= STEPS)):
        return
    fall, error = fall_of(trace.losses)
    falling = fall > SIGNIFICANT * error
    wanted = (1 - STUCK) * 2 * trace.baseline  # twice the fall that counts as having learned something
    gone = max(trace.baseline - trace.recent_loss, 0.0)
    more = math.ceil((wanted - gone) / (fall * trace.steps_an_epoch)) if falling else 0
    epochs = min(max(trace.epochs + more, LONGER * trace.epochs), MOST * trace.epochs)
    moving = (
        f"It falls by {fall * trace.steps_an_epoch:.2g} an epoch, so that it may only be slow."
        if falling
        else "It does not fall beyond its scatter from batch to batch."
    )
    yield Finding(
        "unexplained", Severity.WARNING, "loss", (), 0.5,
        {"loss": trace.recent_loss, "loss of a constant": trace.baseline, "steps": trace.steps, "fall of a step": fall},
        f"nothing has been learned after {trace.steps} steps, and there is not enough evidence to say why",
        f"The loss is {trace.recent_loss:.3g}, and that of a constant {trace.baseline:.3g}. {moving} Steps, gradients, "
        "units and data are within what is usual.",
        Remedy.of(trace.setup, f"train {epochs} epochs to tell; a plateau often ends by itself", Epochs(epochs)),
        "slow" if falling else "flat",
    )  # fmt: skip


def fall_of(losses: list[float]) -> tuple[float, float]:
    """Return (how much the loss falls per step, its standard error), from fitting a straight line.

    Returns (0, infinity) for fewer than 10 losses, or if a loss is not finite.
    """
    y = np.asarray(losses, np.float64)
    if len(y) < 10 or not np.isfinite(y).all():
        return 0.0, math.inf
    t = np.arange(len(y)) - (len(y) - 1) / 2
    slope = float((t * (y - y.mean())).sum() / np.square(t).sum())
    rest = y - y.mean() - slope * t
    return -slope, math.sqrt(float(np.square(rest).sum()) / (len(y) - 2) / float(np.square(t).sum()))
