"""Recomputed activations: the same numbers, and the forward pass stores fewer of them."""

from __future__ import annotations

import numpy as np

from striate.engine import with_batch
from striate.graph.arithmetic import Later
from striate.graph.check import check
from striate.graph.graph import Graph
from striate.graph.interpreter import interpret
from striate.graph.op import Kind
from striate.graph.text import graph_text
from striate.passes.recompute import recompute
from striate.passes.simplify import expand, simplify
from tests.passes.graphs import SAMPLES, network

DEEP = 8


def kept(graph: Graph) -> int:
    """Return the activations of the forward pass that are stored for a weight gradient."""
    first = next(node for node in graph.nodes if _is_weight_gradient_of(node))
    read = {value for node in graph.nodes if node.serial >= first.serial for value in node.inputs}
    forward = [node for node in graph.nodes if node.serial < first.serial and node.op.kind is Kind.ELEMENTWISE]
    weight_gradients = {node.inputs[0] for node in graph.nodes if _is_weight_gradient_of(node)}
    return sum(node.outputs[0] in read & weight_gradients for node in forward)


def _is_weight_gradient_of(node: object) -> bool:
    return node.op.kind is Kind.CONTRACTION and node.op.direction.value == "weight gradient"  # type: ignore[attr-defined]


def test_a_deep_network_keeps_fewer_activations_and_the_same_numbers() -> None:
    graph, arrays = network(DEEP)
    simple = simplify(expand(graph))
    again = check(recompute(simple), "recompute")
    assert sum(isinstance(node.op, Later) for node in again.nodes) >= 2
    assert kept(again) < kept(simple)
    expected, _ = interpret(with_batch(simple, SAMPLES), arrays)
    found, _ = interpret(with_batch(again, SAMPLES), arrays)
    for name, y in expected.items():
        np.testing.assert_array_equal(found[name], y, err_msg=name)


def test_what_is_needed_again_soon_is_kept() -> None:
    simple = simplify(expand(network(1)[0]))
    assert graph_text(recompute(simple)) == graph_text(simple)


def test_without_a_way_back_nothing_changes() -> None:
    graph, _ = network(DEEP)
    forward = simplify(expand(Graph(graph.inputs, {"scores": graph.outputs["scores"]})))
    assert recompute(forward) is forward
