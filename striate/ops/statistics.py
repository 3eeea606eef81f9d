"""Statistics made of reductions: variance, standard deviation, norms."""

from __future__ import annotations

import math
from numbers import Real

from striate.errors import OptionError
from striate.graph.arithmetic import cast as cast_to
from striate.graph.value import Value
from striate.ops.arithmetic import abs, maximum, sqrt
from striate.ops.comparison import greater, not_equal, where
from striate.ops.elementary import power
from striate.ops.extremes import Min
from striate.ops.reduction import Max, Moments, Sum, dropped, numel
from striate.ops.requirement import Axes, require_axes
from striate.options import number


def var(x: Value, axis: Axes = None, correction: float = 1, keepdims: bool = False) -> Value:
    """Σ (x − μ)² / (n − correction) over one axis, several, or all; NaN where n is ``correction``, as in PyTorch.

    ``correction=0`` is the biased variance, NumPy's default. float32 or float64. Raises ShapeError.
    """
    axes = require_axes("var", x.type, axis)
    return dropped(_variance(x, axes, number("var: correction", correction)), axes, keepdims)


def std(x: Value, axis: Axes = None, correction: float = 1, keepdims: bool = False) -> Value:
    """√var over one axis, several, or all; its gradient is 0 where all elements are equal. Raises ShapeError."""
    axes = require_axes("std", x.type, axis)
    return dropped(_root(_variance(x, axes, number("std: correction", correction))), axes, keepdims)


def _variance(x: Value, axes: tuple[int, ...], correction: float) -> Value:
    biased = Moments(axes)(x)[1]
    if not correction:
        return biased
    count = numel(x, axes)
    return biased * (count / maximum(count - correction, 0.0))


def _root(x: Value) -> Value:
    """√x, with a gradient of 0 at 0."""
    positive = greater(x, 0)
    return where(positive, sqrt(where(positive, x, 1.0)), x)


def norm(x: Value, p: float = 2, axis: Axes = None, keepdims: bool = False) -> Value:
    """(Σ |x|ᵖ)^(1/p) over one axis, several, or all, as ``torch.linalg.vector_norm``.

    ``p`` may be ∞ (the largest |x|), −∞ (the smallest), 0 (how many are not 0), or another number. The gradient of the
    2-norm is 0 where all elements are 0. float32 or float64. Raises ShapeError and OptionError.
    """
    if not isinstance(p, Real) or isinstance(p, bool) or math.isnan(p):
        raise OptionError(f"norm: p={p!r:.60}; expected a number, or float('inf')")
    axes = require_axes("norm", x.type, axis)
    return dropped(_norm(x, float(p), axes), axes, keepdims)


def _norm(x: Value, p: float, axes: tuple[int, ...]) -> Value:
    if p == 2:
        return _root(Sum(axes)(x * x))
    if p == 0:
        return Sum(axes)(cast_to(not_equal(x, 0), x.dtype))
    size = abs(x)
    if math.isinf(p):
        return Max(axes)(size) if p > 0 else Min(axes)(size)
    if p == 1:
        return Sum(axes)(size)
    return power(Sum(axes)(power(size, p)), 1 / p)
