"""A graph: named inputs, outputs and updates, and the nodes between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from striate.graph.op import Kind, Node, Op, at_path, register
from striate.graph.value import Array, DType, TensorType, Value


@register
@dataclass(frozen=True)
class Input(Op):
    """an array that is given when the program runs"""

    kind: ClassVar[Kind] = Kind.SOURCE
    name: str
    type: TensorType

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (self.type,)


@register
@dataclass(frozen=True)
class Parameter(Input):
    """an array that is learned; it lives in the state arena under its dotted name"""


@register
@dataclass(frozen=True)
class State(Input):
    """an array that training changes without learning it, such as running statistics"""


@register
@dataclass(frozen=True)
class Constant(Op):
    """a number"""

    kind: ClassVar[Kind] = Kind.SOURCE
    number: float
    dtype: DType

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (TensorType(self.dtype, ()),)

    def __str__(self) -> str:
        return f"{self.number:g}"


def topological(outputs: Iterable[Value]) -> list[Node]:
    """Every node that the outputs need, each after its inputs."""
    seen: set[Node] = set()
    stack = [value.node for value in outputs]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(value.node for value in node.inputs)
    return sorted(seen, key=lambda node: node.serial)


@dataclass(frozen=True)
class Graph:
    """What a traced function computes.

    ``outputs`` and ``updates`` (the new contents of named states) are what the graph is for;
    ``watched`` values are reported when somebody watches and never change what else is computed.
    """

    inputs: Mapping[str, Value]
    outputs: Mapping[str, Value]
    updates: Mapping[str, Value] = field(default_factory=dict[str, Value])
    captured: Mapping[str, Array] = field(default_factory=dict[str, Array])

    @property
    def results(self) -> tuple[Value, ...]:
        """Outputs, then updates."""
        return (*self.outputs.values(), *self.updates.values())

    @property
    def nodes(self) -> list[Node]:
        """All nodes, each after its inputs."""
        return topological(self.results)

    def consumers(self) -> dict[Value, list[Node]]:
        """For every value the nodes that read it."""
        readers: dict[Value, list[Node]] = {}
        for node in self.nodes:
            for value in node.inputs:
                readers.setdefault(value, []).append(node)
        return readers

    def sources(self) -> list[Node]:
        """Inputs, parameters and states that the results need (constants left out)."""
        return [node for node in self.nodes if isinstance(node.op, Input)]


Replacement = Callable[[Node, tuple[Value, ...]], "tuple[Value, ...] | None"]


def rewrite(graph: Graph, replace: Replacement) -> Graph:
    """A new graph in which ``replace(node, new_inputs)`` stands for each node, or the node itself where it is None."""
    new: dict[Value, Value] = {}
    for node in graph.nodes:
        inputs = tuple(new[value] for value in node.inputs)
        with at_path(node.path):
            outputs = replace(node, inputs)
            if outputs is None:
                unchanged = all(a is b for a, b in zip(inputs, node.inputs, strict=True))
                outputs = node.outputs if unchanged else Node(node.op, inputs, node.path).outputs
        new.update(zip(node.outputs, outputs, strict=True))
    return Graph(
        {name: new.get(value, value) for name, value in graph.inputs.items()},
        {name: new[value] for name, value in graph.outputs.items()},
        {name: new[value] for name, value in graph.updates.items()},
        graph.captured,
    )
