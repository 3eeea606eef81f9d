"""Which algorithm computes a convolution or one of its gradients: direct sums, or Winograd's minimal filtering.

The choice is made once, when layouts are chosen, from shapes, dtype and options. It is kept with the layout: the halo
that the kernel reads and the kernels themselves follow from it.
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
from striate.ops.kernels.geometry import Geometry, forward_halo, gradient_halo
from striate.ops.kernels.winograd import Form


@dataclass(frozen=True)
class Winograd:
    """How transformed tiles are multiplied: the form along each axis, and the dtype of both factors."""

    form: Form
    operands: DType


@dataclass(frozen=True)
class ConvolutionAlgorithm(Algorithm):
    """Winograd's form and its operands, or None for direct sums."""

    winograd: Winograd | None = None

    @property
    def sums_per_sample(self) -> bool:
        """Tiles of several samples are multiplied together, so their sums cannot be kept separate."""
        return self.winograd is None


NARROW = 4
"""Inputs of up to this many channels may stay planar: padding them to 16 would waste most of every cache line."""

WINOGRAD_TILES = {(3, 1): 4, (5, 1): 2, (3, 2): 4}
"""Outputs of a tile along one axis, by taps and stride of the filter: six points, or nine with stride 2."""

WINOGRAD_CHANNELS = {(3, 1): 16, (5, 1): 16, (3, 2): 16}
"""The number of channels from which the saved products outweigh the transforms."""

NARROW_CHANNELS = {3: 32, 5: 64}
"""For activations in bfloat16, the number of channels from which transformed tiles are faster than the direct form,
which then computes two products at a time. Bfloat16 has enough digits for the transforms of F(2×2, 3×3), which with two
products at a time is also faster than F(4×4, 3×3) in float32. It does not have enough for F(2×2, 5×5), which stays in
float32. A stride of 2 saves less than a factor of two, so it is computed directly."""

OPERATIONS_A_BYTE = 10
"""Operations of a core in the time that it takes to read one byte of filters, each of which serves only a few tiles."""


def choose(g: Geometry, direction: Direction, stored: DType, options: CompileOptions) -> ConvolutionAlgorithm:
    """The algorithm for activations stored in that dtype: a pure function of its arguments."""
    winograd = _winograd(g, direction, stored) if options.winograd else None
    if winograd is None or direction is Direction.WEIGHT_GRADIENT:
        return ConvolutionAlgorithm(winograd=winograd)
    if not reads_mostly_filters(g, winograd.form, direction):
        return ConvolutionAlgorithm(winograd=winograd)
    return ConvolutionAlgorithm(batch_specialized=True, winograd=None if options.single_sample else winograd)


def form_of(algorithm: Algorithm) -> Form | None:
    """Winograd's form, or None for direct sums."""
    if not isinstance(algorithm, ConvolutionAlgorithm):
        raise GraphError(f"{algorithm} is not an algorithm for a convolution")
    return algorithm.winograd.form if algorithm.winograd else None


def _winograd(g: Geometry, direction: Direction, stored: DType) -> Winograd | None:
    form = suited_form(g, direction)
    if form is None or stored is not DType.bfloat16:
        return Winograd(form, stored) if form else None
    if form.stride > 1 or min(g.filters, g.depth) < NARROW_CHANNELS[form.taps]:
        return None
    return Winograd(Form(2, form.taps), stored if form.taps == 3 else stored.computed)


def suited_form(g: Geometry, direction: Direction) -> Form | None:
    """The form in which this direction is computed, if one is worthwhile; it depends only on the shapes."""
    taps, stride, before = g.kernel[2], g.stride[2], g.before[2]
    tile = WINOGRAD_TILES.get((taps, stride))
    fits = tile is not None and g.kernel == (1, taps, taps) and g.groups == 1
    fits = fits and g.size[0] == g.count[0] == 1  # tiles lie in one plane
    fits = fits and g.stride[0] == 1 and g.stride[1] == stride and g.dilation == (1, 1, 1)
    fits = fits and g.before[0] == 0 and all(0 <= b < taps for b in g.before)
    fits = fits and (stride == 1 or g.before[1] == before)
    if not fits or tile is None or min(g.filters, g.depth) < WINOGRAD_CHANNELS[taps, stride]:
        return None
    transposed = direction is Direction.INPUT_GRADIENT
    upward = transposed and stride > 1
    size = g.size if transposed else g.count
    if min(size[1:]) < (8 if upward else 4):
        return None
    return Form(tile * stride, taps, stride, True, before % 2 == 1) if upward else Form(tile, taps, stride)


def reads_mostly_filters(g: Geometry, form: Form, direction: Direction) -> bool:
    """Whether a single sample has so few tiles that reading the transformed filters, which are larger than the
    filters, takes longer than the operations that they save."""
    tiles = math.prod(
        -(-size // form.tile) for size in (g.size if direction is Direction.INPUT_GRADIENT else g.count)[1:]
    )
    products = form.taps**2 * (form.tile // form.stride if form.upward else form.tile) ** 2
    saved = products - form.points**2
    return 4 * (form.filters**2 - form.taps**2) * OPERATIONS_A_BYTE > 2 * tiles * saved


def acceptable(channels: int) -> tuple[int, ...]:
    """The channel blocks in which a contraction may read an input with that many channels."""
    return (PLAIN, BLOCK) if channels <= NARROW else (BLOCK,)


def read_halo(g: Geometry, direction: Direction, form: Form | None) -> Halo:
    """The halo that the kernel of a direction reads around its input."""
    transposed = direction is Direction.INPUT_GRADIENT
    if form and transposed:
        return winograd_halo(form, flipped_before(g, form), g.count, g.size)
    if form:
        return winograd_halo(form, g.before, g.size, g.count)
    return gradient_halo(g) if transposed else forward_halo(g)


def weight_gradient_halos(g: Geometry, form: Form | None) -> tuple[Halo, Halo]:
    """The halos that the weight gradient reads around x and around dy."""
    if form is None:
        return forward_halo(g), NO_HALO
    cut = [-(-n // form.tile) * form.tile - n if axis else 0 for axis, n in enumerate(g.count)]
    return winograd_halo(form, g.before, g.size, g.count), three_pairs((0, 0, 0), cut)


def winograd_halo(form: Form, before: Three, size: Three, count: Three) -> Halo:
    """The halo that whole tiles read: a partial last tile reads further than its outputs need."""
    after = [0, 0, 0]
    for axis in (1, 2):
        last = (-(-count[axis] // form.tile) - 1) * form.step + form.patch - before[axis]
        after[axis] = max(0, last - size[axis])
    return three_pairs((0, before[1], before[2]), after)


def flipped_before(g: Geometry, form: Form) -> Three:
    """Zeros before the first pixel of a tile of dy: those of the flipped filter."""
    _, h, w = (form.taps - 1 - b if form.stride == 1 else 1 - (b + 1) // 2 for b in g.before)
    return 0, h, w
