"""Activations that are kept through the whole backward pass for a weight gradient alone are computed again instead.

    forward     v = convolution(…);  y = activation(normalize(v)) → the next convolution
    backward    dy = input gradient of the next convolution; its loop reads v, for the sums of the normalization
                weight gradient of the next convolution, from y

The loop that computes dy has v in registers and y a few instructions away: it stores y anew, and the first y need not
outlive the forward pass. That costs one write of y and no read. (Chen et al. 2016, arXiv:1604.06174, recompute whole
stretches of a network, for more time and less memory.)
"""

from __future__ import annotations

from striate.graph.arithmetic import Later
from striate.graph.graph import Graph
from striate.graph.op import Kind, Node
from striate.graph.value import Value

FEWEST = 8
"""Contractions between the last other use of an activation and its weight gradient: what is kept for less is left."""


def recompute(graph: Graph) -> Graph:
    """Weight gradients read activations that are computed again, where what they are computed from is read anyway."""
    chosen = _Chooser(graph).chosen
    if not chosen:
        return graph
    new: dict[Value, Value] = {}
    started = False
    for node in graph.nodes:
        if node in chosen:
            y, companion = chosen[node]
            again = Node(y.node.op, tuple(new[value] for value in y.node.inputs), y.node.path).outputs[0]
            new[y] = Node(Later(), (again, new[companion]), y.node.path).outputs[0]
            started = True
        inputs = tuple(new[value] for value in node.inputs)
        # Work runs in the order of the nodes: once one of them is new, all that follow are made anew.
        copied = started and node.op.kind is not Kind.SOURCE
        outputs = Node(node.op, inputs, node.path).outputs if copied else node.outputs
        new.update(zip(node.outputs, outputs, strict=True))
    return Graph(
        graph.inputs,
        {name: new[value] for name, value in graph.outputs.items()},
        {name: new[value] for name, value in graph.updates.items()},
        graph.captured,
    )


class _Chooser:
    """``chosen``: for each weight gradient the activation, and the value beside which it is computed again."""

    def __init__(self, graph: Graph) -> None:
        self.results = set(graph.results)
        self.consumers = graph.consumers()
        self.contractions = [node for node in graph.nodes if node.op.kind is Kind.CONTRACTION]
        self.sums = [_leaves(node.inputs[0]) for node in graph.nodes if node.op.kind is Kind.REDUCTION]
        self.chosen: dict[Node, tuple[Value, Value]] = {}
        for node in self.contractions:
            for y in node.inputs:
                companion = self._companion(y, node)
                if companion is not None:
                    self.chosen[node] = (y, companion)

    def _companion(self, y: Value, reader: Node) -> Value | None:
        """The result of the loop that can compute y again, after its last other use and before ``reader``."""
        if y.node.op.kind is not Kind.ELEMENTWISE or y.type.rank < 3 or not y.type.batched:
            return None
        last = self._last_use(y, reader)
        if last is None:
            return None
        between = [node for node in self.contractions if last < node.serial < reader.serial]
        if len(between) < FEWEST:
            return None
        wanted = {value for value in _leaves(y) if value.type.batched}
        for leaves in self.sums:
            if wanted <= leaves:
                for node in reversed(between):
                    if node.outputs[0] in leaves and node.outputs[0].type == y.type and node.outputs[0] not in wanted:
                        return node.outputs[0]
        return None

    def _last_use(self, y: Value, reader: Node) -> int | None:
        """When y is needed last but for ``reader``; None where it leaves the graph, or nobody else needs it."""
        uses: list[int] = []
        stack, seen = [y], {y}
        while stack:
            value = stack.pop()
            if value in self.results:
                return None
            for node in self.consumers.get(value, ()):
                if node.op.kind is Kind.ELEMENTWISE:
                    fresh = [output for output in node.outputs if output not in seen]
                    seen.update(fresh)
                    stack.extend(fresh)
                elif node is not reader:
                    uses.append(node.serial)
        return max(uses, default=None)


def _leaves(value: Value) -> set[Value]:
    """What elementwise work computes a value from."""
    found: set[Value] = set()
    stack, seen = [value], {value}
    while stack:
        current = stack.pop()
        if current.node.op.kind is not Kind.ELEMENTWISE:
            found.add(current)
            continue
        fresh = [operand for operand in current.node.inputs if operand not in seen]
        seen.update(fresh)
        stack.extend(fresh)
    return found
