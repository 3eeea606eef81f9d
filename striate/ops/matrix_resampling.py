"""Bicubic and antialiased interpolation, as a product with a matrix of weights along each axis."""

from __future__ import annotations

import numpy as np

from striate.graph.operand import as_value
from striate.graph.value import Array, Value
from striate.ops.matmul import matmul
from striate.ops.requirement import shape_error
from striate.ops.window import Sizes

COEFFICIENT = -0.75
"""The parameter a of Keys' cubic convolution (1981), as in PyTorch."""
LARGEST_MATRIX = 1 << 26
"""The most weights along one axis, zeros included: 512 MiB in float64."""


def cubic_weights(size: int, count: int, step: float, align_corners: bool) -> Array:
    """Return the matrix w, (size, count) in float64, of bicubic interpolation along one axis, y = x @ w.

    x has ``size`` elements and y has ``count``; ``step`` is the distance of neighbouring elements of y, in elements of
    x. Element p of y is a weighted sum of the four elements of x around the coordinate p · step if ``align_corners``,
    else (p + ½) · step − ½. In place of elements outside x, the first or the last element of x is used.
    """
    p = np.arange(count)
    at = p * step if align_corners else (p + 0.5) * step - 0.5
    first = np.floor(at).astype(np.int64)
    weights = np.zeros((size, count))
    for tap in range(-1, 3):
        shares = _cubic(np.abs(at - (first + tap)), COEFFICIENT)
        np.add.at(weights, (np.clip(first + tap, 0, size - 1), p), shares)
    return weights


def antialiased_weights(size: int, count: int, step: float, cubic: bool) -> Array:
    """Return the matrix w, (size, count) in float64, of antialiased interpolation along one axis, y = x @ w.

    x has ``size`` elements and y has ``count``; ``step`` is the distance of neighbouring elements of y, in elements of
    x. Element p of y is the weighted mean of the elements of x around the coordinate (p + ½) · step − ½. With
    s = max(step, 1), the weights form a triangle of half width s. If ``cubic``, the weights form Keys' cubic kernel
    (a = −½) of half width 2s. As in Pillow, an image that becomes smaller is smoothed.
    """
    stretch = max(step, 1.0)
    centre = (np.arange(count) + 0.5) * step
    reach = (2 if cubic else 1) * stretch
    first = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
    stop = np.minimum((centre + reach + 0.5).astype(np.int64), size)
    place = np.arange(size)[:, None]
    d = np.abs(place - centre + 0.5) / stretch
    weights = _cubic(d, -0.5) if cubic else np.maximum(1 - d, 0)
    weights = np.where((place >= first) & (place < stop), weights, 0)
    total = weights.sum(axis=0)
    return weights / np.where(total == 0, 1, total)


def _cubic(d: Array, a: float) -> Array:
    """Return Keys' cubic at the distances d ≥ 0: 1 at 0, and 0 at 1 and from 2."""
    near = (a + 2) * d**3 - (a + 3) * d**2 + 1
    far = a * (d**3 - 5 * d**2 + 8 * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0))


def matrix_resampling(
    x: Value, count: Sizes, steps: tuple[float, ...], mode: str, align_corners: bool, antialias: bool
) -> Value:
    """Return images x (N, C, H, W) interpolated to ``count`` positions (H', W'), by a matrix of weights for each axis.

    ``mode`` is "bicubic", or "bilinear" with ``antialias``. ``steps`` are the distances of neighbouring positions of
    the result, in positions of x, along H and W. With ``align_corners``, the first and the last positions of x and of
    the result coincide. Raises ``ShapeError`` for a size of 0, and for sizes whose weights would take more than 512
    MiB.
    """
    sizes = x.type.concrete(1)[2:]
    what = f'mode="{mode}"{", antialias=True" if antialias else ""}'
    if max(size * one for size, one in zip(sizes, count, strict=True)) > LARGEST_MATRIX:
        raise shape_error("interpolate", f"{what} from {sizes} to {count} positions", 'mode="bilinear"')
    if 0 in (*sizes, *count):
        raise shape_error("interpolate", f"{what} of {x.type} to {count} positions", "sizes of at least 1")
    down, across = (
        antialiased_weights(size, one, step, mode == "bicubic")
        if antialias
        else cubic_weights(size, one, step, align_corners)
        for size, one, step in zip(sizes, count, steps, strict=True)
    )
    return matmul(as_value(np.ascontiguousarray(down.T), x), matmul(x, as_value(across, x)))
