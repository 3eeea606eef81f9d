"""Trainer: it learns, repeats itself bit for bit, reports its progress, and stops when it must."""

from __future__ import annotations

import io
import json
import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from rich.console import Console

from striate import nn, optim
from striate.data import Dataset, Standardizer
from striate.errors import DataError, NonFiniteError, OptionError, ShapeError
from striate.train import Trainer, evaluate
from striate.train.display import Live
from striate.train.epoch_loss import EpochLoss
from striate.train.evaluation import log_softmax
from striate.train.notebook import history_html
from striate.train.progress import Lines, Moment, Plan, chosen_progress
from striate.train.requirement import matched


def stripes(count: int = 60, seed: int = 0) -> Dataset:
    """Return pictures with a bright column (class 0) or a bright row (class 1)."""
    random = np.random.default_rng(seed)
    images = random.normal(0, 0.1, (count, 1, 6, 6)).astype(np.float32)
    labels = np.arange(count) % 2
    for image, label, place in zip(images, labels, random.integers(0, 6, count)):
        image[0, place if label else slice(None), slice(None) if label else place] += 1
    return Dataset(images, labels, ("column", "row"), "stripes")


def net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Dropout(0.1),
        nn.Linear(None, 2),
    )  # fmt: skip


def trainer(model: nn.Module | None = None, progress: Any = False, **options: Any) -> Trainer:
    rule = optim.SGD(lr=options.pop("lr", 0.1), momentum=0.9)
    return Trainer(model or net(), nn.CrossEntropyLoss(), rule, batch_size=16, progress=progress, **options)


def test_it_learns_and_says_so() -> None:
    one = trainer()
    history = one.fit(stripes(), stripes(20, 1), epochs=8)
    assert len(history) == 8
    assert history.finished
    assert history.losses[-1] < 0.2 * history.losses[0]
    last = history.epochs[-1]
    assert last.validation_accuracy is not None
    assert last.validation_accuracy >= 0.95
    assert last.images_per_second > 0
    document = json.loads(json.dumps(history.to_json(), allow_nan=False))
    assert document["epochs"][7]["number"] == 8
    assert one.evaluate(stripes(20, 1)).accuracy == last.validation_accuracy


def test_the_same_seed_gives_the_same_bits_and_another_one_another_model() -> None:
    def trained(seed: int, progress: Any = False) -> dict[str, Any]:
        one = trainer(seed=seed, progress=progress)
        one.fit(stripes(), epochs=2)
        return one.model.state_dict()

    first = trained(1)
    for again in (trained(1), trained(1, Live(Console(file=io.StringIO(), force_terminal=True)))):
        for name, array in first.items():
            np.testing.assert_array_equal(again[name], array)  # also where a live display samples accuracies
    assert any((trained(2)[name] != array).any() for name, array in first.items())


def test_two_calls_are_one_longer_training() -> None:
    whole, parts = trainer(), trainer()
    whole.fit(stripes(), epochs=3)
    parts.fit(stripes(), epochs=1)
    history = parts.fit(stripes(), epochs=2)
    assert [epoch.number for epoch in history] == [1, 2, 3]
    assert history.losses == whole.history.losses


class Recording(Lines):
    """Records its calls."""

    def __init__(self) -> None:
        super().__init__(io.StringIO())
        self.moments: list[Moment] = []

    def batch(self, moment: Moment) -> None:
        self.moments.append(moment)


LOSSES: dict[str, Callable[[], nn.Loss]] = {
    "plain": nn.CrossEntropyLoss,
    "weights": lambda: nn.CrossEntropyLoss(weight=np.array([1.0, 10.0])),
    "smoothing": lambda: nn.CrossEntropyLoss(label_smoothing=0.2),
    "both": lambda: nn.CrossEntropyLoss(np.array([1.0, 10.0]), label_smoothing=0.2),
    "sum": lambda: nn.CrossEntropyLoss(reduction="sum"),
    "weighted sum": lambda: nn.CrossEntropyLoss(np.array([1.0, 10.0]), reduction="sum"),
}


def _skewed(count: int = 37) -> Dataset:
    """Return data with few samples of class 1, so that the class weights of batches differ."""
    random = np.random.default_rng(0)
    return Dataset(random.standard_normal((count, 1, 4, 4)), (random.random(count) < 0.2).astype(int), ("a", "b"))


@pytest.mark.parametrize("name", LOSSES)
def test_the_training_loss_is_the_validation_loss_for_any_batch_size(name: str) -> None:
    data = _skewed()
    found: list[float] = []
    for size in (5, 8, 36, 37, 64):  # 36 makes batches of 18 and 19
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).initialize(3)
        one = Trainer(model, LOSSES[name](), optim.SGD(lr=1e-30), batch_size=size, progress=False, doctor=False)
        (epoch,) = one.fit(data, data, epochs=1)
        assert epoch.validation_loss is not None
        found += [epoch.loss, epoch.validation_loss]
        logits = model(data.images)
        entropy = -log_softmax(logits)[np.arange(37), data.labels].mean()
        assert one.evaluate(data).cross_entropy == pytest.approx(entropy, rel=1e-6)
        if name == "plain":
            assert epoch.validation_cross_entropy is None
            assert epoch.validation_loss == pytest.approx(entropy, rel=1e-6)
        else:
            assert epoch.validation_cross_entropy == pytest.approx(entropy, rel=1e-6)
    exact = _written_out(name, log_softmax(logits), data.labels)
    np.testing.assert_allclose(found, exact, rtol=1e-6)


def _written_out(name: str, logs: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> float:
    """Return the reported loss by its equation: Σ w·l / Σ w, or Σ w·l / N for a sum."""
    weights = np.array([1.0, 10.0]) if name in ("weights", "both", "weighted sum") else np.ones(2)
    smoothing = 0.2 if name in ("smoothing", "both") else 0.0
    targets = (1 - smoothing) * np.eye(2)[labels] + smoothing / 2
    total = -(targets * weights * logs).sum()
    return float(total / (len(labels) if "sum" in name else weights[labels].sum()))


@pytest.mark.parametrize("name", LOSSES)
def test_a_validation_sample_counts_as_often_as_its_weight(name: str) -> None:
    data = _skewed()
    weights = np.arange(37) % 3
    repeated = data.subset(np.repeat(np.arange(37), weights))
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).initialize(3)
    one = Trainer(model, LOSSES[name](), optim.SGD(lr=1e-30), batch_size=8, progress=False, doctor=False)
    one.fit(data, data, epochs=1, validation_weight=weights)
    one.fit(data, repeated, epochs=1)
    assert one.history[0].validation_loss == pytest.approx(one.history[1].validation_loss, rel=1e-6)
    assert one.history[0].validation_cross_entropy == pytest.approx(one.evaluate(data).cross_entropy, rel=1e-6)
    if name == "plain":
        with pytest.raises(OptionError, match="validation_weight without validation data"):
            one.fit(data, epochs=1, validation_weight=weights)
        whole = Trainer(model, lambda x, y: LOSSES["plain"]()(x, y) + 0, optim.SGD(), progress=False, doctor=False)
        with pytest.raises(OptionError, match="no loss of each sample, so held-out samples cannot be weighted"):
            whole.fit(data, data, epochs=1, validation_weight=weights)


def test_the_loss_of_a_regression_is_a_mean_over_samples_too() -> None:
    values = np.random.default_rng(0).standard_normal((11, 2)).astype(np.float32)
    for reduction, exact in (("mean", float((values**2).mean())), ("sum", float((values**2).sum()) / 11)):
        loss = nn.MSELoss(reduction=reduction)
        epoch = EpochLoss(loss)
        for part in (values[:7], values[7:10], values[10:]):
            epoch.add(float(loss(np.zeros_like(part), part)), part)
        assert epoch.value == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize(
    ("samples", "sizes"),
    [(60, [15, 15, 15, 15]), (50, [12, 13, 12, 13]), (16, [16]), (17, [8, 9]), (24, [12, 12]), (2, [2])],
)
def test_every_sample_is_learned_from_in_batches_of_about_one_size(samples: int, sizes: list[int]) -> None:
    seen = Recording()
    one = trainer(progress=seen)
    one.fit(stripes(samples), epochs=1)
    assert one.step.step_number == len(sizes)
    assert np.diff([0, *(moment.samples for moment in seen.moments)]).tolist() == sizes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size=0; expected a whole number of 1 or more"),
        ({"batch_size": 2.5}, "batch_size=2.5"),
        ({"batch_size": True}, "batch_size=True"),
        ({"seed": -1}, "seed=-1; expected a whole number from 0 to 2⁶⁴ − 1"),
        ({"seed": 2**64}, "seed=18446744073709551616"),
        ({"seed": 1.5}, "seed=1.5"),
        ({"seed": None}, "seed=None"),
        ({"shuffle": "no"}, "shuffle='no'; expected True or False"),
        ({"doctor": 3}, "doctor=3; expected True or False"),
        ({"watch": "*"}, r"watch='\*'; expected True or False"),
        ({"progress": None}, "progress=None; expected True or False"),
        ({"progress": "lines"}, "progress='lines'"),
        ({"leave": 3}, "leave=3; expected a function"),
        ({"record": 3}, "record=3; expected a path"),
        ({"record": ""}, "record=''; expected a path"),
        ({"precision": "float16"}, "unknown precision 'float16'"),
    ],
)
def test_options_that_have_no_meaning_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Trainer(net(), nn.CrossEntropyLoss(), optim.SGD(lr=0.1), **options)


@pytest.mark.parametrize("epochs", [0, -1, 2.5, True, None, "2"])
def test_a_number_of_epochs_that_has_no_meaning_is_refused(epochs: Any) -> None:
    with pytest.raises(OptionError, match=r"epochs=.*; expected a whole number of 1 or more"):
        trainer().fit(stripes(), epochs=epochs)


@pytest.mark.parametrize("data", [None, stripes().images, (stripes().images, stripes().labels)])
def test_what_is_not_a_data_set_is_refused(data: Any) -> None:
    help = r"\n  help: st\.data\.Dataset\(images, labels\)"
    with pytest.raises(OptionError, match=f"the training set: expected a Dataset, not {type(data).__name__}{help}"):
        trainer().fit(data, epochs=1)
    if data is not None:
        with pytest.raises(OptionError, match="validation: expected a Dataset"):
            trainer().fit(stripes(), data, epochs=1)
    with pytest.raises(OptionError, match=help):
        evaluate(net(), data)


def test_classes_of_the_validation_data_are_matched_by_name() -> None:
    images = np.zeros((3, 2), np.float32)
    train_set = Dataset(images, np.array([0, 1, 2]), ("a", "b", "c"), "training")
    found = matched(Dataset(images, np.array([0, 0, 1]), ("c", "a"), "validation"), train_set)
    assert (found.labels.tolist(), found.classes) == ([2, 2, 0], ("a", "b", "c"))
    numbered = Dataset(images, np.array([1, 0, 1]), ("0", "1"), "validation")
    assert matched(numbered, train_set).labels.tolist() == [1, 0, 1]
    with pytest.raises(DataError, match="does not know the class d"):
        matched(Dataset(images, np.array([0, 0, 1]), ("c", "d"), "validation"), train_set)


def test_validation_data_that_do_not_fit_are_refused() -> None:
    other = Dataset(np.zeros((4, 1, 5, 5), np.float32), np.zeros(4, np.int64), ("a", "b"))
    with pytest.raises(ShapeError, match="validation"):
        trainer().fit(stripes(), other, epochs=1)


def test_a_breakdown_names_the_remedy_and_keeps_the_model_finite() -> None:
    one = trainer(nn.Sequential(nn.Flatten(), nn.Linear(None, 2)), lr=1e38)
    with pytest.raises(NonFiniteError, match="learning rate"):
        one.fit(stripes(), epochs=3)
    assert not one.history.finished
    assert all(np.isfinite(array).all() for array in one.model.state_dict().values())


class Interrupting(Lines):
    """Sends Ctrl-C after the second step."""

    def __init__(self, thread: bool = False) -> None:
        super().__init__(io.StringIO())
        self.steps = 0

    def batch(self, moment: Moment) -> None:
        self.steps += 1
        if self.steps == 2:
            os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_is_raised_after_the_step() -> None:
    before = signal.getsignal(signal.SIGINT)
    one = trainer(progress=Interrupting())
    with pytest.raises(KeyboardInterrupt):
        one.fit(stripes(), epochs=3)
    assert one.step.step_number == 2
    assert not one.history.finished
    assert signal.getsignal(signal.SIGINT) is before
    straight = trainer(progress=False)
    for number, (x, y) in enumerate(_first_batches(2)):
        straight.step(x, y)
        assert straight.step.step_number == number + 1
    for name, array in straight.model.state_dict().items():
        np.testing.assert_array_equal(one.model.state_dict()[name], array)


def _first_batches(count: int) -> list[tuple[Any, Any]]:
    from striate.data import batches

    return [(x, y) for x, y, _ in list(batches(stripes(), 16, seed=0, epoch=0))[:count]]


def test_a_second_ctrl_c_leaves_at_once() -> None:
    left: list[int] = []

    class Twice(Interrupting):
        def batch(self, moment: Moment) -> None:
            super().batch(moment)
            if self.steps == 2:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        trainer(progress=Twice(), leave=left.append).fit(stripes(), epochs=1)
    assert left == [130]
    with pytest.raises(KeyboardInterrupt):
        trainer(progress=Twice()).fit(stripes(), epochs=1)


def test_training_in_another_thread_leaves_signals_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    one = trainer()
    thread = threading.Thread(target=lambda: one.fit(stripes(), epochs=1))
    thread.start()
    thread.join()
    assert one.history.finished
    assert signal.getsignal(signal.SIGINT) is before


def test_lines_for_pipes() -> None:
    stream = io.StringIO()
    trainer(progress=Lines(stream)).fit(stripes(), stripes(20, 1), epochs=2)
    first, *epochs = stream.getvalue().splitlines()
    assert first == "60 images, 2 epochs of 4 batches of up to 16"
    assert epochs[1].startswith("epoch 2/2  loss ")
    assert " %  " in epochs[1]
    assert len(epochs) == 2
    stream.truncate(stream.seek(0))
    trainer(progress=Lines(stream)).fit(stripes(16), epochs=1)
    assert stream.getvalue().splitlines()[0] == "16 images, 1 epoch of 1 batch of up to 16"


def test_the_plain_cross_entropy_stands_beside_a_weighted_loss() -> None:
    data, stream = _skewed(), io.StringIO()
    rule, loss = optim.SGD(lr=0.0), nn.CrossEntropyLoss(np.array([1.0, 10.0]))
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    one = Trainer(model, loss, rule, batch_size=16, progress=Lines(stream), doctor=False)
    history = one.fit(data, data, epochs=1)
    (epoch,) = history
    shown = f"held-out loss {epoch.validation_loss:.4f} (cross entropy {epoch.validation_cross_entropy:.4f})"
    assert f"epoch 1/1  loss {epoch.loss:.4f}  {shown}, accuracy" in stream.getvalue()
    assert "held-out cross entropy" in history_html(history)


@pytest.mark.parametrize("width", [30, 60, 120])
def test_the_live_display_fits_any_width(width: int) -> None:
    stream = io.StringIO()
    live = Live(Console(file=stream, force_terminal=True, width=width))
    trainer(progress=live).fit(stripes(), stripes(20, 1), epochs=2)
    assert "epoch 2/2" in stream.getvalue()
    live.start(Plan(3, 4, 60, 16))
    live.batch(Moment(3, 1, 16, 0.25, 1234.0, 0.5))
    live.stop()
    live.stop()


def test_progress_is_chosen_by_where_it_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", io.StringIO())
    assert isinstance(chosen_progress(True), Lines)
    terminal = io.StringIO()
    terminal.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stderr", terminal)
    assert isinstance(chosen_progress(True), Live)
    assert not chosen_progress(False).live
    lines = Lines()
    assert chosen_progress(lines) is lines


def test_validation_far_from_the_training_data_is_one_line() -> None:
    model, far = net(), stripes(20, 1).images.copy()
    model.standardizer = Standardizer.fit(stripes().images)
    stream = io.StringIO()
    trainer(model, progress=Lines(stream)).fit(stripes(), stripes(20, 1), epochs=1)
    assert "warning" not in stream.getvalue()
    far[3, 0, 2, 2] = 1e4
    with pytest.warns(UserWarning, match=r"stripes \(validation\): feature 0: x = 10000 in sample 3"):
        trainer(model).fit(stripes(), Dataset(far, stripes(20, 1).labels, name="stripes"), epochs=1)
    for progress in (Lines(stream), Live(Console(file=stream, force_terminal=True, width=200))):
        stream.truncate(0)
        trainer(model, progress=progress).fit(stripes(), Dataset(far, stripes(20, 1).labels), epochs=1)
        assert stream.getvalue().count("far from the training data") == 1
