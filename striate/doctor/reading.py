"""From the watch to readings: what every layer did in the step that was just taken."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.doctor.chart import Drift, LayerReading, Reading
from striate.doctor.structure import Structure
from striate.nn.module import Module
from striate.nn.normalization import BatchNorm
from striate.step import TrainingStep
from striate.watch import Watch

Array = npt.NDArray[Any]
_FOLLOWED = 1e-3  # momentum below which a batch's statistics cannot be read off the running ones


class Before:
    """Parameters and running statistics before a step, so that afterwards one knows how far they moved."""

    def __init__(self, model: Module, structure: Structure | None) -> None:
        arena = model.arena()
        self.parameters = np.array(arena.flat_parameters)
        self.views = {name: (slot.held(), self._place(arena.flat_parameters, slot.held()))
                      for name, slot in model.named_slots() if slot.learned}  # fmt: skip
        self.statistics: dict[str, tuple[BatchNorm, Array, Array]] = {}
        for one in structure.norms if structure else ():
            layer = one.layer
            if isinstance(layer, BatchNorm) and layer.track_running_stats:
                mean, variance = layer.slot("running_mean").held(), layer.slot("running_var").held()
                self.statistics[one.path] = layer, np.array(mean), np.array(variance)

    @staticmethod
    def _place(flat: Array, view: Array) -> int:
        """Index of a view's first element in the flat array; -1 where it lies elsewhere (frozen)."""
        start = (view.ctypes.data - flat.ctypes.data) // flat.itemsize
        return int(start) if 0 <= start <= flat.size - view.size else -1

    def update_ratios(self) -> dict[str, float]:
        """‖Δθ‖/‖θ‖ by layer, over the parameters that it owns."""
        moved: dict[str, list[float]] = {}
        for name, (view, start) in self.views.items():
            if start < 0:
                continue
            old = self.parameters[start : start + view.size].astype(np.float64)
            change = view.ravel().astype(np.float64) - old
            sums = moved.setdefault(name.rpartition(".")[0], [0.0, 0.0])
            sums[0] += float(change @ change)
            sums[1] += float(old @ old)
        return {layer: math.sqrt(a / b) if b > 0 else math.nan for layer, (a, b) in moved.items()}

    def drifts(self) -> dict[str, Drift]:
        """This batch against the running statistics before it, read off how those moved."""
        found: dict[str, Drift] = {}
        for path, (layer, mean, variance) in self.statistics.items():
            share = layer.momentum
            if share is None or share < _FOLLOWED:
                continue
            new_mean, new_variance = layer.slot("running_mean").held(), layer.slot("running_var").held()
            batch_mean = (new_mean - (1 - share) * mean) / share
            batch_variance = np.maximum((new_variance - (1 - share) * variance) / share, 1e-12)
            distance = np.abs(mean - batch_mean) / np.sqrt(batch_variance + layer.eps)
            ratio = np.maximum(variance, 1e-12) / batch_variance
            found[path] = Drift(float(np.median(distance)), float(np.median(np.maximum(ratio, 1 / ratio))))
        return found


def reading_of(watch: Watch, step: TrainingStep, before: Before | None, epoch: int, loss: float) -> Reading:
    """What the watch saw in the last step."""
    means, spreads, zeros = watch.means(), watch.spreads(), watch.zero_shares()
    saturated: Mapping[str, float] = watch.saturated_shares() if hasattr(watch, "saturated_shares") else {}
    squares: dict[str, float] = {}
    for name, norm in watch.gradient_norms().items():
        layer = name.rpartition(".")[0]
        squares[layer] = squares.get(layer, 0.0) + norm * norm
    ratios = before.update_ratios() if before is not None else {}
    layers: dict[str, LayerReading] = {}
    for path in means:
        norm = math.sqrt(squares[path]) if path in squares else None
        layers[path] = LayerReading(
            means[path], spreads[path], zeros[path], saturated.get(path), norm, ratios.get(path)
        )
    return Reading(step.step_number, epoch, loss, layers)
