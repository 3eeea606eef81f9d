"""``Watch``: statistics of every layer in the last step, and the units that have fired so far."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Protocol

import numpy as np

from striate.errors import DataError
from striate.graph.value import Array
from striate.watch.observation import Layer, Observation
from striate.watch.table import html_table, text_table

LISTED = 64
"""The largest number of silent units that a record lists by index; it counts all of them."""
_CHUNK = 1 << 14  # elements summed at a time: few enough to stay in the cache


class Watched(Protocol):
    """Protocol: the attributes of a training step that a watch uses."""

    @property
    def step_number(self) -> int:
        """The number of steps so far, without those that failed."""
        ...

    def gradient_views(self) -> Mapping[str, Array]:
        """Return the gradient of the loss with respect to each parameter in the last step, by dotted name."""
        ...

    def update_views(self) -> Mapping[str, Array]:
        """Return the change of each parameter in the last step, by dotted name."""
        ...

    def parameter_views(self) -> Mapping[str, Array]:
        """Return the current value of each learned parameter, by dotted name."""
        ...

    def unwatch(self, watch: Watch) -> None:
        """Remove a watch from the step, so that the step no longer computes the watch's statistics."""
        ...


@dataclass
class _Count:
    """Firings in one program since the pass began: ``fired`` is the count of each unit, over ``samples``."""

    observation: Observation
    fired: Array
    samples: int = 0


@dataclass
class _Restored:
    """Firings of this pass before the training was resumed."""

    samples: int = 0
    fired: dict[str, Array] = field(default_factory=dict[str, Array])
    seen: dict[str, int] = field(default_factory=dict[str, int])


class Watch:
    """Shows what training does to each layer; ``step.watch("*")`` makes one, which every step updates.

        watch = step.watch("*")
        for x, y, _ in data.batches(train_set, 32, seed=0, epoch=0):
            step(x, y)
        print(watch)                   # a table, one line per layer
        watch.silent_units()           # {"act2": [3, 17]}: units that never fired

    A layer is named by its dotted path; if a forward pass uses it again, the further uses are ``path#2``, ``path#3`` …
    An activation that a module calls in its own ``forward`` is named by the module's path and the operation:
    ``st.ops.relu`` in "block1" is "block1.relu". The layers whose paths match ``pattern``, the argument of
    ``step.watch``, are watched.

    Statistics of outputs are those of the last batch. With ``accumulate``, they are those of the last part of the
    batch; with several ranks (processes), those of this rank's samples. Gradients and updates are those of the last
    step. Before the first step, the methods about outputs return empty results.

    A unit is a channel, axis 1 of the output; it fires where its output is above 0. How often units fire is counted
    over all batches since the last call of ``start_pass``, or since the watch was made, so that a full pass over the
    data shows which units never fire. Firing, zeros and saturation are counted for elementwise operations (activations,
    dropout), but not for linear layers, convolutions, normalizations and pooling, which have no threshold.

    Watching does not change a single bit of the results of training. ``benchmarks/watch.py`` measures how much time it
    takes.
    """

    def __init__(self, pattern: str, step: Watched) -> None:
        self.pattern = pattern
        self._step = step
        self._latest: Observation | None = None
        self._counts: list[_Count] = []
        self._last_samples = 0
        self._restored = _Restored()

    @property
    def samples(self) -> int:
        """The number of samples processed since the last call of ``start_pass``, or since the watch was made."""
        return self._restored.samples + sum(count.samples for count in self._counts)

    def wants(self, path: str) -> bool:
        """Return whether the watch's pattern matches the path of a layer."""
        return fnmatchcase(path, self.pattern)

    def receive(self, observation: Observation, n: int) -> None:
        """Take over the statistics of a batch of ``n`` samples from ``observation``, and add up its counts.

        The training step calls this method after each run of the program that computes the gradients.
        """
        self._latest = observation
        for count in self._counts:
            if count.observation is observation:
                break
        else:
            count = _Count(observation, np.zeros(observation.flat["firing"].size))
            self._counts.append(count)
        count.fired += observation.flat["firing"]
        count.samples += n
        self._last_samples = n

    def start_pass(self) -> None:
        """Set the counts of how often each unit fired (its output was above 0) back to 0.

        Call this method at the beginning of each pass over the data.
        """
        self._counts.clear()
        self._restored = _Restored()

    def state_dict(self) -> dict[str, Array]:
        """Return the counts of this pass: ``samples``, and for each layer ``fired.PATH`` and ``seen.PATH``.

        ``samples`` is the number of samples in the pass, ``fired`` (C,) float64 how often the output of each unit was
        above 0, and ``seen`` () int64 the number of outputs of each unit. PATH is the path of the layer.
        """
        fired, seen = self._totals()
        state: dict[str, Array] = {"samples": np.array(self.samples)}
        state |= {f"fired.{path}": np.array(units, np.float64) for path, units in fired.items()}
        return state | {f"seen.{path}": np.array(count) for path, count in seen.items()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Continue counting from the counts that ``state_dict`` returned.

        Other statistics are empty until the next step. Raises ``DataError`` if ``samples``, or ``seen`` of a layer, is
        missing.
        """
        try:
            fired = {name[6:]: np.array(array, np.float64) for name, array in state.items() if name[:6] == "fired."}
            seen = {path: int(state[f"seen.{path}"]) for path in fired}
            self._restored = _Restored(int(state["samples"]), fired, seen)
        except KeyError as error:
            raise DataError(f"the state of a watch lacks {error}") from error
        self._counts.clear()

    def close(self) -> None:
        """End the watch; training steps then no longer compute its statistics."""
        self._step.unwatch(self)

    # Outputs of the last batch

    def means(self) -> dict[str, float]:
        """Return the mean of all elements of each layer's output in the last batch, by path."""
        return {layer.path: float(found.mean()) for layer, found in self._numbers("mean")}

    def stds(self) -> dict[str, float]:
        """Return the standard deviation of each layer's output in the last batch, by path.

        It is √((1/n) Σ (y − mean)²) over samples, units and positions.
        """
        means = {layer.path: found for layer, found in self._numbers("mean")}
        return {
            layer.path: math.sqrt(float(variances.mean() + means[layer.path].var()))
            for layer, variances in self._numbers("variance")
        }

    def zero_shares(self) -> dict[str, float]:
        """Return the fraction of outputs that are 0 in the last batch, from 0 to 1, by path of the activation.

        Numbers below the smallest normal number of their dtype count as 0, because the kernels flush denormal numbers
        to 0.
        """
        return self._shares("zeros")

    def saturated_shares(self) -> dict[str, float]:
        """Return the fraction of saturated outputs in the last batch, from 0 to 1, by path of the activation.

        An output is saturated where the derivative is less than a tenth of its largest value: for the sigmoid y(1 − y)
        < 1/40, that is y outside 0.026 … 0.974 (|x| > 3.6); for tanh 1 − y² < 1/10, that is |y| > 0.949 (|x| > 1.8).
        Activations that do not saturate are left out; a user's own activation is included if its operation declares
        ``saturation_bounds``.
        """
        return self._shares("saturated")

    # Firings since the pass began

    def firing(self) -> dict[str, Array]:
        """Return the fraction of each unit's outputs that were above 0 in this pass, by path of the activation.

        The pass began with the last call of ``start_pass``, or when the watch was made. Each array is float64 (C,),
        with values from 0 to 1.
        """
        fired, seen = self._totals()
        return {path: units / max(seen[path], 1) for path, units in fired.items()}

    def _totals(self) -> tuple[dict[str, Array], dict[str, int]]:
        """Return how often each unit has fired since the pass began, and the number of outputs of each unit, by path"""
        fired, seen = dict(self._restored.fired), dict(self._restored.seen)
        for count in self._counts:
            for layer in self._layers(count.observation):
                units = count.observation.units_of("firing", layer.tensor, count.fired)
                if not layer.units or units is None:
                    continue
                if layer.path in fired and fired[layer.path].shape != units.shape:  # the layer was replaced
                    del fired[layer.path], seen[layer.path]
                fired[layer.path] = fired.get(layer.path, 0) + units
                elements = count.observation.tensors[layer.tensor].elements(count.samples)
                seen[layer.path] = seen.get(layer.path, 0) + elements
        return fired, seen

    def silent_units(self) -> dict[str, list[int]]:
        """Return the indices of units that have not fired in this pass, by path of the layer.

        A unit, which is a channel, fires where its output is above 0. Layers in which every unit has fired are left
        out. After a ReLU, a unit that never fires is dead: no gradient passes through it.
        """
        return {
            path: [int(unit) for unit in np.flatnonzero(fired == 0)]
            for path, fired in self.firing().items()
            if not fired.all()
        }

    # Gradients and updates of the last step

    def gradient_norms(self) -> dict[str, float]:
        """Return the norm √Σg² of the gradient g of each parameter in the last step, by the parameter's dotted name."""
        return self._norms(self._step.gradient_views())

    def layer_gradient_norms(self) -> dict[str, float]:
        """Return the norm √Σg² of the gradients g of all parameters of each layer in the last step, by path.

        The layers are in running order. Parameters of layers inside a layer are not counted for the outer one.
        """
        return self._wanted(self._all_layer_norms())

    def gradient_ratios(self) -> dict[str, float]:
        """Return each layer's gradient norm divided by that of the model's last layer with parameters, by path.

        The divisor is the same whether or not the watch's pattern matches the last layer. A ratio much below 1 in the
        first layers means a vanishing gradient, a ratio much above 1 an exploding gradient.
        """
        return self._wanted(_to_last(self._all_layer_norms()))

    def update_ratios(self) -> dict[str, float]:
        """Return ‖Δθ‖ / ‖θ‖ of each parameter in the last step, by dotted name; θ is the parameter after the update Δθ.

        A usual value is about 1e-3.
        """
        sizes = self._norms(self._step.parameter_views())
        return {name: _ratio(moved, sizes[name]) for name, moved in self._norms(self._step.update_views()).items()}

    # Everything in one record

    def record(self) -> dict[str, object]:
        """Return all statistics as numbers, lists and dicts that JSON can hold.

            {"step": 12, "samples": 384, "layers": {"conv1": {
                "mean", "std", "zeros", "saturated",                   outputs of the last batch
                "gradient_norm", "gradient_ratio", "update_ratio",     of the layer's own parameters in the last step
                "units", "silent", "silent_count"}}}                   over the "samples" of this pass

        ``silent`` lists the indices of units that never fired, at most 64. ``update_ratio`` is computed for all
        parameters of the layer together. Numbers that are not finite become None.
        """
        firing = self.firing()
        outputs = {
            "mean": self.means(), "std": self.stds(), "zeros": self.zero_shares(),
            "saturated": self.saturated_shares(),
        }  # fmt: skip
        everywhere = self._all_layer_norms()
        norms, ratios = self._wanted(everywhere), self._wanted(_to_last(everywhere))
        moved, sizes = (
            _by_layer(self._norms(views)) for views in (self._step.update_views(), self._step.parameter_views())
        )
        layers: dict[str, dict[str, object]] = {}
        for path in self._paths(norms):
            own = path.partition("#")[0]
            first = own == path
            fired = firing.get(path)
            silent = [] if fired is None else [int(unit) for unit in np.flatnonzero(fired == 0)]
            layers[path] = {
                **{name: _finite(found.get(path)) for name, found in outputs.items()},
                "gradient_norm": _finite(norms.get(own)) if first else None,
                "gradient_ratio": _finite(ratios.get(own)) if first else None,
                "update_ratio": _finite(_ratio(moved[own], sizes[own])) if first and own in moved else None,
                "units": 0 if fired is None else len(fired),
                "silent": silent[:LISTED],
                "silent_count": len(silent),
            }
        return {"step": self._step.step_number, "samples": self.samples, "layers": layers}

    def __repr__(self) -> str:
        if self._latest is None:
            return f"Watch({self.pattern!r}): no step yet"
        return text_table(self.record())

    def _repr_html_(self) -> str:
        return f"<p>{self!r}</p>" if self._latest is None else html_table(self.record())

    # Inside

    def _layers(self, observation: Observation) -> Iterator[Layer]:
        return (layer for layer in observation.layers if self.wants(layer.path.partition("#")[0]))

    def _numbers(self, what: str) -> Iterator[tuple[Layer, Array]]:
        observation = self._latest
        if observation is not None:
            for layer in self._layers(observation):
                units = observation.units_of(what, layer.tensor)
                if units is not None:
                    yield layer, units

    def _shares(self, what: str) -> dict[str, float]:
        observation = self._latest
        if observation is None:
            return {}
        return {
            layer.path: float(found.sum())
            / (found.size * observation.tensors[layer.tensor].elements(self._last_samples))
            for layer, found in self._numbers(what)
        }

    def _norms(self, views: Mapping[str, Array]) -> dict[str, float]:
        return {
            name: _norm(view) for name, view in views.items() if self.wants(name) or self.wants(name.rpartition(".")[0])
        }

    def _wanted(self, layers: Mapping[str, float]) -> dict[str, float]:
        return {path: number for path, number in layers.items() if self.wants(path)}

    def _all_layer_norms(self) -> dict[str, float]:
        """Return the gradient norms of all layers, including those that the pattern excludes."""
        if self._latest is None:
            return {}
        norms = _by_layer({name: _norm(view) for name, view in self._step.gradient_views().items()})
        order = list(dict.fromkeys(self._latest.passed))
        unused = [path for path in norms if path not in order]  # unused layers must not count as the last layer
        return {path: norms[path] for path in (*unused, *order) if path in norms}

    def _paths(self, norms: Mapping[str, float]) -> list[str]:
        observation = self._latest
        if observation is None:
            return []
        watched = [layer.path for layer in self._layers(observation)]
        return list(dict.fromkeys([*watched, *norms]))


def _norm(array: Array) -> float:
    """Return √Σx² in float64, summed in blocks that fit the cache.

    BLAS is not used, since its threads would compete with the training's.
    """
    flat = array.reshape(-1)
    total = 0.0
    for start in range(0, flat.size, _CHUNK):
        total += float(np.square(flat[start : start + _CHUNK], dtype=np.float64).sum())
    return math.sqrt(total)


def _by_layer(norms: Mapping[str, float]) -> dict[str, float]:
    """Combine norms of parameters to one norm for each layer."""
    squares: dict[str, float] = {}
    for name, norm in norms.items():
        layer = name.rpartition(".")[0]
        squares[layer] = squares.get(layer, 0.0) + norm * norm
    return {layer: math.sqrt(square) for layer, square in squares.items()}


def _to_last(norms: Mapping[str, float]) -> dict[str, float]:
    """Divide all norms by the last one."""
    last = next(reversed(list(norms.values())), math.nan)
    return {path: _ratio(norm, last) for path, norm in norms.items()}


def _ratio(a: float, b: float) -> float:
    """Return a / b; infinity where only b is 0, NaN where both are."""
    if b == 0:
        return math.nan if a == 0 or math.isnan(a) else math.inf
    return a / b


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
