"""RMSprop and Adagrad, which divide the gradient by the root of the mean or sum of its squares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from striate.errors import OptionError
from striate.graph.elementwise import cast
from striate.graph.value import Value
from striate.ops.arithmetic import maximum, sqrt
from striate.optim.optimizer import Optimizer, coupled
from striate.options import flag


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """Gradient divided by the root of its running mean square, as PyTorch defines it. Hinton, 2012.

    g ← g + λ θ
    v ← α v + (1 − α) g²
    a = √v + ε               (with ``centered``: ḡ ← α ḡ + (1 − α) g,  a = √(v − ḡ²) + ε)
    θ ← θ − η g / a          (with momentum μ > 0: b ← μ b + g / a,  θ ← θ − η b)

    θ are the parameters, g is their gradient, and η is the learning rate; v, ḡ and b start at 0. α is ``alpha``, 0 ≤ α
    < 1; μ is ``momentum``, 0 ≤ μ < 1; ε is ``eps`` ≥ 0; λ is ``weight_decay`` ≥ 0. If rounding makes v − ḡ² negative, 0
    is used in its place, where PyTorch gives NaN.
    """

    slots: ClassVar[tuple[str, ...]] = ("square_avg", "momentum_buffer", "grad_avg")
    squares: ClassVar[tuple[str, ...]] = ("square_avg",)
    has_momentum: ClassVar[bool] = True
    usual_lr: ClassVar[float] = 0.001
    lr: float = 1e-2
    alpha: float = 0.99
    eps: float = 1e-8
    weight_decay: float = 0.0
    momentum: float = 0.0
    centered: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("alpha", self.alpha, 0, below=1)
        self.require("eps", self.eps, 0)
        self.require("weight_decay", self.weight_decay, 0)
        self.require("momentum", self.momentum, 0, below=1)
        flag("RMSprop: centered", self.centered)

    @property
    def bounded(self) -> bool:
        momentum = self.schedule.largest_momentum(self.momentum)
        calm = self.alpha <= 0.9999 and momentum <= 0.999 and not self.centered
        return calm and self.eps >= 1e-12 and self._is_bounded(self.weight_decay)

    @property
    def _moves(self) -> bool:
        return self.momentum > 0 or self.schedule.cycles_momentum

    def kept(self) -> tuple[str, ...]:
        momentum = ("momentum_buffer",) if self._moves else ()
        return ("square_avg", *momentum, *(("grad_avg",) if self.centered else ()))

    def update(
        self, parameters: Value, gradients: Value, kept: Mapping[str, Value], t: Value
    ) -> tuple[Value, dict[str, Value]]:
        dtype = parameters.dtype
        g = coupled(gradients, parameters, self.weight_decay)
        v = kept["square_avg"] * self.alpha + g * g * (1 - self.alpha)
        new, square = {"square_avg": v}, v
        if self.centered:
            mean = kept["grad_avg"] * self.alpha + g * (1 - self.alpha)
            new["grad_avg"] = mean
            square = maximum(v - mean * mean, 0.0)
        b = g / _denominator(square, self.eps)
        if self._moves:
            momentum = self.schedule.momentum(self.momentum, t)
            b = kept["momentum_buffer"] * (cast(momentum, dtype) if isinstance(momentum, Value) else momentum) + b
            new["momentum_buffer"] = b
        return parameters - b * cast(self.rate(t), dtype), new


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """Gradient divided by the root of the sum of its squares, as PyTorch defines it. Duchi et al., 2011.

    g ← g + λ θ
    s ← s + g²
    θ ← θ − η / (1 + (t − 1) κ) · g / (√s + ε)

    θ are the parameters, g is their gradient, and η is the learning rate in step t = 1, 2, …; κ is ``lr_decay`` ≥ 0; s
    starts at ``initial_accumulator_value`` ≥ 0; ε is ``eps`` ≥ 0; λ is ``weight_decay`` ≥ 0.
    """

    slots: ClassVar[tuple[str, ...]] = ("sum",)
    squares: ClassVar[tuple[str, ...]] = ("sum",)
    usual_lr: ClassVar[float] = 0.02
    lr: float = 1e-2
    lr_decay: float = 0.0
    weight_decay: float = 0.0
    initial_accumulator_value: float = 0.0
    eps: float = 1e-10

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("lr_decay", "weight_decay", "initial_accumulator_value", "eps"):
            self.require(name, vars(self)[name], 0)
        if self.initial_accumulator_value > float(np.finfo(np.float32).max):
            raise OptionError(
                f"Adagrad: initial_accumulator_value={self.initial_accumulator_value!r} exceeds float32; give less"
            )

    def initial(self, slot: str) -> float:
        return self.initial_accumulator_value

    def update(
        self, parameters: Value, gradients: Value, kept: Mapping[str, Value], t: Value
    ) -> tuple[Value, dict[str, Value]]:
        g = coupled(gradients, parameters, self.weight_decay)
        total = kept["sum"] + g * g
        rate = cast(self.rate(t) / (t * self.lr_decay + 1.0), g.dtype)
        return parameters - g * rate / _denominator(total, self.eps), {"sum": total}


def _denominator(square: Value, eps: float) -> Value:
    """Return √v + ε for v = ``square``.

    With ε = 0, it is at least the smallest normal number, so that 0 / 0 gives 0 instead of NaN.
    """
    root = sqrt(square)
    return root + eps if eps else maximum(root, float(np.finfo(root.dtype.numpy).tiny))
