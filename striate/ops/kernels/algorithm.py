"""The choice of the algorithm of a convolution: direct sums, or Winograd's minimal filtering.

The direct form sums over taps and channels. Winograd's minimal filtering (see ``winograd``) needs fewer multiplications
because it multiplies transformed tiles; ``cost`` estimates whether this saves more than the transforms cost. The choice
depends only on shapes, dtype and options. It is made once, in the stage that chooses memory layouts, because the halo,
the border of pixels around each plane, depends on the algorithm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from striate.codegen.options import CompileOptions
from striate.codegen.storage import BLOCK, NO_HALO, PLAIN, Halo, Three, three_pairs
from striate.dtypes import DType
from striate.errors import GraphError
from striate.graph.op import Direction
from striate.ops.anchor import Algorithm
from striate.ops.kernels.cost import is_cheaper
from striate.ops.kernels.geometry import Geometry, forward_halo, gradient_halo
from striate.ops.kernels.winograd.tiles import Form, Tiling


@dataclass(frozen=True)
class Winograd:
    """The parameters of Winograd's algorithm.

    ``form`` gives the sizes of a tile along each axis: F(m, r) has m outputs and a filter of r taps. ``operands`` is
    the dtype of the transformed inputs and filters, which are multiplied.
    """

    form: Tiling
    operands: DType


@dataclass(frozen=True)
class ConvolutionAlgorithm(Algorithm):
    """The algorithm that was chosen for a convolution; ``winograd`` is None for direct sums."""

    winograd: Winograd | None = None

    @property
    def sums_per_sample(self) -> bool:
        """Whether a sum (or another reduction) of each sample's outputs may be fused into the kernel.

        Only direct convolution can do this; Winograd's algorithm multiplies tiles of several samples at once.
        """
        return self.winograd is None


NARROW = 4
"""The largest number of input channels that may be read in plain order, not in blocks of 16.

Blocks of so few channels would consist mostly of padding."""

WINOGRAD_TILES = {(3, 1): 4, (5, 1): 4, (7, 1): 2, (3, 2): 4, (5, 2): 4}
"""Maps (taps, stride) of a filter to the number of outputs of a tile along one axis.

A tile then has six products along each axis for three taps, and eight for five or seven; with stride 2, nine for three
taps and eleven for five."""

LINE_TILES = {(3, 1): 4, (5, 1): 4, (7, 1): 2, (5, 2): 4, (7, 2): 4}
"""Maps (taps, stride) of a filter along a single axis to the number of outputs of a tile.

With stride 1, a tile has six or eight products: F(4, 3), F(4, 5) and F(2, 7)."""

MOST_PLANES = 5
"""The largest number of taps along the depth; their products are summed like those of channels."""

NARROW_CHANNELS = {3: 32, 5: 64}
"""Maps taps to the least number of channels for Winograd's algorithm with bfloat16 activations.

The direct form is then twice as fast, because its instructions compute two products at a time. Bfloat16 has enough
digits for the transforms of F(2×2, 3×3), which is also faster than F(4×4, 3×3) in float32. It does not have enough for
F(2×2, 5×5), which is computed in float32. Convolutions of stride 2 are computed directly, because Winograd's algorithm
would save less than half of their products."""

OPERATIONS_A_BYTE = 10
"""The assumed number of operations that a core can do in the time to read one byte of filters."""


def choose(g: Geometry, direction: Direction, stored: DType, options: CompileOptions) -> ConvolutionAlgorithm:
    """Return the algorithm for one direction of a convolution: forward, input gradient or weight gradient.

    ``g`` has the sizes of the convolution, and ``stored`` is the dtype of the activations in memory. The result depends
    only on the arguments. Its field ``batch_specialized`` is True if a program for a single sample uses direct sums,
    and other programs use Winograd's tiles.
    """
    winograd = _winograd(g, direction, stored) if options.winograd else None
    if winograd is None or direction is Direction.WEIGHT_GRADIENT:
        return ConvolutionAlgorithm(winograd=winograd)
    if not reads_mostly_filters(g, winograd.form, direction):
        return ConvolutionAlgorithm(winograd=winograd)
    return ConvolutionAlgorithm(batch_specialized=True, winograd=None if options.single_sample else winograd)


def form_of(algorithm: Algorithm) -> Tiling | None:
    """Return the form of Winograd's algorithm, that is, the sizes of its tiles; None for direct sums.

    Raises ``GraphError`` for an algorithm that does not belong to a convolution.
    """
    if not isinstance(algorithm, ConvolutionAlgorithm):
        raise GraphError(f"{algorithm} is not an algorithm for a convolution")
    return algorithm.winograd.form if algorithm.winograd else None


def _winograd(g: Geometry, direction: Direction, stored: DType) -> Winograd | None:
    form = suited_form(g, direction)
    if form is None or stored is not DType.bfloat16:
        return Winograd(form, stored) if form else None
    taps = form.width.taps
    if form.width.stride > 1 or form.height != form.width or form.planes > 1:
        return None
    if taps not in NARROW_CHANNELS or min(g.filters, g.depth) < NARROW_CHANNELS[taps]:
        return None
    return Winograd(Tiling(Form(2, taps), Form(2, taps)), stored if taps == 3 else stored.computed)


def suited_form(g: Geometry, direction: Direction) -> Tiling | None:
    """Return the form of Winograd's algorithm that suits this direction of a convolution, or None.

    ``g`` has the sizes of the convolution. The result is None if there is no form for this direction, or if the
    transforms would cost more than the products that they save.
    """
    form = possible_form(g, direction)
    return form if form and is_cheaper(form, g, direction) else None


def possible_form(g: Geometry, direction: Direction) -> Tiling | None:
    """Return the form of Winograd's algorithm for this direction of a convolution, or None if there is none.

    The form, that is, the sizes of the tiles, is returned even if direct sums are faster. ``g`` has the sizes of the
    convolution.
    """
    if g.groups > 1 or g.dilation != (1, 1, 1) or any(not 0 <= b < k for b, k in zip(g.before, g.kernel, strict=True)):
        return None
    if g.kernel[0] > MOST_PLANES or g.stride[0] > 1:
        return None
    line = g.kernel[1] == g.stride[1] == 1
    taps, stride = g.kernel[2], g.stride[2]
    tile = (LINE_TILES if line else WINOGRAD_TILES).get((taps, stride))
    if tile is None or (stride > 1 and g.kernel[0] > 1):
        return None
    transposed = direction is Direction.INPUT_GRADIENT
    if (g.filters if transposed else g.depth) <= NARROW:  # the input may be in plain order
        return None
    upward = transposed and stride > 1
    form = Form(tile * stride, taps, stride, True, g.before[2] % 2 == 1) if upward else Form(tile, taps, stride)
    if not line and (g.kernel[1] != taps or g.stride[1] != stride or (stride > 1 and g.before[1] != g.before[2])):
        return None
    return Tiling(Form(1, 1) if line else form, form, g.kernel[0])


def reads_mostly_filters(g: Geometry, form: Tiling, direction: Direction) -> bool:
    """Return whether a single sample has so few tiles that Winograd's algorithm is slower than direct sums.

    ``g`` has the sizes of the convolution, ``form`` has those of the tiles, and ``direction`` is the forward pass or a
    gradient. The transformed filters are larger than the filters. With few tiles, reading the transformed filters from
    memory takes longer than the multiplications that the algorithm saves.
    """
    tiles = math.prod(form.grid(g.size if direction is Direction.INPUT_GRADIENT else g.count))
    products = math.prod(axis.taps * (axis.tile // axis.stride if axis.upward else axis.tile) for axis in form.axes)
    saved = products - form.positions
    return 4 * (form.entries - form.taps) * OPERATIONS_A_BYTE > 2 * tiles * saved


def acceptable(channels: int) -> tuple[int, ...]:
    """Return how many channels a block of a stored input may have, the best first: 16, or 1 for NumPy's order.

    For up to ``NARROW`` channels, the result is (1, 16); for more, it is (16,).
    """
    return (PLAIN, BLOCK) if channels <= NARROW else (BLOCK,)


def read_halo(g: Geometry, direction: Direction, form: Tiling | None) -> Halo:
    """Return the halo, the border of zeros, that the kernel for ``direction`` reads around its input.

    The input is x in the forward pass, and dy in the input gradient. ``g`` has the sizes of the convolution. ``form``
    has the sizes of Winograd's tiles, or is None for direct sums.
    """
    transposed = direction is Direction.INPUT_GRADIENT
    if form and transposed:
        return winograd_halo(form, flipped_before(g, form), g.count, g.size)
    if form:
        return winograd_halo(form, g.before, g.size, g.count)
    return gradient_halo(g) if transposed else forward_halo(g)


def weight_gradient_halos(g: Geometry, form: Tiling | None) -> tuple[Halo, Halo]:
    """Return the halos, the borders of zeros, that the weight gradient reads around x and around dy.

    ``g`` has the sizes of the convolution. ``form`` has the sizes of Winograd's tiles, or is None for direct sums.
    """
    if form is None:
        return forward_halo(g), NO_HALO
    tiles = (1, *form.outputs)
    cut = [-(-n // tile) * tile - n for n, tile in zip(g.count, tiles, strict=True)]
    return winograd_halo(form, g.before, g.size, g.count), three_pairs((0, 0, 0), cut)


def winograd_halo(form: Tiling, before: Three, size: Three, count: Three) -> Halo:
    """Return the halo, the border of zeros, that Winograd's tiles read around an input.

    ``form`` has the sizes of a tile. ``before`` is the padding before the input, ``size`` the size of the input, and
    ``count`` that of the output, along each axis. The last tile of an axis is read as a whole, even if only some of its
    outputs exist.
    """
    after = [max(0, count[0] - 1 + form.planes - before[0] - size[0])]
    for number, axis in enumerate(form.axes, 1):
        last = (-(-count[number] // axis.tile) - 1) * axis.step + axis.patch - before[number]
        after.append(max(0, last - size[number]))
    return three_pairs(before, after)


def flipped_before(g: Geometry, form: Tiling) -> Three:
    """Return how many zeros an input gradient reads before the first pixel of dy along each axis.

    The input gradient is computed as a convolution of dy with the flipped filter, in tiles of ``form``; ``g`` has the
    sizes of the forward convolution.
    """
    h, w = (
        axis.taps - 1 - b if axis.stride == 1 else axis.taps // 2 - (b + 1) // 2
        for axis, b in zip(form.axes, g.before[1:], strict=True)
    )
    return form.planes - 1 - g.before[0], h, w
