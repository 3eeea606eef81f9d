"""Update the same parameters in striate and in PyTorch, with given gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from striate import TrainingStep, nn, optim

STEPS = 30
_NADAM = {"lr": 0.01, "betas": (0.7, 0.95), "eps": 1e-3, "weight_decay": 0.03, "momentum_decay": 0.02}
_RADAM = {"lr": 0.01, "betas": (0.7, 0.95), "eps": 1e-3, "weight_decay": 0.03}
_RMSPROP = {"lr": 0.01, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.03, "momentum": 0.8, "centered": True}
_ADAGRAD = {"lr": 0.1, "lr_decay": 0.05, "weight_decay": 0.03, "initial_accumulator_value": 0.2, "eps": 1e-3}
RULES: dict[str, tuple[type[optim.Optimizer], str, dict[str, Any]]] = {
    "sgd": (optim.SGD, "SGD", {"lr": 0.1}),
    "weight decay": (optim.SGD, "SGD", {"lr": 0.1, "weight_decay": 0.03}),
    "momentum": (optim.SGD, "SGD", {"lr": 0.1, "momentum": 0.9}),
    "momentum and decay": (optim.SGD, "SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.03}),
    "dampening": (optim.SGD, "SGD", {"lr": 0.1, "momentum": 0.8, "dampening": 0.3}),
    "nesterov": (optim.SGD, "SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "nesterov and decay": (optim.SGD, "SGD", {"lr": 0.1, "momentum": 0.5, "nesterov": True, "weight_decay": 0.03}),
    "maximize": (optim.SGD, "SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.03, "maximize": True}),
    "adam": (optim.Adam, "Adam", {"lr": 0.01}),
    "adam with options": (optim.Adam, "Adam", {"lr": 0.01, "betas": (0.5, 0.7), "eps": 0.1, "weight_decay": 0.03}),
    "adam without memory": (optim.Adam, "Adam", {"lr": 0.01, "betas": (0.0, 0.0)}),
    "adam without eps": (optim.Adam, "Adam", {"lr": 0.01, "eps": 0.0}),
    "adam decoupled": (optim.Adam, "Adam", {"lr": 0.01, "weight_decay": 0.3, "decoupled_weight_decay": True}),
    "amsgrad": (optim.Adam, "Adam", {"lr": 0.01, "amsgrad": True, "betas": (0.5, 0.7), "maximize": True}),
    "adamw": (optim.AdamW, "AdamW", {"lr": 0.01}),
    "adamw with options": (
        optim.AdamW, "AdamW", {"lr": 0.01, "betas": (0.5, 0.7), "eps": 0.1, "weight_decay": 0.3, "amsgrad": True},
    ),
    "rmsprop": (optim.RMSprop, "RMSprop", {}),
    "rmsprop with momentum": (optim.RMSprop, "RMSprop", {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.03}),
    "rmsprop centered": (optim.RMSprop, "RMSprop", _RMSPROP),
    "nadam": (optim.NAdam, "NAdam", {}),
    "nadam with options": (optim.NAdam, "NAdam", _NADAM),
    "nadam decoupled": (optim.NAdam, "NAdam", {**_NADAM, "decoupled_weight_decay": True, "maximize": True}),
    "radam": (optim.RAdam, "RAdam", {}),
    "radam with options": (optim.RAdam, "RAdam", _RADAM),
    "radam decoupled": (optim.RAdam, "RAdam", {**_RADAM, "decoupled_weight_decay": True, "maximize": True}),
    "radam that never adapts": (optim.RAdam, "RAdam", {"betas": (0.9, 0.6)}),
    "adagrad": (optim.Adagrad, "Adagrad", {}),
    "adagrad with options": (optim.Adagrad, "Adagrad", _ADAGRAD),
}  # fmt: skip


def network(dtype: str = "float64") -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).initialize(0).to(dtype)


def gradients(step: int, shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    random = np.random.default_rng(step)
    return {name: random.standard_normal(shape) * 10.0 ** random.integers(-3, 2) for name, shape in shapes.items()}


def started(model: nn.Module, rule: optim.Optimizer, **options: Any) -> TrainingStep:
    """Return a training step whose model is initialized, so that gradients can be set."""
    step = TrainingStep(model, nn.MSELoss(), rule, **options)
    step.gradients(np.zeros((1, 3)), np.zeros((1, 2)))
    return step


def compare(
    torch: Any,
    ours: optim.Optimizer,
    kind: str,
    options: dict[str, Any],
    schedule: Any = None,
    *,
    groups: Callable[[dict[str, Any]], list[dict[str, Any]]] | None = None,
    dtype: str = "float64",
    tolerance: float = 1e-12,
) -> None:
    """Run thirty updates of the same parameters in striate and in PyTorch, and compare after each."""
    model = network(dtype)
    shapes = {name: np.shape(array) for name, array in model.state_dict().items()}
    theirs = {name: torch.nn.Parameter(torch.tensor(array)) for name, array in model.state_dict().items()}
    optimizer = getattr(torch.optim, kind)(groups(theirs) if groups else theirs.values(), **options)
    scheduler = schedule(torch.optim.lr_scheduler, optimizer) if schedule else None
    step = started(model, ours)

    def agree(found: np.ndarray, expected: Any, what: str) -> None:
        expected = expected.detach().numpy()
        largest = max(float(np.abs(expected).max()), 1e-3)
        np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * largest, err_msg=what)

    for number in range(STEPS):
        given = gradients(number, shapes)
        step.update(given)
        for name, parameter in theirs.items():
            parameter.grad = torch.tensor(given[name]).to(parameter.dtype)
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        for name, array in model.state_dict().items():
            agree(array, theirs[name], f"{name}, step {number}")
    kept = {name: array for name, array in step.state_dict().items() if name != "step"}
    products = {name: kept.pop(name) for name in list(kept) if name in ours.products}
    for name, parameter in theirs.items():
        for slot, vector in optimizer.state[parameter].items():
            if slot in products:
                agree(products[slot][step.rules.place[name]], vector, slot)
            elif slot != "step" and vector is not None:
                agree(kept.pop(f"{slot}.{name}"), vector, f"{slot}.{name}")
    unused = {name for name, array in kept.items() if groups is not None and not array.any()}
    assert not set(kept) - unused, "the same vectors are kept, under the same names"
