"""Unusual arguments of models and training steps give a sensible result or one clear error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import striate as st
from striate import nn, optim
from striate.errors import DataError, DTypeError, LabelError, OptionError, ShapeError, StriateError, TracingError

X = np.random.default_rng(0).integers(-9, 9, (6, 1, 4, 4)).astype(np.float32)
Y = np.array([0, 1, 2, 0, 1, 2])


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(None, 3)
    ).initialize(0)


def trained(model: nn.Module, x: Any = X, y: Any = Y, **options: Any) -> float:
    return st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.05), **options)(x, y)


@pytest.mark.parametrize(
    "given", [X.astype(np.int64), X.astype(np.int32), X.astype(np.int8), X.astype(np.float16), X.tolist()]
)
def test_numbers_of_any_kind_are_images(given: Any) -> None:
    model = network()
    np.testing.assert_array_equal(model(given), model(X))
    assert trained(network(), x=given) == trained(network())


def test_labels_of_a_loss_stay_integers() -> None:
    loss = nn.CrossEntropyLoss()(np.eye(3, dtype=np.float32), np.array([0, 1, 2]))
    np.testing.assert_allclose(loss, np.log(1 + 2 / np.e), rtol=1e-6)


@pytest.mark.parametrize("given", [None, "picture.png", X * 1j, X.astype(object), [[1, 2], [3]]])
def test_what_is_no_array_of_numbers(given: Any) -> None:
    with pytest.raises(DTypeError, match="Sequential expects an array"):
        network()(given)
    with pytest.raises(DTypeError, match="Sequential expects an array"):
        trained(network(), x=given)


def test_a_batch_of_no_samples() -> None:
    assert network()(X[:0]).shape == (0, 3)
    with pytest.raises(DataError, match="at least one sample"):
        trained(network(), x=X[:0], y=Y[:0])


def test_nan_is_predicted_through_and_refused_in_training() -> None:
    bad = X.copy()
    bad[3, 0, 2, 1] = np.nan
    predicted = network()(bad)
    assert np.isnan(predicted[3]).all()
    assert np.isfinite(np.delete(predicted, 3, axis=0)).all()
    with pytest.raises(DataError, match=r"x\[3, 0, 2, 1\] is nan"):
        trained(network(), x=bad)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.array([0, 1, 2, 0.0, 1.5, 2]), "label 1.5 at index 4 is not a whole number"),
        (np.array([0, np.nan, 2, 0.0, 1.5, 2]), "label nan at index 1 is not a whole number"),
        (np.eye(3, dtype=bool)[Y % 3], r"y.argmax\(axis=1\) if they are one-hot"),
        (np.eye(4, dtype=np.float32)[Y % 3], r"probabilities of shape .* do not fit predictions"),
        (Y.astype(np.float32), r"float32, not integers, though all .*\n.*y.astype\(np.int64\)"),
        (np.array([0, 1, 7, 0, 9, 2]), "label 7 at index 2 is out of range"),
        (-1 - Y, "label -3 at index 2|label -1 at index 0"),
        (np.full(6, 2**63, np.uint64), "label 9223372036854775808 at index 0"),
        (Y[:, None], r"y\[:, 0\]"),
        (np.eye(3, dtype=int)[Y], r"y.argmax\(axis=1\)"),
        (Y[:4], "6 samples but labels"),
        (list("abcabc"), "np.unique"),
        (None, "np.unique"),
    ],
)
def test_labels(labels: Any, message: str) -> None:
    with pytest.raises(LabelError, match=message):
        trained(network(), y=labels)


class Returning(nn.Module):
    def __init__(self, result: Callable[[Any], Any]) -> None:
        self.fc = nn.Linear(16, 3)  # without super().__init__()
        self.result = result

    def forward(self, x: Any) -> Any:
        return self.result(self.fc(st.ops.flatten(x)))


def test_forward_that_returns_something_else() -> None:
    for run in (lambda model: model(X), trained):
        with pytest.raises(TracingError, match="returned None\n  help: end forward with"):
            run(Returning(lambda y: None))
    with pytest.raises(TracingError, match="returned a ndarray, not a traced value"):
        Returning(lambda y: np.ones(3))(X)
    first, second = Returning(lambda y: (y, y))(X)
    np.testing.assert_array_equal(first, second)
    with pytest.raises(ShapeError, match="returned a tuple"):
        trained(Returning(lambda y: (y, y)))


def test_a_model_without_parameters() -> None:
    model = nn.Flatten()
    np.testing.assert_array_equal(model(X.astype(np.float16)), X.reshape(6, 16))
    before = trained(model)
    assert np.isfinite(before)


class Shared(nn.Module):
    def __init__(self) -> None:
        self.fc = nn.Linear(16, 16)
        self.out = nn.Linear(16, 3)

    def forward(self, x: Any) -> Any:
        x = st.ops.flatten(x)
        return self.out(self.fc(self.fc(x)))


def test_a_layer_used_twice_sums_its_gradients() -> None:
    model = Shared().initialize(3).double()
    step = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    weight = model.state_dict()["fc.weight"]
    gradient = step.gradients(X, Y)["fc.weight"][0, 1]
    losses: list[float] = []
    for shift in (1e-5, -1e-5):
        moved = weight.copy()
        moved[0, 1] += shift
        model.load_state_dict({**model.state_dict(), "fc.weight": moved})
        step.gradients(X, Y)
        losses.append(step.loss_value)
    np.testing.assert_allclose(gradient, (losses[0] - losses[1]) / 2e-5, rtol=1e-5)


def test_two_steps_on_one_model_see_each_other() -> None:
    model = network()
    one = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.05, momentum=0.9))
    other = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.Adam(lr=0.01))
    losses = [step(X, Y) for step in (one, other, one, other, one, other)]
    assert losses[-1] < losses[0]
    fresh = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.05))
    fresh.gradients(X, Y)
    before = fresh.loss_value
    one(X, Y)
    fresh.gradients(X, Y)
    assert fresh.loss_value != before


def test_more_samples_than_the_capacity() -> None:
    assert trained(network(), capacity=2) == trained(network())


@pytest.mark.parametrize("capacity", [0, -1, 2.5, "4"])
def test_a_capacity_that_is_none(capacity: Any) -> None:
    with pytest.raises(OptionError, match="whole number of 1 or more"):
        trained(network(), capacity=capacity)


@pytest.mark.parametrize(
    ("model", "loss", "optimizer", "message"),
    [
        (network, nn.CrossEntropyLoss(), optim.SGD(lr=0.1), "expected an object of Module"),
        (network(), "cross_entropy", optim.SGD(lr=0.1), "expected an object of Loss"),
        (network(), nn.CrossEntropyLoss, optim.SGD(lr=0.1), "expected an object of Loss"),
        (network(), nn.CrossEntropyLoss(), optim.SGD, "expected an object of Optimizer"),
    ],
)
def test_the_wrong_thing_in_the_wrong_place(model: Any, loss: Any, optimizer: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        st.TrainingStep(model, loss, optimizer)


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Linear(-1, 3),
        lambda: nn.Linear(3.0, 3),  # pyright: ignore[reportArgumentType]
        lambda: nn.Linear(3, 0),
        lambda: nn.Conv2d(0, 4, 3),
        lambda: nn.BatchNorm2d(-4),
        lambda: optim.SGD(lr="0.1"),  # pyright: ignore[reportArgumentType]
        lambda: optim.SGD(lr=0.1, momentum=None),  # pyright: ignore[reportArgumentType]
        lambda: nn.CrossEntropyLoss(weight=np.array([1.0, -1.0])),
        lambda: nn.CrossEntropyLoss(weight=np.zeros(3)),
        lambda: trained(network(), max_norm="1"),
        lambda: setattr(network(), "standardizer", 3),
        lambda: st.Trainer(network(), nn.CrossEntropyLoss(), optim.Adam(), batch_size="4"),  # pyright: ignore[reportArgumentType]
        lambda: st.Trainer(network(), nn.CrossEntropyLoss(), optim.Adam()).fit((X, Y), epochs=1),  # pyright: ignore[reportArgumentType]
        lambda: st.Trainer(network(), nn.CrossEntropyLoss(), optim.Adam()).fit(X, epochs=1.5),  # pyright: ignore[reportArgumentType]
        lambda: network().infer(8),  # pyright: ignore[reportArgumentType]
    ],
)
def test_options_that_are_no_sizes_or_rates(make: Callable[[], object]) -> None:
    with pytest.raises((OptionError, DataError)):
        make()


def test_a_module_cannot_contain_itself() -> None:
    model, outer = network(), nn.Sequential()
    outer.append(model)
    with pytest.raises(OptionError, match="cannot contain itself"):
        model.append(outer)
    assert len(repr(model)) < 1000


def test_dropout_where_training_is_asked_for() -> None:
    x = np.ones((4, 64), np.float32)
    model = nn.Sequential(nn.Dropout(0.5))
    np.testing.assert_array_equal(model(x), x)
    assert set(np.unique(model(x, training=True))) == {0, 2}


def test_summary_never_raises() -> None:
    for shape in (8, "abc", (1, 8), (1.5, 2, 2), None):
        assert "Conv2d" in network().summary(shape)  # pyright: ignore[reportArgumentType]


def test_saving_before_the_sizes_are_known(tmp_path: Any) -> None:
    with pytest.raises(StriateError, match="call the model on data once"):
        st.save(network(), tmp_path / "model.safetensors")
    assert not list(tmp_path.iterdir())
