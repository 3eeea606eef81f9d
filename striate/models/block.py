"""Parts of the networks: a convolution or linear layer with its normalization and activation."""

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
"""The initializer that fits the activation, N(0, gain² / fan_in).

The output layer keeps PyTorch's default.
"""

ACTIVATIONS = tuple(ACTIVATION_LAYERS)
"""The names that the option ``activation`` accepts."""
STARTS = (FITTED, *(name for name in INITIALIZERS if name not in ("zeros", "ones")))
"""The names that the option ``init`` accepts."""


class NormPlacement(Enum):
    """Where a block of a network normalizes: before the activation, at the start of the block, or nowhere."""

    BEFORE_ACTIVATION = "before_activation"  # between the convolution or linear layer and the activation
    BLOCK_START = "block_start"  # before the convolution or linear layer
    NONE = "none"


class Stem(Enum):
    """The kind of the first layers of an image network: "small" for small images, or "imagenet"."""

    SMALL = "small"  # keeps the size, for images of up to about 64 × 64 pixels
    IMAGENET = "imagenet"  # reduces the size as in the published networks, for images of 224 × 224 pixels

    @classmethod
    def of(cls, name: str) -> Stem:
        """Return the stem of this name, "small" or "imagenet".

        Raises ``OptionError`` for an unknown name; the message lists the valid names.
        """
        return cls(options.choice("stem", name, [stem.value for stem in cls]))


@dataclass(frozen=True)
class Style:
    """The choices of activation, normalization and initialization for a whole network.

    The class method ``of`` explains the fields and makes a style from the names of the choices.
    """

    activation: str
    norm: NormPlacement
    negative_slope: float
    init: str | Initializer
    """The initializer of every convolution and linear layer that is followed by an activation."""

    @classmethod
    def of(cls, activation: str, norm: str, negative_slope: float, init: str) -> Style:
        """Return the style for the options that most of the named networks share.

        activation      an activation, such as "relu", "leaky_relu", "tanh" or "sigmoid"
        norm            where batch normalization is applied: "before_activation", "block_start" (before the convolution
                        or linear layer) or "none"
        negative_slope  α of the leaky ReLU; other activations may ignore it
        init            an initializer, such as "he", "xavier" or "torch", or "fitted": the normal distribution
                        N(0, gain² / fan_in) with the gain of the activation

        Raises ``OptionError`` for an unknown name; the message lists the valid names.
        """
        options.choice("activation", activation, ACTIVATION_LAYERS)
        placements = {placement.value: placement for placement in NormPlacement}
        options.choice("norm", norm, placements)
        options.choice("init", init, STARTS)
        options.number("negative_slope", negative_slope)
        fitted = scaled_normal(ACTIVATION_LAYERS[activation].with_slope(negative_slope).operation.gain)
        return cls(activation, placements[norm], negative_slope, fitted if init == FITTED else init)

    def act(self) -> Activation:
        """Return a new activation layer."""
        return ACTIVATION_LAYERS[self.activation].with_slope(self.negative_slope)

    @property
    def bias(self) -> bool:
        """Whether convolutions and linear layers have a bias.

        They have no bias if a normalization follows, because the normalization would cancel the bias.
        """
        return self.norm is not NormPlacement.BEFORE_ACTIVATION

    def convolution(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> list[Module]:
        """Return a convolution and its normalization as a list of layers, in the order in which they are applied.

        ``inputs`` and ``outputs`` are numbers of channels. For an odd ``kernel`` size, the convolution is padded so
        that the size of the output is that of the input divided by ``stride``, rounded up.
        """
        layer = Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=self.bias, init=self.init)
        return self._arranged(layer, BatchNorm2d, inputs, outputs)

    def pair(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> tuple[Conv2d, Module]:
        """Return a convolution and its normalization as two layers, which ``mapped`` applies.

        The arguments are those of ``convolution``. Without normalization the second layer is the identity.
        """
        layer = Conv2d(inputs, outputs, kernel, stride, (kernel - 1) // 2, bias=self.bias, init=self.init)
        if self.norm is NormPlacement.NONE:
            return layer, Identity()
        return layer, BatchNorm2d(inputs if self.norm is NormPlacement.BLOCK_START else outputs)

    def mapped(self, layer: Module, norm: Module, x: Value) -> Value:
        """Apply the two layers of ``pair``, ``layer`` and ``norm``, to x in the order that ``Style.norm`` requires."""
        return layer(norm(x)) if self.norm is NormPlacement.BLOCK_START else norm(layer(x))

    def linear(self, inputs: int | None, outputs: int) -> list[Module]:
        """Return a linear layer and its normalization as a list of layers, in the order in which they are applied.

        ``inputs`` (None: inferred) and ``outputs`` are numbers of features.
        """
        return self._arranged(Linear(inputs, outputs, bias=self.bias, init=self.init), BatchNorm1d, inputs, outputs)

    def _arranged(
        self, layer: Module, norm: type[BatchNorm1d] | type[BatchNorm2d], inputs: int | None, outputs: int
    ) -> list[Module]:
        """Return the layer and its normalization in the chosen order."""
        if self.norm is NormPlacement.BEFORE_ACTIVATION:
            return [layer, norm(outputs)]
        return [norm(inputs), layer] if self.norm is NormPlacement.BLOCK_START else [layer]
