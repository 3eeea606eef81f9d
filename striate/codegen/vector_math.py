"""exp, log, tanh, sigmoid and cos(πt) of float32 or float64, for scalars and for vectors of any width.

Every function takes an ``ir.IRBuilder`` and a value and returns a value of the same type. All steps are elementwise
additions, multiplications, fused multiply-adds, divisions and integer operations, which every processor rounds alike.
So the bits of a result depend neither on the width nor on the target.

The docstrings state error bounds in units in the last place (ulp). ``tests/codegen/test_vector_math.py`` checks them;
they were measured on dense sweeps and rounded up. Where the processor flushes denormals, denormal arguments and results
are zeros. NaN gives NaN.

The polynomials are minimax fits (Remez exchange in 60 digits, rounded to the type). The argument reductions are those
of W. J. Cody and W. Waite, Software Manual for the Elementary Functions (1980), and, for the logarithm, of P. T. P.
Tang (1990), as in fdlibm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from llvmlite import ir


@dataclass(frozen=True)
class _Format:
    """A floating-point type: its layout, its constants in two parts, and polynomials with the lowest power first."""

    mantissa: int  # stored bits
    bias: int
    integer: ir.IntType
    ln2: tuple[float, float]  # upper and lower part
    pi: tuple[float, float]
    smallest: float  # normal number
    exp_range: tuple[float, float]  # beyond, exp is 0 or infinity
    tanh_range: float  # beyond 2|x|, tanh is 1
    exp: tuple[float, ...]  # (eʳ - 1 - r) / r² on |r| ≤ ½ ln 2
    log: tuple[float, ...]  # (2 artanh(s) - 2s) / s³ in z = s², |s| ≤ 3 - 2√2
    sin: tuple[float, ...]  # (sin(πu) - πu) / u³ in u², |u| ≤ ½

    @property
    def magic(self) -> float:
        """1.5 · 2^mantissa. Adding it rounds to an integer, and the lowest bits of the sum are that integer."""
        return 1.5 * 2.0**self.mantissa

    @property
    def sqrt_half(self) -> int:
        """The bits of √½, the lower end of the logarithm's reduced range."""
        return 0x3F3504F3 if self.mantissa == 23 else 0x3FE6A09E667F3BCD


def _hexadecimal(text: str) -> tuple[float, ...]:
    return tuple(float.fromhex(word) for word in text.split())


_LOG2_E = 1.4426950408889634

_FLOAT = _Format(
    mantissa=23,
    bias=127,
    integer=ir.IntType(32),
    ln2=(float.fromhex("0x1.62e43p-1"), float.fromhex("-0x1.05c61p-29")),
    pi=(float.fromhex("0x1.921fb6p+1"), float.fromhex("-0x1.777a5cp-24")),
    smallest=2.0**-126,
    exp_range=(-104.0, 89.0),
    tanh_range=24.0,
    exp=_hexadecimal("0x1p-1 0x1.5554b2p-3 0x1.55548ap-5 0x1.12263cp-7 0x1.6d965cp-10"),
    log=_hexadecimal("0x1.55557ap-1 0x1.995f7cp-2 0x1.31d29ap-2"),
    sin=_hexadecimal("-0x1.4abbc8p+2 0x1.46699cp+1 -0x1.3262ccp-1 0x1.3eff86p-4"),
)
_DOUBLE = _Format(
    mantissa=52,
    bias=1023,
    integer=ir.IntType(64),
    ln2=(float.fromhex("0x1.62e42fefa39efp-1"), float.fromhex("0x1.abc9e3b39803fp-56")),
    pi=(float.fromhex("0x1.921fb54442d18p+1"), float.fromhex("0x1.1a62633145c07p-53")),
    smallest=2.0**-1022,
    exp_range=(-746.0, 710.0),
    tanh_range=50.0,
    exp=_hexadecimal(
        "0x1.0000000000004p-1 0x1.555555555555cp-3 0x1.555555555258cp-5 0x1.111111110e923p-7 "
        "0x1.6c16c17e4a2cep-10 0x1.a01a01b522b54p-13 0x1.a019a8d92a734p-16 0x1.71ddeb76f8fcdp-19 "
        "0x1.28a0ac8de2a1cp-22 0x1.af7493d8a1febp-26"
    ),
    log=_hexadecimal(
        "0x1.5555555555588p-1 0x1.999999998296p-2 0x1.2492493fefdfdp-2 0x1.c71c5371c4658p-3 "
        "0x1.7465fd64dab6dp-3 0x1.39a7ae6898313p-3 0x1.2ecea8a600ecbp-3"
    ),
    sin=_hexadecimal(
        "-0x1.4abbce625be53p+2 0x1.466bc6775aab4p+1 -0x1.32d2cce6295f9p-1 0x1.507834860c802p-4 "
        "-0x1.e3074e5976748p-8 0x1.e8f38215ad5e1p-12 -0x1.6f7ec3e708753p-16 0x1.9dc105122393ap-21"
    ),
)


def splat(type_: ir.Type, value: float | int) -> ir.Constant:
    """The constant with ``value``, rounded to the type, in every lane; a scalar type gives a scalar."""
    if isinstance(type_, ir.VectorType):
        return ir.Constant(type_, [type_.element(value)] * type_.count)
    return ir.Constant(type_, value)


def _intrinsic(builder: ir.IRBuilder, name: str, *arguments: ir.Value) -> Any:
    """Calls ``llvm.name`` on arguments of one type."""
    type_ = arguments[0].type
    element = type_.element if isinstance(type_, ir.VectorType) else type_
    suffix = f"v{type_.count}" if isinstance(type_, ir.VectorType) else ""
    full = f"llvm.{name}.{suffix}{element.intrinsic_name}"
    declared = builder.module.globals.get(full)
    if declared is None:
        declared = ir.Function(builder.module, ir.FunctionType(type_, [type_] * len(arguments)), full)
    return builder.call(declared, arguments)


def fma(builder: ir.IRBuilder, a: ir.Value, b: ir.Value, c: ir.Value) -> Any:
    """a · b + c, rounded once."""
    return _intrinsic(builder, "fma", a, b, c)


def absolute(builder: ir.IRBuilder, x: ir.Value) -> Any:
    """|x|; exact."""
    return _intrinsic(builder, "fabs", x)


def copysign(builder: ir.IRBuilder, magnitude: ir.Value, sign: ir.Value) -> Any:
    """``magnitude`` with the sign bit of ``sign``; exact."""
    return _intrinsic(builder, "copysign", magnitude, sign)


def sqrt(builder: ir.IRBuilder, x: ir.Value) -> Any:
    """√x, correctly rounded; NaN below zero, -0 for -0."""
    return _intrinsic(builder, "sqrt", x)


class _Math:
    """The steps that the functions share, for the type of one argument."""

    def __init__(self, builder: ir.IRBuilder, x: ir.Value) -> None:
        self.builder = builder
        self.type = x.type
        element = x.type.element if isinstance(x.type, ir.VectorType) else x.type
        self.format = _FLOAT if isinstance(element, ir.FloatType) else _DOUBLE
        integer = self.format.integer
        self.integer = ir.VectorType(integer, x.type.count) if isinstance(x.type, ir.VectorType) else integer

    def constant(self, value: float) -> ir.Constant:
        return splat(self.type, value)

    def whole(self, value: int) -> ir.Constant:
        return splat(self.integer, value)

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> Any:
        return fma(self.builder, a, b, c)

    def bits(self, x: ir.Value) -> Any:
        return self.builder.bitcast(x, self.integer)

    def from_bits(self, x: ir.Value) -> Any:
        return self.builder.bitcast(x, self.type)

    def polynomial(self, coefficients: tuple[float, ...], x: ir.Value) -> Any:
        """Horner's rule, lowest power first in ``coefficients``."""
        *lower, result = [self.constant(value) for value in coefficients]
        for value in reversed(lower):
            result = self.fma(result, x, value)
        return result

    def select(self, comparison: str, x: ir.Value, bound: float, then: ir.Value, otherwise: ir.Value) -> Any:
        """``then`` where the comparison of x with ``bound`` holds; ``otherwise`` elsewhere and for NaN."""
        condition = self.builder.fcmp_ordered(comparison, x, self.constant(bound))
        return self.builder.select(condition, then, otherwise)

    def clamp(self, x: ir.Value, low: float | None, high: float | None) -> Any:
        """x limited to [low, high]; NaN stays NaN."""
        if low is not None:
            x = self.select("<", x, low, self.constant(low), x)
        if high is not None:
            x = self.select(">", x, high, self.constant(high), x)
        return x

    def reduce_exponent(self, x: ir.Value) -> tuple[Any, Any, Any]:
        """x = n ln 2 + r with |r| ≤ ½ ln 2: (n, n + magic, eʳ - 1)."""
        magic = self.constant(self.format.magic)
        shifted = self.fma(x, self.constant(_LOG2_E), magic)
        n = self.builder.fsub(shifted, magic)
        high, low = self.format.ln2
        r = self.fma(n, self.constant(-high), x)
        r = self.fma(n, self.constant(-low), r)
        square = self.builder.fmul(r, r)
        return n, shifted, self.fma(self.polynomial(self.format.exp, r), square, r)

    def power_of_two(self, shifted: ir.Value) -> Any:
        """2ⁿ from n + magic: the shift moves n from the lowest bits to the exponent, and adding 1.0 adds the bias."""
        width = self.whole(self.format.mantissa)
        one = self.whole(self.format.bias << self.format.mantissa)
        return self.from_bits(self.builder.add(self.builder.shl(self.bits(shifted), width), one))


def exp(builder: ir.IRBuilder, x: ir.Value) -> Any:
    """eˣ; error ≤ 1.1 ulp (float32 and float64); overflows to infinity, underflows through denormals to 0.

    x = n ln 2 + r; eˣ = 2ⁿ · eʳ. 2ⁿ is multiplied as two factors, because 2¹²⁸ is not a float32. Only the last
    multiplication rounds a denormal result.
    """
    m = _Math(builder, x)
    n, _, r = m.reduce_exponent(m.clamp(x, *m.format.exp_range))
    magic = m.constant(m.format.magic)
    half = m.fma(n, m.constant(0.5), magic)
    rest = builder.fadd(builder.fsub(n, builder.fsub(half, magic)), magic)
    result = builder.fadd(r, m.constant(1.0))
    return builder.fmul(builder.fmul(result, m.power_of_two(half)), m.power_of_two(rest))


def log(builder: ir.IRBuilder, x: ir.Value) -> Any:
    """ln x; error ≤ 1 ulp (float32 and float64); -infinity at ±0, NaN below 0, infinity at infinity.

    x = 2ᵏ · (1 + f) with √½ ≤ 1 + f < √2; s = f / (2 + f); ln(1 + f) = 2 artanh s = f - f²/2 + s (f²/2 + z·P(z)).
    """
    m = _Math(builder, x)
    form = m.format
    # Denormals have no exponent of their own: they are scaled up first.
    tiny = builder.fcmp_ordered("<", x, m.constant(form.smallest))
    scale = form.mantissa + 2
    scaled = builder.select(tiny, builder.fmul(x, m.constant(2.0**scale)), x)
    offset = form.bias + scale
    # The exponent of (bits - bits of √½ + bits of 1) is k + bias; no sign bit is involved for positive x.
    shifted = builder.add(m.bits(scaled), m.whole((form.bias << form.mantissa) - form.sqrt_half))
    mantissa = builder.and_(shifted, m.whole((1 << form.mantissa) - 1))
    f = builder.fsub(m.from_bits(builder.add(mantissa, m.whole(form.sqrt_half))), m.constant(1.0))
    # An integer below 2^mantissa becomes a float by standing in the mantissa of 2^mantissa: no slow conversion.
    exponent = builder.lshr(shifted, m.whole(form.mantissa))
    anchor = 2.0**form.mantissa
    anchored = m.from_bits(builder.or_(exponent, m.whole((form.bias + form.mantissa) << form.mantissa)))
    k = builder.fsub(anchored, builder.select(tiny, m.constant(anchor + offset), m.constant(anchor + form.bias)))
    s = builder.fdiv(f, builder.fadd(f, m.constant(2.0)))
    z = builder.fmul(s, s)
    half_square = builder.fmul(builder.fmul(f, m.constant(0.5)), f)
    tail = builder.fadd(half_square, builder.fmul(z, m.polynomial(form.log, z)))
    high, low = form.ln2
    small = m.fma(s, tail, builder.fmul(k, m.constant(low)))
    result = m.fma(k, m.constant(high), builder.fadd(f, builder.fsub(small, half_square)))
    infinity = float("inf")
    result = m.select("==", x, infinity, x, result)
    result = m.select("==", x, 0.0, m.constant(-infinity), result)
    # Also NaN: it is not ≥ 0.
    return m.select(">=", x, 0.0, result, m.constant(float("nan")))


def tanh(builder: ir.IRBuilder, x: ir.Value) -> Any:
    """tanh x; error ≤ 3 ulp (float32 and float64), near 0 too; ±1 at ±infinity, -0 at -0.

    t = e^(-2|x|) - 1, formed as 2ⁿ (eʳ - 1) + (2ⁿ - 1) without cancellation; tanh |x| = -t / (2 + t).
    """
    m = _Math(builder, x)
    argument = builder.fmul(absolute(builder, x), m.constant(-2.0))
    _, shifted, r = m.reduce_exponent(m.clamp(argument, -m.format.tanh_range, None))
    power = m.power_of_two(shifted)
    t = m.fma(power, r, builder.fsub(power, m.constant(1.0)))
    quotient = builder.fdiv(t, builder.fadd(t, m.constant(2.0)))
    return copysign(builder, quotient, x)


def sigmoid(builder: ir.IRBuilder, x: ir.Value) -> Any:
    """1 / (1 + e⁻ˣ); error ≤ 2.5 ulp (float32 and float64); 0 and 1 at the infinities.

    With z = e^(-|x|) ≤ 1 nothing overflows: 1 / (1 + z) for x ≥ 0, z / (1 + z) below.
    """
    m = _Math(builder, x)
    one = m.constant(1.0)
    z = exp(builder, builder.fmul(absolute(builder, x), m.constant(-1.0)))
    return builder.fdiv(m.select(">=", x, 0.0, one, z), builder.fadd(z, one))


def cos_pi(builder: ir.IRBuilder, t: ir.Value) -> Any:
    """cos(πt), only for 0 ≤ t ≤ 1; error ≤ 2.5 ulp (float32 and float64); exactly 0 at ½.

    cos(πt) = sin(πu) with u = ½ - t, which is exact where the cosine is small.
    """
    m = _Math(builder, t)
    u = builder.fsub(m.constant(0.5), t)
    square = builder.fmul(u, u)
    high, low = m.format.pi
    tail = m.fma(square, m.polynomial(m.format.sin, square), m.constant(low))
    return m.fma(u, m.constant(high), builder.fmul(u, tail))
