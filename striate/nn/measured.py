"""The last layer and the loss for a network with real-valued targets (regression) of any unit and size.

With both, the gradients of the other layers do not depend on the unit of the targets, such as cents or dollars.
"""

from __future__ import annotations

from striate.graph.reshape import reshape
from striate.graph.value import Array, Value
from striate.nn.container import Sequential
from striate.nn.loss import Loss, MSELoss
from striate.nn.module import Module
from striate.ops.element_loss import mse_loss


class Rescaling(Module):
    """The last layer of a network for real-valued targets: y = mean + scale · x

    x (N, k) → y (N, k) for k targets per sample; ``mean`` and ``scale`` (k,) are the mean and the standard deviation of
    the training targets, and are not learned. So the layers before this one only have to predict numbers of mean 0 and
    standard deviation 1.
    """

    mean: Value
    scale: Value

    def __init__(self, mean: Array, scale: Array) -> None:
        self.register_buffer("mean", mean)
        self.register_buffer("scale", scale)

    def forward(self, x: Value) -> Value:
        sizes = (1, *self.parameter("mean").sizes)
        return x * reshape(self.scale, sizes) + reshape(self.mean, sizes)


class RelativeMSELoss(MSELoss):
    """Mean squared error relative to the variance of the training targets: L = mean ((x − y) / scale)²

    A network that always predicts the mean of the training targets has a loss of about 1. ``scale`` (k,) are the
    standard deviations of the training targets.
    """

    scale: Value

    def __init__(self, scale: Array) -> None:
        super().__init__()
        self.register_buffer("scale", scale)

    def forward(self, x: Value, y: Value) -> Value:
        scale = reshape(self.scale, (1, *self.parameter("scale").sizes))
        return mse_loss(x / scale, y / scale, reduction=self.reduction)

    def constant_loss(self, targets: Array, weights: Array) -> float:
        return super().constant_loss(targets / self.parameter("scale").data, weights)


def rescaled(network: Module, mean: Array, scale: Array) -> Sequential:
    """Return ``network`` with ``Rescaling(mean, scale)`` as its last layer.

    If ``network`` is a ``Sequential``, the layer is appended to it. Otherwise a new ``Sequential`` of the network and
    the layer is returned.
    """
    layer = Rescaling(mean, scale)
    return network.append(layer) if isinstance(network, Sequential) else Sequential(network, layer)


def relative_loss(scale: Array) -> Loss:
    """Return ``RelativeMSELoss(scale)``, where ``scale`` (k,) are the standard deviations of the training targets."""
    return RelativeMSELoss(scale)
