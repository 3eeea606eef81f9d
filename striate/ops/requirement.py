"""What operations require of their inputs, and the errors that they raise: what was wrong, where, and the cure."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import cast

from striate.errors import DTypeError, OptionError, ShapeError
from striate.graph.op import Op, current_path
from striate.graph.value import TensorType


def place(op: Op | str) -> str:
    """``at "block1.conv" convolution(stride=2)``: the layer's path and the operation."""
    path = current_path()
    return f'at "{path}" {op}' if path else f"{op}"


def shape_error(op: Op | str, what: str, cure: str) -> ShapeError:
    """A ``ShapeError`` that names the operation and the cure."""
    return ShapeError(f"{place(op)}: {what}\n  help: {cure}")


def dtype_error(op: Op | str, what: str, cure: str) -> DTypeError:
    """A ``DTypeError`` that names the operation and the cure."""
    return DTypeError(f"{place(op)}: {what}\n  help: {cure}")


def require_floats(op: Op, inputs: Sequence[TensorType]) -> None:
    """Raises ``DTypeError`` unless all inputs have the same float dtype."""
    for type in inputs:
        if not type.dtype.is_float:
            raise dtype_error(op, f"expected floating point numbers, got {type}", 'st.ops.cast(x, "float32")')
    if len({type.dtype for type in inputs}) > 1:
        got = ", ".join(str(type) for type in inputs)
        raise dtype_error(op, f"mixes dtypes: {got}", "convert one of them with st.ops.cast")


N_STAYS = (
    "the number of samples N is known only when the program runs; leave axis 0 as it is, or compile for a fixed size: "
    "st.compile(f, batched=False)"
)
"""The help for a change of axis 0 of a batch."""

Axes = int | tuple[int, ...] | None
"""One axis, several, or all of them (None); negative numbers count from the last."""


def require_axis(what: Op | str, x: TensorType, axis: int) -> int:
    """The axis as a number of 0 or more; raises ``OptionError`` and ``ShapeError`` for one that x does not have."""
    if not isinstance(cast("object", axis), Integral) or isinstance(axis, bool):
        raise OptionError(f"{what}: axis={axis!r:.60}; expected a whole number")
    if not -x.rank <= axis < x.rank:
        raise shape_error(what, f"axis {axis} does not exist in {x}", f"axes run from 0 to {x.rank - 1}")
    return int(axis) % x.rank


def require_axes(what: Op | str, x: TensorType, axis: Axes) -> tuple[int, ...]:
    """The axes in order, from 0; raises ``OptionError`` and ``ShapeError`` for some that x does not have."""
    if axis is None:
        return tuple(range(x.rank))
    given: tuple[object, ...] = tuple(axis) if isinstance(axis, tuple | list) else (axis,)
    if any(isinstance(one, bool) or not isinstance(one, Integral) for one in given):
        raise OptionError(f"{what}: axis={axis!r:.60}; expected a whole number, a tuple of them, or None")
    return tuple(sorted({require_axis(what, x, one) for one in given}))


def require_positions(op: Op | str, x: TensorType, most: int = 3) -> None:
    """Raises ``ShapeError`` unless x is (N, C, positions…) with 1 to ``most`` position axes."""
    if not 3 <= x.rank <= most + 2:
        raise shape_error(
            op,
            f"expected an input (N, C, positions…) with 1 to {most} axes of positions, got {x}",
            "give one image as a batch of one, x[None]; give grey images their channel axis, x[:, None]",
        )
