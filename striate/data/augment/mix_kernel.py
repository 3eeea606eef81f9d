"""The kernel that mixes samples of a batch with their partners, and its NumPy reference."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import LANES, Index
from striate.codegen.launch import KernelSpec
from striate.data.augment.specification import AXES, F32
from striate.dtypes import DType

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class MixKernel(KernelSpec):
    """x ← λ x + (1 − λ) x′ outside of a box, x ← x′ inside of it; computed in float32, rounded once for uint8.

    x is a sample of the batch, x′ its partner, and λ the share of x. ``size`` is the shape (C, D, H, W) of a sample,
    and ``dtype`` is uint8 or float32. M of the B samples in the batch are mixed. Operands: the batch (B, …); the
    partners (M, …); the index of each mixed sample in the batch, int64 (M,); its box, int32 (M, 6), as start D, H, W
    and stop D, H, W; λ of each mixed sample, float32 (M,).
    """

    size: tuple[int, int, int, int]
    dtype: DType

    def write(self, k: Kernel) -> None:
        volume = math.prod(self.size)
        place = k.load_scalar(k.offset(k.operand(2), k.chunk, DType.int64), DType.int64)
        own = k.offset(k.operand(0), k.imul(place, volume), self.dtype)
        other = k.offset(k.operand(1), k.imul(k.chunk, volume), self.dtype)
        share = k.load_scalar(k.offset(k.operand(4), k.chunk, F32), F32)
        one = k.constant(1, F32)
        with k.when(k.compared(share, "<", k.lane(one, 0))):
            own_share = k.splat(share)
            other_share = k.sub(one, own_share)

            def mixed(i: Index, count: Index) -> None:
                a, b = (
                    k.convert(k.load_masked(k.offset(one, i, self.dtype), self.dtype, count), F32)
                    for one in (own, other)
                )
                y = k.add(k.mul(own_share, a), k.mul(other_share, b))
                y = y if self.dtype is F32 else k.convert(k.round(y), self.dtype)
                k.store_masked(y, k.offset(own, i, self.dtype), self.dtype, count)

            whole = volume // LANES * LANES
            if whole:
                with k.loop(0, whole, LANES) as loop:
                    mixed(loop.index, LANES)
            if whole < volume:
                mixed(whole, volume - whole)
        self._copy_box(k, own, other)

    def _copy_box(self, k: Kernel, own: Any, other: Any) -> None:
        bounds = k.offset(k.operand(3), k.imul(k.chunk, 2 * AXES), DType.int32)
        start, stop = (
            [
                k.convert(k.load_scalar(k.offset(bounds, AXES * part + axis, DType.int32), DType.int32), DType.int64)
                for axis in range(AXES)
            ]
            for part in (0, 1)
        )
        channels, depth, height, width = self.size
        with (
            k.loop(0, channels) as planes,
            k.loop(start[0], stop[0]) as depths,
            k.loop(start[1], stop[1]) as rows,
        ):
            plane = k.iadd(k.imul(planes.index, depth), depths.index)
            row = k.imul(k.iadd(k.imul(plane, height), rows.index), width)
            count = k.isub(stop[2], start[2])
            full = k.imul(k.idiv(count, LANES), LANES)
            with k.loop(start[2], k.iadd(start[2], full), LANES) as loop:
                place = k.iadd(row, loop.index)
                found = k.load(k.offset(other, place, self.dtype), self.dtype)
                k.store(found, k.offset(own, place, self.dtype), self.dtype)
            with k.loop(k.iadd(start[2], full), stop[2]) as loop:
                place = k.iadd(row, loop.index)
                found = k.load_scalar(k.offset(other, place, self.dtype), self.dtype)
                k.store_scalar(found, k.offset(own, place, self.dtype))


def mixed(batch: Array, partners: Array, places: Array, boxes: Array, shares: Array) -> None:
    """Mix samples of ``batch`` (B, C, D, H, W) in place; the NumPy reference of ``MixKernel``.

    The other parameters are the operands of that kernel: ``partners`` (M, C, D, H, W), the indices ``places`` (M,) of
    the mixed samples in the batch, their ``boxes`` (M, 6), and the factors λ as ``shares`` (M,).
    """
    for number, place in enumerate(places):
        own, other, share = batch[place], partners[number], np.float32(shares[number])
        if share < 1:
            y = share * own.astype(np.float32) + (np.float32(1) - share) * other.astype(np.float32)
            own[...] = np.rint(y) if batch.dtype == np.uint8 else y
        box = tuple(slice(boxes[number, axis], boxes[number, AXES + axis]) for axis in range(AXES))
        own[(slice(None), *box)] = other[(slice(None), *box)]
