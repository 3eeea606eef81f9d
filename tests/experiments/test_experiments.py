"""Each experiment runs at a tiny size, and verdicts follow from the numbers for each possible outcome."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from striate import settings
from striate.data import Dataset, load_digits, open_dataset
from striate.errors import DataError, MissingExtraError, OptionError
from striate.experiments import (
    EXPERIMENTS,
    Experiment,
    Material,
    Outcome,
    Size,
    Work,
    drawing,
    experiment_of,
    material,
    perform,
)
from striate.experiments.convolution_prior import highlighted, permuted
from striate.experiments.dead_units import derivative
from striate.experiments.flattening import random_front
from striate.experiments.many_filters import distinct
from striate.experiments.measurement import Form, Measurement, Quantity, made_up
from striate.experiments.networks import deep
from striate.experiments.prediction import Compared, Prediction, Ruling, judge
from striate.experiments.training import firing, gradient_norms, prepared, train
from striate.nn.activation import ReLU, Sigmoid
from striate.optim import SGD
from striate.settings import Engine

TINY = Size(seeds=1, samples=64, held_out=64, epochs=1)


@pytest.fixture(scope="module")
def digits() -> Material:
    return Material(load_digits("train"), load_digits("test"))


@pytest.fixture(scope="module", autouse=True)
def compiled() -> Any:
    before = settings.override(engine=Engine.COMPILED)
    yield
    settings.restore(before)


# The whole of each, small


@functools.cache
def tiny(name: str) -> Outcome:
    """Return the outcome of an experiment on a few digits; it runs once for all tests."""
    return perform(experiment_of(name), Material(load_digits("train"), load_digits("test")), TINY)


QUICK = ("M3", "momentum")


@pytest.mark.parametrize(
    "one",
    [pytest.param(one, marks=[] if one.name in QUICK else pytest.mark.slow) for one in EXPERIMENTS.values()],
    ids=lambda one: one.name,
)
def test_an_experiment_measures_all_it_promises_and_draws_it(one: Experiment, tmp_path: Path) -> None:
    outcome = tiny(one.name)
    assert outcome.found.settings
    measured = {name for row in outcome.found.numbers.values() for name in row}
    assert measured == {quantity.name for quantity in one.quantities}
    for setting, row in outcome.found.numbers.items():
        for quantity, values in row.items():
            assert len(values) == TINY.seeds, (setting, quantity)
            assert np.isfinite(values).all(), (setting, quantity)
    assert len(outcome.compared) == len(one.predictions)
    assert all(compared.evidence for compared in outcome.compared)
    json.dumps(outcome.to_json(), allow_nan=False)

    pytest.importorskip("matplotlib")
    path = tmp_path / "picture.png"
    drawing.save_picture(outcome, path)
    content = path.read_bytes()
    assert content.startswith(b"\x89PNG")
    assert len(content) > 20_000


def test_the_same_seeds_give_the_same_numbers_and_progress_is_told(digits: Material) -> None:
    told: list[tuple[int, int, str]] = []
    again = perform(experiment_of("M3"), digits, TINY, lambda done, total, text: told.append((done, total, text)))
    assert again.found.numbers == tiny("M3").found.numbers
    assert [done for done, _, _ in told] == [0, 1, 2, 3]
    assert {total for _, total, _ in told} == {3}


@pytest.mark.slow
def test_what_needs_no_training_comes_true_however_small() -> None:
    """Some predictions are mathematics and hold at any size: recomputed equations, inferred shapes, gradients."""
    always = {"M3": [0], "M4": [0, 1, 2, 3], "M6": [0], "M10": [3], "skip": [1], "momentum": [1], "adam": [0]}
    for name, numbers in {**always, "cosine": [2]}.items():
        outcome = tiny(name)
        for number in numbers:
            assert outcome.compared[number].came_true, (name, outcome.compared[number])


def test_every_experiment_predicts_before_it_measures() -> None:
    assert list(EXPERIMENTS)[:10] == [f"M{number}" for number in range(1, 11)]
    for one in EXPERIMENTS.values():
        assert one.setup.endswith((".", ")"))
        assert any(not prediction.condition for prediction in one.predictions)
        for prediction in one.predictions:
            assert prediction.text.endswith("."), prediction.text
            assert not prediction.condition.endswith(".")


# Numbers and verdicts


ACCURACY = (Quantity("accuracy"),)
BETTER = Prediction(
    "a beats b.",
    lambda found: found.median("a", "accuracy") > found.median("b", "accuracy"),
    lambda found: f"{found.short('a', 'accuracy')} and {found.short('b', 'accuracy')}",
)
LIMIT = dataclasses.replace(
    BETTER, text="a is above 90 %.", condition="only here", test=lambda found: found.median("a", "accuracy") > 0.9
)


@pytest.mark.parametrize(
    ("a", "b", "ruling", "reason"),
    [
        (0.8, 0.7, Ruling.HOLDS, ""),
        (0.95, 0.7, Ruling.CONDITION, "only here"),
        (0.95, 0.96, Ruling.FAILS, "a beats b. Found: 95.0 % and 96.0 %"),
        (0.5, 0.7, Ruling.FAILS, "a beats b. Found: 50.0 % and 70.0 %"),
        (math.nan, 0.7, Ruling.FAILS, "a beats b. Found: – and 70.0 %"),
    ],
)
def test_the_verdict_follows_from_the_numbers(a: float, b: float, ruling: Ruling, reason: str) -> None:
    found = made_up(ACCURACY, {"a": {"accuracy": a}, "b": {"accuracy": b}})
    verdict = judge([one.compare(found) for one in (BETTER, LIMIT)])
    assert verdict.ruling is ruling
    assert "; ".join(verdict.reasons) == reason
    assert str(verdict) == (f"{ruling.value}: {reason}" if reason else ruling.value)


SIGMOID = {"first to last": 3e-7, "a layer": 0.26, "accuracy": 0.1}
GOOD = {"first to last": 1.0, "a layer": 1.0, "accuracy": 0.96}
CHAINS = {
    "sigmoid, Xavier start": SIGMOID,
    "sigmoid, with batch norm": GOOD,
    "sigmoid, 2 layers only": GOOD,
    "tanh, PyTorch's start": {"first to last": 0.04, "a layer": 0.75, "accuracy": 0.3},
    "tanh, Xavier start": {"first to last": 0.86, "a layer": 0.99, "accuracy": 0.96},
    "ReLU, PyTorch's start": {"first to last": 1e-3, "a layer": 0.53, "accuracy": 0.1},
    "ReLU, He start": GOOD,
}


def ruling_of(name: str, numbers: dict[str, dict[str, float]], **arrays: Any) -> Ruling:
    one = experiment_of(name)
    found = made_up(one.quantities, numbers)
    found.arrays |= arrays
    return judge([prediction.compare(found) for prediction in one.predictions]).ruling


def test_vanishing_gradients_judged_by_made_up_numbers() -> None:
    assert ruling_of("M5", CHAINS) is Ruling.CONDITION
    assert ruling_of("M5", {**CHAINS, "sigmoid, Xavier start": GOOD}) is Ruling.FAILS
    assert ruling_of("M5", {**CHAINS, "tanh, PyTorch's start": GOOD}) is Ruling.FAILS
    everything_vanishes = dict.fromkeys(CHAINS, SIGMOID)
    assert ruling_of("M5", everything_vanishes) is Ruling.HOLDS  # then it would need no condition


def test_the_prior_judged_by_made_up_numbers() -> None:
    names = ("CNN, images", "CNN, pixels permuted", "MLP, images", "MLP, pixels permuted")

    def of(*accuracies: float) -> Ruling:
        return ruling_of("M1", {name: {"accuracy": one} for name, one in zip(names, accuracies, strict=True)})

    assert of(0.94, 0.76, 0.87, 0.87) is Ruling.CONDITION
    assert of(0.94, 0.88, 0.87, 0.87) is Ruling.HOLDS
    assert of(0.94, 0.94, 0.87, 0.87) is Ruling.FAILS  # the CNN did not need the neighbourhoods
    assert of(0.85, 0.76, 0.87, 0.87) is Ruling.FAILS  # it was no better
    assert of(0.94, 0.76, 0.87, 0.80) is Ruling.FAILS  # the MLP lost as well


def test_leaky_relu_judged_by_made_up_numbers() -> None:
    def of(relu: float, small: float, middle: float, cure: float, wide: float) -> Ruling:
        narrow = dict(zip(("ReLU", "α = 0.01", "α = 0.1", "α = 0.3"), (relu, small, middle, cure), strict=True))
        numbers = {
            f"{name}, 8 × 5": {"accuracy": one, "first gradient": float(name != "ReLU")} for name, one in narrow.items()
        }
        numbers |= {f"{name}, 8 × 64": {"accuracy": wide, "first gradient": 1.0} for name in narrow}
        return ruling_of("M7", numbers)

    assert of(0.10, 0.10, 0.3, 0.57, 0.97) is Ruling.CONDITION
    assert of(0.10, 0.57, 0.57, 0.57, 0.97) is Ruling.CONDITION  # 0.01 cures as well, but wide networks need none
    assert of(0.10, 0.10, 0.1, 0.12, 0.97) is Ruling.FAILS
    assert of(0.57, 0.57, 0.57, 0.57, 0.97) is Ruling.FAILS


def test_median_spread_and_json() -> None:
    found = Measurement((Quantity("accuracy"), Quantity("ratio", Form.POWER), Quantity("units", Form.COUNT)))
    for accuracy, ratio in ((0.9, 3e-7), (0.95, 0.25), (0.7, math.nan)):
        found.add("a", accuracy=accuracy, ratio=ratio)
    assert found.text("a", "accuracy") == "90.0 % (70.0–95.0)"
    assert (found.low("a", "accuracy"), found.high("a", "accuracy")) == (0.7, 0.95)
    assert found.text("a", "units") == ""
    assert math.isnan(found.median("a", "units"))
    assert found.to_json()["a"]["ratio"]["values"] == [3e-7, 0.25, None]
    assert [Form.POWER.text(one) for one in (3.14e-7, 0, 0.256, 12.0, 1234.0)] == ["3.1e-7", "0", "0.26", "12", "1.2e3"]
    with pytest.raises(KeyError):
        found.add("a", speed=1.0)


def test_sizes_that_mean_nothing() -> None:
    for wrong in ({"seeds": 0}, {"samples": 0}, {"epochs": -1}, {"samples": 10}):
        with pytest.raises(OptionError, match="expected a whole number"):
            dataclasses.replace(TINY, **wrong)


# What they are made of


def test_permuted_pixels_are_the_same_pixels_at_other_places(digits: Material) -> None:
    some = digits.train_set.subset([0, 1, 2])
    mixed = permuted(some)
    assert (np.sort(mixed.images.reshape(3, -1)) == np.sort(some.images.reshape(3, -1))).all()
    assert (mixed.images != some.images).any()
    one_by_one = np.concatenate([permuted(some.subset([index])).images for index in range(3)])
    np.testing.assert_array_equal(mixed.images, one_by_one)  # one permutation for all


def test_a_filter_is_not_flipped() -> None:
    image, kernel = np.zeros((5, 5), np.float32), np.arange(9, dtype=np.float32).reshape(3, 3)
    image[2, 2] = 1
    np.testing.assert_allclose(highlighted(image, kernel)[1:4, 1:4], kernel[::-1, ::-1])  # correlation mirrors a point


def test_distinct_filters() -> None:
    rows = np.array([[1.0, 0], [-2, 0.1], [0, 3], [0.1, 5]])
    assert distinct(rows) == 2
    assert distinct(np.eye(4)) == 4


def test_relu_has_slope_0_at_0() -> None:
    np.testing.assert_array_equal(derivative(np.array([-1, 0, 1], np.float32)), [0, 0, 1])


def test_shapes_counted_by_hand(digits: Material) -> None:
    front, counted = random_front(np.random.default_rng(3), (1, 8, 8))
    assert np.asarray(front(digits.train_set.images[:2].astype(np.float32))).shape == (2, *counted)


def test_gradients_and_firing_equal_a_recount(digits: Material) -> None:
    train_set = digits.train_set.subset(np.arange(50))
    model = prepared(deep(ReLU, depth=2, width=6, init="he"), train_set, 0)
    norms = gradient_norms(model, train_set, 0)
    assert list(norms) == ["linear1.weight", "linear2.weight", "out.weight"]
    shares = firing(model, train_set, 0, ["active1", "active2"])
    x = np.asarray(model.standardizer(train_set.images.astype(np.float32))).reshape(50, -1)
    for number in (1, 2):
        weights = dict(model.named_parameters())
        x = np.maximum(0, x @ weights[f"linear{number}.weight"].T + weights[f"linear{number}.bias"])
        np.testing.assert_allclose(shares[f"active{number}"], (x > 0).mean(axis=0), atol=1e-6)


def test_looking_changes_nothing(digits: Material) -> None:
    model = prepared(deep(Sigmoid, depth=2, width=6, init="xavier", normalized="between"), digits.train_set, 0)
    gradient_norms(model, digits.train_set, 0)
    before = model.state_dict()
    firing(model, digits.train_set, 0, ["active1"])
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])


def test_a_training_that_breaks_down_is_reported_and_predicts_nothing(digits: Material) -> None:
    few = digits.train_set.subset(np.arange(64))
    model = prepared(deep(ReLU, depth=8, width=16, init="he"), few, 0)
    done = train(model, few, SGD(lr=1e6), seed=0, epochs=3)
    assert done.broke
    assert 0 <= done.accuracy(digits.held_out) < 0.3


def test_each_seed_learns_from_its_own_samples(digits: Material) -> None:
    work = Work(digits.train_set, digits.held_out, TINY)
    assert len(work.samples(0)) == TINY.samples
    assert (work.samples(0).labels != work.samples(1).labels).any()
    np.testing.assert_array_equal(work.samples(0).images, work.samples(0).images)
    assert len(work.held_out) == TINY.held_out


# Data


def test_without_mnist_the_digits_and_a_note() -> None:
    before = settings.override(data=None)
    try:
        given = material(None, "mnist", open_dataset)
        assert given.train_set.name == "digits"
        assert "digits of the package" in given.note
        assert "STRIATE_DATA" in given.note
        with pytest.raises(DataError, match="MNIST is not part of the package"):
            material("mnist", "mnist", open_dataset)
    finally:
        settings.restore(before)
    assert material(None, "digits", open_dataset).note == ""


def test_real_mnist_is_taken_where_it_is(mnist_folder: Path) -> None:
    given = material(None, "mnist", open_dataset)
    assert given.train_set.images.shape == (60000, 1, 28, 28)
    assert given.note == ""
    assert material(str(mnist_folder), "digits", open_dataset).train_set.images.shape[1:] == (1, 28, 28)


def test_features_are_no_pictures() -> None:
    flat = Dataset(np.zeros((30, 4), np.float32), np.arange(30) % 3)
    with pytest.raises(OptionError, match="expected pictures"):
        material("flat", "digits", lambda name, part: flat)


def test_without_matplotlib_there_is_a_plain_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def absent(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(drawing, "import_module", absent)
    one = experiment_of("M5")
    found = made_up(one.quantities, CHAINS)
    compared = tuple(prediction.compare(found) for prediction in one.predictions)
    outcome = Outcome(one, TINY, "digits", "", found, compared, judge(compared), 1.0)
    with pytest.raises(MissingExtraError, match="pip install 'striate\\[plot\\]'"):
        drawing.save_picture(outcome, tmp_path / "picture.png")
    assert not list(tmp_path.iterdir())


def test_the_caption_says_what_came_true() -> None:
    one = experiment_of("M5")
    found = made_up(one.quantities, {**CHAINS, "tanh, PyTorch's start": GOOD})
    compared = tuple(prediction.compare(found) for prediction in one.predictions)
    outcome = Outcome(one, TINY, "digits", "", found, compared, judge(compared), 1.0)
    lines = drawing.caption(outcome)
    text = " ".join(line for line, _ in lines)
    assert "Predicted, came true: Twelve sigmoids" in text
    assert "Predicted, not seen: tanh suffers too" in text
    assert "Verdict: it does not hold here" in text
    assert max(len(line) for line, _ in lines) <= 148


def test_tiles_keep_their_order() -> None:
    sheet = drawing.mosaic(np.arange(12.0).reshape(3, 2, 2), 2)
    assert sheet.shape == (5, 5)
    np.testing.assert_array_equal(sheet[:2, 3:], [[4, 5], [6, 7]])
    np.testing.assert_array_equal(sheet[3:, :2], [[8, 9], [10, 11]])
    assert np.isnan(sheet[2]).all()
    assert np.isnan(sheet[3:, 3:]).all()


def test_unknown_names_list_the_known() -> None:
    assert experiment_of("m5").name == "M5"
    with pytest.raises(OptionError, match=r"known: M1, M2, .*, all"):
        experiment_of("M11")


def test_compared_says_what_it_rests_on() -> None:
    one = Compared(BETTER, True, "90 % and 80 %")
    assert one.to_json() == {
        "prediction": "a beats b.", "came_true": True, "evidence": "90 % and 80 %", "measured_elsewhere": None,
        "condition": None,
    }  # fmt: skip


@pytest.mark.parametrize("bad", [None, 5, ["M5"], 0.5])
def test_wrong_names_and_sizes_are_refused(bad: Any) -> None:
    with pytest.raises(OptionError, match="unknown experiment"):
        experiment_of(bad)
    if bad != 5:
        with pytest.raises(OptionError, match="seeds="):
            Size(seeds=bad, samples=100, held_out=100, epochs=1)
