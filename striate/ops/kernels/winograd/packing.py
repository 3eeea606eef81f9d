"""The kernel that transforms the filters of a Winograd convolution, and packs them in the order of the products."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import LANES, Index, Pointer, Vector
from striate.codegen.launch import KernelSpec
from striate.codegen.storage import BLOCK
from striate.dtypes import DType
from striate.ops.kernels.winograd.tiles import PADDING, Tiling
from striate.ops.kernels.winograd.transforms import apply


@dataclass(frozen=True)
class WinogradPack(KernelSpec):
    """The kernel that transforms and packs the filters: U = G g Gᵀ for each pair of channels and each plane.

    g is the filter of one input and one output channel. U is [output block][position][plane][input channel][16]. A
    position is an entry of the transformed filter, and the 16 lanes are output channels. In bfloat16, pairs of channels
    are interleaved: […][plane][input pair][16][2]. ``filters`` is the number O of output channels, and ``channels`` the
    number C of input channels. ``form`` has the sizes of the tiles, and ``operands`` is the dtype of U. With
    ``transposed``, it packs for the input gradient: lanes are input channels, and the filter is rotated by 180°. A
    chunk, the unit of work of a thread, is one output block and one block of input channels. Operands: weights (O, C,
    planes, taps, taps) in NumPy's order, U.
    """

    dtype: DType
    operands: DType
    filters: int
    channels: int
    form: Tiling
    transposed: bool

    @property
    def summed(self) -> int:
        """The number of channels that the convolution sums over: C, or O with ``transposed``."""
        return self.filters if self.transposed else self.channels

    @property
    def per_position(self) -> int:
        """The number of packed elements of one position (entry of the transformed filter) of 16 output channels.

        The number includes padding, so that positions do not share cache sets.
        """
        return self.form.planes * self.summed * LANES + PADDING * self.together

    @property
    def together(self) -> int:
        """The number of input channels that are interleaved: 2 in bfloat16, else 1."""
        return 2 if self.operands is DType.bfloat16 else 1

    @property
    def per_block(self) -> int:
        """The number of packed elements of one block of 16 output channels."""
        return self.form.entries * self.per_position

    @property
    def chunks(self) -> int:
        """The number of chunks, the units of work of a thread.

        It is the number of blocks of 16 output channels times that of blocks of 16 input channels.
        """
        outputs = self.channels if self.transposed else self.filters
        return -(-outputs // LANES) * -(-self.summed // BLOCK)

    def write(self, k: Kernel) -> None:
        several = -(-self.summed // BLOCK)
        out, first = k.idiv(k.chunk, several), k.imul(k.imod(k.chunk, several), BLOCK)
        target = k.offset(k.operand(1), k.imul(out, self.per_block), self.operands)
        self.transform(k, k.operand(0), target, out, (first, k.imin(k.iadd(first, BLOCK), self.summed)))

    def transform(
        self, k: Kernel, weights: Pointer, target: Pointer, out: Index, channels: tuple[Index, Index]
    ) -> None:
        """Emit the transformed filters U = G g Gᵀ of a block of 16 output channels for a range of input channels.

        ``out`` is the number of the output block, and ``channels`` is (first, one past the last input channel).
        ``weights`` is the address of the filters g in NumPy's order, and ``target`` that of the block's U.
        """
        with k.loop(0, self.form.planes) as plane, k.loop(*channels, self.together) as into:
            points = [
                self._points(k, weights, out, k.iadd(into.index, channel), plane.index)
                for channel in range(self.together)
            ]
            summed = k.iadd(k.imul(plane.index, self.summed), into.index)
            first = k.offset(target, k.imul(summed, LANES), self.operands)
            for position, value in enumerate(points[0]):
                place = k.offset(first, position * self.per_position, self.operands)
                if self.together == 2:
                    k.store_pairs(value, next(points[1]), place)
                else:
                    k.store(value, place, self.operands, 64)

    def _points(self, k: Kernel, weights: Pointer, out: Index, into: Index, plane: Index) -> Iterator[Vector]:
        """Emit the transformed filters of one input and 16 output channels; yield a vector for each position.

        ``plane`` is the number of the tap along the depth, counted from the last one with ``transposed``.
        """
        dtype, form = self.dtype, self.form
        heights, widths = range(form.height.taps), range(form.width.taps)
        outputs = self.channels if self.transposed else self.filters
        taps_of_pair = form.planes * form.taps
        step = taps_of_pair if self.transposed else self.channels * taps_of_pair
        other = self.channels * taps_of_pair if self.transposed else taps_of_pair
        first = k.imul(k.isub(form.planes - 1, plane) if self.transposed else plane, form.taps)
        count = k.imin(LANES, k.isub(outputs, k.imul(out, LANES))) if outputs % LANES else LANES
        corner = k.offset(weights, k.iadd(k.imul(k.imul(out, LANES), step), k.imul(into, other), first), dtype)
        taps = [
            [k.load_strided(k.offset(corner, h * len(widths) + w, dtype), dtype, step, count) for w in widths]
            for h in heights
        ]  # fmt: skip
        if self.transposed:
            taps = [row[::-1] for row in taps[::-1]]
        columns = [apply(k, form.height.transforms.filter, [taps[h][w] for h in heights]) for w in widths]
        for i in range(form.height.filters):
            yield from apply(k, form.width.transforms.filter, [columns[w][i] for w in widths])
