"""Base of operations that apply a linear map along every axis of positions: padding, resampling, adaptive averages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeVar

from striate.codegen.launch import Launch
from striate.graph.op import Kind, PositionSets, Purpose
from striate.graph.value import Array, TensorType, Value
from striate.ops import kernels
from striate.ops.anchor import Anchor, LoweringContext
from striate.ops.axis_map import AxisMap, applied
from striate.ops.pooling import entering
from striate.ops.window import Sizes, positions

Maps = tuple[AxisMap, ...]
Map = TypeVar("Map", bound=AxisMap)


@dataclass(frozen=True)
class Mapped(Anchor):
    """Base of the operations (abstract): x (N, C, positions…) → (N, C, other positions…)"""

    kind: ClassVar[Kind] = Kind.WINDOW
    has_epilogue: ClassVar[bool] = True
    reads_once: ClassVar[bool] = False
    """Whether no position of x is read more often than about once, so that it may be computed where it is read."""

    def maps(self, size: Sizes) -> Maps:
        """The map along each axis of positions, for an input with these positions."""
        raise NotImplementedError

    @property
    def purpose(self) -> Purpose:
        return Purpose.WINDOW

    def reads_bfloat16(self, inputs: Sequence[Value], value: Value) -> bool:
        return True

    def accepts_prologue(self) -> bool:
        return self.reads_once

    def positions_read(self, types: Sequence[TensorType], number: int, positions: PositionSets) -> PositionSets | None:
        return rows_read(self.maps(types[0].concrete(1)[2:]), positions)

    def mapped(self, x: TensorType) -> TensorType:
        """The type of y."""
        return x.with_shape((*x.shape[:2], *(axis.count for axis in self.maps(positions(x)))))

    def lower(self, context: LoweringContext) -> list[Launch]:
        (x,) = context.node.inputs
        prologue, given, more = entering(context, x)
        maps = self.maps(positions(x.type))
        kernel = kernels.resampling.Weighted(context.storage(x), three_axes(maps), context.region, prologue)
        operands = (*given, *context.region_operands, *more)
        return [Launch(self.title, context.node.path, kernel, operands, context.domain.chunks)]

    def reference(self, x: Array) -> Array:
        return applied(x, self.maps(x.shape[2:]))


def rows_read(maps: Maps, positions: PositionSets) -> PositionSets:
    """The elements of x that the rows at some positions of y consist of."""
    return tuple(
        frozenset(i for p in axis for i, weight in along.row(p) if weight)
        for axis, along in zip(positions, maps, strict=True)
    )


def three_axes(maps: Sequence[Map]) -> tuple[Map | None, Map | None, Map | None]:
    """The maps of all three axes of positions; None for those that an input of lower rank does not have."""
    d, h, w = (*(None,) * (3 - len(maps)), *maps)
    return d, h, w
