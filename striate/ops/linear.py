"""The linear function y = x wᵀ + b, which is a convolution over one position if x is (N, D)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from striate.errors import quantity
from striate.graph.notation import ATOM, PRODUCT, Expression
from striate.graph.onnx import OnnxWriter
from striate.graph.op import Composite, Gradients, Needed, Sample, Values, register
from striate.graph.reshape import reshape
from striate.graph.value import Array, TensorType, Value, shape_text
from striate.ops.convolution import Convolution, channel_vector
from striate.ops.matmul import contract
from striate.ops.requirement import require_floats, shape_error
from striate.ops.shaping import expanded

_POINT = Convolution(stride=(1,), padding=((0, 0),), dilation=(1,), groups=1)
"""The convolution with one tap over one position, which multiplies vectors of channels by a matrix."""


@register
@dataclass(frozen=True)
class Linear(Composite):
    """y[n, k] = Σ_d w[k, d] · x[n, d]

    x (N, D) and w (K, D) → (N, K), in float32 or float64.
    """

    onnx_takes_bias: ClassVar[bool] = True

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        x, w = inputs
        require_floats(self, inputs)
        if w.rank != 2 or w.batched:
            raise shape_error(self, f"its weights must be (out_features, in_features), got {w}", "give a matrix")
        if x.rank != 2:
            raise shape_error(
                self,
                f"its input must be (N, in_features), got {x}",
                "give one sample as a batch of one, x[None]",
            )
        if x.shape[1] != w.shape[1]:
            raise shape_error(
                self,
                f"its input has {quantity(x.shape[1], 'feature')}, "
                f"but its weights {shape_text(w.shape)} take {w.shape[1]}",
                f"Linear({x.shape[1]}, {w.shape[0]}), or Linear(None, {w.shape[0]}) to have it inferred",
            )
        return (x.with_shape((x.shape[0], w.shape[0])),)

    def reference(self, x: Array, w: Array) -> Array:
        return np.einsum("nd,kd->nk", x, w)

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        return [to.add("Gemm", *inputs, transB=1)]

    def expand(self, *inputs: Value) -> tuple[Value, ...]:
        """Return the output y, computed by a convolution over a single position whose channels are the features."""
        x, w = inputs
        y = _POINT(_with_point(x), _with_point(w))
        return (reshape(y, y.shape[:2]),)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x, w), dy = inputs, _with_point(expanded(output_gradients[0], outputs[0]))
        dx = _POINT.input_gradient(dy, _with_point(w), (*x.shape, 1)) if needed[0] else None
        dw = _POINT.weight_gradient(_with_point(x), dy, (*w.shape, 1)) if needed[1] else None
        return (None if dx is None else reshape(dx, x.shape)), (None if dw is None else reshape(dw, w.shape))

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for n, d, k in ((5, 17, 3), (2, 1, 1), (1, 3, 17), (3, 33, 1)):
            yield Sample(cls(), (random.standard_normal((n, d)), random.standard_normal((k, d))))

    def notation(self, *operands: Expression) -> Expression:
        x, w = operands
        return Expression(f"{x.within(PRODUCT)} {w.within(ATOM)}ᵀ", PRODUCT)

    def label(self, inputs: Sequence[TensorType]) -> str:
        outputs, features = inputs[1].concrete(1)
        return f"linear, {features} → {outputs}"


def _with_point(x: Value) -> Value:
    return reshape(x, (*x.shape, 1))


def linear(input: Value, weight: Value, bias: Value | None = None) -> Value:
    """Return y = x wᵀ + b: input x (N, …, D), weight w (K, D) and bias b (K,) → y (N, …, K).

    D is the number of input features, and K the number of output features. x may also be one sample (D,); y is then
    (K,). Without ``bias``, b is 0. All arrays are float32, or all are float64. Raises ShapeError if the last axis of x
    does not have D elements or b does not have K, and DTypeError for other dtypes or if the dtypes differ.
    """
    if input.type.rank == 1 and not input.type.batched:
        y = linear(reshape(input, (1, *input.shape)), weight, bias)
        return reshape(y, y.shape[1:])
    if input.type.rank <= 2:
        y = Linear()(input, weight)
        return y if bias is None else y + channel_vector("linear", bias, y)
    rows = TensorType(input.dtype, (1, input.shape[-1]))
    if weight.type.rank != 2 or input.shape[-1] != weight.shape[1]:
        _require_flat(input.type, weight.type)
    Linear().infer(rows, weight.type)  # raises the same errors for a single vector of features
    y = contract(input, weight, transpose_b=True)
    if bias is None:
        return y
    if bias.shape != weight.shape[:1]:
        what = f"its bias must have one number for each of the {quantity(weight.shape[0], 'output')}, got {bias.type}"
        raise shape_error("linear", what, f"give a bias of shape ({weight.shape[0]})")
    return y + bias


def _require_flat(x: TensorType, w: TensorType) -> None:
    """Raise a ``ShapeError`` that suggests Flatten if each sample of x has as many elements as w takes."""
    if w.rank == 2 and x.size(1) == w.shape[1]:
        last = quantity(x.shape[-1], "feature")
        what = f"its last axis has {last}, but its weights {shape_text(w.shape)} take {w.shape[1]}"
        raise shape_error("linear", f"{what}: {x} is not flat", "put Flatten() (st.ops.flatten) before it")
