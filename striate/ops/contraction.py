"""The kernels behind convolution: one definition of "sum over taps and channels" for every direction and rank.

A *part* computes outputs at positions  start + spread · q  from inputs at  step · q + first + stride · tap.
The forward convolution is one part. The input gradient of a strided convolution is one part for each residue of the
position modulo the stride (the taps that reach that residue); a part without taps gives zeros.

Weights are packed as [output block][part][input block][tap][input channel][16 output channels].
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from striate.codegen.kernel import LANES, Index, Kernel
from striate.codegen.map import Domain
from striate.codegen.microkernel import multiply_accumulate
from striate.codegen.phase import KernelSpec
from striate.codegen.region import Region, RegionWriter, Space, samples_of
from striate.codegen.storage import BLOCK, Storage
from striate.dtypes import DType

Three = tuple[int, int, int]


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
    """Output positions start + spread · q (q below ``sizes``) and the taps that they sum."""

    spans: tuple[Span, Span, Span]
    start: Three
    spread: Three
    step: Three
    sizes: Three

    @property
    def taps(self) -> int:
        """How many taps."""
        return math.prod(span.count for span in self.spans)

    def reach(self) -> tuple[tuple[int, int], ...]:
        """Lowest and highest input position read along each axis."""
        result: list[tuple[int, int]] = []
        for span, step, size in zip(self.spans, self.step, self.sizes, strict=True):
            ends = (span.first, span.first + span.stride * (span.count - 1))
            result.append((min(ends), max(ends) + step * (size - 1)))
        return tuple(result)


def forward_part(kernel: Three, stride: Three, before: Three, dilation: Three, sizes: Three) -> Part:
    """The one part of a convolution with output ``sizes``."""
    spans = tuple(Span(-b, d, count, 0, 1) for count, b, d in zip(kernel, before, dilation, strict=True))
    return Part((spans[0], spans[1], spans[2]), (0, 0, 0), (1, 1, 1), stride, sizes)


def gradient_parts(kernel: Three, stride: Three, before: Three, dilation: Three, sizes: Three) -> tuple[Part, ...]:
    """The parts of an input gradient: dx[i] sums dy[(i + before − k·dilation) / stride] where that is whole."""
    axes: list[list[tuple[int, Span, int]]] = []
    for count, s, b, d, size in zip(kernel, stride, before, dilation, sizes, strict=True):
        residues: list[tuple[int, Span, int]] = []
        for start in range(min(s, size)):
            taps = [k for k in range(count) if (start + b - k * d) % s == 0]
            hop = taps[1] - taps[0] if len(taps) > 1 else 1
            first = (start + b - taps[0] * d) // s if taps else 0
            span = Span(first, -(hop * d) // s if len(taps) > 1 else -1, len(taps), taps[0] if taps else 0, hop)
            residues.append((start, span, -(-(size - start) // s)))
        axes.append(residues)
    parts: list[Part] = []
    for d, h, w in itertools.product(*axes):
        parts.append(
            Part((d[1], h[1], w[1]), (d[0], h[0], w[0]), stride, (1, 1, 1), (d[2], h[2], w[2]))
        )  # fmt: skip
    return tuple(parts)


@dataclass(frozen=True)
class Pack(KernelSpec):
    """Weights (O, C/groups, taps) in logical order to the packed order of ``TapConvolution``.

    ``transposed`` packs for the input gradient: lanes are then input channels c, and the sum runs over o.
    A chunk is one output block. Operands: weights, packed.
    """

    dtype: DType
    filters: int
    depth: int
    groups: int
    kernel: Three
    parts: tuple[Part, ...]
    transposed: bool
    channels: int  # that are summed over, per output block
    inner: int  # channels of an input block: 16, or 1 for planar inputs
    aligned: bool  # groups are whole blocks: each output block sees its own group's channels alone

    @property
    def outputs(self) -> int:
        """Channels that become lanes."""
        return self.depth * self.groups if self.transposed else self.filters

    @property
    def per_block(self) -> int:
        """Packed elements of one output block."""
        taps = sum(part.taps for part in self.parts)
        return -(-self.channels // self.inner) * self.inner * taps * LANES

    def write(self, k: Kernel) -> None:
        source, packed = k.operand(0), k.operand(1)
        taps = math.prod(self.kernel)
        block = k.chunk
        base = k.imul(block, self.per_block)
        first_lane = k.imul(block, LANES)
        outputs = self.outputs
        group_outputs = outputs // self.groups
        group_inputs = self.filters // self.groups if self.transposed else self.depth
        start = 0
        for part in self.parts:
            if not part.taps:
                continue
            with k.loop(0, self.channels) as channel:
                where = k.iadd(
                    base, start,
                    k.imul(k.idiv(channel.index, self.inner), part.taps * self.inner * LANES),
                    k.imul(k.imod(channel.index, self.inner), LANES),
                )  # fmt: skip
                counts = [span.count for span in part.spans]
                for number, (d, h, w) in enumerate(itertools.product(*map(range, counts))):
                    tap = 0
                    for span, at, size in zip(part.spans, (d, h, w), self.kernel, strict=True):
                        tap = tap * size + span.tap + at * span.hop
                    target = k.offset(packed, k.iadd(where, number * self.inner * LANES), self.dtype)
                    with k.loop(0, LANES) as lane:
                        out = k.iadd(first_lane, lane.index)
                        place = k.offset(target, lane.index, self.dtype)
                        k.store_scalar(k.constant_like(_scalar(k, self.dtype), 0.0), place)
                        summed = channel.index
                        if self.aligned:
                            group = k.idiv(out, group_outputs)
                            summed = k.iadd(k.imul(group, group_inputs), channel.index)
                        same = k.compare(k.idiv(out, group_outputs), "==", k.idiv(summed, group_inputs))
                        inside = k.compare(out, "<", outputs)
                        with k.when(k.both(inside, same)):
                            o, c = (summed, out) if self.transposed else (out, summed)
                            index = k.iadd(k.imul(k.iadd(k.imul(o, self.depth), k.imod(c, self.depth)), taps), tap)
                            value = k.load_scalar(k.offset(source, index, self.dtype), self.dtype)
                            k.store_scalar(value, place)
            start += -(-self.channels // self.inner) * self.inner * part.taps * LANES


def _scalar(k: Kernel, dtype: DType) -> Any:
    return k.lane(k.constant(0, dtype), 0)


@dataclass(frozen=True)
class TapConvolution(KernelSpec):
    """y[start + spread·q] = Σ_c Σ_tap w[tap][c] · x[c][step·q + offset(tap)], tile by tile, with a region on each tile.

    A chunk is (sample group, output block); ``block_first`` says which of the two changes slower in the chunk number.
    Operands: x, packed weights, then the region's.
    """

    source: Storage
    channels: int  # summed over for each output block
    group_blocks: int  # output blocks that see the same channels (0: all see all)
    parts: tuple[Part, ...]
    tiles: tuple[tuple[int, int], ...]  # rows and columns of the pixel tile of each part
    block_first: bool
    region: Region

    @property
    def inner(self) -> int:
        """Channels of an input block."""
        return self.source.block

    def write(self, k: Kernel) -> None:
        domain = self.region.domain
        writer = RegionWriter(k, self.region, 2)
        writer.begin_chunk()
        group, block = self._place(k, domain)
        first, last = samples_of(k, domain, group)
        per_block = sum(part.taps for part in self.parts) * self._padded * LANES
        weights = k.offset(k.operand(1), k.imul(block, per_block), self.source.dtype)
        origin = self.source.origin
        if self.group_blocks:
            shift = k.imul(k.idiv(block, self.group_blocks), self._padded // self.inner * self.source.strides[1])
            origin = k.iadd(origin, shift)
        x = k.offset(k.operand(0), origin, self.source.dtype)
        if domain.turned:
            writer.begin_block(0, block)
            self._samples(k, writer, x, weights, first, last)
            writer.end_block()
        else:
            with k.loop(first, last) as sample:
                writer.begin_block(sample.index, block)
                image = k.offset(x, k.imul(sample.index, self.source.strides[0]), self.source.dtype)
                start = 0
                for part, tile in zip(self.parts, self.tiles, strict=True):
                    self._part(k, writer, part, tile, image, k.offset(weights, start, self.source.dtype))
                    start += part.taps * self._padded * LANES
                writer.end_block()
        writer.end_chunk(k.iadd(k.imul(group, domain.blocks), block))

    @property
    def _padded(self) -> int:
        return -(-self.channels // self.inner) * self.inner

    def _place(self, k: Kernel, domain: Domain) -> tuple[Index, Index]:
        if not self.block_first:
            return k.idiv(k.chunk, domain.blocks), k.imod(k.chunk, domain.blocks)
        per, group = domain.groups
        groups = k.idiv(k.iadd(k.n, group - 1), group) if group else per
        return k.imod(k.chunk, groups), k.idiv(k.chunk, groups)

    def _samples(self, k: Kernel, writer: RegionWriter, x: Any, weights: Any, first: Index, last: Index) -> None:
        """Images of one output pixel: a tile is several samples."""
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
                writer.tile(0, [(row, 0) for row in range(tile)], [[value] for value in sums])
            at = stop
            tile = 4 if tile > 4 else (1 if tile > 1 else 0)

    def _part(
        self, k: Kernel, writer: RegionWriter, part: Part, tile: tuple[int, int], image: Any, weights: Any
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
                            writer.tile(_spread(k, part, 2, column.index), spread, [[value] for value in sums])

    def _sums(self, k: Kernel, part: Part, corner: Any, weights: Any, offsets: Sequence[int]) -> list[Any]:
        """The accumulators of one tile: over input blocks, taps, and the channels of a block."""
        dtype = self.source.dtype
        sums = [k.constant(0, dtype) for _ in offsets]
        if not part.taps:
            return sums
        whole, rest = divmod(self.channels, self.inner)
        per_input = part.taps * self.inner * LANES
        with k.loop(0, whole, carry=sums) as block:
            x = k.offset(corner, k.imul(block.index, self.source.strides[1]), dtype)
            w = k.offset(weights, k.imul(block.index, per_input), dtype)
            block.carry = self._taps(k, part, x, w, offsets, block.carry, self.inner)
        sums = block.result if whole else sums
        if rest:
            x = k.offset(corner, whole * self.source.strides[1], dtype)
            w = k.offset(weights, whole * per_input, dtype)
            sums = self._taps(k, part, x, w, offsets, sums, rest)
        return sums

    def _taps(
        self, k: Kernel, part: Part, x: Any, w: Any, offsets: Sequence[int], sums: list[Any], channels: int
    ) -> list[Any]:
        """All taps of one input block; loops over taps are unrolled while the body stays small."""
        dtype = self.source.dtype
        body = channels * len(offsets)
        unrolled = [False, False, False]
        for axis in (2, 1, 0):
            if body * part.spans[axis].count <= 320:
                unrolled[axis] = True
                body *= part.spans[axis].count
            else:
                break
        strides = self.source.strides[2:]

        def axis_loop(axis: int, x: Any, w: Any, sums: list[Any]) -> list[Any]:
            if axis == 3:
                return multiply_accumulate(
                    k,
                    sums,
                    [lambda c=c: k.load(k.offset(w, c * LANES, dtype), dtype, 64) for c in range(channels)],
                    [lambda c, o=o: k.broadcast(k.offset(x, o + c, dtype), dtype) for o in offsets],
                )
            span = part.spans[axis]
            inner_taps = math.prod(s.count for s in part.spans[axis + 1 :])
            hop = inner_taps * self.inner * LANES
            x = k.offset(x, span.first * strides[axis], dtype)
            if unrolled[axis]:
                for j in range(span.count):
                    moved = k.offset(x, j * span.stride * strides[axis], dtype)
                    sums = axis_loop(axis + 1, moved, k.offset(w, j * hop, dtype), sums)
                return sums
            with k.loop(0, span.count, carry=sums) as at:
                moved = k.offset(x, k.imul(at.index, span.stride * strides[axis]), dtype)
                at.carry = axis_loop(axis + 1, moved, k.offset(w, k.imul(at.index, hop), dtype), at.carry)
            return at.result

        return axis_loop(0, x, w, sums)


def _spread(k: Kernel, part: Part, axis: int, index: Index) -> Index:
    return k.iadd(part.start[axis], k.imul(index, part.spread[axis]))


def _cover(size: int, tile: int) -> list[tuple[int, int, int]]:
    """(first, past the last, step) of whole tiles, then of the smaller last one."""
    whole = size // tile * tile
    return [(first, last, step) for first, last, step in ((0, whole, tile), (whole, size, size - whole)) if last > first]


@dataclass(frozen=True)
class WeightGradient(KernelSpec):
    """dw[tap][c][16 o] = Σ_n Σ_q dy[n, q][16 o] · x[n, c][step·q + offset(tap)], one share of the samples at a time.

    A chunk is (share of the samples, output block, input block). The sums of a few (channel, tap) pairs stay in
    registers while all pixels go by. Operands: x, dy, partial sums as [share][output block][input block][c][tap][16].
    """

    source: Storage
    arriving: Storage
    part: Part
    shares: int
    input_blocks: int  # per output block
    group_blocks: int
    accumulators: int
    samples: int  # 0: the run-time N

    @property
    def channels(self) -> int:
        """Channels of one input block: all of a planar input."""
        return self.source.channels if self.source.block == 1 else BLOCK

    @property
    def per_unit(self) -> int:
        """Elements of one (output block, input block)."""
        return self.channels * self.part.taps * LANES

    def write(self, k: Kernel) -> None:
        dtype = self.source.dtype
        blocks = self.arriving.blocks
        units = blocks * self.input_blocks
        share, unit = k.idiv(k.chunk, units), k.imod(k.chunk, units)
        out, into = k.idiv(unit, self.input_blocks), k.imod(unit, self.input_blocks)
        total: Index = self.samples or k.n
        first = k.idiv(k.imul(total, share), self.shares)
        last = k.idiv(k.imul(total, k.iadd(share, 1)), self.shares)
        if self.group_blocks:
            into = k.iadd(into, k.imul(k.idiv(out, self.group_blocks), self.input_blocks))
        x = k.offset(k.operand(0), k.iadd(self.source.origin, k.imul(into, self.source.strides[1])), dtype)
        dy = k.offset(k.operand(1), k.iadd(self.arriving.origin, k.imul(out, self.arriving.strides[1])), dtype)
        sums = k.offset(k.operand(2), k.imul(k.chunk, self.per_unit), dtype)
        with k.loop(0, self.per_unit, LANES) as at:
            k.store(k.constant(0, dtype), k.offset(sums, at.index, dtype), dtype, 64)
        batch = max(1, 1024 // math.prod(self.part.sizes))
        with k.loop(first, last, batch) as some:
            stop = k.imin(k.iadd(some.index, batch), last)
            for pairs in self._pair_groups():
                self._sweep(k, x, dy, sums, some.index, stop, pairs)

    def _pair_groups(self) -> list[list[tuple[int, Three]]]:
        """(channel, tap) pairs in groups that fit the registers, taps innermost so that rows are shared."""
        counts = [span.count for span in self.part.spans]
        limit = self.source.channels % BLOCK if self.source.blocks == 1 and self.source.block == BLOCK else 0
        channels = limit or self.channels
        taps = list(itertools.product(*map(range, counts)))
        row = counts[2]
        if channels * row <= self.accumulators or self.source.block == 1:
            pairs = [(c, tap) for tap in taps for c in range(channels)]
            return _evenly(pairs, self.accumulators)
        per = max(1, self.accumulators // row)
        groups: list[list[tuple[int, Three]]] = []
        for first in range(0, len(taps), row):
            for some in _evenly(list(range(channels)), per):
                pairs = [(c, tap) for tap in taps[first : first + row] for c in some]
                groups.extend(_evenly(pairs, self.accumulators))
        return groups

    def _sweep(
        self, k: Kernel, x: Any, dy: Any, sums: Any, first: Index, last: Index, pairs: list[tuple[int, Three]]
    ) -> None:
        """All pixels of some samples for one group of pairs."""
        dtype = self.source.dtype
        part = self.part
        sn, _, sd, sh, sw = self.source.strides
        an, _, ad, ah, aw = self.arriving.strides
        depth, height, width = part.sizes
        inner = 1  # the distance of neighbouring channels of a block
        channel_step = self.source.strides[1] if self.source.block == 1 else inner
        offsets = [
            c * channel_step
            + sum((s.first + j * s.stride) * st for s, j, st in zip(part.spans, tap, (sd, sh, sw), strict=True))
            for c, tap in pairs
        ]
        zero = [k.constant(0, dtype) for _ in pairs]
        with k.loop(first, last, carry=zero) as n:
            with k.loop(0, depth, carry=n.carry) as plane:
                with k.loop(0, height, carry=plane.carry) as line:
                    xrow = k.offset(
                        x, k.iadd(k.imul(n.index, sn), k.imul(plane.index, part.step[0] * sd), k.imul(line.index, part.step[1] * sh)), dtype
                    )  # fmt: skip
                    drow = k.offset(dy, k.iadd(k.imul(n.index, an), k.imul(plane.index, ad), k.imul(line.index, ah)), dtype)
                    with k.loop(0, width, carry=line.carry) as column:
                        pixel = k.offset(xrow, k.imul(column.index, part.step[2] * sw), dtype)
                        g = k.load(k.offset(drow, k.imul(column.index, aw), dtype), dtype, 64)
                        column.carry = [
                            k.fma(k.broadcast(k.offset(pixel, offset, dtype), dtype), g, acc)
                            for offset, acc in zip(offsets, column.carry, strict=True)
                        ]
                    line.carry = column.result
                plane.carry = line.result
            n.carry = plane.result
        counts = [span.count for span in part.spans]
        for (c, tap), value in zip(pairs, n.result, strict=True):
            number = (tap[0] * counts[1] + tap[1]) * counts[2] + tap[2]
            place = k.offset(sums, (c * part.taps + number) * LANES, dtype)
            k.store(k.add(k.load(place, dtype, 64), value), place, dtype, 64)


def _evenly(items: list[Any], most: int) -> list[list[Any]]:
    """Consecutive runs of at most ``most`` items, as equal as can be."""
    count = max(1, -(-len(items) // most))
    size = -(-len(items) // count)
    return [items[i : i + size] for i in range(0, len(items), size)]


@dataclass(frozen=True)
class Unpack(KernelSpec):
    """Adds the shares of a weight gradient in order and writes it in logical order (O, C/groups, taps).

    A chunk is one (output block, input block). Operands: partial sums, dw.
    """

    gradient: WeightGradient
    filters: int
    depth: int
    groups: int
    aligned: bool

    def write(self, k: Kernel) -> None:
        g = self.gradient
        dtype = g.source.dtype
        units = g.arriving.blocks * g.input_blocks
        out, into = k.idiv(k.chunk, g.input_blocks), k.imod(k.chunk, g.input_blocks)
        base = k.offset(k.operand(0), k.imul(k.chunk, g.per_unit), dtype)
        taps = g.part.taps
        group_outputs = self.filters // self.groups
        limit = self.depth if self.aligned else g.source.channels
        first = k.imul(into, g.channels)
        with k.loop(0, k.imin(g.channels, k.isub(limit, first))) as channel, k.loop(0, taps) as tap:
            where = k.imul(k.iadd(k.imul(channel.index, taps), tap.index), LANES)
            start = k.load(k.offset(base, where, dtype), dtype, 64)
            with k.loop(1, g.shares, carry=[start]) as share:
                more = k.offset(base, k.iadd(where, k.imul(share.index, units * g.per_unit)), dtype)
                share.carry = [k.add(share.carry[0], k.load(more, dtype, 64))]
            total = share.result[0] if g.shares > 1 else start
            spill = k.local(total.type, "lanes")
            k.builder.store(total, spill, align=64)
            c = k.iadd(first, channel.index)
            with k.loop(0, LANES) as lane:
                o = k.iadd(k.imul(out, LANES), lane.index)
                inside = k.compare(o, "<", self.filters)
                mine = True
                if not self.aligned and self.groups > 1:
                    mine = k.compare(k.idiv(o, group_outputs), "==", k.idiv(c, self.depth))
                with k.when(k.both(inside, mine)):
                    index = k.iadd(k.imul(k.iadd(k.imul(o, self.depth), k.imod(c, self.depth)), taps), tap.index)
                    value = k.load_scalar(k.offset(spill, lane.index, dtype), dtype)
                    k.store_scalar(value, k.offset(k.operand(1), index, dtype))


__all__ = ["Pack", "Part", "Span", "Space", "TapConvolution", "Unpack", "WeightGradient", "forward_part", "gradient_parts"]
