"""Layers that only reshape."""

from __future__ import annotations

from typing import ClassVar

from striate.graph.value import Value
from striate.nn.foreign import ForeignLayer
from striate.nn.kind import LayerKind
from striate.nn.module import Module
from striate.ops.shaping import flatten


class Flatten(Module):
    """(N, C, positions…) → (N, C · positions)"""

    layer_kind: ClassVar[LayerKind] = LayerKind.RESHAPE

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
