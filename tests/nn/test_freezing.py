"""Freezing parameters by the patterns of their names, and the statistics of batch normalization."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import striate as st
from striate import nn, optim
from striate.errors import OptionError
from striate.graph.value import Array, DType, Value
from striate.step import batch_type, training_graph


def _network() -> nn.Module:
    class Net(nn.Module):
        def __init__(self) -> None:
            self.layer1 = nn.Sequential(nn.Conv2d(1, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU())
            self.layer2 = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
            self.head = nn.Sequential(nn.Flatten(), nn.Linear(None, 2))

        def forward(self, x: Value) -> Value:
            return self.head(self.layer2(self.layer1(x)))

    return Net().seed(0).infer((1, 6, 6))


def _batch() -> tuple[Array, Array]:
    random = np.random.default_rng(0)
    return random.standard_normal((8, 1, 6, 6)).astype(np.float32) + 3, random.integers(0, 2, 8)


def test_training_changes_only_what_is_not_frozen(tmp_path: Path) -> None:
    model = _network()
    assert model.freeze("layer1*", "*.bias") == [
        "layer1.0.weight", "layer1.1.weight", "layer1.1.bias",
        "layer2.0.bias", "layer2.1.bias", "head.1.bias",
    ]  # fmt: skip
    before = model.state_dict()
    step = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    x, y = _batch()
    assert list(step.gradients(x, y)) == ["layer2.0.weight", "layer2.1.weight", "head.1.weight"]
    step(x, y)
    after = model.state_dict()
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    statistics = {
        f"layer{i}.1.{name}" for i in (1, 2) for name in ("running_mean", "running_var", "num_batches_tracked")
    }
    assert moved == {"layer2.0.weight", "layer2.1.weight", "head.1.weight"} | statistics

    st.save(model, tmp_path / "model.safetensors")
    np.testing.assert_array_equal(st.load(tmp_path / "model.safetensors")(x), model(x))


def test_frozen_statistics_are_used_and_kept_in_training() -> None:
    model = _network()
    x, y = _batch()
    step = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    step(x, y)
    model.freeze("layer1", statistics=True)
    before = model.state_dict()
    step(x, y)
    after = model.state_dict()
    assert all(np.array_equal(before[name], after[name]) for name in before if name.startswith("layer1"))
    assert not np.array_equal(before["layer2.1.running_mean"], after["layer2.1.running_mean"])
    np.testing.assert_allclose(model.layer1(x, training=True), model.layer1(x), rtol=1e-6)

    assert len(model.unfreeze("layer1")) == 3
    step(x, y)
    later = model.state_dict()
    assert not any(np.array_equal(after[name], later[name]) for name in after if name.startswith("layer1"))


def test_frozen_layers_at_the_start_cost_no_gradients() -> None:
    model = _network()
    count = len(_nodes(model))
    model.freeze("layer1*")
    frozen = _nodes(model)
    assert len(frozen) < count
    assert not any(path.startswith("layer1") and "gradient" in text for path, text in frozen)


def _nodes(model: nn.Module) -> list[tuple[str, str]]:
    graph = training_graph(model, nn.CrossEntropyLoss(), batch_type((1, 6, 6), DType.float32)).graph
    return [(node.path, str(node.op)) for node in graph.nodes]


def test_a_pattern_that_matches_nothing_is_refused() -> None:
    model = _network()
    with pytest.raises(OptionError, match="matches no parameter"):
        model.freeze("layer1*", "stem*")
    assert model.freeze() == [name for name, _ in model.named_parameters()]
    with pytest.raises(OptionError, match="expected a pattern"):
        model.freeze(3)  # type: ignore[arg-type]
