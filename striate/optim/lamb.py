"""LAMB: Adam with steps scaled to the norm of each parameter, for training with large batches."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from striate.graph.elementwise import cast
from striate.graph.value import Value
from striate.ops.arithmetic import sqrt
from striate.ops.comparison import greater, logical_and, where
from striate.optim.adam import AdaptiveMoments, correction
from striate.optim.layers import Layers


@dataclass(frozen=True)
class LAMB(AdaptiveMoments):
    """Adam with the step of each parameter proportional to its norm. You et al., arXiv:1904.00962.

    m ← β₁ m + (1 − β₁) g          m̂ = m / (1 − β₁ᵗ)
    v ← β₂ v + (1 − β₂) g²         v̂ = v / (1 − β₂ᵗ)
    u = m̂ / (√v̂ + ε) + λ θ
    θ ← θ − η ‖θ‖ / ‖u‖ · u        (θ ← θ − η u where ‖θ‖ or ‖u‖ is 0)

    θ is one parameter, such as the weight of a layer, g is its gradient, and η is the learning rate in step t = 1, 2,
    …; m and v start at 0. ``betas`` are (β₁, β₂) with 0 ≤ β₁, β₂ < 1; ε is ``eps`` ≥ 0; λ is ``weight_decay`` ≥ 0.
    """

    usual_lr: ClassVar[float] = 0.005
    eps: float = 1e-6

    @property
    def bounded(self) -> bool:
        return False  # steps proportional to the parameter may make it grow exponentially

    def update(
        self, parameters: Value, gradients: Value, kept: Mapping[str, Value], t: Value
    ) -> tuple[Value, dict[str, Value]]:
        return self.update_layers(parameters, gradients, kept, t, Layers.single(parameters))

    def update_layers(
        self, parameters: Value, gradients: Value, kept: Mapping[str, Value], t: Value, layers: Layers
    ) -> tuple[Value, dict[str, Value]]:
        dtype = parameters.dtype
        m, v = self.averages(gradients, kept, t)
        step = t + 1.0
        root = sqrt(v) / cast(sqrt(correction(self.betas[1], step)), dtype)
        u = m / cast(correction(self.beta1(t), step), dtype) / self.denominator(root)
        if self.weight_decay:
            u = u + parameters * self.weight_decay
        length, size = sqrt(layers.total(u * u)), sqrt(layers.total(parameters * parameters))
        both = logical_and(greater(length, 0.0), greater(size, 0.0))
        trust = where(both, size / where(both, length, 1.0), 1.0)
        return parameters - u * (trust * cast(self.rate(t), dtype)), {"exp_avg": m, "exp_avg_sq": v}
