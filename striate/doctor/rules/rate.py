"""Rules about the optimizer: how far a step moves the parameters, weight decay, and the schedule."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from striate.doctor.changes import LearningRate, OptimizerOption, ScheduleLength
from striate.doctor.changes.training import option_of, stretched
from striate.doctor.finding import Finding, Severity
from striate.doctor.remedy import Change, Remedy
from striate.doctor.rule import When, rule
from striate.doctor.training_trace import Reading, TrainingTrace

HARMFUL = 0.03
WILD = 0.3
IDLE = 3e-4
USUAL = 0.01
FIRST = 0.02
NOTHING = 0.15
HALF = 0.6
RISE = 1.5
HEAVY = 0.97
USUAL_MOMENTUM = 0.9
SHRUNK = 0.6
BALANCED = 0.3
USUAL_DECAY = 5e-4
ASLEEP = 1e-3
AWAKE = 0.05
LEARNED_WELL = 0.8
_KARPATHY = "Karpathy, CS231n: about 1e-3; networks that learn had 1e-3 to 6e-2 in the first steps"


def smaller_rate(trace: TrainingTrace) -> float:
    """Return a learning rate at which the largest of the first steps would have changed the weights by about 1 %.

    The result lies between 1e-5 · η and η / 5, with η the optimizer's learning rate; it is η / 10 if no update was
    measured.
    """
    # Once the first steps have made weights large, later steps look small beside them: the largest ratio counts.
    medians = [float(np.median(list(found.values()))) for one in trace.early if (found := trace.update_ratios([one]))]
    too_far = [ratio / USUAL for ratio in medians if ratio > 0]
    too_far += [move / FIRST for move in trace.first_moves.values() if move > 0 and math.isfinite(move)]
    return trace.lr * (min(1 / 5, max(1e-5, 1 / max(too_far))) if too_far else 1 / 10)


@rule(
    "learning_rate_too_high",
    When.EPOCH,
    looks_for="steps so large that they undo each other",
    threshold="‖Δθ‖/‖θ‖ above 3 % in the first ten steps (median layer) and nothing learned; above 30 % and, at the "
    "end, less than 60 % of the loss gone; a mean loss of an epoch 1.5 times that of the best; a loss a hundred times "
    "that of a constant; or a breakdown (NaN). It is the momentum where that is 0.97 or more and the first step, which "
    "has none yet, changed the weights by less than 3 %",
    source=_KARPATHY,
    why="A step follows the slope where it began, and lands where that slope says nothing any more.",
    remedy="the learning rate scaled so that the largest of the first steps changes weights by 1 %, a fifth at most; "
    "or momentum 0.9",
    explains=(
        "dead_units:learning rate", "saturated_units:learning rate", "constant_predictions", "stale_statistics",
        "labels_shuffled:nothing learned", "overfitting", "idle_normalization", "no_gradient:zero",
        "no_gradient:everywhere", "learning_rate_too_low", "unexplained",
    ),
)  # fmt: skip
def learning_rate_too_high(trace: TrainingTrace) -> Iterator[Finding]:
    """Find a learning rate so high that consecutive steps undo each other."""
    ratios = [ratio for ratio in trace.update_ratios(trace.early).values() if ratio > 0]
    step = float(np.median(ratios)) if ratios else math.nan
    evidence = {"learning rate": trace.lr, "update ratio": step, "loss": trace.recent_loss}
    if trace.baseline is not None:
        evidence["loss of a constant"] = trace.baseline
    best = min(trace.epoch_losses, default=math.nan)
    last = trace.epoch_losses[-1] if trace.epoch_losses else math.nan
    if trace.broke_down:
        what, sure = f"training broke down at step {trace.steps + 1}", 0.9
    elif trace.exploded:
        evidence["largest loss"] = max(one for one in (*trace.losses, *trace.epoch_losses) if math.isfinite(one))
        what, sure = "the weights exploded, after which the size of a step relative to them means nothing", 0.85
    elif trace.stuck and step > HARMFUL:
        known = bool(trace.probes) and trace.probes[-1].accuracy > 0.5
        state = "the loss stays above that of a constant" if known else "nothing is being learned"
        what, sure = f"{state}, with steps that are far too large", 0.85
    elif trace.seasoned and trace.finished and trace.learned < HALF and step > WILD:
        what, sure = "learning is held up by steps that are too large", 0.75
    elif len(trace.epoch_losses) > 1 and last > RISE * best and last > best + 0.1 and step > HARMFUL / 3:
        evidence |= {"loss of the best epoch": best, "loss of this epoch": last}
        what, sure = "the loss rises again", 0.7
    else:
        return
    momentum = option_of(trace.setup.optimizer, "momentum") or 0.0
    moves = [move for move in trace.first_moves.values() if move > 0 and math.isfinite(move)]
    if momentum >= HEAVY and moves and float(np.median(moves)) < HARMFUL:
        sum_of = "without end" if momentum >= 1 else f"to up to {1 / (1 - momentum):.3g} times the first one"
        yield Finding(
            "learning_rate_too_high", Severity.ERROR, "optimizer", (), sure,
            {**evidence, "momentum": momentum, "first step": float(np.median(moves))},
            f"the momentum {momentum:g} is too high: {what}",
            f"The first step, which has no momentum yet, changed the weights by {100 * float(np.median(moves)):.2g} %, "
            f"which is usual. With momentum={momentum:g} the following ones add up {sum_of}.",
            Remedy.of(trace.setup, "take a momentum of 0.9", OptimizerOption("momentum", USUAL_MOMENTUM)),
            "momentum",
        )  # fmt: skip
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
    "100 steps and an epoch; or in most layers, below 3e-3 in all, and less than 8 % gone",
    source=_KARPATHY,
    why="The gradients are there, but the steps along them are too small to come to anything.",
    remedy="the learning rate scaled so that a step changes weights by 1 %, tenfold at least",
    explains=("constant_predictions", "labels_shuffled:nothing learned", "unexplained"),
)
def learning_rate_too_low(trace: TrainingTrace) -> Iterator[Finding]:
    """Find a learning rate so low that the network learns next to nothing."""
    if not trace.seasoned or not trace.learned < NOTHING or trace.exploded:
        return
    ratios = trace.update_ratios(trace.early)
    if not ratios:
        return
    largest = max(ratios.values())
    nearly = trace.stuck and float(np.median(list(ratios.values()))) < IDLE and largest < 10 * IDLE
    if not (largest < IDLE or nearly):
        return
    gradients = [trace.median(path, lambda layer: layer.gradient_norm, trace.early) for path in ratios]
    if not max(gradients, default=0) > 0:
        return
    factor = min(1e6, max(10, USUAL / largest)) if largest > 0 else math.inf
    lr = trace.lr * factor if largest > 0 and trace.lr > 0 else 0.01
    yield Finding(
        "learning_rate_too_low", Severity.ERROR, "optimizer", (), 0.85 if largest < IDLE else 0.75,
        {"learning rate": trace.lr, "largest update ratio": largest, "loss at the start": trace.start_loss,
         "loss": trace.recent_loss},
        f"the learning rate {trace.lr:g} is too low: no layer moves by more than {100 * largest:.1g} % a step"
        + ("" if largest < IDLE else f", most by {100 * float(np.median(list(ratios.values()))):.1g} %"),
        "The gradients are there, but the steps along them are so small that training would take thousands of epochs.",
        Remedy.of(trace.setup, "take a larger learning rate", LearningRate(lr)),
    )  # fmt: skip


@rule(
    "weight_decay",
    When.EPOCH,
    looks_for="weights that decay faster than they learn",
    threshold="weights of 60 % of their size at the start (median layer), where λ‖θ‖ is 30 % of the gradient's norm or "
    "more in the last steps, and 20 % of the loss or more is left",
    source="in g + λθ the decay holds the gradient in check where both are equally large: usual λ are 1e-5 to 1e-3",
    why="The decay pulls all weights towards 0 in every step, whatever the data say.",
    remedy="a weight decay of 5e-4, or none",
    explains=(
        "learning_rate_too_high", "learning_rate_too_low", "constant_predictions", "vanishing_gradients", "dead_units",
        "labels_shuffled:nothing learned", "unexplained", "no_gradient",
    ),
)  # fmt: skip
def weight_decay(trace: TrainingTrace) -> Iterator[Finding]:
    """Find a weight decay that shrinks the weights faster than they learn."""
    decay = option_of(trace.setup.optimizer, "weight_decay") or 0.0
    if not decay > 2 * USUAL_DECAY or not trace.finished or not trace.sizes or trace.exploded:
        return
    if not trace.learned < LEARNED_WELL or trace.structure is None:
        return
    shrunk = float(np.median([now / first for first, now in trace.sizes.values() if first > 0]))
    late = trace.readings[-5:]
    pulls = [
        decay * now / norm
        for path, (_, now) in trace.sizes.items()
        if (norm := trace.median(path, lambda layer: layer.gradient_norm, late)) > 0
    ]
    pull = float(np.median(pulls)) if pulls else math.inf
    if not (shrunk < SHRUNK and pull > BALANCED):
        return
    yield Finding(
        "weight_decay", Severity.ERROR, "optimizer", (), 0.9,
        {"weight decay": decay, "now to first": shrunk, "decay over gradient": pull, "loss": trace.recent_loss},
        f"the weight decay {decay:g} is too strong: the weights have shrunk to {100 * shrunk:.2g} % of their start",
        "In every step the decay adds λθ to the gradient. Here that is as large as what the data ask for, so the "
        "weights are pulled to 0 instead of learning.",
        Remedy.of(trace.setup, "take a smaller weight decay", OptimizerOption("weight_decay", USUAL_DECAY)),
    )  # fmt: skip


@rule(
    "schedule",
    When.EPOCH,
    looks_for="a schedule that has made the learning rate negligible long before the end",
    threshold="steps below a thousandth of the first ones for more than half of the training, where gradients are "
    "still 5 % of those at the start or more, and 20 % of the loss is left",
    source="exact: read off the steps themselves, ‖Δθ‖/‖θ‖",
    why="A schedule counts steps. One that was given epochs, or that is stepped after every batch, ends at once.",
    remedy="a schedule over all steps: epochs times batches",
    explains=(
        "learning_rate_too_low", "constant_predictions", "labels_shuffled:nothing learned", "vanishing_gradients",
        "unexplained", "learning_rate_too_high",
    ),
)  # fmt: skip
def schedule(trace: TrainingTrace) -> Iterator[Finding]:
    """Find a schedule that brings the learning rate close to 0 long before the end of the training."""
    if not trace.finished or trace.steps < 20 or len(trace.readings) < 5 or not trace.learned < LEARNED_WELL:
        return
    moved = [_largest(trace, one, "update_ratio") for one in trace.readings]
    slopes = [_largest(trace, one, "gradient_norm") for one in trace.readings]
    first, slope = max(moved[:3]), max(slopes[:3])
    if not first > 0:
        return
    asleep = len(moved)
    while asleep and moved[asleep - 1] < ASLEEP * first and slopes[asleep - 1] > AWAKE * slope:
        asleep -= 1
    if asleep == len(moved):
        return
    last = trace.readings[asleep - 1].step if asleep else 0
    share = 1 - last / trace.steps
    if not share > 0.5:
        return
    name = type(trace.setup.optimizer.schedule).__name__
    steps = trace.planned_steps
    changes: tuple[Change, ...] = (ScheduleLength(steps),) if stretched(trace.setup.optimizer.schedule, steps) else ()
    text = "give the schedule as many steps as the training has: epochs times batches"
    yield Finding(
        "schedule", Severity.ERROR, "optimizer", (), 0.95,
        {"steps": trace.steps, "last step that moved": last, "share without": share, "gradient": slopes[-1] / slope},
        f"the learning rate is next to 0 from step {last + 1} on: {name} ended {100 * share:.0f} % before the training",
        "The gradients are still there, but the steps along them have become a thousandth of the first ones. Schedules "
        "count steps, not epochs.",
        Remedy.of(trace.setup, text, *changes) if changes else Remedy(text),
    )  # fmt: skip


def _largest(trace: TrainingTrace, reading: Reading, statistic: str) -> float:
    """Return the largest update ratio or gradient norm of any linear layer or convolution in one reading.

    ``statistic`` is "update_ratio" or "gradient_norm".
    """
    found = (
        [reading.layers[one.path] for one in trace.structure.maps if one.path in reading.layers]
        if trace.structure
        else []
    )
    numbers = [one.update_ratio if statistic == "update_ratio" else one.gradient_norm for one in found]
    return max((number for number in numbers if number is not None), default=0.0)
