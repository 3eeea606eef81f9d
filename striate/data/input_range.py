"""The range of training inputs, by which unusual inputs for prediction are recognized."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, cast

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
_SAMPLE = 5000
_WIDTHS = 1.0
"""The distance from the range, in widths of the range, up to which a mean is not worth a warning."""
_LEAST_WIDTH = 0.25  # standard deviations of all values, where the means differ by less
_TIMES = 3.0
"""How many times the largest spread of a training sample a spread must be for a warning."""


@dataclass(frozen=True)
class InputRange:
    """The range of the means and spreads of training samples, in each channel (or feature).

    low, high  the smallest and the largest mean of a sample over its positions, for each channel; for features, the
               smallest and the largest value of each
    spread     the largest standard deviation of a sample over its positions, for each channel
    deviation  the standard deviation of all values, for each channel
    dark       whether ``unlike`` says if exchanging light and dark would help; true for uint8
    size       (height, width) of the picture files; None if they differ, and for data that are not files of pictures
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    spread: tuple[float, ...]
    deviation: tuple[float, ...]
    dark: bool
    size: tuple[int, int] | None = None

    @classmethod
    def of(cls, images: Array, size: tuple[int, int] | None = None) -> InputRange:
        """Measure training inputs (N, C, …), at most 5,000 of them.

        ``size`` is the (height, width) of the picture files; None if they differ, or if the inputs are not pictures.
        """
        chosen = images[:: -(-len(images) // _SAMPLE)]
        means, spreads = _measured(chosen)
        deviation = np.sqrt(np.square(spreads).mean(axis=0) + means.var(axis=0))
        low, high, spread, deviations = (
            tuple(map(float, one)) for one in (means.min(axis=0), means.max(axis=0), spreads.max(axis=0), deviation)
        )
        return cls(low, high, spread, deviations, images.dtype == np.uint8, size)

    def unlike(self, images: Array) -> dict[int, str]:
        """Return which samples of ``images`` (N, C, …) are clearly outside of the range, as {index: reason as text}.

        Samples with another number of channels than in training are not compared; the result is then empty.
        """
        if images.ndim < 2 or images.shape[1] != len(self.low):
            return {}
        means, spreads = _measured(images)
        low, high = np.array(self.low), np.array(self.high)
        width = np.maximum((high - low) * _WIDTHS, np.array(self.deviation) * _LEAST_WIDTH)
        outside = (means < low - width) | (means > high + width)
        wide = spreads > _TIMES * np.maximum(self.spread, np.array(self.deviation) * _LEAST_WIDTH)
        found: dict[int, str] = {}
        for place in np.flatnonzero((outside | wide).any(axis=1)).tolist():
            channel = int(np.argmax(outside[place] | wide[place]))
            of = f" of channel {channel}" if images.ndim > 2 and len(low) > 1 else ""
            if not outside[place, channel]:
                spread = spreads[place, channel]
                found[place] = f"its spread{of} is {spread:.3g}, theirs are {self.spread[channel]:.3g} at most"
                continue
            what = f"feature {channel}" if images.ndim == 2 else f"its mean{of}"
            text = f"{what} is {means[place, channel]:.3g}, theirs are {low[channel]:.3g} to {high[channel]:.3g}"
            swapped = 255 - means[place]
            if self.dark and ((swapped >= low - width) & (swapped <= high + width)).all():
                text += "; with light and dark exchanged it would fit"
            found[place] = text
        return found

    def to_json(self) -> dict[str, Any]:
        """Return the fields as a dictionary of plain values, for ``run.json``."""
        numbers = {name: list(values) for name, values in self._numbers().items()}
        return {**numbers, "dark": self.dark, "size": None if self.size is None else list(self.size)}

    def _numbers(self) -> dict[str, tuple[float, ...]]:
        return {"low": self.low, "high": self.high, "spread": self.spread, "deviation": self.deviation}

    @classmethod
    def from_json(cls, document: object) -> InputRange | None:
        """Return the range for a dictionary from ``to_json``; None for anything else."""
        found = cast("dict[str, Any]", document) if isinstance(document, dict) else dict[str, Any]()
        if set(found) != {one.name for one in fields(cls)}:
            return None
        size = found["size"]
        try:
            numbers = {name: tuple(map(float, found[name])) for name in ("low", "high", "spread", "deviation")}
            sides = None if size is None else (int(size[0]), int(size[1]))
        except (TypeError, ValueError, LookupError, OverflowError):
            return None
        if len({len(values) for values in numbers.values()}) != 1 or not numbers["low"]:
            return None
        return cls(**numbers, dark=bool(found["dark"]), size=sides)


def _measured(images: Array) -> tuple[Array, Array]:
    """Return the mean and the standard deviation over the positions of each sample, float64 (N, C) both."""
    wide = images.reshape(*images.shape[:2], -1)
    return wide.mean(axis=2, dtype=np.float64), wide.std(axis=2, dtype=np.float64)
