"""Evaluation: accuracy by class, the loss, short last batches."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from striate import nn
from striate.data import Dataset
from striate.errors import OptionError, ShapeError
from striate.train import evaluate
from striate.train.evaluation import log_softmax


def identity(classes: int) -> nn.Module:
    """Build a model whose logits are its features."""
    model = nn.Sequential(nn.Linear(classes, classes, bias=False))
    model.load_state_dict({"0.weight": np.eye(classes, dtype=np.float32)})
    return model


def scores() -> Dataset:
    random = np.random.default_rng(0)
    return Dataset(random.standard_normal((23, 3)), random.integers(0, 2, 23), ("a", "b", "c"))


@pytest.mark.parametrize("batch_size", [1, 5, 23, 100])
def test_it_counts_every_sample_once(batch_size: int) -> None:
    data = scores()
    seen: list[int] = []
    found = evaluate(identity(3), data, batch_size, after_batch=seen.append)
    right = data.images.argmax(axis=1) == data.labels
    assert sum(seen) == found.count == 23
    assert found.correct == right.sum()
    assert found.accuracy == pytest.approx(right.mean())
    exact = -log_softmax(data.images)[np.arange(23), data.labels].mean()
    assert found.loss == pytest.approx(exact, rel=1e-6)
    assert [one.count for one in found.classes] == np.bincount(data.labels, minlength=3).tolist()
    assert [one.correct for one in found.classes] == np.bincount(data.labels[right], minlength=3).tolist()
    assert found.classes[2].accuracy is None
    json.dumps(found.to_json(), allow_nan=False)


def test_large_logits_overflow_nothing() -> None:
    assert log_softmax(np.array([[1e30, 0.0]], np.float32))[0, 0] == 0


def test_evaluation_changes_nothing() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
    model(scores().images)
    before = model.state_dict()
    assert evaluate(model, scores()) == evaluate(model, scores(), 4)
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


@pytest.mark.parametrize("batch_size", [0, -1, 2.5, "all", None, True])
def test_a_batch_size_that_has_no_meaning_is_refused(batch_size: Any) -> None:
    with pytest.raises(OptionError, match=r"batch_size=.*; expected a whole number of 1 or more"):
        evaluate(identity(3), scores(), batch_size)


def test_what_is_not_a_model_or_a_loss_is_refused() -> None:
    for model in (None, "model.safetensors", nn.Linear):
        with pytest.raises(OptionError, match=r"model=.*; expected a Module\n  help"):
            evaluate(model, scores())  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="expected an object of Loss"):
        evaluate(identity(3), scores(), loss=nn.CrossEntropyLoss)  # type: ignore[arg-type]


def test_too_few_outputs_are_explained() -> None:
    with pytest.raises(ShapeError, match="3 classes"):
        evaluate(nn.Sequential(nn.Linear(3, 2)), scores())


class OneHot(nn.MSELoss):
    """The squared error of class scores against 0 and 1."""

    def target(self, y: object, n: int, dtype: np.dtype[Any]) -> Any:
        return np.eye(3, dtype=dtype)[np.asarray(y)]


def test_a_loss_may_make_targets_of_classes() -> None:
    data = scores()
    found = evaluate(identity(3), data, loss=OneHot())
    assert found.accuracy == pytest.approx((data.images.argmax(axis=1) == data.labels).mean())
    assert found.loss == pytest.approx(np.square(data.images - np.eye(3)[data.labels]).mean(), rel=1e-6)
