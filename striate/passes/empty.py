"""Removes arrays without elements: they are never computed, and nodes that read them become constants.

In kernels, every size is therefore at least 1. Only the number of samples N, which is known at run time, may still be
0; the loops over samples then run zero times.
"""

from __future__ import annotations

from striate.graph.graph import Graph, rewrite
from striate.graph.op import Node
from striate.graph.value import Value


def is_empty(value: Value) -> bool:
    """Return whether a value has no elements because a size other than N is 0."""
    return 0 in value.shape


def remove_empty(graph: Graph) -> Graph:
    """Return the graph without empty arrays: those that have a size of 0 on an axis other than N.

    Outputs and updates without elements are left out, and no remaining node reads an empty array.
    """

    def replace(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if not any(map(is_empty, inputs)) or all(map(is_empty, node.outputs)):
            return None
        return node.op.on_empty(*inputs)

    if any(is_empty(value) for node in graph.nodes for value in node.outputs):
        graph = rewrite(graph, replace)
    outputs = {name: value for name, value in graph.outputs.items() if not is_empty(value)}
    updates = {name: value for name, value in graph.updates.items() if not is_empty(value)}
    return Graph(graph.inputs, outputs, updates, graph.captured, graph.roles)
