"""What activations declare of themselves, against their own NumPy references and against PyTorch."""

from __future__ import annotations

import math

import numpy as np
import pytest

from striate.graph.arithmetic import Elementwise
from striate.graph.op import registry
from striate.ops.activation import LeakyRelu, Relu, Sigmoid, Tanh

X = np.linspace(-40, 40, 400_001)
FUNCTIONS = [kind() for kind in registry().values() if issubclass(kind, Elementwise) and kind.is_activation]


def derivative(function: Elementwise) -> tuple[np.ndarray, np.ndarray]:
    """(outputs, derivative) between the points of X."""
    y = np.asarray(function.reference(X))
    return (y[1:] + y[:-1]) / 2, np.diff(y) / np.diff(X)


@pytest.mark.parametrize("function", FUNCTIONS, ids=str)
def test_bounds_are_those_of_the_function(function: Elementwise) -> None:
    y = np.asarray(function.reference(X))
    low, high = function.output_bounds
    assert y.min() == pytest.approx(low, abs=1e-6) if math.isfinite(low) else y.min() < -0.1
    assert y.max() == pytest.approx(high, abs=1e-6) if math.isfinite(high) else y.max() > 30


@pytest.mark.parametrize("function", FUNCTIONS, ids=str)
def test_the_largest_derivative(function: Elementwise) -> None:
    _, slope = derivative(function)
    assert slope.max() == pytest.approx(function.max_derivative, rel=1e-3)


@pytest.mark.parametrize("function", FUNCTIONS, ids=str)
def test_units_die_where_the_derivative_is_zero(function: Elementwise) -> None:
    _, slope = derivative(function)
    assert function.units_can_die == bool((slope[:1000] == 0).all() and function.saturation_bounds is None)


@pytest.mark.parametrize("function", FUNCTIONS, ids=str)
def test_saturation_begins_at_a_tenth_of_the_largest_derivative(function: Elementwise) -> None:
    y, slope = derivative(function)
    saturated = slope < 0.1 * function.max_derivative
    if function.saturation_bounds is None:
        assert not saturated[X[1:] > 0].any()
        return
    low, high = function.saturation_bounds
    assert ((y < low) | (y > high)).mean() == pytest.approx(saturated.mean(), abs=1e-4)


def test_gains_are_pytorchs() -> None:
    gain = pytest.importorskip("torch").nn.init.calculate_gain
    assert Relu().gain == pytest.approx(gain("relu"))
    assert Tanh().gain == pytest.approx(gain("tanh"))
    assert Sigmoid().gain == pytest.approx(gain("sigmoid"))
    assert LeakyRelu(0.3).gain == pytest.approx(gain("leaky_relu", 0.3))
