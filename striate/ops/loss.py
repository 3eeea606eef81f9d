"""Softmax, cross entropy and mean squared error.

Softmax and cross entropy combine the channels (axis 1) of each position: logits are (N, C) or (N, C, positions…).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from striate.codegen.launch import Launch
from striate.codegen.region import Domain, Space
from striate.codegen.storage import BLOCK, PLAIN, InputLayout, Storage
from striate.errors import GraphError, LabelError, OptionError, unknown_option
from striate.graph.arithmetic import cast, constant, elementwise, reshape
from striate.graph.onnx import Attribute
from striate.graph.op import Gradients, Kind, Needed, Sample, Values, register
from striate.graph.value import Array, DType, Integers, TensorType, Value
from striate.ops import kernels
from striate.ops.anchor import Algorithm, Anchor, LoweringContext
from striate.ops.arithmetic import Exp
from striate.ops.reduction import Sum, mean, sum
from striate.ops.requirement import dtype_error, require_floats, shape_error
from striate.ops.shaping import BroadcastTo, expanded
from striate.options import number

if TYPE_CHECKING:
    from striate.ops.kernels.rowwise import RowKernel


def _walked(context: LoweringContext) -> tuple[Domain, Storage]:
    """The domain and storage of the first input, which row kernels iterate over."""
    x = context.node.inputs[0]
    storage: Storage = context.storage(x)
    return Domain(Space.BLOCKED, x.type.samples, storage.channels, storage.sizes), storage


def _phase(context: LoweringContext, kernel: RowKernel) -> list[Launch]:
    operands = (*context.node.inputs, *context.node.outputs)
    return [Launch(str(context.node.op).partition("(")[0], context.node.path, kernel, operands, kernel.domain.groups)]


@dataclass(frozen=True)
class Rowwise(Anchor):
    """Base of operations that combine the channels of each position (abstract)."""

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
    """y[c] = e^x[c] / Σ_j e^x[j]"""

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
    """dx[c] = y[c] · (dy[c] − Σ_j y[j] · dy[j])"""

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
    """y[c] = x[c] − ln Σ_j e^x[j]"""

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
    """dx[c] = dy[c] − e^y[c] · Σ_j dy[j]"""

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


def require_labels(labels: Array, classes: int) -> None:
    """Raises ``LabelError`` naming the first label outside 0 … classes − 1."""
    if labels.size and (labels.min() < 0 or labels.max() >= classes):
        bad = np.argwhere((labels < 0) | (labels >= classes))[0]
        place = int(bad[0]) if len(bad) == 1 else tuple(int(i) for i in bad)
        raise LabelError(
            f"label {int(labels[tuple(bad)])} at index {place} is out of range: there are {classes} classes, "
            f"0 … {classes - 1}\n  help: give the last layer more outputs, or number the labels from 0"
        )


@dataclass(frozen=True)
class LabelLoss(Anchor):
    """Base of cross entropy and its gradient (abstract): inputs are logits, labels and optionally class weights."""

    kind: ClassVar[Kind] = Kind.ROWWISE
    letters: ClassVar[Mapping[str, str]] = {"ε": "label_smoothing"}
    checked_inputs: ClassVar[tuple[int, ...]] = (1,)
    label_smoothing: float = 0.0

    def input_layouts(
        self, inputs: Sequence[TensorType], blocks: Sequence[int], algorithm: Algorithm
    ) -> tuple[InputLayout, ...]:
        """The logits are blocked; the other inputs are in plain order."""
        return (InputLayout((BLOCK,)), *(InputLayout((PLAIN,)) for _ in inputs[1:]))

    def losses_type(self, logits: TensorType, labels: TensorType, weight: TensorType | None) -> TensorType:
        """The type of the losses; raises ``ShapeError``, ``DTypeError`` or ``OptionError``."""
        require_floats(self, [logits, weight] if weight else [logits])
        if not 0 <= self.label_smoothing <= 1:
            raise OptionError(f"{self}: label_smoothing must be in [0, 1]")
        if labels.dtype is not DType.int64:
            raise dtype_error(
                self, f"labels must be integers (the number of a class), got {labels}", "labels.astype(numpy.int64)"
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
        require_labels(array, inputs[0].concrete(1)[1])

    def targets(self, logits: Array, labels: Array, weight: Array | None) -> Array:
        """The weights of the logarithms, t[c] = w[c] · ((1 − ε) · [c = label] + ε / C), in the shape of the logits."""
        classes = logits.shape[1]
        require_labels(labels, classes)
        hot = np.moveaxis(np.eye(classes, dtype=logits.dtype)[labels], -1, 1)
        smooth = (1 - self.label_smoothing) * hot + self.label_smoothing / classes
        weights = np.ones(classes, logits.dtype) if weight is None else weight
        return smooth * weights.reshape(1, -1, *(1,) * (logits.ndim - 2))


@register
@dataclass(frozen=True)
class CrossEntropy(LabelLoss):
    """loss = −Σ_c w[c] · ((1 − ε) · [c = label] + ε / C) · log_softmax(x)[c]

    Inputs logits (N, C, positions…), labels int64 (N, positions…) and optionally weight (C,). Returns the losses
    (N, positions…) and, with a weight, also w[label], whose sum a weighted mean divides by.
    """

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        logits, labels, *weight = inputs
        losses = self.losses_type(logits, labels, weight[0] if weight else None)
        return (losses, losses) if weight else (losses,)

    def output_layouts(self, inputs: Sequence[TensorType], blocks: Sequence[int]) -> tuple[int, ...]:
        return (PLAIN,) * (len(inputs) - 1)

    def lower(self, context: LoweringContext) -> list[Launch]:
        weighted = len(context.node.inputs) == 3
        return _phase(context, kernels.rowwise.CrossEntropyRows(*_walked(context), self.label_smoothing, weighted))

    def reference(self, logits: Array, labels: Array, weight: Array | None = None) -> Array | tuple[Array, ...]:
        losses = -(self.targets(logits, labels, weight) * _log_softmax(logits)).sum(axis=1)
        return losses if weight is None else (losses, weight[labels])

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Gradients, needed: Needed) -> Gradients:
        if any(needed[2:]):
            raise GraphError(f"{self}: class weights are constants and have no gradient")
        dlosses = output_gradients[0]
        if dlosses is None:
            return (None,) * len(inputs)
        dlogits = CrossEntropyGradient(self.label_smoothing)(*inputs, expanded(dlosses, outputs[0]))
        return (dlogits, *(None,) * (len(inputs) - 1))

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for op, logits, labels, weight in _examples(random):
            yield Sample(cls(op), (logits, labels, *weight), differentiable=(True, False, *(False for _ in weight)))


@register
@dataclass(frozen=True)
class CrossEntropyGradient(LabelLoss):
    """dx[c] = dloss · (softmax(x)[c] · Σ_j t[j] − t[c]), t[c] = w[c] · ((1 − ε) · [c = label] + ε / C)

    Inputs: logits, labels, optionally weight, and the gradients of the losses.
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
            context, kernels.rowwise.CrossEntropyGradientRows(*_walked(context), self.label_smoothing, weighted, result)
        )

    def reference(self, logits: Array, labels: Array, *rest: Array) -> Array:
        *weight, dlosses = rest
        target = self.targets(logits, labels, weight[0] if weight else None)
        return np.expand_dims(dlosses, 1) * (_softmax(logits) * target.sum(axis=1, keepdims=True) - target)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        logits, labels, *weight, dlosses = inputs
        g = expanded(output_gradients[0], outputs[0])
        column = (logits.shape[0], 1, *logits.shape[2:])
        by_logits = by_losses = None
        if needed[0]:
            by_logits = SoftmaxGradient()(Softmax()(logits), g * reshape(dlosses, column))
            if weight:  # Σ_j t[j] = (1 − ε) · w[label] + ε / C · Σ w; without weights it is 1
                chosen = CrossEntropy()(logits, labels, weight[0])[1]
                share = self.label_smoothing / weight[0].type.size()
                total = chosen * (1 - self.label_smoothing) + sum(weight[0]) * share
                by_logits = by_logits * reshape(total, column)
        if needed[-1]:
            one = BroadcastTo(dlosses.shape)(constant(1.0, dlosses.dtype))
            slope = CrossEntropyGradient(self.label_smoothing)(logits, labels, *weight, one)
            by_losses = sum(g * slope, axis=1)
        return (by_logits, None, *(None for _ in weight), by_losses)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for smoothing, logits, labels, weight in _examples(random):
            movable = (True, False, *(False for _ in weight), True)
            dlosses = random.standard_normal(labels.shape)
            yield Sample(cls(smoothing), (logits, labels, *weight, dlosses), differentiable=movable)


def _examples(random: np.random.Generator) -> Iterator[tuple[float, Array, Array, tuple[Array, ...]]]:
    """(label smoothing, logits, labels, weight or nothing)"""
    for shape in _example_shapes():
        for smoothing, weighted in ((0.0, False), (0.1, True)):
            labels = random.integers(0, shape[1], (shape[0], *shape[2:])).astype(np.int64)
            weight = (0.5 + random.random(shape[1]),) if weighted else ()
            yield smoothing, 3 * random.standard_normal(shape), labels, weight


class LossReduction(Enum):
    """How the losses of the samples are reduced to one number."""

    mean = "mean"
    sum = "sum"
    none = "none"


def _reduction(name: str) -> LossReduction:
    if not isinstance(name, str) or name not in LossReduction.__members__:
        raise unknown_option("reduction", name, LossReduction.__members__)
    return LossReduction[name]


def cross_entropy(
    input: Value,
    target: Integers,
    weight: Value | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Value:
    """−Σ_c w[c] · ((1 − ε) · [c = label] + ε / C) · log_softmax(x)[c], averaged over samples and positions.

    ``input`` holds logits (N, C, positions…) in float32 or float64, ``target`` labels (N, positions…) as integers,
    ``weight`` (C,) → scalar; with reduction="none" (N, positions…), or "sum". A weighted mean divides by Σ w[label], as
    PyTorch does. Raises ShapeError, DTypeError (labels that are not integers), OptionError, and, before anything runs,
    LabelError for labels outside 0 … C − 1.
    """
    chosen = _reduction(reduction)
    if target.dtype in (DType.int32, DType.uint8):
        target = cast(target, DType.int64)
    found = CrossEntropy(number("cross_entropy: label_smoothing", label_smoothing, 0, 1))(
        input, target, *(() if weight is None else (weight,))
    )
    losses, shares = (found, None) if weight is None else found
    if chosen is LossReduction.none:
        return losses
    if chosen is LossReduction.sum:
        return sum(losses)
    return mean(losses) if shares is None else sum(losses) / sum(shares)


def mse_loss(input: Value, target: Value, reduction: str = "mean") -> Value:
    """(1/n) Σ (input − target)² over all elements; "sum" does not divide, "none" keeps every square.

    Both have the same shape and the same float dtype. Raises ShapeError, DTypeError, OptionError.
    """
    chosen = _reduction(reduction)
    if input.shape != target.shape:
        raise shape_error(
            "mse_loss", f"input {input.type} and target {target.type} differ in shape", "reshape one of them"
        )
    error = input - target
    squares = error * error
    if chosen is LossReduction.none:
        return squares
    return sum(squares) if chosen is LossReduction.sum else mean(squares)
