"""Each function against NumPy's extended precision, at every width and target the same bits."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llvmlite import ir

from striate.codegen import jit, target, vector_math

ARM = target.host().triple.startswith(("aarch64", "arm64"))
NARROW = "generic" if ARM else "x86-64"
TARGETS = ["host"] if ARM else ["host", "x86-64-v3"]
DTYPES = [np.float32, np.float64]
PI = np.longdouble("3.14159265358979323846264338327950288")
_loaded: list[jit.Library] = []
# The bounds that the docstrings state, in ulp.
BOUNDS = {"exp": 1.1, "log": 1.0, "tanh": 3.0, "sigmoid": 2.5, "cos_pi": 2.5, "sqrt": 0.5}

extended = pytest.mark.skipif(
    np.finfo(np.longdouble).eps >= np.finfo(np.float64).eps, reason="no longer type than float64 to compare with"
)


@functools.cache
def _compiled(name: str, dtype: Any, width: int, cpu: str) -> Any:
    """A loop over an array whose size is a multiple of ``width``; width 0 is the scalar."""
    element = ir.FloatType() if dtype is np.float32 else ir.DoubleType()
    pointer, integer = ir.PointerType(), ir.IntType(64)
    type_ = ir.VectorType(element, width) if width else element
    module = ir.Module()
    function = ir.Function(module, ir.FunctionType(ir.VoidType(), [pointer, pointer, integer]), "sweep")
    entry, loop, done = (function.append_basic_block(label) for label in ("entry", "loop", "done"))
    ir.IRBuilder(entry).branch(loop)
    builder = ir.IRBuilder(loop)
    index = builder.phi(integer)
    index.add_incoming(integer(0), entry)
    x = builder.load(builder.gep(function.args[0], [index], source_etype=element), typ=type_, align=4)
    y = getattr(vector_math, name)(builder, x)
    builder.store(y, builder.gep(function.args[1], [index], source_etype=element), align=4)
    following = builder.add(index, integer(max(width, 1)))
    index.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, function.args[2]), loop, done)
    ir.IRBuilder(done).ret_void()
    chosen = target.host() if cpu == "host" else target.named(cpu)
    library = jit.Library([jit.compile_object(str(module), chosen)], ["sweep"])
    _loaded.append(library)
    return jit.function(library.address("sweep"), None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)


def _run(name: str, x: np.ndarray[Any, Any], width: int = 16, cpu: str = "host") -> np.ndarray[Any, Any]:
    x = np.ascontiguousarray(np.concatenate([x, np.full(-x.size % 16, 0.5, x.dtype)]))
    y = np.empty_like(x)
    _compiled(name, x.dtype.type, width, cpu)(x.ctypes.data, y.ctypes.data, x.size)
    return y


def _reference(name: str, x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    w = x.astype(np.longdouble)
    with np.errstate(all="ignore"):
        if name == "sigmoid":
            z = np.exp(-abs(w))
            return np.where(w >= 0, 1, z) / (1 + z)
        if name == "cos_pi":
            return np.sin(PI * (np.longdouble(0.5) - w))
        return getattr(np, name)(w)


def _error(y: np.ndarray[Any, Any], exact: np.ndarray[Any, Any]) -> float:
    """The largest distance in ulp of the exact result (of the smallest normal number at least)."""
    kind = np.finfo(y.dtype)
    with np.errstate(all="ignore"):
        rounded = exact.astype(y.dtype)
        ulp = np.spacing(np.clip(abs(rounded), 0, kind.max)).astype(np.longdouble)
        distance = abs(y.astype(np.longdouble) - exact) / ulp
    same = (y == rounded) & ~np.isfinite(y)
    return float(np.max(np.where(same | (np.isnan(y) & np.isnan(exact)), 0, distance)))


def _sweep(name: str, dtype: Any) -> np.ndarray[Any, Any]:
    """The function's whole domain, and densely where it bends."""
    kind, random = np.finfo(dtype), np.random.default_rng(0)
    count = 1 << 16
    low, high = float(np.log(kind.smallest_subnormal)), float(np.log(kind.max))
    if name in ("log", "sqrt"):
        x = np.concatenate([np.exp(np.linspace(low, high, 2 * count)[1:-1]), random.uniform(0.5, 2, count)])
    elif name == "exp":
        x = np.concatenate([np.linspace(low - 2, high + 2, 2 * count), random.uniform(-1, 1, count)])
    elif name == "cos_pi":
        x = np.linspace(0, 1, 2 * count)
    else:
        size = np.exp(random.uniform(low, 3, count))
        x = np.concatenate([np.linspace(low - 2, -low, count), random.uniform(-10, 10, count), size, -size])
    return x.astype(dtype)[: x.size // 16 * 16]


@extended
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BOUNDS)
def test_the_error_is_within_its_bound(name: str, dtype: Any) -> None:
    x = _sweep(name, dtype)
    assert _error(_run(name, x), _reference(name, x)) <= BOUNDS[name] + 1e-3


def _same_bits(name: str, x: np.ndarray[Any, Any]) -> None:
    bits = np.uint32 if x.dtype == np.float32 else np.uint64
    expected = _run(name, x)
    for cpu in TARGETS:
        for width in (0, 1, 8, 16):
            got = _run(name, x, width, cpu)
            both_nan = np.isnan(got) & np.isnan(expected)
            assert np.all((got.view(bits) == expected.view(bits)) | both_nan), (name, width, cpu)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BOUNDS)
def test_the_bits_are_the_same_at_every_width_and_target(name: str, dtype: Any) -> None:
    _same_bits(name, _sweep(name, dtype))


@pytest.mark.skipif(ARM, reason="there the baseline is the host")
@pytest.mark.parametrize("name", BOUNDS)
def test_the_bits_are_the_same_without_fused_instructions(name: str) -> None:
    """The baseline processor calls the C library's fma, which is exact as well, if slow."""
    x = _sweep(name, np.float32)[::64]
    assert np.array_equal(_run(name, x, 8, NARROW).view(np.uint32), _run(name, x, 8).view(np.uint32))


@pytest.mark.parametrize("width", [32, 64])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_number_at_all(width: int, data: st.DataObject) -> None:
    """NaN, infinities, denormals, signed zeros and all between: NumPy's answer, and the same bits everywhere."""
    x = np.array(data.draw(st.lists(st.floats(width=width), min_size=16, max_size=16)), f"f{width // 8}")
    for name in BOUNDS:
        values = np.where(abs(x) <= 1, abs(x), x.dtype.type(0.5)) if name == "cos_pi" else x
        exact = _reference(name, values)
        got = _run(name, values)
        assert np.array_equal(np.isnan(got), np.isnan(exact)), name
        assert _error(got, exact) <= BOUNDS[name] + 0.01 or np.finfo(np.longdouble).eps >= 1e-16, name
        _same_bits(name, values)


@pytest.mark.parametrize("dtype", DTYPES)
def test_special_values(dtype: Any) -> None:
    def check(name: str, given: list[float], expected: list[float]) -> None:
        got = _run(name, np.array(given, dtype))[: len(given)]
        np.testing.assert_array_equal(got, np.array(expected, dtype))
        assert np.array_equal(np.signbit(got[~np.isnan(got)]), np.signbit([e for e in expected if e == e]))

    inf, nan = float("inf"), float("nan")
    big, tiny = float(np.finfo(dtype).max), float(np.finfo(dtype).smallest_subnormal)
    check("exp", [0.0, -0.0, inf, -inf, nan, big, -big, tiny], [1, 1, inf, 0, nan, inf, 0, 1])
    check("log", [1.0, 0.0, -0.0, inf, -inf, nan, -1.0, -tiny], [0, -inf, -inf, inf, nan, nan, nan, nan])
    check("tanh", [0.0, -0.0, inf, -inf, nan, big, -big, tiny, -tiny], [0, -0.0, 1, -1, nan, 1, -1, tiny, -tiny])
    check("sigmoid", [0.0, -0.0, inf, -inf, nan, big, -big, tiny], [0.5, 0.5, 1, 0, nan, 1, 0, 0.5])
    check("cos_pi", [0.0, 0.5, 1.0, nan], [1, 0, -1, nan])
    check("sqrt", [0.0, -0.0, 4.0, inf, -1.0, nan], [0, -0.0, 2, inf, nan, nan])


def test_splat_rounds_to_the_type() -> None:
    third = float(np.float32(1 / 3))
    assert vector_math.splat(ir.FloatType(), 1 / 3).get_reference() == ir.FloatType()(third).get_reference()
    assert str(vector_math.splat(ir.VectorType(ir.IntType(32), 2), 7)) == "<2 x i32> <i32 7, i32 7>"
