"""The program of the update: writes all parameters, optimizer vectors and statistics in one pass.

    ok       whether loss + Σ g² + Σ statistics is finite; if the update itself could overflow with the given options,
             the sum of the new contents must be finite, too
    θ, v, …  their new contents if ok, else the old ones
    θ̄        d θ̄ + (1 − d) θ after every step, if an exponential moving average is kept; θ after the first step

θ are the parameters, g their gradients, v the optimizer's vectors, and θ̄ are the moving averages with the decay d. The
update is one sweep over flat vectors of all parameters. If the optimizer has parameter groups, every rule is computed
for every element, and the result of the element's own group is selected; common parts are computed once.
"""

from __future__ import annotations

import numpy as np

from striate.engine import Executable, prepare
from striate.graph.check import check
from striate.graph.elementwise import cast
from striate.graph.graph import Graph, OutputKind, OutputRole, State
from striate.graph.reshape import reshape
from striate.graph.value import Array, DType, Value
from striate.ops import reduction
from striate.ops.comparison import IsFinite, Where, greater, where
from striate.optim.groups import Assignment
from striate.optim.layers import Layers
from striate.runtime.state import StateArena
from striate.step.clipping import Clipping
from striate.step.memory import StepMemory
from striate.tracing import array_type

MOVED = "moved"


def prepare_update(
    memory: StepMemory, rules: Assignment, clock: Array, clipping: Clipping, ema: float | None
) -> Executable:
    """Compile the update of the parameters, a program whose outputs are ``ok`` and ``norm``.

    The program reads and writes the arrays of ``memory``. ``rules`` are the optimizer's rules for the parameter groups,
    and ``clipping`` has the limits for the gradients. ``ok`` says whether everything was finite, so that the update was
    made; ``norm`` is √Σ g², where g are all gradients before clipping. ``clock``, a float64 array of shape (), counts
    the updates made. ``ema`` is the decay d of the moving average, or None.
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
        """Add an array that the program reads, and may write; return its value."""
        self.bindings[name] = array
        self.inputs[name] = State(name, array_type(array, name, batched=False))()
        return self.inputs[name]

    def prepared(self) -> Executable:
        memory, arena = self.memory, self.memory.arena
        parameters = self._state("parameters", arena.flat_parameters)
        clipped = self.clipping.clip(self._state("gradients", memory.gradients.flat))
        finite = self._state("loss", memory.loss) + clipped.squares
        statistics: dict[str, Value] = {}
        if arena.flat_buffers.size:
            statistics["buffers"] = self._state("buffers", arena.flat_buffers)
            statistics["pending"] = self._state("pending", memory.pending.flat)
            finite = finite + _total(statistics["pending"])
        new = self._updated(parameters, clipped.gradients)
        for value in new.values() if not self.rules.bounded else ():
            if value.type.rank:
                finite = finite + _total(value)  # a huge learning rate overflows here, before any array is written
        ok = IsFinite()(finite)
        for name, value in new.items():
            self.updates[name] = Where()(ok, value, self.inputs[name])
        if statistics:
            self.updates["buffers"] = Where()(ok, statistics["pending"], statistics["buffers"])
        if memory.average is not None:
            self._average("average", memory.average.parameters.flat, new["parameters"], ok)
            if statistics:
                self._average("average of buffers", memory.average.buffers.flat, statistics["pending"], ok)
        self.updates["clock"] = self.time + cast(ok, DType.float64)
        self.outputs |= {"ok": ok, "norm": clipped.norm}
        if memory.moved is not None:
            self.outputs[MOVED] = self.updates["parameters"] - parameters
            self.results[MOVED] = memory.moved.flat
        roles = {name: OutputRole(OutputKind.WATCH, MOVED) for name in self.results}
        graph = Graph(self.inputs, self.outputs, self.updates, roles=roles)
        return prepare(check(graph, "update"), self.bindings, self.results, None, arenas=(arena,))

    def _updated(self, parameters: Value, gradients: Value) -> dict[str, Value]:
        """Return the new contents of the parameters, the optimizer's vectors, and the products of every rule."""
        memory, rules = self.memory, self.rules.rules
        slots = {slot: self._state(slot, companion.flat) for slot, companion in memory.optimizer.items()}
        layers = Layers(memory.arena.parameter_bounds)
        found: dict[str, Value] = {}
        for place, rule in enumerate(rules):
            kept = {slot: slots[slot] for slot in rule.kept()}
            for name in rule.products:
                array = memory.products[name][place : place + 1].reshape(())
                kept[name] = self._state(f"{name}.{place}", array)
            g = -gradients if rule.maximize else gradients
            moved, states = rule.update_layers(parameters, g, kept, self.time, layers)
            products = {f"{name}.{place}": states.pop(name) for name in rule.products}
            # An optimizer vector that this rule does not use keeps its contents.
            now = {"parameters": moved, **{slot: states.get(slot, before) for slot, before in slots.items()}}
            if place:
                here = self._belongs(place, parameters.dtype)
                now = {name: where(here, value, found[name]) for name, value in now.items()}
            found |= now | products
        return found

    def _belongs(self, place: int, dtype: DType) -> Value:
        """Return the condition that an element belongs to this rule or a later one, which then selects again."""
        if "group" not in self.inputs:
            self._state("group", _places(self.memory.arena, self.rules))
        return greater(cast(self.inputs["group"], dtype), place - 0.5)

    def _average(self, name: str, array: Array, new: Value, ok: Value) -> None:
        assert self.ema is not None
        average = self._state(name, array)
        mean = average * self.ema + new * (1 - self.ema)
        first = greater(0.5, self.time)
        self.updates[name] = Where()(ok, where(first, new, mean), average)


def _places(arena: StateArena, rules: Assignment) -> Array:
    """Return, for every element in the order of the arena, the index of the rule that updates it."""
    places = arena.like_parameters()
    for name, view in places.views.items():
        view[...] = rules.place[name]
    return places.flat.astype(np.uint8 if len(rules.rules) <= 256 else np.int32)


def _total(vector: Value) -> Value:
    return reshape(reduction.sum(vector), ())
