"""Vectorized erf, erfc and the normal distribution function Φ, for float32 and float64.

Their accuracy and handling of NaN and denormals are as ``vector_math`` describes. For a ≥ 0, erfc(a) = e^(-a²) P(t) /
(1 + 2a) with t = (a - K) / (a + K), where K is a constant. This t maps [0, ∞) to [-1, 1), so one polynomial P serves
the whole range (M. M. Shepherd and J. G. Laframboise, Mathematics of Computation 36, 1981).
"""

from __future__ import annotations

from typing import Any

from striate.codegen import ir
from striate.codegen.vector_math import Steps, copysign, exp

_ERF_FLOAT = (
    "0x1.06eba8p-3", "-0x1.81273ep-2", "0x1.ce2cf8p-4", "-0x1.b7f91p-6", "0x1.5405bep-8", "-0x1.a3f71ep-11",
    "0x1.496a12p-14",
)  # fmt: skip
"""Coefficients of erf(x) / x - 1 as a polynomial in x², for |x| ≤ 1."""
_ERF_DOUBLE = (
    "0x1.06eba8214db68p-3", "-0x1.812746b0379e6p-2", "0x1.ce2f21a042b21p-4", "-0x1.b82ce312849afp-6",
    "0x1.565bcd0db0530p-8", "-0x1.c02db3d8f264ep-11", "0x1.f9a321a195b9dp-14", "-0x1.f4d1df40274b3p-17",
    "0x1.b9def1de3f8e7p-20", "-0x1.5f1d38354a7acp-23", "0x1.f7a41b6768dd6p-27", "-0x1.386acc14bb129p-30",
    "0x1.0579a08898b38p-34",
)  # fmt: skip
_ERFC_FLOAT = (
    "0x1.46e80ep+0", "-0x1.7bf616p-4", "-0x1.540848p-3", "0x1.4ffc4p-3", "-0x1.bc0aa6p-5", "-0x1.081b2p-7",
    "0x1.1ad7c2p-7", "0x1.5854dcp-10", "-0x1.426ab8p-10", "-0x1.a40814p-12",
)  # fmt: skip
"""Coefficients of P as a polynomial in t, for K = 2 and a ≤ 10.1."""
_ERFC_DOUBLE = (
    "0x1.3ba5916e9fd7fp+0", "-0x1.1df1ad154a29bp-3", "0x1.f7f5df66fd7f7p-7", "0x1.16ecefcfa5f67p-4",
    "-0x1.9ddb23c3e909cp-4", "0x1.7fee004df8459p-4", "-0x1.0fb06dfe4f8cep-4", "0x1.3079edf9d10edp-5",
    "-0x1.0962388232f48p-6", "0x1.49c671996d53ap-8", "-0x1.8d4a9e706fbacp-11", "-0x1.a1de865612f9ep-13",
    "0x1.3be0b9e70109fp-13", "-0x1.9969e362cdb15p-16", "-0x1.78a47a7500f7dp-17", "0x1.7fb1e04c03ba2p-18",
    "0x1.437d33e1d765ap-22", "-0x1.c02968d04e255p-21", "0x1.0e1acb5f9769fp-24", "0x1.ee9c6fefdb7b9p-24",
    "-0x1.0d73577e53ff9p-27", "-0x1.d503dfa73cb5cp-27", "-0x1.eed6f3d105e31p-30",
)  # fmt: skip
"""Coefficients of P as a polynomial in t, for K = 4 and a ≤ 27.3."""
_SQRT_HALF = float.fromhex("0x1.6a09e667f3bcdp-1")


def _tail(m: Steps, a: Any, x: Any, scale: float) -> Any:
    """Return erfc(a) for a ≥ 0, where a² = ``scale`` · x².

    a² is computed from x, because a rounding of a would cost e^(-a²) many digits if a is large.
    """
    builder = m.builder
    largest, middle = (27.3, 4.0) if m.is_wide else (10.1, 2.0)
    a = m.clamp(a, None, largest)
    x = m.clamp(x, None, largest / scale**0.5)
    square = builder.fmul(x, x)
    rest = builder.fmul(m.fma(x, x, builder.fneg(square)), m.constant(-scale))
    power = exp(builder, builder.fmul(square, m.constant(-scale)))
    power = m.fma(power, rest, power)
    t = builder.fdiv(builder.fsub(a, m.constant(middle)), builder.fadd(a, m.constant(middle)))
    share = builder.fdiv(
        m.hexadecimal(_ERFC_DOUBLE if m.is_wide else _ERFC_FLOAT, t), m.fma(a, m.constant(2.0), m.constant(1.0))
    )
    return builder.fmul(power, share)


def erf(builder: ir.Builder, x: ir.Value) -> Any:
    """Write code that computes erf x = 2/√π ∫₀ˣ e^(-t²) dt, and return the result.

    The error is ≤ 1.3 ulp (float32 and float64). The result is ±1 at ±infinity and -0 at -0.
    """
    m = Steps(builder, x)
    a = m.absolute(x)
    near = m.fma(a, m.hexadecimal(_ERF_DOUBLE if m.is_wide else _ERF_FLOAT, builder.fmul(a, a)), a)
    far = builder.fsub(m.constant(1.0), _tail(m, a, a, 1.0))
    return copysign(builder, m.select("<", a, 1.0, near, far), x)


def erfc(builder: ir.Builder, x: ir.Value) -> Any:
    """Write code that computes erfc x = 1 - erf x, and return the result.

    The error is ≤ 5 ulp (float32 and float64), however small the result. The result is 0 at infinity and 2 at
    -infinity.
    """
    m = Steps(builder, x)
    a = m.absolute(x)
    tail = _tail(m, a, a, 1.0)
    return m.select("<", x, 0.0, builder.fsub(m.constant(2.0), tail), tail)


def normal_cdf(builder: ir.Builder, x: ir.Value) -> Any:
    """Write code that computes Φ(x) = ½ erfc(-x / √2), the standard normal distribution function; return the result.

    The error is ≤ 5 ulp (float32 and float64), however small the result. The result is 0 at -infinity and 1 at
    infinity.
    """
    m = Steps(builder, x)
    a = m.absolute(x)
    half = builder.fmul(_tail(m, builder.fmul(a, m.constant(_SQRT_HALF)), a, 0.5), m.constant(0.5))
    return m.select("<=", x, 0.0, half, builder.fsub(m.constant(1.0), half))
