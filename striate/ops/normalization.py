"""Batch normalization (Ioffe and Szegedy, 2015, arXiv:1502.03167) of inputs (N, C) and (N, C, positions…)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from striate.errors import OptionError, quantity
from striate.graph.arithmetic import Add, Divide, Multiply, Subtract
from striate.graph.elementwise import Binary, elementwise
from striate.graph.graph import Constant
from striate.graph.op import Composite, Gradients, Needed, Purpose, Sample, Values, register
from striate.graph.reshape import Reshape, reshape
from striate.graph.value import Array, Batch, Shape, TensorType, Value
from striate.ops.arithmetic import Sqrt
from striate.ops.convolution import channel_vector
from striate.ops.reduction import Moments, Sum, average_and_variance, numel
from striate.ops.requirement import dtype_error, require_floats, shape_error
from striate.ops.shaping import expanded, filled
from striate.options import flag, number


def batch_axes(rank: int) -> tuple[int, ...]:
    """Return the axes over which batch statistics are computed: all ``rank`` axes but axis 1, the channels."""
    return (0, *range(2, rank))


def _channel_shape(x: Shape) -> Shape:
    return (1, *x[1:2], *(1,) * (len(x) - 2))


@register
@dataclass(frozen=True)
class BatchNormalization(Composite):
    """y = γ · (x − μ) / √(σ² + ε) + β with the mean μ and the biased variance σ² of each channel of this batch

    Inputs: x (N, C) or (N, C, positions…), and optionally both γ (C,) and β (C,); ε is ``epsilon``. Returns (y, μ, σ²),
    where μ and σ² have the shape (1, C, 1…). Raises ShapeError if a channel has only one value. If N is known only when
    the program runs, this is checked before each run.
    """

    title: ClassVar[str] = "batch norm"
    limits_samples: ClassVar[bool] = True
    letters: ClassVar[Mapping[str, str]] = {"ε": "epsilon"}
    epsilon: float = 1e-5

    @property
    def purpose(self) -> Purpose:
        return Purpose.NORMALIZATION

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        require_floats(self, inputs)
        x, *affine = inputs
        if x.rank < 2 or len(affine) not in (0, 2):
            raise shape_error(
                self,
                f"expected (N, C, positions…) and either both γ and β or neither, got {x}",
                "pass both weight and bias, or neither",
            )
        for vector in affine:
            if vector.shape != x.shape[1:2]:
                raise shape_error(
                    self,
                    f"its input has {quantity(x.shape[1], 'channel')}, but its scale and shift are {vector}",
                    f"num_features={x.shape[1]}, or None to have it inferred",
                )
        counted = (x.shape[0], *x.shape[2:])
        if math.prod(2 if isinstance(dim, Batch) else dim for dim in counted) == 1:
            raise shape_error(
                self,
                f"cannot train on one value per channel, got {x}: the variance is 0 and the output is β",
                "use batches of at least two samples, or larger images",
            )
        small = x.with_shape(_channel_shape(x.shape))
        return x, small, small

    def reference(self, x: Array, *affine: Array) -> tuple[Array, ...]:
        wide, shape = x.astype(np.float64), (1, x.shape[1], *(1,) * (x.ndim - 2))
        mean, variance = average_and_variance(wide, batch_axes(x.ndim))
        y = (wide - mean) / np.sqrt(variance + self.epsilon)
        if affine:
            y = y * affine[0].reshape(shape) + affine[1].reshape(shape)
        return y.astype(x.dtype), mean.astype(x.dtype), variance.astype(x.dtype)

    def expand(self, *inputs: Value) -> tuple[Value, ...]:
        """Return the outputs as computed by smaller operations: moments, subtraction, multiplication and addition."""
        x, *affine = inputs
        mean, variance = Moments(batch_axes(x.type.rank))(x)
        return normalized(x, mean, variance, affine, self.epsilon), mean, variance

    def output_moments(self, inputs: tuple[Value, ...], outputs: tuple[Value, ...]) -> tuple[Value, Value]:
        """Return the mean β and the variance γ² · σ² / (σ² + ε) of each channel of y, without reading y."""
        (_, *affine), (_, mean, variance, *_) = inputs, outputs
        normalized = variance / (variance + self.epsilon)
        zero = mean - mean  # NaN stays NaN
        if not affine:
            return zero, normalized
        gamma, beta = (reshape(vector, mean.shape) for vector in affine)
        return zero + beta, normalized * gamma * gamma

    def count(self, x: Value, outputs: Values) -> Value:
        """Return M, the number of values of a channel over which the statistics were computed, as a scalar.

        ``x`` is the input, and ``outputs`` are the outputs of the operation; here, M follows from the shape of x.
        """
        return numel(x, batch_axes(x.type.rank))

    def totals(self, *sums: Value) -> tuple[Value, ...]:
        """Return the sums over all samples that share the statistics, given ``sums`` over the samples of this batch.

        Here, only this batch shares the statistics, so ``sums`` are returned unchanged.
        ``SynchronizedBatchNormalization`` adds up the sums of all processes.
        """
        return sums

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Gradients, needed: Needed) -> Gradients:
        """Return the gradients dx, dγ and dβ of the inputs, from dy, the gradient of y.

            dx = γ / √(σ² + ε) · (dy − (dβ + x̂ · dγ) / M),  dγ = Σ x̂ · dy,  dβ = Σ dy

        The sums are over the M values of a channel, and μ and σ² are its mean and variance. x̂ = (x − μ) / √(σ² + ε) is
        recomputed from x, so the forward pass need not store it. The mean and the variance are outputs too: their
        gradients dμ and dσ² add dμ / M + 2 (x − μ) dσ² / M to dx.
        """
        (x, *affine), (y, mean, variance, *_) = inputs, outputs
        dy, dmean, dvariance, *_ = output_gradients
        axes = batch_axes(x.type.rank)
        count = self.count(x, outputs)
        centred = x - mean
        dx = dgamma = dbeta = None
        if dy is not None:
            dy = expanded(dy, y)
            inverse = 1 / elementwise(Sqrt(), variance + self.epsilon)
            dbeta, products = Sum(axes)(dy), Sum(axes)(dy * centred)
            dgamma = products * inverse
            if needed[0]:
                scale = inverse * reshape(affine[0], mean.shape) if affine else inverse
                of_dy, of_products = self.totals(dbeta, products)
                spread = dgamma if of_products is products else of_products * inverse
                dx = (dy - of_dy / count - centred * (spread * inverse / count)) * scale
        if needed[0] and dmean is not None:
            dx = dmean / count + (0 if dx is None else dx)
        if needed[0] and dvariance is not None:
            dx = centred * (dvariance * 2 / count) + (0 if dx is None else dx)
        if dx is not None:
            dx = expanded(dx, x)
        if not affine:
            return (dx,)
        gamma, beta = affine
        return (
            dx,
            reshape(dgamma, gamma.shape) if needed[1] and dgamma is not None else None,
            reshape(dbeta, beta.shape) if needed[2] and dbeta is not None else None,
        )

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape in ((5, 3), (3, 17, 2, 3), (1, 3, 5, 2), (2, 1, 3), (2, 3, 1, 2, 2)):
            gamma, beta = 1 + 0.3 * random.standard_normal((2, shape[1]))
            yield Sample(cls(), (2 * random.standard_normal(shape) + 3, gamma, beta))
        yield Sample(cls(0.1), (random.standard_normal((4, 3, 2)),))


def normalized(x: Value, mean: Value, variance: Value, affine: Sequence[Value], epsilon: float) -> Value:
    """Return γ · (x − μ) / √(σ² + ε) + β for the given mean μ, variance σ² and ``epsilon`` ε.

    ``affine`` is [γ, β], both (C,), or empty for γ = 1 and β = 0.
    """
    # Subtract μ first: folding it into the shift would lose accuracy if the mean is large.
    scale = 1 / elementwise(Sqrt(), variance + epsilon)
    if not affine:
        return (x - mean) * scale
    gamma, beta = affine
    return (x - mean) * (scale * reshape(gamma, mean.shape)) + reshape(beta, mean.shape)


@dataclass(frozen=True)
class NormalizedByStatistics:
    """The operands of y = γ · (x − μ) / √(σ² + ε) + β with given μ and σ², computed by separate operations of a graph.

    ``mean`` is μ, ``variance`` σ² and ``epsilon`` ε; ``weight`` is γ and ``bias`` is β, both None if the normalization
    has neither. All vectors are (C,).
    """

    x: Value
    mean: Value
    variance: Value
    weight: Value | None
    bias: Value | None
    epsilon: float


def normalized_by_statistics(y: Value) -> NormalizedByStatistics | None:
    """Return the operands of the normalization if y is the result of ``batch_norm`` without training, else None.

    In the graph, such a normalization consists of separate operations, such as a subtraction. Exporters use this
    function to recognize it as batch normalization.
    """
    product, shift = y, None
    if isinstance(y.node.op, Add):
        product, shift = y.node.inputs
    scaled = _operands(product, Multiply)
    centred = scaled and _operands(scaled[0], Subtract)
    if not scaled or not centred:
        return None
    x, mean = centred
    weighted = _operands(scaled[1], Multiply)
    inverse, weight = weighted or (scaled[1], None)
    root = _operands(inverse, Divide)
    shifted = root and isinstance(root[1].node.op, Sqrt) and _operands(root[1].node.inputs[0], Add)
    if not root or not shifted or _number(root[0]) != 1.0:
        return None
    epsilon = _number(shifted[1])
    vectors = [_vector(one, x) for one in (mean, shifted[0])]
    affine = [None if one is None else _vector(one, x) for one in (weight, shift)]
    if epsilon is None or vectors[0] is None or vectors[1] is None or (weight is None) != (shift is None):
        return None
    if weight is not None and None in affine:
        return None
    return NormalizedByStatistics(x, vectors[0], vectors[1], affine[0], affine[1], epsilon)


def _operands(value: Value, kind: type[Binary]) -> tuple[Value, Value] | None:
    return (value.node.inputs[0], value.node.inputs[1]) if type(value.node.op) is kind else None


def _number(value: Value) -> float | None:
    return value.node.op.number if isinstance(value.node.op, Constant) else None


def _vector(value: Value, like: Value) -> Value | None:
    """Return the vector (C,) that ``value`` reshapes to (1, C, 1…); None if it is not such a reshape."""
    if not isinstance(value.node.op, Reshape) or value.shape != _channel_shape(like.shape):
        return None
    (vector,) = value.node.inputs
    return vector if vector.shape == like.shape[1:2] else None


def affine_vectors(weight: Value | None, bias: Value | None, eps: float) -> list[Value]:
    """Return [γ, β] for ``weight`` γ and ``bias`` β, or [] if both are None.

    If only one of them is None, it is replaced by γ = 1 or β = 0. Raises ``OptionError`` unless ``eps`` is above 0.
    """
    number("batch_norm: eps", eps, above=0)
    if weight is None and bias is None:
        return []
    gamma = filled(1.0, bias.type) if weight is None and bias is not None else weight
    beta = filled(0.0, weight.type) if bias is None and weight is not None else bias
    return [vector for vector in (gamma, beta) if vector is not None]


def batch_norm_with_statistics(
    input: Value, weight: Value | None = None, bias: Value | None = None, eps: float = 1e-5
) -> tuple[Value, Value, Value]:
    """Return (y, μ, σ²): y = γ · (x − μ) / √(σ² + ε) + β with the mean μ and variance σ² of each channel of x.

    ``input`` is x (N, C) or (N, C, positions…); ``weight`` is γ and ``bias`` is β, both (C,), by default 1 and 0; ε is
    ``eps``. y has the shape of x; the mean μ and the biased variance σ² are (C,). All have the same dtype, float32 or
    float64. If the program runs with N = 0, the statistics are NaN. Raises ShapeError if a channel has fewer than two
    values or if γ or β is not (C,), DTypeError for other dtypes or if the dtypes differ, and OptionError unless ε > 0.
    """
    affine = affine_vectors(weight, bias, eps)
    if input.type.rank > 1 and input.shape[1] != 0 and 0 in input.shape:
        raise shape_error(
            "batch_norm",
            f"a channel without values has no statistics, got {input.type}",
            "use batches of at least two samples",
        )
    y, mean, variance = BatchNormalization(float(eps))(input, *affine)
    return y, reshape(mean, input.shape[1:2]), reshape(variance, input.shape[1:2])


def batch_norm(
    input: Value,
    running_mean: Value | None,
    running_var: Value | None,
    weight: Value | None = None,
    bias: Value | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Value:
    """Return y = γ · (x − μ) / √(σ² + ε) + β with the running mean μ and variance σ², or those of the batch.

    ``input`` is x (N, C) or (N, C, positions…) in float32 or float64. ``running_mean`` is μ, ``running_var`` is σ²,
    ``weight`` is γ (default 1) and ``bias`` is β (default 0); all four are (C,). ε is ``eps``. If ``training``, μ and
    σ² are the statistics of the batch instead. y has the shape of x. Unlike PyTorch's function, this one has no state:
    it does not update the running statistics, and ``momentum`` has no effect; ``nn.BatchNorm2d`` updates them. Raises
    ShapeError if a vector is not (C,) or, when training, if a channel has fewer than two values; DTypeError for other
    dtypes or if the dtypes differ; and OptionError unless ε > 0, or if a running statistic is None although
    ``training`` is False.
    """
    number("batch_norm: momentum", momentum, 0, 1)
    if flag("batch_norm: training", training):
        return batch_norm_with_statistics(input, weight, bias, eps)[0]
    if running_mean is None or running_var is None:
        raise OptionError(
            "batch_norm: without training it needs running_mean and running_var\n"
            "  help: training=True normalizes by the statistics of the batch"
        )
    if input.type.rank < 2:
        raise shape_error(
            "batch_norm", f"expected (N, C) or (N, C, positions…), got {input.type}", "x[None] is a batch of one sample"
        )
    for vector in (input, running_mean, running_var):
        if not vector.dtype.is_float:
            raise dtype_error(
                "batch_norm", f"expected floating point numbers, got {vector.type}", 'st.ops.cast(x, "float32")'
            )
    affine = [channel_vector("batch_norm", vector, input) for vector in affine_vectors(weight, bias, eps)]
    mean, variance = (channel_vector("batch_norm", vector, input) for vector in (running_mean, running_var))
    return normalized(input, mean, variance, affine, float(eps))
