"""Statistics that are composed of reductions: variance, standard deviation and vector norms."""

from __future__ import annotations

import math
from numbers import Real

from striate.errors import OptionError
from striate.graph.elementwise import cast as cast_to
from striate.graph.value import Value
from striate.ops.arithmetic import abs, maximum, sqrt
from striate.ops.comparison import greater, not_equal, where
from striate.ops.elementary import power
from striate.ops.extremes import Min
from striate.ops.reduction import Max, Moments, Sum, dropped, numel
from striate.ops.requirement import Axes, require_axes
from striate.options import number


def var(x: Value, axis: Axes = None, correction: float = 1, keepdims: bool = False) -> Value:
    """Return Σ (x − μ)² / max(n − correction, 0) over one axis, several axes, or all (None).

    n is the number of elements and μ their mean. As in PyTorch, n ≤ ``correction`` gives NaN, or infinity if the sum is
    not 0. ``correction=0`` gives the biased variance, which is NumPy's default. x is float32 or float64. Reduced axes
    are dropped, or keep size 1 with ``keepdims``. Raises ShapeError for an axis that x does not have, DTypeError for
    another dtype, and OptionError for axes that are not whole numbers or a ``correction`` that is not finite.
    """
    axes = require_axes("var", x.type, axis)
    return dropped(_variance(x, axes, number("var: correction", correction)), axes, keepdims)


def std(x: Value, axis: Axes = None, correction: float = 1, keepdims: bool = False) -> Value:
    """Return √(Σ (x − μ)² / max(n − correction, 0)), the square root of ``var``, over some or all axes.

    ``axis`` is one axis, a tuple of axes, or None for all. The gradient is 0 where all elements are equal. x is float32
    or float64. Reduced axes are dropped, or keep size 1 with ``keepdims``. Raises ShapeError for an axis that x does
    not have, DTypeError for another dtype, and OptionError for axes that are not whole numbers or a ``correction`` that
    is not finite.
    """
    axes = require_axes("std", x.type, axis)
    return dropped(_root(_variance(x, axes, number("std: correction", correction))), axes, keepdims)


def _variance(x: Value, axes: tuple[int, ...], correction: float) -> Value:
    biased = Moments(axes)(x)[1]
    if not correction:
        return biased
    count = numel(x, axes)
    return biased * (count / maximum(count - correction, 0.0))


def _root(x: Value) -> Value:
    """Return √x where x > 0, else x itself, so that the derivative at 0 is 1 and not infinite.

    Callers pass an x whose own gradient is 0 where x is 0; the product is then 0, and not NaN.
    """
    positive = greater(x, 0)
    return where(positive, sqrt(where(positive, x, 1.0)), x)


def norm(x: Value, p: float = 2, axis: Axes = None, keepdims: bool = False) -> Value:
    """Return (Σ |x|ᵖ)^(1/p) over one axis, several axes, or all (None), as ``torch.linalg.vector_norm``.

    ``p`` is a number, ∞ (the largest |x|), −∞ (the smallest |x|), or 0 (the number of elements that are not 0). The
    gradient of the 2-norm is 0 where all elements are 0. x is float32 or float64. Reduced axes are dropped, or keep
    size 1 with ``keepdims``. Raises ShapeError for an axis that x does not have, DTypeError for another dtype, and
    OptionError for axes that are not whole numbers or a p that is not a number.
    """
    if not isinstance(p, Real) or isinstance(p, bool) or p != p:
        raise OptionError(f"norm: p={p!r:.60}; expected a number, or float('inf')")
    order = float(p) if p in (-math.inf, math.inf) else number("norm: p", p)
    axes = require_axes("norm", x.type, axis)
    return dropped(_norm(x, order, axes), axes, keepdims)


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
