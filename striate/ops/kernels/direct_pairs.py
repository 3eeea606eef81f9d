"""The kernel that rewrites bfloat16 arrays as pairs of pixels, for the weight gradient.

The bfloat16 instructions add the products of two numbers that are adjacent in memory. The weight gradient sums over
pixels, but adjacent numbers in memory are channels of the same pixel. So both operands of the weight gradient are
rewritten as 32-bit pairs of pixels, in blocks of 16 channels:

    dy   the pairs of pixels (0, 1), (2, 3), … of each row
    x    the pairs (p, p + step), the inputs of two neighbouring outputs, for every p that some tap needs

The kernel of ``direct_gradient`` then iterates over pairs instead of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import Index
from striate.codegen.launch import KernelSpec, Launch, Operand
from striate.codegen.storage import Storage, make_storage
from striate.dtypes import DType
from striate.graph.value import Value
from striate.ops.anchor import LoweringContext
from striate.ops.kernels.geometry import Part

Range = tuple[int, int, int]
"""A range of pixels: (first, one past the last, step)."""


@dataclass(frozen=True)
class PairPixels(KernelSpec):
    """The kernel pairs[p / shrink] = (x[p], x[p + hop]) along each row, for the pixels p of ``ranges``.

    ``ranges`` has (first, one past the last, step) for each axis. ``shrink`` is 2 for dy, where pixel p becomes pair
    p/2, and 1 for x, where it becomes pair p. The second number of a pair is 0 if p + hop is beyond pixel ``last``.
    ``source`` and ``pairs`` are the memory layouts of x and of the result. A chunk, the unit of work of a thread, is
    one block of channels of one sample. Operands: x in bfloat16, pairs.
    """

    source: Storage
    pairs: Storage
    ranges: tuple[Range, Range, Range]  # the pixels p along each axis
    hop: int
    last: int
    shrink: int

    def write(self, k: Kernel) -> None:
        n, block = k.idiv(k.chunk, self.source.blocks), k.imod(k.chunk, self.source.blocks)
        depth, height, (first, stop, step) = self.ranges
        s, t = self.source.strides, self.pairs.strides
        whole = len(range(first, min(stop, self.last - self.hop + 1), step))
        with k.loop(*depth) as d, k.loop(*height) as h:

            def place(strides: tuple[int, ...], origin: int, d: Index = d.index, h: Index = h.index) -> Index:
                return k.iadd(
                    origin, k.imul(n, strides[0]), k.imul(block, strides[1]),
                    k.imul(d, strides[2]), k.imul(h, strides[3]),
                )  # fmt: skip

            read = k.offset(k.operand(0), place(s, self.source.origin), self.source.dtype)
            written = k.offset(k.operand(1), place(t, self.pairs.origin), self.pairs.dtype)
            for start, end, both in ((first, first + whole * step, True), (first + whole * step, stop, False)):
                with k.loop(start, end, step) as w:
                    pixel = k.offset(read, k.imul(w.index, s[4]), self.source.dtype)
                    second = k.load_halves(k.offset(pixel, self.hop * s[4], self.source.dtype)) if both else None
                    place_of_pair = w.index if self.shrink == 1 else k.idiv(w.index, self.shrink)
                    target = k.offset(written, k.imul(place_of_pair, t[4]), self.pairs.dtype)
                    k.store_halves(k.load_halves(pixel), second, target)


def paired_inputs(source: Storage, part: Part) -> PairPixels:
    """Return the kernel that writes the pairs of x: the inputs that a tap reads for two neighbouring outputs.

    ``source`` is the memory layout of x, and ``part`` (see ``geometry``) has the taps.
    """
    ranges: list[Range] = []
    for axis, (span, (low, high)) in enumerate(zip(part.spans, part.reach(), strict=True)):
        step = part.step[axis] * (2 if axis == 2 else 1)
        ranges.append((low, high + 1, step if span.count == 1 else 1))
    pairs = replace(source, dtype=DType.int32)
    return PairPixels(source, pairs, (ranges[0], ranges[1], ranges[2]), part.step[2], part.reach()[2][1], 1)


def paired_outputs(arriving: Storage) -> PairPixels:
    """Return the kernel that writes the pairs of dy: the pixels (0, 1), (2, 3), … of each row.

    ``arriving`` is the memory layout of dy.
    """
    depth, height, width = arriving.sizes
    pairs = make_storage(DType.int32, arriving.block, arriving.channels, (depth, height, -(-width // 2)))
    return PairPixels(arriving, pairs, ((0, depth, 1), (0, height, 1), (0, width, 2)), 1, width - 1, 2)


def over_pairs(part: Part) -> Part:
    """Return ``part`` with each pair of neighbouring outputs of a row as one position.

    The result has half the width and twice the step.
    """
    d, h, w = part.step
    depth, height, width = part.sizes
    return replace(part, step=(d, h, 2 * w), sizes=(depth, height, -(-width // 2)))


def pairing(context: LoweringContext, kernel: PairPixels, value: Value) -> tuple[Launch, Operand]:
    """Return the launch of ``kernel``, which writes the pairs of ``value``, and the buffer that holds these pairs.

    ``context`` is the lowering context of the weight gradient that reads the pairs.
    """
    size = kernel.pairs.bytes_per_sample
    samples = value.type.samples
    buffer = context.buffer("pairs", fixed=samples * size, per_group=0 if samples else size)
    chunks = (samples * kernel.source.blocks, 0) if samples else (kernel.source.blocks, 1)
    return Launch("pair", context.node.path, kernel, (value, buffer), chunks, writes=(1,)), buffer
