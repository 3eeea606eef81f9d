"""The optimizers against PyTorch's, in float64, with given gradients."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from striate import TrainingStep, nn, optim
from striate.errors import DataError, NonFiniteError
from tests.optim.peer import RULES, STEPS, compare, gradients, network, started


@pytest.mark.parametrize("name", RULES)
def test_thirty_steps_are_pytorchs(name: str, torch: Any) -> None:
    ours, kind, options = RULES[name]
    compare(torch, ours(**options), kind, options)


@pytest.mark.parametrize("name", ["momentum", "adam", "amsgrad", "adamw", "rmsprop", "nadam", "radam", "adagrad"])
def test_thirty_steps_in_float32_are_pytorchs(name: str, torch: Any) -> None:
    ours, kind, options = RULES[name]
    compare(torch, ours(**options), kind, options, dtype="float32", tolerance=2e-5)


@pytest.mark.parametrize("kind", ["SGD", "Adam", "AdamW", "RMSprop", "NAdam", "RAdam", "Adagrad"])
def test_options_and_defaults_are_pytorchs(kind: str, torch: Any) -> None:
    ours = getattr(optim, kind)
    theirs = inspect.signature(getattr(torch.optim, kind)).parameters
    other = {"schedule", "groups", "decay_norm_and_bias"}
    mine = {one.name: one.default for one in fields(ours) if one.name not in other}
    assert {name: theirs[name].default for name in mine} == mine
    engine = {"params", "foreach", "fused", "capturable", "differentiable"}
    assert set(theirs) - set(mine) <= engine


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_the_cosine_schedule_is_pytorchs(name: str, torch: Any) -> None:
    ours, kind, options = RULES[name]
    schedule = optim.CosineSchedule(STEPS, minimum=0.001)
    compare(
        torch, ours(**options, schedule=schedule), kind, options,
        lambda library, optimizer: library.CosineAnnealingLR(optimizer, STEPS, eta_min=0.001),
    )  # fmt: skip


def test_adam_is_written_down() -> None:
    """Evaluates the equations of the docstring in NumPy, without another library."""
    rule = optim.Adam(lr=0.01, betas=(0.8, 0.9), eps=1e-2, weight_decay=0.1)
    model = network()
    step = started(model, rule)
    state = model.state_dict()
    m = {name: np.zeros_like(array) for name, array in state.items()}
    v = {name: np.zeros_like(array) for name, array in state.items()}
    for t in range(1, 6):
        given = gradients(t, {name: array.shape for name, array in state.items()})
        step.update(given)
        for name, theta in state.items():
            g = given[name] + 0.1 * theta
            m[name] = 0.8 * m[name] + 0.2 * g
            v[name] = 0.9 * v[name] + 0.1 * g**2
            state[name] = theta - 0.01 * (m[name] / (1 - 0.8**t)) / (np.sqrt(v[name] / (1 - 0.9**t)) + 1e-2)
            np.testing.assert_allclose(model.state_dict()[name], state[name], rtol=1e-11, atol=1e-14)


def test_lion_is_written_down() -> None:
    model = network()
    step = started(model, optim.Lion(lr=0.01, betas=(0.8, 0.9), weight_decay=0.1))
    state = model.state_dict()
    m = {name: np.zeros_like(array) for name, array in state.items()}
    for t in range(30):
        given = gradients(t, {name: array.shape for name, array in state.items()})
        step.update(given)
        for name, theta in state.items():
            direction = np.sign(0.8 * m[name] + 0.2 * given[name])
            state[name] = theta * (1 - 0.01 * 0.1) - 0.01 * direction
            m[name] = 0.9 * m[name] + 0.1 * given[name]
            np.testing.assert_allclose(model.state_dict()[name], state[name], rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(step.state_dict()[f"exp_avg.{name}"], m[name], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_lamb_is_written_down(decay: float) -> None:
    """The trust ratio is per parameter; a parameter of zeros is updated as by Adam."""
    model = network()
    model[1].bias = np.zeros(2)
    step = started(model, optim.LAMB(lr=0.01, betas=(0.8, 0.9), eps=1e-3, weight_decay=decay))
    state = model.state_dict()
    m = {name: np.zeros_like(array) for name, array in state.items()}
    v = {name: np.zeros_like(array) for name, array in state.items()}
    for t in range(1, 31):
        given = gradients(t, {name: array.shape for name, array in state.items()})
        step.update(given)
        for name, theta in state.items():
            g = given[name]
            m[name] = 0.8 * m[name] + 0.2 * g
            v[name] = 0.9 * v[name] + 0.1 * g**2
            u = (m[name] / (1 - 0.8**t)) / (np.sqrt(v[name] / (1 - 0.9**t)) + 1e-3) + decay * theta
            size, length = np.linalg.norm(theta), np.linalg.norm(u)
            state[name] = theta - 0.01 * (size / length if size > 0 < length else 1) * u
            np.testing.assert_allclose(model.state_dict()[name], state[name], rtol=1e-12, atol=1e-14)
            np.testing.assert_allclose(step.state_dict()[f"exp_avg_sq.{name}"], v[name], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_every_optimizer_learns_with_its_usual_rate(name: str) -> None:
    random = np.random.default_rng(0)
    x = random.standard_normal((64, 3)).astype(np.float32)
    y = (x @ random.standard_normal((3, 2))).astype(np.float32)
    model = network("float32")
    kind = optim.OPTIMIZERS[name]
    step = TrainingStep(model, nn.MSELoss(), kind(lr=kind.usual_lr))
    first = step(x, y)
    for _ in range(200):
        last = step(x, y)
    assert last < 0.95 * first


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_a_step_that_is_not_finite_changes_nothing(name: str) -> None:
    model = network("float32")
    step = started(model, optim.OPTIMIZERS[name](lr=0.01))
    shapes = {name: np.shape(array) for name, array in model.state_dict().items()}
    step.update(gradients(0, shapes))
    before = {**model.state_dict(), **step.state_dict()}
    for bad in (np.nan, np.inf, 1e30):
        given = gradients(1, shapes)
        given["1.bias"][1] = bad
        with pytest.raises(NonFiniteError):
            step.update(given)
        after = {**model.state_dict(), **step.state_dict()}
        assert all(before[name].tobytes() == after[name].tobytes() for name in before)


@pytest.mark.parametrize("name", optim.OPTIMIZERS)
def test_the_state_goes_on_where_it_was_saved(name: str) -> None:
    """Thirty steps equal ten, then a saved state loaded into a new training step, and twenty more, bit for bit."""
    kind, shapes = optim.OPTIMIZERS[name], {name: np.shape(a) for name, a in network().state_dict().items()}
    rule = kind(lr=0.01, schedule=optim.CosineSchedule(40), groups={"*.bias": {"lr": 0.1}})
    whole, first, second = (network("float32") for _ in range(3))
    one, a = started(whole, rule), started(first, rule)
    for number in range(30):
        one.update(gradients(number, shapes))
        if number < 10:
            a.update(gradients(number, shapes))
    b = started(second, rule)
    second.load_state_dict(first.state_dict())
    b.load_state_dict(a.state_dict())
    for number in range(10, 30):
        b.update(gradients(number, shapes))
    for name, array in {**whole.state_dict(), **one.state_dict()}.items():
        np.testing.assert_array_equal({**second.state_dict(), **b.state_dict()}[name], array, err_msg=name)


def test_impossible_products_are_refused() -> None:
    step = started(network(), optim.NAdam())
    for bad in (-0.5, 1.5, np.nan):
        with pytest.raises(DataError, match=r"mu_product holds .* from 0 to 1"):
            step.load_state_dict({**step.state_dict(), "mu_product": np.array([bad])})
