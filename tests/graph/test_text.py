"""The complete text of a small graph."""

from __future__ import annotations

from striate.graph.graph import Graph, Input, Parameter, State
from striate.graph.op import at_path
from striate.graph.text import graph_text
from striate.graph.value import DType, N, TensorType
from striate.ops.activation import Relu
from striate.ops.linear import Linear

TEXT = """\
inputs
  x: f32 (N, 4)
  fc.weight: f32 (3, 4)
  count: f32 ()
nodes
  v0: f32 (N, 3) = linear x fc.weight   # fc
  v1: f32 (N, 3) = relu v0
  v2: f32 () = add count 1
outputs
  y = v1
updates
  count ← v2
"""


def graph() -> Graph:
    x = Input("x", TensorType(DType.float32, (N, 4)))()
    w = Parameter("fc.weight", TensorType(DType.float32, (3, 4)))()
    with at_path("fc"):
        h = Linear()(x, w)
    y = Relu()(h)
    count = State("count", TensorType(DType.float32, ()))()
    return Graph({"x": x, "fc.weight": w, "count": count}, {"y": y}, {"count": count + 1.0})


def test_a_line_a_node_with_types_paths_and_numbers() -> None:
    assert graph_text(graph()) == TEXT


def test_a_note_follows_the_type_of_every_value() -> None:
    text = graph_text(graph(), lambda value: f" [{value.type.rank}]")
    assert "  x: f32 (N, 4) [2]\n" in text
    assert "v0: f32 (N, 3) [2] = linear" in text
    assert "v2: f32 () [0] = add" in text
