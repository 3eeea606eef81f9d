"""Operations, and nodes (operations applied to values).

An operation is a frozen dataclass. Its parameters are its fields; its shape rule, its NumPy reference, its gradient and
its lowering to machine code are defined next to each other. The passes and code generators ask for an operation's
``kind``, never for its name.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, fields
from enum import Enum
from types import CodeType
from typing import Any, ClassVar, TypeVar

import numpy as np

from striate.errors import GraphError
from striate.graph.notation import Expression, call, number_text, with_numbers
from striate.graph.onnx import Attribute, OnnxWriter
from striate.graph.value import Array, DType, TensorType, Value


class Kind(Enum):
    """The kind of an operation, which decides how the passes and code generators process it."""

    SOURCE = "source"  # an input, parameter, state or constant
    ELEMENTWISE = "elementwise"  # each output element depends on the input elements at the same (broadcast) position
    RANDOM = "random"  # elementwise, but also depends on the position
    SIZE = "size"  # a number that depends only on the input's shape
    REDUCTION = "reduction"  # sums, moments, maxima over axes
    CONTRACTION = "contraction"  # convolutions and matrix products, and their gradients
    WINDOW = "window"  # pooling and its gradients
    VIEW = "view"  # the same elements in the same order with another shape
    GATHER = "gather"  # elements moved to other positions
    ROWWISE = "rowwise"  # softmax and the like: mixes the channels of one position
    COMPOSITE = "composite"  # replaced by smaller operations after differentiation


class Direction(Enum):
    """Whether a contraction (convolution, matrix product) is a layer's forward operation or a gradient."""

    FORWARD = "forward"
    INPUT_GRADIENT = "input gradient"
    WEIGHT_GRADIENT = "weight gradient"


class Purpose(Enum):
    """The role of an operation in a network, from which drawings of the network choose the colours of layers."""

    CONTRACTION = "contraction"
    NORMALIZATION = "normalization"
    ACTIVATION = "activation"
    WINDOW = "window"  # pooling, and reductions over positions
    VIEW = "view"
    JOIN = "join"
    OTHER = "other"


_PURPOSES = {
    Kind.CONTRACTION: Purpose.CONTRACTION, Kind.COMPOSITE: Purpose.CONTRACTION, Kind.WINDOW: Purpose.WINDOW,
    Kind.REDUCTION: Purpose.WINDOW, Kind.VIEW: Purpose.VIEW, Kind.GATHER: Purpose.JOIN,
    Kind.ROWWISE: Purpose.ACTIVATION, Kind.ELEMENTWISE: Purpose.ACTIVATION,
}  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """A test example of an operation: the operation with its options, and its input arrays.

    If ``batched``, axis 0 of the first input becomes the symbolic N. ``differentiable`` says for each input whether its
    gradient is compared with finite differences; None means all float inputs.
    """

    op: Op
    arrays: tuple[Array, ...]
    batched: bool = True  # axis 0 of the first input becomes the symbolic N
    differentiable: tuple[bool, ...] | None = None  # the inputs that finite differences may vary (None: all floats)


_REGISTRY: dict[str, type[Op]] = {}
Values = tuple[Value, ...]
Gradients = tuple[Value | None, ...]
Needed = tuple[bool, ...]
PositionSets = tuple[frozenset[int], ...]
"""For each spatial axis, a set of positions. With dilation, there are gaps between them."""
OpClass = TypeVar("OpClass", bound="type[Op]")


def register(cls: OpClass) -> OpClass:
    """Register an operation under its class name, so that ``registry`` lists it; return the class.

    Model files and tests find operations in the registry. Raises ``GraphError`` if another module has registered an
    operation of that name.
    """
    if cls.__name__ in _REGISTRY and _REGISTRY[cls.__name__].__module__ != cls.__module__:
        raise GraphError(f"an operation named {cls.__name__} exists already in {_REGISTRY[cls.__name__].__module__}")
    _REGISTRY[cls.__name__] = cls
    return cls


def registry() -> dict[str, type[Op]]:
    """Return all registered operations by class name, as a new dict."""
    return dict(_REGISTRY)


@dataclass(frozen=True)
class Op:
    """The abstract base class of all operations.

    The first line of a subclass's docstring is its equation, which summaries and errors print.
    """

    kind: ClassVar[Kind]
    direction: ClassVar[Direction] = Direction.FORWARD
    title: ClassVar[str] = ""
    """The usual name, such as "conv" or "leaky ReLU"; if empty, the words of the class name are used."""
    arithmetic: ClassVar[bool] = False
    """Whether labels omit the operation, like the sum and the product in ``x · w + b``."""
    results: ClassVar[tuple[str, ...]] = ()
    """The names of the outputs if there are several, such as ("mean", "variance"); else empty."""
    implied: ClassVar[frozenset[str]] = frozenset({"shape", "size"})
    """The options that labels and equations omit, because the shapes next to them say the same."""
    deviation: ClassVar[bool] = False
    """Whether the operation turns a variance into a standard deviation, which identifies normalizations."""
    letters: ClassVar[Mapping[str, str]] = {}
    """A mapping from the letters of the equation to the options with their values, such as {"α": "negative_slope"}."""
    stored_dtype: ClassVar[DType | None] = None
    """The dtype of a blocked output in memory, if it differs from the dtype in which it is computed."""
    checked_inputs: ClassVar[tuple[int, ...]] = ()
    """The positions of the inputs whose contents ``require_contents`` checks before the program runs."""
    limits_samples: ClassVar[bool] = False
    """Whether ``infer`` accepts a symbolic N, but refuses some values of N."""
    takes_first_row: ClassVar[bool] = False
    """Whether an additional last input may say which row of a larger batch the first sample is (an int64 scalar)."""
    is_cast: ClassVar[bool] = False
    """Whether the operation only converts its input to another dtype."""
    onnx_operator: ClassVar[str] = ""
    """The ONNX operator that computes the same output from the same inputs, such as "Tanh"; "" if there is none."""
    onnx_takes_bias: ClassVar[bool] = False
    """Whether ``onnx`` accepts, as an additional last input, a vector (C,) to add to the channels of the output."""
    gives_probabilities: ClassVar[bool] = False
    """Whether the outputs are positive and sum to 1 over axis 1, the channels."""

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """Return the types of the outputs for given types of the inputs (the shape rule).

        No array is computed. Raises ``ShapeError`` or ``DTypeError`` for inputs that the operation does not accept.
        """
        raise NotImplementedError

    # The base class accepts any arguments, so that subclasses may name their operands, as in ``reference(self, x, w)``.

    def reference(self, *inputs: Any, **_: Any) -> Array | tuple[Array, ...]:
        """Return the outputs for input arrays, computed in plain NumPy.

        This is slow and easy to verify; every compiled kernel is tested against it.
        """
        raise NotImplementedError

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        """Return the gradient ∂L/∂input of the loss L for each input, from the gradients ∂L/∂output of the outputs.

        Gradients are values of the graph, computed by further nodes. ``output_gradients`` has None for an output on
        which L does not depend. The result may have None for an input that ``needed`` marks as False.
        """
        raise NotImplementedError

    def output_moments(self, inputs: tuple[Value, ...], outputs: tuple[Value, ...]) -> tuple[Value, Value] | None:
        """Return (mean, biased variance) per channel of the first output, or None if they are not known in advance.

        Mean and variance are values of the graph that are computed without reading the output. The base class returns
        None.
        """
        return None

    def require_contents(self, array: Array, inputs: tuple[TensorType, ...]) -> None:
        """Raise an error, such as ``LabelError``, if ``array`` has elements that the operation cannot process.

        ``array`` is one of the inputs that ``checked_inputs`` lists; ``inputs`` are the types of all inputs of the
        operation.
        """

    def on_empty(self, *inputs: Value) -> tuple[Value, ...]:
        """Return the outputs for the case that an input has no elements (a size is 0), but the outputs have elements.

        A sum over no elements is 0, and a mean is NaN. Only operations that add up or join axes override this method.
        The method of the base class raises ``GraphError``.
        """
        raise GraphError(f"{self}: nothing can be computed from {', '.join(str(value.type) for value in inputs)}")

    def positions_read(self, types: Sequence[TensorType], number: int, positions: PositionSets) -> PositionSets | None:
        """Return the positions of one input on which the outputs at ``positions`` depend.

        ``number`` is the index of the input, and ``types`` are the types of all inputs. Positions are given as one set
        of indices for each spatial axis. The result may include positions in the padding, outside the input; None means
        that the outputs depend on all positions.
        """
        return None

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        """Yield examples for the tests that run over all operations, with arrays drawn from ``random``.

        These tests fail for an operation that yields no example.
        """
        yield from ()

    def __call__(self, *inputs: Value) -> Any:
        """Add a node that applies the operation; return its output, or a tuple if it has several."""
        node = Node(self, inputs, current_path())
        return node.outputs[0] if len(node.outputs) == 1 else node.outputs

    # Other frameworks

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str] | None:
        """Add the ONNX operators that compute the operation; return the names of their outputs.

        ``to`` writes the ONNX graph, ``inputs`` are the names of the inputs, and ``types`` their types. Unused outputs
        are named "". The result is None if ONNX has no such operator; a composite operation is then exported as the
        operations that it consists of.
        """
        return [to.add(self.onnx_operator, *inputs, **self.onnx_attributes())] if self.onnx_operator else None

    def onnx_attributes(self) -> Mapping[str, Attribute | None]:
        """Return the attributes of ``onnx_operator`` that follow from the options; None omits an attribute."""
        return {}

    # How it is shown

    @classmethod
    def equation(cls) -> str:
        """Return the equation of the operation: the first line of its class's docstring."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0]

    @classmethod
    def call_name(cls) -> str:
        """Return the name of the operation in graph text, such as ``leaky_relu``."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()

    @classmethod
    def words(cls) -> str:
        """Return the name of the operation in words, such as ``leaky relu``."""
        return cls.call_name().replace("_", " ")

    def options(self) -> dict[str, str]:
        """Return the options of the operation that differ from their defaults, as text by name."""
        return {
            f.name: str(value)
            for f in fields(self)
            if f.repr and (value := getattr(self, f.name)) != f.default and value not in ((), None)
        }

    def shown_options(self) -> dict[str, str]:
        """Return the options that differ from their defaults, as text by name, without those that the shapes imply.

        The class attribute ``implied`` has the names of the options that the shapes imply.
        """
        return {name: text for name, text in self.options().items() if name not in self.implied}

    @property
    def purpose(self) -> Purpose:
        """The role of the operation in a network; it follows from ``kind`` unless a subclass overrides it."""
        return _PURPOSES.get(self.kind, Purpose.OTHER)

    def label(self, inputs: Sequence[TensorType]) -> str:
        """Return a label for drawings, with the most important options: ``conv 3×3, 16 → 32 /2``.

        ``inputs`` are the types of the inputs. In this example, /2 is the stride.
        """
        return ", ".join(
            [self.title or self.words(), *(f"{name}={text}" for name, text in self.shown_options().items())]
        )

    def work_text(self, types: Sequence[TensorType]) -> str:
        """Return a short description of the work, such as ``16→32 channels, 3×3``; "" by default.

        ``types`` are the types of the inputs and then of the outputs.
        """
        return ""

    def own_equation(self) -> str:
        """Return the equation with numbers in place of the letters that stand for options, such as α."""
        return with_numbers(
            self.equation(), {letter: number_text(getattr(self, option)) for letter, option in self.letters.items()}
        )

    def notation(self, *operands: Expression) -> Expression | None:
        """Return the result in mathematical notation, such as ``a + b``, from the expressions of the operands.

        None means that the result is written as a call: ``name(a, b)``.
        """
        return None

    def known_result(self, inputs: Sequence[TensorType]) -> Expression | None:
        """Return the result as an expression if the shapes alone determine it, such as ``3·N``; else None."""
        return None

    def written(self, *operands: Expression) -> Expression:
        """Return the result as it appears in equations, from the expressions of the operands.

        It is written in the operation's ``notation``, such as ``a + b``, or else as a call, such as
        ``leaky_relu(x, negative_slope=0.1)``.
        """
        return self.notation(*operands) or call(self.call_name(), operands, self.shown_options())

    def __str__(self) -> str:
        shown = [f"{name}={text}" for name, text in self.options().items()]
        return f"{self.call_name()}({', '.join(shown)})" if shown else self.call_name()


@dataclass(frozen=True)
class Composite(Op):
    """The abstract base class of operations that consist of smaller operations.

    The compiler replaces a composite operation by the smaller ones after differentiation.
    """

    kind: ClassVar[Kind] = Kind.COMPOSITE

    def expand(self, *inputs: Value) -> Values:
        """Return the outputs of this operation, computed from ``inputs`` by smaller operations."""
        raise NotImplementedError


def foreign_code(cls: type[Op]) -> str:
    """Return a digest of the code of an operation that is defined outside striate; "" for striate's own.

    The digest is part of the key of compiled kernels, so that a user who edits an operation never gets the old kernel.
    """
    own = [base for base in cls.__mro__ if base is not object and base.__module__.split(".")[0] != "striate"]
    digest = hashlib.sha256()
    for base in own:
        for name, member in sorted(vars(base).items()):
            code = getattr(getattr(member, "__func__", member), "__code__", None)
            digest.update(f"{base.__qualname__}.{name} {_code_text(code) if code else repr(member)}".encode())
    return digest.hexdigest()[:16] if own else ""


def _code_text(code: CodeType) -> str:
    """Return bytecode, names and constants of a function and its nested functions, without addresses."""
    constants = [_code_text(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {constants}"


_serial = itertools.count()


@dataclass(eq=False)
class Node:
    """An operation applied to values.

    ``serial`` grows with every new node, so sorting by it gives a topological order. ``path`` is the dotted path of the
    layer that the node comes from.
    """

    op: Op
    inputs: tuple[Value, ...]
    path: str = ""
    outputs: tuple[Value, ...] = field(init=False, repr=False)
    serial: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.serial = next(_serial)
        types = self.op.infer(*(value.type for value in self.inputs))
        self.outputs = tuple(Value(type, self, index) for index, type in enumerate(types))


_path: ContextVar[tuple[str, ...]] = ContextVar("striate_path", default=())


@contextmanager
def scope(name: str) -> Generator[None]:
    """Append ``name`` to the layer path of all nodes that are created in this ``with`` block."""
    token = _path.set((*_path.get(), name)) if name else None
    try:
        yield
    finally:
        if token is not None:
            _path.reset(token)


@contextmanager
def at_path(path: str) -> Generator[None]:
    """Set the layer path of all nodes that are created in this ``with`` block.

    Gradients and rewritten nodes thus keep the path of the node that they come from.
    """
    token = _path.set((path,) if path else ())
    try:
        yield
    finally:
        _path.reset(token)


def current_path() -> str:
    """Return the dotted path of the layer that is being traced, such as ``layer1.0.conv1``; "" at the top."""
    return ".".join(_path.get())


_function: ContextVar[tuple[str, Callable[[], str]] | None] = ContextVar("striate_function", default=None)


@contextmanager
def naming(name: str, call: Callable[[], str]) -> Generator[None]:
    """Let errors that are raised in this ``with`` block name the function of ``st.ops`` that the user called.

    ``name`` is the name of the function, and ``call()`` returns the call with its options, such as ``conv(stride=2)``.
    Without ``naming``, an error would name the operation that found the fault, which the user may not know.
    """
    token = _function.set((name, call))
    try:
        yield
    finally:
        _function.reset(token)


def place(op: Op | str) -> str:
    """Return as text where an error occurred, such as ``at "block1.conv" convolution(stride=2)``.

    The first part is the path of the layer that is being traced, if there is one. The second part is the function of
    ``st.ops`` that is running (see ``naming``), or else the operation ``op``.
    """
    path, function = current_path(), _function.get()
    what: Op | str = op
    if function is not None:
        name, call = function
        what = name if isinstance(op, str) else call()
    return f'at "{path}" {what}' if path else f"{what}"


def same_dtype(op: Op, inputs: Sequence[TensorType]) -> None:
    """Raise ``GraphError`` if the inputs of ``op`` differ in dtype; conversions must be explicit."""
    if any(type.dtype is not inputs[0].dtype for type in inputs):
        raise GraphError(f"{place(op)}: mixed dtypes {', '.join(str(type) for type in inputs)}")
