"""Infinite and huge inputs of convolutions give the results that docs/training.md states."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import pytest

import striate as st
from striate import settings
from striate.doctor.rules.extremes import ROUNDING
from striate.graph.value import Array, Value

CHANNELS, SIZE = 16, 24


@pytest.fixture
def direct() -> Iterator[None]:
    former = settings.override(winograd=False)
    yield
    settings.restore(former)


def convolved(x: Array, w: Array, stride: int = 1) -> Array:
    def convolution(a: Value, b: Value) -> Value:
        return st.ops.conv(a, b, stride=stride, padding=w.shape[2] // 2)

    return np.asarray(st.compile(convolution)(x, w))


def seen(place: tuple[int, ...], kernel: int, stride: int) -> Array:
    """Return which outputs depend on the input at ``place``."""
    at = [np.abs(np.arange(SIZE // stride) * stride - one) <= kernel // 2 for one in place]
    return functools.reduce(np.logical_and.outer, at)


@pytest.mark.parametrize(
    ("rank", "kernel", "stride"), [(2, 3, 1), (2, 3, 2), (2, 5, 1), (2, 5, 2), (2, 7, 1), (1, 5, 1), (1, 7, 2)]
)
def test_the_error_of_outputs_that_do_not_see_a_huge_input(rank: int, kernel: int, stride: int) -> None:
    random = np.random.default_rng(1)
    largest = 0.0
    for _ in range(20):
        place = tuple(int(at) for at in random.integers(4, 20, rank))
        x = np.zeros((1, CHANNELS, *(SIZE,) * rank), np.float32)
        x[0, random.integers(CHANNELS), *place] = random.uniform(1e7, 2e7)
        shape = (64, CHANNELS, *(kernel,) * rank)
        w = random.choice([-1, 1], shape) * random.uniform(0.5, 1, shape)
        y = convolved(x, w.astype(np.float32), stride)
        largest = max(largest, float(np.abs(y[0][:, ~seen(place, kernel, stride)]).max()) / float(x.max()))
    assert largest == 0 if (kernel, stride) == (7, 1) else 0 < largest <= ROUNDING


def test_one_infinite_input_spoils_its_tiles() -> None:
    x, w = np.ones((1, CHANNELS, SIZE, SIZE), np.float32), np.ones((CHANNELS, CHANNELS, 3, 3), np.float32)
    x[0, 3, 5, 5] = np.inf
    y = convolved(x, w)
    assert np.isnan(y[0]).sum(axis=(1, 2)).tolist() == [16] * CHANNELS
    assert not np.isfinite(y[0][:, seen((5, 5), 3, 1)]).any()


@pytest.mark.usefixtures("direct")
def test_without_winograd_only_outputs_that_see_an_input_are_affected() -> None:
    x, w = np.ones((1, CHANNELS, SIZE, SIZE), np.float32), np.ones((CHANNELS, CHANNELS, 3, 3), np.float32)
    beyond = convolved(x, w)
    mask = seen((5, 5), 3, 1)
    for huge in (1e8, np.inf):
        x[0, 3, 5, 5] = huge
        y = convolved(x, w)
        np.testing.assert_array_equal(y[0][:, ~mask], beyond[0][:, ~mask])
        assert (y[0][:, mask] > 1e7).all()
