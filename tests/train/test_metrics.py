from __future__ import annotations

import math

import numpy as np
import pytest

from striate.data import Dataset
from striate.nn import Linear
from striate.train import evaluate
from striate.train.metrics import areas, calibration_error, top_hits

RANDOM = np.random.default_rng(0)


def test_auc_is_the_share_of_pairs_in_order() -> None:
    scores, positive = RANDOM.integers(0, 6, 40).astype(np.float32), RANDOM.random(40) < 0.3
    pairs = [(p > q) + 0.5 * (p == q) for p in scores[positive] for q in scores[~positive]]
    assert areas(scores, positive)[0] == pytest.approx(np.mean(pairs))
    assert areas(scores, np.zeros(40, bool)) == (None, None)
    assert areas(scores, np.ones(40, bool)) == (None, 1)
    assert areas(np.full(40, np.nan), positive) == (None, None)


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


def identity(size: int) -> Linear:
    """Return a model whose outputs are its inputs."""
    model = Linear(size, size, bias=False)
    model.load_state_dict({"weight": np.eye(size, dtype=np.float32)})
    return model


@pytest.mark.parametrize("levels", [3, 1000])
def test_measures_of_classes_are_those_of_scikit_learn(levels: int) -> None:
    """With three levels, many scores are equal."""
    judge = pytest.importorskip("sklearn.metrics")
    curve = pytest.importorskip("sklearn.calibration").calibration_curve
    x = (RANDOM.integers(0, levels, (200, 4)) * (4 / levels)).astype(np.float32)
    y = np.where(RANDOM.random(200) < 0.6, x.argmax(axis=1), RANDOM.integers(0, 4, 200))
    found = evaluate(identity(4), Dataset(x, y, tuple("abcd")), batch_size=37)
    answers, truth = x.argmax(axis=1), np.eye(4)[y]
    shares = np.exp(x.astype(np.float64))
    shares /= shares.sum(axis=1, keepdims=True)
    np.testing.assert_array_equal(found.confusion, judge.confusion_matrix(y, answers))
    assert found.balanced_accuracy == pytest.approx(judge.balanced_accuracy_score(y, answers))
    precision, recall, f1, _ = judge.precision_recall_fscore_support(y, answers)
    for place, one in enumerate(found.classes):
        assert (one.precision, one.accuracy, one.f1) == pytest.approx((precision[place], recall[place], f1[place]))
        of_scores = np.log(shares[:, place]).astype(np.float32)
        assert one.auc == pytest.approx(judge.roc_auc_score(y == place, of_scores))
        assert one.average_precision == pytest.approx(judge.average_precision_score(y == place, of_scores))
    assert found.f1 == pytest.approx(f1.mean())
    assert found.auc == pytest.approx(judge.roc_auc_score(truth, np.log(shares).astype(np.float32)))
    assert found.average_precision == pytest.approx(
        judge.average_precision_score(truth, np.log(shares).astype(np.float32))
    )
    assert found.cross_entropy == pytest.approx(judge.log_loss(y, shares), rel=1e-6)
    confidence = shares.max(axis=1)
    rights, confidences = curve(answers == y, confidence, n_bins=15)
    counts = np.histogram(confidence, np.linspace(0, 1, 16))[0]
    expected = (counts[counts > 0] * abs(rights - confidences)).sum() / 200
    assert found.calibration_error == pytest.approx(expected, rel=1e-6)
    assert evaluate(identity(4), Dataset(x, y, tuple("abcd"))).to_json() == found.to_json()


def test_measures_of_labels_and_targets_are_those_of_scikit_learn() -> None:
    judge = pytest.importorskip("sklearn.metrics")
    x = RANDOM.normal(size=(90, 3)).astype(np.float32)
    labels = (x + RANDOM.normal(size=(90, 3)) > 0.3).astype(np.uint8)
    found = evaluate(identity(3), Dataset(x, labels))
    assert found.exact == judge.accuracy_score(labels, x > 0)
    assert found.f1 == pytest.approx(judge.f1_score(labels, x > 0, average="macro"))
    assert found.auc == pytest.approx(judge.roc_auc_score(labels, x))
    assert found.average_precision == pytest.approx(judge.average_precision_score(labels, x))
    targets = (x * [1, 100, 2] + [0, 5000, 1] + RANDOM.normal(size=(90, 3))).astype(np.float32)
    found = evaluate(identity(3), Dataset(x, targets))
    assert found.r2 == pytest.approx(judge.r2_score(targets, x), rel=1e-5)
    assert found.mean_error == pytest.approx(judge.mean_absolute_error(targets, x), rel=1e-6)
    assert found.rmse == pytest.approx(judge.mean_squared_error(targets, x) ** 0.5, rel=1e-6)
    assert [one.name for one in found.targets] == ["target 0", "target 1", "target 2"]
    columns = {"multioutput": "raw_values"}
    for name, expected in {
        "mean_error": judge.mean_absolute_error(targets, x, **columns),
        "rmse": judge.mean_squared_error(targets, x, **columns) ** 0.5,
        "r2": judge.r2_score(targets, x, **columns),
    }.items():
        np.testing.assert_allclose([vars(one)[name] for one in found.targets], expected, rtol=1e-5)


def test_a_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    right = np.array([True, False, True, True])
    assert calibration_error(np.full(4, 0.75), right) == 0
    assert calibration_error(np.array([0.2, 0.2, 1.0, 1.0]), right) == pytest.approx(0.15)
    assert math.isnan(calibration_error(np.zeros(0), np.zeros(0, bool)))
    assert math.isnan(calibration_error(np.full(4, np.nan), right))
