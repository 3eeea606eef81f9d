"""Piecewise linear or quadratic activations: PReLU, ReLU6, hard tanh, hard sigmoid, hard swish, shrinkage, threshold.

Each class defines its function in three methods: ``reference`` computes it in NumPy, ``gradient`` builds the graph of
its gradient, and ``emit`` writes its machine code for one vector of 16 elements.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import Vector
from striate.errors import OptionError
from striate.graph.elementwise import Binary, elementwise
from striate.graph.onnx import Attribute, OnnxWriter
from striate.graph.op import Gradients, Needed, Sample, Values, register
from striate.graph.operand import constant
from striate.graph.reshape import reshape
from striate.graph.value import Array, TensorType, Value
from striate.ops.activation import Activation
from striate.ops.comparison import greater, greater_equal, less, less_equal, logical_and, where
from striate.ops.requirement import shape_error
from striate.options import number

_EDGE = 1e-6
"""An output counts as saturated if its distance from an end is at most this fraction of the range, due to rounding."""


@register
@dataclass(frozen=True)
class PRelu(Binary):
    """y = x where x > 0, else wx; w is learned

    PReLU (He and others, 2015, arXiv:1502.01852). Inputs: x of any shape, and the slope w, which broadcasts to x.
    """

    title: ClassVar[str] = "PReLU"
    onnx_operator: ClassVar[str] = "PRelu"
    fractional: ClassVar[bool] = True
    is_activation: ClassVar[bool] = True
    effect: ClassVar[str] = "A leaky ReLU that learns its slope for negative x, one for all channels or one for each."

    @property
    def gain(self) -> float:
        return math.sqrt(2 / (1 + 0.25**2))  # for the initial slope, 0.25

    def reference(self, x: Array, w: Array) -> Array:
        return np.where(x > 0, x, w * x)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x, w), (dy,) = inputs, output_gradients
        positive = greater(x, 0)
        by_x = where(positive, dy, dy * w) if needed[0] else None
        return by_x, (where(positive, constant(0.0, dy.dtype), dy * x) if needed[1] else None)

    def emit(self, k: Kernel, x: Vector, w: Vector) -> Vector:
        return k.select(k.compared(x, ">", k.constant_like(x, 0.0)), x, k.mul(w, x))

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape in ((5, 3, 4, 7), (2, 17), (1, 1), (2, 33, 6)):
            for channels in {1, shape[1]}:
                w = 0.5 * random.standard_normal((1, channels, *(1,) * (len(shape) - 2)))
                yield Sample(cls(), (random.standard_normal(shape), w))


@register
@dataclass(frozen=True)
class Hardtanh(Activation):
    """y = min(max(x, a), b); the derivative is 0 at a and b

    Hard tanh, elementwise on any shape; a is ``min_val`` and b is ``max_val``.
    """

    title: ClassVar[str] = "hard tanh"
    letters: ClassVar[Mapping[str, str]] = {"a": "min_val", "b": "max_val"}
    effect: ClassVar[str] = "The identity, cut off at both ends: no gradient passes beyond them."
    min_val: float = -1.0
    max_val: float = 1.0

    @property
    def output_bounds(self) -> tuple[float, float]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (self.min_val, self.max_val)

    @property
    def saturation_bounds(self) -> tuple[float, float] | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        edge = _EDGE * (self.max_val - self.min_val)
        return (self.min_val + edge, self.max_val - edge)

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        return [_clipped(to, inputs[0], types[0], self.min_val, self.max_val)]

    def reference(self, x: Array) -> Array:
        return np.minimum(np.maximum(x, self.min_val), self.max_val).astype(x.dtype)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (dy,) = inputs, output_gradients
        inside = logical_and(greater(x, self.min_val), less(x, self.max_val))
        return (where(inside, dy, constant(0.0, dy.dtype)),)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.min(k.max(x, k.constant_like(x, self.min_val)), k.constant_like(x, self.max_val))

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for low, high in ((-1.0, 1.0), (-0.3, 2.0)):
            yield Sample(cls(low, high), (2 * random.standard_normal((3, 17, 2, 1)),))


@register
@dataclass(frozen=True)
class Relu6(Activation):
    """y = min(max(x, 0), 6); the derivative is 0 at 0 and 6

    ReLU6, elementwise on any shape.
    """

    title: ClassVar[str] = "ReLU6"
    effect: ClassVar[str] = "A ReLU cut off at 6: small numbers of bits hold its outputs. Units can die, as with ReLU."
    output_bounds: ClassVar[tuple[float, float]] = (0.0, 6.0)
    saturation_bounds: ClassVar[tuple[float, float] | None] = (-math.inf, 6 * (1 - _EDGE))
    units_can_die: ClassVar[bool] = True

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        return [_clipped(to, inputs[0], types[0], 0.0, 6.0)]

    def reference(self, x: Array) -> Array:
        return np.minimum(np.maximum(x, 0), 6)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (dy,) = inputs, output_gradients
        return (where(logical_and(greater(x, 0), less(x, 6)), dy, constant(0.0, dy.dtype)),)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.min(k.max(x, k.constant_like(x, 0.0)), k.constant_like(x, 6.0))


@register
@dataclass(frozen=True)
class Hardsigmoid(Activation):
    """y = min(max(x/6 + ½, 0), 1)

    Hard sigmoid, elementwise on any shape; the derivative is 0 at x = −3 and x = 3.
    """

    title: ClassVar[str] = "hard sigmoid"
    onnx_operator: ClassVar[str] = "HardSigmoid"
    effect: ClassVar[str] = "The sigmoid in three straight pieces: cheap, and flat beyond ±3."
    output_bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    saturation_bounds: ClassVar[tuple[float, float] | None] = (_EDGE, 1 - _EDGE)
    max_derivative: ClassVar[float] = 1 / 6

    @property
    def gain(self) -> float:
        return 1.0  # as for the sigmoid

    def onnx_attributes(self) -> Mapping[str, Attribute | None]:
        return {"alpha": 1 / 6, "beta": 0.5}

    def reference(self, x: Array) -> Array:
        return np.minimum(np.maximum(x + 3, 0), 6) / 6

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (dy,) = inputs, output_gradients
        return (where(logical_and(greater(x, -3), less(x, 3)), dy * (1 / 6), constant(0.0, dy.dtype)),)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        shifted = k.add(x, k.constant_like(x, 3.0))
        limited = k.min(k.max(shifted, k.constant_like(x, 0.0)), k.constant_like(x, 6.0))
        return k.div(limited, k.constant_like(x, 6.0))


@register
@dataclass(frozen=True)
class Hardswish(Activation):
    """y = x min(max(x + 3, 0), 6) / 6

    Hard swish (Howard and others, 2019, arXiv:1905.02244), elementwise on any shape.
    """

    title: ClassVar[str] = "hard swish"
    onnx_operator: ClassVar[str] = "HardSwish"
    effect: ClassVar[str] = "SiLU in cheap pieces: 0 up to −3, x from 3 on. Units below −3 get no gradient."
    output_bounds: ClassVar[tuple[float, float]] = (-0.375, math.inf)
    max_derivative: ClassVar[float] = 1.5
    units_can_die: ClassVar[bool] = True

    def reference(self, x: Array) -> Array:
        return x * np.minimum(np.maximum(x + 3, 0), 6) / 6

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (dy,) = inputs, output_gradients
        bent = where(less(x, 3), dy * (x * (1 / 3) + 0.5), dy)
        return (where(less_equal(x, -3), constant(0.0, dy.dtype), bent),)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        shifted = k.add(x, k.constant_like(x, 3.0))
        limited = k.min(k.max(shifted, k.constant_like(x, 0.0)), k.constant_like(x, 6.0))
        return k.div(k.mul(x, limited), k.constant_like(x, 6.0))


@register
@dataclass(frozen=True)
class Hardshrink(Activation):
    """y = x where |x| > λ, else 0

    Hard shrinkage, elementwise on any shape; λ is ``lambd``.
    """

    title: ClassVar[str] = "hard shrink"
    onnx_operator: ClassVar[str] = "Shrink"
    letters: ClassVar[Mapping[str, str]] = {"λ": "lambd"}
    effect: ClassVar[str] = "Small signals become 0, the others stay."
    lambd: float = 0.5

    def reference(self, x: Array) -> Array:
        return np.where((x >= -self.lambd) & (x <= self.lambd), 0, x).astype(x.dtype)

    def onnx_attributes(self) -> Mapping[str, Attribute | None]:
        return {"lambd": self.lambd, "bias": 0.0}

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        return _outside(inputs[0], self.lambd, output_gradients[0])

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.select(_within(k, x, self.lambd), k.constant_like(x, 0.0), x)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for lambd in (0.5, 0.0, 1.2):
            yield Sample(cls(lambd), (2 * random.standard_normal((3, 17, 2, 1)),))


@register
@dataclass(frozen=True)
class Softshrink(Activation):
    """y = x − λ where x > λ, x + λ where x < −λ, else 0

    Soft shrinkage, elementwise on any shape; λ is ``lambd``.
    """

    title: ClassVar[str] = "soft shrink"
    onnx_operator: ClassVar[str] = "Shrink"
    letters: ClassVar[Mapping[str, str]] = {"λ": "lambd"}
    effect: ClassVar[str] = "Every signal moves by λ towards 0; small ones become 0."
    lambd: float = 0.5

    def reference(self, x: Array) -> Array:
        return np.where(x > self.lambd, x - self.lambd, np.where(x < -self.lambd, x + self.lambd, x * 0)).astype(
            x.dtype
        )

    def onnx_attributes(self) -> Mapping[str, Attribute | None]:
        return {"lambd": self.lambd, "bias": self.lambd}

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        return _outside(inputs[0], self.lambd, output_gradients[0])

    def emit(self, k: Kernel, x: Vector) -> Vector:
        lambd, zero = k.constant_like(x, self.lambd), k.constant_like(x, 0.0)
        below = k.select(k.compared(x, "<", k.neg(lambd)), k.add(x, lambd), k.mul(x, zero))  # NaN stays NaN
        return k.select(k.compared(x, ">", lambd), k.sub(x, lambd), below)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for lambd in (0.5, 0.0, 1.2):
            yield Sample(cls(lambd), (2 * random.standard_normal((3, 17, 2, 1)),))


def _clipped(to: OnnxWriter, x: str, type: TensorType, low: float, high: float) -> str:
    """Add ONNX's operator Clip, which limits x to [low, high]; return the name of its output."""
    return to.add("Clip", x, *(to.constant(np.asarray(one, type.dtype.numpy)) for one in (low, high)))


def _within(k: Kernel, x: Vector, lambd: float) -> Vector:
    low, high = k.constant_like(x, -lambd), k.constant_like(x, lambd)
    return k.both(k.compared(x, ">=", low), k.compared(x, "<=", high))


def _outside(x: Value, lambd: float, dy: Value) -> Gradients:
    within = logical_and(greater_equal(x, -lambd), less_equal(x, lambd))
    return (where(within, constant(0.0, dy.dtype), dy),)


@register
@dataclass(frozen=True)
class Threshold(Activation):
    """y = x where x > t, else v

    Elementwise on any shape; t is ``threshold`` and v is ``value``.
    """

    letters: ClassVar[Mapping[str, str]] = {"t": "threshold", "v": "value"}
    effect: ClassVar[str] = "What does not exceed a threshold is replaced by a constant, which passes no gradient."
    units_can_die: ClassVar[bool] = True
    threshold: float = 0.0
    value: float = 0.0

    @property
    def output_bounds(self) -> tuple[float, float]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (min(self.threshold, self.value), math.inf)

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        at, instead = (to.constant(np.asarray(one, types[0].dtype.numpy)) for one in (self.threshold, self.value))
        return [to.add("Where", to.add("LessOrEqual", inputs[0], at), instead, inputs[0])]

    def reference(self, x: Array) -> Array:
        return np.where(x <= self.threshold, self.value, x).astype(x.dtype)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (dy,) = inputs, output_gradients
        return (where(less_equal(x, self.threshold), constant(0.0, dy.dtype), dy),)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        low = k.compared(x, "<=", k.constant_like(x, self.threshold))
        return k.select(low, k.constant_like(x, self.value), x)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for threshold, value in ((0.0, 0.0), (0.4, -2.0)):
            yield Sample(cls(threshold, value), (random.standard_normal((3, 17, 2, 1)),))


def prelu(input: Value, weight: Value) -> Value:
    """Return y = x where x > 0, else w · x, with a learned slope w: one for all channels, or one for each channel.

    The input x has any shape and is float32 or float64; ``weight`` is w of shape (), (1,) or (C,), where C is the size
    of axis 1 of x. Raises ShapeError for another shape of w, and DTypeError for other dtypes or if the dtypes differ.
    """
    if weight.type.rank > 1 or (weight.type.size() != 1 and (input.type.rank < 2 or weight.shape[0] != input.shape[1])):
        channels = input.shape[1] if input.type.rank > 1 else 1
        raise shape_error(
            "prelu",
            f"weight {weight.type} for an input {input.type}",
            f"give a weight of shape (1,) or, one for each channel, ({channels},)",
        )
    if weight.type.size() == 1:
        weight = reshape(weight, (1,) * input.type.rank)
    else:
        weight = reshape(weight, (1, *weight.shape, *(1,) * (input.type.rank - 2)))
    return elementwise(PRelu(), input, weight)


def hardtanh(input: Value, min_val: float = -1.0, max_val: float = 1.0) -> Value:
    """Return y = min(max(x, ``min_val``), ``max_val``) for each element x of the input.

    The derivative is 1 between the two bounds and 0 elsewhere, also at the bounds. The input has any shape and is
    float32 or float64; other dtypes raise DTypeError. Raises OptionError unless both bounds are finite and ``min_val``
    is below ``max_val``.
    """
    low, high = limits("hardtanh", min_val, max_val)
    return elementwise(Hardtanh(low, high), input)


def relu6(input: Value) -> Value:
    """Return y = min(max(x, 0), 6) for each element x of the input.

    The derivative is 1 for 0 < x < 6, else 0. The input has any shape and is float32 or float64; other dtypes raise
    DTypeError.
    """
    return elementwise(Relu6(), input)


def hardsigmoid(input: Value) -> Value:
    """Return y = min(max(x/6 + ½, 0), 1) for each element x of the input.

    The derivative is 1/6 for −3 < x < 3, else 0. The input has any shape and is float32 or float64; other dtypes raise
    DTypeError.
    """
    return elementwise(Hardsigmoid(), input)


def hardswish(input: Value) -> Value:
    """Return y = x · min(max(x + 3, 0), 6) / 6 for each element x of the input.

    y is 0 for x ≤ −3, and x for x ≥ 3. The input has any shape and is float32 or float64; other dtypes raise
    DTypeError.
    """
    return elementwise(Hardswish(), input)


def hardshrink(input: Value, lambd: float = 0.5) -> Value:
    """Return y = x where |x| > λ, else 0, for each element x of the input; λ is ``lambd``.

    The input has any shape and is float32 or float64; other dtypes raise DTypeError. Raises OptionError unless λ is
    finite.
    """
    return elementwise(Hardshrink(number("hardshrink: lambd", lambd)), input)


def softshrink(input: Value, lambd: float = 0.5) -> Value:
    """Return y = x − λ where x > λ, x + λ where x < −λ, else 0, for each element x of the input.

    λ is ``lambd``. The input has any shape and is float32 or float64; other dtypes raise DTypeError. Raises OptionError
    unless λ is finite and at least 0.
    """
    return elementwise(Softshrink(number("softshrink: lambd", lambd, 0)), input)


def threshold(input: Value, threshold: float, value: float) -> Value:
    """Return y = x where x > ``threshold``, else ``value``, for each element x of the input.

    The gradient is 0 where ``value`` is returned. The input has any shape and is float32 or float64; other dtypes raise
    DTypeError. Raises OptionError unless both numbers are finite.
    """
    at, instead = number("threshold: threshold", threshold), number("threshold: value", value)
    return elementwise(Threshold(at, instead), input)


def limits(name: str, min_val: object, max_val: object) -> tuple[float, float]:
    """Return the two bounds as floats; raise ``OptionError`` unless both are finite and ``min_val`` < ``max_val``.

    ``name`` is the function that the error message names.
    """
    low, high = number(f"{name}: min_val", min_val), number(f"{name}: max_val", max_val)
    if low >= high:
        raise OptionError(f"{name}: min_val={min_val!r}, max_val={max_val!r}; expected min_val below max_val")
    return low, high
