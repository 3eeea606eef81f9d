"""Functions of operations, compiled and differentiated."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import striate as st
from striate.errors import DTypeError, OptionError, ShapeError, TracingError

X = np.random.default_rng(0).standard_normal((3, 4))


def test_nested_arguments_and_results() -> None:
    function = st.compile(lambda tree, *, scale: {"sum": tree["a"] + tree["b"][0], "rest": (tree["b"][0] * scale, 3)})
    found = function({"a": X, "b": [X, "text"]}, scale=2.0)
    np.testing.assert_allclose(found["sum"], 2 * X)
    np.testing.assert_allclose(found["rest"][0], 2 * X)
    assert found["rest"][1] == 3


def test_one_program_for_each_kind_of_call() -> None:
    traced: list[tuple[Any, ...]] = []

    def function(x: Any, times: int) -> Any:
        traced.append(x.shape)
        for _ in range(times):
            x = x * 2
        return x

    compiled = st.compile(function)
    for x, times in ((X, 1), (X + 1, 1), (X, 2), (X[:2], 1), (X.astype(np.float32), 1), (X, 1)):
        np.testing.assert_allclose(compiled(x, times), x * 2**times)
    assert len(traced) == 4


def test_a_batched_function_is_traced_once_for_all_sizes() -> None:
    traced: list[int] = []

    def function(x: Any, y: Any) -> Any:
        traced.append(1)
        return x * y

    compiled = st.compile(function, batched=True, capacity=8)
    for n in (3, 1, 2):
        np.testing.assert_allclose(compiled(X[:n], X[:n]), X[:n] ** 2)
    assert len(traced) == 1
    with pytest.raises(ShapeError, match="different numbers of samples"):
        compiled(X, X[:2])


def test_the_number_of_programs_is_bounded() -> None:
    compiled = st.compile(lambda x, k: x * k, programs=2)
    for k in range(5):
        compiled(X, k)
    assert len(compiled._programs) == 2


def test_arrays_that_are_closed_over() -> None:
    np.testing.assert_allclose(st.compile(lambda x: x + X)(X), 2 * X)


def test_branches_on_values_are_refused() -> None:
    with pytest.raises(TracingError, match="cannot branch"):
        st.compile(lambda x: x if x else -x)(X)
    with pytest.raises(TracingError, match="cannot become a NumPy array"):
        st.compile(lambda x: np.asarray(x))(X)
    with pytest.raises(TracingError, match="neither arrays nor hashable"):
        st.compile(lambda x, s: x)(X, {1, 2})
    with pytest.raises(DTypeError, match="complex128"):
        st.compile(lambda x: x)(X.astype(complex))


def test_value_and_grad() -> None:
    def loss(x: Any, w: Any) -> Any:
        return st.ops.sum(st.ops.tanh(x * w["scale"]) + w["shift"])

    w = {"scale": X + 1, "shift": X}
    value, (dx, dw) = st.value_and_grad(loss, argnums=(0, 1))(X, w)
    assert value == pytest.approx((np.tanh(X * (X + 1)) + X).sum())
    slope = 1 - np.tanh(X * (X + 1)) ** 2
    np.testing.assert_allclose(dx, slope * (X + 1))
    np.testing.assert_allclose(dw["scale"], slope * X)
    np.testing.assert_allclose(dw["shift"], 1)
    np.testing.assert_allclose(st.value_and_grad(loss)(X, w)[1], dx)


def test_value_and_grad_refuses() -> None:
    with pytest.raises(ShapeError, match="one number"):
        st.value_and_grad(lambda x: x)(X)
    with pytest.raises(OptionError, match="argnums=3"):
        st.value_and_grad(lambda x: st.ops.sum(x), argnums=3)(X)
    with pytest.raises(DTypeError, match="float arrays"):
        st.value_and_grad(lambda x, k: st.ops.sum(x), argnums=1)(X, 3)


def test_operations_take_plain_arrays() -> None:
    np.testing.assert_allclose(st.ops.tanh(X), np.tanh(X))
    np.testing.assert_allclose(st.ops.concat([X, X]), np.concatenate([X, X], 1))
    np.testing.assert_allclose(st.ops.where(st.ops.greater(X, 0.0), X, 0.0), np.maximum(X, 0))
    image = X.reshape(1, 1, 3, 4)
    assert st.ops.conv(image, np.ones((2, 1, 3, 3)), padding="same").shape == (1, 2, 3, 4)
    mean, variance = st.ops.moments(X, 0)
    np.testing.assert_allclose(mean, X.mean(0))
    np.testing.assert_allclose(variance, X.var(0))


def test_numbers_of_numpy_are_arrays_of_shape_nothing() -> None:
    value, gradient = st.value_and_grad(lambda x: x * x)(np.float32(3))
    assert (float(value), float(gradient)) == (9, 6)
    assert gradient.shape == ()
    value, (_, ds) = st.value_and_grad(lambda x, s: st.ops.sum(x * s, (0,)), (0, 1))(np.ones(4), np.float64(2))
    assert (float(value), float(ds)) == (8, 4)
    scaled = st.compile(lambda x, s: x * s)
    for scale in (2, 3, 4):
        np.testing.assert_array_equal(scaled(np.ones((2, 3), np.float32), np.float32(scale)), np.full((2, 3), scale))
    with pytest.raises(TracingError, match=r"np\.float32\(3\.0\) rather than 3\.0"):
        st.value_and_grad(lambda x: x * x)(3.0)
    negative = st.ops.leaky_relu(-np.ones(3, np.float32), np.float64(0.5))
    np.testing.assert_array_equal(negative, np.full(3, -0.5))


def test_a_compiled_function_can_be_copied() -> None:
    doubled = st.compile(_doubled, batched=True)
    x = np.ones((2, 3), np.float32)
    for other in (copy.copy(doubled), copy.deepcopy(doubled), pickle.loads(pickle.dumps(doubled))):  # noqa: S301
        assert np.array_equal(other(x), doubled(x))


def _doubled(x: Any) -> Any:
    return x * 2.0


def test_a_number_of_samples_that_an_operation_refuses_is_refused_at_run_time() -> None:
    function = st.compile(lambda x: st.ops.batch_norm(x, None, None, training=True), batched=True)
    assert function(np.ones((2, 3), np.float32)).shape == (2, 3)
    with pytest.raises(ShapeError, match="cannot train on one value per channel"):
        function(np.ones((1, 3), np.float32))
    assert function(np.ones((0, 3), np.float32)).shape == (0, 3)
