"""Rules about the split of the data, about inputs that differ between the sets, and about equal samples."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import striate as st
from striate import nn
from striate.data import Dataset
from striate.doctor import Doctor, Finding, Setup
from striate.doctor.changes.data import DropLeaked, DropSamples
from striate.doctor.rules.split import in_time_order
from striate.doctor.sample import Sample
from tests.doctor.trainings import clouds, mlp, setup_of, standardized, trained, with_inputs, with_labels

Array = np.ndarray[Any, Any]


def before(setup: Setup) -> list[Finding]:
    """Return the findings before the first step."""
    step = st.TrainingStep(setup.model, setup.loss, setup.optimizer)
    return Doctor(step, setup.train_set, setup.validation).begin()


def pictures(count: int, seed: int, colours: int = 1) -> Dataset:
    """Return bright strokes on dark ground, from 0 to 255; channels differ in brightness and contrast."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    ground = random.gamma(1.0, 12.0, (count, colours, 12, 12))
    for i, label in enumerate(labels):
        across = 2 + 5 * label + random.integers(0, 3)
        ground[i, :, across : across + 2, 2:10] += 170
    tint = np.array([1.0, 0.8, 0.55])[:colours, None, None]
    return Dataset((ground * tint).clip(0, 255).astype(np.uint8), labels, ("high", "low"))


def picture_setup(ours: Dataset, theirs: Dataset, standardize: bool = True) -> Setup:
    model = nn.Sequential(nn.Flatten(), nn.Linear(None, 16, init="he"), nn.Tanh(), nn.Linear(16, 2))
    if standardize:
        model.standardizer = st.data.Standardizer.fit(ours.images)
    return setup_of(model, train_set=ours, validation=theirs, epochs=4)


def floats(one: Dataset, factor: float) -> Dataset:
    return with_inputs(one, lambda x: x.astype(np.float32) * np.float32(factor))


# The division


def test_classes_only_in_validation_are_named_and_divided_anew() -> None:
    data = standardized(400)
    data = data.subset(np.argsort(data.labels, kind="stable"))
    cutoff = int(np.searchsorted(data.labels, 3))
    setup = setup_of(mlp(12), train_set=data.subset(np.arange(cutoff)), validation=data.subset(np.arange(cutoff, 400)))
    findings, accuracy, trainer = trained(setup)
    first = findings[0]
    assert (first.kind, first.cause, first.units) == ("sorted_split", "unseen", (3,))
    assert "class 'd' occurs in validation only" in first.message
    assert "overfitting" not in {one.kind for one in findings if not one.because}
    again, better, _ = trained(first.remedy.apply(trainer.setup))
    assert accuracy == 0
    assert better > 0.8
    assert not again


def test_a_validation_set_of_one_class() -> None:
    data = standardized(400)
    alone = data.subset(data.labels == 2)
    found = before(setup_of(mlp(8), train_set=standardized(300, 5), validation=alone))
    assert [(one.kind, one.cause) for one in found] == [("sorted_split", "alone")]
    few = alone.subset(np.arange(3))  # may be by chance
    assert not before(setup_of(mlp(8), train_set=standardized(300, 5), validation=few))


def series(count: int) -> Dataset:
    """Return windows of length 16, with step 2, of a random walk; the label is the third of time (0, 1, 2)."""
    walk = np.cumsum(np.random.default_rng(3).normal(0, 1, 2 * count + 16)).astype(np.float32)
    windows = np.stack([walk[2 * i : 2 * i + 16] for i in range(count)])[:, None]
    return Dataset(windows, np.arange(count) * 3 // count, ("a", "b", "c"), "walk")


def test_time_series_are_not_to_be_shuffled() -> None:
    walk = series(300)
    assert in_time_order(Sample.of(walk, None))
    assert not in_time_order(Sample.of(clouds(), None))
    model = nn.Sequential(nn.Flatten(), nn.Linear(None, 3))
    found = {one.kind: one for one in before(setup_of(
        model, train_set=walk.subset(np.arange(200)), validation=walk.subset(np.arange(210, 300))))}  # fmt: skip
    assert found["sorted_split"].remedy.changes == ()
    assert "do not shuffle" in found["sorted_split"].remedy.text
    cyclic = with_labels(walk, np.arange(300) // 10 % 3)
    split = setup_of(model, train_set=cyclic.subset(np.arange(200)), validation=cyclic.subset(np.arange(210, 300)))
    assert "sorted_split" not in {one.kind for one in before(split)}


def test_windows_that_overlap_across_the_sets() -> None:
    random = np.random.default_rng(4)
    noise = random.normal(0, 1, 2000).astype(np.float32)
    windows = np.stack([noise[4 * i : 4 * i + 32] for i in range(400)])[:, None]
    data = Dataset(windows, random.integers(0, 2, 400), ("a", "b"))
    order = random.permutation(400)
    model = nn.Sequential(nn.Flatten(), nn.Linear(None, 2))
    mixed = setup_of(model, train_set=data.subset(order[:300]), validation=data.subset(order[300:]))
    found = before(mixed)
    assert [(one.kind, one.cause) for one in found] == [("leakage", "overlap")]
    assert found[0].evidence["share"] > 0.9
    in_time = setup_of(model, train_set=data.subset(np.arange(300)), validation=data.subset(np.arange(310, 400)))
    assert not before(in_time)


def test_two_copies_of_forty_are_named() -> None:
    ours, fresh = standardized(), standardized(38, 1)
    few = Dataset(np.concatenate([fresh.images, ours.images[:2]]), np.concatenate([fresh.labels, ours.labels[:2]]),
                  fresh.classes)  # fmt: skip
    (found,) = before(setup_of(mlp(8), validation=few))
    assert (found.kind, found.cause, found.units) == ("leakage", "exact", (38, 39))
    assert "(38, 39)" in found.message
    (named,) = before(
        setup_of(mlp(8), validation=replace(few, files=tuple(f"test/{place}.png" for place in range(40))))
    )
    assert "(test/38.png, test/39.png)" in named.message


# Equal samples


def test_one_sample_under_two_labels_is_named_and_left_out() -> None:
    one = standardized(100)
    copies = Dataset(np.concatenate([one.images, one.images[[5, 9]]]),
                     np.concatenate([one.labels, [(one.labels[5] + 1) % 4, one.labels[9]]]), one.classes)  # fmt: skip
    setup = setup_of(mlp(8), train_set=copies)
    (found,) = before(setup)
    assert (found.kind, found.units) == ("conflicting_labels", (5, 100))
    assert f"5 and 100 ({'abcd'[one.labels[5]]}, " in found.message
    files = tuple(f"{place}.png" for place in range(102))
    (named,) = before(setup_of(mlp(8), train_set=replace(copies, files=files)))
    assert "5.png and 100.png (" in named.message
    cured = found.remedy.apply(setup)
    assert cured.train_set is not None
    assert len(cured.train_set) == 100
    assert not before(cured)


def test_equal_rows_of_discrete_tables_are_no_surprise() -> None:
    random = np.random.default_rng(1)
    table = Dataset(random.integers(0, 3, (300, 3)).astype(np.float32), random.integers(0, 2, 300), ("a", "b"))
    other = Dataset(random.integers(0, 3, (100, 3)).astype(np.float32), random.integers(0, 2, 100), ("a", "b"))
    found = before(setup_of(mlp(8, classes=2), train_set=table, validation=other))
    assert not {"conflicting_labels", "leakage"} & {one.kind for one in found}


# Inputs of the two sets


@pytest.mark.parametrize(
    ("ours", "theirs", "cause", "words"),
    [
        (1.0, 1 / 255, "scale", "255 times smaller"),
        (1 / 255, 1.0, "scale", "255 times larger"),
        (1.0, 1 / 255**2, "scale", "6.502e+04 times smaller"),
    ],
)
def test_another_range_in_validation(ours: float, theirs: float, cause: str, words: str) -> None:
    setup = picture_setup(floats(pictures(300, 0), ours), floats(pictures(150, 1), theirs))
    found = before(setup)[0]
    assert (found.kind, found.cause) == ("other_inputs", cause)
    assert words in found.message
    cured = found.remedy.apply(setup)
    assert cured.validation is not None
    assert cured.validation.images.max() == pytest.approx(255 * ours, rel=1e-5)
    assert not before(cured)


def test_inverted_pictures_are_not_renumbered() -> None:
    ours, theirs = pictures(300, 0), with_inputs(pictures(150, 1), lambda x: 255 - x)
    findings, accuracy, trainer = trained(picture_setup(ours, theirs))
    assert (findings[0].kind, findings[0].cause) == ("other_inputs", "polarity")
    assert "labels_shifted" not in {one.kind for one in findings}
    assert findings[0].remedy.code == "x_validation = 255 - x_validation"
    again, better, _ = trained(findings[0].remedy.apply(trainer.setup))
    assert better > accuracy + 0.1
    assert not again


def test_channels_in_another_order() -> None:
    ours, theirs = pictures(300, 0, 3), with_inputs(pictures(150, 1, 3), lambda x: x[:, ::-1])
    setup = picture_setup(ours, theirs)
    (found,) = before(setup)
    assert (found.kind, found.cause, found.units) == ("other_inputs", "channels", (2, 1, 0))
    cured = found.remedy.apply(setup)
    assert cured.validation is not None
    np.testing.assert_array_equal(cured.validation.images, pictures(150, 1, 3).images)
    grey = with_inputs(pictures(300, 0), lambda x: np.repeat(x, 3, axis=1))
    grey_too = with_inputs(pictures(150, 1), lambda x: np.repeat(x, 3, axis=1))
    assert not before(picture_setup(grey, grey_too))


def test_standardized_in_training_only() -> None:
    ours, theirs = (with_inputs(one, lambda x: 12 * x + 40) for one in (standardized(), standardized(200, 1)))
    prepared = with_inputs(ours, st.data.Standardizer.fit(ours.images).transform)
    found = before(setup_of(mlp(8), train_set=prepared, validation=theirs))[0]
    assert (found.kind, found.cause) == ("other_inputs", "scale")


@pytest.mark.parametrize(
    "change",
    [lambda x: x, lambda x: 1.3 * x + 0.2, lambda x: x + 0.3 * np.sin(np.arange(len(x)))[:, None].astype(np.float32)],
    ids=["the same", "louder", "with drift"],
)
def test_inputs_that_differ_as_data_do(change: Any) -> None:
    assert not before(setup_of(mlp(8), validation=with_inputs(standardized(200, 1), change)))


# Numbers of the classes


def test_classes_that_are_sorted_as_text_keep_some_of_their_numbers() -> None:
    random = np.random.default_rng(8)
    centres = random.normal(0, 1, (12, 6))

    def draw(count: int) -> Dataset:
        labels = random.integers(0, 12, count)
        x = centres[labels] + random.normal(0, 0.25, (count, 6))
        return Dataset(x.astype(np.float32), labels, tuple(map(str, range(12))))

    ours, theirs = draw(900), draw(400)
    as_text = np.array([sorted(range(12), key=str).index(k) for k in range(12)])
    setup = setup_of(mlp(24, classes=12), train_set=ours, validation=with_labels(theirs, as_text[theirs.labels]))
    (found,) = before(setup)
    assert (found.kind, found.cause) == ("labels_shifted", "numbers")
    cured = found.remedy.apply(setup)
    assert cured.train_set is not None
    np.testing.assert_array_equal(cured.train_set.labels, as_text[ours.labels])
    assert not before(cured)


def test_a_class_that_validation_lacks_moves_the_others() -> None:
    ours, theirs = standardized(600), standardized(300, 1)
    left = theirs.subset(theirs.labels != 1)
    moved = Dataset(left.images, np.array([0, 9, 1, 2])[left.labels], ("a", "c", "d"))
    setup = setup_of(mlp(16), train_set=ours, validation=moved)
    (found,) = before(setup)
    assert (found.kind, found.cause) == ("labels_shifted", "numbers")
    assert "validation lacks 1 of the 4 classes" in found.message
    cured = found.remedy.apply(setup)
    assert cured.validation is not None
    np.testing.assert_array_equal(cured.validation.labels, left.labels)
    assert not before(cured)
    assert not before(setup_of(mlp(16), train_set=ours, validation=left)), "a class less is no other numbering"


@pytest.mark.parametrize("name", ["validation", "train_set"])
def test_the_code_that_leaves_samples_out_does_what_the_change_does(name: str) -> None:
    data = standardized(10)
    change = DropLeaked((2, 5)) if name == "validation" else DropSamples((2, 5))
    setup = setup_of(mlp(8), train_set=data, validation=data)
    names: dict[str, Any] = {"np": np, name: data, "finding": SimpleNamespace(units=(2, 5))}
    exec(change.code(setup), names)
    changed = change.apply(setup)
    expected = changed.validation if name == "validation" else changed.train_set
    assert expected is not None
    np.testing.assert_array_equal(names[name].images, expected.images)
