"""The properties that activations declare, against their NumPy references and PyTorch."""

from __future__ import annotations

import math

import numpy as np
import pytest

from striate.graph.elementwise import Elementwise
from striate.graph.op import registry
from striate.ops.activation import LeakyRelu, Relu, Sigmoid, Tanh
from striate.ops.piecewise_activation import Hardtanh, Threshold
from striate.ops.smooth_activation import Celu, Elu, Gelu, Selu, Softplus

X = np.linspace(-40, 40, 400_001)
FUNCTIONS = [
    kind() for kind in registry().values() if issubclass(kind, Elementwise) and kind.is_activation and kind.arity == 1
]
FUNCTIONS += [Elu(2.5), Celu(0.5), Gelu("tanh"), Softplus(2.0), Hardtanh(-0.5, 2.0), Threshold(0.5, -1.0)]
JUMP = 100.0
"""A slope above this is a jump between two points of X."""


def derivative(function: Elementwise) -> tuple[np.ndarray, np.ndarray]:
    """Return (outputs, derivative) between neighbouring points of X."""
    y = np.asarray(function.reference(X))
    return (y[1:] + y[:-1]) / 2, np.diff(y) / np.diff(X)


@pytest.mark.parametrize("function", FUNCTIONS, ids=str)
def test_bounds_are_those_of_the_function(function: Elementwise) -> None:
    y = np.asarray(function.reference(np.concatenate([X, [-1e8, 1e8]])))
    low, high = function.output_bounds
    assert y.min() == pytest.approx(low, abs=1e-6) if math.isfinite(low) else y.min() < -0.1
    assert y.max() == pytest.approx(high, abs=1e-6) if math.isfinite(high) else y.max() > 30


@pytest.mark.parametrize("function", FUNCTIONS, ids=str)
def test_the_largest_derivative(function: Elementwise) -> None:
    _, slope = derivative(function)
    assert slope[slope < JUMP].max() == pytest.approx(function.max_derivative, rel=1e-3)


@pytest.mark.parametrize("function", FUNCTIONS, ids=str)
def test_units_die_where_the_derivative_is_zero(function: Elementwise) -> None:
    """This holds unless the outputs there count as saturated."""
    y, slope = derivative(function)
    left = (X[1:] > -8) & (X[1:] < -7.9)
    low = -math.inf if function.saturation_bounds is None else function.saturation_bounds[0]
    assert function.units_can_die == bool((slope[left] == 0).all() and (y[left] >= low).all())


@pytest.mark.parametrize("function", FUNCTIONS, ids=str)
def test_saturation_begins_at_a_tenth_of_the_largest_derivative(function: Elementwise) -> None:
    y, slope = derivative(function)
    saturated = slope < 0.1 * function.max_derivative
    if function.saturation_bounds is None:
        far, alive = y[saturated & (X[1:] > 3)], y[~saturated]
        assert not ((far < alive.min()) | (far > alive.max())).any()  # no bounds of outputs would separate them
        return
    low, high = function.saturation_bounds
    alive = X[1:] > 0 if function.units_can_die else X[1:] > -math.inf
    found = (y < low) | (y > high)
    assert found[alive].mean() == pytest.approx(saturated[alive].mean(), abs=1e-4)


@pytest.mark.parametrize("function", FUNCTIONS, ids=str)
def test_the_gain_keeps_the_mean_square(function: Elementwise) -> None:
    if function.gain in (1.0, 5 / 3, 3 / 4):
        return  # what PyTorch gives for sigmoid, tanh and SELU is none
    z = np.random.default_rng(0).standard_normal(1_000_000)
    square = np.square(np.asarray(function.reference(z))).mean()
    assert function.gain * math.sqrt(square) == pytest.approx(1, rel=5e-3)


def test_gains_are_pytorchs() -> None:
    gain = pytest.importorskip("torch").nn.init.calculate_gain
    assert Relu().gain == pytest.approx(gain("relu"))
    assert Tanh().gain == pytest.approx(gain("tanh"))
    assert Selu().gain == pytest.approx(gain("selu"))
    assert Sigmoid().gain == pytest.approx(gain("sigmoid"))
    assert LeakyRelu(0.3).gain == pytest.approx(gain("leaky_relu", 0.3))
