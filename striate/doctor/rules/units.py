"""Rules about units that are dead (always 0) or saturated (on a flat part of their activation)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from striate.doctor.changes import Activation, Initialization, LearningRate, Normalize
from striate.doctor.finding import Finding, Severity
from striate.doctor.remedy import Change, Remedy
from striate.doctor.rule import When, rule
from striate.doctor.rules.gradients import SHRINKS, growth
from striate.doctor.rules.outputs import can_die, saturates, weakens
from striate.doctor.rules.rate import smaller_rate
from striate.doctor.training_trace import Silence, TrainingTrace

DEAD = 0.5
NEARLY_ALL = 0.9
WELL = 0.8
NARROW = 16
SATURATED = 0.5


@rule(
    "dead_units",
    When.EPOCH,
    looks_for="ReLU units that were 0 for every sample of a pass over the data",
    threshold="half of the units of a layer; nine in ten where 80 % of the loss is gone all the same. Those that had "
    "fired in the first step were killed by training (the learning rate); else they were dead from the start (bias, "
    "weights, or ReLU in a very narrow network)",
    source="`striate experiment M6`: the derivative of ReLU is 0 for x ≤ 0, so that such a unit never learns again. "
    "Networks that learn had up to a third of such units",
    why="A unit whose input is below 0 for every sample has neither output nor gradient, and stays "
    "so.",
    remedy='killed by training: a smaller learning rate; biases: start at 0; small start: `init="he"`; '
    "narrow network: leaky ReLU",
    explains=(
        "constant_predictions", "vanishing_gradients", "no_gradient", "idle_normalization",
        "labels_shuffled:nothing learned", "learning_rate_too_low", "learning_rate_too_high", "stale_statistics",
    ),
)  # fmt: skip
def dead_units(trace: TrainingTrace) -> Iterator[Finding]:
    """Find layers with ReLU units that were 0 for every sample of an epoch, and the cause."""
    structure = trace.structure
    if structure is None:
        return
    dead: dict[str, Silence] = {
        path: silence
        for path, silence in trace.silence.items()
        if path in structure.by_path and can_die(structure.by_path[path]) and silence.share >= DEAD
    }
    last = structure.last
    if last is not None:
        dead.pop(last.path, None)
    if not dead or (trace.learned > WELL and max(one.share for one in dead.values()) < NEARLY_ALL):
        return
    worst = max(dead, key=lambda path: dead[path].share)
    # A wholly dead layer silences all after it, so the first such layer is named; without one, the worst layer.
    first = next((path for path in dead if dead[path].share == 1), worst)
    units = sum(one.units for one in dead.values())
    silent = sum(len(one.silent) for one in dead.values())
    killed = sum(one.fired_at_first for one in dead.values()) / max(silent, 1)
    paths = tuple(one.path for one in structure.activations if can_die(one))
    widest = max((silence.units for silence in trace.silence.values()), default=0)
    evidence = {"units": dead[first].units, "dead": len(dead[first].silent), "dead in all": silent,
                "of them killed by training": killed}  # fmt: skip
    changes: tuple[Change, ...]
    if killed > 0.5:
        ratios = [ratio for ratio in trace.update_ratios(trace.early).values() if ratio > 0]
        step = float(np.median(ratios)) if ratios else math.nan
        evidence["update ratio"] = step
        cause = "learning rate"
        why = (
            "They had fired before the first update: steps that were too large moved their weights so far that no "
            "sample reaches them any more."
        )
        text, changes = "take a smaller learning rate", (LearningRate(smaller_rate(trace)),)
    else:
        source = structure.map_of(first)
        bias = source.parameters.get("bias") if source is not None else None
        start = trace.starts.get(source.path, math.nan) if source is not None else math.nan
        if bias is not None and start < -0.5 and source is not None:
            cause = "initialization"
            evidence["mean bias at the start"] = start
            why = "They never fired: their biases start so far below 0 that no sample reaches them."
            text = "start the biases at 0"
            inner = tuple(mapped.path for path in dead if (mapped := structure.map_of(path)) is not None)
            changes = (Initialization(inner, "he"),)
        elif widest > NARROW and growth(trace) < SHRINKS:
            cause = "weak signal"
            why = (
                "They never fired: the signal shrinks from layer to layer, until the biases alone decide which units "
                "fire, the same ones for every sample."
            )
            text = "start the layers with init='he', which keeps the spread through ReLU"
            changes = (Initialization(tuple(m.path for m in structure.maps[:-1]), "he"),)
        else:
            cause = "activation"
            slope = 0.3 if widest <= NARROW else 0.1
            why = (
                "They never fired, from the first step on: ReLU gives them neither output nor gradient. With few "
                "units in a layer it happens often that all of them are silent, and then nothing behind it learns."
            )
            text = "use leaky ReLU, which passes on a gradient everywhere"
            changes = (
                Activation(paths, slope=slope),
                Initialization(tuple(m.path for m in structure.maps[:-1])),
            )
    whole = dead[first].share == 1
    amount = "all" if whole else f"{len(dead[first].silent)} of"
    more = f", and in {len(dead) - 1} more layer{'s' if len(dead) > 2 else ''}" if len(dead) > 1 else ""
    yield Finding(
        "dead_units", Severity.ERROR if whole or silent > 0.8 * units else Severity.WARNING,
        first, dead[first].silent, 0.9, evidence,
        f'{amount} {dead[first].units} units of layer "{first}" are dead{more}',
        why, Remedy.of(trace.setup, text, *changes), cause, layers=tuple(dead),
    )  # fmt: skip


@rule(
    "saturated_units",
    When.EARLY,
    looks_for="units that are saturated: on the flat parts of a sigmoid or tanh",
    threshold="half of a layer's outputs in the first steps; later only where nothing is being learned",
    source="there the derivative is below a tenth of its largest value; tanh networks that learn end with up to "
    "60 % of such outputs, so that saturation alone means nothing after the start",
    why="On the flat ends of sigmoid and tanh hardly any gradient passes.",
    remedy='at the start: `init="xavier"` (tanh), batch normalization before (sigmoid); later: a smaller '
    "learning rate",
    explains=(
        "vanishing_gradients", "constant_predictions", "learning_rate_too_low", "labels_shuffled:nothing learned",
        "loss_at_start", "learning_rate_too_high", "exploding_gradients",
    ),
)  # fmt: skip
def saturated_units(trace: TrainingTrace) -> Iterator[Finding]:
    """Find layers whose outputs lie mostly on the flat ends of the activation, with small gradients."""
    structure = trace.structure
    if structure is None or not trace.readings:
        return
    last = structure.last
    paths = [one.path for one in structure.activations if saturates(one) and one is not last]
    first = trace.readings[0]
    at_start = {p: first.layers[p].saturated or 0.0 for p in paths if p in first.layers}
    full = [path for path, share in at_start.items() if share > SATURATED]
    late = {path: trace.median(path, lambda layer: layer.saturated, trace.readings[-3:]) for path in paths}
    stuck = [path for path, share in late.items() if share > SATURATED] if trace.stuck else []
    if full:
        path, share, cause = full[0], at_start[full[0]], "initialization"
        inner = tuple(m.path for p in full if (m := structure.map_of(p)) is not None)
        changes: tuple[Change, ...]
        if any(weakens(structure.by_path[p]) for p in full):
            # Xavier's weights assume slope 1 and outputs about 0; a sigmoid has slope 1/4 and outputs about 1/2.
            text = "start these layers smaller, and normalize before these units"
            ranks = tuple(structure.by_path[p].rank for p in full)
            changes = (Initialization(inner, "xavier"), Normalize(tuple(full), ranks))
        else:
            text = "start these layers smaller"
            changes = (Initialization(inner, "xavier"),)
        why = "The starting weights are too large for the inputs: the sums that reach these units are far from 0."
    elif stuck:
        path, share, cause = stuck[0], late[stuck[0]], "learning rate"
        text, changes = "take a smaller learning rate", (LearningRate(smaller_rate(trace)),)
        why = "They were not saturated at the start: steps that were too large drove them there."
    else:
        return
    yield Finding(
        "saturated_units", Severity.ERROR, path, (), 0.85,
        {"saturated": share, "at the start": at_start.get(path, math.nan), "layers": len(full or stuck)},
        f'{100 * share:.0f} % of the outputs of layer "{path}" are saturated',
        f"{why} There the activation is flat, and hardly any gradient passes.",
        Remedy.of(trace.setup, text, *changes), cause, layers=tuple(full or stuck),
    )  # fmt: skip
