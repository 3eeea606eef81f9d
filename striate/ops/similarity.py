"""Lengths of vectors, and how similar two vectors are: normalization to unit length, cosines and distances.

The functions are composed of other operations, which the compiler fuses.
"""

from __future__ import annotations

from striate.graph.value import Value
from striate.ops.arithmetic import maximum
from striate.ops.reduction import sum
from striate.ops.requirement import Axes, require_axes, require_axis, require_floats
from striate.ops.shaping import broadcast_to
from striate.ops.statistics import norm
from striate.options import flag, number


def normalize(input: Value, p: float = 2.0, dim: Axes = 1, eps: float = 1e-12) -> Value:
    """Return x / max(‖x‖_p, ε): vectors of x along the axis or axes ``dim``, scaled to length 1 in the p-norm.

    ``input`` is x of any shape, float32 or float64; ε is ``eps``. Raises ShapeError for an axis that x does not have,
    DTypeError for another dtype, and OptionError for a p or ε that is not a number.
    """
    require_floats("normalize", [input.type])
    least = number("normalize: eps", eps)
    axes = require_axes("normalize", input.type, dim)
    return input / maximum(norm(input, p, axes, keepdims=True), least)


def cosine_similarity(x1: Value, x2: Value, dim: int = 1, eps: float = 1e-8) -> Value:
    """Return x₁ · x₂ / (max(‖x₁‖, ε) · max(‖x₂‖, ε)), the cosine of the angle between vectors along the axis ``dim``.

    ``x1`` and ``x2`` have one dtype, float32 or float64, and shapes that broadcast to a common shape. ``dim`` is an
    axis of the common shape, and the result has this shape without it. ε is ``eps``. Raises ShapeError if the shapes do
    not broadcast or have no such axis, DTypeError for other dtypes, and OptionError for an ε that is not a number.
    """
    least = number("cosine_similarity: eps", eps)
    products = x1 * x2
    require_floats("cosine_similarity", [products.type])
    axis = require_axis("cosine_similarity", products.type, dim, "dim")
    a, b = (broadcast_to(x, products.shape) for x in (x1, x2))
    first, second = (x / maximum(norm(x, 2, axis, keepdims=True), least) for x in (a, b))
    return sum(first * second, axis)


def pairwise_distance(x1: Value, x2: Value, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False) -> Value:
    """Return ‖x₁ − x₂ + ε‖_p over the last axis, the distance of pairs of vectors.

    ``x1`` and ``x2`` have one dtype, float32 or float64, and shapes (…, D) that broadcast; ε is ``eps``. The result is
    (…), or (…, 1) with ``keepdim``. Raises ShapeError if the shapes do not broadcast or have no axes, DTypeError for
    other dtypes, and OptionError for a p or ε that is not a number.
    """
    difference = x1 - x2 + number("pairwise_distance: eps", eps)
    return norm(difference, p, -1, flag("pairwise_distance: keepdim", keepdim))
