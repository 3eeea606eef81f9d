"""The geometry that convolutions and pools share: which input positions each output position reads.

A *part* computes outputs at positions  start + spread · q  from inputs at  step · q + first + stride · tap.
The forward pass is one part. The input gradient of a strided window is one part for each residue of the position modulo
the stride (the taps that reach that residue); a part without taps gives zeros.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from striate.codegen.storage import NO_HALO, Halo, Three, three_pairs


@dataclass(frozen=True)
class Span:
    """The taps of one axis: input offset ``first + j · stride`` for j < count, of filter tap ``tap + j · hop``."""

    first: int
    stride: int
    count: int
    tap: int
    hop: int


@dataclass(frozen=True)
class Part:
    """Output positions start + spread · q (q below ``sizes``) and the taps that they sum over."""

    spans: tuple[Span, Span, Span]
    start: Three
    spread: Three
    step: Three
    sizes: Three

    @property
    def taps(self) -> int:
        """The number of taps."""
        return math.prod(span.count for span in self.spans)

    def reach(self) -> tuple[tuple[int, int], ...]:
        """The lowest and the highest input position read along each axis."""
        result: list[tuple[int, int]] = []
        for span, step, size in zip(self.spans, self.step, self.sizes, strict=True):
            ends = (span.first, span.first + span.stride * (span.count - 1))
            result.append((min(ends), max(ends) + step * (size - 1)))
        return tuple(result)


def forward_part(kernel: Three, stride: Three, before: Three, dilation: Three, sizes: Three) -> Part:
    """The single part of a convolution with output ``sizes``."""
    spans = tuple(Span(-b, d, count, 0, 1) for count, b, d in zip(kernel, before, dilation, strict=True))
    return Part((spans[0], spans[1], spans[2]), (0, 0, 0), (1, 1, 1), stride, sizes)


def every_position(sizes: Three) -> Part:
    """The part that covers exactly the positions of an array."""
    one, zero = (1, 1, 1), (0, 0, 0)
    return forward_part(one, one, zero, one, sizes)


@dataclass(frozen=True)
class Residues:
    """One axis of an input gradient: the taps k that reach position i of x, and the positions in dy that they read.

        dx[i] = Σ_k w[k] · dy[(i + before − k · dilation) / stride], where that is a whole number

    The taps depend only on i modulo the stride: they are every ``hop``-th tap, starting with one below ``hop``. From
    one of them to the next, dy is read ``apart`` positions earlier.
    """

    kernel: int
    stride: int
    before: int
    dilation: int
    size: int  # of x

    @property
    def count(self) -> int:
        """The number of residues."""
        return min(self.stride, self.size)

    @property
    def common(self) -> int:
        """Taps reach only positions for which i + before is a multiple of this number."""
        return math.gcd(self.stride, self.dilation)

    @property
    def hop(self) -> int:
        """The distance of two neighbouring taps that reach the same position."""
        return self.stride // self.common

    @property
    def apart(self) -> int:
        """The distance of the positions in dy that two such taps read."""
        return self.dilation // self.common

    @property
    def inverse(self) -> int:
        """The inverse of ``apart`` modulo ``hop``."""
        return pow(self.apart, -1, self.hop)

    @property
    def most(self) -> int:
        """The largest number of taps that reach one position."""
        return -(-self.kernel // self.hop)

    def first(self, position: int) -> int | None:
        """The first tap that reaches a position, if any does."""
        whole, rest = divmod(position + self.before, self.common)
        tap = whole * self.inverse % self.hop
        return tap if not rest and tap < self.kernel else None

    def span(self, start: int) -> Span:
        """The taps of positions start + stride · q, last first, so that memory is read in ascending order."""
        first = self.first(start)
        if first is None:
            return Span(0, 1, 0, 0, -1)
        count = -(-(self.kernel - first) // self.hop)
        last = first + (count - 1) * self.hop
        lowest = (start + self.before - last * self.dilation) // self.stride
        return Span(lowest, self.apart, count, last, -self.hop) if count > 1 else Span(lowest, 1, 1, last, -1)

    def positions(self, start: int) -> int:
        """The number of positions with the residue of ``start``."""
        return -(-(self.size - start) // self.stride)

    def reach(self) -> tuple[int, int] | None:
        """The lowest and the highest position of dy that is read, if any is."""
        low, high, found = 0, 0, False
        for start in range(self.count):
            span = self.span(start)
            if span.count:
                top = span.first + span.stride * (span.count - 1) + self.positions(start) - 1
                low, high = (min(low, span.first), max(high, top)) if found else (span.first, top)
                found = True
        return (low, high) if found else None


def residues_of(
    kernel: Three, stride: Three, before: Three, dilation: Three, sizes: Three
) -> tuple[Residues, Residues, Residues]:
    """The residues of an input gradient along each axis."""
    d, h, w = itertools.starmap(Residues, zip(kernel, stride, before, dilation, sizes, strict=True))
    return d, h, w


def gradient_parts(kernel: Three, stride: Three, before: Three, dilation: Three, sizes: Three) -> tuple[Part, ...]:
    """The parts of an input gradient: dx[i] sums dy[(i + before − k·dilation) / stride] where the quotient is whole."""
    axes = residues_of(kernel, stride, before, dilation, sizes)
    return tuple(
        Part(
            (axes[0].span(d), axes[1].span(h), axes[2].span(w)), (d, h, w), stride, (1, 1, 1),
            (axes[0].positions(d), axes[1].positions(h), axes[2].positions(w)),
        )
        for d, h, w in itertools.product(*(range(axis.count) for axis in axes))
    )  # fmt: skip


@dataclass(frozen=True)
class Geometry:
    """A convolution of any rank, with its geometry extended to three spatial axes."""

    filters: int
    depth: int  # input channels of a group
    groups: int
    kernel: Three
    stride: Three
    before: Three
    dilation: Three
    size: Three  # of x
    count: Three  # of y

    @property
    def forward(self) -> Part:
        """The part that computes y."""
        return forward_part(self.kernel, self.stride, self.before, self.dilation, self.count)

    @property
    def backward(self) -> tuple[Part, ...]:
        """The parts that compute dx."""
        return gradient_parts(self.kernel, self.stride, self.before, self.dilation, self.size)

    @property
    def residues(self) -> tuple[Residues, Residues, Residues]:
        """The residues of dx along each axis: their products are the parts of ``backward``."""
        return residues_of(self.kernel, self.stride, self.before, self.dilation, self.size)

    @property
    def work(self) -> int:
        """Floating point operations of one sample in direct form."""
        return 2 * self.filters * self.depth * math.prod(self.kernel) * math.prod(self.count)


def forward_halo(g: Geometry) -> Halo:
    """The halo that the forward pass reads around x."""
    return _halo(g.forward.reach(), g.size)


def gradient_halo(g: Geometry) -> Halo:
    """The halo that the input gradient reads around dy."""
    d, h, w = (axis.reach() for axis in g.residues)
    return _halo((d, h, w), g.count) if d and h and w else NO_HALO


def _halo(reach: Sequence[tuple[int, int]], size: Three) -> Halo:
    """The halo of an image of ``size`` of which the positions from low to high of each axis are read."""
    before = [max(0, -low) for low, _ in reach]
    after = [max(0, high - (limit - 1)) for (_, high), limit in zip(reach, size, strict=True)]
    return three_pairs(before, after)
