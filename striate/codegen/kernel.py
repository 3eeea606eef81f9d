"""Kernel: writes a native function as LLVM IR, with Python ``with`` blocks for its loops and branches.

Every kernel has one signature,

    i32 kernel(i64 chunk, i64 n, ptr operands, ptr scratch)

``chunk`` says which part of the work to do, ``n`` is the run-time batch size, ``operands`` is an array of pointers and
``scratch`` the memory of the calling thread. Vectors have ``LANES`` = 16 elements on every processor; LLVM splits them
into hardware registers. Index arithmetic on Python ints is done in Python, so constant shapes cost no instructions.

A method that "returns a + b" writes the instructions that compute a + b, and returns the LLVM value of the result.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from striate.codegen import ir, vector_error_function, vector_math, vector_power, vector_trigonometry
from striate.codegen.ir import I1, I8, I16, I32, I64, POINTER
from striate.dtypes import DType

LANES = 16

Index = Any  # a Python int, or an i64 value of LLVM
Vector = ir.Value
"""16 lanes of one dtype in registers; a name for annotations."""
Condition = ir.Value
"""A truth value, one bit or one bit per lane; a name for annotations."""
Pointer = ir.Value
"""An address; a name for annotations."""

_ELEMENTS: dict[DType, ir.IntType | ir.FloatType] = {
    DType.float32: ir.FLOAT,
    DType.float64: ir.DOUBLE,
    DType.int32: I32,
    DType.int64: I64,
    DType.uint8: I8,
    DType.bool: I8,
    DType.bfloat16: ir.BFLOAT,
}
_PAIRS = ir.VectorType(ir.BFLOAT, 2 * LANES)
_WORDS = ir.VectorType(I32, LANES)
_MASK = ir.VectorType(I1, LANES)


@functools.cache
def vector_type(dtype: DType, lanes: int = LANES) -> ir.VectorType:
    """Return the LLVM type of a vector of ``lanes`` elements of ``dtype`` in registers.

    For bfloat16, it is a vector of float32.
    """
    return ir.VectorType(_ELEMENTS[dtype.computed], lanes)


@functools.cache
def _stored_type(dtype: DType, lanes: int = LANES) -> ir.VectorType:
    """Return the LLVM type of ``lanes`` elements of ``dtype`` in memory."""
    return ir.VectorType(_ELEMENTS[dtype], lanes)


def _alignment(dtype: DType, align: int, lanes: int = LANES) -> int:
    """Return the alignment of a vector access in bytes: ``align``, but at most the size of the vector.

    ``align`` = 0 means the size of one element.
    """
    return min(align, lanes * dtype.numpy.itemsize) or dtype.numpy.itemsize


# Values that are constants belong to no function, so all kernels share them.


@functools.lru_cache(4096)
def _index(value: int) -> ir.Value:
    return I64(value)


@functools.cache
def _lane_number(number: int) -> ir.Value:
    return I32(number)


@functools.cache
def _splat_parts(element: ir.Type, lanes: int) -> tuple[ir.Value, ir.Value]:
    """Return an undefined vector of these elements, and the shuffle mask that copies lane 0 into every lane."""
    return ir.undefined(ir.VectorType(element, lanes)), ir.zero(ir.VectorType(I32, lanes))


@functools.cache
def _ascending(element: ir.Type) -> ir.Value:
    """Return the vector 0, 1, 2, …, 15."""
    return ir.vector(element, range(LANES))


_TRANSPOSING = (
    ((0, 8, 1, 9, 4, 12, 5, 13), (2, 10, 3, 11, 6, 14, 7, 15)),
    ((0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15)),
    ((0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15)),
)
"""The lanes of two vectors of 8 lanes that the low and the high result of each step of a transposition takes."""


@functools.cache
def _order(low: Sequence[int], high: Sequence[int]) -> tuple[ir.Value, ir.Value]:
    return ir.vector(I32, low), ir.vector(I32, high)


@dataclass
class Loop:
    """A loop that is being written: its index, and the values that each iteration passes on to the next.

    Read and assign ``carry`` inside the loop; read the final values from ``result`` after it.
    """

    index: Index
    carry: list[Any]
    result: list[Any] = field(default_factory=list[Any])


class Kernel:
    """Writes one kernel (a native function): each method appends instructions and returns their result.

    ``symbol`` is the name of the function. Its arguments are ``chunk`` (the number of the part of the work to do),
    ``n`` (the batch size), the operands, and ``scratch`` (the address of the calling thread's scratch memory). Methods
    that access memory take the address as ``pointer``, and as ``dtype`` the type of the elements in memory. Index
    arithmetic accepts and returns Python ints for values that are known when the kernel is written, and otherwise i64
    values of LLVM.
    """

    def __init__(self, symbol: str) -> None:
        arguments = {"chunk": I64, "n": I64, "operands": POINTER, "scratch": POINTER}
        self.builder = ir.Builder(symbol, I32, arguments)
        self.chunk: Index
        self.n: Index
        self.scratch: Any
        self.chunk, self.n, self._operands, self.scratch = self.builder.arguments
        self._pointers: dict[int, Any] = {}
        self._streams = False
        self._zero: Index = None
        self._entry = self.builder.block
        self._narrowed: dict[int, Any] = {}
        self._tables: dict[tuple[DType, tuple[str, ...]], Any] = {}

    # -- operands and memory ------------------------------------------------------------------------------------

    def operand(self, number: int) -> Any:
        """Return the pointer to operand ``number``; it is loaded once, at the entry of the function."""
        if number not in self._pointers:
            with self.at_entry():
                slot = self.builder.gep(self._operands, _index(number), POINTER)
                self._pointers[number] = self.builder.load(slot, POINTER)
        return self._pointers[number]

    @property
    def hidden_zero(self) -> Index:
        """The index 0, as a value that LLVM cannot recognize as 0.

        Add it to an address to have a value loaded again: LLVM cannot know that the address is one from which it loaded
        before, so it does not keep the earlier result in a register.
        """
        if self._zero is None:
            with self.at_entry():
                self._zero = self.builder.lshr(self.as_index(self.n), I64(63))
        return self._zero

    @contextmanager
    def at_entry(self) -> Generator[None]:
        """Place the instructions written in this ``with`` block at the entry of the function."""
        current = self.builder.block
        self.builder.position_at_end(self._entry)
        yield
        self.builder.position_at_end(current)

    def local(self, type: ir.Type) -> Any:
        """Return the address of a new 64-byte aligned variable of the LLVM type ``type`` on the stack.

        Accumulators that must survive the end of a loop are kept in such variables. ``name`` only makes the IR
        readable.
        """
        with self.at_entry():
            return self.builder.alloca(type, align=64)

    def table(self, numbers: Sequence[float], dtype: DType) -> Any:
        """Return the address of an array of constant ``numbers``, of type ``dtype``, in the kernel's code.

        Equal tables of one kernel share memory.
        """
        element = _ELEMENTS[dtype]
        values = [float(number) if dtype.is_float else int(number) for number in numbers]
        key = (dtype, tuple(map(repr, values)))
        if key not in self._tables:
            self._tables[key] = self.builder.table(element, values)
        return self._tables[key]

    def look_up(self, table: Any, index: Index, dtype: DType = DType.int32) -> Any:
        """Return element number ``index`` of an array that ``table`` returned, as a scalar.

        ``dtype`` is that of the elements. Integers are widened to int64, so that they can be used as an index.
        """
        found = self.load_scalar(self.offset(table, index, dtype), dtype)
        return found if dtype.is_float else self.convert(found, DType.int64)

    def offset(self, pointer: Any, elements: Index, dtype: DType) -> Any:
        """Return ``pointer`` advanced by ``elements`` elements of ``dtype``."""
        if isinstance(elements, int) and elements == 0:
            return pointer
        return self.builder.gep(pointer, self.as_index(elements), _ELEMENTS[dtype])

    def load(self, pointer: Any, dtype: DType, align: int = 0, lanes: int = LANES) -> Any:
        """Load a vector of ``lanes`` adjacent elements; bfloat16 is widened to float32.

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
        """Store a vector past the caches (a non-temporal store), so that its cache line is not read first.

        ``pointer`` must be 64-byte aligned, and the vector must have 64 bytes or more.
        """
        self.builder.store(self._as_stored(vector, dtype), pointer, align=64, nontemporal=True)
        self._streams = True

    def load_scalar(self, pointer: Any, dtype: DType) -> Any:
        """Load one element; bfloat16 is widened to float32."""
        return self._widened(self.builder.load(pointer, _ELEMENTS[dtype], dtype.numpy.itemsize))

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
        """Load 16 pairs of bfloat16 from 64 aligned bytes, as an operand of ``dot``."""
        return self.builder.load(pointer, _PAIRS, 64)

    def broadcast_pair(self, pointer: Any) -> Any:
        """Load one pair of bfloat16 into every lane, as an operand of ``dot``.

        LLVM merges this load into the instruction of ``dot``, which then reads memory directly.
        """
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
        """Interleave two vectors from ``load_halves`` and store the 16 pairs to 64 aligned bytes.

        If ``second`` is None, the second element of each pair is 0.
        """
        pairs = self.builder.zext(first, _WORDS)
        if second is not None:
            high = self.builder.shl(self.builder.zext(second, _WORDS), ir.splat(_WORDS, 16))
            pairs = self.builder.or_(pairs, high)
        self.builder.store(pairs, pointer, align=64)

    def store_pairs(self, first: Any, second: Any, pointer: Any) -> None:
        """Round two float32 vectors to bfloat16, interleave them and store the 16 pairs to 64 aligned bytes."""
        type = vector_type(DType.float32)
        function = self.builder.declare("llvm.x86.avx512bf16.cvtne2ps2bf16.512", _PAIRS, [type, type])
        both = self.builder.call(function, [second, first])  # the first in the lower half
        order = [half * LANES + lane for lane in range(LANES) for half in (0, 1)]
        pairs = self.builder.shuffle_vector(both, both, ir.vector(I32, order))
        self.builder.store(pairs, pointer, align=64)

    def store_scalar(self, scalar: Any, pointer: Any, dtype: DType | None = None) -> None:
        """Store one element; if ``dtype`` is bfloat16, it is rounded. None means the type of ``scalar``."""
        if dtype is DType.bfloat16:
            scalar = self.builder.fptrunc(scalar, _ELEMENTS[dtype])
        self.builder.store(scalar, pointer)

    def broadcast(self, pointer: Any, dtype: DType, lanes: int = LANES) -> Any:
        """Load one element into every lane of a vector of ``lanes`` lanes."""
        return self.splat(self.load_scalar(pointer, dtype), lanes)

    def splat(self, scalar: Any, lanes: int = LANES) -> Any:
        """Return a vector of ``lanes`` lanes with ``scalar`` in every lane."""
        undefined, zeros = _splat_parts(scalar.type, lanes)
        first = self.builder.insert_element(undefined, scalar, _lane_number(0))
        return self.builder.shuffle_vector(first, undefined, zeros)

    def filled(self, x: Any) -> Any:
        """Return a vector of ``LANES`` lanes: first those of ``x``, which may have fewer, and then zeros."""
        count = x.type.count
        if count == LANES:
            return x
        order = ir.vector(I32, [*range(count), *[count] * (LANES - count)])
        return self.builder.shuffle_vector(x, self.constant_like(x, 0), order)

    def load_masked(self, pointer: Any, dtype: DType, count: Index) -> Any:
        """Load the first ``count`` lanes of a vector and set the others to 0; memory past them is not read."""
        if isinstance(count, int) and count >= LANES:
            return self.load(pointer, dtype)
        type = _stored_type(dtype)
        function = self.builder.declare(f"llvm.masked.load.{type.mangled}.p0", type, [POINTER, I32, _MASK, type])
        align = I32(dtype.numpy.itemsize)
        return self._widened(self.builder.call(function, [pointer, align, self.mask(count), ir.zero(type)]))

    def store_masked(self, vector: Any, pointer: Any, dtype: DType, count: Index) -> None:
        """Store the first ``count`` lanes of a vector; memory past them is not written."""
        if isinstance(count, int) and count >= LANES:
            self.store(vector, pointer, dtype)
            return
        type = _stored_type(dtype)
        arguments = [type, POINTER, I32, _MASK]
        function = self.builder.declare(f"llvm.masked.store.{type.mangled}.p0", ir.VOID, arguments)
        narrow = self._as_stored(vector, dtype)
        self.builder.call(function, [narrow, pointer, I32(dtype.numpy.itemsize), self.mask(count)])

    def load_strided(self, pointer: Any, dtype: DType, stride: int, count: Index) -> Any:
        """Load a vector from memory with gaps: lane i is element i · ``stride`` from ``pointer``, for i < ``count``.

        The lanes from ``count`` on repeat lane ``count`` − 1.
        """
        vector = ir.undefined(vector_type(dtype))
        for lane in range(LANES):
            if isinstance(count, int):
                where: Index = min(lane, count - 1) * stride
            else:
                where = self.imul(self.imin(lane, self.isub(count, 1)), stride)
            element = self.load_scalar(self.offset(pointer, where, dtype), dtype)
            vector = self.builder.insert_element(vector, element, _lane_number(lane))
        return vector

    def gathered(self, pointers: Sequence[Any], dtype: DType) -> Any:
        """Return a vector whose lane i is the element at ``pointers[i]``."""
        vector = ir.undefined(vector_type(dtype))
        for lane, pointer in enumerate(pointers):
            vector = self.builder.insert_element(vector, self.load_scalar(pointer, dtype), _lane_number(lane))
        return vector

    def store_strided(self, vector: Any, pointer: Any, dtype: DType, stride: int, count: Index) -> None:
        """Store lane i of a vector to element i · ``stride`` from ``pointer``, for i < ``count``."""
        for lane in range(LANES):
            with self.when(self.compare(lane, "<", count)):
                self.store_scalar(self.lane(vector, lane), self.offset(pointer, lane * stride, dtype), dtype)

    def mask(self, count: Index) -> Any:
        """Return the mask that is true in the first ``count`` lanes."""
        if isinstance(count, int):
            return ir.vector(I1, [int(lane < count) for lane in range(LANES)])
        return self.builder.icmp_signed("<", _ascending(I64), self.splat(count))

    def lane_is(self, number: Index) -> Any:
        """Return the mask that is true only in lane ``number``; it is false everywhere if there is no such lane."""
        return self.builder.icmp_signed("==", _ascending(I64), self.splat(self.as_index(number)))

    # -- index arithmetic ---------------------------------------------------------------------------------------

    def as_index(self, value: Index) -> Any:
        """Return an index, which may be a Python int, as an LLVM value of type i64."""
        return _index(value) if isinstance(value, int) else value

    def iadd(self, *terms: Index) -> Index:
        """Return the sum of indices; it is a Python int if all terms are Python ints."""
        constant = sum(term for term in terms if isinstance(term, int))
        total: Index = None
        for term in terms:
            if not isinstance(term, int):
                total = term if total is None else self.builder.add(total, term)
        if total is None:
            return constant
        return self.builder.add(total, _index(constant)) if constant else total

    def imul(self, a: Index, b: Index) -> Index:
        """Return the product of two indices.

        It is a Python int if both are Python ints, or one is the Python int 0.
        """
        if isinstance(a, int) and isinstance(b, int):
            return a * b
        if isinstance(a, int):
            a, b = b, a
        if isinstance(b, int) and b in (0, 1):
            return a if b else 0
        return self.builder.mul(a, self.as_index(b))

    def isub(self, a: Index, b: Index) -> Index:
        """Return the difference a − b of two indices; it is a Python int if both are Python ints."""
        if isinstance(a, int) and isinstance(b, int):
            return a - b
        return self.builder.sub(self.as_index(a), self.as_index(b))

    def idiv(self, a: Index, b: Index) -> Index:
        """Return the quotient of two non-negative indices, rounded down."""
        if isinstance(a, int) and isinstance(b, int):
            return a // b
        return a if isinstance(b, int) and b == 1 else self.builder.udiv(self.as_index(a), self.as_index(b))

    def imod(self, a: Index, b: Index) -> Index:
        """Return the remainder of the division of two non-negative indices."""
        if isinstance(a, int) and isinstance(b, int):
            return a % b
        return 0 if isinstance(b, int) and b == 1 else self.builder.urem(self.as_index(a), self.as_index(b))

    def imin(self, a: Index, b: Index) -> Index:
        """Return the smaller of two indices."""
        if isinstance(a, int) and isinstance(b, int):
            return min(a, b)
        a, b = self.as_index(a), self.as_index(b)
        return self.builder.select(self.builder.icmp_signed("<", a, b), a, b)

    def imax(self, a: Index, b: Index) -> Index:
        """Return the larger of two indices."""
        if isinstance(a, int) and isinstance(b, int):
            return max(a, b)
        a, b = self.as_index(a), self.as_index(b)
        return self.builder.select(self.builder.icmp_signed(">", a, b), a, b)

    def compare(self, a: Index, sign: str, b: Index) -> Any:
        """Return the signed comparison of two indices; ``sign`` is "<", "<=", "==", "!=", ">=" or ">".

        The result is a Python bool if both are Python ints, otherwise an LLVM truth value.
        """
        if isinstance(a, int) and isinstance(b, int):
            return {"<": a < b, ">=": a >= b, "==": a == b, "!=": a != b, ">": a > b, "<=": a <= b}[sign]
        return self.builder.icmp_signed(sign, self.as_index(a), self.as_index(b))

    def both(self, a: Any, b: Any) -> Any:
        """Return the condition "a and b"; no instruction is written if a or b is a Python bool."""
        if isinstance(a, bool):
            return b if a else False
        if isinstance(b, bool):
            return a if b else False
        return self.builder.and_(a, b)

    def either(self, a: Any, b: Any) -> Any:
        """Return the condition "a or b"; no instruction is written if a or b is a Python bool."""
        if isinstance(a, bool):
            return True if a else b
        if isinstance(b, bool):
            return True if b else a
        return self.builder.or_(a, b)

    def negation(self, a: Any) -> Any:
        """Return the condition "not a"."""
        return not a if isinstance(a, bool) else self.builder.not_(a)

    # -- control ------------------------------------------------------------------------------------------------

    @contextmanager
    def loop(self, start: Index, stop: Index, step: int = 1, carry: Sequence[Any] = ()) -> Generator[Loop]:
        """Write ``for index in range(start, stop, step)`` around the instructions of this ``with`` block.

        ``carry`` are the initial values of variables that each iteration passes on to the next: read and assign
        ``loop.carry`` inside the block, and read the final values from ``loop.result`` after it. If the bounds are
        Python ints and there is a single iteration, no loop is written.
        """
        known = isinstance(start, int) and isinstance(stop, int)
        if known and len(range(start, stop, step)) == 1:
            once = Loop(start, list(carry))
            yield once
            once.result = once.carry
            return
        builder = self.builder
        before = builder.block
        body = builder.append_basic_block("body")
        after = builder.append_basic_block("after")
        first, last = self.as_index(start), self.as_index(stop)
        if known and start < stop:
            builder.branch(body)
        else:
            builder.cbranch(builder.icmp_signed("<", first, last), body, after)
        builder.position_at_end(body)
        index = builder.phi(I64)
        index.add_incoming(first, before)
        phis = [builder.phi(value.type) for value in carry]
        for phi, value in zip(phis, carry, strict=True):
            phi.add_incoming(value, before)
        loop = Loop(index, list(phis))
        yield loop
        following = builder.add(index, I64(step))
        latch = builder.block
        builder.cbranch(builder.icmp_signed("<", following, last), body, after)
        index.add_incoming(following, latch)
        builder.position_at_end(after)
        for phi, value, initial in zip(phis, loop.carry, carry, strict=True):
            phi.add_incoming(value, latch)
            leaving = builder.phi(value.type)
            leaving.add_incoming(value, latch)
            if not (known and start < stop):
                leaving.add_incoming(initial, before)
            loop.result.append(leaving)

    @contextmanager
    def when(self, condition: Any) -> Generator[None]:
        """Write a branch: the instructions of this ``with`` block run if the condition holds.

        If the condition is a Python bool, no branch is written: for True, the block runs always; for False, its code is
        unreachable.
        """
        if isinstance(condition, bool):
            if condition:
                yield
                return
            dead = self.builder.append_basic_block("never")
            current = self.builder.block
            self.builder.position_at_end(dead)
            yield
            self.builder.unreachable()
            self.builder.position_at_end(current)
            return
        with self.builder.if_then(condition):
            yield

    def finish(self, status: Any = 0) -> str:
        """End the function with ``return status`` (0: success), and return the module's IR as text."""
        if self._streams:
            # The barrier's atomic operations do not order the stores that bypass the caches.
            self.builder.fence("seq_cst")
        self.builder.ret(I32(status) if isinstance(status, int) else status)
        return self.builder.text()

    # -- vectors ------------------------------------------------------------------------------------------------

    def constant(self, number: float, dtype: DType, lanes: int = LANES) -> Any:
        """Return a vector of ``lanes`` lanes with ``number`` in every lane; bfloat16 constants are float32."""
        return ir.splat(vector_type(dtype, lanes), float(number) if dtype.computed.is_float else int(number))

    def constant_like(self, x: Any, number: float) -> Any:
        """Return ``number`` in the type of ``x``: a vector with it in every lane, or a scalar."""
        return ir.splat(x.type, int(number) if _integral(x.type) else float(number))

    def add(self, a: Any, b: Any) -> Any:
        """Return a + b in each lane; integers wrap around."""
        return self.builder.add(a, b) if _integral(a.type) else self.builder.fadd(a, b)

    def sub(self, a: Any, b: Any) -> Any:
        """Return a − b in each lane; integers wrap around."""
        return self.builder.sub(a, b) if _integral(a.type) else self.builder.fsub(a, b)

    def mul(self, a: Any, b: Any) -> Any:
        """Return a · b in each lane; integers wrap around."""
        return self.builder.mul(a, b) if _integral(a.type) else self.builder.fmul(a, b)

    def div(self, a: Any, b: Any) -> Any:
        """Return a / b in each lane; both must be of a float type."""
        return self.builder.fdiv(a, b)

    def neg(self, a: Any) -> Any:
        """Return −a in each lane; a must be of a float type."""
        return self.builder.fneg(a)

    def add_exactly(self, a: Any, b: Any) -> tuple[Any, Any]:
        """Return (s, e): the rounded sum s = a + b and its rounding error e, so s + e = a + b exactly.

        The algorithm is Knuth's two-sum (1969).
        """
        total = self.add(a, b)
        second = self.sub(total, a)
        return total, self.add(self.sub(a, self.sub(total, second)), self.sub(b, second))

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """Return a · b + c in each lane, rounded only once; all three must be of a float type."""
        return self.builder.intrinsic("llvm.fma", a, b, c)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """Return a · b + c in each lane, for floats; rounded once if the processor can, otherwise twice.

        It is meant for sums of products: ``fma`` is a function call for each lane on a processor without such an
        instruction (x86-64-v2).
        """
        return self.builder.intrinsic("llvm.fmuladd", a, b, c)

    def abs(self, a: Any) -> Any:
        """Return |a| in each lane; a must be of a float type."""
        return self.builder.intrinsic("llvm.fabs", a)

    def sqrt(self, a: Any) -> Any:
        """Return √a in each lane, correctly rounded."""
        return self.builder.intrinsic("llvm.sqrt", a)

    def round(self, a: Any) -> Any:
        """Return the nearest whole number in each lane, as a float; ties go to the even number."""
        return self.builder.intrinsic("llvm.roundeven", a)

    def floor(self, a: Any) -> Any:
        """Return the largest whole number ≤ a in each lane, as a float."""
        return self.builder.intrinsic("llvm.floor", a)

    def ceil(self, a: Any) -> Any:
        """Return the smallest whole number ≥ a in each lane, as a float."""
        return self.builder.intrinsic("llvm.ceil", a)

    def exp(self, a: Any) -> Any:
        """Return eᵃ in each lane; ``vector_math`` states the accuracy."""
        return vector_math.exp(self.builder, a)

    def log(self, a: Any) -> Any:
        """Return ln a in each lane; ``vector_math`` states the accuracy."""
        return vector_math.log(self.builder, a)

    def expm1(self, a: Any) -> Any:
        """Return eᵃ − 1 in each lane, accurate near 0; ``vector_math`` states the accuracy."""
        return vector_math.expm1(self.builder, a)

    def log1p(self, a: Any) -> Any:
        """Return ln(1 + a) in each lane, accurate near 0; ``vector_math`` states the accuracy."""
        return vector_math.log1p(self.builder, a)

    def power(self, a: Any, b: Any) -> Any:
        """Return aᵇ in each lane; ``vector_power`` states the accuracy and the special cases."""
        return vector_power.power(self.builder, a, b)

    def sin(self, a: Any) -> Any:
        """Return sin a in each lane (NaN beyond ±2⁴⁵); ``vector_trigonometry`` states the accuracy."""
        return vector_trigonometry.sin(self.builder, a)

    def cos(self, a: Any) -> Any:
        """Return cos a in each lane (NaN beyond ±2⁴⁵); ``vector_trigonometry`` states the accuracy."""
        return vector_trigonometry.cos(self.builder, a)

    def tan(self, a: Any) -> Any:
        """Return tan a in each lane (NaN beyond ±2⁴⁵); ``vector_trigonometry`` states the accuracy."""
        return vector_trigonometry.tan(self.builder, a)

    def erf(self, a: Any) -> Any:
        """Return the error function erf a in each lane; ``vector_error_function`` states the accuracy."""
        return vector_error_function.erf(self.builder, a)

    def normal_cdf(self, a: Any) -> Any:
        """Return Φ(a), the distribution function of a standard normal variable, in each lane.

        ``vector_error_function`` states the accuracy.
        """
        return vector_error_function.normal_cdf(self.builder, a)

    def tanh(self, a: Any) -> Any:
        """Return tanh a in each lane; ``vector_math`` states the accuracy."""
        return vector_math.tanh(self.builder, a)

    def sigmoid(self, a: Any) -> Any:
        """Return 1 / (1 + e⁻ᵃ) in each lane; ``vector_math`` states the accuracy."""
        return vector_math.sigmoid(self.builder, a)

    def cos_pi(self, a: Any) -> Any:
        """Return cos(πa) in each lane, only for 0 ≤ a ≤ 1; ``vector_math`` states the accuracy."""
        return vector_math.cos_pi(self.builder, a)

    def max(self, a: Any, b: Any) -> Any:
        """Return max(a, b) in each lane; NaN if either is NaN."""
        larger = self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)
        return self.builder.select(self.builder.fcmp_unordered("uno", a, a), a, larger)

    def min(self, a: Any, b: Any) -> Any:
        """Return min(a, b) in each lane; NaN if either is NaN."""
        smaller = self.builder.select(self.builder.fcmp_ordered("<", a, b), a, b)
        return self.builder.select(self.builder.fcmp_unordered("uno", a, a), a, smaller)

    def greater(self, a: Any, b: Any) -> Any:
        """Return the condition a > b in each lane, false for NaN; both must be of a float type."""
        return self.builder.fcmp_ordered(">", a, b)

    def compared(self, a: Any, sign: str, b: Any) -> Any:
        """Return the condition a ``sign`` b in each lane, for floats, integers or bools.

        ``sign`` is as in ``compare``. For NaN, only ``!=`` holds.
        """
        if _integral(a.type):
            unsigned = ir.element_of(a.type) == I8  # uint8, and bools
            return (self.builder.icmp_unsigned if unsigned else self.builder.icmp_signed)(sign, a, b)
        return (self.builder.fcmp_unordered if sign == "!=" else self.builder.fcmp_ordered)(sign, a, b)

    def holds(self, x: Any) -> Any:
        """Return bools ``x``, as they are loaded from memory (bytes that are 0 or 1), as a condition."""
        return self.builder.icmp_unsigned("!=", x, self.constant_like(x, 0))

    def truth(self, condition: Any) -> Any:
        """Return a condition as bools in the form in which memory holds them: bytes that are 0 or 1."""
        return self.builder.zext(condition, ir.like(condition.type, I8))

    def not_less_equal(self, a: Any, b: Any) -> Any:
        """Return the condition not (a ≤ b) in each lane; unlike a > b, it is true for NaN."""
        return self.builder.fcmp_unordered(">", a, b)

    def is_finite(self, a: Any) -> Any:
        """Return the condition |a| < ∞ in each lane; it is false for NaN."""
        return self.builder.fcmp_ordered("<", self.abs(a), self.constant_like(a, math.inf))

    def is_wide(self, a: Any) -> bool:
        """Return whether the lanes of the vector ``a`` are float64."""
        return ir.element_of(a.type) is ir.DOUBLE

    def is_nan(self, a: Any) -> Any:
        """Return the condition that a is NaN, in each lane."""
        return self.builder.fcmp_unordered("uno", a, a)

    def choose(self, condition: Any, a: Any, b: Any) -> Any:
        """Return a if the condition holds, else b; one condition decides for all lanes.

        If the condition is a Python bool, no instruction is written.
        """
        if isinstance(condition, bool):
            return a if condition else b
        return self.builder.select(condition, a, b)

    def select(self, condition: Any, a: Any, b: Any) -> Any:
        """Return a in the lanes where the condition holds, and b in the other lanes."""
        return self.builder.select(condition, a, b)

    def convert(self, x: Any, dtype: DType) -> Any:
        """Return ``x``, a vector or scalar, converted to ``dtype``.

        uint8 is unsigned; int32 and int64 are signed. Conversion to bool gives x ≠ 0.
        """
        if dtype is DType.bool:
            return self.truth(self.compared(x, "!=", self.constant_like(x, 0)))
        source, target = ir.element_of(x.type), _ELEMENTS[dtype]
        type = ir.like(x.type, target)
        if source == target:
            return x
        if isinstance(source, ir.IntType) and isinstance(target, ir.IntType):
            if source.width > target.width:
                return self.builder.trunc(x, type)
            return self.builder.zext(x, type) if source.width == 8 else self.builder.sext(x, type)
        if isinstance(source, ir.IntType):
            return self.builder.uitofp(x, type) if source.width == 8 else self.builder.sitofp(x, type)
        if isinstance(target, ir.IntType):
            return self.builder.fptoui(x, type) if target.width == 8 else self.builder.fptosi(x, type)
        return self.builder.fpext(x, type) if target is ir.DOUBLE else self.builder.fptrunc(x, type)

    def add_lanes(self, x: Any) -> Any:
        """Return the sum of all lanes as a scalar; the order of additions is fixed."""
        return self.fold_lanes(x, self.add)

    def tree(self, combine: Callable[[Any, Any], Any], values: Sequence[Any]) -> Any:
        """Return ``values`` combined by ``combine(a, b)`` in a balanced binary tree.

        A tree has a smaller rounding error than a chain, and many independent instructions.
        """
        level = list(values)
        while len(level) > 1:
            pairs = [combine(a, b) for a, b in zip(level[::2], level[1::2], strict=False)]
            level = pairs + level[len(pairs) * 2 :]
        return level[0]

    def fold_lanes(self, x: Any, combine: Callable[[Any, Any], Any]) -> Any:
        """Return all lanes of ``x`` combined by ``combine(a, b)`` into a scalar, in a fixed order."""
        return self.fold_lanes_together([x], lambda a, b: [combine(a[0], b[0])])[0]

    def fold_lanes_together(self, xs: Sequence[Any], combine: Callable[[list[Any], list[Any]], list[Any]]) -> list[Any]:
        """Fold the lanes of several vectors at once, as ``fold_lanes`` does for one.

        ``combine`` takes two lists, each with one value for every vector, and returns such a list. The result is a list
        of scalars.
        """
        folded, width = list(xs), LANES
        undefined = ir.undefined(folded[0].type)
        while width > 1:
            width //= 2
            moved = ir.vector(I32, [(lane + width) % LANES for lane in range(LANES)])
            folded = combine(folded, [self.builder.shuffle_vector(x, undefined, moved) for x in folded])
        return [self.builder.extract_element(x, _lane_number(0)) for x in folded]

    def lane(self, x: Any, number: int) -> Any:
        """Return lane ``number`` of the vector ``x`` as a scalar."""
        return self.builder.extract_element(x, _lane_number(number))

    def transposed(self, rows: Sequence[Any]) -> list[Any]:
        """Return the columns of the matrix whose rows are 8 vectors of 8 lanes.

        It pairs rows lane by lane, then the pairs, then the halves: 24 shuffles of two vectors, each one instruction
        where a register has 8 lanes.
        """
        lanes = [_order(*order) for order in _TRANSPOSING]
        low, high = lanes[0]
        pairs = [
            self.builder.shuffle_vector(rows[i], rows[i + 1], order) for i in (0, 2, 4, 6) for order in (low, high)
        ]
        low, high = lanes[1]
        quads = [
            self.builder.shuffle_vector(pairs[i + j], pairs[i + j + 2], order)
            for i in (0, 4)
            for j in (0, 1)
            for order in (low, high)
        ]
        return [self.builder.shuffle_vector(quads[j], quads[j + 4], order) for order in lanes[2] for j in range(4)]

    def permuted(self, vectors: Mapping[int, Any], lanes: Sequence[tuple[int, int] | None]) -> Any:
        """Return a vector whose lanes are picked from several vectors.

        ``lanes[i]`` = (number, lane) says that lane i comes from that lane of ``vectors[number]``; where it is None,
        lane i is undefined.
        """
        first, *others = sorted({lane[0] for lane in lanes if lane})
        made = vectors[first]
        where = [lane[1] if lane and lane[0] == first else None for lane in lanes]
        if not others and any(place not in (None, i) for i, place in enumerate(where)):
            made = self._shuffled(made, ir.undefined(made.type), where)
        for number in others:
            mask = [LANES + lane[1] if lane and lane[0] == number else place for place, lane in zip(where, lanes)]
            made = self._shuffled(made, vectors[number], mask)
            where = [None if place is None else i for i, place in enumerate(mask)]
        return made

    def _shuffled(self, a: Any, b: Any, mask: Sequence[int | None]) -> Any:
        """Return a vector whose lane i is lane ``mask[i]`` of the 32 lanes of a and b; None means any lane."""
        numbers = [i if place is None else place for i, place in enumerate(mask)]
        return self.builder.shuffle_vector(a, b, ir.vector(I32, numbers))

    def prefetch(self, pointer: Any, write: bool = False) -> None:
        """Prefetch the cache line at ``pointer``, for reading or, with ``write``, for writing."""
        function = self.builder.declare("llvm.prefetch.p0", ir.VOID, [POINTER, I32, I32, I32])
        self.builder.call(function, [pointer, I32(int(write)), I32(3), I32(1)])


def _integral(type: ir.Type) -> bool:
    return isinstance(ir.element_of(type), ir.IntType)
