"""Schedules: the learning rate as an equation in the number of the step, inside the compiled update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from striate.graph.arithmetic import constant
from striate.graph.value import Value
from striate.ops.arithmetic import CosinePi, maximum, minimum
from striate.ops.comparison import greater, where
from striate.options import number, whole_number


@runtime_checkable
class Schedule(Protocol):
    """What an optimizer asks of a schedule."""

    def rate(self, start: float, t: Value) -> Value:
        """η at step t = 0, 1, … (a float64 scalar), from the optimizer's learning rate η₀."""
        ...


@dataclass(frozen=True)
class ConstantSchedule:
    """η_t = η₀"""

    def rate(self, start: float, t: Value) -> Value:
        return constant(start, t.dtype)


@dataclass(frozen=True)
class CosineSchedule:
    """η_t = η_min + (η₀ − η_min) · ½ (1 + cos(π t / T)), after a linear rise over ``warmup`` steps

    T is ``total_steps`` − ``warmup``; from T on the rate stays at ``minimum``, which is at most the optimizer's η₀.
    Loshchilov and Hutter, arXiv:1608.03983. Raises ``OptionError`` unless total_steps ≥ 1, 0 ≤ warmup < total_steps and
    0 ≤ minimum.
    """

    total_steps: int
    minimum: float = 0.0
    warmup: int = 0

    def __post_init__(self) -> None:
        whole_number("CosineSchedule: total_steps", self.total_steps, 1)
        whole_number("CosineSchedule: warmup", self.warmup, 0, self.total_steps - 1)
        number("CosineSchedule: minimum", self.minimum, 0)

    def rate(self, start: float, t: Value) -> Value:
        length = float(self.total_steps - self.warmup)
        share = minimum(maximum((t - float(self.warmup)) / length, 0.0), 1.0)
        falling = (CosinePi()(share) + 1.0) * (0.5 * (start - self.minimum)) + self.minimum
        if not self.warmup:
            return falling
        rising = (t + 1.0) * (start / self.warmup)
        return where(greater(constant(float(self.warmup), t.dtype), t), rising, falling)
