"""Expansion and simplification: the same numbers from fewer nodes."""

from __future__ import annotations

import numpy as np
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st

from striate.engine import with_batch
from striate.graph.check import check
from striate.graph.graph import Graph
from striate.graph.interpreter import interpret
from striate.graph.op import Kind
from striate.graph.operand import constant
from striate.graph.reshape import reshape
from striate.graph.text import graph_text
from striate.graph.value import DType, N, Value
from striate.ops.activation import Relu, Tanh
from striate.ops.reduction import Sum
from striate.passes.simplify import expand, simplify
from tests.passes.graphs import SAMPLES, given, network

STEPS = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=14)


def drawn(steps: list[tuple[int, int, int]]) -> Graph:
    """Return arithmetic on random earlier values, with many neutral elements and equal subexpressions."""
    x, b = given("x", N, 4), given("b", 1, 4)
    values: list[Value] = [x, b + x]
    for kind, first, second in steps:
        left, right = values[first % len(values)], values[second % len(values)]
        values.append(
            [
                lambda a, b: a + b,
                lambda a, b: a - b,
                lambda a, b: a * b,
                lambda a, b: a * constant(1.0, DType.float64),
                lambda a, b: a + constant(0.0, DType.float64),
                lambda a, b: constant(0.0, DType.float64) - a,
                lambda a, b: reshape(reshape(a, (N, 2, 2)), (N, 4)),
                lambda a, b: Tanh()(a),
                lambda a, b: Relu()(a),
            ][kind](left, right)
        )
    return Graph({"x": x, "b": b}, {"y": values[-1], "z": values[len(values) // 2]})


@hypothesis_given(STEPS)
def test_any_arithmetic_keeps_its_numbers_and_a_second_run_finds_nothing(steps: list[tuple[int, int, int]]) -> None:
    graph = drawn(steps)
    simple = check(simplify(graph), "simplify")
    assert len(simple.nodes) <= len(graph.nodes)
    assert graph_text(simplify(simple)) == graph_text(simple)
    random = np.random.default_rng(0)
    arrays = {"x": random.standard_normal((SAMPLES, 4)), "b": random.standard_normal((1, 4))}
    expected, _ = interpret(with_batch(graph, SAMPLES), arrays)
    found, _ = interpret(with_batch(simple, SAMPLES), arrays)
    for name, y in expected.items():
        np.testing.assert_array_equal(found[name], y)


def test_equal_work_is_done_once() -> None:
    x = given("x", N, 4)
    graph = simplify(Graph({"x": x}, {"a": Tanh()(x) * 2.0, "b": Tanh()(x) * 2.0}))
    assert graph.outputs["a"] is graph.outputs["b"]
    assert sum(isinstance(node.op, Tanh) for node in graph.nodes) == 1


def test_what_changes_nothing_is_dropped() -> None:
    x = given("x", N, 4, 1)
    for y in (x * 1.0, x + 0.0, x - 0.0, 1.0 * x, reshape(reshape(x, (N, 2, 2)), (N, 4, 1)), Sum((2,))(x)):
        assert simplify(Graph({"x": x}, {"y": y})).outputs["y"] is x
    for y in (0.0 - x, x * 0.0, x + 1.0, Sum((1,))(x)):
        assert simplify(Graph({"x": x}, {"y": y})).outputs["y"] is not x


def test_a_neutral_number_that_widens_its_operand_stays() -> None:
    b, x = given("b", 1, 4), given("x", N, 4)
    wide = simplify(Graph({"b": b, "x": x}, {"y": b + (x - x)}))
    assert wide.outputs["y"].type == x.type


def test_composites_are_expanded_with_the_same_numbers() -> None:
    graph, arrays = network()
    assert any(node.op.kind is Kind.COMPOSITE for node in graph.nodes)
    simple = check(simplify(check(expand(graph), "expand")), "simplify")
    assert not any(node.op.kind is Kind.COMPOSITE for node in simple.nodes)
    expected, _ = interpret(with_batch(graph, SAMPLES), arrays)
    found, _ = interpret(with_batch(simple, SAMPLES), arrays)
    for name, y in expected.items():
        np.testing.assert_allclose(found[name], y, rtol=1e-9, atol=1e-9, err_msg=name)
