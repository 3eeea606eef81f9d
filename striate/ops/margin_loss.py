"""Losses with a margin between distances or scores: triplets, pairs of vectors, and several labels of a sample.

The losses are composed of other operations, which the compiler fuses.
"""

from __future__ import annotations

import numpy as np

from striate.graph.elementwise import cast
from striate.graph.operand import as_value
from striate.graph.reshape import reshape
from striate.graph.value import Integers, Shape, Value
from striate.ops.arithmetic import maximum, minimum, sqrt
from striate.ops.comparison import equal, greater, less, where
from striate.ops.label_loss import OneHot
from striate.ops.loss import as_labels
from striate.ops.loss_reduction import loss_reduction, reduced
from striate.ops.matmul import matmul
from striate.ops.reduction import sum
from striate.ops.requirement import dtype_error, shape_error
from striate.ops.shaping import broadcast_to
from striate.ops.statistics import norm
from striate.options import flag, number

_LEAST_SQUARE = 1e-12  # is added to the squared lengths in the cosine, as in PyTorch
_END = -1
"""The label after the last one of a sample, for ``multilabel_margin_loss``."""


def _require_vectors(what: str, *values: Value) -> None:
    """Raise ``DTypeError`` or ``ShapeError`` unless all have one float dtype and one shape (…, D)."""
    got = ", ".join(str(value.type) for value in values)
    if not values[0].dtype.is_float or len({value.dtype for value in values}) > 1:
        raise dtype_error(what, f"expected one float dtype, got {got}", 'st.ops.cast(x, "float32")')
    if not values[0].type.rank or len({value.shape for value in values}) > 1:
        raise shape_error(what, f"expected vectors of one shape (N, D) or (D,), got {got}", "st.ops.broadcast_to")


def triplet_margin_loss(
    anchor: Value,
    positive: Value,
    negative: Value,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    *,
    reduction: str = "mean",
) -> Value:
    """Return max(0, margin + d(a, x₊) − d(a, x₋)) with d(u, v) = ‖u − v + ε‖_p, by default the mean.

    The loss is 0 where the anchor a is closer to the positive example x₊ than to the negative example x₋ by ``margin``
    or more. a, x₊ and x₋ have the same shape (…, D) and dtype, float32 or float64; distances are over the last axis,
    and ε is ``eps``. With ``swap``, the smaller of d(a, x₋) and d(x₊, x₋) is used in place of d(a, x₋). ``reduction``
    is "mean" or "sum" (a scalar) or "none" (one loss per triplet). Balntas et al., 2016. Raises ShapeError if the
    shapes differ, DTypeError for other dtypes or if the dtypes differ, and OptionError for another ``reduction`` or
    p ≤ 0.
    """
    chosen, margin = loss_reduction(reduction), number("triplet_margin_loss: margin", margin)
    eps, p = number("triplet_margin_loss: eps", eps), number("triplet_margin_loss: p", p, above=0)
    _require_vectors("triplet_margin_loss", anchor, positive, negative)
    near, far = norm(anchor - positive + eps, p, -1), norm(anchor - negative + eps, p, -1)
    if flag("triplet_margin_loss: swap", swap):
        far = minimum(far, norm(positive - negative + eps, p, -1))
    return reduced(maximum(near - far + margin, 0.0), chosen)


def cosine_embedding_loss(
    input1: Value, input2: Value, target: Value, margin: float = 0.0, *, reduction: str = "mean"
) -> Value:
    """Return 1 − cos(x₁, x₂) where t = 1 and max(0, cos(x₁, x₂) − margin) where t = −1, by default the mean.

    x₁ and x₂ are vectors (N, D) or (D,), float32 or float64. The target t, (N,) or (), is 1 for vectors that should
    point in the same direction, and −1 for other vectors. The loss for any other t is 0. ``reduction`` is "mean" or
    "sum" (a scalar) or "none" (one loss per pair). Raises ShapeError if the shapes do not match, DTypeError for other
    dtypes or if the dtypes differ, and OptionError for another ``reduction`` or a margin outside [−1, 1].
    """
    chosen, margin = loss_reduction(reduction), number("cosine_embedding_loss: margin", margin, -1, 1)
    _require_vectors("cosine_embedding_loss", input1, input2)
    if input1.type.rank > 2 or target.shape != input1.shape[:-1]:
        raise shape_error(
            "cosine_embedding_loss",
            f"expected vectors (N, D) with targets (N,), or (D,) with (), got {input1.type} and {target.type}",
            "flatten the vectors, and give one target for each pair",
        )
    lengths = (sum(input1 * input1, -1) + _LEAST_SQUARE) * (sum(input2 * input2, -1) + _LEAST_SQUARE)
    cosine = sum(input1 * input2, -1) / sqrt(lengths)
    apart = where(equal(target, -1), maximum(cosine - margin, 0.0), 0.0)
    return reduced(where(equal(target, 1), 1.0 - cosine, 0.0) + apart, chosen)


def multilabel_margin_loss(input: Value, target: Integers, *, reduction: str = "mean") -> Value:
    """Return Σ max(0, 1 − (x[t] − x[c])) / C over the labels t and all other classes c, by default the mean.

    ``input`` x holds the scores (N, C) or (C,), float32 or float64. ``target`` has the shape of x and lists the labels
    of each sample as class indices; the first −1 ends the list. ``reduction`` is "mean" (over the samples, a
    scalar), "sum" (a scalar) or "none" (one loss per sample). Raises ShapeError if the shapes differ, DTypeError unless
    x is float and the target integer, OptionError for another ``reduction``, and LabelError, before the computation, if
    a target is outside −1 … C − 1.
    """
    chosen = loss_reduction(reduction)
    if input.type.rank == 1 and not input.type.batched:
        batch = [reshape(x, (1, *x.shape)) for x in (input, target)]
        return reshape(multilabel_margin_loss(*batch, reduction=reduction), ())
    if input.type.rank != 2 or target.shape != input.shape:
        raise shape_error(
            "multilabel_margin_loss",
            f"expected scores (N, C) and targets of the same shape, got {input.type} and {target.type}",
            "fill each row of targets to C numbers with −1",
        )
    labels, classes = as_labels(target), input.type.channels
    cube: Shape = (input.shape[0], classes, classes)
    ended = cast(less(labels, 0), input.dtype)  # a label counts if there is no −1 up to it
    before = as_value(np.triu(np.ones((classes, classes))), input)
    counts = cast(equal(matmul(ended, before), 0.0), input.dtype)
    scores = reshape(input, (input.shape[0], classes, 1))
    times = sum(OneHot(ignore_index=_END)(broadcast_to(scores, cube), labels, counts), 2)  # of each class in the list
    others = cast(equal(times, 0.0), input.dtype)
    missing = maximum(reshape(input, (input.shape[0], 1, classes)) - scores + 1.0, 0.0)
    pairs = reshape(times, scores.shape) * reshape(others, (input.shape[0], 1, classes))
    return reduced(sum(where(greater(pairs, 0.0), pairs * missing, 0.0), (1, 2)) / classes, chosen)
