"""Winograd convolution with many channels, whose transformed filters do not fit into a core's cache.

The transformed 3×3 filters of 512 channels take 38 MB, four times as much as the filters themselves; in every training
step, they would be written to memory and read back. So here a chunk, the unit of work of a thread, is one output block:
it transforms the filters of this block, and multiplies them by all tiles of all samples. A separate launch before has
transformed the tiles.
"""

from __future__ import annotations

from dataclasses import dataclass

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import LANES, Index, Pointer, Vector
from striate.codegen.launch import KernelSpec
from striate.codegen.region_writer import RegionWriter
from striate.ops.kernels.winograd.convolution import TileConvolution
from striate.ops.kernels.winograd.packing import WinogradPack


@dataclass(frozen=True)
class WinogradInput(KernelSpec):
    """The kernel that transforms all input tiles, V = Bᵀ d B, for ``WideWinogradConvolution``.

    d is an input tile, and a position is an entry of a transformed tile. ``conv`` describes the convolution: its tiles,
    batches and layouts. A chunk, the unit of work of a thread, is a group of samples and a block of 16 input channels.
    Operands: x, and V as [sample group][batch of tiles][position][plane][input block][tile][16].
    """

    conv: TileConvolution

    @property
    def chunks(self) -> tuple[int, int]:
        """The number of chunks as a pair (per, group).

        A chunk is the unit of work of a thread. There are ``per`` chunks in all if group is 0, else ``per`` for every
        ``group`` samples, and as many for an incomplete last group.
        """
        per, group = self.conv.region.domain.groups
        return per * self.conv.source.blocks, group

    @property
    def per_group(self) -> int:
        """The number of elements of V, the transformed input, for one group of samples."""
        return self.conv.batches * self.conv.per_batch

    @property
    def buffer(self) -> tuple[int, int, int]:
        """The size of V, the transformed input, as (fixed, per_group, group).

        These are the fields of a ``Buffer``: ``fixed`` bytes, plus ``per_group`` bytes for every ``group`` samples.
        """
        per, group = self.conv.region.domain.groups
        size = per * self.per_group * self.conv.operands.numpy.itemsize
        return (0, size, group) if group else (size, 0, 1)

    def write(self, k: Kernel) -> None:
        c = self.conv
        number, block = k.idiv(k.chunk, c.source.blocks), k.imod(k.chunk, c.source.blocks)
        first, tiles = c.tiles_of(k, number)
        own = k.offset(k.operand(1), k.imul(number, self.per_group), c.operands)
        with k.loop(0, tiles) as tile:
            batch = k.offset(own, k.imul(k.idiv(tile.index, c.together), c.per_batch), c.operands)
            place = k.imod(tile.index, c.together)
            c.transform(k, batch, first, tile.index, place, (block, k.iadd(block, 1)))


@dataclass(frozen=True)
class WideWinogradConvolution(TileConvolution):
    """The kernel of a Winograd convolution with many channels, which also transforms the filters.

        U = G g Gᵀ;  for some sample groups: for position: for batch of tiles: M = V · U;  then Y = Aᵀ M A

    g are the filters, V the input tiles after their transform, and Y the output tiles; a position is an entry of a
    transformed tile. A chunk, the unit of work of a thread, is one block of 16 output channels. The filters of a
    position are read once for every ``groups`` groups of samples. The products M are in the thread's scratch memory. U
    is in scratch memory too. If the weights are constant, they are ``packed`` instead: U is computed only once, and is
    an operand. ``filters`` is the ``WinogradPack`` that describes U. Operands: V, the weights in NumPy's order or U,
    then those of ``region``, the fused elementwise work.
    """

    filters: WinogradPack
    packed: bool
    groups: int  # sample groups that the filters of a position serve before those of the next are read

    @property
    def kept(self) -> int:
        """The number of batches of tiles whose products M are in scratch memory at the same time."""
        return self.groups * self.batches

    @property
    def chunks(self) -> tuple[int, int]:
        """The number of chunks as a pair (number, 0): one chunk for each block of output channels.

        A chunk is the unit of work of a thread; 0 means that the number does not depend on the number of samples.
        """
        return self.region.domain.blocks, 0

    @property
    def scratch_bytes(self) -> int:
        """The number of bytes of scratch memory for each thread."""
        u = 0 if self.packed else self.filters.per_block * self.operands.numpy.itemsize
        return self.kept * self.product_bytes + u

    def write(self, k: Kernel) -> None:
        block = k.chunk
        per, group = self.region.domain.groups
        total = k.imul(per, k.idiv(k.iadd(k.n, group - 1), group)) if group else per
        if self.packed:
            u = k.offset(k.operand(1), k.imul(block, self.filters.per_block), self.operands)
        else:
            u = k.offset(k.scratch, self.kept * self.form.positions * self.per_product, self.sums)
            self.filters.transform(k, k.operand(1), u, block, (0, self.filters.summed))
        writer = RegionWriter(k, self.region, 2)
        with k.loop(0, total, self.groups) as some:
            stop = k.imin(k.iadd(some.index, self.groups), total)
            self._multiply(k, u, some.index, k.imul(k.isub(stop, some.index), self.batches))
            with k.loop(some.index, stop) as number:
                own = self._products(k, k.imul(k.isub(number.index, some.index), self.batches))
                first, tiles = self.tiles_of(k, number.index)
                writer.begin_chunk()
                with k.loop(0, tiles) as tile:
                    batch, place = k.idiv(tile.index, self.together), k.imod(tile.index, self.together)
                    where = k.iadd(k.imul(batch, self.form.positions * self.per_product), k.imul(place, LANES))
                    self.finish(k, writer, block, first, tile.index, k.offset(own, where, self.sums))
                writer.end_chunk(k.iadd(k.imul(number.index, self.region.domain.blocks), block))
                self.close(k, writer, number.index, block)

    def _products(self, k: Kernel, batch: Index) -> Vector:
        """Emit the address of M, the products, of a batch of tiles in scratch memory."""
        return k.offset(k.scratch, k.imul(batch, self.form.positions * self.per_product), self.sums)

    def _multiply(self, k: Kernel, u: Pointer, first_group: Index, batches: Index) -> None:
        """Emit the products of several batches of tiles for the output block of this chunk.

        M[batch][position][tile][16] = Σ_c V[batch][position][tile][c] · U[position][c][16]; ``u`` is the address of U,
        and ``first_group`` the first group of samples.
        """
        v = k.offset(k.operand(0), k.imul(first_group, self.batches * self.per_batch), self.operands)
        with k.loop(0, self.form.positions) as position:
            filters = k.offset(u, k.imul(self.filter_of(k, position.index), self.per_filter), self.operands)
            with k.loop(0, batches) as batch:
                where = k.iadd(k.imul(batch.index, self.per_batch), k.imul(position.index, self.per_position))
                out = k.offset(self._products(k, batch.index), k.imul(position.index, self.per_product), self.sums)
                self.multiply(k, k.offset(v, where, self.operands), filters, out)
