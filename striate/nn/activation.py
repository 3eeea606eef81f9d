"""Activation layers: one call of the operation of the same name."""

from __future__ import annotations

from striate.errors import OptionError
from striate.graph.value import Value
from striate.nn.module import Module
from striate.ops.activation import leaky_relu, relu, sigmoid, tanh
from striate.ops.loss import softmax


class Sigmoid(Module):
    """y = 1 / (1 + e⁻ˣ)"""

    def forward(self, x: Value) -> Value:
        return sigmoid(x)


class Tanh(Module):
    """y = tanh(x)"""

    def forward(self, x: Value) -> Value:
        return tanh(x)


class ReLU(Module):
    """y = max(0, x)"""

    def forward(self, x: Value) -> Value:
        return relu(x)


class LeakyReLU(Module):
    """y = x where x > 0, else αx; α is ``negative_slope``"""

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = float(negative_slope)

    def forward(self, x: Value) -> Value:
        return leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        return f"{self.negative_slope:g}"


class Softmax(Module):
    """y = eˣ / Σ eˣ over the channels, axis 1"""

    def __init__(self, dim: int = 1) -> None:
        if dim != 1:
            raise OptionError(f"Softmax(dim={dim}): only the channels, dim=1")

    def forward(self, x: Value) -> Value:
        return softmax(x)
