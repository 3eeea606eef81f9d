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

from striate.codegen.storage import BLOCK, Halo, Three, three_pairs


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


def gradient_parts(kernel: Three, stride: Three, before: Three, dilation: Three, sizes: Three) -> tuple[Part, ...]:
    """The parts of an input gradient: dx[i] sums dy[(i + before − k·dilation) / stride] where the quotient is whole."""
    axes: list[list[tuple[int, Span, int]]] = []
    for count, s, b, d, size in zip(kernel, stride, before, dilation, sizes, strict=True):
        residues: list[tuple[int, Span, int]] = []
        for start in range(min(s, size)):
            taps = [k for k in range(count) if (start + b - k * d) % s == 0]
            hop = taps[1] - taps[0] if len(taps) > 1 else 1
            first = (start + b - taps[-1] * d) // s if taps else 0
            # Later taps reach earlier inputs. The last tap comes first, so that memory is read in ascending order.
            span = Span(first, hop * d // s if len(taps) > 1 else 1, len(taps), taps[-1] if taps else 0, -hop)
            residues.append((start, span, -(-(size - start) // s)))
        axes.append(residues)
    parts: list[Part] = []
    for d, h, w in itertools.product(*axes):
        parts.append(
            Part((d[1], h[1], w[1]), (d[0], h[0], w[0]), stride, (1, 1, 1), (d[2], h[2], w[2]))
        )  # fmt: skip
    return tuple(parts)


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
    def aligned(self) -> bool:
        """Whether groups consist of whole channel blocks; other groups run as dense, with zeros between them."""
        return self.groups > 1 and self.depth % BLOCK == 0 and (self.filters // self.groups) % BLOCK == 0

    @property
    def forward(self) -> Part:
        """The part that computes y."""
        return forward_part(self.kernel, self.stride, self.before, self.dilation, self.count)

    @property
    def backward(self) -> tuple[Part, ...]:
        """The parts that compute dx."""
        return gradient_parts(self.kernel, self.stride, self.before, self.dilation, self.size)

    @property
    def work(self) -> int:
        """Floating point operations of one sample in direct form."""
        return 2 * self.filters * self.depth * math.prod(self.kernel) * math.prod(self.count)


def halo_of(parts: Sequence[Part], size: Three) -> Halo:
    """The halo that the parts read around an image of ``size``."""
    before, after = [0, 0, 0], [0, 0, 0]
    for part in parts:
        if part.taps:
            for axis, (low, high) in enumerate(part.reach()):
                before[axis] = max(before[axis], -low)
                after[axis] = max(after[axis], high - (size[axis] - 1))
    return three_pairs(before, after)
