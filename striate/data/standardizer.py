"""Standardize inputs to mean 0 and standard deviation 1.

    μ = (1/n) Σ x        σ = √(ε + (1/n) Σ (μ − x)²)        x̂ = (x − μ) / σ

The statistics are per feature for inputs (N, D), where n = N, and per channel for (N, C, positions…), where n is N
times the number of positions. They are fitted on the training data only.

A feature that is constant in the training data has σ = √ε > 0 and μ equal to the constant, bit for bit, so that x̂ is
exactly 0 and nothing is divided by 0. Other values of that feature in new data become huge, which ``outliers`` reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from striate.arguments import Explained
from striate.data.dataset import as_array, check_finite, chunks, require_real
from striate.errors import DataError, DTypeError, ModelFileError, ShapeError
from striate.graph.array import unmasked
from striate.nn.module import Module
from striate.nn.standardization import Standardization
from striate.options import number

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.floating[Any]]

FAR = 50.0
"""The number of standard deviations from the mean beyond which a value is an outlier."""
_MOST_FEATURES = 1 << 24
_TINY = float(np.finfo(np.float32).tiny)  # kernels treat smaller numbers as 0
_SMALLEST_EPSILON = 1.4e-76  # its root is _TINY


@dataclass(frozen=True)
class Outlier:
    """A feature or channel with values that are far outside the range of the training data.

    ``feature`` is its index, and ``count`` the number of samples with such values. ``sample`` is the index of the
    sample with the farthest ``value``, which is ``standardized`` standard deviations from the mean.
    """

    feature: int
    count: int  # number of samples in which the feature is an outlier
    sample: int  # index of the sample in which it is farthest
    value: float
    standardized: float

    def __str__(self) -> str:
        return (
            f"feature {self.feature}: x = {self.value:.6g} in sample {self.sample} is x̂ = {self.standardized:.4g} "
            f"({self.count} sample{'' if self.count == 1 else 's'} beyond ±{FAR:g})"
        )


@dataclass(frozen=True, eq=False)
class Standardizer(metaclass=Explained):
    """The map x̂ = (x − μ) / σ, with ``mean`` μ and ``sigma`` σ of shape (D,) or (C,).

    Both are float32 if float32 represents all their numbers exactly, and float64 otherwise. ``epsilon`` is the ε that
    ``sigma`` already includes. Raises ``ShapeError`` unless both have the same shape, and ``DataError`` for numbers
    that are not in the range of float32 or a ``sigma`` that is not positive.

    >>> standardizer = Standardizer.fit(load_digits("train").images)
    >>> standardizer.mean.shape
    (1,)
    """

    mean: Floats
    sigma: Floats
    epsilon: float

    def __post_init__(self) -> None:
        mean, sigma = _exact("mean", self.mean), _exact("sigma", self.sigma)
        if mean.ndim != 1 or mean.shape != sigma.shape or mean.size == 0:
            raise ShapeError(f"mean {mean.shape} and sigma {sigma.shape} must be one number for each feature")
        with np.errstate(over="ignore", under="ignore"):
            narrow = mean.astype(np.float32), sigma.astype(np.float32)
        if not (np.isfinite(narrow).all() and (narrow[1] >= _TINY).all()):
            raise DataError(f"mean and sigma must be finite numbers of float32, and sigma at least {_TINY:.3g}")
        if all((one == wide).all() for one, wide in zip(narrow, (mean, sigma))):
            mean, sigma = narrow
        for name, array in (("mean", mean), ("sigma", sigma)):
            array.flags.writeable = False
            object.__setattr__(self, name, array)

    @classmethod
    def fit(cls, x: npt.ArrayLike, epsilon: float = 1e-8) -> Standardizer:
        """Compute mean and standard deviation of inputs (N, D) or (N, C, positions…).

        For uint8 they are exact; otherwise they are computed in two passes in float64. ``epsilon`` is added to the
        variance.

        Raises ``OptionError`` for an ε whose square root is not a positive normal float32 number; ``DataError`` for
        empty data, NaN, and numbers too large for float32; ``DTypeError`` for anything but an array of numbers.
        """
        number("epsilon", epsilon, _SMALLEST_EPSILON)
        numbers = _numbers(as_array(x, "data"))
        mean, variance = _byte_moments(numbers) if numbers.dtype == np.uint8 else _moments(numbers)
        sigma = np.sqrt(epsilon + variance)
        if numbers.dtype != np.float64:  # the data are no more precise
            mean, sigma = mean.astype(np.float32), sigma.astype(np.float32)
        return cls(mean, sigma, float(epsilon))

    def transform(self, x: npt.ArrayLike) -> Floats:
        """Return x̂ = (x − μ) / σ, of the shape of x.

        The result is float64 for float64 and for integers of 32 bits or more, otherwise float32. A compiled model with
        this standardizer computes the same formula. Raises ``ShapeError`` for another number of features.
        """
        numbers = self._fitting(x)
        if numbers.dtype == np.uint8:
            numbers = numbers.astype(np.float32)
        shape = (1, -1, *(1,) * (numbers.ndim - 2))
        mean, sigma = (one.astype(numbers.dtype).reshape(shape) for one in (self.mean, self.sigma))
        return (numbers - mean) / sigma

    def outliers(self, x: npt.ArrayLike, limit: float = FAR) -> list[Outlier]:
        """Return the features or channels with |x̂| > ``limit`` or NaN in new data, farthest first.

        ``limit`` is a number of standard deviations, by default 50. Raises ``OptionError`` unless it is above 0, and
        ``ShapeError`` for another number of features.
        """
        number("limit", limit, above=0)
        numbers = self._fitting(x)
        found: list[Outlier] = []
        for feature in self._beyond(numbers, limit):
            values = numbers[:, feature].reshape(len(numbers), -1).astype(np.float64)
            with np.errstate(all="ignore"):  # infinite values are outliers like others
                scaled = (values - self.mean[feature]) / self.sigma[feature]
            distance = np.nan_to_num(np.abs(scaled), nan=np.inf)
            far = distance > limit
            if far.any():
                sample, place = divmod(int(np.argmax(distance)), scaled.shape[1])
                value, standardized = float(values[sample, place]), float(scaled[sample, place])
                found.append(Outlier(feature, int(far.any(axis=1).sum()), sample, value, standardized))
        return sorted(found, key=_distance, reverse=True)

    def _beyond(self, numbers: Array, limit: float) -> list[int]:
        """Return the features whose smallest or largest value is beyond ``limit``.

        x̂ grows with x, so that no other feature has such a value.
        """
        if len(numbers) == 0:
            return []
        axes = (0, *range(2, numbers.ndim))
        with np.errstate(all="ignore"):
            ends = (np.stack([numbers.min(axis=axes), numbers.max(axis=axes)]) - self.mean) / self.sigma
            return [int(i) for i in np.flatnonzero(~(np.abs(ends) <= limit).all(axis=0))]

    def layer(self) -> Standardization:
        """Return the layer that applies this map; ``model.standardizer = standardizer`` installs it."""
        return Standardization(self.mean, self.sigma, self.epsilon)

    def to_json(self) -> dict[str, object]:
        """Return mean, sigma and epsilon as a dictionary for JSON; ``from_json`` restores exactly the same numbers."""
        return {"mean": self.mean.tolist(), "sigma": self.sigma.tolist(), "epsilon": self.epsilon}

    @classmethod
    def from_json(cls, document: object) -> Standardizer:
        """Return the standardizer for a dictionary from ``to_json``; raises ``ModelFileError`` for anything else."""
        if not isinstance(document, Mapping):
            raise ModelFileError(f"standardizer: expected an object, found {type(document).__name__}")
        entries = cast("Mapping[str, object]", document)
        if set(entries) != {"mean", "sigma", "epsilon"}:
            raise ModelFileError(
                f"standardizer: expected mean, sigma and epsilon, found {sorted(map(str, entries))[:8]}"
            )
        mean, sigma, epsilon = _list(entries["mean"]), _list(entries["sigma"]), _list([entries["epsilon"]])[0]
        try:
            return cls(np.array(mean), np.array(sigma), epsilon)
        except (DataError, ShapeError) as error:
            raise ModelFileError(f"standardizer: {error}") from error

    def _fitting(self, x: npt.ArrayLike) -> Array:
        """Return x as uint8, float32 or float64; raises ``ShapeError`` for another number of features."""
        numbers = as_array(x, "data")
        if numbers.ndim < 2 or numbers.shape[1] != len(self.mean):
            count = len(self.mean)
            raise ShapeError(
                f"data of shape {numbers.shape}, standardizer of {count} features\n"
                f"  expected: (N, {count}) or (N, {count}, positions…)"
            )
        return _as_floats(numbers)


def standardizer_of(model: Module) -> Standardizer | None:
    """Return the standardizer that a model applies to its inputs; None if it has none."""
    found = model.standardizer
    if isinstance(found, Standardization):
        state = found.own_state()
        return Standardizer(state["mean"].data, state["sigma"].data, found.epsilon)
    return found if isinstance(found, Standardizer) else None


def _exact(name: str, values: npt.ArrayLike) -> Floats:
    """Return a copy in float64; raises ``DataError`` for values that are not real numbers."""
    try:
        array = unmasked(values, name)
    except DTypeError:
        raise
    except (ValueError, TypeError) as error:
        raise DataError(f"{name}: {error}") from error
    if array.dtype.kind not in "buif":
        raise DataError(f"{name} must be real numbers, not {array.dtype}")
    return array.astype(np.float64)


def _distance(one: Outlier) -> float:
    """Return |x̂| of an outlier; infinity for NaN."""
    return np.inf if np.isnan(one.standardized) else abs(one.standardized)


def _as_floats(x: Array) -> Array:
    """uint8 as it is, float64 and integers of 32 bits or more in float64, all else in float32."""
    require_real(x, "data")
    if x.dtype == np.uint8:
        return x
    narrow = np.can_cast(x.dtype, np.float32)
    with np.errstate(over="ignore"):  # long doubles may become infinite, which ``check_finite`` names
        return x.astype(np.float32 if narrow else np.float64, copy=False)


def _numbers(x: Array) -> Array:
    if x.ndim < 2 or x.size == 0:
        raise DataError(f"nothing to fit in data of shape {x.shape}; expected (N, D) or (N, C, positions…)")
    numbers = _as_floats(x)
    check_finite(numbers, "data")
    return numbers


def _byte_moments(x: Array) -> tuple[Array, Array]:
    """Mean and variance from the count of each of the 256 values, in whole numbers: (n Σx² − (Σx)²) / n²."""
    counts = np.zeros((x.shape[1], 256), dtype=np.int64)
    for _, chunk in chunks(x):
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
    """Return mean and variance of each feature in float64, in two passes.

    Differences are taken from the first value, so that the mean of a constant feature is the constant.
    """
    n = x.size // x.shape[1]
    axes = (0, *range(2, x.ndim))
    shape = (1, -1, *(1,) * (x.ndim - 2))
    start = x[(0, slice(None), *(0,) * (x.ndim - 2))].astype(np.float64)
    offset, squares = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    for _, chunk in chunks(x):
        offset += (_wide(chunk) - start.reshape(shape)).sum(axis=axes)
    mean = start + offset / n
    for _, chunk in chunks(x):
        squares += np.square(_wide(chunk) - mean.reshape(shape)).sum(axis=axes)
    return mean, squares / n


def _wide(chunk: Array) -> Array:
    """Return the chunk as float64 in C order, so that sums have the same bits for any memory layout."""
    return np.ascontiguousarray(chunk, np.float64)


def _list(value: object) -> list[float]:
    """Return a JSON list as floats; raises ``ModelFileError`` unless it is a list of finite numbers."""
    numbers = cast("list[object]", value) if isinstance(value, list) else []
    if not 0 < len(numbers) <= _MOST_FEATURES:
        raise ModelFileError("standardizer: expected a list of numbers")
    for one in numbers:
        if isinstance(one, bool) or not isinstance(one, (int, float)) or not abs(one) < 1e39:
            raise ModelFileError(f"standardizer: {str(one)[:40]!r} is not a finite number")
    return [float(cast(float, one)) for one in numbers]
