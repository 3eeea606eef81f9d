"""The linear (fully connected) layer."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from striate.errors import quantity
from striate.graph.value import Value, shape_text
from striate.nn.foreign import ForeignLayer
from striate.nn.initialization import Initializer, bias_initializer
from striate.nn.kind import LayerKind
from striate.nn.module import Module
from striate.nn.parameter import Parameter
from striate.nn.trail import before_flattening, layer_error, product_text
from striate.ops.linear import linear
from striate.ops.window import per_axis
from striate.options import flag
from striate.tracing import current_trace


class Linear(Module):
    """Linear map of the last axis: y = x Wᵀ + b

    x (N, …, in_features) → y (N, …, out_features), or one sample (in_features,) → (out_features,), float32 or float64.
    The weight W is (out_features, in_features), the bias b (out_features,), as in PyTorch; ``init`` is an initializer
    of the weight, or its name. With ``in_features=None``, the size is inferred from the first input, which may have at
    most three axes. Raises ``ShapeError`` for the wrong number of features, and if the size cannot be inferred.
    """

    layer_kind: ClassVar[LayerKind] = LayerKind.LINEAR
    weight: Value
    bias: Value | None

    def __init__(
        self, in_features: int | None, out_features: int, bias: bool = True, *, init: str | Initializer = "torch"
    ) -> None:
        self.in_features = None if in_features is None else per_axis("Linear: in_features", in_features, 1)[0]
        self.out_features = per_axis("Linear: out_features", out_features, 1)[0]
        self.register_parameter("weight", Parameter((self.out_features, self.in_features), init))
        start, has_bias = bias_initializer(init), flag("Linear: bias", bias)
        self.register_parameter("bias", Parameter((self.out_features,), start, self.in_features) if has_bias else None)

    def __call__(self, *inputs: Any, training: bool = False, **named: Any) -> Any:
        if len(inputs) == 1 and isinstance(inputs[0], np.ndarray) and inputs[0].ndim == 1:
            return super().__call__(inputs[0][None], training=training)[0]
        return super().__call__(*inputs, training=training, **named)

    def infer_sizes(self, x: Value) -> None:
        """If ``in_features`` is None, set it to the size of the last axis of the input x."""
        if self.in_features is None:
            trace = current_trace()
            if trace is not None:
                trace.undo.append(self._forget)
            self._know(int(x.type.concrete(1)[-1]))

    def _know(self, features: int | None) -> None:
        vars(self)["in_features"] = features
        self.parameter("weight").shape = (self.out_features, features)
        if "bias" in self._parameters:
            self.parameter("bias").fan_in = features

    def _forget(self) -> None:
        if self.parameter("weight").array is None:
            self._know(None)

    def forget_inputs(self) -> None:
        self._know(None)
        for parameter in self._parameters.values():
            parameter.initial = None
            parameter.forget()
        self.invalidate()

    def adopt_sizes(self) -> None:
        self._know(self.parameter("weight").shape[1])

    def forward(self, x: Value) -> Value:
        trace = current_trace()
        if x.type.rank == 0 or (x.type.rank == 1 and x.type.batched):
            what, help = f"its input {shape_text(x.shape)} has no axis of features", "give (N, features), x[:, None]"
            raise layer_error(trace, self.where(), what, ["expected (N, features)"], help)
        features, flat = int(x.type.concrete(1)[-1]), x.type.size(1)
        if (x.type.rank > 2 and self.in_features == flat != features) or (
            x.type.rank > 3 and features != self.in_features
        ):
            help = f"put Flatten() before it; its input then has {quantity(flat, 'feature')}"
            if self.in_features != flat:
                help += f"; Linear({features}, {self.out_features}) maps the last axis alone"
            what = f"its input {shape_text(x.shape)} is not flat"
            raise layer_error(trace, self.where(), what, [f"{product_text(x.shape)} = {flat}"], help)
        self.infer_sizes(x)
        if features != self.in_features:
            product = before_flattening(trace, x)
            raise layer_error(
                trace,
                self.where(),
                f"its input has {quantity(features, 'feature')}",
                [f"{product}, not {self.in_features}" if product else f"{features}, not {self.in_features}"],
                f"Linear({features}, {self.out_features}), or Linear(None, {self.out_features}) to have it inferred",
            )
        return linear(x, self.weight, self.bias)

    def multiply_adds(self, inputs: tuple[Value, ...], output: Value) -> int:
        return (self.in_features or 0) * output.type.size(1)

    def describe(self) -> str:
        if current_trace() is not None and self.in_features is not None:
            return f"Linear(in_features={self.in_features})"  # all that matters in an error message
        return super().describe()

    def torch_layer(self) -> ForeignLayer:
        options = {
            "in_features": self.in_features,
            "out_features": self.out_features,
            "bias": "bias" in self._parameters,
        }
        return ForeignLayer("Linear", options)

    def extra_repr(self) -> str:
        bias = "" if "bias" in self._parameters else ", bias=False"
        return f"in_features={self.in_features}, out_features={self.out_features}{bias}"
