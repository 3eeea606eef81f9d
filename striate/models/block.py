"""The parts of the named networks: a linear map, its normalization and its activation, in the chosen order."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from striate import options
from striate.graph.value import Value
from striate.nn.activation import ACTIVATION_LAYERS, Activation
from striate.nn.convolution import Conv2d
from striate.nn.initialization import INITIALIZERS, Initializer, scaled_normal
from striate.nn.linear import Linear
from striate.nn.module import Module
from striate.nn.normalization import BatchNorm1d, BatchNorm2d
from striate.nn.shaping import Identity

SLOPE = 0.1
"""The default slope α of the leaky ReLU in all named networks."""

FITTED = "fitted"
"""The initialization that fits the activation, N(0, gain² / fan_in); the output layer keeps its own default."""

ACTIVATIONS = tuple(ACTIVATION_LAYERS)
STARTS = (FITTED, *(name for name in INITIALIZERS if name not in ("zeros", "ones")))


class NormPlacement(Enum):
    """Where a block normalizes."""

    BEFORE_ACTIVATION = "before_activation"  # between the linear map and the activation
    BLOCK_START = "block_start"  # what enters the linear map
    NONE = "none"


class Stem(Enum):
    """What a network does first to an image."""

    SMALL = "small"  # keeps its size, for images up to about 64 pixels
    IMAGENET = "imagenet"  # reduces it as the published networks do, made for 224 pixels

    @classmethod
    def of(cls, name: str) -> Stem:
        """Raises ``OptionError`` for an unknown name, listing the known ones."""
        return cls(options.choice("stem", name, [stem.value for stem in cls]))


@dataclass(frozen=True)
class Style:
    """The choices that hold for a whole network."""

    activation: str
    norm: NormPlacement
    negative_slope: float
    init: str | Initializer
    """The initialization of every linear map that an activation follows."""

    @classmethod
    def of(cls, activation: str, norm: str, negative_slope: float, init: str) -> Style:
        """Parsed from names. Raises ``OptionError`` for an unknown name, listing the known ones."""
        options.choice("activation", activation, ACTIVATION_LAYERS)
        placements = {placement.value: placement for placement in NormPlacement}
        options.choice("norm", norm, placements)
        options.choice("init", init, STARTS)
        options.number("negative_slope", negative_slope)
        fitted = scaled_normal(ACTIVATION_LAYERS[activation].with_slope(negative_slope).operation.gain)
        return cls(activation, placements[norm], negative_slope, fitted if init == FITTED else init)

    def act(self) -> Activation:
        """A new activation layer."""
        return ACTIVATION_LAYERS[self.activation].with_slope(self.negative_slope)

    @property
    def bias(self) -> bool:
        """Whether linear maps have a bias: not where a normalization follows, which would subtract it again."""
        return self.norm is not NormPlacement.BEFORE_ACTIVATION

    def convolution(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[Module]:
        """A convolution, padded to keep the size (divided by its stride), and its normalization."""
        layer = Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=self.bias, init=self.init)
        return self._arranged(layer, BatchNorm2d, inputs, outputs)

    def pair(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> tuple[Conv2d, Module]:
        """The same as two layers, for ``mapped``; without normalization, the second does nothing."""
        layer = Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=self.bias, init=self.init)
        if self.norm is NormPlacement.NONE:
            return layer, Identity()
        return layer, BatchNorm2d(inputs if self.norm is NormPlacement.BLOCK_START else outputs)

    def mapped(self, layer: Module, norm: Module, x: Value) -> Value:
        """The two layers of ``pair`` in their order."""
        return layer(norm(x)) if self.norm is NormPlacement.BLOCK_START else norm(layer(x))

    def linear(self, inputs: int | None, outputs: int) -> list[Module]:
        """A linear layer and its normalization."""
        return self._arranged(Linear(inputs, outputs, bias=self.bias, init=self.init), BatchNorm1d, inputs, outputs)

    def _arranged(
        self, layer: Module, norm: type[BatchNorm1d] | type[BatchNorm2d], inputs: int | None, outputs: int
    ) -> list[Module]:
        if self.norm is NormPlacement.BEFORE_ACTIVATION:
            return [layer, norm(outputs)]
        return [norm(inputs), layer] if self.norm is NormPlacement.BLOCK_START else [layer]
