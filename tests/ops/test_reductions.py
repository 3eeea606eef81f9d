"""Reductions against NumPy and PyTorch: any axes, ties, zeros, NaN, infinities, empty arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import striate
import striate.ops as ops
from striate.errors import DTypeError, OptionError, ShapeError, StriateError
from striate.graph.graph import Input
from striate.graph.value import Array, DType, N, TensorType, Value
from tests.ops.torch_judge import agree, torch

INF = math.inf
P = [2, 1, 0, 3, 0.5, -1, INF, -INF]


def dims(axis: Any, x: Any) -> Any:
    return tuple(range(x.ndim)) if axis is None else axis


def torch_prod(x: Any, axis: Any, keepdims: bool) -> Any:
    for one in sorted((one % x.ndim for one in np.atleast_1d(dims(axis, x))), reverse=True):
        x = x.prod(int(one), keepdim=keepdims)
    return x


BOTH: dict[str, tuple[Callable[..., Value], Callable[..., Any]]] = {
    "sum": (ops.sum, lambda x, a, k: x.sum(dims(a, x), k)),
    "mean": (ops.mean, lambda x, a, k: x.mean(dims(a, x), k)),
    "max": (ops.max, lambda x, a, k: x.amax(dims(a, x), k)),
    "min": (ops.min, lambda x, a, k: x.amin(dims(a, x), k)),
    "prod": (ops.prod, torch_prod),
    "logsumexp": (ops.logsumexp, lambda x, a, k: x.logsumexp(dims(a, x), k)),
    "var": (lambda x, a, k: ops.var(x, a, 0, k), lambda x, a, k: x.var(dims(a, x), correction=0, keepdim=k)),
    "std": (lambda x, a, k: ops.std(x, a, 0.5, k), lambda x, a, k: x.std(dims(a, x), correction=0.5, keepdim=k)),
    **{
        f"norm {p}": (
            lambda x, a, k, p=p: ops.norm(x, p, a, k),
            lambda x, a, k, p=p: torch.linalg.vector_norm(x, p, dims(a, x), k),
        )
        for p in P
    },
}


@pytest.mark.parametrize("name", BOTH)
@settings(max_examples=15)
@given(data=st.data())
def test_agrees_with_pytorch(name: str, data: Any) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=5)))
    axis: Any = data.draw(
        st.none()
        | st.integers(-len(shape), len(shape) - 1)
        | st.sets(st.integers(0, len(shape) - 1), min_size=1).map(lambda one: tuple(sorted(one)))
    )
    keepdims = data.draw(st.booleans())
    x = np.random.default_rng(data.draw(st.integers(0, 99))).integers(-3, 4, shape) / 2.0
    if name.startswith("norm") and name not in ("norm 2", "norm inf", "norm 1", "norm -inf"):
        x = x + 0.25  # PyTorch has no gradient of these at 0
    ours, theirs = BOTH[name]
    if name in ("norm inf", "norm -inf") and axis is None:
        axis = 0
    agree(lambda x: ops.sum(ours(x, axis, keepdims) * 1.0), lambda x: theirs(x, axis, keepdims).sum(), x)
    found = ours(Input("x", TensorType(DType.float64, shape))(), axis, keepdims)
    assert found.shape == tuple(theirs(torch.tensor(x), axis, keepdims).shape)


SHAPES = [((3, 5, 18, 2), a) for a in (None, 0, 1, 3, (0, 2), (1, 2, 3))] + [((7, 33), 1), ((40,), 0)]
X = np.random.default_rng(0).integers(-4, 5, (3, 5, 18, 2)).astype(np.float32) / 2


@pytest.mark.parametrize("name", ["prod", "min", "logsumexp", "std", "norm 2", "norm inf"])
def test_compiled(name: str) -> None:
    ours, theirs = BOTH[name]
    for shape, axis in SHAPES:
        x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        found = striate.compile(lambda x, axis=axis: ours(x * 1.5, axis, False) + 1.0)(x)
        expected = theirs(torch.tensor(x * 1.5), axis, False).numpy() + 1
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-6, err_msg=f"{shape} {axis}")


@pytest.mark.parametrize("axis", [None, 0, 1, 2, 3, -1])
def test_places_of_extremes(axis: int | None) -> None:
    with_nan = X.copy()
    with_nan[1, 2, 3, 1] = np.nan
    for x in (X, with_nan, X.astype(np.float64), X.astype(np.int32)):
        for ours, theirs in ((ops.argmax, np.argmax), (ops.argmin, np.argmin)):
            for keepdims in (False, True):
                found = striate.compile(lambda x, f=ours, k=keepdims: f(x, axis, k))(x)
                np.testing.assert_array_equal(found, theirs(x, axis, keepdims=keepdims))
                assert found.dtype == np.int64


def test_places_of_large_integers() -> None:
    random = np.random.default_rng(0)
    near = 2**53 + random.integers(0, 4, (4, 17))
    anywhere = random.integers(-(2**63), 2**63 - 1, (4, 17), endpoint=True)
    anywhere[:, :3] = [2**63 - 2, 2**63 - 1, 2**63 - 1]
    x = np.concatenate([near, anywhere, -anywhere])
    np.testing.assert_array_equal(ops.argmax(x, 1), x.argmax(1))
    np.testing.assert_array_equal(ops.argmin(x, 1), x.argmin(1))
    with pytest.raises(ShapeError, match=r"i64 \(12, 17\)"):
        ops.argmax(x, 7)


def test_places_along_six_axes() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 2, 5, 1, 4)).astype(np.float32)
    for axis in range(6):
        np.testing.assert_array_equal(striate.compile(lambda x, a=axis: ops.argmax(x, a))(x), np.argmax(x, axis))


@pytest.mark.parametrize("axis", [None, 0, 1, (0, 2), -1])
def test_any_and_all(axis: Any) -> None:
    x = np.where(np.abs(X) < 1, 0, X)
    x[0, 0, 0, 0] = np.nan
    for given_array in (x, x != 0, (x > 0).astype(np.int64)):
        np.testing.assert_array_equal(striate.compile(lambda x: ops.any(x, axis))(given_array), given_array.any(axis))
        np.testing.assert_array_equal(striate.compile(lambda x: ops.all(x, axis))(given_array), given_array.all(axis))


NOTHING: dict[str, tuple[Callable[[Value], Value], float]] = {
    "sum": (lambda x: ops.sum(x, 0), 0),
    "mean": (lambda x: ops.mean(x, 0), math.nan),
    "max": (lambda x: ops.max(x, 0), -INF),
    "min": (lambda x: ops.min(x, 0), INF),
    "prod": (lambda x: ops.prod(x, 0), 1),
    "var": (lambda x: ops.var(x, 0), math.nan),
    "logsumexp": (lambda x: ops.logsumexp(x, 0), -INF),
    "norm": (lambda x: ops.norm(x, axis=0), 0),
    "any": (lambda x: ops.any(x, 0), False),
    "all": (lambda x: ops.all(x, 0), True),
    "argmax": (lambda x: ops.argmax(x, 0), 0),
}


@pytest.mark.parametrize("name", NOTHING)
def test_no_samples(name: str) -> None:
    function, expected = NOTHING[name]
    compiled = striate.compile(function, batched=True)
    for columns in (3, 17):
        found = compiled(np.zeros((0, columns), np.float32))
        np.testing.assert_array_equal(found, np.full(columns, expected))


def test_infinities_and_nan() -> None:
    x = np.array([[INF, 1], [-INF, -INF], [np.nan, 2], [1e38, 1e38]], np.float32)
    expected = torch.logsumexp(torch.tensor(x), 1).numpy()
    np.testing.assert_array_equal(striate.compile(lambda x: ops.logsumexp(x, 1))(x), expected)
    for name in ("min", "max", "prod", "norm inf", "norm 1"):
        ours, theirs = BOTH[name]
        found = striate.compile(lambda x, f=ours: f(x, 1, False))(x)
        np.testing.assert_array_equal(found, theirs(torch.tensor(x), 1, False).numpy(), err_msg=name)


def test_a_variance_far_from_0_keeps_its_digits() -> None:
    x = (1e4 + np.random.default_rng(0).random((3, 1000))).astype(np.float32)
    exact = x.astype(np.float64).var(1, ddof=1)
    np.testing.assert_allclose(striate.compile(lambda x: ops.var(x, 1))(x), exact, rtol=1e-5)


def value(*shape: object, dtype: DType = DType.float32) -> Value:
    return Input("x", TensorType(dtype, shape))()  # type: ignore[arg-type]


def test_variance_of_one_element_is_nan() -> None:
    one: Array = np.ones((1, 3), np.float32)
    assert np.isnan(striate.compile(lambda x: ops.var(x, 0))(one)).all()
    np.testing.assert_array_equal(striate.compile(lambda x: ops.var(x, 0, 0))(one), np.zeros(3))


BAD: dict[str, tuple[Callable[[], object], type[StriateError], str]] = {
    "axis": (lambda: ops.prod(value(2, 3), 2), ShapeError, "axis 2 does not exist"),
    "fraction": (lambda: ops.min(value(2, 3), 1.5), OptionError, "whole number"),  # type: ignore[arg-type]
    "keepdims": (lambda: ops.sum(value(2, 3), 1, "no"), OptionError, "keepdims"),  # type: ignore[arg-type]
    "nothing": (lambda: ops.min(value(2, 0), 1), ShapeError, "0 elements"),
    "no place": (lambda: ops.argmax(value(2, 0), 1), ShapeError, "0 elements"),
    "place in a batch": (lambda: ops.argmin(value(N, 3)), ShapeError, "batched=False"),
    "integers": (lambda: ops.prod(value(2, dtype=DType.int64)), DTypeError, "floating point"),
    "integers over no axes": (lambda: ops.sum(value(2, dtype=DType.int64), ()), DTypeError, "floating point"),
    "bools over no axes": (lambda: ops.logsumexp(value(dtype=DType.bool)), DTypeError, "floating point"),
    "p": (lambda: ops.norm(value(2), math.nan), OptionError, "p=nan"),
    "correction": (lambda: ops.var(value(2), correction="a"), OptionError, "correction"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", BAD)
def test_refused(name: str) -> None:
    function, error, words = BAD[name]
    with pytest.raises(error, match=words):
        function()
