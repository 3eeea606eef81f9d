"""Unsigned 32-bit integers with Python's operators, for counter-based random numbers.

So the formulas of random numbers are written only once: the same code runs on NumPy arrays and in kernels.
"""

from __future__ import annotations

from typing import Any

from striate.codegen import ir
from striate.codegen.ir import I32
from striate.codegen.kernel import Kernel
from striate.codegen.lanes import LANES, Index
from striate.codegen.region import Space
from striate.codegen.region_writer import Place


class Word:
    """An unsigned 32-bit integer in a kernel, or a vector of them; its arithmetic wraps around.

    ``value`` is the LLVM value, in the kernel ``k``. Python's operators on words write the instructions that compute
    the result.
    """

    def __init__(self, k: Kernel, value: Any) -> None:
        self.k, self.value = k, value

    def _operand(self, other: Word | int) -> Any:
        value = other if isinstance(other, int) else other.value
        if isinstance(value, int):
            value = I32(value % 2**32)
        if ir.is_vector(self.value) and not ir.is_vector(value):
            value = self.k.splat(value)
        return value

    def __xor__(self, other: Word | int) -> Word:
        return Word(self.k, self.k.builder.xor(self.value, self._operand(other)))

    def __add__(self, other: Word | int) -> Word:
        return Word(self.k, self.k.builder.add(self.value, self._operand(other)))

    def __mul__(self, other: Word | int) -> Word:
        return Word(self.k, self.k.builder.mul(self.value, self._operand(other)))

    def __rshift__(self, count: int) -> Word:
        return Word(self.k, self.k.builder.lshr(self.value, self._operand(count)))

    def divided(self, number: int) -> Word:
        """Return this word divided by the constant ``number``, rounded down; both are unsigned."""
        return self if number == 1 else Word(self.k, self.k.builder.udiv(self.value, self._operand(number)))

    def modulo(self, number: int) -> Word:
        """Return the remainder of this word divided by the constant ``number``; both are unsigned."""
        return Word(self.k, self.k.builder.urem(self.value, self._operand(number)))

    def below(self, limit: int) -> Any:
        """Return the condition that this word, as an unsigned number, is less than ``limit``."""
        return self.k.builder.icmp_unsigned("<", self.value, self._operand(limit))


def halves(k: Kernel, key: Any) -> tuple[Word, Word]:
    """Return the low and the high 32 bits of ``key``, an int64 vector whose lanes are all equal, as words."""
    scalar = k.lane(key, 0)
    high = k.builder.lshr(scalar, scalar.type(32))
    return Word(k, k.builder.trunc(scalar, I32)), Word(k, k.builder.trunc(high, I32))


def index_word(k: Kernel, index: Index) -> Word:
    """Return the lowest 32 bits of an index as a ``Word``."""
    return Word(k, k.builder.trunc(k.as_index(index), I32))


def element_words(k: Kernel, place: Place) -> Word:
    """Return for each lane of the vector at ``place`` the row-major index of the lane's element within its sample."""
    pixels = place.domain.pixels
    step = pixels if place.domain.space is Space.BLOCKED else 1
    return lanes_of_words(k, k.iadd(k.imul(place.channel, pixels), place.pixel), step)


def lanes_of_words(k: Kernel, first: Index, step: int) -> Word:
    """Return a vector with the numbers first, first + step, first + 2 · step, … in its lanes, modulo 2³²."""
    lanes = ir.vector(I32, [lane * step for lane in range(LANES)])
    return Word(k, lanes) + index_word(k, first)
