"""Losses: modules that reduce a prediction and a target to one number, which training minimizes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar, cast

import numpy as np

from striate.errors import DTypeError, LabelError, OptionError, ShapeError
from striate.graph.array import unmasked
from striate.graph.value import Array, DType, Shape, TensorType, Value, dtype_of, shape_text
from striate.nn.module import Module
from striate.nn.parameter import Parameter, Role
from striate.ops.element_loss import mse_loss, shape_cure
from striate.ops.label_loss import IGNORED
from striate.ops.loss import cross_entropy, multi_margin_loss, nll_loss
from striate.ops.loss_reduction import LossReduction
from striate.options import choice, number, whole_number
from striate.tracing import Tree

LossFunction = Callable[[Any, Any], Value]
"""A user's own loss: a function of (prediction, target) that returns one number."""


class Loss(Module):
    """Base class of losses (abstract): ``forward(prediction, target)`` returns one number.

    ``reduction`` is "mean", "sum" or "none". With "none", ``forward`` returns an array instead, with one loss per
    element or, for class labels, one per sample and position.
    """

    takes_trees: ClassVar[bool] = False
    """Whether ``forward`` takes tuples and dictionaries of outputs and of targets."""
    takes_labels: ClassVar[bool] = False
    """Whether targets are class numbers, and predictions are scores with the classes on axis 1."""
    predicts_targets: ClassVar[bool] = False
    """Whether predictions estimate the targets themselves, so that their differences are errors."""
    decides: ClassVar[bool] = False
    """Whether the predictions are logits of yes-or-no labels, where numbers above 0 mean yes."""
    takes_logits: ClassVar[bool] = False
    """Whether the predictions are logits, whose softmax gives probabilities."""
    reductions: ClassVar[tuple[str, ...]] = tuple(one.name for one in LossReduction)
    """The allowed values of ``reduction``."""

    @property
    def ignored(self) -> int | None:
        """The label whose samples or positions are left out of the loss; None if there is no such label."""
        return None

    def __init__(self, *, reduction: str = "mean") -> None:
        self.reduction = choice("reduction", reduction, self.reductions)

    def target(self, y: object, n: int, dtype: np.dtype[np.generic]) -> Array:
        """Return the targets ``y`` of ``n`` samples as an array that ``forward`` takes.

        ``dtype`` is the dtype of the model. Raises ``ShapeError``, ``DTypeError`` or ``LabelError`` for unsuitable
        targets.
        """
        raise NotImplementedError

    def target_type(self, prediction: TensorType) -> TensorType:
        """Return the dtype and shape that targets have for predictions of the dtype and shape ``prediction``."""
        return prediction

    def check_shape(self, y: Shape, prediction: Shape, dtype: DType) -> None:
        """Raise ``ShapeError`` or ``LabelError`` if the shape of the targets does not suit that of the predictions.

        ``y`` is the shape of the targets, ``dtype`` their dtype, and ``prediction`` the shape of the predictions.
        """

    def check_target(self, y: Array, prediction: Shape) -> None:
        """Raise ``ShapeError`` or ``LabelError`` if the targets ``y`` do not suit the predictions.

        ``prediction`` is the shape of the predictions. Both the shape of the targets and their contents are checked,
        such as the range of labels.
        """
        self.check_shape(y.shape, prediction, dtype_of(y.dtype))

    def constant_loss(self, targets: Array, weights: Array) -> float:
        """Return the smallest mean loss that one and the same prediction for all samples can have; NaN if unknown.

        This is a baseline that a trained model must beat. ``targets`` are (n, …), and ``weights`` (n,) are the weights
        of the samples.
        """
        return math.nan

    def losses(self, x: Value, y: Value) -> Value:
        """Return the losses (N, …) of a batch without reducing them, whatever the option ``reduction``.

        x are the predictions and y the targets; there is one loss per element or, for class labels, one per sample and
        position. Raises ``OptionError`` for a loss that can only be computed for a whole batch.
        """
        before = self.reduction
        vars(self)["reduction"] = "none"  # not by assignment, which would discard the compiled programs
        try:
            found: object = self(x, y)
        finally:
            vars(self)["reduction"] = before
        if not isinstance(found, Value) or not found.type.batched:
            raise OptionError(
                f"{self!r} has no loss of each sample, so samples cannot be weighted\n"
                "  help: a loss that can be given for each sample, such as nn.CrossEntropyLoss() or nn.MSELoss()"
            )
        return found

    def totals(self, value: float, target: Array, weights: Array | None = None) -> tuple[float, float]:
        """Return (weighted sum of the losses, sum of the weights) for a batch whose loss is ``value``.

        To average the loss over several batches, add up each of the two numbers and divide the sums. This average does
        not depend on how the samples are divided into batches. With ``reduction="sum"``, the two numbers are ``value``
        itself and the number of samples. ``target`` holds the targets, and ``weights`` (N,) the weights of the samples,
        1 by default.
        """
        if self.reduction == "sum":
            return value, float(len(target) if weights is None else weights.sum())
        weight = self.mean_weight(target) if weights is None else float((weights * self.sample_shares(target)).sum())
        return (value * weight, weight) if weight else (0.0, 0.0)

    def sample_shares(self, target: Array) -> Array:
        """Return how much each sample of ``target`` contributes to the divisor of the mean, as an array (N,)."""
        return np.array([self.mean_weight(target[n : n + 1]) for n in range(len(target))])

    def mean_weight(self, target: Array) -> float:
        """Return the divisor of the mean over a batch: the number of elements of the target.

        Losses with another divisor override this method.
        """
        return float(target.size)

    @property
    def is_plain_cross_entropy(self) -> bool:
        """Whether this is the mean cross entropy without class weights, ignored labels and label smoothing."""
        return False

    def extra_repr(self) -> str:
        return "" if self.reduction == "mean" else f"reduction={self.reduction!r}"


class FunctionLoss(Loss):
    """A user's own loss: L = function(x, y), for a function or module that returns one number.

    x is what the model returns, possibly a tuple or dictionary of outputs. y are the targets, possibly a tuple or
    dictionary of arrays; integers and bools become int64, and floats get the dtype of the model. In the mean over an
    epoch, the weight of each batch is its number of samples.
    """

    takes_trees: ClassVar[bool] = True

    def __init__(self, function: LossFunction) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tree, y: Tree) -> Value:
        return self.function(x, y)

    def target(self, y: object, n: int, dtype: np.dtype[np.generic]) -> Array:
        values = real_targets(y, n)
        return np.ascontiguousarray(values, np.int64 if values.dtype.kind in "iub" else dtype)

    def mean_weight(self, target: Array) -> float:
        return float(len(target))

    def extra_repr(self) -> str:
        return "" if isinstance(self.function, Module) else str(getattr(self.function, "__qualname__", self.function))


_NUMBERED = "classes, y = np.unique(y, return_inverse=True) numbers the classes 0, 1, …"
"""The remedy for targets that are names of classes."""


def as_loss(loss: object) -> Loss:
    """Convert a ``Loss``, a module, or a function of (prediction, target) to a ``Loss``.

    Raises ``OptionError`` for anything else, and for a ``Loss`` with ``reduction="none"``, which cannot be minimized.
    """
    if isinstance(loss, Loss):
        if loss.reduction == "none":
            raise OptionError(
                f"loss={loss!r} returns a number for each item, and training needs one\n"
                '  help: reduction="mean", or a function such as lambda x, y: st.ops.mean(loss(x, y))'
            )
        return loss
    if callable(loss) and not isinstance(loss, type):
        return FunctionLoss(cast("LossFunction", loss))
    raise OptionError(
        f"loss={loss!r:.200}: expected an object of Loss, or a function of (prediction, target)\n"
        "  help: for example nn.CrossEntropyLoss()"
    )


def real_targets(y: object, n: int) -> Array:
    """Return the targets ``y`` as an array of real numbers whose axis 0 has ``n`` samples.

    Raises ``DTypeError`` unless ``y`` consists of real numbers, and ``ShapeError`` for another number of samples.
    """
    values = unmasked(y, "y")
    if values.dtype.kind not in "fiub":
        cure = _NUMBERED if values.dtype.kind in "USO" else "y.astype(np.float32)"
        raise DTypeError(f"targets are {values.dtype}, not real numbers\n  help: {cure}")
    if values.ndim == 0 or len(values) != n:
        raise ShapeError(f"{n} samples but targets of shape {values.shape}\n  help: give one target for each sample")
    return values


class LabelLoss(Loss):
    """Base class of losses of class labels (abstract).

    Predictions are (N, C, spatial axes…), and labels (N, spatial axes…) integers from 0 to C − 1; False and True count
    as 0 and 1. ``weight`` (C,) are the weights of the classes, by default 1. Raises ``OptionError`` for weights that
    are negative, not finite or all zero.
    """

    takes_labels: ClassVar[bool] = True
    takes_probabilities: ClassVar[bool] = False
    """Whether targets may also be class probabilities in the shape of the prediction."""
    weight: Value | None

    def __init__(self, weight: Array | None, *, reduction: str) -> None:
        super().__init__(reduction=reduction)
        buffer = None if weight is None else Parameter(_class_weights(weight), role=Role.BUFFER)
        self.register_parameter("weight", buffer)

    def target(self, y: object, n: int, dtype: np.dtype[np.generic]) -> Array:
        labels = unmasked(y, "y")
        probabilities = self.takes_probabilities and labels.dtype.kind == "f" and labels.ndim > 1
        if labels.dtype.kind not in "iub" and not probabilities:
            raise LabelError(_no_integers(labels, self.takes_probabilities))
        if labels.ndim == 0 or len(labels) != n:
            raise LabelError(f"{n} samples but labels of shape {labels.shape}\n  help: give one label for each sample")
        if probabilities:
            return np.ascontiguousarray(labels, dtype)
        if labels.dtype == np.uint64 and labels.size and labels.max() > np.iinfo(np.int64).max:
            raise LabelError(f"label {labels.max()} at index {int(labels.argmax())} is out of range")
        return np.ascontiguousarray(labels, np.int64)

    def target_type(self, prediction: TensorType) -> TensorType:
        return TensorType(DType.int64, (*prediction.shape[:1], *prediction.shape[2:]))

    def check_shape(self, y: Shape, prediction: Shape, dtype: DType) -> None:
        if dtype.is_float and y[1:] != prediction[1:]:
            raise LabelError(
                f"probabilities of shape {shape_text(y)} do not fit predictions of shape {shape_text(prediction)}\n"
                "  help: probabilities have the shape of the predictions; class numbers are integers"
            )
        if not dtype.is_float and (len(prediction) < 2 or y[1:] != prediction[2:]):
            expected = "(N" + "".join(f", {size}" for size in prediction[2:]) + ")"
            fewer = len(y) == len(prediction) and y[2:] == prediction[2:]
            cure = "y[:, 0]" if len(y) > 1 and y[1] == 1 else "y.argmax(axis=1) if they are one-hot"
            raise LabelError(
                f"labels of shape {shape_text(y)} do not fit predictions of shape {shape_text(prediction)}\n"
                f"  help: labels are class numbers of shape {expected}" + (f": {cure}" if fewer else "")
            )

    def check_target(self, y: Array, prediction: Shape) -> None:
        super().check_target(y, prediction)
        left_out = y.dtype.kind != "f" and y.size and y.flat[0] == self.ignored
        if left_out and self.reduction == "mean" and (y == self.ignored).all():
            raise LabelError(
                f"every label of this batch is {self.ignored}, the ignore_index, so the mean is over no labels: NaN\n"
                '  help: drop such samples, or use reduction="sum"'
            )

    def mean_weight(self, target: Array) -> float:
        """Return the divisor of the mean over a batch: the sum of the class weights of all labels that are not ignored.

        If ``target`` holds probabilities instead of labels, the divisor is the number of samples times the number of
        positions.
        """
        if target.dtype.kind == "f":
            return float(target.size / max(1, target.shape[1]))
        counted = target if self.ignored is None else target[target != self.ignored]
        weight = self.own_state().get("weight")
        return float(counted.size) if weight is None else float(weight.data.astype(np.float64)[counted].sum())

    def sample_shares(self, target: Array) -> Array:
        """Return the contribution of each sample to the divisor of the mean, as an array (N,).

        It is the sum of the class weights of those labels of the sample that are not ignored. If ``target`` holds
        probabilities instead of labels, each sample contributes its number of positions.
        """
        if target.dtype.kind == "f":
            return np.full(len(target), self.mean_weight(target[:1]))
        counted = np.ones(target.shape, bool) if self.ignored is None else target != self.ignored
        weight = self.own_state().get("weight")
        shares = (
            np.ones(target.shape) if weight is None else weight.data.astype(np.float64)[np.where(counted, target, 0)]
        )
        return np.where(counted, shares, 0.0).reshape(len(target), -1).sum(axis=1)

    def extra_repr(self) -> str:
        parts = [f"weight=({self.parameter('weight').shape[0]},)"] if "weight" in self.own_state() else []
        return ", ".join([*parts, *self.options()])

    def options(self) -> list[str]:
        """Return the options that differ from their defaults, except ``weight``, as texts like "reduction='sum'"."""
        return [super().extra_repr()] if super().extra_repr() else []


class CrossEntropyLoss(LabelLoss):
    """Cross entropy of logits and class labels: L = −Σ_n w[y_n] log softmax(x_n)[y_n] / Σ_n w[y_n]

    x (N, C, spatial axes…) are logits. y (N, spatial axes…) are integers from 0 to C − 1, or probabilities in the shape
    of x, such as one-hot vectors. n counts samples and positions. ``weight`` w (C,) are the weights of the classes, by
    default 1. Labels equal to ``ignore_index`` are left out. If this leaves no label in a batch, the mean is NaN, as in
    PyTorch, and a training step raises ``LabelError``. ``label_smoothing`` ε mixes the target with the uniform
    distribution: (1 − ε) · target + ε / C. Raises ``LabelError``, which names the first invalid label, if a label is
    out of range or not a whole number.
    """

    takes_logits: ClassVar[bool] = True
    takes_probabilities: ClassVar[bool] = True

    def __init__(
        self,
        weight: Array | None = None,
        *,
        ignore_index: int = IGNORED,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, reduction=reduction)
        self.ignore_index = whole_number("CrossEntropyLoss: ignore_index", ignore_index, -(2**63), 2**63 - 1)
        self.label_smoothing = number("CrossEntropyLoss: label_smoothing", label_smoothing, 0.0, 1.0)

    @property
    def ignored(self) -> int | None:
        return self.ignore_index

    def forward(self, x: Value, y: Value) -> Value:
        return cross_entropy(
            x, y, self.weight, ignore_index=self.ignore_index, reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )  # fmt: skip

    def constant_loss(self, targets: Array, weights: Array) -> float:
        """Return the smallest loss that one and the same prediction q (C,) for all samples can have.

        This loss is −Σ_c a_c log q_c / Σ_n w[y_n] with q = a / Σ a, where w are the class weights, y_n the labels, and
        a_c the sum of the targets of class c, after class weights and label smoothing. Without class weights and label
        smoothing, the loss is the entropy of the labels. ``weights`` (n,) are the weights of the samples. The result is
        NaN for targets that are probabilities, for several labels per sample, and if every label is ignored.
        """
        if targets.dtype.kind == "f" or targets.ndim != 1:
            return math.nan
        counted = targets != self.ignore_index
        weight = self._parameters.get("weight")
        current = None if weight is None else weight.current
        given = None if current is None else current.astype(np.float64)
        count = np.bincount(targets[counted], weights[counted], 0 if given is None else len(given)).astype(np.float64)
        if given is None:
            given = np.ones(len(count))
        if len(count) > len(given):
            return math.nan
        sums = given * ((1 - self.label_smoothing) * count + self.label_smoothing * count.sum() / max(len(count), 1))
        divisor = float((given * count).sum() if self.reduction == "mean" else weights.sum())
        if not count.sum() or not divisor:
            return math.nan
        positive = sums[sums > 0]
        return float(-(positive * np.log(positive / sums.sum())).sum() / divisor)

    @property
    def is_plain_cross_entropy(self) -> bool:
        plain = self.reduction == "mean" and not self.label_smoothing and self.ignore_index < 0
        return plain and "weight" not in self.own_state()

    def options(self) -> list[str]:
        parts = [f"ignore_index={self.ignore_index}"] if self.ignore_index != IGNORED else []
        return [
            *super().options(), *parts, *([f"label_smoothing={self.label_smoothing:g}"] if self.label_smoothing else [])
        ]  # fmt: skip


class NLLLoss(LabelLoss):
    """Negative log likelihood of class labels: L = −Σ_n w[y_n] x_n[y_n] / Σ_n w[y_n]

    x (N, C, spatial axes…) are logarithms of probabilities, y (N, spatial axes…) integers from 0 to C − 1; n counts
    samples and positions. ``weight`` w (C,) are the weights of the classes, by default 1, and labels equal to
    ``ignore_index`` are left out. After ``LogSoftmax`` this loss equals ``CrossEntropyLoss`` of the logits.
    """

    def __init__(self, weight: Array | None = None, *, ignore_index: int = IGNORED, reduction: str = "mean") -> None:
        super().__init__(weight, reduction=reduction)
        self.ignore_index = whole_number("NLLLoss: ignore_index", ignore_index, -(2**63), 2**63 - 1)

    @property
    def ignored(self) -> int | None:
        return self.ignore_index

    def forward(self, x: Value, y: Value) -> Value:
        return nll_loss(x, y, self.weight, ignore_index=self.ignore_index, reduction=self.reduction)

    def options(self) -> list[str]:
        parts = [f"ignore_index={self.ignore_index}"] if self.ignore_index != IGNORED else []
        return [*super().options(), *parts]


class MultiMarginLoss(LabelLoss):
    """Multi-class hinge loss: L = mean of w[y_n] / C · Σ_{c ≠ y_n} max(0, margin − x_n[y_n] + x_n[c])^p

    x (N, C) are scores, y (N,) integers from 0 to C − 1, and n counts samples. ``weight`` w (C,) are the weights of the
    classes, by default 1; p is 1 or 2.
    """

    def __init__(
        self, p: int = 1, margin: float = 1.0, weight: Array | None = None, *, reduction: str = "mean"
    ) -> None:
        super().__init__(weight, reduction=reduction)
        self.p = whole_number("MultiMarginLoss: p", p, 1, 2)
        self.margin = number("MultiMarginLoss: margin", margin)

    def forward(self, x: Value, y: Value) -> Value:
        return multi_margin_loss(x, y, self.p, self.margin, self.weight, reduction=self.reduction)

    def mean_weight(self, target: Array) -> float:
        return float(len(target))

    def sample_shares(self, target: Array) -> Array:
        return np.ones(len(target))

    def options(self) -> list[str]:
        parts = [f"p={self.p}"] if self.p != 1 else []
        return [*super().options(), *parts, *([f"margin={self.margin:g}"] if self.margin != 1.0 else [])]


def _class_weights(weight: object) -> Array:
    """Return class weights (C,) as an array.

    Raises ``OptionError`` unless they are finite in float32, not negative and not all zero.
    """
    array = unmasked(weight, "weight")
    if array.dtype.kind in "iuf" and array.ndim == 1 and array.size:
        with np.errstate(over="ignore"):
            single = array.astype(np.float32)
        if np.isfinite(single).all() and single.min() >= 0 < single.max():
            return array
    raise OptionError(
        f"weight={weight!r:.200}; expected one number for each class, finite in float32, not negative, and not all zero"
    )


def _no_integers(labels: Array, probabilities: bool) -> str:
    """Return the error text for labels that are not integers.

    It names the first label that is not a whole number; if all are whole, it names their dtype. ``probabilities`` says
    whether the loss also takes probabilities.
    """
    if labels.dtype.kind == "f":
        fractions = np.argwhere(labels != np.floor(labels))  # also finds NaN
        if len(fractions):
            place = tuple(int(i) for i in fractions[0])
            shown = place[0] if len(place) == 1 else place
            return (
                f"label {labels[place]} at index {shown} is not a whole number ({labels.dtype})\n"
                "  help: give class numbers, or use MSELoss for measured targets"
                + ("; probabilities have the shape of the predictions" if probabilities else "")
            )
    if labels.dtype.kind == "f":
        cure = "y.argmax(axis=1), because they are one-hot" if _are_one_hot(labels) else "y.astype(np.int64)"
        return f"labels are {labels.dtype}, not integers, though all of them are whole numbers\n  help: {cure}"
    return f"labels are {labels.dtype}, not integers\n  help: {_NUMBERED}"


def _are_one_hot(labels: Array) -> bool:
    """Return whether each sample and position has a single 1, and zeros otherwise, along axis 1."""
    if labels.ndim < 2 or labels.shape[1] < 2:
        return False
    ones = labels == 1
    return bool((ones | (labels == 0)).all() and (ones.sum(axis=1) == 1).all())


class ElementLoss(Loss):
    """Base class of losses that compare prediction and target element by element (abstract).

    Prediction and target have the same shape. Integer and bool targets are converted to the dtype of the model.
    """

    def target(self, y: object, n: int, dtype: np.dtype[np.generic]) -> Array:
        return np.ascontiguousarray(real_targets(y, n), dtype)

    def sample_shares(self, target: Array) -> Array:
        return np.full(len(target), self.mean_weight(target[:1]))

    def check_shape(self, y: Shape, prediction: Shape, dtype: DType) -> None:
        if y[1:] != prediction[1:]:
            raise ShapeError(
                f"targets of shape {shape_text(y)} do not fit predictions of shape {shape_text(prediction)}\n"
                f"  help: {shape_cure(('N', *prediction[1:]), ('N', *y[1:]))}"
            )


class MSELoss(ElementLoss):
    """Mean squared error: L = mean (x − y)²

    Raises ``ShapeError`` unless the targets y have the shape of the predictions x.
    """

    predicts_targets: ClassVar[bool] = True

    def forward(self, x: Value, y: Value) -> Value:
        return mse_loss(x, y, reduction=self.reduction)

    def constant_loss(self, targets: Array, weights: Array) -> float:
        """Return the variance of the targets (n, …), the loss of always predicting their mean.

        ``weights`` (n,) are the weights of the samples; if their sum is 0, the result is NaN.
        """
        if not weights.sum():
            return math.nan
        rows = targets.reshape(len(targets), -1).astype(np.float64)
        mean = np.average(rows, axis=0, weights=weights)
        return float(np.average(np.square(rows - mean), axis=0, weights=weights).mean())


def loss_of_classes(weight: Array | None = None, label_smoothing: float = 0.0) -> Loss:
    """Return the default loss for one class per sample, ``CrossEntropyLoss``.

    ``weight`` (C,) are the class weights, or None for equal ones; ``label_smoothing`` is as in ``CrossEntropyLoss``.
    """
    return CrossEntropyLoss(weight, label_smoothing=label_smoothing)


def loss_of_measured_targets() -> Loss:
    """Return the default loss for evaluation on real-valued targets: ``MSELoss``."""
    return MSELoss()
