"""The permutation of axes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from striate.graph.notation import ATOM, Expression
from striate.graph.onnx import Attribute
from striate.graph.op import Gradients, Needed, Sample, Values, register
from striate.graph.value import Array, TensorType
from striate.ops.movement import StridedRead
from striate.ops.requirement import N_STAYS, shape_error
from striate.ops.shaping import expanded


@register
@dataclass(frozen=True)
class Transpose(StridedRead):
    """y = x with its axes permuted: axis j of y is axis ``axes[j]`` of x

    If the size of axis 0, N, is known only at run time, this axis must stay first. x has at most 5 axes; the function
    ``transpose`` takes more, because it joins axes that stay next to each other.
    """

    onnx_operator: ClassVar[str] = "Transpose"
    axes: tuple[int, ...]

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        (x,) = inputs
        if sorted(self.axes) != list(range(x.rank)):
            raise shape_error(self, f"axes {self.axes} are not those of {x}", f"name each of 0 to {x.rank - 1} once")
        if x.batched and self.axes[0] != 0:
            raise shape_error(self, f"the samples of {x} must stay on axis 0", N_STAYS)
        return (x.with_shape(tuple(x.shape[axis] for axis in self.axes)),)

    def onnx_attributes(self) -> Mapping[str, Attribute | None]:
        return {"perm": self.axes}

    def moves_whole_blocks(self, inputs: Sequence[TensorType]) -> bool:
        return self.axes[:2] == (0, 1)

    def read(self, strides: Sequence[int], block: int) -> tuple[list[int], int]:
        return [strides[axis] for axis in self.axes], 0

    def reference(self, x: Array) -> Array:
        return np.ascontiguousarray(x.transpose(self.axes))

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        dy = expanded(output_gradients[0], outputs[0])
        return (Transpose(tuple(self.axes.index(axis) for axis in range(len(self.axes))))(dy),)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for axes, shape in (
            ((0, 2, 1), (2, 3, 17)), ((0, 2, 3, 1), (3, 17, 1, 5)), ((0, 1, 3, 2), (2, 17, 3, 4)),
            ((0, 4, 2, 1, 3), (1, 2, 3, 1, 5)), ((0, 3, 1, 2), (2, 5, 33, 1)),
        ):  # fmt: skip
            yield Sample(cls(axes), (random.standard_normal(shape),))
        yield Sample(cls((1, 0)), (random.standard_normal((17, 33)),), batched=False)
        yield Sample(cls((2, 0, 1)), (random.standard_normal((3, 1, 18)),), batched=False)

    def notation(self, *operands: Expression) -> Expression:
        if self.axes == (1, 0):
            return Expression(f"{operands[0].within(ATOM)}ᵀ", ATOM)
        return Expression(f"transpose({operands[0].text})")
