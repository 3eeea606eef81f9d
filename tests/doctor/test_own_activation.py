"""A custom activation, unknown to the doctor, is judged by what its operation declares."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

import striate as st
from striate import nn, optim
from striate.doctor import Doctor
from striate.doctor.rules.gradients import growth
from striate.graph.elementwise import Elementwise
from striate.graph.value import Value
from striate.nn.activation import Activation
from striate.nn.initialization import scaled_normal
from tests.doctor.trainings import mlp, setup_of, standardized, trained


@dataclass(frozen=True)
class Halved(Elementwise):
    """y = max(0, x) / 2"""

    is_activation: ClassVar[bool] = True
    output_bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    units_can_die: ClassVar[bool] = True
    max_derivative: ClassVar[float] = 0.5

    @property
    def gain(self) -> float:
        return math.sqrt(8)

    def reference(self, x: Any) -> Any:
        return np.maximum(x, 0) / 2

    def gradient(self, inputs: Any, outputs: Any, output_gradients: Any, needed: Any) -> Any:
        (y,), (dy,) = outputs, output_gradients
        return (st.ops.where(st.ops.greater(y, 0.0 * y), 0.5 * dy, 0.0 * dy),)

    def emit(self, k: Any, *inputs: Any) -> Any:
        (x,) = inputs
        return k.mul(k.max(x, k.constant_like(x, 0.0)), k.constant_like(x, 0.5))


class HalvedReLU(Activation):
    """y = max(0, x) / 2"""

    @property
    def operation(self) -> Elementwise:
        return Halved()


class Called(nn.Module):
    """The same operation, called inside ``forward`` instead of as a layer."""

    def __init__(self) -> None:
        self.body = nn.Linear(6, 4)

    def forward(self, x: Value) -> Value:
        return Halved()(self.body(x))


@pytest.mark.parametrize("model", [nn.Sequential(mlp(8), HalvedReLU()), Called()], ids=["layer", "called"])
def test_bounded_outputs_are_found(model: nn.Module) -> None:
    step = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.05))
    found = {one.kind: one for one in Doctor(step, standardized()).begin()}["bounded_outputs"]
    named = "nn.HalvedReLU" if isinstance(model, nn.Sequential) else "st.ops.halved"
    assert found.message == f"{named} stands between the last linear map and the loss"


def test_its_gain_keeps_the_signal() -> None:
    model = mlp(*(32,) * 6, act=HalvedReLU, init=scaled_normal(Halved().gain))
    doctor = Doctor(st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.01)), standardized())
    doctor.begin()
    assert growth(doctor.trace) == pytest.approx(1, abs=0.1)


def test_its_units_die() -> None:
    model = mlp(24, 24, act=HalvedReLU)
    for layer in list(model)[:-1]:
        if isinstance(layer, nn.Linear):
            layer.parameter("bias").init = lambda shape, fan_in, random: np.full(shape, -20.0)
    findings, _, _ = trained(setup_of(model, epochs=6))
    assert (findings[0].kind, findings[0].cause) == ("dead_units", "initialization")


def test_a_chain_of_small_derivatives_is_named_by_its_layer() -> None:
    model = mlp(*(16,) * 14, act=HalvedReLU, init=scaled_normal(math.sqrt(2)))
    findings, _, _ = trained(setup_of(model, epochs=6))
    found = next(one for one in findings if one.kind == "vanishing_gradients")
    assert "The derivative of nn.HalvedReLU is at most 1/2" in found.why
