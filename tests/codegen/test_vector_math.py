"""Each function against NumPy in extended precision; all widths and targets must agree bit for bit."""

from __future__ import annotations

import ctypes
import functools
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from striate.codegen import ir, jit, target, vector_error_function, vector_math, vector_power, vector_trigonometry

ARM = target.host().triple.startswith(("aarch64", "arm64"))
NARROW = "generic" if ARM else "x86-64"
TARGETS = ["host"] if ARM else ["host", "x86-64-v3"]
DTYPES = [np.float32, np.float64]
PI = np.longdouble("3.14159265358979323846264338327950288")
_loaded: list[jit.Library] = []
# The bounds that the docstrings state, in ulp.
BOUNDS = {
    "exp": 1.1, "expm1": 2.0, "log": 1.0, "log1p": 1.0, "tanh": 3.0, "sigmoid": 2.5, "cos_pi": 2.5, "sqrt": 0.5,
    "sin": 1.5, "cos": 1.5, "tan": 3.0, "erf": 1.3, "erfc": 5.0, "normal_cdf": 5.0,
}  # fmt: skip
FUNCTIONS = {
    name: getattr(module, name)
    for module in (vector_math, vector_trigonometry, vector_error_function)
    for name in BOUNDS
    if hasattr(module, name)
}
FUNCTIONS["square_power"] = lambda builder, x: vector_power.power(builder, x, ir.splat(x.type, 2.0))
FUNCTIONS["root_power"] = lambda builder, x: vector_power.power(builder, x, ir.splat(x.type, 1 / 3))
FUNCTIONS["base_power"] = lambda builder, x: vector_power.power(builder, ir.splat(x.type, 1.25), x)
BOUNDS |= {"square_power": 1.2, "root_power": 1.2, "base_power": 1.2}

extended = pytest.mark.skipif(
    np.finfo(np.longdouble).eps >= np.finfo(np.float64).eps, reason="no longer type than float64 to compare with"
)


@functools.cache
def _compiled(name: str, dtype: Any, width: int, cpu: str) -> Any:
    """Compile a loop over an array whose size is a multiple of ``width``; width 0 means scalar code."""
    element = ir.FLOAT if dtype is np.float32 else ir.DOUBLE
    type_ = ir.VectorType(element, width) if width else element
    builder = ir.Builder("sweep", ir.VOID, {"x": ir.POINTER, "y": ir.POINTER, "count": ir.I64})
    source, destination, count = builder.arguments
    entry, loop, done = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("done")
    builder.branch(loop)
    builder.position_at_end(loop)
    index = builder.phi(ir.I64)
    index.add_incoming(ir.I64(0), entry)
    y = FUNCTIONS[name](builder, builder.load(builder.gep(source, index, element), type_, 4))
    builder.store(y, builder.gep(destination, index, element), 4)
    following = builder.add(index, ir.I64(max(width, 1)))
    index.add_incoming(following, loop)
    builder.cbranch(builder.icmp_signed("<", following, count), loop, done)
    builder.position_at_end(done)
    builder.ret_void()
    chosen = target.host() if cpu == "host" else target.named(cpu)
    library = jit.Library([jit.compile_object(builder.text(), chosen)], ["sweep"])
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
        if name in ("sin", "cos", "tan"):
            return np.where(abs(w) <= vector_trigonometry.LARGEST, _trigonometric(name, w), np.nan)
        if name in ("erf", "erfc", "normal_cdf"):
            return _error_function(name, w)
        if name.endswith("_power"):
            third = np.longdouble(x.dtype.type(1 / 3))
            return {"square_power": w**2, "root_power": w**third, "base_power": np.longdouble(1.25) ** w}[name]
        return getattr(np, name)(w)


_PI_DIGITS = 1200
"""Bits after the point: enough to subtract a multiple of π/2 from any argument."""


@functools.cache
def _pi_integer() -> int:
    """Return ⌊π · 2¹²⁰⁰⌋ by Machin's formula."""

    def arctan_inverse(n: int) -> int:
        total = term = (1 << (_PI_DIGITS + 32)) // n
        k, sign = 1, 1
        while term:
            term //= n * n
            k, sign = k + 2, -sign
            total += sign * (term // k)
        return total

    return (16 * arctan_inverse(5) - 4 * arctan_inverse(239)) >> 32


def _trigonometric(name: str, w: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return sin, cos or tan of float64 numbers in extended precision; x − n π/2 is computed with integers."""
    quarter, residual = np.zeros(w.shape, int), np.zeros(w.shape, np.longdouble)
    half_pi = _pi_integer() >> 1
    for place, value in enumerate(w):
        if not np.isfinite(value) or abs(value) > vector_trigonometry.LARGEST:
            residual[place] = np.nan
        elif abs(value) < 0.75:
            residual[place] = value
        else:
            above, below = float(value).as_integer_ratio()
            scaled = (above << _PI_DIGITS) // below
            n = (2 * scaled + half_pi) // (2 * half_pi)
            rest = Fraction(scaled - n * half_pi, 1 << _PI_DIGITS)
            upper = float(rest)
            quarter[place], residual[place] = n % 4, np.longdouble(upper) + np.longdouble(float(rest - Fraction(upper)))
    s, c = np.sin(residual), np.cos(residual)
    sines, cosines = np.choose(quarter, [s, c, -s, -c]), np.choose(quarter, [c, -s, -c, s])
    return {"sin": sines, "cos": cosines, "tan": sines / cosines}[name]


def _error_function(name: str, w: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return erf, erfc or Φ in extended precision, by a series near 0 and a continued fraction elsewhere."""
    if name == "normal_cdf":
        return _error_function("erfc", -w / np.sqrt(np.longdouble(2))) / 2
    a = np.minimum(abs(w), 200)
    total = term = np.where(a < 1.25, a, 0)
    for k in range(1, 80):
        term = -term * np.where(a < 1.25, a, 0) ** 2 / k
        total = total + term / (2 * k + 1)
    near = 2 / np.sqrt(PI) * total
    fraction = np.zeros_like(a)
    for k in range(400, 0, -1):
        fraction = k / 2 / (np.where(a < 1.25, 1.25, a) + fraction)
    tail = np.exp(-a * a) / np.sqrt(PI) / (np.where(a < 1.25, 1.25, a) + fraction)
    erf = np.copysign(np.where(a < 1.25, near, 1 - tail), w)
    erfc = np.where(a < 1.25, 1 - erf, np.where(w < 0, 2 - tail, tail))
    return np.where(np.isnan(w), np.nan, erf if name == "erf" else erfc)


def _error(y: np.ndarray[Any, Any], exact: np.ndarray[Any, Any]) -> float:
    """Return the largest error in ulp of the exact result (at least of the smallest normal number)."""
    kind = np.finfo(y.dtype)
    with np.errstate(all="ignore"):
        rounded = exact.astype(y.dtype)
        ulp = np.spacing(np.clip(abs(rounded), 0, kind.max)).astype(np.longdouble)
        distance = abs(y.astype(np.longdouble) - exact) / ulp
    same = (y == rounded) & ~np.isfinite(y)
    return float(np.max(np.where(same | (np.isnan(y) & np.isnan(exact)), 0, distance)))


def _sweep(name: str, dtype: Any) -> np.ndarray[Any, Any]:
    """Return points over the function's whole domain, dense where it curves strongly."""
    kind, random = np.finfo(dtype), np.random.default_rng(0)
    count = 1 << 16
    low, high = float(np.log(kind.smallest_subnormal)), float(np.log(kind.max))
    if name in ("log", "sqrt"):
        x = np.concatenate([np.exp(np.linspace(low, high, 2 * count)[1:-1]), random.uniform(0.5, 2, count)])
    elif name == "exp":
        x = np.concatenate([np.linspace(low - 2, high + 2, 2 * count), random.uniform(-1, 1, count)])
    elif name == "cos_pi":
        x = np.linspace(0, 1, 2 * count)
    elif name in ("sin", "cos", "tan"):
        near = np.round(random.uniform(-1e6, 1e6, 1024)) * np.pi / 2  # multiples of π/2, where digits cancel
        wide = np.exp(random.uniform(low, np.log(vector_trigonometry.LARGEST), 4096))
        x = np.concatenate([random.uniform(-10, 10, 8192), random.uniform(-1e5, 1e5, 4096), near, wide, -wide])
    elif name == "root_power":
        x = np.exp(np.linspace(low, high, 2 * count)[1:-1])
    else:
        size = np.exp(random.uniform(low, 3, count))
        x = np.concatenate([np.linspace(low - 2, -low, count), random.uniform(-10, 10, count), size, -size])
    return x.astype(dtype)[: x.size // 16 * 16]


@extended
@pytest.mark.parametrize("every", [pytest.param(1, marks=pytest.mark.slow), 15], ids=["all points", "every 15th"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BOUNDS)
def test_the_error_is_within_its_bound(name: str, dtype: Any, every: int) -> None:
    x = _sweep(name, dtype)[::every]
    x = x[: x.size // 16 * 16].copy()
    assert _error(_run(name, x), _reference(name, x)) <= BOUNDS[name] + 1e-3


def _same_bits(name: str, x: np.ndarray[Any, Any]) -> None:
    bits = np.uint32 if x.dtype == np.float32 else np.uint64
    expected = _run(name, x)
    for cpu in TARGETS:
        for width in (0, 1, 8, 16):
            got = _run(name, x, width, cpu)
            both_nan = np.isnan(got) & np.isnan(expected)
            assert np.all((got.view(bits) == expected.view(bits)) | both_nan), (name, width, cpu)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BOUNDS)
def test_the_bits_are_the_same_at_every_width_and_target(name: str, dtype: Any) -> None:
    _same_bits(name, _sweep(name, dtype))


@pytest.mark.skipif(ARM, reason="there the baseline is the host")
@pytest.mark.parametrize("name", BOUNDS)
def test_the_bits_are_the_same_without_fused_instructions(name: str) -> None:
    """A processor without FMA instructions calls the C library's fma, which is exact too, but slow."""
    x = _sweep(name, np.float32)[::64]
    assert np.array_equal(_run(name, x, 8, NARROW).view(np.uint32), _run(name, x, 8).view(np.uint32))


@pytest.mark.slow
@pytest.mark.parametrize("width", [32, 64])
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_number_at_all(width: int, data: st.DataObject) -> None:
    """NaN, infinities, denormals, signed zeros and everything else: NumPy's result, and the same bits everywhere."""
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
    check("expm1", [0.0, -0.0, inf, -inf, nan, big, -big, -tiny], [0, -0.0, inf, -1, nan, inf, -1, -tiny])
    check("log1p", [0.0, -0.0, inf, -1.0, -2.0, nan, -tiny], [0, -0.0, inf, -inf, nan, nan, -tiny])
    check("sin", [0.0, -0.0, inf, -inf, nan, big, -tiny], [0, -0.0, nan, nan, nan, nan, -tiny])
    check("cos", [0.0, -0.0, inf, -inf, nan, big], [1, 1, nan, nan, nan, nan])
    check("tan", [0.0, -0.0, inf, nan, tiny], [0, -0.0, nan, nan, tiny])
    check("erf", [0.0, -0.0, inf, -inf, nan, big, -big], [0, -0.0, 1, -1, nan, 1, -1])
    check("erfc", [0.0, -0.0, inf, -inf, nan, big, -big], [1, 1, 0, 2, nan, 0, 2])
    check("normal_cdf", [0.0, -0.0, inf, -inf, nan, big, -big], [0.5, 0.5, 1, 0, nan, 1, 0])
    check("square_power", [0.0, -0.0, inf, -inf, nan, big, -3.0], [0, 0, inf, inf, nan, inf, 9])
    check("root_power", [0.0, -0.0, inf, -inf, nan, -1.0, 1.0], [0, 0, inf, inf, nan, nan, 1])
    check("base_power", [0.0, inf, -inf, nan, big, -big], [1, inf, 0, nan, inf, 0])
    check("tanh", [0.0, -0.0, inf, -inf, nan, big, -big, tiny, -tiny], [0, -0.0, 1, -1, nan, 1, -1, tiny, -tiny])
    check("sigmoid", [0.0, -0.0, inf, -inf, nan, big, -big, tiny], [0.5, 0.5, 1, 0, nan, 1, 0, 0.5])
    check("cos_pi", [0.0, 0.5, 1.0, nan], [1, 0, -1, nan])
    check("sqrt", [0.0, -0.0, 4.0, inf, -1.0, nan], [0, -0.0, 2, inf, nan, nan])


def test_splat_rounds_to_the_type() -> None:
    third = float(np.float32(1 / 3))
    assert str(ir.splat(ir.FLOAT, 1 / 3)) == str(ir.FLOAT(third)) == str(ir.FLOAT(1 / 3))
    assert str(ir.splat(ir.VectorType(ir.I32, 2), 7)) == "<2 x i32> splat (i32 7)"


@pytest.mark.parametrize("dtype", DTYPES)
def test_powers_of_special_numbers_are_those_of_c(dtype: Any) -> None:
    inf, nan, tiny = float("inf"), float("nan"), float(np.finfo(dtype).tiny)
    numbers = np.array(
        [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 3.0, -3.0, tiny, 1e30, inf, -inf, nan, -1e30], dtype
    )
    for exponent in numbers:
        FUNCTIONS["special_power"] = lambda b, x, e=float(exponent): vector_power.power(b, x, ir.splat(x.type, e))
        _compiled.cache_clear()
        with np.errstate(all="ignore"):
            expected = np.power(numbers, np.full_like(numbers, exponent))
        got = _run("special_power", numbers)
        np.testing.assert_allclose(got, expected, rtol=3e-7 if dtype is np.float32 else 4e-16, err_msg=str(exponent))
        signs = ~np.isnan(expected)
        np.testing.assert_array_equal(np.signbit(got[signs]), np.signbit(expected[signs]), err_msg=str(exponent))
    del FUNCTIONS["special_power"]
