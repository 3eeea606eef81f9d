"""Prediction keeps weights in the kernels' layout until the model's weights are written."""

from __future__ import annotations

import threading
from copy import deepcopy
from typing import Any

import numpy as np
import pytest

import striate as st
from striate import nn, optim, settings
from striate.compiler import CompiledExecutable
from striate.engine import prepare
from striate.errors import ShapeError
from striate.graph.value import Array
from striate.ops.kernels.direct import TapConvolution
from striate.passes import lower
from striate.runtime.threads import Helpers
from striate.tracing import Trace
from tests.compiled.networks import mixed, residual_block


def network() -> nn.Sequential:
    """Build direct and Winograd convolutions, batch normalization, a residual, and a linear layer."""
    body = nn.Sequential(
        nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.LeakyReLU(0.1),
        nn.Conv2d(32, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32),
    )  # fmt: skip
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1, bias=False), nn.BatchNorm2d(32), nn.LeakyReLU(0.1),
        nn.Residual(body), nn.LeakyReLU(0.1), nn.GlobalAveragePool(), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip
    return model.initialize(0)


def images(n: int, seed: int = 0) -> Array:
    """Return n pictures of 3×12×12, which are nine Winograd tiles each."""
    return np.random.default_rng(seed).standard_normal((n, 3, 12, 12)).astype(np.float32)


def executable(model: nn.Module, x: Array) -> CompiledExecutable:
    """Return the program that predicts for arrays like x."""
    found = model.program(x).executable
    assert isinstance(found, CompiledExecutable)
    return found


def counted(found: CompiledExecutable) -> list[int]:
    """Return a list that grows by one entry whenever the prepared phases run."""
    assert found.preparation is not None
    runs: list[int] = []
    original = found.preparation.run

    def run(n: int, *arguments: Any, **options: Any) -> int:
        runs.append(n)
        return original(n, *arguments, **options)

    found.preparation.run = run
    return runs


def unprepared(model: nn.Module, x: Array) -> Array:
    """Predict with a program that keeps no prepared weights."""
    with Trace() as trace:
        out = model(trace.input("x", st.tracing.array_type(x, "x", batched=True)))
        graph = trace.graph({"out": out})
    return prepare(graph, trace.bindings(), {}, None, single_sample=len(x) == 1).run({"x": x}, len(x))["out"]


def reference(model: nn.Module, x: Array) -> Array:
    """Predict with a copy of the model that was never run."""
    return unprepared(deepcopy(model), x)


def test_phases_that_read_state_alone_are_kept() -> None:
    model = network()
    found = executable(model, images(1))
    names = {phase.name for phase in found.prepared}
    assert {"pack", "transform", "map"} <= names
    assert not {"pack", "transform"} & {phase.name for phase in found.phases}
    convolutions = [phase for phase in found.phases if phase.name.startswith("convolution")]
    assert len(convolutions) == 4
    maps = [phase for phase in found.phases if phase.name == "map" and phase.path.startswith(("1", "3", "4"))]
    # Normalization, activation and residual run inside the convolutions. The last ones wait for the loop that sums each
    # sample for the global pooling: tiles that several samples share cannot keep their sums apart.
    assert [phase.path for phase in maps] == ["3.body.4"]


def test_they_run_again_when_the_state_has_changed_and_only_then() -> None:
    model, x = network(), images(5)
    runs = counted(executable(model, x))
    for n in (5, 1, 5, 7, 2):
        model(images(n))
    assert len(runs) == 1
    step = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    step.gradients(x, np.zeros(5, np.int64))
    before = model(x)
    assert len(runs) == 1
    step(x, np.zeros(5, np.int64))
    after = model(x)
    assert len(runs) == 2
    assert np.any(before != after)
    np.testing.assert_array_equal(after, reference(model, x))
    model.load_state_dict(network().state_dict())
    np.testing.assert_array_equal(model(x), before)
    assert len(runs) == 3


@pytest.mark.parametrize("make", [network, residual_block, mixed])
@pytest.mark.parametrize("n", [1, 3, 17])
def test_the_same_bits_with_and_without(make: Any, n: int) -> None:
    model, x = make().initialize(1), images(n) if make is not mixed else np.ones((n, 3, 13, 11), np.float32)
    got = model(x)
    np.testing.assert_array_equal(got, unprepared(model, x))
    np.testing.assert_array_equal(model(x), got)


def test_views_of_parameters_cannot_be_written() -> None:
    model, x = network(), images(2)
    before = model(x)
    for name, array in (*model.named_parameters(), *model.named_buffers()):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
        assert np.shares_memory(array, array), name
    layer: Any = model[0]
    with pytest.raises(ValueError, match="read-only"):
        layer.weight *= 2
    with pytest.raises(ValueError, match="read-only"):
        layer.weight.reshape(-1)[0] = 2
    np.testing.assert_array_equal(model(x), before)


def test_assigning_changes_the_next_prediction_without_compiling() -> None:
    model, x = network(), images(2)
    before, version = model(x), model.version
    runs = counted(executable(model, x))
    layer: Any = model[0]
    layer.weight = layer.weight * 2
    doubled = model(x)
    assert len(runs) == 1
    assert model.version == version
    assert np.any(doubled != before)
    np.testing.assert_array_equal(doubled, reference(model, x))
    layer.parameter("weight").assign(layer.weight / 2)
    np.testing.assert_array_equal(model(x), before)
    norm: Any = model[1]
    norm.running_var = norm.running_var + 1
    np.testing.assert_array_equal(model(x), reference(model, x))
    assert np.any(model(x) != before)
    with pytest.raises(ShapeError, match="got an array of shape"):
        layer.weight = np.zeros(3, np.float32)


def test_initialize_and_a_new_arena_are_seen() -> None:
    model, x = network(), images(2)
    before = model(x)
    model.initialize(7)
    assert np.any(model(x) != before)
    np.testing.assert_array_equal(model(x), reference(model, x))
    model[0].requires_grad_(False)
    step = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))  # its arena has a frozen part: it moves
    step(x, np.zeros(2, np.int64))
    np.testing.assert_array_equal(model(x), reference(model, x))


def test_models_that_share_a_layer_see_each_others_updates() -> None:
    shared = nn.Conv2d(3, 16, 3)
    one = nn.Sequential(shared, nn.Flatten(), nn.Linear(None, 4)).infer((3, 12, 12)).initialize(0)
    two = nn.Sequential(shared, nn.GlobalAveragePool())
    x = images(3)
    one(x)
    two(x)
    step = st.TrainingStep(one, nn.CrossEntropyLoss(), optim.SGD(lr=0.5))
    for _ in range(2):
        step(x, np.array([0, 1, 2]))
        np.testing.assert_array_equal(two(x), reference(two, x))
        np.testing.assert_array_equal(one(x), reference(one, x))


def test_copies_keep_memory_of_their_own() -> None:
    model, x = network(), images(2)
    before = model(x)
    copied = deepcopy(model)
    layer: Any = copied[0]
    layer.weight = layer.weight * 3
    assert np.any(copied(x) != before)
    np.testing.assert_array_equal(model(x), before)


def test_compiled_functions_of_a_model_see_updates() -> None:
    model, x = network(), images(3)
    model(x)
    twice = st.compile(lambda x: model(x) * 2, batched=True)
    np.testing.assert_array_equal(twice(x), model(x) * 2)
    step = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    step(x, np.zeros(3, np.int64))
    np.testing.assert_array_equal(twice(x), model(x) * 2)
    model[0].requires_grad_(False)  # moves the model's memory
    step(x, np.zeros(3, np.int64))
    np.testing.assert_array_equal(twice(x), model(x) * 2)
    model.double().float()
    np.testing.assert_array_equal(twice(x), model(x) * 2)


def test_loaded_models_keep_what_they_packed(tmp_path: Any) -> None:
    model, x = network(), images(3)
    before = model(x)
    st.save(model, tmp_path / "model.safetensors")
    loaded = st.load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(loaded(x), before)
    runs = counted(executable(loaded, x))
    loaded(x)
    assert runs == []
    state = {name: array * 2 if array.dtype.kind == "f" else array for name, array in loaded.state_dict().items()}
    loaded.load_state_dict(state)
    assert np.any(loaded(x) != before)
    assert len(runs) == 1


def test_a_diverging_step_leaves_the_prediction() -> None:
    model, x = network(), images(2)
    before = model(x)
    step = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1))
    with pytest.raises(st.errors.StriateError, match="nothing"):
        step(np.full_like(x, np.nan), np.zeros(2, np.int64))
    np.testing.assert_array_equal(model(x), before)


def test_models_interleaved_and_in_threads() -> None:
    models = [network().initialize(seed) for seed in range(3)]
    x = images(4)
    wanted = [unprepared(model, x) for model in models]
    wrong: list[int] = []

    def run(first: int) -> None:
        for turn in range(30):
            index = (first + turn) % 3
            if not np.array_equal(models[index](x), wanted[index]):
                wrong.append(index)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_predictions_beside_training_are_those_of_one_version() -> None:
    model, x, y = network(), images(4), np.array([0, 1, 2, 3])
    model(x)
    step = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.01))
    step.gradients(x, y)
    model(x)
    seen: list[Array] = []
    known: list[Array] = [model(x)]
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            seen.append(model(x))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(20):
        step(x, y)
        known.append(reference(model, x))
    done.set()
    watcher.join()
    strange = [found for found in seen if not any(np.array_equal(found, one) for one in known)]
    assert not strange


def test_small_programs_run_on_one_thread_with_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = network(), images(16)
    results: list[Array] = []
    before = settings.override(threads=2)
    try:
        for limit in (0, 1 << 60):
            monkeypatch.setattr(lower, "SINGLE_THREADED_WORK", limit)
            fresh = deepcopy(model)
            results.append(fresh(x))
    finally:
        settings.restore(before)
    np.testing.assert_array_equal(results[0], results[1])


def test_which_threads_help_depends_on_shapes() -> None:
    found = executable(network(), images(1))
    assert found.helpers(1) is Helpers.AWAKE
    assert found.helpers(256) is Helpers.ALL
    small = nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 12, 10)).initialize(0)
    assert executable(small, images(1)).helpers(1) is Helpers.NONE


def test_arenas_are_told_apart() -> None:
    one, two = network(), network().initialize(1)
    x = images(1)
    one(x)
    two(x)
    with Trace() as trace:
        value = trace.input("x", st.tracing.array_type(x, "x", batched=True))
        one(value)
        two(value)
    trace.bindings()
    assert len(trace.arenas()) == 2


def test_one_sample_reads_small_filters_where_large_ones_would_not_pay() -> None:
    model = nn.Sequential(nn.Conv2d(192, 192, 3, padding=1)).initialize(0)
    x = np.random.default_rng(0).standard_normal((2, 192, 4, 4)).astype(np.float32)
    one, many = executable(model, x[:1]), executable(model, x)
    assert one is not many
    assert one.batch_specialized
    assert many.batch_specialized
    assert [phase.name for phase in one.prepared] == ["pack"]
    assert [phase.name for phase in many.prepared] == ["transform"]
    both = model(x)
    np.testing.assert_allclose(model(x[:1]), both[:1], rtol=0, atol=1e-4)
    np.testing.assert_array_equal(model(x), both)
    assert executable(model, x[:1]) is one
    assert executable(model, x) is many
    small = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.GlobalAveragePool(), nn.Flatten(), nn.Linear(16, 10))
    small.initialize(0)
    assert executable(small, images(1)) is executable(small, images(2))


def test_one_sample_gives_the_same_bits_in_shares_for_several_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = network(), images(2)
    wanted = model(x)[:1]
    monkeypatch.setattr(lower, "SINGLE_THREADED_WORK", 0)
    fresh = deepcopy(model)
    np.testing.assert_array_equal(fresh(x[:1]), wanted)
    chunks = {phase.name: phase.chunks for phase in executable(fresh, x[:1]).phases}
    assert chunks["convolution (winograd)"] == (2, 2)
    monkeypatch.undo()
    np.testing.assert_array_equal(model(x[:1]), wanted)
    chunks = {phase.name: phase.chunks for phase in executable(model, x[:1]).phases}
    assert chunks["convolution (winograd)"] == (1, 2)


@pytest.mark.parametrize(("outputs", "abreast"), [(64, 4), (90, 2), (33, 1)])
def test_one_sample_sums_several_output_blocks_at_a_time_with_the_same_bits(outputs: int, abreast: int) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 12 * 12, outputs), nn.ReLU()).initialize(0)
    x = images(5)
    np.testing.assert_array_equal(model(x[:1]), model(x)[:1])
    specs = [phase.spec for phase in executable(model, x[:1]).phases]
    assert [spec.abreast for spec in specs if isinstance(spec, TapConvolution)] == [abreast]
