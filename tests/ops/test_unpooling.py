"""The positions of maxima, and max unpooling, against PyTorch: values and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as draw

import striate as st
from striate import nn, ops
from striate.errors import DataError, DTypeError, OptionError, ShapeError, StriateError
from striate.graph.graph import Input
from striate.graph.value import DType, N, TensorType, Value

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")
F: Any = pytest.importorskip("torch.nn.functional")


@pytest.mark.slow
@pytest.mark.parametrize("rank", [1, 2, 3])
@given(data=draw.data())
def test_positions_and_unpooling_with_gradients(rank: int, data: Any) -> None:
    kernel = tuple(data.draw(draw.integers(1, 4)) for _ in range(rank))
    stride = tuple(data.draw(draw.integers(1, 4)) for _ in range(rank))
    padding = tuple(data.draw(draw.integers(0, size // 2)) for size in kernel)
    dilation = data.draw(draw.sampled_from([1, 2]))
    ceil_mode = data.draw(draw.booleans())
    size = tuple(data.draw(draw.integers((k - 1) * dilation + 1, 11)) for k in kernel)
    random = np.random.default_rng(data.draw(draw.integers(0, 99)))
    x = random.permutation(2 * 3 * int(np.prod(size))).reshape(2, 3, *size).astype(np.float64)
    leaf = torch.tensor(x, requires_grad=True)
    theirs, places = getattr(F, f"max_pool{rank}d")(leaf, kernel, stride, padding, dilation, ceil_mode, True)
    y, found = ops.max_pool(x, kernel, stride, padding, dilation, ceil_mode, return_indices=True)
    np.testing.assert_array_equal(y, theirs.detach().numpy())
    np.testing.assert_array_equal(found, places.numpy())
    assert found.dtype == np.int64
    usual = [(n - 1) * s - 2 * p + k for n, s, p, k in zip(y.shape[2:], stride, padding, kernel)]
    if any(abs(a - b) >= s for a, b, s in zip(size, usual, stride)):
        return  # PyTorch and striate refuse the size of x
    back = getattr(F, f"max_unpool{rank}d")(theirs, places, kernel, stride, padding, output_size=size)
    weights = random.standard_normal(x.shape)
    (back * torch.tensor(weights)).sum().backward()

    def total(x: Value) -> Value:
        y, found = ops.max_pool(x, kernel, stride, padding, dilation, ceil_mode, return_indices=True)
        return ops.sum(ops.max_unpool(y, found, kernel, stride, padding, size) * weights)

    np.testing.assert_array_equal(ops.max_unpool(y, found, kernel, stride, padding, size), back.detach().numpy())
    _, gradient = st.value_and_grad(total)(x)
    np.testing.assert_allclose(gradient, leaf.grad.numpy(), rtol=1e-12, atol=1e-12)


class Mirror(nn.Module):
    """A small SegNet: what the pooling took is put back where it was."""

    def __init__(self) -> None:
        self.encode, self.decode = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 1, 3, padding=1)
        self.pool, self.unpool = nn.MaxPool2d(3, 2, return_indices=True), nn.MaxUnpool2d(3, 2)

    def forward(self, x: Value) -> Value:
        x = self.encode(x)
        y, places = self.pool(x)
        return self.decode(self.unpool(y, places, output_size=x.shape))


@pytest.mark.slow
def test_layers_train_and_equal_those_of_torch(tmp_path: Any) -> None:
    model = Mirror().infer((1, 8, 9))
    step = st.TrainingStep(model, nn.MSELoss(), st.optim.Adam(lr=0.01))
    x = np.random.default_rng(0).random((6, 1, 8, 9), np.float32)
    losses = [step(x, x) for _ in range(80)]
    assert losses[-1] < losses[0] / 2
    st.save(model, tmp_path / "mirror.st")
    np.testing.assert_array_equal(st.load(tmp_path / "mirror.st")(x), model(x))
    y, places = model.pool(x)
    theirs, indices = torch.nn.MaxPool2d(3, 2, return_indices=True)(torch.tensor(x))
    np.testing.assert_array_equal(places, indices.numpy())
    expected = torch.nn.MaxUnpool2d(3, 2)(theirs, indices, output_size=x.shape).numpy()
    np.testing.assert_array_equal(model.unpool(y, places, output_size=x.shape), expected)
    np.testing.assert_array_equal(model.unpool(y[0], places[0], x.shape[1:]), expected[0])


@pytest.mark.slow
def test_the_layers_to_onnx_and_back(tmp_path: Any) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from striate.export import export_onnx

    model = Mirror().infer((1, 8, 9))
    x = np.random.default_rng(0).random((5, 1, 8, 9), np.float32)
    export_onnx(model, tmp_path / "mirror.onnx", samples=x)
    np.testing.assert_allclose(st.load(tmp_path / "mirror.onnx")(x), model(x), rtol=1e-5, atol=1e-6)


def _value(*shape: Any, dtype: DType = DType.float32) -> Value:
    return Input("x", TensorType(dtype, shape))()


X, INDEX = _value(N, 3, 4, 4), _value(N, 3, 4, 4, dtype=DType.int64)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: ops.max_unpool(X, X, 2), DTypeError, "must be integers"),
        (lambda: ops.max_unpool(X, _value(N, 3, 4, dtype=DType.int64), 2), ShapeError, "differ in shape"),
        (lambda: ops.max_unpool(X, INDEX, (2, 2, 2)), ShapeError, "(N, C, D, H, W)"),
        (lambda: ops.max_unpool(X, INDEX, 2, output_size=(8, 10)), OptionError, "from 7 to 9, 7 to 9"),
        (lambda: ops.max_unpool(X, INDEX, 1, padding=2), OptionError, "use less padding"),
        (lambda: ops.max_pool(X, 2, return_indices=1), OptionError, "True or False"),
        (lambda: nn.MaxUnpool2d(0), OptionError, "kernel_size"),
    ],
)
def test_errors(call: Any, error: type[StriateError], text: str) -> None:
    with pytest.raises(error, match=text.replace("(", r"\(").replace(")", r"\)")):
        call()


def test_an_index_outside_of_the_output_is_named() -> None:
    x = np.ones((1, 1, 2, 2), np.float32)
    with pytest.raises(DataError, match=r"index 16 at \(0, 0, 1, 1\) is out of range: a channel has 16 positions"):
        nn.MaxUnpool2d(2)(x, np.array([[[[0, 3], [5, 16]]]]))
