"""The register-tiled multiply-accumulate: the inner loop of convolutions and matrix products.

    for c in channels: for p in pixels of the tile:  acc[p] += broadcast(x[p][c]) · w[c][0:16]

x are the inputs, w the weights, and a tile is a group of neighbouring pixels. The sums acc[p], one vector of 16 output
channels per pixel, stay in registers. Each weight vector is loaded once for all pixels of the tile, and each input
element is broadcast from memory inside the multiply-add.

In bfloat16, c counts pairs of channels: a 32-bit broadcast contains two elements, and ``w[c]`` contains 16 pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import LANES, Index
from striate.dtypes import DType

if TYPE_CHECKING:
    from striate.codegen.target import Target

LATENCY = 8
"""The multiply-adds in flight that keep two units busy: 2 per cycle with a latency of 4 cycles."""


def registers_per_vector(target: Target, dtype: DType, lanes: int = LANES) -> int:
    """Return how many hardware registers of the processor ``target`` a vector occupies.

    The vector has ``lanes`` elements of ``dtype``.
    """
    return max(1, lanes * dtype.numpy.itemsize // (4 * target.lanes))


def lanes_of_rest(target: Target, dtype: DType, channels: int) -> int:
    """Return the length of the vectors (16, 8 or 4 lanes) with which the last block of channels is computed fastest.

    The ``channels`` channels are divided into blocks of 16. The last block may have fewer channels, so shorter vectors
    may suffice. Vectors that are shorter than a hardware register or than 32 bytes are not chosen, because they save
    nothing. ``dtype`` is the dtype of the elements.
    """
    rest = channels % LANES or LANES
    register = 4 * target.lanes // dtype.numpy.itemsize  # elements of one register
    least = max(4, min(register, 32 // dtype.numpy.itemsize))
    return next(lanes for lanes in (4, 8, LANES) if lanes >= max(rest, least) or lanes == LANES)


def last_apart(k: Kernel, block: Index, blocks: int, last: int) -> list[tuple[int, Any]]:
    """Return the cases in which a kernel computes a block of channels, as (lanes of the vectors, condition).

    There are ``blocks`` blocks, and ``block`` is the number of the current one when the kernel runs. All but the last
    block are computed with vectors of 16 lanes, and the last one with vectors of ``last`` lanes. If all vectors have
    the same length, there is only one case, with the condition True.
    """
    if blocks == 1 or last == LANES:
        return [(last, True)]
    return [(LANES, k.compare(block, "<", blocks - 1)), (last, k.compare(block, "==", blocks - 1))]


def most_accumulators(target: Target, dtype: DType, other: int = 2, lanes: int = LANES) -> int:
    """Return how many vectors of sums fit in the registers of the processor ``target``.

    The vectors have ``lanes`` elements of ``dtype``. ``other`` is the number of further vectors of that length that
    must be in registers at the same time.
    """
    each = registers_per_vector(target, dtype, lanes)
    # With 16 registers and one for each vector, LLVM keeps several broadcasts in registers of their own.
    spare = 2 if target.vector_registers >= 32 else 1 if each > 1 else 7
    return max(1, (target.vector_registers - spare) // each - other + (1 if each == 1 else 0))


def tile_shape(
    target: Target, dtype: DType, height: int, width: int, largest: int, lanes: int = LANES
) -> tuple[int, int]:
    """Return the size (rows, columns) of the tiles that cover an image of height × width pixels at the lowest cost.

    A tile is a group of at most ``largest`` pixels. Their sums, vectors of ``lanes`` elements of ``dtype``, are kept in
    registers together. The cost of a tile is max(s, ``LATENCY``) + 1.1 w if the sums occupy s registers and a vector of
    weights occupies w registers. The costs of all tiles are added, including the smaller tiles at the edges.
    """
    each = registers_per_vector(target, dtype, lanes)
    most = min(largest, most_accumulators(target, dtype, 1 if each > 1 else 2, lanes))

    def cost(pixels: int) -> float:
        return max(pixels * each, LATENCY) + 1.1 * each

    best: tuple[float, int, int] | None = None
    for columns in range(1, min(width, most) + 1):
        for rows in range(1, min(height, most // columns) + 1):
            total = 0.0
            for row_count, r in ((height // rows, rows), (1, height % rows)):
                for column_count, c in ((width // columns, columns), (1, width % columns)):
                    total += row_count * column_count * cost(r * c) if r * c else 0.0
            key = (total, rows, -columns)
            if best is None or key < best:
                best = key
    assert best is not None
    return best[1], -best[2]


def sum_of_products(
    k: Kernel, dtype: DType, sums: list[Any], weights: Any, inputs: Any, offsets: Sequence[int], channels: int
) -> list[Any]:
    """Write the code for sums[p] + Σ_c inputs[offsets[p] + c] · weights[c][0:lanes]; return the new sums.

    ``sums`` has a vector in registers, of 16 lanes or fewer, for every pixel p of a tile; c runs over ``channels``
    channels. ``inputs`` and ``weights`` are the addresses of arrays of ``dtype``. In bfloat16, channels are processed
    in pairs: their number must be even, and the weights must be stored as [c / 2][16][2].
    """
    paired = dtype is DType.bfloat16
    lanes = sums[0].type.count
    for c in range(0, channels, 2 if paired else 1):
        where = k.offset(weights, c * LANES, dtype)
        w = k.load_pairs(where) if paired else k.load(where, dtype, 64, lanes)

        def add_product(offset: int, acc: Any, w: Any = w, c: int = c) -> Any:
            place = k.offset(inputs, offset + c, dtype)
            if paired:
                return k.dot(k.broadcast_pair(place), w, acc)
            return k.multiply_add(k.broadcast(place, dtype, lanes), w, acc)

        sums = [add_product(offset, acc) for offset, acc in zip(offsets, sums, strict=True)]
    return sums


def sum_of_lane_products(
    k: Kernel,
    dtype: DType,
    sums: list[Any],
    weights: Any,
    inputs: Any,
    offsets: Sequence[int],
    table: Sequence[Sequence[tuple[int, int] | None]],
    apart: int,
) -> list[Any]:
    """Write the code for sums of products in which every lane multiplies an input channel of its own.

    Returns the new sums, one vector for every pixel p:

        sums[p][lane] + Σ_c x_p[table[c][lane]] · weights[c][lane]

    Grouped convolutions use this. x_p are the channels of pixel p, in blocks of 16. The first block begins at
    inputs[offsets[p]], and the beginnings of consecutive blocks are ``apart`` elements apart. ``table[c][lane]`` is an
    input channel as (block, lane of the block), or None if the lane is unused. ``dtype`` is the dtype of the inputs;
    bfloat16 inputs are widened. The weights have the dtype of the sums.
    """
    for c, row in enumerate(table):
        factor = k.load(k.offset(weights, c * LANES, dtype.computed), dtype.computed, 64)
        # Each channel reads the same vectors again. Without the hidden zero, LLVM would keep them all in registers,
        # of which there are too few.
        here = k.offset(inputs, k.imul(k.hidden_zero, c), dtype) if c else inputs
        sums = [
            k.multiply_add(lanes_of(k, dtype, k.offset(here, offset, dtype), row, apart), factor, acc)
            for offset, acc in zip(offsets, sums, strict=True)
        ]
    return sums


def lanes_of(k: Kernel, dtype: DType, pixel: Any, row: Sequence[tuple[int, int] | None], apart: int) -> Any:
    """Write code that collects 16 channels of one pixel in a vector, and return the vector.

    ``row[i]`` = (block, lane) says which channel lane i of the result gets. If ``row[i]`` is None, lane i is undefined.
    ``pixel`` is the address of the pixel's first block of 16 channels, of type ``dtype``. The beginnings of consecutive
    blocks are ``apart`` elements apart.
    """
    blocks = sorted({source[0] for source in row if source})
    vectors = {number: k.load(k.offset(pixel, number * apart, dtype), dtype, 64) for number in blocks}
    return k.permuted(vectors, row)


def sum_of_outer_products(
    k: Kernel, dtype: DType, sums: list[Any], vector: Any, inputs: Any, offsets: Sequence[int]
) -> list[Any]:
    """Write the code for sums[j] + inputs[offsets[j]] · vector[0:lanes] for every j; return the new sums.

    ``sums`` are vectors of 16 lanes or fewer in registers, and ``vector`` and ``inputs`` are addresses of elements of
    ``dtype``. In bfloat16, both factors are pairs of elements, and the two products of a pair are added.
    """
    paired = dtype is DType.bfloat16
    lanes = sums[0].type.count
    v = k.load_pairs(vector) if paired else k.load(vector, dtype, 64, lanes)

    def add_product(offset: int, acc: Any) -> Any:
        place = k.offset(inputs, offset, dtype)
        if paired:
            return k.dot(k.broadcast_pair(place), v, acc)
        return k.multiply_add(k.broadcast(place, dtype, lanes), v, acc)

    return [add_product(offset, acc) for offset, acc in zip(offsets, sums, strict=True)]
