"""Options without effect are refused, and no layer ignores an argument."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import pytest

from striate import TrainingStep, compile, nn, optim
from striate.errors import DataError, DTypeError, OptionError, ShapeError

REFUSED: dict[str, Callable[[], object]] = {
    "momentum below 0": lambda: nn.BatchNorm2d(3, momentum=-0.1),
    "momentum above 1": lambda: nn.BatchNorm1d(3, momentum=1.5),
    "momentum NaN": lambda: nn.BatchNorm1d(3, momentum=float("nan")),
    "eps below 0": lambda: nn.BatchNorm2d(3, eps=-1e-5),
    "affine": lambda: nn.BatchNorm2d(3, affine=cast("bool", "no")),
    "start_dim": lambda: nn.Flatten(start_dim=True),
    "end_dim": lambda: nn.Flatten(1, 2.0),
    "the axis of Unflatten": lambda: nn.Unflatten("C", (2, 3)),
    "unflattened_size": lambda: nn.Unflatten(1, 6),
    "unflattened sizes": lambda: nn.Unflatten(1, (2, 1.5)),
    "p": lambda: nn.Dropout(1.5),
    "p as text": lambda: nn.Dropout(cast("float", "0.5")),
    "slope": lambda: nn.LeakyReLU(float("inf")),
    "return_indices": lambda: nn.MaxPool2d(2, 2, 0, 1, cast("bool", 1)),
    "ceil_mode": lambda: nn.AvgPool2d(2, ceil_mode=cast("bool", 1)),
    "dim": lambda: nn.Softmax(1.5),
    "smoothing": lambda: nn.CrossEntropyLoss(label_smoothing=1.1),
    "a shape as text": lambda: nn.Parameter(cast("Any", "3x3")),
    "a negative size": lambda: nn.Parameter((3, -1)),
    "a standardizer of another kind": lambda: setattr(nn.Flatten(), "standardizer", "mean"),
    "a class of a standardizer": lambda: setattr(nn.Flatten(), "standardizer", nn.Module),
    "the seed": lambda: nn.Linear(3, 3).initialize(cast("int", "0")),
    "not a function": lambda: compile(cast("Any", None)),
    "capacity": lambda: compile(lambda x: x, capacity=0),
    "programs": lambda: compile(lambda x: x, programs=0),
}


@pytest.mark.parametrize("what", REFUSED)
def test_values_without_a_meaning(what: str) -> None:
    with pytest.raises(OptionError):
        REFUSED[what]()


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.ReLU(bogus=1), lambda: nn.Sigmoid(1, 2), lambda: nn.Tanh(1), lambda: nn.GlobalAveragePool(7),
        lambda: nn.Identity(3), lambda: nn.Linear(3, 3, device="cpu"), lambda: nn.MSELoss(None, None),
    ],
)  # fmt: skip
def test_no_argument_is_swallowed(make: Callable[[], object]) -> None:
    with pytest.raises(TypeError):
        make()


def model() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 2))


@pytest.mark.parametrize("state", [None, [1, 2], "model.safetensors", 3])
def test_a_state_is_a_mapping(state: Any) -> None:
    for strict in (True, False):
        with pytest.raises(DataError, match="a state is a mapping of names to arrays"):
            model().load_state_dict(state, strict)


def test_a_state_of_which_no_name_is_known() -> None:
    state = {f"module.{name}": array for name, array in model().state_dict().items()}
    with pytest.raises(ShapeError, match="none of the 4 names in this state"):
        model().load_state_dict(state, strict=False)
    for strict in (True, False):
        with pytest.raises(ShapeError, match="none of the 0 names"):
            model().load_state_dict({}, strict)
    found = model().load_state_dict({"0.weight": np.zeros((2, 3)), "extra": np.zeros(1)}, strict=False)
    assert (found.missing_keys, found.unexpected_keys) == (["0.bias", "2.weight", "2.bias"], ["extra"])


@pytest.mark.parametrize("bad", [np.array([["a", "b"], ["c", "d"]]), np.ones((2, 2), complex), np.full((2, 2), 1e300)])
@pytest.mark.parametrize("called", [False, True])
def test_a_state_is_written_whole_or_not_at_all(bad: np.ndarray, called: bool) -> None:
    net = model()
    if called:
        net(np.zeros((1, 3), np.float32))
    before = net.state_dict()
    state = {**{name: array + 1 for name, array in before.items()}, "2.weight": bad}
    with pytest.raises(ShapeError, match=r"2\.weight"):
        net.load_state_dict(state)
    assert all(np.array_equal(array, before[name]) for name, array in net.state_dict().items())


def step() -> TrainingStep:
    return TrainingStep(model(), nn.MSELoss(), optim.SGD(lr=0.1, momentum=0.9))


@pytest.mark.parametrize("bad", [np.ones((1, 3)), np.float64(1.0), np.ones((2, 3, 1)), np.array([["a"] * 3] * 2)])
def test_gradients_are_not_broadcast(bad: Any) -> None:
    one = step()
    gradients = one.gradients(np.ones((2, 3)), np.ones((2, 2)))
    before = {name: view.copy() for name, view in one.gradient_views().items()}
    with pytest.raises((ShapeError, DTypeError), match=r"0\.weight"):
        one.update({**{name: 2 * array for name, array in gradients.items()}, "0.weight": bad})
    assert all(np.array_equal(view, before[name]) for name, view in one.gradient_views().items())


@pytest.mark.parametrize("state", [None, {}, {"step": 1.0}])
def test_the_state_of_a_step(state: Mapping[str, Any]) -> None:
    with pytest.raises(OptionError, match="optimizer state"):
        step().load_state_dict(state)


def test_a_last_window_that_reaches_past_its_input_counts_with_ceil_mode() -> None:
    x = np.arange(4, dtype=np.float32).reshape(1, 1, 4)
    np.testing.assert_array_equal(nn.MaxPool1d(5, ceil_mode=True)(x), [[[3]]])
    with pytest.raises(ShapeError, match="window of 5 is larger than its input of 4"):
        nn.MaxPool1d(5)(x)


def test_no_channels_are_normalized_to_none() -> None:
    x = np.zeros((2, 0), np.float32)
    assert nn.BatchNorm1d(None)(x, training=True).shape == (2, 0)
