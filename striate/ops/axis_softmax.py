"""softmax, log_softmax, softmin and glu, and the softmax operations for axes other than the channels.

For axis 1, the channels, the module ``channel_softmax`` has operations whose kernels read and write blocks of 16
channels, as convolutions do. The operations of this module read and write arrays in plain (NumPy) order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from striate.codegen.launch import Launch
from striate.codegen.storage import PLAIN, InputLayout
from striate.graph.elementwise import elementwise
from striate.graph.onnx import Attribute
from striate.graph.op import Gradients, Kind, Needed, Sample, Values, register
from striate.graph.value import Array, Batch, TensorType, Value
from striate.ops.activation import sigmoid
from striate.ops.anchor import Algorithm, Anchor, LoweringContext
from striate.ops.arithmetic import Exp
from striate.ops.channel_softmax import LogSoftmax, Softmax
from striate.ops.indexing import split
from striate.ops.kernels.axis_softmax import AxisKernel, SoftmaxGradientLines, SoftmaxLines
from striate.ops.reduction import Sum
from striate.ops.requirement import require_axis, require_floats, shape_error
from striate.ops.shaping import expanded


@dataclass(frozen=True)
class AlongAxis(Anchor):
    """Base class of operations that combine the elements along one axis, such as softmax (abstract).

    ``axis`` is the number of this axis, from 0. It must not be axis 0 of a batch (N, …).
    """

    kind: ClassVar[Kind] = Kind.ROWWISE
    contiguous_inputs: ClassVar[bool] = True
    axis: int = 0

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        require_floats(self, inputs)
        if any(x != inputs[0] for x in inputs):
            raise shape_error(self, f"inputs {', '.join(map(str, inputs))} differ", "give arrays of one shape")
        if not 0 <= self.axis < inputs[0].rank or (self.axis == 0 and inputs[0].batched):
            raise shape_error(self, f"{inputs[0]} has no axis {self.axis} of known size", "choose another axis")
        return (inputs[0],)

    def input_layouts(
        self, inputs: Sequence[TensorType], blocks: Sequence[int], algorithm: Algorithm
    ) -> tuple[InputLayout, ...]:
        return tuple(InputLayout((PLAIN,)) for _ in inputs)

    def output_layouts(self, inputs: Sequence[TensorType], blocks: Sequence[int]) -> tuple[int, ...]:
        return (PLAIN,)

    def geometry(self, x: TensorType) -> tuple[int, int, int, int]:
        """Return the shape of x as four sizes (samples, outer, size, inner); ``size`` is the size of the axis.

        ``inner`` is the product of the sizes after the axis. For a batch (N, …), ``outer`` is the product of the sizes
        between N and the axis, and ``samples`` is 0, which stands for N. Otherwise ``samples`` is the product of all
        sizes before the axis, and ``outer`` is 1.
        """
        shape = x.concrete(1)
        inner = math.prod(shape[self.axis + 1 :])
        if x.batched:
            return 0, math.prod(shape[1 : self.axis]), shape[self.axis], inner
        return math.prod(shape[: self.axis]), 1, shape[self.axis], inner

    def launch(self, context: LoweringContext, kernel: AxisKernel) -> list[Launch]:
        """Return [launch] for the launch of ``kernel`` on the inputs and the output of the node in ``context``."""
        operands = (*context.node.inputs, *context.node.outputs)
        return [Launch(str(self).partition("(")[0], context.node.path, kernel, operands, kernel.chunks)]

    @classmethod
    def examples(cls, random: np.random.Generator) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Yield pairs (axis, shape of the input), for which subclasses create test inputs."""
        yield from (
            (0, (7,)), (0, (33,)), (0, (5, 3)), (2, (2, 3, 17)), (3, (2, 3, 4, 5)), (2, (3, 2, 5, 3)),
            (2, (1, 1, 3, 40)), (4, (2, 3, 1, 2, 19)), (3, (2, 3, 2, 3, 2)), (1, (2, 1, 3)),
        )  # fmt: skip


def _softmax(x: Array, axis: int) -> Array:
    powers = np.exp(x - x.max(axis=axis, keepdims=True, initial=-np.inf))
    return powers / powers.sum(axis=axis, keepdims=True)


def _log_softmax(x: Array, axis: int) -> Array:
    shifted = x - x.max(axis=axis, keepdims=True, initial=-np.inf)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


@dataclass(frozen=True)
class SoftmaxAlongAxis(AlongAxis):
    """Base class of softmax along one axis and, if ``log`` is true, of log_softmax (abstract)."""

    log: ClassVar[bool]

    def onnx_attributes(self) -> Mapping[str, Attribute | None]:
        return {"axis": self.axis}

    def lower(self, context: LoweringContext) -> list[Launch]:
        x = context.node.inputs[0].type
        return self.launch(context, SoftmaxLines(x.dtype, *self.geometry(x), self.log))

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for axis, shape in cls.examples(random):
            yield Sample(cls(axis), (3 * random.standard_normal(shape),), batched=axis > 0)


@dataclass(frozen=True)
class GradientAlongAxis(AlongAxis):
    """Base class of the gradient of softmax along one axis and, if ``log`` is true, of log_softmax (abstract).

    The inputs are the output y of the softmax or log_softmax, and the gradient dy with respect to y.
    """

    log: ClassVar[bool]

    def lower(self, context: LoweringContext) -> list[Launch]:
        y = context.node.inputs[0].type
        return self.launch(context, SoftmaxGradientLines(y.dtype, *self.geometry(y), self.log))

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        forward = _log_softmax if cls.log else _softmax
        for axis, shape in cls.examples(random):
            y = forward(random.standard_normal(shape), axis)
            yield Sample(cls(axis), (y, random.standard_normal(shape)), batched=axis > 0)


@register
@dataclass(frozen=True)
class AxisSoftmax(SoftmaxAlongAxis):
    """y[i] = e^x[i] / Σ_j e^x[j] along an axis"""

    title: ClassVar[str] = "softmax"
    onnx_operator: ClassVar[str] = "Softmax"
    log: ClassVar[bool] = False

    def reference(self, x: Array) -> Array:
        return _softmax(x, self.axis)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (y,), (dy,) = outputs, output_gradients
        return (AxisSoftmaxGradient(self.axis)(y, expanded(dy, y)),)


@register
@dataclass(frozen=True)
class AxisSoftmaxGradient(GradientAlongAxis):
    """dx[i] = y[i] · (dy[i] − Σ_j y[j] · dy[j]) along ``axis``

    The gradient of the softmax y = softmax(x): dx and dy are the gradients with respect to x and y.
    """

    log: ClassVar[bool] = False

    def reference(self, y: Array, dy: Array) -> Array:
        return y * (dy - (y * dy).sum(axis=self.axis, keepdims=True))

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (y, dy), g = inputs, expanded(output_gradients[0], outputs[0])
        first = None
        if needed[0]:
            total = Sum((self.axis,))
            first = g * (dy - total(y * dy)) - dy * total(g * y)
        return first, (AxisSoftmaxGradient(self.axis)(y, g) if needed[1] else None)


@register
@dataclass(frozen=True)
class AxisLogSoftmax(SoftmaxAlongAxis):
    """y[i] = x[i] − ln Σ_j e^x[j] along an axis"""

    title: ClassVar[str] = "log softmax"
    onnx_operator: ClassVar[str] = "LogSoftmax"
    log: ClassVar[bool] = True

    def reference(self, x: Array) -> Array:
        return _log_softmax(x, self.axis)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (y,), (dy,) = outputs, output_gradients
        return (AxisLogSoftmaxGradient(self.axis)(y, expanded(dy, y)),)


@register
@dataclass(frozen=True)
class AxisLogSoftmaxGradient(GradientAlongAxis):
    """dx[i] = dy[i] − e^y[i] · Σ_j dy[j] along ``axis``

    The gradient of y = log_softmax(x): dx and dy are the gradients with respect to x and y.
    """

    log: ClassVar[bool] = True

    def reference(self, y: Array, dy: Array) -> Array:
        return dy - np.exp(y) * dy.sum(axis=self.axis, keepdims=True)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (y, dy), g, total = inputs, expanded(output_gradients[0], outputs[0]), Sum((self.axis,))
        weighted = g * elementwise(Exp(), y)
        return (-(weighted * total(dy)) if needed[0] else None), (g - total(weighted) if needed[1] else None)


def softmax(input: Value, dim: int = 1) -> Value:
    """Return y[i] = e^x[i] / Σ_j e^x[j] along axis ``dim``, by default the channels of (N, C, …).

    x is the input. y has the shape of x, is positive and sums to 1 along the axis. Negative ``dim`` counts from the
    last axis. Raises ShapeError for axis 0 of a batch (its samples) and for an axis that x does not have, DTypeError
    unless x is float32 or float64, and OptionError unless ``dim`` is a whole number.
    """
    axis = require_axis("softmax", input.type, dim, "dim")
    return Softmax()(input) if _by_channel(input, axis) else AxisSoftmax(axis)(input)


def log_softmax(input: Value, dim: int = 1) -> Value:
    """Return the logarithm of softmax, y[i] = x[i] − ln Σ_j e^x[j] along axis ``dim``, without overflow.

    x is the input; y has the shape of x. The default axis is 1, the channels of (N, C, …); negative ``dim`` counts from
    the last axis. Raises the same errors as ``softmax``.
    """
    axis = require_axis("log_softmax", input.type, dim, "dim")
    return LogSoftmax()(input) if _by_channel(input, axis) else AxisLogSoftmax(axis)(input)


def softmin(input: Value, dim: int = 1) -> Value:
    """Return softmax(−x) along axis ``dim``, by default the channels of (N, C, …).

    x is the input; its smallest element gives the largest result. Shapes, dtypes and errors are those of ``softmax``.
    """
    require_axis("softmin", input.type, dim, "dim")
    return softmax(-input, dim)


def glu(input: Value, dim: int = -1) -> Value:
    """Return the gated linear unit a · σ(b) for the halves a and b of the input x along axis ``dim``.

    a is the first half, b the second; σ is the sigmoid. The result has half the size of x along this axis, by default
    the last one. x is float32 or float64. Raises DTypeError for another dtype. Raises ShapeError for an axis of odd
    size, for axis 0 of a batch (its samples) and for an axis that x does not have. Raises OptionError unless ``dim`` is
    a whole number.
    """
    axis = require_axis("glu", input.type, dim, "dim")
    size = input.shape[axis]
    if isinstance(size, Batch):
        raise shape_error("glu", f"cannot divide the samples of {input.type}", "choose another axis, such as dim=1")
    if size % 2:
        raise shape_error("glu", f"axis {axis} of {input.type} has no halves", "give an even size")
    a, b = split(input, max(1, size // 2), axis) if size else (input, input)
    return a * sigmoid(b)


def _by_channel(x: Value, axis: int) -> bool:
    return axis == 1 and x.type.rank <= 5
