"""Activation layers: one call of the operation of the same name."""

from __future__ import annotations

from typing import Self

from striate.errors import OptionError
from striate.graph.arithmetic import Elementwise, elementwise
from striate.graph.value import Value
from striate.nn.foreign import ForeignLayer
from striate.nn.module import Module
from striate.ops import activation as ops
from striate.ops.loss import softmax
from striate.options import flag, number


class Activation(Module):
    """Base of layers that apply one elementwise operation (abstract); the operation defines its properties."""

    @property
    def operation(self) -> Elementwise:
        """The operation, with the layer's options."""
        raise NotImplementedError

    @classmethod
    def with_slope(cls, negative_slope: float) -> Self:
        """A layer whose slope for negative inputs is ``negative_slope``, if it has such an option."""
        return cls()

    def forward(self, x: Value) -> Value:
        return elementwise(self.operation, x)


def require_not_inplace(layer: str, inplace: object) -> None:
    """Raises ``OptionError`` for ``inplace=True`` of PyTorch: the compiler plans where results lie."""
    if flag(f"{layer}: inplace", inplace):
        raise OptionError(
            f"{layer}: inplace=True; the compiler already shares memory where it can\n  help: leave inplace out"
        )


class Sigmoid(Activation):
    """y = 1 / (1 + e⁻ˣ)"""

    @property
    def operation(self) -> Elementwise:
        return ops.Sigmoid()

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer("Sigmoid")


class Tanh(Activation):
    """y = tanh(x)"""

    @property
    def operation(self) -> Elementwise:
        return ops.Tanh()

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer("Tanh")


class ReLU(Activation):
    """y = max(0, x)"""

    def __init__(self, inplace: bool = False) -> None:
        require_not_inplace("ReLU", inplace)

    @property
    def operation(self) -> Elementwise:
        return ops.Relu()

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer("ReLU", {"inplace": True})


class LeakyReLU(Activation):
    """y = x where x > 0, else αx; α is ``negative_slope``"""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        require_not_inplace("LeakyReLU", inplace)
        self.negative_slope = number("LeakyReLU: negative_slope", negative_slope)

    @property
    def operation(self) -> Elementwise:
        return ops.LeakyRelu(self.negative_slope)

    @classmethod
    def with_slope(cls, negative_slope: float) -> Self:
        return cls(negative_slope)

    def extra_repr(self) -> str:
        return f"{self.negative_slope:g}"

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer("LeakyReLU", {"negative_slope": self.negative_slope, "inplace": True})


class Softmax(Module):
    """y = eˣ / Σ eˣ over the channels, axis 1"""

    def __init__(self, dim: int = 1) -> None:
        if dim != 1 or isinstance(dim, bool):
            raise OptionError(f"Softmax(dim={dim!r}): only dim=1, the channels, is supported")

    def forward(self, x: Value) -> Value:
        return softmax(x)

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer("Softmax", {"dim": 1})


ACTIVATION_LAYERS: dict[str, type[Activation]] = {
    "leaky_relu": LeakyReLU,
    "relu": ReLU,
    "tanh": Tanh,
    "sigmoid": Sigmoid,
}
"""The activations that a named network can be built with, by the names of their operations."""
