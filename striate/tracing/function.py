"""``compile`` and ``value_and_grad``: turn functions of ``st.ops`` into compiled functions of arrays.

Calls with other shapes, dtypes or options are traced and compiled separately.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from inspect import signature
from numbers import Integral
from typing import Any, TypeGuard, cast

import numpy as np

from striate.engine import prepare
from striate.errors import DTypeError, OptionError, ShapeError, StriateError, TracingError
from striate.graph.array import native
from striate.graph.contents import content_checks, sample_checks
from striate.graph.reshape import reshape
from striate.graph.value import Array, TensorType, Value
from striate.options import flag, whole_number
from striate.passes.differentiate import differentiate
from striate.tracing.program import FunctionCache, TracedFunction
from striate.tracing.trace import Trace, active_trace, array_type
from striate.tracing.tree import Leaf, contains_value, flatten_tree, output_values, rebuild_tree, tree_structure


class CompiledFunction:
    """A function that is traced and compiled at the first call with each combination of shapes and dtypes.

    If ``scalars`` is true, NumPy's floats, such as ``np.float32(0.5)``, are inputs of shape (); otherwise they are
    constants of the program, like Python's numbers. ``limit`` is the largest number of compiled programs that are kept.
    See ``compile`` for ``function``, ``batched`` and ``capacity``.
    """

    def __init__(
        self, function: Callable[..., Any], batched: bool, capacity: int | None, limit: int, scalars: bool = True
    ) -> None:
        self._function = function
        self._scalars = scalars
        self._batched = batched
        self._capacity = capacity
        self._limit = limit
        self._programs = FunctionCache(limit)
        wraps(function)(self)

    def __reduce__(self) -> tuple[object, ...]:
        """Support copies and pickles: a copy has the same function and options, and compiles its own programs."""
        return CompiledFunction, (self._function, self._batched, self._capacity, self._limit, self._scalars)

    def __repr__(self) -> str:
        return f"compiled({getattr(self._function, '__qualname__', self._function)})"

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        if contains_value((arguments, options)):
            # Called inside another trace, the function becomes part of that graph.
            if not self._scalars:
                arguments, options = self._captured(arguments, options)
            return self._function(*arguments, **options)
        leaves = self._leaves(arguments, options)
        arrays = {name: self._native(name, leaf) for name, leaf in leaves if _is_array(leaf)}
        static = tuple((name, leaf.__class__, leaf) for name, leaf in leaves if not _is_array(leaf))
        types = tuple((name, array_type(array, name, self._batched)) for name, array in arrays.items())
        key = (types, _hashable(static), tree_structure((arguments, options)))
        n = self._batch_size(arrays)
        program = self._programs.find(key)
        if program is None or program.outdated:
            program = self._programs.keep(key, self._build(arguments, options, dict(types), n))
        return program(arrays, n)

    def _native(self, name: str, array: Array) -> Array:
        """Return an array as programs take it; an error calls it by the function and the parameter."""
        try:
            return native(array, name)
        except StriateError:
            return native(array, self._shown(name))

    def _shown(self, name: str) -> str:
        """Return what an error calls a leaf: ``exp: x`` for ``argument.0`` of a function of ``st.ops``."""
        if self._scalars:
            return name
        names = list(signature(self._function).parameters)
        first, _, rest = name.partition(".")
        if first == "argument":
            place, _, rest = rest.partition(".")
            if int(place) >= len(names):
                return name
            first = names[int(place)]
        return f"{self._function.__name__}: {first}{rest and f'[{rest}]'}"

    def _captured(self, arguments: tuple[Any, ...], options: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments of a call inside a trace, with arrays replaced by constants of the trace.

        The constants get the dtype of the trace's floats; integers for parameters annotated ``Integers`` stay integers,
        and bools stay bools.
        """
        leaves = flatten_tree((arguments, options), "")
        if not any(_is_array(leaf) for _, leaf in leaves):
            return arguments, options
        trace = active_trace(self._function.__name__)
        dtype = next((leaf.dtype for _, leaf in leaves if isinstance(leaf, Value) and leaf.dtype.is_float), None)
        bound = signature(self._function).bind(*arguments, **options)
        for name, tree in bound.arguments.items():
            chosen = None if self._function.__annotations__.get(name) == "Integers" else dtype
            items = [
                trace.capture(leaf, None if leaf.dtype.kind == "b" else chosen) if _is_array(leaf) else leaf
                for _, leaf in flatten_tree(tree, "")
            ]
            bound.arguments[name] = rebuild_tree(tree, items)
        return bound.args, bound.kwargs

    def _leaves(self, arguments: tuple[Any, ...], options: dict[str, Any]) -> list[Leaf]:
        leaves = [*flatten_tree(arguments, "argument"), *flatten_tree(options, "")]
        if self._scalars:
            leaves = [(name, np.asarray(leaf) if _is_float(leaf) else leaf) for name, leaf in leaves]
        return leaves

    def _batch_size(self, arrays: Mapping[str, Array]) -> int:
        if not self._batched:
            return 1
        sizes = {name: array.shape[0] for name, array in arrays.items() if array.ndim}
        if len(set(sizes.values())) > 1:
            raise ShapeError(f"the arrays have different numbers of samples: {sizes}")
        return next(iter(sizes.values()), 1)

    def _build(
        self, arguments: tuple[Any, ...], options: dict[str, Any], types: Mapping[str, TensorType], n: int
    ) -> TracedFunction:
        with Trace() as trace:
            leaves = [
                trace.input(name, types[name]) if name in types else leaf
                for name, leaf in self._leaves(arguments, options)
            ]
            traced, named = rebuild_tree((arguments, options), leaves)
            outputs = self._function(*traced, **named)
            graph = trace.graph(output_values(outputs), trace.updates)
        bindings = trace.bindings()
        executable = prepare(graph, bindings, {}, self._capacity or n, arenas=trace.arenas(), keep_packed=True)
        models = tuple((model, model.version) for model, path in trace.paths.items() if not path)
        checks = (*trace.checks, *sample_checks(graph))
        return TracedFunction(graph, executable, outputs, checks, content_checks(graph), models)


def _is_float(leaf: Any) -> bool:
    return isinstance(leaf, np.floating)


def _is_array(leaf: object) -> TypeGuard[Array]:
    return isinstance(leaf, np.ndarray)


def _hashable(static: tuple[Any, ...]) -> object:
    try:
        hash(static)
    except TypeError:
        unhashable = [name for name, _, leaf in static if leaf.__hash__ is None]
        raise TracingError(f"arguments {unhashable} are neither arrays nor hashable") from None
    return static


def compile(
    function: Callable[..., Any], *, batched: bool = False, capacity: int | None = None, programs: int = 16
) -> CompiledFunction:
    """Return a compiled version of a function of arrays that is written with ``st.ops``, operators and layers.

        smooth = st.compile(lambda x, w: st.ops.conv(x, w, padding=1))
        y = smooth(x, w)                                                    # NumPy arrays in and out

    The function is traced and compiled once for each combination of shapes, dtypes, nesting of tuples, lists and dicts,
    and static arguments. A static argument is a constant of the program: a Python number, or any other object that is
    not an array. NumPy's floats, such as ``np.float32(0.5)``, are arrays of shape (). At most ``programs`` compiled
    programs are kept; the least recently used is dropped first. With ``batched``, axis 0 of every array is a size N
    that may change from call to call without recompilation; ``capacity`` is the largest N for which memory is planned
    at the start, by default the N of the first call.

    Arrays may have any strides, byte order and real dtype; dtypes that programs do not support, such as float16, are
    widened. Raises ``OptionError`` unless ``capacity`` and ``programs`` are whole numbers of at least 1. A call raises
    ``DTypeError`` for arrays that are not of real numbers, and ``TracingError`` if the Python code of the function
    depends on the contents of arrays, as in ``if x > 0``.
    """
    if not callable(function):
        raise OptionError(f"compile({function!r}): expected a function\n  help: st.compile(lambda x: st.ops.tanh(x))")
    flag("batched", batched)
    whole_number("programs", programs, 1)
    if capacity is not None:
        whole_number("capacity", capacity, 1)
    return CompiledFunction(function, batched, capacity, programs)


def value_and_grad(function: Callable[..., Any], argnums: int | Sequence[int] = 0) -> CompiledFunction:
    """Return a compiled function that computes ``function`` and its gradients, as (value, gradients).

        value, (dx, dw) = st.value_and_grad(loss_function, argnums=(0, 1))(x, w)

    ``function`` must return a single number. ``argnums`` is the index of the argument to differentiate with respect to,
    or a sequence of indices. For one index, the gradients have the nesting, shapes and dtypes of that argument; for a
    sequence, they are a tuple of the gradients for each index. Raises ``OptionError`` for invalid indices. A call
    raises ``DTypeError`` for arguments that are not float arrays, and ``ShapeError`` or ``TracingError`` if the result
    is not a single traced number.
    """
    if not callable(function):
        raise OptionError(
            f"value_and_grad({function!r}): expected a function\n  help: st.value_and_grad(lambda x: st.ops.sum(x * x))"
        )
    several = isinstance(argnums, Sequence) and not isinstance(argnums, str)
    given: Sequence[object] = cast("Sequence[object]", argnums) if several else (argnums,)
    if not given or any(isinstance(index, bool) or not isinstance(index, Integral) for index in given):
        raise OptionError(f"argnums={argnums!r}; expected the number of an argument, or a tuple of such numbers")
    chosen = tuple(int(cast("int", index)) for index in given)

    def differentiated(*arguments: Any, **options: Any) -> Any:
        if any(index >= len(arguments) or index < -len(arguments) for index in chosen):
            raise OptionError(f"argnums={argnums} but the function was called with {len(arguments)} arguments")
        loss = function(*arguments, **options)
        if not isinstance(loss, Value):
            raise TracingError(
                f"value_and_grad needs a function that returns one traced number, not {loss!r}\n"
                "  help: give arrays as arguments, np.float32(3.0) rather than 3.0, and compute with st.ops"
            )
        trees = tuple(arguments[index] for index in chosen)
        leaves = [leaf for _, leaf in flatten_tree(trees, "")]
        wrong = next((leaf for leaf in leaves if not (isinstance(leaf, Value) and leaf.dtype.is_float)), None)
        if wrong is not None:
            raise DTypeError(f"value_and_grad differentiates float arrays, not {wrong!r}\n  help: x.astype(np.float32)")
        gradients = rebuild_tree(trees, list(differentiate(loss, leaves)))
        return reshape(loss, ()), gradients if several else gradients[0]

    return compile(differentiated)
