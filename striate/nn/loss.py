"""Losses: modules that reduce a prediction and a target to one number."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from striate.errors import DTypeError, LabelError, OptionError, ShapeError, unknown_option
from striate.graph.array import unmasked
from striate.graph.value import Array, DType, Shape, TensorType, Value, shape_text
from striate.nn.module import Module
from striate.nn.parameter import Parameter, Role
from striate.ops.loss import LossReduction, cross_entropy, mse_loss
from striate.options import number


class Loss(Module):
    """Base of losses (abstract): ``forward(prediction, target)`` returns one number."""

    takes_logits: ClassVar[bool] = False
    """Whether predictions are unnormalized class scores on axis 1, and targets are class numbers."""

    def __init__(self, *, reduction: str = "mean") -> None:
        known = [one.name for one in LossReduction if one is not LossReduction.none]  # a loss is one number
        if reduction not in known:
            raise unknown_option("reduction", reduction, known)
        self.reduction = reduction

    def target(self, y: object, n: int, dtype: np.dtype[np.generic]) -> Array:
        """The target as an array that the loss can use; raises if it cannot be used."""
        raise NotImplementedError

    def target_type(self, prediction: TensorType) -> TensorType:
        """The type of the target for a prediction."""
        return prediction

    def check_shape(self, y: Shape, prediction: Shape) -> None:
        """Raises if the shape of the targets does not match the shape of the prediction."""

    def check_target(self, y: Array, prediction: Shape) -> None:
        """Raises if the shape or the contents of a target do not match the prediction."""
        self.check_shape(y.shape, prediction)

    def constant_loss(self, targets: Array, weights: Array) -> float:
        """The mean loss of the best constant prediction for targets (n, …) of these weights (n,); NaN if unknown."""
        return math.nan

    def totals(self, value: float, target: Array) -> tuple[float, float]:
        """(Σ w·l, Σ w) of a batch whose loss is ``value``; the loss of several batches is the quotient of their sums.

        A mean is weighted by its divisor, so the quotient does not depend on the batch size. A sum is used unchanged
        and divided by the number of samples.
        """
        if self.reduction == "sum":
            return value, float(len(target))
        weight = self.mean_weight(target)
        return (value * weight, weight) if weight else (0.0, 0.0)

    def mean_weight(self, target: Array) -> float:
        """The divisor of the mean over a batch: the number of elements of the target."""
        return float(target.size)

    @property
    def is_plain_cross_entropy(self) -> bool:
        """Whether this is the mean cross entropy without class weights and label smoothing."""
        return False


class CrossEntropyLoss(Loss):
    """L = −Σ_n w[y_n] log softmax(x_n)[y_n] / Σ_n w[y_n]

    x (N, C, positions…) are logits, y (N, positions…) integers in 0 … C − 1. ``label_smoothing`` ε mixes the target
    with the uniform distribution. Raises ``LabelError`` naming the first label that is not whole or out of range.
    """

    takes_logits: ClassVar[bool] = True
    weight: Value | None

    def __init__(self, weight: Array | None = None, *, reduction: str = "mean", label_smoothing: float = 0.0) -> None:
        super().__init__(reduction=reduction)
        self.label_smoothing = number("CrossEntropyLoss: label_smoothing", label_smoothing, 0.0, 1.0)
        buffer = None if weight is None else Parameter(_class_weights(weight), role=Role.BUFFER)
        self.register_parameter("weight", buffer)

    def forward(self, x: Value, y: Value) -> Value:
        return cross_entropy(x, y, self.weight, self.reduction, self.label_smoothing)

    def target(self, y: object, n: int, dtype: np.dtype[np.generic]) -> Array:
        labels = unmasked(y, "y")
        if labels.dtype.kind not in "iu":
            raise LabelError(_no_integers(labels))
        if labels.ndim == 0 or len(labels) != n:
            raise LabelError(f"{n} samples but labels of shape {labels.shape}\n  help: give one label for each sample")
        if labels.dtype == np.uint64 and labels.size and labels.max() > np.iinfo(np.int64).max:
            raise LabelError(f"label {labels.max()} at index {int(labels.argmax())} is out of range")
        return np.ascontiguousarray(labels, np.int64)

    def target_type(self, prediction: TensorType) -> TensorType:
        return TensorType(DType.int64, (*prediction.shape[:1], *prediction.shape[2:]))

    def check_shape(self, y: Shape, prediction: Shape) -> None:
        if len(prediction) < 2 or y[1:] != prediction[2:]:
            expected = "(N" + "".join(f", {size}" for size in prediction[2:]) + ")"
            fewer = len(y) == len(prediction) and y[2:] == prediction[2:]
            cure = "y[:, 0]" if len(y) > 1 and y[1] == 1 else "y.argmax(axis=1) if they are one-hot"
            raise LabelError(
                f"labels of shape {shape_text(y)} do not fit predictions of shape {shape_text(prediction)}\n"
                f"  help: labels are class numbers of shape {expected}" + (f": {cure}" if fewer else "")
            )

    def constant_loss(self, targets: Array, weights: Array) -> float:
        """The entropy of the labels, with class weights and smoothing taken into account."""
        p = np.bincount(targets, weights).astype(np.float64)
        weight = self._parameters.get("weight")
        if weight is not None and weight.initial is not None and weight.initial.shape == p.shape:
            p = p * weight.initial
        p = p / p.sum()
        p = p * (1 - self.label_smoothing) + self.label_smoothing / len(p)
        p = p[p > 0]
        return float(-(p * np.log(p)).sum())

    def mean_weight(self, target: Array) -> float:
        """Σ w[y_n], the divisor of the mean."""
        weight = self.own_state().get("weight")
        return float(target.size) if weight is None else float(weight.data.astype(np.float64)[target].sum())

    @property
    def is_plain_cross_entropy(self) -> bool:
        plain = self.reduction == "mean" and not self.label_smoothing
        return plain and "weight" not in self.own_state()

    def extra_repr(self) -> str:
        weighted = "weight" in self.own_state()
        parts = [f"weight=({self.parameter('weight').shape[0]},)"] if weighted else []
        parts += [f"reduction={self.reduction!r}"] if self.reduction != "mean" else []
        parts += [f"label_smoothing={self.label_smoothing:g}"] if self.label_smoothing else []
        return ", ".join(parts)


def _class_weights(weight: object) -> Array:
    """(C,) numbers that are finite in float32, not negative, and not all zero; ``OptionError`` for others."""
    array = unmasked(weight, "weight")
    if array.dtype.kind in "iuf" and array.ndim == 1 and array.size:
        with np.errstate(over="ignore"):
            single = array.astype(np.float32)
        if np.isfinite(single).all() and single.min() >= 0 < single.max():
            return array
    raise OptionError(
        f"CrossEntropyLoss: weight={weight!r:.200}; "
        "expected one number for each class, finite in float32, not negative, and not all zero"
    )


def _no_integers(labels: Array) -> str:
    """The error for labels that are not integers: it names the first that is not a whole number, else their dtype."""
    if labels.dtype.kind == "f":
        fractions = np.argwhere(labels != np.floor(labels))  # NaN among them
        if len(fractions):
            place = tuple(int(i) for i in fractions[0])
            shown = place[0] if len(place) == 1 else place
            return (
                f"label {labels[place]} at index {shown} is not a whole number ({labels.dtype})\n"
                "  help: give class numbers, or use MSELoss for measured targets"
            )
    if labels.dtype.kind in "fb":
        cure = "y.argmax(axis=1), because they are one-hot" if _are_one_hot(labels) else "y.astype(np.int64)"
        return f"labels are {labels.dtype}, not integers, though all of them are whole numbers\n  help: {cure}"
    return f"labels are {labels.dtype}, not integers\n  help: number the classes 0, 1, …"


def _are_one_hot(labels: Array) -> bool:
    """Whether axis 1 holds one 1 and otherwise 0 for each sample and position."""
    if labels.ndim < 2 or labels.shape[1] < 2:
        return False
    ones = labels == 1
    return bool((ones | (labels == 0)).all() and (ones.sum(axis=1) == 1).all())


class MSELoss(Loss):
    """L = mean (x − y)², y in the shape of x"""

    def forward(self, x: Value, y: Value) -> Value:
        return mse_loss(x, y, reduction=self.reduction)

    def target(self, y: object, n: int, dtype: np.dtype[np.generic]) -> Array:
        values = unmasked(y, "y")
        if values.dtype.kind not in "fiub":
            raise DTypeError(f"targets are {values.dtype}, not real numbers\n  help: y.astype(np.float32)")
        if values.ndim == 0 or len(values) != n:
            raise ShapeError(
                f"{n} samples but targets of shape {values.shape}\n  help: give one target for each sample"
            )
        return np.ascontiguousarray(values, dtype)

    def check_shape(self, y: Shape, prediction: Shape) -> None:
        if y[1:] != prediction[1:]:
            raise ShapeError(
                f"targets of shape {shape_text(y)} do not fit predictions of shape {shape_text(prediction)}\n"
                "  help: targets have the shape of the predictions"
            )

    def constant_loss(self, targets: Array, weights: Array) -> float:
        """The variance of the targets, which is the loss of their mean."""
        rows = targets.reshape(len(targets), -1).astype(np.float64)
        mean = np.average(rows, axis=0, weights=weights)
        return float(np.average(np.square(rows - mean), axis=0, weights=weights).mean())
