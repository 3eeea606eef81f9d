"""Optimizers: a few equations on flat vectors of all parameters, compiled into one sweep."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Real
from typing import ClassVar

from striate.errors import OptionError
from striate.graph.arithmetic import cast, constant
from striate.graph.value import Value
from striate.ops.arithmetic import exp, greater, sqrt, where
from striate.optim.schedule import ConstantSchedule, CosineSchedule, Schedule


@dataclass(frozen=True)
class Optimizer(ABC):
    """Base of optimizers (abstract). ``slots`` names the vectors that it keeps, each like the parameters."""

    slots: ClassVar[tuple[str, ...]] = ()
    lr: float
    schedule: Schedule = field(default_factory=ConstantSchedule, kw_only=True)

    def __post_init__(self) -> None:
        if not (isinstance(self.lr, Real) and math.isfinite(self.lr) and self.lr >= 0):
            raise OptionError(f"{type(self).__name__}: lr={self.lr!r} must be a finite number ≥ 0")

    @property
    def bounded(self) -> bool:
        """Whether a step from finite numbers surely ends in finite ones; if not, its result is examined each time."""
        return False

    def _calm(self, decay: float) -> bool:
        """A rate with which parameters would need 10¹⁵ steps to overflow, and a decay that makes them shrink."""
        ours = isinstance(self.schedule, ConstantSchedule | CosineSchedule)  # rates that only fall
        return ours and self.lr <= 1e3 and decay <= 1e3 and self.lr * decay <= 0.5

    def kept(self) -> tuple[str, ...]:
        """The slots that these options need."""
        return self.slots

    @abstractmethod
    def update(
        self, parameters: Value, gradients: Value, kept: Mapping[str, Value], t: Value
    ) -> tuple[Value, dict[str, Value]]:
        """New parameters and new kept vectors; t = 0, 1, … is the number of the step as a float64 scalar."""

    def require(self, name: str, number: float, least: float, below: float) -> None:
        """Raises ``OptionError`` unless least ≤ number < below."""
        if not (isinstance(number, Real) and least <= number < below):
            raise OptionError(
                f"{type(self).__name__}: {name}={number!r} must be at least {least:g} and below {below:g}"
            )


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as PyTorch writes it

    g ← g + λ θ
    v ← μ v + (1 − τ) g      (v ← g in the first step)
    θ ← θ − η v              (Nesterov: θ ← θ − η (g + μ v))
    """

    slots: ClassVar[tuple[str, ...]] = ("momentum_buffer",)
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("momentum", self.momentum, 0, math.inf)
        self.require("weight_decay", self.weight_decay, 0, math.inf)
        if self.nesterov and (self.momentum <= 0 or self.dampening != 0):
            raise OptionError("SGD: nesterov=True needs momentum > 0 and dampening = 0")

    @property
    def bounded(self) -> bool:
        return self.momentum <= 0.999 and abs(self.dampening) <= 1 and self._calm(self.weight_decay)

    def kept(self) -> tuple[str, ...]:
        return self.slots if self.momentum else ()

    def update(
        self, parameters: Value, gradients: Value, kept: Mapping[str, Value], t: Value
    ) -> tuple[Value, dict[str, Value]]:
        dtype = parameters.dtype
        rate = cast(self.schedule.rate(self.lr, t), dtype)
        g = gradients + parameters * self.weight_decay if self.weight_decay else gradients
        if not self.momentum:
            return parameters - g * rate, {}
        share: Value | float = 1.0
        if self.dampening:
            share = cast(where(greater(t, 0.0), constant(1.0 - self.dampening, t.dtype), 1.0), dtype)
        v = kept["momentum_buffer"] * self.momentum + (g * share if self.dampening else g)
        direction = g + v * self.momentum if self.nesterov else v
        return parameters - direction * rate, {"momentum_buffer": v}


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam with bias correction (Kingma and Ba, arXiv:1412.6980), as PyTorch writes it

    g ← g + λ θ
    m ← β₁ m + (1 − β₁) g          m̂ = m / (1 − β₁ᵗ)
    v ← β₂ v + (1 − β₂) g²         v̂ = v / (1 − β₂ᵗ)
    θ ← θ − η m̂ / (√v̂ + ε)
    """

    slots: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq")
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("betas[0]", self.betas[0], 0, 1)
        self.require("betas[1]", self.betas[1], 0, 1)
        self.require("eps", self.eps, 0, math.inf)
        self.require("weight_decay", self.weight_decay, 0, math.inf)

    @property
    def bounded(self) -> bool:
        return self.eps >= 1e-12 and self._calm(self.weight_decay)  # ε = 0 divides 0 by 0

    def update(
        self, parameters: Value, gradients: Value, kept: Mapping[str, Value], t: Value
    ) -> tuple[Value, dict[str, Value]]:
        dtype = parameters.dtype
        beta1, beta2 = self.betas
        g = gradients + parameters * self.weight_decay if self.weight_decay else gradients
        m = kept["exp_avg"] * beta1 + g * (1 - beta1)
        v = kept["exp_avg_sq"] * beta2 + g * g * (1 - beta2)
        step = t + 1.0
        rate = self.schedule.rate(self.lr, t) / _correction(beta1, step)
        root = sqrt(_correction(beta2, step))
        denominator = sqrt(v) / cast(root, dtype) + self.eps
        return parameters - m * cast(rate, dtype) / denominator, {"exp_avg": m, "exp_avg_sq": v}


def _correction(beta: float, step: Value) -> Value:
    """1 − βᵗ"""
    if beta == 0:
        return constant(1.0, step.dtype)
    return constant(1.0, step.dtype) - exp(step * math.log(beta))
