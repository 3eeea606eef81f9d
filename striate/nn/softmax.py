"""Layers that combine the elements along an axis: softmax, its logarithm, softmin, and GLU."""

from __future__ import annotations

from typing import ClassVar

from striate.errors import ShapeError
from striate.graph.value import Value
from striate.nn.foreign import ForeignLayer
from striate.nn.module import Module
from striate.ops import axis_softmax as ops
from striate.options import whole_number


class AlongAxis(Module):
    """Base class of layers that work along axis ``dim`` of x (abstract).

    A negative ``dim`` counts from the end; None is the default axis of the class.
    """

    usual: ClassVar[int] = 1
    """The axis for ``dim=None``."""

    def __init__(self, dim: int | None = None) -> None:
        self.dim = self.usual if dim is None else whole_number(f"{type(self).__name__}: dim", dim, -16)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer(type(self).__name__, {"dim": self.dim})


class Softmax(AlongAxis):
    """Softmax along axis ``dim``: y = eˣ / Σ eˣ, so that y is positive and its sum along the axis is 1

    ``dim=None``, the default, is axis 1, the channels. In PyTorch ``dim=None`` is deprecated, and means axis 0 for an
    input with three axes.
    """

    def forward(self, x: Value) -> Value:
        return ops.softmax(x, self.dim)


class LogSoftmax(AlongAxis):
    """Logarithm of the softmax along axis ``dim``: y = x − ln Σ eˣ

    ``dim=None``, the default, is axis 1, the channels. In PyTorch ``dim=None`` is deprecated, and means axis 0 for an
    input with three axes.
    """

    def forward(self, x: Value) -> Value:
        return ops.log_softmax(x, self.dim)


class Softmin(AlongAxis):
    """Softmax of −x along axis ``dim``: y = e⁻ˣ / Σ e⁻ˣ

    ``dim=None``, the default, is axis 1, the channels. In PyTorch ``dim=None`` is deprecated, and means axis 0 for an
    input with three axes.
    """

    def forward(self, x: Value) -> Value:
        return ops.softmin(x, self.dim)


class GLU(AlongAxis):
    """Gated linear unit: y = a · σ(b), where a and b are the two halves of x along axis ``dim``

    σ is the logistic function. ``dim`` is the last axis by default. Dauphin et al., arXiv:1612.08083.
    """

    usual: ClassVar[int] = -1

    def forward(self, x: Value) -> Value:
        return ops.glu(x, self.dim)


class Softmax2d(Module):
    """Softmax over the channels at each position of (N, C, H, W) or one sample (C, H, W): y = eˣ / Σ eˣ

    Raises ``ShapeError`` for other numbers of axes.
    """

    def forward(self, x: Value) -> Value:
        if x.type.rank not in (3, 4):
            raise ShapeError(
                f"{self.where()}: expected (N, C, H, W) or (C, H, W), got {x.type}\n  help: nn.Softmax(dim)"
            )
        return ops.softmax(x, -3)

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer("Softmax2d")
