"""Schedules: the learning rate as an equation in the number of the step, inside the compiled update.

t = 0, 1, … counts the updates, not the epochs; η₀ is the learning rate of the optimizer.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import cast as cast_type

from striate.arguments import Explained
from striate.errors import OptionError
from striate.graph.arithmetic import cast, constant
from striate.graph.value import DType, Value
from striate.ops.arithmetic import exp, log, maximum, minimum
from striate.ops.comparison import greater
from striate.options import number, whole_number


class Schedule(metaclass=Explained):
    """Base of schedules (abstract)."""

    @property
    def cycles_momentum(self) -> bool:
        """Whether ``momentum`` replaces the optimizer's momentum, or its β₁."""
        return False

    @abstractmethod
    def rate(self, start: float, t: Value) -> Value:
        """η at step t = 0, 1, … (a float64 scalar), from the optimizer's learning rate η₀ = ``start``."""

    def momentum(self, start: float, t: Value) -> Value | float:
        """The momentum (or β₁) at step t; by default that of the optimizer, ``start``."""
        return start

    def largest(self, start: float) -> float:
        """An upper bound of the rate over all steps; infinity if none is known."""
        return math.inf

    def largest_momentum(self, start: float) -> float:
        """An upper bound of the momentum over all steps."""
        return start

    def least_start(self) -> float:
        """The least learning rate of an optimizer that the schedule can start from."""
        return 0.0


@dataclass(frozen=True)
class ConstantSchedule(Schedule):
    """η_t = η₀"""

    def rate(self, start: float, t: Value) -> Value:
        return constant(start, t.dtype)

    def largest(self, start: float) -> float:
        return start


@dataclass(frozen=True)
class StepSchedule(Schedule):
    """η_t = η₀ · γ^⌊t / step_size⌋, as PyTorch's ``StepLR``

    γ is ``gamma`` > 0. Raises ``OptionError`` unless step_size ≥ 1.
    """

    step_size: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        whole_number("StepSchedule: step_size", self.step_size, 1)
        number("StepSchedule: gamma", self.gamma, above=0)

    def rate(self, start: float, t: Value) -> Value:
        return raised(self.gamma, whole_part(t / float(self.step_size))) * start

    def largest(self, start: float) -> float:
        return _falling(self.gamma, start)


@dataclass(frozen=True)
class MultiStepSchedule(Schedule):
    """η_t = η₀ · γ^(number of milestones ≤ t), as PyTorch's ``MultiStepLR``

    ``milestones`` are numbers of steps, in increasing order; γ is ``gamma`` > 0. Raises ``OptionError`` for others.
    """

    milestones: tuple[int, ...]
    gamma: float = 0.1

    def __post_init__(self) -> None:
        require_milestones("MultiStepSchedule", self.milestones)
        number("MultiStepSchedule: gamma", self.gamma, above=0)

    def rate(self, start: float, t: Value) -> Value:
        passed = constant(0.0, t.dtype)
        for milestone in self.milestones:
            passed = passed + reached(t, milestone)
        return raised(self.gamma, passed) * start

    def largest(self, start: float) -> float:
        return _falling(self.gamma, start)


@dataclass(frozen=True)
class ExponentialSchedule(Schedule):
    """η_t = η₀ · γ^t, as PyTorch's ``ExponentialLR``; γ is ``gamma`` > 0

    Raises ``OptionError`` for another γ.
    """

    gamma: float

    def __post_init__(self) -> None:
        number("ExponentialSchedule: gamma", self.gamma, above=0)

    def rate(self, start: float, t: Value) -> Value:
        return raised(self.gamma, t) * start

    def largest(self, start: float) -> float:
        return _falling(self.gamma, start)


@dataclass(frozen=True)
class PolynomialSchedule(Schedule):
    """η_t = η₀ · (1 − min(t, T) / T)^power, as PyTorch's ``PolynomialLR``; linear by default

    T is ``total_steps``; from T on the rate is 0. Raises ``OptionError`` unless total_steps ≥ 1 and power > 0.
    """

    total_steps: int
    power: float = 1.0

    def __post_init__(self) -> None:
        whole_number("PolynomialSchedule: total_steps", self.total_steps, 1)
        number("PolynomialSchedule: power", self.power, above=0)

    def rate(self, start: float, t: Value) -> Value:
        left = maximum(1.0 - t / float(self.total_steps), 0.0)
        if self.power != 1:
            left = exp(log(left) * float(self.power))  # ln 0 = −∞, and e^−∞ = 0
        return left * start

    def largest(self, start: float) -> float:
        return start


def reached(t: Value, step: float) -> Value:
    """Whether the given step is reached."""
    return greater(t, step - 0.5)


def whole_part(x: Value) -> Value:
    """⌊x⌋ of x ≥ 0."""
    return cast(cast(x, DType.int64), x.dtype)


def raised(base: float, exponent: Value) -> Value:
    """base^exponent for base > 0; the exponent is bounded so that the power of a finite base is finite."""
    logarithm = math.log(base)
    return exp(minimum(maximum(exponent * logarithm, -700.0), 700.0))


def require_milestones(what: str, milestones: object) -> None:
    """Raises ``OptionError`` unless these are whole numbers of steps from 1 on, in increasing order."""
    if not isinstance(milestones, tuple | list) or not milestones:
        raise OptionError(f"{what}: milestones={milestones!r}; expected numbers of steps, such as (100, 150)")
    before = 0
    for place, one in enumerate(cast_type("tuple[object, ...]", milestones)):
        step = whole_number(f"{what}: milestones[{place}]", one, 1)
        if step <= before:
            raise OptionError(f"{what}: milestones={milestones!r}; expected an increasing order")
        before = step


def _falling(gamma: float, start: float) -> float:
    return start if gamma <= 1 else math.inf
