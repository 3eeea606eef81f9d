"""Tracing: an ordinary Python function, run once on symbolic values, becomes a graph.

``Trace`` is the surroundings of one run: which parameters and states were read, which states get new contents,
which arrays the function closed over, and the trail of layers passed so far (for error messages).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar, Token
from dataclasses import dataclass
from functools import wraps
from types import TracebackType
from typing import Any, Protocol, TypeGuard, cast

import numpy as np

from striate.engine import Executable, prepare
from striate.errors import DTypeError, OptionError, ShapeError, TracingError
from striate.graph import arithmetic
from striate.graph.check import check
from striate.graph.graph import Graph, Input, Parameter, State
from striate.graph.value import Array, DType, N, Shape, TensorType, Value, dtype_of
from striate.passes.differentiate import differentiate
from striate.state import StateArena

KEY = "key"
"""Name of the int64 input that random operations draw from."""


class Slot(Protocol):
    """What a trace needs to know of a parameter or buffer that a layer owns."""

    @property
    def learned(self) -> bool:
        """Whether it is a parameter (else a state)."""
        ...

    @property
    def type(self) -> TensorType:
        """Dtype and shape, both known."""
        ...

    @property
    def home(self) -> StateArena | None:
        """The arena that holds it."""
        ...

    def held(self) -> Array:
        """The array itself, inside the state arena of its model."""
        ...


class Layer(Protocol):
    """What a trace needs to know of a module."""

    @property
    def version(self) -> int:
        """Grows when its structure, an option or its memory changes."""
        ...


@dataclass(frozen=True)
class Step:
    """One layer that a trace passed: for trails, summaries and watches."""

    path: str
    layer: Any
    inputs: tuple[Value, ...]
    output: Value
    is_leaf: bool


_active: ContextVar[Trace | None] = ContextVar("striate_trace", default=None)


class Trace:
    """The surroundings of one traced run; use as a context manager.

    ``names`` and ``paths`` are the dotted names of slots and modules as seen from the model that is traced.
    """

    def __init__(self, training: bool = False) -> None:
        self.training = training
        self.names: dict[Slot, str] = {}
        self.paths: dict[Layer, str] = {}
        self.inputs: dict[str, Value] = {}
        self.slots: dict[str, Slot] = {}
        self.updates: dict[str, Value] = {}
        self.counted: list[Slot] = []
        self.captured: dict[str, Array] = {}
        self.steps: list[Step] = []
        self.checks: list[Callable[[int], None]] = []
        self.undo: list[Callable[[], None]] = []
        self.explained: list[Exception] = []
        self.streams = 0
        self._read: dict[Slot, Value] = {}
        self._captured_values: dict[int, tuple[Array, Value]] = {}
        self._token: Token[Trace | None] | None = None

    def __enter__(self) -> Trace:
        self._token = _active.set(self)
        arithmetic.capture.append(self.capture)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        arithmetic.capture.pop()
        if self._token is not None:
            _active.reset(self._token)
        if kind is not None:
            for restore in reversed(self.undo):  # sizes inferred from an input that did not fit are forgotten
                restore()

    def input(self, name: str, type: TensorType) -> Value:
        """A plain input of the graph; asking twice for one name gives the same value."""
        if name not in self.inputs:
            self.inputs[name] = Input(name, type)()
        return self.inputs[name]

    def key(self) -> tuple[Value, int]:
        """The input that random operations draw from, and a number that no other operation of this trace has."""
        self.streams += 1
        return self.input(KEY, TensorType(DType.int64, ())), self.streams - 1

    def read(self, slot: Slot) -> Value:
        """The value of a parameter or state; a state that was updated earlier in this trace reads as updated."""
        if slot not in self._read:
            name = self.names.get(slot, f"slot.{len(self.slots)}")
            while name in self.inputs:
                name += "'"  # two models inside one function may use the same names
            self.names[slot] = name
            source = Parameter if slot.learned else State
            self._read[slot] = self.inputs[name] = source(name, slot.type)()
            self.slots[name] = slot
        return self._read[slot]

    def update(self, slot: Slot, value: Value) -> None:
        """Gives a state new contents, to be committed when the step succeeds."""
        self.read(slot)
        self._read[slot] = value
        self.updates[self.names[slot]] = value

    def capture(self, array: Array) -> Value:
        """An array that the traced function closed over."""
        known = self._captured_values.get(id(array))
        if known is not None:
            return known[1]
        name = f"constant.{len(self.captured)}"
        self.captured[name] = array
        value = self.input(name, TensorType(known_dtype(array, name), array.shape))
        self._captured_values[id(array)] = (array, value)
        return value

    def graph(self, outputs: Mapping[str, Value], updates: Mapping[str, Value] | None = None) -> Graph:
        """The traced graph."""
        return check(Graph(self.inputs, outputs, dict(updates or {}), self.captured), "trace")


def current_trace() -> Trace | None:
    """The innermost trace, or None outside of any."""
    return _active.get()


def active_trace(what: str) -> Trace:
    """The innermost trace; raises ``TracingError`` outside of any."""
    trace = _active.get()
    if trace is None:
        raise TracingError(f"{what} works inside a traced function only")
    return trace


def known_dtype(array: Array, name: str) -> DType:
    """The graph dtype of an array; raises ``DTypeError`` for one that graphs do not know."""
    try:
        return dtype_of(array.dtype)
    except OptionError as error:
        known = str(error).splitlines()[-1].strip()
        raise DTypeError(f"{name} is an array of {array.dtype}\n  {known}") from None


# Nested tuples, lists and dicts

Tree = Any
Leaf = tuple[str, Any]


def flatten_tree(tree: Tree, name: str) -> list[Leaf]:
    """(name, leaf) pairs of nested tuples, lists and dicts: ``x``, ``x.0``, ``x.weight`` …"""
    if isinstance(tree, dict):
        items = [(str(key), value) for key, value in cast("dict[object, Any]", tree).items()]
    elif isinstance(tree, (tuple, list)):
        items = [(str(index), value) for index, value in enumerate(cast("Sequence[Any]", tree))]
    else:
        return [(name, tree)]
    return [leaf for key, value in items for leaf in flatten_tree(value, f"{name}.{key}" if name else key)]


def rebuild_tree(tree: Tree, leaves: list[Any]) -> Tree:
    """The same nesting around other leaves, which are consumed from the front of the list."""
    if isinstance(tree, dict):
        return {key: rebuild_tree(value, leaves) for key, value in cast("dict[object, Any]", tree).items()}
    if isinstance(tree, list):
        return [rebuild_tree(value, leaves) for value in cast("list[Any]", tree)]
    if isinstance(tree, tuple):
        items = tuple(rebuild_tree(value, leaves) for value in cast("tuple[Any, ...]", tree))
        make = getattr(cast("Any", tree), "_make", None)  # of a named tuple
        return items if make is None else make(items)
    return leaves.pop(0)


def tree_structure(tree: Tree) -> object:
    """A hashable description of the nesting."""
    if isinstance(tree, dict):
        return ("dict", *((key, tree_structure(value)) for key, value in cast("dict[object, Any]", tree).items()))
    if isinstance(tree, (tuple, list)):
        items = cast("Sequence[Any]", tree)
        return (type(items).__name__, *(tree_structure(value) for value in items))
    return "leaf"


def contains_value(tree: Tree) -> bool:
    """Whether a traced value is among the leaves."""
    return any(isinstance(leaf, Value) for _, leaf in flatten_tree(tree, ""))


# Programs: a traced function with its executable


@dataclass(frozen=True)
class Program:
    """A traced function that is ready to run: arrays in, nested arrays out."""

    graph: Graph
    executable: Executable
    outputs: Tree
    checks: Sequence[Callable[[int], None]]
    models: Sequence[tuple[Layer, int]] = ()

    @property
    def outdated(self) -> bool:
        """Whether a model in it has another structure, or memory elsewhere, than when it was traced."""
        return any(model.version != version for model, version in self.models)

    def __call__(self, arrays: Mapping[str, Array], n: int) -> Tree:
        for verify in self.checks:
            verify(n)
        found = self.executable.run(arrays, n)
        if isinstance(self.outputs, Value):
            return found["out"]
        leaves = [found[name] if isinstance(leaf, Value) else leaf for name, leaf in flatten_tree(self.outputs, "out")]
        return rebuild_tree(self.outputs, leaves)


class Programs:
    """A bounded number of programs by key; the one unused for longest leaves first."""

    def __init__(self, limit: int = 16) -> None:
        self._limit = limit
        self._kept: OrderedDict[object, Program] = OrderedDict()

    def find(self, key: object) -> Program | None:
        """The program for a key."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def keep(self, key: object, program: Program) -> Program:
        """Remembers a program."""
        self._kept[key] = program
        if len(self._kept) > self._limit:
            self._kept.popitem(last=False)
        return program

    def __deepcopy__(self, memory: object) -> Programs:
        return Programs(self._limit)  # a copied model has memory of its own, which its programs must be bound to

    def __len__(self) -> int:
        return len(self._kept)


def array_type(array: Array, name: str, batched: bool) -> TensorType:
    """The type of an array as a graph input; ``batched`` makes axis 0 the symbolic N."""
    shape: Shape = (N, *array.shape[1:]) if batched and array.ndim else array.shape
    return TensorType(known_dtype(array, name), shape)


def output_values(tree: Tree) -> dict[str, Value]:
    """The traced values among the leaves of what a function returned, by name."""
    return {name: leaf for name, leaf in flatten_tree(tree, "out") if isinstance(leaf, Value)}


class Compiled:
    """A function of operations, traced and compiled for each combination of shapes it is called with."""

    def __init__(
        self, function: Callable[..., Any], batched: bool, capacity: int | None, limit: int, scalars: bool = True
    ) -> None:
        self._function = function
        self._scalars = scalars  # whether NumPy's floats are arrays of shape (), else static as Python's
        self._batched = batched
        self._capacity = capacity
        self._programs = Programs(limit)
        wraps(function)(self)

    def __repr__(self) -> str:
        return f"compiled({getattr(self._function, '__qualname__', self._function)})"

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        if contains_value((arguments, options)):
            return self._function(*arguments, **options)  # inside another trace: part of that graph
        leaves = self._leaves(arguments, options)
        arrays = {name: _contiguous(leaf) for name, leaf in leaves if _is_array(leaf)}
        static = tuple((name, leaf.__class__, leaf) for name, leaf in leaves if not _is_array(leaf))
        types = tuple((name, array_type(array, name, self._batched)) for name, array in arrays.items())
        key = (types, _hashable(static), tree_structure((arguments, options)))
        n = self._batch(arrays)
        program = self._programs.find(key)
        if program is None or program.outdated:
            program = self._programs.keep(key, self._build(arguments, options, dict(types), n))
        return program(arrays, n)

    def _leaves(self, arguments: tuple[Any, ...], options: dict[str, Any]) -> list[Leaf]:
        leaves = [*flatten_tree(arguments, "argument"), *flatten_tree(options, "")]
        if self._scalars:
            leaves = [(name, np.asarray(leaf) if _is_float(leaf) else leaf) for name, leaf in leaves]
        return leaves

    def _batch(self, arrays: Mapping[str, Array]) -> int:
        if not self._batched:
            return 1
        sizes = {name: array.shape[0] for name, array in arrays.items() if array.ndim}
        if len(set(sizes.values())) > 1:
            raise ShapeError(f"the arrays have different numbers of samples: {sizes}")
        return next(iter(sizes.values()), 1)

    def _build(
        self, arguments: tuple[Any, ...], options: dict[str, Any], types: Mapping[str, TensorType], n: int
    ) -> Program:
        with Trace() as trace:
            leaves = [
                trace.input(name, types[name]) if name in types else leaf
                for name, leaf in self._leaves(arguments, options)
            ]
            traced, named = rebuild_tree((arguments, options), leaves)
            outputs = self._function(*traced, **named)
            graph = trace.graph(output_values(outputs), trace.updates)
        capacity = self._capacity or n
        bindings = bindings_of(trace)
        executable = prepare(graph, bindings, {}, capacity, arenas=arenas_of(trace), keep_packed=True)
        models = tuple((model, model.version) for model, path in trace.paths.items() if not path)
        return Program(graph, executable, outputs, tuple(trace.checks), models)


def _is_float(leaf: Any) -> bool:
    return isinstance(leaf, np.floating)


def _is_array(leaf: object) -> TypeGuard[Array]:
    return isinstance(leaf, np.ndarray)


def _contiguous(array: Array) -> Array:
    return np.ascontiguousarray(array).reshape(array.shape)


def _hashable(static: tuple[Any, ...]) -> object:
    try:
        hash(static)
    except TypeError:
        unhashable = [name for name, _, leaf in static if leaf.__hash__ is None]
        raise TracingError(f"arguments {unhashable} are neither arrays nor hashable") from None
    return static


def bindings_of(trace: Trace) -> dict[str, Array]:
    """The arrays of all slots that a trace read; models that were not used before get theirs now."""
    for slot in trace.slots.values():
        slot.held()  # placing one model may move what it shares with another, so nothing is bound before all are placed
    return {name: slot.held() for name, slot in trace.slots.items()}


def arenas_of(trace: Trace) -> tuple[StateArena, ...]:
    """The arenas of the slots that a trace read, once ``bindings_of`` has placed them."""
    return tuple({id(slot.home): slot.home for slot in trace.slots.values() if slot.home is not None}.values())


def compile(
    function: Callable[..., Any], *, batched: bool = False, capacity: int | None = None, programs: int = 16
) -> Compiled:
    """Compiles any function of ``st.ops``, operators and layers: arrays in, arrays out.

    The function is traced once for each combination of shapes, dtypes, nesting and other (static) arguments, where
    NumPy's floats, ``np.float32(0.5)``, are arrays of shape () and Python's numbers static; at most ``programs``
    compiled programs are kept. With ``batched`` axis 0 of every array is a size N that may change from call to call
    without compiling again; ``capacity`` is the largest N planned for.

        smooth = st.compile(lambda x, w: st.ops.conv(x, w, padding=1))
    """
    return Compiled(function, batched, capacity, programs)


def value_and_grad(function: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Compiled:
    """A function that returns (value, gradients) of a function which returns one number.

    The gradients have the nesting of the argument (of a tuple of arguments, where ``argnums`` is a sequence).

        value, (dx, dw) = st.value_and_grad(loss_function, argnums=(0, 1))(x, w)
    """
    chosen = (argnums,) if isinstance(argnums, int) else tuple(argnums)

    def differentiated(*arguments: Any, **options: Any) -> Any:
        if any(index >= len(arguments) or index < -len(arguments) for index in chosen):
            raise OptionError(f"argnums={argnums} but the function was called with {len(arguments)} arguments")
        loss = function(*arguments, **options)
        if not isinstance(loss, Value):
            raise TracingError(
                f"value_and_grad needs a function that returns one traced number, not {loss!r}\n"
                "  help: differentiate by arrays, np.float32(3.0) rather than 3.0, and compute with st.ops"
            )
        trees = tuple(arguments[index] for index in chosen)
        leaves = [leaf for _, leaf in flatten_tree(trees, "")]
        wrong = next((leaf for leaf in leaves if not (isinstance(leaf, Value) and leaf.dtype.is_float)), None)
        if wrong is not None:
            raise DTypeError(f"value_and_grad differentiates float arrays, not {wrong!r}")
        gradients = rebuild_tree(trees, list(differentiate(loss, leaves)))
        return arithmetic.reshape(loss, ()), gradients[0] if isinstance(argnums, int) else gradients

    return compile(differentiated)
