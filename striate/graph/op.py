"""Operations and nodes.

An operation is a frozen dataclass. Its parameters are its fields; its shape rule, its NumPy reference, its gradient
and its lowering to machine code stand next to each other. Drivers ask for an operation's ``kind``, never its name.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
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
    """What drivers need to know about an operation."""

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
    """Which way a contraction goes through its layer."""

    FORWARD = "forward"
    INPUT_GRADIENT = "input gradient"
    WEIGHT_GRADIENT = "weight gradient"


class Purpose(Enum):
    """The role of an operation in a network; drawings colour layers by it."""

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
    """One example that the tests run an operation on: the operation and its input arrays."""

    op: Op
    arrays: tuple[Array, ...]
    batched: bool = True  # axis 0 of the first input becomes the symbolic N
    differentiable: tuple[bool, ...] | None = None  # which inputs finite differences may move (None: all floats)


_REGISTRY: dict[str, type[Op]] = {}
Values = tuple[Value, ...]
Gradients = tuple[Value | None, ...]
Needed = tuple[bool, ...]
PositionSets = tuple[frozenset[int], ...]
"""Positions along each axis of positions. With dilation there are gaps between them."""
OpClass = TypeVar("OpClass", bound="type[Op]")


def register(cls: OpClass) -> OpClass:
    """Registers an operation by its class name, for saved files, tests and drivers."""
    if cls.__name__ in _REGISTRY and _REGISTRY[cls.__name__].__module__ != cls.__module__:
        raise GraphError(f"an operation named {cls.__name__} exists already in {_REGISTRY[cls.__name__].__module__}")
    _REGISTRY[cls.__name__] = cls
    return cls


def registry() -> dict[str, type[Op]]:
    """All registered operations by class name."""
    return dict(_REGISTRY)


@dataclass(frozen=True)
class Op:
    """Base class of all operations (abstract).

    The first line of a subclass's docstring is its equation, which summaries and errors print.
    """

    kind: ClassVar[Kind]
    direction: ClassVar[Direction] = Direction.FORWARD
    title: ClassVar[str] = ""
    """Its usual name, such as "conv" or "leaky ReLU"; by default, the words of its class name."""
    arithmetic: ClassVar[bool] = False
    """Whether labels leave it out, as the sum and the product in ``x · w + b``."""
    results: ClassVar[tuple[str, ...]] = ()
    """The names of its outputs, if it has several with common names: ("mean", "variance")."""
    implied: ClassVar[frozenset[str]] = frozenset({"shape", "size"})
    """Options that labels and equations leave out, because the shapes next to them say the same."""
    deviation: ClassVar[bool] = False
    """Whether it turns a variance into a standard deviation, which is how a normalization is recognized."""
    letters: ClassVar[Mapping[str, str]] = {}
    """Maps letters and words of its equation to the options that give their values: {"α": "negative_slope"}."""
    stored_dtype: ClassVar[DType | None] = None
    """The dtype of a blocked output in memory, if it differs from the dtype in which it is computed."""
    checked_inputs: ClassVar[tuple[int, ...]] = ()
    """Places of inputs whose contents have a rule, which ``require_contents`` holds them to before anything runs."""
    is_cast: ClassVar[bool] = False
    """Whether the output holds the input's numbers in another dtype."""
    onnx_operator: ClassVar[str] = ""
    """The ONNX operator that computes the same from the same inputs, such as "Tanh"; "" if there is none."""
    onnx_takes_bias: ClassVar[bool] = False
    """Whether ``onnx`` also takes, as its last input, a vector (C,) that is added to each channel of the output."""
    gives_probabilities: ClassVar[bool] = False
    """Whether the outputs are positive and add up to 1 over the channels, axis 1."""

    def infer(self, *inputs: TensorType) -> tuple[TensorType, ...]:
        """The types of the outputs, by arithmetic only; raises ``ShapeError`` or ``DTypeError``."""
        raise NotImplementedError

    # Subclasses may name their operands, as in ``reference(self, x, w)``, because the base class accepts any.

    def reference(self, *inputs: Any, **_: Any) -> Array | tuple[Array, ...]:
        """The outputs in plain NumPy, slow and obvious; every kernel is tested against it."""
        raise NotImplementedError

    def gradient(self, inputs: Values, outputs: Values, output_gradients: Values, needed: Needed) -> Gradients:
        """∂L/∂input for each needed input, from ∂L/∂output in ``output_gradients``.

        An operation with several outputs receives None for an output that L does not depend on.
        """
        raise NotImplementedError

    def output_moments(self, inputs: tuple[Value, ...], outputs: tuple[Value, ...]) -> tuple[Value, Value] | None:
        """The mean and the biased variance per channel of the first output, if they are known without reading it."""
        return None

    def require_contents(self, array: Array, inputs: tuple[TensorType, ...]) -> None:
        """Raises where the array of a checked input holds what the operation cannot take."""

    def on_empty(self, *inputs: Value) -> tuple[Value, ...]:
        """The outputs where an input has no elements (a size is 0) but the outputs have some.

        A sum over nothing is 0, a mean NaN. Only operations that add up or join axes can meet this.
        """
        raise GraphError(f"{self}: nothing can be computed from {', '.join(str(value.type) for value in inputs)}")

    def positions_read(self, types: Sequence[TensorType], number: int, positions: PositionSets) -> PositionSets | None:
        """The positions of input ``number`` on which the outputs at some positions depend; None for all of them.

        ``types`` are those of the inputs. Positions outside the input, in its padding, may be among them.
        """
        return None

    @classmethod
    def samples(cls, random: np.random.Generator) -> Iterator[Sample]:
        """Examples for the test that runs over all operations; it fails for an operation without examples."""
        yield from ()

    def __call__(self, *inputs: Value) -> Any:
        """Adds a node; returns its output, or a tuple of its outputs."""
        node = Node(self, inputs, current_path())
        return node.outputs[0] if len(node.outputs) == 1 else node.outputs

    # Other frameworks

    def onnx(self, to: OnnxWriter, inputs: Sequence[str], types: Sequence[TensorType]) -> Sequence[str] | None:
        """Adds the ONNX operators that compute the same; returns the names of their outputs, "" for unused ones.

        ``inputs`` are the names of its inputs and ``types`` their types. None where ONNX has no such operator; a
        composite operation is then exported as the operations that it consists of.
        """
        return [to.add(self.onnx_operator, *inputs, **self.onnx_attributes())] if self.onnx_operator else None

    def onnx_attributes(self) -> Mapping[str, Attribute | None]:
        """The attributes of ``onnx_operator`` that its options give; None for one to be left out."""
        return {}

    # How it is shown

    @classmethod
    def equation(cls) -> str:
        """The first line of the docstring."""
        return (cls.__doc__ or cls.__name__).strip().splitlines()[0]

    @classmethod
    def call_name(cls) -> str:
        """Its name in graph text: ``leaky_relu``."""
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()

    @classmethod
    def words(cls) -> str:
        """Its name in words: ``leaky relu``."""
        return cls.call_name().replace("_", " ")

    def options(self) -> dict[str, str]:
        """The options that differ from their defaults, as text."""
        return {
            f.name: str(value)
            for f in fields(self)
            if f.repr and (value := getattr(self, f.name)) != f.default and value not in ((), None)
        }

    def shown_options(self) -> dict[str, str]:
        """The options that differ from their defaults and that the shapes do not imply."""
        return {name: text for name, text in self.options().items() if name not in self.implied}

    @property
    def purpose(self) -> Purpose:
        """Its role in a network; it follows from the kind, unless a subclass overrides it."""
        return _PURPOSES.get(self.kind, Purpose.OTHER)

    def label(self, inputs: Sequence[TensorType]) -> str:
        """Its label in a drawing, with the important options: ``conv 3×3, 16 → 32 /2``."""
        return ", ".join(
            [self.title or self.words(), *(f"{name}={text}" for name, text in self.shown_options().items())]
        )

    def work_text(self, types: Sequence[TensorType]) -> str:
        """What it works on, from the types of its inputs and outputs: ``16→32 channels, 3×3``; empty unless it says."""
        return ""

    def own_equation(self) -> str:
        """Its equation, with the values of the options instead of their letters."""
        return with_numbers(
            self.equation(), {letter: number_text(getattr(self, option)) for letter, option in self.letters.items()}
        )

    def notation(self, *operands: Expression) -> Expression | None:
        """Its mathematical notation, such as ``a + b``; None for an operation that is written as a call."""
        return None

    def known_result(self, inputs: Sequence[TensorType]) -> Expression | None:
        """Its result, if the shapes determine it: ``3·N``."""
        return None

    def written(self, *operands: Expression) -> Expression:
        """Its result in an equation: ``a + b``, or ``leaky_relu(x, negative_slope=0.1)``."""
        return self.notation(*operands) or call(self.call_name(), operands, self.shown_options())

    def __str__(self) -> str:
        shown = [f"{name}={text}" for name, text in self.options().items()]
        return f"{self.call_name()}({', '.join(shown)})" if shown else self.call_name()


@dataclass(frozen=True)
class Composite(Op):
    """Base class of operations that are replaced by smaller ones after differentiation (abstract)."""

    kind: ClassVar[Kind] = Kind.COMPOSITE

    def expand(self, *inputs: Value) -> Values:
        """The same outputs, computed by smaller operations."""
        raise NotImplementedError


def foreign_code(cls: type[Op]) -> str:
    """A digest of the code of an operation that is defined outside striate; "" for striate's own.

    It is part of the key of compiled kernels, so that a user who edits an operation never gets the old kernel.
    """
    own = [base for base in cls.__mro__ if base is not object and base.__module__.split(".")[0] != "striate"]
    digest = hashlib.sha256()
    for base in own:
        for name, member in sorted(vars(base).items()):
            code = getattr(getattr(member, "__func__", member), "__code__", None)
            digest.update(f"{base.__qualname__}.{name} {_code_text(code) if code else repr(member)}".encode())
    return digest.hexdigest()[:16] if own else ""


def _code_text(code: CodeType) -> str:
    """Bytecode, names and constants, including those of nested functions, without addresses."""
    constants = [_code_text(c) if isinstance(c, CodeType) else repr(c) for c in code.co_consts]
    return f"{code.co_code.hex()} {code.co_names} {constants}"


_serial = itertools.count()


@dataclass(eq=False)
class Node:
    """An operation applied to values. ``serial`` grows with every new node; sorting by it gives a topological order."""

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
    """Appends ``name`` to the path of the nodes that are created inside."""
    token = _path.set((*_path.get(), name)) if name else None
    try:
        yield
    finally:
        if token is not None:
            _path.reset(token)


@contextmanager
def at_path(path: str) -> Generator[None]:
    """Sets the path of the nodes that are created inside: gradients and rewrites keep the path of their origin."""
    token = _path.set((path,) if path else ())
    try:
        yield
    finally:
        _path.reset(token)


def current_path() -> str:
    """The dotted path of the layer being traced."""
    return ".".join(_path.get())


def same_dtype(op: Op, inputs: Sequence[TensorType]) -> None:
    """Raises ``GraphError`` if float inputs differ in dtype, because casts are explicit."""
    if any(type.dtype is not inputs[0].dtype for type in inputs):
        raise GraphError(f"{op} at {current_path()!r}: mixed dtypes {', '.join(str(type) for type in inputs)}")
