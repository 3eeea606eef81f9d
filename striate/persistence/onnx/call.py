"""One application of an ONNX operator: its operands, its attributes, and the table of operators.

An operand is either a ``Value`` of the traced graph, or a NumPy array that is already known during tracing. Shapes are
known arrays too. A shape that contains the batch size N is an object array whose elements are ints and multiples of N
(``Samples``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np

from striate.errors import ModelFileError
from striate.graph.operand import constant
from striate.graph.value import Array, Batch, DType, N, Shape, Value
from striate.persistence.onnx.messages import Node, Tensor
from striate.tracing import Trace

Operand = Value | Array
Result = Operand | Sequence[Operand]
LARGEST_FOLDED = 1 << 24
"""The most elements of an array that is computed while a graph is traced."""


@dataclass(frozen=True)
class Samples:
    """The number ``factor`` · N, where N is the batch size, unknown until the program runs."""

    factor: int

    def __mul__(self, other: object) -> Samples:
        return Samples(self.factor * _whole(other))

    __rmul__ = __mul__

    def __floordiv__(self, other: object) -> Samples:
        whole = _whole(other)
        if whole == 0 or self.factor % whole:
            raise ModelFileError(f"{self} / {whole} is not a multiple of N, the number of samples")
        return Samples(self.factor // whole)

    __truediv__ = __floordiv__

    def __add__(self, other: object) -> Samples:
        if isinstance(other, Samples):
            return Samples(self.factor + other.factor)
        if _whole(other):
            raise ModelFileError(f"N + {other}: only multiples of N, the number of samples, can be computed with")
        return self

    __radd__ = __add__

    def __str__(self) -> str:
        return "N" if self.factor == 1 else f"{self.factor}·N"


def _whole(number: object) -> int:
    if isinstance(number, int):
        return number
    if isinstance(number, np.integer):
        return int(cast("int", number))
    raise ModelFileError(f"{number!s:.40} is computed with N, the number of samples")


def dim_of(size: object) -> int | Batch:
    """Convert an element of a shape, an int or a multiple of N, to a dimension of a graph value: an int or N.

    Raises ``ModelFileError`` for a multiple of the batch size N other than N itself.
    """
    if isinstance(size, Samples):
        if size.factor != 1:
            raise ModelFileError(f"a size is {size}; N, the number of samples, must stay an axis of its own")
        return N
    return _whole(size)


def size_of(dim: int | Batch) -> object:
    """Convert a dimension of a graph value, an int or N, to an element of a shape: an int or ``Samples(1)``."""
    return Samples(1) if isinstance(dim, Batch) else dim


@dataclass(frozen=True)
class Call:
    """An ONNX node with its operands, from which the function for its operator builds operations of striate.

    ``operands`` are in the order of the node's inputs, with None for omitted inputs. A *known* operand is a NumPy
    array, which does not depend on the model's input; other operands are values of the graph. ``opset`` is the version
    of ONNX's operators in the file, ``dtype`` the model's floating-point type, and ``trace`` the record of the graph
    being built. ``fixed`` is the batch size for which the file was exported, or 0 if the file leaves it open.
    ``update(i, value)`` assigns a new value to the buffer that is operand i, such as a running mean, and ``unbiased``
    says whether running variances are updated with the unbiased variance. In the methods, ``place`` is the number of an
    operand, from 0.
    """

    node: Node
    operands: Sequence[Operand | None]
    opset: int
    dtype: DType
    trace: Trace
    fixed: int
    """The fixed batch size for which the file was exported; 0 if the file leaves it open."""
    update: Callable[[int, Value], None]
    """``update(i, value)`` assigns a new value to the state array that is operand i, such as a running mean."""
    unbiased: bool
    """True if the running variance is updated with the unbiased variance, as in PyTorch; False for the biased one."""

    def error(self, problem: str) -> ModelFileError:
        return ModelFileError(f"{self.node}: {problem}")

    @property
    def count(self) -> int:
        """The number of outputs of the node, apart from unused ones at the end."""
        return len(self.node.outputs)

    # Operands

    def given(self, place: int) -> bool:
        """Return whether operand number ``place`` is present; ONNX allows optional operands to be omitted."""
        return place < len(self.operands) and self.operands[place] is not None

    def operand(self, place: int) -> Operand:
        found = self.operands[place] if place < len(self.operands) else None
        if found is None:
            raise self.error(f"input {place} is missing")
        return found

    def value(self, place: int) -> Value:
        """Return operand number ``place`` as a value of the graph; an array becomes a constant of the graph.

        Raises ``ModelFileError`` if the operand is omitted, or is a shape that contains the batch size N.
        """
        found = self.operand(place)
        return found if isinstance(found, Value) else self.captured(found)

    def captured(self, array: Array) -> Value:
        """Add an array to the graph as a constant and return the constant; floats get the model's dtype.

        Raises ``ModelFileError`` for a shape that contains the batch size N.
        """
        if array.dtype == object:
            raise self.error("N, the number of samples, is used as a number, which is known only when the program runs")
        kept = array.astype(self.dtype.numpy) if array.dtype.kind == "f" else array
        if kept.ndim == 0 and kept.dtype.kind == "f":
            return constant(float(kept), self.dtype)
        return self.trace.capture(kept)

    def optional(self, place: int) -> Value | None:
        """Return operand number ``place`` as a value of the graph, or None if it is omitted."""
        return self.value(place) if self.given(place) else None

    def known(self, place: int) -> Array:
        """Return operand number ``place``, such as a shape, as an array; it must not depend on the model's input.

        Raises ``ModelFileError`` if the operand is omitted or computed from data.
        """
        found = self.operand(place)
        if isinstance(found, Value):
            raise self.error(
                f"input {place} ({self.node.inputs[place][:80]!r}) is computed from data; expected a constant"
            )
        return found

    def sizes(self, place: int) -> list[object]:
        """Return operand number ``place``, a shape or other vector, as a list of ints and multiples of N (``Samples``).

        Raises ``ModelFileError`` if the operand is omitted or computed from data.
        """
        return list(self.known(place).reshape(-1).tolist())

    def wholes(self, place: int) -> list[int]:
        """Return operand number ``place``, a vector of integers, as a list of ints.

        Raises ``ModelFileError`` if a multiple of the batch size N is among them, and if the operand is omitted or
        computed from data.
        """
        return [_whole(size) for size in self.sizes(place)]

    def number(self, place: int, default: float | None = None) -> float | None:
        """Return the only element of operand number ``place`` as a float, or ``default`` if it is omitted.

        Raises ``ModelFileError`` for more than one element, and if the operand is computed from data.
        """
        if not self.given(place):
            return default
        found = self.known(place)
        if found.size != 1:
            raise self.error(f"input {place} holds {found.size} numbers; expected one")
        return float(found.reshape(-1)[0])

    # Options

    def int(self, name: str, default: int = 0) -> int:
        found = self.node.attributes.get(name, default)
        if not isinstance(found, int):
            raise self.error(f"attribute {name} is {found!s:.60}, not a whole number")
        return found

    def float(self, name: str, default: float = 0.0) -> float:
        found = self.node.attributes.get(name, default)
        if not isinstance(found, int | float):
            raise self.error(f"attribute {name} is {found!s:.60}, not a number")
        rounded = float(f"{found:.7g}")  # the file has float32: recover 0.1 from 0.10000000149
        return rounded

    def text(self, name: str, default: str = "") -> str:
        found = self.node.attributes.get(name, default)
        if not isinstance(found, str):
            raise self.error(f"attribute {name} is {found!s:.60}, not a text")
        return found

    def choice(self, name: str, default: str, known: Sequence[str]) -> str:
        found = self.text(name, default)
        if found not in known:
            raise self.error(f"attribute {name} is {found[:60]!r}\n  known: {', '.join(known)}")
        return found

    def ints(self, name: str) -> list[int] | None:
        found = self.node.attributes.get(name)
        if found is None:
            return None
        numbers = cast("tuple[object, ...]", found) if isinstance(found, tuple) else ("",)
        if not all(isinstance(one, int) for one in numbers):
            raise self.error(f"attribute {name} is not a list of whole numbers")
        return cast("list[int]", list(numbers))

    def floats(self, name: str) -> list[float] | None:
        found = self.node.attributes.get(name)
        if found is None:
            return None
        numbers = cast("tuple[object, ...]", found) if isinstance(found, tuple) else ("",)
        if not all(isinstance(one, int | float) for one in numbers):
            raise self.error(f"attribute {name} is not a list of numbers")
        return cast("list[float]", list(numbers))

    def tensor(self, name: str) -> Tensor | None:
        found = self.node.attributes.get(name)
        return found if isinstance(found, Tensor) else None

    def axis(self, axis: int, rank: int) -> int:
        """Return the number of an axis among ``rank`` axes, from 0; a negative ``axis`` counts from the end.

        Raises ``ModelFileError`` if the axis does not exist.
        """
        if not -rank <= axis < rank:
            raise self.error(f"axis {axis} does not exist among {rank} axes")
        return axis % rank

    def axes(self, place: int, name: str = "axes") -> list[int] | None:
        """Return the axes (or sizes) that a node gives as an operand or an attribute; None if it gives neither.

        The operand (in new opsets) has the number ``place``, the attribute (in old ones) the name ``name``. The numbers
        are returned as they are in the file, so an axis may be negative.
        """
        if self.given(place):
            return self.wholes(place)
        return self.ints(name)


Handler = Callable[[Call], Result]
OPERATORS: dict[str, Handler] = {}
"""The function that adds each ONNX operator to the graph, by the operator's name."""

FOLDED: dict[str, Handler] = {}
"""The functions that compute operators with NumPy, for operands that are all known during tracing, such as shapes."""


def operator(*names: str) -> Callable[[Handler], Handler]:
    """Return a decorator that registers a function as the translation of these ONNX operators, in ``OPERATORS``."""

    def registered(handler: Handler) -> Handler:
        OPERATORS.update(dict.fromkeys(names, handler))
        return handler

    return registered


def folded(*names: str) -> Callable[[Handler], Handler]:
    """Return a decorator that registers a function in ``FOLDED`` for these ONNX operators.

    If no operand of a node depends on the model's input, the function computes the node with NumPy while the graph is
    built.
    """

    def registered(handler: Handler) -> Handler:
        FOLDED.update(dict.fromkeys(names, handler))
        return handler

    return registered


def shape_of(operand: Operand) -> Shape:
    """Return the shape of an operand; the shape of a graph value may contain the symbolic batch size N."""
    return operand.shape


def require_small(call: Call, shape: Sequence[int]) -> None:
    """Raise ``ModelFileError`` if a constant of ``shape``, not yet allocated, would be too large.

    The limits are 2²⁴ elements and 32 axes. A negative size is an error as well. ``call`` is the node that the message
    names.
    """
    count = 1
    for size in shape:
        if size < 0:
            raise call.error(f"an array of shape {tuple(shape)!s:.200} has a negative size")
        count *= size
    if count > LARGEST_FOLDED or len(shape) > 32:
        raise call.error(f"a constant of shape {tuple(shape)!s:.200} has {count:,} elements")
