"""Layers that only change the shape, and the identity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, cast

from striate.errors import OptionError
from striate.graph.value import Value
from striate.nn.foreign import ForeignLayer
from striate.nn.kind import LayerKind
from striate.nn.module import Module
from striate.ops.shaping import flatten, unflatten
from striate.options import whole_number

_LARGEST_AXIS = 2**31


class Flatten(Module):
    """Join the axes ``start_dim`` to ``end_dim`` (inclusive): (N, C, H, W) → (N, C · H · W) by default"""

    layer_kind: ClassVar[LayerKind] = LayerKind.RESHAPE

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = whole_number("Flatten: start_dim", start_dim, -_LARGEST_AXIS)
        self.end_dim = whole_number("Flatten: end_dim", end_dim, -_LARGEST_AXIS)

    def forward(self, x: Value) -> Value:
        return flatten(x, self.start_dim, self.end_dim)

    @property
    def _usual(self) -> bool:
        return (self.start_dim, self.end_dim) == (1, -1)

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer("Flatten", {} if self._usual else {"start_dim": self.start_dim, "end_dim": self.end_dim})

    def extra_repr(self) -> str:
        return "" if self._usual else f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Unflatten(Module):
    """Split axis ``dim`` into axes with the sizes ``unflattened_size``, such as (N, C · H) → (N, C, H)

    In this example ``dim`` is 1, and ``unflattened_size`` is (C, H). One size may be −1: it is computed from the
    others. Raises ``OptionError`` unless the sizes are whole numbers of −1 or more.
    """

    layer_kind: ClassVar[LayerKind] = LayerKind.RESHAPE

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        self.dim = whole_number("Unflatten: dim", dim, -_LARGEST_AXIS)
        if not isinstance(cast("object", unflattened_size), tuple | list) or not unflattened_size:
            raise OptionError(f"Unflatten: unflattened_size={unflattened_size!r:.60}; expected sizes, such as (3, -1)")
        sizes = tuple(whole_number("Unflatten: unflattened_size", size, -1) for size in unflattened_size)
        self.unflattened_size = sizes

    def forward(self, x: Value) -> Value:
        return unflatten(x, self.dim, self.unflattened_size)

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer("Unflatten", {"dim": self.dim, "unflattened_size": self.unflattened_size})

    def extra_repr(self) -> str:
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"


class Identity(Module):
    """Return the input unchanged: y = x"""

    layer_kind: ClassVar[LayerKind] = LayerKind.RESHAPE

    def forward(self, x: Value) -> Value:
        return x

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer("Identity")
