"""The verifier: what must hold of every graph, run after every stage."""

from __future__ import annotations

from striate.errors import GraphError
from striate.graph.graph import Graph, Input
from striate.graph.value import Batch


def check(graph: Graph, stage: str) -> Graph:
    """Returns the graph, or raises ``GraphError`` naming the stage, the node and the rule that it breaks."""
    names: dict[str, object] = {}
    for node in graph.nodes:
        where = f"after {stage}: {node.op} at {node.path!r}"
        for value in node.inputs:
            if value.node.serial >= node.serial:
                raise GraphError(f"{where} reads a value made after it")
        expected = node.op.infer(*(value.type for value in node.inputs))
        if expected != tuple(value.type for value in node.outputs):
            raise GraphError(f"{where} claims {[str(v.type) for v in node.outputs]}, its rule says {expected}")
        for value in node.outputs:
            if any(isinstance(dim, Batch) for dim in value.shape[1:]):
                raise GraphError(f"{where}: N may stand on axis 0 alone, not in {value.type}")
            if any(isinstance(dim, int) and dim < 0 for dim in value.shape):
                raise GraphError(f"{where}: negative size in {value.type}")
        if isinstance(node.op, Input) and names.setdefault(node.op.name, node) is not node:
            raise GraphError(f"{where}: two inputs are named {node.op.name!r}")
    return graph
