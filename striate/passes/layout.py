"""Chooses the algorithm of every convolution, pooling or similar operation, and the memory layout of every value.

A layout is blocked by 16 channels or in plain NumPy order, with a halo (padding around each plane) of some width.
Convolutions, matrix products and poolings require certain layouts. Elementwise work keeps the layout of its operands.
If a value's layout is not the one that its reader requires, a visible ``Convert`` node is inserted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, cast

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import Vector
from striate.codegen.options import CompileOptions
from striate.codegen.storage import BLOCK, NO_HALO, PLAIN, Halo, InputLayout, Storage, joined_spatial, make_storage
from striate.dtypes import DType
from striate.errors import GraphError
from striate.graph.elementwise import Elementwise
from striate.graph.graph import Graph, seeded
from striate.graph.notation import Expression, call
from striate.graph.op import Gradients, Kind, Needed, Node, Values, at_path, register
from striate.graph.value import Array, TensorType, Value
from striate.ops.anchor import Algorithm, Anchor
from striate.ops.reduction import reduction_of


@register
@dataclass(frozen=True)
class Convert(Elementwise):
    """y = x in another layout

    The numbers do not change; ``block`` is the number of channels per block of y in memory: 16, or 1 for NumPy order.
    Only the pass ``layout`` of the compiler inserts this operation.
    """

    kind: ClassVar[Kind] = Kind.ELEMENTWISE
    block: int = BLOCK

    def result_dtype(self, inputs: Sequence[TensorType]) -> DType:
        return inputs[0].dtype

    def reference(self, x: Array) -> Array:
        return x

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        return output_gradients

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return x

    def notation(self, *operands: Expression) -> Expression:
        return call("copy", operands, {})


@dataclass
class Layouts:
    """The memory layout of every value (an array that the graph computes).

    graph       the graph with conversion nodes inserted
    block       channels per block: 16, or 1 for NumPy order (plain)
    halo        the padding around each plane, for the values that have a halo
    planar      the plain values whose loops run line by line (PLANAR) rather than over all elements at once (FLAT)
    alias       for each view, the value whose memory it shares
    algorithms  how every convolution, pooling or similar node is computed, which decides the halos of its inputs
    source      for each value, the value of the original graph that it replaces
    """

    graph: Graph
    block: dict[Value, int] = field(default_factory=dict[Value, int])
    halo: dict[Value, Halo] = field(default_factory=dict[Value, Halo])
    planar: set[Value] = field(default_factory=set[Value])
    alias: dict[Value, Value] = field(default_factory=dict[Value, Value])
    algorithms: dict[Node, Algorithm] = field(default_factory=dict[Node, Algorithm])
    source: dict[Value, Value] = field(default_factory=dict[Value, Value])
    """A mapping from each value of the new graph to the value that it replaces."""

    def dtype(self, value: Value) -> DType:
        """Return the dtype of the value's elements in memory, which can be bfloat16 for a float32 value."""
        stored = value.node.op.stored_dtype
        return stored if stored and self.block[value] == BLOCK else value.dtype

    def storage(self, value: Value) -> Storage:
        """Return the strides, sizes and padding of the value in memory."""
        shape = value.type.concrete(1)
        channels, sizes = (shape[1], shape[2:]) if len(shape) > 1 else (1, shape)
        return make_storage(
            self.dtype(value), self.block[value], channels, joined_spatial(sizes), self.halo.get(value, NO_HALO)
        )

    def base(self, value: Value) -> Value:
        """Return the value that owns the memory of ``value``: for a view another value, else ``value`` itself."""
        while value in self.alias:
            value = self.alias[value]
        return value

    def note(self, value: Value) -> str:
        """Return the layout of a value as text: ``[16 +1]`` is blocked by 16 channels with 1 pixel of padding."""
        halo = self.halo.get(value, NO_HALO)
        wide = max(max(pair) for pair in halo)
        dtype = self.dtype(value)
        stored = "" if dtype is value.dtype else f" {dtype.short}"
        return f" [{'plain' if self.block[value] == PLAIN else self.block[value]}{f' +{wide}' if wide else ''}{stored}]"


def layout(graph: Graph, options: CompileOptions) -> Layouts:
    """Choose the algorithm of every node and the memory layout of every value of a graph.

    ``options`` has the target and the precision, on which the algorithms depend. The result contains the graph with
    conversions between layouts inserted.
    """
    return _Chooser(graph, options).run()


class _Chooser:
    def __init__(self, graph: Graph, options: CompileOptions) -> None:
        self.source = graph
        self.options = options
        self.late = seeded(graph)
        self.new: dict[Value, Value] = {}
        self.layouts = Layouts(graph)
        self.converted: dict[tuple[Value, int, bool], Value] = {}
        self.viewed: set[Value] = set()
        """Values whose memory a view shares, or that are read contiguously: they cannot have a halo."""

    def run(self) -> Layouts:
        for node in self.source.nodes:
            with at_path(node.path):
                self._node(node)
        graph = self.source
        outputs = {name: self._result(self.new[value]) for name, value in graph.outputs.items()}
        updates = {name: self._result(self.new[value]) for name, value in graph.updates.items()}
        inputs = {name: self.new.get(value, value) for name, value in graph.inputs.items()}
        self.layouts.graph = Graph(inputs, outputs, updates, graph.captured, graph.roles)
        self.layouts.source = {new: old for old, new in self.new.items()}
        return self.layouts

    def _plain(self, value: Value) -> Value:
        return self._in(value, PLAIN)

    def _result(self, value: Value) -> Value:
        """Return a result of the graph in plain memory of its own; a mere view of an input is copied."""
        value = self._plain(value)
        base = self.layouts.base(value)
        if base.node.op.kind is not Kind.SOURCE and not self.layouts.halo.get(base):
            return value
        y = Node(Convert(PLAIN), (value,), value.node.path).outputs[0]
        self.layouts.block[y] = PLAIN
        if value in self.layouts.planar:
            self.layouts.planar.add(y)  # the rows of a value with a halo are not contiguous
        return y

    def _node(self, node: Node) -> None:
        inputs = [self.new[value] for value in node.inputs]
        kind = node.op.kind
        blocks = [self.layouts.block[value] for value in inputs]
        if kind is Kind.SOURCE:
            self._emit(node, inputs, [PLAIN] * len(node.outputs), keep=True)
        elif kind is Kind.SIZE:
            self._emit(node, inputs, [PLAIN])
        elif kind in (Kind.ELEMENTWISE, Kind.RANDOM):
            self._elementwise(node, inputs, blocks)
        elif kind is Kind.VIEW:
            self._view(node, inputs[0])
        elif kind is Kind.REDUCTION:
            self._reduction(node, inputs[0])
        else:
            self._anchor(node, inputs, blocks)

    def _anchor(self, node: Node, inputs: list[Value], blocks: list[int]) -> None:
        op = node.op
        if not isinstance(op, Anchor):
            raise GraphError(f"{op} at {node.path!r} has no kernel")
        types = [value.type for value in inputs]
        algorithm = op.algorithm(types, [self.layouts.dtype(value) for value in inputs], self.options)
        layouts = op.input_layouts(types, blocks, algorithm)
        inputs = [self._for(value, required) for value, required in zip(inputs, layouts, strict=True)]
        if op.contiguous_inputs:
            inputs = [self._contiguous(value) for value in inputs]
        blocks = [self.layouts.block[value] for value in inputs]
        made = self._emit(node, inputs, list(op.output_layouts(types, blocks)))
        if op.planar_outputs:
            rows = (y for y in made.outputs if self.layouts.block[y] == PLAIN and y.type.rank >= 2)
            self.layouts.planar.update(rows)
        self.layouts.algorithms[made] = algorithm

    def _emit(self, node: Node, inputs: Sequence[Value], blocks: Sequence[int], keep: bool = False) -> Node:
        unchanged = node not in self.late and all(a is b for a, b in zip(inputs, node.inputs, strict=True))
        made = node if keep or unchanged else Node(node.op, tuple(inputs), node.path)
        for old, value, block in zip(node.outputs, made.outputs, blocks, strict=True):
            self.new[old] = value
            self.layouts.block[value] = block
        return made

    # -- kinds --------------------------------------------------------------------------------------------------

    def _elementwise(self, node: Node, inputs: list[Value], blocks: list[int]) -> None:
        result = node.outputs[0].type
        wide = [b for value, b in zip(inputs, blocks, strict=True) if value.type.rank >= 2]
        block = BLOCK if BLOCK in wide and result.rank >= 2 else PLAIN
        if block == BLOCK:
            inputs = [self._operand(value, result) for value in inputs]
        made = self._emit(node, inputs, [block])
        if block == PLAIN:
            stretched = any(v.type.size() != result.size() and (v.type.size() != 1 or v.type.batched) for v in inputs)
            stretched |= result.batched and any(v.type.size() != 1 and not v.type.batched for v in inputs)
            inherited = any(v in self.layouts.planar and v.shape == result.shape for v in inputs)
            if stretched or inherited or node.op.kind is Kind.RANDOM:
                self.layouts.planar.add(made.outputs[0])
            else:
                self.viewed.update(inputs)  # read contiguously, so a halo added later would be read as elements

    def _operand(self, value: Value, result: TensorType) -> Value:
        """Return an operand of blocked work in a layout that the work can read.

        A plain operand with one number per channel or per pixel stays as it is; other plain operands are converted.
        """
        if self.layouts.block[value] == BLOCK or value.type.rank < 2:
            return value
        channels, rest = value.shape[1], value.shape[2:]
        single_pixel = all(dim == 1 for dim in rest)
        if channels == 1 or (single_pixel and not value.type.batched):
            return value
        return self._in(value, BLOCK)

    def _view(self, node: Node, x: Value) -> None:
        y = node.outputs[0].type
        flat = all(dim == 1 for dim in x.shape[2:]) and all(dim == 1 for dim in y.shape[2:])
        same_rows = x.type.rank >= 2 and y.rank >= 2 and x.shape[:2] == y.shape[:2]
        stays = self.layouts.block[x] == BLOCK and flat and same_rows
        if not stays:
            x = self._plain(x)
        if self.layouts.halo.get(x, NO_HALO) != NO_HALO:
            x = self._without_halo(x)
        made = self._emit(node, [x], [BLOCK if stays else PLAIN])
        self.layouts.alias[made.outputs[0]] = x
        self.viewed.add(x)

    def _contiguous(self, x: Value) -> Value:
        """Return ``x`` with contiguous elements if it is plain; a blocked value is returned unchanged.

        A contiguous value is excluded from getting a halo later.
        """
        if self.layouts.block[x] == PLAIN:
            if self.layouts.halo.get(x, NO_HALO) != NO_HALO:
                x = self._without_halo(x)
            self.viewed.add(x)
        return x

    def _without_halo(self, x: Value) -> Value:
        """Return a copy of ``x`` without a halo, whose elements are contiguous."""
        y = Node(Convert(self.layouts.block[x]), (x,), x.node.path).outputs[0]
        self.layouts.block[y] = self.layouts.block[x]
        if x in self.layouts.planar:
            self.layouts.planar.add(y)
        return y

    def _reduction(self, node: Node, x: Value) -> None:
        reduction = reduction_of(node)
        axes = reduction.axes
        rank = x.type.rank
        spatial_axes = tuple(axis for axis in range(2, rank) if x.shape[axis] != 1)
        moving = tuple(axis for axis in axes if x.shape[axis] != 1)
        everything = all(x.shape[axis] == 1 for axis in range(rank) if axis not in axes)
        covers = set(spatial_axes) <= set(moving)
        if reduction.channels_together(x.type) > 1:  # a later kernel adds the channels of a group
            self._emit(node, [self._in(x, BLOCK)], [BLOCK] * len(node.outputs))
        elif everything:
            self._emit(node, [x], [PLAIN] * len(node.outputs))
        elif rank >= 2 and 1 not in moving and covers and (0 in moving or x.shape[0] == 1):
            self._emit(node, [self._in(x, BLOCK)], [PLAIN] * len(node.outputs))
        elif rank >= 2 and 1 not in moving and covers and spatial_axes:
            self._emit(node, [self._in(x, BLOCK)], [BLOCK] * len(node.outputs))
        elif moving == (1,) and self.layouts.block[x] == BLOCK:  # channels of each position, block by block
            self._emit(node, [x], [PLAIN] * len(node.outputs))
        else:
            x = self._contiguous(self._plain(x))
            self._emit(node, [x], [PLAIN] * len(node.outputs))

    # -- conversions --------------------------------------------------------------------------------------------

    def _for(self, value: Value, required: InputLayout) -> Value:
        block = self.layouts.block[value] if self.layouts.block[value] in required.blocks else required.blocks[0]
        value = self._in(value, block, required.halo != NO_HALO)
        if required.halo != NO_HALO:
            existing = self.layouts.halo.get(value, NO_HALO)
            wider = tuple((max(a, c), max(b, d)) for (a, b), (c, d) in zip(existing, required.halo, strict=True))
            self.layouts.halo[value] = cast(Halo, wider)
            if block == PLAIN:
                self.layouts.planar.add(value)
        return value

    def _in(self, value: Value, block: int, halo: bool = False) -> Value:
        """Return the value in a layout with this block, converted if necessary.

        With ``halo``, the value must be able to have a halo, which requires that one of our kernels writes it pixel by
        pixel.
        """
        kind = value.node.op.kind
        can_pad = kind in (Kind.ELEMENTWISE, Kind.RANDOM)
        can_pad |= kind in (Kind.CONTRACTION, Kind.WINDOW) and self.layouts.block[value] == BLOCK
        can_pad &= value not in self.viewed
        if self.layouts.block[value] == block and (can_pad or not halo):
            return value
        key = (value, block, halo)
        if key not in self.converted:
            y = Node(Convert(block), (value,), value.node.path).outputs[0]
            self.layouts.block[y] = block
            if block == PLAIN and (y.type.rank > 2 or self.layouts.block[value] != PLAIN):
                self.layouts.planar.add(y)
            self.converted[key] = y
        return self.converted[key]
