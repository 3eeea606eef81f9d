"""Training and evaluation with targets other than one class number for each sample."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest

import striate as st
from striate import nn, optim
from striate.data import Dataset
from striate.errors import OptionError, ShapeError
from striate.graph.value import Array, Value
from striate.insight.mistakes import confusion
from striate.train import Trainer, evaluate
from striate.train.balance import balanced_weights
from striate.train.progress import Lines

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((50, 4)).astype(np.float32)
MAP = RANDOM.standard_normal((4, 3))
PLANES = RANDOM.standard_normal((20, 1, 6, 6)).astype(np.float32)


def _masks() -> Array:
    labels = (PLANES[:, 0] > 0).astype(np.int64)
    labels[:, 0] = -100
    return labels


def _table(outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, outputs))


def _pixels() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 2, 1))


def _distance(x: Value, y: Value) -> Value:
    return st.ops.mean(abs(x - y))


def _scores(x: Value, y: Value) -> Value:
    return st.ops.cross_entropy(x, y)


CASES: dict[str, tuple[nn.Module, Any, Dataset]] = {
    "one number": (_table(1), nn.MSELoss(), Dataset(X, X @ MAP[:, :1])),
    "several numbers": (_table(3), nn.HuberLoss(), Dataset(X, X @ MAP)),
    "several labels": (_table(3), nn.BCEWithLogitsLoss(), Dataset(X, X @ MAP > 0)),
    "positions": (_pixels(), nn.CrossEntropyLoss(), Dataset(PLANES, _masks(), ("dark", "bright"))),
    "probabilities": (_table(2), nn.CrossEntropyLoss(), Dataset(X, np.eye(2)[(X[:, 0] > 0).astype(int)])),
    "a function": (_table(3), _distance, Dataset(X, X @ MAP)),
    "a function of labels": (_table(2), _scores, Dataset(X, X[:, 0] > 0)),
}


@pytest.mark.parametrize("name", CASES)
def test_training_learns_and_reports(name: str) -> None:
    model, loss, data = CASES[name]
    lines = io.StringIO()
    trainer = Trainer(model, loss, optim.Adam(lr=0.03), batch_size=12, progress=Lines(lines))
    history = trainer.fit(data, validation=data.subset(np.arange(13)), epochs=15)
    assert history.losses[-1] < 0.5 * history.losses[0]
    last = history.epochs[-1]
    assert last.validation_loss is not None
    json.dumps(history.to_json(), allow_nan=False)
    found = trainer.evaluate(data)
    json.dumps(found.to_json(), allow_nan=False)
    if name in ("one number", "several numbers"):
        assert last.validation_error is not None
        assert last.validation_accuracy is None
        assert last.validation_r2 == trainer.evaluate(data.subset(np.arange(13))).r2
        assert found.mean_error == pytest.approx(np.abs(np.asarray(model(X)) - data.labels).mean(), rel=1e-5)
        assert found.r2 is not None
        assert 0.5 < found.r2 < 1
        assert "mean error" in lines.getvalue()
        assert lines.getvalue().startswith("50 samples, ")  # rows of numbers are no images
        assert f"held-out mean error {last.validation_error:.4g}" in repr(history)
        assert repr(found) == f"Evaluation: loss {found.loss:.4f}, mean error {found.mean_error:.4g}, R² {found.r2:.4f}"
    elif name == "a function":
        assert (last.validation_error, last.validation_accuracy) == (None, None)
    else:
        assert last.validation_accuracy is not None
        assert last.validation_accuracy > 0.8
        assert found.accuracy > 0.8
        assert f"accuracy {100 * found.accuracy:.2f} % ({found.correct:,} of {found.count:,})" in repr(found)


def test_the_loss_of_positions_is_that_of_the_whole_set() -> None:
    model, loss, data = _pixels().seed(0), nn.CrossEntropyLoss(weight=np.array([0.3, 2.0])), CASES["positions"][2]
    whole = float(loss(np.asarray(model(PLANES)), data.labels))
    for batch_size in (3, 7, 20):
        assert evaluate(model, data, batch_size, loss=loss).loss == pytest.approx(whole, rel=1e-6)
    found = evaluate(model, data, loss=loss)
    right = np.asarray(model(PLANES)).argmax(axis=1)[:, 1:] == data.labels[:, 1:]
    assert found.accuracy == pytest.approx(right.mean())


def test_r2_of_targets_with_a_large_mean() -> None:
    x = np.linspace(-1, 1, 40, dtype=np.float32)[:, None]
    model = nn.Sequential(nn.Linear(1, 1))
    model.load_state_dict({"0.weight": np.array([[1.0]], np.float32), "0.bias": np.array([1000.0], np.float32)})
    y = x + 1000 + np.where(np.arange(40) % 2, 0.125, -0.125)[:, None]
    found = evaluate(model, Dataset(x, y), 7)
    assert found.mean_error == pytest.approx(0.125, abs=1e-4)
    assert found.r2 == pytest.approx(1 - 0.125**2 / y.var(), abs=1e-3)
    assert found.loss == pytest.approx(0.125**2, abs=1e-4)


def test_targets_of_another_shape_are_refused() -> None:
    trainer = Trainer(_table(3), nn.MSELoss(), optim.SGD(lr=0.1), progress=False)
    with pytest.raises(ShapeError, match="targets of shape"):
        trainer.fit(Dataset(X, X @ MAP), validation=Dataset(X, X @ MAP[:, :1]), epochs=1)
    with pytest.raises(ShapeError, match=r"help: y\[:, None\]"):
        Trainer(_table(1), nn.MSELoss(), optim.SGD(lr=0.1), progress=False).fit(Dataset(X, X[:, 0]), epochs=1)


def test_what_needs_class_numbers_says_so() -> None:
    with pytest.raises(OptionError, match="has no class numbers, which this needs"):
        balanced_weights(Dataset(X, X[:, 0]))
    with pytest.raises(OptionError, match="has no class numbers, which this needs"):
        confusion(_table(2), Dataset(X, X[:, 0]))
