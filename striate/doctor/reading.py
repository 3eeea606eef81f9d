"""Turns the records of a watch into readings, and compares batches with running statistics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from striate.doctor.structure import Structure
from striate.doctor.training_trace import Drift, Gap, LayerReading, Reading
from striate.nn.normalization import Normalization

Array = npt.NDArray[Any]
_FOLLOWED = 1e-3  # below this momentum rounding hides the batch's statistics in the running ones


def reading_of(record: Mapping[str, Any], epoch: int, loss: float) -> Reading:
    """Return the reading for a watch's ``record()``, or for the same record in a run's ``progress.jsonl``.

    ``epoch`` and ``loss`` are those of the step. A mean, standard deviation or share of zeros that is null in the
    record becomes NaN.
    """
    layers: dict[str, LayerReading] = {}
    for path, entries in cast("Mapping[str, Mapping[str, float | None]]", record["layers"]).items():
        mean, std, zeros = (entries[name] for name in ("mean", "std", "zeros"))
        layers[path] = LayerReading(
            math.nan if mean is None else mean,
            math.nan if std is None else std,
            math.nan if zeros is None else zeros,
            entries["saturated"],
            entries["gradient_norm"],
            entries["update_ratio"],
        )
    return Reading(int(record["step"]), epoch, loss, layers)


class Statistics:
    """A copy of the running statistics of all normalizations in ``structure``, made before a step.

    The mean and variance of the step's batch are computed from how far the step moves the running statistics.
    """

    def __init__(self, structure: Structure | None) -> None:
        self._before: dict[str, tuple[Normalization, Array, Array]] = {}
        for one in structure.norms if structure else ():
            layer = one.normalization
            running = layer.running_statistics() if layer is not None else None
            if layer is not None and running is not None:
                self._before[one.path] = layer, np.array(running.mean), np.array(running.variance)

    def drifts(self) -> dict[str, Drift]:
        """Return the ``Drift`` of each normalization by path: how far the last batch is from the statistics before it.

        With momentum m, running′ = (1 − m) · running + m · batch, so that batch = (running′ − (1 − m) · running) / m.
        Normalizations without running statistics, or with a momentum below 1e-3, are left out.
        """
        found: dict[str, Drift] = {}
        for path, (layer, mean, variance) in self._before.items():
            running = layer.running_statistics()
            share = running.momentum if running is not None else None
            if running is None or share is None or share < _FOLLOWED:
                continue
            batch_mean = (running.mean - (1 - share) * mean) / share
            batch_variance = np.maximum((running.variance - (1 - share) * variance) / share, 1e-12)
            distance = np.abs(mean - batch_mean) / np.sqrt(batch_variance + layer.eps)
            ratio = np.maximum(variance, 1e-12) / batch_variance
            found[path] = Drift(float(np.median(distance)), float(np.median(np.maximum(ratio, 1 / ratio))))
        return found


def gaps_of(structure: Structure, means: Mapping[str, float], stds: Mapping[str, float]) -> dict[str, Gap]:
    """Return the ``Gap`` between each normalization's input in the last step and its running statistics, by path.

    ``structure`` has the normalizations and the layers before them; ``means`` and ``stds`` are the mean and the
    standard deviation of each layer's output, by path. The running mean μ_c and variance σ²_c of each channel are
    combined to one variance over all channels, σ² = mean σ²_c + var μ_c.
    """
    found: dict[str, Gap] = {}
    before = ""
    for one in structure.passed:
        running = one.normalization.running_statistics() if one.normalization is not None else None
        if running is not None and before in means and before in stds:
            spread = float(running.variance.mean(dtype=np.float64) + running.mean.var(dtype=np.float64))
            batch = max(stds[before] ** 2, 1e-12)
            distance = abs(float(running.mean.mean(dtype=np.float64)) - means[before]) / math.sqrt(batch)
            found[one.path] = Gap(distance, max(spread, 1e-12) / batch)
        before = one.path
    return found
