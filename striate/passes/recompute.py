"""Recomputes activations that would stay in memory in the backward pass only for a weight gradient.

    forward     v = convolution(…);  y = activation(normalize(v) [+ skip]) → the next convolution
    backward    dy = input gradient of the next convolution; its loop reads v [and skip], for the activation's gradient
                weight gradient of the next convolution, from y

What is in brackets applies if there is a skip connection. The loop that computes dy has v [and skip] in registers, from
which y can be computed. This loop stores y a second time, so the first copy of y need not outlive the forward pass.
This costs one write of y and no read. If y is also the skip connection of a later block, the backward loop of that
block reads v [and skip] instead of y. (Chen et al. 2016, arXiv:1604.06174, recompute whole segments of a network, which
costs more time and saves more memory.)
"""

from __future__ import annotations

from striate.graph.arithmetic import Later
from striate.graph.graph import Graph
from striate.graph.op import Kind, Node
from striate.graph.value import Value

FEWEST = 8
"""An activation is recomputed only if at least this many contractions lie between its last use in the forward pass and
the weight gradient that reads it."""
MOST_READS = 1
"""The most arrays that a loop of the backward pass may read in place of an activation on a skip connection."""
LONGEST_WAIT = 4
"""The most contractions by which a weight gradient may be delayed until its input has been recomputed."""

_IN_REGISTERS = (Kind.ELEMENTWISE, Kind.RANDOM, Kind.REDUCTION, Kind.SIZE)


def recompute(graph: Graph) -> Graph:
    """Return a graph in which weight gradients read recomputed activations where this costs no extra reads.

    A graph without weight gradients is returned unchanged.
    """
    backward_start = next((node.serial for node in graph.nodes if _sums_over_samples(node)), None)
    if backward_start is None:
        return graph
    choice = _Choice(graph, backward_start)
    return _Rewriting(graph, backward_start, choice).run() if choice.companions else graph


def _sums_over_samples(node: Node) -> bool:
    """Return whether the node is a weight gradient; the backward pass begins at the first of them."""
    return node.op.kind is Kind.CONTRACTION and node.inputs[0].type.batched and not node.outputs[0].type.batched


def _origin(y: Value) -> Node:
    """Return the node that computes y, before any rounding to the stored dtype."""
    return y.node.inputs[0].node if y.node.op.stored_dtype else y.node


def _full(node: Node) -> list[Value]:
    """Return the operands that have the shape and dtype of the result, so they are not broadcast."""
    return [value for value in node.inputs if value.type == node.outputs[0].type]


class _Choice:
    """Chooses which activations are recomputed, and in which loops.

    ``companions`` maps each activation that is recomputed to the result of the loop that recomputes it. ``kept`` are
    the other values that are in memory in the forward pass, because an operation that is not elementwise reads them.
    ``backward_start`` is the serial number of the first node of the backward pass.
    """

    def __init__(self, graph: Graph, backward_start: int) -> None:
        self.backward_start = backward_start
        self.results = set(graph.results)
        self.consumers = graph.consumers()
        self.kept = {value for value, readers in self.consumers.items() if any(map(_from_memory, readers))}
        self.contractions = [node.serial for node in graph.nodes if node.op.kind is Kind.CONTRACTION]
        self.loops = self._loops(graph)
        self.companions: dict[Value, Value] = {}
        for node in graph.nodes:
            if node.serial < backward_start and node.op.kind is Kind.ELEMENTWISE:
                companion = self._companion(node.outputs[0])
                if companion is not None:
                    self.companions[node.outputs[0]] = companion
                    self.kept.discard(node.outputs[0])

    def _loops(self, graph: Graph) -> dict[Node, Value]:
        """Map each elementwise node of the backward pass to the last contraction it depends on.

        That contraction's loop computes the node.
        """
        anchor: dict[Value, Value] = {}
        loops: dict[Node, Value] = {}
        for node in graph.nodes:
            if node.serial < self.backward_start:
                continue
            if node.op.kind is Kind.CONTRACTION:
                anchor[node.outputs[0]] = node.outputs[0]
            elif node.op.kind is Kind.ELEMENTWISE:
                anchors = [anchor[value] for value in node.inputs if value in anchor]
                if anchors:
                    loops[node] = anchor[node.outputs[0]] = max(anchors, key=lambda value: value.node.serial)
        return loops

    def _companion(self, y: Value) -> Value | None:
        """Return the result of the loop that can recompute y, or None if it is better to keep y."""
        if y not in self.kept or y in self.results or y.type.rank < 3 or not y.type.batched:
            return None
        late = [node for node in self.consumers[y] if _from_memory(node) and node.serial >= self.backward_start]
        if not late or not all(map(_sums_over_samples, late)):
            return None
        first, last = late[0].serial, late[-1].serial
        if self._between(self._last_use(y), first) < FEWEST:
            return None
        if self._read_late(y) and len(self._sources(y)) > MOST_READS:
            return None
        operands = _full(_origin(y))
        candidates = [
            loop
            for value in operands[:1]
            for node in self.consumers[value]
            if (loop := self.loops.get(node)) is not None
            and set(operands) <= set(node.inputs)
            and loop.type == y.type
            and loop.node.serial < last
            and self._between(first, loop.node.serial) <= LONGEST_WAIT
        ]
        return max(candidates, key=lambda value: value.node.serial, default=None)

    def _between(self, first: int, last: int) -> int:
        return sum(first < serial < last for serial in self.contractions)

    def _followers(self, y: Value) -> list[Node]:
        """Return the elementwise nodes that depend on y without another value in memory in between."""
        followers: list[Node] = []
        stack = [y]
        while stack:
            for node in self.consumers.get(stack.pop(), ()):
                if node.op.kind is Kind.ELEMENTWISE and node not in followers:
                    followers.append(node)
                    stack.extend(value for value in node.outputs if value not in self.kept)
        return followers

    def _last_use(self, y: Value) -> int:
        """Return the serial number of the last node of the forward pass that needs y."""
        readers = [*self.consumers[y], *self._followers(y)]
        return max((node.serial for node in readers if node.serial < self.backward_start), default=y.node.serial)

    def _read_late(self, y: Value) -> bool:
        """Return whether elementwise work of the backward pass needs y too."""
        return any(node.serial >= self.backward_start for node in self._followers(y))

    def _sources(self, y: Value) -> set[Value]:
        """Return the full-size arrays in memory from which y is computed."""
        sources: set[Value] = set()
        stack = list(y.node.inputs)
        while stack:
            value = stack.pop()
            if value.node.op.kind is Kind.ELEMENTWISE and value not in self.kept:
                stack.extend(value.node.inputs)
            elif value.type == y.type:
                sources.add(value)
        return sources


def _from_memory(node: Node) -> bool:
    return node.op.kind not in _IN_REGISTERS


class _Rewriting:
    """Recreates the nodes of the backward pass so that they read recomputed activations.

    A node that reads such an activation is placed after the loop that recomputes it.
    """

    def __init__(self, graph: Graph, backward_start: int, choice: _Choice) -> None:
        self.graph = graph
        self.backward_start = backward_start
        self.companions = choice.companions
        self.kept = choice.kept
        self.new: dict[Value, Value] = {}  # results of the backward pass
        self.again: dict[Value, Value] = {}  # values of the forward pass, as the backward pass recomputes them
        self.stored: dict[Value, Value] = {}

    def run(self) -> Graph:
        waiting: list[Node] = []
        for node in self.graph.nodes:
            if node.serial < self.backward_start or node.op.kind is Kind.SOURCE:
                continue
            waiting.append(node)
            while True:
                left = [each for each in waiting if not self._made(each)]
                if len(left) == len(waiting):
                    break
                waiting = left
        return Graph(
            self.graph.inputs,
            {name: self.new.get(value, value) for name, value in self.graph.outputs.items()},
            {name: self.new.get(value, value) for name, value in self.graph.updates.items()},
            self.graph.captured,
            self.graph.roles,
        )

    def _made(self, node: Node) -> bool:
        """Recreate a node if its inputs exist already; return whether it was recreated."""
        for value in node.inputs:
            needed = self.companions[value] if _from_memory(node) and value in self.companions else value
            if self._late(needed) and needed not in self.new:
                return False
        inputs = [self._input(node, value) for value in node.inputs]
        self.new.update(zip(node.outputs, Node(node.op, tuple(inputs), node.path).outputs, strict=True))
        return True

    def _late(self, value: Value) -> bool:
        return value.node.serial >= self.backward_start and value.node.op.kind is not Kind.SOURCE

    def _input(self, node: Node, value: Value) -> Value:
        if self._late(value):
            return self.new[value]
        if value in self.companions and _from_memory(node):
            if value not in self.stored:
                self.stored[value] = self._in_loop_of(value, self.new[self.companions[value]])
            return self.stored[value]
        return self._again(value)

    def _again(self, value: Value) -> Value:
        """Return the value as elementwise work of the backward pass sees it: recomputed from values in memory."""
        node = value.node
        if node.op.kind is not Kind.ELEMENTWISE or value in self.kept:
            return value
        if value not in self.again:
            inputs = tuple(map(self._again, node.inputs))
            same = value not in self.companions and all(a is b for a, b in zip(inputs, node.inputs, strict=True))
            self.again[value] = value if same else Node(node.op, inputs, node.path).outputs[0]
        return self.again[value]

    def _in_loop_of(self, y: Value, companion: Value) -> Value:
        """Return y, recomputed in the loop that computes ``companion``."""
        if y.node is not _origin(y):
            return Node(y.node.op, (self._in_loop_of(y.node.inputs[0], companion),), y.node.path).outputs[0]
        again = Node(y.node.op, tuple(map(self._again, y.node.inputs)), y.node.path).outputs[0]
        return Node(Later(), (again, companion), y.node.path).outputs[0]
