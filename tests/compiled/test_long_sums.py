"""The rounding error of a sum does not grow with the number of its terms."""

from __future__ import annotations

import numpy as np
import pytest

import striate as st
from striate.graph.graph import Graph, Input
from striate.graph.reshape import reshape
from striate.graph.value import Array, DType, TensorType, Value
from striate.ops.channel_softmax import LogSoftmaxGradient, Softmax, SoftmaxGradient
from striate.ops.convolution import Convolution
from striate.ops.linear import linear
from striate.ops.reduction import Moments, max, mean, sum
from striate.passes.differentiate import differentiate
from tests.compiled.cases import Problem


def _run(outputs: dict[str, Value], arrays: dict[str, Array]) -> dict[str, Array]:
    inputs = {value.node.op.name: value for value in _inputs(outputs)}
    return Problem("", Graph(inputs, outputs), arrays, 1).run()


def _inputs(outputs: dict[str, Value]) -> list[Value]:
    return [node.outputs[0] for node in Graph({}, outputs).sources()]


def _input(name: str, array: Array) -> Value:
    return Input(name, TensorType(DType(array.dtype.name), array.shape))()


@pytest.mark.parametrize("shape", [(1, 1, 1000, 1000), (1, 2, 1, 300_000), (3, 1, 90, 70)], ids=str)
def test_a_weight_gradient_of_a_large_map(shape: tuple[int, ...]) -> None:
    x, w = np.ones(shape, "f4"), np.ones((3, shape[1], 1, 1), "f4")
    dy = np.full((shape[0], 3, *shape[2:]), 0.1, "f4")
    op = Convolution((1, 1), ((0, 0), (0, 0)), (1, 1), 1)
    dw = op.weight_gradient(_input("x", x), _input("dy", dy), w.shape)
    exact = shape[0] * shape[2] * shape[3] * float(np.float32(0.1))
    np.testing.assert_allclose(_run({"dw": dw}, {"x": x, "dy": dy})["dw"], exact, rtol=2e-5)


@pytest.mark.parametrize("samples", [1, 5, 9, 25])
def test_a_weight_gradient_of_few_tiles(samples: int) -> None:
    """Four tiles of each sample make 1, 2, 4 and 8 shares, some of which end within a sample."""
    random = np.random.default_rng(samples)
    x, dy = (random.standard_normal((samples, 17, 8, 8)).astype("f4") for _ in range(2))
    op = Convolution((1, 1), ((1, 1), (1, 1)), (1, 1), 1)
    dw = _run({"dw": op.weight_gradient(_input("x", x), _input("dy", dy), (17, 17, 3, 3))}, {"x": x, "dy": dy})["dw"]
    padded = np.pad(x.astype("f8"), ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (8, 8), (2, 3))  # (N, C, 3, 3, 8, 8)
    np.testing.assert_allclose(dw, np.einsum("nohw,ncijhw->ocij", dy, windows), atol=2e-4)


@pytest.mark.parametrize("samples", [1, 5])
def test_a_linear_layer_of_many_features(samples: int) -> None:
    x, w = np.full((samples, 400_000), 0.1, "f4"), np.ones((33, 400_000), "f4")
    y = _run({"y": linear(_input("x", x), _input("w", w))}, {"x": x, "w": w})["y"]
    np.testing.assert_allclose(y, 400_000 * float(np.float32(0.1)), rtol=3e-5)


@pytest.mark.parametrize("features", [1, 20])
def test_a_linear_layer_of_many_equal_samples(features: int) -> None:
    """Rounding errors of equal products have the same sign, so they do not cancel."""
    x, dy = np.full((300_000, features), 0.1, np.float32), np.full((300_000, 3), 0.3, np.float32)
    w = np.zeros((3, features), np.float32)
    _, dw = st.value_and_grad(lambda w, x, dy: sum(linear(x, w) * dy))(w, x, dy)
    exact = dy.T.astype(np.float64) @ x.astype(np.float64)
    np.testing.assert_allclose(dw, exact, rtol=2e-6)


def test_a_softmax_over_many_classes() -> None:
    random = np.random.default_rng(0)
    x, dy = (random.random((1, 300_001)).astype("f4") for _ in range(2))
    shared = {"x": _input("x", x), "dy": _input("dy", dy)}
    values = {
        "y": Softmax()(shared["x"]),
        "dx": SoftmaxGradient()(shared["x"], shared["dy"]),
        "dlog": LogSoftmaxGradient()(shared["x"], shared["dy"]),
    }
    found = Problem("", Graph(shared, values), {"x": x, "dy": dy}, 1).run()
    wide, upstream = x.astype("f8"), dy.astype("f8")
    powers = np.exp(wide)
    np.testing.assert_allclose(found["y"], powers / powers.sum(), rtol=5e-6)
    np.testing.assert_allclose(found["dx"], wide * (upstream - (wide * upstream).sum()), rtol=3e-6)
    np.testing.assert_allclose(found["dlog"], upstream - powers * upstream.sum(), rtol=3e-6)


def test_a_mean_over_a_large_map() -> None:
    x = np.full((1, 1, 1000, 1000), 0.1, "f4")
    assert _run({"y": reshape(mean(_input("x", x)), ())}, {"x": x})["y"] == np.float32(0.1)


@pytest.mark.parametrize(("centre", "spread"), [(1e4, 0.01), (1e9, 1.0), (-1e9, 1.0), (0.0, 1.0)])
@pytest.mark.parametrize("shape", [(8, 3, 16, 16), (4, 1), (70, 17, 3)], ids=str)
def test_moments_of_float64_keep_its_digits(centre: float, spread: float, shape: tuple[int, ...]) -> None:
    x = centre + spread * np.random.default_rng(1).standard_normal(shape)
    axes = (0, *range(2, len(shape)))
    average, variance = Moments(axes)(_input("x", x))
    found = _run({"mean": average, "variance": variance}, {"x": x})
    shifted = x - np.float64(centre)  # exact enough: x has lost the digits that this loses
    np.testing.assert_allclose(
        found["mean"] - centre, shifted.mean(axes, keepdims=True), atol=1e-15 * abs(centre) + 1e-15
    )
    np.testing.assert_allclose(found["variance"], shifted.var(axes, keepdims=True), rtol=1e-11)


def test_a_variance_beyond_the_range_is_nan() -> None:
    x = np.arange(4, dtype="f4").reshape(4, 1, 1, 1) * np.float32(1e20)
    average, variance = Moments((0, 2, 3))(_input("x", x))
    found = _run({"mean": average, "variance": variance}, {"x": x})
    assert found["mean"].item() == np.float32(1.5e20)
    assert np.isnan(found["variance"]).all()


def test_infinite_values_have_an_infinite_mean() -> None:
    x = np.array([[1.0], [np.inf], [2.0]])
    average, variance = Moments((0,))(_input("x", x))
    found = _run({"mean": average, "variance": variance}, {"x": x})
    assert found["mean"].item() == np.inf
    assert np.isnan(found["variance"]).all()


def test_the_gradient_of_a_maximum_is_nan_where_its_value_is() -> None:
    x = np.array([[1.0, np.nan, 2.0], [1.0, 3.0, np.inf], [0.0, 0.0, -1.0]], "f4")
    value = _input("x", x)
    largest = max(value, axis=1)
    (slope,) = differentiate(reshape(sum(largest), ()), [value])
    found = Problem("", Graph({"x": value}, {"y": largest, "dx": slope}), {"x": x}, 3).run()
    np.testing.assert_array_equal(found["y"], [np.nan, np.inf, 0.0])
    np.testing.assert_array_equal(found["dx"], [[np.nan] * 3, [0.0, 0.0, 1.0], [0.5, 0.5, 0.0]])
