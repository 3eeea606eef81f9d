"""How convolution and its gradients become phases: which kernels, in which tiles, over which chunks.

Every choice is a function of shapes and target, never of the number of threads or the batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from striate.codegen.launch import Launch
from striate.codegen.microkernel import most_accumulators, registers_per_vector, tile_shape
from striate.codegen.region import Region
from striate.codegen.storage import BLOCK, NO_HALO, Halo, Storage, spatial
from striate.dtypes import DType
from striate.graph.value import TensorType
from striate.ops.kernels.direct import (
    Pack,
    Part,
    TapConvolution,
    Three,
    forward_part,
    gradient_parts,
)
from striate.ops.kernels.direct_gradient import Unpack, WeightGradient
from striate.ops.kernels.direct_pairs import over_pairs, paired_inputs, paired_outputs, pairing
from striate.ops.kernels.winograd import Form, WinogradPack
from striate.ops.kernels.winograd_convolution import TileConvolution, WinogradConvolution
from striate.ops.kernels.winograd_gradient import WinogradUnpack, WinogradWeightGradient
from striate.ops.kernels.winograd_wide import WideWinogradConvolution, WinogradInput

PLAIN = 1
NARROW = 4
"""Inputs of up to this many channels may stay planar: padding them to 16 would waste most of every line."""

LARGEST_TILE, NARROW_TILE = 24, 16
"""Pixels of a register tile. Narrow inputs have their taps unrolled, and LLVM keeps what neighbouring taps read again:
that takes registers too."""

UNROLLED = 320
"""Multiply-adds of a loop body up to which loops over taps are unrolled: some 2 KiB of code."""

UNITS = 32
"""Chunks that a weight gradient is split into at least, so that many threads find work."""


def three(values: Sequence[int], fill: int) -> Three:
    """Values of the spatial axes, with leading ones of ``fill``."""
    d, h, w = (*(fill,) * (3 - len(values)), *values)
    return d, h, w


@dataclass(frozen=True)
class Geometry:
    """A convolution with three spatial axes, whatever its rank."""

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
        """Whether groups consist of whole channel blocks; other groups run dense, with zeros between them."""
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


def geometry(op: Any, x: TensorType, w: tuple[int, ...], y: TensorType) -> Geometry:
    """The geometry of an operation with fields stride, padding, dilation and groups."""
    size, count = x.concrete(1)[2:], y.concrete(1)[2:]
    return Geometry(
        w[0], w[1], op.groups, three(w[2:], 1), three(op.stride, 1), three([b for b, _ in op.padding], 0),
        three(op.dilation, 1), spatial(size), spatial(count),
    )  # fmt: skip


def halo_of(parts: Sequence[Part], size: Three) -> Halo:
    """The halo that the parts read around an image of ``size``."""
    before, after = [0, 0, 0], [0, 0, 0]
    for part in parts:
        if part.taps:
            for axis, (low, high) in enumerate(part.reach()):
                before[axis] = max(before[axis], -low)
                after[axis] = max(after[axis], high - (size[axis] - 1))
    pairs = tuple(zip(before, after, strict=True))
    return cast(Halo, pairs)


def acceptable(channels: int) -> tuple[int, ...]:
    """Channel blocks in which a contraction may read an input of so many channels."""
    return (PLAIN, BLOCK) if channels <= NARROW else (BLOCK,)


WINOGRAD_TILES = {(3, 1): 4, (5, 1): 2, (3, 2): 4}
"""Outputs of a tile along one axis, by taps and stride of the filter: six points, with stride 2 nine."""

WINOGRAD_CHANNELS = {(3, 1): 16, (5, 1): 16, (3, 2): 16}
"""Channels from which the products saved outweigh the transforms."""

WINOGRAD_TOGETHER = 16
"""Tiles of a batch: their sums stay in registers."""

MANY_TILES = 64
"""Tiles that the filters of a position serve before those of the next are read, where they are many."""

MOST_FILTERS = 8 << 20
"""Bytes of transformed filters that a training step writes for all chunks: more would go to memory and come back."""


ABREAST = (4, 2)
"""Output blocks that one sample with one output pixel sums at a time, whichever divides their number."""

SINGLE_SHARES = 4
"""Shares of the output channels that a program for one sample is cut into at most."""


@dataclass(frozen=True)
class Winograd:
    """How transformed tiles are multiplied: the form along an axis, and the type of both factors."""

    form: Form
    operands: DType


NARROW_CHANNELS = {3: 32, 5: 64}
"""For activations in bfloat16 the channels from which transformed tiles are faster than the direct form, which then
makes two products at a time. Bfloat16 has digits enough for the transforms of F(2×2, 3×3), which with two products at a
time is also faster than F(4×4, 3×3) in float32; for those of F(2×2, 5×5) it has not, they stay in float32. A stride of
2 saves less than a factor of two, and is left direct."""


def winograd_form(g: Geometry, transposed: bool, stored: DType) -> Winograd | None:
    """The form that pays for activations stored like that, None where it is the direct one.

    It is a function of the shapes and the type alone.
    """
    form = suited_form(g, transposed)
    if form is None or stored is not DType.bfloat16:
        return Winograd(form, stored) if form else None
    if form.stride > 1 or min(g.filters, g.depth) < NARROW_CHANNELS[form.taps]:
        return None
    return Winograd(Form(2, form.taps), stored if form.taps == 3 else stored.computed)


def suited_form(g: Geometry, transposed: bool) -> Form | None:
    """The form in which this direction is computed, where one pays: a function of the shapes alone."""
    taps, stride, before = g.kernel[2], g.stride[2], g.before[2]
    tile = WINOGRAD_TILES.get((taps, stride))
    fits = tile is not None and g.kernel == (1, taps, taps) and g.groups == 1
    fits = fits and g.size[0] == g.count[0] == 1  # tiles lie in one plane
    fits = fits and g.stride[0] == 1 and g.stride[1] == stride and g.dilation == (1, 1, 1)
    fits = fits and g.before[0] == 0 and all(0 <= b < taps for b in g.before)
    fits = fits and (stride == 1 or g.before[1] == before)
    if not fits or tile is None or min(g.filters, g.depth) < WINOGRAD_CHANNELS[taps, stride]:
        return None
    upward = transposed and stride > 1
    size = g.size if transposed else g.count
    if min(size[1:]) < (8 if upward else 4):
        return None
    return Form(tile * stride, taps, stride, True, before % 2 == 1) if upward else Form(tile, taps, stride)


OPERATIONS_A_BYTE = 10
"""What a core computes in the time that it takes to read a byte of filters, each of which serves few tiles only."""


def reads_mostly_filters(g: Geometry, form: Form, transposed: bool) -> bool:
    """Whether one sample alone has so few tiles that reading the transformed filters, which are larger than the
    filters, takes longer than the operations that they save."""
    tiles = math.prod(-(-size // form.tile) for size in (g.size if transposed else g.count)[1:])
    products = form.taps**2 * (form.tile // form.stride if form.upward else form.tile) ** 2
    saved = products - form.points**2
    return 4 * (form.filters**2 - form.taps**2) * OPERATIONS_A_BYTE > 2 * tiles * saved


def winograd_halo(form: Form, before: Three, size: Three, count: Three) -> Halo:
    """The halo that whole tiles read: a cut last tile reads further than its outputs need."""
    pairs = [(0, 0)]
    for axis in (1, 2):
        last = (-(-count[axis] // form.tile) - 1) * form.step + form.patch - before[axis]
        pairs.append((before[axis], max(0, last - size[axis])))
    return cast(Halo, tuple(pairs))


def flipped_before(g: Geometry, form: Form) -> Three:
    """Zeros before the first pixel of a tile of dy: those of the turned filter."""
    _, h, w = (form.taps - 1 - b if form.stride == 1 else 1 - (b + 1) // 2 for b in g.before)
    return 0, h, w


def read_halo(g: Geometry, transposed: bool, winograd: bool) -> Halo:
    """The halo that a direction's kernel reads around its input."""
    form = suited_form(g, transposed) if winograd else None
    if form:
        if transposed:
            return winograd_halo(form, flipped_before(g, form), g.count, g.size)
        return winograd_halo(form, g.before, g.size, g.count)
    return halo_of(g.backward, g.count) if transposed else halo_of([g.forward], g.size)


def lower_winograd(context: Any, g: Geometry, transposed: bool, winograd: Winograd) -> list[Launch]:
    """Transformed filters, then the convolution in transformed tiles."""
    x, w = context.node.inputs
    source: Storage = context.storage(x)
    form, operands = winograd.form, winograd.operands
    beside = 1 if registers_per_vector(context.target, operands.computed) > 1 else 2
    most = min(WINOGRAD_TOGETHER, most_accumulators(context.target, operands.computed, beside))
    pack = WinogradPack(source.dtype.computed, operands, g.filters, g.depth, form, transposed)
    before = flipped_before(g, form) if transposed else g.before
    each = math.prod(-(-size // form.tile) for size in context.domain.sizes[1:])

    def batch(tiles: int) -> int:
        return -(-tiles // -(-tiles // most))

    if batch(each) != batch(context.domain.group * each):
        context.batch_specialized.append(context.node)
    tiles = each if context.single_sample else context.domain.group * each
    together = batch(tiles)
    blocks = context.domain.blocks
    path = context.node.path
    common = (source, operands, before[1:], form, together)
    size = blocks * pack.per_block * operands.numpy.itemsize
    wide = size > MOST_FILTERS
    launches: list[Launch] = []
    if not wide or context.stays(w):
        packed = context.buffer("transformed filters", fixed=size)
        launches.append(Launch("transform", path, pack, (w, packed), (pack.chunks, 0), writes=(1,)))
        w = packed
    if wide:
        kernel = WideWinogradConvolution(*common, context.region, pack, bool(launches), max(1, MANY_TILES // tiles))
        transform = WinogradInput(TileConvolution(*common, Region(context.domain)))
        arranged = context.buffer("transformed input", *transform.buffer)
        launches.append(Launch("transform input", path, transform, (x, arranged), transform.chunks))
        x = arranged
    else:
        shares = 1
        if blocks > 1:
            # One sample alone would be one chunk: its tiles are transformed again for each share of the outputs.
            context.batch_specialized.append(context.node)
            shares = min(blocks, SINGLE_SHARES) if context.single_sample and not context.single_threaded else 1
        kernel = WinogradConvolution(*common, context.region, shares)
    name = "input gradient (winograd)" if transposed else "convolution (winograd)"
    launches.append(
        Launch(
            name, path, kernel, (x, w, *context.region_operands), kernel.chunks,
            thread_scratch=kernel.scratch_bytes, flops_per_sample=g.work,
        )
    )  # fmt: skip
    return launches


def lower_convolution(context: Any, g: Geometry, transposed: bool) -> list[Launch]:
    """Packing, then the sum over taps and channels: of x into y, or of dy into dx (``transposed``)."""
    x, w = context.node.inputs
    source: Storage = context.storage(x)
    per_sample = any(item.per_sample for item in context.region.accumulations)
    form = winograd_form(g, transposed, source.dtype) if context.winograd else None
    if form and not per_sample and source.block == BLOCK:
        if not reads_mostly_filters(g, form.form, transposed):
            return lower_winograd(context, g, transposed, form)
        context.batch_specialized.append(context.node)
        if not context.single_sample:
            return lower_winograd(context, g, transposed, form)
    parts = g.backward if transposed else (g.forward,)
    lanes = g.depth if transposed else g.filters // g.groups
    summed = g.filters // g.groups if transposed else g.depth
    channels = summed if g.aligned else summed * g.groups
    sums = source.dtype.computed
    pack = Pack(
        sums, source.dtype, g.filters, g.depth, g.groups, g.kernel, parts, transposed, channels, source.block, g.aligned
    )
    blocks = context.domain.blocks
    packed = context.buffer("packed weights", fixed=blocks * pack.per_block * source.dtype.numpy.itemsize)
    if context.domain.sample_major:
        most = min(16, most_accumulators(context.target, sums, 2))
        tiles: tuple[tuple[int, int], ...] = ((most, 1),)
    else:
        largest = LARGEST_TILE if source.block == BLOCK else NARROW_TILE
        tiles = tuple(tile_shape(context.target, sums, p.sizes[1], p.sizes[2], largest) for p in parts)
    # Neighbouring taps read the same pixels. With few registers LLVM keeps those reads from tap to tap, and spills;
    # pairs of bfloat16 it keeps with many registers too.
    one_register = registers_per_vector(context.target, sums) == 1 and source.dtype is sums
    unrolled = UNROLLED if one_register else 0
    block_first = pack.per_block > source.per_sample and blocks * pack.per_block * 4 > context.target.l2 // 2
    abreast = 1
    if context.domain.sample_major and not g.aligned and not context.region.accumulations and blocks % ABREAST[-1] == 0:
        context.batch_specialized.append(context.node)
        if context.single_sample:
            abreast = next(count for count in ABREAST if blocks % count == 0)
    kernel = TapConvolution(
        source,
        channels,
        lanes // BLOCK if g.aligned else 0,
        parts,
        tiles,
        block_first,
        unrolled,
        context.region,
        abreast,
    )
    name = "input gradient" if transposed else "convolution"
    path = context.node.path
    return [
        Launch("pack", path, pack, (w, packed), (blocks, 0), writes=(1,)),
        Launch(
            name, path, kernel, (x, packed, *context.region_operands), kernel.chunks, flops_per_sample=g.work
        ),
    ]  # fmt: skip


WINOGRAD_SHARES = 8
WINOGRAD_RANGE = 4
TILES_BYTES = 400 << 10
"""Transformed tiles of x and dy that a weight gradient keeps at a time: with its sums they stay in a core's L2."""


def weight_gradient_halos(g: Geometry, winograd: bool) -> tuple[Halo, Halo]:
    """The halos that the weight gradient reads around x and around dy."""
    form = suited_form(g, False) if winograd else None
    if form:
        cut = tuple((0, -(-n // form.tile) * form.tile - n if axis else 0) for axis, n in enumerate(g.count))
        return winograd_halo(form, g.before, g.size, g.count), cast(Halo, cut)
    return halo_of([g.forward], g.size), NO_HALO


def _operands(source: Storage, arriving: Storage) -> DType:
    """What a weight gradient multiplies: bfloat16 where both of its inputs are stored so."""
    same = source.dtype is arriving.dtype
    return source.dtype if same else source.dtype.computed


def lower_winograd_gradient(context: Any, g: Geometry, winograd: Winograd) -> list[Launch]:
    """Sums in transformed tiles, then their transformation back."""
    x, dy = context.node.inputs
    source, arriving = context.storage(x), context.storage(dy)
    outs, intos = min(arriving.blocks, WINOGRAD_RANGE), min(source.blocks, WINOGRAD_RANGE)
    units = -(-arriving.blocks // outs) * -(-source.blocks // intos)
    shares = max(1, -(-WINOGRAD_SHARES // units))
    samples = 0 if x.type.batched else x.shape[0]
    form, operands = winograd.form, winograd.operands
    per_tile = form.points**2 * (outs + intos + 2) * BLOCK * operands.numpy.itemsize
    together = max(8, TILES_BYTES // per_tile // 8 * 8)
    accumulators = min(BLOCK, most_accumulators(context.target, operands.computed, 1))
    kernel = WinogradWeightGradient(
        source, arriving, operands, g.before[1:], shares, outs, intos, together, accumulators, form, samples
    )
    pairs = arriving.blocks * source.blocks
    path = context.node.path
    size = shares * pairs * kernel.per_pair * kernel.sums.numpy.itemsize
    result = context.node.outputs[0] if kernel.finishes else context.buffer("transformed weight gradient", fixed=size)
    phase = Launch(
        "weight gradient (winograd)", path, kernel, (x, dy, result), (kernel.chunks, 0),
        thread_scratch=kernel.scratch_bytes, flops_per_sample=g.work,
    )  # fmt: skip
    if kernel.finishes:
        return [phase]
    return [phase, Launch("unpack", path, WinogradUnpack(kernel), (result, context.node.outputs[0]), (pairs, 0))]


def lower_weight_gradient(context: Any, g: Geometry) -> list[Launch]:
    """Shares of the batch summed apart, then added in order and written as (O, C/groups, taps)."""
    x, dy = context.node.inputs
    source, arriving = context.storage(x), context.storage(dy)
    form = winograd_form(g, False, _operands(source, arriving)) if context.winograd else None
    if form and source.block == BLOCK:
        return lower_winograd_gradient(context, g, form)
    planar = source.block == PLAIN
    into = 1 if planar else (g.depth // BLOCK if g.aligned else source.blocks)
    group_blocks = g.filters // g.groups // BLOCK if g.aligned else 0
    units = arriving.blocks * into
    outs = next(count for count in (4, 2, 1) if arriving.blocks % count == 0 and group_blocks % count == 0)
    shares = max(1, min(UNITS, -(-UNITS * outs // units)))
    accumulators = min(28, most_accumulators(context.target, source.dtype.computed, 2))
    samples = 0 if x.type.batched else x.shape[0]
    part, before, paired = g.forward, list[Launch](), _operands(source, arriving) is DType.bfloat16
    if paired:
        inputs, outputs = paired_inputs(source, part), paired_outputs(arriving)
        (pair_x, x), (pair_dy, dy) = pairing(context, inputs, x), pairing(context, outputs, dy)
        source, arriving, part, before = inputs.pairs, outputs.pairs, over_pairs(part), [pair_x, pair_dy]
    kernel = WeightGradient(
        source, arriving, part, shares, outs, into, group_blocks, accumulators, samples, paired
    )  # fmt: skip
    unpack = Unpack(kernel, g.filters, g.depth, g.groups, g.aligned)
    size = shares * units * kernel.per_unit * kernel.sums.numpy.itemsize
    sums = context.buffer("weight gradient sums", fixed=size)
    path = context.node.path
    return [
        *before,
        Launch("weight gradient", path, kernel, (x, dy, sums), (shares * units // outs, 0), flops_per_sample=g.work),
        Launch("unpack", path, unpack, (sums, context.node.outputs[0]), (units, 0)),
    ]
