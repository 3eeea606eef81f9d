"""For each rule: a fault that it must report first, with an effective remedy, and a near miss.

A near miss is a similar training without the fault, on which the rule must be silent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import striate as st
from striate import nn, optim, settings
from striate.data import Dataset
from striate.data.loader import batch_count
from striate.doctor import RULES, Doctor, Finding, Setup
from striate.doctor.training_trace import TrainingTrace
from striate.errors import OptionError
from striate.nn.initialization import scaled_normal
from tests.doctor.trainings import (
    clouds,
    mlp,
    normalized,
    setup_of,
    standardized,
    trained,
    with_inputs,
    with_labels,
)

Array = np.ndarray[Any, Any]


def sgd(lr: float) -> optim.SGD:
    return optim.SGD(lr=lr, momentum=0.9)


def in_order(dataset: Dataset) -> Dataset:
    return dataset.subset(np.argsort(dataset.labels, kind="stable"))


def below(model: nn.Sequential, start: float) -> nn.Sequential:
    """Let the biases of the hidden layers start at a number."""
    for layer in list(model)[:-1]:
        if isinstance(layer, nn.Linear):
            layer.parameter("bias").init = lambda shape, fan_in, random: np.full(shape, start)
    return model


def frozen(model: nn.Sequential, *places: int) -> nn.Sequential:
    for place in places:
        model[place].requires_grad_(False)
    return model


def sets(change: Callable[[Array], Array]) -> dict[str, Dataset]:
    return {"train_set": with_inputs(standardized(), change), "validation": with_inputs(standardized(200, 1), change)}


def labelled(change: Callable[[Array], Array]) -> dict[str, Dataset]:
    one = standardized()
    return {"train_set": with_labels(one, change(one.labels))}


def beside(column: Callable[[int], Array]) -> dict[str, Dataset]:
    """Return the data with another column appended to the features."""
    return sets(lambda x: np.concatenate([x, column(len(x)).astype(np.float32)], axis=1))


FAULTS: dict[str, Callable[[], Setup]] = {
    "vanishing_gradients:activation": lambda: setup_of(mlp(*(16,) * 9, act=nn.Sigmoid, init="xavier"), epochs=6),
    "vanishing_gradients:initialization": lambda: setup_of(
        mlp(*(24,) * 8, act=lambda: nn.LeakyReLU(0.1), init=scaled_normal(0.3)), optimizer=sgd(0.02), epochs=6
    ),
    "exploding_gradients:initialization": lambda: setup_of(
        mlp(*(24,) * 6, init=scaled_normal(7.0)), optimizer=sgd(0.01)
    ),
    "dead_units:learning rate|learning_rate_too_high": lambda: setup_of(mlp(24, 24), optimizer=sgd(2.0)),
    "dead_units:initialization": lambda: setup_of(below(mlp(24, 24), -20.0), epochs=6),
    "saturated_units:initialization": lambda: setup_of(
        mlp(24, act=nn.Tanh, init=scaled_normal(25.0)), train_set=standardized(160), optimizer=sgd(0.01), epochs=6
    ),
    "learning_rate_too_low": lambda: setup_of(mlp(16), optimizer=sgd(1e-7), epochs=6),
    "loss_at_start:initialization": lambda: setup_of(
        nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4, init=scaled_normal(60.0))), epochs=2
    ),
    "softmax_twice": lambda: setup_of(nn.Sequential(mlp(8), nn.Softmax()), optimizer=sgd(0.005)),
    "bounded_outputs": lambda: setup_of(nn.Sequential(mlp(8), nn.ReLU()), epochs=4),
    "labels_shifted:places": lambda: setup_of(mlp(16), **labelled(lambda y: np.roll(y, 2))),
    "labels_shifted:numbers": lambda: setup_of(mlp(16), **labelled(lambda y: (y + 1) % 4)),
    "unstandardized_input:large": lambda: setup_of(mlp(16, 16), **sets(lambda x: 300 * x + 200)),
    "unstandardized_input:uneven": lambda: setup_of(
        mlp(16), **sets(lambda x: x * np.array([0.02] * 5 + [2.0], np.float32)), epochs=2
    ),
    "constant_features": lambda: setup_of(mlp(16, 16), **beside(lambda n: np.full((n, 1), 300.0))),
    "sorted_batches": lambda: setup_of(normalized(16), train_set=in_order(standardized()), shuffle=False),
    "stale_statistics:momentum": lambda: setup_of(
        normalized(16, 16, momentum=0.0), **sets(lambda x: 5 * x + 30), epochs=4
    ),
    "idle_normalization:epsilon": lambda: setup_of(normalized(16, 16, 16, eps=1e4), optimizer=sgd(0.02)),
    "no_gradient:frozen": lambda: setup_of(frozen(mlp(3, 3), 0, 2), epochs=6),
}
"""Each with the kind (and cause) that is to stand first."""


QUICK = [*FAULTS][::4]
"""For every fourth fault `make test` checks that it is found and cured."""


@pytest.mark.parametrize("expected", [pytest.param(f, marks=() if f in QUICK else pytest.mark.slow) for f in FAULTS])
def test_a_planted_fault_is_found_first_and_its_remedy_helps(expected: str) -> None:
    fault = FAULTS[expected]()
    findings, before, trainer = trained(fault)
    assert findings, "nothing was found"
    first = findings[0]
    assert {first.kind, f"{first.kind}:{first.cause}"} & set(expected.split("|")), repr(findings)
    cured = first.remedy.apply(trainer.setup)
    again, after, _ = trained(cured)
    assert first.key not in {one.key for one in again}, f"again: {again!r}"
    assert after > before


NEAR_MISSES: dict[str, Callable[[], Setup]] = {
    "three sigmoids": lambda: setup_of(
        mlp(16, 16, 16, act=nn.Sigmoid, init="xavier"), optimizer=optim.Adam(lr=0.01), epochs=5),
    "PyTorch's start": lambda: setup_of(mlp(24, 24, init="torch"), epochs=3),
    "nine sigmoids, normalized": lambda: setup_of(
        nn.Sequential(*(layer for _ in range(9) for layer in (nn.Linear(None, 16), nn.BatchNorm1d(16), nn.Sigmoid())),
                      nn.Linear(16, 4)), epochs=4),
    "a bold rate": lambda: setup_of(mlp(24), optimizer=sgd(0.15)),
    "a timid rate": lambda: setup_of(mlp(24), optimizer=sgd(2e-3)),
    "a cosine to nothing": lambda: setup_of(
        mlp(24), optimizer=optim.SGD(lr=0.05, momentum=0.9, schedule=optim.CosineSchedule(80)), epochs=4),
    "tanh": lambda: setup_of(mlp(16, 16, act=nn.Tanh, init="xavier"), epochs=6),
    "inputs from 0 to 1": lambda: setup_of(mlp(24), **sets(lambda x: (x + 4) / 8), epochs=4),
    "raw inputs into batch norm": lambda: setup_of(normalized(16), **sets(lambda x: 300 * x + 100)),
    "a column that is always 0, standardized away": lambda: with_standardizer(beside(lambda n: np.zeros((n, 1)))),
    "correlated columns": lambda: setup_of(mlp(16), **sets(lambda x: np.concatenate(
        [x, x[:, :2] + 0.05 * np.random.default_rng(3).normal(0, 1, (len(x), 2)).astype(np.float32)], axis=1))),
    "a slow running mean": lambda: setup_of(normalized(16, momentum=0.05), epochs=6),
    "a large ε": lambda: setup_of(normalized(16, eps=0.01)),
    "a quarter of the labels wrong": lambda: setup_of(mlp(8), **labelled(
        lambda y: np.where(np.arange(len(y)) % 4 == 0, np.random.default_rng(2).integers(0, 4, len(y)), y))),
    "skip connections": lambda: setup_of(nn.Sequential(
        nn.Linear(6, 16),
        *(nn.Residual(nn.Sequential(nn.Linear(16, 16), nn.BatchNorm1d(16), nn.ReLU())) for _ in range(6)),
        nn.Linear(16, 4)), optimizer=sgd(0.02)),
}  # fmt: skip


def with_standardizer(data: dict[str, Dataset]) -> Setup:
    model = mlp(16)
    model.standardizer = st.data.Standardizer.fit(data["train_set"].images)
    return setup_of(model, **data)


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_what_is_well_is_not_spoken_of(name: str) -> None:
    findings, _, trainer = trained(NEAR_MISSES[name]())
    assert not findings, repr(findings)
    assert trainer.history.accuracies[-1] is not None
    assert trainer.history.accuracies[-1] > 0.7, "a training that does not learn shows nothing here"


def first_of(setup: Setup) -> Finding:
    findings, _, _ = trained(setup)
    assert findings
    return findings[0]


def test_one_class() -> None:
    sorted_set = in_order(clouds(400))
    found = first_of(setup_of(mlp(8), train_set=sorted_set.subset(np.arange(60)), epochs=1))
    assert (found.kind, found.units, found.where) == ("one_class", (0,), "labels")
    assert "random" in found.remedy.text
    with pytest.raises(OptionError, match="by hand"):
        found.remedy.apply(setup_of(mlp(8)))


def test_labels_shuffled_by_distances_and_by_learning_them_by_heart() -> None:
    one, random = standardized(), np.random.default_rng(5)
    mixed = with_labels(one, random.permutation(one.labels))
    found = first_of(setup_of(mlp(8), train_set=mixed, epochs=1))
    assert (found.kind, found.cause) == ("labels_shuffled", "neighbours")
    both = with_labels(standardized(200, 1), random.permutation(standardized(200, 1).labels))
    found = first_of(setup_of(mlp(64, 64), train_set=mixed, validation=both, optimizer=optim.Adam(lr=0.01), epochs=30))
    assert (found.kind, found.cause) == ("labels_shuffled", "memorized")


def test_copies_of_a_feature_are_named() -> None:
    data = sets(lambda x: np.concatenate([x, np.repeat(x[:, 2:3], 5, axis=1), -2 * x[:, :1] + 1], axis=1))
    found = first_of(setup_of(mlp(8), **data, epochs=1))
    assert (found.kind, found.units) == ("duplicate_features", (6, 7, 8, 9, 10, 11))
    cured = found.remedy.apply(setup_of(mlp(8), **data))
    assert cured.train_set is not None
    assert cured.train_set.images.shape[1] == 6
    assert not trained(cured)[0]


def test_every_input_the_same() -> None:
    found = first_of(setup_of(mlp(8), **sets(lambda x: np.zeros_like(x)), epochs=1))
    assert (found.kind, found.cause) == ("constant_features", "all")


def test_leakage_exact_and_near_and_the_remedy_is_honest() -> None:
    train_set, fresh = standardized(), standardized(100, 1)
    twice = Dataset(np.concatenate([fresh.images, train_set.images[:30]]),
                    np.concatenate([fresh.labels, train_set.labels[:30]]), fresh.classes)  # fmt: skip
    setup = setup_of(mlp(8), validation=twice, epochs=1)
    found = first_of(setup)
    assert (found.kind, found.cause, found.where) == ("leakage", "exact", "validation")
    assert found.units == tuple(range(100, 130))
    cured = found.remedy.apply(setup)
    assert cured.validation is not None
    np.testing.assert_array_equal(cured.validation.images, fresh.images)
    shaken = with_inputs(twice, lambda x: x + np.where(np.arange(130) >= 100, 1e-3, 0)[:, None].astype(np.float32))
    found = first_of(setup_of(mlp(8), validation=shaken, epochs=1))
    assert (found.kind, found.cause) == ("leakage", "near")
    assert set(range(100, 130)) == set(found.units)
    few = twice.subset(np.arange(101))  # one of them: less than 1 %
    assert not trained(setup_of(mlp(8), validation=few, epochs=1))[0]


def test_overfitting_names_the_best_epoch() -> None:
    one = standardized(80)
    noise = np.random.default_rng(2)
    wrong = with_labels(one, np.where(noise.random(80) < 0.4, noise.integers(0, 4, 80), one.labels))
    setup = setup_of(mlp(64), train_set=wrong, optimizer=optim.Adam(lr=0.02), epochs=25)
    findings, _, trainer = trained(setup)
    assert [one.kind for one in findings] == ["overfitting"]
    losses = [loss for loss in (epoch.validation_loss for epoch in trainer.history) if loss is not None]
    best = int(np.argmin(losses)) + 1
    assert findings[0].evidence["best epoch"] == best
    assert findings[0].remedy.apply(trainer.setup).epochs == best


def test_rare_classes_that_are_never_predicted() -> None:
    one = standardized(600)
    rare = one.subset(np.flatnonzero((one.labels == 0) | (np.arange(600) % 40 == 0)))
    model = nn.Sequential(nn.Linear(6, 4))
    fault = setup_of(model, train_set=rare, validation=standardized(200, 1), optimizer=optim.SGD(lr=0.01), epochs=10)
    biased = with_inputs(rare, lambda x: 0.1 * x)
    fault = replace(fault, train_set=biased, validation=with_inputs(standardized(200, 1), lambda x: 0.1 * x))
    findings, _, trainer = trained(fault)
    assert (findings[0].kind, findings[0].cause) == ("constant_predictions", "imbalance")
    cured = findings[0].remedy.apply(trainer.setup)
    again, _, better = trained(cured)
    assert not [one for one in again if one.cause == "imbalance"]
    assert cured.validation is not None
    assert better.evaluate(cured.validation).accuracy > trainer.evaluate(cured.validation).accuracy


class Dropped(nn.Module):
    """A network with a layer that is never called, one before a comparison, and one whose result is not used."""

    def __init__(self) -> None:
        self.first = nn.Linear(6, 8)
        self.lost = nn.Linear(8, 8)
        self.dropped = nn.Linear(8, 8)
        self.last = nn.Linear(8, 4)

    def forward(self, x: Any) -> Any:
        h = self.first(x)
        self.dropped(h)
        return self.last(st.ops.cast(st.ops.greater(h, 0), "float32"))


def test_layers_that_are_not_connected() -> None:
    findings, _, _ = trained(setup_of(Dropped(), epochs=3))
    found = {one.cause: one for one in findings if one.kind == "no_gradient"}
    assert found["unused"].layers == ("lost", "dropped")
    assert found["zero"].layers == ("first",)


def test_weights_that_were_loaded_may_be_frozen() -> None:
    model = mlp(16, 16)
    before, _, trainer = trained(setup_of(model))
    assert not before
    state = trainer.model.state_dict()
    again = frozen(mlp(16, 16), 0, 2)
    again.load_state_dict(state)
    step = st.TrainingStep(again, nn.CrossEntropyLoss(), sgd(0.01))
    doctor = Doctor(step, standardized())
    assert not [one for one in doctor.begin() if one.kind == "no_gradient"]


def test_a_resumed_loop_examines_its_next_batch() -> None:
    data = standardized()
    x, y = data.images[:16], data.labels[:16]

    def of_loop() -> Doctor:
        return Doctor(st.TrainingStep(mlp(16), nn.CrossEntropyLoss(), sgd(0.01)))

    first = of_loop()
    first.before(x, y)
    first.trace.losses.append(2.0)  # as after a step
    first.trace.starts["0"] = 7.0
    again = of_loop()
    again.load_state_dict(first.state_dict())
    again.before(x, y)
    assert again.trace.structure is not None
    assert again.trace.data is not None
    assert again.trace.starts["0"] == 7.0  # of the weights before the first step


def test_batches_are_counted_as_the_loader_makes_them() -> None:
    five = Dataset(np.zeros((5, 2), np.float32), np.arange(5) % 2, ("a", "b"), "five")
    setup = Setup(mlp(4), nn.CrossEntropyLoss(), sgd(0.1), five, batch_size=4, epochs=3)
    with pytest.raises(OptionError, match="unknown option of Setup 'epoch'; did you mean 'epochs'"):
        setup.anew(epoch=2)
    assert TrainingTrace(setup).planned_steps == 3 * batch_count(5, 4) == 6


def test_narrow_relu_dies_of_its_activation_and_the_units_are_named() -> None:
    findings, before, trainer = trained(setup_of(mlp(*(4,) * 8), epochs=6))
    assert (findings[0].kind, findings[0].cause) == ("dead_units", "activation")
    watch = trainer.doctor.watch if trainer.doctor else None
    assert watch is not None
    assert findings[0].units
    layer = dict(trainer.model.named_modules())[findings[0].where]
    assert isinstance(layer, nn.ReLU)
    _, after, _ = trained(findings[0].remedy.apply(trainer.setup))
    assert after > before


def test_a_sum_instead_of_a_mean() -> None:
    setup = setup_of(mlp(16, 16), loss=nn.CrossEntropyLoss(reduction="sum"), epochs=2)
    found = first_of(setup)
    assert (found.kind, found.cause) == ("loss_at_start", "sum")
    assert found.remedy.apply(setup).loss.reduction == "mean"


def test_softmax_that_no_layer_shows() -> None:
    class Inside(nn.Module):
        def __init__(self) -> None:
            self.body = mlp(8)

        def forward(self, x: Any) -> Any:
            return st.ops.softmax(self.body(x))

    assert first_of(setup_of(Inside(), epochs=1)).kind == "softmax_twice"


def test_every_rule_is_tried() -> None:
    tried = {part.split(":")[0] for name in FAULTS for part in name.split("|")}
    tried |= {"one_class", "labels_shuffled", "duplicate_features", "leakage", "overfitting", "constant_predictions"}
    tried |= {"learning_rate_too_high", "dead_units", "extreme_range"}
    tried |= {"sorted_split", "other_inputs", "conflicting_labels"}  # test_data_rules.py
    tried |= {
        "one_output",
        "equal_start",
        "weight_decay",
        "schedule",
        "unscaled_targets",
        "unexplained",
    }  # test_course_rules.py
    assert tried == set(RULES)


def pictures(count: int = 160, seed: int = 0) -> Dataset:
    """Return pictures with a bright left or right half, with noise and mean 0."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 2, count)
    x = random.normal(0, 0.5, (count, 1, 8, 8)).astype(np.float32)
    x[labels == 0, :, :, :4] += 1
    return Dataset(x, labels, ("left", "right"))


def convolutional() -> nn.Sequential:
    convolutions = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()]
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(None, 2))


def hit(x: Array) -> Array:
    """Set one pixel of every twentieth picture to a huge value, as a broken sensor would."""
    x = x.copy()
    x[::20, 0, 3, 5] = 1e7
    return x


def found_before_training(setup: Setup) -> list[Finding]:
    step = st.TrainingStep(setup.model, setup.loss, setup.optimizer)
    return Doctor(step, setup.train_set, setup.validation).begin()


@pytest.mark.parametrize("fitted", [False, True])
def test_single_huge_pixels_are_found_first_and_clipped(fitted: bool) -> None:
    setup = setup_of(convolutional(), train_set=with_inputs(pictures(), hit), validation=pictures(80, 1))
    assert setup.train_set is not None
    if fitted:
        setup.model.standardizer = st.data.Standardizer.fit(setup.train_set.images)
    found = found_before_training(setup)[0]
    assert found.kind == "extreme_range"
    assert found.evidence["error"] > 1
    assert "STRIATE_WINOGRAD=off" in found.remedy.text
    cured = found.remedy.apply(setup)
    assert cured.train_set is not None
    assert np.abs(cured.train_set.images).max() < 200
    assert not found_before_training(cured)


def test_ranges_that_are_not_extreme() -> None:
    wide = with_inputs(pictures(), lambda x: np.sign(x) * np.exp(2 * np.abs(x)))  # heavy tails, up to some thousands
    sparse = with_inputs(pictures(), lambda x: np.where(np.random.default_rng(1).random(x.shape) < 0.005, x, 0))
    for harmless in (pictures(), wide, sparse):
        found = found_before_training(setup_of(convolutional(), train_set=harmless))
        assert "extreme_range" not in [one.kind for one in found]


def test_an_extreme_range_matters_to_tiles_alone() -> None:
    broken = {"train_set": with_inputs(pictures(), hit), "validation": None}
    linear = setup_of(nn.Sequential(nn.Flatten(), nn.Linear(None, 2)), **broken)
    assert "extreme_range" not in [one.kind for one in found_before_training(linear)]
    former = settings.override(winograd=False)
    try:
        found = found_before_training(setup_of(convolutional(), **broken))
    finally:
        settings.restore(former)
    assert "extreme_range" not in [one.kind for one in found]
