"""Schedules made of cosines: annealing, annealing with restarts, and the one-cycle schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass

from striate.graph.value import Value
from striate.ops.arithmetic import CosinePi, log, maximum, minimum
from striate.ops.comparison import greater, where
from striate.optim.schedule import Schedule, raised, reached, whole_part
from striate.options import choice, flag, number, whole_number


def _half_cosine(share: Value) -> Value:
    """Return ½ (1 + cos(π · share)), which falls from 1 to 0; ``share`` is clipped to 0 … 1."""
    return (CosinePi()(minimum(maximum(share, 0.0), 1.0)) + 1.0) * 0.5


@dataclass(frozen=True)
class CosineSchedule(Schedule):
    """Cosine annealing of the learning rate: η_t = η_min + (η₀ − η_min) · ½ (1 + cos(π (t − W) / T))

    t = 0, 1, … is the step, and η₀ is the optimizer's ``lr``. Before the cosine begins, the rate rises linearly to η₀
    over the first W = ``warmup`` steps. T is ``total_steps`` − W. After ``total_steps`` the rate stays at η_min =
    ``minimum``, which must not exceed η₀. Loshchilov and Hutter, arXiv:1608.03983. Raises ``OptionError`` unless
    total_steps ≥ 1, 0 ≤ warmup < total_steps and 0 ≤ minimum.
    """

    total_steps: int
    minimum: float = 0.0
    warmup: int = 0

    def __post_init__(self) -> None:
        whole_number("CosineSchedule: total_steps", self.total_steps, 1)
        whole_number("CosineSchedule: warmup", self.warmup, 0, self.total_steps - 1)
        number("CosineSchedule: minimum", self.minimum, 0)

    def rate(self, start: float, t: Value) -> Value:
        share = (t - float(self.warmup)) / float(self.total_steps - self.warmup)
        falling = _half_cosine(share) * (start - self.minimum) + self.minimum
        if not self.warmup:
            return falling
        return where(reached(t, self.warmup), falling, (t + 1.0) * (start / self.warmup))

    def largest(self, start: float) -> float:
        return start

    def least_start(self) -> float:
        return self.minimum


@dataclass(frozen=True)
class CosineRestartsSchedule(Schedule):
    """Cosine annealing with restarts: η_t = η_min + (η₀ − η_min) · ½ (1 + cos(π t_i / T_i))

    η_t is the learning rate in step t = 0, 1, …, and η₀ is the optimizer's ``lr``. t_i counts the steps since the last
    restart, and T_i = ``first_steps`` · ``factor``^i is the length of period i = 0, 1, …, in steps. η_min is
    ``minimum``. This is PyTorch's ``CosineAnnealingWarmRestarts``. Loshchilov and Hutter, arXiv:1608.03983. Raises
    ``OptionError`` unless first_steps and factor are whole numbers of 1 or more and 0 ≤ minimum.
    """

    first_steps: int
    factor: int = 1
    minimum: float = 0.0

    def __post_init__(self) -> None:
        whole_number("CosineRestartsSchedule: first_steps", self.first_steps, 1)
        whole_number("CosineRestartsSchedule: factor", self.factor, 1)
        number("CosineRestartsSchedule: minimum", self.minimum, 0)

    def rate(self, start: float, t: Value) -> Value:
        periods = t / float(self.first_steps)
        if self.factor == 1:
            share = periods - whole_part(periods)
        else:
            # Period i begins at first_steps · (factor^i − 1) / (factor − 1). The logarithm of an exact power may be
            # rounded down, by less than 1e-13; within 10¹⁰ steps, no other step is as close to a restart as 1e-10.
            more = self.factor - 1.0
            i = whole_part(log(periods * more + 1.0) / math.log(self.factor) + 1e-10)
            length = whole_part(raised(self.factor, i) + 0.5)
            share = (periods - (length - 1.0) / more) / length
        return _half_cosine(share) * (start - self.minimum) + self.minimum

    def largest(self, start: float) -> float:
        return start

    def least_start(self) -> float:
        return self.minimum


@dataclass(frozen=True)
class OneCycleSchedule(Schedule):
    """The one-cycle schedule: the learning rate rises to η₀ and then falls to nearly 0.

    η₀ is the optimizer's ``lr``. This is PyTorch's ``OneCycleLR`` with ``max_lr`` = η₀.

    Over the first ``pct_start`` · ``total_steps`` steps, the rate rises from η₀ / ``div_factor`` to η₀. It then falls
    to η₀ / (``div_factor`` · ``final_div_factor``). With ``three_phase``, it falls in two phases: to η₀ /
    ``div_factor`` over as many steps as it rose, and then to the final rate. Each rise or fall follows half a cosine,
    or a straight line with ``anneal_strategy="linear"``. With ``cycle_momentum``, the optimizer's momentum, or its β₁,
    falls from ``max_momentum`` to ``base_momentum`` while the rate rises, and then rises back. Smith and Topin,
    arXiv:1708.07120. Raises ``OptionError`` for invalid values, such as a ``pct_start`` outside 0 … 1 or a momentum of
    1.
    """

    total_steps: int
    pct_start: float = 0.3
    anneal_strategy: str = "cos"
    cycle_momentum: bool = True
    base_momentum: float = 0.85
    max_momentum: float = 0.95
    div_factor: float = 25.0
    final_div_factor: float = 1e4
    three_phase: bool = False

    def __post_init__(self) -> None:
        whole_number("OneCycleSchedule: total_steps", self.total_steps, 1)
        flag("OneCycleSchedule: three_phase", self.three_phase)
        number("OneCycleSchedule: pct_start", self.pct_start, 0, 0.5 if self.three_phase else 1)
        choice("OneCycleSchedule: anneal_strategy", self.anneal_strategy, ("cos", "linear"))
        flag("OneCycleSchedule: cycle_momentum", self.cycle_momentum)
        number("OneCycleSchedule: max_momentum", self.max_momentum, 0, below=1)
        number("OneCycleSchedule: base_momentum", self.base_momentum, 0, self.max_momentum)
        number("OneCycleSchedule: div_factor", self.div_factor, 1)
        number("OneCycleSchedule: final_div_factor", self.final_div_factor, 1)

    @property
    def cycles_momentum(self) -> bool:
        return self.cycle_momentum

    def rate(self, start: float, t: Value) -> Value:
        low = start / self.div_factor
        turns = (low, start, low) if self.three_phase else (low, start)
        return self._through((*turns, low / self.final_div_factor), t)

    def momentum(self, start: float, t: Value) -> Value | float:
        if not self.cycle_momentum:
            return start
        turns = (self.max_momentum, self.base_momentum, self.max_momentum)
        return self._through((*turns, self.max_momentum) if self.three_phase else turns, t)

    def largest(self, start: float) -> float:
        return start

    def largest_momentum(self, start: float) -> float:
        return self.max_momentum if self.cycle_momentum else start

    def _through(self, turns: tuple[float, ...], t: Value) -> Value:
        """Return the value at step t on a path between turning points, which ends at the last step."""
        rise, last = self.pct_start * self.total_steps, self.total_steps - 1.0
        ends = (rise - 1, 2 * rise - 2, last) if self.three_phase else (rise - 1, last)
        begins = (0.0, *ends[:-1])
        found: Value | None = None
        for begin, end, a, b in reversed(list(zip(begins, ends, turns[:-1], turns[1:], strict=True))):
            length = max(end - begin, 1e-9)  # a phase of a single step has no length
            share = (t - begin) / length
            if self.anneal_strategy == "cos":
                phase = _half_cosine(share) * (a - b) + b
            else:
                phase = minimum(maximum(share, 0.0), 1.0) * (b - a) + a
            found = phase if found is None else where(greater(t, end), found, phase)
        assert found is not None
        return found
