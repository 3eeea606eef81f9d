"""The choices on the page come from the operations and optimizers themselves."""

from __future__ import annotations

import numpy as np
import pytest
from starlette.testclient import TestClient

from striate.errors import OptionError
from striate.lab.choices import choices, curve
from striate.nn.activation import ACTIVATION_LAYERS
from striate.optim import OPTIMIZERS


def test_every_activation_and_optimizer_is_offered_with_a_title_and_a_sentence() -> None:
    found = choices()
    assert found["activations"].keys() == ACTIVATION_LAYERS.keys()
    assert found["optimizers"].keys() == OPTIMIZERS.keys()
    for one in [*found["activations"].values(), *found["optimizers"].values()]:
        assert one["title"]
        assert one["about"]
    assert found["activations"]["leaky_relu"]["options"] == ["negative_slope"]
    assert "momentum" in found["optimizers"]["sgd"]["options"]
    assert "momentum" not in found["optimizers"]["adam"]["options"]


@pytest.mark.parametrize("name", ACTIVATION_LAYERS)
def test_curves_hold_the_function_and_its_derivative(name: str) -> None:
    found = {key: np.array(values) for key, values in curve(name, "0.25").items()}
    jumps = np.abs(np.diff(found["derivative"])) > 0.1  # a kink lies between two points
    away = (abs(found["x"]) > 0.1) & ~(np.append(jumps, False) | np.append(False, jumps))
    assert away.sum() > 100
    slope = np.gradient(found["y"], found["x"])
    np.testing.assert_allclose(found["derivative"][away], slope[away], atol=2e-3)


def test_curves_are_asked_for_by_name(client: TestClient) -> None:
    assert set(client.get("/api/activations/tanh").json()) == {"x", "y", "derivative"}
    assert client.get("/api/activations/tan").status_code == 422
    for slope in ("nan", "1e9", "x"):
        with pytest.raises(OptionError, match="slope"):
            curve("leaky_relu", slope)
