"""Vectorized sin, cos and tan, for float32 and float64; see ``vector_math`` for NaN and denormals.

The argument is reduced as Cody and Waite do: x = n π/2 + r with an integer n and |r| ≤ π/4. π/2 is written as a sum of
two (float32) or three (float64) parts, and the product of n and the first part is subtracted exactly. float32 is
reduced in float64. Arguments beyond ±2⁴⁵ give NaN, because for them three parts of π/2 are not accurate enough.
"""

from __future__ import annotations

from typing import Any

from striate.codegen import ir
from striate.codegen.vector_math import Steps

LARGEST = 2.0**45
"""The largest |x| that is supported; beyond it, results are NaN."""

_TWO_OVER_PI = float.fromhex("0x1.45f306dc9c883p-1")
_HALF_PI = tuple(
    float.fromhex(part) for part in ("0x1.921fb54442d18p+0", "0x1.1a62633145c07p-54", "-0x1.f1976b7ed8fbcp-110")
)
_SIN_FLOAT = ("-0x1.555546p-3", "0x1.11075cp-7", "-0x1.994d02p-13")
_COS_FLOAT = ("0x1.55554ap-5", "-0x1.6c0c88p-10", "0x1.9a01p-16")
_SIN_DOUBLE = (
    "-0x1.5555555555555p-3", "0x1.111111111110bp-7", "-0x1.a01a01a018ad5p-13", "0x1.71de3a533812fp-19",
    "-0x1.ae6452964f773p-26", "0x1.6120915b71213p-33", "-0x1.aaa49012fdaccp-41",
)  # fmt: skip
_COS_DOUBLE = (
    "0x1.555555555554cp-5", "-0x1.6c16c16c15165p-10", "0x1.a01a019caf028p-16", "-0x1.27e4f807cc587p-22",
    "0x1.1ee9ea5be624ep-29", "-0x1.8fadc3deaebb1p-37",
)  # fmt: skip


class _Reduced:
    """An argument reduced to x = n π/2 + r: it has sin r, cos r, and the lowest bits of n (``quadrant``)."""

    def __init__(self, builder: ir.Builder, x: ir.Value) -> None:
        self.builder = builder
        self.m = m = Steps(builder, x)
        wide = Steps(builder, m.widened(x))
        x = m.widened(x)
        shifted = wide.fma(x, wide.constant(_TWO_OVER_PI), wide.constant(wide.format.magic))
        n = builder.fsub(shifted, wide.constant(wide.format.magic))
        first, second, third = (wide.constant(-part) for part in _HALF_PI)
        r = wide.fma(n, first, x)  # exact
        low: Any = None
        if m.is_wide:
            product = builder.fmul(n, second)
            rest = wide.fma(n, second, builder.fneg(product))
            total, error = wide.add_exactly(r, product)
            tail = builder.fadd(builder.fadd(error, rest), builder.fmul(n, third))
            r = builder.fadd(total, tail)
            low = builder.fadd(builder.fsub(total, r), tail)
        else:
            r = builder.fptrunc(wide.fma(n, second, r), m.type)
        bits = wide.bits(shifted)
        self.quadrant = bits if m.is_wide else builder.trunc(bits, m.integer)
        z = builder.fmul(r, r)
        half = builder.fmul(z, m.constant(0.5))
        rest = m.constant(1.0) if low is None else builder.fmul(low, builder.fsub(m.constant(1.0), half))
        sin_tail = builder.fmul(builder.fmul(r, z), m.hexadecimal(_SIN_DOUBLE if m.is_wide else _SIN_FLOAT, z))
        self.sin = builder.fadd(r, sin_tail if low is None else builder.fadd(sin_tail, rest))
        # 1 - z/2 is rounded; its rounding error is added to the small terms.
        head = builder.fsub(m.constant(1.0), half)
        lost = builder.fsub(builder.fsub(m.constant(1.0), head), half)
        square = builder.fmul(z, z)
        cos_tail = m.fma(square, m.hexadecimal(_COS_DOUBLE if m.is_wide else _COS_FLOAT, z), lost)
        if low is not None:
            cos_tail = builder.fsub(cos_tail, builder.fmul(r, low))
        self.cos = builder.fadd(head, cos_tail)

    def odd(self) -> Any:
        """Return the condition that n is odd, so that sine and cosine are exchanged."""
        m = self.m
        return self.builder.icmp_unsigned("!=", self.builder.and_(self.quadrant, m.whole(1)), m.whole(0))

    def signed(self, y: Any, offset: int) -> Any:
        """Return y, negated where (n + offset) mod 4 is 2 or 3."""
        m, builder = self.m, self.builder
        moved = builder.add(self.quadrant, m.whole(offset))
        top = m.format.integer.width - 2
        sign = builder.and_(builder.shl(moved, m.whole(top)), m.whole(1 << (top + 1)))
        return m.from_bits(builder.xor(m.bits(y), sign))

    def bounded(self, x: Any, y: Any) -> Any:
        """Return y, or NaN where |x| exceeds the largest supported argument."""
        return self.m.select("<=", self.m.absolute(x), LARGEST, y, self.m.constant(float("nan")))


def sin(builder: ir.Builder, x: ir.Value) -> Any:
    """Write code that computes sin x, with an error ≤ 1.5 ulp (float32 and float64); return the result.

    It is NaN for |x| > 2⁴⁵, and -0 at -0.
    """
    reduced = _Reduced(builder, x)
    m = reduced.m
    y = reduced.signed(builder.select(reduced.odd(), reduced.cos, reduced.sin), 0)
    return reduced.bounded(x, m.select("==", x, 0.0, x, y))


def cos(builder: ir.Builder, x: ir.Value) -> Any:
    """Write code that computes cos x, with an error ≤ 1.5 ulp (float32 and float64); return the result.

    It is NaN for |x| > 2⁴⁵.
    """
    reduced = _Reduced(builder, x)
    return reduced.bounded(x, reduced.signed(builder.select(reduced.odd(), reduced.sin, reduced.cos), 1))


def tan(builder: ir.Builder, x: ir.Value) -> Any:
    """Write code that computes tan x, with an error ≤ 3 ulp (float32 and float64); return the result.

    It is NaN for |x| > 2⁴⁵, and -0 at -0.
    """
    reduced = _Reduced(builder, x)
    m, odd = reduced.m, reduced.odd()
    above = builder.select(odd, builder.fneg(reduced.cos), reduced.sin)
    below = builder.select(odd, reduced.sin, reduced.cos)
    return reduced.bounded(x, m.select("==", x, 0.0, x, builder.fdiv(above, below)))
