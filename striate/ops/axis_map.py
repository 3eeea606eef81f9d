"""Sparse linear maps along an axis: padding, resampling and adaptive average pooling use them.

Row p of a map is a list of pairs (i, weight). Element p of the result is y[p] = Σ weight · x[i] over these pairs. An
operation on several axes applies one map along each of them, and its gradient applies the transposed maps. Kernels
compute the pairs of a row at run time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import Condition, Index
from striate.dtypes import DType
from striate.graph.value import Array

Row = tuple[tuple[int, float], ...]
"""The pairs (i, weight) of one element of y, which is Σ weight · x[i]."""
Scalar = Any
"""A floating point number in a register of the kernel."""


@dataclass(frozen=True)
class Entry:
    """One term weight · x[place] of a sum y[p]; its fields are values that a kernel computes at run time.

    If ``exists`` is false, the term counts as 0. ``place`` is a valid index in either case, so that the kernel may load
    x[place]. A ``weight`` of None counts as 1.
    """

    place: Index
    exists: Condition | bool = True
    weight: Scalar | None = None  # 1


@dataclass(frozen=True)
class Run:
    """The terms share · weight(i) · x[i] of a sum y[p], for i from ``first`` to ``stop`` − 1.

    All fields are values that a kernel computes at run time. If ``weight`` or ``share`` is None, it counts as 1.
    """

    first: Index
    stop: Index
    weight: Callable[[Index], Scalar] | None = None
    share: Scalar | None = None


Terms = list[Entry] | Run
"""The terms of one row, as values in a kernel's code."""


@dataclass(frozen=True)
class AxisMap:
    """Base class of the linear maps along one axis (abstract).

    A map computes y[p] = Σ weight · x[i] over the pairs (i, weight) of row p. ``size`` is the size of x along the axis.
    """

    size: int

    @property
    def count(self) -> int:
        """The size of the result y along the axis, which is the number of rows of the map."""
        raise NotImplementedError

    @property
    def most(self) -> int:
        """An upper bound on the number of elements of x that one element of y depends on."""
        raise NotImplementedError

    @property
    def most_transposed(self) -> int:
        """An upper bound on the number of elements of y that depend on one element of x."""
        raise NotImplementedError

    def row(self, p: int) -> Row:
        """Return the pairs (i, weight) of y[p] = Σ weight · x[i], for p from 0 to ``count`` − 1."""
        raise NotImplementedError

    def terms(self, k: Kernel, p: Index, dtype: DType) -> Terms:
        """Write the code that computes the terms of y[p] = Σ weight · x[i]; return the terms.

        ``k`` is the kernel to which the code is added, and p an index that is known at run time. The result is a list
        with an ``Entry`` for each term, or one ``Run``; the weights have the dtype ``dtype``.
        """
        raise NotImplementedError

    def transposed_terms(self, k: Kernel, i: Index, dtype: DType) -> Terms:
        """Do the same as ``terms`` for dx[i] = Σ_p w · dy[p], where w is the weight of x[i] in y[p]."""
        raise NotImplementedError


@dataclass(frozen=True)
class Transposed(AxisMap):
    """The transpose of a linear map along an axis: dx[i] = Σ_p w · dy[p], where w is the weight of x[i] in y[p].

    It computes the gradient of the map ``original``. ``size`` is the size of dy along the axis.
    """

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
    """Return the transpose of a map; the transpose of a ``Transposed`` map is the original."""
    return axis.original if isinstance(axis, Transposed) else Transposed(axis.count, axis)


def chosen(k: Kernel, condition: Condition | bool, a: Index, b: Index) -> Index:
    """Write code into kernel ``k`` that chooses index a if the condition holds, else b; return the chosen index."""
    return (
        k.choose(condition, a, b) if isinstance(condition, bool) else k.choose(condition, k.as_index(a), k.as_index(b))
    )


def clamped(k: Kernel, i: Index, size: int) -> Index:
    """Write code into kernel ``k`` that finds the index nearest to i among 0, …, size − 1; return this index."""
    return k.imin(k.imax(i, 0), size - 1)


def applied(x: Array, maps: Sequence[AxisMap]) -> Array:
    """Return x after applying linear maps along its last axes, one map for each of these axes.

    The kernels are tested against this function, which is plain NumPy. Sums are computed in float64 and rounded to the
    dtype of x at the end.
    """
    y = x.astype(np.float64)
    for place, axis in enumerate(maps, start=x.ndim - len(maps)):
        moved = np.moveaxis(y, place, 0)
        result = np.zeros((axis.count, *moved.shape[1:]))
        for p in range(axis.count):
            for i, weight in axis.row(p):
                result[p] += weight * moved[i]
        y = np.moveaxis(result, 0, place)
    return np.ascontiguousarray(y).astype(x.dtype)
