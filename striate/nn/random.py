"""Layers that are random in training, such as dropout, and the identity in prediction."""

from __future__ import annotations

from typing import ClassVar

from striate.errors import quantity
from striate.graph.value import Value, shape_text
from striate.nn.activation import require_not_inplace
from striate.nn.foreign import ForeignLayer
from striate.nn.kind import LayerKind
from striate.nn.module import Module
from striate.nn.ranked import Ranked
from striate.nn.trail import layer_error
from striate.ops.random import alpha_dropout, drop_path, dropout, feature_dropout
from striate.options import flag, number
from striate.tracing import active_trace, current_trace


class RandomLayer(Module):
    """Base class of layers that set elements to 0 at random in training; in prediction y = x (abstract).

    ``p`` is the probability with which an element is set to 0. Raises ``OptionError`` unless 0 ≤ p ≤ 1, and for
    ``inplace=True``.
    """

    layer_kind: ClassVar[LayerKind] = LayerKind.DROPOUT

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        name = type(self).__name__
        require_not_inplace(name, inplace)
        self.p = number(f"{name}: p", p, 0.0, 1.0)

    def dropped(self, x: Value, key: Value, stream: int) -> Value:
        """Return the output of the layer in training for the input x.

        ``key`` is an int64 scalar that differs in every step, and ``stream`` a number that differs for every layer;
        together they seed the random numbers.
        """
        raise NotImplementedError

    def forward(self, x: Value) -> Value:
        trace = active_trace(type(self).__name__)
        if not trace.training or self.p == 0:
            return x
        return self.dropped(x, *trace.key())

    def extra_repr(self) -> str:
        return f"{self.p:g}"


class Dropout(RandomLayer):
    """Set elements to 0 at random in training: y = x · m / (1 − p), where m = 0 with probability p, else 1

    In prediction y = x. Srivastava et al., 2014.
    """

    def dropped(self, x: Value, key: Value, stream: int) -> Value:
        return dropout(x, key, self.p, stream)

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer("Dropout", {"p": self.p})


class FeatureDropout(RandomLayer, Ranked):
    """Base class of dropouts of whole channels: y = x · m / (1 − p) (abstract).

    There is one m for each channel of each sample: m = 0 with probability p in training, else 1; in prediction y = x.
    Neighbouring positions are so similar that dropping single elements would remove hardly any information. Tompson et
    al., 2015.
    """

    def dropped(self, x: Value, key: Value, stream: int) -> Value:
        if x.type.rank != self.rank + 2:
            raise layer_error(
                current_trace(),
                self.where(),
                f"its input {shape_text(x.shape)} has {quantity(x.type.rank, 'axis')}",
                [f"expected (N, C, positions…) with {quantity(self.rank, 'spatial axis')}, or one such sample"],
                "Dropout1d for (N, C, L), Dropout2d for (N, C, H, W), Dropout3d for (N, C, D, H, W)",
            )
        return feature_dropout(x, key, self.p, stream)

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer(f"Dropout{self.rank}d", {"p": self.p})


class Dropout1d(FeatureDropout):
    """Dropout of whole channels of (N, C, L) or one sample (C, L) in training.

    See the base class ``FeatureDropout`` for the equation.
    """

    rank: ClassVar[int] = 1


class Dropout2d(FeatureDropout):
    """Dropout of whole channels of (N, C, H, W) or one sample (C, H, W) in training.

    See the base class ``FeatureDropout`` for the equation.
    """

    rank: ClassVar[int] = 2


class Dropout3d(FeatureDropout):
    """Dropout of whole channels of (N, C, D, H, W) or one sample (C, D, H, W) in training.

    See the base class ``FeatureDropout`` for the equation.
    """

    rank: ClassVar[int] = 3


class AlphaDropout(RandomLayer):
    """Dropout for networks with SELU, which preserves mean 0 and variance 1 of the activations.

    In training, each element becomes −1.758, the lower limit of SELU, with probability ``p``; then all elements are
    scaled and shifted. In prediction y = x. Klambauer et al., 2017.
    """

    def dropped(self, x: Value, key: Value, stream: int) -> Value:
        return alpha_dropout(x, key, self.p, stream)

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer("AlphaDropout", {"p": self.p})


class FeatureAlphaDropout(RandomLayer):
    """``AlphaDropout`` of whole channels of x (N, C, spatial axes…), each with probability ``p``."""

    def dropped(self, x: Value, key: Value, stream: int) -> Value:
        return alpha_dropout(x, key, self.p, stream, features=True)

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer("FeatureAlphaDropout", {"p": self.p})


class DropPath(RandomLayer):
    """Stochastic depth: set whole samples to 0 at random in training. Huang et al., 2016.

    y = x · m / (1 − p), where m = 0 for a sample with probability p = ``drop_prob``, else 1; in prediction y = x. Use
    it in the body of a residual block: nn.Residual(nn.Sequential(…, nn.DropPath(0.1))). With ``scale_by_keep=False``, y
    = x · m in training. Name and options are those of the package timm.
    """

    def __init__(self, drop_prob: float = 0.0, scale_by_keep: bool = True) -> None:
        super().__init__()
        self.p = number("DropPath: drop_prob", drop_prob, 0.0, 1.0)
        self.scale_by_keep = flag("DropPath: scale_by_keep", scale_by_keep)

    def dropped(self, x: Value, key: Value, stream: int) -> Value:
        return drop_path(x, key, self.p, stream, self.scale_by_keep)
