"""Functions that compute losses with class targets: cross entropy, negative log likelihood, multi-class margin."""

from __future__ import annotations

from striate.graph.elementwise import cast
from striate.graph.reshape import reshape
from striate.graph.value import DType, Integers, Value
from striate.ops.arithmetic import maximum
from striate.ops.channel_softmax import LogSoftmax
from striate.ops.convolution import channel_vector
from striate.ops.label_loss import IGNORED, NO_LABEL, CrossEntropy, NegativeLogLikelihood
from striate.ops.loss_reduction import loss_reduction, reduced
from striate.ops.reduction import sum
from striate.ops.requirement import shape_error
from striate.options import number, whole_number


def cross_entropy(
    input: Value,
    target: Integers,
    weight: Value | None = None,
    *,
    ignore_index: int = IGNORED,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Value:
    """Return −Σ_c w[c] · ((1 − ε) · t[c] + ε / C) · log_softmax(x)[c], by default its mean over the samples.

    This is the cross entropy between the targets t and the softmax of the logits x over the C classes (axis 1). Each
    position of a sample counts as a sample of its own.

    ``input`` holds the logits x (N, C, positions…) in float32 or float64, or (C,) for one sample. ``target`` holds
    either integer labels (N, positions…), or the probabilities t in the shape of the logits. For labels, t[c] is 1 if c
    is the label, else 0. ``weight`` holds w (C,), by default 1; ε is ``label_smoothing``. ``reduction`` is "mean"
    (a scalar), "sum" (a scalar) or "none": the losses (N, positions…).

    Samples whose label is ``ignore_index`` do not count. With labels, the mean is the sum of the losses divided by the
    sum of w[label] over the labels that count; it is NaN if no label counts. With probabilities, the sum of the losses
    is divided by the number of samples and positions, whatever the weights. Both are as in PyTorch. Raises ShapeError
    if target or weights do not match the logits, DTypeError unless the logits are float and the labels integers,
    OptionError for another ``reduction`` and for ε outside [0, 1], and LabelError, before the computation, if a label
    other than ``ignore_index`` is outside 0 … C − 1.
    """
    chosen = loss_reduction(reduction)
    smoothing = number("cross_entropy: label_smoothing", label_smoothing, 0, 1)
    ignored = whole_number("cross_entropy: ignore_index", ignore_index, -(2**63), 2**63 - 1)
    weights = () if weight is None else (weight,)
    if input.type.rank == 1 and not input.type.batched:
        losses = cross_entropy(
            _as_batch(input), _as_batch(target), weight, ignore_index=ignored, reduction=reduction,
            label_smoothing=smoothing,
        )  # fmt: skip
        return reshape(losses, ())
    if target.dtype.is_float and target.shape == input.shape:
        return reduced(_soft_cross_entropy(input, cast(target, input.dtype), weights, smoothing), chosen)
    losses, shares = CrossEntropy(smoothing, ignored)(input, as_labels(target), *weights)
    return reduced(losses, chosen, shares)


def _soft_cross_entropy(logits: Value, target: Value, weights: tuple[Value, ...], smoothing: float) -> Value:
    """Return −Σ_c w[c] · ((1 − ε) · t[c] + ε / C) · log_softmax(x)[c] for each sample and position: (N, positions…).

    The target t holds probabilities in the shape of the logits x; ``weights`` is empty or holds w (C,).
    """
    if smoothing:
        target = target * (1 - smoothing) + smoothing / logits.type.channels
    for weight in weights:
        target = target * channel_vector("cross_entropy", weight, logits)
    return -sum(target * LogSoftmax()(logits), axis=1)


def as_labels(target: Value) -> Value:
    """Return labels of int32, uint8 or bool as int64, and labels of any other dtype unchanged.

    The losses accept only labels in int64.
    """
    return cast(target, DType.int64) if target.dtype in (DType.int32, DType.uint8, DType.bool) else target


def _as_batch(x: Value) -> Value:
    return reshape(x, (1, *x.shape))


def nll_loss(
    input: Value,
    target: Integers,
    weight: Value | None = None,
    *,
    ignore_index: int = IGNORED,
    reduction: str = "mean",
) -> Value:
    """Return −w[label] · x[label] for logarithms of probabilities x, by default its mean over the samples.

    ``input`` holds x (N, C, positions…) in float32 or float64, or (C,) for one sample; ``target`` holds integer labels
    (N, positions…), and ``weight`` holds w (C,), by default 1. Reductions, ignored labels and errors are those of
    ``cross_entropy``; ``cross_entropy(x, …)`` equals ``nll_loss(log_softmax(x), …)``.
    """
    chosen = loss_reduction(reduction)
    ignored = whole_number("nll_loss: ignore_index", ignore_index, -(2**63), 2**63 - 1)
    if input.type.rank == 1 and not input.type.batched:
        losses = nll_loss(_as_batch(input), _as_batch(target), weight, ignore_index=ignored, reduction=reduction)
        return reshape(losses, ())
    op = NegativeLogLikelihood(ignore_index=ignored)
    losses, shares = op(input, as_labels(target), *(() if weight is None else (weight,)))
    return reduced(losses, chosen, shares)


def multi_margin_loss(
    input: Value,
    target: Integers,
    p: int = 1,
    margin: float = 1.0,
    weight: Value | None = None,
    *,
    reduction: str = "mean",
) -> Value:
    """Return w[label] / C · Σ_{c ≠ label} max(0, margin − x[label] + x[c])^p, by default its mean over the samples.

    ``input`` holds the scores x (N, C) in float32 or float64, or (C,) for one sample; ``target`` holds integer labels
    (N,), and ``weight`` holds w (C,), by default 1; p is 1 or 2. The mean is the sum divided by N, whatever the
    weights. ``reduction`` is "mean" (a scalar), "sum" (a scalar) or "none": the losses (N,). Raises ShapeError if the
    shapes do not match, DTypeError unless the scores are float and the labels integers, OptionError for another
    ``reduction`` or p, and LabelError, before the computation, if a label is outside 0 … C − 1.
    """
    chosen = loss_reduction(reduction)
    power, margin = whole_number("multi_margin_loss: p", p, 1, 2), number("multi_margin_loss: margin", margin)
    if input.type.rank == 1 and not input.type.batched:
        if target.type.rank:
            raise shape_error(
                "multi_margin_loss",
                f"scores {input.type} need one label for each sample, got {target.type}",
                "give it shape ()",
            )
        losses = multi_margin_loss(_as_batch(input), _as_batch(target), p, margin, weight, reduction=reduction)
        return reshape(losses, ())
    if input.type.rank != 2:
        raise shape_error("multi_margin_loss", f"expected scores (N, C), got {input.type}", "flatten the positions")
    op, labels = NegativeLogLikelihood(ignore_index=NO_LABEL), as_labels(target)
    own = reshape(-op(input, labels)[0], (input.shape[0], 1))
    missing = maximum(input - own + margin, 0.0)
    least = max(margin, 0.0)  # the term c = label, which the sum below includes and the loss does not
    total = sum(missing if power == 1 else missing * missing, axis=1) - least**power
    if weight is not None:
        total = total * op(input, labels, weight)[1]
    return reduced(total / input.type.channels, chosen)
