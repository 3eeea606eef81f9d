"""The kernels of adaptive max pooling and of its gradient.

The forward kernel loops over the elements of each window; the gradient loops over the windows that contain an element.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import Index, Vector
from striate.codegen.launch import KernelSpec
from striate.codegen.region import Region
from striate.codegen.region_writer import RegionWriter
from striate.codegen.storage import Storage, Three
from striate.dtypes import DType
from striate.ops.kernels.geometry import Part, every_position
from striate.ops.kernels.large_pooling import nested
from striate.ops.kernels.pooling import Position, offset, opened, singly, walk

if TYPE_CHECKING:
    from striate.ops.adaptive import AdaptiveAxis

Axes = tuple["AdaptiveAxis | None", "AdaptiveAxis | None", "AdaptiveAxis | None"]
"""The windows along each of three spatial axes; None for an axis that the input does not have."""


@dataclass(frozen=True)
class AdaptiveMaxWindows(KernelSpec):
    """The kernel of adaptive max pooling: the maximum of each window, and its row-major index in the input plane.

    ``axes`` are the windows along D, H and W. The maximum is passed on to ``region``, the fused elementwise work, which
    stores it. Operands: x, index, and then those of the region. ``source`` and ``index`` are the memory layouts of x
    and of the index array.
    """

    source: Storage
    index: Storage
    axes: Axes
    region: Region

    def write(self, k: Kernel) -> None:
        source, index = self.source, self.index
        writer, pixels, _ = opened(k, source, self.region, None, 1)

        def emit(part: Part, n: Index, block: Index, at: Position) -> Vector:
            ranges = [(p, k.iadd(p, 1)) if axis is None else axis.range(k, p) for axis, p in zip(self.axes, at)]

            def body(place: tuple[Index, ...], carry: list[Vector]) -> list[Vector]:
                best, number = carry
                steps = (k.imul(i, stride) for i, stride in zip(place, source.strides[2:], strict=True))
                x = pixels.load(k.iadd(source.origin, *steps), place)
                take = k.both(k.not_less_equal(x, best), k.negation(k.is_nan(best)))  # the first NaN is the maximum
                this = _number(k, place, source.sizes, index.dtype)
                return [k.select(take, x, best), k.select(take, this, number)]

            # If nothing is larger than -∞, the maximum is at the first element.
            first = _number(k, [start for start, _ in ranges], source.sizes, index.dtype)
            best, number = nested(k, ranges, [k.constant(-math.inf, source.dtype), first], body)
            target = k.offset(k.operand(1), offset(k, index, n, block, at), index.dtype)
            k.store(number, target, index.dtype)
            return best

        walk(k, writer, self.region.domain, (every_position(index.sizes),), singly(k, emit), pixels.begin)


@dataclass(frozen=True)
class AdaptiveMaxGradient(KernelSpec):
    """The kernel of adaptive max pooling's gradient: dx = Σ dy over the windows whose maximum is at the position.

    ``axes`` are the windows along D, H and W. dx is passed on to ``region``, the fused elementwise work, which stores
    it. Operands: dy, index, and then those of the region. ``arriving`` and ``index`` are the memory layouts of dy and
    of the index array.
    """

    arriving: Storage
    index: Storage
    axes: Axes
    region: Region

    def write(self, k: Kernel) -> None:
        arriving, index = self.arriving, self.index
        writer = RegionWriter(k, self.region, 2)
        dtype = arriving.dtype
        sizes = self.region.domain.sizes
        zero = k.constant(0, dtype)

        def emit(part: Part, n: Index, block: Index, at: Position) -> Vector:
            ranges = [(i, k.iadd(i, 1)) if axis is None else axis.holders(k, i) for axis, i in zip(self.axes, at)]
            here = _number(k, at, sizes, index.dtype)

            def body(window: tuple[Index, ...], carry: list[Vector]) -> list[Vector]:
                dy = k.load(k.offset(k.operand(0), offset(k, arriving, n, block, window), dtype), dtype)
                place = k.offset(k.operand(1), offset(k, index, n, block, window), index.dtype)
                chosen = k.builder.icmp_unsigned("==", k.load(place, index.dtype), here)
                return [k.add(carry[0], k.select(chosen, dy, zero))]

            return nested(k, ranges, [zero], body)[0]

        walk(k, writer, self.region.domain, (every_position(sizes),), singly(k, emit))


def _number(k: Kernel, place: Sequence[Index], sizes: Three, dtype: DType) -> Vector:
    """Return the row-major index of a position (d, h, w) as a vector that has it in every lane."""
    d, h, w = place
    number = k.iadd(k.imul(k.iadd(k.imul(d, sizes[1]), h), sizes[2]), w)
    return k.splat(k.convert(k.as_index(number), dtype))
