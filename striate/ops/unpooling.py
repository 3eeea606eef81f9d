"""Max unpooling, which puts maxima back at the positions that max pooling took them from, and its gradient."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np

from striate.codegen.launch import Launch
from striate.codegen.storage import PLAIN, InputLayout
from striate.errors import DataError, OptionError
from striate.graph.elementwise import cast as cast_value
from striate.graph.onnx import OnnxWriter
from striate.graph.op import Gradients, Kind, Needed, PositionSets, Purpose, Sample, Values, register
from striate.graph.reshape import reshape
from striate.graph.value import Array, Batch, DType, TensorType, Value
from striate.ops import kernels
from striate.ops.anchor import Algorithm, Anchor, LoweringContext
from striate.ops.requirement import dtype_error, place, require_floats, require_positions, shape_error
from striate.ops.shaping import expanded, filled
from striate.ops.unbatched import is_sample, position_axes
from striate.ops.window import PerAxis, Sizes, per_axis, positions, times
from striate.options import whole_numbers


@dataclass(frozen=True)
class Indexed(Anchor):
    """Base class of max unpooling and its gradient (abstract), whose inputs are x and an array of indices.

    An index is the row-major number of a position within a channel, in int64, as max pooling returns it.
    """

    kind: ClassVar[Kind] = Kind.GATHER
    contiguous_inputs: ClassVar[bool] = True
    checked_inputs: ClassVar[tuple[int, ...]] = (1,)

    @property
    def purpose(self) -> Purpose:
        return Purpose.WINDOW

    def input_layouts(
        self, inputs: Sequence[TensorType], blocks: Sequence[int], algorithm: Algorithm
    ) -> tuple[InputLayout, ...]:
        return (InputLayout((PLAIN,)),) * 2

    def output_layouts(self, inputs: Sequence[TensorType], blocks: Sequence[int]) -> tuple[int, ...]:
        return (PLAIN,)

    def positions_read(self, types: Sequence[TensorType], number: int, positions: PositionSets) -> PositionSets | None:
        return None

    def require_operands(self, x: TensorType, index: TensorType) -> None:
        """Raise ``DTypeError`` unless x has a floating-point dtype and ``index`` is int64.

        Raises ``ShapeError`` unless x is (N, C, positions…) and ``index`` has as many axes and the same N and C.
        """
        require_floats(self, [x])
        require_positions(self, x)
        if index.dtype is not DType.int64:
            raise dtype_error(self, f"its indices must be int64, got {index}", "st.ops.cast(indices, numpy.int64)")
        if index.shape[:2] != x.shape[:2] or index.rank != x.rank:
            raise shape_error(self, f"got x {x} and indices {index}", "give the indices that max_pool returned")

    def indexed(self, inputs: Sequence[TensorType]) -> int:
        """Return the number of positions in a channel of the array into which the indices point.

        ``inputs`` are the types of x and of the indices.
        """
        raise NotImplementedError

    def require_contents(self, array: Array, inputs: tuple[TensorType, ...]) -> None:
        count = self.indexed(inputs)
        if array.size and (array.min() < 0 or array.max() >= count):
            bad = np.argwhere((array < 0) | (array >= count))[0]
            raise DataError(
                f"max_unpool: index {int(array[tuple(bad)])} at {tuple(int(i) for i in bad)} is out of range: "
                f"a channel has {count:,} positions\n"
                "  help: give the indices that max_pool returned, and the sizes of its input as output_size"
            )


@register
@dataclass(frozen=True)
class Unpooling(Indexed):
    """y[n, c, index[n, c, p]] = x[n, c, p], and 0 at all other positions

    x and index (N, C, positions…) → y (N, C, *size). If several elements of a channel have the same index, y has the
    last of these elements in row-major order or, with ``adds``, their sum. An index outside y raises ``DataError`` if
    the indices are an input of the program; otherwise it writes nothing.
    """

    title: ClassVar[str] = "max unpool"
    size: Sizes
    adds: bool = False

    def label(self, inputs: Sequence[TensorType]) -> str:
        return f"{self.title} to {times(self.size)}"

    def indexed(self, inputs: Sequence[TensorType]) -> int:
        return math.prod(self.size)

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        x, index = inputs
        self.require_operands(x, index)
        if index.shape != x.shape or x.rank - 2 != len(self.size):
            raise shape_error(self, f"got x {x} and indices {index}", "give the indices that max_pool returned")
        return (x.with_shape((*x.shape[:2], *self.size)),)

    def lower(self, context: LoweringContext) -> list[Launch]:
        x, index = context.node.inputs
        (y,) = context.node.outputs
        small, large = (math.prod(positions(one.type)) for one in (x, y))
        kernel = kernels.unpooling.Scattered(x.dtype, x.type.channels, small, large, self.adds)
        chunks = (y.type.samples, 0) if y.type.samples else (1, 1)
        return [Launch(self.words(), context.node.path, kernel, (y, x, index), chunks)]

    def reference(self, x: Array, index: Array) -> Array:
        large = math.prod(self.size)
        y = np.zeros((*x.shape[:2], large), x.dtype)
        n, c = np.indices((*x.shape[:2], math.prod(x.shape[2:])))[:2]
        flat, at = x.reshape(n.shape), index.reshape(n.shape)
        inside = (at >= 0) & (at < large)
        if self.adds:
            np.add.at(y, (n[inside], c[inside], at[inside]), flat[inside])
        else:
            y[n[inside], c[inside], at[inside]] = flat[inside]  # NumPy assigns in order: the last one stays
        return y.reshape(*x.shape[:2], *self.size)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (_, index), dy = inputs, expanded(output_gradients[0], outputs[0])
        return UnpoolingGradient()(dy, index), None

    def on_empty(self, *inputs: Value) -> tuple[Value, ...]:
        return (filled(0.0, self.infer(*(value.type for value in inputs))[0]),)

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str] | None:
        """Export as ONNX's MaxUnpool, whose indices are row-major numbers among all elements of the output.

        The kernel size and the strides of MaxUnpool only determine how large the output is. Returns None if no kernel
        size and strides give this output size, or if ``adds`` is True.
        """
        x = types[0]
        strides = [max(1, out // count) for count, out in zip(positions(x), self.size, strict=True)]
        kernel = [out - (count - 1) * step for count, out, step in zip(positions(x), self.size, strides, strict=True)]
        if self.adds or min(kernel) < 1:
            return None
        # The number n · C + c of a channel is that in the indices of another pooling, whose window is one element.
        floats = to.cast(inputs[1], DType.float32)
        own = to.add_outputs(2, "MaxPool", floats, kernel_shape=[1] * len(self.size))[1]
        small, large = (to.constant(np.array(math.prod(size), np.int64)) for size in (positions(x), self.size))
        start = to.add("Mul", to.add("Div", own, small), large)
        return [to.add("MaxUnpool", inputs[0], to.add("Add", inputs[1], start), kernel_shape=kernel, strides=strides)]

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape, size in _EXAMPLES:
            count = math.prod(shape[2:])
            draws = [random.permutation(math.prod(size))[:count] for _ in range(math.prod(shape[:2]))]
            index = np.array(draws, np.int64).reshape(shape)
            yield Sample(cls(size), (random.standard_normal(shape), index))
            equal = random.integers(0, max(1, count // 2), shape)
            yield Sample(cls(size, True), (random.standard_normal(shape), equal))
            yield Sample(cls(size), (random.standard_normal(shape), equal), differentiable=(False, False))


@register
@dataclass(frozen=True)
class UnpoolingGradient(Indexed):
    """y[n, c, p] = x[n, c, index[n, c, p]]

    Gradient of ``Unpooling``: x (N, C, positions…), index (N, C, windows…) → y (N, C, windows…). An index outside x
    raises ``DataError`` if the indices are an input of the program; otherwise it gives 0.
    """

    title: ClassVar[str] = "max unpool gradient"

    def indexed(self, inputs: Sequence[TensorType]) -> int:
        return math.prod(positions(inputs[0]))

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        x, index = inputs
        self.require_operands(x, index)
        return (x.with_shape(index.shape),)

    def lower(self, context: LoweringContext) -> list[Launch]:
        x, index = context.node.inputs
        (y,) = context.node.outputs
        small, large = (math.prod(positions(one.type)) for one in (y, x))
        kernel = kernels.unpooling.Gathered(x.dtype, x.type.channels, small, large)
        chunks = (y.type.samples, 0) if y.type.samples else (1, 1)
        return [Launch(self.words(), context.node.path, kernel, (y, x, index), chunks)]

    def reference(self, x: Array, index: Array) -> Array:
        small, large = (math.prod(one.shape[2:]) for one in (index, x))
        flat, at = x.reshape(*x.shape[:2], large), index.reshape(*x.shape[:2], small)
        inside = (at >= 0) & (at < large)
        found = np.take_along_axis(flat, np.where(inside, at, 0), 2)
        return np.where(inside, found, 0).astype(x.dtype).reshape(index.shape)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x, index), dy = inputs, expanded(output_gradients[0], outputs[0])
        return Unpooling(positions(x.type), True)(dy, index), None

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape, size in _EXAMPLES:
            index = random.integers(0, math.prod(size), shape)
            yield Sample(cls(), (random.standard_normal((*shape[:2], *size)), index))


_EXAMPLES: list[tuple[tuple[int, ...], Sizes]] = [
    ((2, 3, 2, 3), (4, 6)),
    ((1, 17, 3, 2), (7, 5)),
    ((2, 1, 1, 1), (1, 1)),
    ((1, 3, 5), (11,)),
    ((2, 2, 1, 2, 2), (3, 4, 5)),
]


def max_unpool(
    input: Value,
    indices: Value,
    kernel_size: PerAxis,
    stride: PerAxis | None = None,
    padding: PerAxis = 0,
    output_size: Sequence[int | Batch] | None = None,
) -> Value:
    """Return an array with the elements of ``input`` at the positions ``indices`` and 0 elsewhere.

    ``input`` (N, C, positions…), or one sample (C, positions…), in float32 or float64, and ``indices``, integers of the
    same shape, are what ``max_pool`` returns with ``return_indices=True`` for the given ``kernel_size``, ``stride``
    (default: ``kernel_size``) and ``padding``. Along each axis, the output has (positions − 1) · stride − 2 · padding +
    kernel_size positions. ``output_size`` chooses other sizes, which must differ from these by less than the stride:
    the spatial sizes or the whole shape of the array that was pooled. If several elements of a channel have the same
    index, the output has the last of them. Raises ShapeError if the shapes differ, DTypeError for other dtypes, and
    OptionError for invalid options. An index outside the output raises DataError if ``indices`` is an input of the
    program; if the program computes the indices, the element is ignored.
    """
    rank = position_axes(input.type, kernel_size, stride, padding)
    if input.shape != indices.shape:
        raise shape_error(
            "max_unpool", f"input {input.type} and indices {indices.type} differ in shape", "give those of max_pool"
        )
    if indices.dtype.is_float or indices.dtype is DType.bool:
        raise dtype_error("max_unpool", f"its indices must be integers, got {indices.type}", "max_pool returns them")
    if output_size is not None and not isinstance(cast("object", output_size), tuple | list):
        raise OptionError(f"{place('max_unpool')}: output_size={output_size!r:.60}; expected sizes, such as x.shape")
    if is_sample(input.type, rank):
        batch, index = (reshape(x, (1, *x.shape)) for x in (input, indices))
        whole = output_size if output_size is None or len(output_size) != rank + 1 else output_size[1:]
        y = max_unpool(batch, index, kernel_size, stride, padding, whole)
        return reshape(y, y.shape[1:])
    if input.type.rank != rank + 2:
        axes = ", ".join("DHW"[-rank:] if rank > 1 else "L")
        raise shape_error(
            "max_unpool", f"expected an input (N, C, {axes}), got {input.type}", "give the maxima of max_pool"
        )
    size = unpooled_sizes("max_unpool", positions(input.type), kernel_size, stride, padding, output_size)
    return cast("Value", Unpooling(size)(input, cast_value(indices, DType.int64)))


def unpooled_sizes(
    what: str,
    size: Sizes,
    kernel_size: PerAxis,
    stride: PerAxis | None,
    padding: PerAxis,
    output_size: Sequence[int | Batch] | None,
) -> Sizes:
    """Return the spatial sizes of the output of max unpooling, for an input with the spatial sizes ``size``.

    The options are those of ``max_unpool``; ``what`` is the function or layer that errors name. Raises ``OptionError``
    for invalid options, and unless ``output_size`` differs from the default sizes by less than the stride.
    """
    rank = len(size)
    kernel, pads = per_axis("kernel_size", kernel_size, rank), per_axis("padding", padding, rank, least=0)
    strides = kernel if stride is None else per_axis("stride", stride, rank)
    usual = tuple(
        (count - 1) * step - 2 * pad + taps for count, step, pad, taps in zip(size, strides, pads, kernel, strict=True)
    )
    if output_size is None:
        found = usual
    else:
        given = tuple(output_size)
        spatial = given[2:] if len(given) == rank + 2 else given
        found = whole_numbers(f"{what}: output_size", spatial, 1)
        if len(found) != rank or any(abs(a - b) >= step for a, b, step in zip(found, usual, strides, strict=True)):
            bounds = ", ".join(f"{b - step + 1} to {b + step - 1}" for b, step in zip(usual, strides, strict=True))
            raise OptionError(
                f"{place(what)}: output_size={tuple(given)}; expected sizes from {bounds}\n"
                "  help: give the spatial sizes of the array that was pooled"
            )
    if min(found) < 1:
        raise OptionError(f"{place(what)}: the output would have {times(found)} positions\n  help: use less padding")
    return found
