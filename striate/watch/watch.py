"""``Watch``: statistics of every layer in the last step, and which units have fired since the pass began."""

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
"""The number of silent units that a record lists by index; it counts all of them."""
_CHUNK = 1 << 14  # elements summed at a time: few enough to stay in the cache


class Watched(Protocol):
    """The part of the training step that a watch uses."""

    @property
    def step_number(self) -> int:
        """The number of committed steps."""
        ...

    def gradient_views(self) -> Mapping[str, Array]:
        """∂loss/∂parameter of the last step, by dotted name."""
        ...

    def update_views(self) -> Mapping[str, Array]:
        """The last change of each parameter."""
        ...

    def parameter_views(self) -> Mapping[str, Array]:
        """The learned parameters."""
        ...

    def unwatch(self, watch: Watch) -> None:
        """Ends a watch."""
        ...


@dataclass
class _Count:
    """Firings in one program since the pass began."""

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
    """What training does to each layer; ``step.watch("*")`` makes one, and every later step updates it.

        watch = step.watch("*")
        for x, y, _ in data.batches(train_set, 32, seed=0, epoch=0):
            step(x, y)
        print(watch)                   # a table, one line a layer
        watch.silent_units()           # {"act2": [3, 17]}: units that never fired

    A layer is named by its dotted path; further uses of it in one pass are ``path#2``, ``path#3`` … An activation that
    a module calls in its own ``forward`` is named by the module's path and the operation: ``st.ops.relu`` in "block1"
    is "block1.relu".

    Statistics of outputs are those of the last batch, gradients and updates those of the last step. Firings are counted
    over all batches since the watch, or the pass, began; ``start_pass`` resets the count, so that a full pass over the
    data shows which units never fire. A unit is a channel, axis 1 of the output; it fires where its output is above 0.
    Firings, zeros and saturation exist for elementwise operations (activations, dropout), not for linear maps,
    normalizations and pooling, which have no threshold.

    The kernels that compute the outputs compute the statistics too, while the outputs are in registers; no bit of the
    training changes (``benchmarks/watch.py`` measures the cost).
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
        """Samples seen since the pass began."""
        return self._restored.samples + sum(count.samples for count in self._counts)

    def wants(self, path: str) -> bool:
        """Whether the pattern matches the path of a layer."""
        return fnmatchcase(path, self.pattern)

    def receive(self, observation: Observation, n: int) -> None:
        """Called by the step: takes the statistics of one batch of ``n`` samples from the observation's arrays."""
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
        """Resets the count of firings; call it where a pass over the data begins."""
        self._counts.clear()
        self._restored = _Restored()

    def state_dict(self) -> dict[str, Array]:
        """The count of firings: ``samples`` of this pass, and ``fired.act1``, ``seen.act1`` … of each layer.

        ``fired`` (C,) float64 is how often each unit fired, ``seen`` the number of outputs of a unit.
        """
        fired, seen = self._totals()
        state: dict[str, Array] = {"samples": np.array(self.samples)}
        state |= {f"fired.{path}": np.array(units, np.float64) for path, units in fired.items()}
        return state | {f"seen.{path}": np.array(count) for path, count in seen.items()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Goes on counting from what ``state_dict`` returned; statistics of the last batch come with the next step.

        Raises ``DataError`` for a state that lacks a part.
        """
        try:
            fired = {name[6:]: np.array(array, np.float64) for name, array in state.items() if name[:6] == "fired."}
            seen = {path: int(state[f"seen.{path}"]) for path in fired}
            self._restored = _Restored(int(state["samples"]), fired, seen)
        except KeyError as error:
            raise DataError(f"the state of a watch lacks {error}") from error
        self._counts.clear()

    def close(self) -> None:
        """Ends the watch; the step then runs without its observers."""
        self._step.unwatch(self)

    # Outputs of the last batch

    def means(self) -> dict[str, float]:
        """(1/n) Σ y of each layer's output in the last batch."""
        return {layer.path: float(found.mean()) for layer, found in self._numbers("mean")}

    def stds(self) -> dict[str, float]:
        """Standard deviation √((1/n) Σ (y − mean)²) of each layer's output in the last batch."""
        means = {layer.path: found for layer, found in self._numbers("mean")}
        return {
            layer.path: math.sqrt(float(variances.mean() + means[layer.path].var()))
            for layer, variances in self._numbers("variance")
        }

    def zero_shares(self) -> dict[str, float]:
        """Share of each layer's output that is 0 in the last batch, from 0 to 1.

        Numbers below the smallest normal one of their type count as 0, since the kernels flush denormals.
        """
        return self._shares("zeros")

    def saturated_shares(self) -> dict[str, float]:
        """Share of the saturated outputs of each sigmoid and tanh in the last batch, from 0 to 1.

        An output is saturated where the derivative is less than a tenth of its largest value: for the sigmoid
        y(1 − y) < 1/40, that is y outside of 0.026 … 0.974 (|x| > 3.6); for tanh 1 − y² < 1/10, that is |y| > 0.949
        (|x| > 1.8). The tenth is a convention: such an element weakens the gradient tenfold or more. Layers whose
        operation does not saturate are left out; a user's own activation is included if its operation declares
        ``saturation_bounds``.
        """
        return self._shares("saturated")

    # Firings since the pass began

    def firing(self) -> dict[str, Array]:
        """For each layer the share of outputs above 0 of each unit, (C,) from 0 to 1, over all batches of this pass."""
        fired, seen = self._totals()
        return {path: units / max(seen[path], 1) for path, units in fired.items()}

    def _totals(self) -> tuple[dict[str, Array], dict[str, int]]:
        """For each layer how often each unit fired in this pass, and the number of outputs of a unit."""
        fired, seen = dict(self._restored.fired), dict(self._restored.seen)
        for count in self._counts:
            for layer in self._layers(count.observation):
                units = count.observation.units_of("firing", layer.tensor, count.fired)
                if not layer.units or units is None:
                    continue
                if layer.path in fired and fired[layer.path].shape != units.shape:  # the layer has changed
                    del fired[layer.path], seen[layer.path]
                fired[layer.path] = fired.get(layer.path, 0) + units
                elements = count.observation.tensors[layer.tensor].elements(count.samples)
                seen[layer.path] = seen.get(layer.path, 0) + elements
        return fired, seen

    def silent_units(self) -> dict[str, list[int]]:
        """The indices of units that never fired in this pass, for each layer that has such units.

        After a ReLU they are dead: they have passed no gradient.
        """
        return {
            path: [int(unit) for unit in np.flatnonzero(fired == 0)]
            for path, fired in self.firing().items()
            if not fired.all()
        }

    # Gradients and updates of the last step

    def gradient_norms(self) -> dict[str, float]:
        """√Σg² of the gradient of each parameter in the last step, by the parameter's dotted name."""
        return self._norms(self._step.gradient_views())

    def layer_gradient_norms(self) -> dict[str, float]:
        """√Σg² over all own parameters of each layer in the last step, in the order in which layers run."""
        return self._wanted(self._all_layer_norms())

    def gradient_ratios(self) -> dict[str, float]:
        """Each layer's gradient norm divided by that of the model's last layer with parameters.

        That layer is the divisor even if the watch's pattern excludes it.

        A ratio much below 1 in the first layers means a vanishing gradient, one much above 1 an exploding gradient.
        """
        return self._wanted(_to_last(self._all_layer_norms()))

    def update_ratios(self) -> dict[str, float]:
        """‖Δθ‖ / ‖θ‖ of each parameter θ as it is after the last update Δθ: about 1e-3 is usual."""
        sizes = self._norms(self._step.parameter_views())
        return {name: _ratio(moved, sizes[name]) for name, moved in self._norms(self._step.update_views()).items()}

    # All of it

    def record(self) -> dict[str, object]:
        """All of it as numbers, lists and dicts that JSON can hold; numbers that are not finite become None.

            {"step": 12, "samples": 384, "layers": {"conv1": {
                "mean", "std", "zeros", "saturated",                   outputs of the last batch
                "gradient_norm", "gradient_ratio", "update_ratio",     of the layer's own parameters in the last step
                "units", "silent", "silent_count"}}}                   over the "samples" of this pass

        ``silent`` lists at most 64 indices. ``update_ratio`` is that of all own parameters together.
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
        """The gradient norms of all layers, also of those that the pattern excludes."""
        if self._latest is None:
            return {}
        norms = _by_layer({name: _norm(view) for name, view in self._step.gradient_views().items()})
        order = list(dict.fromkeys(self._latest.passed))
        unused = [path for path in norms if path not in order]  # they take no part, and are not the last layer
        return {path: norms[path] for path in (*unused, *order) if path in norms}

    def _paths(self, norms: Mapping[str, float]) -> list[str]:
        observation = self._latest
        if observation is None:
            return []
        watched = [layer.path for layer in self._layers(observation)]
        return list(dict.fromkeys([*watched, *norms]))


def _norm(array: Array) -> float:
    """√Σx² in float64, in pieces that stay in the cache; not by BLAS, whose threads would compete with ours."""
    flat = array.reshape(-1)
    total = 0.0
    for start in range(0, flat.size, _CHUNK):
        total += float(np.square(flat[start : start + _CHUNK], dtype=np.float64).sum())
    return math.sqrt(total)


def _by_layer(norms: Mapping[str, float]) -> dict[str, float]:
    """Norms of parameters combined to one norm for each layer."""
    squares: dict[str, float] = {}
    for name, norm in norms.items():
        layer = name.rpartition(".")[0]
        squares[layer] = squares.get(layer, 0.0) + norm * norm
    return {layer: math.sqrt(square) for layer, square in squares.items()}


def _to_last(norms: Mapping[str, float]) -> dict[str, float]:
    last = next(reversed(list(norms.values())), math.nan)
    return {path: _ratio(norm, last) for path, norm in norms.items()}


def _ratio(a: float, b: float) -> float:
    if b == 0:
        return math.nan if a == 0 or math.isnan(a) else math.inf
    return a / b


def _finite(number: float | None) -> float | None:
    return number if number is not None and math.isfinite(number) else None
