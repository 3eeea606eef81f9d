"""Sums, means and variances over groups of channels of each sample, for group normalization.

Each result is repeated for all channels of its group. The output then has the shape (N, C, 1…), which broadcasts to the
shape of x.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from striate.graph.notation import PRODUCT, Expression
from striate.graph.onnx import OnnxWriter
from striate.graph.op import Gradients, Needed, Sample, Values, register
from striate.graph.reshape import reshape
from striate.graph.value import Array, TensorType, Value
from striate.ops.reduction import Moments, Reduction, Sum, average_and_variance
from striate.ops.requirement import shape_error
from striate.ops.shaping import BroadcastTo, expanded


@dataclass(frozen=True)
class GroupReduction(Reduction):
    """Base class of reductions over positions and groups of channels (abstract): (N, C, …) → (N, C, 1…)

    The C channels are divided into ``groups`` groups of consecutive channels. ``axes`` are the spatial axes, axis 2 and
    all later ones. The result of a group in a sample is repeated for each channel of the group.
    """

    of_rows: ClassVar[Reduction]
    """The reduction over the last axis that computes the same from x as (N, groups, all other axes)."""
    groups: int = 1

    def channels_together(self, x: TensorType) -> int:
        return x.channels // self.groups

    def reduced(self, x: TensorType) -> TensorType:
        small = super().reduced(x)
        if self.axes != tuple(range(2, x.rank)) or math.prod(x.concrete(1)[2:]) < 2:
            raise shape_error(
                self, f"expected all axes of several positions, got {x}", "reduce (N, groups, C / groups)"
            )
        if self.groups < 1 or x.channels % self.groups or (x.channels == self.groups and x.channels > 1):
            raise shape_error(self, f"cannot divide the channels of {x}", "groups divides the channels, and is fewer")
        return small

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str] | None:
        (x,) = types
        rows = to.add("Reshape", inputs[0], to.integers(0, self.groups, -1))  # 0 keeps N
        found = self.of_rows.onnx(to, [rows], types)
        repeats = to.integers(1, 1, self.channels_together(x))
        shape = to.integers(0, x.channels, *(1,) * (x.rank - 2))
        return [to.add("Reshape", to.add("Expand", one, repeats), shape) for one in found or []]

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape, groups in (
            ((3, 6, 2, 5), 2),
            ((2, 34, 3, 1), 17),
            ((1, 17, 4), 1),
            ((2, 48, 2, 2), 3),
            ((2, 40, 1, 2, 3), 5),
            ((2, 1, 3, 3), 1),
        ):
            yield Sample(cls(tuple(range(2, len(shape))), groups), (random.standard_normal(shape),))

    def _onnx_rows(self, to: OnnxWriter, x: str, type: TensorType) -> str:
        """Add the ONNX operator that reshapes x to (N, groups, all other axes); return its output's name."""
        together = math.prod(type.concrete(1)[1:]) // self.groups
        return to.add("Reshape", x, to.shape((type.shape[0], self.groups, together)))

    def _onnx_repeated(self, to: OnnxWriter, found: str, type: TensorType) -> str:
        """Add the ONNX operators that repeat (N, groups, 1) for the channels of each group: (N, C, 1…)."""
        wide = to.add("Expand", found, to.shape((type.shape[0], self.groups, self.channels_together(type))))
        return to.add("Reshape", wide, to.shape((*type.shape[:2], *(1,) * (type.rank - 2))))


def _grouped(x: Array, groups: int) -> Array:
    """Return x reshaped to (N, groups, all other axes)."""
    return x.reshape(x.shape[0], groups, math.prod(x.shape[1:]) // groups)


def _repeated(found: Array, x: Array) -> Array:
    """Return ``found`` (N, groups, 1) repeated for the channels of x, as (N, C, 1…) in the dtype of x."""
    channels = np.repeat(found, x.shape[1] // found.shape[1], axis=1)
    return channels.reshape(*x.shape[:2], *(1,) * (x.ndim - 2)).astype(x.dtype)


def channel_sums(x: Value, groups: int) -> Value:
    """Return the sums of x (N, C, 1…) over groups of channels, each repeated for the channels of its group.

    The C channels are divided into ``groups`` groups of consecutive channels. The result has the shape of x.
    """
    together = (x.shape[0], groups, x.type.channels // groups)
    total = Sum((2,))(reshape(x, together))
    return reshape(BroadcastTo(together)(total), x.shape)


@register
@dataclass(frozen=True)
class GroupSum(GroupReduction, Sum):
    """y = Σ x over the positions and the channels of a group

    y has the shape (N, C, 1…): the sum of a group is repeated for each of its channels.
    """

    of_rows: ClassVar[Reduction] = Sum((2,))

    def reference(self, x: Array) -> Array:
        return _repeated(_grouped(x.astype(np.float64), self.groups).sum(axis=2, keepdims=True), x)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (dy,) = inputs, output_gradients
        return (expanded(channel_sums(expanded(dy, outputs[0]), self.groups), x),)

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        total = to.add("ReduceSum", self._onnx_rows(to, inputs[0], types[0]), to.integers(2), keepdims=1)
        return [self._onnx_repeated(to, total, types[0])]

    def notation(self, *operands: Expression) -> Expression:
        return Expression(f"Σ_g {operands[0].within(PRODUCT)}", PRODUCT)

    def label(self, inputs: Sequence[TensorType]) -> str:
        return "sum"


@register
@dataclass(frozen=True)
class GroupMoments(GroupReduction, Moments):
    """μ = (1/n) Σ x, σ² = (1/n) Σ (x − μ)² over the positions and the channels of a group

    n is the number of elements of a group in one sample. Both outputs have the shape (N, C, 1…): the result of a group
    is repeated for each of its channels.
    """

    of_rows: ClassVar[Reduction] = Moments((2,))

    def reference(self, x: Array) -> tuple[Array, Array]:
        mean, variance = average_and_variance(_grouped(x.astype(np.float64), self.groups), (2,))
        found = _repeated(variance, x)
        return _repeated(mean, x), np.where(np.isinf(found), np.nan, found)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Gradients, needed: Needed) -> Gradients:
        (x,), (mean, _), (dmean, dvariance) = inputs, outputs, output_gradients
        count = self.channels_together(x.type) * math.prod(x.type.concrete(1)[2:])
        found = None
        if dmean is not None:
            found = channel_sums(expanded(dmean, mean), self.groups) / count
        if dvariance is not None:
            spread = (x - mean) * (channel_sums(expanded(dvariance, mean), self.groups) * 2 / count)
            found = spread if found is None else spread + found
        return (None if found is None else expanded(found, x),)

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        rows = self._onnx_rows(to, inputs[0], types[0])
        mean = to.add("ReduceMean", rows, to.integers(2), keepdims=1)
        centred = to.add("Sub", rows, mean)
        variance = to.add("ReduceMean", to.add("Mul", centred, centred), to.integers(2), keepdims=1)
        return [self._onnx_repeated(to, one, types[0]) for one in (mean, variance)]
