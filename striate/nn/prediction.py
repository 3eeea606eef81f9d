"""Calls of a module on arrays: programs compiled for any number of samples, kept by the kind of call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from striate.engine import prepare
from striate.errors import DTypeError, ShapeError, TracingError
from striate.graph.array import native
from striate.graph.contents import content_checks
from striate.graph.graph import Graph
from striate.graph.value import Array, DType, TensorType
from striate.tracing import KEY, FunctionCache, Trace, TracedFunction, array_type, output_values


class Predicting(Protocol):
    """What prediction needs of a module."""

    @property
    def version(self) -> int:
        """A number that increases when the structure, an option or the memory of the module changes."""
        ...

    @property
    def dtype(self) -> DType | None:
        """The dtype of the parameters; None if there are none."""
        ...

    def trace(self, inputs: tuple[Any, ...]) -> Any:
        """Adds the module to the active trace."""
        ...

    def describe(self) -> str:
        """A one-line description of the module."""
        ...


@dataclass(frozen=True)
class LatestCall:
    """The program that predicted last, and its input type: a call on a similar array needs no look-up."""

    version: int
    training: bool
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    program: TracedFunction
    single_sample: bool

    def takes(self, x: object, training: bool, version: int) -> bool:
        """Whether the program can predict on ``x`` without conversion."""
        return (
            type(x) is np.ndarray
            and x.ndim > 0
            and x.shape[1:] == self.shape
            and x.dtype == self.dtype
            and training == self.training
            and version == self.version
            and ((x.shape[0] == 1) == self.single_sample or not self.program.executable.batch_specialized)
        )


class Predictor:
    """The programs of one module, traced and compiled when a call needs them."""

    def __init__(self) -> None:
        self.latest: LatestCall | None = None
        self.example: tuple[TensorType, ...] | None = None
        """The types that the module was last traced with."""
        self._programs = FunctionCache()

    def predict(self, module: Predicting, inputs: tuple[Any, ...], training: bool) -> Any:
        """The result of the module for arrays whose axis 0 counts the samples."""
        arrays, n = arrays_of(module, inputs)
        program = self._find(module, arrays, n, training)
        if KEY in program.graph.inputs:
            arrays[KEY] = np.zeros((), np.int64)
        elif len(inputs) == 1:
            x = arrays["x"]
            self.latest = LatestCall(module.version, training, x.shape[1:], x.dtype, program, n == 1)
        return program(arrays, n)

    def computed(
        self, module: Predicting, key: object, arrays: Mapping[str, Array], function: Callable[..., Any]
    ) -> Any:
        """Traces ``function``, compiles it and runs it on ``arrays``, whose axis 0 is N; see ``Module.computed``."""
        n = _samples(module, arrays)
        types = {name: array_type(array, name, batched=True) for name, array in arrays.items()}
        full_key = (module.version, key, tuple(types.items()))
        program = self._programs.find(full_key)
        if program is None:
            with Trace() as trace:
                outputs = function(**{name: trace.input(name, type) for name, type in types.items()})
                graph = trace.graph(output_values(outputs))
            program = _prepared(trace, graph, outputs, single_sample=False)
            # Preparing may have assigned memory, which changes the version.
            self._programs.keep((module.version, *full_key[1:]), program)
        return program(arrays, n)

    def program(self, module: Predicting, inputs: tuple[Any, ...], training: bool) -> TracedFunction:
        """The program that predicts on arrays like these."""
        return self._find(module, *arrays_of(module, inputs), training)

    def _find(self, module: Predicting, arrays: Mapping[str, Array], n: int, training: bool) -> TracedFunction:
        types = {name: array_type(array, name, batched=True) for name, array in arrays.items()}
        shapes = tuple(types.values())
        program = self._programs.find((module.version, training, shapes, n == 1))
        if program is None:
            program = self._build(module, types, training, n)
            self._programs.keep((module.version, training, shapes, n == 1), program)
            if not program.executable.batch_specialized:
                self._programs.keep((module.version, training, shapes, n != 1), program)
        return program

    def _build(self, module: Predicting, types: Mapping[str, TensorType], training: bool, n: int) -> TracedFunction:
        with Trace(training) as trace:
            outputs = module.trace(tuple(trace.input(name, type) for name, type in types.items()))
            if not output_values(outputs):
                raise TracingError(
                    f"{module.describe()}: its forward returned a {type(outputs).__name__}, not a traced value\n"
                    "  help: compute the result from its input, with layers and st.ops"
                )
            graph = trace.graph(output_values(outputs))
        self.example = tuple(types.values())
        return _prepared(trace, graph, outputs, single_sample=n == 1)


def _prepared(trace: Trace, graph: Graph, outputs: Any, single_sample: bool) -> TracedFunction:
    bindings = trace.bindings()
    executable = prepare(
        graph, bindings, {}, None, arenas=trace.arenas(), keep_packed=True, single_sample=single_sample
    )
    return TracedFunction(graph, executable, outputs, tuple(trace.checks), content_checks(graph))


def arrays_of(module: Predicting, inputs: tuple[Any, ...]) -> tuple[dict[str, Array], int]:
    """The inputs by name, as arrays that programs take, and the number of samples."""
    arrays = {f"x{i}" if i else "x": as_input(module, array, first=not i) for i, array in enumerate(inputs)}
    return arrays, _samples(module, arrays)


def _samples(module: Predicting, arrays: Mapping[str, Array]) -> int:
    """The size of axis 0, which all arrays must share; raises ``ShapeError`` if they do not."""
    if not arrays or any(array.ndim == 0 for array in arrays.values()):
        raise ShapeError(
            f"{type(module).__name__} expects arrays whose axis 0 counts the samples\n  help: x[None] is a batch of one"
        )
    sizes = {array.shape[0] for array in arrays.values()}
    if len(sizes) > 1:
        raise ShapeError(f"the inputs have different numbers of samples: {sorted(sizes)}")
    return sizes.pop()


def as_input(module: Predicting, array: Any, first: bool = True) -> Array:
    """An array as the module's programs take it: bytes unchanged, other numbers in the module's dtype.

    Integers and bools after the ``first`` input keep their type, because they may be labels or conditions. Raises
    ``DTypeError`` for anything that is not an array of real numbers.
    """
    name = type(module).__name__
    if type(array) is not np.ndarray or array.dtype.kind not in "fiub":
        array = _converted(array, name)
    found = native(array, f"the input of {name}")
    kind, dtype = found.dtype.kind, module.dtype or DType.float32
    if kind == "f":
        # A module without parameters computes in the dtype of its input.
        return found if module.dtype is None else found.astype(dtype.numpy, copy=False)
    if first and found.dtype != np.uint8:
        return found.astype(dtype.numpy)
    return found


def _converted(array: Any, name: str) -> Array:
    try:
        found = np.asanyarray(array)
    except ValueError as error:
        raise DTypeError(
            f"{name} expects an array, not nested lists of different lengths\n  help: pad or group them first"
        ) from error
    except (TypeError, RuntimeError) as error:
        raise DTypeError(f"{name} expects an array: {error}\n  help: give a NumPy array") from error
    if found.dtype.kind not in "fiub":
        given = f"an array of {found.dtype}" if isinstance(array, np.ndarray) else f"{array!r:.60}"
        raise DTypeError(
            f"{name} expects an array of real numbers, not {given}\n"
            "  help: model(x) with x of shape (N, …); np.asarray(x, np.float32) where the elements are numbers"
        )
    return found
