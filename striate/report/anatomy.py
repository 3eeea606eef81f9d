"""Groups the nodes of a graph into blocks that people recognize as layers.

A block consists of one operation with a well-known name (a convolution, a pooling, an activation) and the arithmetic
around it. Values that are computed only from parameters, such as 1 / √(σ² + ε), belong to the block that reads them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from striate.graph.graph import Constant, Graph, Input, Parameter, State
from striate.graph.op import Kind, Node, Op
from striate.graph.reshape import Reshape
from striate.graph.value import Dim, Value, shape_text


@dataclass(eq=False)
class Block:
    """One box of the drawn network, usually a layer: graph nodes with the same path that belong together.

    index    number of the block, in running order
    path     path of the layer
    nodes    the block's nodes, in running order
    inputs   the outputs of other blocks that this block reads, or the network's input
    output   the result of the block
    sources  the parameters, buffers and other inputs of the graph that the block reads
    """

    index: int
    path: str
    nodes: list[Node] = field(default_factory=list[Node])
    inputs: list[Value] = field(default_factory=list[Value])
    output: Value = field(init=False)
    sources: list[Input] = field(default_factory=list[Input])

    @property
    def main(self) -> Op | None:
        """The operation that gives the block its name, such as a convolution; None for plain arithmetic."""
        return next((node.op for node in self.nodes if has_a_name(node)), None)

    @property
    def main_node(self) -> Node | None:
        """The node of the operation that gives the block its name; None for plain arithmetic."""
        return next((node for node in self.nodes if has_a_name(node)), None)

    @property
    def parameters(self) -> int:
        """The number of elements of all learned parameters of the block."""
        return sum(op.type.size() for op in self.sources if isinstance(op, Parameter))

    @property
    def normalizes(self) -> bool:
        """Whether the block divides by a running standard deviation, as batch normalization does."""
        running = any(isinstance(op, State) for op in self.sources)
        return running and any(node.op.deviation for node in self.nodes)

    @property
    def multiply_adds(self) -> int:
        """The number of multiply-adds for one sample, counted as for direct convolution.

        It is 0 for blocks other than convolutions and matrix products.
        """
        node = self.main_node
        if node is None or node.op.kind not in (Kind.CONTRACTION, Kind.COMPOSITE):
            return 0
        weights = next((value for value in node.inputs if not value.type.batched and value.type.rank >= 2), None)
        if weights is None:
            return 0
        return math.prod(weights.type.concrete(1)[1:]) * node.outputs[0].type.size(1)

    @property
    def shape(self) -> str:
        """The shape of the block's output for one sample, as text such as ``16 × 28 × 28``."""
        return sizes_text(self.output.shape)


def sizes_text(shape: Iterable[Dim]) -> str:
    """Return a shape without N as text, such as ``16 × 28 × 28`` for (N, 16, 28, 28)."""
    sizes = [str(dim) for dim in shape if isinstance(dim, int)]
    return " × ".join(sizes) if sizes else shape_text(tuple(shape))


def blocks_of(graph: Graph) -> list[Block]:
    """Return the blocks of a graph that computes a prediction, in the order in which they run."""
    return _Grouping(graph).blocks


class _Grouping:
    """Assigns every node that depends on the data to a block."""

    def __init__(self, graph: Graph) -> None:
        self.blocks: list[Block] = []
        self._home: dict[Node, Block] = {}
        self._graph = graph
        data = _fed_by_data(graph)
        nodes = [node for node in graph.nodes if node in data and not isinstance(node.op, Input)]
        for node in nodes:
            block = self._joined(node, data) or self._begun(node)
            block.nodes.append(node)
            self._home[node] = block
        self._finish(data)

    def _begun(self, node: Node) -> Block:
        """Begin a new block."""
        self.blocks.append(Block(len(self.blocks), node.path))
        return self.blocks[-1]

    def _producers(self, node: Node, data: set[Node]) -> list[Block]:
        """Return the blocks that compute the inputs of a node."""
        return [self._home[value.node] for value in node.inputs if value.node in data and value.node in self._home]

    def _joined(self, node: Node, data: set[Node]) -> Block | None:
        """Return the block of a producer that a node can join; None if it must begin a new one.

        A node may not join a block if another of its inputs depends on that block from outside, which would make a
        cycle.
        """
        producers = self._producers(node, data)
        for block in producers:
            apart = block.path != node.path or (has_a_name(node) and any(map(has_a_name, block.nodes)))
            if not apart and not any(block in self._above(other, data) for other in producers if other is not block):
                return block
        return None

    def _above(self, block: Block, data: set[Node]) -> set[Block]:
        """Return the blocks that a block depends on."""
        seen: set[Block] = set()
        stack = [block]
        while stack:
            for node in stack.pop().nodes:
                for before in self._producers(node, data):
                    if before is not block and before not in seen:
                        seen.add(before)
                        stack.append(before)
        return seen

    def _finish(self, data: set[Node]) -> None:
        """Set sources, inputs and output of all blocks, and add the nodes that depend on parameters alone."""
        readers = self._graph.consumers()
        given = set(self._graph.outputs.values())
        for block in self.blocks:
            own = set(block.nodes)
            inside = [node for node in _with_constants(block.nodes, data) if not isinstance(node.op, Constant)]
            block.sources = [node.op for node in inside if isinstance(node.op, Input)]
            block.nodes = [node for node in inside if not isinstance(node.op, Input)]
            block.inputs = list(
                dict.fromkeys(value for node in block.nodes for value in node.inputs if value.node in data - own)
            )
            leaving = [
                value
                for node in block.nodes
                for value in node.outputs
                if value in given or any(reader not in own for reader in readers.get(value, []))
            ]
            block.output = (leaving or [block.nodes[-1].outputs[0]])[-1]


def _fed_by_data(graph: Graph) -> set[Node]:
    """Return the nodes that depend on the contents of the network's input, and not only on its size."""
    fed: set[Node] = set()
    for node in graph.nodes:
        if isinstance(node.op, Input):
            plain = type(node.op) is Input and node.op.name not in graph.captured
            fed |= {node} if plain else set()
        elif node.op.kind is not Kind.SIZE and any(value.node in fed for value in node.inputs):
            fed.add(node)
    return fed


def _with_constants(nodes: list[Node], data: set[Node]) -> list[Node]:
    """Return the nodes, each preceded by the nodes it reads that do not depend on the data."""
    found: dict[Node, None] = {}

    def visit(node: Node) -> None:
        for value in node.inputs:
            if value.node not in data and value.node not in found:
                visit(value.node)
        found[node] = None

    for node in nodes:
        visit(node)
    return list(found)


def has_a_name(node: Node) -> bool:
    """Return whether the operation of a node has a name that readers know, such as convolution or softmax.

    Arithmetic and constants have no such name.
    """
    if node.op.arithmetic or node.op.kind in (Kind.SOURCE, Kind.SIZE):
        return False
    return not isinstance(node.op, Reshape) or node.outputs[0].type.batched
