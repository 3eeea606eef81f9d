"""The rule about starting weights that make units copies of each other."""

from __future__ import annotations

from collections.abc import Iterator

from striate.doctor.changes import Initialization
from striate.doctor.finding import Finding, Severity
from striate.doctor.remedy import Remedy
from striate.doctor.rule import When, rule
from striate.doctor.rules.outputs import saturates
from striate.doctor.training_trace import TrainingTrace


@rule(
    "equal_start",
    When.ONCE,
    looks_for="units that start as copies of each other, and stay so",
    threshold="all units of a layer have the same weights, and the next layer weighs all of them alike. A single layer "
    "of zeros between random ones does no harm",
    source="exact: read from the starting weights. Equal units with equal weights behind them get equal gradients",
    why="Copies get the same gradient in every step: the layer acts as a single unit, whatever its width; with zeros, "
    "as none.",
    remedy='random starting weights: `init="he"` or `"xavier"`',
    explains=(
        "dead_units", "vanishing_gradients", "exploding_gradients", "no_gradient", "constant_predictions",
        "learning_rate_too_low", "learning_rate_too_high", "labels_shuffled:nothing learned", "loss_at_start",
        "idle_normalization", "unexplained",
    ),
)  # fmt: skip
def equal_start(trace: TrainingTrace) -> Iterator[Finding]:
    """Find layers whose units start with equal weights, so that no step can tell them apart."""
    structure = trace.structure
    if structure is None or not trace.copies or trace.continued:
        return
    init = "xavier" if structure.activations and all(saturates(one) for one in structure.activations) else "he"
    inner = tuple(one.path for one in structure.maps[:-1])
    more = len(trace.copies) - 1
    nothing = all(trace.gains.get(path, 1.0) == 0 for path in trace.copies)
    yield Finding(
        "equal_start", Severity.ERROR, trace.copies[0], (), 0.97,
        {"layers": len(trace.copies), "of": len(structure.maps), "gain": trace.gains.get(trace.copies[0], 0.0)},
        f'all units of layer "{trace.copies[0]}"' + (f" and {more} more" if more else "")
        + (" start with weights of 0" if nothing else " start with the same weights"),
        "Equal units that are weighed alike by the next layer get equal gradients, and stay equal in every step"
        + (": with zeros nothing passes at all." if nothing else ": the layer acts as a single unit."),
        Remedy.of(trace.setup, f"start with random weights, init={init!r}", Initialization(inner, init),
                  Initialization((structure.maps[-1].path,), "torch")),
    )  # fmt: skip
