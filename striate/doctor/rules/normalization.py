"""Rules about batches and normalization."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from striate.doctor.finding import Finding, Severity
from striate.doctor.remedy import Initialization, NormOptions, Remedy, Shuffle
from striate.doctor.rule import When, rule
from striate.doctor.training_trace import TrainingTrace

UNIFORM = 0.5
ONE_SIDED = 0.95
NIL = 0.3
SLUGGISH = 0.02
WORSE = 0.5
SEEN = 50


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
    """Batches of one class after the other."""
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
    looks_for="running statistics far from those of the batches, so that prediction differs from training",
    threshold="a training sample, predicted, has a loss 0.5 nats and half as much again above that of the last "
    "training steps, after 50 steps; the layer is the one whose batches are farthest from its running statistics",
    source="with momentum 0.1 what was before 50 steps has a share of (1 − 0.1)⁵⁰ = 0.5 %",
    why="Training normalizes by the batch, prediction by running statistics that do not fit.",
    remedy="momentum 0.1; mixed and larger batches",
    explains=("overfitting", "constant_predictions"),
)
def stale_statistics(trace: TrainingTrace) -> Iterator[Finding]:
    """Running statistics that do not fit the batches."""
    structure = trace.structure
    if structure is None or not structure.norms or not trace.probes or trace.steps < SEEN or not trace.finished:
        return
    layers = {one.path: one.normalization for one in structure.norms}
    tracking = {path: found for path, layer in layers.items() if layer and (found := layer.running_statistics())}
    probe, recent = trace.probes[-1].loss, trace.recent_loss
    if not tracking or not probe > 1.5 * recent + WORSE:
        return
    far = {
        path: float(np.median([one.mean_distance for one in found[-3:]]))
        for path, found in trace.drifts.items()
        if found
    }
    slow = [path for path, found in tracking.items() if found.momentum is not None and found.momentum < SLUGGISH]
    where = max(far, key=lambda path: far[path]) if far else next(iter(slow or tracking))
    evidence = {"loss in training": recent, "loss in prediction": probe, "distance of means": far.get(where, math.nan)}
    if slow:
        where = where if where in slow else slow[0]
        momentum = tracking[where].momentum or 0.0
        evidence |= {"momentum": momentum, "steps": trace.steps}
        cause = "momentum"
        why = (
            f"With momentum={momentum:g} the running statistics take up {100 * momentum:g} % of each batch: after "
            f"{trace.steps} steps {100 * (1 - momentum) ** trace.steps:.0f} % of them are still what they started as. "
            "(PyTorch's momentum is the share of the new; others give that of the old.)"
        )
        remedy = Remedy.of(trace.setup, "let them follow the batches", NormOptions(tuple(slow)))
    else:
        cause = "batches"
        why = (
            "The statistics differ from batch to batch, or the weights move faster than the running statistics follow: "
            "batches too small or not mixed, or steps too large."
        )
        remedy = Remedy("shuffle the samples, take larger batches, or a smaller learning rate towards the end")
    yield Finding(
        "stale_statistics", Severity.ERROR, where, (), 0.9 if slow else 0.7, evidence,
        f'the running statistics of layer "{where}" are far from those of the batches: a loss of {recent:.2g} in '
        f"training is one of {probe:.3g} in prediction",
        why, remedy, cause, layers=tuple(slow or tracking),
    )  # fmt: skip


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
    """A normalization without effect: ε is too large, or its input does not vary."""
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
