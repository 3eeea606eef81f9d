"""Padding layers for 1, 2 and 3 axes of positions; options as in PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import ClassVar

from striate.errors import OptionError
from striate.graph.value import Value
from striate.nn.foreign import ForeignLayer
from striate.nn.kind import LayerKind
from striate.nn.pooling import Positional
from striate.ops.padding import PadMode, pad
from striate.options import number


class Padding(Positional):
    """Base of padding layers (abstract): (N, C, positions…) or (C, positions…), with more positions around them.

    ``padding`` is one number for all sides, or (before, after) of the last axis, then of the one before it, and so on.
    Negative numbers crop.
    """

    layer_kind: ClassVar[LayerKind] = LayerKind.RESHAPE
    mode: ClassVar[PadMode]
    value: float = 0.0

    def __init__(self, padding: int | Sequence[int]) -> None:
        sides = tuple(padding) if isinstance(padding, Sequence) else (padding,) * (2 * self.rank)
        if len(sides) != 2 * self.rank or not all(isinstance(n, Integral) and not isinstance(n, bool) for n in sides):
            raise OptionError(
                f"{type(self).__name__}: padding={padding!r}; expected a whole number or {2 * self.rank}, "
                "two for each axis of positions"
            )
        self.padding = tuple(int(side) for side in sides)

    def forward(self, x: Value) -> Value:
        self.require_rank(x)
        return pad(x, self.padding, self.mode.value, self.value)

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer(type(self).__name__, {"padding": self.padding})

    def extra_repr(self) -> str:
        return str(self.padding[0] if len(set(self.padding)) == 1 else self.padding)


class ConstantPad(Padding):
    """Padding with ``value`` (abstract)."""

    mode = PadMode.constant

    def __init__(self, padding: int | Sequence[int], value: float) -> None:
        super().__init__(padding)
        self.value = number(f"{type(self).__name__}: value", value)

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer(type(self).__name__, {"padding": self.padding, "value": self.value})

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, {self.value:g}"


class ConstantPad1d(ConstantPad):
    """A number around each channel of (N, C, L)."""

    rank = 1


class ConstantPad2d(ConstantPad):
    """A number around each channel of (N, C, H, W)."""

    rank = 2


class ConstantPad3d(ConstantPad):
    """A number around each channel of (N, C, D, H, W)."""

    rank = 3


class ZeroPad1d(Padding):
    """Zeros around each channel of (N, C, L)."""

    rank = 1
    mode = PadMode.constant


class ZeroPad2d(Padding):
    """Zeros around each channel of (N, C, H, W)."""

    rank = 2
    mode = PadMode.constant


class ZeroPad3d(Padding):
    """Zeros around each channel of (N, C, D, H, W)."""

    rank = 3
    mode = PadMode.constant


class ReflectionPad1d(Padding):
    """The mirror image around each channel of (N, C, L)."""

    rank = 1
    mode = PadMode.reflect


class ReflectionPad2d(Padding):
    """The mirror image around each channel of (N, C, H, W)."""

    rank = 2
    mode = PadMode.reflect


class ReflectionPad3d(Padding):
    """The mirror image around each channel of (N, C, D, H, W)."""

    rank = 3
    mode = PadMode.reflect


class ReplicationPad1d(Padding):
    """The elements at the edge around each channel of (N, C, L)."""

    rank = 1
    mode = PadMode.replicate


class ReplicationPad2d(Padding):
    """The elements at the edge around each channel of (N, C, H, W)."""

    rank = 2
    mode = PadMode.replicate


class ReplicationPad3d(Padding):
    """The elements at the edge around each channel of (N, C, D, H, W)."""

    rank = 3
    mode = PadMode.replicate


class CircularPad1d(Padding):
    """The other side around each channel of (N, C, L)."""

    rank = 1
    mode = PadMode.circular


class CircularPad2d(Padding):
    """The other side around each channel of (N, C, H, W)."""

    rank = 2
    mode = PadMode.circular


class CircularPad3d(Padding):
    """The other side around each channel of (N, C, D, H, W)."""

    rank = 3
    mode = PadMode.circular
