"""Writes the check of an x86 processor's instruction set, in code that every such processor can run.

The instruction sets are the levels of the x86-64 psABI. The check also reads the register XCR0, which says whether the
operating system saves the wide vector registers. References: Intel's Software Developer's Manual, CPUID and XGETBV.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir

from striate.codegen.function_writer import I32, FunctionWriter

LEVELS = ("x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4")


def _bits(*numbers: int) -> int:
    return sum(1 << number for number in numbers)


# Bits that a level adds to the one before it: of CPUID leaf 1 ECX, leaf 7 EBX, leaf 0x80000001 ECX, and of XCR0.
_NEEDS: dict[str, tuple[int, int, int, int]] = {
    "x86-64": (0, 0, 0, 0),
    "x86-64-v2": (_bits(0, 9, 13, 19, 20, 23), 0, _bits(0), 0),  # SSE3 to SSE4.2, CMPXCHG16B, POPCNT; LAHF
    "x86-64-v3": (_bits(12, 22, 27, 28, 29), _bits(3, 5, 8), _bits(5), _bits(1, 2)),  # FMA, AVX2, BMI, LZCNT
    "x86-64-v4": (0, _bits(16, 17, 28, 30, 31), 0, _bits(5, 6, 7)),  # AVX-512 F, DQ, CD, BW, VL
}
_OSXSAVE = 27


def _needs(level: str) -> tuple[int, ...]:
    below = LEVELS[: LEVELS.index(level) + 1]
    columns = zip(*(_NEEDS[one] for one in below), strict=True)
    return tuple(sum(column) for column in columns)


def level_of(cpu: str) -> str:
    """Return the instruction set that the name of a target begins with: "x86-64-v4" for "x86-64-v4 (znver5)"."""
    return cpu.partition(" ")[0]


def write_level_check(module: ir.Module, names: Sequence[str]) -> ir.Function:
    """Add the native function level(), which checks the processor, to an LLVM module; return this function.

    level() returns the index of the highest of the instruction sets ``names`` that the computer can run, or -1 if it
    can run none of them. ``names`` are in ascending order. On ARM, level() always returns 0.
    """
    w = FunctionWriter(module, "level", I32, [])
    b = w.builder
    if w.machine.arm:
        b.ret(I32(0))
        return w.function
    cpuid_type = ir.LiteralStructType([I32] * 4)

    def cpuid(leaf: Any, register: int) -> Any:
        constraint = "={ax},={bx},={cx},={dx},{ax},{cx},~{dirflag},~{fpsr},~{flags}"
        kind = ir.FunctionType(cpuid_type, [I32, I32])
        return b.extract_value(b.asm(kind, "cpuid", constraint, [leaf, I32(0)], True), register)

    most = cpuid(I32(0), 0)
    features = b.select(w.is_(">=", most, 1), cpuid(I32(1), 2), I32(0))
    wide = b.select(w.is_(">=", most, 7), cpuid(I32(7), 1), I32(0))
    has_extended = w.is_(">=", cpuid(I32(0x80000000), 0), 0x80000001)
    extended = b.select(has_extended, cpuid(I32(0x80000001), 2), I32(0))
    saved_slot = w.variable(I32(0))
    with b.if_then(w.is_("!=", b.and_(features, I32(1 << _OSXSAVE)), 0)):
        pair = ir.LiteralStructType([I32, I32])
        kind = ir.FunctionType(pair, [I32])
        answer = b.asm(kind, "xgetbv", "={ax},={dx},{cx},~{dirflag},~{fpsr},~{flags}", [I32(0)], True)
        b.store(b.extract_value(answer, 0), saved_slot)
    saved = b.load(saved_slot, typ=I32)
    found: Any = I32(-1)
    for number, name in enumerate(names):
        fits: Any = ir.Constant(ir.IntType(1), 1)
        for have, need in zip((features, wide, extended, saved), _needs(level_of(name)), strict=True):
            fits = b.and_(fits, w.is_("==", b.and_(have, I32(need)), need))
        found = b.select(fits, I32(number), found)
    b.ret(found)
    return w.function
