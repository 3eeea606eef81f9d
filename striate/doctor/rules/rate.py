"""Rules about the learning rate: how far a step moves the parameters, and how the loss responds."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from striate.doctor.finding import Finding, Severity
from striate.doctor.remedy import LearningRate, Remedy
from striate.doctor.rule import When, rule
from striate.doctor.training_trace import TrainingTrace

HARMFUL = 0.03
WILD = 0.3
IDLE = 3e-4
USUAL = 0.01
FIRST = 0.02
NOTHING = 0.15
HALF = 0.6
RISE = 1.5
_KARPATHY = "Karpathy, CS231n: about 1e-3; networks that learn had 1e-3 to 6e-2 in the first steps"


def smaller_rate(trace: TrainingTrace) -> float:
    """The learning rate at which the largest of the first steps changes weights by 1 %, at most a fifth of today's."""
    # Once the first steps have made weights large, later steps are small relative to them: the largest step counts.
    medians = [float(np.median(list(found.values()))) for one in trace.early if (found := trace.update_ratios([one]))]
    too_far = [ratio / USUAL for ratio in medians if ratio > 0]
    too_far += [move / FIRST for move in trace.first_moves.values() if move > 0 and math.isfinite(move)]
    return trace.lr * (min(1 / 5, max(1e-5, 1 / max(too_far))) if too_far else 1 / 10)


@rule(
    "learning_rate_too_high",
    When.EPOCH,
    looks_for="steps so large that they undo each other",
    threshold="‖Δθ‖/‖θ‖ above 3 % in the first ten steps (median layer) and nothing learned; above 30 % and, at the "
    "end, less than 60 % of the loss gone; a mean loss of an epoch 1.5 times that of the best; or a breakdown (NaN)",
    source=_KARPATHY,
    why="A step follows the slope where it began, and lands where that slope says nothing any more.",
    remedy="the learning rate scaled so that the largest of the first steps changes weights by 1 %, a "
    "fifth at most",
    explains=(
        "dead_units:learning rate", "saturated_units:learning rate", "constant_predictions", "stale_statistics",
        "labels_shuffled:nothing learned", "overfitting", "idle_normalization", "no_gradient:zero",
    ),
)  # fmt: skip
def learning_rate_too_high(trace: TrainingTrace) -> Iterator[Finding]:
    """Steps θ ← θ − η g with too large an η."""
    ratios = [ratio for ratio in trace.update_ratios(trace.early).values() if ratio > 0]
    step = float(np.median(ratios)) if ratios else math.nan
    evidence = {"learning rate": trace.lr, "update ratio": step, "loss": trace.recent_loss}
    if trace.baseline is not None:
        evidence["loss of a constant"] = trace.baseline
    best = min(trace.epoch_losses, default=math.nan)
    last = trace.epoch_losses[-1] if trace.epoch_losses else math.nan
    if trace.broke_down:
        what, sure = f"training broke down at step {trace.steps + 1}", 0.9
    elif trace.stuck and step > HARMFUL:
        what, sure = "nothing is being learned, with steps that are far too large", 0.85
    elif trace.seasoned and trace.finished and trace.learned < HALF and step > WILD:
        what, sure = "learning is held up by steps that are too large", 0.75
    elif len(trace.epoch_losses) > 1 and last > RISE * best and last > best + 0.1 and step > HARMFUL / 3:
        evidence |= {"loss of the best epoch": best, "loss of this epoch": last}
        what, sure = "the loss rises again", 0.7
    else:
        return
    shown = f": each of the first steps changed the weights by {100 * step:.2g} %" if math.isfinite(step) else ""
    yield Finding(
        "learning_rate_too_high", Severity.ERROR, "optimizer", (), sure, evidence,
        f"the learning rate {trace.lr:g} is too high: {what}",
        f"A step follows the slope where it began{shown}, and lands where that slope no longer says anything.",
        Remedy.of(trace.setup, "take a smaller learning rate", LearningRate(smaller_rate(trace))),
    )  # fmt: skip


@rule(
    "learning_rate_too_low",
    When.EPOCH,
    looks_for="steps so small that nothing comes of them",
    threshold="‖Δθ‖/‖θ‖ below 3e-4 in every layer in the first ten steps, and less than 15 % of the loss gone after "
    "100 steps and an epoch",
    source=_KARPATHY,
    why="The gradients are there, but the steps along them are too small to come to anything.",
    remedy="the learning rate scaled so that a step changes weights by 1 %, tenfold at least",
    explains=("constant_predictions", "labels_shuffled:nothing learned"),
)
def learning_rate_too_low(trace: TrainingTrace) -> Iterator[Finding]:
    """Steps θ ← θ − η g with too small an η."""
    if not trace.seasoned or not trace.learned < NOTHING:
        return
    ratios = trace.update_ratios(trace.early)
    if not ratios or not max(ratios.values()) < IDLE:
        return
    largest = max(ratios.values())
    gradients = [trace.median(path, lambda layer: layer.gradient_norm, trace.early) for path in ratios]
    if not max(gradients, default=0) > 0:
        return
    factor = min(1e6, max(10, USUAL / largest)) if largest > 0 else math.inf
    lr = trace.lr * factor if largest > 0 and trace.lr > 0 else 0.01
    yield Finding(
        "learning_rate_too_low", Severity.ERROR, "optimizer", (), 0.85,
        {"learning rate": trace.lr, "largest update ratio": largest, "loss at the start": trace.start_loss,
         "loss": trace.recent_loss},
        f"the learning rate {trace.lr:g} is too low: no layer moves by more than {100 * largest:.1g} % a step",
        "The gradients are there, but the steps along them are so small that training would take thousands of epochs.",
        Remedy.of(trace.setup, "take a larger learning rate", LearningRate(lr)),
    )  # fmt: skip
