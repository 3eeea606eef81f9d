"""What the named networks are made of: a linear map, its normalization and its activation, in the order chosen."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from striate.errors import OptionError, unknown_option
from striate.nn.activation import LeakyReLU, ReLU, Sigmoid, Tanh
from striate.nn.convolution import Conv2d
from striate.nn.initialization import INITIALIZERS, Initializer, scaled_normal
from striate.nn.linear import Linear
from striate.nn.module import Module
from striate.nn.normalization import BatchNorm1d, BatchNorm2d

SLOPE = 0.1
"""α of the leaky ReLU in all named networks, where no other is asked for."""

FITTED = "fitted"
"""The start that fits the activation: N(0, gain² / fan_in). The output layer keeps that of a single layer."""

_ACTIVATIONS: dict[str, tuple[Callable[[float], Module], Callable[[float], float]]] = {
    # name: (layer, the gain that keeps the variance of a signal through linear map and activation), both of α
    "leaky_relu": (LeakyReLU, lambda slope: math.sqrt(2 / (1 + slope**2))),
    "relu": (lambda slope: ReLU(), lambda slope: math.sqrt(2)),
    "tanh": (lambda slope: Tanh(), lambda slope: 5 / 3),
    "sigmoid": (lambda slope: Sigmoid(), lambda slope: 1.0),
}
ACTIVATIONS = tuple(_ACTIVATIONS)
STARTS = (FITTED, *(name for name in INITIALIZERS if name not in ("zeros", "ones")))


class NormPlacement(Enum):
    """Where a block normalizes."""

    BEFORE_ACTIVATION = "before_activation"  # between the linear map and the activation
    BLOCK_START = "block_start"  # what enters the linear map
    NONE = "none"


@dataclass(frozen=True)
class Style:
    """The choices that run through a whole network."""

    activation: str
    norm: NormPlacement
    negative_slope: float
    init: str | Initializer
    """Of every linear map that an activation follows."""

    @classmethod
    def of(cls, activation: str, norm: str, negative_slope: float, init: str) -> Style:
        """Parsed from names; an unknown name lists the known."""
        if activation not in _ACTIVATIONS:
            raise unknown_option("activation", activation, _ACTIVATIONS)
        placements = {placement.value: placement for placement in NormPlacement}
        if norm not in placements:
            raise unknown_option("norm", norm, placements)
        if init not in STARTS:
            raise unknown_option("init", init, STARTS)
        if not math.isfinite(negative_slope):
            raise OptionError(f"negative_slope={negative_slope}; wanted a finite number, usually 0.01 to 0.3")
        fitted = scaled_normal(_ACTIVATIONS[activation][1](negative_slope))
        return cls(activation, placements[norm], negative_slope, fitted if init == FITTED else init)

    def act(self) -> Module:
        """A new activation layer."""
        return _ACTIVATIONS[self.activation][0](self.negative_slope)

    @property
    def bias(self) -> bool:
        """A linear map has a bias where no normalization follows that would take it away again."""
        return self.norm is not NormPlacement.BEFORE_ACTIVATION

    def convolution(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[Module]:
        """A convolution that keeps the size (but for its stride), and its normalization."""
        layer = Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=self.bias, init=self.init)
        return self._arranged(layer, BatchNorm2d, inputs, outputs)

    def linear(self, inputs: int | None, outputs: int) -> list[Module]:
        """A linear layer and its normalization."""
        return self._arranged(Linear(inputs, outputs, bias=self.bias, init=self.init), BatchNorm1d, inputs, outputs)

    def _arranged(
        self, layer: Module, norm: type[BatchNorm1d] | type[BatchNorm2d], inputs: int | None, outputs: int
    ) -> list[Module]:
        if self.norm is NormPlacement.BEFORE_ACTIVATION:
            return [layer, norm(outputs)]
        return [norm(inputs), layer] if self.norm is NormPlacement.BLOCK_START else [layer]
