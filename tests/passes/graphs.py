"""The training graph of a small network with everything that passes treat differently, and its arrays."""

from __future__ import annotations

import numpy as np

from striate.graph.graph import Graph, Input
from striate.graph.reshape import reshape
from striate.graph.value import Array, DType, N, TensorType, Value
from striate.ops.activation import Relu, Tanh
from striate.ops.convolution import Convolution
from striate.ops.linear import Linear
from striate.ops.max_pooling import MaxPooling
from striate.ops.normalization import BatchNormalization
from striate.ops.reduction import Sum
from striate.passes.differentiate import differentiate

SAMPLES = 3


def given(name: str, *shape: object, dtype: DType = DType.float64) -> Value:
    """Return a graph input."""
    return Input(name, TensorType(dtype, shape))()  # type: ignore[arg-type]


def total(value: Value) -> Value:
    """Return Σ of all elements as a scalar."""
    return reshape(Sum(tuple(range(value.type.rank)))(value), ())


def convolution(x: Value, w: Value, stride: int = 1) -> Value:
    """Return a 3×3 convolution with one pixel of padding."""
    return Convolution((stride, stride), ((1, 1), (1, 1)), (1, 1), 1)(x, w)


def network(depth: int = 2) -> tuple[Graph, dict[str, Array]]:
    """Build convolutions with normalization and skips, pooling, a linear layer, the loss and all gradients.

    One running statistic is an output too.
    """
    parameters = {"stem": given("stem", 16, 3, 3, 3), "linear": given("linear", 5, 17 * 9)}
    x = given("x", N, 3, 12, 12)
    h = Relu()(convolution(x, parameters["stem"]))
    statistics: dict[str, Value] = {}
    for number in range(depth):
        w = parameters[f"w{number}"] = given(f"w{number}", 16, 16, 3, 3)
        gamma = parameters[f"gamma{number}"] = given(f"gamma{number}", 16)
        beta = parameters[f"beta{number}"] = given(f"beta{number}", 16)
        y, mean, _ = BatchNormalization(1e-3)(convolution(h, w), gamma, beta)
        statistics[f"mean{number}"] = mean
        h = Relu()(y + h) if number % 2 == 0 else Tanh()(y)
    last = parameters["last"] = given("last", 17, 16, 3, 3)
    pooled = MaxPooling((2, 2), ((0, 0), (0, 0)), (2, 2), (1, 1), False)(convolution(h, last, stride=2))[0]
    scores = Linear()(reshape(pooled, (N, 17 * 9)), parameters["linear"])
    loss = total(scores * scores)
    gradients = differentiate(loss, list(parameters.values()))
    moved = {f"d{name}": gradient for name, gradient in zip(parameters, gradients, strict=True)}
    graph = Graph({"x": x, **parameters}, {"loss": loss, "scores": scores, **statistics, **moved})
    random = np.random.default_rng(0)
    arrays = {name: random.standard_normal(value.type.concrete(SAMPLES)) for name, value in graph.inputs.items()}
    return graph, arrays
