"""The judge of the NumPy references and gradient rules: PyTorch, in float64. Tests that import this skip without it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import striate.ops as ops
from striate.graph.graph import Graph, Input
from striate.graph.interpreter import interpret
from striate.graph.value import Array, TensorType, Value, dtype_of
from striate.passes.differentiate import differentiate

torch = pytest.importorskip("torch", reason="PyTorch is the judge here")


def ours(function: Callable[..., Value], arrays: list[Array], draw: Array | None) -> tuple[Array, list[Array]]:
    """Return the function's result, and the gradients of Σ draw · result with respect to each float array."""
    inputs = [Input(f"x{i}", TensorType(dtype_of(a.dtype), a.shape))() for i, a in enumerate(arrays)]
    y = function(*inputs)
    given_names = {f"x{i}": v for i, v in enumerate(inputs)}
    values = {f"x{i}": a for i, a in enumerate(arrays)}
    if draw is None:
        return interpret(Graph(given_names, {"y": y}), values)[0]["y"], []
    seed = Input("draw", y.type)()
    loss = ops.sum(y * seed) if y.shape else y * seed
    floats = [v for v in inputs if v.dtype.is_float]
    outputs = {"y": y, **{f"d{i}": g for i, g in enumerate(differentiate(loss, floats))}}
    found, _ = interpret(Graph({**given_names, "draw": seed}, outputs), {**values, "draw": draw})
    return found["y"], [found[f"d{i}"] for i in range(len(floats))]


def agree(mine: Callable[..., Value], theirs: Callable[..., Any], *arrays: Array, tolerance: float = 1e-10) -> None:
    tensors = [torch.tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    y = theirs(*tensors)
    draw = np.random.default_rng(7).standard_normal(tuple(y.shape))
    (y * torch.tensor(draw)).sum().backward()
    result, gradients = ours(mine, list(arrays), draw)
    np.testing.assert_allclose(result, y.detach().numpy(), rtol=tolerance, atol=tolerance)
    expected = [t.grad.numpy() if t.grad is not None else np.zeros(t.shape) for t in tensors if t.requires_grad]
    for got, want in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)
