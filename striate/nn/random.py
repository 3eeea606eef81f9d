"""Layers that are random in training."""

from __future__ import annotations

from typing import ClassVar

from striate.graph.value import Value
from striate.nn.activation import require_not_inplace
from striate.nn.kind import LayerKind
from striate.nn.module import Module
from striate.ops.random import dropout
from striate.options import number
from striate.tracing import active_trace


class Dropout(Module):
    """y = x · m / (1 − p), m = 0 with probability p, else 1; y = x when predicting. Srivastava et al., 2014."""

    layer_kind: ClassVar[LayerKind] = LayerKind.DROPOUT

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        require_not_inplace("Dropout", inplace)
        self.p = number("Dropout: p", p, 0.0, 1.0)

    def forward(self, x: Value) -> Value:
        trace = active_trace("Dropout")
        if not trace.training or self.p == 0:
            return x
        key, stream = trace.key()
        return dropout(x, key, self.p, stream)

    def extra_repr(self) -> str:
        return f"{self.p:g}"
