"""Base class of operations that apply a linear map along each spatial axis: padding, resampling, adaptive averages."""

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
    """Base class of the operations that map each spatial axis linearly (abstract): x (N, C, sizes…) → y (N, C, counts…)

    sizes… and counts… are the spatial sizes of x and y. A subclass defines one map for each spatial axis; each element
    of y is a weighted sum of elements of x.
    """

    kind: ClassVar[Kind] = Kind.WINDOW
    has_epilogue: ClassVar[bool] = True
    reads_once: ClassVar[bool] = False
    """Whether each element of x is read about once, so that the kernel may compute x on the fly as a prologue."""

    def maps(self, size: Sizes) -> Maps:
        """Return the linear map along each spatial axis, for an input with the spatial sizes ``size``."""
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
        """Return the type of the output y for an input of type x: the same N and C, new spatial sizes."""
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
    """Return the positions of x that the ``positions`` of y depend on, as a set for each spatial axis.

    ``maps`` are the linear maps along the axes, which make y from x.
    """
    return tuple(
        frozenset(i for p in axis for i, weight in along.row(p) if weight)
        for axis, along in zip(positions, maps, strict=True)
    )


def three_axes(maps: Sequence[Map]) -> tuple[Map | None, Map | None, Map | None]:
    """Return the maps of the axes D, H and W; None for the leading axes that an input with fewer spatial axes lacks."""
    d, h, w = (*(None,) * (3 - len(maps)), *maps)
    return d, h, w
