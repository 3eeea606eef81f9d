"""Models can be sent to other processes by pickle, deepcopy and spawn, without compiled code."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import striate as st
from striate import nn, optim

X = np.random.default_rng(0).standard_normal((5, 2, 6, 6)).astype(np.float32)
Y = np.arange(5) % 3


def sent(model: Any) -> Any:
    """Return the model as another process receives it."""
    return pickle.loads(pickle.dumps(model))  # noqa: S301 - bytes of our own


def network() -> nn.Sequential:
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.LeakyReLU(0.1), nn.Residual(nn.Conv2d(4, 4, 1)),
        nn.Flatten(), nn.Linear(None, 3),
    )  # fmt: skip
    model.standardizer = nn.Standardization(np.array([0.5, 1.0]), np.array([2.0, 3.0]))
    return model


def trained() -> tuple[nn.Sequential, st.TrainingStep]:
    model = network()
    step = st.TrainingStep(model, nn.CrossEntropyLoss(), optim.SGD(lr=0.1, momentum=0.9))
    step(X, Y)
    return model, step


@pytest.mark.parametrize("copied", [copy.deepcopy, sent])
def test_a_copy_predicts_the_same_bits_and_is_independent(copied: Any) -> None:
    model, _ = trained()
    other = copied(model)
    np.testing.assert_array_equal(other(X), model(X))
    assert other.state_dict().keys() == model.state_dict().keys()
    st.TrainingStep(other, nn.CrossEntropyLoss(), optim.SGD(lr=0.5))(X, Y)
    assert not np.array_equal(other(X), model(X))


def test_a_model_that_was_never_called_starts_the_same() -> None:
    model = network().initialize(7)
    other = sent(model)
    np.testing.assert_array_equal(other(X), model(X))


def test_shared_weights_stay_shared() -> None:
    layer = nn.Linear(3, 3)
    other = sent(nn.Sequential(layer, nn.Tanh(), layer))
    assert other[0] is other[2]
    assert list(other.state_dict()) == ["0.weight", "0.bias"]


def test_a_pickle_holds_no_compiled_code() -> None:
    model, _ = trained()
    model(X)
    written = pickle.dumps(model)
    assert len(written) < 20_000
    assert b"CompiledExecutable" not in written


def test_a_step_goes_on_where_it_was() -> None:
    _, step = trained()
    other = sent(step)
    assert [step(X, Y) for _ in range(3)] == [other(X, Y) for _ in range(3)]
    assert other.step_number == 4


def test_a_loaded_model(tmp_path: Path) -> None:
    model, _ = trained()
    model(X)
    st.save(model, tmp_path / "model.safetensors", classes=["a", "b", "c"])
    loaded = st.load(tmp_path / "model.safetensors")
    for other in (sent(loaded), copy.deepcopy(loaded)):
        np.testing.assert_array_equal(other(X), loaded(X))
        assert other.classes == ("a", "b", "c")


def test_a_spawned_process_predicts() -> None:
    model, _ = trained()
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as workers:
        np.testing.assert_array_equal(workers.submit(model, X).result(), model(X))


@pytest.mark.parametrize("name", st.models.MODELS)
def test_every_named_network_can_be_sent(name: str) -> None:
    assert repr(sent(st.models.build(name))) == repr(st.models.build(name))
