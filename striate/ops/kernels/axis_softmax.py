"""The kernels of softmax, log softmax and their gradients along any axis, for arrays in NumPy order.

The array is seen as (samples, outer, size, inner), and the softmax runs along ``size``. A *line* is the ``size``
elements of one softmax. With inner = 1 a line is contiguous, and a vector holds 16 of its elements; otherwise a vector
holds one element of each of 16 neighbouring lines. A kernel reads each line a few times: for the maximum, the sum and
the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import LANES, Index, Pointer, Vector
from striate.codegen.launch import KernelSpec
from striate.dtypes import DType
from striate.ops.kernels.rowwise import LONG_ROW

CHUNK = 16384
"""The approximate number of elements in a chunk, the unit of work of a thread."""


@dataclass(frozen=True)
class AxisKernel(KernelSpec):
    """Base class of the kernels of softmax and its gradient along one axis, for arrays in NumPy's order (abstract).

    An array is seen as (samples, outer, size, inner), with the softmax along ``size``. A *line* is the ``size``
    elements of one softmax.

    ``samples`` is 0 if axis 0 is the run-time N. A *unit* is one line, or the up to 16 lines that one vector holds. A
    *chunk*, the work of one thread at a time, is some units of one sample, or all units of some samples.
    """

    dtype: DType
    samples: int
    outer: int
    size: int
    inner: int

    @property
    def vectors(self) -> int:
        """The number of vectors of 16 lanes that the ``inner`` neighbouring lines fill.

        A line is the elements of one softmax; each line fills one lane.
        """
        return -(-self.inner // LANES)

    @property
    def units(self) -> int:
        """The number of units of work (a line, or the lines in one vector) in one sample."""
        return self.outer * self.vectors

    @property
    def slice(self) -> int:
        """The largest number of units of one sample in a chunk.

        A chunk is the work of one thread at a time. A unit is one line, the elements of one softmax, or the lines that
        one vector holds.
        """
        return min(self.units, max(1, CHUNK // (self.size * min(self.inner, LANES))))

    @property
    def slices(self) -> int:
        """The number of chunks, the work of one thread at a time, into which one sample is divided."""
        return -(-self.units // self.slice)

    @property
    def group(self) -> int:
        """The number of samples in one chunk, the work of one thread at a time.

        It is 1 if a sample is divided into several chunks.
        """
        return max(1, CHUNK // (self.outer * self.size * self.inner)) if self.slices == 1 else 1

    @property
    def chunks(self) -> tuple[int, int]:
        """The number of chunks as a pair (per, group).

        A chunk is the unit of work of a thread. There are ``per`` chunks in all if group is 0, else ``per`` for every
        ``group`` samples, and as many for an incomplete last group.
        """
        if self.samples:
            return -(-self.samples // self.group) * self.slices, 0
        return self.slices, self.group

    def write(self, k: Kernel) -> None:
        group, part = k.idiv(k.chunk, self.slices), k.imod(k.chunk, self.slices)
        first = k.imul(group, self.group)
        last = k.imin(k.iadd(first, self.group), self.samples or k.n)
        start = k.imul(part, self.slice)
        stop = k.imin(k.iadd(start, self.slice), self.units)
        with k.loop(first, last) as n, k.loop(start, stop) as unit:
            outer, vector = k.idiv(unit.index, self.vectors), k.imod(unit.index, self.vectors)
            lane = k.imul(vector, LANES)
            base = k.iadd(k.imul(n.index, self.outer * self.size * self.inner), k.imul(outer, self.size * self.inner))
            beside = LANES if self.inner % LANES == 0 else k.imin(LANES, k.isub(self.inner, lane))
            self.line(k, Line(k, self, k.iadd(base, lane), beside))

    def line(self, k: Kernel, line: Line) -> None:
        """Write the code for one unit: one line, or up to 16 neighbouring lines.

        A line is the elements of one softmax. ``line`` emits the loads and stores of the unit's elements.
        """
        raise NotImplementedError


class Line:
    """The code that reads and writes one unit: one contiguous line, or up to 16 neighbouring lines.

    A line is the elements of one softmax. A *step* is one vector of the unit: 16 consecutive elements of a contiguous
    line, or else one element of each line. ``spec`` is the kernel, ``base`` the index of the unit's first element, and
    ``beside`` the number of neighbouring lines.
    """

    def __init__(self, k: Kernel, spec: AxisKernel, base: Index, beside: Index) -> None:
        self.k, self.spec, self.base, self.beside = k, spec, base, beside
        self.contiguous = spec.inner == 1
        self.whole, self.rest = divmod(spec.size, LANES) if self.contiguous else (spec.size, 0)

    def _at(self, operand: int, step: Index) -> Pointer:
        k = self.k
        distance = LANES if self.contiguous else self.spec.inner
        return k.offset(k.operand(operand), k.iadd(self.base, k.imul(step, distance)), self.spec.dtype)

    def _count(self, count: int) -> Index:
        return count if self.contiguous else self.beside

    def load(self, operand: int, step: Index, count: int, otherwise: float = 0.0) -> Vector:
        """Return vector number ``step`` of the unit (one or several lines), read from the kernel's operand ``operand``.

        If the unit is a contiguous line, only the first ``count`` lanes are loaded, and the others hold ``otherwise``.
        If it consists of neighbouring lines, one lane is loaded for each line.
        """
        k = self.k
        x = k.load_masked(self._at(operand, step), self.spec.dtype, self._count(count))
        return (
            x if count == LANES or not otherwise else k.select(k.mask(count), x, k.constant(otherwise, self.spec.dtype))
        )

    def store(self, operand: int, step: Index, count: int, value: Vector) -> None:
        """Write ``value`` as vector number ``step`` of the unit (one or several lines), to operand number ``operand``.

        If the unit is a contiguous line, only the first ``count`` lanes are stored. If it consists of neighbouring
        lines, one lane is stored for each line.
        """
        self.k.store_masked(value, self._at(operand, step), self.spec.dtype, self._count(count))

    def each(self, body: Callable[[Index, int], None]) -> None:
        """Write a loop that runs ``body(step, count)`` for every vector of the unit (one or several lines).

        ``step`` is the number of the vector, and ``count`` the number of lanes in use; it is below 16 only in the last
        vector of a contiguous line.
        """
        if self.whole:
            with self.k.loop(0, self.whole) as step:
                body(step.index, LANES)
        if self.rest:
            body(self.whole, self.rest)

    def fold(self, start: float, step: Callable[[Vector, Index, int], Vector], dtype: DType) -> Vector:
        """Write a loop of carry = step(carry, number, count) over the vectors of the unit; return the last carry.

        The unit is one or several lines. ``number`` counts its vectors from 0, and ``count`` is the number of lanes in
        use. The first carry is a vector of ``dtype`` with ``start`` in every lane.
        """
        k = self.k
        carry = k.constant(start, dtype)
        if self.whole:
            with k.loop(0, self.whole, carry=[carry]) as at:
                at.carry = [step(at.carry[0], at.index, LANES)]
            carry = at.result[0]
        return step(carry, self.whole, self.rest) if self.rest else carry

    def largest(self, operand: int) -> Vector:
        """Return the maximum of each line, read from the kernel's operand ``operand``.

        The maximum of a contiguous line is in every lane; the maxima of neighbouring lines are in one lane each.
        """
        k = self.k
        found = self.fold(-math.inf, lambda m, b, c: k.max(m, self.load(operand, b, c, -math.inf)), self.spec.dtype)
        return k.splat(k.fold_lanes(found, k.max)) if self.contiguous else found

    def total(self, term: Callable[[Index, int], Vector]) -> Vector:
        """Return the sum of ``term(step, count)`` over the vectors of each line.

        ``step`` is the number of a vector. In ``term(step, count)``, the lanes after the first ``count`` must be 0. The
        sum of a contiguous line is in every lane; the sums of neighbouring lines are in one lane each. Lines of more
        than ``LONG_ROW`` elements are summed in float64.
        """
        k, dtype = self.k, self.spec.dtype
        if self.spec.size <= LONG_ROW:
            found = self.fold(0.0, lambda s, b, c: k.add(s, term(b, c)), dtype)
            return k.splat(k.add_lanes(found)) if self.contiguous else found
        wide = self.fold(0.0, lambda s, b, c: k.add(s, k.convert(term(b, c), DType.float64)), DType.float64)
        return k.splat(k.convert(k.add_lanes(wide), dtype)) if self.contiguous else k.convert(wide, dtype)


@dataclass(frozen=True)
class SoftmaxLines(AxisKernel):
    """The kernel of y = softmax(x) or, if ``logarithm``, of y = ln softmax(x). Operands: x, y."""

    logarithm: bool

    def line(self, k: Kernel, line: Line) -> None:
        peak = line.largest(0)
        total = line.total(lambda step, count: k.exp(k.sub(line.load(0, step, count, -math.inf), peak)))
        scale = k.log(total) if self.logarithm else k.div(k.constant(1, self.dtype), total)

        def write(step: Index, count: int) -> None:
            shifted = k.sub(line.load(0, step, count), peak)
            line.store(1, step, count, k.sub(shifted, scale) if self.logarithm else k.mul(k.exp(shifted), scale))

        line.each(write)


@dataclass(frozen=True)
class SoftmaxGradientLines(AxisKernel):
    """The kernel of the gradient of softmax: dx = y·(dy − Σ y·dy) or, if ``logarithm``, dx = dy − e^y·Σ dy.

    y = softmax(x) or, if ``logarithm``, y = ln softmax(x). dx and dy are the gradients with respect to x and y.
    Operands: y, dy, dx.
    """

    logarithm: bool

    def line(self, k: Kernel, line: Line) -> None:
        def term(step: Index, count: int) -> Vector:
            dy = line.load(1, step, count)
            return dy if self.logarithm else k.mul(line.load(0, step, count), dy)

        total = line.total(term)

        def write(step: Index, count: int) -> None:
            y, dy = line.load(0, step, count), line.load(1, step, count)
            dx = k.sub(dy, k.mul(k.exp(y), total)) if self.logarithm else k.mul(y, k.sub(dy, total))
            line.store(2, step, count, dx)

        line.each(write)
