"""Callbacks, early stopping, the moving average, balanced class weights, and the search for a learning rate."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from striate import nn, optim
from striate.data import Dataset
from striate.errors import OptionError
from striate.train import Callback, EarlyStopping, Epoch, Trainer, balanced_weights, find_rate
from striate.train.progress import Moment, Plan


def data(count: int = 48, seed: int = 0) -> Dataset:
    random = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    images = random.normal(0, 1, (count, 4)).astype(np.float32)
    images[np.arange(count), labels] += 2
    return Dataset(images, labels, ("a", "b", "c"), "points")


def trainer(**options: Any) -> Trainer:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).initialize(0)
    rule = optim.SGD(lr=options.pop("lr", 0.1), momentum=0.9)
    return Trainer(model, nn.CrossEntropyLoss(), rule, batch_size=16, progress=False, doctor=False, **options)


class Diary(Callback):
    """Records its calls, and the weights after each epoch."""

    def __init__(self, stop_after: tuple[int, int] = (0, 0)) -> None:
        self.lines: list[str] = []
        self.weights: list[dict[str, np.ndarray]] = []
        self.stop_after = stop_after

    def begin(self, trainer: Trainer, plan: Plan) -> None:
        self.lines.append(f"begin {plan.epochs}")

    def after_batch(self, trainer: Trainer, moment: Moment) -> None:
        self.lines.append(f"batch {moment.epoch}.{moment.batch}")
        if (moment.epoch, moment.batch) == self.stop_after:
            trainer.stop("enough")

    def after_epoch(self, trainer: Trainer, epoch: Epoch) -> None:
        assert trainer.history.epochs[-1] is epoch
        self.lines.append(f"epoch {epoch.number}")
        with trainer.evaluated() as model:
            self.weights.append(model.state_dict())
        if (epoch.number, 0) == self.stop_after:
            trainer.stop("enough")

    def end(self, trainer: Trainer) -> None:
        self.lines.append("end")


def scripted(values: list[float], stopping: EarlyStopping, epochs: int = 0, **options: Any) -> tuple[Trainer, Diary]:
    """Run a training whose early stopping sees the given validation losses."""
    diary = Diary()
    one = trainer(callbacks=[diary, _Retold(stopping, values)], **options)
    one.fit(data(), data(12, 1), epochs=epochs or len(values))
    return one, diary


class _Retold(Callback):
    """Passes given values to early stopping instead of those of the training."""

    def __init__(self, stopping: EarlyStopping, values: list[float]) -> None:
        self.stopping, self.values = stopping, iter(values)

    def begin(self, trainer: Trainer, plan: Plan) -> None:
        self.stopping.begin(trainer, plan)

    def after_epoch(self, trainer: Trainer, epoch: Epoch) -> None:
        value = next(self.values)
        told = Epoch(epoch.number, epoch.loss, 1.0, 1.0, value, None if math.isnan(value) else -value, value)
        self.stopping.after_epoch(trainer, told)

    def end(self, trainer: Trainer) -> None:
        self.stopping.end(trainer)


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(array, b[name]) for name, array in a.items())


def test_callbacks_are_told_everything_in_order() -> None:
    diary = Diary()
    one = trainer(callbacks=[diary])
    one.fit(data(), epochs=2)
    epochs = [[f"batch {epoch}.{batch}" for batch in (1, 2, 3)] + [f"epoch {epoch}"] for epoch in (1, 2)]
    assert diary.lines == ["begin 2", *epochs[0], *epochs[1], "end"]
    one.fit(data(), epochs=1)
    assert diary.lines[-6:] == ["begin 3", "batch 3.1", "batch 3.2", "batch 3.3", "epoch 3", "end"]


@pytest.mark.parametrize(("where", "epochs", "steps"), [((2, 0), 2, 6), ((2, 2), 1, 5)])
def test_a_callback_stops_a_training(where: tuple[int, int], epochs: int, steps: int) -> None:
    """After an epoch, or within one, which then does not count."""
    diary = Diary(where)
    one = trainer(callbacks=[diary])
    history = one.fit(data(), epochs=5)
    assert (len(history), one.step.step_number, diary.lines[-1]) == (epochs, steps, "end")
    assert history.finished
    assert history.to_json()["stopped"] == history.stopped == "enough"
    one.callbacks = ()
    assert len(one.fit(data(), epochs=1)) == epochs + 1
    assert not one.history.stopped


def test_early_stopping_restores_the_best_weights() -> None:
    stopping = EarlyStopping(patience=2)
    one, diary = scripted([3.0, 1.0, 2.0, 1.5, 0.5, 0.4], stopping)
    assert len(one.history) == 4
    assert one.history.stopped == "validation_loss has not improved for 2 epochs"
    assert (stopping.best, stopping.best_value, one.history.kept) == (2, 1.0, 2)
    assert one.history.to_json()["kept"] == 2
    assert same(one.model.state_dict(), diary.weights[1])


@pytest.mark.parametrize("patience", [None, 9])
def test_the_best_weights_are_restored_when_patience_never_ran_out(patience: int | None) -> None:
    one, diary = scripted([3.0, 1.0, 2.0, 1.5], EarlyStopping(patience))
    assert len(one.history) == 4
    assert not one.history.stopped
    assert one.history.kept == 2
    assert same(one.model.state_dict(), diary.weights[1])


def test_nan_is_never_the_best() -> None:
    for values, best in (
        ([math.nan, 2.0, math.nan, 3.0], 2), ([2.0, math.nan, 1.0, math.nan], 3), ([math.nan] * 3, None),
    ):  # fmt: skip
        one, diary = scripted(values, stopping := EarlyStopping(None))
        assert stopping.best == best == one.history.kept
        assert same(one.model.state_dict(), diary.weights[-1 if best is None else best - 1])
    one, _ = scripted([2.0, math.nan, math.nan, 1.0], EarlyStopping(2))
    assert len(one.history) == 3


def test_small_improvements_keep_the_weights_but_not_the_patience() -> None:
    one, diary = scripted([1.0, 0.95, 0.9, 0.85, 0.5], stopping := EarlyStopping(3, min_delta=0.2))
    assert len(one.history) == 4
    assert stopping.best == 4
    assert same(one.model.state_dict(), diary.weights[3])


def test_a_larger_accuracy_is_better() -> None:
    """The accuracy passed on is minus the loss."""
    stopping = EarlyStopping(2, monitor="validation_accuracy")
    one, diary = scripted([3.0, 1.0, 2.0, 1.5], stopping)
    assert (stopping.best, stopping.best_value) == (2, -1.0)
    assert same(one.model.state_dict(), diary.weights[1])


@pytest.mark.parametrize(("monitor", "best"), [("validation_auc", 2), ("validation_r2", 2), ("validation_error", 1)])
def test_other_measures_are_monitored(monitor: str, best: int) -> None:
    stopping, one = EarlyStopping(None, monitor=monitor), trainer()
    for number, value in ((1, 0.5), (2, 0.75)):
        stopping.after_epoch(one, replace(Epoch(number, 1.0, 1.0, 1.0, 2.0), **{monitor: value}))
    assert stopping.best == best
    stopping.after_epoch(one, Epoch(3, 1.0, 1.0, 1.0, 2.0))  # as after predictions of NaN
    assert stopping.best == best
    with pytest.raises(OptionError, match=f"there is no {monitor} for these targets"):
        EarlyStopping(None, monitor=monitor).after_epoch(one, Epoch(1, 1.0, 1.0, 1.0, 2.0))


def test_the_training_loss_is_monitored_without_validation() -> None:
    stopping = EarlyStopping(None)
    one = trainer(callbacks=[stopping])
    history = one.fit(data(), epochs=3)
    assert stopping.best_value == min(history.losses)
    with pytest.raises(OptionError, match="there is no validation_accuracy without validation"):
        trainer(callbacks=[EarlyStopping(monitor="validation_accuracy")]).fit(data(), epochs=1)


def test_the_state_of_early_stopping_can_be_saved() -> None:
    values = [3.0, 1.0, 2.0, 1.5, 1.4]
    whole, _ = scripted(values, EarlyStopping(3))
    first, second = EarlyStopping(3), EarlyStopping(3)
    one, diary = scripted(values[:3], first)
    second.load_state_dict(first.state_dict())
    assert (second.best, second.best_value, second.waited) == (2, 1.0, 1)
    second.restore(one)
    assert same(one.model.state_dict(), diary.weights[1])
    assert len(whole.history) == 5
    with pytest.raises(OptionError, match="the state lacks best_value, reference, waited"):
        second.load_state_dict({"best": np.array(1.0)})


def test_the_moving_average_is_evaluated_and_kept() -> None:
    one, plain = trainer(ema=0.9), trainer()
    diary = Diary()
    one.callbacks = (diary,)
    histories = [each.fit(data(), data(12, 1), epochs=2) for each in (one, plain)]
    assert histories[0].losses == histories[1].losses
    assert histories[0].epochs[-1].validation_loss != histories[1].epochs[-1].validation_loss
    assert not same(one.model.state_dict(), plain.model.state_dict())
    assert same(one.model.state_dict(), diary.weights[-1])
    assert one.evaluate(data(12, 1)).loss == histories[0].epochs[-1].validation_loss
    histories = [each.fit(data(), data(12, 1), epochs=1) for each in (one, plain)]
    assert histories[0].losses == histories[1].losses


def test_the_best_of_the_averages_is_restored() -> None:
    stopping = EarlyStopping(None)
    one, diary = scripted([3.0, 1.0, 2.0], stopping, ema=0.8)
    assert same(one.model.state_dict(), diary.weights[1])
    one.step.use_average(False)
    assert not same(one.model.state_dict(), diary.weights[1])


def test_options_of_the_step_are_those_of_the_trainer() -> None:
    one = trainer(max_norm=1e-9, clip_value=0.1, accumulate=4)
    before = one.model.state_dict()
    one.fit(data(), epochs=1)
    after = one.model.state_dict()
    assert max(float(np.abs(after[name] - before[name]).max()) for name in ("0.weight", "3.weight")) < 1e-8
    assert after["1.num_batches_tracked"] == 12
    for wrong in ({"accumulate": 0}, {"ema": 2}, {"max_norm": 0}, {"clip_value": -1}):
        with pytest.raises(OptionError, match=next(iter(wrong))):
            trainer(**wrong)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: trainer(callbacks=[EarlyStopping]), "expected a Callback"),
        (lambda: trainer(callbacks=3), "callbacks=3; expected a list of callbacks"),
        (lambda: EarlyStopping(0), "patience=0; expected a whole number of 1 or more"),
        (lambda: EarlyStopping(min_delta=-1), "min_delta=-1; expected a finite number of 0 or more"),
        (lambda: EarlyStopping(monitor="accuracy"), "unknown monitor 'accuracy'\n  known: validation_loss"),
    ],
)
def test_wrong_callbacks_are_refused(make: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make()


def test_balanced_weights_give_every_class_the_same_share() -> None:
    labels = np.array([0] * 6 + [1] * 3 + [3])
    uneven = Dataset(np.zeros((10, 2), np.float32), labels, ("a", "b", "c", "d"), "uneven")
    weights = balanced_weights(uneven)
    np.testing.assert_allclose(weights, [10 / 18, 10 / 9, 1.0, 10 / 3])
    shares = [weights[c] * (labels == c).sum() for c in (0, 1, 3)]
    np.testing.assert_allclose(shares, 10 / 3)
    nn.CrossEntropyLoss(weight=weights)


def test_measured_targets_have_no_classes_to_balance() -> None:
    measured = Dataset(np.zeros((3, 2), np.float32), np.array([0.5, 1.5, 2.0]), name="measured")
    with pytest.raises(OptionError, match="has no class numbers"):
        balanced_weights(measured)


def test_measured_targets_are_weighted_averaged_and_stopped() -> None:
    """All options together on a regression; the sample weights exclude the wrong targets."""
    random = np.random.default_rng(0)
    x = random.standard_normal((64, 3)).astype(np.float32)
    y = x @ np.array([[1.0], [-2.0], [0.5]], np.float32)
    wrong = np.arange(64) % 4 == 0
    train_set = Dataset(x, np.where(wrong[:, None], 50, y).astype(np.float32), name="measured")
    held_out = Dataset(x, y, name="held out")
    stopping = EarlyStopping(3)
    one = Trainer(
        nn.Sequential(nn.Linear(3, 1)).initialize(0), nn.MSELoss(), optim.Adam(lr=0.05), batch_size=16, progress=False,
        doctor=False, accumulate=2, ema=0.8, max_norm=10.0, callbacks=[stopping],
    )  # fmt: skip
    history = one.fit(train_set, held_out, epochs=60, sample_weight=~wrong)
    assert one.evaluate(held_out).loss == pytest.approx(stopping.best_value, rel=1e-5)
    assert stopping.best_value < 1e-2
    assert history.losses[-1] < 0.1


def test_the_search_finds_a_rate_that_learns_and_changes_nothing() -> None:
    one = trainer()
    before = one.model.state_dict()
    search = find_rate(one.model, nn.CrossEntropyLoss(), optim.SGD(lr=1.0, momentum=0.9), data(), batch_size=16)
    assert same(one.model.state_dict(), before)
    assert len(search.rates) == len(search.losses) == len(search.smoothed) <= 100
    np.testing.assert_allclose(search.rates[:3], 1e-6 * (1e7 ** (1 / 99)) ** np.arange(3), rtol=1e-12)
    assert search.smoothed[0] == pytest.approx(search.losses[0])
    found = search.suggestion
    assert found is not None
    assert 1e-3 < found < 10
    history = trainer(lr=found).fit(data(), epochs=8)
    assert history.losses[-1] < 0.5 * history.losses[0]


def test_the_search_ends_where_the_training_breaks_down() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3)).initialize(0)
    search = find_rate(model, nn.CrossEntropyLoss(), optim.SGD(lr=1.0), data(), least=1.0, most=1e30, steps=50)
    assert 0 < len(search.rates) < 50
    assert np.isfinite(search.losses).all()
    for wrong, message in (
        ({"least": 0}, "least=0"), ({"least": 1.0, "most": 0.5}, "expected least < most"), ({"steps": 2}, "steps=2"),
        ({"smoothing": 1.0}, "smoothing=1.0"), ({"seed": -1}, "seed=-1"),
    ):  # fmt: skip
        with pytest.raises(OptionError, match=message):
            find_rate(model, nn.CrossEntropyLoss(), optim.SGD(lr=1.0), data(), **wrong)  # type: ignore[arg-type]
