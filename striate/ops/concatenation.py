"""The concatenation of arrays along one axis; its gradient consists of slices."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np

from striate.codegen.elementwise import ElementwiseKernel
from striate.codegen.launch import Launch
from striate.codegen.region import Region
from striate.codegen.storage import BLOCK
from striate.graph.notation import Expression
from striate.graph.onnx import Attribute
from striate.graph.op import Gradients, Needed, Sample, Values, register
from striate.graph.value import Array, TensorType, Value
from striate.ops.anchor import LoweringContext
from striate.ops.movement import Movement, axis_strides, box_domain, strided_load, strided_store
from striate.ops.requirement import N_STAYS, dtype_error, shape_error
from striate.ops.shaping import expanded
from striate.ops.slicing import Slice, Windowed


@register
@dataclass(frozen=True)
class Concat(Movement):
    """y = [x₁, x₂, …] along one axis, by default the channels: (N, C₁, …), (N, C₂, …) → (N, C₁ + C₂ + …, …)

    Raises ShapeError if the inputs differ in size along another axis, or if ``axis`` is the samples' axis 0 of a batch,
    and DTypeError if the dtypes of the inputs differ.
    """

    onnx_operator: ClassVar[str] = "Concat"
    axis: int = 1

    def onnx_attributes(self) -> Mapping[str, Attribute | None]:
        return {"axis": self.axis}

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        if not inputs:
            raise shape_error(self, "got no values to concatenate", "give at least one value")
        first, axis = inputs[0], self.axis
        if not 0 <= axis < first.rank:
            cure = "add the channel axis with st.ops.reshape" if axis == 1 else f"axes run from 0 to {first.rank - 1}"
            raise shape_error(self, f"axis {axis} does not exist in {first}", cure)
        if axis == 0 and any(x.batched for x in inputs):
            raise shape_error(self, f"cannot join samples of {', '.join(map(str, inputs))}", N_STAYS)
        sizes: list[int] = []
        for x in inputs:
            if x.dtype != first.dtype:
                raise dtype_error(
                    self,
                    f"inputs have one dtype, got {', '.join(map(str, inputs))}",
                    f"st.ops.cast(x, {first.dtype.value!r}) converts one of them",
                )
            if x.rank != first.rank or (
                x.shape[:axis] + x.shape[axis + 1 :] != first.shape[:axis] + first.shape[axis + 1 :]
            ):
                where = "in their channels (axis 1)" if axis == 1 else f"along axis {axis}"
                raise shape_error(
                    self,
                    f"inputs may differ only {where}, got {', '.join(map(str, inputs))}",
                    "make the other sizes equal with stride, padding, pooling or slices",
                )
            sizes.append(cast(int, x.shape[axis]))
        return (first.with_shape((*first.shape[:axis], sum(sizes), *first.shape[axis + 1 :])),)

    def starts(self, inputs: Sequence[TensorType]) -> list[int]:
        """Return the index along ``axis`` at which each input begins in the output."""
        return list(itertools.accumulate((cast(int, x.shape[self.axis]) for x in inputs[:-1]), initial=0))

    def moves_whole_blocks(self, inputs: Sequence[TensorType]) -> bool:
        return self.axis != 1 or all(start % BLOCK == 0 for start in self.starts(inputs))

    def keeps_positions(self) -> bool:
        return self.axis < 2

    def lower(self, context: LoweringContext) -> list[Launch]:
        (y,), inputs = context.node.outputs, context.node.inputs
        target, rank = context.storage(y), y.type.rank
        launches: list[Launch] = []
        for x, start in zip(inputs, self.starts([x.type for x in inputs]), strict=True):
            part = Windowed((self.axis,), (start,), (cast(int, x.shape[self.axis]),), (1,))
            strides, moved = part.strided(axis_strides(target, rank), target.block)
            source, domain = context.storage(x), box_domain(x.type, target.block)
            load = strided_load(1, source, axis_strides(source, rank), 0, domain.space)
            store = strided_store(0, target, strides, moved, domain.space)
            kernel = ElementwiseKernel(Region(domain, (load,), (store,)))
            launches.append(Launch("concatenate", context.node.path, kernel, (y, x), domain.chunks))
        return launches

    def on_empty(self, *inputs: Value) -> tuple[Value, ...]:
        """Return the concatenation without those inputs that have no elements."""
        rest = [x for x in inputs if x.shape[self.axis] != 0]
        return (rest[0] if len(rest) == 1 else Concat(self.axis)(*rest),)

    def reference(self, *xs: Array) -> Array:
        return np.concatenate(xs, axis=self.axis)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        dy = expanded(output_gradients[0], outputs[0])
        found: list[Value | None] = []
        for x, start, is_needed in zip(inputs, self.starts([x.type for x in inputs]), needed, strict=True):
            count = cast(int, x.shape[self.axis])
            found.append(Slice((self.axis,), (start,), (count,), (1,))(dy) if is_needed else None)
        return tuple(found)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape, channels in (((2, 3, 4), (1, 3, 17)), ((3,), (17, 1)), ((1, 1, 1), (3, 3)), ((2, 5), (3,))):
            yield Sample(cls(), tuple(random.standard_normal((shape[0], c, *shape[1:])) for c in channels))
        yield Sample(cls(2), tuple(random.standard_normal((2, 17, w)) for w in (1, 17, 3)))
        yield Sample(cls(2), tuple(random.standard_normal((2, 17, h, 3)) for h in (2, 1)))
        yield Sample(cls(0), tuple(random.standard_normal((n, 3)) for n in (17, 17)), batched=False)
        yield Sample(cls(0), tuple(random.standard_normal(n) for n in (5, 5)), batched=False)

    def notation(self, *operands: Expression) -> Expression:
        return Expression(f"[{', '.join(one.text for one in operands)}]")
