"""The rule about layers that do not learn: frozen, or not connected to the loss."""

from __future__ import annotations

from collections.abc import Iterator

from striate.doctor.changes import Unfreeze
from striate.doctor.finding import Finding, Severity
from striate.doctor.remedy import Remedy
from striate.doctor.rule import When, rule
from striate.doctor.training_trace import TrainingTrace

ENOUGH = 5


@rule(
    "no_gradient",
    When.START,
    looks_for="layers that never learn: frozen as they were drawn, not used, or cut off from the loss",
    threshold="a frozen weight that still holds the random numbers of its start; a layer that forward calls, but no "
    "module holds; a parameter that the output does not depend on; a gradient of exactly 0 in every step read (5 at "
    "least). Frozen weights that were loaded are meant",
    source="exact: read from the traced graph and from the starting values",
    why="Such layers stay the random maps that they were.",
    remedy="`requires_grad_(True)`, or load weights before freezing; else by hand: use the layer in "
    "forward, or a function with a slope",
    explains=(
        "constant_predictions", "labels_shuffled:nothing learned", "learning_rate_too_low", "vanishing_gradients",
        "idle_normalization", "overfitting", "learning_rate_too_high", "unexplained",
    ),
)  # fmt: skip
def no_gradient(trace: TrainingTrace) -> Iterator[Finding]:
    """Find layers that never change: frozen with initial weights, not registered, unused, or without gradient."""
    structure = trace.structure
    if structure is None:
        return
    maps = {one.path for one in structure.maps}
    frozen = tuple(dict.fromkeys(path for path in trace.random_and_frozen if path in maps))
    if frozen:
        yield Finding(
            "no_gradient", Severity.WARNING if len(frozen) < len(maps) else Severity.ERROR, frozen[0], (), 0.9,
            {"frozen layers": len(frozen), "layers": len(maps)},
            f"{_layers(frozen)} frozen with the random weights of the start",
            "requires_grad is off, but nothing was loaded into them: they pass their input through a random map.",
            Remedy.of(trace.setup, "let them learn, or load weights into them before freezing", Unfreeze(frozen)),
            "frozen", layers=frozen,
        )  # fmt: skip
    if structure.unregistered:
        count = len(structure.unregistered)
        kinds = ", ".join(dict.fromkeys(f"nn.{name}" for name in structure.unregistered))
        yield Finding(
            "no_gradient", Severity.ERROR, "model", (), 0.98, {"layers": count},
            f"{count} layer{'s' if count > 1 else ''} that forward calls ({kinds}) "
            f"{'are' if count > 1 else 'is'} not part of the model",
            "Layers that a list or another object holds are not part of the model: their parameters are neither "
            "learned nor saved, and they stay the random maps that they were.",
            Remedy("hold layers as attributes, or in a Sequential", "self.layers = nn.Sequential(*layers)"),
            "unregistered",
        )  # fmt: skip
    lost = tuple(dict.fromkeys(name.rpartition(".")[0] for name in structure.unused))
    if lost:
        yield Finding(
            "no_gradient", Severity.WARNING, lost[0], (), 0.95, {"parameters": len(structure.unused)},
            f"{_layers(lost)} not connected: the output does not depend on {'it' if len(lost) == 1 else 'them'}",
            "A layer that forward does not call, or whose result it drops, gets no gradient and is saved unlearned.",
            Remedy("use the result in forward, or delete the layer", f"x = self.{lost[0]}(x)   # in forward"),
            "unused", layers=lost,
        )  # fmt: skip
    if len(trace.readings) < ENOUGH:
        return
    zero = tuple(
        one.path
        for one in structure.maps
        if one.path not in frozen and one.path not in lost and _always_zero(trace, one.path)
    )
    if zero and len(zero) == len(structure.maps):
        yield Finding(
            "no_gradient", Severity.ERROR, zero[-1], (), 0.9, {"layers": len(zero), "steps read": len(trace.readings)},
            "no layer gets any gradient: exactly 0 in every step",
            "The loss does not depend on the weights: what comes between the last layer and the loss is constant, or "
            "has a derivative of 0 everywhere.",
            Remedy("look at the last operation before the loss: a softmax over one unit, a rounding, a comparison, "
                   "values that are clipped"),
            "everywhere", layers=zero,
        )  # fmt: skip
    elif zero:
        yield Finding(
            "no_gradient", Severity.ERROR, zero[-1], (), 0.8, {"layers": len(zero), "steps read": len(trace.readings)},
            f"{_layers(zero)} without any gradient: exactly 0 in every step",
            "Between here and the loss is something whose derivative is 0 everywhere: a comparison, a rounding, a "
            "multiplication by 0, or dead units.",
            Remedy("use something with a slope there (tanh instead of a comparison, for example)"),
            "zero", layers=zero,
        )  # fmt: skip


def _always_zero(trace: TrainingTrace, path: str) -> bool:
    """Whether the layer's gradient norm was exactly 0 in every reading, of which there are enough."""
    norms = [one.layers[path].gradient_norm for one in trace.readings if path in one.layers]
    return len(norms) >= ENOUGH and all(norm == 0 for norm in norms)


def _layers(paths: tuple[str, ...]) -> str:
    """Return "layer … is" or "layers … are", with up to four paths."""
    shown = ", ".join(f'"{path}"' for path in paths[:4]) + (", …" if len(paths) > 4 else "")
    return f"layer {shown} is" if len(paths) == 1 else f"layers {shown} are"
