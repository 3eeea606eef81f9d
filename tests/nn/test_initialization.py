"""The initial values of parameters."""

from __future__ import annotations

import math

import numpy as np
import pytest

from striate import nn
from striate.errors import OptionError
from striate.models.block import Style


def test_the_default_is_pytorchs_bounds() -> None:
    layer = nn.Conv2d(16, 64, 3)
    bound = 1 / math.sqrt(16 * 9)
    for array in (layer.weight, layer.bias):
        assert np.abs(array).max() <= bound
        assert np.abs(array).max() == pytest.approx(bound, rel=0.05)
    assert layer.weight.std() == pytest.approx(bound / math.sqrt(3), rel=0.03)
    assert abs(layer.weight.mean()) < bound / 50


@pytest.mark.parametrize(
    ("init", "deviation"),
    [("he", math.sqrt(2 / 200)), ("xavier", math.sqrt(2 / 500)), (nn.init.he(0.1), math.sqrt(2 / 1.01 / 200))],
)
def test_spread(init: str, deviation: float) -> None:
    layer = nn.Linear(200, 300, init=init)
    assert layer.weight.std() == pytest.approx(deviation, rel=0.02)
    assert not layer.bias.any()


@pytest.mark.parametrize("shape", [(20, 30), (30, 20)])
def test_orthogonal(shape: tuple[int, int]) -> None:
    weight = nn.Linear(shape[1], shape[0], init="orthogonal").double().weight
    product = weight @ weight.T if shape[0] < shape[1] else weight.T @ weight
    np.testing.assert_allclose(product, np.eye(20), atol=1e-12)


def test_dirac_copies_inputs_to_the_first_outputs_and_draws_the_others() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 6, 6)).astype(np.float32)
    layer = nn.Conv2d(3, 5, 3, padding=1, bias=False, init="dirac")
    np.testing.assert_array_equal(layer(x)[:, :3], x)
    assert layer.weight[3:].std() > 0.05
    narrow = nn.Conv1d(5, 3, 3, padding="same", bias=False, init="dirac")
    np.testing.assert_array_equal(narrow(x[:, :, 0].repeat(2, 1)[:, :5]), x[:, :, 0].repeat(2, 1)[:, :3])


def test_an_own_function_and_its_shape() -> None:
    layer = nn.Linear(3, 2, init=lambda shape, fan_in, random: np.full(shape, fan_in))
    assert (layer.weight == 3).all()
    with pytest.raises(OptionError, match="returned shape"):
        _ = nn.Linear(3, 2, init=lambda shape, fan_in, random: np.zeros(1)).weight


def test_networks_keep_the_variance_with_the_gain_of_their_activation() -> None:
    style = Style.of("leaky_relu", "none", negative_slope=0.1, init="fitted")
    layers = [part for _ in range(6) for part in (nn.Linear(256, 256, init=style.init), style.act())]
    x = np.random.default_rng(0).standard_normal((64, 256))
    assert np.square(nn.Sequential(*layers)(x)).mean() == pytest.approx(1, rel=0.5)
