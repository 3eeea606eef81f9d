"""Softmax, and losses whose targets are class indices: cross entropy, negative log likelihood, multi-class margin.

Logits have the shape (N, C) or (N, C, positions…), where C is the number of classes and positions are the spatial axes.
Softmax and the losses work on the C entries of each sample and position separately.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from striate.codegen.launch import Launch
from striate.codegen.region import Domain, Space
from striate.codegen.storage import BLOCK, PLAIN, InputLayout, Storage
from striate.errors import GraphError, LabelError, OptionError
from striate.graph.arithmetic import cast, constant, elementwise, reshape
from striate.graph.onnx import Attribute
from striate.graph.op import Gradients, Kind, Needed, Sample, Values, register
from striate.graph.value import Array, DType, Integers, TensorType, Value
from striate.ops import kernels
from striate.ops.anchor import Algorithm, Anchor, LoweringContext
from striate.ops.arithmetic import Exp, maximum
from striate.ops.convolution import channel_vector
from striate.ops.loss_reduction import loss_reduction, reduced
from striate.ops.reduction import Sum, sum
from striate.ops.requirement import dtype_error, require_floats, shape_error
from striate.ops.shaping import BroadcastTo, expanded
from striate.options import number, whole_number

if TYPE_CHECKING:
    from striate.ops.kernels.rowwise import RowKernel


def _walked(context: LoweringContext) -> tuple[Domain, Storage]:
    """Return the iteration domain and the memory layout of the first input, for the kernels in ``kernels.rowwise``."""
    x = context.node.inputs[0]
    storage: Storage = context.storage(x)
    return Domain(Space.BLOCKED, x.type.samples, storage.channels, storage.sizes), storage


def _phase(context: LoweringContext, kernel: RowKernel) -> list[Launch]:
    operands = (*context.node.inputs, *context.node.outputs)
    return [Launch(str(context.node.op).partition("(")[0], context.node.path, kernel, operands, kernel.domain.groups)]


@dataclass(frozen=True)
class Rowwise(Anchor):
    """Base class of operations that combine the channels (axis 1) at each position, such as softmax (abstract).

    All inputs and the output have the same shape (N, C, positions…) and the same float dtype.
    """

    kind: ClassVar[Kind] = Kind.ROWWISE

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        require_floats(self, inputs)
        if inputs[0].rank < 2 or any(x != inputs[0] for x in inputs):
            raise shape_error(
                self,
                f"expected inputs (N, C, …) of one shape, got {', '.join(map(str, inputs))}",
                "give logits with a class axis",
            )
        return (inputs[0],)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape in _example_shapes():
            yield Sample(cls(), (3 * random.standard_normal(shape),))


def _example_shapes() -> tuple[tuple[int, ...], ...]:
    return ((5, 3), (1, 17), (2, 1), (2, 3, 2, 1), (1, 17, 3), (2, 3, 1, 2, 2))


def _softmax(x: Array) -> Array:
    powers = np.exp(x - x.max(axis=1, keepdims=True, initial=-np.inf))
    return powers / powers.sum(axis=1, keepdims=True)


def _log_softmax(x: Array) -> Array:
    shifted = x - x.max(axis=1, keepdims=True, initial=-np.inf)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


@register
@dataclass(frozen=True)
class Softmax(Rowwise):
    """y[c] = e^x[c] / Σ_j e^x[j]

    x (N, C, positions…) in float32 or float64; c and j run over axis 1. y has the shape and dtype of x.
    """

    onnx_operator: ClassVar[str] = "Softmax"
    gives_probabilities: ClassVar[bool] = True

    def onnx_attributes(self) -> Mapping[str, Attribute | None]:
        return {"axis": 1}

    def lower(self, context: LoweringContext) -> list[Launch]:
        return _phase(
            context, kernels.rowwise.SoftmaxRows(*_walked(context), False, context.storage(context.node.outputs[0]))
        )

    def reference(self, x: Array) -> Array:
        return _softmax(x)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (y,), (dy,) = outputs, output_gradients
        return (SoftmaxGradient()(y, expanded(dy, y)),)


@register
@dataclass(frozen=True)
class SoftmaxGradient(Rowwise):
    """dx[c] = y[c] · (dy[c] − Σ_j y[j] · dy[j])

    Gradient of ``Softmax``. Inputs: its output y and the gradient dy with respect to y, both (N, C, positions…).
    """

    def lower(self, context: LoweringContext) -> list[Launch]:
        arriving, result = context.storage(context.node.inputs[1]), context.storage(context.node.outputs[0])
        return _phase(context, kernels.rowwise.SoftmaxGradientRows(*_walked(context), False, arriving, result))

    def reference(self, y: Array, dy: Array) -> Array:
        return y * (dy - (y * dy).sum(axis=1, keepdims=True))

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (y, dy), g = inputs, expanded(output_gradients[0], outputs[0])
        first = None
        if needed[0]:
            first = g * (dy - Sum((1,))(y * dy)) - dy * Sum((1,))(g * y)
        return first, (SoftmaxGradient()(y, g) if needed[1] else None)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape in _example_shapes():
            yield Sample(cls(), (_softmax(random.standard_normal(shape)), random.standard_normal(shape)))


@register
@dataclass(frozen=True)
class LogSoftmax(Rowwise):
    """y[c] = x[c] − ln Σ_j e^x[j]

    x (N, C, positions…) in float32 or float64; c and j run over axis 1. y has the shape and dtype of x.
    """

    onnx_operator: ClassVar[str] = "LogSoftmax"

    def onnx_attributes(self) -> Mapping[str, Attribute | None]:
        return {"axis": 1}

    def lower(self, context: LoweringContext) -> list[Launch]:
        return _phase(
            context, kernels.rowwise.SoftmaxRows(*_walked(context), True, context.storage(context.node.outputs[0]))
        )

    def reference(self, x: Array) -> Array:
        return _log_softmax(x)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (y,), (dy,) = outputs, output_gradients
        return (LogSoftmaxGradient()(y, expanded(dy, y)),)


@register
@dataclass(frozen=True)
class LogSoftmaxGradient(Rowwise):
    """dx[c] = dy[c] − e^y[c] · Σ_j dy[j]

    Gradient of ``LogSoftmax``. Inputs: its output y and the gradient dy with respect to y, both (N, C, positions…).
    """

    def lower(self, context: LoweringContext) -> list[Launch]:
        arriving, result = context.storage(context.node.inputs[1]), context.storage(context.node.outputs[0])
        return _phase(context, kernels.rowwise.SoftmaxGradientRows(*_walked(context), True, arriving, result))

    def reference(self, y: Array, dy: Array) -> Array:
        return dy - np.exp(y) * dy.sum(axis=1, keepdims=True)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (y, dy), g = inputs, expanded(output_gradients[0], outputs[0])
        weighted = g * elementwise(Exp(), y)
        return (-(weighted * Sum((1,))(dy)) if needed[0] else None), (g - Sum((1,))(weighted) if needed[1] else None)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape in _example_shapes():
            yield Sample(cls(), (_log_softmax(random.standard_normal(shape)), random.standard_normal(shape)))


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
            + ("" if ignored is None else f"; ignore_index={ignored} leaves labels of {ignored} out")
        )


@dataclass(frozen=True)
class LabelLoss(Anchor):
    """Base class of losses whose targets are class indices, and of their gradients (abstract).

    The inputs are logits (N, C, positions…), labels (N, positions…) in int64 and optionally class weights (C,). Where
    the label is ``ignore_index``, the loss is 0, and so is its share: the weight of the element in a weighted mean.
    ``label_smoothing`` is ε: the target is mixed with the uniform distribution, (1 − ε) · target + ε / C.
    """

    kind: ClassVar[Kind] = Kind.ROWWISE
    letters: ClassVar[Mapping[str, str]] = {"ε": "label_smoothing"}
    checked_inputs: ClassVar[tuple[int, ...]] = (1,)
    label_smoothing: float = 0.0
    ignore_index: int = IGNORED

    def input_layouts(
        self, inputs: Sequence[TensorType], blocks: Sequence[int], algorithm: Algorithm
    ) -> tuple[InputLayout, ...]:
        """Require the logits in blocks of 16 channels, and the other inputs in NumPy's order."""
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

        ``weight`` holds the class weights (None: 1). Where the label is ignored, the loss is 0 even if the logits are
        NaN.
        """
        require_labels(labels, logits.shape[1], self.ignore_index)
        kept, logarithms = labels != self.ignore_index, _log_softmax(logits)
        chosen = np.take_along_axis(logarithms, np.expand_dims(np.where(kept, labels, 0), 1), axis=1).squeeze(1)
        with np.errstate(invalid="ignore"):  # 0 · ∞ where a class of weight 0 is impossible
            found = (1 - self.label_smoothing) * self.shares(logits, labels, weight) * chosen
            if self.label_smoothing:  # only then do the other classes count: their logits may be −∞ otherwise
                weights = np.ones(logits.shape[1], logits.dtype) if weight is None else weight
                spread = weights.reshape(1, -1, *(1,) * (logits.ndim - 2)) * logarithms
                found = found + self.label_smoothing / logits.shape[1] * spread.sum(axis=1)
        return -np.where(kept, found, 0)


@register
@dataclass(frozen=True)
class CrossEntropy(LabelLoss):
    """loss = −Σ_c w[c] · ((1 − ε) · [c = label] + ε / C) · log_softmax(x)[c]

    Inputs: logits x (N, C, positions…), labels (N, positions…) in int64 and optionally the class weights w (C,), by
    default 1. [c = label] is 1 for the label and 0 for other classes; ε is ``label_smoothing``. Returns
    (losses, shares), where the share is w[label]. Both have the shape (N, positions…) and are 0 where the label is
    ``ignore_index``. A weighted mean is Σ losses / Σ shares.
    """

    results: ClassVar[tuple[str, ...]] = ("losses", "shares")

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        logits, labels, *weight = inputs
        losses = self.losses_type(logits, labels, weight[0] if weight else None)
        return losses, losses

    def output_layouts(self, inputs: Sequence[TensorType], blocks: Sequence[int]) -> tuple[int, ...]:
        return PLAIN, PLAIN

    def lower(self, context: LoweringContext) -> list[Launch]:
        weighted = len(context.node.inputs) == 3
        rows = kernels.rowwise.CrossEntropyRows(*_walked(context), self.label_smoothing, weighted, self.ignore_index)
        return _phase(context, rows)

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
        return _phase(
            context,
            kernels.rowwise.CrossEntropyGradientRows(
                *_walked(context), self.label_smoothing, weighted, self.ignore_index, result
            ),
        )

    def reference(self, logits: Array, labels: Array, *rest: Array) -> Array:
        *weight, dlosses = rest
        target = self.targets(logits, labels, weight[0] if weight else None)
        dlosses = np.where(labels == self.ignore_index, 0, dlosses)
        return np.expand_dims(dlosses, 1) * (_softmax(logits) * target.sum(axis=1, keepdims=True) - target)

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
class NegativeLogLikelihood(LabelLoss):
    """loss = −w[label] · x[label]

    Inputs: logarithms of probabilities x (N, C, positions…), labels (N, positions…) in int64 and optionally the class
    weights w (C,), by default 1. Returns (losses, shares), where the share is w[label]; both are (N, positions…) and 0
    where the label is ``ignore_index``. A weighted mean is Σ losses / Σ shares.
    """

    results: ClassVar[tuple[str, ...]] = ("losses", "shares")

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        logits, labels, *weight = inputs
        losses = self.losses_type(logits, labels, weight[0] if weight else None)
        return losses, losses

    def output_layouts(self, inputs: Sequence[TensorType], blocks: Sequence[int]) -> tuple[int, ...]:
        return PLAIN, PLAIN

    def lower(self, context: LoweringContext) -> list[Launch]:
        weighted = len(context.node.inputs) == 3
        return _phase(context, kernels.rowwise.LikelihoodRows(*_walked(context), 0.0, weighted, self.ignore_index))

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

    Inputs: x (N, C, positions…), of which only the shape and dtype matter; labels and a, both (N, positions…). Returns
    y in the shape and dtype of x. y is 0 in all classes where the label is ``ignore_index``. The gradient of
    ``NegativeLogLikelihood`` is of this form.
    """

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        x, labels, a = inputs
        if a != self.losses_type(x, labels, None):
            raise shape_error(self, f"expected a value for each of {labels}, got {a}", "give the shape of the labels")
        return (x,)

    def lower(self, context: LoweringContext) -> list[Launch]:
        result = context.storage(context.node.outputs[0])
        return _phase(context, kernels.rowwise.OneHotRows(*_walked(context), 0.0, False, self.ignore_index, result))

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
    for shape in _example_shapes():
        for smoothing, weighted in ((0.0, False), (0.1, True)):
            labels = random.integers(0, shape[1], (shape[0], *shape[2:])).astype(np.int64)
            if weighted and labels.size > 1:
                labels.flat[labels.size // 2] = IGNORED
            weight = (0.5 + random.random(shape[1]),) if weighted else ()
            yield smoothing, 3 * random.standard_normal(shape), labels, weight


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
    either integer labels (N, positions…), for which t[c] is 1 if c is the label and else 0, or the probabilities t in
    the shape of the logits. ``weight`` holds w (C,), by default 1; ε is ``label_smoothing``. ``reduction`` is "mean" (a
    scalar), "sum" (a scalar) or "none": the losses (N, positions…).

    Samples whose label is ``ignore_index`` do not count. As in PyTorch, the mean over labels divides by the sum of
    their w[label], and is NaN if no label counts; the mean over probabilities divides by the number of samples and
    positions. Raises ShapeError if target or weights do not match the logits, DTypeError unless the logits are float
    and the labels integers, OptionError for another ``reduction`` and for ε outside [0, 1], and LabelError, before the
    computation, if another label is outside 0 … C − 1.
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
    """Convert labels of int32, uint8 or bool to int64; return all others unchanged, so that the loss checks them."""
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
    (N,), and ``weight`` holds w (C,), by default 1; p is 1 or 2. The mean divides by N, whatever the weights.
    ``reduction`` is "mean" (a scalar), "sum" (a scalar) or "none": the losses (N,). Raises ShapeError if the shapes do
    not match, DTypeError unless the scores are float and the labels integers, OptionError for another ``reduction`` or
    p, and LabelError, before the computation, if a label is outside 0 … C − 1.
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
