"""Losses that compare prediction and target elementwise, for regression and binary labels.

The target has the shape of the prediction, and is converted to the dtype of the prediction.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import Vector
from striate.errors import unknown_option
from striate.graph.elementwise import Binary, cast, elementwise
from striate.graph.op import Gradients, Needed, Sample, Values, register
from striate.graph.operand import constant
from striate.graph.reshape import reshape
from striate.graph.value import Array, Value, shape_text
from striate.ops.arithmetic import abs, exp, log, maximum
from striate.ops.comparison import equal, greater, less, not_equal, where
from striate.ops.loss_reduction import LossReduction, loss_reduction, reduced
from striate.ops.reduction import mean, sum
from striate.ops.requirement import dtype_error, shape_error
from striate.ops.smooth_activation import logsigmoid
from striate.options import flag, number

BATCH_MEAN = "batchmean"
"""The reduction of ``kl_div`` that divides the sum by the number of samples."""
_LEAST_LOGARITHM = -100.0  # as in PyTorch: a probability of exactly 0 gives a finite loss
_LEAST_VARIANCE = 1e-12  # the least x (1 − x) in the gradient, as in PyTorch


def _pair(what: str, input: Value, target: Value) -> Value:
    """Return the target converted to the dtype of the input.

    Raises ``ShapeError`` if their shapes differ, and ``DTypeError`` if the input is not float32 or float64. ``what`` is
    the name of the loss in the error.
    """
    if not input.dtype.is_float:
        raise dtype_error(what, f"the prediction is {input.type}", 'st.ops.cast(x, "float32")')
    if input.shape != target.shape:
        raise shape_error(
            what,
            f"input {input.type} and target {target.type} differ in shape",
            shape_cure(input.shape, target.shape),
        )
    return cast(target, input.dtype)


def shape_cure(prediction: tuple[object, ...], target: tuple[object, ...]) -> str:
    """Return the help text for the error that prediction and target differ in shape: how to reshape the target.

    ``prediction`` and ``target`` are the two shapes.
    """
    if prediction == (*target, 1):
        return "y[:, None] gives the target the axis of size 1" if len(target) == 1 else "y[..., None]"
    if target == (*prediction, 1):
        return "y[..., 0] drops the axis of size 1 of the target"
    return f"give the target the shape of the prediction, {_text(prediction)}"


def _text(shape: tuple[object, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


def mse_loss(input: Value, target: Value, *, reduction: str = "mean") -> Value:
    """Return the squared error (x − y)² of a prediction x and a target y, by default its mean.

    x and y have the same shape; x is float32 or float64, and y is converted to the dtype of x. ``reduction`` is "mean"
    (over all elements, a scalar), "sum" (a scalar) or "none" (one loss per element). Raises ShapeError if the shapes
    differ, DTypeError for another dtype of x, and OptionError for another ``reduction``.
    """
    chosen = loss_reduction(reduction)
    error = input - _pair("mse_loss", input, target)
    return reduced(error * error, chosen)


def l1_loss(input: Value, target: Value, *, reduction: str = "mean") -> Value:
    """Return the absolute error |x − y| of a prediction x and a target y, by default its mean.

    x and y have the same shape; x is float32 or float64, and y is converted to the dtype of x. ``reduction`` is "mean"
    (over all elements, a scalar), "sum" (a scalar) or "none" (one loss per element). Raises ShapeError if the shapes
    differ, DTypeError for another dtype of x, and OptionError for another ``reduction``.
    """
    chosen = loss_reduction(reduction)
    return reduced(abs(input - _pair("l1_loss", input, target)), chosen)


def smooth_l1_loss(input: Value, target: Value, *, reduction: str = "mean", beta: float = 1.0) -> Value:
    """Return ½ (x − y)² / β where |x − y| < β, else |x − y| − ½ β, by default the mean.

    x is the prediction, y the target and β ≥ 0 is ``beta``; with β = 0, this is the L1 loss. x and y have the same
    shape; x is float32 or float64, and y is converted to the dtype of x. ``reduction`` is "mean" (over all elements, a
    scalar), "sum" (a scalar) or "none" (one loss per element). Raises ShapeError if the shapes differ, DTypeError for
    another dtype of x, and OptionError for another ``reduction`` or a negative β.
    """
    chosen, beta = loss_reduction(reduction), number("smooth_l1_loss: beta", beta, 0)
    if beta == 0:
        return l1_loss(input, target, reduction=reduction)
    distance = abs(input - _pair("smooth_l1_loss", input, target))
    square = distance * distance * (0.5 / beta)
    return reduced(where(less(distance, beta), square, distance - 0.5 * beta), chosen)


def huber_loss(input: Value, target: Value, *, reduction: str = "mean", delta: float = 1.0) -> Value:
    """Return ½ (x − y)² where |x − y| ≤ δ, else δ (|x − y| − ½ δ), by default the mean.

    x is the prediction, y the target and δ > 0 is ``delta``. x and y have the same shape; x is float32 or float64, and
    y is converted to the dtype of x. ``reduction`` is "mean" (over all elements, a scalar), "sum" (a scalar) or "none"
    (one loss per element). Raises ShapeError if the shapes differ, DTypeError for another dtype of x, and OptionError
    for another ``reduction`` or δ ≤ 0.
    """
    chosen, delta = loss_reduction(reduction), number("huber_loss: delta", delta, above=0)
    distance = abs(input - _pair("huber_loss", input, target))
    return reduced(where(greater(distance, delta), (distance - 0.5 * delta) * delta, distance * distance * 0.5), chosen)


@register
@dataclass(frozen=True)
class BinaryCrossEntropy(Binary):
    """y = −(t · max(ln x, −100) + (1 − t) · max(ln(1 − x), −100))

    x is a probability and t the target, both from 0 to 1.
    """

    fractional: ClassVar[bool] = True

    def reference(self, x: Array, t: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            yes, no = np.maximum(np.log(x), _LEAST_LOGARITHM), np.maximum(np.log(1 - x), _LEAST_LOGARITHM)
        return -(t * yes + (1 - t) * no)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        """Return (dx, dt), the gradients with respect to x and t, from dy, the gradient with respect to y.

        As in PyTorch, dx = dy · (x − t) / max(x (1 − x), 10⁻¹²).
        """
        (x, t), (dy,) = inputs, output_gradients
        by_x = dy * (x - t) / maximum(x * (1 - x), _LEAST_VARIANCE) if needed[0] else None
        by_t = None
        if needed[1]:
            by_t = dy * (maximum(log(1 - x), _LEAST_LOGARITHM) - maximum(log(x), _LEAST_LOGARITHM))
        return by_x, by_t

    def emit(self, k: Kernel, x: Vector, t: Vector) -> Vector:
        one, least = k.constant_like(x, 1.0), k.constant_like(x, _LEAST_LOGARITHM)
        yes, no = k.max(k.log(x), least), k.max(k.log(k.sub(one, x)), least)
        return k.neg(k.add(k.mul(t, yes), k.mul(k.sub(one, t), no)))

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape in ((3, 17), (2, 3, 4, 1), (1, 1)):
            yield Sample(cls(), (0.05 + 0.9 * random.random(shape), random.random(shape)))


def binary_cross_entropy(input: Value, target: Value, weight: Value | None = None, *, reduction: str = "mean") -> Value:
    """Return −w · (t · ln x + (1 − t) · ln(1 − x)) for probabilities x and targets t, by default the mean.

    x and t have the same shape, with values from 0 to 1; x outside this range gives NaN. Logarithms below −100 are
    replaced by −100. x is float32 or float64, and t is converted to the dtype of x. ``weight`` w broadcasts to the
    shape of x; None means 1. If the network returns logits, ``binary_cross_entropy_with_logits`` is more accurate.
    ``reduction`` is "mean" (over all elements, a scalar), "sum" (a scalar) or "none" (one loss per element). Raises
    ShapeError if the shapes of x and t differ or w does not broadcast to x, DTypeError if x has another dtype or w
    differs from x in dtype, and OptionError for another ``reduction``.
    """
    chosen = loss_reduction(reduction)
    losses = elementwise(BinaryCrossEntropy(), input, _pair("binary_cross_entropy", input, target))
    return reduced(losses if weight is None else losses * weight, chosen)


def binary_cross_entropy_with_logits(
    input: Value,
    target: Value,
    weight: Value | None = None,
    *,
    reduction: str = "mean",
    pos_weight: Value | None = None,
) -> Value:
    """Return −w · (p · t · ln σ(x) + (1 − t) · ln(1 − σ(x))) for logits x, by default the mean.

    σ is the sigmoid and t the target. x and t have the same shape, and t has values from 0 to 1. x is float32 or
    float64, and t is converted to the dtype of x. ``weight`` w and ``pos_weight`` p broadcast to the shape of x; None
    means 1. For rare labels, p > 1 gives elements of label 1 more weight. ``reduction`` is "mean" (over all elements, a
    scalar), "sum" (a scalar) or "none" (one loss per element). Raises ShapeError if the shapes of x and t differ or w
    or p does not broadcast to x, DTypeError if x has another dtype or if w or p differs from x in dtype, and
    OptionError for another ``reduction``.
    """
    chosen = loss_reduction(reduction)
    t = _pair("binary_cross_entropy_with_logits", input, target)
    certainty = logsigmoid(input)
    if pos_weight is not None:
        certainty = certainty * ((pos_weight - 1) * t + 1)
    losses = (1 - t) * input - certainty
    return reduced(losses if weight is None else losses * weight, chosen)


def soft_margin_loss(input: Value, target: Value, *, reduction: str = "mean") -> Value:
    """Return ln(1 + e^(−t · x)) for predictions x and targets t, which are −1 or 1, by default the mean.

    x and t have the same shape; x is float32 or float64, and t is converted to the dtype of x. ``reduction`` is "mean"
    (over all elements, a scalar), "sum" (a scalar) or "none" (one loss per element). Raises ShapeError if the shapes
    differ, DTypeError for another dtype of x, and OptionError for another ``reduction``.
    """
    chosen = loss_reduction(reduction)
    return reduced(-logsigmoid(input * _pair("soft_margin_loss", input, target)), chosen)


def multilabel_soft_margin_loss(
    input: Value, target: Value, weight: Value | None = None, *, reduction: str = "mean"
) -> Value:
    """Return −w · (t · ln σ(x) + (1 − t) · ln σ(−x)), averaged over the C binary labels of a sample.

    x (N, C) are logits, float32 or float64; t (N, C) are the labels, 0 or 1, and are converted to the dtype of x. σ is
    the sigmoid. ``weight`` w (C,) has one number for each label; None means 1. ``reduction`` is "mean" (over the
    samples, a scalar), "sum" (a scalar) or "none" (one loss per sample, (N,)). Raises ShapeError if the shapes differ
    or w is not (C,), DTypeError if x has another dtype or w differs from x in dtype, and OptionError for another
    ``reduction``.
    """
    chosen = loss_reduction(reduction)
    t = _pair("multilabel_soft_margin_loss", input, target)
    losses = (1 - t) * input - logsigmoid(input)
    return reduced(mean(losses if weight is None else losses * weight, axis=-1), chosen)


def hinge_embedding_loss(input: Value, target: Value, margin: float = 1.0, *, reduction: str = "mean") -> Value:
    """Return x where t = 1 and max(0, margin − x) where t = −1, by default the mean.

    ``input`` x holds the distances of pairs, and ``target`` t says which pairs are similar (1) and which not (−1). For
    any other t, both terms are added. x and t have the same shape; x is float32 or float64, and t is converted to the
    dtype of x. ``reduction`` is "mean" (over all elements, a scalar), "sum" (a scalar) or "none" (one loss per
    element). Raises ShapeError if the shapes differ, DTypeError for another dtype of x, and OptionError for another
    ``reduction`` or a margin that is not finite.
    """
    chosen, margin = loss_reduction(reduction), number("hinge_embedding_loss: margin", margin)
    t = _pair("hinge_embedding_loss", input, target)
    near, far = not_equal(t, -1), not_equal(t, 1)  # for any other t, both terms are added, as in PyTorch
    return reduced(where(near, input, 0.0) + where(far, maximum(margin - input, 0.0), 0.0), chosen)


def margin_ranking_loss(
    input1: Value, input2: Value, target: Value, margin: float = 0.0, *, reduction: str = "mean"
) -> Value:
    """Return max(0, margin − t · (x₁ − x₂)) for two scores x₁ and x₂, by default the mean.

    The target t is 1 where x₁ should be ranked higher than x₂, and −1 where x₁ should be ranked lower. x₁, x₂ and t
    have the same shape; x₁ is float32 or float64, and the others are converted to the dtype of x₁. ``reduction`` is
    "mean" (over all elements, a scalar), "sum" (a scalar) or "none" (one loss per element). Raises ShapeError if the
    shapes differ, DTypeError for another dtype of x₁, and OptionError for another ``reduction`` or a margin that is not
    finite.
    """
    chosen, margin = loss_reduction(reduction), number("margin_ranking_loss: margin", margin)
    difference = input1 - _pair("margin_ranking_loss", input1, input2)
    return reduced(maximum(margin - _pair("margin_ranking_loss", input1, target) * difference, 0.0), chosen)


def kl_div(input: Value, target: Value, *, reduction: str = "mean", log_target: bool = False) -> Value:
    """Return the pointwise Kullback-Leibler divergence t · (ln t − x), by default the mean.

    ``input`` x holds the logarithms of the predicted probabilities. ``target`` holds the target probabilities t, or
    their logarithms if ``log_target`` is true. Both have the same shape; x is float32 or float64, and the target is
    converted to the dtype of x. ``reduction`` is "mean" (over all elements, a scalar), "sum" (a scalar), "none" (one
    loss per element) or "batchmean" (the sum divided by the number of samples, which is the mean divergence per
    sample). Raises ShapeError if the shapes differ, DTypeError for another dtype of x, and OptionError for another
    ``reduction``.
    """
    t = _pair("kl_div", input, target)
    if flag("kl_div: log_target", log_target):
        losses = exp(t) * (t - input)
    else:
        positive = where(equal(t, 0), 1.0, t)  # 0 · ln 0 counts as 0
        losses = t * log(positive) - t * input
    if reduction == BATCH_MEAN:
        return sum(mean(losses, 0)) if input.type.rank else losses
    if isinstance(reduction, str) and reduction not in LossReduction.__members__:
        raise unknown_option("reduction", reduction, [*LossReduction.__members__, BATCH_MEAN])
    return reduced(losses, loss_reduction(reduction))


def poisson_nll_loss(
    input: Value,
    target: Value,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    *,
    reduction: str = "mean",
) -> Value:
    """Return the negative log-likelihood of counts t in a Poisson distribution, by default the mean.

    x is ``input``, t is ``target``. With ``log_input``, x is the logarithm of the rate, and the loss is e^x − t · x.
    Otherwise x is the rate, and the loss is x − t · ln(x + ε), where ε is ``eps``. The term ln t! is left out. With
    ``full``, Stirling's approximation t ln t − t + ½ ln(2πt) of this term is added where t > 1. x and t have the same
    shape; x is float32 or float64, and t is converted to the dtype of x. ``reduction`` is "mean" (over all elements, a
    scalar), "sum" (a scalar) or "none" (one loss per element). Raises ShapeError if the shapes differ, DTypeError for
    another dtype of x, and OptionError for another ``reduction`` or a negative ε.
    """
    chosen, eps = loss_reduction(reduction), number("poisson_nll_loss: eps", eps, 0)
    t = _pair("poisson_nll_loss", input, target)
    logarithmic = flag("poisson_nll_loss: log_input", log_input)
    losses = exp(input) - t * input if logarithmic else input - t * log(input + eps)
    if flag("poisson_nll_loss: full", full):
        large = maximum(t, 1.0)
        stirling = t * log(large) - t + log(large * (2 * math.pi)) * 0.5
        losses = losses + where(greater(t, 1), stirling, 0.0)
    return reduced(losses, chosen)


def gaussian_nll_loss(
    input: Value, target: Value, var: Value | float, full: bool = False, eps: float = 1e-6, *, reduction: str = "mean"
) -> Value:
    """Return ½ (ln v + (x − t)² / v), by default the mean.

    This is the negative log-likelihood of the target t under a normal distribution. x (``input``) is the predicted mean
    and v = max(``var``, ``eps``) the predicted variance. Where ``var`` is below ``eps``, its gradient is 0. ``var`` is
    a number or an array in the shape of x, but axes may have size 1, or the last axis may be missing. t broadcasts to
    the shape of x. x is float32 or float64, and t and ``var`` are converted to the dtype of x. ``full`` adds the
    constant ½ ln 2π. ``reduction`` is "mean" (over all elements of x, a scalar), "sum" (a scalar) or "none" (one loss
    per element). Raises ShapeError if ``var`` or t does not broadcast to x, DTypeError for another dtype of x, and
    OptionError for another ``reduction`` or ``eps`` ≤ 0.
    """
    chosen, eps = loss_reduction(reduction), number("gaussian_nll_loss: eps", eps, above=0)
    if not input.dtype.is_float:
        raise dtype_error("gaussian_nll_loss", f"the prediction is {input.type}", 'st.ops.cast(x, "float32")')
    if isinstance(var, Value):
        if var.type.rank and var.shape == input.shape[:-1]:
            var = reshape(var, (*var.shape, 1))
        if var.type.rank not in (0, input.type.rank):
            given = f"var {var.type} for an input {input.type}"
            raise shape_error("gaussian_nll_loss", given, f"give shape {shape_text(input.shape)}")
        variance = cast(_broadcast("var", var, input), input.dtype)
        variance = where(less(variance, eps), eps, variance)
    else:
        variance = constant(max(number("gaussian_nll_loss: var", var), eps), input.dtype)
    error = input - cast(_broadcast("target", target, input), input.dtype)
    losses = (log(variance) + error * error / variance) * 0.5
    return reduced(losses + 0.5 * math.log(2 * math.pi) if flag("gaussian_nll_loss: full", full) else losses, chosen)


def _broadcast(name: str, x: Value, input: Value) -> Value:
    """Return x, whose shape has to broadcast to that of the input of ``gaussian_nll_loss``.

    Raises ``ShapeError`` for other shapes, also if x would repeat the input. ``name`` is what the error calls x.
    """
    own = input.shape[input.type.rank - x.type.rank :]
    if x.type.rank > input.type.rank or any(one not in (1, size) for one, size in zip(x.shape, own, strict=True)):
        given = f"{name} {x.type} does not broadcast to an input {input.type}"
        raise shape_error("gaussian_nll_loss", given, f"give it the shape {shape_text(input.shape)}")
    return x
