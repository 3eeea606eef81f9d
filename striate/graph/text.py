"""Writes graphs as text, one line per node, for the command line, golden files and errors."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from striate.graph.graph import Constant, Graph, Input
from striate.graph.op import Node
from striate.graph.value import Value


def name_values(nodes: Sequence[Node]) -> dict[Value, str]:
    """Return a short, stable name for each output value of ``nodes``.

    Inputs keep their names, constants are printed as numbers, and other values are v0, v1, …
    """
    names: dict[Value, str] = {}
    count = 0
    for node in nodes:
        for value in node.outputs:
            if isinstance(node.op, Input):
                names[value] = node.op.name
            elif isinstance(node.op, Constant):
                names[value] = str(node.op)
            else:
                names[value] = f"v{count}"
                count += 1
    return names


def node_text(node: Node, names: dict[Value, str], note: Callable[[Value], str] = lambda value: "") -> str:
    """Return a node as one line of text, with the names that ``name_values`` returned.

    ``note`` returns text to add after the type of a value; the default adds none. Example:

    v3: f32 (N, 16, 32, 32) = convolution(padding=1) x conv1.weight   # conv1
    """
    results = ", ".join(f"{names[value]}: {value.type}{note(value)}" for value in node.outputs)
    inputs = " ".join(names[value] for value in node.inputs)
    path = f"   # {node.path}" if node.path else ""
    return f"{results} = {node.op} {inputs}".rstrip() + path


def graph_text(graph: Graph, note: Callable[[Value], str] = lambda value: "") -> str:
    """Return a graph as text: inputs, nodes, outputs and updates, one per line.

    ``note`` returns text to add after the type of a value.
    """
    nodes = graph.nodes
    names = name_values(nodes)
    lines = [f"{node.op.name}: {node.op.type}{note(node.outputs[0])}" for node in nodes if isinstance(node.op, Input)]
    lines = ["inputs", *(f"  {line}" for line in lines), "nodes"]
    lines += [f"  {node_text(node, names, note)}" for node in nodes if not isinstance(node.op, Input | Constant)]
    lines += ["outputs", *(f"  {name} = {names[value]}" for name, value in graph.outputs.items())]
    if graph.updates:
        lines += ["updates", *(f"  {name} ← {names[value]}" for name, value in graph.updates.items())]
    return "\n".join(lines) + "\n"
