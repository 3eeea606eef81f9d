"""Activations, softmax and elementwise arithmetic against PyTorch: values, gradients, special numbers, layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as strategy

import striate as st
from striate import nn
from striate.errors import OptionError, ShapeError

torch: Any = pytest.importorskip("torch")
F = torch.nn.functional
ops = st.ops
Function = Callable[..., Any]

ACTIVATIONS: dict[str, tuple[Function, Function]] = {
    "elu": (ops.elu, F.elu),
    "elu 0.3": (lambda x: ops.elu(x, 0.3), lambda x: F.elu(x, 0.3)),
    "selu": (ops.selu, F.selu),
    "celu": (ops.celu, F.celu),
    "celu 2": (lambda x: ops.celu(x, 2.0), lambda x: F.celu(x, 2.0)),
    "gelu": (ops.gelu, F.gelu),
    "gelu tanh": (lambda x: ops.gelu(x, "tanh"), lambda x: F.gelu(x, approximate="tanh")),
    "silu": (ops.silu, F.silu),
    "mish": (ops.mish, F.mish),
    "softplus": (ops.softplus, F.softplus),
    "softplus 2, 3": (lambda x: ops.softplus(x, 2.0, 3.0), lambda x: F.softplus(x, 2.0, 3.0)),
    "softsign": (ops.softsign, F.softsign),
    "logsigmoid": (ops.logsigmoid, F.logsigmoid),
    "tanhshrink": (ops.tanhshrink, F.tanhshrink),
    "relu6": (ops.relu6, F.relu6),
    "hardtanh": (ops.hardtanh, F.hardtanh),
    "hardtanh -2, 3": (lambda x: ops.hardtanh(x, -2.0, 3.0), lambda x: F.hardtanh(x, -2.0, 3.0)),
    "hardsigmoid": (ops.hardsigmoid, F.hardsigmoid),
    "hardswish": (ops.hardswish, F.hardswish),
    "hardshrink": (ops.hardshrink, F.hardshrink),
    "softshrink": (ops.softshrink, F.softshrink),
    "threshold": (lambda x: ops.threshold(x, 0.3, -2.0), lambda x: F.threshold(x, 0.3, -2.0)),
}
ARITHMETIC: dict[str, tuple[Function, Function]] = {
    "expm1": (ops.expm1, torch.expm1),
    "log1p": (ops.log1p, torch.log1p),
    "sin": (ops.sin, torch.sin),
    "cos": (ops.cos, torch.cos),
    "tan": (ops.tan, torch.tan),
    "erf": (ops.erf, torch.erf),
    "rsqrt": (ops.rsqrt, torch.rsqrt),
    "reciprocal": (ops.reciprocal, torch.reciprocal),
    "square": (ops.square, torch.square),
    "sign": (ops.sign, torch.sign),
    "floor": (ops.floor, torch.floor),
    "ceil": (ops.ceil, torch.ceil),
    "round": (ops.round, torch.round),
    "power 2.5": (lambda x: ops.power(x, 2.5), lambda x: torch.pow(x, 2.5)),
    "power 3": (lambda x: ops.power(x, 3), lambda x: torch.pow(x, 3)),
    "power -3": (lambda x: ops.power(x, -3), lambda x: torch.pow(x, -3)),
    "power 0": (lambda x: ops.power(x, 0), lambda x: torch.pow(x, 0)),
    "2 to the x": (lambda x: ops.power(2.0, x), lambda x: torch.pow(2.0, x)),
    "clip": (lambda x: ops.clip(x, -0.5, 1.0), lambda x: torch.clamp(x, -0.5, 1.0)),
    "clip from": (lambda x: ops.clip(x, 0.25), lambda x: torch.clamp(x, 0.25)),
    "clip to": (lambda x: ops.clip(x, max=0.25), lambda x: torch.clamp(x, max=0.25)),
    "clip beyond": (lambda x: ops.clip(x, 1.0, -1.0), lambda x: torch.clamp(x, 1.0, -1.0)),
}
ALL = {**ACTIVATIONS, **ARITHMETIC}
SPECIAL = [0.0, -0.0, math.inf, -math.inf, math.nan, 1e4, -1e4, 1e-30, -1e-30, 88.0, -88.0, 700.0, -700.0, 2.0, -20.0]


def compared(ours: Function, theirs: Function, x: np.ndarray, tolerance: float) -> None:
    """Compare the value and the gradient of Σ c · f(x)."""
    c = np.linspace(-1, 2, x.size).reshape(x.shape).astype(x.dtype)
    y = st.compile(ours)(x)
    _, dx = st.value_and_grad(lambda x, c: ops.sum(ours(x) * c))(x, c)
    there = torch.tensor(x, requires_grad=True)
    expected = theirs(there)
    (expected * torch.tensor(c)).sum().backward()
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(dx, there.grad.numpy(), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [pytest.param(np.float32, marks=pytest.mark.slow), np.float64])
@pytest.mark.parametrize("name", ALL)
def test_values_and_gradients(name: str, dtype: Any) -> None:
    x = (2 * np.random.default_rng(3).standard_normal((3, 7, 5))).astype(dtype)
    if name in ("log1p", "rsqrt", "power 2.5"):
        x = np.abs(x) + dtype(0.1)
    exact = 1e-7 if name == "hardsigmoid" else 1e-12  # PyTorch multiplies by 1/6 in float32
    compared(*ALL[name], x, 2e-5 if dtype is np.float32 else exact)


@pytest.mark.parametrize("name", ALL)
def test_special_numbers(name: str) -> None:
    """float32 is compared with PyTorch in float64 too, since PyTorch's GELU loses precision for very negative x;
    PyTorch's sign(NaN) is 0.
    """
    ours, theirs = ALL[name]
    x = np.array([one for one in SPECIAL if not (name == "sign" and math.isnan(one))])
    with np.errstate(all="ignore"):
        expected = theirs(torch.tensor(x)).numpy()
    np.testing.assert_allclose(ours(x), expected, rtol=1e-12, atol=1e-30)
    small = x.astype(np.float32)
    with np.errstate(all="ignore"):
        expected = theirs(torch.tensor(small.astype(np.float64))).numpy().astype(np.float32)
    np.testing.assert_allclose(ours(small), expected, rtol=2e-6, atol=1e-36)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients_at_special_numbers_are_finite_where_pytorchs_are(name: str) -> None:
    ours, theirs = ACTIVATIONS[name]
    x = np.array([one for one in SPECIAL if not math.isnan(one)])
    _, dx = st.value_and_grad(lambda x: ops.sum(ours(x)))(x)
    there = torch.tensor(x, requires_grad=True)
    theirs(there).sum().backward()
    expected = there.grad.numpy()
    close = np.isclose(dx, expected, rtol=1e-7, atol=1e-12, equal_nan=True)
    assert close[np.isfinite(expected)].all(), (x[~close], dx[~close], expected[~close])


shapes = strategy.lists(strategy.sampled_from([1, 2, 3, 5, 17]), min_size=1, max_size=5).filter(
    lambda sizes: math.prod(sizes) < 3000
)


@settings(max_examples=settings.default.max_examples // 4)
@given(shapes, strategy.integers(0, 4), strategy.sampled_from(["softmax", "log_softmax"]), strategy.booleans())
def test_softmax_along_any_axis(sizes: list[int], axis: int, name: str, double: bool) -> None:
    dim = axis % len(sizes) - len(sizes) * (axis % 2)
    x = (5 * np.random.default_rng(len(sizes)).standard_normal(sizes)).astype(np.float64 if double else np.float32)
    ours, theirs = getattr(ops, name), getattr(F, name)
    compared(lambda x: ours(x, dim), lambda x: theirs(x, dim), x, 1e-12 if double else 3e-6)


@pytest.mark.parametrize(("sizes", "dim"), [((3, 5000), 1), ((2, 5000, 3), 1), ((2, 3, 5000), 2), ((5000, 3), 0)])
def test_softmax_of_wide_axes(sizes: tuple[int, ...], dim: int) -> None:
    x = np.random.default_rng(0).standard_normal(sizes).astype(np.float32)
    compared(lambda x: ops.log_softmax(x, dim), lambda x: F.log_softmax(x, dim), x, 2e-5)


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_softmax_of_huge_and_infinite_numbers(dim: int) -> None:
    x = np.zeros((3, 4, 5), np.float32)
    x[0, 0, 0], x[1, 1, 1], x[2, 2, 2], x[0, 3, 4] = 1e4, -1e4, -np.inf, np.nan
    for name in ("softmax", "log_softmax"):
        expected = getattr(F, name)(torch.tensor(x), dim).numpy()
        np.testing.assert_allclose(getattr(ops, name)(x, dim), expected, rtol=1e-6, atol=1e-6)


def test_softmax_of_a_batch_of_any_size() -> None:
    function = st.compile(lambda x: ops.softmax(x, -1), batched=True)
    x = np.random.default_rng(0).standard_normal((5, 3, 17)).astype(np.float32)
    for n in (5, 1, 0, 3):
        np.testing.assert_allclose(function(x[:n]), F.softmax(torch.tensor(x[:n]), -1).numpy(), rtol=1e-6)
    with pytest.raises(ShapeError, match="axis 0"):
        st.compile(lambda x: ops.softmax(x, 0), batched=True)(x)


@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_glu_and_softmin(dim: int) -> None:
    x = np.random.default_rng(1).standard_normal((4, 6, 2)).astype(np.float32)
    there = torch.tensor(x, requires_grad=True)
    F.glu(there, dim).square().sum().backward()
    _, dx = st.value_and_grad(lambda x: ops.sum(ops.square(ops.glu(x, dim))))(x)
    np.testing.assert_allclose(ops.glu(x, dim), F.glu(torch.tensor(x), dim).numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(dx, there.grad.numpy(), rtol=1e-5, atol=1e-6)
    compared(lambda x: ops.softmin(x, dim), lambda x: F.softmin(x, dim), x, 1e-5)


def test_glu_needs_halves() -> None:
    with pytest.raises(ShapeError, match="no halves"):
        ops.glu(np.zeros((2, 3), np.float32))


@pytest.mark.parametrize(
    ("sizes", "channels"), [((4, 3, 5), 3), ((4, 3, 5), 1), ((4, 17), 17), ((6,), 1), ((2, 3, 2, 2), 3)]
)
def test_prelu(sizes: tuple[int, ...], channels: int) -> None:
    random = np.random.default_rng(2)
    x, w = random.standard_normal(sizes), random.standard_normal(channels)
    there, slope = torch.tensor(x, requires_grad=True), torch.tensor(w, requires_grad=True)
    expected = F.prelu(there, slope)
    expected.square().sum().backward()
    np.testing.assert_allclose(ops.prelu(x, w), expected.detach().numpy(), rtol=1e-12)
    _, (dx, dw) = st.value_and_grad(lambda x, w: ops.sum(ops.square(ops.prelu(x, w))), argnums=(0, 1))(x, w)
    np.testing.assert_allclose(dx, there.grad.numpy(), rtol=1e-12)
    np.testing.assert_allclose(dw, slope.grad.numpy(), rtol=1e-12)


def test_prelu_refuses_other_numbers_of_weights() -> None:
    with pytest.raises(ShapeError, match=r"give a weight of shape \(1,\) or, one for each channel, \(3,\)"):
        ops.prelu(np.zeros((2, 3), np.float32), np.zeros(4, np.float32))


LAYERS = [
    (nn.ELU, {"alpha": 0.5}), (nn.SELU, {}), (nn.CELU, {"alpha": 2.0}), (nn.GELU, {}),
    (nn.GELU, {"approximate": "tanh"}), (nn.SiLU, {}), (nn.Mish, {}), (nn.Softsign, {}), (nn.LogSigmoid, {}),
    (nn.Softplus, {"beta": 2.0, "threshold": 5.0}),
    (nn.Tanhshrink, {}), (nn.ReLU6, {}), (nn.Hardtanh, {"min_val": -2.0, "max_val": 0.5}), (nn.Hardsigmoid, {}),
    (nn.Hardswish, {}), (nn.Hardshrink, {"lambd": 0.2}), (nn.Softshrink, {"lambd": 0.2}),
    (nn.Threshold, {"threshold": 0.1, "value": 3.0}), (nn.PReLU, {"num_parameters": 4, "init": 0.1}), (nn.PReLU, {}),
    (nn.Softmax, {"dim": 2}), (nn.LogSoftmax, {"dim": -1}), (nn.Softmin, {"dim": 1}), (nn.GLU, {"dim": 1}),
    (nn.Softmax2d, {}),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "options"), LAYERS, ids=lambda one: getattr(one, "__name__", None))
def test_layers_have_pytorchs_names_options_and_state(layer: Any, options: dict[str, Any]) -> None:
    there, ours = getattr(torch.nn, layer.__name__)(**options), layer(**options)
    x = np.random.default_rng(0).standard_normal((3, 4, 5, 2)).astype(np.float32)
    np.testing.assert_allclose(ours(x), there(torch.tensor(x)).detach().numpy(), rtol=1e-5, atol=1e-6)
    assert list(ours.state_dict()) == list(there.state_dict())
    foreign = ours.torch_layer()
    if foreign is not None:
        assert getattr(torch.nn, foreign.name)(**foreign.options) is not None


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: nn.ELU(alpha=math.nan), "ELU: alpha"),
        (lambda: nn.ELU(inplace=True), "inplace"),
        (lambda: nn.CELU(0.0), "CELU: alpha"),
        (lambda: nn.GELU("exact"), "none, tanh"),
        (lambda: nn.Softplus(beta=0), "Softplus: beta"),
        (lambda: nn.Hardtanh(1.0, -1.0), "min_val below max_val"),
        (lambda: nn.Softshrink(-0.1), "Softshrink: lambd"),
        (lambda: nn.PReLU(0), "PReLU: num_parameters"),
        (lambda: nn.Softmax(dim=1.5), "Softmax: dim"),
        (lambda: ops.clip(np.zeros(3), math.nan), "clip: min"),
    ],
)
def test_options_without_meaning_are_refused(make: Function, what: str) -> None:
    with pytest.raises(OptionError, match=what):
        make()
