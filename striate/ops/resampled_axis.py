"""The linear maps of resampling along one axis: nearest neighbours and linear interpolation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import Index
from striate.graph.value import Array, DType
from striate.locks import cached_property
from striate.ops.axis_map import AxisMap, Entry, Row, Run, Scalar, Terms, chosen

LONGEST_TABLE = 4096
"""The largest input size plus output size of an axis for which a kernel looks up source indices in a table.

For longer axes, the kernel computes the indices.
"""


@dataclass(frozen=True)
class ResampledAxis(AxisMap):
    """Base class of resampling along one axis (abstract): each position p of y corresponds to a coordinate in x.

    The coordinate increases by ``step`` from one position of y to the next. Its whole part is the source index of p;
    the source index is at most ``size`` − 1. ``size`` is the number of elements of x along the axis, and ``length``
    that of y.
    """

    length: int
    step: float

    @property
    def count(self) -> int:
        return self.length

    def places(self, p: Array) -> tuple[Array, Array]:
        """Return (source index i, weight a) of each position p, in NumPy: y[p] = (1 − a) · x[i] + a · x[i + 1]."""
        raise NotImplementedError

    def place(self, k: Kernel, p: Index) -> tuple[Index, Scalar]:
        """Emit (source index i, weight a) of one position p of y: y[p] = (1 − a) · x[i] + a · x[i + 1].

        a is a float64 scalar.
        """
        raise NotImplementedError

    def guess(self, k: Kernel, i: Index) -> Index:
        """Emit an estimate of the first position of y whose source index is at least i; ``first`` corrects it."""
        raise NotImplementedError

    @property
    def tabulated(self) -> bool:
        """Whether the kernels look up source indices and weights in tables, because the axis is short enough."""
        return self.size + self.count <= LONGEST_TABLE

    @cached_property
    def _found(self) -> tuple[Array, Array]:
        return self.places(np.arange(self.count))

    @cached_property
    def _firsts(self) -> Array:
        """For every index i of x, the first position of y whose source index is at least i; at the end, y's size."""
        firsts = np.searchsorted(self._found[0], np.arange(self.size + 1))
        firsts[0], firsts[-1] = 0, self.count
        return firsts

    def found(self, k: Kernel, p: Index, dtype: DType) -> tuple[Index, Scalar]:
        """Emit (source index i, weight a) of position p, from tables if there are any; a is a scalar of ``dtype``.

        The method ``place`` defines i and a; without tables, it computes them.
        """
        if not self.tabulated:
            i, share = self.place(k, p)
            return i, k.convert(share, dtype)
        elements, shares = self._found
        i = k.look_up(k.table(elements.tolist(), DType.int32), p)
        return i, k.look_up(k.table(shares.tolist(), dtype), p, dtype)

    def first(self, k: Kernel, i: Index) -> Index:
        """Emit the first position of y whose source index is at least i, for −1 ≤ i ≤ size + 1.

        If there is no such position, the result is the size of y.
        """
        inside = k.imin(k.imax(i, 0), self.size)
        if self.tabulated:
            return k.look_up(k.table(self._firsts.tolist(), DType.int32), inside)
        guess = self.guess(k, inside)
        first = k.iadd(guess, 2)
        for p in (k.iadd(guess, 1), guess, k.isub(guess, 1)):
            first = chosen(k, k.compare(self.place(k, k.imax(p, 0))[0], ">=", inside), p, first)
        first = k.imin(k.imax(first, 0), self.count)
        first = chosen(k, k.compare(inside, "==", 0), 0, first)
        return chosen(k, k.compare(inside, "==", self.size), self.count, first)


@dataclass(frozen=True)
class NearestAxis(ResampledAxis):
    """Nearest-neighbour resampling along one axis: y[p] = x[⌊p · step⌋], or x[⌊(p + ½) · step⌋] if ``centred``.

    ``step`` is the distance between neighbouring positions of y, in positions of x. An index beyond the last element of
    x is replaced by the index of that element.
    """

    centred: bool

    @property
    def most(self) -> int:
        return 1

    @property
    def most_transposed(self) -> int:
        return math.ceil(1 / self.step) + 1 if self.step else self.count

    def places(self, p: Array) -> tuple[Array, Array]:
        # PyTorch computes in float32, where p · step may be just below a whole number.
        at = (p.astype(np.float32) + np.float32(0.5 if self.centred else 0)) * np.float32(self.step)
        return np.minimum(np.floor(at).astype(np.int64), self.size - 1), np.zeros(len(p))

    def place(self, k: Kernel, p: Index) -> tuple[Index, Scalar]:
        at = k.convert(k.as_index(p), DType.float32)
        at = k.add(at, k.constant_like(at, 0.5)) if self.centred else at
        at = k.mul(at, k.constant_like(at, float(np.float32(self.step))))
        zero = k.constant_like(k.convert(at, DType.float64), 0)
        return k.imin(k.convert(at, DType.int64), self.size - 1), zero

    def guess(self, k: Kernel, i: Index) -> Index:
        at = k.convert(k.as_index(i), DType.float64)
        return k.convert(k.div(at, k.constant_like(at, self.step)), DType.int64)

    def row(self, p: int) -> Row:
        return ((int(self._found[0][p]), 1.0),)

    def terms(self, k: Kernel, p: Index, dtype: DType) -> Terms:
        return [Entry(self.found(k, p, dtype)[0])]

    def transposed_terms(self, k: Kernel, i: Index, dtype: DType) -> Terms:
        return Run(self.first(k, i), self.first(k, k.iadd(i, 1)))


@dataclass(frozen=True)
class LinearAxis(ResampledAxis):
    """Linear interpolation along one axis: y[p] = (1 − a) · x[i] + a · x[i + 1] for the coordinate i + a in x.

    The coordinate is max((p + ½) · step − ½, 0), or p · step with ``align_corners``; 0 ≤ a ≤ 1. ``step`` is the
    distance between neighbouring positions of y, in positions of x. If x[i] is the last element of x, it is also used
    as x[i + 1].
    """

    align_corners: bool

    @property
    def most(self) -> int:
        return 2

    @property
    def most_transposed(self) -> int:
        return min(self.count, 2 * math.ceil(1 / self.step) + 2) if self.step else self.count

    def places(self, p: Array) -> tuple[Array, Array]:
        at = p * self.step if self.align_corners else (p + 0.5) * self.step - 0.5
        at = np.maximum(at, 0)
        i = np.minimum(np.floor(at).astype(np.int64), self.size - 1)
        return i, np.clip(at - i, 0, 1)

    def place(self, k: Kernel, p: Index) -> tuple[Index, Scalar]:
        at = k.convert(k.as_index(p), DType.float64)
        zero, one, half, step = (k.constant_like(at, number) for number in (0, 1, 0.5, self.step))
        at = k.mul(at, step) if self.align_corners else k.sub(k.mul(k.add(at, half), step), half)
        at = k.choose(k.greater(at, zero), at, zero)
        i = k.imin(k.convert(at, DType.int64), self.size - 1)
        share = k.sub(at, k.convert(k.as_index(i), DType.float64))
        return i, k.choose(k.greater(share, one), one, share)

    def guess(self, k: Kernel, i: Index) -> Index:
        if not self.step:
            return self.count
        at = k.convert(k.as_index(i), DType.float64)
        half, step = k.constant_like(at, 0.5), k.constant_like(at, self.step)
        at = k.div(at, step) if self.align_corners else k.sub(k.div(k.add(at, half), step), half)
        return k.imax(k.convert(at, DType.int64), 0)

    def row(self, p: int) -> Row:
        i, share = int(self._found[0][p]), float(self._found[1][p])
        return (i, 1 - share), (min(i + 1, self.size - 1), share)

    def terms(self, k: Kernel, p: Index, dtype: DType) -> Terms:
        i, share = self.found(k, p, dtype)
        one = k.constant_like(share, 1)
        return [Entry(i, weight=k.sub(one, share)), Entry(k.imin(k.iadd(i, 1), self.size - 1), weight=share)]

    def transposed_terms(self, k: Kernel, i: Index, dtype: DType) -> Terms:
        def weight(p: Index) -> Scalar:
            own, share = self.found(k, p, dtype)
            zero, one = k.constant_like(share, 0), k.constant_like(share, 1)
            here = k.choose(k.compare(own, "==", i), k.sub(one, share), zero)
            after = k.compare(k.imin(k.iadd(own, 1), self.size - 1), "==", i)
            return k.add(here, k.choose(after, share, zero))

        return Run(self.first(k, k.isub(i, 1)), self.first(k, k.iadd(i, 1)), weight)
