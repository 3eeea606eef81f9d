"""One sample (C, spatial axes …) gives the same as a batch of one, in functions, layers and gradients."""

from __future__ import annotations

import numpy as np
import pytest

import striate as st
from striate import nn
from striate.errors import ShapeError
from striate.graph.graph import Input
from striate.graph.value import DType, N, TensorType
from striate.ops.unbatched import is_sample, position_axes

SIZES = {1: (3, 11), 2: (3, 7, 6), 3: (3, 4, 5, 6)}


@pytest.mark.parametrize("rank", SIZES)
def test_a_convolution_of_one_sample(rank: int) -> None:
    random = np.random.default_rng(rank)
    x, w = random.standard_normal(SIZES[rank]), random.standard_normal((4, 3, *(3,) * rank))
    b = random.standard_normal(4)
    expected = st.ops.conv(x[None], w, b, padding=1)[0]
    np.testing.assert_array_equal(st.ops.conv(x, w, b, padding=1), expected)

    layer = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}[rank](3, 4, 3, padding=1).double()
    layer.load_state_dict({"weight": w, "bias": b})
    np.testing.assert_array_equal(layer(x), expected)
    np.testing.assert_array_equal(layer(x, training=True), expected)
    np.testing.assert_array_equal(st.compile(lambda x: layer(x))(x), expected)
    np.testing.assert_array_equal(st.compile(lambda: layer(x))(), expected)


def test_the_gradients_of_one_sample() -> None:
    random = np.random.default_rng(0)
    x, w = random.standard_normal((3, 7, 6)), random.standard_normal((4, 3, 3, 3))

    def loss(x: object, w: object) -> object:
        return st.ops.sum(st.ops.tanh(st.ops.conv(x, w)))

    gradient = st.value_and_grad(loss, argnums=(0, 1))
    value, (dx, dw) = gradient(x, w)
    expected, (dx_of_batch, dw_of_batch) = gradient(x[None], w)
    np.testing.assert_allclose(value, expected, rtol=1e-13)
    np.testing.assert_allclose(dx, dx_of_batch[0], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(dw, dw_of_batch, rtol=1e-12, atol=1e-14)


def test_sizes_are_inferred_from_one_sample() -> None:
    assert nn.Conv2d(None, 4, 3)(np.zeros((5, 7, 6), np.float32)).shape == (4, 5, 4)


def test_an_axis_of_samples_is_never_one_of_channels() -> None:
    """A model is called on batches, so a missing channel axis is refused."""
    batch = TensorType(DType.float32, (N, 28, 28))
    assert not is_sample(batch, 2)
    assert is_sample(TensorType(DType.float32, (1, 28, 28)), 2)
    with pytest.raises(ShapeError, match=r"x\[:, None\]"):
        nn.Sequential(nn.Conv2d(1, 4, 3))(np.zeros((5, 28, 28), np.float32))
    x, w = Input("x", batch)(), Input("w", TensorType(DType.float32, (4, 1, 3, 3)))()
    with pytest.raises(ShapeError, match="spatial axes"):
        st.ops.conv(x, w)


def test_the_number_of_axes_of_positions() -> None:
    def axes(shape: tuple[int, ...], *options: object) -> int:
        return position_axes(TensorType(DType.float32, shape), *options)

    assert [axes((3, 8)), axes((2, 3, 8)), axes((2, 3, 8, 8)), axes((2, 3, 8, 8, 8))] == [1, 1, 2, 3]
    assert axes((3, 8, 8), (2, 2), 1) == axes((3, 8, 8), 2, None, (1, 1)) == 2
    assert axes((2, 3, 8), 2, "same") == 1
