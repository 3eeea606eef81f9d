"""The function that builds training graphs: typed outputs, and the parameters that are trained."""

from __future__ import annotations

import numpy as np
import pytest

from striate import TrainingStep, nn, optim
from striate.errors import OptionError
from striate.graph.graph import OutputKind
from striate.graph.value import DType
from striate.step import batch_type, training_graph

X = batch_type((2, 5, 5), DType.float32)


def network() -> nn.Sequential:
    layers = (nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(None, 3))
    return nn.Sequential(*layers).infer((2, 5, 5))


def test_outputs_say_what_they_are() -> None:
    model = network()
    graph = training_graph(model, nn.CrossEntropyLoss(), X, watch=["2"]).graph
    assert [name for name, _ in model.named_parameters()] == list(graph.outputs_of(OutputKind.GRADIENT))
    assert set(graph.outputs_of(OutputKind.STATISTIC)) == {"1.running_mean", "1.running_var"}
    assert graph.outputs_of(OutputKind.LOSS)[""].shape == ()
    assert len(graph.names_of(OutputKind.WATCH)) == 4
    assert all(graph.role(name).kind is not OutputKind.RESULT for name in graph.outputs)


def test_frozen_parameters_have_no_gradient_unless_asked_for() -> None:
    model = network()
    model[0].requires_grad_(False)
    trained = training_graph(model, nn.CrossEntropyLoss(), X).graph.outputs_of(OutputKind.GRADIENT)
    assert list(trained) == ["1.weight", "1.bias", "4.weight", "4.bias"]
    chosen = training_graph(model, nn.CrossEntropyLoss(), X, trained=["0.weight"]).graph
    assert list(chosen.outputs_of(OutputKind.GRADIENT)) == ["0.weight"]
    with pytest.raises(OptionError, match="not among the parameters"):
        training_graph(model, nn.CrossEntropyLoss(), X, trained=["weight"])


def test_the_target_is_what_the_loss_expects() -> None:
    assert str(training_graph(network(), nn.CrossEntropyLoss(), X).graph.inputs["y"].type) == "i64 (N)"
    assert str(training_graph(network(), nn.MSELoss(), X).graph.inputs["y"].type) == "f32 (N, 3)"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e10, 1e19])
def test_gradients_are_scaled_without_overflow(dtype: str, size: float) -> None:
    """g = 2 (0 − y) x / 2 with y = −size: Σ g² overflows float32, but the norm does not."""
    model = nn.Sequential(nn.Linear(2, 2, bias=False)).to(dtype)
    model.load_state_dict({"0.weight": np.zeros((2, 2))})
    step = TrainingStep(model, nn.MSELoss(), optim.SGD(lr=1.0), max_norm=0.5)
    x, y = np.array([[3.0, 4.0]]), np.array([[-size if size < 1e18 else -1e10, 0.0]])
    x = x if size < 1e18 else x * 1e9
    gradient = -y.T @ x
    norm = np.linalg.norm(gradient)
    step(x, y)
    expected = -gradient * min(1.0, 0.5 / (norm + 1e-6))
    np.testing.assert_allclose(model.state_dict()["0.weight"], expected, rtol=2e-6)
    assert step.gradient_norm == pytest.approx(norm, rel=1e-6)
