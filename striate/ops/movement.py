"""Operations that move elements without changing them: transposition, slices, their gradients, and concatenation.

Their kernels are elementwise loops that load or store with the strides of the other array. If blocks of 16 channels
move as a whole, arrays stored in such blocks are moved in this layout; otherwise the arrays are in NumPy's order.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, cast

import numpy as np

from striate.codegen.elementwise import ElementwiseKernel
from striate.codegen.launch import Launch
from striate.codegen.region import FLAT_CHUNK, AnchorResult, Domain, Load, Number, Region, Space, Store
from striate.codegen.storage import BLOCK, PLAIN, InputLayout, Storage, spatial
from striate.graph.notation import ATOM, Expression
from striate.graph.onnx import Attribute, OnnxWriter
from striate.graph.op import Gradients, Kind, Needed, Sample, Values, register
from striate.graph.value import Array, Shape, TensorType, Value
from striate.ops.anchor import Algorithm, Anchor, LoweringContext
from striate.ops.requirement import N_STAYS, dtype_error, shape_error
from striate.ops.shaping import expanded, filled

Five = tuple[int, int, int, int, int]
"""Strides in elements of (n, channel block, d, h, w)."""


@dataclass(frozen=True)
class Movement(Anchor):
    """Base class of operations that move elements without changing them, such as slices and transposes (abstract)."""

    kind: ClassVar[Kind] = Kind.GATHER
    planar_outputs: ClassVar[bool] = True

    def moves_whole_blocks(self, inputs: Sequence[TensorType]) -> bool:
        """Return whether blocks of 16 channels stay together, so that arrays stored in blocks can be moved directly."""
        raise NotImplementedError

    def keeps_positions(self) -> bool:
        """Return whether every element keeps its index on all axes after the channels, that is, on axes 2 and later."""
        return False

    def input_layouts(
        self, inputs: Sequence[TensorType], blocks: Sequence[int], algorithm: Algorithm
    ) -> tuple[InputLayout, ...]:
        """Return the required layout, the same for all inputs: blocks of 16 channels or NumPy's order.

        It is blocks if an input is stored in blocks and these move as a whole.
        """
        whole = BLOCK in blocks and self.moves_whole_blocks(inputs)
        return tuple(InputLayout((BLOCK if whole else PLAIN,)) for _ in inputs)

    def output_layouts(self, inputs: Sequence[TensorType], blocks: Sequence[int]) -> tuple[int, ...]:
        """Return the channel block of the first input, 16 or 1: the output is stored in the same layout."""
        return (blocks[0],)


def axis_strides(storage: Storage, rank: int) -> list[int]:
    """Return the stride of each axis in elements; for axis 1, the distance between two blocks of channels.

    ``storage`` is the memory layout of the array, and ``rank`` its number of axes. In NumPy's order a block is one
    channel.
    """
    if rank == 1:
        return [storage.strides[4]]
    return [storage.strides[0], storage.strides[1], *storage.strides[5 - (rank - 2) :]]


def box_domain(type: TensorType, block: int) -> Domain:
    """Return the iteration space over all elements of an array of this type, stored in blocks of ``block`` channels."""
    shape = type.concrete(1)
    if block == BLOCK:
        return Domain(Space.BLOCKED, type.samples, shape[1], spatial(shape[2:]))
    if type.rank == 1:
        return Domain(Space.FLAT, 1, 1, (1, 1, shape[0]))
    if type.rank == 2:
        return Domain(Space.PLANAR, type.samples, 1, (1, 1, shape[1]))
    return Domain(Space.PLANAR, type.samples, shape[1], spatial(shape[2:]))


def five_strides(strides: Sequence[int], space: Space) -> Five:
    """Convert the strides of an array's axes to those of the five nested loops over a domain from ``box_domain``.

    ``space`` is the kind of the domain: blocks of channels, planes, or a flat vector.
    """
    if space is Space.FLAT:
        return (FLAT_CHUNK * strides[0], 0, 0, 0, strides[0])
    if space is Space.PLANAR and len(strides) == 2:
        return (strides[0], 0, 0, 0, strides[1])
    missing = 5 - len(strides)
    return cast(Five, (*strides[:2], *(0,) * missing, *strides[2:]))


def strided_load(operand: int, storage: Storage, strides: Sequence[int], moved: int, space: Space) -> Load:
    """Return a load from operand number ``operand`` of the kernel, with other strides than those of its layout.

    ``strides`` has one stride for each axis, in elements. The load starts ``moved`` elements after the first element of
    the array; ``storage`` is the array's memory layout, and ``space`` the kind of domain, as in ``five_strides``.
    """
    five = five_strides(strides, space)
    lane_stride = 1 if space is Space.BLOCKED else five[4]
    return Load(operand, storage.dtype, five, storage.origin + moved, True, 0, lane_stride)


def strided_store(operand: int, storage: Storage, strides: Sequence[int], moved: int, space: Space) -> Store:
    """Return a store of value number 0 of the loop to operand number ``operand`` of the kernel, with given strides.

    The other arguments are as in ``strided_load``.
    """
    five = five_strides(strides, space)
    lane_stride = 1 if space is Space.BLOCKED else five[4]
    return Store(0, operand, storage.dtype, five, storage.origin + moved, lane_stride=lane_stride)


@dataclass(frozen=True)
class StridedRead(Movement):
    """Base class of operations that read the input with other strides, such as transposition and slices (abstract).

    Each output element is one input element, whose address is a linear function of the output index.
    """

    has_epilogue: ClassVar[bool] = True

    def read(self, strides: Sequence[int], block: int) -> tuple[list[int], int]:
        """Convert the input's strides: return the stride for each output axis, and the offset of the first element.

        All numbers are in elements of the input; ``block`` is the number of channels per block in its layout.
        """
        raise NotImplementedError

    def lower(self, context: LoweringContext) -> list[Launch]:
        (x,) = context.node.inputs
        storage, region = context.storage(x), context.region
        strides, moved = self.read(axis_strides(storage, x.type.rank), storage.block)
        load = strided_load(len(context.region_operands), storage, strides, moved, region.domain.space)
        instructions = tuple(load if isinstance(item, AnchorResult) else item for item in region.instructions)
        kernel = ElementwiseKernel(replace(region, instructions=instructions))
        operands = (*context.region_operands, x)
        return [Launch(self.call_name(), context.node.path, kernel, operands, region.domain.chunks)]


@register
@dataclass(frozen=True)
class Transpose(StridedRead):
    """y = x with its axes permuted: axis j of y is axis ``axes[j]`` of x

    The number of samples N must stay on axis 0. x has at most 5 axes; the function ``transpose`` takes more, because it
    joins axes that stay next to each other.
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


@dataclass(frozen=True)
class Window:
    """A strided slice of an axis: ``count`` elements at ``start``, ``start + step``, …; ``step`` may be negative."""

    start: int
    count: int
    step: int

    @property
    def ends(self) -> tuple[int, int]:
        """(smallest index that the window covers, one past the largest index)"""
        last = self.start + (self.count - 1) * self.step
        return min(self.start, last), max(self.start, last) + 1

    def whole_blocks(self, size: int) -> bool:
        """Return whether the window covers whole blocks of 16 channels in order, on a channel axis of ``size``."""
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
        """Return the strides between the selected elements, and the offset of the first one, all in elements.

        ``strides`` are those of the whole array, and ``block`` is the number of channels per block in its layout.
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
    whole. Raises ShapeError for indices outside x, and for axis 0 if its size is the symbolic N.
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


@register
@dataclass(frozen=True)
class Concat(Movement):
    """y = [x₁, x₂, …] along one axis, by default the channels: (N, C₁, …), (N, C₂, …) → (N, C₁ + C₂ + …, …)

    Raises ShapeError if the inputs differ in another axis and if axis 0 is the symbolic N, and DTypeError if their
    dtypes differ.
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
        """Return the concatenation of those inputs that have elements."""
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
