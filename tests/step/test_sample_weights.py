"""Sample weights in float64: 2 equals a repeated row, 0 a missing row, and all ones no weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from striate import TrainingStep, nn, ops, optim
from striate.data import Dataset
from striate.errors import DataError, LabelError, OptionError, ShapeError
from striate.train import Trainer

CLASS_WEIGHTS = np.array([1.0, 0.5, 3.0])
LABELS: dict[str, Any] = {
    "cross entropy": lambda: nn.CrossEntropyLoss(),
    "class weights": lambda: nn.CrossEntropyLoss(CLASS_WEIGHTS, label_smoothing=0.1),
    "ignored": lambda: nn.CrossEntropyLoss(CLASS_WEIGHTS, ignore_index=1),
    "summed": lambda: nn.CrossEntropyLoss(CLASS_WEIGHTS, reduction="sum"),
    "margins": lambda: nn.MultiMarginLoss(weight=CLASS_WEIGHTS),
}
NUMBERS: dict[str, Any] = {
    "squares": lambda: nn.MSELoss(),
    "summed squares": lambda: nn.MSELoss(reduction="sum"),
    "huber": lambda: nn.HuberLoss(delta=0.3),
    "logits": lambda: nn.BCEWithLogitsLoss(pos_weight=CLASS_WEIGHTS),
    "divergence": lambda: nn.KLDivLoss(reduction="batchmean"),
}
LOSSES = {**LABELS, **NUMBERS}


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).initialize(0).double()


def rows(name: str, n: int = 8) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    y = random.integers(0, 3, n) if name in LABELS else random.random((n, 3))
    return random.standard_normal((n, 4)), y


def step(name: str, **options: Any) -> TrainingStep:
    return TrainingStep(network(), LOSSES[name](), optim.SGD(lr=0.1), **options)


def agree(weighted: TrainingStep, plain: TrainingStep, first: tuple[Any, ...], second: tuple[Any, ...]) -> None:
    """Check that loss, gradients and updated parameters agree."""
    found, expected = weighted.gradients(*first), plain.gradients(*second)
    assert weighted.loss_value == pytest.approx(plain.loss_value, rel=1e-12)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-11, atol=1e-15, err_msg=name)
    assert weighted(*first) == pytest.approx(plain(*second), rel=1e-12)
    for name, array in plain.model.state_dict().items():
        np.testing.assert_allclose(weighted.model.state_dict()[name], array, rtol=1e-11, atol=1e-15, err_msg=name)


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("name", LOSSES)
def test_a_weight_is_how_often_a_row_is_there(name: str, accumulate: int) -> None:
    x, y = rows(name)
    times = np.array([2, 0, 1, 3, 0, 1, 1, 2])
    repeated = np.repeat(np.arange(len(x)), times)
    agree(step(name, accumulate=accumulate), step(name), (x, y, times), (x[repeated], y[repeated]))


@pytest.mark.parametrize("name", LOSSES)
def test_all_ones_are_none(name: str) -> None:
    x, y = rows(name)
    agree(step(name), step(name), (x, y, np.ones(len(x), np.float32)), (x, y))


def test_a_mean_does_not_depend_on_the_scale_of_the_weights() -> None:
    x, y = rows("class weights")
    weights = np.random.default_rng(1).random(len(x))
    agree(step("class weights"), step("class weights"), (x, y, weights), (x, y, 1e3 * weights))


def test_positions_of_a_sample_have_its_weight() -> None:
    """Uses labels (N, positions), for a network without a linear layer."""
    random = np.random.default_rng(0)
    x, y = random.standard_normal((4, 2, 6)), random.integers(0, 3, (4, 6))
    y[0, :4] = -100
    times = np.array([2, 1, 0, 1])
    repeated = np.repeat(np.arange(4), times)
    one, two = (
        TrainingStep(nn.Conv1d(2, 3, 1).initialize(0).double(), nn.CrossEntropyLoss(CLASS_WEIGHTS), optim.SGD(lr=0.1))
        for _ in range(2)
    )
    agree(one, two, (x, y, times), (x[repeated], y[repeated]))


def test_weights_without_a_meaning_are_refused() -> None:
    x, y = rows("cross entropy", 3)
    one = step("cross entropy")
    for weights, kind, message in (
        (np.ones(2), ShapeError, r"3 samples but sample weights of shape \(2,\)"),
        (np.ones((3, 1)), ShapeError, "give one weight for each sample"),
        ([1.0, -1.0, 1.0], DataError, "the sample weight at index 1 is -1; expected finite numbers of 0 or more"),
        ([1.0, 1.0, np.nan], DataError, "index 2 is nan"),
        (np.zeros(3), DataError, "all 3 sample weights are 0"),
        (np.array(["a", "b", "c"]), DataError, "not real numbers"),
    ):
        with pytest.raises(kind, match=message):
            one(x, y, weights)
    assert one.step_number == 0
    with pytest.raises(LabelError, match="label 7 at index 2"):
        step("class weights")(x, np.array([0, 1, 7]), np.ones(3))


def test_a_loss_of_the_whole_batch_cannot_be_weighted() -> None:
    x, y = rows("squares")
    for loss in (lambda a, b: ops.mean((a - b) ** 2), _Whole()):
        one = TrainingStep(network(), loss, optim.SGD(lr=0.1))  # type: ignore[arg-type]
        one(x, y)
        with pytest.raises(OptionError, match="has no loss of each sample"):
            one(x, y, np.ones(len(x)))


class _Whole(nn.MSELoss):
    def forward(self, x: Any, y: Any) -> Any:
        return ops.mean(ops.abs(x - y))


def test_a_trainer_weighs_samples() -> None:
    """Some samples count twice and some not at all; order and batch are fixed."""
    random = np.random.default_rng(0)
    x, y = random.standard_normal((12, 4)).astype(np.float32), random.integers(0, 3, 12)
    times = np.arange(12) % 3
    repeated = np.repeat(np.arange(12), times)
    histories = []
    for images, labels, weights in ((x, y, times), (x[repeated], y[repeated], None)):
        data = Dataset(images, labels, ("a", "b", "c"), "points")
        model = nn.Sequential(nn.Linear(4, 3)).initialize(0)
        one = Trainer(
            model, nn.CrossEntropyLoss(CLASS_WEIGHTS), optim.SGD(lr=0.5), batch_size=12, progress=False, shuffle=False,
        )  # fmt: skip
        histories.append(one.fit(data, epochs=4, sample_weight=weights))
    np.testing.assert_allclose(histories[0].losses, histories[1].losses, rtol=1e-5)
    data = Dataset(x, y, ("a", "b", "c"), "points")
    one = Trainer(
        nn.Sequential(nn.Linear(4, 3)), nn.CrossEntropyLoss(), optim.SGD(lr=0.5), batch_size=3, progress=False
    )
    one.fit(data, epochs=1, sample_weight=np.eye(12)[0])
    assert one.step.step_number == 1
    with pytest.raises(ShapeError, match="12 samples but sample weights"):
        one.fit(data, epochs=1, sample_weight=np.ones(3))
