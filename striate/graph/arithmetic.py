"""Arithmetic on values: the elementwise operations behind ``+ - * /``, casts and reshapes.

A *value* is an array that a graph computes. Shapes broadcast as in NumPy: an operand of smaller rank is first given
leading axes of size 1, so that all operands of a node have the same rank, or are scalars.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar
from typing import cast as cast_type

import numpy as np

from striate.codegen.kernel import Kernel, Vector
from striate.errors import DTypeError, OptionError, ShapeError, TracingError
from striate.graph.graph import Constant
from striate.graph.notation import DIFFERENCE, PRODUCT, QUOTIENT, SUM, Expression, infix, prefix
from striate.graph.onnx import OnnxWriter
from striate.graph.op import Gradients, Kind, Needed, Op, Sample, Values, place, register, same_dtype
from striate.graph.value import Array, Batch, Dim, DType, Shape, TensorType, Value, operators, shape_text


def broadcast_shapes(shapes: Sequence[Shape], where: Callable[[], str]) -> Shape:
    """Return the common shape of operands, each a scalar or of the same rank; axes of size 1 are repeated.

    Raises ``ShapeError`` if the shapes do not broadcast; its message begins with ``where()``.
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

    Subclasses define ``reference``, ``gradient`` and ``emit``.
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
        """Return the dtype of the result; raise ``DTypeError`` for dtypes that the operation does not accept."""
        same_dtype(self, inputs)
        self.require_numbers(inputs[0])
        return inputs[0].dtype

    def require_numbers(self, x: TensorType) -> None:
        """Raise ``DTypeError`` if ``x`` is bool, or if it is of integers and the operation needs floats."""
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
class Add(Binary):
    """y = a + b"""

    onnx_operator: ClassVar[str] = "Add"
    arithmetic: ClassVar[bool] = True

    def reference(self, a: Array, b: Array) -> Array:
        return a + b

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (dy,) = output_gradients
        return dy, dy

    def emit(self, k: Kernel, a: Vector, b: Vector) -> Vector:
        return k.add(a, b)

    def notation(self, *operands: Expression) -> Expression:
        a, b = operands
        return infix(" + ", SUM, a, b, regroups=True)


@register
@dataclass(frozen=True)
class Subtract(Binary):
    """y = a − b"""

    onnx_operator: ClassVar[str] = "Sub"
    arithmetic: ClassVar[bool] = True

    def reference(self, a: Array, b: Array) -> Array:
        return a - b

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (dy,) = output_gradients
        return dy, (-dy if needed[1] else None)

    def emit(self, k: Kernel, a: Vector, b: Vector) -> Vector:
        return k.sub(a, b)

    def notation(self, *operands: Expression) -> Expression:
        a, b = operands
        return infix(" − ", DIFFERENCE, a, b)


@register
@dataclass(frozen=True)
class Later(Binary):
    """y = a, computed in the loop that computes b: the compiler uses it to fix an order

    The result does not depend on b. The pass *recompute* uses it to recompute a in a certain loop of the backward pass.
    """

    arithmetic: ClassVar[bool] = True

    def result_dtype(self, inputs: Sequence[TensorType]) -> DType:
        return inputs[0].dtype

    def reference(self, a: Array, b: Array) -> Array:
        return a

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (dy,) = output_gradients
        return dy, None

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        return [inputs[0]]

    def emit(self, k: Kernel, a: Vector, b: Vector) -> Vector:
        return a

    def notation(self, *operands: Expression) -> Expression:
        return operands[0]


@register
@dataclass(frozen=True)
class Multiply(Binary):
    """y = a · b"""

    onnx_operator: ClassVar[str] = "Mul"
    arithmetic: ClassVar[bool] = True

    def reference(self, a: Array, b: Array) -> Array:
        return a * b

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (a, b), (dy,) = inputs, output_gradients
        return (dy * b if needed[0] else None), (dy * a if needed[1] else None)

    def emit(self, k: Kernel, a: Vector, b: Vector) -> Vector:
        return k.mul(a, b)

    def notation(self, *operands: Expression) -> Expression:
        a, b = operands
        if b.text.startswith("1 / "):
            return Expression(f"{a.within(PRODUCT)}{b.text[1:]}", PRODUCT)  # a · (1 / b) is a / b
        return infix(" · ", PRODUCT, a, b, regroups=True)


@register
@dataclass(frozen=True)
class Divide(Binary):
    """y = a / b"""

    onnx_operator: ClassVar[str] = "Div"
    fractional: ClassVar[bool] = True
    arithmetic: ClassVar[bool] = True

    def reference(self, a: Array, b: Array) -> Array:
        return a / b

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (_, b), (y,), (dy,) = inputs, outputs, output_gradients
        return (dy / b if needed[0] else None), (-(dy * y / b) if needed[1] else None)

    def emit(self, k: Kernel, a: Vector, b: Vector) -> Vector:
        return k.div(a, b)

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        for shape in ((5, 3, 4, 7), (2, 17)):
            yield Sample(cls(), (random.standard_normal(shape), 1.5 + random.random(shape)))

    def notation(self, *operands: Expression) -> Expression:
        a, b = operands
        return infix(" / ", QUOTIENT, a, b)


@register
@dataclass(frozen=True)
class MultiplyAdd(Elementwise):
    """y = a · b + c, rounded once"""

    fractional: ClassVar[bool] = True
    arity: ClassVar[int] = 3

    arithmetic: ClassVar[bool] = True

    def reference(self, a: Array, b: Array, c: Array) -> Array:
        return np.asarray(a.astype(np.longdouble) * b + c).astype(a.dtype)

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (a, b, _), (dy,) = inputs, output_gradients
        return (dy * b if needed[0] else None), (dy * a if needed[1] else None), dy

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str]:
        a, b, c = inputs
        return [to.add("Add", to.add("Mul", a, b), c)]

    def emit(self, k: Kernel, a: Vector, b: Vector, c: Vector) -> Vector:
        return k.fma(a, b, c)

    def notation(self, *operands: Expression) -> Expression:
        a, b, c = operands
        return infix(" + ", SUM, infix(" · ", PRODUCT, a, b, regroups=True), c, regroups=True)


@register
@dataclass(frozen=True)
class Negative(Elementwise):
    """y = −x"""

    onnx_operator: ClassVar[str] = "Neg"
    fractional: ClassVar[bool] = True
    arithmetic: ClassVar[bool] = True

    def reference(self, x: Array) -> Array:
        return -x

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        (dy,) = output_gradients
        return (-dy,)

    def emit(self, k: Kernel, x: Vector) -> Vector:
        return k.neg(x)

    def notation(self, *operands: Expression) -> Expression:
        return prefix("−", operands[0])


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


def cast(x: Value, dtype: DType) -> Value:
    """Return ``x`` converted to ``dtype``, or ``x`` itself if it has this dtype already."""
    return x if x.dtype is dtype else Cast(dtype)(x)


def constant(number: float, dtype: DType) -> Value:
    """Return the scalar constant ``number`` as a value of the graph."""
    return Constant(float(number), dtype)()


Capture = Callable[[Array, DType | None], Value]
"""A function that makes a value of a NumPy array that a traced function closes over, converted to a dtype if given."""

capture: ContextVar[Capture | None] = ContextVar("striate_capture", default=None)
"""The ``Capture`` of the innermost active trace, or None outside a trace; ``tracing.Trace`` sets it."""


def as_value(x: object, like: Value) -> Value:
    """Return ``x`` as a value of the graph.

    A ``Value`` is returned unchanged. A number becomes a constant of the dtype of ``like``. A NumPy array becomes a
    captured input, whose contents are stored with the graph. It is converted to the dtype of ``like`` if that is
    float32 or float64, or an integer dtype that can represent every number of the array's dtype; otherwise, and if it
    is an array of bools, it keeps its dtype. Raises ``TracingError`` for other objects and for arrays outside a trace,
    and ``OptionError`` or ``DTypeError`` for a number that the dtype cannot represent.
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
    """Apply an elementwise operation to operands after bringing them to a common rank and dtype.

    Numbers and NumPy arrays are converted to values. As in NumPy, bools become 0 and 1 if another operand has numbers;
    the conditions of an operation such as ``where`` stay bools. Raises ``DTypeError`` if the dtypes differ otherwise,
    and ``TracingError`` if no operand is a value.
    """
    given = [x for x in operands if isinstance(x, Value)]
    if not given:
        got = ", ".join(type(x).__name__ for x in operands)
        raise TracingError(f"{op} needs an array, got {got}\n  help: np.asarray(x, np.float32)")
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


def joined_sizes(shape: Shape, groups: Sequence[Sequence[int]]) -> Shape:
    """Return the shape after each group of neighbouring axes is joined into one axis.

    ``groups`` are lists of axis numbers that together cover the shape; N must be alone in its group.
    """
    sizes = [[shape[axis] for axis in group] for group in groups]
    return tuple(one[0] if len(one) == 1 else math.prod(cast_type("list[int]", one)) for one in sizes)


def _binary(op: Binary) -> Callable[[object, object], Value]:
    return lambda a, b: elementwise(op, a, b)


def _negated(x: object) -> Value:
    return elementwise(Negative(), x)


operators.update(
    reshape=reshape,
    add=_binary(Add()),
    subtract=_binary(Subtract()),
    multiply=_binary(Multiply()),
    divide=_binary(Divide()),
    negative=_negated,
)
