"""Windows along one axis against PyTorch: small sizes, kernels, strides, paddings, dilations, ``ceil_mode``."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from striate.errors import StriateError
from striate.graph.value import Array, DType, TensorType
from striate.ops.average_pooling import AveragePooling
from striate.ops.max_pooling import MaxPooling

torch = pytest.importorskip("torch", reason="PyTorch is the judge here")
F = torch.nn.functional

GEOMETRIES = list(itertools.product((1, 2, 3, 4, 5, 7, 9), (1, 2, 3, 5), (1, 2, 3, 5, 7), (0, 1, 2), (False, True)))


def _ours(op: Any, x: Array) -> Array | None:
    """Return the reference's result, or None if the operation refuses the geometry."""
    try:
        (y, *_) = op.infer(TensorType(DType.float64, x.shape))
    except StriateError:
        return None
    result = op.reference(x)
    result = result[0] if isinstance(result, tuple) else result
    assert result.shape == y.shape
    return result


def _theirs(function: Any, x: Array, *options: Any) -> Array | None:
    """Return PyTorch's result, or None if it refuses, or if a window contains only padding."""
    try:
        y: Array = function(torch.tensor(x), *options).numpy()
    except (RuntimeError, ValueError):
        return None
    return y if np.isfinite(y).all() else None


def test_max_pooling() -> None:
    random = np.random.default_rng(0)
    compared = 0
    for (size, kernel, stride, padding, ceil_mode), dilation in itertools.product(GEOMETRIES, (1, 2, 3)):
        x = random.standard_normal((1, 1, size))
        expected = _theirs(F.max_pool1d, x, kernel, stride, padding, dilation, ceil_mode)
        if expected is not None:
            case = f"size {size}, kernel {kernel}, stride {stride}, padding {padding}, {dilation}, {ceil_mode}"
            found = _ours(MaxPooling((stride,), ((padding, padding),), (kernel,), (dilation,), ceil_mode), x)
            assert found is not None, case
            np.testing.assert_array_equal(found, expected, err_msg=case)
            compared += 1
    assert compared > 800


@pytest.mark.parametrize("count_include_pad", [True, False])
def test_average_pooling(count_include_pad: bool) -> None:
    random = np.random.default_rng(0)
    for size, kernel, stride, padding, ceil_mode in GEOMETRIES[::3]:
        x = random.standard_normal((1, 1, size))
        expected = _theirs(F.avg_pool1d, x, kernel, stride, padding, ceil_mode, count_include_pad)
        if expected is not None:
            case = f"size {size}, kernel {kernel}, stride {stride}, padding {padding}, {ceil_mode}"
            op = AveragePooling((stride,), ((padding, padding),), (kernel,), (1,), ceil_mode, count_include_pad)
            found = _ours(op, x)
            assert found is not None, case
            np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-15, err_msg=case)


def test_a_window_larger_than_its_input_is_one_window_with_ceil_mode() -> None:
    x = np.arange(4.0).reshape(1, 1, 4)
    assert _ours(MaxPooling((5,), ((0, 0),), (5,), (1,), True), x) == 3.0
    assert _ours(AveragePooling((5,), ((0, 0),), (5,), (1,), True, True), x) == 1.5
