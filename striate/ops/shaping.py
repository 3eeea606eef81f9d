"""Operations that change the shape or repeat elements: flattening, squeezing, broadcasting, tiling."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np

from striate import options
from striate.codegen.kernel import Kernel
from striate.codegen.lanes import Vector
from striate.errors import GraphError, OptionError
from striate.graph.elementwise import MOST_AXES, Elementwise
from striate.graph.notation import Expression
from striate.graph.onnx import OnnxWriter
from striate.graph.op import Gradients, Needed, Sample, Values, register
from striate.graph.operand import constant
from striate.graph.reshape import checked_shape, joined_sizes, reshape
from striate.graph.value import Array, Batch, Shape, TensorType, Value, operators, shape_text
from striate.ops.requirement import N_STAYS, Axes, require_axes, require_axis, shape_error


@register
@dataclass(frozen=True)
class BroadcastTo(Elementwise):
    """y = x repeated along its axes of size 1 (a scalar along all) until it has ``shape``

    The operation counts as elementwise, because each element of y is the element of x at the same (broadcast) position.
    It is the only elementwise operation whose result may be larger than all its inputs.
    """

    arithmetic: ClassVar[bool] = True
    shape: Shape = ()

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        (x,) = inputs
        fits = x.rank in (0, len(self.shape)) and all(
            have in (1, want) for have, want in zip(x.shape, self.shape[: x.rank], strict=True)
        )
        if not fits:
            raise shape_error(
                self,
                f"{x} cannot be repeated to {shape_text(self.shape)}",
                "axes of size 1 can be repeated, others not",
            )
        return (x.with_shape(self.shape),)

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        return [to.add("Expand", inputs[0], to.shape(self.shape))]

    def reference(self, x: Array) -> Array:
        free = bool(self.shape) and isinstance(self.shape[0], Batch)
        if free and (x.ndim == 0 or x.shape[0] == 1):
            # x does not say how large N is. The engine replaces N in ``shape`` by a number before it runs the graph.
            raise GraphError(f"{self}: N must be bound to a number before the reference runs")
        sizes = tuple(x.shape[0] if isinstance(dim, Batch) else dim for dim in self.shape)
        return np.array(np.broadcast_to(x, sizes))

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        # Differentiation itself sums the gradient of a broadcast operand down to the operand's shape.
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
    """Return ``gradient`` broadcast to the shape of ``like``.

    A gradient may have size 1 on axes along which it is constant, for example the gradient of the input of a sum.
    """
    return _repeated(gradient, like.shape)


def _repeated(x: Value, shape: Shape) -> Value:
    """Return x broadcast to ``shape``, which has the rank of x unless x is a scalar.

    With more axes than a loop nest has (``MOST_AXES``), it is repeated along one axis at a time.
    """
    if x.shape == shape:
        return x
    if x.type.rank <= MOST_AXES or len(shape) != x.type.rank:
        return BroadcastTo(shape)(x)
    for axis, size in enumerate(shape):
        if x.shape[axis] == 1 and size != 1:
            lead, inner = product(x.shape[1:axis]), product(x.shape[axis + 1 :])
            if axis == 0:
                wide = BroadcastTo((size, inner))(reshape(x, (1, inner)))
            else:
                wide = BroadcastTo((x.shape[0], lead, size, inner))(reshape(x, (x.shape[0], lead, 1, inner)))
            x = reshape(wide, (*x.shape[:axis], size, *x.shape[axis + 1 :]))
    return x if x.shape == shape else BroadcastTo(shape)(x)


def filled(number: float, type: TensorType) -> Value:
    """Return a value of the given type in which every element is ``number``."""
    scalar = constant(number, type.dtype)
    return BroadcastTo(type.shape)(scalar) if type.rank else scalar


def product(sizes: Sequence[object]) -> int:
    """Return the product of ``sizes``, which must not include the symbolic N, the number of samples of a program."""
    return math.prod(cast("Sequence[int]", sizes))


def flatten(x: Value, start_dim: int = 1, end_dim: int = -1) -> Value:
    """Return x with its axes from ``start_dim`` to ``end_dim`` joined into one: (N, C, H, W) → (N, C · H · W).

    Both ends are inclusive. Unlike ``torch.flatten``, this function starts at axis 1 by default, as ``nn.Flatten``
    does; a vector (N,) then becomes (N, 1). Raises ShapeError for a scalar, for axes that x does not have or in the
    wrong order, and if axis 0 would be joined with another axis although its size N is known only at run time.
    """
    if x.type.rank < 1:
        raise shape_error("flatten", f"expected a batch of samples, got {x.type}", "flatten values of shape (N, …)")
    if x.type.rank == 1 and (start_dim, end_dim) == (1, -1):
        return reshape(x, (x.shape[0], 1))
    first, last = (require_axis("flatten", x.type, axis) for axis in (start_dim, end_dim))
    if first > last:
        raise shape_error("flatten", f"start_dim={start_dim} comes after end_dim={end_dim} in {x.type}", "swap them")
    if x.type.batched and first == 0 and last > 0:
        raise shape_error("flatten", f"the samples of {x.type} must stay on axis 0", N_STAYS)
    joined = [*([axis] for axis in range(first)), list(range(first, last + 1))]
    return reshape(x, joined_sizes(x.shape, [*joined, *([axis] for axis in range(last + 1, x.type.rank))]))


def unflatten(x: Value, axis: int, sizes: Sequence[int]) -> Value:
    """Return x with one axis split into several of the given ``sizes``, whose product is the size of the axis.

    One of the sizes may be −1, and is then inferred. Raises ShapeError for sizes that do not fit, and for axis 0 if its
    size N is known only at run time.
    """
    at = require_axis("unflatten", x.type, axis)
    size = x.shape[at]
    if isinstance(size, Batch):
        raise shape_error("unflatten", f"the samples of {x.type} must stay on axis 0", N_STAYS)
    parts = options.whole_numbers("unflatten: sizes", sizes, -1)
    known = math.prod(part for part in parts if part != -1)
    if parts.count(-1) > 1 or (known != size if -1 not in parts else not known or size % known != 0):
        raise shape_error("unflatten", f"axis {axis} of {x.type} is not {parts}", f"sizes with product {size}")
    found = tuple(size // known if part == -1 else part for part in parts)
    return reshape(x, (*x.shape[:at], *found, *x.shape[at + 1 :]))


def squeeze(x: Value, axis: Axes = None) -> Value:
    """Return x without the given axes, which must have size 1; ``axis=None`` removes all axes of size 1.

    Raises ShapeError for an axis of another size and for an axis that x does not have.
    """
    if axis is None:
        chosen = tuple(one for one, size in enumerate(x.shape) if size == 1)
    else:
        chosen = require_axes("squeeze", x.type, axis)
    if wrong := [one for one in chosen if x.shape[one] != 1]:
        raise shape_error("squeeze", f"axis {wrong[0]} of {x.type} does not have size 1", "st.ops.squeeze(x) drops all")
    return reshape(x, tuple(size for one, size in enumerate(x.shape) if one not in chosen))


def unsqueeze(x: Value, axis: int) -> Value:
    """Return x with a new axis of size 1, which is axis ``axis`` of the result.

    Raises ShapeError if the result would not have this axis, and for axis 0 if the first size of x, N, is known only at
    run time.
    """
    at = require_axis("unsqueeze", x.type.with_shape((*x.shape, 1)), axis)
    if x.type.batched and at == 0:
        raise shape_error("unsqueeze", f"the samples of {x.type} must stay on axis 0", N_STAYS)
    return reshape(x, (*x.shape[:at], 1, *x.shape[at:]))


def broadcast_to(x: Value, shape: Shape) -> Value:
    """Return x repeated along its axes of size 1 and along new leading axes until it has ``shape``, as in NumPy.

    Raises ShapeError if x cannot be broadcast to this shape, and OptionError unless ``shape`` is a tuple of whole
    numbers or N.
    """
    shape = checked_shape("broadcast_to", shape)
    if 0 < x.type.rank < len(shape):
        x = reshape(x, (*(1,) * (len(shape) - x.type.rank), *x.shape))
    return _repeated(x, shape)


def expand(x: Value, *sizes: int | Batch) -> Value:
    """Return x broadcast to the given sizes, as ``torch.Tensor.expand``; −1 keeps the size that x has.

    The sizes are separate arguments or one tuple. Raises ShapeError if x cannot be broadcast to these sizes, and
    OptionError for −1 on a new axis and for sizes that are not whole numbers.
    """
    given: tuple[object, ...] = sizes
    if len(sizes) == 1 and isinstance(given[0], tuple | list):
        sizes = cast("tuple[int, ...]", given[0])
    missing = len(sizes) - x.type.rank
    if any(not isinstance(size, int | np.integer | Batch) for size in cast("tuple[object, ...]", sizes)):
        raise OptionError(f"expand: sizes={sizes!r:.60}; expected whole numbers, where -1 keeps the size of an axis")
    found = [x.shape[axis - missing] if axis >= missing and size == -1 else size for axis, size in enumerate(sizes)]
    return broadcast_to(x, tuple(found))


def tile(x: Value, reps: int | Sequence[int]) -> Value:
    """Return x repeated as a whole along each axis, [x, x, …], as ``np.tile``.

    ``reps`` holds the number of repetitions for each of the last axes of x; if it has more entries than x has axes, new
    axes are added before the first. Raises ShapeError if axis 0 would be repeated although its size N is known only at
    run time, and OptionError unless ``reps`` are whole numbers of 0 or more.
    """
    counts = options.whole_numbers("tile: reps", [reps] if isinstance(reps, int | np.integer) else reps, 0)
    if len(counts) > x.type.rank:
        if x.type.batched:
            raise shape_error("tile", f"the samples of {x.type} must stay on axis 0", N_STAYS)
        x = reshape(x, (*(1,) * (len(counts) - x.type.rank), *x.shape))
    for axis, count in enumerate(counts, x.type.rank - len(counts)):
        x = _multiplied("tile", x, axis, count, before=True)
    return x


def repeat(x: Value, repeats: int, axis: int) -> Value:
    """Return x with each element repeated ``repeats`` times along an axis: [x₀, x₀, x₁, x₁, …].

    The function works like ``np.repeat`` and ``torch.repeat_interleave``. Raises ShapeError for an axis that x does not
    have, and for axis 0 if its size N is known only at run time, and OptionError unless ``repeats`` is a whole number
    of 0 or more.
    """
    count = options.whole_number("repeat: repeats", repeats, 0)
    return _multiplied("repeat", x, require_axis("repeat", x.type, axis), count, before=False)


def _multiplied(what: str, x: Value, axis: int, count: int, before: bool) -> Value:
    """Return x with ``count`` copies of the elements of an axis.

    With ``before``, the whole axis is repeated ([x₀, x₁, x₀, x₁]), otherwise each element ([x₀, x₀, x₁, x₁]).
    """
    size = x.shape[axis]
    if count == 1:
        return x
    if isinstance(size, Batch):
        raise shape_error(what, f"the samples of {x.type} must stay on axis 0", N_STAYS)
    kept = 1 if x.type.batched else 0
    lead, inner = x.shape[kept:axis], x.shape[axis + 1 :]
    left, right = product(lead), product(inner)
    parts = (left, 1, size * right) if before else (left * size, 1, right)
    wide = BroadcastTo((*x.shape[:kept], parts[0], count, parts[2]))(reshape(x, (*x.shape[:kept], *parts)))
    return reshape(wide, (*x.shape[:kept], *lead, size * count, *inner))


operators.update(flatten=flatten, squeeze=squeeze)
