"""Rules about the last layer, the initialization, and the course of a training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import striate as st
from striate import nn, optim
from striate.data import Dataset
from striate.doctor import Doctor, Finding, Findings, Remedy, Setup, Severity
from striate.doctor.ranking import ranked
from striate.doctor.rules.progress import fall_of
from striate.errors import LabelError, NonFiniteError
from striate.train import Trainer
from tests.doctor.trainings import clouds, mlp, normalized, setup_of, standardized, trained, with_inputs

Array = np.ndarray[Any, Any]


class OwnLoss(nn.Loss):
    """−mean (y log p + (1 − y) log(1 − p)) for probabilities p"""

    def forward(self, p: Any, y: Any) -> Any:
        kept = st.ops.minimum(st.ops.maximum(p, 1e-6), 1 - 1e-6)
        return -st.ops.mean(y * st.ops.log(kept) + (1.0 - y) * st.ops.log(1.0 - kept))

    def target(self, y: Any, n: int, dtype: Any) -> Array:
        return np.asarray(y, dtype).reshape(n, 1)


def binary(share: float = 0.5, count: int = 640) -> tuple[Array, Array]:
    """Return two overlapping clouds of 4-dimensional points; y = 1 has the given share."""
    random = np.random.default_rng(7)
    y = (random.random((count, 1)) < share).astype(np.float32)
    return (random.normal(0, 1, (count, 4)) + 0.8 * y).astype(np.float32), y


def looped(
    model: nn.Module, loss: nn.Loss, rule: optim.Optimizer, x: Array, y: Array, epochs: int = 4
) -> tuple[Findings, Doctor]:
    """Train with a hand-written loop, and return the findings and the doctor."""
    doctor = Doctor(st.TrainingStep(model.initialize(3), loss, rule))
    try:
        for _ in range(epochs):
            for start in range(0, len(x), 32):
                doctor(x[start : start + 32], y[start : start + 32])
            doctor.end_of_epoch()
    except NonFiniteError as error:
        doctor.broke_down(error)
    return doctor.finish(), doctor


def causes(findings: Findings) -> list[tuple[str, str]]:
    return [(one.kind, one.cause) for one in findings if not one.because]


# The end of the network


@pytest.mark.parametrize("loss", [nn.MSELoss(), OwnLoss()], ids=["MSE", "BCE"])
def test_softmax_over_one_unit(loss: nn.Loss) -> None:
    x, y = binary()
    model = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1), nn.Softmax())
    findings, doctor = looped(model, loss, optim.Adam(lr=0.01), x, y)
    assert causes(findings) == [("one_output", "softmax")]
    cured = findings[0].remedy.apply(doctor.setup)
    assert isinstance(dict(cured.model.named_modules())["3"], nn.Sigmoid)
    again, _ = looped(cured.model, loss, optim.Adam(lr=0.01), x, y)
    assert not again, repr(again)


def test_one_output_for_two_classes_ends_in_a_network_that_trains() -> None:
    x, y = binary()
    data = Dataset(x, y[:, 0].astype(np.int64), ("no", "yes"))
    setup = setup_of(nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 1), nn.Softmax()), train_set=data,
                     validation=None)  # fmt: skip
    trainer = Trainer(setup.model, setup.loss, setup.optimizer, progress=False)
    with pytest.raises(LabelError):
        trainer.fit(data, epochs=1)
    assert causes(trainer.findings) == [("one_output", "classes")]
    cured = trainer.findings[0].remedy.apply(trainer.setup)
    again, _, better = trained(replace(cured, train_set=data.subset(np.arange(400)),
                                       validation=data.subset(np.arange(400, 640))))  # fmt: skip
    assert not again
    assert better.history.accuracies[-1] is not None
    assert better.history.accuracies[-1] > 0.65


@pytest.mark.parametrize(("end", "caught"), [(nn.Tanh(), True), (nn.ReLU(), True), (None, False)])
def test_targets_out_of_reach_of_the_last_activation(end: nn.Module | None, caught: bool) -> None:
    random = np.random.default_rng(2)
    x = random.uniform(-2, 2, (640, 2)).astype(np.float32)
    body = [nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1)]
    model = nn.Sequential(*body, end) if end is not None else nn.Sequential(*body)
    findings, doctor = looped(model, nn.MSELoss(), optim.Adam(lr=0.01), x, x.sum(axis=1, keepdims=True))
    assert (("bounded_outputs", "targets") in causes(findings)) is caught, repr(findings)
    if caught:
        assert isinstance(dict(findings[0].remedy.apply(doctor.setup).model.named_modules())["3"], nn.Identity)


def test_log_softmax_before_the_loss_does_no_harm() -> None:
    class Logs(nn.Module):
        def __init__(self) -> None:
            self.body = mlp(16)

        def forward(self, x: Any) -> Any:
            return st.ops.log_softmax(self.body(x))

    findings, accuracy, _ = trained(setup_of(Logs()))
    assert not findings
    assert accuracy > 0.8


def test_a_rare_class_under_a_loss_of_ones_own() -> None:
    x, y = binary(0.05, 1280)
    model = nn.Sequential(nn.Linear(4, 1), nn.Sigmoid())
    findings, _ = looped(model, OwnLoss(), optim.SGD(lr=0.1, momentum=0.9), 0.3 * x, y, epochs=6)
    assert causes(findings) == [("constant_predictions", "imbalance")]
    assert "w = st.ops.where" in findings[0].remedy.code
    slow, _ = looped(nn.Sequential(nn.Linear(4, 1), nn.Sigmoid()), OwnLoss(), optim.SGD(lr=1e-4), x, y, epochs=3)
    assert ("constant_predictions", "imbalance") not in causes(slow), "the rate is why"
    well, _ = looped(nn.Sequential(nn.Linear(4, 1), nn.Sigmoid()), OwnLoss(), optim.Adam(lr=0.02), *binary(0.4))
    assert not well, repr(well)


def test_all_gradients_zero_is_spoken_of() -> None:
    class Clipped(nn.Module):
        def __init__(self) -> None:
            self.body = nn.Linear(4, 1)

        def forward(self, x: Any) -> Any:
            return st.ops.minimum(st.ops.maximum(self.body(x), 50.0), 60.0)

    x, y = binary()
    findings, _ = looped(Clipped(), nn.MSELoss(), optim.SGD(lr=0.01), x, y)
    assert causes(findings)[0] == ("no_gradient", "everywhere")


# The start


@pytest.mark.parametrize("number", [0.0, 0.1])
def test_units_that_start_as_copies(number: float) -> None:
    def constant(shape: tuple[int, ...], fan_in: int, random: np.random.Generator) -> Array:
        return np.full(shape, number)

    model = nn.Sequential(nn.Linear(6, 16, init=constant), nn.Tanh(), nn.Linear(16, 4, init=constant))
    findings, accuracy, trainer = trained(setup_of(model))
    assert findings[0].kind == "equal_start"
    again, better, _ = trained(findings[0].remedy.apply(trainer.setup))
    assert not again
    assert better > accuracy
    alone = nn.Sequential(nn.Linear(6, 16, init="he"), nn.Tanh(), nn.Linear(16, 4, init=constant))
    assert not trained(setup_of(alone))[0], "a last layer of zeros is usual"


@dataclass(frozen=True)
class Holder:
    """An object whose attributes a module does not register."""

    layers: list[nn.Module]


def test_layers_that_no_module_holds() -> None:
    class Listed(nn.Module):
        def __init__(self) -> None:
            self.hidden = Holder([nn.Linear(6, 8), nn.Tanh()])
            self.last = nn.Linear(8, 4)

        def forward(self, x: Any) -> Any:
            for layer in self.hidden.layers:
                x = layer(x)
            return self.last(x)

    findings, _, _ = trained(setup_of(Listed(), epochs=1))
    assert causes(findings)[0] == ("no_gradient", "unregistered")
    assert "1 layer that forward calls (nn.Linear) is not part of the model" in findings[0].message


# The optimizer


def test_momentum_and_not_the_rate() -> None:
    setup = setup_of(mlp(24, 24), optimizer=optim.SGD(lr=0.03, momentum=0.999), epochs=6)
    findings, _, trainer = trained(setup)
    assert causes(findings)[0] == ("learning_rate_too_high", "momentum")
    cured = findings[0].remedy.apply(trainer.setup)
    assert cured.optimizer == optim.SGD(lr=0.03, momentum=0.9)
    assert not trained(cured)[0]


def test_weights_that_exploded_are_not_moved_too_little() -> None:
    setup = setup_of(mlp(24, 24), optimizer=optim.SGD(lr=30.0), epochs=4)
    kinds = {one.kind for one in trained(setup)[0]}
    assert "learning_rate_too_low" not in kinds
    assert kinds & {"learning_rate_too_high", "dead_units"}


def test_weights_that_decay_faster_than_they_learn() -> None:
    setup = setup_of(mlp(24, act=nn.Tanh), optimizer=optim.SGD(lr=0.05, momentum=0.9, weight_decay=1.0), epochs=5)
    findings, accuracy, trainer = trained(setup)
    assert causes(findings)[0] == ("weight_decay", "")
    cured = findings[0].remedy.apply(trainer.setup)
    assert cured.optimizer == optim.SGD(lr=0.05, momentum=0.9, weight_decay=5e-4)
    again, better, _ = trained(cured)
    assert not again
    assert better >= accuracy
    usual = optim.SGD(lr=0.05, momentum=0.9, weight_decay=5e-3)
    assert not trained(setup_of(mlp(24, act=nn.Tanh), optimizer=usual, epochs=5))[0]


def test_a_schedule_that_counts_epochs() -> None:
    rule = optim.SGD(lr=0.05, momentum=0.9, schedule=optim.CosineSchedule(3))
    findings, accuracy, trainer = trained(setup_of(mlp(24), optimizer=rule))
    assert causes(findings) == [("schedule", "")]
    cured = findings[0].remedy.apply(trainer.setup)
    assert cured.optimizer.schedule == optim.CosineSchedule(60)
    again, better, _ = trained(cured)
    assert not again
    assert better > accuracy


def test_targets_of_another_size() -> None:
    random = np.random.default_rng(5)
    x = random.normal(0, 1, (640, 3)).astype(np.float32)
    y = (x[:, :1] + 0.5 * x[:, 1:2]).astype(np.float32)
    findings, _ = looped(mlp(16, classes=1), nn.MSELoss(), optim.SGD(lr=0.02), x, 2e5 * y + 4e5)
    assert causes(findings)[0] == ("unscaled_targets", "")
    assert "y = (y - " in findings[0].remedy.code
    assert not looped(mlp(16, classes=1), nn.MSELoss(), optim.SGD(lr=0.02, momentum=0.9), x, y)[0]


# Normalization


def moved(setup: Setup) -> Setup:
    return replace(setup, train_set=with_inputs(standardized(), lambda x: x + 6),
                   validation=with_inputs(standardized(200, 1), lambda x: x + 6))  # fmt: skip


@pytest.mark.parametrize(
    ("momentum", "rate", "options", "cause"),
    [(0.01, 0.02, {"epochs": 2}, "momentum"), (0.1, 0.05, {"epochs": 1, "batch_size": 20}, "steps")],
)
def test_running_statistics_that_have_not_converged(
    momentum: float, rate: float, options: dict[str, int], cause: str
) -> None:
    model, rule = normalized(16, 16, momentum=momentum), optim.SGD(lr=rate, momentum=0.9)
    setup = moved(setup_of(model, optimizer=rule, **options))
    findings, accuracy, trainer = trained(setup)
    first = findings[0]
    assert (first.kind, first.cause, first.where) == ("stale_statistics", cause, "1")
    assert first.evidence["left of the start"] > 0.1
    again, better, _ = trained(first.remedy.apply(trainer.setup))
    assert better > accuracy
    assert "stale_statistics" not in {one.kind for one in again}


def test_running_statistics_of_the_last_small_batch() -> None:
    setup = setup_of(normalized(16, 16, momentum=0.95), batch_size=4, optimizer=optim.SGD(lr=0.02, momentum=0.9))
    findings, _, _ = trained(setup)
    assert causes(findings)[0] == ("stale_statistics", "noise")


# Without a reason


def test_slow_learning_gets_a_number_of_epochs() -> None:
    falling = [2.3 - 1e-4 * i + 0.01 * np.sin(i) for i in range(300)]
    assert fall_of(falling)[0] == pytest.approx(1e-4, rel=0.2)
    fall, error = fall_of([2.3 + 0.05 * np.cos(37 * i) for i in range(300)])
    assert abs(fall) < 3 * error
    flat = setup_of(mlp(16), train_set=with_labels_of(clouds(320), 1), validation=with_labels_of(clouds(200, 1), 2),
                    optimizer=optim.SGD(lr=0.005), batch_size=8)  # fmt: skip
    findings, _, _ = trained(flat)
    assert {one.kind for one in findings} <= {"labels_shuffled", "unexplained", "unstandardized_input"}


def with_labels_of(dataset: Dataset, seed: int) -> Dataset:
    """Return the data set with random labels."""
    labels = np.random.default_rng(seed).integers(0, 4, len(dataset))
    return Dataset(dataset.images, labels, dataset.classes, dataset.name)


def test_not_knowing_gives_way_to_any_reason() -> None:
    def finding(kind: str, cause: str = "") -> Finding:
        return Finding(kind, Severity.WARNING, "x", (), 0.5, {}, kind, "why", Remedy("text"), cause)

    alone = ranked([finding("unexplained", "slow"), finding("constant_predictions", "unknown")])
    assert [(one.kind, one.because) for one in alone] == [("unexplained", ""), ("constant_predictions", "unexplained")]
    known = ranked([finding("unexplained", "slow"), finding("learning_rate_too_low")])
    assert [one.kind for one in known] == ["learning_rate_too_low"]


def test_remedies_name_options_where_the_command_line_has_them() -> None:
    setup = setup_of(mlp(*(16,) * 9, act=nn.Sigmoid, init="xavier"), epochs=6)
    options = ("--activation", "--norm", "--lr")
    trainer = Trainer(setup.model, setup.loss, setup.optimizer, batch_size=16, progress=False, options=options)
    assert setup.train_set is not None
    trainer.fit(setup.train_set, setup.validation, epochs=6)
    first = trainer.findings[0]
    assert first.remedy.command == "--activation leaky_relu --norm before_activation"
    for text in (first.brief, first.text()):
        assert "on the command line: --activation leaky_relu --norm before_activation" in text
        assert "nn.LeakyReLU" not in text
    findings, _, _ = trained(setup_of(mlp(*(16,) * 9, act=nn.Sigmoid, init="xavier"), epochs=6))
    assert findings[0].remedy.command == ""
    assert "nn.LeakyReLU" in findings[0].brief
