"""The training step: forward, backward and update of one model, as two programs.

    gradients   x, y → loss, gradients into their arena, new running statistics into pending arrays
    update      parameters, gradients, optimizer state, pending statistics → their new contents, where
                loss + Σ g² + Σ statistics is finite, and with options that could overflow Σ new contents;
                else everything keeps its old contents

So nothing bad is ever committed, gradients can be looked at, averaged or accumulated between the two, and a step that
failed can be replayed to find the layer where it went wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from numbers import Real
from typing import TYPE_CHECKING, Any
from typing import cast as cast_type

import numpy as np

from striate import settings
from striate.dtypes import Precision, precision_of
from striate.engine import Executable, ReferenceExecutable, prepare
from striate.errors import DataError, NonFiniteError, OptionError, ShapeError
from striate.graph.arithmetic import cast, reshape
from striate.graph.check import check
from striate.graph.graph import Graph, Input, State, topological
from striate.graph.value import Array, DType, TensorType, Value
from striate.nn.loss import Loss
from striate.nn.module import Module
from striate.ops.arithmetic import IsFinite, Where, minimum, sqrt
from striate.ops.reduction import Sum
from striate.optim.optimizer import Optimizer
from striate.passes.differentiate import differentiate
from striate.settings import Engine
from striate.state import Companion, StateArena, aligned_zeros
from striate.tracing import KEY, Step, Trace, array_type, bindings_of
from striate.watch import PREFIX, Observation, Watch, observe

if TYPE_CHECKING:
    from striate.profile import Profile

_PROGRAMS = 8
"""Gradient programs kept for batches of different shapes; the oldest leaves first."""
_GOLDEN = 0x9E3779B97F4A7C15  # odd, so that multiplication by it is a bijection of 64-bit numbers


@dataclass
class _Compiled:
    """The gradient program for one kind of batch, and what the host needs to know of it."""

    executable: Executable
    graph: Graph
    bindings: Mapping[str, Array]
    prediction: tuple[object, ...]
    checks: tuple[Callable[[int], None], ...]
    counted: tuple[str, ...]
    capacity: int
    observation: Observation | None


@dataclass
class _Memory:
    """Companions of one arena: they live and die with it."""

    arena: StateArena
    gradients: Companion
    pending: Companion
    kept: dict[str, Companion]
    loss: Array
    moved: Companion | None  # what the last update added, while somebody watches
    program: Executable | None  # of the update

    @property
    def update(self) -> Executable:
        """The program of the update."""
        assert self.program is not None
        return self.program


class TrainingStep:
    """One training step of a model, compiled: ``loss = step(x, y)``.

    x (N, …) float32, float64 or uint8; y (N,) integers for ``CrossEntropyLoss``, (N, …) numbers for ``MSELoss``.
    ``seed`` starts parameters that have no values yet, and dropout. ``capacity`` is the largest N that memory is
    planned for at the start; a larger batch plans again. ``max_norm`` scales gradients down to that norm.
    ``precision="bfloat16"`` stores activations in half the memory and multiplies rounded operands; sums, statistics,
    parameters, their gradients and their updates stay float32.

        step = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.05, momentum=0.9))
        loss = step(x, y)

    Raises ``ShapeError``, ``LabelError``, ``DataError`` for what cannot be learned from, and ``NonFiniteError`` for a
    loss or gradient that is not finite; parameters, statistics and optimizer are then as before the step.
    """

    def __init__(
        self,
        model: Module,
        loss: Loss,
        optimizer: Optimizer,
        *,
        seed: int = 0,
        capacity: int | None = None,
        max_norm: float | None = None,
        precision: str | Precision = Precision.full,
    ) -> None:
        _require(model, loss, optimizer)
        if capacity is not None and (not isinstance(cast_type("object", capacity), int | np.integer) or capacity < 1):
            raise OptionError(f"capacity={capacity!r} must be a whole number of samples, 1 or more")
        if max_norm is not None and not (isinstance(cast_type("object", max_norm), Real) and max_norm > 0):
            raise OptionError(f"max_norm={max_norm!r} must be positive")
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.seed = seed
        self._capacity = capacity
        self._max_norm = max_norm
        self.precision = precision_of(precision)
        self._clock = np.zeros((), np.float64)  # number of committed steps
        self._compiled: dict[object, _Compiled] = {}
        self._memory: _Memory | None = None
        self._watches: list[Watch] = []
        self._last: tuple[_Compiled, dict[str, Array], int] | None = None
        self.gradient_norm = math.nan
        model.seed(seed)
        loss.to(model.dtype or DType.float32)
        require_precision(self.precision, model.dtype)

    # The step

    def __call__(self, x: Any, y: Any) -> float:
        """Forward, backward and update; returns the loss before the update."""
        loss = self._gradients(x, y)
        self._update()
        return loss

    def gradients(self, x: Any, y: Any) -> dict[str, Array]:
        """∂loss/∂parameter by dotted name; nothing is updated. ``loss_value`` is the loss."""
        self._gradients(x, y)
        return {name: np.array(view) for name, view in self._held().gradients.views.items()}

    def update(self, gradients: Mapping[str, Array] | None = None) -> None:
        """The optimizer's update with the gradients computed last, or with those given (accumulated, averaged …).

        Running statistics move to those of the batch of the last ``gradients``.
        """
        memory = self._held()
        if gradients is not None:
            views = memory.gradients.views
            if gradients.keys() != views.keys():
                raise OptionError(f"wanted the gradients of {', '.join(views)}")
            for name, array in gradients.items():
                views[name][...] = array
        self._update()

    @property
    def step_number(self) -> int:
        """How many steps were committed."""
        return int(self._clock)

    @property
    def loss_value(self) -> float:
        """The loss that was computed last."""
        return float(self._held().loss)

    def watch(self, pattern: str = "*") -> Watch:
        """Watches the layers and parameters whose dotted names match a pattern, from the next step on.

        That step is compiled anew, with the observers; no bit of the training changes.
        """
        watch = Watch(pattern, self)
        self._watches.append(watch)
        self._watches_changed()
        return watch

    def unwatch(self, watch: Watch) -> None:
        """Ends a watch; one that was ended before may be ended again."""
        if watch in self._watches:
            self._watches.remove(watch)
            self._watches_changed()

    def _watches_changed(self) -> None:
        self._compiled.clear()
        if self._memory is not None and (self._memory.moved is None) is bool(self._watches):
            self._memory = self._with_update(self._memory)

    def gradient_views(self) -> Mapping[str, Array]:
        """The gradients of the last step, in place."""
        return self._held().gradients.views

    def update_views(self) -> Mapping[str, Array]:
        """What the last update added to each parameter, in place; nothing unless somebody watches."""
        moved = self._held().moved
        return {} if moved is None else moved.views

    def parameter_views(self) -> Mapping[str, Array]:
        """The parameters that are learned, in place."""
        return self._held().arena.parameters

    def profile(self, x: Any, y: Any, repetitions: int = 10) -> Profile:
        """Where the time of a step on this batch goes, by layer and pass; ``print`` shows it as a table.

        The steps are real ones; afterwards the model and the optimizer are what they were before.
        Raises ``EngineError`` where nothing is compiled (``STRIATE_ENGINE=reference``).
        """
        profiler = import_module("striate.profile")  # knows the compiler, which only a step that runs needs
        profiler.require_compiled()
        self._gradients(x, y)  # gives the model its memory, and commits nothing
        model, state = self.model.state_dict(), self.state_dict()
        try:
            self(x, y)
            gradients = self._last[0].executable if self._last else None
            update = self._held().update
            return profiler.profile_training(lambda: self(x, y), gradients, update, self.model, len(x), repetitions)
        finally:
            self.model.load_state_dict(model)
            self.load_state_dict(state)

    # What a checkpoint holds beside the model

    def state_dict(self) -> dict[str, Array]:
        """The number of the step and the optimizer's vectors: ``step``, ``momentum_buffer.conv1.weight`` …"""
        state: dict[str, Array] = {"step": np.array(self._clock)}
        if self._memory is not None or self.model.initialized():
            for slot, companion in self._held().kept.items():
                state.update({f"{slot}.{name}": np.array(view) for name, view in companion.views.items()})
        return state

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Puts back what ``state_dict`` gave; raises ``ShapeError`` where it belongs to something else."""
        views = {
            f"{slot}.{name}": view
            for slot, companion in self._held().kept.items()
            for name, view in companion.views.items()
        }
        missing = [name for name in ("step", *views) if name not in state]
        unexpected = [name for name in state if name != "step" and name not in views]
        wrong = [name for name, view in views.items() if name in state and state[name].shape != view.shape]
        if missing or unexpected or wrong:
            raise ShapeError(f"optimizer state: missing {missing}, unexpected {unexpected}, of another shape {wrong}")
        self._clock[...] = state["step"]
        for name, view in views.items():
            view[...] = state[name]

    # Inside

    def _gradients(self, x: Any, y: Any) -> float:
        images = self.model.as_input(x)
        if images.ndim == 0 or len(images) == 0:
            raise DataError(f"a training step needs at least one sample, got x of shape {images.shape}")
        n = len(images)
        dtype = self.model.dtype or DType.float32
        if images.dtype.kind in "iu" and images.dtype != np.uint8:
            images = images.astype(dtype.numpy)
        target = self.loss.target(y, n, dtype.numpy)
        compiled = self._compiled_for(images, target, n)
        self.loss.check_target(target, compiled.prediction)
        for verify in compiled.checks:
            verify(n)
        memory = self._held()
        memory.pending.flat[...] = memory.arena.flat_buffers  # statistics that this step leaves alone stay as they are
        arrays = {"x": images, "y": target}
        if KEY in compiled.graph.inputs:
            arrays[KEY] = self._key()
        compiled.executable.run(arrays, n)
        self._last = (compiled, arrays, n)
        if compiled.observation is not None:
            for watch in self._watches:
                watch.receive(compiled.observation, n)
        return float(memory.loss)

    def _key(self) -> Array:
        mixed = (self.seed * _GOLDEN + self.step_number + 1) * _GOLDEN
        return np.array(mixed & (2**63 - 1), np.int64)

    def _update(self) -> None:
        memory = self._held()
        found = memory.update.run({}, 1)
        self.gradient_norm = float(found["norm"])
        if not found["ok"]:
            self._explain()
        if self._last is not None:
            for name in self._last[0].counted:
                memory.arena.counters[name][...] += 1
            memory.arena.changed()

    def _held(self) -> _Memory:
        """The arena's companions; made anew, keeping the optimizer's state, where the arena was."""
        arena = self.model.arena()
        before = self._memory
        if before is not None and before.arena is arena:
            return before
        self._compiled.clear()
        kept = {slot: arena.like_parameters() for slot in self.optimizer.kept()}
        if before is not None:
            for slot, companion in kept.items():
                for name, view in companion.views.items():
                    old = before.kept[slot].views.get(name)
                    if old is not None and old.shape == view.shape:
                        view[...] = old
        gradients, pending = arena.like_parameters(), arena.like_buffers()
        loss = aligned_zeros(1, arena.dtype).reshape(())
        self._memory = self._with_update(_Memory(arena, gradients, pending, kept, loss, None, None))
        return self._memory

    def _with_update(self, memory: _Memory) -> _Memory:
        """The same memory with the program of the update; where somebody watches, with one that tells what it adds."""
        moved = memory.arena.like_parameters() if self._watches else None
        memory = replace(memory, moved=moved)
        return replace(memory, program=self._prepare_update(memory))

    def _compiled_for(self, x: Array, y: Array, n: int) -> _Compiled:
        def key() -> object:
            return x.shape[1:], x.dtype, y.shape[1:], y.dtype, self.model.version, self.loss.version

        found = self._compiled.get(key())
        if found is None or n > found.capacity:
            self._settle(x)
            found = self._prepare_gradients(x, y, n)
            while len(self._compiled) >= _PROGRAMS:
                del self._compiled[next(iter(self._compiled))]
            self._compiled[key()] = found  # preparing may have assigned memory, which is a new version
        return found

    def _settle(self, x: Array) -> None:
        """Infers sizes that are not known yet, by arithmetic on shapes."""
        if any(not slot.known for _, slot in self.model.named_slots()):
            self.model.infer(x.shape[1:])

    def _prepare_gradients(self, x: Array, y: Array, n: int) -> _Compiled:
        memory = self._held()
        with Trace(training=True) as trace:
            prediction = self.model(trace.input("x", array_type(x, "x", batched=True)))
            if not isinstance(prediction, Value):
                raise ShapeError(
                    f"the loss needs a model with one output, its forward returned a {type(prediction).__name__}\n"
                    "  help: return one array, or train a module that returns one of them"
                )
            layers = tuple(trace.steps)  # those of the model; the loss is a module too
            self.loss.check_target(y, prediction.shape)
            loss = self.loss(prediction, trace.input("y", array_type(y, "y", batched=True)))
            learned = {name: trace.read(slot) for name, slot in self.model.named_slots() if slot.requires_grad}
            gradients = differentiate(loss, list(learned.values()))
            outputs = {"loss": reshape(loss, ())}
            outputs |= {f"gradient:{name}": value for name, value in zip(learned, gradients)}
            outputs |= {f"pending:{name}": value for name, value in trace.updates.items()}
            observation = self._observation(layers, prediction, memory.arena.dtype)
            graph = trace.graph(outputs if observation is None else outputs | observation.outputs)
        results = {"loss": memory.loss}
        results |= {f"gradient:{name}": memory.gradients.views[name] for name in learned}
        results |= {f"pending:{name}": memory.pending.views[name] for name in trace.updates}
        results |= {} if observation is None else observation.places
        capacity = max(n, self._capacity or 0)
        bindings = bindings_of(trace)
        return _Compiled(
            prepare(graph, bindings, results, capacity, precision=self.precision),
            graph,
            bindings,
            prediction.shape,
            tuple(trace.checks),
            tuple(trace.names[slot] for slot in trace.counted),
            capacity,
            observation,
        )

    def _observation(self, layers: tuple[Step, ...], prediction: Value, dtype: DType) -> Observation | None:
        """What all watches together want to know."""
        watches = list(self._watches)
        if not watches:
            return None
        return observe(lambda path: any(watch.wants(path) for watch in watches), layers, prediction, dtype)

    def _prepare_update(self, memory: _Memory) -> Executable:
        arena, kept = memory.arena, memory.kept
        bindings = {"parameters": arena.flat_parameters, "gradients": memory.gradients.flat, "loss": memory.loss}
        bindings |= {slot: companion.flat for slot, companion in kept.items()}
        if arena.flat_buffers.size:
            bindings |= {"buffers": arena.flat_buffers, "pending": memory.pending.flat}
        values = {name: State(name, array_type(array, name, batched=False))() for name, array in bindings.items()}
        clock = State("clock", TensorType(DType.float64, ()))()
        bindings["clock"] = self._clock
        g = values["gradients"]
        squares = reshape(Sum((0,))(g * g), ())
        norm = sqrt(squares)
        finite = values["loss"] + squares
        if "pending" in values:
            finite = finite + reshape(Sum((0,))(values["pending"]), ())
        if self._max_norm is not None:
            g = g * minimum(self._max_norm / (norm + 1e-6), 1.0)
        states = {slot: values[slot] for slot in kept}
        new, new_states = self.optimizer.update(values["parameters"], g, states, clock)
        if not self.optimizer.bounded:  # a huge rate or decay overflows here, where the result is not yet written
            for value in (new, *new_states.values()):
                finite = finite + reshape(Sum((0,))(value), ())
        ok = IsFinite()(finite)
        updates = {"parameters": Where()(ok, new, values["parameters"])}
        updates |= {slot: Where()(ok, value, values[slot]) for slot, value in new_states.items()}
        if "buffers" in values:
            updates["buffers"] = Where()(ok, values["pending"], values["buffers"])
        updates["clock"] = clock + cast(ok, DType.float64)
        outputs = {"ok": ok, "norm": norm}
        results: dict[str, Array] = {}
        if memory.moved is not None:
            outputs[f"{PREFIX}moved"] = updates["parameters"] - values["parameters"]
            results[f"{PREFIX}moved"] = memory.moved.flat
        graph = Graph({**values, "clock": clock}, outputs, updates)
        return prepare(check(graph, "update"), bindings, results, None, arenas=(arena,))

    # When a step went wrong

    def _explain(self) -> None:
        """Raises the error that names what was not finite: the data, or the first layer and tensor."""
        number = self.step_number + 1
        if self._last is None:
            raise NonFiniteError(f"step {number}: the gradients given are not finite; nothing was changed")
        compiled, arrays, n = self._last
        for name in ("x", "y"):
            if arrays[name].dtype.kind == "f" and not np.isfinite(arrays[name]).all():
                place = tuple(int(i) for i in np.argwhere(~np.isfinite(arrays[name]))[0])
                raise DataError(
                    f"step {number}: {name}{list(place)} is {arrays[name][place]}; nothing was changed\n"
                    f"  help: sample {place[0]} of this batch holds NaN or infinity; repair or drop it"
                )
        where = self._first_bad(compiled, arrays, n)
        raise NonFiniteError(
            f"step {number}: {where}; nothing of this step was kept\n"
            "  help: a smaller learning rate, standardized data, batch normalization, or max_norm= to clip gradients"
        )

    def _first_bad(self, compiled: _Compiled, arrays: Mapping[str, Array], n: int) -> str:
        """Replays the step on the references with every tensor as an output."""
        graph = compiled.graph
        bindings = compiled.bindings
        for name, value in graph.inputs.items():
            if isinstance(value.node.op, Input) and name in bindings and not np.isfinite(bindings[name]).all():
                return f"{name!r} holds NaN or infinity before the step"
        forward = {node.serial for node in topological([graph.outputs["loss"]])}
        training = topological([value for name, value in graph.outputs.items() if not name.startswith(PREFIX)])
        values = {
            f"{node.serial}.{index}": (node, value)
            for node in sorted(training, key=lambda node: node.serial)
            for index, value in enumerate(node.outputs)
            if value.dtype.is_float and node.inputs
        }
        replay = Graph(graph.inputs, {name: value for name, (_, value) in values.items()}, {}, graph.captured)
        found = ReferenceExecutable(replay, bindings, {}).run(arrays, n)
        for name, (node, value) in values.items():
            if not np.isfinite(found[name]).all():
                kind = "NaN" if np.isnan(found[name]).any() else "infinity"
                part = "forward" if node.serial in forward else "backward"
                layer = f'at "{node.path}"' if node.path else "at the loss"
                return f"the first {kind} is the output of {node.op} {layer} ({part} pass), {value.type}"
        return self._too_large()

    def _too_large(self) -> str:
        """What overflowed where every tensor of the forward and backward pass is finite."""
        memory = self._held()
        vectors = {"gradient": memory.gradients.views, "new value": memory.pending.views}
        largest = {
            (kind, name): float(np.abs(view).max(initial=0)) for kind in vectors for name, view in vectors[kind].items()
        }
        kind, name = max(largest, key=lambda one: largest[one])
        dtype = memory.arena.dtype.value
        if (
            not self.optimizer.bounded
            and math.isfinite(self.gradient_norm)
            and math.isfinite(float(memory.pending.flat.sum()))
        ):
            return f'the update of "{name}" and others would exceed {dtype} with lr={self.optimizer.lr:g}'
        reached = f'the {kind} of "{name}" reaches {largest[kind, name]:.3g}'
        return f"the numbers are too large: {reached}, whose square or sum exceeds {dtype}"


def require_precision(precision: Precision, dtype: DType | None = None) -> None:
    """Raises where bfloat16 is asked for and cannot be had: ``EngineError`` on processors without the instructions,
    ``OptionError`` for a model in float64."""
    if precision is Precision.full:
        return
    if dtype is DType.float64:
        raise OptionError(
            'precision="bfloat16" is for models in float32, this one is in float64\n  help: model.float()'
        )
    if settings.current().engine is Engine.COMPILED:
        targets = import_module("striate.codegen.target")
        for target in (targets.current(), targets.host()):
            targets.require_bfloat16(target)


def _require(model: object, loss: object, optimizer: object) -> None:
    """Raises ``OptionError`` for a class given instead of an object of it, a name, and the like."""
    for name, given, kind, example in (
        ("model", model, Module, "nn.Sequential(…)"),
        ("loss", loss, Loss, "nn.CrossEntropyLoss()"),
        ("optimizer", optimizer, Optimizer, "optim.SGD(lr=0.05)"),
    ):
        if not isinstance(given, kind):
            raise OptionError(f"{name}={given!r} is no {kind.__name__}\n  help: give an object, such as {example}")
