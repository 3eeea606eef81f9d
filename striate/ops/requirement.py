"""Checks of the inputs and axes of operations, and the errors that they raise.

Each error says what was wrong and in which layer. A line that starts with ``help:`` says what to do.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import cast

from striate.errors import DTypeError, OptionError, ShapeError
from striate.graph.op import Op, place
from striate.graph.value import TensorType


def shape_error(op: Op | str, what: str, cure: str) -> ShapeError:
    """Return a ``ShapeError`` whose message begins with the layer and the operation ``op``.

    ``what`` says what is wrong. ``cure`` says what to do; the message shows ``cure`` after ``help:``.
    """
    return ShapeError(f"{place(op)}: {what}\n  help: {cure}")


def dtype_error(op: Op | str, what: str, cure: str) -> DTypeError:
    """Return a ``DTypeError`` whose message begins with the layer and the operation ``op``.

    ``what`` says what is wrong. ``cure`` says what to do; the message shows ``cure`` after ``help:``.
    """
    return DTypeError(f"{place(op)}: {what}\n  help: {cure}")


def require_floats(op: Op | str, inputs: Sequence[TensorType]) -> None:
    """Raise ``DTypeError`` unless all inputs of ``op`` have the same floating point dtype."""
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
"""The help line of errors about operations that would change the symbolic axis 0, N."""

Axes = int | tuple[int, ...] | None
"""One axis, several, or all of them (None); negative numbers count from the last."""


def require_axis(what: Op | str, x: TensorType, axis: int, name: str = "axis") -> int:
    """Return the axis as a number from 0 to rank − 1; negative axes count from the last.

    Raises ``OptionError`` if the axis is not a whole number, and ``ShapeError`` if x does not have it. ``what`` is the
    operation that the error message names, and ``name`` is the operation's option.
    """
    if not isinstance(cast("object", axis), Integral) or isinstance(axis, bool):
        raise OptionError(f"{place(what)}: {name}={axis!r:.60}; expected a whole number")
    if not -x.rank <= axis < x.rank:
        raise shape_error(what, f"axis {axis} does not exist in {x}", f"axes run from 0 to {x.rank - 1}")
    return int(axis) % x.rank


def require_axes(what: Op | str, x: TensorType, axis: Axes) -> tuple[int, ...]:
    """Return the axes ``axis`` as numbers from 0, in increasing order and without repetition; None means all axes of x.

    Raises ``OptionError`` unless the axes are whole numbers, and ``ShapeError`` if x does not have one of them.
    ``what`` is the operation that the error message names.
    """
    if axis is None:
        return tuple(range(x.rank))
    given: tuple[object, ...] = tuple(axis) if isinstance(axis, tuple | list) else (axis,)
    if any(isinstance(one, bool) or not isinstance(one, Integral) for one in given):
        raise OptionError(f"{place(what)}: axis={axis!r:.60}; expected a whole number, a tuple of them, or None")
    return tuple(sorted({require_axis(what, x, one) for one in given}))


def require_positions(op: Op | str, x: TensorType, most: int = 3) -> None:
    """Raise ``ShapeError`` unless the input x of ``op`` is (N, C, positions…) with 1 to ``most`` spatial axes."""
    if not 3 <= x.rank <= most + 2:
        raise shape_error(
            op,
            f"expected an input (N, C, positions…) with 1 to {most} spatial axes, got {x}",
            "give one image as a batch of one, x[None]; give grey images their channel axis, x[:, None]",
        )
