"""The verifier of graphs: checks the rules of graphs after every stage of the compiler that returns one."""

from __future__ import annotations

from striate.errors import GraphError
from striate.graph.graph import Graph, Input
from striate.graph.op import Node
from striate.graph.value import Batch


def check(graph: Graph, stage: str, verified: set[Node] | None = None) -> Graph:
    """Return the graph if it is valid; otherwise raise ``GraphError``.

    The error names the stage that ran last, the node and the broken rule. The rules: every node reads only values that
    were created before the node, the output types of a node follow from the shape rule of its operation, only axis 0
    has the size N, no size is negative, and no two inputs share a name.

    Nodes in ``verified`` passed an earlier check and are not checked again. Nodes that pass this check are added to
    ``verified``.
    """
    names: dict[str, object] = {}
    passed: set[Node] = set() if verified is None else verified
    for node in graph.nodes:
        fault = None if node in passed else _fault(node)
        passed.add(node)
        if fault is None and isinstance(node.op, Input) and names.setdefault(node.op.name, node) is not node:
            fault = f": two inputs are named {node.op.name!r}"
        if fault is not None:
            raise GraphError(f"after {stage}: {node.op} at {node.path!r}{fault}")
    return graph


def _fault(node: Node) -> str | None:
    """Return the rule that a node breaks, as the end of a sentence, or None for a valid node."""
    for value in node.inputs:
        if value.node.serial >= node.serial:
            return " reads a value that is created after it"
    expected = node.op.infer(*(value.type for value in node.inputs))
    if expected != tuple(value.type for value in node.outputs):
        return f" claims {[str(v.type) for v in node.outputs]}, its rule says {expected}"
    for value in node.outputs:
        for axis, dim in enumerate(value.shape):
            if isinstance(dim, Batch):
                if axis:
                    return f": only axis 0 can have the size N, not as in {value.type}"
            elif dim < 0:
                return f": negative size in {value.type}"
    return None
