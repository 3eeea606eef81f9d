"""A watch reports what NumPy counts in the layers' outputs, gradients and parameters, and changes no bit."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import striate as st
from striate import nn, optim, settings
from striate.compiler import CompiledExecutable
from striate.engine import prepare
from striate.graph.value import Value
from striate.settings import Engine
from striate.step.batch_gradients import random_key
from striate.tracing import KEY, Trace, array_type
from tests.compiled.networks import mixed, residual_block

Outputs = dict[str, np.ndarray]


class Functional(nn.Module):
    """A network with activations that are not layers, a shared layer, and a view of an intermediate value."""

    def __init__(self) -> None:
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.again = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.act = nn.ReLU()
        self.fc = nn.Linear(None, 10)

    def forward(self, x: Value) -> Value:
        x = st.ops.relu(self.conv(x))
        x = self.act(self.again(self.act(self.again(x))))
        return self.fc(st.ops.flatten(st.ops.tanh(x)))


def vanishing() -> nn.Sequential:
    """Build a convolution whose output is never stored, since it is averaged while it is in registers."""
    return nn.Sequential(nn.Conv2d(3, 18, 3, bias=False), nn.GlobalAveragePool(), nn.Flatten(), nn.Linear(18, 10))


def perceptron() -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(None, 33), nn.Sigmoid(), nn.Linear(33, 20), nn.BatchNorm1d(20), nn.ReLU(),
        nn.Linear(20, 10),
    )  # fmt: skip


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "lenet5": (lambda: st.models.lenet5(), (1, 28, 28)),
    "residual": (residual_block, (3, 10, 9)),
    "mixed": (mixed, (3, 13, 11)),
    "functional": (Functional, (3, 7, 6)),
    "vanishing": (vanishing, (3, 9, 9)),
    "perceptron": (perceptron, (1, 5, 4)),
}


def batch(shape: tuple[int, ...], count: int, seed: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    return random.standard_normal((count, *shape)).astype(dtype), random.integers(0, 10, count)


def training(name: str, dtype: str = "float32", rule: optim.Optimizer | None = None) -> st.TrainingStep:
    make, shape = NETWORKS[name]
    model = make()
    model.infer(shape).initialize(0).to(dtype)
    return st.TrainingStep(model, nn.CrossEntropyLoss(), rule or optim.SGD(lr=0.05, momentum=0.9), seed=3, capacity=9)


def outputs_of(step: st.TrainingStep, x: np.ndarray) -> Outputs:
    """Return the complete output of each layer on this batch, as the next step computes it."""
    with Trace(training=True) as trace:
        step.model(trace.input("x", array_type(x, "x", batched=True)))
        names: dict[str, Value] = {}
        uses: dict[str, int] = {}
        for one in trace.calls:
            uses[one.path] = uses.get(one.path, 0) + 1
            names[one.path if uses[one.path] == 1 else f"{one.path}#{uses[one.path]}"] = one.output
        graph = trace.graph(names)
    arrays = {"x": x, **({KEY: random_key(step.seed, step.step_number)} if KEY in graph.inputs else {})}
    return prepare(graph, trace.bindings(), {}, len(x)).run(arrays, len(x))


def by_unit(y: np.ndarray) -> np.ndarray:
    return np.moveaxis(y, 1, 0).reshape(y.shape[1], -1)


@pytest.mark.parametrize(
    ("name", "engine", "dtype"),
    [
        pytest.param(
            name, engine, dtype,
            marks=() if engine == "compiled" and name in ("mixed", "functional", "vanishing") else pytest.mark.slow,
        )
        for name in NETWORKS
        for engine, dtype in (("compiled", "float32"), ("reference", "float64"))
    ],
)  # fmt: skip
def test_outputs_are_those_of_a_recount(name: str, engine: str, dtype: str, kept_settings: settings.Settings) -> None:
    settings.override(engine=Engine[engine.upper()])
    step = training(name, dtype)
    watch = step.watch()
    fired: Outputs = {}
    elements: dict[str, int] = {}
    exact = {"rtol": 2e-5, "atol": 1e-6} if dtype == "float32" else {"rtol": 1e-9, "atol": 1e-12}
    for count in (9, 9, 4):
        x, y = batch(NETWORKS[name][1], count, count, dtype)
        outputs = outputs_of(step, x)
        step(x, y)
        means, stds, zeros = watch.means(), watch.stds(), watch.zero_shares()
        assert set(means) == set(stds)
        for path, output in outputs.items():
            if path in means:
                wide = output.astype(np.float64)
                np.testing.assert_allclose(means[path], wide.mean(), err_msg=path, **exact)
                np.testing.assert_allclose(stds[path], wide.std(), err_msg=path, **exact)
            if path in zeros:
                tiny = np.finfo(dtype).tiny
                assert zeros[path] == pytest.approx((np.abs(output) < tiny).mean(), abs=1e-12), path
            if path in watch.firing():
                fired[path] = fired.get(path, 0) + (by_unit(output) > 0).sum(axis=1)
                elements[path] = elements.get(path, 0) + by_unit(output).shape[1]
    assert fired or name == "vanishing"
    for path, share in watch.firing().items():
        if path in fired:
            np.testing.assert_allclose(share * elements[path], fired[path], rtol=1e-12, err_msg=path)
            assert watch.silent_units().get(path, []) == list(np.flatnonzero(fired[path] == 0))
    assert watch.samples == 22
    json.dumps(watch.record(), allow_nan=False)


def test_the_layers_that_are_watched() -> None:
    step = training("functional")
    watch = step.watch()
    step(*batch((3, 7, 6), 5, 0, "float32"))
    assert list(watch.means()) == ["conv", "relu", "again", "act", "again#2", "act#2", "tanh", "fc"]
    assert list(watch.firing()) == ["relu", "act", "act#2", "tanh"]  # what has a threshold
    assert list(watch.saturated_shares()) == ["tanh"]
    assert list(watch.layer_gradient_norms()) == ["conv", "again", "fc"]
    record: Any = watch.record()
    assert list(record["layers"]) == list(watch.means())
    assert record["layers"]["again#2"]["gradient_norm"] is None  # told once, at "again"
    step.unwatch(watch)
    some = step.watch("a*")
    step(*batch((3, 7, 6), 5, 0, "float32"))
    assert list(some.means()) == ["again", "act", "again#2", "act#2"]
    assert list(some.gradient_norms()) == ["again.weight"]
    assert some.gradient_ratios()["again"] == pytest.approx(
        some.layer_gradient_norms()["again"] / np.sqrt(sum(np.square(g).sum() for g in _of(step, "fc."))), rel=1e-5
    )


def _of(step: st.TrainingStep, prefix: str) -> list[np.ndarray]:
    return [view.astype(np.float64) for name, view in step.gradient_views().items() if name.startswith(prefix)]


def test_saturation_is_where_the_derivative_is_below_a_tenth_of_its_largest() -> None:
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Sigmoid(), nn.Linear(1, 1, bias=False), nn.Tanh()).double()
    model.load_state_dict({"0.weight": np.ones((1, 1)), "2.weight": np.ones((1, 1))})
    step = st.TrainingStep(model, nn.MSELoss(), optim.SGD(lr=0.0))
    watch = step.watch()
    x = np.linspace(-8, 8, 1001)[:, None]
    step(x, np.zeros((1001, 1)))
    y = 1 / (1 + np.exp(-x))
    assert watch.saturated_shares()["1"] == pytest.approx(np.mean(y * (1 - y) < 0.25 / 10), abs=1e-12)
    assert watch.saturated_shares()["3"] == pytest.approx(np.mean(1 - np.tanh(y) ** 2 < 1 / 10), abs=1e-12)
    assert 0.5 < watch.saturated_shares()["1"] < 0.6


@pytest.mark.parametrize("rule", [optim.SGD(lr=0.05, momentum=0.9), optim.Adam(lr=0.01)], ids=["sgd", "adam"])
@pytest.mark.parametrize("name", ["mixed", "residual"])
def test_gradients_and_updates_are_those_of_a_recount(name: str, rule: optim.Optimizer) -> None:
    plain, step = training(name, rule=rule), training(name, rule=rule)
    watch = step.watch("*")
    for count in (9, 4):
        x, y = batch(NETWORKS[name][1], count, count, "float32")
        gradients = plain.gradients(x, y)
        plain.update()
        before = step.model.state_dict()
        step(x, y)
        after = step.model.state_dict()
        norms, updates = watch.gradient_norms(), watch.update_ratios()
        assert list(norms) == list(gradients)
        layers: dict[str, float] = {}
        for path, gradient in gradients.items():
            assert norms[path] == pytest.approx(np.linalg.norm(gradient.astype(np.float64)), rel=1e-12)
            moved = after[path].astype(np.float64) - before[path]
            assert updates[path] == pytest.approx(
                np.linalg.norm(moved) / np.linalg.norm(after[path].astype(np.float64)), rel=1e-4
            )
            layer = path.rpartition(".")[0]
            layers[layer] = layers.get(layer, 0.0) + float(np.square(gradient, dtype=np.float64).sum())
        assert watch.layer_gradient_norms() == {path: pytest.approx(square**0.5) for path, square in layers.items()}
        last = layers["9" if name == "mixed" else "7"] ** 0.5
        assert watch.gradient_ratios() == {path: pytest.approx(s**0.5 / last) for path, s in layers.items()}
    watch.close()
    assert step.update_views() == {}


@pytest.mark.parametrize("name", NETWORKS)
def test_no_bit_of_the_training_changes(name: str) -> None:
    plain, watched, late = (training(name) for _ in range(3))
    watched.watch("*")
    for number, count in enumerate((9, 7, 9, 2, 9)):
        x, y = batch(NETWORKS[name][1], count, number, "float32")
        if number == 1:
            watch = late.watch("*[0-9]")
        if number == 3:
            watch.close()
            watch.close()  # once more does no harm
        losses = {step(x, y) for step in (plain, watched, late)}
        assert len(losses) == 1
        for step in (watched, late):
            for path, view in plain.gradient_views().items():
                assert view.tobytes() == step.gradient_views()[path].tobytes(), path
    for step in (watched, late):
        for held, other in (
            (plain.model.state_dict(), step.model.state_dict()),
            (plain.state_dict(), step.state_dict()),
        ):
            assert {path: array.tobytes() for path, array in held.items()} == {
                path: array.tobytes() for path, array in other.items()
            }


@pytest.mark.parametrize(("name", "before_pooling"), [("lenet5", 2), ("residual", 0)])
def test_what_is_watched_rides_on_loops_that_exist(name: str, before_pooling: int) -> None:
    """Watching adds no loop over a batch.

    Sums of an activation that a pooling computes while it reads join a loop of the backward pass; a loop over the
    channels finishes them.
    """

    def phases(watched: bool) -> list[tuple[str, str]]:
        step = training(name)
        if watched:
            step.watch("*")
        step(*batch(NETWORKS[name][1], 9, 0, "float32"))
        (compiled,) = step._prepared.programs.values()
        assert isinstance(compiled.executable, CompiledExecutable)
        return [(phase.name, phase.path) for phase in compiled.executable.phases]

    extra, missing = (Counter(phases(one)) - Counter(phases(not one)) for one in (True, False))
    assert not missing
    assert [phase for phase, _ in extra.elements()] == ["finish"] * before_pooling


def test_planted_dead_units_are_found_and_no_others() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(96, 5), nn.ReLU(), nn.Linear(5, 10)
    ).initialize(0)
    model.infer((1, 4, 4))
    state = model.state_dict()
    state["0.bias"] = np.array([0, 0, -1e4, 0, 0, -1e4], np.float32)
    state["3.weight"] = np.abs(state["3.weight"])
    state["3.weight"][4] = 0
    state["3.bias"] = np.array([1, -1e4, 1, 1, -0.0], np.float32)
    model.load_state_dict(state)
    step = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.0))
    watch = step.watch("*")
    for seed in range(4):
        step(*batch((1, 4, 4), 8, seed, "float32"))
    assert watch.silent_units() == {"1": [2, 5], "4": [1, 4]}
    record: Any = watch.record()
    assert record["layers"]["1"]["silent"] == [2, 5]
    assert record["layers"]["4"] | {"units": 5, "silent": [1, 4], "silent_count": 2} == record["layers"]["4"]


def test_a_unit_that_fires_once_in_a_pass_is_not_silent() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))
    model.load_state_dict(
        {
            "0.weight": np.eye(2, dtype=np.float32), "0.bias": np.array([0, -5], np.float32),
            "2.weight": np.eye(2, dtype=np.float32), "2.bias": np.zeros(2, np.float32),
        }
    )  # fmt: skip
    step = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.0))
    watch = step.watch("*")
    x = np.ones((64, 2), np.float32)
    step(x, np.zeros(64, int))
    assert watch.silent_units() == {"1": [1]}
    rare = x.copy()
    rare[17, 1] = 6
    step(rare, np.zeros(64, int))
    for _ in range(3):
        step(x[:50], np.zeros(50, int))
    assert watch.silent_units() == {}
    assert watch.firing()["1"][1] == pytest.approx(1 / (64 + 64 + 150))
    watch.start_pass()
    assert (watch.samples, watch.firing()) == (0, {})
    step(x, np.zeros(64, int))
    assert watch.silent_units() == {"1": [1]}


def test_denormals_are_zeros_and_nan_is_none() -> None:
    step = st.TrainingStep(nn.Sequential(nn.ReLU(), nn.Linear(4, 2)), nn.CrossEntropyLoss(), optim.SGD(lr=0.0))
    watch = step.watch("0")
    step(np.array([[1e-40, 1e-30, 0, 1]], np.float32), [0])
    assert watch.zero_shares() == {"0": 0.5}


def test_an_overflow_is_named_as_without_a_watch() -> None:
    def message(watched: bool) -> str:
        model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(None, 3)).initialize(1)
        step = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.01))
        watch = step.watch("*") if watched else None
        x = np.full((4, 2, 6, 6), 3e29, np.float32)
        with pytest.raises(st.StriateError) as caught:
            step(x, [0, 1, 2, 0])
        if watch is not None:
            json.dumps(watch.record(), allow_nan=False)
        return str(caught.value)

    assert message(True) == message(False)
