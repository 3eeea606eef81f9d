"""Layers that only reshape."""

from __future__ import annotations

from striate.graph.value import Value
from striate.nn.module import Module
from striate.ops.shaping import flatten


class Flatten(Module):
    """(N, C, positions…) → (N, C · positions)"""

    def forward(self, x: Value) -> Value:
        return flatten(x)


class Identity(Module):
    """y = x"""

    def forward(self, x: Value) -> Value:
        return x
