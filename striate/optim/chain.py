"""Schedules made of other schedules: a linear warm-up, and several schedules in sequence."""

from __future__ import annotations

from dataclasses import dataclass

from striate.errors import OptionError
from striate.graph.value import Value
from striate.ops.arithmetic import minimum
from striate.ops.comparison import where
from striate.optim.schedule import Schedule, reached, require_milestones
from striate.options import number, whole_number


def require_schedule(what: str, schedule: object) -> None:
    """Raise ``OptionError`` unless ``schedule`` is a ``Schedule``.

    ``what`` is the option's name in the message.
    """
    if not isinstance(schedule, Schedule):
        raise OptionError(
            f"{what}={schedule!r}; expected a schedule\n"
            "  help: optim.ConstantSchedule(), optim.CosineSchedule(total_steps), or another one of optim.SCHEDULES"
        )


@dataclass(frozen=True)
class WarmupSchedule(Schedule):
    """A linear increase of the learning rate over ``steps`` steps, followed by another schedule.

    η_t = η · (a + (1 − a) · t / steps) in the steps t = 0, …, steps − 1, where η is the first rate of ``schedule`` and
    a is ``start_factor``. ``schedule`` then starts at its step 0. In PyTorch this is ``LinearLR`` followed by the other
    schedule in ``SequentialLR``. Raises ``OptionError`` unless steps ≥ 1 and 0 < start_factor ≤ 1.
    """

    schedule: Schedule
    steps: int = 5
    start_factor: float = 1 / 3

    def __post_init__(self) -> None:
        require_schedule("WarmupSchedule: schedule", self.schedule)
        whole_number("WarmupSchedule: steps", self.steps, 1)
        number("WarmupSchedule: start_factor", self.start_factor, most=1, above=0)

    @property
    def cycles_momentum(self) -> bool:
        return self.schedule.cycles_momentum

    def rate(self, start: float, t: Value) -> Value:
        factor = minimum(t * ((1 - self.start_factor) / self.steps) + self.start_factor, 1.0)
        return self.schedule.rate(start, _since(t, self.steps)) * factor

    def momentum(self, start: float, t: Value) -> Value | float:
        return self.schedule.momentum(start, _since(t, self.steps))

    def largest(self, start: float) -> float:
        return self.schedule.largest(start)

    def largest_momentum(self, start: float) -> float:
        return self.schedule.largest_momentum(start)

    def least_start(self) -> float:
        return self.schedule.least_start()


@dataclass(frozen=True)
class SequentialSchedule(Schedule):
    """Several schedules in sequence, like PyTorch's ``SequentialLR``.

    At each milestone (a number of steps) the next schedule begins, at its step 0. For n milestones there must be n + 1
    schedules. Raises ``OptionError`` if their number is different, if the milestones do not increase, or if only some
    of the schedules vary the momentum.
    """

    schedules: tuple[Schedule, ...]
    milestones: tuple[int, ...]

    def __post_init__(self) -> None:
        schedules: object = self.schedules
        if not isinstance(schedules, tuple | list) or not schedules:
            raise OptionError(f"SequentialSchedule: schedules={schedules!r}; expected several schedules")
        for place, one in enumerate(self.schedules):
            require_schedule(f"SequentialSchedule: schedules[{place}]", one)
        require_milestones("SequentialSchedule", self.milestones)
        if len(self.milestones) != len(self.schedules) - 1:
            raise OptionError(
                f"SequentialSchedule: {len(self.schedules)} schedules and {len(self.milestones)} milestones; "
                "expected one milestone between each schedule and the next"
            )
        if len({one.cycles_momentum for one in self.schedules}) > 1:
            raise OptionError(
                "SequentialSchedule: only some of the schedules cycle the momentum\n"
                "  help: OneCycleSchedule(…, cycle_momentum=False)"
            )

    @property
    def cycles_momentum(self) -> bool:
        return any(one.cycles_momentum for one in self.schedules)

    def rate(self, start: float, t: Value) -> Value:
        found = self.schedules[0].rate(start, t)
        for milestone, schedule in zip(self.milestones, self.schedules[1:], strict=True):
            found = where(reached(t, milestone), schedule.rate(start, _since(t, milestone)), found)
        return found

    def momentum(self, start: float, t: Value) -> Value | float:
        found = self.schedules[0].momentum(start, t)
        for milestone, schedule in zip(self.milestones, self.schedules[1:], strict=True):
            then = schedule.momentum(start, _since(t, milestone))
            if isinstance(found, Value) or isinstance(then, Value):
                found = where(reached(t, milestone), then, found)
        return found

    def largest(self, start: float) -> float:
        return max(one.largest(start) for one in self.schedules)

    def largest_momentum(self, start: float) -> float:
        return max(one.largest_momentum(start) for one in self.schedules)

    def least_start(self) -> float:
        return max(one.least_start() for one in self.schedules)


def _since(t: Value, step: int) -> Value:
    """Return the number of steps since the given step; 0 before it."""
    return where(reached(t, step), t - float(step), 0.0)
