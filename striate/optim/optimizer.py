"""Optimizers: a few equations on flat vectors of all parameters, compiled into one sweep."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from striate.errors import OptionError
from striate.graph.arithmetic import cast, constant
from striate.graph.value import Value
from striate.ops.arithmetic import exp, sqrt
from striate.ops.comparison import greater, where
from striate.optim.schedule import ConstantSchedule, CosineSchedule, Schedule
from striate.options import flag, number


@dataclass(frozen=True)
class Optimizer(ABC):
    """Base of optimizers (abstract). ``slots`` names the vectors of its state, each of the parameters' size.

    ``lr`` is a finite number ≥ 0. Raises ``OptionError`` for an option outside of its range.
    """

    slots: ClassVar[tuple[str, ...]] = ()
    squares: ClassVar[tuple[str, ...]] = ()
    """The slots that are averages of squares, and therefore never negative."""
    usual_lr: ClassVar[float] = 0.01
    """A learning rate to start from on small pictures; the default of the command line."""
    lr: float
    schedule: Schedule = field(default_factory=ConstantSchedule, kw_only=True)

    def __post_init__(self) -> None:
        self.require("lr", self.lr, 0)
        if not isinstance(self.schedule, Schedule) or isinstance(self.schedule, type):
            raise OptionError(
                f"{type(self).__name__}: schedule={self.schedule!r}; expected a schedule\n"
                "  help: optim.ConstantSchedule() or optim.CosineSchedule(total_steps)"
            )
        if isinstance(self.schedule, CosineSchedule) and self.schedule.minimum > self.lr:
            raise OptionError(
                f"{type(self).__name__}: the schedule's minimum={self.schedule.minimum!r} is above lr={self.lr!r}; "
                "expected a minimum from 0 to lr"
            )

    @property
    def bounded(self) -> bool:
        """Whether a step from finite numbers always gives finite numbers; otherwise each result is checked."""
        return False

    @classmethod
    def summary(cls) -> str:
        """What it does, in a line: the first of its docstring."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0]

    def _is_bounded(self, decay: float) -> bool:
        """Whether the rate is so small that parameters need 10¹⁵ steps to overflow, and the decay shrinks them."""
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

    def require(
        self, name: str, value: object, least: float = -math.inf, most: float = math.inf, *, below: float = math.inf
    ) -> None:
        """Raises ``OptionError`` unless the option is a finite number, least ≤ value ≤ most and value < below."""
        number(f"{type(self).__name__}: {name}", value, least, most, below=below)


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent with momentum, as PyTorch writes it

    g ← g + λ θ
    v ← μ v + (1 − τ) g      (v ← g in the first step)
    θ ← θ − η v              (Nesterov: θ ← θ − η (g + μ v))

    μ is ``momentum`` and τ ``dampening``, both from 0 to 1; λ is ``weight_decay`` ≥ 0.
    """

    slots: ClassVar[tuple[str, ...]] = ("momentum_buffer",)
    usual_lr: ClassVar[float] = 0.05
    momentum: float = 0.0
    dampening: float = 0.0
    weight_decay: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("momentum", self.momentum, 0, 1)
        self.require("dampening", self.dampening, 0, 1)
        self.require("weight_decay", self.weight_decay, 0)
        flag("SGD: nesterov", self.nesterov)
        if self.dampening and not self.momentum:
            raise OptionError(
                f"SGD: dampening={self.dampening!r} has no effect without momentum; give momentum above 0"
            )
        if self.nesterov and (not self.momentum or self.dampening):
            raise OptionError("SGD: nesterov=True needs momentum above 0 and dampening=0")

    @property
    def bounded(self) -> bool:
        return self.momentum <= 0.999 and self._is_bounded(self.weight_decay)

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

    0 ≤ β₁, β₂ < 1; ε ≥ 0; λ is ``weight_decay`` ≥ 0.
    """

    slots: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq")
    squares: ClassVar[tuple[str, ...]] = ("exp_avg_sq",)
    usual_lr: ClassVar[float] = 0.002
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        betas: object = self.betas
        if not isinstance(betas, tuple | list) or len(self.betas) != 2:
            raise OptionError(f"Adam: betas={betas!r}; expected two numbers, such as (0.9, 0.999)")
        self.require("betas[0]", self.betas[0], 0, below=1)
        self.require("betas[1]", self.betas[1], 0, below=1)
        self.require("eps", self.eps, 0)
        self.require("weight_decay", self.weight_decay, 0)

    @property
    def bounded(self) -> bool:
        return self.eps >= 1e-12 and self._is_bounded(self.weight_decay)  # ε = 0 divides 0 by 0

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
