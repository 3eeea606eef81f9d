"""Operands of operations: numbers and NumPy arrays become values of the graph."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from numbers import Real
from typing import cast as cast_type

import numpy as np

from striate.errors import DTypeError, OptionError, TracingError
from striate.graph.graph import Constant
from striate.graph.value import Array, DType, Value


def constant(number: float, dtype: DType) -> Value:
    """Return the constant ``number`` as a scalar value of the graph, with the dtype ``dtype``."""
    return Constant(float(number), dtype)()


Capture = Callable[[Array, DType | None], Value]
"""A function that makes a value of a NumPy array that a traced function closes over, converted to a dtype if given."""


capture: ContextVar[Capture | None] = ContextVar("striate_capture", default=None)
"""The ``Capture`` of the innermost active trace, or None outside a trace; ``tracing.Trace`` sets it."""


def as_value(x: object, like: Value) -> Value:
    """Return ``x`` as a value of the graph.

    A ``Value`` is returned unchanged. A number becomes a constant of the dtype of ``like``. A NumPy array becomes a
    captured input, whose contents are stored with the graph. An array of numbers is converted to the dtype of ``like``
    if this dtype is float32 or float64, or can represent every number of the array's dtype. All other arrays, including
    arrays of bools, keep their dtype.

    Raises ``TracingError`` for other objects and for arrays outside a trace, and ``OptionError`` or ``DTypeError`` for
    a number that the dtype of ``like`` cannot represent.
    """
    kind = type(x).__name__
    if isinstance(x, Value):
        return x
    if isinstance(x, Real | np.bool_):  # also NumPy's numbers
        return constant(_number(cast_type("Real", x), like), like.dtype)
    take = capture.get()
    if isinstance(x, np.ndarray) and take is not None:
        array = cast_type("Array", x)
        # An integer type would cut off numbers that it cannot represent, so such an array keeps its dtype, and the
        # operation refuses it. Bools keep their dtype too: they may be conditions.
        fits = array.dtype.kind != "b" and (like.dtype.is_float or np.can_cast(array.dtype, like.dtype.numpy))
        return take(array, like.dtype if fits else None)
    raise TracingError(f"cannot combine a traced value with {kind}: {x!r}")


def _number(x: Real | np.bool_, like: Value) -> float:
    """Return ``x`` as a float for a constant of the dtype of ``like``.

    Raises ``OptionError`` or ``DTypeError`` if that dtype cannot represent it.
    """
    if like.dtype is DType.bool and not isinstance(x, bool | np.bool_):
        raise DTypeError(
            f"{x!r} and {like.type}: their result could be float32 or float64\n"
            '  help: st.ops.cast(x, "float32") turns false into 0 and true into 1'
        )
    try:
        number = float(x)
    except OverflowError as error:
        raise OptionError(
            f"{x!s:.20}… exceeds {like.dtype.value}\n  help: float('inf'), or a smaller number"
        ) from error
    if not like.dtype.is_float and isinstance(x, Real):
        _require_whole(x, number, like)
    return number


def _require_whole(given: Real, number: float, like: Value) -> None:
    """Raise ``DTypeError`` for a number that the integer dtype of ``like`` cannot represent exactly."""
    if like.dtype is DType.bool:
        return
    limits = np.iinfo(like.dtype.numpy)
    if not (number.is_integer() and number == given and limits.min <= number <= limits.max and abs(number) <= 2**53):
        raise DTypeError(
            f"{given!r} cannot be represented exactly in the dtype of {like.type}\n"
            '  help: st.ops.cast(x, "float32") first, or an array of float32'
        )
