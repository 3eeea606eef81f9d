"""Rules about gradients that vanish or explode between the last and the first layer, and why."""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction

from striate.doctor.changes import Activation, Initialization, Normalize
from striate.doctor.finding import Finding, Severity
from striate.doctor.remedy import Change, Remedy
from striate.doctor.rule import When, rule
from striate.doctor.rules.outputs import saturates, weakens
from striate.doctor.structure import Structure
from striate.doctor.training_trace import Reading, TrainingTrace

VANISHED = 1e-3
CERTAIN = 1e-5
EXPLODED = 1e3
SHRINKS = 0.8
"""A factor per layer below this counts as shrinking: over 12 layers, 0.8¹² = 0.07."""


def flow(structure: Structure, reading: Reading) -> dict[str, float]:
    """Return the gradient norm of each linear layer and convolution that learns, by path.

    ``reading`` has the statistics of all layers in one step.
    """
    found: dict[str, float] = {}
    for one in structure.maps:
        layer = reading.layers.get(one.path)
        if layer is not None and layer.gradient_norm is not None:
            found[one.path] = layer.gradient_norm
    return found


def early_flow(trace: TrainingTrace) -> dict[str, float]:
    """Return the median gradient norm of each linear layer and convolution over the first ten steps, by path.

    Layers without a finite median are left out.
    """
    if trace.structure is None:
        return {}
    found = {
        one.path: trace.median(one.path, lambda layer: layer.gradient_norm, trace.early) for one in trace.structure.maps
    }
    return {path: norm for path, norm in found.items() if math.isfinite(norm)}


def signal(trace: TrainingTrace) -> dict[str, float]:
    """Return the standard deviation of each activation's outputs in the first step, by path."""
    if trace.structure is None or not trace.readings:
        return {}
    layers = trace.readings[0].layers
    return {one.path: layers[one.path].std for one in trace.structure.activations if one.path in layers}


def growth(trace: TrainingTrace) -> float:
    """Return the factor by which a layer scales the size of the signal at the start: a geometric mean over layers.

    A linear layer with weights w multiplies the root mean square of the signal by √(mean w² · fan-in). An activation
    divides it by the gain of the activation (√2 for ReLU); for an activation that can saturate, the gain counts as 1.
    Layers that are followed by a normalization are left out; if no layer is left, the result is 1.
    """
    structure = trace.structure
    factors: list[float] = []
    for one in structure.maps[:-1] if structure else ():
        activation = structure.activation_of(one.path) if structure else None
        gain = trace.gains.get(one.path, 0.0)
        if structure is None or activation is None or gain <= 0 or structure.normalized(one.path):
            continue
        # How much a saturating function keeps depends on the size of the signal.
        kept = 1.0 if activation.saturation_bounds is not None else 1 / activation.gain
        factors.append(math.log(gain * kept))
    return math.exp(math.fsum(factors) / len(factors)) if factors else 1.0


@rule(
    "vanishing_gradients",
    When.EARLY,
    looks_for="a gradient that all but disappears on its way to the first layers",
    threshold="the first layer's gradient norm below 1e-3 of the last's in the first ten steps (median), and training "
    "that stays where it is; below 1e-5 at once",
    source="`striate experiment M5`: a sigmoid passes on at most 1/4, so that 5 of them leave 1e-3 and 8 leave 1e-5; "
    "in networks that learn (12×64 with He or batch norm, ResNet-20) the ratio was 0.1 to 10",
    why="∂L/∂W₁ carries a factor for every layer above: the activation's slope and the weights' gain.",
    remedy='sigmoid: leaky ReLU, normalized before; small start: `init="he"` or `"xavier"`; depth: '
    "normalize before each activation",
    explains=(
        "constant_predictions", "learning_rate_too_low", "labels_shuffled:nothing learned", "learning_rate_too_high",
        "idle_normalization", "dead_units:weak signal",
    ),
)  # fmt: skip
def vanishing_gradients(trace: TrainingTrace) -> Iterator[Finding]:
    """Find a gradient that almost disappears on its way to the first layers.

    The gradient ∂L/∂W₁ of the loss with respect to the first layer's weights contains the product of the slopes
    σ′(a_l) of the activation σ at its inputs a_l in all later layers l.
    """
    structure, norms = trace.structure, early_flow(trace)
    if structure is None or len(norms) < 3 or len(trace.early) < 3:
        return
    paths = list(norms)
    first, last = norms[paths[0]], norms[paths[-1]]
    if last <= 0 or first <= 0:
        return  # exactly zero is another fault: dead units, or a layer that is not connected
    ratio = first / last
    if not (ratio < CERTAIN or (ratio < VANISHED and trace.stuck)):
        return
    shrinking = growth(trace)
    weakening = [one for one in structure.activations if weakens(one)]
    each = ratio ** (1 / max(len(norms) - 1, 1))
    inner = tuple(path for path in paths[:-1])
    evidence = {"first to last": ratio, "a layer": each, "layers": len(norms), "gain a layer": shrinking}
    if 2 * len(weakening) >= len(structure.activations) > 0:
        cause = "activation"
        function = weakening[0]
        slope = Fraction(function.activation.max_derivative if function.activation else 1.0).limit_denominator(100)
        why = (
            f"The derivative of {function.name} is at most {slope}, and the gradient of the first layer carries one "
            f"such factor for every such layer above it: here {len(weakening)}."
        )
        text = "use leaky ReLU, whose derivative is 1 for positive inputs, and normalize before it"
        places = tuple(one.path for one in weakening)
        changes: tuple[Change, ...] = (Activation(places), Normalize(places, tuple(one.rank for one in weakening)))
    elif shrinking < SHRINKS and structure.activations:
        cause = "initialization"
        init = "xavier" if all(saturates(one) for one in structure.activations) else "he"
        why = (
            f"The starting weights are too small: the signal loses {100 * (1 - shrinking):.0f} % of its spread with "
            "every layer forward, and the gradient as much on its way back."
        )
        text = f"start the layers with init={init!r}, which keeps the spread through this activation"
        changes = (Initialization(inner, init),)
    else:
        cause = "depth"
        why = f"Every layer passes on {100 * each:.0f} % of the gradient, and there are {len(norms)} in one chain."
        text = "normalize before each activation, or add skip connections (nn.Residual)"
        acts = structure.activations
        changes = (Normalize(tuple(one.path for one in acts), tuple(one.rank for one in acts)),) if acts else ()
    remedy = Remedy.of(trace.setup, text, *changes)
    yield Finding(
        "vanishing_gradients", Severity.ERROR, paths[0], (), 0.95 if ratio < CERTAIN else 0.85, evidence,
        f'gradients vanish: layer "{paths[0]}" gets {ratio:.1e} of the gradient of layer "{paths[-1]}"',
        why, remedy, cause, layers=tuple(path for path in paths if norms[path] < VANISHED * last),
    )  # fmt: skip


@rule(
    "exploding_gradients",
    When.EARLY,
    looks_for="a gradient that grows on its way to the first layers",
    threshold="the first layer's gradient norm above 1000 times the last's in the first ten steps (median); or signals "
    "that grow 1000-fold from the first activation to the last; or a breakdown within the first three steps",
    source="the mirror of the threshold for vanishing; a network that is started for its activation keeps both within "
    "a factor of 10",
    why="Every layer multiplies the signal on its way forward and the gradient on its way back.",
    remedy='`init="he"` or `"xavier"`, and `"torch"` for the last layer',
    explains=(
        "loss_at_start", "learning_rate_too_high", "saturated_units", "dead_units", "constant_predictions",
        "learning_rate_too_low", "labels_shuffled:nothing learned",
    ),
)  # fmt: skip
def exploding_gradients(trace: TrainingTrace) -> Iterator[Finding]:
    """Find a gradient or a signal that grows by more than 1000 times across the network.

    The cause is weights that start too large in every layer.
    """
    structure, norms = trace.structure, early_flow(trace)
    if structure is None or len(structure.maps) < 3 or not trace.readings:
        return
    stds = [std for std in signal(trace).values() if std > 0]
    scores = trace.readings[0].layers.get(structure.maps[-1].path)
    forward = max(stds) / stds[0] if stds else 1.0
    if scores is not None and stds:
        forward = max(forward, scores.std / stds[0] / 3)
    paths = list(norms)
    ratio = norms[paths[0]] / norms[paths[-1]] if len(paths) > 1 and norms[paths[-1]] > 0 else 1.0
    if not (ratio > EXPLODED or forward > EXPLODED):
        return
    saturating = bool(structure.activations) and all(saturates(one) for one in structure.activations)
    init = "xavier" if saturating else "he"
    inner = tuple(one.path for one in structure.maps)
    first = structure.maps[0].path
    yield Finding(
        "exploding_gradients", Severity.ERROR, first, (), 0.9,
        {"first to last": ratio, "last to first activation": forward, "layers": len(structure.maps),
         "loss at the start": trace.start_loss},
        f'gradients explode: layer "{first}" gets {ratio:.1e} times the gradient of the last layer'
        if ratio > EXPLODED
        else f"signals explode: they grow {forward:.1e}-fold from the first activation to the last",
        "The starting weights are too large: every layer multiplies the signal on its way forward, and the gradient on "
        "its way back.",
        Remedy.of(trace.setup, f"start the layers with init={init!r}, which keeps the spread",
                  Initialization(inner[:-1], init), Initialization(inner[-1:], "torch")),
        "initialization",
    )  # fmt: skip
