"""Finds the part of an input that an output of a layer depends on, by walking the graph backwards.

The window of a convolution or pooling at output position p reads input positions from p · stride − before to p · stride
− before + dilation · (kernel − 1), where ``before`` is the padding. An elementwise operation reads the same position,
and an operation that mixes positions reads all of them. Padding is not part of the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from striate import options
from striate.errors import OptionError
from striate.graph.graph import topological
from striate.graph.op import Kind, Node, PositionSets
from striate.graph.value import DType, N, TensorType, Value
from striate.insight.layers import Layers
from striate.insight.sample import require_model, require_shape
from striate.nn.module import Module
from striate.ops.movement import Movement
from striate.tracing import Trace


class ReceptiveField:
    """The receptive fields of a layer's outputs, for inputs of one shape (C, positions…).

    ``positions`` is the size of the layer's output along each spatial axis. Calling the object with a position returns
    the receptive field of the output there, as slices of the input.
    """

    def __init__(self, model: Module, layer: str, shape: Sequence[int]) -> None:
        require_model(model)
        options.require_instance("layer", layer, str, '"conv1"')
        sizes = require_shape(shape)
        with Trace() as trace:
            self._x = trace.input("x", TensorType(model.dtype or DType.float32, (N, *sizes)))
            self._value = Layers(trace, model(self._x)).value(layer)
        self._nodes = topological([self._value])
        self.layer = layer
        self.positions = self._value.type.concrete(1)[2:]

    def __call__(self, position: Sequence[int] | None = None) -> tuple[slice, ...]:
        """Return the part of the input, as slices, that the output at a position depends on.

        ``position`` has one index for each spatial axis of the layer's output; None: its middle. The result has one
        slice for each spatial axis of the input. Raises ``OptionError`` for a position that does not exist.
        """
        place = tuple(size // 2 for size in self.positions) if position is None else _as_position(position)
        if len(place) != len(self.positions) or any(not 0 <= p < size for p, size in zip(place, self.positions)):
            raise OptionError(f"position {place} does not exist: layer {self.layer!r} has {self.positions} positions")
        seen: dict[Value, PositionSets] = {self._value: tuple(frozenset((p,)) for p in place)}
        for node in reversed(self._nodes):
            regions = [seen[value] for value in node.outputs if value in seen]
            if not regions:
                continue
            region = _union(regions)
            for value in node.inputs:
                part = _clipped(_read(node, value, region), value)
                if part is not None:
                    seen[value] = _union([part, seen[value]]) if value in seen else part
        found = seen.get(self._x)
        if found is None:
            return tuple(slice(0, 0) for _ in self._x.shape[2:])
        return tuple(slice(min(axis), max(axis) + 1) for axis in found)


def receptive_field(
    model: Module, layer: str, shape: Sequence[int], position: Sequence[int] | None = None
) -> tuple[slice, ...]:
    """Return the part of an input, as slices, that a layer's output at one position depends on.

    ``shape`` is the shape (C, H, W) of the input, and the two slices are for H and W. ``position`` is (row, column) in
    the layer's output; None: the middle of the output. The part does not extend beyond the edges of the input. The
    slices are empty if the output does not depend on the input. Raises ``OptionError`` for an unknown layer, or a
    position that the layer's output does not have.

    >>> image[(slice(None), *receptive_field(model, "conv2", image.shape, (3, 4)))]
    """
    return ReceptiveField(model, layer, shape)(position)


def _as_position(position: object) -> tuple[int, ...]:
    if not isinstance(position, list | tuple):
        raise OptionError(f"position={position!r}; expected a row and a column, such as (3, 4)")
    return tuple(options.whole_number("position", one, 0) for one in cast("Sequence[object]", position))


def _read(node: Node, value: Value, region: PositionSets) -> PositionSets:
    """Return the positions of one input that a node reads for the given positions of its output."""
    op = node.op
    whole = _whole(value)
    read = op.positions_read([one.type for one in node.inputs], node.inputs.index(value), region)
    if read is not None:
        return read
    if op.kind in (Kind.ELEMENTWISE, Kind.RANDOM):
        if value.type.rank != node.outputs[0].type.rank:
            return whole
        return tuple(every if len(every) == 1 else axis for axis, every in zip(region, whole))
    moved = isinstance(op, Movement) and op.keeps_positions()
    if moved or (op.kind is Kind.VIEW and value.shape[2:] == node.outputs[0].shape[2:]):
        return region
    return whole


def _whole(value: Value) -> PositionSets:
    """Return all positions of a value."""
    return tuple(frozenset(range(size)) for size in value.type.concrete(1)[2:])


def _clipped(region: PositionSets, value: Value) -> PositionSets | None:
    """Return the part of the positions that lies inside the value; None if there is only padding."""
    part = tuple(axis & every for axis, every in zip(region, _whole(value)))
    return part if all(part) else None


def _union(regions: Sequence[PositionSets]) -> PositionSets:
    """Return the union of sets of positions, axis by axis."""
    return tuple(frozenset[int]().union(*axis) for axis in zip(*regions))
