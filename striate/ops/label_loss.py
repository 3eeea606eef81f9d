"""Losses whose targets are class indices: cross entropy and negative log likelihood, and their gradients.

Logits have the shape (N, C) or (N, C, positions…), where C is the number of classes and positions are the spatial axes.
The losses work on the C entries of each sample and position separately.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from striate.codegen.launch import Launch
from striate.codegen.storage import BLOCK, PLAIN, InputLayout
from striate.errors import GraphError, LabelError, OptionError
from striate.graph.op import Gradients, Kind, Needed, Sample, Values, register
from striate.graph.operand import constant
from striate.graph.reshape import reshape
from striate.graph.value import Array, DType, TensorType
from striate.ops import kernels
from striate.ops.anchor import Algorithm, Anchor, LoweringContext
from striate.ops.channel_softmax import (
    Softmax,
    SoftmaxGradient,
    example_shapes,
    log_softmax_of,
    row_phase,
    softmax_of,
    walked,
)
from striate.ops.reduction import sum
from striate.ops.requirement import dtype_error, require_floats, shape_error
from striate.ops.shaping import BroadcastTo, expanded

NO_LABEL = -(2**63)
"""The ``ignore_index`` for a loss that ignores no label: the smallest int64, which is never a class index."""


IGNORED = -100
"""Default of ``ignore_index``, as in PyTorch: samples and positions with this label do not count in the loss."""


def require_labels(labels: Array, classes: int, ignored: int | None = None) -> None:
    """Raise ``LabelError`` if a label is outside 0 … classes − 1; labels equal to ``ignored`` are allowed.

    The error names the first wrong label and its index. With ``ignored=None`` every label must be in the range.
    """
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        wrong = ((labels < 0) | (labels >= classes)) & (True if ignored is None else labels != ignored)
        if not wrong.any():
            return
        bad = np.argwhere(wrong)[0]
        place = int(bad[0]) if len(bad) == 1 else tuple(int(i) for i in bad)
        raise LabelError(
            f"label {int(labels[tuple(bad)])} at index {place} is out of range: there are {classes} classes, "
            f"0 … {classes - 1}\n  help: give the last layer more outputs, or number the labels from 0"
            + ("" if ignored in (None, NO_LABEL) else f"; ignore_index={ignored} leaves labels of {ignored} out")
        )


@dataclass(frozen=True)
class LabelLoss(Anchor):
    """Base class of losses whose targets are class indices, and of their gradients (abstract).

    The inputs are logits (N, C, positions…), labels (N, positions…) in int64 and optionally class weights (C,). The
    share of a loss is its weight in a weighted mean. Where the label is ``ignore_index``, the loss and its share are 0.
    ``label_smoothing`` is ε: the target is mixed with the uniform distribution, (1 − ε) · target + ε / C.
    """

    kind: ClassVar[Kind] = Kind.ROWWISE
    letters: ClassVar[Mapping[str, str]] = {"ε": "label_smoothing"}
    checked_inputs: ClassVar[tuple[int, ...]] = (1,)
    label_smoothing: float = 0.0
    ignore_index: int = IGNORED

    def options(self) -> dict[str, str]:
        return {name: text for name, text in super().options().items() if text != str(NO_LABEL)}

    def input_layouts(
        self, inputs: Sequence[TensorType], blocks: Sequence[int], algorithm: Algorithm
    ) -> tuple[InputLayout, ...]:
        """Return the required layouts: blocks of 16 channels for the logits, NumPy's order for the other inputs."""
        return (InputLayout((BLOCK,)), *(InputLayout((PLAIN,)) for _ in inputs[1:]))

    def losses_type(self, logits: TensorType, labels: TensorType, weight: TensorType | None) -> TensorType:
        """Return the type of the losses, (N, positions…) in the dtype of the logits, from the types of the inputs.

        Raises ``ShapeError``, ``DTypeError`` or ``OptionError`` if the inputs or the options do not fit together.
        """
        require_floats(self, [logits, weight] if weight else [logits])
        if not 0 <= self.label_smoothing <= 1:
            raise OptionError(f"{self}: label_smoothing must be in [0, 1]")
        if labels.dtype is not DType.int64:
            raise dtype_error(
                self,
                f"labels must be integers (the number of a class), got {labels} for logits {logits}",
                "labels.astype(numpy.int64); or give probabilities in the shape of the logits",
            )
        if logits.rank < 2:
            raise shape_error(self, f"logits are (N, C, …), got {logits}", "give one logit for each class")
        if logits.shape[1] == 0:
            raise shape_error(self, f"the logits have 0 classes: {logits}", "give one logit for each class")
        expected = (logits.shape[0], *logits.shape[2:])
        if labels.shape != expected:
            one_hot = labels.shape == logits.shape
            raise shape_error(
                self,
                f"logits {logits} need one label for each sample and position, got {labels}",
                "labels.argmax(axis=1) turns one-hot labels into class numbers"
                if one_hot
                else "give labels with the shape of the logits without the class axis",
            )
        if weight is not None and weight.shape != logits.shape[1:2]:
            raise shape_error(
                self, f"expected one weight for each of the {logits.shape[1]} classes, got {weight}", "give shape (C,)"
            )
        return logits.with_shape(expected)

    def require_contents(self, array: Array, inputs: tuple[TensorType, ...]) -> None:
        require_labels(array, inputs[0].concrete(1)[1], self.ignore_index)

    def targets(self, logits: Array, labels: Array, weight: Array | None) -> Array:
        """Return t[c] = w[c] · ((1 − ε) · [c = label] + ε / C), the factor of −log_softmax(x)[c] in the loss.

        [c = label] is 1 for the label and 0 for other classes; ε is ``label_smoothing``; w is 1 if ``weight`` is None.
        The result has the shape of the logits, and is 0 where the label is ignored. Raises ``LabelError`` for labels
        out of range.
        """
        classes = logits.shape[1]
        require_labels(labels, classes, self.ignore_index)
        kept = labels != self.ignore_index
        hot = np.moveaxis(np.eye(classes, dtype=logits.dtype)[np.where(kept, labels, 0)], -1, 1)
        smooth = (1 - self.label_smoothing) * hot + self.label_smoothing / classes
        weights = np.ones(classes, logits.dtype) if weight is None else weight
        return smooth * weights.reshape(1, -1, *(1,) * (logits.ndim - 2)) * np.expand_dims(kept, 1)

    def shares(self, logits: Array, labels: Array, weight: Array | None) -> Array:
        """Return w[label] in the shape of the labels: 1 if ``weight`` is None, and 0 where the label is ignored."""
        kept = labels != self.ignore_index
        chosen = np.ones(labels.shape) if weight is None else weight[np.where(kept, labels, 0)]
        return np.where(kept, chosen, 0).astype(logits.dtype)

    def losses(self, logits: Array, labels: Array, weight: Array | None) -> Array:
        """Return −Σ_c t[c] · log_softmax(logits)[c], with t from ``targets``, in the shape of the labels.

        ``weight`` holds the class weights; None means 1. Where the label is ignored, the loss is 0 even if the logits
        are NaN.
        """
        require_labels(labels, logits.shape[1], self.ignore_index)
        kept, logarithms = labels != self.ignore_index, log_softmax_of(logits)
        chosen = np.take_along_axis(logarithms, np.expand_dims(np.where(kept, labels, 0), 1), axis=1).squeeze(1)
        with np.errstate(invalid="ignore"):  # 0 · ∞ where a class of weight 0 is impossible
            found = (1 - self.label_smoothing) * self.shares(logits, labels, weight) * chosen
            if self.label_smoothing:  # only then do the other classes count: their logits may be −∞ otherwise
                weights = np.ones(logits.shape[1], logits.dtype) if weight is None else weight
                spread = weights.reshape(1, -1, *(1,) * (logits.ndim - 2)) * logarithms
                found = found + self.label_smoothing / logits.shape[1] * spread.sum(axis=1)
        return -np.where(kept, found, 0)


@dataclass(frozen=True)
class LossOfLabels(LabelLoss):
    """Base class of the losses whose targets are class indices, without their gradients (abstract).

    The outputs are (losses, shares), each (N, positions…). A share is the weight of the loss in a weighted mean.
    """

    results: ClassVar[tuple[str, ...]] = ("losses", "shares")

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        logits, labels, *weight = inputs
        losses = self.losses_type(logits, labels, weight[0] if weight else None)
        return losses, losses

    def output_layouts(self, inputs: Sequence[TensorType], blocks: Sequence[int]) -> tuple[int, ...]:
        return PLAIN, PLAIN


@register
@dataclass(frozen=True)
class CrossEntropy(LossOfLabels):
    """loss = −Σ_c w[c] · ((1 − ε) · [c = label] + ε / C) · log_softmax(x)[c]

    Inputs: logits x (N, C, positions…), labels (N, positions…) in int64 and optionally the class weights w (C,), by
    default 1. [c = label] is 1 for the label and 0 for other classes; ε is ``label_smoothing``. Returns
    (losses, shares), where the share is w[label]. Both have the shape (N, positions…) and are 0 where the label is
    ``ignore_index``. A weighted mean is Σ losses / Σ shares.
    """

    def lower(self, context: LoweringContext) -> list[Launch]:
        weighted = len(context.node.inputs) == 3
        rows = kernels.rowwise.CrossEntropyRows(*walked(context), self.label_smoothing, weighted, self.ignore_index)
        return row_phase(context, rows)

    def reference(self, logits: Array, labels: Array, weight: Array | None = None) -> tuple[Array, ...]:
        return self.losses(logits, labels, weight).astype(logits.dtype), self.shares(logits, labels, weight)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Gradients, needed: Needed) -> Gradients:
        if any(needed[2:]):
            raise GraphError(f"{self}: class weights are constants and have no gradient")
        dlosses = output_gradients[0]
        if dlosses is None:
            return (None,) * len(inputs)
        rule = CrossEntropyGradient(self.label_smoothing, self.ignore_index)
        dlogits = rule(*inputs, expanded(dlosses, outputs[0]))
        return (dlogits, *(None,) * (len(inputs) - 1))

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for smoothing, logits, labels, weight in _examples(random):
            movable = (True, False, *(False for _ in weight))
            yield Sample(cls(smoothing), (logits, labels, *weight), differentiable=movable)


@register
@dataclass(frozen=True)
class CrossEntropyGradient(LabelLoss):
    """dx[c] = dloss · (softmax(x)[c] · Σ_j t[j] − t[c]), t[c] = w[c] · ((1 − ε) · [c = label] + ε / C)

    Inputs: logits x (N, C, positions…), labels (N, positions…), optionally the class weights w (C,), by default 1, and
    dloss (N, positions…), the gradient with respect to the losses. [c = label] is 1 for the label and 0 for other
    classes; ε is ``label_smoothing``. Returns dx in the shape of x.
    """

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        logits, labels, *weight, dlosses = inputs
        losses = self.losses_type(logits, labels, weight[0] if weight else None)
        if dlosses != losses:
            raise shape_error(
                self, f"the losses are {losses}, but their gradient is {dlosses}", "give the shape of the forward pass"
            )
        return (logits,)

    def lower(self, context: LoweringContext) -> list[Launch]:
        weighted = len(context.node.inputs) == 4
        result = context.storage(context.node.outputs[0])
        return row_phase(
            context,
            kernels.rowwise.CrossEntropyGradientRows(
                *walked(context), self.label_smoothing, weighted, self.ignore_index, result
            ),
        )

    def reference(self, logits: Array, labels: Array, *rest: Array) -> Array:
        *weight, dlosses = rest
        target = self.targets(logits, labels, weight[0] if weight else None)
        dlosses = np.where(labels == self.ignore_index, 0, dlosses)
        return np.expand_dims(dlosses, 1) * (softmax_of(logits) * target.sum(axis=1, keepdims=True) - target)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        logits, labels, *weight, dlosses = inputs
        g = expanded(output_gradients[0], outputs[0])
        column = (logits.shape[0], 1, *logits.shape[2:])
        by_logits = by_losses = None
        if needed[0]:
            by_logits = SoftmaxGradient()(Softmax()(logits), g * reshape(dlosses, column))
            # Σ_j t[j] = (1 − ε) · w[label] + ε / C · Σ w; without weights it is 1, and it is 0 for ignored labels
            kept = CrossEntropy(ignore_index=self.ignore_index)(logits, labels)[1]
            total = kept
            if weight:
                chosen = CrossEntropy(ignore_index=self.ignore_index)(logits, labels, weight[0])[1]
                share = self.label_smoothing / weight[0].type.size()
                total = chosen * (1 - self.label_smoothing) + kept * (sum(weight[0]) * share)
            by_logits = by_logits * reshape(total, column)
        if needed[-1]:
            one = BroadcastTo(dlosses.shape)(constant(1.0, dlosses.dtype))
            slope = CrossEntropyGradient(self.label_smoothing, self.ignore_index)(logits, labels, *weight, one)
            by_losses = sum(g * slope, axis=1)
        return (by_logits, None, *(None for _ in weight), by_losses)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for smoothing, logits, labels, weight in _examples(random):
            movable = (True, False, *(False for _ in weight), True)
            dlosses = random.standard_normal(labels.shape)
            yield Sample(cls(smoothing), (logits, labels, *weight, dlosses), differentiable=movable)


@register
@dataclass(frozen=True)
class NegativeLogLikelihood(LossOfLabels):
    """loss = −w[label] · x[label]

    Inputs: logarithms of probabilities x (N, C, positions…), labels (N, positions…) in int64 and optionally the class
    weights w (C,), by default 1. Returns (losses, shares), where the share is w[label]. Both have the shape
    (N, positions…) and are 0 where the label is ``ignore_index``. A weighted mean is Σ losses / Σ shares.
    """

    def lower(self, context: LoweringContext) -> list[Launch]:
        weighted = len(context.node.inputs) == 3
        return row_phase(context, kernels.rowwise.LikelihoodRows(*walked(context), 0.0, weighted, self.ignore_index))

    def reference(self, x: Array, labels: Array, weight: Array | None = None) -> tuple[Array, ...]:
        require_labels(labels, x.shape[1], self.ignore_index)
        kept, shares = labels != self.ignore_index, self.shares(x, labels, weight)
        chosen = np.take_along_axis(x, np.expand_dims(np.where(kept, labels, 0), 1), axis=1).squeeze(1)
        return np.where(kept, -chosen * shares, 0).astype(x.dtype), shares

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Gradients, needed: Needed) -> Gradients:
        if any(needed[2:]):
            raise GraphError(f"{self}: class weights are constants and have no gradient")
        (x, labels, *weight), dlosses = inputs, output_gradients[0]
        if dlosses is None:
            return (None,) * len(inputs)
        slope = -(expanded(dlosses, outputs[0]) * outputs[1])
        return (OneHot(ignore_index=self.ignore_index)(x, labels, slope), None, *(None for _ in weight))

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for smoothing, logits, labels, weight in _examples(random):
            if not smoothing or weight:
                yield Sample(cls(), (logits, labels, *weight), differentiable=(True, False, *(False for _ in weight)))


@register
@dataclass(frozen=True)
class OneHot(LabelLoss):
    """y[c] = a where c = label, else 0

    Inputs: x (N, C, positions…), whose elements are not read; class indices ``label`` and numbers a, both
    (N, positions…). Returns y in the shape and dtype of x. y is 0 in all classes where the label is ``ignore_index``.
    The gradient of ``NegativeLogLikelihood`` is of this form.
    """

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        x, labels, a = inputs
        if a != self.losses_type(x, labels, None):
            raise shape_error(self, f"expected a value for each of {labels}, got {a}", "give the shape of the labels")
        return (x,)

    def lower(self, context: LoweringContext) -> list[Launch]:
        result = context.storage(context.node.outputs[0])
        return row_phase(context, kernels.rowwise.OneHotRows(*walked(context), 0.0, False, self.ignore_index, result))

    def reference(self, x: Array, labels: Array, a: Array) -> Array:
        require_labels(labels, x.shape[1], self.ignore_index)
        kept = labels != self.ignore_index
        y = np.zeros_like(x)
        chosen = np.where(kept, a, 0).astype(x.dtype)
        np.put_along_axis(y, np.expand_dims(np.where(kept, labels, 0), 1), np.expand_dims(chosen, 1), axis=1)
        return y

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (_, labels, _), dy = inputs, expanded(output_gradients[0], outputs[0])
        chosen = NegativeLogLikelihood(ignore_index=self.ignore_index)(dy, labels)[0]
        return None, None, (-chosen if needed[2] else None)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for smoothing, logits, labels, _ in _examples(random):
            if smoothing:
                a = random.standard_normal(labels.shape)
                yield Sample(cls(), (logits, labels, a), differentiable=(False, False, True))


def _examples(random: np.random.Generator) -> Iterator[tuple[float, Array, Array, tuple[Array, ...]]]:
    """Yield test inputs: (label smoothing, logits, labels, a tuple of the class weights, which may be empty)."""
    for shape in example_shapes():
        for smoothing, weighted in ((0.0, False), (0.1, True)):
            labels = random.integers(0, shape[1], (shape[0], *shape[2:])).astype(np.int64)
            if weighted and labels.size > 1:
                labels.flat[labels.size // 2] = IGNORED
            weight = (0.5 + random.random(shape[1]),) if weighted else ()
            yield smoothing, 3 * random.standard_normal(shape), labels, weight
