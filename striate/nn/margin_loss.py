"""Losses with a margin between distances or scores; names and options are those of ``torch.nn``."""

from __future__ import annotations

import numpy as np

from striate.errors import DTypeError
from striate.graph.value import Array, DType, TensorType, Value
from striate.nn.loss import ElementLoss, real_targets
from striate.nn.module import Module
from striate.ops.loss_reduction import loss_reduction
from striate.ops.margin_loss import cosine_embedding_loss, multilabel_margin_loss, triplet_margin_loss
from striate.options import flag, number


class TripletMarginLoss(Module):
    """Loss of triplets: L = mean max(0, margin + d(a, x₊) − d(a, x₋)), with d(u, v) = ‖u − v + ε‖_p

    The loss is called as ``loss(anchor, positive, negative)`` with arrays a, x₊ and x₋ of shape (N, D) or (D,). ``p``,
    above 0, is the order of the norm, and ε is ``eps``. With ``swap``, the smaller of d(a, x₋) and d(x₊, x₋) is used in
    place of d(a, x₋). ``reduction`` is "mean", "sum" or "none" (one loss per triplet). For training, let the model
    return all three arrays, and pass a function as the loss: ``lambda out, y: triplet(*out)``.
    """

    def __init__(
        self, margin: float = 1.0, p: float = 2.0, eps: float = 1e-6, swap: bool = False, *, reduction: str = "mean"
    ) -> None:
        self.margin, self.eps = number("TripletMarginLoss: margin", margin), number("TripletMarginLoss: eps", eps)
        self.p = number("TripletMarginLoss: p", p, above=0)
        self.swap = flag("TripletMarginLoss: swap", swap)
        self.reduction = loss_reduction(reduction).name

    def forward(self, anchor: Value, positive: Value, negative: Value) -> Value:
        return triplet_margin_loss(
            anchor, positive, negative, self.margin, self.p, self.eps, self.swap, reduction=self.reduction
        )


class CosineEmbeddingLoss(Module):
    """Loss of the angle between pairs: L = mean of 1 − cos where y = 1, max(0, cos − margin) where y = −1

    The loss is called as ``loss(x1, x2, y)`` with vectors x1 and x2 (N, D) or (D,), and targets y (N,) or (). cos is
    the cosine of the angle between x1 and x2. ``margin`` is from −1 to 1. ``reduction`` is "mean", "sum" or "none" (one
    loss per pair).
    """

    def __init__(self, margin: float = 0.0, *, reduction: str = "mean") -> None:
        self.margin = number("CosineEmbeddingLoss: margin", margin, -1, 1)
        self.reduction = loss_reduction(reduction).name

    def forward(self, x1: Value, x2: Value, y: Value) -> Value:
        return cosine_embedding_loss(x1, x2, y, self.margin, reduction=self.reduction)


class MultiLabelMarginLoss(ElementLoss):
    """Hinge loss of several labels per sample: L = mean Σ max(0, 1 − (x[t] − x[c])) / C

    x (N, C) are scores. Each row of y (N, C) lists the classes of a sample, and its first −1 ends the list. The sum is
    over all listed classes t and all classes c that are not listed.
    """

    def forward(self, x: Value, y: Value) -> Value:
        return multilabel_margin_loss(x, y, reduction=self.reduction)

    def target(self, y: object, n: int, dtype: np.dtype[np.generic]) -> Array:
        values = real_targets(y, n)
        if values.dtype.kind not in "iu":
            raise DTypeError(f"targets are {values.dtype}, not class numbers\n  help: y.astype(np.int64)")
        return np.ascontiguousarray(values, np.int64)

    def target_type(self, prediction: TensorType) -> TensorType:
        return prediction.with_dtype(DType.int64)

    def mean_weight(self, target: Array) -> float:
        return float(target.size / max(1, target.shape[-1]))
