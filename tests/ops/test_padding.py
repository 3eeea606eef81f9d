"""Padding against PyTorch: all modes, ranks and signs, values and gradients."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import striate
from striate import nn
from striate.errors import OptionError, ShapeError
from striate.graph.graph import Input
from striate.graph.value import DType, N, TensorType
from striate.ops import conv, pad
from striate.ops.convolution import Convolution
from tests.ops.torch_judge import agree, torch

F = torch.nn.functional


quick = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def _pairs(data: Any, sizes: tuple[int, ...], mode: str) -> tuple[int, ...]:
    """Draw paddings that the mode accepts, in the order of ``pad``."""
    found: list[int] = []
    for size in reversed(sizes):
        before = data.draw(st.integers(-(size // 2), 4), label="before")
        after = data.draw(st.integers(-((size - 1) // 2), 4), label="after")
        most = {"reflect": size - 1, "circular": size + min(0, before) + min(0, after)}.get(mode, 4)
        found += [min(before, most), min(after, most)]
    return tuple(found)


@quick
@given(st.data(), st.integers(1, 3), st.sampled_from(["constant", "reflect", "replicate", "circular"]))
def test_positions(data: Any, rank: int, mode: str) -> None:
    batched = data.draw(st.booleans(), label="batched")
    sizes = tuple(data.draw(st.integers(1, 6)) for _ in range(rank))
    padding = _pairs(data, sizes, mode)
    value = data.draw(st.sampled_from([0.0, -1.5])) if mode == "constant" else 0.0
    x = np.random.default_rng(0).standard_normal((*((2,) if batched else ()), 3, *sizes))
    agree(lambda x: pad(x, padding, mode, value), lambda x: F.pad(x, padding, mode, value), x)


@quick
@given(st.data(), st.integers(1, 5))
def test_a_constant_on_any_axes(data: Any, rank: int) -> None:
    sizes = tuple(data.draw(st.integers(1, 4)) for _ in range(rank))
    count = data.draw(st.integers(1, rank))
    padding = tuple(data.draw(st.integers(-(size // 2), 3)) for size in sizes[::-1][:count] for _ in range(2))
    if any(n + a + b < 1 for n, a, b in zip(sizes[::-1], padding[::2], padding[1::2])):
        return
    x = np.random.default_rng(0).standard_normal(sizes)
    agree(lambda x: pad(x, padding, value=2.0), lambda x: F.pad(x, padding, value=2.0), x)


def test_compiled_values_and_gradients() -> None:
    random = np.random.default_rng(0)
    for shape, padding, mode in (
        ((2, 3, 9, 7), (3, 2, 1, 8), "reflect"),
        ((3, 17, 5), (5, 2), "circular"),
        ((4, 5, 6), (9, 0, 0, 3), "replicate"),  # one sample
        ((2, 3, 4, 5), (1, 1, 0, 2, 1, 0), "constant"),  # a channel too
    ):
        x = random.standard_normal(shape)
        tensor = torch.tensor(x, requires_grad=True)
        expected = F.pad(tensor, padding, mode)
        c = random.standard_normal(tuple(expected.shape))
        (expected * torch.tensor(c)).sum().backward()
        np.testing.assert_array_equal(striate.ops.pad(x, padding, mode), expected.detach().numpy())
        _, dx = striate.value_and_grad(lambda x, p=padding, m=mode, c=c: striate.ops.sum(pad(x, p, m) * c))(x)
        np.testing.assert_allclose(dx, tensor.grad.numpy(), rtol=1e-13, atol=1e-13)


def test_minus_infinity_before_a_max_pooling() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 4))
    tensor = torch.tensor(x, requires_grad=True)
    theirs = F.max_pool2d(F.pad(tensor, (1, 2, 0, 1), value=-np.inf), 3, 2)
    theirs.sum().backward()

    def total(x: Any) -> Any:
        return striate.ops.sum(striate.ops.max_pool(pad(x, (1, 2, 0, 1), value=-np.inf), 3, 2))

    value, dx = striate.value_and_grad(total)(x)
    np.testing.assert_allclose(value, theirs.sum().item())
    np.testing.assert_array_equal(dx, tensor.grad.numpy())


def test_zeros_before_a_convolution_are_its_own_padding() -> None:
    random = np.random.default_rng(0)
    x, w = random.standard_normal((2, 3, 6, 5)), random.standard_normal((4, 3, 3, 3))
    function = striate.value_and_grad(
        lambda x, w: striate.ops.sum(striate.ops.conv(pad(x, (0, 1, 2, 1)), w, padding=(1, 0), stride=2) ** 2),
        argnums=(0, 1),
    )
    tensors = [torch.tensor(one, requires_grad=True) for one in (x, w)]
    loss = (F.conv2d(F.pad(tensors[0], (0, 1, 2, 1)), tensors[1], padding=(1, 0), stride=2) ** 2).sum()
    loss.backward()
    value, gradients = function(x, w)
    np.testing.assert_allclose(value, loss.item(), rtol=1e-12)
    for got, tensor in zip(gradients, tensors, strict=True):
        np.testing.assert_allclose(got, tensor.grad.numpy(), rtol=1e-10, atol=1e-11)
    y = conv(pad(Input("x", TensorType(DType.float32, (N, 3, 6, 5)))(), (0, 1, 2, 1)), Input("w", _W)(), padding=1)
    assert isinstance(y.node.op, Convolution)
    assert y.node.op.padding == ((3, 2), (1, 2))
    assert isinstance(y.node.inputs[0].node.op, Input)


_W = TensorType(DType.float32, (4, 3, 3, 3))


def test_integers() -> None:
    x = np.arange(6, dtype=np.uint8).reshape(1, 1, 2, 3)
    np.testing.assert_array_equal(
        striate.ops.pad(x, (1, 0), value=9), np.pad(x, [(0, 0)] * 3 + [(1, 0)], constant_values=9)
    )
    assert striate.ops.pad(x > 2, (1, 0), value=True).all(axis=(0, 1, 2)).tolist() == [True, False, False, False]
    for dtype, value in (
        ("u1", 0.5),
        ("u1", 300),
        ("u1", -1),
        ("i4", 2**40),
        ("i8", 2**53 + 1),
        ("i8", np.inf),
        ("f4", 1e39),
        ("?", 2),
    ):
        with pytest.raises(OptionError, match=rf"value={re.escape(str(value))}.*expected"):
            striate.ops.pad(x.astype(dtype), (1, 0), value=value)


@pytest.mark.parametrize("name", [name for name in dir(nn) if "Pad" in name])
def test_layers(name: str) -> None:
    rank = int(name[-2])
    arguments = (2, 0.5) if name.startswith("Constant") else (2,)
    own, theirs = getattr(nn, name)(*arguments), getattr(torch.nn, name)(*arguments)
    for lead in ((2, 3), (3,)):
        x = np.random.default_rng(0).standard_normal((*lead, 4, 5, 3)[: len(lead) + rank]).astype(np.float32)
        function = striate.compile(own, batched=len(lead) == 2)
        np.testing.assert_array_equal(function(x), theirs(torch.tensor(x)).numpy())
    sides = tuple(range(1, 2 * rank + 1)) if not name.startswith(("Reflection", "Circular")) else (1, 0) * rank
    own, theirs = getattr(nn, name)(sides, *arguments[1:]), getattr(torch.nn, name)(sides, *arguments[1:])
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5, 3)[: 2 + rank]).astype(np.float32)
    np.testing.assert_array_equal(own(x), theirs(torch.tensor(x)).numpy())


@pytest.mark.parametrize(
    ("shape", "padding", "mode", "text"),
    [
        ((2, 3, 4), (4, 0), "reflect", "4 elements has 3 to reflect, not 4"),
        ((2, 3, 4), (0, 5), "circular", "cannot be wrapped by 5"),
        ((2, 3, 4), (-2, -2), "replicate", "leaves nothing of 4 elements"),
        ((2, 3, 4), (-3, -2), "constant", "leaves nothing of 4 elements"),
        ((2, 3, 4), (-5, 3), "constant", "leaves nothing of 4 elements"),  # more than there is
        ((2, 0, 4), (0, 0, -1, 3), "constant", "leaves nothing of 0 elements"),
        ((2, 3, 0), (1, 0), "replicate", "0 elements has none to repeat"),
        ((2, 3, 4), (1, 1, 1, 1, 1, 1), "reflect", "3 pairs of numbers"),
        ((2, 3), (1,) * 6, "constant", "at most one pair for each"),
        ((N, 3), (0, 0, 1, 1), "constant", "cannot pad N"),
    ],
)
def test_refusals(shape: Any, padding: tuple[int, ...], mode: str, text: str) -> None:
    x = Input("x", TensorType(DType.float32, shape))()
    with pytest.raises(ShapeError, match=text) as refusal:
        pad(x, padding, mode)
    assert "help: " in str(refusal.value)


@pytest.mark.parametrize("padding", [3, (1,), (1, 2, 3), (1.5, 2), (True, 1), (), "same", (2**40, 0)])
def test_what_is_no_padding(padding: Any) -> None:
    x = Input("x", TensorType(DType.float32, (N, 3, 4)))()
    with pytest.raises(OptionError, match="two for each axis"):
        pad(x, padding)


def test_wrong_options() -> None:
    x = Input("x", TensorType(DType.float32, (N, 3, 4)))()
    with pytest.raises(OptionError, match="constant, reflect, replicate, circular"):
        pad(x, (1, 1), "mirror")
    with pytest.raises(OptionError, match="no effect"):
        pad(x, (1, 1), "reflect", 1.0)
    with pytest.raises(OptionError, match="expected a whole number or 4"):
        nn.ZeroPad2d((1, 2))
    with pytest.raises(ShapeError, match=r'"0" ZeroPad2d\(1\): its input \(N, 12\) has 2 axes'):
        nn.Sequential(nn.ZeroPad2d(1))(np.zeros((2, 12), np.float32))
