"""Losses that compare prediction x and target y element by element.

Names and options are those of ``torch.nn``. x and y have the same shape. With ``reduction="mean"`` a loss is one
number, the mean over all elements; "sum" gives the sum, and "none" the losses of all elements.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from striate.errors import OptionError
from striate.graph.array import native, unmasked
from striate.graph.value import Array, Value
from striate.nn.loss import ElementLoss, Loss
from striate.nn.module import Module
from striate.nn.parameter import Parameter, Role
from striate.ops.element_loss import (
    BATCH_MEAN,
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    gaussian_nll_loss,
    hinge_embedding_loss,
    huber_loss,
    kl_div,
    l1_loss,
    margin_ranking_loss,
    multilabel_soft_margin_loss,
    poisson_nll_loss,
    smooth_l1_loss,
    soft_margin_loss,
)
from striate.ops.loss_reduction import LossReduction, loss_reduction
from striate.options import flag, number


class L1Loss(ElementLoss):
    """Mean absolute error: L = mean |x − y|

    Raises ``ShapeError`` unless the targets y have the shape of the predictions x.
    """

    predicts_targets: ClassVar[bool] = True

    def forward(self, x: Value, y: Value) -> Value:
        return l1_loss(x, y, reduction=self.reduction)


class SmoothL1Loss(ElementLoss):
    """Smooth absolute error: L = mean of ½ d² / β where |d| < β, else |d| − ½ β, with d = x − y

    β is ``beta``, at least 0; with β = 0 the loss is ``L1Loss``. The targets y have the shape of the predictions x.
    """

    predicts_targets: ClassVar[bool] = True

    def __init__(self, *, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction=reduction)
        self.beta = number("SmoothL1Loss: beta", beta, 0)

    def forward(self, x: Value, y: Value) -> Value:
        return smooth_l1_loss(x, y, reduction=self.reduction, beta=self.beta)

    def extra_repr(self) -> str:
        return _listed(super().extra_repr(), f"beta={self.beta:g}" if self.beta != 1.0 else "")


class HuberLoss(ElementLoss):
    """Huber loss: L = mean of ½ d² where |d| ≤ δ, else δ (|d| − ½ δ), with d = x − y. Huber, 1964.

    δ is ``delta``, above 0. The targets y have the shape of the predictions x.
    """

    predicts_targets: ClassVar[bool] = True

    def __init__(self, *, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction=reduction)
        self.delta = number("HuberLoss: delta", delta, above=0)

    def forward(self, x: Value, y: Value) -> Value:
        return huber_loss(x, y, reduction=self.reduction, delta=self.delta)

    def extra_repr(self) -> str:
        return _listed(super().extra_repr(), f"delta={self.delta:g}" if self.delta != 1.0 else "")


class BCELoss(ElementLoss):
    """Binary cross entropy of probabilities: L = −mean w · (y ln x + (1 − y) ln(1 − x))

    x are predicted probabilities, and y targets between 0 and 1 of the same shape. ``weight`` w, by default 1,
    broadcasts to this shape. Logarithms below −100 count as −100. Prefer ``BCEWithLogitsLoss``, which is more precise.
    """

    weight: Value | None

    def __init__(self, weight: Array | None = None, *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.register_parameter("weight", _buffer(weight, "weight"))

    def forward(self, x: Value, y: Value) -> Value:
        return binary_cross_entropy(x, y, self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(ElementLoss):
    """Binary cross entropy of logits: L = −mean w · (p · y ln σ(x) + (1 − y) ln(1 − σ(x)))

    x are logits, σ the logistic function, and y targets between 0 and 1. x and y have the same shape, such as (N, C)
    for C independent labels of each sample. ``weight`` w, by default 1, broadcasts to this shape. ``pos_weight`` p
    (C,), by default 1, multiplies the loss of targets of 1: with p = 3 they count three times as much.
    """

    decides: ClassVar[bool] = True
    weight: Value | None
    pos_weight: Value | None

    def __init__(
        self, weight: Array | None = None, *, reduction: str = "mean", pos_weight: Array | None = None
    ) -> None:
        super().__init__(reduction=reduction)
        self.register_parameter("weight", _buffer(weight, "weight"))
        self.register_parameter("pos_weight", _buffer(pos_weight, "pos_weight"))

    def forward(self, x: Value, y: Value) -> Value:
        return binary_cross_entropy_with_logits(x, y, self.weight, reduction=self.reduction, pos_weight=self.pos_weight)


def loss_of_labels() -> Loss:
    """Return the default loss for several binary labels per sample: ``BCEWithLogitsLoss``."""
    return BCEWithLogitsLoss()


class KLDivLoss(ElementLoss):
    """Kullback-Leibler divergence of the prediction e^x from the target y: L = mean y · (ln y − x)

    x are logarithms of probabilities. y are probabilities or, with ``log_target``, logarithms of probabilities, in the
    shape of x. ``reduction="batchmean"``, the sum divided by the number of samples, gives the divergence per sample;
    "mean" also divides by the number of classes.
    """

    reductions: ClassVar[tuple[str, ...]] = (*(one.name for one in LossReduction), BATCH_MEAN)

    def __init__(self, *, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__(reduction=reduction)
        self.log_target = flag("KLDivLoss: log_target", log_target)

    def forward(self, x: Value, y: Value) -> Value:
        return kl_div(x, y, reduction=self.reduction, log_target=self.log_target)

    def mean_weight(self, target: Array) -> float:
        return float(len(target)) if self.reduction == BATCH_MEAN else super().mean_weight(target)

    def extra_repr(self) -> str:
        return _listed(super().extra_repr(), "log_target=True" if self.log_target else "")


class PoissonNLLLoss(ElementLoss):
    """Negative log likelihood of counts y under Poisson distributions: L = mean e^x − y · x

    x are logarithms of the rates, in the shape of y. With ``log_input=False`` x are the rates themselves, and L = mean
    x − y · ln(x + ε), where ε is ``eps`` and avoids ln 0. ``full=True`` adds Stirling's approximation of ln(y!), which
    does not depend on x.
    """

    def __init__(
        self, log_input: bool = True, full: bool = False, eps: float = 1e-8, *, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction=reduction)
        self.log_input, self.full = flag("PoissonNLLLoss: log_input", log_input), flag("PoissonNLLLoss: full", full)
        self.eps = number("PoissonNLLLoss: eps", eps, 0)

    def forward(self, x: Value, y: Value) -> Value:
        return poisson_nll_loss(x, y, self.log_input, self.full, self.eps, reduction=self.reduction)


class SoftMarginLoss(ElementLoss):
    """Logistic loss of labels −1 and 1: L = mean ln(1 + e^(−y · x))

    x are scores, y labels in the shape of x.
    """

    def forward(self, x: Value, y: Value) -> Value:
        return soft_margin_loss(x, y, reduction=self.reduction)


class MultiLabelSoftMarginLoss(ElementLoss):
    """Binary cross entropy of several labels per sample: L = −mean w · (y ln σ(x) + (1 − y) ln σ(−x))

    x (N, C) are logits, y (N, C) labels 0 or 1, and σ is the logistic function. ``weight`` w (C,), by default 1,
    weights the labels. The mean is over labels and samples.
    """

    weight: Value | None

    def __init__(self, weight: Array | None = None, *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.register_parameter("weight", _buffer(weight, "weight"))

    def forward(self, x: Value, y: Value) -> Value:
        return multilabel_soft_margin_loss(x, y, self.weight, reduction=self.reduction)

    def mean_weight(self, target: Array) -> float:
        """Return the divisor of the mean over a batch: the number of samples in ``target`` (N, C).

        The loss of each sample is already the mean over its labels.
        """
        return float(target.size / max(1, target.shape[-1]))


class HingeEmbeddingLoss(ElementLoss):
    """Loss of distances x of pairs: L = mean of x where y = 1 (similar), max(0, margin − x) where y = −1

    x are distances, such as those of ``PairwiseDistance``, and y labels 1 or −1, in the same shape.
    """

    def __init__(self, margin: float = 1.0, *, reduction: str = "mean") -> None:
        super().__init__(reduction=reduction)
        self.margin = number("HingeEmbeddingLoss: margin", margin)

    def forward(self, x: Value, y: Value) -> Value:
        return hinge_embedding_loss(x, y, self.margin, reduction=self.reduction)


class MarginRankingLoss(Module):
    """Loss of pairs of scores in the wrong order: L = mean max(0, margin − y · (x₁ − x₂))

    y = 1 says that x₁ should be larger than x₂, y = −1 the opposite. The loss is called as ``loss(x1, x2, y)`` with
    arrays of the same shape. ``reduction`` is "mean", "sum" or "none" (one loss per pair).
    """

    def __init__(self, margin: float = 0.0, *, reduction: str = "mean") -> None:
        self.margin = number("MarginRankingLoss: margin", margin)
        self.reduction = loss_reduction(reduction).name

    def forward(self, x1: Value, x2: Value, y: Value) -> Value:
        return margin_ranking_loss(x1, x2, y, self.margin, reduction=self.reduction)


class GaussianNLLLoss(Module):
    """Gaussian negative log likelihood: L = mean ½ (ln v + (x − y)² / v), v = max(var, ε)

    The loss is called as ``loss(x, y, var)`` with predicted means x, targets y and predicted variances ``var``. y and
    ``var`` broadcast to the shape of x; ``var`` may also lack the last axis. ε is ``eps``; ``full=True`` adds the
    constant ½ ln 2π. ``reduction`` is "mean", "sum" or "none" (one loss per element).
    """

    def __init__(self, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean") -> None:
        self.full, self.eps = flag("GaussianNLLLoss: full", full), number("GaussianNLLLoss: eps", eps, above=0)
        self.reduction = loss_reduction(reduction).name

    def forward(self, x: Value, y: Value, var: Value) -> Value:
        return gaussian_nll_loss(x, y, var, self.full, self.eps, reduction=self.reduction)


def _buffer(array: object, name: str) -> Parameter | None:
    """Return an array of weights as a buffer of the layer; None stays None."""
    if array is None:
        return None
    given = native(np.asarray(unmasked(array, name)), name)
    if given.dtype.kind == "f" and not np.isfinite(given).all():
        raise OptionError(f"{name}={array!r:.60}; expected finite numbers")
    return Parameter(given, role=Role.BUFFER)


def _listed(*parts: str) -> str:
    """Return the parts that are not empty, separated by commas."""
    return ", ".join(part for part in parts if part)
