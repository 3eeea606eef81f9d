"""What an evaluation measures equals what scikit-learn computes from the same predictions."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="pip install 'striate[sklearn]'")

from sklearn import metrics

from striate import nn
from striate.data import Dataset
from striate.train import evaluate

RANDOM = np.random.default_rng(0)
CLASSES = 7


def identity(size: int) -> nn.Module:
    """A model whose outputs are its inputs."""
    model = nn.Linear(size, size, bias=False)
    model.weight = np.eye(size, dtype=np.float32)
    return model


def test_measures_of_classes() -> None:
    labels = np.concatenate([np.arange(CLASSES), RANDOM.integers(0, CLASSES, 300)])
    scores = (RANDOM.normal(size=(len(labels), CLASSES)) + 1.5 * np.eye(CLASSES)[labels]).round(1).astype(np.float32)
    scores += np.linspace(0, 0.01, CLASSES, dtype=np.float32)  # equal scores of two classes would have no order
    found = evaluate(identity(CLASSES), Dataset(scores, labels))
    answers = scores.argmax(axis=1)
    precision, recall, f1, count = metrics.precision_recall_fscore_support(labels, answers)
    assert found.accuracy == metrics.accuracy_score(labels, answers)
    assert found.cross_entropy == pytest.approx(metrics.log_loss(labels, softmax(scores)))
    assert found.top5 == pytest.approx(metrics.top_k_accuracy_score(labels, scores, k=5))
    np.testing.assert_allclose([one.precision for one in found.classes], precision)
    np.testing.assert_allclose([one.accuracy for one in found.classes], recall)
    np.testing.assert_allclose([one.f1 for one in found.classes], f1)
    assert [one.count for one in found.classes] == count.tolist()
    assert found.f1 == pytest.approx(metrics.f1_score(labels, answers, average="macro"))
    own = [metrics.roc_auc_score(labels == place, softmax(scores)[:, place]) for place in range(CLASSES)]
    np.testing.assert_allclose([one.auc for one in found.classes], own, rtol=1e-4)  # float32 may round scores together
    assert found.auc == pytest.approx(metrics.roc_auc_score(labels, softmax(scores), multi_class="ovr"), rel=1e-4)


def test_measures_of_yes_or_no_labels() -> None:
    logits = RANDOM.normal(size=(200, 3)).round(1).astype(np.float32)
    labels = (logits + RANDOM.normal(size=logits.shape) > 0).astype(np.uint8)
    found = evaluate(identity(3), Dataset(logits, labels))
    precision, _, f1, _ = metrics.precision_recall_fscore_support(labels, logits > 0)
    np.testing.assert_allclose([one.precision for one in found.classes], precision)
    np.testing.assert_allclose([one.f1 for one in found.classes], f1)
    np.testing.assert_allclose([one.auc for one in found.classes], metrics.roc_auc_score(labels, logits, average=None))


def test_measures_of_measured_targets() -> None:
    predictions = RANDOM.normal(size=(300, 2)).astype(np.float32)
    targets = (predictions * [1, 100] + [[0, 1000]] + RANDOM.normal(size=(300, 2)) * [1, 30]).astype(np.float32)
    found = evaluate(identity(2), Dataset(predictions, targets))
    assert found.mean_error == pytest.approx(metrics.mean_absolute_error(targets, predictions))
    assert found.loss == pytest.approx(metrics.mean_squared_error(targets, predictions), rel=1e-5)
    assert found.r2 == pytest.approx(metrics.r2_score(targets, predictions), rel=1e-5)


def test_weights_of_samples_in_the_loss() -> None:
    labels, weights = RANDOM.integers(0, CLASSES, 300), RANDOM.integers(0, 3, 300)
    scores = RANDOM.normal(size=(300, CLASSES)).astype(np.float32)
    found = evaluate(identity(CLASSES), Dataset(scores, labels), 32, sample_weight=weights)
    assert found.loss == pytest.approx(metrics.log_loss(labels, softmax(scores), sample_weight=weights), rel=1e-5)
    targets = scores + RANDOM.normal(size=scores.shape).astype(np.float32)
    found = evaluate(identity(CLASSES), Dataset(scores, targets), 32, sample_weight=weights)
    expected = metrics.mean_squared_error(targets, scores, sample_weight=weights)
    assert found.loss == pytest.approx(expected, rel=1e-5)


def softmax(scores: np.ndarray) -> np.ndarray:
    """Return the probabilities (N, C) of scores (N, C), in float64."""
    powers = np.exp(scores.astype(np.float64))
    return powers / powers.sum(axis=1, keepdims=True)
