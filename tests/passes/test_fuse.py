"""Fusion: each value is computed once in the right loop, and nothing is read before it is stored."""

from __future__ import annotations

from dataclasses import replace

import pytest

from striate.codegen.options import CompileOptions
from striate.codegen.target import named
from striate.graph.graph import Graph
from striate.graph.op import Kind
from striate.graph.value import N
from striate.ops.activation import Relu, Tanh
from striate.passes.fuse import Plan, fuse
from striate.passes.layout import layout
from striate.passes.simplify import expand, simplify
from tests.passes.graphs import convolution, given, network, total

OPTIONS = CompileOptions(named("x86-64-v3"))
GROUPED = (Kind.CONTRACTION, Kind.WINDOW, Kind.ROWWISE, Kind.GATHER)


@pytest.fixture(scope="module")
def plan() -> Plan:
    return fuse(layout(simplify(expand(network()[0])), OPTIONS), OPTIONS)


def test_every_anchor_and_every_reduction_runs_once(plan: Plan) -> None:
    nodes = plan.layouts.graph.nodes
    anchors = [group.anchor for group in plan.groups if group.anchor]
    assert len(anchors) == len(set(anchors))
    assert {node for node in nodes if node.op.kind in GROUPED} <= set(anchors)
    reduced = [node for group in plan.groups for node in group.reductions]
    finished = [node for group in plan.groups for node in group.finishes]
    assert len(reduced) == len(set(reduced))
    assert set(reduced) == set(finished)
    assert {node for node in nodes if node.op.kind is Kind.REDUCTION} == set(reduced) | {
        node for node in anchors if node.op.kind is Kind.REDUCTION
    }


def test_partial_sums_are_finished_later(plan: Plan) -> None:
    home = {node: group.index for group in plan.groups for node in group.reductions}
    for group in plan.groups:
        for node in group.finishes:
            assert home[node] < group.index, node.op


def test_nothing_is_read_before_it_is_stored(plan: Plan) -> None:
    for group in plan.groups:
        for value in group.reads - group.registers:
            assert plan.in_memory[value] < group.index, (group.index, value)


def test_all_results_lie_in_memory(plan: Plan) -> None:
    stored = [value for group in plan.groups for value in group.stores]
    assert len(stored) == len(set(stored)), "a value is stored once"
    for name, value in plan.layouts.graph.outputs.items():
        assert plan.in_memory[value] >= 0, name
    for group in plan.groups:
        for value in group.stores:
            assert plan.in_memory[value] == group.index


def test_bias_and_activation_run_in_the_loop_of_the_convolution() -> None:
    x, w, b = given("x", N, 16, 8, 8), given("w", 16, 16, 3, 3), given("b", 1, 16, 1, 1)
    graph = Graph({"x": x, "w": w, "b": b}, {"y": Relu()(convolution(x, w) + b)})
    made = fuse(layout(simplify(expand(graph)), OPTIONS), OPTIONS)
    (loop,) = [group for group in made.groups if group.anchor and group.anchor.op.kind is Kind.CONTRACTION]
    assert [type(value.node.op) for value in loop.stores] == [Relu]
    assert made.layouts.graph.outputs["y"] not in loop.registers, "it is plain; the loop's own memory is blocked"


def test_a_chain_and_its_sum_are_one_walk() -> None:
    x = given("x", N, 64)
    y = Tanh()(x * 2.0) + 1.0
    made = fuse(layout(simplify(Graph({"x": x}, {"y": y, "sum": total(y)})), OPTIONS), OPTIONS)
    walks = [group for group in made.groups if not group.finishes]
    assert len(walks) == 1
    assert walks[0].stores
    assert walks[0].reductions


def test_an_observed_output_changes_no_other_loop() -> None:
    x, w = given("x", N, 16, 8, 8), given("w", 16, 16, 3, 3)
    h = Relu()(convolution(x, w))
    outputs = {"y": convolution(h, w)}
    watched = {**outputs, "watch:h": total(h)}
    plain, observed = (
        fuse(layout(simplify(Graph({"x": x, "w": w}, chosen)), OPTIONS), OPTIONS, ["watch:h"])
        for chosen in (outputs, watched)
    )
    kinds = [[group.anchor and type(group.anchor.op) for group in each.groups] for each in (plain, observed)]
    assert [kind for kind in kinds[1] if kind] == [kind for kind in kinds[0] if kind]


def test_what_depends_on_constant_inputs_alone_comes_first() -> None:
    x, w = given("x", N, 16, 8, 8), given("w", 16, 16, 3, 3)
    graph = Graph({"x": x, "w": w}, {"y": convolution(x, w * 2.0)})
    options = replace(OPTIONS, constant_inputs=frozenset({"w"}))
    made = fuse(layout(simplify(graph), options), options)
    assert {value.node.op for value in made.groups[0].stores}
    for value in made.groups[0].stores:
        assert value.shape == w.shape
