"""A value stored with zero padding for a convolution is read correctly by other operations too."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import striate as st
from striate import ops

READERS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    "result": (lambda y: y, lambda y: y),
    "view": (ops.flatten, lambda y: y.reshape(len(y), -1)),
    "view, computed": (lambda y: ops.flatten(y) * 2.0, lambda y: y.reshape(len(y), -1) * 2),
    "sum of channels": (lambda y: ops.sum(y, axis=1), lambda y: y.sum(axis=1)),
    "sum of all": (lambda y: ops.sum(y, axis=(1, 2, 3)), lambda y: y.sum(axis=(1, 2, 3))),
    "elementwise": (lambda y: y - ops.mean(y), lambda y: y - y.mean()),
}


@pytest.mark.parametrize("channels", [1, 3, 17])
@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("name", READERS)
def test_a_padded_value_has_other_readers_too(name: str, before: bool, channels: int) -> None:
    read, wanted = READERS[name]
    random = np.random.default_rng(0)
    x = random.standard_normal((2, channels, 9, 7))
    w = random.standard_normal((5, channels, 5, 5))

    def both(x: Any, w: Any) -> Any:
        y = ops.relu(x)
        if before:
            other = read(y)
            return other, ops.conv(y, w, padding=2)
        convolved = ops.conv(y, w, padding=2)
        return read(y), convolved

    np.testing.assert_allclose(st.compile(both)(x, w)[0], wanted(np.maximum(x, 0)), atol=1e-12)
