"""Profiles: their numbers add up, they change nothing, and they are readable at any width."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import striate as st
from striate import nn, optim, settings
from striate.errors import EngineError, OptionError
from striate.graph.value import DType, TensorType
from striate.graph.value import N as BATCH
from striate.profile import Pass, Profile, latency, profile_prediction
from striate.settings import Engine
from striate.tracing import Trace

N = 16
SHAPE = (3, 12, 12)


@pytest.fixture(scope="module", autouse=True)
def compiled() -> Any:
    """Use the compiled engine, whatever the tests run with."""
    before = settings.override(engine=Engine.COMPILED)
    yield
    settings.restore(before)


def network() -> nn.Sequential:
    body = nn.Sequential(nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32))
    layers = [nn.Conv2d(3, 32, 3, padding=1), nn.LeakyReLU(0.1), nn.Residual(body), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(None, 10)).initialize(0)


def batch() -> tuple[Any, Any]:
    random = np.random.default_rng(0)
    return random.standard_normal((N, *SHAPE), dtype=np.float32), random.integers(0, 10, N)


@pytest.fixture(scope="module")
def profile() -> Profile:
    step = st.TrainingStep(network(), nn.CrossEntropyLoss(), optim.SGD(lr=0.05, momentum=0.9))
    return step.profile(*batch(), repetitions=4)


def test_times_add_up(profile: Profile) -> None:
    phases = sum(phase.seconds for phase in profile.phases)
    assert sum(row.seconds for row in profile.rows) == pytest.approx(phases)
    assert phases + profile.outside == pytest.approx(profile.seconds)
    assert 0 < phases <= profile.seconds * 1.05  # the clock of the phases is known to about a percent


def test_work_is_that_of_the_layers(profile: Profile) -> None:
    positions = 12 * 12
    forward = {"0": 2 * 3 * 32 * 9 * positions, "2.body.0": 2 * 32 * 32 * 9 * positions, "5": 2 * 32 * 36 * 10}
    found = {(row.layer, row.stage): row.flops for row in profile.rows if row.flops}
    for layer, flops in forward.items():
        assert found.pop((layer, Pass.FORWARD)) == N * flops
        assert found.pop((layer, Pass.WEIGHT_GRADIENT)) == N * flops
        if layer != "0":  # nobody needs the gradient of the images
            assert found.pop((layer, Pass.INPUT_GRADIENT)) == N * flops
    assert not found
    assert profile.floor == pytest.approx(profile.flops / profile.peak)


def test_every_layer_that_works_has_its_rows_in_the_order_of_the_network(profile: Profile) -> None:
    layers = list(profile.by_layer())
    assert [layer for layer in layers if layer in ("0", "2.body.0", "5")] == ["0", "2.body.0", "5"]
    assert layers[-2:] == ["(loss)", "(optimizer)"]
    kinds = {row.layer: row.kind for row in profile.rows}
    assert kinds["0"] == "Conv2d"
    assert kinds["2.body.1"] == "BatchNorm2d"
    assert profile.by_pass().keys() == set(Pass)


def test_traffic_is_no_less_than_the_least(profile: Profile) -> None:
    assert all(row.moved >= row.least > 0 for row in profile.rows if row.flops)
    linear = next(row for row in profile.rows if (row.layer, row.stage) == ("5", Pass.WEIGHT_GRADIENT))
    assert linear.least >= 4 * (1152 * 10 + N * 1152 + N * 10)  # ∂w out, x and ∂y in
    assert profile.passes > 3


def test_the_algorithm_is_named(profile: Profile) -> None:
    found = {(row.layer, row.stage): row.algorithm for row in profile.rows}
    assert found["0", Pass.FORWARD] == "direct"
    assert found["2.body.0", Pass.FORWARD] == "winograd"


def test_a_profile_changes_nothing() -> None:
    model = network()
    step = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.05, momentum=0.9))
    x, y = batch()
    step(x, y)
    before = {**model.state_dict(), **step.state_dict()}
    step.profile(x, y, repetitions=1)
    after = {**model.state_dict(), **step.state_dict()}
    assert before.keys() == after.keys()
    for name, array in before.items():
        np.testing.assert_array_equal(array, after[name], err_msg=name)
    assert step.step_number == 1


def test_predictions_have_one_direction() -> None:
    model = network()
    found = profile_prediction(model, batch()[0], repetitions=2)
    assert {row.stage for row in found.rows} == {Pass.FORWARD}
    assert found.what == "prediction"
    assert found.flops == N * 2 * (3 * 32 * 9 * 144 + 32 * 32 * 9 * 144 + 32 * 36 * 10)


def test_json_holds_everything(profile: Profile) -> None:
    document = json.loads(json.dumps(profile.to_json()))
    assert document.keys() == {
        "what", "cpu", "batch", "threads", "repetitions", "peak_gflops", "total", "passes", "layers", "rows", "phases",
    }  # fmt: skip
    assert document["batch"] == N
    assert document["rows"][0].keys() == {
        "layer", "kind", "pass", "algorithm", "phases", "ms", "gflop", "gflops", "fraction_of_peak",
        "moved_bytes", "least_bytes", "gbytes_per_second", "passes",
    }  # fmt: skip
    total = document["total"]
    assert sum(row["ms"] for row in document["rows"]) + total["outside_ms"] == pytest.approx(total["ms"])
    assert sum(layer["ms"] for layer in document["layers"]) == pytest.approx(sum(p["ms"] for p in document["phases"]))
    assert total["fraction_of_peak"] == pytest.approx(total["floor_ms"] / total["ms"])
    assert {phase["pass"] for phase in document["phases"]} == {stage.value for stage in Pass}


@pytest.mark.parametrize("width", [60, 80, 110, 200])
def test_the_table_fits(profile: Profile, width: int) -> None:
    assert max(map(len, profile.text(width).splitlines())) <= width
    header = next(line for line in profile.text(width).splitlines() if line.startswith("layer"))
    assert "of peak" in header
    assert "GB/s" not in header if width <= 80 else "algorithm" in header
    assert "GB/s" in header or width <= 110
    assert str(profile) == profile.text(110)


def test_latency_counts_its_calls() -> None:
    calls: list[int] = []
    found = latency(lambda: calls.append(1), 1, 50)
    assert len(calls) == 50 + 20
    assert 0 < found.least <= found.median <= found.p95
    assert found.to_json().keys() == {"batch", "calls", "median_ms", "p95_ms", "least_ms"}


def test_errors(kept_settings: settings.Settings) -> None:
    step = st.TrainingStep(network(), nn.CrossEntropyLoss(), optim.SGD(lr=0.05))
    with pytest.raises(OptionError, match="repetitions=0"):
        step.profile(*batch(), repetitions=0)
    with pytest.raises(OptionError, match="calls=0"):
        latency(lambda: None, 1, 0)
    settings.override(engine=Engine.REFERENCE)
    with pytest.raises(EngineError, match="STRIATE_ENGINE=reference"):
        step.profile(*batch())
    with pytest.raises(EngineError, match="STRIATE_ENGINE=reference"):
        profile_prediction(network(), batch()[0])


def test_the_work_of_grouped_and_transposed_convolutions() -> None:
    """A transposed convolution multiplies in its forward pass, and each of its two gradients takes as much work."""
    layers = [nn.Conv2d(3, 8, 1), nn.Conv2d(8, 16, 3, padding=1, groups=8), nn.ConvTranspose2d(16, 6, 2, 2, groups=2)]
    model = nn.Sequential(*layers, nn.Flatten(), nn.Linear(None, 10)).initialize(0)
    step = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.05))
    profile = step.profile(*batch(), repetitions=1)
    found = {(row.layer, row.stage): row.flops for row in profile.rows if row.flops}
    positions = 12 * 12
    for layer, flops in {"1": 2 * 16 * 9 * positions, "2": 2 * 16 * 3 * 4 * positions}.items():
        for stage in (Pass.FORWARD, Pass.INPUT_GRADIENT, Pass.WEIGHT_GRADIENT):
            assert found[layer, stage] == N * flops, (layer, stage)
        assert layers[int(layer)].multiply_adds(*_types_of(model, layer)) == flops // 2


def _types_of(model: nn.Module, layer: str) -> Any:
    with Trace() as trace:
        model.trace((trace.input("x", TensorType(DType.float32, (BATCH, *SHAPE))),))
    call = next(call for call in trace.calls if call.path == layer)
    return call.inputs, call.output
