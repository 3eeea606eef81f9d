"""Linear maps along one axis of positions: padding, resampling and adaptive averages are such maps on every axis.

Row p of a map lists pairs (i, weight): y[p] = Σ weight · x[i]. A map on several axes applies one after the other. Its
gradient is the same with the transposed maps. Kernels compute the rows from p, so their code does not grow with sizes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from striate.codegen.kernel import Condition, Index, Kernel
from striate.dtypes import DType
from striate.graph.value import Array

Row = tuple[tuple[int, float], ...]
Scalar = Any
"""A floating point number in a register of the kernel."""


@dataclass(frozen=True)
class Entry:
    """One term of a row in a kernel: x[place], which is inside the array also where the term does not exist."""

    place: Index
    exists: Condition | bool = True
    weight: Scalar | None = None  # 1


@dataclass(frozen=True)
class Run:
    """The terms from ``first`` to before ``stop``.

    ``weight(i)`` is the weight of x[i], ``share`` that of all terms; None means 1.
    """

    first: Index
    stop: Index
    weight: Callable[[Index], Scalar] | None = None
    share: Scalar | None = None


Terms = list[Entry] | Run


@dataclass(frozen=True)
class AxisMap:
    """Base of the maps (abstract). ``size`` is the size of x along the axis."""

    size: int

    @property
    def count(self) -> int:
        """The size of y along the axis."""
        raise NotImplementedError

    @property
    def most(self) -> int:
        """An upper bound of the number of terms in a row."""
        raise NotImplementedError

    @property
    def most_transposed(self) -> int:
        """An upper bound of the number of rows that contain the same element."""
        raise NotImplementedError

    def row(self, p: int) -> Row:
        """What y[p] consists of."""
        raise NotImplementedError

    def terms(self, k: Kernel, p: Index, dtype: DType) -> Terms:
        """Row p in a kernel, with weights of this dtype."""
        raise NotImplementedError

    def transposed_terms(self, k: Kernel, i: Index, dtype: DType) -> Terms:
        """Row i of the transposed map in a kernel."""
        raise NotImplementedError


@dataclass(frozen=True)
class Transposed(AxisMap):
    """The gradient of a map: x[i] = Σ weight · y[p] over the rows p that contain i. ``size`` is that of y."""

    original: AxisMap

    @property
    def count(self) -> int:
        return self.original.size

    @property
    def most(self) -> int:
        return self.original.most_transposed

    @property
    def most_transposed(self) -> int:
        return self.original.most

    def row(self, p: int) -> Row:
        return _columns(self.original)[p]

    def terms(self, k: Kernel, p: Index, dtype: DType) -> Terms:
        return self.original.transposed_terms(k, p, dtype)

    def transposed_terms(self, k: Kernel, i: Index, dtype: DType) -> Terms:
        return self.original.terms(k, i, dtype)


@functools.lru_cache(512)
def _columns(axis: AxisMap) -> tuple[Row, ...]:
    columns: list[list[tuple[int, float]]] = [[] for _ in range(axis.size)]
    for p in range(axis.count):
        for i, weight in axis.row(p):
            columns[i].append((p, weight))
    return tuple(map(tuple, columns))


def transposed(axis: AxisMap) -> AxisMap:
    """The transposed map."""
    return axis.original if isinstance(axis, Transposed) else Transposed(axis.count, axis)


def chosen(k: Kernel, condition: Condition | bool, a: Index, b: Index) -> Index:
    """Index a if the condition holds, else b."""
    return (
        k.choose(condition, a, b) if isinstance(condition, bool) else k.choose(condition, k.as_index(a), k.as_index(b))
    )


def clamped(k: Kernel, i: Index, size: int) -> Index:
    """The index nearest to i that is inside an axis."""
    return k.imin(k.imax(i, 0), size - 1)


def applied(x: Array, maps: Sequence[AxisMap]) -> Array:
    """The maps on the last axes of x, in float64, element by element."""
    y = x.astype(np.float64)
    for place, axis in enumerate(maps, start=x.ndim - len(maps)):
        moved = np.moveaxis(y, place, 0)
        result = np.zeros((axis.count, *moved.shape[1:]))
        for p in range(axis.count):
            for i, weight in axis.row(p):
                result[p] += weight * moved[i]
        y = np.moveaxis(result, 0, place)
    return np.ascontiguousarray(y).astype(x.dtype)
