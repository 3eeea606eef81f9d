"""``Trace``: the record of one traced run of a function.

An ordinary Python function, run once on symbolic values, becomes a graph. During this run the trace records which
parameters and states are read, which states get new contents, which arrays the function closes over, and which layers
are called (for error messages, summaries and watches).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

from striate.errors import TracingError
from striate.graph import operand
from striate.graph.array import known_dtype, native
from striate.graph.check import check
from striate.graph.graph import Graph, Input, OutputRole, Parameter, State
from striate.graph.value import Array, DType, N, Shape, TensorType, Value, dtype_of, in_trace
from striate.runtime.state import StateArena

KEY = "key"
"""The name of the int64 input that seeds random operations."""


class TracedArray(Protocol):
    """Protocol: the attributes of a parameter or buffer (``nn.Parameter``) that a trace uses."""

    @property
    def learned(self) -> bool:
        """Whether the array is a parameter rather than a buffer, such as running statistics."""
        ...

    @property
    def type(self) -> TensorType:
        """The dtype and shape of the array, whose sizes are all known."""
        ...

    @property
    def arena(self) -> StateArena | None:
        """The state arena (memory block of a model) that contains the array, or None if there is none yet."""
        ...

    def materialized(self) -> Array:
        """Return the array in the memory block of its model, which is allocated if there is none yet."""
        ...


class TracedModule(Protocol):
    """Protocol: the attributes of a module that a trace uses."""

    @property
    def version(self) -> int:
        """A number that increases whenever the module's structure, an option or its memory changes."""
        ...


@dataclass(frozen=True)
class LayerCall:
    """The record of one call of a layer in a traced function.

    ``path`` is the dotted path of the layer, and ``inputs`` and ``output`` are values of the graph. ``layer`` is an
    ``nn.Module``; its type is ``Any`` because this package does not import ``nn``. ``is_leaf`` says whether the layer
    contains no other layers.
    """

    path: str
    layer: Any
    inputs: tuple[Value, ...]
    output: Value
    is_leaf: bool


_active: ContextVar[Trace | None] = ContextVar("striate_trace", default=None)


class Trace:
    """The record of one traced run of a function, which is called inside ``with trace:``.

    ``training`` says whether layers such as dropout and batch normalization behave as in training. ``by_batch`` says
    whether batch normalization uses the statistics of its batch even without ``training``, and ``synchronized`` whether
    it uses the statistics over the batches of all ranks (processes). The attributes ``names`` and ``paths`` map
    parameters and modules to their dotted names in the traced model.
    """

    def __init__(self, training: bool = False, *, by_batch: bool = False, synchronized: bool = False) -> None:
        self.training = training
        self.by_batch = training or by_batch
        self.synchronized = synchronized
        self.names: dict[TracedArray, str] = {}
        self.paths: dict[TracedModule, str] = {}
        self.inputs: dict[str, Value] = {}
        self.parameters: dict[str, TracedArray] = {}
        self.updates: dict[str, Value] = {}
        self.counters: list[TracedArray] = []
        self.captured: dict[str, Array] = {}
        self.calls: list[LayerCall] = []
        self.checks: list[Callable[[int], None]] = []
        self.undo: list[Callable[[], None]] = []
        self.explained: list[Exception] = []
        self.streams = 0
        self._read: dict[TracedArray, Value] = {}
        self._captured_values: dict[tuple[int, DType | None], tuple[Array, Value]] = {}
        self._tokens: tuple[Token[Trace | None], Token[operand.Capture | None], Token[bool]] | None = None

    def __enter__(self) -> Trace:
        self._tokens = _active.set(self), operand.capture.set(self.capture), in_trace.set(True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tokens is not None:
            trace_token, capture_token, compare_token = self._tokens
            _active.reset(trace_token)
            operand.capture.reset(capture_token)
            in_trace.reset(compare_token)
        if kind is not None:
            for restore in reversed(self.undo):  # sizes inferred from an unsuitable input are discarded
                restore()

    def input(self, name: str, type: TensorType) -> Value:
        """Return the graph input called ``name``; if there is none, add one with the dtype and shape ``type``."""
        if name not in self.inputs:
            self.inputs[name] = Input(name, type)()
        return self.inputs[name]

    def key(self) -> tuple[Value, int]:
        """Return (key, stream) for a new random operation.

        ``key`` is the graph input that seeds all random operations; ``stream`` is a number that no other operation has.
        """
        self.streams += 1
        return self.input(KEY, TensorType(DType.int64, ())), self.streams - 1

    def read(self, parameter: TracedArray) -> Value:
        """Return the graph value for a parameter or buffer.

        If ``update`` has given a buffer new contents, the value is the new contents.
        """
        if parameter not in self._read:
            name = self.names.get(parameter, f"parameter.{len(self.parameters)}")
            while name in self.inputs:
                name += "'"  # two models in one function may use the same names
            self.names[parameter] = name
            source = Parameter if parameter.learned else State
            self._read[parameter] = self.inputs[name] = source(name, parameter.type)()
            self.parameters[name] = parameter
        return self._read[parameter]

    def update(self, state: TracedArray, value: Value) -> None:
        """Record ``value`` as the new contents of the buffer ``state``, such as a running mean.

        The contents are written to the buffer if the training step succeeds.
        """
        self.read(state)
        self._read[state] = value
        self.updates[self.names[state]] = value

    def capture(self, array: Array, dtype: DType | None = None) -> Value:
        """Return the graph value for an array that the traced function uses without taking it as an argument.

        The array is converted to ``dtype``; None keeps the dtype of the array. The contents are copied now, so writing
        to the array later does not change the program.
        """
        known = self._captured_values.get((id(array), dtype))
        if known is not None:
            return known[1]
        name = f"constant.{len(self.captured)}"
        contents = native(array, "an array that the function closes over")
        kept = contents.astype(contents.dtype if dtype is None else dtype.numpy, order="C")  # a copy of our own
        self.captured[name] = kept
        value = self.input(name, TensorType(dtype_of(kept.dtype), kept.shape))
        self._captured_values[id(array), dtype] = (array, value)
        return value

    def graph(
        self,
        outputs: Mapping[str, Value],
        updates: Mapping[str, Value] | None = None,
        roles: Mapping[str, OutputRole] | None = None,
    ) -> Graph:
        """Return the traced graph with these outputs, after checking it.

        ``updates`` are the new contents of buffers by name, such as ``self.updates``, which layers recorded; by default
        there are none. ``roles`` are the roles of outputs by name; an output without a role is a plain result. Raises
        ``GraphError`` for an invalid graph.
        """
        return check(Graph(self.inputs, outputs, dict(updates or {}), self.captured, dict(roles or {})), "trace")

    def bindings(self) -> dict[str, Array]:
        """Return the arrays of all parameters and buffers that the traced function read, by name.

        Memory is allocated for models that have none yet.
        """
        for parameter in self.parameters.values():
            parameter.materialized()  # placing one model may move arrays that another shares, so all are placed first
        return {name: parameter.materialized() for name, parameter in self.parameters.items()}

    def arenas(self) -> tuple[StateArena, ...]:
        """Return the state arenas (memory blocks of models) of the parameters and buffers that the function read.

        Call ``bindings`` first: it allocates memory for models that have none yet.
        """
        found = {id(one.arena): one.arena for one in self.parameters.values() if one.arena is not None}
        return tuple(found.values())


def current_trace() -> Trace | None:
    """Return the trace in whose ``with`` block the caller runs, the innermost one; None if there is none."""
    return _active.get()


def active_trace(what: str) -> Trace:
    """Return the trace in whose ``with`` block the caller runs, the innermost one.

    Raises ``TracingError`` if there is none; ``what``, such as a function's name, begins the message.
    """
    trace = _active.get()
    if trace is None:
        raise TracingError(f"{what} works only inside a traced function\n  help: call it in a function for st.compile")
    return trace


def array_type(array: Array, name: str, batched: bool) -> TensorType:
    """Return the dtype and shape of an array as the type of a graph input; ``batched`` makes axis 0 the symbolic N.

    ``name`` is what the error message calls the array. Raises ``DTypeError`` for a dtype that programs do not support.
    """
    shape: Shape = (N, *array.shape[1:]) if batched and array.ndim else array.shape
    return TensorType(dtype_of(known_dtype(array, name)), shape)
