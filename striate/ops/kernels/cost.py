"""The costs of a convolution by direct sums and by Winograd's tiles, from which the algorithm is chosen.

The unit is a multiply-add of a vector of 16 channels. Loads and stores of transforms count as much as arithmetic. The
estimates depend only on shapes, so every processor chooses the same algorithm, and results have the same bits.
``benchmarks/choices.py`` compares the estimates with measurements.
"""

from __future__ import annotations

import math
from functools import lru_cache

from striate.codegen.lanes import LANES
from striate.codegen.storage import BLOCK
from striate.graph.op import Direction
from striate.ops.kernels.geometry import Geometry
from striate.ops.kernels.winograd.tiles import Tiling
from striate.ops.kernels.winograd.transforms import operations

EFFICIENCY = 0.9
"""The share of the peak that direct sums reach."""

SHORT = 0.5
"""The time of a vector of up to 8 channels, compared with one of 16."""

SHORT_DIRECT = 0.6
"""The same for direct sums, which then have fewer sums to add to at a time."""

WORTHWHILE = {Direction.FORWARD: 1.1, Direction.INPUT_GRADIENT: 0.95, Direction.WEIGHT_GRADIENT: 1.1}
"""Tiles are chosen if they cost at most this share of direct sums; near 1, measurements differ a little from the model.
"""

SUMS = 0.5
"""The cost of loading and storing a sum of a weight gradient, compared with a product: a batch has 8 tiles or more."""

RANGE = 4
"""The number of blocks of channels of x, and of dy, that a weight gradient transforms and multiplies at a time."""


@lru_cache(maxsize=4096)  # layers share few sizes; each is asked for often
def is_cheaper(form: Tiling, g: Geometry, direction: Direction) -> bool:
    """Return whether Winograd's tiles of ``form`` are worthwhile in one direction of the convolution ``g``.

    Their estimated cost must be at most ``WORTHWHILE`` (about 1) times the cost of direct sums.
    """
    return in_tiles(form, g, direction) <= WORTHWHILE[direction] * direct(g, direction)


def direct(g: Geometry, direction: Direction) -> float:
    """Return the cost of one sample by direct sums, in one direction of the convolution ``g``.

    The unit is a multiply-add of a vector of 16 channels.
    """
    into, out = _channels(g, direction)
    return math.prod(g.count) * math.prod(g.kernel) * into * vectors(out, SHORT_DIRECT) / EFFICIENCY


def in_tiles(form: Tiling, g: Geometry, direction: Direction) -> float:
    """Return the cost of one sample in Winograd tiles of ``form``, in one direction of the convolution ``g``.

    The unit is a multiply-add of a vector of 16 channels.
    """
    into, out = _channels(g, direction)
    sources, results = form.planes * -(-into // BLOCK), -(-out // BLOCK)
    products = form.positions * form.planes * into * vectors(out, SHORT)
    if direction is Direction.WEIGHT_GRADIENT:
        products *= 1 + SUMS
        transforms = sources * -(-results // RANGE) * input_cost(form) + results * -(-sources // RANGE) * dy_cost(form)
    else:
        transforms = sources * input_cost(form) + results * output_cost(form)
    tiles = math.prod(form.grid(g.size if direction is Direction.INPUT_GRADIENT else g.count))
    return tiles * (products + transforms)


def vectors(channels: int, short: float) -> float:
    """Return how many vectors of 16 channels cost as much as ``channels`` channels.

    A last vector of up to 8 channels costs ``short`` times as much as a full vector.
    """
    whole, rest = divmod(channels, LANES)
    return whole + (0 if rest == 0 else short if rest <= LANES // 2 else 1)


def input_cost(form: Tiling) -> int:
    """Return the cost of the transform Bᵀ d B of one input tile d, for one block of 16 channels.

    The unit is a multiply-add of a vector of 16 channels.
    """
    height, width = form.axes
    arithmetic = width.patch * height.input_operations + height.points * width.input_operations
    return height.patch * width.patch + arithmetic + form.positions


def output_cost(form: Tiling) -> int:
    """Return the cost of the transform Aᵀ M A of one tile's products M, for one block of 16 channels.

    The cost includes storing and loading M. The unit is a multiply-add of a vector of 16 channels.
    """
    height, width = form.axes
    down, along = (operations(axis.transforms.output) for axis in form.axes)
    return 2 * form.positions + width.points * down + height.tile * along


def dy_cost(form: Tiling) -> int:
    """Return the cost of the transform G dy Gᵀ of one tile of a weight gradient, for one block of 16 channels.

    The unit is a multiply-add of a vector of 16 channels.
    """
    height, width = form.axes
    down, along = (operations(axis.gradient.filter) for axis in form.axes)
    return height.tile * width.tile + width.tile * down + height.points * along + form.positions


def _channels(g: Geometry, direction: Direction) -> tuple[int, int]:
    """Return (channels that are summed over, channels of the result); of a weight gradient, those of x and of dy."""
    return (g.filters, g.depth) if direction is Direction.INPUT_GRADIENT else (g.depth, g.filters)
