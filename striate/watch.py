"""Watching training: statistics of every layer's output, computed where the values are written.

They are extra outputs of the gradient program, under names that start with ``watch:``.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from striate.graph.arithmetic import constant
from striate.graph.op import at_path
from striate.graph.value import Array, Value
from striate.ops.activation import greater
from striate.ops.reduction import mean, moments
from striate.tracing import Trace

if TYPE_CHECKING:
    from striate.step import TrainingStep

PREFIX = "watch:"


def observe(pattern: str, trace: Trace) -> dict[str, Value]:
    """Extra outputs for the layers that match: mean, variance, share of positive values, in all and by unit."""
    outputs: dict[str, Value] = {}
    seen: dict[str, int] = {}
    for step in trace.steps:
        if not (step.path and step.output.dtype.is_float and fnmatch.fnmatchcase(step.path, pattern)):
            continue
        uses = seen[step.path] = seen.get(step.path, 0) + 1
        name = step.path if uses == 1 else f"{step.path}#{uses}"  # a shared layer is passed several times
        y = step.output
        with at_path(step.path):
            fires = greater(y, constant(0.0, y.dtype))
            average, variance = moments(y)
            outputs[f"{PREFIX}{name}:mean"] = average
            outputs[f"{PREFIX}{name}:variance"] = variance
            axes = tuple(axis for axis in range(y.type.rank) if axis != 1)
            outputs[f"{PREFIX}{name}:firing"] = mean(fires, axes)
            silent = constant(1.0, y.dtype) - greater(y * y, constant(0.0, y.dtype))
            outputs[f"{PREFIX}{name}:zeros"] = mean(silent)
    return outputs


class Watch:
    """What training does, layer by layer; filled by every step after ``step.watch(pattern)``."""

    def __init__(self, pattern: str, step: TrainingStep) -> None:
        self.pattern = pattern
        self._step = step
        self._found: dict[str, dict[str, Array]] = {}
        self._fired: dict[str, Array] = {}
        self.samples = 0

    def receive(self, outputs: Mapping[str, Array], n: int) -> None:
        """Takes the observations of one step."""
        for name, array in outputs.items():
            if name.startswith(PREFIX):
                layer, _, what = name.removeprefix(PREFIX).rpartition(":")
                if fnmatch.fnmatchcase(layer.partition("#")[0], self.pattern):
                    self._found.setdefault(layer, {})[what] = array
                    if what == "firing":
                        self._fired[layer] = self._fired.get(layer, 0) + array.astype(np.float64) * n
        self.samples += n

    def gradient_norms(self) -> dict[str, float]:
        """√Σg² of each parameter in the last step."""
        return {
            name: float(np.sqrt(np.sum(np.square(view, dtype=np.float64))))
            for name, view in self._step.gradient_views().items()
            if fnmatch.fnmatchcase(name, self.pattern) or fnmatch.fnmatchcase(name.rpartition(".")[0], self.pattern)
        }

    def means(self) -> dict[str, float]:
        """Mean of each layer's output in the last step."""
        return {layer: float(found["mean"]) for layer, found in self._found.items()}

    def spreads(self) -> dict[str, float]:
        """Standard deviation of each layer's output in the last step."""
        return {layer: float(np.sqrt(found["variance"])) for layer, found in self._found.items()}

    def zero_shares(self) -> dict[str, float]:
        """Share of zeros in each layer's output in the last step."""
        return {layer: float(found["zeros"]) for layer, found in self._found.items()}

    def firing(self) -> dict[str, Array]:
        """For each layer and unit (channel) the share of positive outputs over all steps watched."""
        return {layer: fired / max(self.samples, 1) for layer, fired in self._fired.items()}

    def silent_units(self) -> dict[str, list[int]]:
        """Units that never fired in any step watched: dead, where the layer is a ReLU."""
        return {
            layer: [int(unit) for unit in np.flatnonzero(fired == 0)]
            for layer, fired in self._fired.items()
            if not fired.all()
        }

    def close(self) -> None:
        """Ends the watch; the step runs without its observers again."""
        self._step.unwatch(self)
