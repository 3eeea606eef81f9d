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
    """Base of layers that work along axis ``dim`` (abstract); −1 is the last axis, None the default of the class."""

    usual: ClassVar[int] = 1

    def __init__(self, dim: int | None = None) -> None:
        self.dim = self.usual if dim is None else whole_number(f"{type(self).__name__}: dim", dim, -16)

    def extra_repr(self) -> str:
        return f"dim={self.dim}"

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer(type(self).__name__, {"dim": self.dim})


class Softmax(AlongAxis):
    """y = eˣ / Σ eˣ along axis ``dim``; None, the default, is 1, the channels"""

    def forward(self, x: Value) -> Value:
        return ops.softmax(x, self.dim)


class LogSoftmax(AlongAxis):
    """y = x − ln Σ eˣ along axis ``dim``; None, the default, is 1, the channels"""

    def forward(self, x: Value) -> Value:
        return ops.log_softmax(x, self.dim)


class Softmin(AlongAxis):
    """y = e⁻ˣ / Σ e⁻ˣ along axis ``dim``; None, the default, is 1, the channels"""

    def forward(self, x: Value) -> Value:
        return ops.softmin(x, self.dim)


class GLU(AlongAxis):
    """y = a σ(b) for the halves a and b of x along axis ``dim``, the last one by default"""

    usual: ClassVar[int] = -1

    def forward(self, x: Value) -> Value:
        return ops.glu(x, self.dim)


class Softmax2d(Module):
    """y = eˣ / Σ eˣ over the channels of each position: x is (N, C, H, W) or (C, H, W)"""

    def forward(self, x: Value) -> Value:
        if x.type.rank not in (3, 4):
            raise ShapeError(
                f"{self.where()}: expected (N, C, H, W) or (C, H, W), got {x.type}\n  help: nn.Softmax(dim)"
            )
        return ops.softmax(x, -3)

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer("Softmax2d")
