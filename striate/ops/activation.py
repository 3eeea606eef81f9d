"""The activation functions tanh, sigmoid, ReLU and leaky ReLU, and a base class of other activations.

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
from striate.graph.elementwise import Binary, Elementwise, elementwise
from striate.graph.notation import Expression
from striate.graph.onnx import Attribute
from striate.graph.op import Gradients, Needed, Sample, Values, register
from striate.graph.value import Array, TensorType, Value
from striate.options import number


@dataclass(frozen=True)
class Activation(Elementwise):
    """Base class of activations whose gain for weight initialization is computed numerically (abstract).

    A subclass defines ``reference``, the activation in NumPy, from which ``gain`` is computed.
    """

    fractional: ClassVar[bool] = True
    is_activation: ClassVar[bool] = True

    @property
    def gain(self) -> float:
        """Return the gain for weight initialization, 1 / √E[f(z)²], where z is drawn from N(0, 1).

        f is the activation. With weights of variance gain² / fan_in, the mean square of a signal stays the same through
        a layer and its activation. fan_in is the number of inputs of a unit.
        """
        z = np.linspace(-12.0, 12.0, 4801)
        density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        return float(1 / np.sqrt(np.sum(np.square(self.reference(z)) * density) * (z[1] - z[0])))


@register
@dataclass(frozen=True)
class Tanh(Elementwise):
    """y = tanh(x)"""

    onnx_operator: ClassVar[str] = "Tanh"
    is_activation: ClassVar[bool] = True
    effect: ClassVar[str] = (
        "Between −1 and 1. It is flat at both ends, so long chains of tanh layers shrink the gradient."
    )
    fractional: ClassVar[bool] = True
    output_bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    saturation_bounds: ClassVar[tuple[float, float] | None] = (-math.sqrt(0.9), math.sqrt(0.9))  # 1 − y² < 1/10

    @property
    def gain(self) -> float:
        return 5 / 3

    def reference(self, x: Array) -> Array:
        return np.tanh(x)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (y,), (dy,) = outputs, output_gradients
        return (dy * (1 - y * y),)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.tanh(x)


@register
@dataclass(frozen=True)
class Sigmoid(Elementwise):
    """y = 1 / (1 + e⁻ˣ)"""

    onnx_operator: ClassVar[str] = "Sigmoid"
    is_activation: ClassVar[bool] = True
    effect: ClassVar[str] = (
        "Between 0 and 1. Its derivative is never above ¼, so each layer passes on at most a quarter of the gradient."
    )
    fractional: ClassVar[bool] = True
    output_bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)
    saturation_bounds: ClassVar[tuple[float, float] | None] = (
        0.5 - math.sqrt(0.225),
        0.5 + math.sqrt(0.225),
    )  # y(1 − y) < 1/40
    max_derivative: ClassVar[float] = 0.25

    def reference(self, x: Array) -> Array:
        small = np.exp(-np.abs(x))  # never overflows
        return np.where(x < 0, small, 1) / (1 + small)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (y,), (dy,) = outputs, output_gradients
        return (dy * (y * (1 - y)),)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.sigmoid(x)


@register
@dataclass(frozen=True)
class Relu(Elementwise):
    """y = max(0, x); dx = dy where x > 0, else 0 (also at 0)

    dx and dy are the gradients with respect to x and y. If x is NaN, y is NaN.
    """

    onnx_operator: ClassVar[str] = "Relu"
    fractional: ClassVar[bool] = True
    title: ClassVar[str] = "ReLU"
    is_activation: ClassVar[bool] = True
    effect: ClassVar[str] = (
        "max(0, x): cheap and effective, but a unit whose input stays negative no longer gets any gradient: it is dead."
    )
    output_bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)
    units_can_die: ClassVar[bool] = True

    @property
    def gain(self) -> float:
        return math.sqrt(2)

    def reference(self, x: Array) -> Array:
        return np.maximum(x, 0)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (dy,) = inputs, output_gradients
        return (ReluGradient()(x, dy),)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.max(x, k.constant_like(x, 0.0))

    def notation(self, *operands: Expression) -> Expression:
        return Expression(f"max(0, {operands[0].text})")


@register
@dataclass(frozen=True)
class ReluGradient(Binary):
    """dx = dy where x > 0, else 0

    The gradient of ReLU: dy is the gradient with respect to the output of ReLU, and dx with respect to its input x.
    """

    def reference(self, x: Array, dy: Array) -> Array:
        return np.where(x > 0, dy, 0).astype(dy.dtype)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x, _), (g,) = inputs, output_gradients
        return None, (ReluGradient()(x, g) if needed[1] else None)

    def emit(self, k: Kernel, x: Vector, dy: Vector) -> Vector:
        zero = k.constant_like(x, 0.0)
        return k.select(k.greater(x, zero), dy, zero)


@register
@dataclass(frozen=True)
class LeakyRelu(Elementwise):
    """y = x where x > 0, else αx

    α is ``negative_slope``; for 0 ≤ α ≤ 1, y is also max(αx, x). If x is NaN, y is NaN.
    """

    onnx_operator: ClassVar[str] = "LeakyRelu"
    fractional: ClassVar[bool] = True
    title: ClassVar[str] = "leaky ReLU"
    letters: ClassVar[Mapping[str, str]] = {"α": "negative_slope"}
    is_activation: ClassVar[bool] = True
    effect: ClassVar[str] = "max(αx, x): a little gradient passes even where x is negative, so no unit dies."
    negative_slope: float = 0.01

    @property
    def gain(self) -> float:
        return math.sqrt(2 / (1 + self.negative_slope**2))

    def reference(self, x: Array) -> Array:
        return np.where(x > 0, x, self.negative_slope * x).astype(x.dtype)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (dy,) = inputs, output_gradients
        return (LeakyReluGradient(self.negative_slope)(x, dy),)

    def onnx_attributes(self) -> Mapping[str, Attribute | None]:
        return {"alpha": self.negative_slope}

    def emit(self, k: Kernel, x: Vector) -> Vector:
        slope = k.constant_like(x, self.negative_slope)
        return k.select(k.greater(x, k.constant_like(x, 0.0)), x, k.mul(slope, x))

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for slope in (0.01, 0.3, 0.0, 1.0, 2.0, -0.5):
            yield Sample(cls(slope), (random.standard_normal((3, 17, 2, 1)),))

    def label(self, inputs: Sequence[TensorType]) -> str:
        return f"{self.title} {self.negative_slope:g}"


@register
@dataclass(frozen=True)
class LeakyReluGradient(Binary):
    """dx = dy where x > 0, else α·dy

    The gradient of leaky ReLU: dy is the gradient with respect to the output of leaky ReLU, and dx with respect to its
    input x. α is ``negative_slope``.
    """

    letters: ClassVar[Mapping[str, str]] = {"α": "negative_slope"}
    negative_slope: float = 0.01

    def reference(self, x: Array, dy: Array) -> Array:
        return np.where(x > 0, dy, self.negative_slope * dy).astype(dy.dtype)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x, _), (g,) = inputs, output_gradients
        return None, (LeakyReluGradient(self.negative_slope)(x, g) if needed[1] else None)

    def emit(self, k: Kernel, x: Vector, dy: Vector) -> Vector:
        slope = k.constant_like(x, self.negative_slope)
        return k.select(k.greater(x, k.constant_like(x, 0.0)), dy, k.mul(slope, dy))

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for slope in (0.01, -0.5):
            yield Sample(cls(slope), (random.standard_normal((3, 5, 2)), random.standard_normal((3, 5, 2))))


def tanh(input: Value) -> Value:
    """Return y = tanh(x) for each element x of the input; y lies in (−1, 1).

    The derivative is 1 − y². The input has any shape and is float32 or float64; other dtypes raise DTypeError.
    """
    return elementwise(Tanh(), input)


def sigmoid(input: Value) -> Value:
    """Return the logistic function y = 1 / (1 + e⁻ˣ) of each element x of the input; y lies in (0, 1).

    The derivative is y(1 − y), at most ¼. The input has any shape and is float32 or float64; other dtypes raise
    DTypeError.
    """
    return elementwise(Sigmoid(), input)


def relu(input: Value) -> Value:
    """Return y = max(0, x) for each element x of the input; NaN stays NaN.

    The derivative is 1 where x > 0, else 0. The input has any shape and is float32 or float64; other dtypes raise
    DTypeError.
    """
    return elementwise(Relu(), input)


def leaky_relu(input: Value, negative_slope: float = 0.01) -> Value:
    """Return y = x where x > 0, else αx, for each element x of the input; α is ``negative_slope``.

    The input has any shape and is float32 or float64; other dtypes raise DTypeError. Raises OptionError if the slope is
    not a finite number.
    """
    return elementwise(LeakyRelu(number("leaky_relu: negative_slope", negative_slope)), input)
