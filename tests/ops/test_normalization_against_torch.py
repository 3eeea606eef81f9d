"""Normalizations against PyTorch's: values and gradients for random shapes, groups and options."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

import striate as st
from striate.graph.value import Array
from tests.properties import examples

torch: Any = pytest.importorskip("torch")
F = torch.nn.functional
ops: Any = st.ops

sizes = some.sampled_from([1, 2, 3, 5, 17])


def _agree(mine: Callable[..., Any], theirs: Callable[..., Any], x: Array, affine: list[Array]) -> None:
    """Compare values, and the gradients of Σ c · y for random c with respect to x and the given γ and β."""
    c = np.random.default_rng(7).standard_normal(x.shape)
    tensors = [torch.tensor(one, requires_grad=True) for one in (x, *affine)]
    expected = theirs(*tensors)
    (expected * torch.tensor(c)).sum().backward()

    def total(c: Any, *arrays: Any) -> Any:
        return ops.sum(mine(*arrays) * c)

    np.testing.assert_allclose(mine(x, *affine), expected.detach().numpy(), rtol=1e-9, atol=1e-9)
    count = 1 + len(affine)
    _, found = st.value_and_grad(total, argnums=tuple(range(1, count + 1)))(c, x, *affine)
    for gradient, tensor in zip(found, tensors, strict=True):
        scale = max(1.0, float(np.abs(tensor.grad.numpy()).max(initial=0)))
        np.testing.assert_allclose(gradient, tensor.grad.numpy(), rtol=1e-7, atol=1e-9 * scale)


def _with(function: Any, *options: Any, **named: Any) -> Callable[..., Any]:
    """Return the function of x, γ and β with these options."""

    def applied(x: Any, *affine: Any) -> Any:
        return function(x, *options, *affine, **named)

    return applied


def _drawn(random: np.random.Generator, shape: tuple[int, ...], affine: tuple[int, ...], count: int) -> Any:
    return 2 * random.standard_normal(shape) + 3, [random.standard_normal(affine) for _ in range(count)]


@given(data=some.data())
@settings(max_examples=examples(3, 8))
def test_layer_norm_and_rms_norm(data: some.DataObject) -> None:
    random = np.random.default_rng(data.draw(some.integers(0, 2**32)))
    shape = tuple(data.draw(some.lists(sizes, min_size=1, max_size=4)))
    last = shape[data.draw(some.integers(0, len(shape) - 1)) :]
    eps = data.draw(some.sampled_from([1e-5, 0.1]))
    x, affine = _drawn(random, shape, last, data.draw(some.integers(0, 2)))
    _agree(_with(ops.layer_norm, last, eps=eps), _with(F.layer_norm, last, eps=eps), x, affine)
    _agree(_with(ops.rms_norm, last, eps=eps), _with(F.rms_norm, last, eps=eps), x, affine[:1])


@given(data=some.data())
@settings(max_examples=examples(3, 8))
def test_group_norm_and_instance_norm(data: some.DataObject) -> None:
    random = np.random.default_rng(data.draw(some.integers(0, 2**32)))
    n, *positions = data.draw(some.lists(some.sampled_from([1, 2, 3, 5]), min_size=1, max_size=4))
    groups, together = data.draw(sizes), data.draw(some.sampled_from([1, 2, 3, 16]))
    shape = (n, groups * together, *positions)
    eps = data.draw(some.sampled_from([1e-5, 0.1]))
    x, affine = _drawn(random, shape, shape[1:2], data.draw(some.sampled_from([0, 2])))
    if n * together * math.prod(positions) > 1:  # PyTorch refuses one value
        _agree(_with(ops.group_norm, groups, eps=eps), _with(F.group_norm, groups, eps=eps), x, affine)
    if math.prod(positions) > 1:
        _agree(_with(ops.instance_norm, None, None, eps=eps), _with(F.instance_norm, None, None, eps=eps), x, affine)


@given(data=some.data())
@settings(max_examples=examples(1, 8))
def test_local_response_norm(data: some.DataObject) -> None:
    random = np.random.default_rng(data.draw(some.integers(0, 2**32)))
    shape = (data.draw(some.integers(1, 3)), data.draw(sizes), *data.draw(some.lists(sizes, min_size=1, max_size=2)))
    options = {"alpha": 0.3, "beta": data.draw(some.sampled_from([0.5, 0.75, 2.0])), "k": 1.5}
    size = data.draw(some.integers(1, 6))
    _agree(
        _with(ops.local_response_norm, size, **options),
        _with(F.local_response_norm, size, **options),
        random.standard_normal(shape),
        [],
    )
