"""Values, the arrays that a graph computes, and their types.

A ``TensorType`` is a dtype and a logical shape in PyTorch's order. Only the size of axis 0 may be symbolic, ``N``: the
number of samples, which is known when the program runs.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
import numpy.typing as npt

from striate.dtypes import DType, dtype_of
from striate.errors import TracingError
from striate.graph.refusal import missing_attribute, unsupported

if TYPE_CHECKING:
    from striate.graph.op import Node

Array = npt.NDArray[Any]


@final
class Batch:
    """The symbolic size of axis 0, the number of samples; its only instance is ``N``."""

    _instance: ClassVar[Batch | None] = None

    def __new__(cls) -> Batch:
        if cls._instance is None:
            cls._instance = super().__new__(cls)
        return cls._instance

    def __repr__(self) -> str:
        return "N"


N = Batch()
Dim = int | Batch
Shape = tuple[Dim, ...]


@dataclass(frozen=True)
class TensorType:
    """The type of a value: a dtype and a logical shape, for example ``f32 (N, 3, 32, 32)``."""

    dtype: DType
    shape: Shape

    def __str__(self) -> str:
        return f"{self.dtype.short} {shape_text(self.shape)}"

    @property
    def rank(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def batched(self) -> bool:
        """Whether the size of axis 0 is the symbolic N, the number of samples."""
        return bool(self.shape) and isinstance(self.shape[0], Batch)

    @property
    def samples(self) -> int:
        """The size of axis 0 if it is fixed (1 for a scalar), or 0 if it is the symbolic N."""
        first = self.shape[0] if self.shape else 1
        return 0 if isinstance(first, Batch) else first

    @property
    def channels(self) -> int:
        """The size of axis 1, which is never symbolic; the rank must be at least 2."""
        size = self.shape[1]
        assert isinstance(size, int)
        return size

    def size(self, n: int = 1) -> int:
        """Return the number of elements if the batch size N is ``n``."""
        return math.prod(n if isinstance(dim, Batch) else dim for dim in self.shape)

    def concrete(self, n: int) -> tuple[int, ...]:
        """Return the shape with ``n`` in place of the batch size N."""
        return tuple(n if isinstance(dim, Batch) else dim for dim in self.shape)

    def with_shape(self, shape: Shape) -> TensorType:
        """Return a type with the same dtype and another shape."""
        return TensorType(self.dtype, shape)

    def with_dtype(self, dtype: DType) -> TensorType:
        """Return a type with the same shape and another dtype."""
        return TensorType(dtype, self.shape)


def shape_text(shape: Shape) -> str:
    """Return a shape as text, such as ``(N, 3, 32, 32)``; a shape of one axis has no trailing comma."""
    return f"({', '.join(str(dim) for dim in shape)})"


__all__ = [
    "Array",
    "Batch",
    "DType",
    "Dim",
    "Integers",
    "N",
    "Shape",
    "TensorType",
    "Value",
    "dtype_of",
    "in_trace",
    "operators",
    "shape_text",
]


operators: dict[str, Callable[..., Value]] = {}
"""The functions behind the operators and methods of values, by name; ``arithmetic`` and ``ops`` fill the dict."""

in_trace: ContextVar[bool] = ContextVar("striate_in_trace", default=False)
"""Whether a user's function is being traced; only then does ``a == b`` of two values compare their elements."""

_OF_UFUNC = {
    **{name: name for name in (
        "add", "subtract", "multiply", "divide", "negative", "matmul", "power", "floor_divide", "remainder", "greater",
        "greater_equal", "less", "less_equal", "equal", "not_equal",
    )},
    "true_divide": "divide", "absolute": "abs",
}  # fmt: skip


class Value:
    """An array that a graph computes: output number ``index`` of ``node``; it has contents only when a program runs.

    Operators broadcast as in NumPy, and the other operand may be a number or an array. While a function is being
    traced, ``==`` and ``!=`` between two values compare elements; elsewhere, in the compiler itself, they compare
    identity.
    """

    __slots__ = ("index", "node", "type")

    def __init__(self, type: TensorType, node: Node, index: int) -> None:
        self.type = type
        self.node = node
        self.index = index

    @property
    def shape(self) -> Shape:
        """The logical shape; the size of axis 0 may be ``N``."""
        return self.type.shape

    @property
    def dtype(self) -> DType:
        """The dtype of the elements."""
        return self.type.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.type.rank

    @property
    def T(self) -> Value:
        """The value with its axes in reverse order, as in NumPy."""
        return operators["transpose"](self)

    def reshape(self, *shape: Any) -> Value:
        """Return ``st.ops.reshape`` of this value: ``x.reshape(n, -1)`` or ``x.reshape((n, -1))``."""
        return operators["reshape"](self, shape[0] if len(shape) == 1 and isinstance(shape[0], tuple | list) else shape)

    def transpose(self, *axes: Any) -> Value:
        """Return ``st.ops.transpose`` of this value: ``x.transpose(0, 2, 1)`` or ``x.transpose((0, 2, 1))``.

        Without arguments, the axes are reversed.
        """
        if len(axes) == 1 and (axes[0] is None or isinstance(axes[0], tuple | list)):
            return operators["transpose"](self, axes[0])
        return operators["transpose"](self, axes or None)

    def flatten(self, start_dim: int = 1, end_dim: int = -1) -> Value:
        """Return ``st.ops.flatten`` of this value: axes ``start_dim`` to ``end_dim`` (inclusive) become one."""
        return operators["flatten"](self, start_dim, end_dim)

    def squeeze(self, axis: Any = None) -> Value:
        """Return ``st.ops.squeeze`` of this value: the axis ``axis``, of size 1, is removed (None: all such axes)."""
        return operators["squeeze"](self, axis)

    def astype(self, dtype: object) -> Value:
        """Return ``st.ops.cast`` of this value: its elements converted to ``dtype``."""
        return operators["cast"](self, dtype)

    def sum(self, axis: Any = None, keepdims: bool = False) -> Value:
        """Return ``st.ops.sum`` of this value: the sum over ``axis`` (None: over all axes).

        ``keepdims`` keeps the summed axes with size 1.
        """
        return operators["sum"](self, axis, keepdims)

    def mean(self, axis: Any = None, keepdims: bool = False) -> Value:
        """Return ``st.ops.mean`` of this value: the mean over ``axis`` (None: over all axes).

        ``keepdims`` keeps the averaged axes with size 1.
        """
        return operators["mean"](self, axis, keepdims)

    def max(self, axis: Any = None, keepdims: bool = False) -> Value:
        """Return ``st.ops.max`` of this value: the maximum over ``axis`` (None: over all axes).

        ``keepdims`` keeps the reduced axes with size 1.
        """
        return operators["max"](self, axis, keepdims)

    def min(self, axis: Any = None, keepdims: bool = False) -> Value:
        """Return ``st.ops.min`` of this value: the minimum over ``axis`` (None: over all axes).

        ``keepdims`` keeps the reduced axes with size 1.
        """
        return operators["min"](self, axis, keepdims)

    def __repr__(self) -> str:
        return f"Value({self.type}, {type(self.node.op).__name__} at {self.node.path!r})"

    def __add__(self, other: object) -> Value:
        return operators["add"](self, other)

    def __radd__(self, other: object) -> Value:
        return operators["add"](other, self)

    def __sub__(self, other: object) -> Value:
        return operators["subtract"](self, other)

    def __rsub__(self, other: object) -> Value:
        return operators["subtract"](other, self)

    def __mul__(self, other: object) -> Value:
        return operators["multiply"](self, other)

    def __rmul__(self, other: object) -> Value:
        return operators["multiply"](other, self)

    def __truediv__(self, other: object) -> Value:
        return operators["divide"](self, other)

    def __rtruediv__(self, other: object) -> Value:
        return operators["divide"](other, self)

    def __neg__(self) -> Value:
        return operators["negative"](self)

    def __matmul__(self, other: object) -> Value:
        return operators["matmul"](self, other)

    def __rmatmul__(self, other: object) -> Value:
        return operators["matmul"](other, self)

    def __pos__(self) -> Value:
        return self

    def __abs__(self) -> Value:
        return operators["abs"](self)

    def __pow__(self, exponent: object) -> Value:
        return operators["power"](self, exponent)

    def __rpow__(self, base: object) -> Value:
        return operators["power"](base, self)

    def __floordiv__(self, other: object) -> Value:
        return operators["floor_divide"](self, other)

    def __rfloordiv__(self, other: object) -> Value:
        return operators["floor_divide"](other, self)

    def __mod__(self, other: object) -> Value:
        return operators["remainder"](self, other)

    def __rmod__(self, other: object) -> Value:
        return operators["remainder"](other, self)

    def __lt__(self, other: object) -> Value:
        return operators["less"](self, other)

    def __le__(self, other: object) -> Value:
        return operators["less_equal"](self, other)

    def __gt__(self, other: object) -> Value:
        return operators["greater"](self, other)

    def __ge__(self, other: object) -> Value:
        return operators["greater_equal"](self, other)

    def __eq__(self, other: object) -> Any:
        return operators["equal"](self, other) if self._compares_elements(other) else self is other

    def __ne__(self, other: object) -> Any:
        return operators["not_equal"](self, other) if self._compares_elements(other) else self is not other

    def _compares_elements(self, other: object) -> bool:
        return isinstance(other, numbers.Number | np.ndarray) or (isinstance(other, Value) and in_trace.get())

    __hash__ = object.__hash__

    def __getitem__(self, index: object) -> Value:
        return operators["index"](self, index)

    # What traced values do not support: each error says what to write instead

    def __getattr__(self, name: str) -> Any:
        raise missing_attribute(self, name)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Value:
        name = _OF_UFUNC.get(ufunc.__name__)
        if method == "__call__" and name is not None and not options:  # ``array * value`` comes here too
            return operators[name](*inputs)
        if method == "reduce":  # np.sum(x)
            raise unsupported(self, {"add": "sum", "maximum": "max"}.get(ufunc.__name__, ""), f"np.{ufunc.__name__}")
        raise unsupported(self, ufunc.__name__, f"np.{ufunc.__name__}")

    def __array_function__(self, function: Any, types: object, arguments: Any, options: Any) -> Any:
        if function in (np.shape, np.ndim) and arguments and arguments[0] is self:
            return self.shape if function is np.shape else self.type.rank
        raise unsupported(self, function.__name__, f"np.{function.__name__}")

    def __bool__(self) -> bool:
        raise TracingError(
            f"{self!r} has no truth value: a traced function cannot branch on what it computes\n"
            "  help: branch on shapes or Python values, or use st.ops.where"
        )

    def __float__(self) -> float:
        raise TracingError(f"{self!r} has no number yet: its value is known only when the compiled program runs")

    __int__ = __float__  # pyright: ignore[reportAssignmentType]
    __index__ = __float__  # pyright: ignore[reportAssignmentType]

    def __array__(self, *_: object, **__: object) -> Array:
        raise TracingError(f"{self!r} cannot become a NumPy array inside a traced function; use st.ops instead")

    def __len__(self) -> int:
        shape = shape_text(self.shape)
        raise TracingError(f"{self!r} has no length in Python; its shape is {shape}\n  help: x.shape[1]")

    def __iter__(self) -> Any:
        raise TracingError(
            f"{self!r} cannot be looped over inside a traced function\n"
            "  help: st.ops.unbind(x, axis) is a tuple of slices"
        )

    def __contains__(self, item: object) -> bool:
        raise TracingError(
            f"{self!r} cannot be searched inside a traced function\n  help: st.ops.any(x == {item!r:.40})"
        )


Integers = Value
"""A type name for operands that must be integers: an array passed for one keeps its dtype, while an array passed for
another operand is converted to the dtype of the floats."""
