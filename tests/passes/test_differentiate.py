"""Differentiation: which gradients exist, their values, and what is not computed for them."""

from __future__ import annotations

import numpy as np
import pytest

from striate.engine import with_batch
from striate.errors import ShapeError
from striate.graph.check import check
from striate.graph.graph import Graph
from striate.graph.interpreter import interpret
from striate.graph.op import Direction
from striate.graph.value import Array, N, Value
from striate.ops.activation import Tanh
from striate.passes.differentiate import differentiate
from tests.passes.graphs import SAMPLES, convolution, given, network, total


def numbers(outputs: dict[str, Value], inputs: dict[str, Value], arrays: dict[str, Array]) -> dict[str, Array]:
    return interpret(with_batch(check(Graph(inputs, outputs), "differentiate"), SAMPLES), arrays)[0]


def test_the_gradients_of_a_network_are_finite_differences() -> None:
    graph, arrays = network()
    fixed = with_batch(graph, SAMPLES)
    found, _ = interpret(fixed, arrays)
    only_loss = Graph(fixed.inputs, {"loss": fixed.outputs["loss"]})
    random = np.random.default_rng(1)
    for name in ("stem", "w0", "gamma1", "beta0", "last", "linear"):
        direction = random.standard_normal(arrays[name].shape)
        direction /= np.linalg.norm(direction)
        ends = []
        for step in (1e-6, -1e-6):
            moved = {**arrays, name: arrays[name] + step * direction}
            ends.append(float(interpret(only_loss, moved)[0]["loss"]))
        slope = float((found[f"d{name}"] * direction).sum())
        assert (ends[0] - ends[1]) / 2e-6 == pytest.approx(slope, rel=1e-4), name


def test_a_value_that_is_used_twice_gets_the_sum() -> None:
    x = given("x", N, 4)
    (dx,) = differentiate(total(x * x + x * 3.0), [x])
    array = np.random.default_rng(0).standard_normal((SAMPLES, 4))
    np.testing.assert_allclose(numbers({"dx": dx}, {"x": x}, {"x": array})["dx"], 2 * array + 3)


def test_a_broadcast_operand_gets_the_sum_over_what_it_was_repeated_along() -> None:
    x, b = given("x", N, 4, 5), given("b", 1, 4, 1)
    (db,) = differentiate(total(x * b), [b])
    array = np.random.default_rng(0).standard_normal((SAMPLES, 4, 5))
    found = numbers({"db": db}, {"x": x, "b": b}, {"x": array, "b": np.zeros((1, 4, 1))})["db"]
    np.testing.assert_allclose(found, array.sum(axis=(0, 2), keepdims=True))


def test_what_the_loss_does_not_depend_on_gets_zeros() -> None:
    x, w = given("x", N, 4), given("w", 2, 3)
    (dw,) = differentiate(total(x), [w])
    arrays = {"x": np.ones((SAMPLES, 4)), "w": np.ones((2, 3))}
    np.testing.assert_array_equal(numbers({"dw": dw}, {"x": x, "w": w}, arrays)["dw"], np.zeros((2, 3)))


def test_a_seed_weighs_the_elements() -> None:
    x, seed = given("x", N, 4), given("seed", N, 4)
    (dx,) = differentiate(Tanh()(x), [x], seed)
    random = np.random.default_rng(0)
    arrays = {"x": random.standard_normal((SAMPLES, 4)), "seed": random.standard_normal((SAMPLES, 4))}
    expected = arrays["seed"] * (1 - np.tanh(arrays["x"]) ** 2)
    np.testing.assert_allclose(numbers({"dx": dx}, {"x": x, "seed": seed}, arrays)["dx"], expected)


def test_the_gradient_of_the_data_is_not_computed_where_nobody_asks() -> None:
    x, w = given("x", N, 3, 8, 8), given("w", 4, 3, 3, 3)
    (dw,) = differentiate(total(convolution(x, w)), [w])
    directions = [node.op.direction for node in Graph({"x": x, "w": w}, {"dw": dw}).nodes]
    assert Direction.WEIGHT_GRADIENT in directions
    assert Direction.INPUT_GRADIENT not in directions


@pytest.mark.parametrize("shape", [(4,), (N,), (2, 1)])
def test_a_loss_is_one_number(shape: tuple[object, ...]) -> None:
    x = given("x", *shape)
    with pytest.raises(ShapeError, match="sum or average it first"):
        differentiate(x, [x])
