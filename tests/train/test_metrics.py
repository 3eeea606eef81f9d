from __future__ import annotations

import numpy as np
import pytest

from striate.data import Dataset
from striate.nn import Linear
from striate.train import evaluate
from striate.train.metrics import auc, top_hits

RANDOM = np.random.default_rng(0)


def test_auc_is_the_share_of_pairs_in_order() -> None:
    scores, positive = RANDOM.integers(0, 6, 40).astype(np.float32), RANDOM.random(40) < 0.3
    pairs = [(p > q) + 0.5 * (p == q) for p in scores[positive] for q in scores[~positive]]
    assert auc(scores, positive) == pytest.approx(np.mean(pairs))
    assert auc(scores, np.zeros(40, bool)) is None
    assert auc(np.full(40, np.nan), positive) is None


def test_top_hits_take_the_first_of_equal_scores() -> None:
    scores = np.array([[3.0, 2, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    assert top_hits(scores, np.array([1, 0, 3]), 1) == 1
    assert top_hits(scores, np.array([1, 0, 3]), 2) == 2


def test_classes_have_precision_recall_and_f1() -> None:
    model = Linear(7, 7, bias=False)
    model.load_state_dict({"weight": np.eye(7, dtype=np.float32)})
    x = RANDOM.normal(size=(60, 7)).astype(np.float32)
    labels = RANDOM.integers(0, 6, 60)  # the last class has no samples
    found = evaluate(model, Dataset(x, labels, tuple("abcdefg")))
    answers = x.argmax(axis=1)
    for place, one in enumerate(found.classes[:6]):
        right = ((answers == place) & (labels == place)).sum()
        assert (one.correct, one.count, one.predicted) == (right, (labels == place).sum(), (answers == place).sum())
        assert one.precision == pytest.approx(right / one.predicted)
        assert one.f1 == pytest.approx(2 * right / (one.count + one.predicted))
    assert (found.classes[6].accuracy, found.classes[6].auc) == (None, None)
    assert found.top5 == pytest.approx(np.mean([label in np.argsort(-row)[:5] for row, label in zip(x, labels)]))
    assert found.f1 == pytest.approx(np.mean([one.f1 or 0 for one in found.classes[:6]]))


def test_yes_or_no_labels_and_several_targets_are_measured_by_column() -> None:
    model = Linear(2, 2, bias=False)
    model.load_state_dict({"weight": np.eye(2, dtype=np.float32)})
    x = RANDOM.normal(size=(50, 2)).astype(np.float32)
    labels = (x + RANDOM.normal(size=(50, 2)) > 0).astype(np.uint8)
    found = evaluate(model, Dataset(x, labels))
    assert found.accuracy == pytest.approx(((x > 0) == labels).mean())
    assert found.classes[0].precision == pytest.approx(labels[x[:, 0] > 0, 0].mean())
    targets = (x * [1, 100] + [[0, 5000]] + RANDOM.normal(size=(50, 2))).astype(np.float32)
    shares = 1 - np.square(x - targets).mean(axis=0) / targets.astype(np.float64).var(axis=0)
    assert evaluate(model, Dataset(x, targets)).r2 == pytest.approx(shares.mean(), rel=1e-4)
