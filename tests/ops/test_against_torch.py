"""The NumPy references and the gradient rules against PyTorch, in float64, over random shapes and options."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import striate.ops as ops
from striate.errors import ShapeError
from striate.graph.graph import Graph, Input
from striate.graph.interpreter import interpret
from striate.graph.reshape import reshape
from striate.graph.value import Array, TensorType, Value, dtype_of
from striate.ops.normalization import batch_norm_with_statistics
from striate.passes.differentiate import differentiate
from tests.ops.torch_judge import agree, ours, torch

F = torch.nn.functional

quick = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
axes = st.integers(1, 3)
seeds = st.integers(0, 2**20)


def sizes(data: Any, rank: int, low: int, high: int) -> tuple[int, ...]:
    return tuple(data.draw(st.integers(low, high)) for _ in range(rank))


@quick
@given(st.data(), axes, seeds)
def test_convolution(data: Any, rank: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    groups = data.draw(st.sampled_from([1, 1, 2, 3]))
    depth, filters = data.draw(st.integers(1, 3)), groups * data.draw(st.integers(1, 3))
    kernel, stride, dilation = sizes(data, rank, 1, 3), sizes(data, rank, 1, 4), sizes(data, rank, 1, 2)
    size = sizes(data, rank, 1, 8 if rank < 3 else 4)
    padding: Any = data.draw(st.sampled_from(["same", "valid", "number", "tuple"]))
    if padding == "same":
        stride = (1,) * rank
    padding = {"number": 1, "tuple": sizes(data, rank, 0, 3)}.get(padding, padding)
    x = random.standard_normal((data.draw(st.integers(1, 3)), groups * depth, *size))
    w, b = random.standard_normal((filters, depth, *kernel)), random.standard_normal(filters)
    options: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    span = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]
    room = {"same": span, "valid": [0] * rank, 1: [2] * rank}.get(padding) or [2 * p for p in padding]
    if any(length + extra < s for length, extra, s in zip(size, room, span)):
        with pytest.raises(ShapeError, match="larger than the input"):
            ours(lambda *v: ops.conv(*v, **options), [x, w, b], None)
        return
    convolve = [F.conv1d, F.conv2d, F.conv3d][rank - 1]

    def theirs(x: Any, w: Any, b: Any) -> Any:
        if padding == "same":  # PyTorch warns where an even window needs an uneven padding
            pairs = [p for s in reversed(span) for p in ((s - 1) // 2, s - 1 - (s - 1) // 2)]
            return convolve(F.pad(x, pairs), w, b, dilation=dilation, groups=groups)
        return convolve(x, w, b, **options)

    agree(lambda *v: ops.conv(*v, **options), theirs, x, w, b)


def test_same_padding_of_an_even_window_is_pytorchs() -> None:
    x, w = np.arange(5.0).reshape(1, 1, 5), np.array([[[1.0, 10.0]]])
    layer = torch.nn.Conv1d(1, 1, 2, padding="same", bias=False, dtype=torch.float64)
    layer.weight.data = torch.tensor(w)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PyTorch mentions the copy that it makes
        expected = layer(torch.tensor(x)).detach().numpy()
    y, _ = ours(lambda x, w: ops.conv(x, w, padding="same"), [x, w], None)
    np.testing.assert_array_equal(y, expected)


def pooling_case(data: Any, rank: int, seed: int) -> tuple[Array, dict[str, Any]]:
    kernel = sizes(data, rank, 1, 4)
    options = {
        "kernel_size": kernel,
        "stride": data.draw(st.sampled_from([None, sizes(data, rank, 1, 5)])),
        "padding": tuple(data.draw(st.integers(0, k // 2)) for k in kernel),
        "ceil_mode": data.draw(st.booleans()),
    }
    lead = data.draw(st.sampled_from([(1, 1), (2, 3), (3,)]))  # the last is one sample
    positions = sizes(data, rank, 1, 9 - 2 * rank)
    assume(all(n + 2 * p >= k for n, p, k in zip(positions, options["padding"], kernel)))
    return np.random.default_rng(seed).standard_normal((*lead, *positions)), options


@quick
@given(st.data(), axes, seeds)
def test_max_pooling(data: Any, rank: int, seed: int) -> None:
    x, options = pooling_case(data, rank, seed)
    dilation = sizes(data, rank, 1, 2)
    kernel, padding = options["kernel_size"], options["padding"]
    assume(all(n + 2 * p >= (k - 1) * d + 1 for n, p, k, d in zip(x.shape[-rank:], padding, kernel, dilation)))
    pool = [F.max_pool1d, F.max_pool2d, F.max_pool3d][rank - 1]
    given_options = {**options, "dilation": dilation}
    empty = not np.isfinite(pool(torch.tensor(x), **given_options).numpy()).all()
    if empty:  # PyTorch answers −inf where a window holds padding alone
        with pytest.raises(ShapeError, match="only padding"):
            ours(lambda v: ops.max_pool(v, **given_options), [x], None)
        return
    agree(lambda v: ops.max_pool(v, **given_options), lambda v: pool(v, **given_options), x)


@quick
@given(st.data(), axes, st.booleans(), seeds)
def test_average_pooling(data: Any, rank: int, include: bool, seed: int) -> None:
    x, options = pooling_case(data, rank, seed)
    pool = [F.avg_pool1d, F.avg_pool2d, F.avg_pool3d][rank - 1]
    options["count_include_pad"] = include
    if rank > 1:
        options["divisor_override"] = data.draw(st.sampled_from([None, 3, -2]))
    if rank == 3:  # PyTorch's third dimension refuses what its padding would make room for
        assume(all(n >= k for n, k in zip(x.shape[-rank:], options["kernel_size"])))
    agree(lambda v: ops.avg_pool(v, **options), lambda v: pool(v, **options), x)


@quick
@given(st.data(), st.integers(0, 3), st.booleans(), seeds)
def test_batch_normalization(data: Any, rank: int, affine: bool, seed: int) -> None:
    random = np.random.default_rng(seed)
    shape = (data.draw(st.integers(1, 4)), data.draw(st.sampled_from([1, 3, 17])), *sizes(data, rank, 1, 4))
    assume(np.prod(shape) // shape[1] > 1)
    epsilon = data.draw(st.sampled_from([1e-5, 1e-1]))
    x = 3 * random.standard_normal(shape) + 5
    vectors = [random.standard_normal(shape[1]), random.standard_normal(shape[1])] if affine else []

    def theirs(x: Any, gamma: Any = None, beta: Any = None) -> Any:
        return F.batch_norm(x, None, None, gamma, beta, training=True, eps=epsilon)

    def mine(*values: Value) -> Value:
        return batch_norm_with_statistics(*values, eps=epsilon)[0]

    agree(mine, theirs, x, *vectors, tolerance=1e-8)
    flat = np.moveaxis(x, 1, 0).reshape(shape[1], -1)
    for index, expected in ((1, flat.mean(axis=1)), (2, flat.var(axis=1))):
        got, _ = ours(lambda *v, index=index: batch_norm_with_statistics(*v)[index], [x, *vectors], None)
        np.testing.assert_allclose(got, expected, rtol=1e-10)


@quick
@given(st.integers(0, 3), seeds)
def test_normalization_with_running_statistics(rank: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    x = random.standard_normal((3, 5, *range(2, 2 + rank)))
    mean, variance, gamma, beta = random.standard_normal(5), random.random(5), *random.standard_normal((2, 5))

    def theirs(x: Any, mean: Any, variance: Any, gamma: Any, beta: Any) -> Any:
        shape = (1, 5, *(1,) * rank)
        scale = gamma.reshape(shape) / (variance.reshape(shape) + 1e-5).sqrt()
        return (x - mean.reshape(shape)) * scale + beta.reshape(shape)

    agree(ops.batch_norm, theirs, x, mean, variance, gamma, beta)
    tensors = [torch.tensor(a) for a in (x, mean, variance, gamma, beta)]
    expected = F.batch_norm(*tensors, training=False, eps=1e-5).numpy()
    np.testing.assert_allclose(ours(ops.batch_norm, [x, mean, variance, gamma, beta], None)[0], expected, rtol=1e-9)


@quick
@given(
    st.data(),
    st.integers(0, 3),
    st.booleans(),
    st.sampled_from([0.0, 0.1, 1.0]),
    st.sampled_from(["mean", "sum", "none"]),
    seeds,
)
def test_cross_entropy(data: Any, rank: int, weighted: bool, smoothing: float, reduction: str, seed: int) -> None:
    random = np.random.default_rng(seed)
    n, classes = data.draw(st.integers(1, 4)), data.draw(st.sampled_from([1, 2, 3, 17]))
    positions = sizes(data, rank, 1, 3)
    logits = 5 * random.standard_normal((n, classes, *positions))
    labels = random.integers(0, classes, (n, *positions))
    weight = torch.tensor(0.1 + random.random(classes)) if weighted else None

    def mine(logits: Value, labels: Value, weights: Value | None = None) -> Value:
        return ops.cross_entropy(logits, labels, weights, reduction=reduction, label_smoothing=smoothing)

    def theirs(logits: Any, labels: Any) -> Any:
        return F.cross_entropy(logits, labels, weight, reduction=reduction, label_smoothing=smoothing)

    if weight is None:
        agree(mine, theirs, logits, labels)
        return
    # Class weights are constants: the gradient by the logits alone is compared.
    tensor = torch.tensor(logits, requires_grad=True)
    y = theirs(tensor, torch.tensor(labels))
    y.sum().backward()
    arrays = {"logits": logits, "labels": labels, "weight": weight.numpy()}
    inputs = {name: Input(name, TensorType(dtype_of(a.dtype), a.shape))() for name, a in arrays.items()}
    value = mine(inputs["logits"], inputs["labels"], inputs["weight"])
    (gradient,) = differentiate(ops.sum(value) if value.shape else value, [inputs["logits"]])
    found, _ = interpret(Graph(inputs, {"y": value, "d": gradient}), arrays)
    np.testing.assert_allclose(found["y"], y.detach().numpy(), rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(found["d"], tensor.grad.numpy(), rtol=1e-10, atol=1e-10)


SINGLE: dict[str, tuple[Callable[..., Value], Callable[..., Any]]] = {
    "tanh": (ops.tanh, torch.tanh),
    "sigmoid": (ops.sigmoid, torch.sigmoid),
    "relu": (ops.relu, torch.relu),
    "leaky_relu": (lambda x: ops.leaky_relu(x, 0.3), lambda x: F.leaky_relu(x, 0.3)),
    "leaky_relu above one": (lambda x: ops.leaky_relu(x, 2.5), lambda x: F.leaky_relu(x, 2.5)),
    "leaky_relu negative": (lambda x: ops.leaky_relu(x, -0.5), lambda x: F.leaky_relu(x, -0.5)),
    "abs": (ops.abs, torch.abs),
    "exp": (ops.exp, torch.exp),
    "log": (lambda x: ops.log(x * x + 1), lambda x: torch.log(x * x + 1)),
    "sqrt": (lambda x: ops.sqrt(x * x + 1), lambda x: torch.sqrt(x * x + 1)),
    "softmax": (ops.softmax, lambda x: F.softmax(x, 1)),
    "log_softmax": (ops.log_softmax, lambda x: F.log_softmax(x, 1)),
    "global_average_pooling": (ops.global_avg_pool, lambda x: F.adaptive_avg_pool2d(x, 1)),
    "flatten": (ops.flatten, lambda x: torch.flatten(x, 1)),
    "sum": (lambda x: ops.sum(x, (0, -1)), lambda x: x.sum((0, -1))),
    "mean": (ops.mean, torch.mean),
    "variance": (lambda x: ops.moments(x, (2, 3))[1], lambda x: x.var((2, 3), correction=0)),
    "max": (lambda x: ops.max(x, (1, 2), keepdims=True), lambda x: torch.amax(x, (1, 2), keepdim=True)),
    "where": (lambda x: ops.where(ops.greater(x, 0.5), x * 2, -x), lambda x: torch.where(x > 0.5, x * 2, -x)),
    "maximum": (lambda x: ops.maximum(x, 0.25), lambda x: torch.clamp(x, min=0.25)),
}


@pytest.mark.parametrize("name", SINGLE)
def test_functions_of_one_value(name: str) -> None:
    random = np.random.default_rng(5)
    mine, theirs = SINGLE[name]
    for shape in ((2, 3, 4, 5), (1, 1, 1, 1), (2, 17, 1, 3)):
        agree(mine, theirs, random.standard_normal(shape))


@pytest.mark.parametrize("function", ["relu", "leaky_relu", "maximum", "max"])
def test_gradients_at_ties_are_pytorchs(function: str) -> None:
    x = np.array([[0.0, 0.0, -1.0, 0.0]])
    if function == "maximum":
        agree(ops.maximum, torch.maximum, x, np.zeros((1, 4)))
    elif function == "max":
        agree(lambda v: ops.max(v, 1), lambda v: torch.amax(v, 1), x)
    else:
        agree(getattr(ops, function), getattr(F, function), x)


@quick
@given(st.data(), seeds)
def test_linear_and_concatenate(data: Any, seed: int) -> None:
    random = np.random.default_rng(seed)
    n, d, k, more = (data.draw(st.sampled_from([1, 2, 3, 17])) for _ in range(4))
    x, w, b = random.standard_normal((n, d)), random.standard_normal((k, d)), random.standard_normal(k)
    agree(ops.linear, F.linear, x, w, b)
    agree(
        lambda *v: ops.concat(v),
        lambda *v: torch.cat(v, 1),
        *(random.standard_normal((n, c, 2, 3)) for c in (d, k, more)),
    )


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_mean_squared_error(reduction: str) -> None:
    random = np.random.default_rng(3)
    a, b = random.standard_normal((2, 3, 4))
    agree(
        lambda a, b: ops.mse_loss(a, b, reduction=reduction), lambda a, b: F.mse_loss(a, b, reduction=reduction), a, b
    )


def test_second_derivative_of_a_convolution() -> None:
    """Differentiates the norm of a gradient, as in a gradient penalty."""
    random = np.random.default_rng(11)
    x, w = random.standard_normal((2, 3, 5, 4)), random.standard_normal((4, 3, 3, 3))

    def mine(x: Value, w: Value) -> Value:
        y = ops.conv(x, w, stride=2, padding=1)
        (dx,) = differentiate(ops.sum(ops.tanh(y)), [x])
        return ops.sum(dx * dx)

    def theirs(x: Any, w: Any) -> Any:
        y = F.conv2d(x, w, stride=2, padding=1)
        (dx,) = torch.autograd.grad(torch.tanh(y).sum(), x, create_graph=True)
        return (dx * dx).sum()

    agree(mine, theirs, x, w, tolerance=1e-8)


def test_second_derivative_of_a_network_with_cross_entropy() -> None:
    random = np.random.default_rng(12)
    x, w = random.standard_normal((4, 6)), random.standard_normal((3, 6))
    labels = np.array([0, 2, 1, 2])

    def mine(x: Value, labels: Value, w: Value) -> Value:
        (dw,) = differentiate(ops.cross_entropy(ops.linear(x, w), labels, label_smoothing=0.1), [w])
        return ops.sum(reshape(dw, (18,)) * reshape(dw, (18,)))

    def theirs(x: Any, labels: Any, w: Any) -> Any:
        loss = F.cross_entropy(F.linear(x, w), labels, label_smoothing=0.1)
        (dw,) = torch.autograd.grad(loss, w, create_graph=True)
        return (dw * dw).sum()

    agree(mine, theirs, x, labels, w, tolerance=1e-8)
