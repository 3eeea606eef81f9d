"""The spine: from a traced graph to a program, a readable list of stages.

    trace → differentiate → expand → simplify → layout → fuse → lower → memory → program

Tracing and differentiation happen where the graph is made; ``prepare_compiled`` does the rest. After every stage that
yields a graph the verifier runs, and ``stage_text`` prints any of them.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from striate import settings
from striate.codegen import driver, jit, target
from striate.codegen.map import Map
from striate.codegen.phase import Buffer, PhaseDraft
from striate.codegen.region import FLAT_CHUNK, Domain, Load, Region, Space, Store
from striate.codegen.workers import collection_paused
from striate.errors import DTypeError, ShapeError
from striate.graph.check import check
from striate.graph.graph import Graph, Input, Parameter, State
from striate.graph.value import Array, Value, shape_text
from striate.passes.fuse import Plan, fuse
from striate.passes.layout import Layouts, layout
from striate.passes.lower import Lowered, lower
from striate.passes.memory import lives, place
from striate.passes.simplify import expand, simplify
from striate.runtime.arena import scratch_arena
from striate.runtime.program import External, Fixed, Phase, Program, Scratch


@dataclass(frozen=True)
class Compiled:
    """A graph after every stage."""

    simplified: Graph
    layouts: Layouts
    plan: Plan
    lowered: Lowered


@collection_paused()
def compile_graph(graph: Graph) -> Compiled:
    """Runs the stages; no machine code yet."""
    check(graph, "trace")
    simplified = check(simplify(check(expand(graph), "expand")), "simplify")
    laid_out = layout(simplified)
    check(laid_out.graph, "layout")
    watched = [name for name in graph.outputs if name.startswith("watch:")]
    plan = fuse(laid_out, watched)
    lowered = lower(plan, target.current(), settings.current().winograd)
    return Compiled(simplified, laid_out, plan, lowered)


class CompiledExecutable:
    """A compiled graph behind the engine's protocol."""

    def __init__(
        self, graph: Graph, bindings: Mapping[str, Array], results: Mapping[str, Array], capacity: int | None
    ) -> None:
        self.compiled = compile_graph(graph)
        self._graph = self.compiled.layouts.graph
        self._bindings = dict(bindings)
        self._results = dict(results)
        self._capacity = capacity or 0
        self._lock = threading.RLock()
        self._inputs = {node.op.name: node.outputs[0] for node in self._graph.sources() if isinstance(node.op, Input)}
        self._phases = [*self.compiled.lowered.phases, *self._copies()]
        specs = {phase.spec.key: phase.spec for phase in self._phases}
        self._addresses = jit.kernels.get(specs.values())
        self._names = self._output_names()
        self.program: Program | None = None
        if self._capacity or not any(value.type.batched for value in self._inputs.values()):
            self._bind(max(1, self._capacity))

    @property
    def phases(self) -> tuple[PhaseDraft, ...]:
        """What runs, in order: the phases of ``program``, with their operands and their work."""
        return tuple(self._phases)

    # -- memory -------------------------------------------------------------------------------------------------

    def _output_names(self) -> dict[Value, str]:
        """The memory of each output, by the first name that it has."""
        names: dict[Value, str] = {}
        for name, value in self._graph.outputs.items():
            names.setdefault(self.compiled.layouts.base(value), name)
        return names

    def _updated(self) -> dict[Value, str]:
        """Values that are written over their state at once."""
        in_place = self.compiled.plan.in_place
        return {value: name for name, value in self._graph.updates.items() if in_place[name]}

    def _copies(self) -> list[PhaseDraft]:
        """Phases that copy updates which had to wait."""
        phases: list[PhaseDraft] = []
        for name, value in self._graph.updates.items():
            if not self.compiled.plan.in_place[name]:
                domain = Domain(Space.FLAT, 1, 1, (1, 1, value.type.size()))
                strides = (FLAT_CHUNK, 0, 0, 0, 1)
                region = Region(
                    domain, (Load(0, value.dtype, strides, 0, True),), (Store(0, 1, value.dtype, strides, 0),)
                )
                operands = (value, ("state", name))
                phases.append(PhaseDraft("copy", value.node.path, Map(region), operands, domain.chunks))
        return phases

    def _size(self, thing: Any, capacity: int) -> int:
        if isinstance(thing, Buffer):
            return thing.size(capacity)
        storage = self.compiled.layouts.storage(thing)
        samples = capacity if thing.type.batched else (thing.shape[0] if thing.type.rank >= 2 else 1)
        if thing.type.batched and thing.type.rank == 1:
            return capacity * thing.dtype.numpy.itemsize
        return storage.bytes_per_sample * samples

    def _bind(self, capacity: int) -> None:
        layouts = self.compiled.layouts
        updated = self._updated()
        homes: dict[Hashable, Any] = {}
        sizes: dict[Hashable, int] = {}

        def base(thing: Any) -> Any:
            return layouts.base(thing) if isinstance(thing, Value) else thing

        for phase in self._phases:
            for operand in map(base, phase.operands):
                if operand in homes or operand in sizes:
                    continue
                home = self._fixed_home(operand, updated)
                if home is not None:
                    homes[operand] = home
                else:
                    sizes[operand] = self._size(operand, capacity)
        wanted = lives([[base(operand) for operand in phase.operands] for phase in self._phases], sizes)
        offsets, total = place(wanted)
        homes.update({thing: Scratch(offset) for thing, offset in offsets.items()})
        self.program = Program(
            [
                Phase(
                    draft.name, draft.path, self._addresses[draft.spec.key],
                    [homes[base(operand)] for operand in draft.operands], *draft.chunks,
                )
                for draft in self._phases
            ],
            driver.load(),
            scratch=total,
            thread_scratch=max((phase.thread_scratch for phase in self._phases), default=0),
            keep=[*self._bindings.values(), *self._results.values(), *self._graph.captured.values()],
        )  # fmt: skip
        self._capacity = capacity
        self.scratch_bytes = total

    def _fixed_home(self, operand: Any, updated: Mapping[Value, str]) -> Any:
        """Where an operand lies that is not scratch."""
        if isinstance(operand, tuple):
            return Fixed(self._bindings[operand[1]].ctypes.data)
        if not isinstance(operand, Value):
            return None
        op = operand.node.op
        if isinstance(op, Input):
            array = self._graph.captured.get(op.name)
            array = self._bindings.get(op.name) if array is None else array
            return External(op.name) if array is None else Fixed(array.ctypes.data)
        if operand in updated:
            return Fixed(self._bindings[updated[operand]].ctypes.data)
        if operand in self._names:
            name = self._names[operand]
            return Fixed(self._results[name].ctypes.data) if name in self._results else External(f"out:{name}")
        return None

    # -- running ------------------------------------------------------------------------------------------------

    def run(self, arrays: Mapping[str, Array], n: int) -> dict[str, Array]:
        """Runs the graph; see ``engine.Executable``."""
        with self._lock:
            if self.program is None or n > self._capacity:
                self._bind(max(n, self._capacity))
            assert self.program is not None
            given: dict[str, int] = {}
            kept: list[Array] = []
            for name in self.program.externals:
                if not name.startswith("out:"):
                    array = self._checked(name, arrays, n)
                    kept.append(array)
                    given[name] = array.ctypes.data
            outputs = self._fresh(n)
            given.update({f"out:{name}": array.ctypes.data for name, array in outputs.items()})
            known = {name: address for name, address in given.items() if name in self.program.externals}
            self.program.run(n, known)
            del kept
            return self._named(outputs, n)

    def _checked(self, name: str, arrays: Mapping[str, Array], n: int) -> Array:
        value = self._inputs[name]
        array = arrays[name]
        if array.dtype != value.dtype.numpy:
            raise DTypeError(f"input {name!r} is {array.dtype}, the program was compiled for {value.dtype.value}")
        if array.shape != value.type.concrete(n):
            raise ShapeError(
                f"input {name!r} has shape {array.shape}, "
                f"the program was compiled for {shape_text(value.shape)}, N = {n}"
            )
        return np.ascontiguousarray(array)

    def _fresh(self, n: int) -> dict[str, Array]:
        return {
            name: np.empty(self._graph.outputs[name].type.concrete(n), value.dtype.numpy)
            for value, name in self._names.items()
            if name not in self._results
        }

    def _named(self, fresh: dict[str, Array], n: int) -> dict[str, Array]:
        results: dict[str, Array] = {}
        for name, value in self._graph.outputs.items():
            first = self._names[self.compiled.layouts.base(value)]
            array = self._results[first] if first in self._results else fresh[first]
            if name != first:
                array = array.reshape(value.type.concrete(n)).copy()
                if name in self._results:
                    self._results[name][...] = array.reshape(self._results[name].shape)
            results[name] = self._results.get(name, array)
        return results


def prepare_compiled(
    graph: Graph, bindings: Mapping[str, Array], results: Mapping[str, Array], capacity: int | None
) -> CompiledExecutable:
    """The graph as machine code."""
    return CompiledExecutable(graph, bindings, results, capacity)


__all__ = ["Compiled", "CompiledExecutable", "Parameter", "State", "compile_graph", "prepare_compiled", "scratch_arena"]
