"""What operations require of their inputs, and the errors that they raise: what was wrong, where, and the cure."""

from __future__ import annotations

from collections.abc import Sequence

from striate.errors import DTypeError, ShapeError
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


def require_positions(op: Op | str, x: TensorType, most: int = 3) -> None:
    """Raises ``ShapeError`` unless x is (N, C, positions…) with 1 to ``most`` position axes."""
    if not 3 <= x.rank <= most + 2:
        raise shape_error(
            op,
            f"expected an input (N, C, positions…) with 1 to {most} axes of positions, got {x}",
            "give one image as a batch of one, x[None]; give grey images their channel axis, x[:, None]",
        )
