"""Operations that move elements: broadcasting, concatenating, slicing and padding channels, flattening."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from striate.codegen.elementwise import ElementwiseKernel
from striate.codegen.kernel import Kernel, Vector
from striate.codegen.launch import Launch
from striate.codegen.region import Domain, Load, Number, Region, Space, Store
from striate.codegen.storage import BLOCK, PLAIN, InputLayout
from striate.errors import GraphError, ShapeError
from striate.graph.arithmetic import Elementwise, checked_shape, constant, reshape
from striate.graph.notation import Expression
from striate.graph.op import Gradients, Kind, Needed, Op, Sample, Values, register
from striate.graph.value import Array, Batch, Shape, TensorType, Value, shape_text
from striate.ops.anchor import Algorithm, Anchor, LoweringContext
from striate.ops.requirement import place, shape_error


@register
@dataclass(frozen=True)
class BroadcastTo(Elementwise):
    """y = x repeated along its axes of size 1 (a scalar along all) until it has ``shape``

    Elementwise, because an element of y is the element of x at the same (broadcast) place; the only elementwise
    operation whose result may be larger than all its inputs.
    """

    arithmetic: ClassVar[bool] = True
    shape: Shape = ()

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        (x,) = inputs
        fits = x.rank in (0, len(self.shape)) and all(
            have in (1, want) for have, want in zip(x.shape, self.shape[: x.rank], strict=True)
        )
        if not fits:
            raise ShapeError(f"{place(self)}: {x} cannot be repeated to {shape_text(self.shape)}")
        return (x.with_shape(self.shape),)

    def reference(self, x: Array) -> Array:
        free = bool(self.shape) and isinstance(self.shape[0], Batch)
        if free and (x.ndim == 0 or x.shape[0] == 1):
            # One row may stand for any N. The engine knows N and replaces it in ``shape`` before it runs the graph.
            raise GraphError(f"{self}: N must be bound to a number before the reference runs")
        sizes = tuple(x.shape[0] if isinstance(dim, Batch) else dim for dim in self.shape)
        return np.array(np.broadcast_to(x, sizes))

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        # Differentiation sums the gradients of broadcast operands to the operand's shape.
        (y,), (dy,) = outputs, output_gradients
        return (expanded(dy, y),)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return x

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        yield Sample(cls((4, 3, 2, 5)), (random.standard_normal((4, 1, 2, 1)),), batched=False)
        yield Sample(cls((3, 17)), (random.standard_normal((1, 17)),), batched=False)
        yield Sample(cls((2, 3, 1)), (np.asarray(random.standard_normal()),), batched=False)

    def notation(self, *operands: Expression) -> Expression:
        return operands[0]


def expanded(gradient: Value, like: Value) -> Value:
    """``gradient`` with the full shape of ``like``: the gradient of a single number may be a scalar."""
    return gradient if gradient.shape == like.shape else BroadcastTo(like.shape)(gradient)


def filled(number: float, type: TensorType) -> Value:
    """An array filled with one number."""
    scalar = constant(number, type.dtype)
    return BroadcastTo(type.shape)(scalar) if type.rank else scalar


@dataclass(frozen=True)
class ChannelMove(Anchor):
    """Base of operations that move whole channels (abstract): copies between parts of arrays.

    Blocked arrays are moved block by block if every part begins at a block; otherwise the arrays are plain.
    """

    kind: ClassVar[Kind] = Kind.GATHER

    def starts(self, inputs: Sequence[TensorType]) -> tuple[int, ...]:
        """The channels at which the parts begin."""
        raise NotImplementedError

    def input_layouts(
        self, inputs: Sequence[TensorType], blocks: Sequence[int], algorithm: Algorithm
    ) -> tuple[InputLayout, ...]:
        """Blocked if the input is already blocked and its blocks can be moved."""
        whole = all(start % BLOCK == 0 for start in self.starts(inputs)) and BLOCK in blocks
        return tuple(InputLayout((BLOCK if whole else PLAIN,)) for _ in inputs)

    def output_layouts(self, inputs: Sequence[TensorType], blocks: Sequence[int]) -> tuple[int, ...]:
        """What was read."""
        return (blocks[0],)


def _copy(context: LoweringContext, name: str, x: Value | None, start: int, onto: int, channels: int) -> Launch:
    """Copies ``channels`` of x from ``start`` to the output from ``onto``; writes zeros if there is no x."""
    y = context.node.outputs[0]
    samples = y.type.samples
    target = replace(context.storage(y).shifted(onto), channels=channels)
    space = Space.BLOCKED if target.block == BLOCK else Space.PLANAR
    domain = Domain(space, samples, channels, target.sizes)
    store = Store(0, 0, y.dtype, target.strides, target.origin)
    if x is None:
        region = Region(domain, (Number(0.0, y.dtype),), (store,))
        return Launch(name, context.node.path, ElementwiseKernel(region), (y,), domain.chunks)
    source = context.storage(x).shifted(start)
    load = Load(1, x.dtype, source.strides, source.origin, True)
    return Launch(name, context.node.path, ElementwiseKernel(Region(domain, (load,), (store,))), (y, x), domain.chunks)


def _require_channels(op: Op, x: TensorType) -> int:
    if x.rank < 2 or not isinstance(x.shape[1], int):
        raise shape_error(op, f"expected an input (N, C, …), got {x}", "add the channel axis with st.ops.reshape")
    return x.shape[1]


@register
@dataclass(frozen=True)
class Concat(ChannelMove):
    """y = [x₁, x₂, …] along the channels: (N, C₁, …), (N, C₂, …) → (N, C₁ + C₂ + …, …)

    Raises ShapeError if any other axis differs, DTypeError if the dtypes differ.
    """

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        if not inputs:
            raise shape_error(self, "got no values to concatenate", "give at least one value")
        channels = [_require_channels(self, x) for x in inputs]
        first = inputs[0]
        for x in inputs:
            if x.shape[:1] + x.shape[2:] != first.shape[:1] + first.shape[2:] or x.dtype != first.dtype:
                raise shape_error(
                    self,
                    f"inputs may differ only in their channels (axis 1), got {', '.join(map(str, inputs))}",
                    "bring them to one size with stride, padding, pooling or st.ops.cast",
                )
        return (first.with_shape((first.shape[0], sum(channels), *first.shape[2:])),)

    def starts(self, inputs: Sequence[TensorType]) -> tuple[int, ...]:
        return tuple(itertools.accumulate((_require_channels(self, x) for x in inputs[:-1]), initial=0))

    def lower(self, context: LoweringContext) -> list[Launch]:
        inputs = context.node.inputs
        starts = self.starts([x.type for x in inputs])
        return [
            _copy(context, "concatenate", x, 0, onto, x.type.channels) for x, onto in zip(inputs, starts, strict=True)
        ]

    def on_empty(self, *inputs: Value) -> tuple[Value, ...]:
        """The concatenated inputs that have channels."""
        return (concat([x for x in inputs if x.shape[1] != 0]),)

    def reference(self, *xs: Array) -> Array:
        return np.concatenate(xs, axis=1)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        dy = expanded(output_gradients[0], outputs[0])
        found: list[Value | None] = []
        start = 0
        for x, is_needed in zip(inputs, needed, strict=True):
            stop = start + x.type.channels
            found.append(ChannelSlice(start, stop)(dy) if is_needed else None)
            start = stop
        return tuple(found)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape, channels in (((2, 3, 4), (1, 3, 17)), ((3,), (17, 1)), ((1, 1, 1), (3, 3)), ((2, 5), (3,))):
            yield Sample(cls(), tuple(random.standard_normal((shape[0], c, *shape[1:])) for c in channels))

    def notation(self, *operands: Expression) -> Expression:
        return Expression(f"[{', '.join(one.text for one in operands)}]")


@register
@dataclass(frozen=True)
class ChannelSlice(ChannelMove):
    """y[n, c] = x[n, start + c] for start + c < stop"""

    start: int
    stop: int

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        (x,) = inputs
        channels = _require_channels(self, x)
        if not 0 <= self.start < self.stop <= channels:
            raise shape_error(self, f"its input has {channels} channels: {x}", f"0 ≤ start < stop ≤ {channels}")
        return (x.with_shape((x.shape[0], self.stop - self.start, *x.shape[2:])),)

    def starts(self, inputs: Sequence[TensorType]) -> tuple[int, ...]:
        return (self.start,)

    def lower(self, context: LoweringContext) -> list[Launch]:
        return [_copy(context, "slice", context.node.inputs[0], self.start, 0, self.stop - self.start)]

    def reference(self, x: Array) -> Array:
        return x[:, self.start : self.stop].copy()

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), dy = inputs, expanded(output_gradients[0], outputs[0])
        return (ChannelPad(self.start, x.type.channels - self.stop)(dy),)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        yield Sample(cls(2, 17), (random.standard_normal((2, 17, 3, 1)),))
        yield Sample(cls(0, 1), (random.standard_normal((3, 3)),))
        yield Sample(cls(1, 2), (random.standard_normal((1, 3, 2, 3, 2)),))


@register
@dataclass(frozen=True)
class ChannelPad(ChannelMove):
    """y = x with ``before`` channels of zeros before it and ``after`` after it"""

    before: int
    after: int

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        (x,) = inputs
        channels = _require_channels(self, x)
        if self.before < 0 or self.after < 0:
            raise shape_error(self, "cannot add a negative number of channels", "use ChannelSlice to drop channels")
        return (x.with_shape((x.shape[0], self.before + channels + self.after, *x.shape[2:])),)

    def starts(self, inputs: Sequence[TensorType]) -> tuple[int, ...]:
        return (self.before, self.before + _require_channels(self, inputs[0]))

    def lower(self, context: LoweringContext) -> list[Launch]:
        (x,) = context.node.inputs
        channels = x.type.channels
        phases = [_copy(context, "pad", x, 0, self.before, channels)]
        if self.before:
            phases.append(_copy(context, "pad", None, 0, 0, self.before))
        if self.after:
            phases.append(_copy(context, "pad", None, 0, self.before + channels, self.after))
        return phases

    def on_empty(self, *inputs: Value) -> tuple[Value, ...]:
        """Only zeros."""
        return (filled(0.0, self.infer(inputs[0].type)[0]),)

    def reference(self, x: Array) -> Array:
        return np.pad(x, [(0, 0), (self.before, self.after), *[(0, 0)] * (x.ndim - 2)])

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), dy = inputs, expanded(output_gradients[0], outputs[0])
        return (ChannelSlice(self.before, self.before + x.type.channels)(dy),)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        yield Sample(cls(2, 3), (random.standard_normal((2, 3, 3, 1)),))
        yield Sample(cls(0, 1), (random.standard_normal((3, 17)),))
        yield Sample(cls(1, 0), (random.standard_normal((1, 1, 2, 3, 2)),))


def concat(values: Sequence[Value]) -> Value:
    """[x₁, x₂, …] along the channels: (N, C₁, …), (N, C₂, …) → (N, C₁ + C₂ + …, …).

    For vectors this is the skip connection (B, D), (B, H) → (B, D + H). Raises ShapeError if another axis differs.
    """
    return values[0] if len(values) == 1 else Concat()(*values)


def flatten(x: Value) -> Value:
    """(N, C, positions…) → (N, C · Π positions), in row-major order. Raises ShapeError for a scalar."""
    if x.type.rank < 1:
        raise shape_error("flatten", f"expected a batch of samples, got {x.type}", "flatten values of shape (N, …)")
    sizes = [dim for dim in x.shape[1:] if isinstance(dim, int)]
    return reshape(x, (x.shape[0], math.prod(sizes)))


def broadcast_to(x: Value, shape: Shape) -> Value:
    """``x`` repeated along its axes of size 1 (a scalar along all) until it has ``shape``. Raises ShapeError."""
    shape = checked_shape("broadcast_to", shape)
    return x if x.shape == shape else BroadcastTo(shape)(x)
