"""The verifier names the stage, the node and the rule that is broken."""

from __future__ import annotations

import re

import pytest

from striate.errors import GraphError
from striate.graph.arithmetic import Add
from striate.graph.check import check
from striate.graph.graph import Graph, Input
from striate.graph.op import Node, at_path
from striate.graph.value import DType, N, TensorType, Value

FLOATS = TensorType(DType.float32, (N, 4))


def test_a_sound_graph_is_returned() -> None:
    x = Input("x", FLOATS)()
    graph = Graph({"x": x}, {"y": x + x})
    assert check(graph, "trace") is graph


def test_two_inputs_of_one_name() -> None:
    x, again = Input("x", FLOATS)(), Input("x", FLOATS)()
    with pytest.raises(GraphError, match=r"after trace: .*two inputs are named 'x'"):
        check(Graph({"x": x}, {"y": x + again}), "trace")


def test_a_node_that_claims_another_type_than_its_rule() -> None:
    with at_path("conv1"):
        node = Node(Add(), (Input("x", FLOATS)(), Input("z", FLOATS)()), "conv1")
    object.__setattr__(node.outputs[0], "type", TensorType(DType.float32, (N, 5)))
    with pytest.raises(GraphError, match=r"after layout: .*at 'conv1' claims .*\(N, 5\).*its rule says .*\(N, 4\)"):
        check(Graph({}, {"y": node.outputs[0]}), "layout")


def test_a_node_that_reads_what_is_made_after_it() -> None:
    x = Input("x", FLOATS)()
    early = x + x
    late = x + x
    early.node.inputs = (late, late)  # type: ignore[misc]
    with pytest.raises(GraphError, match=r"after simplify: .*reads a value that is created after it"):
        check(Graph({"x": x}, {"y": early}), "simplify")


@pytest.mark.parametrize(
    ("shape", "rule"), [((4, N), "only axis 0 can have the size N"), ((N, -1), "negative size")], ids=str
)
def test_impossible_shapes(shape: tuple[object, ...], rule: str) -> None:
    def made() -> Value:
        return Input("x", TensorType(DType.float32, shape))()  # type: ignore[arg-type]

    with pytest.raises(GraphError, match=re.escape(rule)):
        check(Graph({}, {"y": made()}), "trace")
