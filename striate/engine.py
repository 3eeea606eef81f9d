"""The interface between graphs and the engines that run them.

A graph is *prepared* once and *run* many times. The environment variable ``STRIATE_ENGINE`` decides whether it is
compiled to machine code, or interpreted by the NumPy references of its operations.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import fields, replace
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from striate import settings
from striate.dtypes import Precision
from striate.errors import EngineError
from striate.graph.graph import Graph, rewrite
from striate.graph.interpreter import interpret
from striate.graph.op import Node
from striate.graph.value import Array, Batch, Shape, TensorType, Value
from striate.locks import Lock, Order
from striate.runtime.state import StateArena
from striate.settings import Engine

if TYPE_CHECKING:
    from striate.ops.kernels.exchange import Exchange


class SharedExecutable(Protocol):
    """Protocol: a compiled graph that can be run in parts, for a batch that several ranks (processes) share."""

    def run(self, arrays: Mapping[str, Array], n: int) -> dict[str, Array]:
        """Run the graph on ``arrays``, its inputs by name, for a batch of ``n`` samples; return the outputs by name."""
        ...

    def twin(self, results: Mapping[str, Array]) -> SharedExecutable:
        """Return an executable with the same kernels, but with scratch memory of its own.

        It writes its outputs to the arrays ``results``, by name.
        """
        ...

    def run_in_parts(self, arrays: Mapping[str, Array], n: int, ends: Sequence[int]) -> Generator[None]:
        """Run the graph like ``run``, but yield after the first e phases, for each e in ``ends``.

        A phase runs one kernel to its end. ``ends`` must be in increasing order. When the generator is exhausted, the
        outputs are in the arrays ``results`` that ``twin`` or ``prepare`` was given.
        """
        ...

    def completed(self, output: str) -> int:
        """Return after how many phases (at least 1) the output named ``output`` is no longer read or written."""
        ...

    def exchanges(self) -> list[tuple[int, Exchange]]:
        """Return (number, kernel) of each phase after which the ranks (processes) exchange the kernel's results.

        Phases are numbered from 1, in running order.
        """
        ...

    def exchanged(self, end: int) -> list[Array]:
        """Return the results of phase ``end``, a number that ``exchanges`` lists, as flat arrays.

        They are views of the memory of the current run, and may be read and written.
        """
        ...


def shared(executable: Executable) -> SharedExecutable:
    """Return the executable as one that can run in parts; raise ``EngineError`` if it is not compiled."""
    if isinstance(executable, ReferenceExecutable):
        raise EngineError("several ranks, and reduce='exact', need the compiled engine\n  help: unset STRIATE_ENGINE")
    return cast("SharedExecutable", executable)


class Executable(Protocol):
    """Protocol: a graph that ``prepare`` has made ready to run."""

    @property
    def batch_specialized(self) -> bool:
        """Whether preparing the graph for a batch size of 1 (``single_sample``) would give other, faster kernels."""
        ...

    def run(self, arrays: Mapping[str, Array], n: int) -> dict[str, Array]:
        """Run the graph on ``arrays``, its inputs by name, with batch size N = ``n``; return the outputs by name.

        ``results`` and ``bindings`` are those that were given to ``prepare``. An output with an array in ``results`` is
        written to that array; all other outputs are new arrays. The new contents of a state, such as running
        statistics, are written to its array in ``bindings``.
        """
        ...


def with_batch(graph: Graph, n: int) -> Graph:
    """Return the graph for a fixed number of samples: ``n`` replaces the batch size N in all types and shapes."""

    def replace_batch(node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...] | None:
        changes: dict[str, Any] = {}
        for parameter in fields(node.op):
            held = getattr(node.op, parameter.name)
            if isinstance(held, TensorType) and held.batched:
                changes[parameter.name] = held.with_shape(held.concrete(n))
            elif isinstance(held, tuple) and any(isinstance(dim, Batch) for dim in cast("tuple[Any, ...]", held)):
                changes[parameter.name] = tuple(n if isinstance(dim, Batch) else dim for dim in cast("Shape", held))
        return Node(replace(node.op, **changes), inputs, node.path).outputs if changes else None

    return rewrite(graph, replace_batch)


class ReferenceExecutable:
    """The reference engine: runs any graph with the NumPy references of its operations, slowly.

    ``bindings`` are the arrays of parameters and states by name, ``results`` the arrays to which outputs are written by
    name, and ``arenas`` the memory blocks that contain the bindings, as in ``prepare``.
    """

    def __init__(
        self,
        graph: Graph,
        bindings: Mapping[str, Array],
        results: Mapping[str, Array],
        arenas: Sequence[StateArena] = (),
    ) -> None:
        self._graph = graph
        self._arenas = arenas
        self._bindings = bindings
        self._results = results
        self._bound: tuple[int, Graph] | None = None
        self.batch_specialized = False

    def run(self, arrays: Mapping[str, Array], n: int) -> dict[str, Array]:
        if self._bound is None or self._bound[0] != n:
            self._bound = (n, with_batch(self._graph, n))
        outputs, updates = interpret(self._bound[1], {**arrays, **self._bindings})
        # All values are computed before any is written, because an update may read a state that another one replaces.
        fresh = {name: np.array(array) for name, array in outputs.items()}
        contents = {name: np.array(array) for name, array in updates.items()}
        for name, array in contents.items():
            self._bindings[name][...] = array.reshape(self._bindings[name].shape)
        if contents:
            for arena in self._arenas:
                arena.changed()
        for name, place in self._results.items():
            place[...] = fresh[name].reshape(place.shape)
            fresh[name] = place
        return fresh


_importing = Lock(Order.IMPORT)


def _compiler() -> ModuleType:
    """Return the compiler, imported for the first graph so that it does not slow down ``import striate``."""
    with _importing:
        return import_module("striate.compiler")


def prepare(
    graph: Graph,
    bindings: Mapping[str, Array] | None = None,
    results: Mapping[str, Array] | None = None,
    capacity: int | None = None,
    *,
    arenas: Sequence[StateArena] = (),
    keep_packed: bool = False,
    single_sample: bool = False,
    precision: Precision = Precision.full,
) -> Executable:
    """Prepare a graph to be run, compiled or interpreted as the settings say.

        bindings       the arrays of parameters and states by name (None: there are none); read at each run, never
                       copied here
        results        arrays to which outputs are written, by output name; other outputs become new arrays
        capacity       the largest batch size N with which the graph will be run; None: not known
        arenas         the state arenas (memory blocks of models) that contain the bindings; each run that writes
                       states increases their ``version``
        keep_packed    whether values that depend only on the bindings (packed weights, the scale of a batch
                       normalization) are computed only once, and again when the ``version`` of an arena has changed
        single_sample  whether N will always be 1
        precision      how activations are stored, and to what type the operands of convolutions and matrix products
                       are rounded; the NumPy references round in the same way

    Raises ``EngineError`` for a precision that the processor does not support.
    """
    places, written = dict(bindings or {}), dict(results or {})
    if settings.current().engine is Engine.COMPILED:
        compiler = _compiler()
        constant = places if keep_packed and arenas else ()
        options = compiler.options_for(precision, capacity or 0, single_sample, constant)
        return compiler.prepare_compiled(graph, places, written, options, arenas)
    if precision is not Precision.full:
        compiler = _compiler()
        graph = compiler.rounded_graph(graph, compiler.options_for(precision))
    return ReferenceExecutable(graph, places, written, arenas)
