"""Compiled convolutions of random options against PyTorch: values and all gradients, in one to three dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import striate
from striate import nn
from striate.graph.value import Array
from tests.properties import examples

torch = pytest.importorskip("torch", reason="PyTorch is the judge here")
F = torch.nn.functional

quick = settings(max_examples=examples(2, 4), deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
long = settings(quick, max_examples=150)

TOLERANCE = {"float64": 1e-12, "float32": 2e-5}
POSITIONS = {1: (1, 2, 3, 7, 12, 19), 2: (1, 2, 3, 5, 8), 3: (1, 2, 3, 4)}


def agree(ours: Any, theirs: Any, arrays: list[Array], dtype: str) -> None:
    """Compare the values, and the gradients of Σ c · y (random c) with respect to each array."""
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    y = theirs(*tensors)
    draw = np.random.default_rng(3).standard_normal(tuple(y.shape))
    (y * torch.tensor(draw)).sum().backward()
    expected = [y.detach().numpy(), *(tensor.grad.numpy() for tensor in tensors)]

    def loss(draw: Any, *values: Any) -> Any:
        return striate.ops.sum(ours(*values) * draw)

    given = [a.astype(dtype) for a in arrays]
    found = [striate.compile(ours)(*given)]
    found += striate.value_and_grad(loss, argnums=tuple(range(1, len(arrays) + 1)))(draw.astype(dtype), *given)[1]
    for name, got, want in zip(("y", "dx", "dw", "db"), found, expected, strict=False):
        assert (got.shape, got.dtype) == (want.shape, np.dtype(dtype)), name
        size = max(float(np.abs(want).max(initial=0)), 1.0)
        assert float(np.abs(got - want).max(initial=0)) <= TOLERANCE[dtype] * size, name


@st.composite
def problems(draw: Any, transposed: bool = False) -> tuple[Any, ...]:
    """Draw (rank, x, w, bias, options of PyTorch's function, dtype)."""
    rank = draw(st.sampled_from((1, 2, 2, 3)))
    form = draw(st.sampled_from(("dense", "dense", "depthwise", "multiplier", "groups", "blocks")))
    if form == "dense":
        groups, inputs, outputs = 1, *(draw(st.sampled_from((1, 3, 16, 17, 20))) for _ in range(2))
    elif form in ("depthwise", "multiplier"):
        groups, inputs = draw(st.sampled_from((2, 3, 17, 33))), 1
        outputs = 1 if form == "depthwise" else draw(st.integers(2, 3))
    elif form == "groups":
        groups = draw(st.sampled_from((2, 3, 5, 12)))
        inputs, outputs = (draw(st.sampled_from((2, 3, 4, 7, 8))) for _ in range(2))
    else:
        groups, inputs, outputs = (
            draw(st.sampled_from((2, 3))),
            *(draw(st.sampled_from((12, 16, 20))) for _ in range(2)),
        )
    n = draw(st.sampled_from((0, 1, 1, 2, 3)))
    kernel = tuple(draw(st.integers(1, {1: 7, 2: 4, 3: 3}[rank])) for _ in range(rank))
    stride = tuple(draw(st.sampled_from((1, 1, 2, 3, 5))) for _ in range(rank))
    dilation = tuple(draw(st.sampled_from((1, 1, 2, 3))) for _ in range(rank))
    padding = tuple(draw(st.integers(0, 3)) for _ in range(rank))
    sizes = tuple(draw(st.sampled_from(POSITIONS[rank])) for _ in range(rank))
    random = np.random.default_rng(draw(st.integers(0, 2**20)))
    x = random.standard_normal((n, groups * inputs, *sizes))
    w = random.standard_normal(
        (groups * inputs, outputs, *kernel) if transposed else (groups * outputs, inputs, *kernel)
    )
    b = random.standard_normal(groups * outputs)
    options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    if transposed:
        options["output_padding"] = tuple(
            draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)
        )
        reached = zip(sizes, kernel, stride, dilation, padding, options["output_padding"], strict=True)
        assume(all((size - 1) * s + d * (k - 1) + 1 - 2 * p + more >= 1 for size, k, s, d, p, more in reached))
    else:
        reached = zip(sizes, kernel, dilation, padding, strict=True)
        assume(all(size + 2 * p >= d * (k - 1) + 1 for size, k, d, p in reached))
    return rank, x, w, b, options, draw(st.sampled_from(("float64", "float32")))


def check_convolution(problem: tuple[Any, ...]) -> None:
    rank, x, w, b, options, dtype = problem
    theirs = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    agree(
        lambda x, w, b: striate.ops.conv(x, w, b, **options),
        lambda x, w, b: theirs(x, w, b, **options),
        [x, w, b],
        dtype,
    )


def check_transposed(problem: tuple[Any, ...]) -> None:
    rank, x, w, b, options, dtype = problem
    theirs = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
    agree(
        lambda x, w, b: striate.ops.conv_transpose(x, w, b, **options),
        lambda x, w, b: theirs(x, w, b, **options),
        [x, w, b],
        dtype,
    )


@quick
@given(problems())
def test_convolution(problem: tuple[Any, ...]) -> None:
    check_convolution(problem)


@quick
@given(problems(transposed=True))
def test_transposed_convolution(problem: tuple[Any, ...]) -> None:
    check_transposed(problem)


@pytest.mark.slow
@long
@given(problems())
def test_many_convolutions(problem: tuple[Any, ...]) -> None:
    check_convolution(problem)


@pytest.mark.slow
@long
@given(problems(transposed=True))
def test_many_transposed_convolutions(problem: tuple[Any, ...]) -> None:
    check_transposed(problem)


LAYERS = {1: (nn.Conv1d, nn.ConvTranspose1d), 2: (nn.Conv2d, nn.ConvTranspose2d), 3: (nn.Conv3d, nn.ConvTranspose3d)}
SIZES = {1: (11,), 2: (7, 5), 3: (4, 5, 6)}


@pytest.mark.parametrize(
    ("rank", "mode"),
    [
        (2, "zeros"),
        (2, "reflect"),
        *(
            pytest.param(rank, mode, marks=pytest.mark.slow)
            for rank, mode in [(1, "reflect"), (2, "replicate"), (2, "circular"), (3, "replicate")]
        ),
    ],
)
def test_layers_with_padding_modes(rank: int, mode: str) -> None:
    """Compares values and all gradients, in a batch and for one sample."""
    options: dict[str, Any] = {"padding": 2 if rank < 3 else 1, "stride": 2, "groups": 2, "padding_mode": mode}
    check_layer(LAYERS[rank][0](4, 6, 3, **options), getattr(torch.nn, f"Conv{rank}d")(4, 6, 3, **options), rank)


@pytest.mark.parametrize("mode", ["zeros", "circular"])
def test_padding_that_keeps_the_size(mode: str) -> None:
    options: dict[str, Any] = {"padding": "same", "dilation": 2, "padding_mode": mode, "bias": False}
    check_layer(nn.Conv2d(4, 3, (2, 3), **options), torch.nn.Conv2d(4, 3, (2, 3), **options), 2)


@pytest.mark.parametrize("rank", [1, 2, pytest.param(3, marks=pytest.mark.slow)])
def test_transposed_layers(rank: int) -> None:
    options: dict[str, Any] = {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2, "dilation": 2}
    theirs = getattr(torch.nn, f"ConvTranspose{rank}d")(4, 6, 3, **options)
    check_layer(LAYERS[rank][1](4, 6, 3, **options), theirs, rank)
    inferred = LAYERS[rank][1](None, 6, 3, **options)
    check_layer(inferred, theirs, rank)
    assert inferred.in_channels == 4


def check_layer(ours: nn.Module, theirs: Any, rank: int) -> None:
    theirs = theirs.double()
    ours.double().load_state_dict({name: tensor.numpy() for name, tensor in theirs.state_dict().items()})
    random = np.random.default_rng(rank)
    x, names = random.standard_normal((2, 4, *SIZES[rank])), [name for name, _ in theirs.named_parameters()]
    theirs.zero_grad()
    given = torch.tensor(x, requires_grad=True)
    y = theirs(given)
    target = random.standard_normal(tuple(y.shape))
    F.mse_loss(y, torch.tensor(target)).backward()
    np.testing.assert_allclose(ours(x), y.detach().numpy(), rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(ours(x[0]), y[0].detach().numpy(), rtol=1e-11, atol=1e-12)
    _, dx = striate.value_and_grad(lambda x, target: striate.ops.mse_loss(ours(x), target))(x, target)
    np.testing.assert_allclose(dx, given.grad.numpy(), rtol=1e-10, atol=1e-12)
    found = striate.TrainingStep(ours, nn.MSELoss(), striate.optim.SGD(lr=0.1)).gradients(x, target)
    for name in names:
        expected = dict(theirs.named_parameters())[name].grad.numpy()
        np.testing.assert_allclose(found[name], expected, rtol=1e-10, atol=1e-12)
