"""Rules on what arrays hold, such as the range of labels, which programs check before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from striate.graph.graph import Graph, Input
from striate.graph.op import Kind, Op
from striate.graph.value import Array, TensorType, Value

ContentCheck = tuple[str, Callable[[Array], None]]
"""The name of an input, and what raises where it holds something that an operation cannot take."""


def content_checks(graph: Graph) -> list[ContentCheck]:
    """The checks of arrays that are given when the program runs; those that were captured are checked now.

    An operation that declares ``checked_inputs`` is asked about each of them, also behind views and casts. What the
    graph computes itself cannot be looked at before it runs.
    """
    checks: dict[tuple[str, str], ContentCheck] = {}
    for name, rule, verify in _rules(graph):
        if name in graph.captured:
            verify(graph.captured[name])
        else:
            checks.setdefault((name, rule), (name, verify))
    return list(checks.values())


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
    """The value that views and casts show."""
    while value.node.op.kind is Kind.VIEW or value.node.op.is_cast:
        value = value.node.inputs[0]
    return value
