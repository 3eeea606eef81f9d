"""Runs a graph in NumPy, with the reference implementation of each operation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from striate.graph.graph import Constant, Graph, Input
from striate.graph.value import Array, Value


def interpret(graph: Graph, arrays: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
    """Run a graph in NumPy; return its outputs and its updates of states, each as a dict by name.

    ``arrays`` are the contents of all inputs, parameters and states by name; captured arrays, which the graph contains,
    need not be among them.
    """
    known: dict[Value, Array] = {}
    with np.errstate(all="ignore"):
        for node in graph.nodes:
            if isinstance(node.op, Input):
                found = graph.captured.get(node.op.name)
                known[node.outputs[0]] = arrays[node.op.name] if found is None else found
            elif isinstance(node.op, Constant):
                known[node.outputs[0]] = np.asarray(node.op.number, node.op.dtype.numpy)
            else:
                result = node.op.reference(*(known[value] for value in node.inputs))
                results = result if isinstance(result, tuple) else (result,)
                for value, array in zip(node.outputs, results, strict=True):
                    known[value] = np.asarray(array, value.dtype.numpy)
    return (
        {name: known[value] for name, value in graph.outputs.items()},
        {name: known[value] for name, value in graph.updates.items()},
    )
