"""Matrix products against NumPy: any batch axes, both operands of ``@``, all gradients, few and many rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import striate
import striate.ops as ops
from striate.errors import DTypeError, ShapeError, StriateError
from striate.graph.graph import Graph, Input
from striate.graph.interpreter import interpret
from striate.graph.value import Array, DType, N, TensorType, Value
from striate.passes.differentiate import differentiate

quick = settings(max_examples=40)


def gradients(a: Array, b: Array) -> tuple[Array, Array, Array]:
    """Return a @ b, and the gradients of Σ c · (a @ b) with respect to both, for random c."""
    x, y = (Input(name, TensorType(DType.float64, one.shape))() for name, one in (("a", a), ("b", b)))
    c = x @ y
    draw = np.random.default_rng(1).standard_normal(c.type.concrete(0))
    seed = Input("draw", c.type)()
    da, db = differentiate(ops.sum(c * seed) if c.shape else c * seed, [x, y])
    graph = Graph({"a": x, "b": y, "draw": seed}, {"c": c, "da": da, "db": db})
    found = interpret(graph, {"a": a, "b": b, "draw": draw})[0]
    return found["c"], found["da"], found["db"]


def summed(gradient: Array, shape: tuple[int, ...]) -> Array:
    lead = gradient.ndim - len(shape)
    gradient = gradient.sum(tuple(range(lead)))
    axes = tuple(axis for axis, size in enumerate(shape) if size == 1 and gradient.shape[axis] != 1)
    return gradient.sum(axes, keepdims=True).reshape(shape)


@quick
@given(st.data())
def test_agrees_with_numpy(data: Any) -> None:
    batch = data.draw(st.lists(st.integers(1, 3), max_size=4))
    rank = len(batch)

    def operand(rows: int, columns: int) -> Array:
        own = [size if data.draw(st.booleans()) else 1 for size in batch]
        own = own[data.draw(st.integers(0, rank)) :]
        return np.random.default_rng(len(own)).standard_normal((*own, rows, columns))

    m, k, n = (data.draw(st.integers(1, 5)) for _ in range(3))
    a, b = operand(m, k), operand(k, n)
    c, da, db = gradients(a, b)
    expected = a @ b
    draw = np.random.default_rng(1).standard_normal(expected.shape)
    np.testing.assert_allclose(c, expected, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(da, summed(draw @ b.swapaxes(-1, -2), a.shape), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(db, summed(a.swapaxes(-1, -2) @ draw, b.shape), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("a", "b"), [((3,), (3,)), ((3,), (3, 4)), ((4, 3), (3,)), ((2, 4, 3), (3,)), ((3,), (2, 3, 4))], ids=str
)
def test_vectors(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    random = np.random.default_rng(0)
    x, y = random.standard_normal(a), random.standard_normal(b)
    c, da, db = gradients(x, y)
    np.testing.assert_allclose(c, x @ y, rtol=1e-12)
    assert (c.shape, da.shape, db.shape) == ((x @ y).shape, a, b)
    step = 1e-6 * random.standard_normal(a)
    draw = np.random.default_rng(1).standard_normal(c.shape)
    np.testing.assert_allclose((da * step).sum(), (draw * (step @ y)).sum(), rtol=1e-9)


SHAPES = [((3, 50, 70), (70, 40)), ((2, 4, 33, 17), (2, 4, 17, 33)), ((70, 600), (600, 5)), ((1, 20000), (20000, 3))]


@pytest.mark.parametrize("shapes", SHAPES, ids=str)
@pytest.mark.parametrize("batched", [True, False])
def test_compiled(shapes: tuple[Any, Any], batched: bool) -> None:
    random = np.random.default_rng(0)
    a, b = (random.standard_normal(shape).astype(np.float32) for shape in shapes)
    exact = a.astype(np.float64) @ b.astype(np.float64)
    compiled = striate.compile(lambda x: ops.tanh((x @ b) * 0.1) + 1.0, batched=batched)
    for n in (len(a), 1, 0) if batched else (len(a),):
        expected = np.tanh(exact[:n] * 0.1) + 1
        if len(shapes[1]) > 2:
            compiled = striate.compile(lambda x, y: ops.tanh((x @ y) * 0.1) + 1.0, batched=batched)
            found = compiled(a[:n], b[:n])
        else:
            found = compiled(a[:n])
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_the_gradient_of_shared_weights() -> None:
    """The gradient sums over all samples and rows, with a relative error close to float32's precision."""
    random = np.random.default_rng(0)
    x, w = random.random((3000, 7, 5)).astype(np.float32), random.random((5, 3)).astype(np.float32)
    _, dw = striate.value_and_grad(lambda w, x: ops.sum((x @ w) * (x @ w)))(w, x)
    wide = x.astype(np.float64)
    exact = np.einsum("ntk,ntm->km", wide, 2 * (wide @ w.astype(np.float64)))
    np.testing.assert_allclose(dw, exact, rtol=3e-7)


def test_a_sum_of_many_equal_products() -> None:
    """Rounding errors of equal products have the same sign, so they do not cancel."""
    x, y = np.full((100_000, 3, 5), 0.1, np.float32), np.full((100_000, 3, 2), 0.3, np.float32)
    w = np.zeros((5, 2), np.float32)

    _, dw = striate.value_and_grad(lambda w, x, y: ops.sum((x @ w) * y))(w, x, y)
    exact = np.einsum("ntk,ntm->km", x.astype(np.float64), y.astype(np.float64))
    np.testing.assert_allclose(dw, exact, rtol=2e-6)


@pytest.mark.parametrize("ours", [lambda x, y: x.T @ y, lambda x, y: (y.T @ x).T, lambda x, y: x.T @ (y.T).T])
def test_a_transposed_matrix_is_read_as_it_was(ours: Callable[[Value, Value], Value]) -> None:
    x, y = (Input(name, TensorType(DType.float64, (5, 3)))() for name in "xy")
    arrays = {name: np.random.default_rng(ord(name)).standard_normal((5, 3)) for name in "xy"}
    graph = Graph({"x": x, "y": y}, {"z": ours(x, y)})
    np.testing.assert_allclose(interpret(graph, arrays)[0]["z"], arrays["x"].T @ arrays["y"], rtol=1e-12)
    assert sum(type(node.op).__name__ == "Transpose" for node in graph.nodes) <= 1


def attention(x: Any, w: Any, swap: Callable[[Any], Any], softmax: Callable[[Any], Any]) -> Any:
    """Compute attention with three heads, in any library."""
    n, t, d = x.shape

    def heads(one: Any) -> Any:
        return one.reshape((n, t, 3, d // 3)).transpose(0, 2, 1, 3)

    q, k, v = (heads(x @ w[:, start : start + d]) for start in (0, d, 2 * d))
    return (softmax(q @ swap(k)) @ v).transpose(0, 2, 1, 3).reshape((n, t, d))


def test_attention_and_its_gradients() -> None:
    torch = pytest.importorskip("torch", reason="PyTorch is the judge here")
    random = np.random.default_rng(0)
    x, w, draw = (random.standard_normal(shape) / 2 for shape in ((2, 7, 18), (18, 54), (2, 7, 18)))

    def softmax(s: Value) -> Value:
        return ops.exp(s - ops.logsumexp(s, -1, keepdims=True))

    def loss(x: Any, w: Any, draw: Any) -> Any:
        return ops.sum(attention(x, w, lambda k: ops.swapaxes(k, -1, -2), softmax) * draw)

    value, found = striate.value_and_grad(loss, argnums=(0, 1))(x, w, draw)

    class Tensor:
        """Gives PyTorch tensors the method names of NumPy."""

        def __init__(self, data: Any) -> None:
            self.data, self.shape = data, data.shape

        def reshape(self, shape: Any) -> Tensor:
            return Tensor(self.data.reshape(shape))

        def transpose(self, *axes: int) -> Tensor:
            return Tensor(self.data.permute(axes))

        def __matmul__(self, other: Tensor) -> Tensor:
            return Tensor(self.data @ other.data)

        def __getitem__(self, key: Any) -> Tensor:
            return Tensor(self.data[key])

    a, b = (torch.tensor(one, requires_grad=True) for one in (x, w))
    y = attention(
        Tensor(a), Tensor(b), lambda k: Tensor(k.data.transpose(-1, -2)), lambda s: Tensor(s.data.softmax(-1))
    )
    total = (y.data * torch.tensor(draw)).sum()
    total.backward()
    np.testing.assert_allclose(value, total.item(), rtol=1e-10)
    for one, tensor in zip(found, (a, b), strict=True):
        np.testing.assert_allclose(one, tensor.grad.numpy(), rtol=1e-9, atol=1e-11)


def test_numpy_on_either_side() -> None:
    x = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32)
    y = np.eye(4, dtype=np.float32)[::-1]
    np.testing.assert_array_equal(striate.compile(lambda x: x @ y)(x), x @ y)
    np.testing.assert_array_equal(striate.compile(lambda x: y @ x)(x), y @ x)
    np.testing.assert_array_equal(striate.compile(lambda x: np.matmul(x, y))(x), x @ y)


def value(*shape: object, dtype: DType = DType.float32) -> Value:
    return Input("x", TensorType(dtype, shape))()  # type: ignore[arg-type]


BAD: dict[str, tuple[Callable[[], object], type[StriateError], str]] = {
    "columns": (lambda: value(2, 3) @ value(4, 5), ShapeError, r"3 columns where(.|\n)*4 rows(.|\n)*help"),
    "batch": (lambda: value(2, 3, 4) @ value(3, 4, 5), ShapeError, "do not broadcast"),
    "number": (lambda: value(2, 3) @ 2.0, ShapeError, r"expected matrices(.|\n)*scales"),
    "integers": (lambda: ops.matmul(value(2, 2, dtype=DType.int64), value(2, 2)), DTypeError, "floating point"),
    "dtypes": (lambda: ops.matmul(value(2, 2, dtype=DType.float64), value(2, 2)), DTypeError, "mixes dtypes"),
    "samples last": (lambda: ops.matmul(value(4, 3), value(N, 3).T), ShapeError, "axis 0"),
    "samples summed": (lambda: value(N) @ value(N, 3), ShapeError, "sum over the samples"),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(name: str) -> None:
    function, error, words = BAD[name]
    with pytest.raises(error, match=words):
        function()
