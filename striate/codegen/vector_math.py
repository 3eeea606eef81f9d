"""Vectorized exp, log and related functions, tanh, sigmoid and cos(πt), for float32 and float64.

Every function takes an ``ir.Builder`` and a value, a scalar or a vector of any width, writes the instructions, and
returns a value of the same type. All steps are elementwise additions, multiplications, fused multiply-adds, divisions
and integer operations, which every processor rounds alike. So the bits of a result depend neither on the width nor on
the target.

The docstrings state error bounds in units in the last place (ulp). The bounds were measured on dense sweeps and rounded
up. ``tests/codegen/test_vector_math.py`` checks them. If the processor flushes denormals, denormal arguments and
results are zeros. A NaN argument gives NaN.

The polynomials are minimax fits (Remez exchange in 60 digits, rounded to the type). The argument reductions are those
of W. J. Cody and W. Waite, Software Manual for the Elementary Functions (1980), and, for the logarithm, of P. T. P.
Tang (1990), as in fdlibm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from striate.codegen import ir


@dataclass(frozen=True)
class _Format:
    """A floating-point type: its layout, its constants, and the coefficients of its polynomials.

    Constants are sums of two parts; coefficients begin with that of the lowest power.
    """

    mantissa: int  # stored bits
    bias: int
    integer: ir.IntType
    ln2: tuple[float, float]  # upper and lower part
    pi: tuple[float, float]
    smallest: float  # the smallest normal number
    exp_range: tuple[float, float]  # outside, exp is 0 or infinity
    tanh_range: float  # if 2|x| is larger, tanh |x| is 1
    exp: tuple[float, ...]  # (eʳ - 1 - r) / r² on |r| ≤ ½ ln 2
    log: tuple[float, ...]  # (2 artanh(s) - 2s) / s³ in z = s², |s| ≤ 3 - 2√2
    sin: tuple[float, ...]  # (sin(πu) - πu) / u³ in u², |u| ≤ ½

    @property
    def magic(self) -> float:
        """1.5 · 2^mantissa: adding it rounds a number to an integer, which is then in the lowest bits of the sum."""
        return 1.5 * 2.0**self.mantissa

    @property
    def sqrt_half(self) -> int:
        """The bits of √½, the lower end of the range of 1 + f in the logarithm's reduction x = 2ᵏ (1 + f)."""
        return 0x3F3504F3 if self.mantissa == 23 else 0x3FE6A09E667F3BCD


def _hexadecimal(text: str) -> tuple[float, ...]:
    return tuple(float.fromhex(word) for word in text.split())


_LOG2_E = 1.4426950408889634

_FLOAT = _Format(
    mantissa=23,
    bias=127,
    integer=ir.I32,
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
    integer=ir.I64,
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


def fma(builder: ir.Builder, a: ir.Value, b: ir.Value, c: ir.Value) -> Any:
    """Write code that computes a · b + c, rounded once, and return the result."""
    return builder.intrinsic("llvm.fma", a, b, c)


def absolute(builder: ir.Builder, x: ir.Value) -> Any:
    """Write code that computes |x|, and return the result."""
    return builder.intrinsic("llvm.fabs", x)


def copysign(builder: ir.Builder, magnitude: ir.Value, sign: ir.Value) -> Any:
    """Write code that gives ``magnitude`` the sign bit of ``sign``, and return the result."""
    return builder.intrinsic("llvm.copysign", magnitude, sign)


def sqrt(builder: ir.Builder, x: ir.Value) -> Any:
    """Write code that computes √x, correctly rounded, and return the result: NaN for x < 0, and -0 for -0."""
    return builder.intrinsic("llvm.sqrt", x)


class Steps:
    """Writes the steps that the functions of this module share, for arguments of the same type as ``x``.

    A method that "returns" a number writes the instructions that compute it, and returns the LLVM value of the result.
    """

    def __init__(self, builder: ir.Builder, x: ir.Value) -> None:
        self.builder = builder
        self.type = x.type
        self.format = _FLOAT if ir.element_of(x.type) is ir.FLOAT else _DOUBLE
        self.integer = ir.like(x.type, self.format.integer)

    def constant(self, value: float) -> ir.Value:
        return ir.splat(self.type, value)

    def whole(self, value: int) -> ir.Value:
        return ir.splat(self.integer, value)

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> Any:
        return fma(self.builder, a, b, c)

    def bits(self, x: ir.Value) -> Any:
        return self.builder.bitcast(x, self.integer)

    def from_bits(self, x: ir.Value) -> Any:
        return self.builder.bitcast(x, self.type)

    @property
    def is_wide(self) -> bool:
        """Whether the arguments are float64 (as opposed to float32)."""
        return self.format is _DOUBLE

    def widened(self, x: ir.Value) -> Any:
        """Return x converted to float64."""
        return self.builder.fpext(x, ir.like(x.type, ir.DOUBLE))

    def absolute(self, x: ir.Value) -> Any:
        """Return |x|."""
        return absolute(self.builder, x)

    def floor(self, x: ir.Value) -> Any:
        """Return the largest integer ≤ x, as a floating-point number."""
        return self.builder.intrinsic("llvm.floor", x)

    def add_exactly(self, a: ir.Value, b: ir.Value) -> tuple[Any, Any]:
        """Return (s, e): the rounded sum s = a + b and its rounding error e, so s + e = a + b exactly.

        The algorithm is Knuth's two-sum (1969).
        """
        total = self.builder.fadd(a, b)
        second = self.builder.fsub(total, a)
        first = self.builder.fsub(total, second)
        return total, self.builder.fadd(self.builder.fsub(a, first), self.builder.fsub(b, second))

    def hexadecimal(self, coefficients: Sequence[str], x: ir.Value) -> Any:
        """Return Σ_i cᵢ xⁱ for ``coefficients`` c₀, c₁, … that are written as hexadecimal floating-point text."""
        return self.polynomial(tuple(float.fromhex(text) for text in coefficients), x)

    def polynomial(self, coefficients: tuple[float, ...], x: ir.Value) -> Any:
        """Return Σ_i cᵢ xⁱ for ``coefficients`` c₀, c₁, …, by Horner's rule."""
        *lower, result = [self.constant(value) for value in coefficients]
        for value in reversed(lower):
            result = self.fma(result, x, value)
        return result

    def select(self, comparison: str, x: ir.Value, bound: float, then: ir.Value, otherwise: ir.Value) -> Any:
        """Return ``then`` where the comparison of x with ``bound`` is true, and ``otherwise`` elsewhere.

        A comparison with NaN is false. ``comparison`` is "<", "<=", "==", "!=", ">=" or ">".
        """
        condition = self.builder.fcmp_ordered(comparison, x, self.constant(bound))
        return self.builder.select(condition, then, otherwise)

    def clamp(self, x: ir.Value, low: float | None, high: float | None) -> Any:
        """Return x limited to [low, high], where None means no limit; NaN stays NaN."""
        if low is not None:
            x = self.select("<", x, low, self.constant(low), x)
        if high is not None:
            x = self.select(">", x, high, self.constant(high), x)
        return x

    def reduce_exponent(self, x: ir.Value, low: ir.Value | None = None) -> tuple[Any, Any, Any]:
        """Decompose x (plus ``low`` if given) as n ln 2 + r with |r| ≤ ½ ln 2; return (n, n + magic, eʳ - 1).

        n is an integer, and magic is a constant so large that the lowest bits of the float n + magic are the integer n.
        """
        magic = self.constant(self.format.magic)
        shifted = self.fma(x, self.constant(_LOG2_E), magic)
        n = self.builder.fsub(shifted, magic)
        high, small = self.format.ln2
        r = self.fma(n, self.constant(-high), x)
        r = self.fma(n, self.constant(-small), r)
        if low is not None:
            r = self.builder.fadd(r, low)
        square = self.builder.fmul(r, r)
        return n, shifted, self.fma(self.polynomial(self.format.exp, r), square, r)

    def split(self, x: ir.Value) -> tuple[Any, Any]:
        """Decompose x as 2ᵏ (1 + f) with an integer k and √½ ≤ 1 + f < √2; return (k, f).

        x must be positive and finite.
        """
        builder, form = self.builder, self.format
        # Denormals have no exponent of their own: they are scaled up first.
        tiny = builder.fcmp_ordered("<", x, self.constant(form.smallest))
        scale = form.mantissa + 2
        scaled = builder.select(tiny, builder.fmul(x, self.constant(2.0**scale)), x)
        offset = form.bias + scale
        # The exponent of (bits - bits of √½ + bits of 1) is k + bias; no sign bit is involved for positive x.
        shifted = builder.add(self.bits(scaled), self.whole((form.bias << form.mantissa) - form.sqrt_half))
        mantissa = builder.and_(shifted, self.whole((1 << form.mantissa) - 1))
        f = builder.fsub(self.from_bits(builder.add(mantissa, self.whole(form.sqrt_half))), self.constant(1.0))
        # An integer below 2^mantissa becomes a float when it is put into the mantissa of 2^mantissa, without the slow
        # conversion instruction.
        exponent = builder.lshr(shifted, self.whole(form.mantissa))
        anchor = 2.0**form.mantissa
        anchored = self.from_bits(builder.or_(exponent, self.whole((form.bias + form.mantissa) << form.mantissa)))
        start = builder.select(tiny, self.constant(anchor + offset), self.constant(anchor + form.bias))
        return builder.fsub(anchored, start), f

    def power_of_two(self, shifted: ir.Value) -> Any:
        """Return 2ⁿ for ``shifted``, the float n + magic that ``reduce_exponent`` returned."""
        width = self.whole(self.format.mantissa)
        one = self.whole(self.format.bias << self.format.mantissa)
        return self.from_bits(self.builder.add(self.builder.shl(self.bits(shifted), width), one))


def exp(builder: ir.Builder, x: ir.Value, low: ir.Value | None = None) -> Any:
    """Write code that computes eˣ, with an error ≤ 1.1 ulp (float32 and float64); return the result.

    Large x give infinity, and very negative x give denormals or 0. With ``low``, the argument of the function is the
    sum x + ``low``.

    With x = n ln 2 + r for an integer n, eˣ = 2ⁿ · eʳ. The code multiplies eʳ by two powers of 2 whose product is 2ⁿ,
    because 2ⁿ itself may overflow when the result does not.
    """
    m = Steps(builder, x)
    n, _, r = m.reduce_exponent(m.clamp(x, *m.format.exp_range), low)
    magic = m.constant(m.format.magic)
    half = m.fma(n, m.constant(0.5), magic)
    rest = builder.fadd(builder.fsub(n, builder.fsub(half, magic)), magic)
    result = builder.fadd(r, m.constant(1.0))
    return builder.fmul(builder.fmul(result, m.power_of_two(half)), m.power_of_two(rest))


def expm1(builder: ir.Builder, x: ir.Value) -> Any:
    """Write code that computes eˣ - 1, with an error ≤ 2 ulp (float32 and float64), also near 0; return the result.

    It is -1 at -infinity and -0 at -0.

    With x = n ln 2 + r for an integer n, eˣ - 1 = 2 (2ⁿ⁻¹ (eʳ - 1) + (2ⁿ⁻¹ - ½)). The sum has no cancellation, and
    overflows only if the result does.
    """
    m = Steps(builder, x)
    clamped = m.clamp(x, -m.format.tanh_range, m.format.exp_range[1])
    n, _, r = m.reduce_exponent(clamped)
    power = m.power_of_two(builder.fadd(builder.fsub(n, m.constant(1.0)), m.constant(m.format.magic)))
    half = m.fma(power, r, builder.fsub(power, m.constant(0.5)))
    result = m.select(
        "==", n, 0.0, r, builder.fmul(half, m.constant(2.0))
    )  # for n = 0, half of a denormal would be rounded
    return copysign(builder, result, x)


def log(builder: ir.Builder, x: ir.Value) -> Any:
    """Write code that computes ln x, with an error ≤ 1 ulp (float32 and float64); return the result.

    It is -infinity at ±0, NaN below 0, and infinity at infinity.

    Let x = 2ᵏ · (1 + f) for an integer k and √½ ≤ 1 + f < √2. Then ln x = k ln 2 + ln(1 + f). With s = f / (2 + f) and
    z = s², ln(1 + f) = 2 artanh s. It is computed as f - f²/2 + s (f²/2 + z·P(z)) with a polynomial P.
    """
    return _log(builder, x, None)


def log1p(builder: ir.Builder, x: ir.Value) -> Any:
    """Write code that computes ln(1 + x), with an error ≤ 1 ulp (float32 and float64), also near 0; return the result.

    It is -infinity at -1, NaN below -1, and -0 at -0.

    Let u be 1 + x rounded, and e = (1 + x) - u its rounding error. Then ln(1 + x) = ln u + e / u, up to a term of order
    e². As in ``log``, u is split as 2ᵏ (1 + f). If k = 0, the code uses f = x and leaves e / u out.
    """
    return _log(builder, Steps(builder, x).add_exactly(x, Steps(builder, x).constant(1.0))[0], x)


def _log(builder: ir.Builder, x: ir.Value, above_one: ir.Value | None) -> Any:
    """Return ln x, or ln(1 + ``above_one``) if that is given, where x is 1 + ``above_one``, rounded."""
    m = Steps(builder, x)
    form = m.format
    k, f = m.split(x)
    lost: Any = None
    if above_one is not None:
        error = m.add_exactly(above_one, m.constant(1.0))[1]
        lost = m.select("==", k, 0.0, m.constant(0.0), builder.fdiv(error, x))
        f = m.select("==", k, 0.0, above_one, f)
    s = builder.fdiv(f, builder.fadd(f, m.constant(2.0)))
    z = builder.fmul(s, s)
    half_square = builder.fmul(builder.fmul(f, m.constant(0.5)), f)
    tail = builder.fadd(half_square, builder.fmul(z, m.polynomial(form.log, z)))
    high, low = form.ln2
    rest = builder.fmul(k, m.constant(low))
    small = m.fma(s, tail, rest if lost is None else builder.fadd(rest, lost))
    result = m.fma(k, m.constant(high), builder.fadd(f, builder.fsub(small, half_square)))
    infinity = float("inf")
    result = m.select("==", x, infinity, x, result)
    result = m.select("==", x, 0.0, m.constant(-infinity), result)
    # NaN arguments give NaN here too, because the comparison is false.
    result = m.select(">=", x, 0.0, result, m.constant(float("nan")))
    return result if above_one is None else m.select("==", above_one, 0.0, above_one, result)


def tanh(builder: ir.Builder, x: ir.Value) -> Any:
    """Write code that computes tanh x, with an error ≤ 3 ulp (float32 and float64), also near 0; return the result.

    It is ±1 at ±infinity and -0 at -0.

        t = e^(-2|x|) - 1;  tanh |x| = -t / (2 + t)

    With -2|x| = n ln 2 + r for an integer n, t = 2ⁿ (eʳ - 1) + (2ⁿ - 1). The sum has no cancellation.
    """
    m = Steps(builder, x)
    argument = builder.fmul(absolute(builder, x), m.constant(-2.0))
    _, shifted, r = m.reduce_exponent(m.clamp(argument, -m.format.tanh_range, None))
    power = m.power_of_two(shifted)
    t = m.fma(power, r, builder.fsub(power, m.constant(1.0)))
    quotient = builder.fdiv(t, builder.fadd(t, m.constant(2.0)))
    return copysign(builder, quotient, x)


def sigmoid(builder: ir.Builder, x: ir.Value) -> Any:
    """Write code that computes 1 / (1 + e⁻ˣ), with an error ≤ 2.5 ulp (float32 and float64); return the result.

    It is 0 at -infinity and 1 at infinity. With z = e^(-|x|) ≤ 1, the code computes 1 / (1 + z) for x ≥ 0 and z / (1 +
    z) for x < 0, so nothing overflows.
    """
    m = Steps(builder, x)
    one = m.constant(1.0)
    z = exp(builder, builder.fmul(absolute(builder, x), m.constant(-1.0)))
    return builder.fdiv(m.select(">=", x, 0.0, one, z), builder.fadd(z, one))


def cos_pi(builder: ir.Builder, t: ir.Value) -> Any:
    """Write code that computes cos(πt), only for 0 ≤ t ≤ 1; return the result.

    The error is ≤ 2.5 ulp (float32 and float64), and the result is exactly 0 at ½. cos(πt) = sin(πu) with u = ½ - t,
    which is exact where the cosine is small.
    """
    m = Steps(builder, t)
    u = builder.fsub(m.constant(0.5), t)
    square = builder.fmul(u, u)
    high, low = m.format.pi
    tail = m.fma(square, m.polynomial(m.format.sin, square), m.constant(low))
    return m.fma(u, m.constant(high), builder.fmul(u, tail))
