"""Adam and its relatives: optimizers with running means of the gradient and of its square."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from striate.graph.elementwise import cast
from striate.graph.operand import constant
from striate.graph.value import Value
from striate.ops.arithmetic import exp, log, maximum, sqrt
from striate.ops.comparison import greater, where
from striate.optim.optimizer import Optimizer, coupled
from striate.options import flag


@dataclass(frozen=True)
class AdaptiveMoments(Optimizer):
    """Base class of optimizers with running averages m of the gradient g and v of its square (abstract)

    m ← β₁ m + (1 − β₁) g
    v ← β₂ v + (1 − β₂) g²

    m and v start at 0. ``betas`` are (β₁, β₂), ``eps`` is ε, and ``weight_decay`` is λ in the equations of the
    subclasses.
    """

    slots: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq")
    squares: ClassVar[tuple[str, ...]] = ("exp_avg_sq",)
    has_momentum: ClassVar[bool] = True
    usual_lr: ClassVar[float] = 0.002
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_betas(self.betas)
        self.require("eps", self.eps, 0)
        self.require("weight_decay", self.weight_decay, 0)

    @property
    def bounded(self) -> bool:
        """Whether a step from finite numbers always gives finite numbers, so that its results need no check.

        This is the case if β₁² is well below β₂, ε is not tiny, and the learning rate and weight decay are not large.
        """
        beta1, beta2 = self.schedule.largest_momentum(self.betas[0]), self.betas[1]
        return self.eps >= 1e-12 and beta1 * beta1 <= 0.98 * beta2 and self._is_bounded(self.weight_decay)

    def beta1(self, t: Value) -> Value | float:
        """Return β₁ at step t: a float64 scalar of the graph if the schedule varies it, else the fixed number."""
        return self.schedule.momentum(self.betas[0], t)

    def decays(self, parameters: Value, gradients: Value, t: Value, decoupled: bool) -> tuple[Value, Value]:
        """Return the parameters θ and gradients g at step t after the weight decay.

        ``parameters`` and ``gradients`` are θ and g before the weight decay. The weight decay changes θ if
        ``decoupled``, otherwise g.
        """
        if decoupled:
            return self.decayed(parameters, self.weight_decay, t), gradients
        return parameters, coupled(gradients, parameters, self.weight_decay)

    def averages(self, g: Value, kept: Mapping[str, Value], t: Value) -> tuple[Value, Value]:
        """Return the updated averages m of the gradient and v of its square at step t.

        ``g`` is the gradient, and ``kept`` has the averages before the step, by name.
        """
        beta1, beta2 = self.beta1(t), self.betas[1]
        if isinstance(beta1, Value):
            m = kept["exp_avg"] * cast(beta1, g.dtype) + g * cast(1.0 - beta1, g.dtype)
        else:
            m = kept["exp_avg"] * beta1 + g * (1 - beta1)
        return m, kept["exp_avg_sq"] * beta2 + g * g * (1 - beta2)

    def denominator(self, root: Value) -> Value:
        """Return √v̂ + ε for ``root`` = √v̂, the root of the bias-corrected average of squared gradients.

        With ε = 0, the result is at least the smallest normal number, so that 0 divided by the result is 0 and not
        NaN.
        """
        return root + self.eps if self.eps else maximum(root, float(np.finfo(root.dtype.numpy).tiny))


def correction(beta: Value | float, step: Value) -> Value:
    """Return 1 − ``beta``^step, the divisor that removes the bias of a running average that started at 0.

    The running average multiplies its old value by ``beta`` in each step; ``step`` = 1, 2, … counts the steps.
    """
    if isinstance(beta, Value):
        return 1.0 - exp(step * log(beta))
    return constant(1.0, step.dtype) - exp(step * math.log(beta)) if beta else constant(1.0, step.dtype)


@dataclass(frozen=True)
class LargestMoments(AdaptiveMoments):
    """Base class of Adam and AdamW, which have the option ``amsgrad`` (abstract)

    With ``amsgrad``, the largest average of squared gradients so far is used in place of the current average.
    """

    slots: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")
    squares: ClassVar[tuple[str, ...]] = ("exp_avg_sq", "max_exp_avg_sq")
    amsgrad: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        flag(f"{type(self).__name__}: amsgrad", self.amsgrad)

    def kept(self) -> tuple[str, ...]:
        return self.slots if self.amsgrad else self.slots[:2]

    def moved(self, start: Value, g: Value, kept: Mapping[str, Value], t: Value) -> tuple[Value, dict[str, Value]]:
        """Return the new parameters, ``start`` − η m̂ / (√v̂ + ε), and the updated averages by name.

        ``start`` are the parameters after the weight decay, ``g`` is the gradient, and ``kept`` has the averages before
        step t, by name. η is the learning rate, and m̂ and v̂ are the bias-corrected averages of the gradient and of
        its square.
        """
        m, v = self.averages(g, kept, t)
        new = {"exp_avg": m, "exp_avg_sq": v}
        if self.amsgrad:
            v = maximum(kept["max_exp_avg_sq"], v)
            new["max_exp_avg_sq"] = v
        step = t + 1.0
        rate = self.rate(t) / correction(self.beta1(t), step)
        root = sqrt(v) / cast(sqrt(correction(self.betas[1], step)), g.dtype)
        return start - m * cast(rate, g.dtype) / self.denominator(root), new


@dataclass(frozen=True)
class Adam(LargestMoments):
    """Adam with bias correction, as PyTorch defines it. Kingma and Ba, arXiv:1412.6980.

    g ← g + λ θ, or with ``decoupled_weight_decay`` θ ← θ − η λ θ
    m ← β₁ m + (1 − β₁) g          m̂ = m / (1 − β₁ᵗ)
    v ← β₂ v + (1 − β₂) g²         v̂ = v / (1 − β₂ᵗ)
    θ ← θ − η m̂ / (√v̂ + ε)

    θ are the parameters, g is their gradient, and η is the learning rate in step t = 1, 2, …; m and v start at 0.
    ``betas`` are (β₁, β₂) with 0 ≤ β₁, β₂ < 1; ε is ``eps`` ≥ 0; λ is ``weight_decay`` ≥ 0. With ``amsgrad``, v̂ is
    computed from the largest v so far.
    """

    decoupled_weight_decay: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        flag(f"{type(self).__name__}: decoupled_weight_decay", self.decoupled_weight_decay)

    def update(
        self, parameters: Value, gradients: Value, kept: Mapping[str, Value], t: Value
    ) -> tuple[Value, dict[str, Value]]:
        return self.moved(*self.decays(parameters, gradients, t, self.decoupled_weight_decay), kept, t)


@dataclass(frozen=True)
class AdamW(LargestMoments):
    """Adam with weight decay that is not part of the gradient. Loshchilov and Hutter, arXiv:1711.05101.

    θ ← θ − η λ θ
    m ← β₁ m + (1 − β₁) g          m̂ = m / (1 − β₁ᵗ)
    v ← β₂ v + (1 − β₂) g²         v̂ = v / (1 − β₂ᵗ)
    θ ← θ − η m̂ / (√v̂ + ε)

    θ are the parameters, g is their gradient, and η is the learning rate in step t = 1, 2, …; m and v start at 0.
    ``betas`` are (β₁, β₂) with 0 ≤ β₁, β₂ < 1; ε is ``eps`` ≥ 0; λ is ``weight_decay`` ≥ 0. With ``amsgrad``, v̂ is
    computed from the largest v so far.
    """

    weight_decay: float = 1e-2

    def update(
        self, parameters: Value, gradients: Value, kept: Mapping[str, Value], t: Value
    ) -> tuple[Value, dict[str, Value]]:
        return self.moved(*self.decays(parameters, gradients, t, True), kept, t)


@dataclass(frozen=True)
class NAdam(AdaptiveMoments):
    """Adam with Nesterov momentum, as PyTorch defines it. Dozat, 2016.

    g ← g + λ θ, or with ``decoupled_weight_decay`` θ ← θ − η λ θ
    μₜ = β₁ (1 − ½ · 0.96^(t ψ)),  Mₜ = Π μᵢ for i ≤ t
    m ← β₁ m + (1 − β₁) g          m̂ = μₜ₊₁ m / (1 − Mₜ₊₁) + (1 − μₜ) g / (1 − Mₜ)
    v ← β₂ v + (1 − β₂) g²         v̂ = v / (1 − β₂ᵗ)
    θ ← θ − η m̂ / (√v̂ + ε)

    θ are the parameters, g is their gradient, and η is the learning rate in step t = 1, 2, …; m and v start at 0. ψ is
    ``momentum_decay`` ≥ 0; ``betas`` are (β₁, β₂) with 0 ≤ β₁, β₂ < 1; ε is ``eps`` ≥ 0; λ is ``weight_decay`` ≥ 0.
    """

    products: ClassVar[tuple[str, ...]] = ("mu_product",)
    lr: float = 2e-3
    momentum_decay: float = 4e-3
    decoupled_weight_decay: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require("momentum_decay", self.momentum_decay, 0)
        flag("NAdam: decoupled_weight_decay", self.decoupled_weight_decay)

    def update(
        self, parameters: Value, gradients: Value, kept: Mapping[str, Value], t: Value
    ) -> tuple[Value, dict[str, Value]]:
        dtype = parameters.dtype
        start, g = self.decays(parameters, gradients, t, self.decoupled_weight_decay)
        m, v = self.averages(g, kept, t)
        rate, step = self.rate(t), t + 1.0
        mu, ahead = (self._mu(one) * self.beta1(t) for one in (step, step + 1.0))
        product = kept["mu_product"] * mu
        by_g = cast(rate * (1.0 - mu) / (1.0 - product), dtype)
        by_m = cast(rate * ahead / (1.0 - product * ahead), dtype)
        root = sqrt(v / cast(correction(self.betas[1], step), dtype))
        moved = start - (g * by_g + m * by_m) / self.denominator(root)
        return moved, {"exp_avg": m, "exp_avg_sq": v, "mu_product": product}

    def _mu(self, step: Value) -> Value:
        """Return μ / β₁ at a step counted from 1."""
        return 1.0 - exp(step * (self.momentum_decay * math.log(0.96))) * 0.5


@dataclass(frozen=True)
class RAdam(AdaptiveMoments):
    """Rectified Adam, whose steps become adaptive after enough gradients, as PyTorch defines it. Liu et al., 2019.

    g ← g + λ θ, or with ``decoupled_weight_decay`` θ ← θ − η λ θ
    m ← β₁ m + (1 − β₁) g          m̂ = m / (1 − β₁ᵗ)
    v ← β₂ v + (1 − β₂) g²
    ρ∞ = 2 / (1 − β₂) − 1,  ρ = ρ∞ − 2 t β₂ᵗ / (1 − β₂ᵗ)
    if ρ > 5:  θ ← θ − η m̂ r √(1 − β₂ᵗ) / (√v + ε),  r² = (ρ − 4)(ρ − 2) ρ∞ / ((ρ∞ − 4)(ρ∞ − 2) ρ)
    otherwise: θ ← θ − η m̂

    θ are the parameters, g is their gradient, and η is the learning rate in step t = 1, 2, …; m and v start at 0.
    ``betas`` are (β₁, β₂) with 0 ≤ β₁, β₂ < 1; ε is ``eps`` ≥ 0; λ is ``weight_decay`` ≥ 0. arXiv:1908.03265.
    """

    usual_lr: ClassVar[float] = 0.005
    decoupled_weight_decay: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        flag("RAdam: decoupled_weight_decay", self.decoupled_weight_decay)

    def update(
        self, parameters: Value, gradients: Value, kept: Mapping[str, Value], t: Value
    ) -> tuple[Value, dict[str, Value]]:
        dtype = parameters.dtype
        start, g = self.decays(parameters, gradients, t, self.decoupled_weight_decay)
        m, v = self.averages(g, kept, t)
        new = {"exp_avg": m, "exp_avg_sq": v}
        step = t + 1.0
        rate = self.rate(t) / correction(self.beta1(t), step)
        plain = m * cast(rate, dtype)
        limit = 2 / (1 - self.betas[1]) - 1
        if limit <= 5:
            return start - plain, new
        left = correction(self.betas[1], step)
        rho = limit - step * 2.0 * (1.0 - left) / left
        known = greater(rho, 5.0)
        rho = maximum(rho, 5.0)  # so that the square below is not negative where ρ ≤ 5
        square = (rho - 4.0) * (rho - 2.0) * limit / (rho * ((limit - 4) * (limit - 2)))
        factor = cast(sqrt(square) * sqrt(left), dtype)
        adapted = plain * factor / self.denominator(sqrt(v))
        return start - where(known, adapted, plain), new
