"""The IR that ``codegen.ir`` writes is what llvmlite writes and LLVM reads."""

from __future__ import annotations

import ctypes
import math

import numpy as np
import pytest
from llvmlite import ir as llvmlite_ir

from striate.codegen import ir, jit, target
from striate.errors import GraphError

NUMBERS = [0.0, -0.0, 1.0, 1 / 3, -1e-45, 1e39, 3.4028235677973366e38, math.inf, -math.inf, math.nan, 2.0**-149]


@pytest.mark.parametrize("number", NUMBERS)
def test_numbers_are_written_as_llvmlite_writes_them(number: float) -> None:
    def expected(number: float) -> str:
        return f"{llvmlite_ir.DoubleType()(number).get_reference().strip()}"

    with np.errstate(over="ignore"):
        rounded = float(np.float32(number))
    assert ir.DOUBLE(number).text == expected(number)
    assert ir.FLOAT(number).text == expected(rounded)


def test_zeros_of_both_signs_are_different_constants() -> None:
    positive, negative = (ir.splat(ir.VectorType(ir.FLOAT, 4), zero) for zero in (0.0, -0.0))
    assert positive.text != negative.text


def test_a_shuffle_of_one_constant_is_a_constant() -> None:
    """LLVM aborts when it makes bfloat16 of such a shuffle, as in rows of an input gradient that no tap reaches."""
    b = ir.Builder("zeros", ir.I32, {"y": ir.POINTER})
    half, whole = (ir.splat(ir.VectorType(ir.FLOAT, lanes), 0.0) for lanes in (8, 16))
    wider = b.shuffle_vector(half, half, ir.vector(ir.I32, [*range(8), *[8] * 8]))
    assert wider.typed == whole.typed
    b.store(b.fptrunc(wider, ir.VectorType(ir.BFLOAT, 16)), b.arguments[0], 32)
    b.ret(ir.I32(0))
    for name in ("znver4", "sapphirerapids", "x86-64-v3"):
        assert jit.compile_object(b.text(), target.named(name))


def test_blocks_jumps_and_vectors() -> None:
    """y[i] = max(x[i], x[i] reversed) · 2 if the flag is set, else x[i], for four numbers."""
    vector = ir.VectorType(ir.FLOAT, 4)
    b = ir.Builder("sample", ir.I32, {"x": ir.POINTER, "y": ir.POINTER, "flag": ir.I32})
    x, y, flag = b.arguments
    loaded = b.load(x, vector, 4)
    before, then, after = b.block, b.append_basic_block("then"), b.append_basic_block("after")
    b.cbranch(b.icmp_signed("!=", flag, ir.I32(0)), then, after)
    b.position_at_end(then)
    moved = b.shuffle_vector(loaded, ir.undefined(vector), ir.vector(ir.I32, [3, 2, 1, 0]))
    larger = b.select(b.fcmp_ordered(">", loaded, moved), loaded, moved)
    doubled = b.fmul(larger, ir.splat(vector, 2.0))
    b.branch(after)
    b.position_at_end(after)
    chosen = b.phi(vector)
    chosen.add_incoming(loaded, before)
    chosen.add_incoming(doubled, then)
    b.store(chosen, y, 4)
    numbers = b.table(ir.I32, [5, 7])
    with b.if_then(b.icmp_signed("==", flag, ir.I32(2))):
        b.ret(b.load(b.gep(numbers, ir.I64(1), ir.I32), ir.I32))
    b.ret(ir.I32(0))

    library = jit.Library([jit.compile_object(b.text(), target.host())], ["sample"])
    run = jit.function(library.address("sample"), ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32)
    given, found = np.array([1, 5, 2, 3], "f4"), np.zeros(4, "f4")
    for number, (status, expected) in enumerate([(0, given), (0, [6, 10, 10, 6]), (7, [6, 10, 10, 6])]):
        assert run(given.ctypes.data, found.ctypes.data, number) == status
        np.testing.assert_array_equal(found, expected)


def test_types_that_do_not_fit_are_refused() -> None:
    b = ir.Builder("wrong", ir.I32, {"x": ir.I64})
    b.ret(b.add(ir.I32(1), b.arguments[0]))
    with pytest.raises(GraphError, match=r"(?s)kernel .wrong.*'%x' defined with type 'i64'"):
        jit.compile_object(b.text(), target.host())
