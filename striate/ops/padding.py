"""Padding: a constant, or copies of an array's own elements, around the array; negative padding crops it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import ClassVar, cast

import numpy as np

from striate import options
from striate.codegen.launch import Launch
from striate.codegen.storage import PLAIN, InputLayout
from striate.errors import OptionError, quantity
from striate.graph.onnx import OnnxWriter
from striate.graph.op import Gradients, Kind, Needed, Op, Sample, Values, register
from striate.graph.reshape import reshape
from striate.graph.value import Array, Batch, Dim, DType, Shape, TensorType, Value
from striate.ops import kernels
from striate.ops.anchor import Algorithm, Anchor, LoweringContext
from striate.ops.axis_map import transposed
from striate.ops.mapped import Mapped, Maps, three_axes
from striate.ops.pad_axis import PadAxis, PadMode
from striate.ops.pooling import entering
from striate.ops.requirement import require_floats, require_positions, shape_error
from striate.ops.shaping import expanded, filled
from striate.ops.window import LARGEST, Pairs, Sizes, onnx_pads, positions, require_geometry

_ONNX_MODES = {
    PadMode.constant: "constant", PadMode.reflect: "reflect", PadMode.replicate: "edge", PadMode.circular: "wrap",
}  # fmt: skip


@dataclass(frozen=True)
class PositionPadding(Mapped):
    """Base class of padding along the spatial axes and its gradient (abstract).

    ``padding`` has a pair (before, after) for each spatial axis; negative numbers crop. ``mode`` says what the padding
    consists of.
    """

    reads_once: ClassVar[bool] = True
    padding: Pairs
    mode: PadMode

    def maps(self, size: Sizes) -> Maps:
        return tuple(
            PadAxis(length, before, after, self.mode)
            for length, (before, after) in zip(size, self.padding, strict=True)
        )

    def padded(self, x: TensorType) -> TensorType:
        """Return the type of x after padding; raise ``ShapeError`` if the mode does not allow so much padding."""
        require_floats(self, [x])
        require_positions(self, x)
        require_geometry(self, x.rank - 2, padding=self.padding)
        for length, (before, after) in zip(positions(x), self.padding, strict=True):
            _require_padding(self, self.mode, x, length, before, after)
        return self.mapped(x)

    def options(self) -> dict[str, str]:
        shown = {"padding": _brief(self.padding), "mode": self.mode.value}
        return {name: text for name, text in shown.items() if text != PadMode.constant.value}


@register
@dataclass(frozen=True)
class Pad(PositionPadding):
    """y[n, c, p] = x[n, c, p − before]; outside x, ``value`` or a copy of an element of x

    x is (N, C, positions…) with one to three spatial axes, float32 or float64. ``padding`` has a pair (before, after)
    for each spatial axis; negative numbers crop. ``mode`` says whether the padding is ``value`` or which elements it
    copies.
    """

    title: ClassVar[str] = "pad"
    value: float = 0.0

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (self.padded(inputs[0]),)

    def options(self) -> dict[str, str]:
        return {**super().options(), **({"value": f"{self.value:g}"} if self.value else {})}

    def label(self, inputs: Sequence[TensorType]) -> str:
        mode = f" {self.mode.value}" if self.mode is not PadMode.constant else ""
        return f"pad {_brief(self.padding)}{mode}"

    def lower(self, context: LoweringContext) -> list[Launch]:
        (x,) = context.node.inputs
        prologue, given, more = entering(context, x)
        maps = three_axes(self.maps(positions(x.type)))
        kernel = kernels.resampling.Picked(context.storage(x), maps, context.region, prologue, self.value)
        operands = (*given, *context.region_operands, *more)
        return [Launch("pad", context.node.path, kernel, operands, context.domain.chunks)]

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        """Export as one ONNX operator Pad, or two if the array is both padded and cropped.

        ONNX's Pad crops before it pads, as constant and circular padding do here. Reflection and replication pad before
        they crop.
        """
        cuts = tuple((min(0, before), min(0, after)) for before, after in self.padding)
        added = tuple((max(0, before), max(0, after)) for before, after in self.padding)
        value = to.constant(np.asarray(self.value, types[0].dtype.numpy)) if self.value else ""

        def padded(x: str, padding: Pairs, mode: PadMode) -> str:
            if not any(map(any, padding)):
                return x
            pads = onnx_pads(((0, 0), (0, 0), *padding))
            return to.add("Pad", x, to.integers(*pads), value, mode=_ONNX_MODES[mode])

        if self.mode in (PadMode.constant, PadMode.circular):
            y = padded(padded(inputs[0], cuts, PadMode.constant), added, self.mode)
        else:
            y = padded(padded(inputs[0], added, self.mode), cuts, PadMode.constant)
        return [y if y != inputs[0] else to.add("Identity", y)]

    def on_empty(self, *inputs: Value) -> tuple[Value, ...]:
        """Return an output filled with ``value``: all of it is padding, because x has no elements."""
        return (filled(self.value, self.infer(inputs[0].type)[0]),)

    def reference(self, x: Array) -> Array:
        keep = tuple(
            slice(max(0, -before), max(0, length - max(0, -after)))
            for length, (before, after) in zip(x.shape[2:], self.padding, strict=True)
        )
        whole = [(0, 0), (0, 0)]
        widths = whole + [(max(0, before), max(0, after)) for before, after in self.padding]
        if self.mode is PadMode.constant:
            return np.pad(x[(..., *keep)], widths, constant_values=self.value)
        if self.mode is PadMode.circular:
            return np.pad(x[(..., *keep)], widths, mode="wrap")
        y = np.pad(x, widths, mode="reflect" if self.mode is PadMode.reflect else "edge")
        return y[(..., *(slice(max(0, -b), n - max(0, -a)) for n, (b, a) in zip(y.shape[2:], self.padding)))].copy()

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), dy = inputs, expanded(output_gradients[0], outputs[0])
        if self.mode is PadMode.constant:
            return (Pad(tuple((-before, -after) for before, after in self.padding), self.mode)(dy),)
        return (PadGradient(self.padding, self.mode, positions(x.type))(dy),)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape, padding, mode, value in _EXAMPLES:
            yield Sample(cls(padding, mode, value), (random.standard_normal(shape),))


@register
@dataclass(frozen=True)
class PadGradient(PositionPadding):
    """dx[n, c, i] = Σ dy[n, c, p] over the positions p that padding copied from i

    Gradient of ``Pad``. ``size`` holds the spatial sizes of x.
    """

    title: ClassVar[str] = "pad gradient"
    size: Sizes

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        (dy,) = inputs
        x = dy.with_shape((*dy.shape[:2], *self.size))
        y = self.padded(x)
        if y != dy:
            raise shape_error(self, f"padding returns {y}; got dy {dy}", "give the shape of the forward pass")
        return (x,)

    def maps(self, size: Sizes) -> Maps:
        return tuple(transposed(axis) for axis in super().maps(self.size))

    def padded(self, x: TensorType) -> TensorType:
        return Pad(self.padding, self.mode).padded(x)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        return (Pad(self.padding, self.mode)(expanded(output_gradients[0], outputs[0])),)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape, padding, mode, _ in _EXAMPLES:
            op = Pad(padding, mode)
            count = tuple(axis.count for axis in op.maps(shape[2:]))
            yield Sample(cls(padding, mode, shape[2:]), (random.standard_normal((*shape[:2], *count)),))


_EXAMPLES: list[tuple[tuple[int, ...], Pairs, PadMode, float]] = [
    ((2, 3, 4, 5), ((1, 2), (0, 3)), PadMode.constant, 0.0),
    ((1, 17, 3, 4), ((3, 0), (-1, 2)), PadMode.constant, -1.5),
    ((2, 1, 1, 1), ((0, 0), (0, 0)), PadMode.constant, 0.0),
    ((1, 3, 5, 4), ((-2, -2), (-1, -2)), PadMode.constant, 0.0),  # one pixel remains
    ((2, 3, 4, 5), ((3, 2), (1, 4)), PadMode.reflect, 0.0),
    ((1, 17, 2, 6), ((1, -1), (-2, 5)), PadMode.reflect, 0.0),
    ((2, 3, 1, 5), ((4, 3), (9, 0)), PadMode.replicate, 0.0),
    ((1, 1, 1, 1), ((2, 0), (0, 1)), PadMode.replicate, 0.0),  # one pixel
    ((1, 2, 4, 5), ((-1, 3), (2, -2)), PadMode.replicate, 0.0),
    ((2, 3, 4, 5), ((4, 3), (0, 5)), PadMode.circular, 0.0),
    ((1, 17, 4, 5), ((-2, 2), (2, -1)), PadMode.circular, 0.0),
    ((2, 3, 8), ((3, 7),), PadMode.reflect, 0.0),
    ((3, 1, 2), ((1, 2),), PadMode.circular, 0.0),
    ((1, 2, 2, 3, 2), ((1, 1), (2, 1), (0, 1)), PadMode.reflect, 0.0),
    ((2, 3, 2, 1, 3), ((0, 2), (3, 1), (1, 2)), PadMode.replicate, 0.0),
    ((1, 3, 2, 2, 2), ((1, 1), (2, 0), (0, 2)), PadMode.circular, 0.0),
    ((1, 2, 3, 1, 2), ((1, 0), (0, 2), (1, 1)), PadMode.constant, 2.0),
]  # fmt: skip


@register
@dataclass(frozen=True)
class PadAxes(Anchor):
    """y[j] = x[j − before] along all axes; outside x, ``value``; for arrays of any dtype

    x has 1 to 5 axes, and ``padding`` a pair (before, after) for each of them; negative numbers crop. Axis 0 cannot be
    padded if its size is the symbolic N, which is known only when the program runs.
    """

    kind: ClassVar[Kind] = Kind.GATHER
    title: ClassVar[str] = "pad"
    padding: Pairs
    value: float = 0.0

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        (x,) = inputs
        require_geometry(self, x.rank, padding=self.padding)
        if not 1 <= x.rank <= 5:
            raise shape_error(self, f"expected an array of 1 to 5 axes, got {x}", "st.ops.reshape(x, shape) joins axes")
        if x.batched and any(self.padding[0]):
            raise shape_error(
                self, f"cannot pad N, the samples of {x}", "st.compile(function) takes axis 0 as a fixed size"
            )
        shape: list[Dim] = []
        for length, (before, after) in zip(x.shape, self.padding, strict=True):
            if not isinstance(length, Batch):
                _require_padding(self, PadMode.constant, x, length, before, after)
                length += before + after
            shape.append(length)
        return (x.with_shape(tuple(shape)),)

    def input_layouts(
        self, inputs: Sequence[TensorType], blocks: Sequence[int], algorithm: Algorithm
    ) -> tuple[InputLayout, ...]:
        return (InputLayout((PLAIN,)),)

    def output_layouts(self, inputs: Sequence[TensorType], blocks: Sequence[int]) -> tuple[int, ...]:
        return (PLAIN,)

    def lower(self, context: LoweringContext) -> list[Launch]:
        (x,), (y,) = context.node.inputs, context.node.outputs
        rank = x.type.rank

        def strides(value: Value) -> tuple[int, ...]:
            n, c, *rest = context.storage(value).strides
            return (n, 1) if rank == 1 else (n, c, *rest[5 - rank :])

        shape, padding = x.type.concrete(1), self.padding
        if rank == 1:  # give a vector a second axis of size 1: after N, which is not padded, or before the elements
            shape, padding = (1, *shape), (((0, 0), (0, 0)) if x.type.batched else ((0, 0), *padding))
        kernel = kernels.resampling.PlainPad(
            x.dtype, shape, padding, strides(x), context.storage(x).origin, strides(y), self.value
        )
        samples = 1 if rank == 1 and not y.type.batched else y.type.samples
        return [Launch("pad", context.node.path, kernel, (y, x), (samples, 0) if samples else (1, 1))]

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        value = to.constant(np.asarray(self.value, types[0].dtype.numpy)) if self.value else ""
        return [to.add("Pad", *inputs, to.integers(*onnx_pads(self.padding)), value, mode="constant")]

    def on_empty(self, *inputs: Value) -> tuple[Value, ...]:
        """Return an output filled with ``value``: all of it is padding, because x has no elements."""
        return (filled(self.value, self.infer(inputs[0].type)[0]),)

    def reference(self, x: Array) -> Array:
        keep = tuple(slice(max(0, -b), max(0, n - max(0, -a))) for n, (b, a) in zip(x.shape, self.padding, strict=True))
        widths = [(max(0, before), max(0, after)) for before, after in self.padding]
        return np.pad(x[keep], widths, constant_values=self.value)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        dy = expanded(output_gradients[0], outputs[0])
        return (PadAxes(tuple((-before, -after) for before, after in self.padding))(dy),)

    def options(self) -> dict[str, str]:
        return {"padding": str(self.padding), **({"value": f"{self.value:g}"} if self.value else {})}

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        zero = (0, 0)
        yield Sample(cls((zero, (1, 2)), 0.5), (random.standard_normal((3, 17)),))
        yield Sample(cls((zero, (-1, -1)), 0.0), (random.standard_normal((2, 3)),))
        yield Sample(cls(((1, 1),)), (random.standard_normal(40),), batched=False)
        yield Sample(cls((zero,)), (random.standard_normal(5),))
        yield Sample(cls(((1, 2), (2, 0), (-1, 1))), (random.standard_normal((2, 1, 3)),), batched=False)
        yield Sample(cls((zero, (1, -1), (0, 2), (3, 0))), (random.standard_normal((2, 3, 2, 19)),))
        yield Sample(cls((zero, (2, 1), zero, (1, 1), (0, 1)), 3.0), (random.standard_normal((1, 1, 2, 1, 2)),))
        yield Sample(cls((zero, (2, 1), (1, 0)), 7), (random.integers(0, 9, (2, 3, 17)).astype(np.uint8),))
        yield Sample(cls(((-1, 2), zero, zero), 0), (random.standard_normal((2, 3, 4)),), batched=False)


def _brief(padding: Pairs) -> str:
    """Return the padding as text: one number if it is the same on all sides, and all pairs otherwise."""
    found = {one for pair in padding for one in pair}
    return str(found.pop()) if len(found) == 1 else str(padding)


def _require_padding(op: Op | str, mode: PadMode, x: TensorType, length: int, before: int, after: int) -> None:
    """Raise ``ShapeError`` if an axis of ``length`` elements cannot be padded by (before, after) in this mode."""
    count, kept = length + before + after, length + min(0, before) + min(0, after)
    most = max(before, after)
    if kept < 0 or (count < 1 and mode is not PadMode.constant):
        raise shape_error(
            op, f"padding ({before}, {after}) leaves nothing of {quantity(length, 'element')}: {x}", "crop less"
        )
    if mode is PadMode.reflect and most >= max(1, length):
        raise shape_error(
            op, f"an axis of {quantity(length, 'element')} has {max(0, length - 1)} to reflect, not {most}: {x}",
            'use less padding, or mode="replicate"',
        )  # fmt: skip
    if mode is PadMode.circular and most > max(0, kept):
        raise shape_error(
            op,
            f"an axis with {quantity(max(0, kept), 'element')} left cannot be wrapped by {most}: {x}",
            "use less padding, or apply the padding in two steps",
        )
    if mode is PadMode.replicate and most > 0 and length == 0:
        raise shape_error(op, f"an axis of 0 elements has none to repeat: {x}", 'use mode="constant"')


def without_zeros(x: Value) -> tuple[Value, Pairs | None]:
    """Return (y, padding) if x is another value y padded with zeros, and (x, None) otherwise.

    A convolution uses this to apply the padding itself, so that no padded copy of y is needed.
    """
    op = x.node.op
    if isinstance(op, Pad) and op.mode is PadMode.constant and op.value == 0 and min(map(min, op.padding)) >= 0:
        return x.node.inputs[0], op.padding
    return x, None


def pad(input: Value, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Value:
    """Return x padded with ``value``, or with its own elements if ``mode`` is "reflect", "replicate" or "circular".

    ``input`` is x. ``pad`` lists the numbers of elements as in PyTorch: before and after on the last axis, then on the
    axis before it, and so on; negative numbers crop. mode="constant" pads any axis, in any dtype, except axis 0 if its
    size N is known only at run time; ``value`` is 0 by default. The other modes pad the spatial axes of (N, C,
    positions…) or of one sample (C, positions…), in float32 or float64; ``pad`` then has a pair for each spatial axis.
    Raises ShapeError if the mode does not allow these axes or so much padding, DTypeError for a dtype that the mode
    does not allow, and OptionError for an unknown mode, for a ``pad`` that is not pairs of whole numbers, and for a
    ``value`` that the dtype of x cannot represent: NaN; a finite number beyond the largest of the dtype; a fraction or
    ∞ for integers; anything but 0 and 1 for bools.
    """
    how = PadMode[options.choice("pad: mode", mode, PadMode.__members__)]
    pairs = _pairs(pad)
    x = input.type
    if how is not PadMode.constant:
        if value not in (None, 0):
            raise OptionError(f'pad: value={value!r} has no effect with mode="{mode}"\n  help: leave it out')
        return _padded_with_copies(input, pairs, how)
    number = 0.0 if value is None else _constant(value, x)
    if len(pairs) > x.rank:
        raise shape_error(
            "pad", f"{len(pairs)} pairs of numbers for {x}, which has {x.rank} axes", "give at most one pair for each"
        )
    everywhere = ((0, 0),) * (x.rank - len(pairs)) + pairs
    if not any(map(any, everywhere)):
        return input
    inside = 3 <= x.rank <= 5 and x.dtype.is_float and not any(map(any, everywhere[:2]))
    return Pad(everywhere[2:], how, number)(input) if inside else PadAxes(everywhere, number)(input)


def _constant(value: object, x: TensorType) -> float:
    """Return the number to pad x with as a float; raise ``OptionError`` if the dtype of x cannot represent it.

    A float may be ±∞ (−∞ suits a max pooling), but not NaN.
    """
    if x.dtype is DType.bool:
        if isinstance(value, Real | np.bool_) and value in (0, 1):
            return 1.0 if value else 0.0
        raise OptionError(f"pad: value={value!r} for {x}; expected True or False")
    if x.dtype.is_float and isinstance(value, Real) and value in (-math.inf, math.inf):
        return float(value)
    number = options.number("pad: value", value)
    if x.dtype.is_float:
        most = float(np.finfo(np.float64 if x.dtype is DType.float64 else np.float32).max)
        if abs(number) > most:
            raise OptionError(f"pad: value={value!r} for {x}; expected a number up to ±{most:.3g}, or ±∞")
        return number
    limits = np.iinfo(x.dtype.numpy)
    least, most = max(int(limits.min), -(2**53)), min(int(limits.max), 2**53)  # operations store the number as a float
    if not (least <= number <= most and number.is_integer() and number == value):
        raise OptionError(
            f"pad: value={value!r} for {x}; expected a whole number from {least:,} to {most:,}\n"
            '  help: st.ops.cast(x, "float32") first'
        )
    return number


def _pairs(pad: object) -> Pairs:
    """Convert the argument ``pad``, which starts with the last axis, to pairs (before, after), the last axis last.

    Raises ``OptionError`` unless it is a tuple or list of whole numbers of even length.
    """
    if isinstance(pad, list | tuple):
        numbers = cast("Sequence[object]", pad)
        whole = all(isinstance(one, Integral) and not isinstance(one, bool) for one in numbers)
        if (
            numbers
            and len(numbers) % 2 == 0
            and whole
            and all(abs(int(cast("int", one))) <= LARGEST for one in numbers)
        ):
            found = [int(cast("int", one)) for one in numbers]
            return tuple(zip(found[::2], found[1::2], strict=True))[::-1]
    raise OptionError(
        f"pad: pad={pad!r:.60}; expected a tuple of whole numbers, two for each axis from the last one on\n"
        "  help: pad=(1, 1) pads the last axis, pad=(1, 1, 2, 2) the last one by 1 and the one before by 2"
    )


def _padded_with_copies(x: Value, pairs: Pairs, mode: PadMode) -> Value:
    """Pad the spatial axes of (N, C, positions…) or (C, positions…) with copies, in any mode but ``constant``."""
    rank = len(pairs)
    if rank > 3 or x.type.rank not in (rank + 1, rank + 2):
        raise shape_error(
            "pad",
            f"{quantity(rank, 'pair')} of numbers with mode={mode.value!r} for {x.type}",
            "give one pair for each spatial axis of (N, C, L), (N, C, H, W) or (N, C, D, H, W), or of one sample",
        )
    op = Pad(pairs, mode)
    if x.type.rank == rank + 2:
        return op(x)
    lead: Shape = (x.shape[0], 1) if x.type.batched else (1, x.shape[0])
    y = op(reshape(x, (*lead, *x.shape[1:])))
    return reshape(y, (x.shape[0], *y.shape[2:]))
