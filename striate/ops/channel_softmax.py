"""Softmax and log-softmax over the channels, axis 1, and their gradients.

The input has the shape (N, C) or (N, C, positions…); each sample and position has a softmax of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from striate.codegen.launch import Launch
from striate.codegen.region import Domain, Space
from striate.codegen.storage import Storage
from striate.graph.elementwise import elementwise
from striate.graph.onnx import Attribute
from striate.graph.op import Gradients, Kind, Needed, Sample, Values, register
from striate.graph.value import Array, TensorType
from striate.ops import kernels
from striate.ops.anchor import Anchor, LoweringContext
from striate.ops.arithmetic import Exp
from striate.ops.reduction import Sum
from striate.ops.requirement import require_floats, shape_error
from striate.ops.shaping import expanded

if TYPE_CHECKING:
    from striate.ops.kernels.rowwise import RowKernel


def walked(context: LoweringContext) -> tuple[Domain, Storage]:
    """Return (iteration domain, memory layout) of the first input of the node in ``context``.

    Both are arguments of every kernel in ``kernels.rowwise``.
    """
    x = context.node.inputs[0]
    storage: Storage = context.storage(x)
    return Domain(Space.BLOCKED, x.type.samples, storage.channels, storage.sizes), storage


def row_phase(context: LoweringContext, kernel: RowKernel) -> list[Launch]:
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
        for shape in example_shapes():
            yield Sample(cls(), (3 * random.standard_normal(shape),))


def example_shapes() -> tuple[tuple[int, ...], ...]:
    return ((5, 3), (1, 17), (2, 1), (2, 3, 2, 1), (1, 17, 3), (2, 3, 1, 2, 2))


def softmax_of(x: Array) -> Array:
    powers = np.exp(x - x.max(axis=1, keepdims=True, initial=-np.inf))
    return powers / powers.sum(axis=1, keepdims=True)


def log_softmax_of(x: Array) -> Array:
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
        return row_phase(
            context, kernels.rowwise.SoftmaxRows(*walked(context), False, context.storage(context.node.outputs[0]))
        )

    def reference(self, x: Array) -> Array:
        return softmax_of(x)

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
        return row_phase(context, kernels.rowwise.SoftmaxGradientRows(*walked(context), False, arriving, result))

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
        for shape in example_shapes():
            yield Sample(cls(), (softmax_of(random.standard_normal(shape)), random.standard_normal(shape)))


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
        return row_phase(
            context, kernels.rowwise.SoftmaxRows(*walked(context), True, context.storage(context.node.outputs[0]))
        )

    def reference(self, x: Array) -> Array:
        return log_softmax_of(x)

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
        return row_phase(context, kernels.rowwise.SoftmaxGradientRows(*walked(context), True, arriving, result))

    def reference(self, y: Array, dy: Array) -> Array:
        return dy - np.exp(y) * dy.sum(axis=1, keepdims=True)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (y, dy), g = inputs, expanded(output_gradients[0], outputs[0])
        weighted = g * elementwise(Exp(), y)
        return (-(weighted * Sum((1,))(dy)) if needed[0] else None), (g - Sum((1,))(weighted) if needed[1] else None)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape in example_shapes():
            yield Sample(cls(), (log_softmax_of(random.standard_normal(shape)), random.standard_normal(shape)))
