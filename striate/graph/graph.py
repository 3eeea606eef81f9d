"""Graphs: named inputs, outputs and updates of states, with nodes (applied operations) between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import ClassVar

from striate.graph.op import Kind, Node, Op, at_path, register
from striate.graph.value import Array, DType, TensorType, Value
from striate.locks import cached_property


@register
@dataclass(frozen=True)
class Input(Op):
    """an array that the caller passes when the program runs"""

    kind: ClassVar[Kind] = Kind.SOURCE
    name: str
    type: TensorType

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (self.type,)


@register
@dataclass(frozen=True)
class Parameter(Input):
    """an array that is learned; it is stored in the model's state arena under its dotted name"""


@register
@dataclass(frozen=True)
class State(Input):
    """an array that training changes without a gradient, such as running statistics"""


@register
@dataclass(frozen=True)
class Seed(Input):
    """the gradient with respect to an output, which the caller passes when the backward part of a program runs"""


@register
@dataclass(frozen=True)
class Constant(Op):
    """a number that is fixed in the graph, as a scalar of the given dtype"""

    kind: ClassVar[Kind] = Kind.SOURCE
    number: float
    dtype: DType

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (TensorType(self.dtype, ()),)

    def __str__(self) -> str:
        return f"{self.number:g}"


def topological(outputs: Iterable[Value]) -> list[Node]:
    """Return every node that the outputs depend on, each after the nodes that it reads."""
    seen: set[Node] = set()
    stack = [value.node for value in outputs]
    while stack:
        node = stack.pop()
        if node not in seen:
            seen.add(node)
            stack.extend(value.node for value in node.inputs)
    return sorted(seen, key=lambda node: node.serial)


class OutputKind(Enum):
    """The purpose of an output of a graph: a plain result, the loss, a gradient, a watched value, and so on."""

    RESULT = "result"  # what a function returns
    LOSS = "loss"
    PREDICTION = "prediction"
    GRADIENT = "gradient"  # of the loss with respect to a parameter
    STATISTIC = "statistic"  # the new contents of a running statistic, which wait until the step succeeds
    WATCH = "watch"  # what a watch reports; computing it changes nothing else


@dataclass(frozen=True)
class OutputRole:
    """The purpose of an output: its ``kind``, and in ``of`` the parameter, statistic or tensor that it belongs to."""

    kind: OutputKind
    of: str = ""


_RESULT = OutputRole(OutputKind.RESULT)


@dataclass(frozen=True)
class Graph:
    """The computation of a traced function, as nodes (applied operations) between named values.

    inputs    all inputs, parameters and states (such as running statistics), by name
    outputs   the computed values, by name
    updates   the new contents of states, by the name of the state
    captured  the arrays that the function used from outside, by the name of the input that each became
    roles     the purpose of each output; an output without an entry is a plain result
    """

    inputs: Mapping[str, Value]
    outputs: Mapping[str, Value]
    updates: Mapping[str, Value] = field(default_factory=dict[str, Value])
    captured: Mapping[str, Array] = field(default_factory=dict[str, Array])
    roles: Mapping[str, OutputRole] = field(default_factory=dict[str, OutputRole])

    def role(self, output: str) -> OutputRole:
        """Return the role of the output named ``output``; the default is a plain result."""
        return self.roles.get(output, _RESULT)

    def outputs_of(self, kind: OutputKind) -> dict[str, Value]:
        """Return the outputs of one kind by the name of the parameter, statistic or tensor that they belong to.

        Gradients, for example, are returned by the names of their parameters.
        """
        return {self.roles[name].of: self.outputs[name] for name in self.names_of(kind)}

    def names_of(self, kind: OutputKind) -> list[str]:
        """Return the names of the outputs whose ``roles`` entry has this kind.

        Plain results usually have no entry and are then not included.
        """
        return [name for name, role in self.roles.items() if role.kind is kind and name in self.outputs]

    def given(self) -> dict[str, Value]:
        """Return the inputs that the caller passes to each run, by name.

        Parameters, states (such as running statistics) and captured arrays (which the traced function used from
        outside) are not among them.
        """
        return {
            name: value
            for name, value in self.inputs.items()
            if type(value.node.op) is Input and name not in self.captured
        }

    @property
    def results(self) -> tuple[Value, ...]:
        """All outputs, followed by all updates (the new contents of states)."""
        return (*self.outputs.values(), *self.updates.values())

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes that outputs and updates depend on, each after the nodes that it reads."""
        return tuple(topological(self.results))

    def consumers(self) -> dict[Value, list[Node]]:
        """Return the nodes that read each value, for every value that a node reads."""
        readers: dict[Value, list[Node]] = {}
        for node in self.nodes:
            for value in node.inputs:
                readers.setdefault(value, []).append(node)
        return readers

    def sources(self) -> list[Node]:
        """Return the nodes of inputs, parameters and states that outputs and updates depend on."""
        return [node for node in self.nodes if isinstance(node.op, Input)]


def seeded(graph: Graph) -> set[Node]:
    """Return the nodes that depend on a ``Seed``, a gradient that the caller passes to the backward part of a program.

    The seeds themselves are not included. A pass that replaces nodes must recreate the returned nodes even where they
    do not change. Otherwise they would come before new nodes of the forward part, because nodes are ordered by their
    age (``Node.serial``).
    """
    seeds = {value for value in graph.inputs.values() if isinstance(value.node.op, Seed)}
    found: set[Node] = set()
    for node in graph.nodes if seeds else ():
        if any(value in seeds or value.node in found for value in node.inputs):
            found.add(node)
    return found


Replacement = Callable[[Node, tuple[Value, ...]], "tuple[Value, ...] | None"]


def rewrite(graph: Graph, replacement: Replacement) -> Graph:
    """Return a new graph in which nodes are replaced; the old graph is not changed.

    ``replacement(node, new_inputs)`` is called for each node, with its inputs in the new graph. It returns the values
    that replace the node's outputs, or None to keep the node's operation. Nodes that depend on a ``Seed`` are the
    backward part of a program; in the new graph too, they come after all other nodes.
    """
    new: dict[Value, Value] = {}
    late = seeded(graph)
    for node in graph.nodes:
        inputs = tuple(new[value] for value in node.inputs)
        with at_path(node.path):
            outputs = replacement(node, inputs)
            if outputs is None:
                same = node not in late and all(a is b for a, b in zip(inputs, node.inputs, strict=True))
                outputs = node.outputs if same else Node(node.op, inputs, node.path).outputs
        new.update(zip(node.outputs, outputs, strict=True))
    return replace(
        graph,
        inputs={name: new.get(value, value) for name, value in graph.inputs.items()},
        outputs={name: new[value] for name, value in graph.outputs.items()},
        updates={name: new[value] for name, value in graph.updates.items()},
    )
