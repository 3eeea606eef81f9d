"""Whole training steps as test problems, since some fusions occur only there."""

from __future__ import annotations

import numpy as np

import striate as st
from striate import nn, optim
from striate.codegen.target import current
from striate.compiler import CompiledExecutable
from striate.dtypes import precision_of
from striate.tracing import KEY
from tests.compiled.cases import Problem


def residual_block() -> nn.Sequential:
    """Build a stem, a residual block with a projection, a mean, and a linear layer."""
    body = nn.Sequential(
        nn.Conv2d(16, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Conv2d(32, 32, 3, 1, 1, bias=False), nn.BatchNorm2d(32),
    )  # fmt: skip
    shortcut = nn.Sequential(nn.Conv2d(16, 32, 1, 2, bias=False), nn.BatchNorm2d(32))
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Residual(body, shortcut), nn.ReLU(), nn.GlobalAveragePool(), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


def mixed() -> nn.Sequential:
    """Build a network with what the others lack: branches, dropout, average pooling, odd channels, biases."""
    left = nn.Sequential(nn.Conv2d(5, 7, 1), nn.LeakyReLU(0.1), nn.AvgPool2d(3, 1, 1))
    right = nn.Sequential(nn.Conv2d(5, 19, (3, 2), 1, (1, 0)), nn.Tanh(), nn.Conv2d(19, 16, (1, 2), padding=(0, 1)))
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, 2), nn.Sigmoid(), nn.Concat(left, right), nn.Dropout(0.4), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(None, 17), nn.BatchNorm1d(17), nn.Tanh(), nn.Linear(17, 10),
    )  # fmt: skip


NETWORKS = ("lenet5", "residual", "mixed")
NARROW = tuple(f"{name} bfloat16" for name in NETWORKS) if current().has_bfloat16 else ()
"""The same with activations in bfloat16, where the target has the instructions."""


def step_problems(name: str, batch: int = 5, dtype: str = "float32") -> list[Problem]:
    """Return the gradient program and the update program of a training step.

    The name of the network may end with a precision.
    """
    name, _, precision = name.partition(" ")
    random = np.random.default_rng(3)
    if name == "lenet5":
        model, shape = st.models.lenet5(), (batch, 1, 28, 28)
    elif name == "residual":
        model, shape = residual_block(), (batch, 3, 10, 9)
    elif name == "mixed":
        model, shape = mixed(), (batch, 3, 13, 11)
    else:
        raise ValueError(name)
    model.initialize(0).to(dtype)
    precision = precision_of(precision or "float32")
    step = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.01, momentum=0.9), precision=precision)
    x, y = random.standard_normal(shape).astype(dtype), random.integers(0, 10, batch)
    step(x, y)
    (compiled,) = step._prepared.programs.values()
    last = step._gradients.last
    assert last is not None
    arrays, n = last.arrays, len(last.arrays["x"])
    bindings = {key: np.array(array) for key, array in compiled.bindings.items()}
    if compiled.random:
        arrays = {**arrays, KEY: np.asarray(7, np.int64)}
    gradients = Problem(f"{name} gradients {precision.value}", compiled.graph, dict(arrays), n, bindings, precision)
    made = step._prepared.update_program
    assert isinstance(made, CompiledExecutable)
    bindings = {key: np.array(array) for key, array in made._bindings.items()}
    return [gradients, Problem(f"{name} update", made.compiled.simplified, {}, 1, bindings)]
