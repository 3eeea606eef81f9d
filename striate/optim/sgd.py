"""Optimizers that step along the gradient, or along its sign."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from striate.errors import OptionError
from striate.graph.elementwise import cast
from striate.graph.operand import constant
from striate.graph.value import Value
from striate.ops.arithmetic import sign
from striate.ops.comparison import greater, where
from striate.optim.optimizer import Optimizer, coupled
from striate.options import flag


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as PyTorch defines it.

    g ← g + λ θ
    v ← μ v + (1 − τ) g      (v ← g in the first step)
    θ ← θ − η v              (with ``nesterov``: θ ← θ − η (g + μ v))

    θ are the parameters, g is their gradient, and η is the learning rate. μ is ``momentum`` and τ is ``dampening``,
    both at least 0 and below 1. λ is ``weight_decay`` ≥ 0.
    """

    slots: ClassVar[tuple[str, ...]] = ("momentum_buffer",)
    has_momentum: ClassVar[bool] = True
    usual_lr: ClassVar[float] = 0.05
    lr: float = 1e-3
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("momentum", self.momentum, 0, below=1)
        self.require("dampening", self.dampening, 0, below=1)
        self.require("weight_decay", self.weight_decay, 0)
        flag("SGD: nesterov", self.nesterov)
        if self.dampening and not self._moves:
            raise OptionError(
                f"SGD: dampening={self.dampening!r} has no effect without momentum; give momentum above 0"
            )
        if self.nesterov and (not self._moves or self.dampening):
            raise OptionError("SGD: nesterov=True needs momentum above 0 and dampening=0")

    @property
    def _moves(self) -> bool:
        return self.momentum > 0 or self.schedule.cycles_momentum

    @property
    def bounded(self) -> bool:
        return self.schedule.largest_momentum(self.momentum) <= 0.999 and self._is_bounded(self.weight_decay)

    def kept(self) -> tuple[str, ...]:
        return self.slots if self._moves else ()

    def update(
        self, parameters: Value, gradients: Value, kept: Mapping[str, Value], t: Value
    ) -> tuple[Value, dict[str, Value]]:
        dtype = parameters.dtype
        rate = cast(self.rate(t), dtype)
        g = coupled(gradients, parameters, self.weight_decay)
        if not self._moves:
            return parameters - g * rate, {}
        momentum = self.schedule.momentum(self.momentum, t)
        momentum = cast(momentum, dtype) if isinstance(momentum, Value) else momentum
        share: Value | float = 1.0
        if self.dampening:
            share = cast(where(greater(t, 0.0), constant(1.0 - self.dampening, t.dtype), 1.0), dtype)
        v = kept["momentum_buffer"] * momentum + (g * share if self.dampening else g)
        direction = g + v * momentum if self.nesterov else v
        return parameters - direction * rate, {"momentum_buffer": v}


@dataclass(frozen=True)
class Lion(Optimizer):
    """Steps of fixed size along the sign of a momentum. Chen et al., arXiv:2302.06675.

    θ ← θ − η λ θ
    θ ← θ − η sign(β₁ m + (1 − β₁) g)
    m ← β₂ m + (1 − β₂) g

    θ are the parameters, g is their gradient, and η is the learning rate; m starts at 0. Apart from the weight decay,
    every element of θ moves by η in each step. So use a rate that is smaller than Adam's by a factor of 3 to 10, and a
    λ that is larger by the same factor. ``betas`` are (β₁, β₂), 0 ≤ β₁, β₂ < 1; λ is ``weight_decay`` ≥ 0.
    """

    slots: ClassVar[tuple[str, ...]] = ("exp_avg",)
    has_momentum: ClassVar[bool] = True
    usual_lr: ClassVar[float] = 5e-4
    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_betas(self.betas)
        self.require("weight_decay", self.weight_decay, 0)

    @property
    def bounded(self) -> bool:
        return self._is_bounded(self.weight_decay)

    def update(
        self, parameters: Value, gradients: Value, kept: Mapping[str, Value], t: Value
    ) -> tuple[Value, dict[str, Value]]:
        dtype = parameters.dtype
        _, beta2 = self.betas
        m, beta1 = kept["exp_avg"], self.schedule.momentum(self.betas[0], t)
        if isinstance(beta1, Value):
            c = m * cast(beta1, dtype) + gradients * cast(1.0 - beta1, dtype)
        else:
            c = m * beta1 + gradients * (1 - beta1)
        new = self.decayed(parameters, self.weight_decay, t) - sign(c) * cast(self.rate(t), dtype)
        return new, {"exp_avg": m * beta2 + gradients * (1 - beta2)}
