"""Smooth activations: the ELU family, GELU, SiLU, Mish, softplus and their relatives.

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
from striate.graph.elementwise import elementwise
from striate.graph.onnx import Attribute, OnnxWriter
from striate.graph.op import Gradients, Needed, Sample, Values, register
from striate.graph.value import Array, TensorType, Value
from striate.ops.activation import Activation, Sigmoid, Tanh
from striate.ops.arithmetic import Clamp, abs, exp
from striate.ops.comparison import greater, where
from striate.ops.elementary import NormalCdf, normal_density
from striate.options import choice, number


def _sigmoid(x: Array) -> Array:
    return Sigmoid().reference(x)


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _emit_softplus(k: Kernel, x: Vector) -> Vector:
    """Emit ln(1 + eˣ), computed as max(x, 0) + ln(1 + e^(−|x|)), which never overflows."""
    small = k.log1p(k.exp(k.neg(k.abs(x))))
    return k.add(k.max(x, k.constant_like(x, 0.0)), small)


@register
@dataclass(frozen=True)
class Elu(Activation):
    """y = x where x > 0, else α (eˣ − 1)

    ELU (Clevert and others, 2015, arXiv:1511.07289), elementwise on any shape; α is ``alpha``.
    """

    title: ClassVar[str] = "ELU"
    onnx_operator: ClassVar[str] = "Elu"
    letters: ClassVar[Mapping[str, str]] = {"α": "alpha"}
    effect: ClassVar[str] = (
        "The identity above 0, and a smooth bend to −α below: outputs average near 0, and units hardly die."
    )
    alpha: float = 1.0

    @property
    def output_bounds(self) -> tuple[float, float]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (min(-self.alpha, 0.0), math.inf)

    @property
    def saturation_bounds(self) -> tuple[float, float] | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (0.1 * self.max_derivative - self.alpha, math.inf)

    @property
    def max_derivative(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        return max(1.0, self.alpha)

    def onnx_attributes(self) -> Mapping[str, Attribute | None]:
        return {"alpha": self.alpha}

    def reference(self, x: Array) -> Array:
        return np.where(x > 0, x, self.alpha * np.expm1(np.minimum(x, 0))).astype(x.dtype)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (y,), (dy,) = inputs, outputs, output_gradients
        return (where(greater(x, 0), dy, dy * (y + self.alpha)),)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        zero = k.constant_like(x, 0.0)
        below = k.mul(k.constant_like(x, self.alpha), k.expm1(k.min(x, zero)))
        return k.select(k.compared(x, ">", zero), x, below)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for alpha in (1.0, 0.3, 2.0):
            yield Sample(cls(alpha), (2 * random.standard_normal((3, 17, 2, 1)),))


_SELU_ALPHA = 1.6732632423543772848170429916717
_SELU_SCALE = 1.0507009873554804934193349852946
"""SELU's constants, with which layers preserve mean 0 and variance 1 (Klambauer and others, 2017, arXiv:1706.02515)."""


@register
@dataclass(frozen=True)
class Selu(Activation):
    """y = 1.0507 x where x > 0, else 1.7581 (eˣ − 1)

    SELU (Klambauer and others, 2017, arXiv:1706.02515), elementwise on any shape.
    """

    title: ClassVar[str] = "SELU"
    onnx_operator: ClassVar[str] = "Selu"
    effect: ClassVar[str] = (
        "A scaled ELU that keeps mean 0 and variance 1 from layer to layer, where weights are drawn with gain 1."
    )
    output_bounds: ClassVar[tuple[float, float]] = (-_SELU_ALPHA * _SELU_SCALE, math.inf)
    saturation_bounds: ClassVar[tuple[float, float] | None] = (-0.9 * _SELU_ALPHA * _SELU_SCALE, math.inf)
    max_derivative: ClassVar[float] = _SELU_ALPHA * _SELU_SCALE

    @property
    def gain(self) -> float:
        return 3 / 4

    def reference(self, x: Array) -> Array:
        below = _SELU_ALPHA * np.expm1(np.minimum(x, 0))
        return (_SELU_SCALE * np.where(x > 0, x, below)).astype(x.dtype)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (y,), (dy,) = inputs, outputs, output_gradients
        return (where(greater(x, 0), dy * _SELU_SCALE, dy * (y + _SELU_ALPHA * _SELU_SCALE)),)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        zero = k.constant_like(x, 0.0)
        below = k.mul(k.constant_like(x, _SELU_ALPHA * _SELU_SCALE), k.expm1(k.min(x, zero)))
        return k.select(k.compared(x, ">", zero), k.mul(x, k.constant_like(x, _SELU_SCALE)), below)


@register
@dataclass(frozen=True)
class Celu(Activation):
    """y = x where x > 0, else α (e^(x/α) − 1)

    CELU (Barron, 2017, arXiv:1704.07483), elementwise on any shape; α is ``alpha``.
    """

    title: ClassVar[str] = "CELU"
    onnx_operator: ClassVar[str] = "Celu"
    letters: ClassVar[Mapping[str, str]] = {"α": "alpha"}
    effect: ClassVar[str] = "An ELU whose slope has no jump at 0, whatever α."
    alpha: float = 1.0

    @property
    def output_bounds(self) -> tuple[float, float]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (-self.alpha, math.inf)

    @property
    def saturation_bounds(self) -> tuple[float, float] | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (-0.9 * self.alpha, math.inf)

    def onnx_attributes(self) -> Mapping[str, Attribute | None]:
        return {"alpha": self.alpha}

    def reference(self, x: Array) -> Array:
        below = self.alpha * np.expm1(np.minimum(x, 0) / self.alpha)
        return np.where(x > 0, x, below).astype(x.dtype)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (y,), (dy,) = inputs, outputs, output_gradients
        return (where(greater(x, 0), dy, dy * (1 + y * (1 / self.alpha))),)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        zero, alpha = k.constant_like(x, 0.0), k.constant_like(x, self.alpha)
        below = k.mul(alpha, k.expm1(k.div(k.min(x, zero), alpha)))
        return k.select(k.compared(x, ">", zero), x, below)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for alpha in (1.0, 0.3, 2.0):
            yield Sample(cls(alpha), (2 * random.standard_normal((3, 17, 2, 1)),))


_TANH_FACTOR, _TANH_CUBE = math.sqrt(2 / math.pi), 0.044715


@register
@dataclass(frozen=True)
class Gelu(Activation):
    """y = x Φ(x)

    GELU, elementwise on any shape. Φ(x) = ½ (1 + erf(x / √2)); with ``approximate`` = "tanh", Φ(x) ≈ ½ (1 + tanh(√(2/π)
    (x + 0.044715 x³))).
    """

    title: ClassVar[str] = "GELU"
    onnx_operator: ClassVar[str] = "Gelu"
    effect: ClassVar[str] = (
        "x times the probability that a normal variable is below x: a smooth ReLU with a shallow dip below 0."
    )
    approximate: str = "none"

    @property
    def output_bounds(self) -> tuple[float, float]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (-0.16997120747990366 if self.approximate == "none" else -0.17004075057125405, math.inf)

    @property
    def max_derivative(self) -> float:  # pyright: ignore[reportIncompatibleVariableOverride]
        return 1.1289041451851548 if self.approximate == "none" else 1.1289930686587718

    def onnx_attributes(self) -> Mapping[str, Attribute | None]:
        return {"approximate": self.approximate}

    def reference(self, x: Array) -> Array:
        if self.approximate == "none":
            return x * NormalCdf().reference(x)
        return x * _sigmoid(2 * _TANH_FACTOR * (x + _TANH_CUBE * x * x * x))

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (dy,) = inputs, output_gradients
        if self.approximate == "none":
            return (dy * (NormalCdf()(x) + x * normal_density(x)),)
        square = x * x
        s = elementwise(Sigmoid(), x * (1 + square * _TANH_CUBE) * (2 * _TANH_FACTOR))
        slope = (1 + square * (3 * _TANH_CUBE)) * (2 * _TANH_FACTOR)
        return (dy * (s + x * s * (1 - s) * slope),)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        if self.approximate == "none":
            return k.mul(x, k.normal_cdf(x))
        cube = k.multiply_add(k.mul(x, x), k.constant_like(x, _TANH_CUBE), k.constant_like(x, 1.0))
        return k.mul(x, k.sigmoid(k.mul(k.mul(x, k.constant_like(x, 2 * _TANH_FACTOR)), cube)))

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for approximate in ("none", "tanh"):
            yield Sample(cls(approximate), (2 * random.standard_normal((3, 17, 2, 1)),))
            yield Sample(cls(approximate), (2 * random.standard_normal((1, 3)),))


@register
@dataclass(frozen=True)
class Silu(Activation):
    """y = x σ(x)

    SiLU, also called swish, elementwise on any shape; σ(x) = 1 / (1 + e⁻ˣ).
    """

    title: ClassVar[str] = "SiLU"
    effect: ClassVar[str] = "x times its sigmoid, also called swish: a smooth ReLU with a shallow dip below 0."
    output_bounds: ClassVar[tuple[float, float]] = (-0.27846454276107379, math.inf)
    max_derivative: ClassVar[float] = 1.0998393201288669

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        return [to.add("Mul", inputs[0], to.add("Sigmoid", *inputs))]

    def reference(self, x: Array) -> Array:
        return x * _sigmoid(x)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (y,), (dy,) = inputs, outputs, output_gradients
        s = elementwise(Sigmoid(), x)
        return (dy * (s + y * (1 - s)),)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.mul(x, k.sigmoid(x))


_FLAT = 20.0
"""Above this x, tanh(softplus(x)) rounds to 1; eˣ is not computed for larger x, because its square would overflow."""


@register
@dataclass(frozen=True)
class Mish(Activation):
    """y = x tanh(ln(1 + eˣ))

    Mish (Misra, 2019, arXiv:1908.08681), elementwise on any shape.
    """

    onnx_operator: ClassVar[str] = "Mish"
    effect: ClassVar[str] = "x times the tanh of its softplus: a smooth ReLU with a shallow dip below 0, like SiLU."
    output_bounds: ClassVar[tuple[float, float]] = (-0.30884341301725041, math.inf)
    max_derivative: ClassVar[float] = 1.0884981612517278

    def reference(self, x: Array) -> Array:
        return x * np.tanh(_softplus(x))

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (dy,) = inputs, output_gradients
        power = exp(elementwise(Clamp(high=_FLAT), x))
        w = power * (power + 2)  # tanh(ln(1 + e)) = ((1 + e)² − 1) / ((1 + e)² + 1)
        t = w / (w + 2)
        return (dy * (t + x * elementwise(Sigmoid(), x) * (1 - t * t)),)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        power = k.exp(k.min(x, k.constant_like(x, _FLAT)))
        two = k.constant_like(x, 2.0)
        w = k.mul(power, k.add(power, two))
        return k.mul(x, k.div(w, k.add(w, two)))


@register
@dataclass(frozen=True)
class Softplus(Activation):
    """y = ln(1 + e^(βx)) / β, and x where βx > t

    Softplus, elementwise on any shape; β is ``beta`` and t is ``threshold``.
    """

    letters: ClassVar[Mapping[str, str]] = {"β": "beta", "t": "threshold"}
    effect: ClassVar[str] = "A smooth ReLU without a kink: always above 0, and its slope is the sigmoid."
    beta: float = 1.0
    threshold: float = 20.0
    output_bounds: ClassVar[tuple[float, float]] = (0.0, math.inf)

    @property
    def saturation_bounds(self) -> tuple[float, float] | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (-math.log(0.9) / self.beta, math.inf)

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        number = types[0].dtype.numpy.type
        scaled, y = inputs[0], ""
        if self.beta == 1:
            y = to.add("Softplus", scaled)
        else:
            beta = to.constant(np.asarray(number(self.beta)))
            scaled = to.add("Mul", inputs[0], beta)
            y = to.add("Div", to.add("Softplus", scaled), beta)
        if self.threshold >= 20:  # from 20 on, softplus and the identity round to the same number
            return [y]
        straight = to.add("Greater", scaled, to.constant(np.asarray(number(self.threshold))))
        return [to.add("Where", straight, inputs[0], y)]

    def reference(self, x: Array) -> Array:
        scaled = x * self.beta
        return np.where(scaled > self.threshold, x, _softplus(scaled) / self.beta).astype(x.dtype)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (dy,) = inputs, output_gradients
        scaled = x * self.beta
        return (where(greater(scaled, self.threshold), dy, dy * elementwise(Sigmoid(), scaled)),)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        beta = k.constant_like(x, self.beta)
        scaled = k.mul(x, beta)
        bent = k.div(_emit_softplus(k, scaled), beta)
        return k.select(k.compared(scaled, ">", k.constant_like(x, self.threshold)), x, bent)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for beta, threshold in ((1.0, 20.0), (0.5, 20.0), (3.0, 2.0)):
            yield Sample(cls(beta, threshold), (2 * random.standard_normal((3, 17, 2, 1)),))


@register
@dataclass(frozen=True)
class Softsign(Activation):
    """y = x / (1 + |x|)

    Softsign, elementwise on any shape.
    """

    onnx_operator: ClassVar[str] = "Softsign"
    effect: ClassVar[str] = "Between −1 and 1 like tanh, but it approaches them slowly: it saturates later."
    output_bounds: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    saturation_bounds: ClassVar[tuple[float, float] | None] = (math.sqrt(0.1) - 1, 1 - math.sqrt(0.1))  # (1 − |y|)²

    def reference(self, x: Array) -> Array:
        return x / (1 + np.abs(x))

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (dy,) = inputs, output_gradients
        below = 1 + abs(x)
        return (dy / (below * below),)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.div(x, k.add(k.abs(x), k.constant_like(x, 1.0)))


@register
@dataclass(frozen=True)
class LogSigmoid(Activation):
    """y = −ln(1 + e⁻ˣ)

    The logarithm of the sigmoid, elementwise on any shape.
    """

    effect: ClassVar[str] = "The logarithm of the sigmoid: always below 0, and linear for large negative x."
    output_bounds: ClassVar[tuple[float, float]] = (-math.inf, 0.0)
    saturation_bounds: ClassVar[tuple[float, float] | None] = (-math.inf, math.log(0.9))

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        return [to.add("Neg", to.add("Softplus", to.add("Neg", *inputs)))]

    def reference(self, x: Array) -> Array:
        return -_softplus(-x)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (dy,) = inputs, output_gradients
        return (dy * elementwise(Sigmoid(), -x),)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.neg(_emit_softplus(k, k.neg(x)))


@register
@dataclass(frozen=True)
class Tanhshrink(Activation):
    """y = x − tanh(x)

    Elementwise on any shape.
    """

    effect: ClassVar[str] = "Almost 0 around 0 and x ∓ 1 beyond: it removes small signals smoothly."

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        return [to.add("Sub", inputs[0], to.add("Tanh", *inputs))]

    def reference(self, x: Array) -> Array:
        return x - np.tanh(x)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (dy,) = inputs, output_gradients
        t = elementwise(Tanh(), x)
        return (dy * (t * t),)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.sub(x, k.tanh(x))


def elu(input: Value, alpha: float = 1.0) -> Value:
    """Return y = x where x > 0, else α (eˣ − 1), for each element x of the input; α is ``alpha``.

    Clevert and others, 2015 (arXiv:1511.07289). The input has any shape and is float32 or float64; other dtypes raise
    DTypeError. Raises OptionError unless α is finite.
    """
    return elementwise(Elu(number("elu: alpha", alpha)), input)


def selu(input: Value) -> Value:
    """Return y = 1.0507 x where x > 0, else 1.7581 (eˣ − 1), for each element x of the input.

    The constants preserve mean 0 and variance 1 from layer to layer. Klambauer and others, 2017 (arXiv:1706.02515). The
    input has any shape and is float32 or float64; other dtypes raise DTypeError.
    """
    return elementwise(Selu(), input)


def celu(input: Value, alpha: float = 1.0) -> Value:
    """Return y = x where x > 0, else α (e^(x/α) − 1), for each element x of the input; α is ``alpha``.

    Barron, 2017 (arXiv:1704.07483). The input has any shape and is float32 or float64; other dtypes raise DTypeError.
    Raises OptionError unless α is finite and above 0.
    """
    return elementwise(Celu(number("celu: alpha", alpha, above=0)), input)


def gelu(input: Value, approximate: str = "none") -> Value:
    """Return y = x · Φ(x) for each element x of the input; Φ is the normal distribution function.

    Φ(x) = ½ (1 + erf(x / √2)). With ``approximate="tanh"``, y = ½ x (1 + tanh(√(2/π) (x + 0.044715 x³))), as in
    PyTorch. Hendrycks and Gimpel, 2016 (arXiv:1606.08415). The input has any shape and is float32 or float64; other
    dtypes raise DTypeError. Raises OptionError unless ``approximate`` is "none" or "tanh".
    """
    return elementwise(Gelu(choice("approximate", approximate, ("none", "tanh"))), input)


def silu(input: Value) -> Value:
    """Return y = x · σ(x), also called swish, for each element x of the input; σ is the sigmoid.

    The input has any shape and is float32 or float64; other dtypes raise DTypeError.
    """
    return elementwise(Silu(), input)


def mish(input: Value) -> Value:
    """Return y = x · tanh(ln(1 + eˣ)) for each element x of the input.

    Misra, 2019 (arXiv:1908.08681). The input has any shape and is float32 or float64; other dtypes raise DTypeError.
    """
    return elementwise(Mish(), input)


def softplus(input: Value, beta: float = 1.0, threshold: float = 20.0) -> Value:
    """Return y = ln(1 + e^(βx)) / β, or x where βx > ``threshold``, for each element x of the input.

    β is ``beta``. The input has any shape and is float32 or float64; other dtypes raise DTypeError. Raises OptionError
    unless β is finite and not 0, and the threshold is finite.
    """
    return elementwise(Softplus(nonzero("softplus: beta", beta), number("softplus: threshold", threshold)), input)


def softsign(input: Value) -> Value:
    """Return y = x / (1 + |x|) for each element x of the input; y lies in (−1, 1).

    The input has any shape and is float32 or float64; other dtypes raise DTypeError.
    """
    return elementwise(Softsign(), input)


def logsigmoid(input: Value) -> Value:
    """Return y = ln σ(x) = −ln(1 + e⁻ˣ) for each element x of the input; σ is the sigmoid.

    The input has any shape and is float32 or float64; other dtypes raise DTypeError.
    """
    return elementwise(LogSigmoid(), input)


def tanhshrink(input: Value) -> Value:
    """Return y = x − tanh(x) for each element x of the input.

    The input has any shape and is float32 or float64; other dtypes raise DTypeError.
    """
    return elementwise(Tanhshrink(), input)


def nonzero(name: str, value: object) -> float:
    """Return ``value`` as a float; raise ``OptionError`` unless it is a finite number other than 0.

    ``name`` is the option that the error message names, such as "softplus: beta".
    """
    found = number(name, value)
    if found == 0:
        raise OptionError(f"{name}={value!r}; expected a finite number other than 0")
    return found
