"""The interface between graphs and the engines that run them.

A graph is *prepared* once and *run* many times. ``STRIATE_ENGINE`` decides whether it becomes machine code or is
interpreted by the NumPy references of its operations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol, cast

import numpy as np

from striate import settings
from striate.dtypes import Precision
from striate.graph.graph import Graph, rewrite
from striate.graph.interpreter import interpret
from striate.graph.op import Node
from striate.graph.value import Array, Batch, Shape, TensorType, Value
from striate.locks import Lock, Order
from striate.runtime.state import StateArena
from striate.settings import Engine


class Executable(Protocol):
    """One graph, ready to run."""

    @property
    def batch_specialized(self) -> bool:
        """Whether N = 1 is better prepared separately from all other N."""
        ...

    def run(self, arrays: Mapping[str, Array], n: int) -> dict[str, Array]:
        """Runs the graph on ``arrays`` (plain inputs by name) with N = ``n``; returns the outputs by name.

        Outputs that were given a place at preparation are written there; all others are new arrays. The graph's
        updates are written into the arrays to which its states are bound.
        """
        ...


def with_batch(graph: Graph, n: int) -> Graph:
    """The graph for one number of samples: N becomes ``n`` in every shape that an operation carries."""

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
    """The reference engine: exact, slow, and able to run any graph."""

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
        # Everything is computed before anything is written, because an update may read what another one replaces.
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
    """The compiler, imported for the first graph so that it does not slow down ``import striate``."""
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
    """Makes a graph runnable.

    bindings: the arrays of parameters and states, read at run time and never copied here;
    results: the places to which outputs are written; capacity: the largest N that will be run;
    arenas: those that hold the bindings. A graph with updates increases their versions. With ``keep_packed``, values
    that depend only on the bindings (weights in the order of the kernels, the scale of a batch normalization) are
    computed once and kept in the program's own memory until a version changes. ``single_sample`` says that N will be 1.
    ``precision`` is the form in which activations are stored and contractions multiply; the references round likewise.
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
