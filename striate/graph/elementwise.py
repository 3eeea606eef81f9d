"""The base classes of elementwise operations, and how such an operation is applied to operands.

Shapes broadcast as in NumPy: an operand of smaller rank is first given leading axes of size 1. The operands of a node
therefore have equal ranks, except for scalars.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from striate.codegen.kernel import Kernel
from striate.codegen.lanes import Vector
from striate.errors import DTypeError, OptionError, ShapeError, TracingError
from striate.graph.onnx import OnnxWriter
from striate.graph.op import Gradients, Kind, Needed, Op, Sample, Values, place, register, same_dtype
from striate.graph.operand import as_value
from striate.graph.reshape import joined_sizes, reshape
from striate.graph.value import Array, Batch, Dim, DType, Shape, TensorType, Value, shape_text


def broadcast_shapes(shapes: Sequence[Shape], where: Callable[[], str]) -> Shape:
    """Return the common shape to which the ``shapes`` of operands broadcast: axes of size 1 are repeated.

    Each operand is a scalar or has the same number of axes as the others. Raises ``ShapeError`` if the shapes do not
    broadcast; its message begins with ``where()``.
    """
    if shapes.count(shapes[0]) == len(shapes):
        return shapes[0]
    rank = max((len(shape) for shape in shapes), default=0)
    result: list[Dim] = [1] * rank
    for shape in shapes:
        if len(shape) not in (0, rank):
            raise ShapeError(f"{where()}: ranks differ: {', '.join(shape_text(s) for s in shapes)}")
        for axis, dim in enumerate(shape):
            if dim == 1 or dim is result[axis] or dim == result[axis]:
                continue
            if result[axis] != 1:
                raise ShapeError(
                    f"{where()}: shapes do not broadcast: {', '.join(shape_text(s) for s in shapes)}\n"
                    f"  help: on axis {axis} the sizes must be equal, or 1; x[:, None] adds an axis of size 1"
                )
            result[axis] = dim
    return tuple(result)


@dataclass(frozen=True)
class Elementwise(Op):
    """The abstract base class of elementwise operations.

    Subclasses define ``reference`` (the operation in NumPy), ``gradient``, and ``emit`` (its code in kernels).
    """

    kind: ClassVar[Kind] = Kind.ELEMENTWISE
    arity: ClassVar[int] = 1
    conditions: ClassVar[int] = 0  # how many operands, counted from the first, are bools
    fractional: ClassVar[bool] = False  # whether integers are refused: the tanh of an integer is not an integer
    is_activation: ClassVar[bool] = False  # whether it is an activation function; a unit fires if its output is above 0
    output_bounds: ClassVar[tuple[float, float]] = (-math.inf, math.inf)
    """The infimum and the supremum of the outputs of an activation."""
    saturation_bounds: ClassVar[tuple[float, float] | None] = None
    """(low, high): an activation is saturated at outputs below low or above high, where its derivative is less than a
    tenth of its maximum; None if it does not saturate."""
    max_derivative: ClassVar[float] = 1.0
    """The largest derivative of an activation: the largest factor by which it can scale a gradient."""
    effect: ClassVar[str] = ""
    """The effect of an activation on signals and gradients, in a sentence or two for newcomers."""
    units_can_die: ClassVar[bool] = False
    """Whether the derivative of an activation is 0 on a half-line, where a unit with all its inputs stops learning."""

    @property
    def gain(self) -> float:
        """The gain of an activation for weight initialization, like PyTorch's ``calculate_gain``; 1 by default.

        A linear map with weights drawn from N(0, gain² / fan_in), followed by the activation, preserves the mean square
        of a signal.
        """
        return 1.0

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        dtype = self.result_dtype(inputs)
        shape = broadcast_shapes([type.shape for type in inputs], lambda: place(self))
        same = shape is inputs[0].shape and dtype is inputs[0].dtype
        return (inputs[0] if same else TensorType(dtype, shape),)

    def result_dtype(self, inputs: Sequence[TensorType]) -> DType:
        """Return the dtype of the result for operands of the types ``inputs``.

        Raises ``DTypeError`` for dtypes that the operation does not accept.
        """
        same_dtype(self, inputs)
        self.require_numbers(max(inputs, key=lambda type: type.rank))  # rather than a number that was made a scalar
        return inputs[0].dtype

    def require_numbers(self, x: TensorType) -> None:
        """Raise ``DTypeError`` if an operand of the type ``x`` has bools, or integers although floats are needed."""
        if x.dtype is DType.bool or (self.fractional and not x.dtype.is_float):
            needed = "floating point numbers" if self.fractional else "numbers"
            raise DTypeError(
                f'{place(self)}: needs {needed}, got {x}\n  help: st.ops.cast(x, "float32"), or arrays of float32'
            )

    def emit(self, k: Kernel, *inputs: Any, **_: Any) -> Vector:
        """Write the code that computes one vector of the result from vectors of the operands; return this vector.

        ``k`` is the kernel that is being written.
        """
        raise NotImplementedError

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape in ((5, 3, 4, 7), (2, 17), (3, 16, 1, 5), (1, 1), (2, 33, 6)):
            yield Sample(cls(), tuple(random.standard_normal(shape) for _ in range(cls.arity)))


@dataclass(frozen=True)
class Binary(Elementwise):
    """The abstract base class of elementwise operations on two operands."""

    arity: ClassVar[int] = 2


@register
@dataclass(frozen=True)
class Cast(Elementwise):
    """y = x in another dtype"""

    is_cast: ClassVar[bool] = True
    arithmetic: ClassVar[bool] = True
    dtype: DType = DType.float32

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        return (inputs[0].with_dtype(self.dtype),)

    def reference(self, x: Array) -> Array:
        return x.astype(self.dtype.numpy)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (x,), (dy,) = inputs, output_gradients
        return (cast(dy, x.dtype),)

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        return [to.cast(inputs[0], self.dtype)]

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.convert(x, self.dtype)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        yield Sample(cls(DType.float64), (random.standard_normal((3, 5, 2)),))


def cast(x: Value, dtype: DType) -> Value:
    """Return ``x`` converted to ``dtype``, or ``x`` itself if it has this dtype already."""
    return x if x.dtype is dtype else Cast(dtype)(x)


def align(values: list[Value]) -> list[Value]:
    """Return the values with equal rank: those of smaller rank get leading axes of size 1, as in NumPy.

    Scalars stay scalars.
    """
    rank = max(value.type.rank for value in values)
    return [
        value if value.type.rank in (0, rank) else reshape(value, (*(1,) * (rank - value.type.rank), *value.shape))
        for value in values
    ]


def elementwise(op: Elementwise, *operands: object) -> Value:
    """Return ``op`` applied to the operands, which are first brought to a common rank and dtype.

    Numbers and NumPy arrays are converted to values. As in NumPy, bools become 0 and 1 if another operand has numbers;
    the conditions of an operation such as ``where`` stay bools. Other differences of dtypes raise ``DTypeError``.
    Raises ``TracingError`` if no operand is a value.
    """
    given = [x for x in operands if isinstance(x, Value)]
    if not given:
        got = ", ".join(type(x).__name__ for x in operands)
        raise TracingError(f"{place(op)} needs an array, got {got}\n  help: np.asarray(x, np.float32)")
    like = next((x for x in given if x.dtype is not DType.bool), given[0])
    truth = next((x for x in given if x.dtype is DType.bool), like)
    try:
        values = [as_value(x, truth if index < op.conditions else like) for index, x in enumerate(operands)]
    except (DTypeError, OptionError, TracingError) as error:
        raise type(error)(f"{place(op)}: {error}") from error
    numbers = values[op.conditions :]
    dtype = next((x.dtype for x in numbers if x.dtype is not DType.bool), DType.bool)
    numbers = [cast(x, dtype) if x.dtype is DType.bool else x for x in numbers]
    values = [*values[: op.conditions], *numbers]
    if len({value.dtype for value in numbers}) > 1:
        raise DTypeError(
            f"{place(op)}: operands of {', '.join(str(value.type) for value in values)}\n"
            "  help: convert one of them with st.ops.cast"
        )
    aligned = align(values)
    return op(*aligned) if max(value.type.rank for value in aligned) <= MOST_AXES else _with_joined_axes(op, aligned)


MOST_AXES = 5
"""The most axes that a kernel can loop over: samples, channels, and three spatial axes."""


def _with_joined_axes(op: Elementwise, values: list[Value]) -> Value:
    """Apply the operation to operands of more than five axes.

    Neighbouring axes along which the same operands are repeated are joined into one, and the result is reshaped.
    """
    result = op.infer(*(value.type for value in values))[0].shape
    full = [value for value in values if value.type.rank]
    repeats = [tuple(value.shape[axis] != size for value in full) for axis, size in enumerate(result)]
    first = 1 if isinstance(result[0], Batch) else 0  # N is not joined with another axis
    groups: list[list[int]] = [[0]] if first else []
    for axis in range(first, len(result)):
        if len(groups) > first and repeats[axis] == repeats[axis - 1]:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    if len(groups) > MOST_AXES:
        raise ShapeError(
            f"{place(op)}: more than {MOST_AXES} alternations of repeated axes: "
            f"{', '.join(str(value.type) for value in values)}\n"
            "  help: repeat one operand first, with st.ops.broadcast_to"
        )
    joined = [reshape(value, joined_sizes(value.shape, groups)) if value.type.rank else value for value in values]
    return reshape(op(*joined), result)
