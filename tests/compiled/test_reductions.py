"""Reductions over any axes, in NumPy's layout and in blocks of channels, against NumPy in float64."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest

import striate as st
from striate.graph.value import Array, Value

SHAPES = [(4, 17, 6), (5, 3), (2, 70), (2, 3, 40, 70), (2, 33, 2, 5), (1, 1, 200), (3, 1, 5), (2, 3, 4, 5, 6)]


def _reduced(x: Value, axes: tuple[int, ...]) -> tuple[Value, ...]:
    return (st.ops.sum(x, axes), st.ops.max(x, axes), *st.ops.moments(x, axes))


def _reduced_softmax(x: Value, axes: tuple[int, ...]) -> tuple[Value, ...]:
    return _reduced(st.ops.softmax(x), axes)


def _axes(rank: int) -> list[tuple[int, ...]]:
    return [axes for count in range(1, rank + 1) for axes in itertools.combinations(range(rank), count)]


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("shape", SHAPES[:1] + [pytest.param(shape, marks=pytest.mark.slow) for shape in SHAPES[1:]])
def test_over_any_axes(shape: tuple[int, ...], dtype: str) -> None:
    x = (np.random.default_rng(0).standard_normal(shape) * 0.01 + 100).astype(dtype)
    wide, close = x.astype(np.float64), 1e-5 if dtype == "float32" else 1e-12
    for number, axes in enumerate(_axes(len(shape))):
        found = st.compile(partial(_reduced, axes=axes), batched=number % 2 == 0)(x)
        _same(found, (wide.sum(axes), x.max(axes), wide.mean(axes)), close)
        np.testing.assert_allclose(found[3], wide.var(axes), rtol=100 * close, atol=1e-12)


@pytest.mark.parametrize("shape", [(2, 150), pytest.param((3, 70, 2), marks=pytest.mark.slow)])
def test_over_channels_that_lie_in_blocks(shape: tuple[int, ...]) -> None:
    """The preceding softmax stores its result in blocks of channels."""
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    powers = np.exp(x.astype(np.float64))
    y = powers / powers.sum(axis=1, keepdims=True)
    for axes in _axes(len(shape)):
        found = st.compile(partial(_reduced_softmax, axes=axes))(x)
        _same(found, (y.sum(axes), y.max(axes), y.mean(axes), y.var(axes)), 1e-5)


def _same(found: tuple[Array, ...], expected: tuple[Array, ...], close: float) -> None:
    for one, other in zip(found, expected, strict=False):
        np.testing.assert_allclose(one, other, rtol=close, atol=close * 1e-3)
