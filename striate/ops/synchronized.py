"""Batch normalization whose statistics are those of a batch that several ranks (processes) share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from striate.codegen.launch import Launch
from striate.codegen.storage import PLAIN, InputLayout
from striate.graph.onnx import OnnxWriter
from striate.graph.op import Gradients, Kind, Needed, Purpose, Sample, Values, register
from striate.graph.reshape import reshape
from striate.graph.value import Array, TensorType, Value
from striate.ops import kernels
from striate.ops.anchor import Algorithm, Anchor, LoweringContext
from striate.ops.normalization import BatchNormalization, affine_vectors, batch_axes, normalized
from striate.ops.reduction import Moments, numel
from striate.ops.requirement import require_floats, shape_error


@dataclass(frozen=True)
class OverRanks(Anchor):
    """Base class of operations that merge small arrays of all ranks, after each rank has computed its own (abstract).

    A rank is one of the processes that train a model together. The operation itself only copies its inputs. In training
    on several ranks, the program stops after this copy, the ranks exchange the arrays, and the merged values replace
    the copies. In any other program there is one rank, and the outputs equal the inputs.
    """

    kind: ClassVar[Kind] = Kind.GATHER
    contiguous_inputs: ClassVar[bool] = True
    merging: ClassVar[str]
    """The name of the member of ``kernels.exchange.Merge`` that says how the arrays are merged."""

    @property
    def purpose(self) -> Purpose:
        return Purpose.NORMALIZATION

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        require_floats(self, inputs)
        if any(one.batched for one in inputs) or len({one.dtype for one in inputs}) > 1:
            raise shape_error(self, f"expected arrays without N, got {inputs}", "reduce the samples first")
        return inputs

    def input_layouts(
        self, inputs: Sequence[TensorType], blocks: Sequence[int], algorithm: Algorithm
    ) -> tuple[InputLayout, ...]:
        return tuple(InputLayout((PLAIN,)) for _ in inputs)

    def output_layouts(self, inputs: Sequence[TensorType], blocks: Sequence[int]) -> tuple[int, ...]:
        return tuple(PLAIN for _ in inputs)

    def lower(self, context: LoweringContext) -> list[Launch]:
        node = context.node
        first, *_ = node.inputs
        sizes = tuple(value.type.size() for value in node.inputs)
        merge = kernels.exchange.Merge[self.merging]
        kernel = kernels.exchange.Exchange(merge, sizes, first.dtype)
        writes = tuple(range(len(sizes), 2 * len(sizes)))
        return [Launch("exchange", node.path, kernel, (*node.inputs, *node.outputs), (1, 0), writes=writes)]

    def on_empty(self, *inputs: Value) -> tuple[Value, ...]:
        """Return the inputs, since arrays without elements have no values to merge."""
        return inputs

    def reference(self, *inputs: Array) -> tuple[Array, ...]:
        return tuple(np.array(one) for one in inputs)

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        return [to.add("Identity", one) for one in inputs]

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Gradients, needed: Needed) -> Gradients:
        """Return the gradients for a single rank, where the outputs are copies of the inputs: ``output_gradients``.

        With several ranks, the gradient of ``SynchronizedBatchNormalization`` is used instead.
        """
        return output_gradients


@register
@dataclass(frozen=True)
class MomentsOverRanks(OverRanks):
    """(μ, σ², M) = the mean, biased variance and number of the values of all ranks, from those of each rank

    The inputs are the mean, the variance and the number of the values of this rank (process). The mean and the variance
    have the same shape, and M is a scalar. For ranks r with the statistics μ_r, σ²_r and M_r:
    M = Σ M_r, μ = Σ M_r μ_r / M, σ² = Σ M_r (σ²_r + (μ_r − μ)²) / M, computed in float64.
    """

    title: ClassVar[str] = "moments over ranks"
    results: ClassVar[tuple[str, ...]] = ("mean", "variance", "count")
    merging: ClassVar[str] = "MOMENTS"

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for channels in (1, 3, 17, 32):
            mean, variance = random.standard_normal((2, 1, channels, 1, 1))
            yield Sample(cls(), (mean, variance**2, np.asarray(48.0)), batched=False)


@register
@dataclass(frozen=True)
class SumsOverRanks(OverRanks):
    """y = Σ x over the ranks, for each of one or more inputs

    A rank is one of the processes that train a model together. Each output has the shape of its input. The sums are
    computed in float64.
    """

    title: ClassVar[str] = "sums over ranks"
    merging: ClassVar[str] = "SUM"

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape in ((1, 3, 1, 1), (1, 17), (1, 32, 1)):
            yield Sample(cls(), tuple(random.standard_normal((2, *shape))), batched=False)


@register
@dataclass(frozen=True)
class SynchronizedBatchNormalization(BatchNormalization):
    """y = γ · (x − μ) / √(σ² + ε) + β with the mean μ and the variance σ² of each channel over all ranks

    A rank is one of the processes that train a model together. Inputs: x (N, C, positions…), the samples of this rank,
    and optionally both γ (C,) and β (C,); ε is ``epsilon``. Returns (y, μ, σ², M), where μ and σ² have the shape (1, C,
    1…), and the scalar M is the number of values of a channel on all ranks.
    """

    limits_samples: ClassVar[bool] = False  # one value per channel is enough, because the other ranks have more

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        y, mean, variance = super().infer(*inputs)
        return y, mean, variance, y.with_shape(())

    def reference(self, x: Array, *affine: Array) -> tuple[Array, ...]:
        count = math.prod(x.shape[axis] for axis in batch_axes(x.ndim))
        return *super().reference(x, *affine), np.asarray(count, x.dtype)

    def expand(self, *inputs: Value) -> tuple[Value, ...]:
        """Return the outputs as computed by smaller operations, which merge the moments of all ranks (processes)."""
        x, *affine = inputs
        axes = batch_axes(x.type.rank)
        mean, variance = Moments(axes)(x)
        mean, variance, count = MomentsOverRanks()(mean, variance, numel(x, axes))
        return normalized(x, mean, variance, affine, self.epsilon), mean, variance, count

    def count(self, x: Value, outputs: Values) -> Value:
        return outputs[3]

    def totals(self, *sums: Value) -> tuple[Value, ...]:
        """Return the sums over the samples of all ranks (processes), given ``sums`` over the samples of this rank.

        Only dx needs these totals; the gradients dγ and dβ are sums over the samples of this rank.
        """
        return SumsOverRanks()(*sums)


def synchronized_batch_norm(
    input: Value, weight: Value | None, bias: Value | None, eps: float
) -> tuple[Value, Value, Value, Value]:
    """Return batch normalization with statistics over all ranks (processes), as (y, μ, σ², M).

    ``input`` is x (N, C) or (N, C, positions…); ``weight`` is γ and ``bias`` is β, both (C,), by default 1 and 0; ε is
    ``eps``. y has the shape of x; the mean μ and the biased variance σ² are (C,), and the scalar M is the number of
    values of a channel on all ranks. Raises the errors of ``batch_norm_with_statistics``.
    """
    affine = affine_vectors(weight, bias, eps)
    y, mean, variance, count = SynchronizedBatchNormalization(float(eps))(input, *affine)
    return y, reshape(mean, input.shape[1:2]), reshape(variance, input.shape[1:2]), count
