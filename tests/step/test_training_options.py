"""Options of a training step besides the optimizer: clipping, accumulation, the moving average."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

from striate import TrainingStep, nn, optim
from striate.errors import DataError, LabelError, NonFiniteError, OptionError


def plain() -> nn.Sequential:
    """Build a network without batch normalization, for which a batch in parts equals the whole batch."""
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.LeakyReLU(0.1), nn.Flatten(), nn.Linear(None, 4)
    ).initialize(0).double().infer((2, 5, 5))  # fmt: skip


def normed() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)).initialize(0).double()


def batch(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.standard_normal((n, 2, 5, 5)), random.integers(0, 4, n)


LOSSES: dict[str, Any] = {
    "mean": lambda: nn.CrossEntropyLoss(),
    "weighted": lambda: nn.CrossEntropyLoss(np.array([1.0, 0.0, 3.0, 0.5])),
    "smoothed": lambda: nn.CrossEntropyLoss(np.array([1.0, 0.1, 3.0, 0.5]), label_smoothing=0.1),
    "sum": lambda: nn.CrossEntropyLoss(reduction="sum"),
}


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("count", [2, 3, 10, 50])
def test_a_batch_in_parts_is_the_batch(loss: str, count: int) -> None:
    """Ten samples in parts of 5 and 5, of 4, 3 and 3, and one by one."""
    rule = optim.SGD(lr=0.1, momentum=0.9)
    whole, parts = plain(), plain()
    one = TrainingStep(whole, LOSSES[loss](), rule, max_norm=1.0)
    many = TrainingStep(parts, LOSSES[loss](), rule, max_norm=1.0, accumulate=count)
    for number in range(3):
        x, y = batch(10, number)
        assert many(x, y) == pytest.approx(one(x, y), rel=1e-12)
        assert many.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-12)
    assert many.step_number == 3
    for name, array in whole.state_dict().items():
        np.testing.assert_allclose(parts.state_dict()[name], array, rtol=1e-11, atol=1e-14, err_msg=name)
    x, y = batch(10, 9)
    for name, array in one.gradients(x, y).items():
        np.testing.assert_allclose(many.gradients(x, y)[name], array, rtol=1e-11, atol=1e-14, err_msg=name)


def test_every_part_moves_the_statistics() -> None:
    """As in PyTorch, two parts update the running statistics and their counter twice."""
    torch = pytest.importorskip("torch", reason="PyTorch is the peer that this compares with")
    model = normed()
    theirs = torch.nn.Sequential(
        torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.ReLU(), torch.nn.Linear(4, 2)
    ).double()
    theirs.load_state_dict({name: torch.tensor(array) for name, array in model.state_dict().items()})
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1)
    step = TrainingStep(model, nn.MSELoss(), optim.SGD(lr=0.1), accumulate=2)
    random = np.random.default_rng(0)
    for _ in range(3):
        x, y = random.standard_normal((8, 3)), random.standard_normal((8, 2))
        step(x, y)
        optimizer.zero_grad()
        for part in (slice(0, 4), slice(4, 8)):
            (torch.nn.functional.mse_loss(theirs(torch.tensor(x[part])), torch.tensor(y[part])) / 2).backward()
        optimizer.step()
        for name, array in theirs.state_dict().items():
            np.testing.assert_allclose(model.state_dict()[name], array.numpy(), rtol=1e-11, atol=1e-14, err_msg=name)
    assert model.state_dict()["1.num_batches_tracked"] == 6


def test_an_overflow_in_parts_is_refused_by_name_and_warns_of_nothing() -> None:
    step = TrainingStep(nn.Linear(3, 2).seed(0), nn.MSELoss(), optim.SGD(lr=0.1), accumulate=2)
    x = np.full((8, 3), 1e19, np.float32)  # gradients that are finite in each part, and not when weighted
    with pytest.raises(NonFiniteError, match="step 1"):
        step(x, -x[:, :2])


def test_a_refused_batch_in_parts_changes_nothing() -> None:
    model = normed()
    step = TrainingStep(model, nn.MSELoss(), optim.SGD(lr=0.1, momentum=0.9), accumulate=3)
    x, y = np.ones((7, 3)), np.ones((7, 2))
    step(x, y)
    before = {**model.state_dict(), **step.state_dict()}
    x[5, 1] = np.nan
    with pytest.raises(DataError, match=r"x\[5, 1\] is nan"):
        step(x, y)
    x[5, 1] = 1e300
    with pytest.raises(NonFiniteError):
        step(x, y)
    after = {**model.state_dict(), **step.state_dict()}
    assert all(before[name].tobytes() == after[name].tobytes() for name in before)
    with pytest.raises(LabelError):
        TrainingStep(plain(), nn.CrossEntropyLoss(), optim.SGD(lr=0.1), accumulate=2)(batch(6)[0], np.full(6, 4))


def test_parts_of_a_batch_draw_their_own_masks() -> None:
    """Both parts contain equal samples; dropout must not drop the same elements."""
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(64, 1, bias=False)).initialize(0).double()
    step = TrainingStep(model, nn.MSELoss(), optim.SGD(lr=0.1), accumulate=2)
    gradient = step.gradients(np.ones((2, 64)), np.zeros((2, 1)) + 1e3)["1.weight"]
    assert len(np.unique(np.round(gradient / np.abs(gradient).max(), 1))) > 2


@pytest.mark.parametrize("norm", [None, 1e-3, 5.0])
def test_clipping_by_value_is_pytorchs(norm: float | None) -> None:
    """Clips by value first, and then by the norm of the result."""
    torch = pytest.importorskip("torch", reason="PyTorch is the peer that this compares with")
    model = normed()
    parameters = {name: torch.nn.Parameter(torch.tensor(np.array(array))) for name, array in model.named_parameters()}
    optimizer = torch.optim.SGD(parameters.values(), lr=0.1)
    step = TrainingStep(model, nn.MSELoss(), optim.SGD(lr=0.1), clip_value=0.3, max_norm=norm)
    step.gradients(np.ones((2, 3)), np.ones((2, 2)))
    random = np.random.default_rng(0)
    for scale in (1e-3, 1.0, 1e200):
        given = {name: random.standard_normal(np.shape(array)) * scale for name, array in model.named_parameters()}
        step.update(given)
        for name, parameter in parameters.items():
            parameter.grad = torch.tensor(given[name])
        torch.nn.utils.clip_grad_value_(parameters.values(), 0.3)
        if norm is not None:
            torch.nn.utils.clip_grad_norm_(parameters.values(), norm)
        optimizer.step()
        for name, parameter in parameters.items():
            expected = parameter.detach().numpy()
            np.testing.assert_allclose(model.state_dict()[name], expected, rtol=1e-12, atol=1e-14, err_msg=name)
        total = np.sqrt(sum(float(np.square(array / scale).sum()) for array in given.values())) * scale
        assert step.gradient_norm == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_clipping_by_value_does_not_hide_what_is_not_finite(bad: float) -> None:
    model = normed()
    step = TrainingStep(model, nn.MSELoss(), optim.SGD(lr=0.1), clip_value=0.3)
    step.gradients(np.ones((2, 3)), np.ones((2, 2)))
    given = {name: np.zeros(np.shape(array)) for name, array in model.named_parameters()}
    given["0.bias"][1] = bad
    with pytest.raises(NonFiniteError):
        step.update(given)


@pytest.mark.parametrize("rule", [optim.SGD(lr=0.1, momentum=0.5), optim.LAMB(lr=0.1)], ids=["flat", "layerwise"])
def test_the_moving_average_is_pytorchs(rule: optim.Optimizer) -> None:
    """Compares parameters and running statistics with ``AveragedModel`` after each step."""
    torch = pytest.importorskip("torch", reason="PyTorch is the peer that this compares with")
    model = normed()
    names = [name for name in model.state_dict() if "tracked" not in name]
    current = torch.nn.ParameterDict({name.replace(".", "_"): torch.nn.Parameter(torch.zeros(1)) for name in names})
    averages = torch.optim.swa_utils.get_ema_multi_avg_fn(0.8)
    step = TrainingStep(model, nn.MSELoss(), rule, ema=0.8)
    random, kept = np.random.default_rng(0), None
    for _ in range(5):
        step(random.standard_normal((8, 3)), random.standard_normal((8, 2)))
        for name in names:
            current[name.replace(".", "_")] = torch.nn.Parameter(torch.tensor(model.state_dict()[name]))
        if kept is None:
            kept = torch.optim.swa_utils.AveragedModel(current, multi_avg_fn=averages)
        kept.update_parameters(current)
    trained = model.state_dict()
    with step.averaged() as inside:
        assert inside is model
        for name in names:
            expected = kept.module[name.replace(".", "_")].detach().numpy()
            np.testing.assert_allclose(model.state_dict()[name], expected, rtol=1e-12, atol=1e-14, err_msg=name)
            assert not np.array_equal(expected, trained[name])
    assert all(np.array_equal(array, trained[name]) for name, array in model.state_dict().items())


def test_a_step_goes_on_with_the_trained_parameters() -> None:
    random = np.random.default_rng(0)
    data = [(random.standard_normal((8, 3)), random.standard_normal((8, 2))) for _ in range(6)]
    one, two, plain_one = (TrainingStep(normed(), nn.MSELoss(), optim.Adam(lr=0.01), ema=d) for d in (0.9, 0.9, None))
    for number, (x, y) in enumerate(data):
        assert one(x, y) == two(x, y) == plain_one(x, y)
        if number in (1, 3):
            one.use_average(True)
            one.use_average(True)
            predicted = one.model(x)
            assert not np.array_equal(predicted, plain_one.model(x))
    for step in (one, two):
        with step.averaged():
            pass
    assert all(np.array_equal(a, two.state_dict()[name]) for name, a in one.state_dict().items())


def test_the_average_is_part_of_the_state() -> None:
    random = np.random.default_rng(0)
    data = [(random.standard_normal((8, 3)), random.standard_normal((8, 2))) for _ in range(6)]
    step = TrainingStep(normed(), nn.MSELoss(), optim.Adam(lr=0.01), ema=0.9)
    for x, y in data[:3]:
        step(x, y)
    step.use_average(True)
    other = TrainingStep(normed(), nn.MSELoss(), optim.Adam(lr=0.01), ema=0.9)
    other.model.load_state_dict(step.model.state_dict())
    other.load_state_dict(step.state_dict())
    third = copy.deepcopy(step)
    for x, y in data[3:]:
        assert step(x, y) == other(x, y) == third(x, y)
    for one in (other, third):
        assert all(np.array_equal(a, one.state_dict()[name]) for name, a in step.state_dict().items())
    with pytest.raises(DataError, match="uses_average holds 2"):
        step.load_state_dict({**step.state_dict(), "uses_average": np.array(2.0)})


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_a_model_of_frozen_parameters_has_nothing_to_update(name: str) -> None:
    """Its running statistics are still updated."""
    model = normed()
    model.requires_grad_(False)
    rule = optim.OPTIMIZERS[name](lr=0.1, groups={"0.*": {"lr": 0.5}})
    step = TrainingStep(model, nn.MSELoss(), rule, clip_value=1.0, max_norm=1.0, accumulate=2, ema=0.9)
    before = model.state_dict()
    step(np.ones((4, 3)), np.ones((4, 2)))
    after = model.state_dict()
    moved = {key for key, array in after.items() if not np.array_equal(array, before[key])}
    assert moved == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    assert step.gradient_norm == 0


def test_options_out_of_range_are_refused() -> None:
    for options, message in (
        ({"clip_value": 0}, "clip_value=0; expected a finite number above 0"),
        ({"clip_value": np.inf}, "clip_value=inf"),
        ({"max_norm": -1}, "max_norm=-1; expected a finite number above 0"),
        ({"accumulate": 0}, "accumulate=0; expected a whole number of 1 or more"),
        ({"accumulate": 1.5}, "accumulate=1.5"),
        ({"ema": 1.0}, "ema=1.0; expected a finite number of 0 or more and below 1"),
        ({"ema": "0.9"}, "ema='0.9'"),
    ):
        with pytest.raises(OptionError, match=message):
            TrainingStep(normed(), nn.MSELoss(), optim.SGD(lr=0.1), **options)
    step = TrainingStep(normed(), nn.MSELoss(), optim.SGD(lr=0.1))
    with pytest.raises(OptionError, match="no moving average is kept"):
        step.use_average(True)
