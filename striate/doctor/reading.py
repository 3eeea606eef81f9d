"""From the watch to readings: what every layer did in the step that was just taken."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from striate.doctor.chart import Drift, LayerReading, Reading
from striate.doctor.structure import Structure
from striate.nn.normalization import BatchNorm

Array = npt.NDArray[Any]
_FOLLOWED = 1e-3  # momentum below which a batch's statistics cannot be read off the running ones


def reading_of(record: Mapping[str, Any], epoch: int, loss: float) -> Reading:
    """From a watch's ``record()``, or a line of a run's record that has the same entries."""
    layers: dict[str, LayerReading] = {}
    for path, entries in cast("Mapping[str, Mapping[str, float | None]]", record["layers"]).items():
        mean, spread, zeros = (entries[name] for name in ("mean", "spread", "zeros"))
        layers[path] = LayerReading(
            math.nan if mean is None else mean,
            math.nan if spread is None else spread,
            math.nan if zeros is None else zeros,
            entries["saturated"],
            entries["gradient_norm"],
            entries["update_ratio"],
        )
    return Reading(int(record["step"]), epoch, loss, layers)


class Statistics:
    """Running statistics before a step: how far it moves them tells those of its batch."""

    def __init__(self, structure: Structure | None) -> None:
        self._before: dict[str, tuple[BatchNorm, Array, Array]] = {}
        for one in structure.norms if structure else ():
            layer = one.layer
            if isinstance(layer, BatchNorm) and layer.track_running_stats:
                parameters = layer.own_state()
                mean, variance = parameters["running_mean"].data, parameters["running_var"].data
                self._before[one.path] = layer, np.array(mean), np.array(variance)

    def drifts(self) -> dict[str, Drift]:
        """The batch of the step since, against the running statistics before it.

        running′ = (1 − m) · running + m · batch, so that batch = (running′ − (1 − m) · running) / m.
        """
        found: dict[str, Drift] = {}
        for path, (layer, mean, variance) in self._before.items():
            share = layer.momentum
            if share is None or share < _FOLLOWED:
                continue
            parameters = layer.own_state()
            batch_mean = (parameters["running_mean"].data - (1 - share) * mean) / share
            batch_variance = np.maximum((parameters["running_var"].data - (1 - share) * variance) / share, 1e-12)
            distance = np.abs(mean - batch_mean) / np.sqrt(batch_variance + layer.eps)
            ratio = np.maximum(variance, 1e-12) / batch_variance
            found[path] = Drift(float(np.median(distance)), float(np.median(np.maximum(ratio, 1 / ratio))))
        return found
