"""The kernels of softmax along any axis of a plain array: a few passes over each line of elements.

A plain array is (samples, outer, size, inner), where the softmax runs over ``size``. With inner = 1 a line is
contiguous, and the lanes of a vector are 16 of its elements. Otherwise the lanes are 16 neighbouring lines.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from striate.codegen.kernel import LANES, Index, Kernel, Pointer, Vector
from striate.codegen.launch import KernelSpec
from striate.dtypes import DType
from striate.ops.kernels.rowwise import LONG_ROW

CHUNK = 16384
"""Elements of a chunk, where there are so many."""


@dataclass(frozen=True)
class AxisKernel(KernelSpec):
    """Base of the kernels (abstract): ``samples`` is 0 where axis 0 is the run-time N."""

    dtype: DType
    samples: int
    outer: int
    size: int
    inner: int

    @property
    def vectors(self) -> int:
        """Vectors of lines beside each other."""
        return -(-self.inner // LANES)

    @property
    def units(self) -> int:
        """Lines, or vectors of lines, of a sample."""
        return self.outer * self.vectors

    @property
    def slice(self) -> int:
        """Units of a sample that one chunk takes."""
        return min(self.units, max(1, CHUNK // (self.size * min(self.inner, LANES))))

    @property
    def slices(self) -> int:
        """Chunks that share a sample."""
        return -(-self.units // self.slice)

    @property
    def group(self) -> int:
        """Samples that one chunk takes."""
        return max(1, CHUNK // (self.outer * self.size * self.inner)) if self.slices == 1 else 1

    @property
    def chunks(self) -> tuple[int, int]:
        """(per, group) of all chunks."""
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
        """Writes the code for one line, or for the lines in the lanes of a vector."""
        raise NotImplementedError


class Line:
    """One line, or up to 16 lines beside each other, in any operand. A step is a vector of them."""

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
        """The elements of a step; lanes past ``count`` of a contiguous line hold ``otherwise``."""
        k = self.k
        x = k.load_masked(self._at(operand, step), self.spec.dtype, self._count(count))
        return (
            x if count == LANES or not otherwise else k.select(k.mask(count), x, k.constant(otherwise, self.spec.dtype))
        )

    def store(self, operand: int, step: Index, count: int, value: Vector) -> None:
        """Stores the elements of a step."""
        self.k.store_masked(value, self._at(operand, step), self.spec.dtype, self._count(count))

    def each(self, body: Callable[[Index, int], None]) -> None:
        """``body(step, count)`` for all steps."""
        if self.whole:
            with self.k.loop(0, self.whole) as step:
                body(step.index, LANES)
        if self.rest:
            body(self.whole, self.rest)

    def fold(self, start: float, step: Callable[[Vector, Index, int], Vector], dtype: DType) -> Vector:
        """carry = step(carry, step, count) over all steps, from a vector of ``start``."""
        k = self.k
        carry = k.constant(start, dtype)
        if self.whole:
            with k.loop(0, self.whole, carry=[carry]) as at:
                at.carry = [step(at.carry[0], at.index, LANES)]
            carry = at.result[0]
        return step(carry, self.whole, self.rest) if self.rest else carry

    def largest(self, operand: int) -> Vector:
        """The maximum of each line, in every lane of it."""
        k = self.k
        found = self.fold(-math.inf, lambda m, b, c: k.max(m, self.load(operand, b, c, -math.inf)), self.spec.dtype)
        return k.splat(k.fold_lanes(found, k.max)) if self.contiguous else found

    def total(self, term: Callable[[Index, int], Vector]) -> Vector:
        """The sum of each line, in every lane of it; ``term(step, count)`` is 0 past ``count``. Long sums are wide."""
        k, dtype = self.k, self.spec.dtype
        if self.spec.size <= LONG_ROW:
            found = self.fold(0.0, lambda s, b, c: k.add(s, term(b, c)), dtype)
            return k.splat(k.add_lanes(found)) if self.contiguous else found
        wide = self.fold(0.0, lambda s, b, c: k.add(s, k.convert(term(b, c), DType.float64)), DType.float64)
        return k.splat(k.convert(k.add_lanes(wide), dtype)) if self.contiguous else k.convert(wide, dtype)


@dataclass(frozen=True)
class SoftmaxLines(AxisKernel):
    """y = softmax(x), or its logarithm. Operands: x, y."""

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
    """dx = y·(dy − Σ y·dy), or dy − e^y·Σ dy for the logarithm. Operands: y, dy, dx."""

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
