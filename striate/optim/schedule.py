"""Schedules: the learning rate as a function of the step, as an equation inside the compiled update.

t = 0, 1, … counts the updates, not the epochs; η₀ is the learning rate of the optimizer.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import cast as cast_type

from striate.arguments import Explained
from striate.errors import OptionError
from striate.graph.elementwise import cast
from striate.graph.operand import constant
from striate.graph.value import DType, Value
from striate.ops.arithmetic import exp, log, maximum, minimum
from striate.ops.comparison import greater
from striate.options import number, whole_number


class Schedule(metaclass=Explained):
    """Base class of schedules (abstract).

    A subclass defines ``rate``, the learning rate as a function of the step t.
    """

    @property
    def cycles_momentum(self) -> bool:
        """Whether the result of the method ``momentum`` replaces the optimizer's momentum, or its β₁."""
        return False

    @abstractmethod
    def rate(self, start: float, t: Value) -> Value:
        """Return the learning rate η at step t = 0, 1, …, as a float64 scalar of the graph.

        ``start`` is η₀, the optimizer's ``lr``.
        """

    def momentum(self, start: float, t: Value) -> Value | float:
        """Return the momentum, or β₁, at step t.

        ``start`` is the optimizer's momentum, which is returned if the schedule does not vary the momentum.
        """
        return start

    def largest(self, start: float) -> float:
        """Return an upper bound of the learning rate over all steps; infinity if none is known.

        ``start`` is η₀, the optimizer's ``lr``.
        """
        return math.inf

    def largest_momentum(self, start: float) -> float:
        """Return an upper bound of the momentum over all steps; ``start`` is the optimizer's momentum."""
        return start

    def least_start(self) -> float:
        """Return the smallest ``lr`` that an optimizer with this schedule may have."""
        return 0.0


@dataclass(frozen=True)
class ConstantSchedule(Schedule):
    """Constant learning rate: η_t = η₀

    η₀ is the optimizer's ``lr``.
    """

    def rate(self, start: float, t: Value) -> Value:
        return constant(start, t.dtype)

    def largest(self, start: float) -> float:
        return start


@dataclass(frozen=True)
class StepSchedule(Schedule):
    """Multiply the learning rate by γ every ``step_size`` steps: η_t = η₀ · γ^⌊t / step_size⌋

    t = 0, 1, … is the step, η₀ is the optimizer's ``lr``, and γ is ``gamma`` > 0. This is PyTorch's ``StepLR``, with
    steps instead of epochs. Raises ``OptionError`` unless step_size ≥ 1 and γ > 0.
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
    """Multiply the learning rate by γ at every milestone: η_t = η₀ · γ^(number of milestones ≤ t)

    t = 0, 1, … is the step, η₀ is the optimizer's ``lr``, and γ is ``gamma`` > 0. ``milestones`` are numbers of steps,
    in increasing order. This is PyTorch's ``MultiStepLR``. Raises ``OptionError`` unless the milestones are increasing
    whole numbers of 1 or more and γ > 0.
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
    """Multiply the learning rate by γ after every step: η_t = η₀ · γ^t

    t = 0, 1, … is the step, η₀ is the optimizer's ``lr``, and γ is ``gamma``. This is PyTorch's ``ExponentialLR``.
    Raises ``OptionError`` unless γ > 0.
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
    """Decrease the learning rate to 0 by a power law: η_t = η₀ · (1 − min(t, T) / T)^power

    t = 0, 1, … is the step, η₀ is the optimizer's ``lr``, and T is ``total_steps``. From step T on, the rate is 0. With
    power = 1, the default, the rate falls linearly. This is PyTorch's ``PolynomialLR``. Raises ``OptionError`` unless
    total_steps ≥ 1 and power > 0.
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
    """Return whether t ≥ ``step``, as a bool scalar of the graph.

    The comparison is with step − ½, so that rounding of t does not matter.
    """
    return greater(t, step - 0.5)


def whole_part(x: Value) -> Value:
    """Return ⌊x⌋ for x ≥ 0."""
    return cast(cast(x, DType.int64), x.dtype)


def raised(base: float, exponent: Value) -> Value:
    """Return base^exponent for base > 0, limited to the range from e^−700 to e^700."""
    logarithm = math.log(base)
    return exp(minimum(maximum(exponent * logarithm, -700.0), 700.0))


def require_milestones(what: str, milestones: object) -> None:
    """Raise ``OptionError`` unless ``milestones`` are increasing whole numbers of 1 or more.

    There must be at least one. ``what`` begins the error message.
    """
    if not isinstance(milestones, tuple | list) or not milestones:
        raise OptionError(f"{what}: milestones={milestones!r}; expected numbers of steps, such as (100, 150)")
    before = 0
    for place, one in enumerate(cast_type("tuple[object, ...]", milestones)):
        step = whole_number(f"{what}: milestones[{place}]", one, 1)
        if step <= before:
            raise OptionError(f"{what}: milestones={milestones!r}; expected an increasing order")
        before = step


def _falling(gamma: float, start: float) -> float:
    """Return the largest rate of a schedule that multiplies by ``gamma``.

    It is ``start`` if gamma ≤ 1, else infinity.
    """
    return start if gamma <= 1 else math.inf
