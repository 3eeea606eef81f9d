"""Invalid operands, options and shapes are refused by name, and no number is silently truncated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import striate as st
from striate import nn
from striate.errors import DTypeError, OptionError

X = np.random.default_rng(0).standard_normal((2, 3, 4, 4)).astype(np.float32)
BYTES = np.arange(6, dtype=np.uint8)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * 0.5,
        lambda x: 1.5 - x,
        lambda x: x + 300,
        lambda x: x * (1 / 255),
        lambda x: x * np.full(6, 0.5, np.float32),
        lambda x: x + np.full(6, 300),
        lambda x: x / 255,
        lambda x: -x,
        lambda x: abs(x),
        lambda x: st.ops.maximum(x, 1),
        lambda x: st.ops.where(st.ops.greater(x, 1), x, 0.5),
        lambda x: st.ops.relu(x),
    ],
)
def test_bytes_are_not_cut_off(function: Callable[[Any], Any]) -> None:
    with pytest.raises(DTypeError, match=r"st\.ops\.cast"):
        st.compile(function)(BYTES)


def test_large_whole_numbers_are_exact_or_refused() -> None:
    assert st.ops.add(np.arange(2), 2**53).tolist() == [2**53, 2**53 + 1]
    with pytest.raises(DTypeError, match="cannot be represented exactly in the dtype of i64"):
        st.ops.add(np.arange(2), 2**53 + 1)
    with pytest.raises(OptionError, match="exceeds float32"):
        st.ops.multiply(X, 10**400)


@pytest.mark.parametrize("given", [None, "a", [1.0, 2.0], 2.0, np.float64(2), {}, len])
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("input", lambda x: st.ops.max_pool(x, 2)),
        ("x", st.ops.exp),
        ("input", st.ops.softmax),
        ("target", lambda y: st.ops.cross_entropy(X[:, :, 0, 0], y)),
        ("target", lambda y: st.ops.mse_loss(X, y)),
        ("weight", lambda w: st.ops.conv(X, w)),
        ("values", lambda x: st.ops.concat([X, x])),
    ],
)
def test_what_is_no_array(name: str, call: Callable[[Any], Any], given: object) -> None:
    with pytest.raises(DTypeError, match=f"{name} is .*, not an array"):
        call(given)


@pytest.mark.parametrize(
    "call",
    [
        lambda: st.ops.sum(X, axis="a"),
        lambda: st.ops.sum(X, axis=1.5),
        lambda: st.ops.mean(X, axis=True),
        lambda: st.ops.reshape(X, "96"),
        lambda: st.ops.reshape(X, (-1, -1)),
        lambda: st.ops.reshape(X, (2, -2)),
        lambda: st.ops.reshape(X, (2, 48.0)),
        lambda: st.ops.broadcast_to(X, None),
        lambda: st.ops.cast(X, None),
        lambda: st.ops.cast(X, 5),
        lambda: st.ops.leaky_relu(X, "a"),
        lambda: st.ops.dropout(X, np.array(1), "a"),
        lambda: st.ops.dropout(X, np.array(1), 0.5, "a"),
        lambda: st.ops.max_pool(X, 2, ceil_mode="no"),
        lambda: st.ops.conv(X, np.ones((1, 3, 3, 3), np.float32), padding=10**30),
        lambda: st.ops.cross_entropy(X[:, :, 0, 0], np.array([0, 1]), label_smoothing="a"),
        lambda: st.ops.cross_entropy(X[:, :, 0, 0], np.array([0, 1]), reduction=["mean"]),
        lambda: st.ops.batch_norm(X, None, None, training="no"),
        lambda: st.value_and_grad(st.ops.sum, argnums=1.0),
        lambda: st.value_and_grad(st.ops.sum, argnums=()),
        lambda: st.value_and_grad(None),
        lambda: st.compile(st.ops.sum, batched="no"),
        lambda: nn.Conv2d(3, 4, 3, bias=None),
        lambda: nn.Linear(3, 4, bias="no"),
        lambda: nn.Linear(3, 4, init=[]),
        lambda: nn.Linear(3, 10**30),
        lambda: nn.Concat(),
        lambda: nn.Concat(nn.ReLU(), None),
        lambda: nn.Residual(nn.ReLU),
        lambda: nn.Residual(nn.ReLU(), [nn.ReLU()]),
        lambda: nn.Sequential().append(len),
        lambda: nn.ReLU(inplace=True),
        lambda: nn.LeakyReLU(0.1, True),
        lambda: nn.Dropout(0.5, inplace=True),
        lambda: nn.CrossEntropyLoss(weight="a"),
        lambda: nn.CrossEntropyLoss(weight=[1e300, 1.0]),
        lambda: nn.CrossEntropyLoss(weight=[[1.0, 2.0]]),
        lambda: nn.Linear(3, 4).load_state_dict({}, strict="no"),
    ],
)
def test_what_is_no_option(call: Callable[[], Any]) -> None:
    with pytest.raises(OptionError):
        call()


def test_axes_and_shapes_in_any_form() -> None:
    assert st.ops.sum(X, axis=np.int64(1)).shape == (2, 4, 4)
    assert st.ops.reshape(X, [np.int64(2), 48]).shape == (2, 48)
    assert [layer.p for layer in (nn.Dropout(0.5, False),)] == [0.5]
    assert repr(nn.CrossEntropyLoss(reduction="sum")) == "CrossEntropyLoss(reduction='sum')"


@pytest.mark.parametrize("loss", [nn.CrossEntropyLoss, nn.MSELoss])
def test_a_reduction_has_a_name(loss: Callable[..., object]) -> None:
    """In these positions, PyTorch's losses have other options."""
    with pytest.raises(TypeError, match="without a name"):
        loss(None, "sum")


@pytest.mark.parametrize("given", ["a", [[1.0]], 2.0])
def test_a_parameter_is_not_replaced_by_what_is_no_array(given: object) -> None:
    layer = nn.Linear(1, 1)
    with pytest.raises(DTypeError, match="weight is a parameter"):
        layer.weight = given  # type: ignore[assignment]
    assert list(layer.state_dict()) == ["weight", "bias"]
