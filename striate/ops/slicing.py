"""Slices with steps along any axes, and their gradient, which puts elements back into an array of zeros."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from striate.codegen.elementwise import ElementwiseKernel
from striate.codegen.launch import Launch
from striate.codegen.region import Number, Region
from striate.codegen.storage import BLOCK
from striate.graph.notation import ATOM, Expression
from striate.graph.onnx import OnnxWriter
from striate.graph.op import Gradients, Needed, Sample, Values, register
from striate.graph.value import Array, Shape, TensorType, Value
from striate.ops.anchor import LoweringContext
from striate.ops.movement import Movement, StridedRead, axis_strides, box_domain, strided_load, strided_store
from striate.ops.requirement import N_STAYS, shape_error
from striate.ops.shaping import expanded, filled


@dataclass(frozen=True)
class Window:
    """A strided slice of an axis: ``count`` elements at ``start``, ``start + step``, …; ``step`` may be negative."""

    start: int
    count: int
    step: int

    @property
    def ends(self) -> tuple[int, int]:
        """The pair (smallest index that the window covers, one past the largest index)."""
        last = self.start + (self.count - 1) * self.step
        return min(self.start, last), max(self.start, last) + 1

    def whole_blocks(self, size: int) -> bool:
        """Return whether the window consists of whole blocks of 16 channels, in order, on a channel axis of ``size``.

        The last block of the axis may have fewer channels.
        """
        first, end = self.ends
        return self.step == 1 and first % BLOCK == 0 and (end % BLOCK == 0 or end == size)


@dataclass(frozen=True)
class Windowed:
    """The options of a strided slice: ``starts``, ``counts`` and ``steps`` have one entry for each axis in ``axes``."""

    axes: tuple[int, ...]
    starts: tuple[int, ...]
    counts: tuple[int, ...]
    steps: tuple[int, ...]

    @property
    def windows(self) -> dict[int, Window]:
        """The options as one ``Window`` for each axis in ``axes``."""
        parts = zip(self.axes, self.starts, self.counts, self.steps, strict=True)
        return {axis: Window(start, count, step) for axis, start, count, step in parts}

    def index(self, rank: int) -> tuple[slice, ...]:
        """Return the NumPy index that selects the elements from an array with ``rank`` axes."""
        found = [slice(None)] * rank
        for axis, window in self.windows.items():
            stop = window.start + window.count * window.step
            found[axis] = slice(window.start, stop if stop >= 0 else None, window.step)
            if not window.count:
                found[axis] = slice(0, 0)
        return tuple(found)

    def text(self) -> str:
        """Return the index as Python text, such as ``[:, 0:3, ::2]``."""
        windows = self.windows
        parts: list[str] = []
        for axis in range(max(windows, default=-1) + 1):
            if axis not in windows:
                parts.append(":")
                continue
            window = windows[axis]
            stop = window.start + window.count * window.step
            end = str(stop) if stop >= 0 else ""
            parts.append(f"{window.start}:{end}" + (f":{window.step}" if window.step != 1 else ""))
        return f"[{', '.join(parts)}]"

    def strided(self, strides: Sequence[int], block: int) -> tuple[list[int], int]:
        """Return the strides between the selected elements, and the offset of the first of them, all in elements.

        ``strides`` are those of the whole array, and ``block`` is the number of channels per block in the array's
        memory layout.
        """
        found, moved = list(strides), 0
        for axis, window in self.windows.items():
            start = window.start // BLOCK if axis == 1 and block == BLOCK else window.start
            moved += start * strides[axis]
            found[axis] = strides[axis] * window.step
        return found, moved


def _require_windows(op: Slice | SliceGradient, whole: TensorType) -> None:
    """Raise ``ShapeError`` if a window reaches outside an array of this type, or selects along N, the samples."""
    if list(op.axes) != sorted(set(op.axes)) or any(not 0 <= axis < whole.rank for axis in op.axes):
        raise shape_error(op, f"axes {op.axes} do not exist in {whole}", f"axes run from 0 to {whole.rank - 1}")
    if whole.batched and 0 in op.axes:
        raise shape_error(op, f"cannot take some of the samples of {whole}", N_STAYS)
    for axis, window in op.windows.items():
        first, end = window.ends
        size = cast(int, whole.shape[axis])
        if window.count < 0 or window.step == 0 or (window.count and not (first >= 0 and end <= size)):
            raise shape_error(op, f"{window} is not inside axis {axis} of {whole}", f"places run from 0 to {size - 1}")


@register
@dataclass(frozen=True)
class Slice(StridedRead, Windowed):
    """y[i] = x[start + step · i] along each of the axes ``axes``, for 0 ≤ i < count

    ``starts``, ``counts`` and ``steps`` have one entry for each of ``axes``; steps may be negative. Other axes are kept
    whole. Raises ShapeError for indices outside x, and for axis 0 if its size N is known only at run time.
    """

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        (x,) = inputs
        _require_windows(self, x)
        windows = self.windows
        sizes = [windows[axis].count if axis in windows else dim for axis, dim in enumerate(x.shape)]
        return (x.with_shape(tuple(sizes)),)

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        windows = self.windows.values()
        ends = [w.start + w.count * w.step for w in windows]
        bounds = [to.integers(*self.starts), to.integers(*(end if end >= 0 else -(2**62) for end in ends))]
        return [to.add("Slice", inputs[0], *bounds, to.integers(*self.axes), to.integers(*self.steps))]

    def moves_whole_blocks(self, inputs: Sequence[TensorType]) -> bool:
        windows = self.windows
        return 1 not in windows or (windows[1].step == 1 and windows[1].start % BLOCK == 0)

    def keeps_positions(self) -> bool:
        return max(self.axes, default=0) < 2

    def read(self, strides: Sequence[int], block: int) -> tuple[list[int], int]:
        return self.strided(strides, block)

    def reference(self, x: Array) -> Array:
        return x[self.index(x.ndim)].copy()

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), dy = inputs, expanded(output_gradients[0], outputs[0])
        sizes = tuple(cast(int, x.shape[axis]) for axis in self.axes)
        return (SliceGradient(self.axes, self.starts, self.counts, self.steps, sizes)(dy),)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for axes, starts, counts, steps, shape in (
            ((1,), (2,), (15,), (1,), (2, 17, 3, 1)), ((1,), (0,), (1,), (1,), (3, 3)),
            ((1,), (16,), (17,), (1,), (2, 33, 2, 3)), ((1, 3), (2, 4), (1, 3), (1, -2), (1, 3, 2, 5)),
            ((2,), (16,), (17,), (-1,), (2, 3, 17)), ((2, 3), (1, 0), (2, 2), (2, 3), (2, 17, 4, 5)),
        ):  # fmt: skip
            yield Sample(cls(axes, starts, counts, steps), (random.standard_normal(shape),))
        yield Sample(cls((0,), (30,), (16,), (-2,)), (random.standard_normal(33),), batched=False)
        yield Sample(cls((0, 1), (1, 2), (2, 17), (1, 1)), (random.standard_normal((3, 20)),), batched=False)

    def notation(self, *operands: Expression) -> Expression:
        return Expression(f"{operands[0].within(ATOM)}{self.text()}", ATOM)

    def label(self, inputs: Sequence[TensorType]) -> str:
        return f"slice {self.text()}"


@register
@dataclass(frozen=True)
class SliceGradient(Movement, Windowed):
    """y[start + step · i] = x[i] along each of the axes ``axes``, and 0 elsewhere

    Gradient of ``Slice``: x is the gradient with respect to the slice, and ``sizes`` are the sizes of y on ``axes``.
    """

    sizes: tuple[int, ...]

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        (x,) = inputs
        sizes: Shape = tuple(
            self.sizes[self.axes.index(axis)] if axis in self.axes else dim for axis, dim in enumerate(x.shape)
        )
        _require_windows(self, x.with_shape(sizes))
        if any(x.shape[axis] != count for axis, count in zip(self.axes, self.counts, strict=True)):
            raise shape_error(self, f"its input {x} does not have the sizes {self.counts}", "use the slice's shape")
        return (x.with_shape(sizes),)

    def moves_whole_blocks(self, inputs: Sequence[TensorType]) -> bool:
        return 1 not in self.axes or self.windows[1].whole_blocks(self.sizes[self.axes.index(1)])

    def keeps_positions(self) -> bool:
        return max(self.axes, default=0) < 2

    def lower(self, context: LoweringContext) -> list[Launch]:
        (x,), (y,) = context.node.inputs, context.node.outputs
        target, source = context.storage(y), context.storage(x)
        strides, moved = self.strided(axis_strides(target, y.type.rank), target.block)
        domain = box_domain(x.type, target.block)
        load = strided_load(1, source, axis_strides(source, x.type.rank), 0, domain.space)
        store = strided_store(0, target, strides, moved, domain.space)
        kernel = ElementwiseKernel(Region(domain, (load,), (store,)))
        copy = Launch("place", context.node.path, kernel, (y, x), domain.chunks)
        return [*(_zeros(context, box) for box in self._gaps(y.type)), copy]

    def _gaps(self, y: TensorType) -> list[dict[int, Window]]:
        """Return boxes of y, as a window for each restricted axis, that cover all elements to be set to zero.

        If a step leaves gaps between the elements of x, this is one box: all of y, which is zeroed before x is copied.
        """
        windows, boxes, box = self.windows, list[dict[int, Window]](), dict[int, Window]()
        if any(abs(window.step) != 1 for window in windows.values()):
            return [{}]
        for axis, size in zip(self.axes, self.sizes, strict=True):
            first, end = windows[axis].ends
            parts = [Window(0, first, 1), Window(end, size - end, 1)]
            boxes += [{**box, axis: part} for part in parts if part.count]
            box[axis] = Window(first, end - first, 1)
        return boxes

    def on_empty(self, *inputs: Value) -> tuple[Value, ...]:
        """Return zeros in the shape of the output, because the slice is empty."""
        return (filled(0.0, self.infer(inputs[0].type)[0]),)

    def reference(self, x: Array) -> Array:
        sizes = [self.sizes[self.axes.index(axis)] if axis in self.axes else dim for axis, dim in enumerate(x.shape)]
        y = np.zeros(sizes, x.dtype)
        y[self.index(x.ndim)] = x
        return y

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        dy = expanded(output_gradients[0], outputs[0])
        return (Slice(self.axes, self.starts, self.counts, self.steps)(dy),)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for axes, starts, steps, sizes, shape in (
            ((1,), (2,), (1,), (8,), (2, 3, 3, 1)), ((1,), (0,), (1,), (18,), (3, 17)),
            ((1,), (16,), (1,), (33,), (2, 16, 2)), ((1, 3), (2, 4), (1, -2), (5, 6), (1, 3, 2, 3)),
            ((2,), (16,), (-1,), (18,), (2, 3, 17)), ((2, 3), (1, 0), (2, 3), (4, 5), (2, 17, 2, 2)),
        ):  # fmt: skip
            counts = tuple(shape[axis] for axis in axes)
            yield Sample(cls(axes, starts, counts, steps, sizes), (random.standard_normal(shape),))
        yield Sample(cls((0,), (1,), (17,), (2,), (36,)), (random.standard_normal(17),), batched=False)

    def notation(self, *operands: Expression) -> Expression:
        return Expression(f"0 but {operands[0].text} at {self.text()}")


def _zeros(context: LoweringContext, box: dict[int, Window]) -> Launch:
    """Return the launch that sets a box of the output to zero.

    ``box`` maps axes to windows; along all other axes, the box covers the whole output.
    """
    (y,) = context.node.outputs
    target = context.storage(y)
    part = Windowed(
        tuple(box), tuple(w.start for w in box.values()), tuple(w.count for w in box.values()), (1,) * len(box)
    )
    shape = tuple(box[axis].count if axis in box else dim for axis, dim in enumerate(y.shape))
    domain = box_domain(y.type.with_shape(shape), target.block)
    strides, moved = part.strided(axis_strides(target, y.type.rank), target.block)
    store = strided_store(0, target, strides, moved, domain.space)
    kernel = ElementwiseKernel(Region(domain, (Number(0.0, y.dtype),), (store,)))
    return Launch("zeros", context.node.path, kernel, (y,), domain.chunks)
