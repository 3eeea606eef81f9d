from __future__ import annotations

import numpy as np
import pytest

from striate.data import Dataset
from striate.errors import OptionError, ShapeError
from striate.insight import confusion, worst_mistakes
from striate.insight.mistakes import Confusion
from tests.insight.networks import chain, picture


def _dataset(classes: tuple[str, ...] = ("cat", "dog", "owl"), count: int = 300) -> Dataset:
    labels = np.random.default_rng(7).integers(0, len(classes), count)
    return Dataset(picture(8, count), labels, classes, "animals")


def test_confusion_is_a_recount() -> None:
    model, dataset = chain(), _dataset()
    found = confusion(model, dataset)
    predicted = model(dataset.images).argmax(axis=1)
    wanted = np.zeros((3, 3), int)
    for true, said in zip(dataset.labels, predicted):
        wanted[true, said] += 1
    np.testing.assert_array_equal(found.counts, wanted)
    assert found.accuracy == pytest.approx((predicted == dataset.labels).mean())
    assert found.recalls[1] == pytest.approx((predicted[dataset.labels == 1] == 1).mean())
    assert found.precisions[2] == pytest.approx((dataset.labels[predicted == 2] == 2).mean(), nan_ok=True)
    assert found.to_json()["counts"] == wanted.tolist()


def test_the_most_confused_come_first_and_right_ones_never() -> None:
    found = Confusion(np.array([[9, 4, 0], [1, 9, 0], [0, 6, 0]]), ("a", "b", "c"))
    assert found.most_confused() == [("c", "b", 6), ("a", "b", 4), ("b", "a", 1)]
    assert found.recalls.tolist() == pytest.approx([9 / 13, 0.9, 0])
    assert np.isnan(found.precisions[2])


def test_the_worst_mistakes_cost_most() -> None:
    model, dataset = chain(), _dataset()
    logits = model(dataset.images).astype(np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    loss = -np.log(shares[np.arange(300), dataset.labels])
    wrong = [i for i in np.argsort(-loss, kind="stable") if logits[i].argmax() != dataset.labels[i]]
    found = worst_mistakes(model, dataset, 9)
    assert [one.index for one in found] == wrong[:9]
    first = found[0]
    assert first.loss == pytest.approx(loss[first.index])
    assert first.probability == pytest.approx(shares[first.index].max())
    assert first.probability_of_label == pytest.approx(np.exp(-loss[first.index]))
    assert first.label == dataset.classes[dataset.labels[first.index]]
    assert first.predicted == dataset.classes[int(logits[first.index].argmax())]
    np.testing.assert_array_equal(first.image, dataset.images[first.index])
    assert len(worst_mistakes(model, dataset, 10_000)) == len(wrong)


def test_classes_are_matched_by_name() -> None:
    model, dataset = chain(), _dataset()
    expected, worst = confusion(model, dataset), worst_mistakes(model, dataset, 3)
    numbers = np.array([1, 2, 0])[dataset.labels]
    other = Dataset(dataset.images, numbers, ("owl", "cat", "dog"), "animals")
    model.classes = dataset.classes
    np.testing.assert_array_equal(confusion(model, other).counts, expected.counts)
    assert confusion(model, other).classes == dataset.classes
    found = worst_mistakes(model, other, 3)
    assert [(one.index, one.label, one.predicted) for one in found] == [
        (one.index, one.label, one.predicted) for one in worst
    ]


def test_outputs_without_a_class_have_numbers_and_missing_ones_are_refused() -> None:
    model = chain()
    assert confusion(model, _dataset(("cat", "dog"))).classes == ("cat", "dog", "2")
    with pytest.raises(ShapeError, match="has 4 classes"):
        confusion(model, _dataset(("a", "b", "c", "d")))
    with pytest.raises(OptionError, match="count=0"):
        worst_mistakes(model, _dataset(), 0)
