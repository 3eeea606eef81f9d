"""``Sample``, which writes kernel code that finds the memory and the parameters of the sample to augment."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import LANES, Index
from striate.data.augment.specification import F32, Specification
from striate.dtypes import DType


class Sample:
    """Writes kernel code that finds the data and the parameters of one sample and loops over its elements.

    The kernel runs once for each sample of the batch. The methods append code to kernel ``k``, which has the
    specification ``spec``, and return values that this code computes.
    """

    def __init__(self, k: Kernel, spec: Specification) -> None:
        self.k, self.spec, self.columns = k, spec, spec.columns
        self.channels, *self.source = spec.source
        self.sample = k.chunk
        volume = math.prod(spec.source)
        rows = k.operand(1)
        row = k.load_scalar(k.offset(rows, self.sample, DType.int64), DType.int64)
        self.data = k.offset(k.operand(0), k.imul(row, volume), spec.dtype)
        self.batch = k.offset(k.operand(4), k.imul(self.sample, self.channels * spec.plane), spec.dtype)
        self.ints = k.offset(k.operand(2), k.imul(self.sample, self.columns.ints), DType.int32)
        self.floats = k.offset(k.operand(3), k.imul(self.sample, self.columns.floats), F32)

    def int_at(self, column: Index) -> Index:
        """Return the parameter in column ``column`` of the sample's row of integers, as an index in the kernel."""
        found = self.k.load_scalar(self.k.offset(self.ints, column, DType.int32), DType.int32)
        return self.k.convert(found, DType.int64)

    def float_at(self, column: int) -> Any:
        """Return the parameter in column ``column`` of the sample's row of floats, in every lane of a vector."""
        return self.k.broadcast(self.k.offset(self.floats, column, F32), F32)

    def scratch(self, channel: Index, element: Index = 0) -> Any:
        """Return the address of an element of a channel in the kernel's scratch memory, where elements are float32."""
        k = self.k
        return k.offset(k.scratch, k.iadd(k.imul(channel, self.spec.stride), element), F32)

    def target(self, channel: Index, element: Index = 0) -> Any:
        """Return the address to which an element of a channel is moved from the data set.

        The address is in the batch, or in scratch memory if the kernel goes on to change the sample's elements.
        """
        return self.scratch(channel, element) if self.spec.computes else self.final(channel, element)

    def final(self, channel: Index, element: Index = 0) -> Any:
        """Return the address of an element of a channel in the batch."""
        k = self.k
        return k.offset(self.batch, k.iadd(k.imul(channel, self.spec.plane), element), self.spec.dtype)

    @property
    def moved(self) -> DType:
        """The dtype of the transformed elements, which are written to the address ``target``."""
        return F32 if self.spec.computes else self.spec.dtype

    def filled(self, fills: Sequence[float], number: Index, dtype: DType) -> Any:
        """Return a vector of ``dtype`` with ``fills[number]`` in every lane, rounded for uint8.

        ``number`` may be a value that is known only when the kernel runs; ``fills`` then becomes a table in the kernel.
        """
        k = self.k
        numbers = [round(one) for one in fills] if dtype is DType.uint8 else fills
        if len(set(numbers)) == 1:
            return k.constant(numbers[0], dtype)
        table = k.table(numbers, dtype)
        return k.broadcast(k.offset(table, number, dtype), dtype)

    def run(self, count: Index, vector: Callable[[Index], None], scalar: Callable[[Index], None]) -> None:
        """Write loops over ``count`` adjacent elements, 16 at a time by ``vector(i)``, or singly by ``scalar(i)``.

        ``vector(i)`` writes the code for the 16 elements from index ``i`` on, and ``scalar(i)`` the code for element
        ``i``. The last vector ends at the last element and may repeat elements of the vector before it; ``scalar`` is
        only used if there are fewer than 16 elements.
        """
        k = self.k
        full = k.idiv(count, LANES)
        with k.loop(0, full) as loop:
            vector(k.imul(loop.index, LANES))
        with k.when(k.compare(count, ">", k.imul(full, LANES))):
            long = k.compare(count, ">=", LANES)
            with k.when(long):
                vector(k.isub(count, LANES))
            with k.when(k.negation(long)), k.loop(0, count) as loop:
                scalar(loop.index)

    def fill_run(self, pointer: Any, count: Index, value: Any, dtype: DType) -> None:
        """Write the loops that store one number in ``count`` adjacent elements from the address ``pointer`` on.

        ``value`` is a vector of ``dtype`` with this number in every lane.
        """
        k = self.k
        first = k.lane(value, 0)
        self.run(
            count,
            lambda i: k.store(value, k.offset(pointer, i, dtype), dtype),
            lambda i: k.store_scalar(first, k.offset(pointer, i, dtype)),
        )
