"""Learning rates and momenta of each step against PyTorch's schedulers."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from striate import TrainingStep, nn, ops, optim
from striate.engine import prepare
from striate.graph.check import check
from striate.graph.graph import Graph, State
from striate.graph.reshape import reshape
from striate.graph.value import DType, TensorType, Value
from tests.optim.peer import RULES, STEPS, compare

START = 0.5
COUNT = 45


def values(of: Callable[[Value], Value | float], steps: int) -> list[float]:
    """Return a schedule's numbers at steps 0, 1, …, computed by a compiled program from its step counter."""
    clock = np.zeros(())
    time = State("clock", TensorType(DType.float64, ()))()
    found = of(time)
    value = found if isinstance(found, Value) else time * 0.0 + found
    graph = Graph({"clock": time}, {"value": reshape(value, ())}, {"clock": time + 1.0})
    program = prepare(check(graph, "schedule"), {"clock": clock})
    return [float(program.run({}, 1)["value"]) for _ in range(steps)]


def rates(schedule: optim.Schedule, steps: int = COUNT, start: float = START) -> list[float]:
    return values(lambda t: schedule.rate(start, t), steps)


def sequence(library: Any, optimizer: Any, milestones: list[int], *made: Callable[[Any], Any]) -> Any:
    return library.SequentialLR(optimizer, [one(optimizer) for one in made], milestones=milestones)


def warmed(library: Any, optimizer: Any, steps: int, factor: float, then: Callable[[Any], Any]) -> Any:
    return sequence(library, optimizer, [steps], lambda o: library.LinearLR(o, factor, 1.0, steps), then)


PEERS: dict[str, tuple[optim.Schedule, Callable[[Any, Any], Any]]] = {
    "constant": (optim.ConstantSchedule(), lambda s, o: s.ConstantLR(o, 1.0)),
    "step": (optim.StepSchedule(7), lambda s, o: s.StepLR(o, 7)),
    "step by three": (optim.StepSchedule(3, 0.7), lambda s, o: s.StepLR(o, 3, 0.7)),
    "multi step": (optim.MultiStepSchedule((4, 20, 21)), lambda s, o: s.MultiStepLR(o, [4, 20, 21])),
    "exponential": (optim.ExponentialSchedule(0.9), lambda s, o: s.ExponentialLR(o, 0.9)),
    "growing": (optim.ExponentialSchedule(1.2), lambda s, o: s.ExponentialLR(o, 1.2)),
    "cosine": (optim.CosineSchedule(COUNT, minimum=0.1), lambda s, o: s.CosineAnnealingLR(o, COUNT, 0.1)),
    "restarts": (
        optim.CosineRestartsSchedule(6, minimum=0.1), lambda s, o: s.CosineAnnealingWarmRestarts(o, 6, 1, 0.1),
    ),
    "longer restarts": (optim.CosineRestartsSchedule(3, 2), lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 2)),
    "restarts by three": (optim.CosineRestartsSchedule(1, 3), lambda s, o: s.CosineAnnealingWarmRestarts(o, 1, 3)),
    "linear": (optim.PolynomialSchedule(20), lambda s, o: s.PolynomialLR(o, 20)),
    "square": (optim.PolynomialSchedule(20, 2.0), lambda s, o: s.PolynomialLR(o, 20, 2.0)),
    "root": (optim.PolynomialSchedule(COUNT, 0.5), lambda s, o: s.PolynomialLR(o, COUNT, 0.5)),
    "one cycle": (optim.OneCycleSchedule(COUNT), lambda s, o: s.OneCycleLR(o, START, COUNT)),
    "one cycle in lines": (
        optim.OneCycleSchedule(COUNT, 0.4, "linear", True, 0.5, 0.8, 10.0, 100.0),
        lambda s, o: s.OneCycleLR(
            o, START, COUNT, pct_start=0.4, anneal_strategy="linear", base_momentum=0.5, max_momentum=0.8,
            div_factor=10.0, final_div_factor=100.0,
        ),
    ),
    "one cycle in three phases": (
        optim.OneCycleSchedule(COUNT, three_phase=True), lambda s, o: s.OneCycleLR(o, START, COUNT, three_phase=True),
    ),
    "a warm-up before a constant": (
        optim.WarmupSchedule(optim.ConstantSchedule()), lambda s, o: s.LinearLR(o),
    ),
    "a warm-up before a cosine": (
        optim.WarmupSchedule(optim.CosineSchedule(40), 8, 0.1),
        lambda s, o: warmed(s, o, 8, 0.1, lambda o: s.CosineAnnealingLR(o, 40)),
    ),
    "a warm-up before steps": (
        optim.WarmupSchedule(optim.StepSchedule(5), 3, 0.01),
        lambda s, o: warmed(s, o, 3, 0.01, lambda o: s.StepLR(o, 5)),
    ),
    "a warm-up inside of a cosine": (
        optim.CosineSchedule(COUNT, warmup=5),
        lambda s, o: sequence(
            s, o, [5], lambda o: s.LinearLR(o, 1 / 5, 1, 4), lambda o: s.CosineAnnealingLR(o, COUNT - 5)
        ),
    ),
    "one after the other": (
        optim.SequentialSchedule(
            (optim.ExponentialSchedule(0.9), optim.CosineRestartsSchedule(4), optim.StepSchedule(3)), (10, 30)
        ),
        lambda s, o: sequence(
            s, o, [10, 30], lambda o: s.ExponentialLR(o, 0.9), lambda o: s.CosineAnnealingWarmRestarts(o, 4),
            lambda o: s.StepLR(o, 3),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PEERS)
def test_every_step_is_pytorchs(name: str, torch: Any) -> None:
    schedule, make = PEERS[name]
    steps = 20 if isinstance(schedule, optim.PolynomialSchedule) and schedule.total_steps == 20 else COUNT
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=START, momentum=0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scheduler = make(torch.optim.lr_scheduler, optimizer)
        expected: list[tuple[float, float]] = []
        for number in range(steps):
            expected.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
            if number < steps - 1:
                optimizer.step()
                scheduler.step()
    np.testing.assert_allclose(rates(schedule, steps), [rate for rate, _ in expected], rtol=1e-12, atol=1e-14)
    momenta = values(lambda t: schedule.momentum(0.9, t), steps)
    np.testing.assert_allclose(momenta, [momentum for _, momentum in expected], rtol=1e-12)


@pytest.mark.parametrize("name", ["momentum", "nesterov", "adam", "amsgrad", "adamw", "rmsprop", "nadam", "radam"])
def test_one_cycle_moves_rate_and_momentum_of_every_optimizer(name: str, torch: Any) -> None:
    ours, kind, options = RULES[name]
    options = {**options, "lr": 0.02}
    compare(
        torch, ours(**options, schedule=optim.OneCycleSchedule(STEPS + 1)), kind, options,
        lambda library, optimizer: library.OneCycleLR(optimizer, 0.02, STEPS + 1),
    )  # fmt: skip


def test_one_cycle_gives_plain_descent_a_momentum(torch: Any) -> None:
    compare(
        torch, optim.SGD(lr=0.02, schedule=optim.OneCycleSchedule(STEPS + 1)), "SGD", {"lr": 0.02},
        lambda library, optimizer: library.OneCycleLR(optimizer, 0.02, STEPS + 1),
    )  # fmt: skip


def test_after_the_last_step_the_rate_stays() -> None:
    for schedule, least in (
        (optim.CosineSchedule(8, minimum=0.1), 0.1), (optim.PolynomialSchedule(8), 0.0),
        (optim.OneCycleSchedule(8), START / 25e4),
    ):  # fmt: skip
        assert rates(schedule, 12)[9:] == pytest.approx([least] * 3, abs=1e-15)


def test_restarts_are_exact_after_many_steps() -> None:
    """Period i begins at step 5 (2^i − 1): the rate is maximal there, and almost minimal one step before."""
    schedule = optim.CosineRestartsSchedule(5, 2)
    for i in range(1, 28):
        begin = 5 * (2**i - 1)
        before, full = values(lambda t, begin=begin: schedule.rate(START, t + (begin - 1.0)), 2)
        assert full == pytest.approx(START, rel=1e-12)
        last = 5 * 2 ** (i - 1) - 1
        assert before == pytest.approx(START / 2 * (1 + math.cos(math.pi * last / (last + 1))), rel=1e-6, abs=1e-16)


def test_rates_reach_the_parameters() -> None:
    """Measures the applied rates on a parameter whose gradient is always 1."""

    class Plain(nn.Module):
        def __init__(self) -> None:
            self.w = nn.Parameter((1, 1), "zeros")

        def forward(self, x: Any) -> Any:
            return x * self.w

    class Mean(nn.Loss):
        """The mean of the predictions as a loss."""

        def forward(self, x: Any, y: Any) -> Any:
            return ops.mean(x)

        def target(self, y: object, n: int, dtype: object) -> np.ndarray:
            return np.zeros((n, 1))

    model = Plain().double()
    step = TrainingStep(model, Mean(), optim.SGD(lr=START, schedule=optim.CosineSchedule(8, warmup=3)))
    seen: list[float] = []
    for _ in range(8):
        before = float(model.w[0, 0])
        step(np.ones((2, 1)), None)
        seen.append(before - float(model.w[0, 0]))
    expected = [START * (t + 1) / 3 for t in range(3)] + [START / 2 * (1 + math.cos(math.pi * t / 5)) for t in range(5)]
    assert seen == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 100])
@pytest.mark.parametrize("name", optim.SCHEDULES)
def test_named_schedules_fit_a_training_of_any_length(name: str, steps: int) -> None:
    found = rates(optim.SCHEDULES[name](steps), steps)
    assert np.isfinite(found).all()
    assert max(found) == pytest.approx(START) or (name == "one_cycle" and steps < 10)
    assert max(found) <= optim.SCHEDULES[name](steps).largest(START) * (1 + 1e-12)
