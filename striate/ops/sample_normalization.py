"""Normalizations by the statistics of each sample: layer, group, instance, RMS and local response normalization.

Layer: Ba and others, 2016 (arXiv:1607.06450). Group: Wu and He, 2018 (arXiv:1803.08494). Instance: Ulyanov and others,
2016 (arXiv:1607.08022). RMS: Zhang and Sennrich, 2019 (arXiv:1910.07467). Local response: Krizhevsky and others, 2012.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import ClassVar
from typing import cast as cast_type

import numpy as np

from striate.errors import OptionError
from striate.graph.elementwise import broadcast_shapes, elementwise
from striate.graph.op import Composite, Gradients, Needed, Purpose, Sample, Values, register
from striate.graph.operand import as_value
from striate.graph.reshape import reshape
from striate.graph.value import Array, Shape, TensorType, Value, shape_text
from striate.ops.arithmetic import Sqrt, exp, log
from striate.ops.convolution import channel_vector, conv
from striate.ops.group_reduction import GroupMoments, GroupSum
from striate.ops.normalization import batch_norm
from striate.ops.reduction import Moments, Sum, average_and_variance
from striate.ops.requirement import place, require_floats, shape_error
from striate.ops.shaping import expanded
from striate.ops.window import LARGEST
from striate.options import flag, number, whole_number


@dataclass(frozen=True)
class SampleNormalization(Composite):
    """Base class of normalizations by the statistics of each sample (abstract): y = (x − μ) / √(σ² + ε) · γ + β

    Inputs: x, then optionally γ, and after γ optionally β. γ and β have the rank of x and broadcast to its shape; ε is
    ``epsilon``. Subclasses define over which elements the mean μ and the variance σ² are computed.
    """

    letters: ClassVar[Mapping[str, str]] = {"ε": "epsilon"}
    epsilon: float = 1e-5

    @property
    def purpose(self) -> Purpose:
        return Purpose.NORMALIZATION

    def statistics(self, x: Value) -> tuple[Value | None, Value]:
        """Return the mean μ and variance σ² of x, which broadcast to x; μ is None if the mean is not subtracted."""
        raise NotImplementedError

    def total(self, x: Value) -> Value:
        """Return Σ x over the elements that share one μ and σ², as an array that broadcasts to x."""
        raise NotImplementedError

    def together(self, x: TensorType) -> int:
        """Return the number of elements that share one μ and σ²."""
        raise NotImplementedError

    def normalized(self, x: Array) -> Array:
        """Compute (x − μ) / √(σ² + ε) in NumPy, without γ and β."""
        raise NotImplementedError

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        require_floats(self, inputs)
        x = inputs[0]
        if len(inputs) > 3 or broadcast_shapes([type.shape for type in inputs], lambda: place(self)) != x.shape:
            raise shape_error(self, f"expected x, γ and β, got {', '.join(map(str, inputs))}", "γ and β broadcast to x")
        return (x,)

    def reference(self, x: Array, *affine: Array) -> Array:
        y = self.normalized(x.astype(np.float64))
        for position, vector in enumerate(affine):
            y = y + vector if position else y * vector
        return y.astype(x.dtype)

    def expand(self, *inputs: Value) -> tuple[Value, ...]:
        x, *affine = inputs
        centred, scale = self._parts(x)
        if not affine:
            return (centred * scale,)
        gamma = affine[0]
        small = broadcast_shapes([scale.shape, gamma.shape], lambda: place(self)) != x.shape
        # γ · 1/σ is computed once for all positions if it is smaller than x.
        y = centred * (scale * gamma) if small else centred * scale * gamma
        return (y + affine[1] if len(affine) == 2 else y,)

    def _parts(self, x: Value) -> tuple[Value, Value]:
        """Return (x − μ, 1 / √(σ² + ε)). μ is subtracted first: as a part of β, a large mean would lose accuracy."""
        mean, variance = self.statistics(x)
        return (x if mean is None else x - mean), 1 / elementwise(Sqrt(), variance + self.epsilon)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        """Return the gradients dx, dγ and dβ of the inputs, from dy, the gradient of y.

            dx = (g − Σg / M − x̂ · Σ(g · x̂) / M) / σ  with g = γ · dy,  over the M elements that share one μ and σ²

        Here σ stands for √(σ² + ε) and x̂ for (x − μ) / σ. dγ = Σ dy · x̂ and dβ = Σ dy, summed over the axes along
        which γ and β are broadcast. If no mean is subtracted, the term Σg / M is dropped.
        """
        (x, *affine), dy = inputs, expanded(output_gradients[0], outputs[0])
        count = self.together(x.type)
        centred, scale = self._parts(x)
        found: list[Value | None] = [None]
        if needed[0]:
            g = dy * affine[0] if affine else dy
            part = centred * (scale * scale * (self.total(g * centred) / count))
            if centred is not x:
                part = self.total(g) / count + part
            found[0] = expanded((g - part) * scale, x)
        if affine:
            found.append(dy * (centred * scale) if needed[1] else None)
        if len(affine) == 2:
            found.append(dy if needed[2] else None)
        return tuple(found)


@register
@dataclass(frozen=True)
class LayerNormalization(SampleNormalization):
    """y = γ · (x − μ) / √(σ² + ε) + β with the mean μ and the biased variance σ² over ``axes`` of each sample

    Inputs: x, optionally γ, and optionally β, which broadcast to x; ε is ``epsilon``. y has the shape and dtype of x.
    """

    title: ClassVar[str] = "layer norm"
    axes: tuple[int, ...] = (1,)

    def statistics(self, x: Value) -> tuple[Value | None, Value]:
        return Moments(self.axes)(x)

    def total(self, x: Value) -> Value:
        return Sum(self.axes)(x)

    def together(self, x: TensorType) -> int:
        return math.prod(x.concrete(1)[axis] for axis in self.axes)

    def normalized(self, x: Array) -> Array:
        mean, variance = average_and_variance(x, self.axes)
        return (x - mean) / np.sqrt(variance + self.epsilon)

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        _require_axes(self, self.axes, inputs[0])
        return super().infer(*inputs)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape, axes, affine in (
            ((3, 17), (1,), (1, 17)),
            ((2, 3, 33), (2,), (1, 1, 33)),
            ((2, 17, 3, 2), (1,), (1, 17, 1, 1)),
            ((1, 3, 2, 5), (2, 3), (1, 3, 1, 1)),
        ):
            gamma, beta = 1 + 0.3 * random.standard_normal((2, *affine))
            yield Sample(cls(axes=axes), (2 * random.standard_normal(shape) + 3, gamma, beta))
        yield Sample(cls(0.1, (1,)), (random.standard_normal((4, 3)),))


@register
@dataclass(frozen=True)
class GroupNormalization(SampleNormalization):
    """y = γ · (x − μ) / √(σ² + ε) + β with μ and σ² over the positions and the channels of a group of each sample

    Inputs: x (N, C, positions…), optionally γ, and optionally β, which broadcast to x. μ is the mean and σ² the biased
    variance; ε is ``epsilon``. The C channels are divided into ``groups`` groups of consecutive channels.
    """

    title: ClassVar[str] = "group norm"
    groups: int = 1

    def statistics(self, x: Value) -> tuple[Value | None, Value]:
        return GroupMoments(tuple(range(2, x.type.rank)), self.groups)(x)

    def total(self, x: Value) -> Value:
        return GroupSum(tuple(range(2, x.type.rank)), self.groups)(x)

    def together(self, x: TensorType) -> int:
        return math.prod(x.concrete(1)[1:]) // self.groups

    def normalized(self, x: Array) -> Array:
        rows = x.reshape(x.shape[0], self.groups, math.prod(x.shape[1:]) // self.groups)
        mean, variance = average_and_variance(rows, (2,))
        return ((rows - mean) / np.sqrt(variance + self.epsilon)).reshape(x.shape)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape, groups in (((3, 6, 2, 5), 2), ((2, 34, 3), 17), ((1, 17, 2, 2), 1)):
            gamma, beta = 1 + 0.3 * random.standard_normal((2, 1, shape[1], *(1,) * (len(shape) - 2)))
            yield Sample(cls(groups=groups), (2 * random.standard_normal(shape) + 3, gamma, beta))
        full = (1 + 0.3 * random.standard_normal((1, 3, 2, 2)),)
        yield Sample(cls(0.1, 1), (random.standard_normal((4, 3, 2, 2)), *full))


@register
@dataclass(frozen=True)
class RmsNormalization(SampleNormalization):
    """y = γ · x / √(mean x² + ε), the mean over ``axes`` of each sample

    Inputs: x, and optionally γ, which broadcasts to x; ε is ``epsilon``. y has the shape and dtype of x.
    """

    title: ClassVar[str] = "RMS norm"
    axes: tuple[int, ...] = (1,)

    def statistics(self, x: Value) -> tuple[Value | None, Value]:
        return None, Sum(self.axes)(x * x) / self.together(x.type)

    def total(self, x: Value) -> Value:
        return Sum(self.axes)(x)

    def together(self, x: TensorType) -> int:
        return math.prod(x.concrete(1)[axis] for axis in self.axes)

    def normalized(self, x: Array) -> Array:
        return x / np.sqrt(np.mean(x * x, axis=self.axes, keepdims=True) + self.epsilon)

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        _require_axes(self, self.axes, inputs[0])
        return super().infer(*inputs)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape, axes, affine in (((3, 17), (1,), (1, 17)), ((2, 3, 33), (2,), (1, 1, 33))):
            yield Sample(cls(axes=axes), (random.standard_normal(shape) + 1, 1 + random.standard_normal(affine)))
        yield Sample(cls(0.1, (2, 3)), (random.standard_normal((4, 3, 2, 5)),))


def _require_axes(op: SampleNormalization, axes: tuple[int, ...], x: TensorType) -> None:
    if not axes or list(axes) != sorted(set(axes)) or not all(0 <= axis < x.rank for axis in axes):
        raise shape_error(op, f"axes {axes} do not exist in {x}", "name each axis once, in order")
    if x.batched and 0 in axes:
        raise shape_error(op, f"cannot normalize over the samples of {x}", "batch norm does")


def checked_sizes(what: str, normalized_shape: object) -> tuple[int, ...]:
    """Return ``normalized_shape``, a number or a tuple, as a tuple of sizes of the last axes.

    Raises ``OptionError`` unless the sizes are whole numbers above 0. ``what`` is the function that the error message
    names.
    """
    sizes: Sequence[object] = (
        cast_type("Sequence[object]", normalized_shape)
        if isinstance(normalized_shape, tuple | list)
        else (normalized_shape,)
    )
    whole = [isinstance(size, Integral) and not isinstance(size, bool) for size in sizes]
    if not sizes or not all(whole) or any(cast_type("int", size) < 1 for size in sizes):
        raise OptionError(
            f"{what}: normalized_shape={normalized_shape!r:.80}; expected the sizes of the last axes, whole numbers\n"
            "  help: 64, or (64, 8, 8)"
        )
    return tuple(int(cast_type("int", size)) for size in sizes)


def _trailing(what: str, x: Value, normalized_shape: object, affine: Mapping[str, Value | None]) -> tuple[int, ...]:
    """Return the sizes of the last axes, from ``normalized_shape``.

    Raises ``ShapeError`` unless they are the last sizes of x, and the shape of each vector in ``affine`` that is not
    None.
    """
    sizes = checked_sizes(what, normalized_shape)
    if x.shape[max(0, x.type.rank - len(sizes)) :] != sizes:
        raise shape_error(
            what,
            f"normalized_shape={shape_text(sizes)} is not the end of the shape of the input, {x.type}",
            f"normalized_shape={shape_text(x.shape[-len(sizes) :])}" if x.type.rank > len(sizes) else "give more axes",
        )
    for name, vector in affine.items():
        if vector is not None and vector.shape != sizes:
            raise shape_error(what, f"{name} is {vector.type}", f"its shape is normalized_shape, {shape_text(sizes)}")
    return sizes


def _applied(op: SampleNormalization, x: Value, weight: Value | None, bias: Value | None, shape: Shape) -> Value:
    """Apply ``op`` to x with γ = ``weight`` and β = ``bias``, either of which may be None, reshaped to ``shape``."""
    if weight is None:
        y = op(x)
        return y if bias is None else y + reshape(bias, shape)
    return op(x, reshape(weight, shape), *(() if bias is None else (reshape(bias, shape),)))


def layer_norm(
    input: Value,
    normalized_shape: int | tuple[int, ...],
    weight: Value | None = None,
    bias: Value | None = None,
    eps: float = 1e-5,
) -> Value:
    """Return y = γ · (x − μ) / √(σ² + ε) + β with the mean μ and the biased variance σ² over the last axes of x.

    ``input`` is x (…, *normalized_shape) in float32 or float64; ``weight`` is γ and ``bias`` is β, both of the shape
    ``normalized_shape``, by default 1 and 0; ε is ``eps``. y has the shape and dtype of x. Raises ShapeError unless x,
    γ and β have these sizes, DTypeError for other dtypes or if the dtypes differ, and OptionError for sizes that are
    not whole or a negative ε.
    """
    eps = number("layer_norm: eps", eps, 0)
    sizes = _trailing("layer_norm", input, normalized_shape, {"weight": weight, "bias": bias})
    rank = input.type.rank
    axes = tuple(range(rank - len(sizes), rank))
    shape = (*(1,) * (rank - len(sizes)), *sizes)
    op: SampleNormalization = LayerNormalization(eps, axes)
    if rank > 2 and axes == tuple(range(1, rank)) and math.prod(sizes[1:]) > 1:
        op = GroupNormalization(eps, 1)  # a whole sample, summed in the loop that computes it
    return _applied(op, input, weight, bias, shape)


def channel_layer_norm(
    input: Value, weight: Value | None = None, bias: Value | None = None, eps: float = 1e-6
) -> Value:
    """Return y = γ · (x − μ) / √(σ² + ε) + β with the mean and variance over the channels of each position.

    ``input`` is x (N, C) or (N, C, positions…) in float32 or float64; ``weight`` is γ and ``bias`` is β, both (C,), by
    default 1 and 0; ε is ``eps``. μ is the mean and σ² the biased variance. y has the shape of x. Networks such as
    ConvNeXt (Liu and others, 2022) compute it as ``layer_norm`` between two permutations of the axes. Raises ShapeError
    unless γ and β are (C,), DTypeError for other dtypes or if the dtypes differ, and OptionError for a negative ε.
    """
    eps = number("channel_layer_norm: eps", eps, 0)
    require_axis_of_channels("channel_layer_norm", input)
    weight, bias = (None if v is None else channel_vector("channel_layer_norm", v, input) for v in (weight, bias))
    shape = (1, input.shape[1], *(1,) * (input.type.rank - 2))
    return _applied(LayerNormalization(eps, (1,)), input, weight, bias, shape)


def rms_norm(
    input: Value, normalized_shape: int | tuple[int, ...], weight: Value | None = None, eps: float | None = None
) -> Value:
    """Return y = γ · x / √(mean x² + ε), with the mean over the last axes of x.

    ``input`` is x (…, *normalized_shape) in float32 or float64; ``weight`` is γ of the shape ``normalized_shape``, by
    default 1. If ``eps`` is None, ε is the machine epsilon of x's dtype, as in PyTorch. Raises ShapeError unless x and
    γ have these sizes, DTypeError for other dtypes or if the dtypes differ, and OptionError for sizes that are not
    whole or a negative ε.
    """
    require_floats(RmsNormalization(), [input.type])
    chosen = float(np.finfo(input.dtype.numpy).eps) if eps is None else number("rms_norm: eps", eps, 0)
    sizes = _trailing("rms_norm", input, normalized_shape, {"weight": weight})
    rank = input.type.rank
    axes = tuple(range(rank - len(sizes), rank))
    return _applied(RmsNormalization(chosen, axes), input, weight, None, (*(1,) * (rank - len(sizes)), *sizes))


def group_norm(
    input: Value, num_groups: int, weight: Value | None = None, bias: Value | None = None, eps: float = 1e-5
) -> Value:
    """Return y = γ · (x − μ) / √(σ² + ε) + β with the mean and variance of each group of channels of a sample.

    ``input`` is x (N, C, positions…) or (N, C) in float32 or float64. The C channels are divided into ``num_groups``
    groups of consecutive channels. ``weight`` is γ and ``bias`` is β, both (C,), by default 1 and 0; ε is ``eps``. μ is
    the mean and σ² the biased variance over the positions and channels of a group. y has the shape of x. Raises
    ShapeError if ``num_groups`` does not divide C, if γ or β is not (C,), or if N = 1 and each group has a single
    value; DTypeError for other dtypes or if the dtypes differ; and OptionError for a negative ε.
    """
    eps = number("group_norm: eps", eps, 0)
    groups = whole_number("group_norm: num_groups", num_groups, 1)
    require_axis_of_channels("group_norm", input)
    channels, sizes = input.type.channels, input.type.concrete(1)[2:]
    if channels % groups:
        raise shape_error("group_norm", f"num_groups={groups} does not divide {channels} channels", "choose a divisor")
    if input.type.samples * (channels // groups) * math.prod(sizes) == 1:
        raise shape_error(
            "group_norm", f"one value in a group, got {input.type}: its variance is 0", "use fewer groups"
        )
    weight, bias = (None if v is None else channel_vector("group_norm", v, input) for v in (weight, bias))
    shape = (1, channels, *(1,) * len(sizes))
    if groups == channels and sizes:
        return _applied(LayerNormalization(eps, tuple(range(2, input.type.rank))), input, weight, bias, shape)
    if math.prod(sizes) > 1:
        return _applied(GroupNormalization(eps, groups), input, weight, bias, shape)
    together = channels // groups
    rows = reshape(input, (input.shape[0], groups, together))
    y = _applied(LayerNormalization(eps, (2,)), rows, weight, bias, (1, groups, together))
    return reshape(y, input.shape)


def instance_norm(
    input: Value,
    running_mean: Value | None = None,
    running_var: Value | None = None,
    weight: Value | None = None,
    bias: Value | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Value:
    """Return y = γ · (x − μ) / √(σ² + ε) + β with the mean and variance of each channel of each sample.

    ``input`` is x (N, C, positions…) in float32 or float64; ``weight`` is γ and ``bias`` is β, both (C,), by default 1
    and 0; ε is ``eps``. μ is the mean and σ² the biased variance over the positions. y has the shape of x. If
    ``use_input_stats`` is False, μ and σ² are ``running_mean`` and ``running_var`` (C,). This function has no state: it
    does not update them, and ``momentum`` has no effect. Raises ShapeError if a vector is not (C,) or channels have a
    single position, DTypeError for other dtypes or if the dtypes differ, and OptionError for a negative ε or missing
    running statistics.
    """
    number("instance_norm: momentum", momentum, 0, 1)
    eps = number("instance_norm: eps", eps, 0)
    if not flag("instance_norm: use_input_stats", use_input_stats):
        if running_mean is None or running_var is None:
            raise OptionError("instance_norm: without use_input_stats it needs running_mean and running_var")
        return batch_norm(input, running_mean, running_var, weight, bias, eps=eps or 1e-45)
    require_axis_of_channels("instance_norm", input, positions=True)
    if math.prod(input.type.concrete(1)[2:]) == 1:
        raise shape_error(
            "instance_norm",
            f"one position per channel, got {input.type}: its variance is 0 and the output is β",
            "normalize larger images, or use layer_norm",
        )
    weight, bias = (None if v is None else channel_vector("instance_norm", v, input) for v in (weight, bias))
    shape = (1, input.shape[1], *(1,) * (input.type.rank - 2))
    return _applied(LayerNormalization(eps, tuple(range(2, input.type.rank))), input, weight, bias, shape)


def local_response_norm(input: Value, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Value:
    """Return y[c] = x[c] / (k + α / size · Σ_j x[j]²)^β over the ``size`` channels j around c.

    ``input`` is x (N, C, positions…) in float32 or float64; y has the shape of x. x[c] and y[c] are channel c of the
    same sample and position. α is ``alpha`` and β is ``beta``; channels outside x count as 0. The sum is computed by a
    1×1 convolution whose weights are a band matrix of ones. Krizhevsky and others, 2012. Raises ShapeError for another
    number of axes, DTypeError for another dtype, and OptionError unless ``size`` is a whole number of 1 or more.
    """
    size = whole_number("local_response_norm: size", size, 1, LARGEST)
    alpha, beta, k = (number(f"local_response_norm: {name}", value) for name, value in
                      (("alpha", alpha), ("beta", beta), ("k", k)))  # fmt: skip
    require_axis_of_channels("local_response_norm", input, positions=True)
    channels = input.type.channels
    j = np.arange(channels)
    distance = j[None, :] - j[:, None]
    band = ((distance >= -(size // 2)) & (distance <= (size - 1) // 2)).astype(input.dtype.numpy)
    squares = conv(input * input, as_value(band.reshape(channels, channels, *(1,) * (input.type.rank - 2)), input))
    return input * exp(log(squares * (alpha / size) + k) * -beta)


def require_axis_of_channels(what: str, x: Value, positions: bool = False) -> None:
    """Raise ``ShapeError`` unless x is (N, C) or (N, C, positions…); if ``positions`` is True, (N, C) is an error too.

    ``what`` is the function that the error message names.
    """
    if x.type.rank < (3 if positions else 2):
        expected = "(N, C, positions…)" if positions else "(N, C) or (N, C, positions…)"
        raise shape_error(what, f"expected an input {expected}, got {x.type}", "x[None] is a batch of one sample")
