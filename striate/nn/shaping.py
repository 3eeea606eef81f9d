"""Layers that only reshape."""

from __future__ import annotations

from typing import ClassVar

from striate.errors import OptionError
from striate.graph.value import Value
from striate.nn.foreign import ForeignLayer
from striate.nn.kind import LayerKind
from striate.nn.module import Module
from striate.ops.shaping import flatten


class Flatten(Module):
    """(N, C, positions…) → (N, C · positions)"""

    layer_kind: ClassVar[LayerKind] = LayerKind.RESHAPE

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        if (start_dim, end_dim) != (1, -1) or isinstance(start_dim, bool):
            raise OptionError(
                f"Flatten(start_dim={start_dim!r}, end_dim={end_dim!r}): only all axes after the batch, (1, -1)\n"
                "  help: st.ops.reshape(x, shape) in a forward of your own"
            )

    def forward(self, x: Value) -> Value:
        return flatten(x)

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer("Flatten")

    def onnx_node(self) -> ForeignLayer:
        return ForeignLayer("Flatten")


class Identity(Module):
    """y = x"""

    layer_kind: ClassVar[LayerKind] = LayerKind.RESHAPE

    def forward(self, x: Value) -> Value:
        return x

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer("Identity")

    def onnx_node(self) -> ForeignLayer:
        return ForeignLayer("Identity")
