"""The rule about single huge inputs before a convolution.

If a convolution is computed by Winograd's algorithm, the rounding error of a huge input reaches all outputs of its
tile, even those that do not depend on it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from striate import settings
from striate.doctor.changes import ClipInputs
from striate.doctor.finding import Finding, Severity
from striate.doctor.remedy import Remedy
from striate.doctor.rule import When, rule
from striate.doctor.sample import Array
from striate.doctor.structure import Structure
from striate.doctor.training_trace import TrainingTrace

EXTREME = 1e4
ROUNDING = 3.8e-6
"""The largest rounding error measured for Winograd's F(4×4, 3×3), relative to a tile's largest input and weight.

It is 54 · 2⁻²⁴; see docs/training.md, "Infinite and huge inputs".
"""
USUAL = 0.99
"""The share of the values, those nearest to the median, from which the usual deviation is computed."""
KEPT = 100.0
"""Clipping keeps values within this multiple of the usual deviation from the median."""


def deviations(values: Array) -> tuple[float, float, float]:
    """Return (median, usual deviation from it, largest deviation) of the values of one feature.

    The usual deviation is the root mean square of the smaller 99 % of the deviations.
    """
    middle = float(np.median(values))
    distance = np.abs(values.astype(np.float64) - middle)
    usual = distance[distance <= np.quantile(distance, USUAL)]
    scale = float(np.sqrt(np.mean(np.square(usual))))
    if scale == 0 and distance.any():  # nearly all values are equal: the scale is that of the others
        scale = float(np.median(distance[distance > 0]))
    return middle, scale, float(distance.max())


def convolves(structure: Structure | None) -> bool:
    """Return whether the network has a convolution with a kernel larger than 1; False if ``structure`` is None."""
    return structure is not None and any(
        one.rank > 2 and "weight" in one.parameters and max(one.parameters["weight"].sizes[2:], default=1) > 1
        for one in structure.maps
    )


@rule(
    "extreme_range",
    When.ONCE,
    looks_for="single inputs that are thousands of times as large as the others, before a convolution",
    threshold="a deviation from the median of its channel 10,000 times the usual one (the root mean square of the "
    "smaller 99 %), with `STRIATE_WINOGRAD` on and a convolution",
    source="Winograd's form sums whole tiles before it separates their outputs again: the error of each is up to "
    "3.8e-6 of the largest input of its tile (measured; [Infinite and huge inputs](training.md)), 4 % of an input that "
    "is 10,000 times smaller",
    why="The outputs of a tile share the rounding error of its largest input, and one such input "
    "outweighs all others in the gradient as well.",
    remedy="clip them, or take a logarithm; else `STRIATE_WINOGRAD=off`, which computes every output by itself. Where "
    "channels merely differ in scale, a `Standardizer` suffices",
    explains=(
        "unstandardized_input", "loss_at_start", "exploding_gradients", "vanishing_gradients", "saturated_units",
        "dead_units", "learning_rate_too_high", "learning_rate_too_low", "constant_predictions",
        "labels_shuffled:nothing learned", "idle_normalization", "overfitting", "stale_statistics",
    ),
)  # fmt: skip
def extreme_range(trace: TrainingTrace) -> Iterator[Finding]:
    """Find inputs that are thousands of times as large as the others, before a convolution."""
    sample = trace.data
    if sample is None or not settings.current().winograd or not convolves(trace.structure):
        return
    if sample.dataset.images.dtype.kind != "f" or not np.isfinite(sample.x).all():
        return
    found = [deviations(values) for values in sample.by_feature]
    ratios = [largest / usual if usual > 0 else 0.0 for _, usual, largest in found]
    worst = int(np.argmax(ratios))
    ratio = ratios[worst]
    if ratio <= EXTREME:
        return
    _, usual, largest = found[worst]
    raw = [deviations(values) for values in np.moveaxis(sample.raw, 1, 0).reshape(sample.features, -1)]
    low = min(one - KEPT * scale for one, scale, _ in raw)
    high = max(one + KEPT * scale for one, scale, _ in raw)
    yield Finding(
        "extreme_range", Severity.WARNING, "data", (worst,), 0.9,
        {"largest deviation": largest, "usual deviation": usual, "ratio": ratio, "error": ROUNDING * ratio},
        f"single inputs are {ratio:.1e} times as far from the median as the usual ones",
        "Convolutions with 3×3 filters compute tiles of outputs together (Winograd), and every output shares the "
        f"rounding error of the largest input of its tile: up to {ROUNDING * ratio:.2g} times a usual input here.",
        Remedy.of(
            trace.setup,
            "clip such inputs or take a logarithm; or set STRIATE_WINOGRAD=off, which computes each output by itself",
            ClipInputs(low, high),
        ),
    )  # fmt: skip
