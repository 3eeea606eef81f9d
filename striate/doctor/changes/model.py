"""Changes that remedies make to the layers of a model."""

from __future__ import annotations

from dataclasses import dataclass

from striate.doctor.remedy import SHOWN, LayerChange, kinds, listed, named
from striate.doctor.setup import Setup, layer_at, replaced
from striate.nn.activation import ACTIVATION_LAYERS
from striate.nn.container import Sequential
from striate.nn.initialization import bias_initializer, initializer
from striate.nn.linear import Linear
from striate.nn.module import Module
from striate.nn.normalization import BatchNorm, batch_norm_of_rank
from striate.nn.shaping import Identity

_SLOPE = 0.1


@dataclass(frozen=True)
class Activation(LayerChange):
    """Replaces the layers at ``paths`` by another activation.

    ``kind`` is a name in ``nn.activation.ACTIVATION_LAYERS``; ``slope`` is the negative slope if the activation has
    one.
    """

    kind: str = "leaky_relu"
    slope: float = _SLOPE

    def _layer(self) -> Module:
        return ACTIVATION_LAYERS[self.kind].with_slope(self.slope)

    def code(self, setup: Setup) -> str:
        return f"nn.{self._layer()!r}   # instead of {', '.join(kinds(setup, self.paths))} at {listed(self.paths)}"

    def command(self, setup: Setup) -> str:
        slope = f" --negative-slope {self.slope:g}" if self.kind == "leaky_relu" and self.slope != _SLOPE else ""
        return f"--activation {self.kind}{slope}"

    def apply(self, setup: Setup) -> Setup:
        for path in self.paths:
            replaced(setup.model, path, self._layer())
        return setup


@dataclass(frozen=True)
class Initialization(LayerChange):
    """Gives the layers at ``paths`` another initialization, such as "he", "xavier" or "torch".

    The initialization applies to the weights of the layers. Biases start at 0, except with "torch", where they start as
    in PyTorch.
    """

    init: str = "he"

    def code(self, setup: Setup) -> str:
        return "\n".join(
            f'{kind}(…, init="{self.init}")   # at {listed(self.paths)}' for kind in kinds(setup, self.paths)
        )

    def command(self, setup: Setup) -> str | None:
        """Return the option ``--init`` of ``striate train`` for this initialization.

        The result is "" for "torch" on a single layer: without any option, the command line initializes the last layer
        of its networks in this way.
        """
        if self.init == "torch":
            return "" if len(self.paths) == 1 else "--init torch"
        return f"--init {self.init}"

    def apply(self, setup: Setup) -> Setup:
        for path in self.paths:
            layer = layer_at(setup.model, path)
            for name, parameter in layer.own_state().items():
                if parameter.learned:
                    parameter.initial = parameter.loaded = None
                    parameter.init = initializer(self.init) if name == "weight" else bias_initializer(self.init)
        return setup


@dataclass(frozen=True)
class Normalize(LayerChange):
    """Inserts a batch normalization before each layer at ``paths``.

    ``ranks`` are the numbers of axes of these layers' inputs.
    """

    ranks: tuple[int, ...]

    def code(self, setup: Setup) -> str:
        kinds = sorted({batch_norm_of_rank(rank).__name__ for rank in self.ranks})
        return f"nn.{'(None) or nn.'.join(kinds)}(None)   # before the layers {listed(self.paths)}"

    def command(self, setup: Setup) -> str:
        return "--norm before_activation"

    def apply(self, setup: Setup) -> Setup:
        for path, rank in zip(self.paths, self.ranks, strict=True):
            layer = layer_at(setup.model, path)
            replaced(setup.model, path, Sequential(batch_norm_of_rank(rank)(None), layer))
        return setup


@dataclass(frozen=True)
class NormOptions(LayerChange):
    """Sets ``momentum`` and ``eps`` (ε, which is added to the variance) of the batch normalizations at ``paths``."""

    momentum: float = 0.1
    eps: float = 1e-5

    def code(self, setup: Setup) -> str:
        options = f"momentum={self.momentum:g}, eps={self.eps:g}"
        return "\n".join(f"{kind}(…, {options})   # at {listed(self.paths)}" for kind in kinds(setup, self.paths))

    def apply(self, setup: Setup) -> Setup:
        for path in self.paths:
            layer = layer_at(setup.model, path)
            if isinstance(layer, BatchNorm):
                layer.momentum, layer.eps = self.momentum, self.eps
        return setup


@dataclass(frozen=True)
class Remove(LayerChange):
    """Removes the layers at ``paths``: each is replaced by a layer that returns its input."""

    def code(self, setup: Setup) -> str:
        return f"# without the {', '.join(kinds(setup, self.paths))} at {listed(self.paths)}"

    def apply(self, setup: Setup) -> Setup:
        for path in self.paths:
            replaced(setup.model, path, Identity())
        return setup


@dataclass(frozen=True)
class Outputs(LayerChange):
    """Replaces the linear layers at ``paths`` by layers with ``count`` outputs."""

    count: int

    def code(self, setup: Setup) -> str:
        return f"nn.Linear(None, {self.count})   # at {listed(self.paths)}: one output for each class"

    def apply(self, setup: Setup) -> Setup:
        for path in self.paths:
            bias = "bias" in layer_at(setup.model, path).own_state()
            replaced(setup.model, path, Linear(None, self.count, bias))
        return setup


@dataclass(frozen=True)
class Unfreeze(LayerChange):
    """Sets ``requires_grad`` for all parameters of the layers at ``paths``, so that they learn."""

    def code(self, setup: Setup) -> str:
        return "\n".join(f"{named(path)}.requires_grad_(True)" for path in self.paths[:SHOWN])

    def apply(self, setup: Setup) -> Setup:
        for path in self.paths:
            for parameter in layer_at(setup.model, path).own_state().values():
                parameter.requires_grad = parameter.learned
        setup.model.invalidate()
        return setup
