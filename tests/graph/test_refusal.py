"""Python and NumPy operations that traced values do not support raise an error that names the alternative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import striate as st
from striate.errors import DTypeError, TracingError

X = np.array([[0.5, 1.0, 2.0], [3.0, 4.0, 0.25]], np.float32)


@pytest.mark.parametrize(
    ("function", "advice"),
    [
        (lambda x: np.tanh(x), "st.ops.tanh"),
        (lambda x: np.maximum(x, 0), "st.ops.maximum"),
        (lambda x: np.sum(x), "st.ops.sum"),
        (lambda x: np.mean(x), "st.ops.mean"),
        (lambda x: np.concatenate([x, x]), "st.ops.concat"),
        (lambda x: np.arctan(x), "there is no st.ops.arctan"),
        (lambda x: list(x), "st.ops.unbind"),
        (lambda x: 1.0 in x, "st.ops.any"),
        (lambda x: 1 if x > 0 else 2, "st.ops.where"),
        (lambda x: x and x, "st.ops.where"),
        (lambda x: len(x), "shape"),
    ],
)  # fmt: skip
def test_refused_with_advice(function: Callable[[Any], Any], advice: str) -> None:
    with pytest.raises(TracingError, match=advice):
        st.compile(function)(X)


def test_methods_of_arrays_name_the_operation() -> None:
    with pytest.raises(AttributeError, match=r"write st\.ops\.tanh"):
        st.compile(lambda x: x.tanh())(X)


@pytest.mark.parametrize("function", [st.ops.tanh, st.ops.sigmoid, st.ops.exp, st.ops.log, st.ops.sqrt])
def test_fractions_are_not_cut_off_in_silence(function: Callable[[Any], Any]) -> None:
    with pytest.raises(DTypeError, match="needs floating point numbers, got i64"):
        function(np.arange(3))


@pytest.mark.parametrize("given", [[1.0, 2.0], 1.0])
def test_operations_want_arrays(given: Any) -> None:
    with pytest.raises(DTypeError, match=r"not an array(.|\n)*help: "):
        st.ops.tanh(given)


@pytest.mark.parametrize("exponent", [1, 2, 3, 7, 16, 0.5, -1, -2, -0.5, np.float32(2)])
def test_powers(exponent: float) -> None:
    np.testing.assert_allclose(st.compile(lambda x: x**exponent)(X), X**exponent, rtol=3e-6)


@pytest.mark.parametrize(
    "function",
    [
        abs,
        lambda x: +x,
        lambda x: np.float32(2) * x,
        lambda x: X - x,
        lambda x: X / x,
        lambda x: np.add(x, X),
        lambda x: np.negative(x),
        lambda x: x * np.shape(x)[1],
        lambda x: 2**x,
        lambda x: x**X,
        lambda x: np.power(X, x),
        lambda x: x // 0.75,
        lambda x: 3 // x,
        lambda x: x % -0.75,
        lambda x: X % x,
        lambda x: np.abs(x),
        lambda x: x > 1,
        lambda x: x >= X,
        lambda x: np.float32(1) > x,
        lambda x: x == 1.0,
        lambda x: x == x * 1.0,
        lambda x: x != X.T.reshape(2, 3),
        lambda x: (x >= 0.5) == (x < 2),
        lambda x: x @ x.T,
        lambda x: X @ x.T,
        lambda x: x.T.reshape(2, 3).reshape((3, -1)),
        lambda x: x.sum(1) + x.mean() - x.max(axis=1, keepdims=True).squeeze(1) * x.min(),
        lambda x: x.transpose(1, 0)[:, ::-1],
        lambda x: x.astype(np.float64) + x.ndim,
    ],
)  # fmt: skip
def test_what_works(function: Callable[[Any], Any]) -> None:
    np.testing.assert_allclose(st.compile(function)(X), function(X), rtol=1e-6)
