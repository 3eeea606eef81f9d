"""The kernels of convolution in direct form: sums over taps and channels, for any rank.

The same kernels compute the forward pass and the input gradient, which is a sum of the same form with other taps. A tap
is one element of the filter's window, and channels are in blocks of 16 or in plain order.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from striate.codegen.elementwise import Domain
from striate.codegen.kernel import Kernel
from striate.codegen.lanes import LANES, Index, Pointer, Vector
from striate.codegen.launch import KernelSpec
from striate.codegen.microkernel import last_apart, sum_of_lane_products, sum_of_products
from striate.codegen.region import Region
from striate.codegen.region_writer import RegionWriter, samples_of
from striate.codegen.storage import BLOCK, Storage
from striate.dtypes import DType
from striate.ops.kernels.geometry import Part
from striate.ops.kernels.grouped import Banded, Lanewise, Reading

LONG_SUM = 8192
"""The largest number of products in one sum; longer sums are split to keep rounding errors small."""

SHORT_SUM = 2048
"""The approximate number of products in each part of a sum that is split."""

MOST_UNROLLED = 32
"""The largest number of taps for which packing and the weight gradient have unrolled code."""


AddInput = Callable[[Pointer, Pointer, list[Vector], int], list[Vector]]
"""A function ``add(x, weights, sums, channels)`` that writes the code for one input block.

It adds the products of the first ``channels`` channels of the block at x, and returns the new sums."""


@dataclass(frozen=True)
class DirectConvolution(KernelSpec):
    """Base class of the kernels that sum over taps and channels (abstract).

        source            the memory layout of the input x
        channels          the number of input channels that each output block (16 output channels) sums over
        grouping          which input channels an output block reads; None means all
        block_first       whether consecutive chunks have the same output block, rather than the same group of samples
        region            the fused elementwise work, which runs on each tile of sums while it is in registers
        channels_at_once  the number of channels that one pass of the loop over channels multiplies
        reading           the inputs of the output block whose code is being written

    A chunk, the unit of work of a thread, is one group of samples and one output block. Operands: x, packed weights,
    and then those of the region.
    """

    source: Storage
    channels: int  # input channels that each output block sums over
    grouping: Banded | Lanewise | None
    block_first: bool
    region: Region
    channels_at_once: int = field(default=BLOCK, kw_only=True)  # channels in the body of a loop
    reading: Reading | None = field(default=None, kw_only=True)  # inputs of the current output block

    @property
    def taps(self) -> int:
        """The number of taps in the packed weights, over all parts.

        A part is a set of output positions that read the same taps.
        """
        raise NotImplementedError

    @property
    def together(self) -> int:
        """The number of output blocks that one chunk computes.

        An output block is 16 output channels, and a chunk is the unit of work of a thread.
        """
        return 1

    def write_image(self, k: Kernel, writer: RegionWriter, image: Pointer, weights: Pointer) -> None:
        """Write the code for one output block (16 output channels) of the sample at the address ``image``.

        ``weights`` is the address of the packed weights of the output block, and ``writer`` writes the fused
        elementwise work (epilogue).
        """
        raise NotImplementedError

    @property
    def chunks(self) -> tuple[int, int]:
        """The number of chunks as a pair (per, group).

        A chunk is the unit of work of a thread. There are ``per`` chunks in all if group is 0, else ``per`` for every
        ``group`` samples, and as many for an incomplete last group.
        """
        count, group = self.region.domain.chunks
        return count // self.together, group

    @property
    def inner(self) -> int:
        """The number of channels in a block of the input: 16, or 1 if x is in NumPy's order.

        In a grouped convolution in which every lane reads its own group (``Lanewise``), it is the number of channels of
        a group.
        """
        return self.channels if isinstance(self.grouping, Lanewise) else self.source.block

    @property
    def factors(self) -> DType:
        """The dtype of the packed weights."""
        return self.source.dtype.computed if isinstance(self.grouping, Lanewise) else self.source.dtype

    @property
    def padded(self) -> int:
        """The number of input channels that are summed over, rounded up to a multiple of ``inner``."""
        return -(-self.channels // self.inner) * self.inner

    def write(self, k: Kernel) -> None:
        domain = self.region.domain
        writer = RegionWriter(k, self.region, 2)
        writer.begin_chunk()
        group, block = self._place(k, domain)
        first, last = samples_of(k, domain, group)
        weights = k.offset(k.operand(1), k.imul(block, self.taps * self.padded * LANES), self.factors)
        origin: Index = self.source.origin
        if self.grouping:
            origin = k.iadd(origin, k.imul(self.grouping.first(k, block), self.source.strides[1]))
        x = k.offset(k.operand(0), origin, self.source.dtype)

        def write(reading: Reading) -> None:
            replace(self, reading=reading).write_samples(k, writer, x, weights, block, first, last)

        if self.grouping:
            self.grouping.each(k, block, write)
        else:
            self.write_samples(k, writer, x, weights, block, first, last)
        if self.together == 1:  # with several blocks at a time, the region has no running sums
            writer.end_chunk(k.iadd(k.imul(group, domain.blocks), block))

    def write_samples(
        self, k: Kernel, writer: RegionWriter, x: Pointer, weights: Pointer, block: Index, first: Index, last: Index
    ) -> None:
        """Write the code that computes output block ``block`` for the samples ``first`` to ``last`` − 1.

        A block is 16 output channels. ``x`` is the address, in sample 0, of the first block of input channels that the
        output block reads, and ``weights`` is the address of the packed weights of the output block. ``writer`` writes
        the fused elementwise work (epilogue).
        """
        with k.loop(first, last) as sample:
            writer.begin_block(sample.index, block)
            image = k.offset(x, k.imul(sample.index, self.source.strides[0]), self.source.dtype)
            self.write_image(k, writer, image, weights)
            writer.end_block()

    def _place(self, k: Kernel, domain: Domain) -> tuple[Index, Index]:
        if not self.block_first:
            blocks = domain.blocks // self.together
            return k.idiv(k.chunk, blocks), k.imul(k.imod(k.chunk, blocks), self.together)
        per, group = domain.groups
        groups = k.idiv(k.iadd(k.n, group - 1), group) if group else per
        return k.imod(k.chunk, groups), k.imul(k.idiv(k.chunk, groups), self.together)

    def over_inputs(
        self, k: Kernel, x: Pointer, weights: Pointer, sums: list[Vector], packed: int, summed: int, add: AddInput
    ) -> list[Vector]:
        """Write the loop that adds the products of every block of input channels to ``sums``; return the new sums.

        ``x`` and ``weights`` are the addresses of the first input block and of its packed weights. ``add(x, weights,
        sums, channels)`` adds the products of the block at the given addresses. The packed weights contain ``packed``
        taps for each input block; ``add`` sums at most ``summed`` of them. If a table locates the inputs (see
        ``Reading``), there is no loop, and ``add`` is called once for all inputs.
        """
        whole, rest = divmod(self.channels, self.inner)
        reading = self.reading or Reading(whole, int(rest > 0), rest)
        if reading.table is not None:
            return add(x, weights, sums, self.channels)
        dtype = self.source.dtype
        per_input = packed * self.inner * LANES

        def block(number: Index, carry: list[Vector], channels: int) -> list[Vector]:
            here = k.offset(x, k.imul(number, self.source.strides[1]), dtype)
            there = k.offset(weights, k.imul(number, per_input), dtype)
            return add(here, there, carry, channels)

        def run(first: Index, last: Index, carry: list[Vector]) -> list[Vector]:
            with k.loop(first, last, carry=carry) as number:
                number.carry = block(number.index, number.carry, self.inner)
            return number.result

        if whole:
            sums = _in_parts(k, reading.whole, whole, summed * self.inner, sums, run)
        if reading.rest:
            with k.loop(0, reading.partial, carry=sums) as once:
                once.carry = block(reading.whole, once.carry, reading.rest)
            sums = once.result
        return sums

    def products(
        self, k: Kernel, x: Pointer, weights: Pointer, offsets: Sequence[int], sums: list[Vector], channels: int
    ) -> list[Vector]:
        """Add the products of one tap with the first ``channels`` channels of an input block; return the new sums.

        ``x`` is the address of the block of input channels, and ``weights`` is the address of the tap's packed weights.
        ``sums`` has one vector for each pixel of the tile, and ``offsets`` the distance of each pixel from ``x``, in
        elements. If a table locates the inputs (see ``Reading``), the products of all channels in the table are added,
        and ``channels`` is not used.
        """
        dtype, step = self.source.dtype, self.channels_at_once
        table = self.reading.table if self.reading else None
        if table is not None:
            return sum_of_lane_products(k, dtype, sums, weights, x, offsets, table, self.source.strides[1])
        whole = channels // step * step
        if whole > step:
            with k.loop(0, whole, step, carry=sums) as c:
                here, there = k.offset(x, c.index, dtype), k.offset(weights, k.imul(c.index, LANES), dtype)
                c.carry = sum_of_products(k, dtype, c.carry, there, here, offsets, step)
            sums, channels = c.result, channels - whole
            x, weights = k.offset(x, whole, dtype), k.offset(weights, whole * LANES, dtype)
        return sum_of_products(k, dtype, sums, weights, x, offsets, channels)


@dataclass(frozen=True)
class ShortVectors:
    """How a last block of fewer than 16 output channels is computed: in vectors of ``lanes`` lanes.

    ``tiles`` has the (rows, columns) of a tile of pixels for each part. A part is a set of output positions that read
    the same taps.
    """

    lanes: int
    tiles: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class TapConvolution(DirectConvolution):
    """The kernel y[start + spread·q] = Σ_c Σ_tap w[tap][c] · x[c][step·q + offset(tap)].

    It computes the outputs at all positions q of all parts. A part (see ``geometry``) is a set of output positions that
    read the same taps; it has its own start, spread and step. The forward pass has one part, and an input gradient has
    one part for each residue of the position modulo the stride. The outputs of a part are computed in tiles of pixels,
    whose sums are in registers; ``tiles`` are the (rows, columns) of the tile of each part. Loops over taps are
    unrolled up to ``unrolled`` multiply-adds in a loop body. If a program has a single sample with one output pixel, a
    chunk (the unit of work of a thread) computes ``abreast`` output blocks (16 channels each) at a time. If ``last`` is
    given, the last output block, which is not full, has code of its own, with shorter vectors.
    """

    parts: tuple[Part, ...]
    tiles: tuple[tuple[int, int], ...]  # rows and columns of the pixel tile of each part
    unrolled: int  # multiply-adds of a loop body up to which loops over taps are unrolled
    abreast: int = 1
    last: ShortVectors | None = None
    lanes: int = LANES  # of the vectors in the code that is being written

    @property
    def taps(self) -> int:
        return sum(part.taps for part in self.parts)

    @property
    def together(self) -> int:
        return self.abreast

    @property
    def written(self) -> int:
        """The number of vector multiply-adds in the kernel's code, which determines how long compiling it takes."""
        whole, rest = divmod(self.channels, self.inner)
        if isinstance(self.grouping, Banded):
            rest = self.grouping.rest
        channels = [*([self.inner] if whole else []), *([rest] if rest else [])]
        copies = len(self.grouping.tables) if isinstance(self.grouping, Lanewise) else 1
        versions = [self.tiles] if not self.last or self.region.domain.blocks > 1 else []
        if self.last:
            versions.append(self.last.tiles)
        products = copies * sum(
            written_products(part, tile, channels, self.unrolled, self.channels_at_once)
            for tiles in versions
            for part, tile in zip(self.parts, tiles, strict=True)
        )
        return products // 2 if self.factors is DType.bfloat16 else products

    def write_samples(
        self, k: Kernel, writer: RegionWriter, x: Pointer, weights: Pointer, block: Index, first: Index, last: Index
    ) -> None:
        if self.last:
            for lanes, chosen in last_apart(k, block, self.region.domain.blocks, self.last.lanes):
                tiles = self.tiles if lanes == LANES else self.last.tiles
                with k.when(chosen):
                    here = replace(self, last=None, tiles=tiles, lanes=lanes)
                    here.write_samples(k, writer, x, weights, block, first, last)
        elif self.abreast > 1:
            self._abreast(k, writer, x, weights, block, first, last)
        elif self.region.domain.sample_major:
            writer.begin_block(0, block)
            self._samples(k, writer, x, weights, first, last)
            writer.end_block()
        else:
            super().write_samples(k, writer, x, weights, block, first, last)

    def write_image(self, k: Kernel, writer: RegionWriter, image: Pointer, weights: Pointer) -> None:
        start = 0
        for part, tile in zip(self.parts, self.tiles, strict=True):
            self._part(k, writer, part, tile, image, k.offset(weights, start, self.factors))
            start += part.taps * self.padded * LANES

    def _abreast(
        self, k: Kernel, writer: RegionWriter, x: Pointer, weights: Pointer, block: Index, first: Index, last: Index
    ) -> None:
        """Write the code for samples with one output pixel, for several blocks of 16 output channels at a time."""
        (part,) = self.parts
        dtype = self.source.dtype
        whole, rest = divmod(self.channels, self.inner)
        per_input = part.taps * self.inner * LANES
        per_block = part.taps * self.padded * LANES

        def add(image: Pointer, number: Index, sums: Sequence[Vector], channels: int) -> list[Vector]:
            here = k.offset(image, k.imul(number, self.source.strides[1]), dtype)
            there = k.offset(weights, k.imul(number, per_input), dtype)
            return [
                self._taps(k, part, here, k.offset(there, b * per_block, dtype), [0], [value], channels)[0]
                for b, value in enumerate(sums)
            ]

        with k.loop(first, last) as n:
            image = k.offset(x, k.imul(n.index, self.source.strides[0]), dtype)
            sums = [k.constant(0, dtype) for _ in range(self.abreast)]

            def run(first: Index, last: Index, carry: list[Vector], image: Pointer = image) -> list[Vector]:
                with k.loop(first, last, carry=carry) as inputs:
                    inputs.carry = add(image, inputs.index, inputs.carry, self.inner)
                return inputs.result

            sums = _in_parts(k, whole, whole, part.taps * self.inner, sums, run) if whole else sums
            if rest:
                sums = add(image, whole, sums, rest)
            for b, value in enumerate(sums):
                writer.begin_block(0, k.iadd(block, b))
                writer.row(0, n.index)
                writer.tile(0, [(0, 0)], [[value]])
                writer.end_block()

    def _samples(
        self, k: Kernel, writer: RegionWriter, x: Pointer, weights: Pointer, first: Index, last: Index
    ) -> None:
        """Write the code for samples with one output pixel: a tile consists of the pixels of several samples."""
        ((part,), ((most, _),)) = (self.parts, self.tiles)
        step = self.source.strides[0]
        at: Index = first
        tile = most
        while tile:
            stop = k.iadd(at, k.imul(k.idiv(k.isub(last, at), tile), tile))
            with k.loop(at, stop, tile) as n:
                image = k.offset(x, k.imul(n.index, step), self.source.dtype)
                offsets = [row * step for row in range(tile)]
                sums = self._sums(k, part, image, weights, offsets)
                writer.row(0, n.index)
                writer.tile(0, [(row, 0) for row in range(tile)], [[k.filled(value)] for value in sums])
            at = stop
            tile = 4 if tile > 4 else (1 if tile > 1 else 0)

    def _part(
        self, k: Kernel, writer: RegionWriter, part: Part, tile: tuple[int, int], image: Pointer, weights: Pointer
    ) -> None:
        rows, columns = tile
        depth, height, width = part.sizes
        _, _, _, sh, sw = self.source.strides
        with k.loop(0, depth) as plane:
            for first_row, last_row, r in _cover(height, rows):
                with k.loop(first_row, last_row, r) as line:
                    writer.row(_spread(k, part, 0, plane.index), _spread(k, part, 1, line.index))
                    for first, last, c in _cover(width, columns):
                        with k.loop(first, last, c) as column:
                            where = k.iadd(
                                k.imul(plane.index, part.step[0] * self.source.strides[2]),
                                k.imul(line.index, part.step[1] * sh),
                                k.imul(column.index, part.step[2] * sw),
                            )
                            corner = k.offset(image, where, self.source.dtype)
                            places = [(i, j) for i in range(r) for j in range(c)]
                            offsets = [i * part.step[1] * sh + j * part.step[2] * sw for i, j in places]
                            sums = self._sums(k, part, corner, weights, offsets)
                            spread = [(i * part.spread[1], j * part.spread[2]) for i, j in places]
                            full = [[k.filled(value)] for value in sums]
                            writer.tile(_spread(k, part, 2, column.index), spread, full)

    def _sums(self, k: Kernel, part: Part, corner: Pointer, weights: Pointer, offsets: Sequence[int]) -> list[Vector]:
        """Write the code of the sums of one tile, over all taps and channels; return one sum for each pixel."""
        sums = [k.constant(0, self.source.dtype, self.lanes) for _ in offsets]
        if not part.taps:
            return sums

        def add(x: Pointer, w: Pointer, sums: list[Vector], channels: int) -> list[Vector]:
            return self._taps(k, part, x, w, offsets, sums, channels)

        return self.over_inputs(k, corner, weights, sums, part.taps, part.taps, add)

    def _taps(
        self, k: Kernel, part: Part, x: Pointer, w: Pointer, offsets: Sequence[int], sums: list[Vector], channels: int
    ) -> list[Vector]:
        """Add the products of all taps of one input block; small loops over taps are unrolled."""
        dtype, factors = self.source.dtype, self.factors
        unrolled = unrolled_axes(part, len(offsets), channels, self.unrolled)
        strides = self.source.strides[2:]

        def axis_loop(axis: int, x: Pointer, w: Pointer, sums: list[Vector]) -> list[Vector]:
            if axis == 3:
                return self.products(k, x, w, offsets, sums, channels)
            span = part.spans[axis]
            inner_taps = math.prod(s.count for s in part.spans[axis + 1 :])
            hop = inner_taps * self.inner * LANES
            x = k.offset(x, span.first * strides[axis], dtype)
            if unrolled[axis]:
                for j in range(span.count):
                    moved = k.offset(x, j * span.stride * strides[axis], dtype)
                    sums = axis_loop(axis + 1, moved, k.offset(w, j * hop, factors), sums)
                return sums
            with k.loop(0, span.count, carry=sums) as at:
                moved = k.offset(x, k.imul(at.index, span.stride * strides[axis]), dtype)
                at.carry = axis_loop(axis + 1, moved, k.offset(w, k.imul(at.index, hop), factors), at.carry)
            return at.result

        return axis_loop(0, x, w, sums)


def unrolled_axes(part: Part, pixels: int, channels: int, most: int) -> list[bool]:
    """Return, for each of three axes, whether the loop over the taps of ``part`` along it is unrolled.

    Inner loops are unrolled first, as long as the loop body has at most ``most`` multiply-adds; each tap contributes
    ``pixels`` · ``channels``.
    """
    body = channels * pixels
    unrolled = [False, False, False]
    for axis in (2, 1, 0):
        body *= part.spans[axis].count
        if body > most:
            break
        unrolled[axis] = True
    return unrolled


def written_products(part: Part, tile: tuple[int, int], channels: Sequence[int], unrolled: int, at_once: int) -> int:
    """Return the number of vector multiply-adds in the code of a part.

    A part is a set of output positions that read the same taps. There is separate code for every size of tile (whole
    tiles and the remainders at the ends of rows and columns), and for every number of channels in ``channels``.
    ``unrolled`` is the largest number of multiply-adds in an unrolled loop body, and ``at_once`` the number of channels
    in the body of the loop over channels.
    """
    total = 0
    for (_, _, rows), (_, _, columns) in itertools.product(*(_cover(n, t) for n, t in zip(part.sizes[1:], tile))):
        for count in channels:
            axes = unrolled_axes(part, rows * columns, count, unrolled)
            taps = math.prod(span.count for span, whole in zip(part.spans, axes, strict=True) if whole)
            total += rows * columns * taps * (min(count, at_once) + (count % at_once if count > at_once else 0))
    return total if part.taps else 0


def _in_parts(
    k: Kernel,
    blocks: Index,
    most: int,
    each: int,
    sums: list[Vector],
    add: Callable[[Index, Index, list[Vector]], list[Vector]],
) -> list[Vector]:
    """Write the code of ``add(0, blocks, sums)``, with long sums split; return the new sums.

    ``add(first, last, sums)`` adds the blocks from first to last − 1, ``each`` products per block. There are ``blocks``
    of them at run time, at most ``most``.
    """
    if most * each <= LONG_SUM:
        return add(0, blocks, sums)
    together = max(1, SHORT_SUM // each)
    with k.loop(0, blocks, together, carry=sums) as some:
        stop = k.imin(k.iadd(some.index, together), blocks)
        shorter = add(some.index, stop, [k.constant_like(value, 0) for value in sums])
        some.carry = [k.add(total, value) for total, value in zip(some.carry, shorter, strict=True)]
    return some.result


def _spread(k: Kernel, part: Part, axis: int, index: Index) -> Index:
    return k.iadd(part.start[axis], k.imul(index, part.spread[axis]))


def _cover(size: int, tile: int) -> list[tuple[int, int, int]]:
    """Return the ranges (first, one past the last, step) of the whole tiles and of a smaller last one."""
    whole = size // tile * tile
    runs = ((0, whole, tile), (whole, size, size - whole))
    return [(first, last, step) for first, last, step in runs if last > first]
