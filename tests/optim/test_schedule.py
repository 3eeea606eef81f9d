"""Learning rates, read off a parameter whose gradient is always 1."""

from __future__ import annotations

import math

import numpy as np
import pytest

from striate import TrainingStep, nn, optim


class Plain(nn.Module):
    def __init__(self) -> None:
        self.w = nn.Parameter((1, 1), "zeros")

    def forward(self, x: object) -> object:
        return x * self.w  # type: ignore[operator]


class Mean(nn.Loss):
    """The prediction itself."""

    def forward(self, x: object, y: object) -> object:
        from striate.ops.reduction import mean

        return mean(x)  # type: ignore[arg-type]

    def target(self, y: object, n: int, dtype: object) -> np.ndarray:
        return np.zeros((n, 1))


def rates(schedule: optim.Schedule, steps: int) -> list[float]:
    model = Plain().double()
    step = TrainingStep(model, Mean(), optim.SGD(lr=0.5, schedule=schedule))
    seen = []
    for _ in range(steps):
        before = float(model.w[0, 0])
        step(np.ones((2, 1)), None)
        seen.append(before - float(model.w[0, 0]))
    return seen


def test_constant() -> None:
    assert rates(optim.ConstantSchedule(), 3) == pytest.approx([0.5] * 3)


def test_cosine() -> None:
    expected = [0.1 + 0.4 * 0.5 * (1 + math.cos(math.pi * min(t, 8) / 8)) for t in range(10)]
    assert rates(optim.CosineSchedule(8, minimum=0.1), 10) == pytest.approx(expected, rel=1e-12)


def test_warmup() -> None:
    expected = [0.5 * (t + 1) / 3 for t in range(3)] + [0.25 * (1 + math.cos(math.pi * t / 5)) for t in range(5)]
    assert rates(optim.CosineSchedule(8, warmup=3), 8) == pytest.approx(expected, rel=1e-12)
