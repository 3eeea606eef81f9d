"""Models with several inputs and outputs: calls, training steps, saved files, and gradients as in PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import striate as st
from striate import nn, optim
from striate.errors import OptionError, ShapeError

RANDOM = np.random.default_rng(0)
X, Z = RANDOM.standard_normal((6, 4)), RANDOM.standard_normal((6, 3, 5))
LABELS, VALUES = np.array([0, 1, 2, 0, 1, 2]), RANDOM.standard_normal((6, 2))


class Net(nn.Module):
    """A network with two inputs of different ranks, two outputs, and a layer that is used twice."""

    def __init__(self, nested: str = "dict") -> None:
        self.nested = nested
        self.left, self.right = nn.Linear(None, 8), nn.Linear(None, 8)
        self.shared, self.value = nn.Linear(8, 8), nn.Linear(8, 2)
        self.logits = nn.Linear(16, 3)

    def forward(self, table: Any, series: Any) -> Any:
        a = st.ops.tanh(self.shared(self.left(table)))
        b = st.ops.tanh(self.shared(self.right(series).mean(axis=1)))
        logits, value = self.logits(st.ops.concat([a, b])), self.value(a * b)
        return {"logits": logits, "value": value} if self.nested == "dict" else (logits, value)


def loss(out: Any, y: Any) -> Any:
    logits, value = (out["logits"], out["value"]) if isinstance(out, dict) else out
    labels, values = (y["label"], y["value"]) if isinstance(y, dict) else y
    return nn.CrossEntropyLoss()(logits, labels) + 0.5 * nn.MSELoss()(value, values)


def expected_gradients(model: Net) -> dict[str, np.ndarray[Any, Any]]:
    torch = pytest.importorskip("torch", reason="PyTorch is the judge here")
    w = {name: torch.tensor(array, requires_grad=True) for name, array in model.state_dict().items()}

    def linear(name: str, x: Any) -> Any:
        return torch.nn.functional.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    a = linear("shared", linear("left", torch.tensor(X))).tanh()
    b = linear("shared", linear("right", torch.tensor(Z)).mean(1)).tanh()
    logits, value = linear("logits", torch.cat([a, b], 1)), linear("value", a * b)
    functional = torch.nn.functional
    total = functional.cross_entropy(logits, torch.tensor(LABELS))
    total = total + 0.5 * functional.mse_loss(value, torch.tensor(VALUES))
    total.backward()
    return {name: one.grad.numpy() for name, one in w.items()}


INPUTS = {"tuple": (X, Z), "dict": {"series": Z, "table": X}}
TARGETS = {"tuple": (LABELS, VALUES), "dict": {"label": LABELS, "value": VALUES}}


@pytest.mark.parametrize("kind", ["tuple", "dict"])
def test_gradients_are_those_of_pytorch(kind: str) -> None:
    model = Net(kind).double().initialize(1)
    for accumulate in (1, 2):
        step = st.TrainingStep(model, loss, optim.SGD(lr=0.1), accumulate=accumulate)
        found = step.gradients(INPUTS[kind], TARGETS[kind])
        expected = expected_gradients(model)
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            np.testing.assert_allclose(found[name], gradient, rtol=1e-10, atol=1e-12, err_msg=name)


def test_training_and_watching() -> None:
    step = st.TrainingStep(Net(), loss, optim.SGD(lr=0.2))
    watch = step.watch("*")
    losses = [step(INPUTS["dict"], TARGETS["dict"]) for _ in range(30)]
    assert losses[-1] < losses[0] / 2
    assert "shared.weight" in watch.gradient_norms()


@pytest.mark.parametrize("kind", ["tuple", "dict"])
def test_saved_models_keep_the_nesting(kind: str, tmp_path: Path) -> None:
    model = Net(kind)
    before = model(X, Z)
    st.save(model, tmp_path / "model.safetensors")
    after = st.load(tmp_path / "model.safetensors")(X, Z)
    assert type(after) is type(before)
    names = ["logits", "value"] if isinstance(before, dict) else [0, 1]
    for name in names:
        np.testing.assert_array_equal(after[name], before[name])


def test_inputs_by_name() -> None:
    model = Net("tuple")
    expected = model(X, Z)[0]
    np.testing.assert_array_equal(model(X, series=Z)[0], expected)
    np.testing.assert_array_equal(model(series=Z, table=X)[0], expected)
    traced = st.compile(lambda x, z: model(x, series=z)[0], batched=True)
    np.testing.assert_allclose(traced(X.astype(np.float32), Z.astype(np.float32)), expected, rtol=1e-5, atol=1e-6)


def test_refused() -> None:
    model = Net("tuple")
    with pytest.raises(OptionError, match=r"pictures(.|\n)*its inputs are table, series"):
        model(X, Z, pictures=Z)
    with pytest.raises(OptionError, match=r"its inputs are table, series"):
        st.TrainingStep(model, loss, optim.SGD(lr=0.1))({"table": X}, TARGETS["tuple"])
    with pytest.raises(ShapeError, match="different numbers of samples"):
        st.TrainingStep(model, loss, optim.SGD(lr=0.1))((X, Z[:3]), TARGETS["tuple"])
    with pytest.raises(ShapeError, match=r"one output(.|\n)*help: a function of all outputs"):
        st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))((X, Z), LABELS)
    with pytest.raises(OptionError, match=r"takes one target(.|\n)*help"):
        st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))((X, Z), TARGETS["tuple"])
