"""Standardization of the data before learning.

    μ = (1/n) Σ x        σ = √(ε + (1/n) Σ (μ − x)²)        x̂ = (x − μ) / σ

per feature for (N, D), n = N; per channel for (N, C, positions…), n = N · positions. Fitted on training data only.

A feature that is constant in the training data has σ = √ε > 0 and μ equal to the constant, bit for bit, so that its
x̂ is exactly 0 and nothing is divided by zero. New data that differ there are far out, which ``unusual`` reports.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from striate.data.dataset import as_numbers, check_finite
from striate.errors import DataError, ModelFileError, OptionError, ShapeError
from striate.nn.standardization import Standardization

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]

_CHUNK = 1 << 22  # elements made float64 together
_FAR = 50.0
_MOST_FEATURES = 1 << 24


@dataclass(frozen=True)
class UnusualFeature:
    """A feature or channel whose standardized value is far from what training saw."""

    feature: int
    count: int  # samples in which it is far
    sample: int  # the one where it is farthest
    value: float
    standardized: float

    def __str__(self) -> str:
        return (
            f"feature {self.feature}: x = {self.value:.6g} in sample {self.sample} is x̂ = {self.standardized:.4g} "
            f"({self.count} sample{'' if self.count == 1 else 's'} beyond ±{_FAR:g})"
        )


@dataclass(frozen=True, eq=False)
class Standardizer:
    """``mean`` and ``sigma`` are float32 (D,) or (C,); ``epsilon`` is the ε that is in ``sigma`` already.

    >>> standardizer = Standardizer.fit(load_digits("train").images)
    >>> standardizer.mean.shape
    (1,)
    """

    mean: Floats
    sigma: Floats
    epsilon: float

    def __post_init__(self) -> None:
        for name in ("mean", "sigma"):
            array = np.array(getattr(self, name), dtype=np.float32)
            array.flags.writeable = False
            object.__setattr__(self, name, array)
        if self.mean.ndim != 1 or self.mean.shape != self.sigma.shape or self.mean.size == 0:
            raise ShapeError(f"mean {self.mean.shape} and sigma {self.sigma.shape} must be one number for each feature")
        if not (np.isfinite(self.mean).all() and np.isfinite(self.sigma).all() and (self.sigma > 0).all()):
            raise DataError("mean and sigma must be finite, and sigma positive")

    @classmethod
    def fit(cls, x: npt.ArrayLike, epsilon: float = 1e-8) -> Standardizer:
        """From x (N, D) or (N, C, positions…). Exact for uint8; float64 in two passes otherwise.

        Raises ``OptionError`` unless √ε is a positive float32 number, ``DataError`` for empty data, NaN or infinity.
        """
        if not (math.isfinite(epsilon) and np.float32(math.sqrt(max(epsilon, 0.0))) > 0):
            raise OptionError(f"epsilon={epsilon}; wanted a positive number, or constant features divide by zero")
        numbers = _numbers(np.asarray(x))
        mean, variance = _moments_of_bytes(numbers) if numbers.dtype == np.uint8 else _moments(numbers)
        return cls(mean.astype(np.float32), np.sqrt(epsilon + variance).astype(np.float32), float(epsilon))

    def transform(self, x: npt.ArrayLike) -> Floats:
        """x̂ = (x − μ) / σ in float32; the slow, obvious twin of what the compiled program does."""
        numbers = self._fitting(x)
        shape = (1, -1, *(1,) * (numbers.ndim - 2))
        return (numbers.astype(np.float32) - self.mean.reshape(shape)) / self.sigma.reshape(shape)

    def unusual(self, x: npt.ArrayLike, limit: float = _FAR) -> list[UnusualFeature]:
        """The features of new data with |x̂| > ``limit``, NaN among them, farthest first."""
        numbers = self._fitting(x)
        found: list[UnusualFeature] = []
        for feature in self._with_far_ends(numbers, limit):
            values = numbers[:, feature].reshape(len(numbers), -1).astype(np.float32)
            with np.errstate(all="ignore"):  # infinity is as far as it gets
                scaled = (values - self.mean[feature]) / self.sigma[feature]
            distance = np.nan_to_num(np.abs(scaled), nan=np.inf)
            far = distance > limit
            if far.any():
                sample, place = divmod(int(np.argmax(distance)), scaled.shape[1])
                value, standardized = float(values[sample, place]), float(scaled[sample, place])
                found.append(UnusualFeature(feature, int(far.any(axis=1).sum()), sample, value, standardized))
        return sorted(
            found,
            key=lambda one: abs(one.standardized) if one.standardized == one.standardized else np.inf,
            reverse=True,
        )

    def _with_far_ends(self, numbers: Array, limit: float) -> list[int]:
        """The features whose least or greatest value is beyond ``limit``: x̂ grows with x, so no other has such."""
        if len(numbers) == 0:
            return []
        axes = (0, *range(2, numbers.ndim))
        with np.errstate(all="ignore"):
            ends = (np.stack([numbers.min(axis=axes), numbers.max(axis=axes)]) - self.mean) / self.sigma
            return [int(i) for i in np.flatnonzero(~(np.abs(ends) <= limit).all(axis=0))]

    def layer(self) -> Standardization:
        """The layer that a model applies to its inputs: what ``model.standardizer = standardizer`` puts in."""
        return Standardization(self.mean, self.sigma, self.epsilon)

    def to_json(self) -> dict[str, object]:
        """Plain numbers and lists, to go with a model; ``from_json`` gives back the same bits."""
        return {"mean": self.mean.tolist(), "sigma": self.sigma.tolist(), "epsilon": self.epsilon}

    @classmethod
    def from_json(cls, document: object) -> Standardizer:
        """Raises ``ModelFileError`` for anything that ``to_json`` does not write."""
        if not isinstance(document, Mapping):
            raise ModelFileError(f"standardizer: wanted an object, found {type(document).__name__}")
        entries = cast("Mapping[str, object]", document)
        if set(entries) != {"mean", "sigma", "epsilon"}:
            raise ModelFileError(f"standardizer: wanted mean, sigma and epsilon, found {sorted(map(str, entries))[:8]}")
        mean, sigma, epsilon = _list(entries["mean"]), _list(entries["sigma"]), _list([entries["epsilon"]])[0]
        try:
            with np.errstate(over="ignore"):  # becomes infinite, which is refused
                return cls(np.array(mean, dtype=np.float32), np.array(sigma, dtype=np.float32), epsilon)
        except (DataError, ShapeError) as error:
            raise ModelFileError(f"standardizer: {error}") from error

    def _fitting(self, x: npt.ArrayLike) -> Array:
        """x as uint8 or float32, with as many features as were fitted."""
        numbers = np.asarray(x)
        if numbers.ndim < 2 or numbers.shape[1] != len(self.mean):
            raise ShapeError(
                f"data of shape {numbers.shape}, standardizer of {len(self.mean)} features\n"
                f"  wanted: (N, {len(self.mean)}) or (N, {len(self.mean)}, positions…)"
            )
        return as_numbers(numbers, "data")


def _numbers(x: Array) -> Array:
    if x.ndim < 2 or x.size == 0:
        raise DataError(f"nothing to fit in data of shape {x.shape}; wanted (N, D) or (N, C, positions…)")
    numbers = as_numbers(x, "data")
    check_finite(numbers, "data")
    return numbers


def _moments_of_bytes(x: Array) -> tuple[Array, Array]:
    """Mean and variance from the count of each of the 256 values, in whole numbers: (n Σx² − (Σx)²) / n²."""
    counts = np.zeros((x.shape[1], 256), dtype=np.int64)
    for chunk in _chunks(x):
        for feature in range(x.shape[1]):
            counts[feature] += np.bincount(chunk[:, feature].ravel(), minlength=256)
    n = x.size // x.shape[1]
    mean, variance = np.empty(x.shape[1]), np.empty(x.shape[1])
    for feature, row in enumerate(counts.tolist()):
        total = sum(value * count for value, count in enumerate(row))
        squares = sum(value * value * count for value, count in enumerate(row))
        mean[feature], variance[feature] = total / n, (n * squares - total * total) / (n * n)
    return mean, variance


def _moments(x: Array) -> tuple[Array, Array]:
    """Mean and variance in float64, two passes, about the first value, so that a constant's mean is the constant."""
    n = x.size // x.shape[1]
    axes = (0, *range(2, x.ndim))
    shape = (1, -1, *(1,) * (x.ndim - 2))
    start = x[(0, slice(None), *(0,) * (x.ndim - 2))].astype(np.float64)
    offset, squares = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    for chunk in _chunks(x):
        offset += (chunk.astype(np.float64) - start.reshape(shape)).sum(axis=axes)
    mean = start + offset / n
    for chunk in _chunks(x):
        squares += np.square(chunk.astype(np.float64) - mean.reshape(shape)).sum(axis=axes)
    return mean, squares / n


def _chunks(x: Array) -> list[Array]:
    rows = max(1, _CHUNK // max(1, x[0].size))
    return [x[start : start + rows] for start in range(0, len(x), rows)]


def _list(value: object) -> list[float]:
    numbers = cast("list[object]", value) if isinstance(value, list) else []
    if not 0 < len(numbers) <= _MOST_FEATURES:
        raise ModelFileError("standardizer: wanted a list of numbers")
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not abs(number) < 1e39:
            raise ModelFileError(f"standardizer: {str(number)[:40]!r} is not a finite number")
    return [float(cast(float, number)) for number in numbers]
