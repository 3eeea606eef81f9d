"""Register-tiled multiply-accumulate: the inner loop of every contraction, and how large its tile is.

    for c in channels: for p in pixels of the tile:  acc[p] += broadcast(x[p][c]) · w[c][0:16]

In bfloat16 c counts pairs of channels: a broadcast of 32 bits is two of them, ``w[c]`` 16 pairs.

One vector of 16 output channels per pixel stays in registers; each weight vector is loaded once for all pixels, each
input element is broadcast from memory inside the multiply-add.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from striate.codegen.kernel import LANES, Kernel
from striate.dtypes import DType

if TYPE_CHECKING:
    from striate.codegen.target import Target

LATENCY = 8
"""Multiply-adds that must be in flight to keep two units busy: 2 per cycle times 4 cycles."""


def registers_per_vector(target: Target, dtype: DType) -> int:
    """Hardware registers that 16 elements take."""
    return max(1, 16 * dtype.numpy.itemsize // (4 * target.lanes))


def most_accumulators(target: Target, dtype: DType, other: int = 2) -> int:
    """The number of accumulators of 16 elements that fit in registers in addition to ``other`` vectors of 16."""
    each = registers_per_vector(target, dtype)
    spare = 2 if target.vector_registers >= 32 else 1
    return max(1, (target.vector_registers - spare) // each - other + (1 if each == 1 else 0))


def tile_shape(target: Target, dtype: DType, height: int, width: int, largest: int) -> tuple[int, int]:
    """Rows and columns of the pixel tile: the cheapest cover of a map, remainders counted.

    A tile of up to ``largest`` pixels costs as many steps as it has pixels, at least ``LATENCY``, and one more for the
    weight vector.
    """
    most = min(largest, most_accumulators(target, dtype, 1 if registers_per_vector(target, dtype) > 1 else 2))
    each = registers_per_vector(target, dtype)

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
    """sums[p] += Σ_c inputs[offsets[p] + c] · weights[c][0:16]; operands are loaded where they are used.

    bfloat16 takes an even number of channels, two at a time, with weights as [c / 2][16][2].
    """
    paired = dtype is DType.bfloat16
    for c in range(0, channels, 2 if paired else 1):
        where = k.offset(weights, c * LANES, dtype)
        w = k.load_pairs(where) if paired else k.load(where, dtype, 64)

        def add_product(offset: int, acc: Any, w: Any = w, c: int = c) -> Any:
            place = k.offset(inputs, offset + c, dtype)
            return k.dot(k.broadcast_pair(place), w, acc) if paired else k.fma(k.broadcast(place, dtype), w, acc)

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
    """sums[p][lane] += Σ_c x_p[lane of table[c]] · weights[c][lane], where x_p are the blocks from inputs[offsets[p]]
    on, ``apart`` elements from one block to the next.

    bfloat16 inputs are widened; the weights have the dtype of the sums.
    """
    for c, row in enumerate(table):
        factor = k.load(k.offset(weights, c * LANES, dtype.computed), dtype.computed, 64)
        # Each channel reads the same vectors again. LLVM would keep them in registers, of which there are too few.
        here = k.offset(inputs, k.imul(k.hidden_zero, c), dtype) if c else inputs
        sums = [
            k.fma(lanes_of(k, dtype, k.offset(here, offset, dtype), row, apart), factor, acc)
            for offset, acc in zip(offsets, sums, strict=True)
        ]
    return sums


def lanes_of(k: Kernel, dtype: DType, pixel: Any, row: Sequence[tuple[int, int] | None], apart: int) -> Any:
    """The vector whose lanes come from the blocks of one pixel as ``row`` says."""
    blocks = sorted({source[0] for source in row if source})
    vectors = {number: k.load(k.offset(pixel, number * apart, dtype), dtype, 64) for number in blocks}
    return k.permuted(vectors, row)


def sum_of_outer_products(
    k: Kernel, dtype: DType, sums: list[Any], vector: Any, inputs: Any, offsets: Sequence[int]
) -> list[Any]:
    """sums[j] += inputs[offsets[j]] · vector[0:16]; in bfloat16 both are pairs, whose two products are added."""
    paired = dtype is DType.bfloat16
    v = k.load_pairs(vector) if paired else k.load(vector, dtype, 64)

    def add_product(offset: int, acc: Any) -> Any:
        place = k.offset(inputs, offset, dtype)
        return k.dot(k.broadcast_pair(place), v, acc) if paired else k.fma(k.broadcast(place, dtype), v, acc)

    return [add_product(offset, acc) for offset, acc in zip(offsets, sums, strict=True)]
