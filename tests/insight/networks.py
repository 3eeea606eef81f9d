"""Small float64 networks whose derivatives can be checked by finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np

from striate import nn, ops
from striate.data import Standardizer
from striate.graph.value import Array, Value

SHAPE = (2, 7, 6)


def chain(activation: type[nn.Module] = nn.Tanh) -> nn.Sequential:
    """Build a convolution, batch normalization with non-trivial statistics, pooling, and two linear layers.

    The model standardizes its inputs.
    """
    model = nn.Sequential({
        "conv1": nn.Conv2d(2, 5, 3, padding=1, bias=False), "norm": nn.BatchNorm2d(5), "act1": activation(),
        "pool": nn.MaxPool2d(2), "conv2": nn.Conv2d(5, 4, 3, padding=1), "act2": activation(),
        "flatten": nn.Flatten(), "fc": nn.Linear(None, 3),
    }).infer(SHAPE).initialize(3).double()  # fmt: skip
    random = np.random.default_rng(4)
    state = model.state_dict()
    state["norm.running_mean"] = random.standard_normal(5) * 0.2
    state["norm.running_var"] = 0.5 + random.random(5)
    state["norm.weight"] = 1 + 0.3 * random.standard_normal(5)
    model.load_state_dict(state)
    model.standardizer = Standardizer(np.array([100, 130], np.float32), np.array([60, 70], np.float32), 1e-8)
    return model


class Custom(nn.Module):
    """A network whose ``forward`` has its own operations, a layer used twice, a residual block and a branch."""

    def __init__(self) -> None:
        self.conv1 = nn.Conv2d(2, 4, 3, padding=1)
        self.act = nn.ReLU()
        self.block = nn.Residual(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)))
        self.fc = nn.Linear(None, 3)

    def forward(self, x: Value) -> Value:
        y = self.act(self.conv1(x))
        y = ops.max_pool(self.act(self.block(y)), 2)
        return self.fc(ops.flatten(ops.concat([y, ops.tanh(y)]))) * 0.5


def custom() -> Custom:
    return Custom().infer(SHAPE).initialize(1).double()


def picture(seed: int = 0, count: int | None = None) -> Array:
    """Return a random uint8 picture (2, 7, 6), or ``count`` of them."""
    shape = SHAPE if count is None else (count, *SHAPE)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def finite_differences(function: Any, x: Array, step: float) -> Array:
    """Return ∂f/∂x by central differences, for a function of batches (N, …) → (N,), evaluated as one batch."""
    moves = step * np.eye(x.size).reshape(x.size, *x.shape)
    both = function(np.concatenate([x + moves, x - moves]))
    return ((both[: x.size] - both[x.size :]) / (2 * step)).reshape(x.shape)
