"""Reshape, which gives an array another shape with the elements in the same order."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import ClassVar
from typing import cast as cast_type

import numpy as np

from striate.errors import OptionError, ShapeError
from striate.graph.notation import Expression
from striate.graph.onnx import OnnxWriter
from striate.graph.op import Gradients, Kind, Needed, Op, Sample, Values, place, register
from striate.graph.value import Array, Batch, Dim, Shape, TensorType, Value, operators, shape_text


@register
@dataclass(frozen=True)
class Reshape(Op):
    """y = x with another shape and the elements in the same (row-major) order"""

    kind: ClassVar[Kind] = Kind.VIEW
    title: ClassVar[str] = "flatten"
    shape: Shape = ()

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        (x,) = inputs
        y = x.with_shape(self.shape)
        if x.batched != y.batched or x.size() != y.size():
            raise ShapeError(
                f"{place(self)}: {x} and {shape_text(self.shape)} differ in size\n"
                "  help: give sizes with the same product, one of them -1 to have it inferred"
            )
        return (y,)

    def reference(self, x: Array) -> Array:
        free = tuple(dim if isinstance(dim, int) else x.shape[0] for dim in self.shape)
        return x.reshape(free)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (dy,) = inputs, output_gradients
        return (reshape(dy, x.shape),)

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        batched = bool(self.shape) and isinstance(self.shape[0], Batch)
        known = [dim for dim in self.shape if isinstance(dim, int)]
        if 0 in known:
            return [to.add("Reshape", inputs[0], to.shape(self.shape), allowzero=1)]
        return [to.add("Reshape", inputs[0], to.integers(*([0] if batched else []), *known))]  # 0 keeps N

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        from_batch = random.standard_normal((4, 3, 2, 5))
        yield Sample(cls((4, 30)), (from_batch,), batched=False)
        yield Sample(cls((4, 5, 3, 2)), (from_batch,), batched=False)
        yield Sample(cls((17, 1, 1)), (random.standard_normal(17),), batched=False)

    def notation(self, *operands: Expression) -> Expression:
        return Expression(f"flatten({operands[0].text})")


def checked_shape(what: str, shape: object) -> Shape:
    """Return a shape as a tuple; its sizes must be integers of at least 0, or N.

    Raises ``OptionError`` for anything else, including -1; its message begins with ``what``.
    """
    if isinstance(shape, tuple | list):
        sizes = cast_type("tuple[object, ...]", tuple(shape))  # pyright: ignore[reportUnknownArgumentType]
        whole = [isinstance(size, Batch | Integral) and not isinstance(size, bool) for size in sizes]
        if all(whole) and all(isinstance(size, Batch) or cast_type("int", size) >= 0 for size in sizes):
            return tuple(size if isinstance(size, Batch) else int(cast_type("int", size)) for size in sizes)
    raise OptionError(f"{what}: shape={shape!r:.60}; expected a tuple of whole numbers, such as (*x.shape[:1], 12)")


def reshape(x: Value, shape: Shape) -> Value:
    """Return ``x`` with another shape and its elements in row-major order; a size of -1 is inferred.

    At most one size may be -1. A batch (N, …) stays a batch: its new axis 0 is N, given as ``x.shape[0]`` or -1. Raises
    ``OptionError`` if ``shape`` is not a shape, and ``ShapeError`` if the numbers of elements differ.
    """
    found = _inferred_shape(x, shape)
    return x if x.shape == found else Reshape(found)(x)


def _inferred_shape(x: Value, shape: object) -> Shape:
    """Return the shape with an inferred number, or N, in place of -1."""
    given = cast_type("tuple[object, ...]", tuple(shape)) if isinstance(shape, tuple | list) else (shape,)  # pyright: ignore[reportUnknownArgumentType]
    open_axes = [axis for axis, size in enumerate(given) if _is_whole(size) and size == -1]
    if len(open_axes) > 1:
        raise OptionError(f"reshape: shape={shape!r:.60}; at most one size may be -1")
    fixed = checked_shape("reshape", [1 if axis in open_axes else size for axis, size in enumerate(given)])
    sizes: list[Dim] = list(fixed)
    if x.type.batched and open_axes == [0] and math.prod(cast_type("list[int]", sizes[1:])) == x.type.size():
        return (x.shape[0], *fixed[1:])
    if x.type.batched and not (fixed and isinstance(fixed[0], Batch)):
        raise ShapeError(
            f"{place('reshape')}: {x.type} cannot become {_written_shape(given)}: the number of samples N "
            "is known only when the program runs\n"
            "  help: keep N on axis 0, (*x.shape[:1], …) or (-1, …) with the sizes of one sample, or compile for a "
            "fixed size: st.compile(f, batched=False)"
        )
    if open_axes:
        known = TensorType(x.dtype, fixed).size()
        if not known or x.type.size() % known:
            each = " per sample" if x.type.batched else ""
            raise ShapeError(
                f"{place('reshape')}: no size in place of -1 makes {x.type} {_written_shape(given)}\n"
                f"  help: {x.type.size()} elements{each} must be a multiple of {known}"
            )
        sizes[open_axes[0]] = x.type.size() // known
    return tuple(sizes)


def _written_shape(shape: tuple[object, ...]) -> str:
    return f"({', '.join(str(size) for size in shape)})"


def _is_whole(size: object) -> bool:
    return isinstance(size, Integral) and not isinstance(size, bool)


def joined_sizes(shape: Shape, groups: Sequence[Sequence[int]]) -> Shape:
    """Return ``shape`` after the axes of each group are joined into one axis.

    ``groups`` are lists of neighbouring axis numbers, which together cover the shape; N must be alone in its group.
    """
    sizes = [[shape[axis] for axis in group] for group in groups]
    return tuple(one[0] if len(one) == 1 else math.prod(cast_type("list[int]", one)) for one in sizes)


operators.update(reshape=reshape)
