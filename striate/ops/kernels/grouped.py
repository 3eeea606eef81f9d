"""Grouped convolutions in direct form: which input channels the 16 output channels of a block read.

    banded      A block of output channels reads a few consecutive blocks of input channels; the packed weights between
                different groups are 0. This suits groups of many channels. Groups of whole blocks waste no products.
    lanewise    Each lane multiplies an input channel of its own group, so a product of vectors is 16 useful products.
                If a group has several channels, the input vector is permuted once for each of them. This suits
                depthwise convolutions and groups of few channels.

"Inputs" and "outputs" are those of the kernel: in the input gradient, the inputs are dy and the outputs dx. If the
inputs are stored in NumPy's order, the convolution is computed as if all outputs read all inputs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import LANES, Index
from striate.codegen.storage import BLOCK
from striate.ops.kernels.geometry import Geometry

Source = tuple[int, int]
"""The place of an input channel: (input block, counted from the first that the output block reads; lane)."""

Row = tuple[Source | None, ...]
"""For each lane of an output block, the place of its input channel; None in lanes that only pad the last block."""

Table = tuple[Row, ...]
"""The places of the input channels of an output block: one ``Row`` for each input channel of a group."""

MOST_VARIANTS = 4
"""The largest number of different tables for which a kernel is written: each one needs code of its own."""

MOST_ROWS = 24
"""The largest total number of rows of these tables."""


@dataclass(frozen=True)
class Reading:
    """The input channels that an output block (16 channels) sums over, for the function that writes its code.

    If ``table`` is None, they are ``whole`` input blocks of 16 channels and, if ``partial`` is 1, one more block of
    ``rest`` channels. Otherwise, the table says from which input block and lane each lane reads.
    """

    whole: Index = 0
    partial: Index = 0
    rest: int = 0
    table: Table | None = None


Body = Callable[[Reading], None]
"""A function that writes the code of the output blocks that read their inputs in the given way."""


@dataclass(frozen=True)
class Groups:
    """Base class of the two ways to compute a grouped convolution, ``Banded`` and ``Lanewise`` (abstract).

    There are ``count`` groups, and in each of them ``outputs`` output channels sum over ``inputs`` input channels.
    """

    count: int
    inputs: int
    outputs: int

    @property
    def input_blocks(self) -> int:
        """The number of blocks of 16 input channels, over all groups."""
        return -(-self.count * self.inputs // BLOCK)

    @property
    def output_blocks(self) -> int:
        """The number of blocks of 16 output channels, over all groups."""
        return -(-self.count * self.outputs // BLOCK)

    def needed(self, block: int) -> tuple[int, int]:
        """Return the numbers of the first and the last input block (inclusive) that an output block needs.

        A block is 16 channels; ``block`` is the number of the output block.
        """
        last = min((block + 1) * BLOCK, self.count * self.outputs) - 1
        low = block * BLOCK // self.outputs * self.inputs
        return low // BLOCK, ((last // self.outputs + 1) * self.inputs - 1) // BLOCK


@dataclass(frozen=True)
class Banded(Groups):
    """A grouped convolution in which every output block reads ``span`` consecutive blocks of 16 input channels.

    The weights between channels of different groups are 0.
    """

    @property
    def span(self) -> int:
        """The number of blocks of 16 input channels that each block of 16 output channels reads."""
        return _span(self)

    def first(self, k: Kernel, block: Index) -> Index:
        """Emit the number of the first input block that output block number ``block`` reads; a block is 16 channels."""
        first = k.idiv(k.imul(k.idiv(k.imul(block, BLOCK), self.outputs), self.inputs), BLOCK)
        return k.imin(first, self.input_blocks - self.span)

    @property
    def cost(self) -> int:
        """The number of vector multiply-adds for one tap of 16 output channels."""
        return self.span * BLOCK

    @property
    def rest(self) -> int:
        """The number of channels in the last block of 16 input channels if it is not full; else 0."""
        return self.count * self.inputs % BLOCK

    def each(self, k: Kernel, block: Index, body: Body) -> None:
        """Write the code of an output block: call ``body`` once, with the ``Reading`` (the inputs) of the block.

        An output block is 16 channels; ``block`` is its number at run time.
        """
        whole = self.count * self.inputs // BLOCK
        count = k.imin(self.span, k.isub(whole, self.first(k, block))) if self.rest else self.span
        body(Reading(count, k.isub(self.span, count), self.rest))

    @property
    def shared(self) -> int:
        """The number of output blocks that read the same input blocks.

        A block is 16 channels. The result is 1 unless groups consist of whole blocks.
        """
        return self.outputs // BLOCK if self.outputs % BLOCK == 0 and self.inputs % BLOCK == 0 else 1


@functools.cache
def _span(groups: Banded) -> int:
    return max(last - first + 1 for first, last in map(groups.needed, range(groups.output_blocks)))


@dataclass(frozen=True)
class Lanewise(Groups):
    """A grouped convolution in which every lane reads the input channels of its own group, which a table locates.

    A table has, for each input channel of a group and each lane, the input block and lane to read; a block is 16
    channels. Output blocks that are ``period`` apart have the same table, except the last block, which may have fewer
    channels.
    """

    def first(self, k: Kernel, block: Index) -> Index:
        """Emit the number of the first input block that output block number ``block`` reads; a block is 16 channels.

        The output block's table (see ``tables``) counts input blocks from there.
        """
        return k.idiv(k.imul(k.idiv(k.imul(block, BLOCK), self.outputs), self.inputs), BLOCK)

    @property
    def tables(self) -> tuple[Table, ...]:
        """The different tables, which say where each lane of an output block (16 channels) finds its input channels.

        After ``period`` output blocks, the tables repeat, but the last block may have a table of its own. The result is
        empty if there are too many tables.
        """
        return _variants(self).tables

    @property
    def period(self) -> int:
        """The number of output blocks (of 16 channels) after which the tables of input channels repeat."""
        return _variants(self).period

    @property
    def possible(self) -> bool:
        """Whether there are so few different ``tables`` that a kernel can have code for each of them."""
        return 0 < len(self.tables) <= MOST_VARIANTS and len(self.tables) * self.inputs <= MOST_ROWS

    @property
    def cost(self) -> int:
        """The largest number of vector multiply-adds and permutations for one tap of 16 output channels."""
        return max(sum(1 + _permutations(row) for row in table) for table in self.tables)

    @property
    def registers(self) -> int:
        """The number of vector registers that permuting the inputs of one product takes; 0 without a permutation."""
        rows = [row for table in self.tables for row in table]
        return max(0 if _permutations(row) == 0 else 1 + len({one[0] for one in row if one}) for row in rows)

    def each(self, k: Kernel, block: Index, body: Body) -> None:
        """Write the code of all output blocks: call ``body`` with the ``Reading`` (the inputs) of every table.

        An output block is 16 channels. The code of a call runs only for the output blocks that use the table; ``block``
        is the number of the output block at run time.
        """
        found = _variants(self)
        for number, table in enumerate(found.tables):
            special = number == found.period
            chosen: Any = True
            if special:
                chosen = k.compare(block, "==", self.output_blocks - 1)
            elif len(found.tables) > 1:
                chosen = k.compare(k.imod(block, found.period), "==", number)
                if len(found.tables) > found.period:
                    chosen = k.both(chosen, k.compare(block, "!=", self.output_blocks - 1))
            with k.when(chosen):
                body(Reading(table=table))


@dataclass(frozen=True)
class _Variants:
    tables: tuple[Table, ...]
    period: int


def _table(groups: Lanewise, block: int) -> Table:
    """Return the table of an output block: where each lane finds the input channels of its group."""
    base = groups.needed(block)[0]

    def source(lane: int, channel: int) -> Source | None:
        output = block * BLOCK + lane
        if output >= groups.count * groups.outputs:
            return None
        where = output // groups.outputs * groups.inputs + channel
        return where // BLOCK - base, where % BLOCK

    return tuple(tuple(source(lane, channel) for lane in range(LANES)) for channel in range(groups.inputs))


@functools.cache
def _variants(groups: Lanewise) -> _Variants:
    """Return the different tables of all output blocks and their period; no tables if there are too many."""
    none = _Variants((), 0)
    if groups.inputs > BLOCK:
        return none
    count = groups.output_blocks
    whole, last = [_table(groups, block) for block in range(count - 1)], _table(groups, count - 1)
    for period in range(1, MOST_VARIANTS + 1):
        if all(table == whole[block % period] for block, table in enumerate(whole)):
            break
    else:
        return none
    if count <= period:
        return _Variants((*whole, last), count)
    same = whole[(count - 1) % period]
    fits = all(
        b is None or a == b for one, other in zip(same, last, strict=True) for a, b in zip(one, other, strict=True)
    )
    reach = max(source[0] for row in same for source in row if source)
    fits = fits and groups.needed(count - 1)[0] + reach < groups.input_blocks
    return _Variants(tuple(whole[:period]) if fits else (*whole[:period], last), period)


def _permutations(row: Row) -> int:
    """Return how many permutations bring the input channels of all 16 lanes into one vector; 0 if none is needed."""
    blocks = {source[0] for source in row if source}
    in_place = all(source is None or source[1] == lane for lane, source in enumerate(row))
    return 0 if in_place and len(blocks) == 1 else max(1, len(blocks) - 1)


def grouping(g: Geometry, transposed: bool) -> Banded | Lanewise | None:
    """Return how a block of 16 output channels reads the inputs; None if there is only one group.

    ``g`` has the sizes of the convolution. The outputs are those of the forward pass, y, or if ``transposed``, those of
    the input gradient, dx. The result is the cheaper one of ``Lanewise``, in which each lane reads its own group, and
    ``Banded``, in which all lanes read the same input blocks.
    """
    if g.groups == 1:
        return None
    depth, filters = g.depth, g.filters // g.groups
    sizes = (g.groups, filters, depth) if transposed else (g.groups, depth, filters)
    lanewise, banded = Lanewise(*sizes), Banded(*sizes)
    return lanewise if lanewise.possible and lanewise.cost <= banded.cost else banded
