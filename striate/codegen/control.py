"""Loops, branches and index arithmetic of kernels, as Python ``with`` blocks.

Index arithmetic on Python ints is done in Python, so constant shapes cost no instructions.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from striate.codegen import ir
from striate.codegen.ir import I32, I64, POINTER
from striate.codegen.lanes import Index, index_constant


@dataclass
class Loop:
    """A loop of a kernel that is being written: its index, and the values that each iteration passes to the next.

    Read and assign these values in ``carry`` inside the loop; read their final values from ``result`` after it.
    """

    index: Index
    carry: list[Any]
    result: list[Any] = field(default_factory=list[Any])


class Control:
    """The base class of ``Kernel`` that writes loops, branches and index arithmetic as LLVM IR.

    ``symbol`` is the name of the kernel's native function. An index is a Python int if it is known when the kernel is
    written, and otherwise an LLVM value of type i64.
    """

    def __init__(self, symbol: str) -> None:
        arguments = {"chunk": I64, "n": I64, "operands": POINTER, "scratch": POINTER}
        self.builder = ir.Builder(symbol, I32, arguments)
        self.chunk: Index
        self.n: Index
        self.scratch: Any
        self.chunk, self.n, self._operands, self.scratch = self.builder.arguments
        self._entry = self.builder.block

    @contextmanager
    def at_entry(self) -> Generator[None]:
        """Place the instructions that are written in this ``with`` block at the entry of the function."""
        current = self.builder.block
        self.builder.position_at_end(self._entry)
        yield
        self.builder.position_at_end(current)

    def local(self, type: ir.Type) -> Any:
        """Return the address of a new 64-byte aligned variable of the LLVM type ``type`` on the stack."""
        with self.at_entry():
            return self.builder.alloca(type, align=64)

    def as_index(self, value: Index) -> Any:
        """Return an index, which may be a Python int, as an LLVM value of type i64."""
        return index_constant(value) if isinstance(value, int) else value

    def iadd(self, *terms: Index) -> Index:
        """Return the sum of indices; it is a Python int if all terms are Python ints."""
        constant = sum(term for term in terms if isinstance(term, int))
        total: Index = None
        for term in terms:
            if not isinstance(term, int):
                total = term if total is None else self.builder.add(total, term)
        if total is None:
            return constant
        return self.builder.add(total, index_constant(constant)) if constant else total

    def imul(self, a: Index, b: Index) -> Index:
        """Return the product of two indices.

        The product is a Python int if both are Python ints, or if one of them is the Python int 0.
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
        """Return the quotient a / b of two non-negative indices, rounded down."""
        if isinstance(a, int) and isinstance(b, int):
            return a // b
        return a if isinstance(b, int) and b == 1 else self.builder.udiv(self.as_index(a), self.as_index(b))

    def imod(self, a: Index, b: Index) -> Index:
        """Return the remainder of the division a / b, for two non-negative indices."""
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
        """Return the condition a ``sign`` b for two indices; ``sign`` is "<", "<=", "==", "!=", ">=" or ">".

        The result is a Python bool if a and b are Python ints, otherwise an LLVM value of type i1.
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

    @contextmanager
    def loop(self, start: Index, stop: Index, step: int = 1, carry: Sequence[Any] = ()) -> Generator[Loop]:
        """Write ``for index in range(start, stop, step)`` around the instructions of this ``with`` block.

        The block gets a ``Loop`` object, here called ``loop``. ``carry`` are the initial values of variables that each
        iteration passes on to the next. Read and assign the variables as ``loop.carry`` inside the block, and read
        their final values from ``loop.result`` after it. If the bounds are Python ints and there is only one iteration,
        the instructions are written without a loop.
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

        If the condition is a Python bool, no branch is written: the instructions always run for True, and never for
        False.
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
