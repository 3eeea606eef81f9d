"""The lowering of convolutions and their gradients to launches.

The lowering chooses the kernels, their tiles and their chunks. A chunk is the unit of work of a thread. The choices
depend on the shapes, the processor and the compile options; a program for a single sample may use other kernels than a
program for many. The order of additions never depends on the number of threads, so neither do the results.
"""

from __future__ import annotations

import math
from dataclasses import replace

from striate.codegen.lanes import LANES
from striate.codegen.launch import Launch
from striate.codegen.microkernel import lanes_of_rest, most_accumulators, registers_per_vector, tile_shape
from striate.codegen.region import Region
from striate.codegen.storage import BLOCK, PLAIN, Storage
from striate.dtypes import DType
from striate.graph.op import Direction, Node
from striate.ops.anchor import LoweringContext
from striate.ops.kernels.algorithm import ConvolutionAlgorithm, Winograd, flipped_before
from striate.ops.kernels.direct import DirectConvolution, ShortVectors, TapConvolution
from striate.ops.kernels.direct_gradient import ShortSums, Unpack, WeightGradient
from striate.ops.kernels.direct_pairs import over_pairs, paired_inputs, paired_outputs, pairing
from striate.ops.kernels.geometry import Geometry
from striate.ops.kernels.grouped import Banded, Lanewise, grouping
from striate.ops.kernels.packing import Pack
from striate.ops.kernels.pointwise import geometry_in_one_row, in_one_row, is_pointwise, storage_in_one_row
from striate.ops.kernels.strided import MOST_PARTS, StridedGradient
from striate.ops.kernels.winograd.convolution import TileConvolution, WinogradConvolution
from striate.ops.kernels.winograd.gradient import WinogradUnpack, WinogradWeightGradient
from striate.ops.kernels.winograd.packing import WinogradPack
from striate.ops.kernels.winograd.wide import WideWinogradConvolution, WinogradInput

LARGEST_TILE, NARROW_TILE = 24, 16
"""The largest number of pixels of a register tile, for blocked inputs and for inputs in plain order.

Blocked inputs have blocks of 16 channels. A register tile is the set of outputs whose sums are in registers at the same
time. The taps of inputs in plain order are unrolled, and LLVM keeps the pixels that neighbouring taps share in
registers, too."""

MOST_WRITTEN = 2600
"""The largest number of vector multiply-adds in the code of a kernel.

It is exceeded only if even the smallest loop bodies need more. A kernel of this size compiles in about 0.5 s."""

FEW_CHANNELS = (16, 8, 4)
"""The possible numbers of channels in the body of the loop over the channels of a block.

They are tried in this order until the kernel has at most ``MOST_WRITTEN`` multiply-adds."""

LEAST_TILE = 8
"""The least number of pixels of a tile that keeps the multiply-add units busy."""

UNROLLED = 320
"""The largest number of multiply-adds in the body of an unrolled loop over taps: about 2 KiB of code."""

UNITS = 32
"""The smallest number of chunks that a weight gradient is split into, so that many threads have work."""


WINOGRAD_TOGETHER = 16
"""The largest number of Winograd tiles in a batch, whose sums are in registers at the same time."""

MANY_TILES = 64
"""The approximate number of Winograd tiles that are multiplied with one part of the filters at a time.

Then the next part is read. A part belongs to one position of the transformed tiles. This applies to filters larger than
``MOST_FILTERS``."""

MOST_FILTERS = 8 << 20
"""The largest size, in bytes, of transformed filters that a training step writes to memory.

Larger filters would not stay in the cache, so each chunk transforms its own part of them."""


ABREAST = (4, 2)
"""How many output blocks are summed at a time for one sample with one output pixel.

The first number that divides the number of output blocks is used."""

SINGLE_SHARES = 4
"""The largest number of shares into which a program for one sample splits the output channels."""


def _called(node: Node) -> str:
    """Return the name of the launch: ``convolution``, ``input gradient`` or ``transposed convolution``."""
    return node.op.words().removeprefix("convolution ")


def chosen(context: LoweringContext) -> ConvolutionAlgorithm:
    """Return the algorithm that the layout stage chose for the convolution of ``context``."""
    assert isinstance(context.algorithm, ConvolutionAlgorithm)
    return context.algorithm


def lower_winograd(context: LoweringContext, g: Geometry, direction: Direction, winograd: Winograd) -> list[Launch]:
    """Return the kernel launches of a convolution or input gradient with Winograd's algorithm.

    ``g`` has the sizes of the convolution, ``direction`` says which of the two is computed, and ``winograd`` has the
    form of the tiles. One launch transforms the filters, and another computes the convolution in the tiles. If the
    transformed filters have more than ``MOST_FILTERS`` bytes, a separate launch transforms the input. The convolution's
    kernel then also transforms the filters, unless the weights are constant.
    """
    x, w = context.node.inputs
    transposed = direction is Direction.INPUT_GRADIENT
    source = context.storage(x)
    form, operands = winograd.form, winograd.operands
    beside = 1 if registers_per_vector(context.target, operands.computed) > 1 else 2
    most = min(WINOGRAD_TOGETHER, most_accumulators(context.target, operands.computed, beside))
    pack = WinogradPack(source.dtype.computed, operands, g.filters, g.depth, form, transposed)
    before = flipped_before(g, form) if transposed else g.before
    each = math.prod(form.grid(context.domain.sizes))

    def batch(tiles: int) -> int:
        return -(-tiles // -(-tiles // most))

    if batch(each) != batch(context.domain.group * each):
        context.batch_specialized.append(context.node)
    tiles = each if context.options.single_sample else context.domain.group * each
    together = batch(tiles)
    blocks = context.domain.blocks
    path = context.node.path
    common = (source, operands, before, form, together)
    size = blocks * pack.per_block * operands.numpy.itemsize
    wide = size > MOST_FILTERS
    launches: list[Launch] = []
    if not wide or context.is_constant(w):
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
            # A single sample is a single chunk. To occupy several threads, each computes a share of the output
            # channels, and transforms the input tiles again.
            context.batch_specialized.append(context.node)
            shares = (
                min(blocks, SINGLE_SHARES)
                if context.options.single_sample and not context.options.single_threaded
                else 1
            )
        last = LANES
        if operands is operands.computed:
            last = lanes_of_rest(context.target, operands, context.domain.channels)
        kernel = WinogradConvolution(*common, context.region, shares, last)
    launches.append(
        Launch(
            f"{_called(context.node)} (winograd)", path, kernel, (x, w, *context.region_operands), kernel.chunks,
            thread_scratch=kernel.scratch_bytes, flops_per_sample=g.work,
        )
    )  # fmt: skip
    return launches


def lower_convolution(context: LoweringContext, g: Geometry, direction: Direction) -> list[Launch]:
    """Return the kernel launches of a convolution (from x to y) or of its input gradient (from dy to dx).

    ``g`` has the sizes of the convolution, and ``direction`` says which of the two is computed. In the direct form, one
    launch packs the weights, and another sums over taps and channels. If Winograd's algorithm was chosen for the node,
    the launches are those of ``lower_winograd``.
    """
    algorithm = chosen(context)
    if algorithm.batch_specialized:
        context.batch_specialized.append(context.node)
    if algorithm.winograd:
        return lower_winograd(context, g, direction, algorithm.winograd)
    x, w = context.node.inputs
    transposed = direction is Direction.INPUT_GRADIENT
    source, region = context.storage(x), context.region
    row = in_one_row(g, source, region)
    if row:
        g, source, region = row.geometry, row.source, row.region
    strided = transposed and math.prod(axis.count for axis in g.residues) > MOST_PARTS
    parts = g.backward if transposed and not strided else (g.forward,)
    groups = grouping(g, transposed) if source.block == BLOCK else None
    lanewise = isinstance(groups, Lanewise)
    channels, inner = (g.filters if transposed else g.depth * g.groups), source.block
    if isinstance(groups, Lanewise):
        channels = inner = groups.inputs
    elif groups:
        channels = groups.span * BLOCK
    sums = source.dtype.computed
    factors = sums if lanewise else source.dtype
    pack = Pack(sums, factors, g.filters, g.depth, g.groups, g.kernel, parts, transposed, channels, inner, groups)
    blocks = context.domain.blocks
    packed = context.buffer("packed weights", fixed=blocks * pack.per_block * factors.numpy.itemsize)
    # Neighbouring taps read the same pixels. If taps are unrolled and registers are few, LLVM keeps these pixels from
    # tap to tap and spills. With pairs of bfloat16, and with lanewise kernels, it does so even with many registers.
    one_register = registers_per_vector(context.target, sums) == 1 and source.dtype is sums
    unrolled = UNROLLED if one_register and not lanewise else 0
    block_first = pack.per_block > source.per_sample and blocks * pack.per_block * 4 > context.target.l2 // 2
    common = (source, channels, groups, block_first, region)
    largest = LARGEST_TILE if source.block == BLOCK else NARROW_TILE
    if isinstance(groups, Lanewise):
        largest = min(largest, most_accumulators(context.target, sums, 1 + groups.registers))
        # There is code for every table, and LLVM keeps pairs of vectors in registers until they are permuted.
        copies = len(groups.tables) * (1 if groups.registers < 3 else 3)
        largest = min(largest, max(LEAST_TILE, largest // copies))
    lanes = LANES
    if not groups and source.dtype is sums:
        lanes = lanes_of_rest(context.target, sums, context.domain.channels)
    kernel: DirectConvolution
    if strided:
        columns = g.residues[2].positions(g.residues[2].count - 1)
        kernel = StridedGradient(*common, g.residues, tile_shape(context.target, sums, 1, columns, largest)[1])
    else:
        abreast = 1

        def tiles_of(lanes: int) -> tuple[tuple[int, int], ...]:
            if context.domain.sample_major:
                return ((min(16, most_accumulators(context.target, sums, 2, lanes)), 1),)
            return tuple(tile_shape(context.target, sums, p.sizes[1], p.sizes[2], largest, lanes) for p in parts)

        single = context.domain.sample_major and not groups and not context.region.accumulations
        if single and blocks % ABREAST[-1] == 0:
            context.batch_specialized.append(context.node)
            if context.options.single_sample:
                abreast = next(count for count in ABREAST if blocks % count == 0)
        last = ShortVectors(lanes, tiles_of(lanes)) if lanes < LANES and abreast == 1 else None
        kernel = TapConvolution(*common, parts, tiles_of(LANES), unrolled, abreast, last)
        for most, at_once in ((unrolled, inner), *((0, min(inner, few)) for few in FEW_CHANNELS)):
            kernel = replace(kernel, unrolled=most, channels_at_once=at_once)
            if kernel.written <= MOST_WRITTEN:
                break
    path = context.node.path
    return [
        Launch("pack", path, pack, (w, packed), (blocks, 0), writes=(1,)),
        Launch(
            _called(context.node) + " (lanewise)" * lanewise, path, kernel, (x, packed, *context.region_operands),
            kernel.chunks, flops_per_sample=g.work,
        ),
    ]  # fmt: skip


WINOGRAD_SHARES = 8
"""The least number of chunks into which a weight gradient with Winograd's algorithm is divided."""

WINOGRAD_RANGE = 4
"""The largest number of output blocks, and of input blocks, in one chunk of such a weight gradient."""

TILES_BYTES = 400 << 10
"""The largest number of bytes of transformed tiles of x and dy that a weight gradient keeps at a time.

Together with the sums, they fit into the L2 cache of a core."""


def _operands(source: Storage, arriving: Storage) -> DType:
    """Return the dtype of the factors of a weight gradient: bfloat16 only if both inputs are stored in it."""
    same = source.dtype is arriving.dtype
    return source.dtype if same else source.dtype.computed


def lower_winograd_gradient(context: LoweringContext, g: Geometry, winograd: Winograd) -> list[Launch]:
    """Return the kernel launches of a weight gradient with Winograd's algorithm.

    ``g`` has the sizes of the convolution, and ``winograd`` the form of the tiles. The first launch sums over the
    transformed tiles. If it divides the samples into several shares, a second launch adds the sums of the shares and
    transforms them back.
    """
    x, dy = context.node.inputs
    source, arriving = context.storage(x), context.storage(dy)
    form, operands = winograd.form, winograd.operands
    into_blocks = form.planes * source.blocks
    outs, intos = min(arriving.blocks, WINOGRAD_RANGE), min(into_blocks, WINOGRAD_RANGE)
    units = -(-arriving.blocks // outs) * -(-into_blocks // intos)
    shares = max(1, -(-WINOGRAD_SHARES // units))
    samples = x.type.samples
    per_tile = form.positions * (outs + intos + 2) * BLOCK * operands.numpy.itemsize
    together = max(8, TILES_BYTES // per_tile // 8 * 8)
    accumulators = min(BLOCK, most_accumulators(context.target, operands.computed, 1))
    kernel = WinogradWeightGradient(
        source, arriving, operands, g.before, shares, outs, intos, together, accumulators, form, samples
    )
    if operands is operands.computed:
        lanes = lanes_of_rest(context.target, operands, arriving.channels)
        most = min(BLOCK, most_accumulators(context.target, operands, 1, lanes))
        kernel = replace(kernel, last_lanes=lanes, last_accumulators=most)
    pairs = arriving.blocks * kernel.input_blocks
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


def lower_weight_gradient(context: LoweringContext, g: Geometry) -> list[Launch]:
    """Return the kernel launches of a weight gradient.

    ``g`` has the sizes of the convolution. In the direct form, one launch sums over each share of the samples
    separately; another adds the sums of all shares in a fixed order and writes them as (O, C/groups, taps). If both
    inputs are stored in bfloat16, launches before these rewrite them as pairs of pixels. If Winograd's algorithm was
    chosen for the node, the launches are those of ``lower_winograd_gradient``.
    """
    x, dy = context.node.inputs
    source, arriving = context.storage(x), context.storage(dy)
    winograd = chosen(context).winograd
    if winograd:
        return lower_winograd_gradient(context, g, winograd)
    rows = storage_in_one_row(source), storage_in_one_row(arriving)
    if is_pointwise(g) and g.size[:2] != (1, 1) and rows[0] and rows[1]:
        g, source, arriving = geometry_in_one_row(g), rows[0], rows[1]
    groups = grouping(g, transposed=False) if source.block == BLOCK else None
    lanewise = isinstance(groups, Lanewise)
    if isinstance(groups, Banded):
        into, shared = groups.span, groups.shared
    else:
        into, shared = (1 if source.block == PLAIN or lanewise else source.blocks), (1 if lanewise else 0)
    units = arriving.blocks * into
    outs = next(count for count in (4, 2, 1) if arriving.blocks % count == 0 and shared % count == 0)
    shares = max(1, min(UNITS, -(-UNITS * outs // units)))
    beside = 1 if registers_per_vector(context.target, source.dtype.computed) > 1 else 2
    accumulators = min(28, most_accumulators(context.target, source.dtype.computed, beside))
    samples = x.type.samples
    part, before = g.forward, list[Launch]()
    paired = _operands(source, arriving) is DType.bfloat16 and not lanewise
    if paired:
        inputs, outputs = paired_inputs(source, part), paired_outputs(arriving)
        (pair_x, x), (pair_dy, dy) = pairing(context, inputs, x), pairing(context, outputs, dy)
        source, arriving, part, before = inputs.pairs, outputs.pairs, over_pairs(part), [pair_x, pair_dy]
    short = None
    if not paired and not lanewise:
        lanes = lanes_of_rest(context.target, source.dtype.computed, arriving.channels)
        if lanes < LANES:
            most = min(28, most_accumulators(context.target, source.dtype.computed, 2, lanes))
            short = ShortSums(lanes, most)
    kernel = WeightGradient(
        source, arriving, part, shares, outs, into, groups, accumulators, samples, paired, short=short
    )
    unpack = Unpack(kernel, g.filters, g.depth, g.groups)
    size = shares * units * kernel.per_unit * kernel.kept.numpy.itemsize
    sums = context.buffer("weight gradient sums", fixed=size)
    path = context.node.path
    return [
        *before,
        Launch(
            "weight gradient" + " (lanewise)" * lanewise,
            path,
            kernel,
            (x, dy, sums),
            (shares * units // outs, 0),
            flops_per_sample=g.work,
        ),
        Launch("unpack", path, unpack, (sums, context.node.outputs[0]), (units, 0)),
    ]
