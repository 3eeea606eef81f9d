"""Checks made before a program runs: the contents of arrays, such as the range of labels, and the number of samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from striate.graph.graph import Graph, Input
from striate.graph.op import Kind, Op
from striate.graph.value import Array, TensorType, Value

ContentCheck = tuple[str, Callable[[Array], None]]
"""The name of an input, and a function that raises if an array has contents that an operation cannot process."""


def content_checks(graph: Graph) -> list[ContentCheck]:
    """Return the checks to apply to input arrays before each run, such as the range of labels.

    Each check is a pair: the name of a graph input, and a function that raises an error if the input's array is
    invalid. An operation declares in ``checked_inputs`` which of its operands to check. An operand is checked if it is
    an input of the graph, or a view or cast of an input; operands that the graph computes in other ways are not
    checked. Captured arrays are checked immediately, in this call.
    """
    checks: dict[tuple[str, str], ContentCheck] = {}
    for name, rule, verify in _rules(graph):
        if name in graph.captured:
            verify(graph.captured[name])
        else:
            checks.setdefault((name, rule), (name, verify))
    return list(checks.values())


def sample_checks(graph: Graph) -> list[Callable[[int], None]]:
    """Return functions to call with N before each run; they raise ``ShapeError`` for an N that an operation refuses."""
    return [
        partial(_require_samples, node.op, tuple(value.type for value in node.inputs))
        for node in graph.nodes
        if node.op.limits_samples and any(value.type.batched for value in node.inputs)
    ]


def _require_samples(op: Op, types: tuple[TensorType, ...], n: int) -> None:
    op.infer(*(one.with_shape(one.concrete(n)) for one in types))


def _rules(graph: Graph) -> Iterator[tuple[str, str, Callable[[Array], None]]]:
    for node in graph.nodes:
        for place in node.op.checked_inputs:
            source = _source(node.inputs[place])
            if isinstance(source.node.op, Input):
                types = tuple(value.type for value in node.inputs)
                rule = f"{place} of {types[:2]}"
                yield source.node.op.name, rule, partial(_require, node.op, types)


def _require(op: Op, types: tuple[TensorType, ...], array: Array) -> None:
    op.require_contents(array, types)


def _source(value: Value) -> Value:
    """Return the value from which ``value`` is obtained by views and casts alone."""
    while value.node.op.kind is Kind.VIEW or value.node.op.is_cast:
        value = value.node.inputs[0]
    return value
