"""Activation layers: each applies the function of the same name in ``st.ops`` to every element."""

from __future__ import annotations

from dataclasses import asdict
from typing import Self

from striate.errors import OptionError
from striate.graph.elementwise import Elementwise, elementwise
from striate.graph.value import Value
from striate.nn.foreign import ForeignLayer
from striate.nn.initialization import constant
from striate.nn.module import Module
from striate.nn.parameter import Parameter
from striate.ops import activation as ops
from striate.ops import piecewise_activation as piecewise
from striate.ops import smooth_activation as smooth
from striate.options import choice, flag, number, whole_number


class Activation(Module):
    """Base class of layers that apply one elementwise operation to x of any shape (abstract).

    The output has the shape and dtype of x.
    """

    @property
    def operation(self) -> Elementwise:
        """The elementwise operation that the layer applies, with the layer's options."""
        raise NotImplementedError

    @classmethod
    def with_slope(cls, negative_slope: float) -> Self:
        """Return a new layer of this class with the slope ``negative_slope`` for negative inputs.

        A class without such an option returns a layer with its default options.
        """
        return cls()

    def forward(self, x: Value) -> Value:
        return elementwise(self.operation, x)


def require_not_inplace(layer: str, inplace: object) -> None:
    """Raise ``OptionError`` if ``inplace`` is True.

    ``layer`` is the name of the class in the message. PyTorch has the option; here the compiler decides which results
    share the memory of inputs.
    """
    if flag(f"{layer}: inplace", inplace):
        raise OptionError(
            f"{layer}: inplace=True; the compiler already shares memory where it can\n  help: leave inplace out"
        )


class Sigmoid(Activation):
    """Logistic function of each element: y = 1 / (1 + e⁻ˣ)"""

    @property
    def operation(self) -> Elementwise:
        return ops.Sigmoid()

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer("Sigmoid")


class Tanh(Activation):
    """Hyperbolic tangent of each element: y = tanh(x)"""

    @property
    def operation(self) -> Elementwise:
        return ops.Tanh()

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer("Tanh")


class ReLU(Activation):
    """Rectified linear unit, element by element: y = max(0, x)

    ``inplace=True`` raises ``OptionError``.
    """

    def __init__(self, inplace: bool = False) -> None:
        require_not_inplace("ReLU", inplace)

    @property
    def operation(self) -> Elementwise:
        return ops.Relu()

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer("ReLU", {"inplace": True})


class LeakyReLU(Activation):
    """Leaky rectified linear unit, element by element: y = x where x > 0, else αx

    α is ``negative_slope``. ``inplace=True`` raises ``OptionError``.
    """

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        require_not_inplace("LeakyReLU", inplace)
        self.negative_slope = number("LeakyReLU: negative_slope", negative_slope)

    @property
    def operation(self) -> Elementwise:
        return ops.LeakyRelu(self.negative_slope)

    @classmethod
    def with_slope(cls, negative_slope: float) -> Self:
        return cls(negative_slope)

    def extra_repr(self) -> str:
        return f"{self.negative_slope:g}"

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer("LeakyReLU", {"negative_slope": self.negative_slope, "inplace": True})


class _Named(Activation):
    """Base class of activations that ``torch.nn`` has under the same name with the same options (abstract)."""

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.operation.options().items())

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer(type(self).__name__, asdict(self.operation))


class PReLU(Activation):
    """Leaky rectified linear unit with a learned slope w: y = x where x > 0, else wx

    ``num_parameters`` is 1 for one slope, or the number of channels (axis 1) for one slope per channel. All slopes
    start at ``init``. Exclude the slopes from weight decay, which would pull them to 0. Raises ``OptionError`` unless
    ``num_parameters`` is a whole number of 1 or more. With one slope per channel, inputs with another number of
    channels raise ``ShapeError``. He et al., arXiv:1502.01852.
    """

    weight: Value

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        self.num_parameters = whole_number("PReLU: num_parameters", num_parameters, 1)
        self.init = number("PReLU: init", init)
        self.register_parameter("weight", Parameter((self.num_parameters,), constant(self.init)))

    @property
    def operation(self) -> Elementwise:
        return piecewise.PRelu()

    def forward(self, x: Value) -> Value:
        return piecewise.prelu(x, self.weight)

    def extra_repr(self) -> str:
        return f"num_parameters={self.num_parameters}"

    def torch_layer(self) -> ForeignLayer:
        return ForeignLayer("PReLU", {"num_parameters": self.num_parameters, "init": self.init})


class ELU(_Named):
    """Exponential linear unit, element by element: y = x where x > 0, else α (eˣ − 1)

    α is ``alpha``. ``inplace=True`` raises ``OptionError``.
    """

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        require_not_inplace("ELU", inplace)
        self.alpha = number("ELU: alpha", alpha)

    @property
    def operation(self) -> Elementwise:
        return smooth.Elu(self.alpha)


class SELU(_Named):
    """Scaled exponential linear unit, element by element: y = 1.0507 x where x > 0, else 1.7581 (eˣ − 1)

    ``inplace=True`` raises ``OptionError``.
    """

    def __init__(self, inplace: bool = False) -> None:
        require_not_inplace("SELU", inplace)

    @property
    def operation(self) -> Elementwise:
        return smooth.Selu()


class CELU(_Named):
    """Continuously differentiable ELU, element by element: y = x where x > 0, else α (e^(x/α) − 1)

    α is ``alpha``, above 0. ``inplace=True`` raises ``OptionError``.
    """

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        require_not_inplace("CELU", inplace)
        self.alpha = number("CELU: alpha", alpha, above=0)

    @property
    def operation(self) -> Elementwise:
        return smooth.Celu(self.alpha)


class GELU(_Named):
    """Gaussian error linear unit, element by element: y = x Φ(x)

    Φ is the distribution function of the standard normal distribution. ``approximate`` is "none" (exact) or "tanh" (an
    approximation of Φ by tanh).
    """

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = choice("approximate", approximate, ("none", "tanh"))

    @property
    def operation(self) -> Elementwise:
        return smooth.Gelu(self.approximate)


class SiLU(_Named):
    """Sigmoid linear unit (swish), element by element: y = x σ(x), where σ is the logistic function

    ``inplace=True`` raises ``OptionError``.
    """

    def __init__(self, inplace: bool = False) -> None:
        require_not_inplace("SiLU", inplace)

    @property
    def operation(self) -> Elementwise:
        return smooth.Silu()


class Mish(_Named):
    """Mish activation, element by element: y = x tanh(ln(1 + eˣ))

    ``inplace=True`` raises ``OptionError``.
    """

    def __init__(self, inplace: bool = False) -> None:
        require_not_inplace("Mish", inplace)

    @property
    def operation(self) -> Elementwise:
        return smooth.Mish()


class Softplus(_Named):
    """Smooth form of ReLU, element by element: y = ln(1 + e^(βx)) / β, and x where βx > ``threshold``

    β is ``beta``, which must not be 0.
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta = smooth.nonzero("Softplus: beta", beta)
        self.threshold = number("Softplus: threshold", threshold)

    @property
    def operation(self) -> Elementwise:
        return smooth.Softplus(self.beta, self.threshold)


class Softsign(_Named):
    """Softsign activation, element by element: y = x / (1 + |x|)"""

    @property
    def operation(self) -> Elementwise:
        return smooth.Softsign()


class LogSigmoid(_Named):
    """Logarithm of the logistic function, element by element: y = −ln(1 + e⁻ˣ)"""

    @property
    def operation(self) -> Elementwise:
        return smooth.LogSigmoid()


class Tanhshrink(_Named):
    """Tanhshrink activation, element by element: y = x − tanh(x)"""

    @property
    def operation(self) -> Elementwise:
        return smooth.Tanhshrink()


class ReLU6(_Named):
    """ReLU limited to 6, element by element: y = min(max(x, 0), 6)

    ``inplace=True`` raises ``OptionError``.
    """

    def __init__(self, inplace: bool = False) -> None:
        require_not_inplace("ReLU6", inplace)

    @property
    def operation(self) -> Elementwise:
        return piecewise.Relu6()


class Hardtanh(_Named):
    """Clip each element to the range from ``min_val`` to ``max_val``: y = min(max(x, min_val), max_val)

    ``inplace=True`` raises ``OptionError``.
    """

    def __init__(self, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> None:
        require_not_inplace("Hardtanh", inplace)
        self.min_val, self.max_val = piecewise.limits("Hardtanh", min_val, max_val)

    @property
    def operation(self) -> Elementwise:
        return piecewise.Hardtanh(self.min_val, self.max_val)


class Hardsigmoid(_Named):
    """Piecewise linear approximation of the logistic function: y = min(max(x/6 + ½, 0), 1)

    ``inplace=True`` raises ``OptionError``.
    """

    def __init__(self, inplace: bool = False) -> None:
        require_not_inplace("Hardsigmoid", inplace)

    @property
    def operation(self) -> Elementwise:
        return piecewise.Hardsigmoid()


class Hardswish(_Named):
    """Piecewise approximation of SiLU, element by element: y = x min(max(x + 3, 0), 6) / 6

    ``inplace=True`` raises ``OptionError``.
    """

    def __init__(self, inplace: bool = False) -> None:
        require_not_inplace("Hardswish", inplace)

    @property
    def operation(self) -> Elementwise:
        return piecewise.Hardswish()


class Hardshrink(_Named):
    """Set elements of small magnitude to 0: y = x where |x| > λ, else 0

    λ is ``lambd``.
    """

    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd = number("Hardshrink: lambd", lambd)

    @property
    def operation(self) -> Elementwise:
        return piecewise.Hardshrink(self.lambd)


class Softshrink(_Named):
    """Move each element towards 0 by λ: y = x − λ where x > λ, x + λ where x < −λ, else 0

    λ is ``lambd``, at least 0.
    """

    def __init__(self, lambd: float = 0.5) -> None:
        self.lambd = number("Softshrink: lambd", lambd, 0)

    @property
    def operation(self) -> Elementwise:
        return piecewise.Softshrink(self.lambd)


class Threshold(_Named):
    """Replace elements that are not above a threshold: y = x where x > ``threshold``, else ``value``

    ``inplace=True`` raises ``OptionError``.
    """

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        require_not_inplace("Threshold", inplace)
        self.threshold = number("Threshold: threshold", threshold)
        self.value = number("Threshold: value", value)

    @property
    def operation(self) -> Elementwise:
        return piecewise.Threshold(self.threshold, self.value)


ACTIVATION_LAYERS: dict[str, type[Activation]] = {
    "leaky_relu": LeakyReLU,
    "relu": ReLU,
    "tanh": Tanh,
    "sigmoid": Sigmoid,
    "prelu": PReLU,
    "elu": ELU,
    "selu": SELU,
    "celu": CELU,
    "gelu": GELU,
    "silu": SiLU,
    "mish": Mish,
    "softplus": Softplus,
    "softsign": Softsign,
    "logsigmoid": LogSigmoid,
    "tanhshrink": Tanhshrink,
    "relu6": ReLU6,
    "hardtanh": Hardtanh,
    "hardsigmoid": Hardsigmoid,
    "hardswish": Hardswish,
    "hardshrink": Hardshrink,
    "softshrink": Softshrink,
}
"""The activation layers that the networks of ``st.models`` accept by name."""
