"""Rules about the mix of classes in a batch, and about batch normalization and its running statistics."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from striate.doctor.changes import Epochs, Initialization, NormOptions, RecomputeStatistics, Shuffle
from striate.doctor.finding import Finding, Severity
from striate.doctor.remedy import Change, Remedy
from striate.doctor.rule import When, rule
from striate.doctor.training_trace import TrainingTrace
from striate.nn.normalization import Normalization

UNIFORM = 0.5
ONE_SIDED = 0.95
NIL = 0.3
TIMES = 1.25
WORSE = 0.05
OFF = 0.3
LEFT = 0.1
NOISY = 0.5
USUAL_MOMENTUM = 0.1


@rule(
    "sorted_batches",
    When.EPOCH,
    looks_for="batches that hold few of the classes: data in the order of their labels",
    threshold="diversity 1 − Σ p² of the labels within batches below half of that of the whole data set (mean)",
    source="random batches of n reach (n − 1)/n of it",
    why="Every batch pulls the network towards its own classes, and what the earlier ones taught is "
    "forgotten.",
    remedy="shuffle",
    explains=(
        "stale_statistics", "learning_rate_too_high", "overfitting", "constant_predictions", "dead_units",
        "labels_shuffled:nothing learned", "saturated_units", "learning_rate_too_low",
    ),
)  # fmt: skip
def sorted_batches(trace: TrainingTrace) -> Iterator[Finding]:
    """Find batches that contain few of the classes, because the data come in the order of their labels."""
    diversity = trace.diversity
    if len(diversity) < 4 or np.square(trace.labels_seen / trace.labels_seen.sum()).sum() > ONE_SIDED:
        return
    mean = float(np.mean(diversity))
    if mean >= UNIFORM:
        return
    normalized = trace.structure is not None and bool(trace.structure.norms)
    more = " Batch normalization learns the statistics of the class that came last." if normalized else ""
    yield Finding(
        "sorted_batches", Severity.ERROR, "batches", (), 0.97,
        {"diversity": mean, "batches": len(diversity)},
        "the batches hold samples of few classes each: the data come in the order of their labels",
        "Every batch pulls the network towards its own classes, and what the earlier ones taught is forgotten." + more,
        Remedy.of(trace.setup, "shuffle the samples anew in every epoch", Shuffle()),
    )  # fmt: skip


@rule(
    "stale_statistics",
    When.EPOCH,
    looks_for="running statistics that do not fit the batches, so that prediction differs from training",
    threshold="training batches, with the same weights, have a loss in evaluation form that is 1.25 times that in "
    "training form and 5 % of the loss of a constant more; the layer is the first whose input has a mean 0.3 spreads "
    "away from its running mean, or a variance that differs by half",
    source="running statistics of which (1 − momentum)^steps, a tenth or more, is still the 0 and 1 of the start",
    why="Training normalizes by the batch, prediction by running statistics that do not fit.",
    remedy="momentum 0.1, or more steps; with a momentum near 1 or tiny batches, a smaller one; or recompute the "
    "statistics over the training data at the end",
    explains=("overfitting", "constant_predictions", "unexplained"),
)
def stale_statistics(trace: TrainingTrace) -> Iterator[Finding]:
    """Find running statistics that do not fit the batches, so that prediction differs from training."""
    structure = trace.structure
    if structure is None or not trace.forms or not trace.finished or trace.forms[-1].epoch != trace.epochs:
        return
    if trace.setup.recompute_statistics:  # those of the saved model will fit
        return
    forms = trace.forms[-1]
    if not forms.evaluation > TIMES * forms.training + WORSE * (trace.baseline or 1.0):
        return
    layers = {one.path: one.normalization for one in structure.norms}
    tracking = {path: found for path, layer in layers.items() if layer and (found := layer.running_statistics())}
    if not tracking:
        return
    far = [
        path for path, gap in forms.gaps.items() if gap.mean_distance > OFF or not 1 / 1.5 < gap.variance_ratio < 1.5
    ]
    where = far[0] if far else next(iter(tracking))
    gap, momentum = forms.gaps.get(where), tracking[where].momentum
    option = "--recompute-statistics"
    anew = option if option in trace.setup.command_line else "recompute_statistics=True"
    evidence = {"loss of the last batches": forms.training, "the same, predicted": forms.evaluation}
    if gap is not None:
        evidence |= {"distance of means": gap.mean_distance, "running over batch variance": gap.variance_ratio}
    slow = tuple(
        path for path, one in tracking.items() if one.momentum is not None and _left(one.momentum, trace) > LEFT
    )
    if slow and not trace.continued:
        where = where if where in slow else slow[0]
        share = tracking[where].momentum or 0.0
        evidence |= {"momentum": share, "steps": trace.steps, "left of the start": _left(share, trace)}
        cause = "momentum" if share < USUAL_MOMENTUM / 2 else "steps"
        why = (
            f"With momentum={share:g} the running statistics take up {100 * share:g} % of each batch: after "
            f"{trace.steps} steps {100 * _left(share, trace):.0f} % of them are still the 0 and 1 of the start. "
        )
        changes: list[Change] = []
        if cause == "momentum":
            why += "(PyTorch's momentum is the share of the new; others give that of the old.)"
            changes.append(NormOptions(slow, USUAL_MOMENTUM, _eps(layers[where])))
        enough = math.ceil(math.log(0.02) / math.log(1 - max(share, USUAL_MOMENTUM)))
        if trace.steps < enough:
            changes.append(Epochs(math.ceil(enough / trace.steps_an_epoch)))
        text = (
            "let them follow the batches"
            if cause == "momentum"
            else f"train for more steps (more epochs, or smaller batches), or recompute them at the end: {anew}"
        )
        remedy = Remedy.of(trace.setup, text, *changes)
        sure = 0.95
    elif momentum is not None and momentum > NOISY:
        cause, sure = "noise", 0.85
        evidence |= {"momentum": momentum, "batch size": trace.setup.batch_size}
        why = (
            f"With momentum={momentum:g} they are little more than the statistics of the last batch of "
            f"{trace.setup.batch_size}, and other batches differ from it."
        )
        quick = tuple(path for path, one in tracking.items() if one.momentum is not None and one.momentum > NOISY)
        remedy = Remedy.of(
            trace.setup,
            f"average over more batches (or recompute them at the end: {anew})",
            NormOptions(quick, USUAL_MOMENTUM, _eps(layers[where])),
        )
    else:
        cause, sure = "batches", 0.7
        why = (
            "The statistics differ from batch to batch, or the weights move faster than the running statistics follow: "
            "batches too small or not mixed, or steps too large."
        )
        remedy = Remedy.of(
            trace.setup, "recompute them over the training data at the end; or take a smaller learning rate",
            RecomputeStatistics(),
        )  # fmt: skip
    yield Finding(
        "stale_statistics", Severity.ERROR, where, (), sure, evidence,
        f'the running statistics of layer "{where}" do not fit: batches with a loss of {forms.training:.2g} in '
        f"training have one of {forms.evaluation:.3g} in prediction",
        why, remedy, cause, layers=tuple(far or slow or tracking),
    )  # fmt: skip


def _left(momentum: float, trace: TrainingTrace) -> float:
    """Return the share of the starting values that running statistics still contain: (1 − momentum)^steps."""
    return (1 - momentum) ** trace.steps


def _eps(layer: Normalization | None) -> float:
    """Return the ε of a normalization; the usual 1e-5 for None."""
    return layer.eps if layer is not None else 1e-5


@rule(
    "idle_normalization",
    When.EARLY,
    looks_for="a batch normalization whose outputs do not have the spread that it is there to give",
    threshold="output spread below 0.3 of the root mean square of γ, in the first step",
    source="y = (x − μ)/√(σ² + ε)·γ + β has spread γ·σ/√(σ² + ε): 0.3 is ε = 10 σ²",
    why="ε, larger than the variance, makes the layer a division by √ε; or its input does not vary.",
    remedy="ε = 1e-5; start the layer before it larger",
    explains=(
        "learning_rate_too_low", "vanishing_gradients", "constant_predictions", "labels_shuffled:nothing learned",
    ),
)  # fmt: skip
def idle_normalization(trace: TrainingTrace) -> Iterator[Finding]:
    """Find normalizations without effect: ε is too large, or their input does not vary."""
    structure = trace.structure
    if structure is None or not trace.readings:
        return
    first = trace.readings[0].layers
    idle: dict[str, float] = {}
    for one in structure.norms:
        if one.path not in first:
            continue
        scale = trace.scales.get(one.path, 1.0)
        if scale > 0 and first[one.path].std < NIL * scale:
            idle[one.path] = first[one.path].std / scale
    if not idle:
        return
    where = next(iter(idle))
    layer = structure.by_path[where].normalization
    eps = layer.eps if layer is not None else 0.0
    paths = tuple(idle)
    if eps > 1e-3:
        cause = "epsilon"
        why = (
            f"ε = {eps:g} stands beside the variance under the root, and is larger than it: the layer only divides by "
            "√ε. (The second argument of BatchNorm is eps, the third momentum.)"
        )
        remedy = Remedy.of(trace.setup, "take the usual ε", NormOptions(paths, 0.1, 1e-5))
    else:
        cause = "input"
        source = structure.map_of(where)
        why = "Its input hardly varies (less than ε): what comes before it is dead or starts too small."
        change = (Initialization((source.path,), "he"),) if source is not None else ()
        remedy = Remedy.of(trace.setup, "start the layer before it larger", *change)
    yield Finding(
        "idle_normalization", Severity.WARNING, where, (), 0.9,
        {"spread": idle[where], "epsilon": eps, "layers": len(idle)},
        f'the normalization "{where}" has no effect: its outputs have {idle[where]:.2g} of the spread it should give',
        why, remedy, cause, layers=paths,
    )  # fmt: skip
