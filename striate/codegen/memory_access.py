"""Loads and stores of kernels: whole vectors, their first lanes, single elements, and pairs of bfloat16."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from striate.codegen import ir
from striate.codegen.ir import I1, I16, I32, POINTER
from striate.codegen.lanes import ELEMENTS, LANES, Index, lane_number, vector_type
from striate.codegen.vector_arithmetic import VectorArithmetic
from striate.dtypes import DType

_PAIRS = ir.VectorType(ir.BFLOAT, 2 * LANES)
_WORDS = ir.VectorType(I32, LANES)
_MASK = ir.VectorType(I1, LANES)


@functools.cache
def _stored_type(dtype: DType, lanes: int = LANES) -> ir.VectorType:
    """Return the LLVM type of ``lanes`` elements of ``dtype`` in memory."""
    return ir.VectorType(ELEMENTS[dtype], lanes)


def _alignment(dtype: DType, align: int, lanes: int = LANES) -> int:
    """Return the alignment of a vector access in bytes: ``align``, but at most the size of the vector.

    ``align`` = 0 means the size of one element.
    """
    return min(align, lanes * dtype.numpy.itemsize) or dtype.numpy.itemsize


class MemoryAccess(VectorArithmetic):
    """The base class of ``Kernel`` that writes loads and stores.

    ``symbol`` is the name of the kernel's native function. In the methods, ``pointer`` is an address, and ``dtype`` is
    the type of the elements in memory.
    """

    def __init__(self, symbol: str) -> None:
        super().__init__(symbol)
        self._streams = False
        self._narrowed: dict[int, Any] = {}
        self._tables: dict[tuple[DType, tuple[str, ...]], Any] = {}

    def table(self, numbers: Sequence[float], dtype: DType) -> Any:
        """Return the address of a constant array that contains ``numbers``, with elements of type ``dtype``.

        The array is part of the kernel's code. Equal arrays of one kernel share memory.
        """
        element = ELEMENTS[dtype]
        values = [float(number) if dtype.is_float else int(number) for number in numbers]
        key = (dtype, tuple(map(repr, values)))
        if key not in self._tables:
            self._tables[key] = self.builder.table(element, values)
        return self._tables[key]

    def look_up(self, table: Any, index: Index, dtype: DType = DType.int32) -> Any:
        """Return element number ``index`` of the array at the address ``table``, which the method ``table`` returned.

        ``dtype`` is the dtype of the elements. The result is a scalar. Integers are widened to int64, the type of an
        index.
        """
        found = self.load_scalar(self.offset(table, index, dtype), dtype)
        return found if dtype.is_float else self.convert(found, DType.int64)

    def offset(self, pointer: Any, elements: Index, dtype: DType) -> Any:
        """Return ``pointer`` advanced by ``elements`` elements of ``dtype``."""
        if isinstance(elements, int) and elements == 0:
            return pointer
        return self.builder.gep(pointer, self.as_index(elements), ELEMENTS[dtype])

    def load(self, pointer: Any, dtype: DType, align: int = 0, lanes: int = LANES) -> Any:
        """Load a vector of ``lanes`` adjacent elements from ``pointer``; bfloat16 is widened to float32.

        ``align`` is the known alignment of the address in bytes; 0 means the size of one element.
        """
        align = _alignment(dtype, align, lanes)
        return self._widened(self.builder.load(pointer, _stored_type(dtype, lanes), align))

    def store(self, vector: Any, pointer: Any, dtype: DType, align: int = 0) -> None:
        """Store the lanes of a vector as adjacent elements; bfloat16 is rounded to nearest, ties to even.

        ``align`` is the known alignment of the address in bytes; 0 means the size of one element.
        """
        align = _alignment(dtype, align, vector.type.count)
        self.builder.store(self._as_stored(vector, dtype), pointer, align=align)

    def stream(self, vector: Any, pointer: Any, dtype: DType) -> None:
        """Store a vector in memory without writing it to the caches (a non-temporal store).

        ``pointer`` must be 64-byte aligned, and the vector must have 64 bytes or more.
        """
        self.builder.store(self._as_stored(vector, dtype), pointer, align=64, nontemporal=True)
        self._streams = True

    def load_scalar(self, pointer: Any, dtype: DType) -> Any:
        """Load one element; bfloat16 is widened to float32."""
        return self._widened(self.builder.load(pointer, ELEMENTS[dtype], dtype.numpy.itemsize))

    def rounded(self, x: Any) -> Any:
        """Return x with every lane rounded to the nearest bfloat16 (ties to even, NaN stays NaN), as float32.

        Storing the result as bfloat16 does not round it again.
        """
        narrow = self.builder.fptrunc(x, _stored_type(DType.bfloat16))
        wide = self._widened(narrow)
        self._narrowed[id(wide)] = (wide, narrow)
        return wide

    def _widened(self, x: Any) -> Any:
        return self.builder.fpext(x, ir.like(x.type, ir.FLOAT)) if ir.element_of(x.type) is ir.BFLOAT else x

    def _as_stored(self, vector: Any, dtype: DType) -> Any:
        if dtype is not DType.bfloat16:
            return vector
        known = self._narrowed.get(id(vector))
        return known[1] if known else self.builder.fptrunc(vector, _stored_type(dtype, vector.type.count))

    def load_pairs(self, pointer: Any) -> Any:
        """Load 16 pairs of bfloat16 from 64 bytes at the 64-byte aligned ``pointer``, as an operand of ``dot``."""
        return self.builder.load(pointer, _PAIRS, 64)

    def broadcast_pair(self, pointer: Any) -> Any:
        """Load one pair of bfloat16 from ``pointer`` into every lane, as an operand of ``dot``."""
        pair = self.builder.load(pointer, I32, 2)
        return self.builder.bitcast(self.splat(pair), _PAIRS)

    def dot(self, a: Any, b: Any, c: Any) -> Any:
        """Return c + a₀ · b₀ + a₁ · b₁ in each lane.

        a and b have a pair (index 0 and 1) of bfloat16 in each lane, and c is float32.
        """
        vector = vector_type(DType.float32)
        function = self.builder.declare("llvm.x86.avx512bf16.dpbf16ps.512", vector, [vector, _PAIRS, _PAIRS])
        return self.builder.call(function, [c, b, a])  # the second factor is the one that may come from memory

    def load_halves(self, pointer: Any) -> Any:
        """Load 16 bfloat16 elements as raw 16-bit integers, as an operand of ``store_halves``."""
        return self.builder.load(pointer, ir.VectorType(I16, LANES), 2)

    def store_halves(self, first: Any, second: Any, pointer: Any) -> None:
        """Interleave two vectors that ``load_halves`` returned, and store the 16 pairs of bfloat16 at ``pointer``.

        The address must be 64-byte aligned. If ``second`` is None, the second element of each pair is 0.
        """
        pairs = self.builder.zext(first, _WORDS)
        if second is not None:
            high = self.builder.shl(self.builder.zext(second, _WORDS), ir.splat(_WORDS, 16))
            pairs = self.builder.or_(pairs, high)
        self.builder.store(pairs, pointer, align=64)

    def store_pairs(self, first: Any, second: Any, pointer: Any) -> None:
        """Round two float32 vectors to bfloat16, interleave them, and store the 16 pairs at ``pointer``.

        The address must be 64-byte aligned.
        """
        type = vector_type(DType.float32)
        function = self.builder.declare("llvm.x86.avx512bf16.cvtne2ps2bf16.512", _PAIRS, [type, type])
        both = self.builder.call(function, [second, first])  # the first in the lower half
        order = [half * LANES + lane for lane in range(LANES) for half in (0, 1)]
        pairs = self.builder.shuffle_vector(both, both, ir.vector(I32, order))
        self.builder.store(pairs, pointer, align=64)

    def store_scalar(self, scalar: Any, pointer: Any, dtype: DType | None = None) -> None:
        """Store ``scalar`` at ``pointer``; if ``dtype`` is bfloat16, the scalar is rounded first.

        ``dtype`` is the type of the element in memory; None means the type of ``scalar``.
        """
        if dtype is DType.bfloat16:
            scalar = self.builder.fptrunc(scalar, ELEMENTS[dtype])
        self.builder.store(scalar, pointer)

    def broadcast(self, pointer: Any, dtype: DType, lanes: int = LANES) -> Any:
        """Load one element into every lane of a vector of ``lanes`` lanes."""
        return self.splat(self.load_scalar(pointer, dtype), lanes)

    def load_masked(self, pointer: Any, dtype: DType, count: Index) -> Any:
        """Load a vector of which only the first ``count`` lanes are read from memory; the other lanes are 0."""
        if isinstance(count, int) and count >= LANES:
            return self.load(pointer, dtype)
        type = _stored_type(dtype)
        function = self.builder.declare(f"llvm.masked.load.{type.mangled}.p0", type, [POINTER, I32, _MASK, type])
        align = I32(dtype.numpy.itemsize)
        return self._widened(self.builder.call(function, [pointer, align, self.mask(count), ir.zero(type)]))

    def store_masked(self, vector: Any, pointer: Any, dtype: DType, count: Index) -> None:
        """Store only the first ``count`` lanes of a vector; the memory behind them is not changed."""
        if isinstance(count, int) and count >= LANES:
            self.store(vector, pointer, dtype)
            return
        type = _stored_type(dtype)
        arguments = [type, POINTER, I32, _MASK]
        function = self.builder.declare(f"llvm.masked.store.{type.mangled}.p0", ir.VOID, arguments)
        narrow = self._as_stored(vector, dtype)
        self.builder.call(function, [narrow, pointer, I32(dtype.numpy.itemsize), self.mask(count)])

    def load_strided(self, pointer: Any, dtype: DType, stride: int, count: Index) -> Any:
        """Load a vector from memory with gaps: lane i is the element ``pointer[i · stride]``, for i < ``count``.

        The lanes from ``count`` on repeat lane ``count`` − 1.
        """
        vector = ir.undefined(vector_type(dtype))
        for lane in range(LANES):
            if isinstance(count, int):
                where: Index = min(lane, count - 1) * stride
            else:
                where = self.imul(self.imin(lane, self.isub(count, 1)), stride)
            element = self.load_scalar(self.offset(pointer, where, dtype), dtype)
            vector = self.builder.insert_element(vector, element, lane_number(lane))
        return vector

    def gathered(self, pointers: Sequence[Any], dtype: DType) -> Any:
        """Return a vector whose lane i is the element at ``pointers[i]``."""
        vector = ir.undefined(vector_type(dtype))
        for lane, pointer in enumerate(pointers):
            vector = self.builder.insert_element(vector, self.load_scalar(pointer, dtype), lane_number(lane))
        return vector

    def store_strided(self, vector: Any, pointer: Any, dtype: DType, stride: int, count: Index) -> None:
        """Store a vector with gaps: lane i goes to the element ``pointer[i · stride]``, for i < ``count``."""
        for lane in range(LANES):
            with self.when(self.compare(lane, "<", count)):
                self.store_scalar(self.lane(vector, lane), self.offset(pointer, lane * stride, dtype), dtype)

    def prefetch(self, pointer: Any, write: bool = False) -> None:
        """Prefetch the cache line at ``pointer``, for reading or, with ``write``, for writing."""
        function = self.builder.declare("llvm.prefetch.p0", ir.VOID, [POINTER, I32, I32, I32])
        self.builder.call(function, [pointer, I32(int(write)), I32(3), I32(1)])
