"""a · b + c without an instruction for it, against exact fractions."""

from __future__ import annotations

import ctypes
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from llvmlite import ir

from striate.codegen import jit, target
from striate.codegen.soft_fma import write_soft_fma


def _functions() -> tuple[Any, Any, object]:
    module = ir.Module("soft_fma")
    write_soft_fma(module)
    for name, type in (("fmaf", ir.FloatType()), ("fma", ir.DoubleType())):
        function = ir.Function(module, ir.FunctionType(type, [type] * 3), f"test_{name}")
        builder = ir.IRBuilder(function.append_basic_block())
        builder.ret(builder.call(module.get_global(name), function.args))
    library = jit.Library([jit.compile_object(str(module), target.host())], ["test_fmaf", "test_fma"])
    single = jit.function(library.address("test_fmaf"), ctypes.c_float, *[ctypes.c_float] * 3)
    double = jit.function(library.address("test_fma"), ctypes.c_double, *[ctypes.c_double] * 3)
    return single, double, library


def _nearest(exact: Fraction, dtype: Any) -> Any:
    """Return the number of ``dtype`` nearest to a fraction; of two equally near ones, the even one."""
    first = dtype(float(exact))
    near = [first, np.nextafter(first, dtype(-np.inf)), np.nextafter(first, dtype(np.inf))]
    return min(near, key=lambda y: (abs(Fraction(float(y)) - exact), y.view(f"u{y.itemsize}") & 1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_is_rounded_once(dtype: Any) -> None:
    single, double, library = _functions()
    fma = single if dtype is np.float32 else double
    random = np.random.default_rng(0)
    for trial in range(2000):
        a, b = random.standard_normal(2).astype(dtype)
        scale = 2.0 ** random.integers(-70, 70) if trial % 2 else 1.0
        c = dtype(random.standard_normal() * scale) if trial % 4 else dtype(-(a * b))
        exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
        assert fma(float(a), float(b), float(c)) == _nearest(exact, dtype)
    half = np.finfo(dtype).eps / 2  # halfway between two numbers but for the last bit of the product
    assert fma(1 + 2 * half, 1 + 2 * half, -1.0) == float(4 * half + 4 * half * half)
    assert fma(np.inf, 2.0, 1.0) == np.inf
    assert np.isnan(fma(np.inf, 0.0, 1.0))
    assert np.isnan(fma(1.0, 1.0, np.nan))
    del library
