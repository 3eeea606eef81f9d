"""Inserts rounding to bfloat16 after the values that a bfloat16 training step stores in bfloat16.

The rounding is part of the graph (a ``Narrow`` node), so every reader gets the rounded number, whether it reads it from
memory or from the registers of the loop that computed it. Fusion, watching and the number of threads change no bit, and
the NumPy references compute what the kernels compute. The nodes are inserted after differentiation, so they do not
affect how gradients are derived.

The pass rounds the values that the float32 program stores between its loops as blocks of channels. It does not round
the results of the graph, parameters, their gradients and updates, statistics, or values with one pixel per channel.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import Vector
from striate.codegen.options import CompileOptions
from striate.codegen.storage import BLOCK
from striate.dtypes import DType, round_to_bfloat16
from striate.graph.elementwise import Elementwise
from striate.graph.graph import Graph, rewrite, seeded
from striate.graph.op import Gradients, Kind, Needed, Node, Values
from striate.graph.value import Array, Value
from striate.ops.anchor import Anchor
from striate.passes.fuse import fuse
from striate.passes.layout import Layouts, layout

_IN_REGISTERS = (Kind.ELEMENTWISE, Kind.RANDOM, Kind.REDUCTION, Kind.SIZE)


@dataclass(frozen=True)
class Narrow(Elementwise):
    """y = x rounded to bfloat16, to the nearest, ties to even

    y is stored as bfloat16 in memory, and is float32 in registers.
    """

    stored_dtype: ClassVar[DType | None] = DType.bfloat16

    def reference(self, x: Array) -> Array:
        return round_to_bfloat16(x)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        return output_gradients

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.rounded(x)


def narrow(graph: Graph, options: CompileOptions, observed: Iterable[str] = ()) -> Graph:
    """Return the graph with a rounding node after every value that is to be stored in bfloat16.

    ``options`` has the precision and the target. Outputs named in ``observed``, statistics that a user watches, do not
    affect which values are rounded, so watching a step does not change its results.
    """
    hidden = set(observed)
    outputs = {name: value for name, value in graph.outputs.items() if name not in hidden}
    laid_out = layout(Graph(graph.inputs, outputs, graph.updates, graph.captured, graph.roles), options)
    chosen = _chosen(laid_out, options)
    readers: dict[Value, Value] = {}
    late = seeded(graph)

    def replace(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        if not any(value in chosen for value in node.outputs):
            return None
        same = node not in late and all(a is b for a, b in zip(inputs, node.inputs, strict=True))
        made = node.outputs if same else Node(node.op, inputs, node.path).outputs
        for old, new in zip(node.outputs, made, strict=True):
            readers[new] = Narrow()(new) if old in chosen else new
        return tuple(readers[new] for new in made)

    return rewrite(graph, replace)


def _chosen(laid_out: Layouts, options: CompileOptions) -> set[Value]:
    """Return the values to round, as values of the graph from which ``laid_out`` was made."""
    plan = fuse(laid_out, options)
    leaving = {*laid_out.graph.outputs.values(), *laid_out.graph.updates.values()}
    viewed = {*laid_out.alias, *laid_out.alias.values()}
    readers = laid_out.graph.consumers()
    chosen: set[Value] = set()
    for group in plan.groups:
        for value in group.stores:
            can_round = value.dtype is DType.float32 and laid_out.block[value] == BLOCK
            can_round &= value not in leaving and value not in viewed and value in laid_out.source
            can_round = can_round and laid_out.storage(value).pixels > 1
            if can_round and all(_reads(node, value) for node in readers.get(value, ())):
                chosen.add(laid_out.source[value])
    return chosen


def _reads(node: Node, value: Value) -> bool:
    """Return whether a node can read the value in bfloat16."""
    if node.op.kind in _IN_REGISTERS:
        return True
    return isinstance(node.op, Anchor) and node.op.reads_bfloat16(node.inputs, value)
