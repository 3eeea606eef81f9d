"""Vectorized xʸ, for float32 and float64, with NaN and denormals handled as ``vector_math`` describes.

xʸ is computed as e^(y ln x). ln |x| and y ln |x| are each kept as the sum of two numbers, because an error of the
exponent is also the relative error of the result. float32 is computed in float64. As in Tang (1990) and fdlibm,

    |x| = 2ᵏ (1 + f);  s = f / (2 + f);  z = s²;  ln(1 + f) = 2s + s³ (2/3 + z Q(z)) with a polynomial Q
"""

from __future__ import annotations

from typing import Any

from striate.codegen import ir, vector_math
from striate.codegen.vector_math import Steps

_THIRDS = (float.fromhex("0x1.5555555555555p-1"), float.fromhex("0x1.5555555555555p-55"))
"""2/3 as the sum of two numbers."""
_ARTANH = (
    "0x1.9999999999b30p-2", "0x1.2492492457d42p-2", "0x1.c71c722d6c17fp-3", "0x1.745ce9e0a2935p-3",
    "0x1.3b1eeca140c1bp-3", "0x1.0f7fda4954a96p-3", "0x1.0e434608ab0f2p-3",
)  # fmt: skip
"""Coefficients of (2 artanh(s) - 2s - 2/3 s³) / s⁵ as a polynomial in s²."""


def power(builder: ir.Builder, x: ir.Value, y: ir.Value) -> Any:
    """Write code that computes xʸ as in C, with an error ≤ 1.2 ulp (float32 and float64); return the result.

    The result is 1 if y is 0 or x is 1, even if the other argument is NaN. The result is NaN if x is finite and
    negative and y is a finite number that is not an integer. The result is negative if x is negative and y is an odd
    integer. 0 to a negative power is ±infinity.
    """
    narrow = Steps(builder, x)
    result = _power(builder, narrow.widened(x), narrow.widened(y))
    return result if narrow.is_wide else builder.fptrunc(result, narrow.type)


def _power(builder: ir.Builder, x: ir.Value, y: ir.Value) -> Any:
    m = Steps(builder, x)
    a = m.absolute(x)
    high, low = _two_part_log(m, a)
    upper = builder.fmul(y, high)
    lower = m.fma(y, low, m.fma(y, high, builder.fneg(upper)))
    lower = m.select("<", m.absolute(upper), 1000.0, lower, m.constant(0.0))  # otherwise eᵘ is 0 or infinity
    result = vector_math.exp(builder, upper, lower)
    rising = builder.fcmp_ordered(">", y, m.constant(0.0))
    zero, infinity = m.constant(0.0), m.constant(float("inf"))
    result = m.select("==", a, 0.0, builder.select(rising, zero, infinity), result)
    result = m.select("==", a, float("inf"), builder.select(rising, infinity, zero), result)
    result = m.select("==", a, 1.0, m.constant(1.0), result)
    whole = builder.fcmp_ordered("==", m.floor(y), y)
    half = builder.fmul(y, m.constant(0.5))
    odd = builder.and_(whole, builder.fcmp_unordered("!=", m.floor(half), half))
    negative = builder.icmp_signed("<", m.bits(x), m.whole(0))
    result = builder.select(builder.and_(odd, negative), builder.fneg(result), result)
    # A negative, finite number to a power that is not an integer gives NaN.
    finite = builder.fcmp_ordered("<", a, infinity)
    below = builder.and_(builder.fcmp_ordered("<", x, zero), finite)
    nan = m.constant(float("nan"))
    result = builder.select(builder.and_(below, builder.not_(whole)), nan, result)
    result = builder.select(builder.fcmp_unordered("uno", x, y), nan, result)
    one = builder.or_(builder.fcmp_ordered("==", y, zero), builder.fcmp_ordered("==", x, m.constant(1.0)))
    return builder.select(one, m.constant(1.0), result)


def _two_part_log(m: Steps, a: Any) -> tuple[Any, Any]:
    """Return ln a for positive, finite a as the sum of two float64 numbers, with about 100 correct bits."""
    builder = m.builder
    k, f = m.split(a)
    two = m.constant(2.0)
    below = builder.fadd(f, two)
    below_low = builder.fsub(f, builder.fsub(below, two))
    inverse = builder.fdiv(m.constant(1.0), below)
    s = builder.fmul(f, inverse)
    rest = m.fma(builder.fneg(s), below_low, m.fma(builder.fneg(s), below, f))
    s_low = builder.fmul(rest, inverse)
    z = builder.fmul(s, s)
    z_low = m.fma(builder.fmul(two, s), s_low, m.fma(s, s, builder.fneg(z)))
    q = builder.fmul(z, m.hexadecimal(_ARTANH, z))
    third = m.constant(_THIRDS[0])
    t = builder.fadd(third, q)
    t_low = builder.fadd(builder.fadd(builder.fsub(third, t), q), m.constant(_THIRDS[1]))
    p = builder.fmul(z, t)
    p_low = m.fma(z_low, t, m.fma(z, t_low, m.fma(z, t, builder.fneg(p))))
    cube = builder.fmul(s, p)
    cube_low = m.fma(s_low, p, m.fma(s, p_low, m.fma(s, p, builder.fneg(cube))))
    double = builder.fmul(two, s)
    v = builder.fadd(double, cube)
    v_low = builder.fadd(builder.fsub(double, v), cube)
    v_low = builder.fadd(v_low, m.fma(two, s_low, cube_low))
    ln2, ln2_low = (m.constant(part) for part in m.format.ln2)
    scaled = builder.fmul(k, ln2)
    scaled_low = m.fma(k, ln2_low, m.fma(k, ln2, builder.fneg(scaled)))
    high = builder.fadd(scaled, v)
    low = builder.fadd(builder.fsub(scaled, high), v)
    low = builder.fadd(low, builder.fadd(scaled_low, v_low))
    return high, low
