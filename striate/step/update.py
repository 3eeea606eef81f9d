"""The program of the update: it writes all parameters, the optimizer's vectors and the statistics in one pass.

ok       loss + Σ g² + Σ statistics is finite, and with options that could overflow Σ new contents too
θ, v, …  their new contents if ok, else the old ones
θ̄        d θ̄ + (1 − d) θ after every step, if an exponential moving average is kept; θ after the first one

The update is one sweep over flat vectors of all parameters. If the optimizer has groups, each of their rules is
computed for every element, and that of the element's group is selected; what the rules have in common is computed once.
A layerwise optimizer is given one parameter at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from striate.engine import Executable, prepare
from striate.graph.arithmetic import cast, reshape
from striate.graph.check import check
from striate.graph.graph import Graph, OutputKind, OutputRole, State
from striate.graph.value import Array, DType, Value
from striate.ops import reduction
from striate.ops.comparison import IsFinite, Where, greater, where
from striate.optim.groups import Assignment
from striate.runtime.state import Companion, StateArena
from striate.step.clipping import Clipping
from striate.step.memory import StepMemory
from striate.tracing import array_type

MOVED = "moved"
_ALL = ""
"""The name of the part that holds all parameters."""


@dataclass(frozen=True)
class _Part:
    """Vectors that one call of ``Optimizer.update`` gets: all parameters, or only one."""

    name: str
    parameters: Value
    gradients: Value
    kept: Mapping[str, Value]
    average: Value | None


def prepare_update(
    memory: StepMemory, rules: Assignment, clock: Array, clipping: Clipping, ema: float | None
) -> Executable:
    """Compiles the update. It returns ``ok`` and ``norm``, √Σ g² of the gradients before they are clipped.

    ``clock`` () float64 counts the committed steps. ``ema`` is the decay d of the moving average.
    """
    return _Update(memory, rules, clock, clipping, ema).prepared()


class _Update:
    def __init__(
        self, memory: StepMemory, rules: Assignment, clock: Array, clipping: Clipping, ema: float | None
    ) -> None:
        self.memory, self.rules, self.clipping, self.ema = memory, rules, clipping, ema
        self.bindings: dict[str, Array] = {}
        self.inputs: dict[str, Value] = {}
        self.updates: dict[str, Value] = {}
        self.outputs: dict[str, Value] = {}
        self.results: dict[str, Array] = {}
        self.time = self._state("clock", clock)

    def _state(self, name: str, array: Array) -> Value:
        """An array that the program reads, and may write."""
        self.bindings[name] = array
        self.inputs[name] = State(name, array_type(array, name, batched=False))()
        return self.inputs[name]

    def prepared(self) -> Executable:
        memory, arena = self.memory, self.memory.arena
        clipped = self.clipping.clip(self._state("gradients", memory.gradients.flat))
        finite = self._state("loss", memory.loss) + clipped.squares
        statistics: dict[str, Value] = {}
        if arena.flat_buffers.size:
            statistics["buffers"] = self._state("buffers", arena.flat_buffers)
            statistics["pending"] = self._state("pending", memory.pending.flat)
            finite = finite + _total(statistics["pending"])
        products = {
            f"{name}.{place}": self._state(f"{name}.{place}", array[place : place + 1].reshape(()))
            for name, array in memory.products.items()
            for place in range(len(self.rules.rules))
        }
        new: dict[str, Value] = {}
        parts = self._parts()
        for part in parts:
            gradients = clipped.apply(part.gradients)
            found = self._updated(part, gradients, products)
            for value in found.values() if not self.rules.bounded else ():
                if value.type.rank:
                    finite = finite + _total(value)  # a huge rate or decay overflows here, before anything is written
            new |= {_named(name, part.name) if name not in products else name: value for name, value in found.items()}
        ok = IsFinite()(finite)
        for name, value in new.items():
            before = self.inputs[name]
            self.updates[name] = Where()(ok, value, before)
        if statistics:
            self.updates["buffers"] = Where()(ok, statistics["pending"], statistics["buffers"])
            if memory.average is not None:
                average = self._state("average of buffers", memory.average.buffers.flat)
                self._average("average of buffers", average, statistics["pending"], ok)
        self.updates["clock"] = self.time + cast(ok, DType.float64)
        self.outputs |= {"ok": ok, "norm": clipped.norm}
        for part in parts:
            name = _named("parameters", part.name)
            if part.average is not None:
                self._average(_named("average", part.name), part.average, new[name], ok)
            if memory.moved is not None:
                moved = memory.moved.flat if part.name == _ALL else _flat(memory.moved, part.name)
                self.outputs[_named(MOVED, part.name)] = self.updates[name] - part.parameters
                self.results[_named(MOVED, part.name)] = moved
        roles = {name: OutputRole(OutputKind.WATCH, MOVED) for name in self.results}
        graph = Graph(self.inputs, self.outputs, self.updates, roles=roles)
        return prepare(check(graph, "update"), self.bindings, self.results, None, arenas=(arena,))

    def _parts(self) -> list[_Part]:
        """All parameters together, or each by itself."""
        layerwise = self.rules.rules[0].layerwise
        return [self._part(name) for name in (self.memory.arena.parameters if layerwise else (_ALL,))]

    def _part(self, name: str) -> _Part:
        memory = self.memory
        flat = memory.arena.flat_parameters if name == _ALL else memory.arena.parameters[name].reshape(-1)

        def state(what: str, companion: Companion) -> Value:
            return self._state(_named(what, name), companion.flat if name == _ALL else _flat(companion, name))

        return _Part(
            name,
            self._state(_named("parameters", name), flat),
            self.inputs["gradients"] if name == _ALL else state("gradients", memory.gradients),
            {slot: state(slot, vectors) for slot, vectors in memory.optimizer.items()},
            None if memory.average is None else state("average", memory.average.parameters),
        )

    def _updated(self, part: _Part, gradients: Value, products: Mapping[str, Value]) -> dict[str, Value]:
        """The new contents of the part's vectors, and of the products of its rules."""
        rules = self.rules
        places = [rules.place[part.name]] if part.name else list(range(len(rules.rules)))
        found: dict[str, Value] = {}
        for place in places:
            rule = rules.rules[place]
            kept = {slot: part.kept[slot] for slot in rule.kept()}
            kept |= {name: products[f"{name}.{place}"] for name in rule.products}
            g = -gradients if rule.maximize else gradients
            parameters, states = rule.update(part.parameters, g, kept, self.time)
            for name in rule.products:
                found[f"{name}.{place}"] = states.pop(name)
            for name, value in {"parameters": parameters, **states}.items():
                if place == places[0]:
                    found[name] = value
                else:
                    former = found.get(name, part.kept.get(name, value))
                    found[name] = where(self._belongs(place, value.dtype), value, former)
            for name in [name for name in part.kept if name not in states and name in found]:
                found[name] = where(self._belongs(place, found[name].dtype), part.kept[name], found[name])
        return found

    def _belongs(self, place: int, dtype: DType) -> Value:
        """Whether elements are of this rule or a later one, which then selects again."""
        if "group" not in self.inputs:
            self._state("group", _places(self.memory.arena, self.rules))
        return greater(cast(self.inputs["group"], dtype), place - 0.5)

    def _average(self, name: str, average: Value, new: Value, ok: Value) -> None:
        assert self.ema is not None
        mean = average * self.ema + new * (1 - self.ema)
        first = greater(0.5, self.time)
        self.updates[name] = Where()(ok, where(first, new, mean), average)


def _places(arena: StateArena, rules: Assignment) -> Array:
    """The index of the rule of every element, in the order of the arena."""
    places = arena.like_parameters()
    for name, view in places.views.items():
        view[...] = rules.place[name]
    return places.flat.astype(np.uint8 if len(rules.rules) <= 256 else np.int32)


def _flat(companion: Companion, name: str) -> Array:
    return companion.views[name].reshape(-1)


def _named(what: str, part: str) -> str:
    return f"{what} of {part}" if part else what


def _total(vector: Value) -> Value:
    return reshape(reduction.sum(vector), ())
