"""The geometry that convolution and pooling share: which input positions each output position reads.

A *part* computes outputs at positions  start + spread · q  from inputs at  step · q + first + stride · tap  along each
axis, where q counts the outputs and tap the taps. The forward pass is one part. The input gradient of a strided window
has one part for each residue of the output position modulo the stride, because this residue determines which taps of
the window reach the position. The outputs of a part without taps are zeros.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from striate.codegen.storage import NO_HALO, Halo, Three, three_pairs


@dataclass(frozen=True)
class Span:
    """The taps of a part along one axis: for 0 ≤ j < count, tap number ``tap`` + j · ``hop`` reads first + j · stride.

    A part is a set of output positions, numbered q, that sum over the same taps. ``first`` and ``stride`` are in
    positions of the input, counted from position step · q; ``first`` is where tap ``tap`` reads.
    """

    first: int
    stride: int
    count: int
    tap: int
    hop: int


@dataclass(frozen=True)
class Part:
    """A set of output positions that sum over the same taps: start + spread · q along each axis, for 0 ≤ q < sizes.

    The inputs of output q are at step · q plus the offsets of the taps in ``spans``.
    """

    spans: tuple[Span, Span, Span]
    start: Three
    spread: Three
    step: Three
    sizes: Three

    @property
    def taps(self) -> int:
        """The number of taps that each output sums over: the product of the numbers along the three axes."""
        return math.prod(span.count for span in self.spans)

    def reach(self) -> tuple[tuple[int, int], ...]:
        """Return the lowest and the highest input position that is read along each axis, both inclusive."""
        result: list[tuple[int, int]] = []
        for span, step, size in zip(self.spans, self.step, self.sizes, strict=True):
            ends = (span.first, span.first + span.stride * (span.count - 1))
            result.append((min(ends), max(ends) + step * (size - 1)))
        return tuple(result)


def forward_part(kernel: Three, stride: Three, before: Three, dilation: Three, sizes: Three) -> Part:
    """Return the single ``Part`` of the forward pass of a convolution or pooling with output sizes ``sizes``.

    ``before`` is the padding before the input along each axis; the other options are as in PyTorch.
    """
    spans = tuple(Span(-b, d, count, 0, 1) for count, b, d in zip(kernel, before, dilation, strict=True))
    return Part((spans[0], spans[1], spans[2]), (0, 0, 0), (1, 1, 1), stride, sizes)


def every_position(sizes: Three) -> Part:
    """Return the ``Part`` with ``sizes`` positions in which each output reads only the input at the same position."""
    one, zero = (1, 1, 1), (0, 0, 0)
    return forward_part(one, one, zero, one, sizes)


@dataclass(frozen=True)
class Residues:
    """One axis of an input gradient: which taps k reach position i of x, and which positions of dy they read.

        dx[i] = Σ_k w[k] · dy[(i + before − k · dilation) / stride], over the k for which the quotient is whole

    The taps depend only on i modulo the stride: they are every ``hop``-th tap, starting with a tap below ``hop``. From
    one of these taps to the next, the position in dy decreases by ``apart``. ``kernel`` is the number of taps,
    ``before`` the padding before x, and ``size`` the size of x.
    """

    kernel: int
    stride: int
    before: int
    dilation: int
    size: int  # of x

    @property
    def count(self) -> int:
        """The number of residues modulo the stride that occur among the positions of x."""
        return min(self.stride, self.size)

    @property
    def common(self) -> int:
        """gcd(stride, dilation): taps reach position i only if i + before is a multiple of this number."""
        return math.gcd(self.stride, self.dilation)

    @property
    def hop(self) -> int:
        """The distance, in taps, between two neighbouring taps that reach the same position of x."""
        return self.stride // self.common

    @property
    def apart(self) -> int:
        """The distance, in positions of dy, between the inputs of two neighbouring taps.

        Both taps reach the same position of x; in the filter, they are ``hop`` apart.
        """
        return self.dilation // self.common

    @property
    def inverse(self) -> int:
        """The multiplicative inverse of ``apart`` modulo ``hop``, from which the first tap of a position is computed.

        ``hop`` is the distance between neighbouring taps of one position, and ``apart`` that between their inputs.
        """
        return pow(self.apart, -1, self.hop)

    @property
    def most(self) -> int:
        """The largest number of taps that reach one position of x."""
        return -(-self.kernel // self.hop)

    def first(self, position: int) -> int | None:
        """Return the first tap that reaches a position of x; None if no tap does."""
        whole, rest = divmod(position + self.before, self.common)
        tap = whole * self.inverse % self.hop
        return tap if not rest and tap < self.kernel else None

    def span(self, start: int) -> Span:
        """Return the taps that reach the positions start + stride · q of x, the last tap first.

        In this order, dy is read from low to high positions.
        """
        first = self.first(start)
        if first is None:
            return Span(0, 1, 0, 0, -1)
        count = -(-(self.kernel - first) // self.hop)
        last = first + (count - 1) * self.hop
        lowest = (start + self.before - last * self.dilation) // self.stride
        return Span(lowest, self.apart, count, last, -self.hop) if count > 1 else Span(lowest, 1, 1, last, -1)

    def positions(self, start: int) -> int:
        """Return the number of positions start + stride · q of x, for ``start`` below the stride."""
        return -(-(self.size - start) // self.stride)

    def reach(self) -> tuple[int, int] | None:
        """Return the lowest and the highest position of dy that is read, both inclusive; None if no tap reaches x."""
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
    """Return, for each axis of a convolution's input x, how its gradient is divided by the stride: see ``Residues``.

    ``sizes`` are the sizes of x, and ``before`` is the padding before x; the other options are as in PyTorch.
    """
    d, h, w = itertools.starmap(Residues, zip(kernel, stride, before, dilation, sizes, strict=True))
    return d, h, w


def gradient_parts(kernel: Three, stride: Three, before: Three, dilation: Three, sizes: Three) -> tuple[Part, ...]:
    """Return the parts of an input gradient, one for each combination of residues modulo the strides.

    A ``Part`` is a set of positions of dx that sum over the same taps: dx[i] sums w[k] · dy[(i + before − k · dilation)
    / stride] over the k for which the quotient is whole. ``sizes`` are those of x; the other options are those of the
    convolution.
    """
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
    """The sizes and options of a convolution, with three spatial axes (D, H, W).

        filters           the number of output channels
        depth             the number of input channels of a group
        groups            the number of groups
        kernel, stride, dilation   as in PyTorch, along each axis
        before            the padding before the input along each axis
        size, count       the spatial sizes of x and of y

    An axis that the convolution does not have has size 1.
    """

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
        """The single ``Part`` of the forward pass: the positions of y, and the taps that they sum over."""
        return forward_part(self.kernel, self.stride, self.before, self.dilation, self.count)

    @property
    def backward(self) -> tuple[Part, ...]:
        """The parts of the input gradient: sets of positions of dx, and the taps that they sum over."""
        return gradient_parts(self.kernel, self.stride, self.before, self.dilation, self.size)

    @property
    def residues(self) -> tuple[Residues, Residues, Residues]:
        """The ``Residues`` along each axis, which say which taps reach a position of dx.

        The combinations of residues over the axes are the parts of ``backward``.
        """
        return residues_of(self.kernel, self.stride, self.before, self.dilation, self.size)

    @property
    def work(self) -> int:
        """The number of floating-point operations for one sample in direct form.

        A multiplication and an addition count as two.
        """
        return 2 * self.filters * self.depth * math.prod(self.kernel) * math.prod(self.count)


def forward_halo(g: Geometry) -> Halo:
    """Return the halo of x that the forward pass of ``g`` reads: how many zeros must surround each plane."""
    return _halo(g.forward.reach(), g.size)


def gradient_halo(g: Geometry) -> Halo:
    """Return the halo of dy that the input gradient of ``g`` reads: how many zeros must surround each plane."""
    d, h, w = (axis.reach() for axis in g.residues)
    return _halo((d, h, w), g.count) if d and h and w else NO_HALO


def _halo(reach: Sequence[tuple[int, int]], size: Three) -> Halo:
    """Return the halo, zeros before and after each axis, of an image of ``size``.

    ``reach`` holds the lowest and the highest position that is read along each axis.
    """
    before = [max(0, -low) for low, _ in reach]
    after = [max(0, high - (limit - 1)) for (_, high), limit in zip(reach, size, strict=True)]
    return three_pairs(before, after)
