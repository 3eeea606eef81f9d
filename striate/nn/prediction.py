"""Prediction: the programs that a module runs when it is called on arrays.

Each program is compiled at the first call that needs it, and kept for later calls with any number of samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from striate.engine import prepare
from striate.errors import DTypeError, ShapeError, TracingError
from striate.graph.array import native
from striate.graph.contents import content_checks, sample_checks
from striate.graph.graph import Graph
from striate.graph.value import Array, DType, TensorType
from striate.tracing import KEY, FunctionCache, Trace, TracedFunction, array_type, output_values


class Predicting(Protocol):
    """Protocol: the attributes of ``Module`` that prediction uses."""

    @property
    def version(self) -> int:
        """A number that increases whenever the structure, an option or the addresses of the module's arrays change."""
        ...

    @property
    def dtype(self) -> DType | None:
        """The dtype of the parameters; None if there are none."""
        ...

    def trace(self, inputs: tuple[Any, ...]) -> Any:
        """Add the module's operations to the graph that is being traced, and return its outputs as graph values.

        Arrays among the inputs become constants.
        """
        ...

    def describe(self) -> str:
        """Return a description of the module in one line, for error messages."""
        ...


@dataclass(frozen=True)
class LatestCall:
    """The program of a module's latest prediction, and the kind of input for which it was compiled.

    The next call runs the same program if ``dtype``, ``shape`` (of one sample), ``training`` and the module's
    ``version`` are the same. ``single_sample`` says whether the array had a single sample.
    """

    version: int
    training: bool
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    program: TracedFunction
    single_sample: bool

    def takes(self, x: object, training: bool, version: int) -> bool:
        """Return whether the program can predict on the array ``x`` without any conversion.

        ``training`` says whether to compute as in training, and ``version`` is the present ``Module.version``; both
        must be those of the latest call.
        """
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
    """The compiled programs of one module; each is traced and compiled at the first call that needs it."""

    def __init__(self) -> None:
        self.latest: LatestCall | None = None
        self.example: tuple[TensorType, ...] | None = None
        """The types of the inputs, with N on axis 0, for which the module was last traced; None before that."""
        self._programs = FunctionCache()

    def predict(self, module: Predicting, inputs: tuple[Any, ...], training: bool) -> Any:
        """Return the outputs of the module for input arrays with N on axis 0.

        With ``training=True``, the module computes as in training, with batch statistics and dropout.
        """
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
        """Compile ``function`` for the named arrays, which have N on axis 0, run it, and return its outputs as arrays.

        The function is called with one symbolic value per array, by name. The compiled program is kept, and later calls
        with an equal ``key`` and arrays of the same dtypes and shapes, apart from N, run it again. Therefore, functions
        that compute different things need different keys.
        """
        n = _samples(module, arrays)
        types = {name: array_type(array, name, batched=True) for name, array in arrays.items()}
        full_key = (module.version, key, tuple(types.items()))
        program = self._programs.find(full_key)
        if program is None:
            with Trace() as trace:
                outputs = function(**{name: trace.input(name, type) for name, type in types.items()})
                graph = trace.graph(output_values(outputs))
            program = _prepared(trace, graph, outputs, single_sample=False)
            # Keyed by the version now, because preparing may have allocated memory, which increases the version.
            self._programs.keep((module.version, *full_key[1:]), program)
        return program(arrays, n)

    def program(self, module: Predicting, inputs: tuple[Any, ...], training: bool) -> TracedFunction:
        """Return the compiled program that ``predict`` would run for these arguments, without running it."""
        return self._find(module, *arrays_of(module, inputs), training)

    def _find(self, module: Predicting, arrays: Mapping[str, Array], n: int, training: bool) -> TracedFunction:
        """Return the program for arrays of these types, compiled if it is needed for the first time."""
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
        """Trace the module for inputs of these types and compile it."""
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
    """Compile a traced graph into a callable program."""
    bindings = trace.bindings()
    executable = prepare(
        graph, bindings, {}, None, arenas=trace.arenas(), keep_packed=True, single_sample=single_sample
    )
    return TracedFunction(graph, executable, outputs, (*trace.checks, *sample_checks(graph)), content_checks(graph))


def arrays_of(module: Predicting, inputs: tuple[Any, ...]) -> tuple[dict[str, Array], int]:
    """Return the inputs by name (x, x1, …), in the dtypes in which programs take them, and the number of samples."""
    arrays = {f"x{i}" if i else "x": as_input(module, array, first=not i) for i, array in enumerate(inputs)}
    return arrays, _samples(module, arrays)


def _samples(module: Predicting, arrays: Mapping[str, Array]) -> int:
    """Return the size of axis 0, which all arrays share; raises ``ShapeError`` if they do not."""
    if not arrays or any(array.ndim == 0 for array in arrays.values()):
        raise ShapeError(
            f"{type(module).__name__} expects arrays whose axis 0 counts the samples\n  help: x[None] is a batch of one"
        )
    sizes = {array.shape[0] for array in arrays.values()}
    if len(sizes) > 1:
        raise ShapeError(
            f"the inputs have different numbers of samples: {sorted(sizes)}\n"
            "  help: axis 0 of every input counts the samples; give each the same number"
        )
    return sizes.pop()


def as_input(module: Predicting, array: Any, first: bool = True) -> Array:
    """Return an array in the dtype in which the module's programs take it.

    Floats are converted to the dtype of the module's parameters, or kept if there are no parameters. uint8 is always
    kept. ``first`` says that the array is the first input of the module: then other integers and bools are converted to
    the dtype of the parameters, or to float32 if there are no parameters. In later inputs, which may be labels or
    conditions, integers and bools are kept. Raises ``DTypeError`` for anything that is not an array of real numbers.
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
    """Convert lists and other array-likes to an array; raises ``DTypeError`` unless it holds real numbers."""
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
