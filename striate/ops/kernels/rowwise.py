"""The kernels of softmax, and of losses whose targets are class indices.

They make a few passes over all channels of each position. The channels of a position are stored in blocks of 16, one
plane apart; a pass goes over them block by block. Lanes of the last block that are not channels are replaced by neutral
values, which do not change the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from striate.codegen.elementwise import TILE
from striate.codegen.kernel import Kernel
from striate.codegen.lanes import LANES, Index, Pointer, Vector
from striate.codegen.launch import KernelSpec
from striate.codegen.region import Domain
from striate.codegen.region_writer import samples_of
from striate.codegen.storage import Storage
from striate.dtypes import DType

LONG_ROW = 4096
"""Sums over more channels than this are accumulated in float64, because the rounding error grows with their number."""


@dataclass(frozen=True)
class RowKernel(KernelSpec):
    """Base class of kernels that combine the channels of each position (abstract).

    ``domain`` is the iteration space over samples and positions, and ``storage`` the memory layout of the first
    operand, such as the logits. A chunk, the unit of work of a thread, is a group of samples.
    """

    domain: Domain
    storage: Storage

    @property
    def dtype(self) -> DType:
        """The dtype of the first operand."""
        return self.storage.dtype

    def write(self, k: Kernel) -> None:
        first, last = samples_of(k, self.domain, k.chunk)
        depth, height, width = self.storage.sizes
        with k.loop(first, last) as n, k.loop(0, depth) as d, k.loop(0, height) as h, k.loop(0, width) as w:
            line = k.iadd(k.imul(k.iadd(k.imul(d.index, height), h.index), width), w.index)
            self.position(k, Row(k, self.storage, (n.index, d.index, h.index, w.index)), n.index, line)

    def position(self, k: Kernel, row: Row, n: Index, pixel: Index) -> None:
        """Write the code for one position of sample ``n``.

        ``row`` reads the channels of the position, and ``pixel`` is the number of the position within the sample.
        """
        raise NotImplementedError


class Row:
    """Emits loads and stores of the channels of one position, for operands with the memory layout ``storage``.

    ``place`` is the position, (n, d, h, w).
    """

    def __init__(self, k: Kernel, storage: Storage, place: tuple[Index, Index, Index, Index]) -> None:
        self.k, self.storage = k, storage
        n, d, h, w = place
        s = storage.strides
        self._place = (n, d, h, w)
        self.offset = k.iadd(storage.origin, k.imul(n, s[0]), k.imul(d, s[2]), k.imul(h, s[3]), k.imul(w, s[4]))

    def like(self, storage: Storage) -> Row:
        """Return the ``Row`` of the same position for operands with the memory layout ``storage``."""
        return Row(self.k, storage, self._place)

    def pointer(self, operand: int, block: Index) -> Pointer:
        """Emit the address of block number ``block`` of 16 channels in operand number ``operand`` of the kernel."""
        k = self.k
        where = k.iadd(self.offset, k.imul(block, self.storage.strides[1]))
        return k.offset(k.operand(operand), where, self.storage.dtype)

    def load(self, operand: int, block: Index, count: int, otherwise: float = 0.0) -> Vector:
        """Emit the load of block number ``block`` of the channels from operand number ``operand`` of the kernel.

        The block has ``count`` channels; the lanes after them hold ``otherwise``.
        """
        k, dtype = self.k, self.storage.dtype
        x = k.load(self.pointer(operand, block), dtype)
        return x if count == LANES else k.select(k.mask(count), x, k.constant(otherwise, dtype))

    def store(self, operand: int, block: Index, value: Vector) -> None:
        """Emit the store of ``value`` as block number ``block`` of the channels in operand number ``operand``."""
        self.k.store(value, self.pointer(operand, block), self.storage.dtype)

    def element(self, operand: int, channel: Index) -> Vector:
        """Emit the load of channel number ``channel`` from operand number ``operand``; return a vector of one lane."""
        k = self.k
        where = k.iadd(k.imul(k.idiv(channel, LANES), self.storage.strides[1]), k.imod(channel, LANES), self.offset)
        return k.load_scalar(k.offset(k.operand(operand), where, self.storage.dtype), self.storage.dtype)

    def fold(self, start: float, step: Callable[[Vector, Index, int], Vector], dtype: DType | None = None) -> Vector:
        """Emit a loop carry = step(carry, block, count) over all blocks of 16 channels; return the last carry.

        The first carry is a vector of ``start`` in ``dtype``, by default that of ``storage``. ``block`` is the number
        of the block, and ``count`` the number of its channels, 16 except in an incomplete last block.
        """
        k = self.k
        whole, rest = divmod(self.storage.channels, LANES)
        carry = k.constant(start, dtype or self.storage.dtype)
        if whole:
            with k.loop(0, whole, carry=[carry]) as block:
                block.carry = [step(block.carry[0], block.index, LANES)]
            carry = block.result[0]
        return step(carry, whole, rest) if rest else carry

    def total(self, add: Callable[[Vector, Index, int], Vector]) -> Vector:
        """Emit a sum over all channels; return it in every lane.

        ``add(sum, block, count)`` returns ``sum`` plus the terms of one block of ``count`` channels, lane by lane. Sums
        over more than ``LONG_ROW`` channels are accumulated in float64.
        """
        k, dtype = self.k, self.storage.dtype
        if self.storage.channels <= LONG_ROW:
            return k.splat(k.add_lanes(self.fold(0.0, add)))

        def widely(carry: Vector, block: Index, count: int) -> Vector:
            return k.add(carry, k.convert(add(k.constant(0, dtype), block, count), DType.float64))

        return k.splat(k.convert(k.add_lanes(self.fold(0.0, widely, DType.float64)), dtype.computed))

    def each(self, body: Callable[[Index, int], None]) -> None:
        """Emit a loop that runs ``body(block, count)`` for every block of 16 channels of the position.

        ``block`` is the number of the block, and ``count`` the number of its channels, 16 except in an incomplete last
        block.
        """
        k = self.k
        whole, rest = divmod(self.storage.channels, LANES)
        if whole:
            with k.loop(0, whole) as block:
                body(block.index, LANES)
        if rest:
            body(whole, rest)


def log_sum(k: Kernel, row: Row, operand: int) -> tuple[Vector, Vector, Vector]:
    """Emit (max x, Σ e^(x − max), ln Σ e^(x − max)) over the channels of a position, each in every lane.

    x are the channels that ``row`` loads from operand number ``operand``.
    """
    largest = row.fold(-math.inf, lambda m, b, c: k.max(m, row.load(operand, b, c, -math.inf)))
    peak = k.splat(k.fold_lanes(largest, k.max))

    def add(total: Vector, block: Index, count: int) -> Vector:
        return k.add(total, k.exp(k.sub(row.load(operand, block, count, -math.inf), peak)))

    total = row.total(add)
    return peak, total, k.log(total)


@dataclass(frozen=True)
class RowReduction(RowKernel):
    """The kernel of a reduction, such as a sum, over the channels of each position.

    ``reduction`` is an ``ops.reduction.Reduction``. Operands: x, then the outputs of the reduction, each with one
    number for each position.
    """

    reduction: Any

    def position(self, k: Kernel, row: Row, n: Index, pixel: Index) -> None:
        dtype = self.dtype.computed
        whole, rest = divmod(self.storage.channels, LANES)
        tiles = whole // TILE * TILE
        sums = [k.constant(self.reduction.neutral, DType.float64) for _ in range(self.reduction.partials(dtype))]

        def merged(sums: list[Vector], blocks: Sequence[Index], count: int = LANES) -> list[Vector]:
            vectors = [row.load(0, block, count, self.reduction.neutral) for block in blocks]
            return self.reduction.merge(k, sums, self.reduction.partial(k, vectors))

        with k.loop(0, tiles, TILE, carry=sums) as at:
            at.carry = merged(at.carry, [k.iadd(at.index, block) for block in range(TILE)])
        sums = at.result
        for block in range(tiles, whole):
            sums = merged(sums, [block])
        if rest:
            sums = merged(sums, [whole], rest)
        folded = k.fold_lanes_together(sums, lambda a, b: self.reduction.merge(k, a, b))
        count = k.constant(self.storage.channels, DType.float64)
        item = k.iadd(k.imul(n, self.storage.pixels), pixel)
        for number, result in enumerate(self.reduction.finish(k, [k.splat(one) for one in folded], count)):
            k.store_scalar(k.lane(k.convert(result, dtype), 0), k.offset(k.operand(1 + number), item, dtype))


@dataclass(frozen=True)
class SoftmaxRows(RowKernel):
    """The kernel of softmax over the channels or, if ``logarithm``, of log-softmax. Operands: x, y.

    ``result`` is the memory layout of y.
    """

    logarithm: bool
    result: Storage

    def position(self, k: Kernel, row: Row, n: Index, pixel: Index) -> None:
        peak, total, log_total = log_sum(k, row, 0)
        out = row.like(self.result)
        one = k.div(k.constant(1, self.dtype), total)

        def write(block: Index, count: int) -> None:
            shifted = k.sub(row.load(0, block, LANES), peak)
            out.store(1, block, k.sub(shifted, log_total) if self.logarithm else k.mul(k.exp(shifted), one))

        row.each(write)


@dataclass(frozen=True)
class SoftmaxGradientRows(RowKernel):
    """The kernel of the gradient of softmax: dx = y · (dy − Σ y · dy) or, if ``logarithm``, dx = dy − e^y · Σ dy.

    The sums run over the channels. y is the softmax of x or, if ``logarithm``, its log-softmax. ``arriving`` and
    ``result`` are the memory layouts of dy and dx. Operands: y, dy, dx.
    """

    logarithm: bool
    arriving: Storage
    result: Storage

    def position(self, k: Kernel, row: Row, n: Index, pixel: Index) -> None:
        given, out = row.like(self.arriving), row.like(self.result)

        def add(total: Vector, block: Index, count: int) -> Vector:
            dy = given.load(1, block, count)
            return k.add(total, dy if self.logarithm else k.mul(row.load(0, block, count), dy))

        total = row.total(add)

        def write(block: Index, count: int) -> None:
            y, dy = row.load(0, block, LANES), given.load(1, block, LANES)
            if self.logarithm:
                out.store(2, block, k.sub(dy, k.mul(k.exp(y), total)))
            else:
                out.store(2, block, k.mul(y, k.sub(dy, total)))

        row.each(write)


@dataclass(frozen=True)
class LabelRows(RowKernel):
    """Base class of the kernels of losses whose targets are class indices (abstract).

    The first operands are the logits, the labels and, if ``weighted``, the class weights. ``smoothing`` is the label
    smoothing ε, and ``ignored`` is the label of positions that do not count.
    """

    smoothing: float
    weighted: bool
    ignored: int

    @property
    def given(self) -> int:
        """The number of operands that are logits, labels or class weights: 3 if ``weighted``, else 2."""
        return 3 if self.weighted else 2

    def label(self, k: Kernel, n: Index, pixel: Index) -> tuple[Index, Index, Any]:
        """Emit code that reads the label of one position of sample n; return (label, item, left out).

        ``pixel`` is the number of the position within the sample, and ``item`` is its number over all samples; ``left
        out`` is the condition that the label is the ignored one. The kernel clamps labels to the classes, so that no
        label can cause a read outside the array.
        """
        item = k.iadd(k.imul(n, self.storage.pixels), pixel)
        label = k.load_scalar(k.offset(k.operand(1), item, DType.int64), DType.int64)
        left_out = k.compare(label, "==", self.ignored)
        return k.imin(k.imax(label, 0), self.storage.channels - 1), item, left_out

    def store_losses(self, k: Kernel, loss: Vector, share: Vector, item: Index, left_out: Any) -> None:
        """Emit the stores of the loss and of the share of a position; both are 0 where ``left_out`` is true.

        The share is the weight of the position in the mean of the losses. ``item`` is the number of the position over
        all samples, and ``left_out`` the condition that its label is the ignored one, both from ``label``.
        """
        zero = k.constant(0, self.dtype)
        for number, value in enumerate((loss, share)):
            counted = k.choose(left_out, zero, value)
            k.store_scalar(k.lane(counted, 0), k.offset(k.operand(self.given + number), item, self.dtype))

    def weight(self, k: Kernel, label: Index) -> Vector:
        """Emit the class weight w[label] in every lane; 1 without weights."""
        if not self.weighted:
            return k.constant(1, self.dtype)
        return k.broadcast(k.offset(k.operand(2), label, self.dtype), self.dtype)

    def weights(self, k: Kernel, block: Index, count: int) -> Vector:
        """Emit the class weights of a block of 16 classes (1 without weights), one in each lane.

        Only the first ``count`` lanes are classes; the others are 0.
        """
        if self.weighted:
            return k.load_masked(k.offset(k.operand(2), k.imul(block, LANES), self.dtype), self.dtype, count)
        one = k.constant(1, self.dtype)
        return one if count == LANES else k.select(k.mask(count), one, k.constant(0, self.dtype))

    def target_sum(self, k: Kernel, row: Row, label: Index) -> Vector:
        """Emit the sum of the smoothed, weighted target t in every lane: Σ_j t[j] = (1 − ε) · w[label] + ε / C · Σ w.

        ε is the label smoothing, w are the class weights (1 without weights), and C is the number of classes. ``row``
        loops over the blocks of channels, which are the classes, and ``label`` is the label of the position.
        """
        chosen = k.mul(self.weight(k, label), k.constant(1 - self.smoothing, self.dtype))
        if not self.smoothing:
            return chosen
        total = row.total(lambda s, b, c: k.add(s, self.weights(k, b, c)))
        return k.multiply_add(total, k.constant(self.smoothing / self.storage.channels, self.dtype), chosen)


@dataclass(frozen=True)
class CrossEntropyRows(LabelRows):
    """The kernel of cross entropy: loss = Σ_j t[j] · ln Σ_c e^(x[c] − max x) − Σ_c t[c] · (x[c] − max x).

    x are the logits of a position, and t is its smoothed target, multiplied by the class weights. A share is the weight
    of a position in the mean of the losses. Operands: logits, labels, class weights if ``weighted``, losses, shares.
    """

    def position(self, k: Kernel, row: Row, n: Index, pixel: Index) -> None:
        label, item, left_out = self.label(k, n, pixel)
        peak, _, log_total = log_sum(k, row, 0)
        own = k.mul(self.weight(k, label), k.constant(1 - self.smoothing, self.dtype))
        explained = k.mul(own, k.sub(k.splat(row.element(0, label)), peak))
        if self.smoothing:
            share = k.constant(self.smoothing / self.storage.channels, self.dtype)

            def add(total: Vector, block: Index, count: int) -> Vector:
                centred = k.sub(row.load(0, block, count), peak)
                return k.multiply_add(k.mul(self.weights(k, block, count), share), centred, total)

            explained = k.add(explained, row.total(add))
        loss = k.sub(k.mul(self.target_sum(k, row, label), log_total), explained)
        self.store_losses(k, loss, self.weight(k, label), item, left_out)


@dataclass(frozen=True)
class LikelihoodRows(LabelRows):
    """The kernel of the negative log likelihood: loss = −w[label] · x[label].

    x are the log-probabilities of a position, and w the class weights (1 without weights). A share is the weight of a
    position in the mean of the losses. Operands: x, labels, class weights if ``weighted``, losses, shares.
    """

    def position(self, k: Kernel, row: Row, n: Index, pixel: Index) -> None:
        label, item, left_out = self.label(k, n, pixel)
        weight = self.weight(k, label)
        self.store_losses(k, k.neg(k.mul(weight, k.splat(row.element(0, label)))), weight, item, left_out)


@dataclass(frozen=True)
class OneHotRows(LabelRows):
    """The kernel of the operation ``OneHot``: y[c] = a where c = label, else 0.

    ``a`` has one number for each position. If the label is the ignored one, y is 0 in all channels. ``result`` is the
    memory layout of y. Operands: x (not read; it only gives the shape of y), labels, a, y.
    """

    result: Storage

    def position(self, k: Kernel, row: Row, n: Index, pixel: Index) -> None:
        label, item, left_out = self.label(k, n, pixel)
        zero, out = k.constant(0, self.dtype), row.like(self.result)
        a = k.broadcast(k.offset(k.operand(self.given), item, self.dtype), self.dtype)
        value = k.choose(left_out, zero, a)

        def write(block: Index, count: int) -> None:
            out.store(self.given + 1, block, k.select(k.lane_is(k.isub(label, k.imul(block, LANES))), value, zero))

        row.each(write)


@dataclass(frozen=True)
class CrossEntropyGradientRows(LabelRows):
    """The kernel of the gradient of cross entropy: dx[c] = dloss · (softmax(x)[c] · Σ_j t[j] − t[c]).

    x are the logits of a position, t is its smoothed target, multiplied by the class weights, and dloss the gradient
    with respect to the loss of a position. ``result`` is the memory layout of dx. Operands: logits x, labels, class
    weights if ``weighted``, dloss for each position, dx.
    """

    result: Storage

    def position(self, k: Kernel, row: Row, n: Index, pixel: Index) -> None:
        label, item, left_out = self.label(k, n, pixel)
        peak, total, _ = log_sum(k, row, 0)
        dloss = k.broadcast(k.offset(k.operand(self.given), item, self.dtype), self.dtype)
        dloss = k.choose(left_out, k.constant(0, self.dtype), dloss)
        scale = k.div(k.mul(self.target_sum(k, row, label), dloss), total)
        own = k.mul(k.mul(self.weight(k, label), k.constant(1 - self.smoothing, self.dtype)), dloss)
        share = k.mul(dloss, k.constant(self.smoothing / self.storage.channels, self.dtype))
        zero = k.constant(0, self.dtype)
        out = row.like(self.result)

        def write(block: Index, count: int) -> None:
            hot = k.select(k.lane_is(k.isub(label, k.imul(block, LANES))), own, zero)
            if self.smoothing:
                hot = k.multiply_add(self.weights(k, block, count), share, hot)
            power = k.exp(k.sub(row.load(0, block, LANES), peak))
            out.store(self.given + 1, block, k.sub(k.mul(power, scale), hot))

        row.each(write)
