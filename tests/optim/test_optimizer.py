"""The optimizers' equations against PyTorch's, in float64, with gradients that are given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from striate import TrainingStep, nn, optim
from striate.errors import OptionError

STEPS = 20
RULES: dict[str, tuple[type[optim.Optimizer], str, dict[str, Any]]] = {
    "sgd": (optim.SGD, "SGD", {"lr": 0.1}),
    "weight decay": (optim.SGD, "SGD", {"lr": 0.1, "weight_decay": 0.03}),
    "momentum": (optim.SGD, "SGD", {"lr": 0.1, "momentum": 0.9}),
    "momentum and decay": (optim.SGD, "SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.03}),
    "dampening": (optim.SGD, "SGD", {"lr": 0.1, "momentum": 0.8, "dampening": 0.3}),
    "nesterov": (optim.SGD, "SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "nesterov and decay": (optim.SGD, "SGD", {"lr": 0.1, "momentum": 0.5, "nesterov": True, "weight_decay": 0.03}),
    "adam": (optim.Adam, "Adam", {"lr": 0.01}),
    "adam with options": (optim.Adam, "Adam", {"lr": 0.01, "betas": (0.5, 0.7), "eps": 0.1, "weight_decay": 0.03}),
    "adam without memory": (optim.Adam, "Adam", {"lr": 0.01, "betas": (0.0, 0.0)}),
}


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).initialize(0).double()


def gradients(step: int, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    random = np.random.default_rng(step)
    return {name: random.standard_normal(shape) * 10.0 ** random.integers(-3, 2) for name, shape in shapes.items()}


def compare(ours: optim.Optimizer, kind: str, options: dict[str, Any], schedule: Any = None) -> None:
    """Twenty updates of the same parameters by striate and by PyTorch, compared after each."""
    torch = pytest.importorskip("torch", reason="PyTorch is the peer that this compares with")
    model = network()
    shapes = {name: np.shape(array) for name, array in model.state_dict().items()}
    theirs = {name: torch.nn.Parameter(torch.tensor(array)) for name, array in model.state_dict().items()}
    optimizer = getattr(torch.optim, kind)(theirs.values(), **options)
    scheduler = schedule(torch.optim.lr_scheduler, optimizer) if schedule else None
    step = TrainingStep(model, nn.MSELoss(), ours)
    step.gradients(np.zeros((1, 3)), np.zeros((1, 2)))
    for number in range(STEPS):
        given = gradients(number, shapes)
        step.update(given)
        for name, parameter in theirs.items():
            parameter.grad = torch.tensor(given[name])
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        for name, array in model.state_dict().items():
            expected = theirs[name].detach().numpy()
            np.testing.assert_allclose(array, expected, rtol=1e-11, atol=1e-13, err_msg=f"{name}, step {number}")
    kept = {name: array for name, array in step.state_dict().items() if name != "step"}
    for place, name in enumerate(theirs):
        state = optimizer.state_dict()["state"].get(place, {})
        for slot, vector in state.items():
            if slot != "step" and vector is not None:
                found = kept.pop(f"{slot}.{name}")
                np.testing.assert_allclose(found, vector.numpy(), rtol=1e-11, atol=1e-13, err_msg=f"{slot}.{name}")
    assert not kept, "the same vectors are kept, under the same names"


@pytest.mark.parametrize("name", RULES)
def test_twenty_steps_are_pytorchs(name: str) -> None:
    ours, kind, options = RULES[name]
    compare(ours(**options), kind, options)


@pytest.mark.parametrize("name", ["momentum", "adam"])
def test_the_cosine_schedule_is_pytorchs(name: str) -> None:
    ours, kind, options = RULES[name]
    schedule = optim.CosineSchedule(STEPS, minimum=0.001)
    compare(
        ours(**options, schedule=schedule), kind, options,
        lambda library, optimizer: library.CosineAnnealingLR(optimizer, STEPS, eta_min=0.001),
    )  # fmt: skip


def test_a_warmup_is_pytorchs_linear_rise() -> None:
    schedule = optim.CosineSchedule(STEPS, warmup=5)

    def chained(library: Any, optimizer: Any) -> Any:
        rise = library.LinearLR(optimizer, start_factor=1 / 5, end_factor=1, total_iters=4)
        fall = library.CosineAnnealingLR(optimizer, STEPS - 5)
        return library.SequentialLR(optimizer, [rise, fall], milestones=[5])

    compare(optim.SGD(lr=0.1, schedule=schedule), "SGD", {"lr": 0.1}, chained)


def test_adam_is_written_down() -> None:
    """The docstring's equations by hand, with no library in between."""
    rule = optim.Adam(lr=0.01, betas=(0.8, 0.9), eps=1e-2, weight_decay=0.1)
    model = network()
    step = TrainingStep(model, nn.MSELoss(), rule)
    step.gradients(np.zeros((1, 3)), np.zeros((1, 2)))
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


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: optim.SGD(lr=-1), "lr=-1"),
        (lambda: optim.SGD(lr=float("nan")), "lr=nan"),
        (lambda: optim.SGD(lr=0.1, momentum=-0.1), "momentum"),
        (lambda: optim.SGD(lr=0.1, weight_decay=-0.1), "weight_decay"),
        (lambda: optim.SGD(lr=0.1, nesterov=True), "nesterov"),
        (lambda: optim.Adam(betas=(1.0, 0.9)), r"betas\[0\]=1"),
        (lambda: optim.Adam(betas=(0.9, -0.1)), r"betas\[1\]"),
        (lambda: optim.Adam(eps=-1e-8), "eps"),
    ],
)
def test_options_without_a_meaning_are_refused(make: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make()
