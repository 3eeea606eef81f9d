"""Simplification: expands composite operations, merges equal computations, removes useless arithmetic."""

from __future__ import annotations

from striate.graph.arithmetic import Add, Multiply, Subtract
from striate.graph.graph import Constant, Graph, rewrite, seeded
from striate.graph.op import Composite, Kind, Node
from striate.graph.reshape import Reshape
from striate.graph.value import Value


def expand(graph: Graph) -> Graph:
    """Return the graph with every composite operation replaced by its primitive operations."""

    def replace(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        return node.op.expand(*inputs) if isinstance(node.op, Composite) else None

    while any(isinstance(node.op, Composite) for node in graph.nodes):
        graph = rewrite(graph, replace)
    return graph


def simplify(graph: Graph) -> Graph:
    """Return the graph with equal nodes merged, and without arithmetic that has no effect, such as x · 1.

    Simplifying the result again changes nothing.
    """
    known: dict[tuple[object, ...], tuple[Value, ...]] = {}
    late = seeded(graph)

    def replace(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        same = _neutral(node, inputs)
        if same is not None:
            return (same,)
        if node.op.kind is Kind.SOURCE and not isinstance(node.op, Constant):
            return None
        key = (node.op, *(id(value) for value in inputs))
        if key not in known:
            unchanged = node not in late and all(a is b for a, b in zip(inputs, node.inputs, strict=True))
            known[key] = node.outputs if unchanged else Node(node.op, inputs, node.path).outputs
        return known[key]

    return rewrite(graph, replace)


def _number(value: Value) -> float | None:
    return value.node.op.number if isinstance(value.node.op, Constant) else None


def _neutral(node: Node, inputs: tuple[Value, ...]) -> Value | None:
    """Return the input that equals the node's output, or None if there is no such input."""
    op = node.op
    type = node.outputs[0].type
    if isinstance(op, Multiply | Add | Subtract):
        neutral = 1.0 if isinstance(op, Multiply) else 0.0
        for operand, other in ((0, 1), (1, 0)):
            commutes = operand == 0 or not isinstance(op, Subtract)
            if commutes and inputs[operand].type == type and _number(inputs[other]) == neutral:
                # x + 0 would turn −0 into 0; only a division by the result would reveal the difference.
                return inputs[operand]
    if isinstance(op, Reshape):
        source = inputs[0].node.inputs[0] if isinstance(inputs[0].node.op, Reshape) else inputs[0]
        if source.type == type:
            return source
    if op.kind is Kind.REDUCTION and len(node.outputs) == 1 and inputs[0].type == type:
        return inputs[0]  # over axes of size 1
    return None
