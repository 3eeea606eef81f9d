"""Sums over segments of a vector, such as the parameters of a network in one flat vector."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from striate.codegen.launch import Launch
from striate.codegen.storage import PLAIN, InputLayout
from striate.graph.op import Gradients, Kind, Needed, Sample, Values, register
from striate.graph.value import Array, TensorType
from striate.ops import kernels
from striate.ops.anchor import Algorithm, Anchor, LoweringContext
from striate.ops.requirement import require_floats, shape_error
from striate.ops.shaping import expanded


@register
@dataclass(frozen=True)
class SegmentSum(Anchor):
    """y[i] = Σ x[j] over the segment that i lies in: bounds[s] ≤ i, j < bounds[s + 1]

    x and y are vectors (L,) of float32 or float64; every element of a segment of y is the segment's sum. ``bounds`` are
    strictly increasing from 0 to L: segment s begins at bounds[s] and ends before bounds[s + 1]. Raises ShapeError if
    the bounds are not of this form.
    """

    kind: ClassVar[Kind] = Kind.GATHER
    title: ClassVar[str] = "segment sum"
    bounds: tuple[int, ...]

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        (x,) = inputs
        require_floats(self, inputs)
        rising = all(a < b for a, b in zip(self.bounds, self.bounds[1:]))
        if len(x.shape) != 1 or x.batched or not rising or (*self.bounds[:1], *self.bounds[-1:]) != (0, x.shape[0]):
            raise shape_error(self, f"its bounds do not divide {x}", "give a vector, and bounds that rise from 0 to L")
        return (x,)

    def input_layouts(
        self, inputs: Sequence[TensorType], blocks: Sequence[int], algorithm: Algorithm
    ) -> tuple[InputLayout, ...]:
        return (InputLayout((PLAIN,)),)

    def output_layouts(self, inputs: Sequence[TensorType], blocks: Sequence[int]) -> tuple[int, ...]:
        return (PLAIN,)

    def lower(self, context: LoweringContext) -> list[Launch]:
        (x,), (y,) = context.node.inputs, context.node.outputs
        kernel = kernels.segment.SegmentSums(self.bounds, x.dtype)
        return [Launch("segment sum", context.node.path, kernel, (x, y), (len(self.bounds) - 1, 0))]

    def reference(self, x: Array) -> Array:
        sums = np.add.reduceat(x.astype(np.float64), self.bounds[:-1])
        return np.repeat(sums, np.diff(self.bounds)).astype(x.dtype)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        return (SegmentSum(self.bounds)(expanded(output_gradients[0], outputs[0])),)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for bounds in ((0, 1), (0, 17), (0, 3, 20, 21, 200), (0, 16, 64, 97)):
            yield Sample(cls(bounds), (random.standard_normal(bounds[-1]),), batched=False)
