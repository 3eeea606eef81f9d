"""A graph: named inputs, outputs and updates, and the nodes between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
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


class OutputKind(Enum):
    """What an output of a graph is for."""

    RESULT = "result"  # what a function returns
    LOSS = "loss"
    PREDICTION = "prediction"
    GRADIENT = "gradient"  # of the loss with respect to a parameter
    STATISTIC = "statistic"  # the new contents of a running statistic, which wait until the step succeeds
    WATCH = "watch"  # what a watch reports; computing it changes nothing else


@dataclass(frozen=True)
class OutputRole:
    """The kind of an output, and the parameter, statistic or tensor that it belongs to."""

    kind: OutputKind
    of: str = ""


_RESULT = OutputRole(OutputKind.RESULT)


@dataclass(frozen=True)
class Graph:
    """What a traced function computes.

    ``outputs`` and ``updates`` (the new contents of named states) are what the graph is for, ``captured`` the arrays
    that the function closed over. ``roles`` says what outputs are; one that it leaves out is a plain result.
    """

    inputs: Mapping[str, Value]
    outputs: Mapping[str, Value]
    updates: Mapping[str, Value] = field(default_factory=dict[str, Value])
    captured: Mapping[str, Array] = field(default_factory=dict[str, Array])
    roles: Mapping[str, OutputRole] = field(default_factory=dict[str, OutputRole])

    def role(self, output: str) -> OutputRole:
        """What an output is."""
        return self.roles.get(output, _RESULT)

    def outputs_of(self, kind: OutputKind) -> dict[str, Value]:
        """The outputs of one kind, by what they belong to: gradients by the names of their parameters."""
        return {self.roles[name].of: self.outputs[name] for name in self.names_of(kind)}

    def names_of(self, kind: OutputKind) -> list[str]:
        """The names of the outputs of one kind."""
        return [name for name, role in self.roles.items() if role.kind is kind and name in self.outputs]

    def given(self) -> dict[str, Value]:
        """The inputs that a caller gives: neither parameters, nor states, nor captured arrays."""
        return {
            name: value
            for name, value in self.inputs.items()
            if type(value.node.op) is Input and name not in self.captured
        }

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


def rewrite(graph: Graph, replacement: Replacement) -> Graph:
    """A graph in which ``replacement(node, new_inputs)`` stands for each node, or the node itself where it is None."""
    new: dict[Value, Value] = {}
    for node in graph.nodes:
        inputs = tuple(new[value] for value in node.inputs)
        with at_path(node.path):
            outputs = replacement(node, inputs)
            if outputs is None:
                unchanged = all(a is b for a, b in zip(inputs, node.inputs, strict=True))
                outputs = node.outputs if unchanged else Node(node.op, inputs, node.path).outputs
        new.update(zip(node.outputs, outputs, strict=True))
    return replace(
        graph,
        inputs={name: new.get(value, value) for name, value in graph.inputs.items()},
        outputs={name: new[value] for name, value in graph.outputs.items()},
        updates={name: new[value] for name, value in graph.updates.items()},
    )
