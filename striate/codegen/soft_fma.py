"""Computes a · b + c with a single rounding on processors without an instruction for it (x86-64-v2).

An intermediate sum is rounded to odd: if the sum is inexact, its last bit is set. Boldo and Melquiond, "Emulation of
FMA and correctly rounded sums", IEEE TC 57 (2008).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from striate.codegen.function_writer import I64, FunctionWriter

_FLOAT, _DOUBLE = ir.FloatType(), ir.DoubleType()
_SPLITTER = 2.0**27 + 1


def write_soft_fma(module: ir.Module) -> None:
    """Add the functions ``fmaf`` (float32) and ``fma`` (float64), which return a · b + c, to an LLVM module.

    LLVM's code calls these functions if the processor has no instruction for a · b + c.
    """
    w = FunctionWriter(module, "fmaf", _FLOAT, [_FLOAT] * 3)
    a, b, c = (w.builder.fpext(argument, _DOUBLE) for argument in w.arguments)
    total = _odd_sum(w, w.builder.fmul(a, b), c)  # the product of two float32 numbers is exact in float64
    w.builder.ret(w.builder.fptrunc(total, _FLOAT))

    w = FunctionWriter(module, "fma", _DOUBLE, [_DOUBLE] * 3)
    a, b, c = w.arguments
    high, low = _product(w, a, b)
    tail, rest = _sum(w, c, low)
    head, middle = _sum(w, high, tail)
    exact = w.builder.fadd(head, _odd_sum(w, rest, middle))
    # Infinity and NaN come out of the plain form; the exact one would turn infinity into NaN.
    plain = w.builder.fadd(w.builder.fmul(a, b), c)
    finite = w.builder.fcmp_ordered("==", w.builder.fsub(exact, exact), _DOUBLE(0.0))
    w.builder.ret(w.builder.select(finite, exact, plain))


def _sum(w: FunctionWriter, a: Any, b: Any) -> tuple[Any, Any]:
    """Return a + b rounded, and its error (Knuth)."""
    f = w.builder
    total = f.fadd(a, b)
    second = f.fsub(total, a)
    return total, f.fadd(f.fsub(a, f.fsub(total, second)), f.fsub(b, second))


def _product(w: FunctionWriter, a: Any, b: Any) -> tuple[Any, Any]:
    """Return a · b rounded, and its error (Dekker)."""
    f = w.builder
    (a_high, a_low), (b_high, b_low) = _split(w, a), _split(w, b)
    product = f.fmul(a, b)
    error = f.fsub(f.fmul(a_high, b_high), product)
    error = f.fadd(f.fadd(error, f.fmul(a_high, b_low)), f.fmul(a_low, b_high))
    return product, f.fadd(error, f.fmul(a_low, b_low))


def _split(w: FunctionWriter, a: Any) -> tuple[Any, Any]:
    """Return two halves of at most 26 bits whose sum is a."""
    f = w.builder
    scaled = f.fmul(a, _DOUBLE(_SPLITTER))
    high = f.fsub(scaled, f.fsub(scaled, a))
    return high, f.fsub(a, high)


def _odd_sum(w: FunctionWriter, a: Any, b: Any) -> Any:
    """Return a + b rounded to odd."""
    f = w.builder
    total, error = _sum(w, a, b)
    bits = f.bitcast(total, I64)
    zero = _DOUBLE(0.0)
    outward = f.icmp_unsigned(
        "==", f.fcmp_ordered(">", error, zero), f.fcmp_ordered(">", total, zero)
    )  # fmt: skip
    moved = f.add(bits, f.select(outward, I64(1), I64(-1)))
    inexact = f.fcmp_ordered("!=", error, zero)
    even = f.icmp_unsigned("==", f.and_(bits, I64(1)), I64(0))
    return f.bitcast(f.select(f.and_(inexact, even), moved, bits), _DOUBLE)
