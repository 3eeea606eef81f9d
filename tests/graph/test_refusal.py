"""What traced values cannot do in Python and NumPy is refused with what to write instead; the rest works."""

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
        (lambda x: x > 0, "st.ops.greater"),
        (lambda x: x < x, "st.ops.where"),
        (lambda x: x >= 0, "st.ops.greater"),
        (lambda x: 1 <= x, "st.ops.greater"),  # noqa: SIM300 - the number on the left is the case
        (lambda x: x == 0, "st.ops.where"),
        (lambda x: x != 0, "st.ops.where"),
        (lambda x: np.float32(1) > x, "st.ops.greater"),
        (lambda x: X > x, "st.ops.greater"),  # noqa: SIM300
        (lambda x: np.tanh(x), "st.ops.tanh"),
        (lambda x: np.abs(x), "st.ops.abs"),
        (lambda x: np.maximum(x, 0), "st.ops.maximum"),
        (lambda x: np.sum(x), "st.ops.sum"),
        (lambda x: np.mean(x), "st.ops.mean"),
        (lambda x: np.concatenate([x, x]), "st.ops.concat"),
        (lambda x: np.arctan(x), "there is no st.ops.arctan"),
        (lambda x: 2**x, "st.ops.exp"),
    ],
)  # fmt: skip
def test_refused_with_advice(function: Callable[[Any], Any], advice: str) -> None:
    with pytest.raises(TracingError, match=advice):
        st.compile(function)(X)


def test_methods_of_arrays_name_the_operation() -> None:
    with pytest.raises(AttributeError, match=r"write st\.ops\.mean"):
        st.compile(lambda x: x.mean())(X)


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
    ],
)  # fmt: skip
def test_what_works(function: Callable[[Any], Any]) -> None:
    np.testing.assert_allclose(st.compile(function)(X), function(X), rtol=1e-6)
