"""Padding layers for 1, 2 and 3 spatial axes; names and options are those of ``torch.nn``."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import ClassVar

from striate.errors import OptionError
from striate.graph.value import Value
from striate.nn.foreign import ForeignLayer
from striate.nn.kind import LayerKind
from striate.nn.pooling import Positional
from striate.ops.pad_axis import PadMode
from striate.ops.padding import pad
from striate.ops.window import LARGEST
from striate.options import number


class Padding(Positional):
    """Base class of layers that pad each channel of (N, C, spatial axes…) or one sample (C, …) (abstract).

    ``padding`` is one number for all sides, or a sequence: (before, after) of the last axis, then of the axis before
    it, and so on. Negative numbers remove elements. Raises ``OptionError`` for another form, and ``ShapeError`` for
    inputs with another number of axes.
    """

    layer_kind: ClassVar[LayerKind] = LayerKind.RESHAPE
    mode: ClassVar[PadMode]
    """How the added elements are chosen."""
    value: float = 0.0

    def __init__(self, padding: int | Sequence[int]) -> None:
        sides = tuple(padding) if isinstance(padding, Sequence) else (padding,) * (2 * self.rank)
        whole = all(isinstance(n, Integral) and not isinstance(n, bool) and abs(n) <= LARGEST for n in sides)
        if len(sides) != 2 * self.rank or not whole:
            raise OptionError(
                f"{type(self).__name__}: padding={padding!r}; expected a whole number or {2 * self.rank}, "
                "two for each spatial axis"
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
    """Base class of layers that pad with the number ``value`` (abstract)."""

    mode = PadMode.constant

    def __init__(self, padding: int | Sequence[int], value: float) -> None:
        super().__init__(padding)
        self.value = number(f"{type(self).__name__}: value", value)

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer(type(self).__name__, {"padding": self.padding, "value": self.value})

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, {self.value:g}"


class ConstantPad1d(ConstantPad):
    """Pad (N, C, L) or (C, L) with the number ``value``; ``padding`` is one number or (left, right)."""

    rank = 1


class ConstantPad2d(ConstantPad):
    """Pad (N, C, H, W) or (C, H, W) with the number ``value``.

    ``padding`` is one number or (left, right, top, bottom).
    """

    rank = 2


class ConstantPad3d(ConstantPad):
    """Pad (N, C, D, H, W) or (C, D, H, W) with the number ``value``.

    ``padding`` is one number or (left, right, top, bottom, front, back).
    """

    rank = 3


class ZeroPad1d(Padding):
    """Pad (N, C, L) or (C, L) with zeros; ``padding`` is one number or (left, right)."""

    rank = 1
    mode = PadMode.constant


class ZeroPad2d(Padding):
    """Pad (N, C, H, W) or (C, H, W) with zeros; ``padding`` is one number or (left, right, top, bottom)."""

    rank = 2
    mode = PadMode.constant


class ZeroPad3d(Padding):
    """Pad (N, C, D, H, W) or (C, D, H, W) with zeros.

    ``padding`` is one number or (left, right, top, bottom, front, back).
    """

    rank = 3
    mode = PadMode.constant


class ReflectionPad1d(Padding):
    """Pad (N, C, L) or (C, L) with its mirror image, without repeating the edge: c b | a b c | b a

    ``padding`` is one number or (left, right), each less than L.
    """

    rank = 1
    mode = PadMode.reflect


class ReflectionPad2d(Padding):
    """Pad (N, C, H, W) or (C, H, W) with its mirror image, without repeating the edge.

    ``padding`` is one number or (left, right, top, bottom), each less than the size of its axis.
    """

    rank = 2
    mode = PadMode.reflect


class ReflectionPad3d(Padding):
    """Pad (N, C, D, H, W) or (C, D, H, W) with its mirror image, without repeating the edge.

    ``padding`` is one number or (left, right, top, bottom, front, back), each less than the size of its axis.
    """

    rank = 3
    mode = PadMode.reflect


class ReplicationPad1d(Padding):
    """Pad (N, C, L) or (C, L) by repeating the elements at the edge: a a | a b c | c c

    ``padding`` is one number or (left, right).
    """

    rank = 1
    mode = PadMode.replicate


class ReplicationPad2d(Padding):
    """Pad (N, C, H, W) or (C, H, W) by repeating the elements at the edge.

    ``padding`` is one number or (left, right, top, bottom).
    """

    rank = 2
    mode = PadMode.replicate


class ReplicationPad3d(Padding):
    """Pad (N, C, D, H, W) or (C, D, H, W) by repeating the elements at the edge.

    ``padding`` is one number or (left, right, top, bottom, front, back).
    """

    rank = 3
    mode = PadMode.replicate


class CircularPad1d(Padding):
    """Pad (N, C, L) or (C, L) periodically, with elements from the opposite side: b c | a b c | a b

    ``padding`` is one number or (left, right), each at most L.
    """

    rank = 1
    mode = PadMode.circular


class CircularPad2d(Padding):
    """Pad (N, C, H, W) or (C, H, W) periodically, with elements from the opposite side.

    ``padding`` is one number or (left, right, top, bottom), each at most the size of its axis.
    """

    rank = 2
    mode = PadMode.circular


class CircularPad3d(Padding):
    """Pad (N, C, D, H, W) or (C, D, H, W) periodically, with elements from the opposite side.

    ``padding`` is one number or (left, right, top, bottom, front, back), each at most the size of its axis.
    """

    rank = 3
    mode = PadMode.circular
